"""Every alert says all that one has to say, by names that exist: its numbers, its runbook, its board, its drill."""

from __future__ import annotations

import re
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from otelkit._catalog import STOCK
from otelkit._variables import OWN_DEFAULTS
from otelkit.ops.drill import DRILLS
from otelkit.ops.mixin._selected import selected
from otelkit.ops.mixin._variants import names
from otelkit.ops.mixin.boards import boards
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.model import GROUPS
from otelkit.ops.mixin.pages import render_pages
from otelkit.ops.mixin.parameters import Parameters, Service, Slo
from otelkit.ops.mixin.rules import INTERVAL
from shop import metrics as shop

if TYPE_CHECKING:
    from otelkit.ops.mixin.model import Alert, Look

ROOT = Path(__file__).resolve().parents[2]
# Whatever makes an alert of a parameter, so that those are looked at too.
PARAMETERS = Parameters(
    services={"api": Service()},
    slos=(
        Slo(name="availability", service="api", objective=0.999),
        Slo(name="latency", service="api", objective=0.99, kind="latency", under=0.5),
    ),
)
EVERY = groups(PARAMETERS, shop.catalog.metrics)
ALERTS = [alert for group in EVERY for alert in group.alerts]
IDS = [f"{alert.name}{''.join(f'-{value}' for value in alert.labels.values())}" for alert in ALERTS]
PROMQL = [alert for alert in ALERTS if alert.language == "promql"]
PLACEHOLDERS = {"S", "service", "route"}

_COUNTED = "seconds of the window: makes a count of a rate"
_CHANCE = "fewer failures may be chance"
# Numbers that nobody would tune, by alert: what is not here, nor 0, 1 or a quantile, has to be a threshold.
NUMBERS = {
    "CeleryRetryStorm": {"0.05": "runs a second, below which a share of retries tells nothing"},
    "CeleryTasksFailing": {"3": _CHANCE},
    "ElevatedErrorRate": {"300": _COUNTED, "5": _CHANCE},
    "ErrorFingerprintSpike": {"300": _COUNTED},
    "EventLoopBlocked": {"120": "what is shown of a loop that reports no more: the seconds that were looked at"},
    "HighErrorRate": {"120": _COUNTED, "5": _CHANCE},
    "HostDiskWillFill": {"86400": "seconds of the day that is looked ahead"},
    "LogErrorBurst": {"17": "the severity number of ERROR"},
    "SLOBudgetBurn": {"5": "fewer bad events may be chance"},
    "SLOBudgetExhausted": {"5": "fewer bad events may be chance"},
    "TelemetryLossSuspected": {"120": "fewer spans in ten minutes tell nothing"},
    "UpstreamFailing": {"300": _COUNTED, "5": _CHANCE},
    "UpstreamSlow": {"300": _COUNTED, "5": "fewer calls tell nothing"},
}
_NUMBER = re.compile(
    r'"(?:\\.|[^"\\])*"|\[[^\]]*\]|\$\{?\w+\}?|\d+[smhdw]\w*|[a-zA-Z_:][\w:]*|(\d[\d.]*(?:e[+-]?\d+)?)'
)
_QUANTILE = re.compile(r"histogram_quantile\s*\(\s*[\d.]+")

SELECTED_ELSEWHERE = Path(__file__).with_name("foreign_series.txt")
"""Series of programs that are not ours: exporters, the Collector, the stores. The tests on a live stack select each."""


PAGES = render_pages(EVERY, PARAMETERS)


