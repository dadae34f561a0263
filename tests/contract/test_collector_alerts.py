"""What the alerts on the stack take for given is what the configuration says: limits, and the names of jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from otelkit.ops import _assets
from otelkit.ops.mixin.groups import collector, stack

if TYPE_CHECKING:
    from otelkit.ops.mixin.model import Alert

ROOT = Path(__file__).resolve().parents[2]


def test_the_collector_is_told_of_before_it_begins_to_refuse() -> None:
    limiter = yaml.safe_load((ROOT / "collector/config.yaml").read_text(encoding="utf-8"))["processors"][
        "memory_limiter"
    ]
    assert int(_assets.pins()["COLLECTOR_MEMORY_MIB"]) == collector.MEMORY_MIB
    assert limiter["spike_limit_mib"] == collector.SPIKE_MIB
    refuses_from = (collector.MEMORY_MIB - collector.SPIKE_MIB) * 2**20
    assert 0.7 * refuses_from < collector.COLLECTOR_HEAP.default < refuses_from


@pytest.mark.parametrize("alert", [*collector.GROUP.alerts, *stack.GROUP.alerts], ids=lambda alert: alert.name)
def test_a_job_that_is_named_is_scraped_by_that_name(alert: Alert) -> None:
    targets = ROOT / "deploy/prometheus/targets"
    jobs = {each["labels"]["job"] for path in targets.glob("*.yaml") for each in yaml.safe_load(path.read_text())}
    queries = [alert.expr, *(look.query for look in alert.runbook.looks)]
    named = {
        job
        for query in queries
        for words in re.findall(r'\bjob(?:=|!=|=~|!~)"([^"]+)"', query)
        for job in words.split("|")
    }
    assert named - jobs == set()
