"""What docs/how-to shows of alerts, objectives and thresholds works as it stands there."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from otelkit.errors import ParametersError
from otelkit.ops import mixin
from otelkit.ops.mixin import reading
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.model import Group
from otelkit.ops.mixin.reading import read
from rules import lane, promtool
from rules.case import Case

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs/how-to" / f"{name}.md" for name in ("add-an-alert", "add-an-slo", "tune-thresholds")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page on alerts declares, with its alert among the others."""
    declared: dict[str, Any] = {}
    for block in blocks(PAGES[0], "python")[1:]:
        exec(compile(block, PAGES[0].name, "exec"), declared)  # noqa: S102  the page is ours
    added = Group(name="shown", about="Shown.", alerts=(declared["UPLOADS_LARGE"],))
    for module in (promtool, reading):
        monkeypatch.setattr(module, "groups", lambda *chosen: (*groups(*chosen), added))
    monkeypatch.setattr(promtool, "_RENDERED", {})
    return declared


def test_the_alert_that_is_shown_does_what_the_cases_that_are_shown_say(shown: dict[str, Any]) -> None:
    lane.promtool()
    jobs = promtool.jobs(shown["CASES"])
    said = [verdict for verdicts in promtool.run(jobs) for verdict in verdicts]
    assert said == [""] * len(shown["CASES"])


def test_the_metric_that_is_shown_brings_the_alerts_that_the_page_names() -> None:
    lane.promtool()
    declared: dict[str, Any] = {}
    exec(compile(blocks(PAGES[0], "python")[0], PAGES[0].name, "exec"), declared)  # noqa: S102  the page is ours
    metrics = declared["catalog"].metrics
    refunds = {
        outcome: f'shop_refunds_total{{service_name="shop", shop_refund_outcome="{outcome}"}}'
        for outcome in ("paid", "refused")
    }
    failing = Case(
        alert="ShopRefundsFailing",
        says="a quarter is refused",
        series={refunds["paid"]: "0+3x80", refunds["refused"]: "0+1x80"},
        at="15m",
        fires=({"service_name": "shop"},),
        catalog=metrics,
    )
    few = replace(
        failing, says="a tenth is", series={refunds["paid"]: "0+9x80", refunds["refused"]: "0+1x80"}, fires=()
    )
    said = [verdict for verdicts in promtool.run(promtool.jobs([failing, few])) for verdict in verdicts]
    assert said == ["", ""]
    assert "docs/runbooks/ShopRefundsFailing.md" in mixin.render(mixin.Inputs(catalog=metrics))


@pytest.mark.usefixtures("shown")
def test_its_threshold_can_be_chosen_and_is_held_against_the_buckets() -> None:
    assert read('[service.api]\nupload = "7MB"').services["api"].thresholds == {"upload": 7e6}
    with pytest.raises(ParametersError, match="upload can never be exceeded"):
        read('[thresholds]\nupload = "1GB"')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_parameters_that_are_shown_can_be_chosen(page: Path) -> None:
    for block in blocks(page, "toml"):
        read(block, retention=15 * 86400.0)


def test_what_is_told_of_mistakes_is_what_the_page_shows() -> None:
    (block,) = (block for block in blocks(PAGES[2], "console") if "parameters.toml:" in block)
    written = blocks(PAGES[2], "toml")[0].replace('error_warn = "2%"', "error_warn = 2").replace('"8s"', '"12s"')
    with pytest.raises(ParametersError) as raised:
        read(written, name="deploy/parameters.toml")
    assert list(raised.value.problems) == block.splitlines()[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_is_shown_can_be_called_so(page: Path) -> None:
    commands = [
        line for block in blocks(page, "console") for line in re.findall(r"^\$ otelkit (.+)", block, re.MULTILINE)
    ]
    assert commands
    for command in commands:
        name, *arguments = shlex.split(command, comments=True)
        parser = argparse.ArgumentParser()
        import_module(f"otelkit.ops.cli.{name}").arguments(parser)
        parser.parse_args(arguments)
