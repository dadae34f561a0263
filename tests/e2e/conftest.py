"""The only place for what the end-to-end tests share: the running stack, and the questions put to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otelkit.ops.query.lgtm import Lgtm
from support import lanes, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

LANE = "e2e"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """Collector, Prometheus, Tempo and Loki for the whole run; without them each test says what is missing."""
    if absent := stack.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"e2e: {absent}")
    soon = {"STACK_SPAN_METRICS_INTERVAL": "1s", "STACK_SERVICE_GRAPH_WAIT": "1s"}
    with stack.Stack(tmp_path_factory.mktemp("stack"), variables=soon) as started:
        lanes.ran(LANE)
        yield started


@pytest.fixture(scope="session")
def query(running: stack.Stack) -> Lgtm:
    """The stack's stores, as otelkit asks them."""
    return Lgtm.at(prometheus=running.prometheus, tempo=running.tempo, loki=running.loki)