def every(alerts: list[Alert]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("alert", alerts, ids=[IDS[ALERTS.index(alert)] for alert in alerts])


def looks() -> list[tuple[str, Look]]:
    return [(alert.name, look) for alert in ALERTS for look in alert.runbook.looks]


@every(ALERTS)
def test_it_belongs_to_a_group_that_has_a_board(alert: Alert) -> None:
    assert alert.group in GROUPS
    assert GROUPS[alert.group] in {board.name for board in boards(shop.catalog.metrics)}


@every(ALERTS)
def test_it_has_the_numbers_that_its_expression_names_and_no_others(alert: Alert) -> None:
    assert names(alert.expr) - PLACEHOLDERS == {each.name for each in alert.thresholds}


# Those of a service's own catalogue are the declaration's, which its own tests hold.
@every([alert for alert in ALERTS if alert.group != "business"])
def test_a_number_that_somebody_might_tune_is_a_threshold(alert: Alert) -> None:
    assert literals(alert) - {"0", "1"} - NUMBERS.get(alert.name, {}).keys() == set()


def test_every_number_that_is_excused_is_there() -> None:
    there: dict[str, set[str]] = {}
    for alert in ALERTS:
        there.setdefault(alert.name, set()).update(literals(alert))
    assert [name for name, known in NUMBERS.items() if not known.keys() <= there[name]] == []


def test_thresholds_of_one_name_are_one() -> None:
    declared = {each.name: each for alert in ALERTS for each in alert.thresholds}
    differ = [each.name for alert in ALERTS for each in alert.thresholds if each != declared[each.name]]
    assert differ == []


def test_alerts_of_one_name_differ_in_labels_and_say_the_same() -> None:
    named: dict[str, list[Alert]] = {}
    for alert in ALERTS:
        named.setdefault(alert.name, []).append(alert)
    for alerts in named.values():
        assert len({tuple(sorted(alert.labels.items())) for alert in alerts}) == len(alerts)
        said = [(alert.group, alert.feels, alert.runbook, alert.language, alert.off) for alert in alerts]
        assert said.count(said[0]) == len(said)


@every(ALERTS)
def test_it_has_a_runbook_for_three_in_the_morning(alert: Alert) -> None:
    runbook = alert.runbook
    assert 2 <= len(runbook.looks) <= 5
    # What a service declares brings a text of its own people's.
    assert 2 <= len(runbook.causes) <= 5 or (alert.group == "business" and runbook.note)
    texts = [alert.feels, runbook.tell, *(text for each in runbook.causes for text in (each.what, each.sign, each.fix))]
    assert [text for text in texts if not re.search(r"[.!?:`]$", text)] == []
    assert [look.says for look in runbook.looks if look.says.endswith(".")] == []
    assert len({look.query for look in runbook.looks}) == len(runbook.looks)


@every(ALERTS)
def test_its_summary_is_one_sentence_and_names_what_it_is_about(alert: Alert) -> None:
    assert alert.summary
    assert "\n" not in alert.summary
    assert not alert.summary.endswith(".")
    if "$service" in alert.expr:
        assert "$labels.service_name" in alert.summary


@every(ALERTS)
def test_it_is_drilled_or_says_why_not(alert: Alert) -> None:
    assert bool(alert.drill) != bool(alert.undrilled)
    assert not alert.drill or alert.drill in {drill.name for drill in DRILLS}


# What may be aggregated by besides the labels of a service, and why.
BY_LESS = {
    "": "it is of no service whether Prometheus itself has run for long enough",
    "slo": "an objective is of one service",
    "service_namespace, deployment_environment_name": "a queue is of no service, but of those that use it",
}


@every([alert for alert in PROMQL if "$service" in alert.expr])
def test_an_alert_of_services_keeps_the_labels_of_a_service_apart(alert: Alert) -> None:
    aggregates = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", alert.expr)
    assert [labels for labels in aggregates if "$S" not in labels and labels not in BY_LESS] == []
    assert not re.search(r"\b(?:without|ignoring)\b", alert.expr)


def test_every_recording_of_services_keeps_their_labels_apart() -> None:
    recordings = [rule for group in EVERY for rule in group.recordings if rule.name.startswith("service")]
    by = [(rule.name, labels) for rule in recordings for labels in re.findall(r"\bby\s*\(([^)]*)\)", rule.expr)]
    assert [(name, labels) for name, labels in by if "$S" not in labels] == []


def test_recordings_are_named_level_metric_operation() -> None:
    compatible = {
        "http_requests_total",
        *(f"http_request_duration_seconds_{part}" for part in ("bucket", "count", "sum")),
    }
    named = {rule.name for group in EVERY for rule in group.recordings} - compatible
    assert [name for name in named if not re.fullmatch(r"[a-z_]+:\w+:[a-z0-9_]+", name)] == []


@every([alert for alert in ALERTS if alert.severity == "critical"])
def test_a_critical_alert_is_told_within_two_minutes_or_says_why_not(alert: Alert) -> None:
    if alert.budget:
        seconds, why = alert.budget
        assert why
        assert told_after(alert) <= seconds
    else:
        assert told_after(alert) <= 120


@every(ALERTS)
def test_only_a_critical_alert_has_a_budget(alert: Alert) -> None:
    assert alert.severity == "critical" or alert.budget is None


def test_budgets_are_made_of_what_is_configured() -> None:
    route = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yaml").read_text(encoding="utf-8"))[
        "route"
    ]
    paging = [each for each in route["routes"] if each["receiver"] == "pager"]
    assert [seconds(each.get("group_wait", route["group_wait"])) for each in paging] == [GROUP_WAIT]
    assert seconds(INTERVAL) == EVALUATION
    assert OWN_DEFAULTS["OTEL_METRIC_EXPORT_INTERVAL"].value == f"{EXPORT}000"


