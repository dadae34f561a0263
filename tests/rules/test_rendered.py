"""What is rendered passes Prometheus' own checks, and every alert of Prometheus has its cases."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from otelkit._catalog import STOCK
from otelkit.ops.mixin._metrics_page import query
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.parameters import Parameters, Service, Slo
from otelkit.ops.mixin.rules import render_rules, rules_of
from rules import counts, found
from rules.lane import promtool
from shop import metrics as shop
from support.processes import run

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# Whatever makes a rule of a parameter: a service and a route with numbers of their own, objectives, all that is off.
RICH = Parameters(
    services={
        "api": Service(
            namespace="shop",
            environment="production",
            thresholds={"error_crit": 0.02, "p95_crit": 1.0},
            routes={"/report": {"p95_crit": 5.0}, "/orders/{id}": {"error_crit": 0.1}},
            disable=frozenset({"ElevatedLatency"}),
        ),
        "worker": Service(),
        "cron": Service(expected=False),
    },
    slos=(
        Slo(name="api-availability", service="api", objective=0.999),
        Slo(name="api-latency", service="api", objective=0.99, kind="latency", under=0.5, period=30),
    ),
    page_environments=("production",),
)
# Names that mean something in PromQL, in regular expressions, in templates and in YAML.
ODD_NAME = """a"b\\c.d|e'f: #g{h}$i $(j)"""
ODD = Parameters(
    services={ODD_NAME: Service(thresholds={"error_crit": 0.02}, routes={f"/{ODD_NAME}": {"p95_crit": 5.0}})},
    slos=(Slo(name=ODD_NAME, service=ODD_NAME, environment=ODD_NAME, objective=0.999, route=f"/{ODD_NAME}"),),
    page_environments=("production", ODD_NAME),
)
EVERYTHING_ON = Parameters(
    enable=frozenset(alert.name for group in groups(RICH, shop.catalog.metrics) for alert in group.alerts if alert.off)
)
ALERTS = {alert.name: alert for group in groups(RICH, shop.catalog.metrics) for alert in group.alerts}


@pytest.mark.parametrize(
    "parameters", [Parameters(), RICH, ODD, EVERYTHING_ON], ids=["default", "rich", "odd", "all on"]
)
def test_promtool_finds_nothing_wrong_with_any_file(parameters: Parameters, tmp_path: Path) -> None:
    program = promtool()
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    rules = tmp_path / "prometheus" / "rules"
    shutil.rmtree(rules, ignore_errors=True)
    rules.mkdir()
    for group in groups(parameters, shop.catalog.metrics):
        if text := render_rules(group, parameters, "promql"):
            (rules / f"{group.name}.yaml").write_text(text, encoding="utf-8")
            # What cases are evaluated with is what is written.
            assert yaml.safe_load(text)["groups"][0]["rules"] == rules_of(group, parameters, "promql")
    checks: tuple[list[str | Path], ...] = (
        [program, "check", "rules", "--lint=all", "--lint-fatal", *sorted(rules.iterdir())],
        [program, "check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus" / "prometheus.yaml"],
    )
    for words in checks:
        done = run(words, folder=tmp_path)
        assert done.returncode == 0, done.tail()


def test_every_query_of_a_runbook_and_of_the_reference_can_be_read(tmp_path: Path) -> None:
    looks = [look.query for alert in ALERTS.values() for look in alert.runbook.looks if look.source == "prometheus"]
    metrics = [query(metric) for metric in (*(stock.metric for stock in STOCK), *shop.catalog.metrics)]
    asked = [re.sub(r"<(\w+)>", r"\1", text) for text in (*looks, *metrics)]
    rules = [{"record": f"read:query:number{number}", "expr": text} for number, text in enumerate(asked)]
    (tmp_path / "queries.yaml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = run([promtool(), "check", "rules", tmp_path / "queries.yaml"], folder=tmp_path)
    assert done.returncode == 0, done.tail()


def test_cases_are_told_apart_by_what_they_say() -> None:
    names = [str(case) for case in found.cases()]
    assert sorted(names) == sorted(set(names))


def test_the_reference_counts_the_cases_that_there_are() -> None:
    write_them = "PYTHONPATH=tests:examples python -m rules.counts"
    assert counts.FILE.read_text(encoding="utf-8") == counts.written(), write_them


def test_every_case_is_about_an_alert_that_there_is() -> None:
    assert {case.alert for case in found.cases()} - ALERTS.keys() == set()


@pytest.mark.parametrize("name", sorted(name for name, alert in ALERTS.items() if alert.language == "promql"))
def test_every_alert_has_a_case_that_fires_with_its_words_and_one_that_is_silent(name: str) -> None:
    cases = [case for case in found.cases() if case.alert == name]
    assert any(case.summary for case in cases), "no case fires with its summary"
    assert any(not case.fires for case in cases) or name == "Watchdog", "no case is silent"
