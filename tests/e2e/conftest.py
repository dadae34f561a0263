"""The only place for what the end-to-end tests share: the running stack, and the questions put to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otelkit.ops.query.lgtm import Lgtm
from support import lanes, redis_server, stack
from support.shop_services import MODES, running_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.redis_server import RedisServer
    from support.shop_services import Shop

LANE = "e2e"
PRINTED_LAST = "printed last"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """Collector, Prometheus, Tempo and Loki for the whole run; without them each test says what is missing."""
    if absent := stack.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"e2e: {absent}")
    # Not a shorter STACK_SERVICE_GRAPH_WAIT: the two ends of a call are sent by two processes, up to 5 s apart.
    soon = {"STACK_SPAN_METRICS_INTERVAL": "1s", "STACK_RULE_INTERVAL": "1s"}
    with stack.Stack(tmp_path_factory.mktemp("stack"), variables=soon) as started:
        lanes.ran(LANE)
        yield started


@pytest.fixture(scope="session")
def query(running: stack.Stack) -> Lgtm:
    """The stack's stores, as otelkit asks them."""
    return Lgtm.at(prometheus=running.prometheus, tempo=running.tempo, loki=running.loki)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A real Redis for the shop's cache and broker."""
    if absent := redis_server.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"e2e: {absent}")
    with redis_server.server() as server:
        yield server


@pytest.fixture(scope="session", params=MODES)
def shop(
    request: pytest.FixtureRequest, running: stack.Stack, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The example shop, launched one way, after some visits; `parametrize(..., indirect=True)` picks a way."""
    mode: str = request.param
    folder = tmp_path_factory.mktemp(mode)
    namespace = "shop" if mode == "explicit" else folder.name
    with running_shop(mode, otlp=running.otlp_http, redis=redis, folder=folder, namespace=namespace) as started:
        yield started


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print last what tests found out that people want to read; each recorded it as its property `PRINTED_LAST`."""
    for report in terminalreporter.stats.get("passed", []):
        for name, lines in report.user_properties:
            if name == PRINTED_LAST:
                terminalreporter.write_line(lines)