@pytest.mark.parametrize(
    ("expr", "seconds"),
    [
        ("up == 0", 70),
        ("rate(a[2m]) / rate(b[2m]) > $error_crit", 100),
        ("min_over_time(a[1m]) > 0", 130),
        ("time() - max(a) > $absent_s", 130),
    ],
)
def test_a_budget_is_the_sum_of_what_has_to_pass(expr: str, seconds: int) -> None:
    (error_crit,) = (each for alert in ALERTS for each in alert.thresholds[:1] if alert.name == "HighErrorRate")
    absent = replace(error_crit, name="absent_s", default=60, unit="seconds")
    alert = replace(ALERTS[0], expr=expr, lasting="30s", thresholds=(absent,) if "absent_s" in expr else ())
    assert told_after(alert) == seconds


@every(PROMQL)
def test_what_it_selects_exists(alert: Alert) -> None:
    assert selected(alert.expr) - known() == set()


@every(PROMQL)
def test_one_that_sees_what_exporters_tell_says_that_it_needs_them(alert: Alert) -> None:
    told = {
        name
        for name in selected(alert.expr)
        if name.startswith(("container_", "k8s_", "node_", "pg_", "probe_", "redis_"))
    }
    assert bool(alert.needs) == bool(told)


@pytest.mark.parametrize(("name", "look"), looks(), ids=lambda each: each if isinstance(each, str) else "")
def test_what_a_runbook_asks_for_exists(name: str, look: Look) -> None:
    if look.source == "prometheus":
        assert selected(look.query) - known() == set(), name


def test_what_a_recording_reads_exists() -> None:
    read = {name for group in EVERY for rule in group.recordings for name in selected(rule.expr)}
    assert read - known() == set()


def test_no_foreign_series_is_listed_that_nobody_selects() -> None:
    read = {name for alert in PROMQL for name in selected(alert.expr)}
    read |= {name for group in EVERY for rule in group.recordings for name in selected(rule.expr)}
    read |= {name for _, look in looks() if look.source == "prometheus" for name in selected(look.query)}
    assert foreign() - read == set()


def test_every_link_of_a_rendered_page_leads_somewhere() -> None:
    for path, text in PAGES.items():
        by_hand = re.findall(r"/blob/main/([^)#\s]+)", text)
        assert [target for target in by_hand if not (ROOT / target).exists()] == [], path
        rendered = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
        assert [target for target in rendered if normpath(f"{path}/../{target}") not in PAGES] == [], path


def test_every_anchor_of_the_reference_is_a_heading() -> None:
    text = PAGES["docs/reference/alerts.md"]
    headings = {heading.lower() for heading in re.findall(r"^#+ (\S+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) - headings == set()


def test_pages_are_the_same_bytes_twice() -> None:
    assert render_pages(groups(PARAMETERS, shop.catalog.metrics), PARAMETERS) == PAGES


@every(ALERTS)
def test_a_runbook_has_every_query_as_it_is_declared(alert: Alert) -> None:
    text = PAGES[f"docs/runbooks/{alert.name}.md"]
    for look in alert.runbook.looks:
        assert all(f"   {line}\n" in text for line in look.query.splitlines())
    summary, *_ = re.findall(r"^> (.+)$", text, re.MULTILINE)
    assert "{{" not in summary
    expressions = re.findall(r"^```(?:promql|logql)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert expressions
    assert [expr for expr in expressions if re.search(r"\$\D", expr)] == []


def literals(alert: Alert) -> set[str]:
    """Return the numbers that an expression has, but for windows and quantiles."""
    return {found[1] for found in _NUMBER.finditer(_QUANTILE.sub("", alert.expr)) if found[1]}


EXPORT, EVALUATION, GROUP_WAIT = 15, 15, 10  # seconds
SHARE = 30  # seconds in which a share of two minutes passes its threshold where half of all fails: two exports more
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def told_after(alert: Alert) -> float:
    """Return how many seconds there can be from the beginning of a fault to the page."""
    detected = 0.0
    if "histogram_quantile" in alert.expr or re.search(r"rate[^/]*/[^/]*rate", alert.expr):
        detected = SHARE
    for window in re.findall(r"\b(?:min|avg|sum)_over_time\([^\[]*\[(\w+)\]", alert.expr):
        detected = max(detected, seconds(window))
    if "time() -" in alert.expr:
        detected = max([detected, *(each.default for each in alert.thresholds if each.unit == "seconds")])
    return EXPORT + EVALUATION + detected + seconds(alert.lasting) + GROUP_WAIT


def seconds(duration: str) -> int:
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", duration))


def known() -> set[str]:
    """Return every series that can be selected."""
    metrics = [*(stock.metric for stock in STOCK), *shop.catalog.metrics]
    recorded = {rule.name for group in EVERY for rule in group.recordings}
    return (
        {name for metric in metrics for name in metric.series} | recorded | foreign() | {"ALERTS", "ALERTS_FOR_STATE"}
    )


def foreign() -> set[str]:
    lines = SELECTED_ELSEWHERE.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}
