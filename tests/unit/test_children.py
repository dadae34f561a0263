"""What forked children measured is told by the process that forked them, as if it had measured it itself."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider

from otelkit.pipeline._children import Children
from otelkit.pipeline._reader import Reader
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.metrics.export import MetricsData

WITHIN = 20.0
NEVER = 3600.0


class App:
    """A process with a reader and an instrument of each kind."""

    def __init__(self, preference: str = "cumulative", limit: int = 100) -> None:
        self.received: list[MetricsData] = []
        self.level = 1
        self.lost: list[int] = []
        self.reader = Reader(self.received.append, interval=math.inf, preference=preference, exponential=False)
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meter = self.provider.get_meter("shop", "1", attributes={"team": "orders"})
        self.orders = self.meter.create_counter("orders")
        self.latency = self.meter.create_histogram("latency")
        self.last = self.meter.create_gauge("last")
        self.meter.create_observable_counter("ticks", [lambda _: [Observation(10 * self.level)]])
        self.meter.create_observable_up_down_counter("memory", [lambda _: [Observation(self.level)]])
        self.reader.adopt_children(limit, within=NEVER, lost=self.lost.append)

    def fork(self, *acts: Callable[[], object], final: bool = True) -> int:
        """Run a child that tells after each act; it ends, or hangs on to be killed."""
        pid = os.fork()
        if pid:
            return pid
        try:
            self.reader.renew_in_child()
            self.reader.join_parent()
            for act in acts:
                act()
                self.reader.force_flush()
            if final:
                self.reader.shutdown()
                os._exit(len(self.lost))
            signal.pause()
        finally:
            os._exit(99)

    def run(self, *acts: Callable[[], object]) -> None:
        assert os.waitstatus_to_exitcode(os.waitpid(self.fork(*acts), 0)[1]) == 0

    def told(self) -> dict[str, Any]:
        """Collect, and return the value or count of each series by name and attributes."""
        assert self.reader.force_flush()
        found: dict[str, Any] = {}
        (group,) = self.received[-1].resource_metrics
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = ",".join(map(str, (point.attributes or {}).values()))
                    name = f"{metric.name} {labels}".strip()
                    assert name not in found, "one series told twice"
                    found[name] = getattr(point, "value", getattr(point, "count", None))
                    assert (point.start_time_unix_nano or 0) <= point.time_unix_nano
        return found


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.reader.shutdown()


def test_counters_and_histograms_of_children_are_added(app: App) -> None:
    def work() -> None:
        app.orders.add(2, {"route": "a"})
        app.orders.add(1, {"route": "b"})
        app.latency.record(0.5)

    app.orders.add(5, {"route": "a"})
    app.run(work, work)
    app.run(work)
    told = app.told()
    assert {name: told[name] for name in ("orders a", "orders b", "latency")} == {
        "orders a": 11,
        "orders b": 3,
        "latency": 3,
    }
    app.run(work)
    assert app.told()["orders a"] == 13


def test_what_only_grows_keeps_the_part_of_children_that_are_gone(app: App) -> None:
    def grow() -> None:
        app.level += 1

    app.run(grow, grow)  # 20, then 30
    assert app.told()["ticks"] == 10 + 30
    app.run(grow)
    assert app.told()["ticks"] == 10 + 30 + 20


def test_what_goes_up_and_down_is_summed_over_children_that_live(app: App) -> None:
    pid = app.fork(lambda: None, final=False)
    try:
        wait_until(lambda: app.told()["memory"] == 2, within=WITHIN, what="the memory of two processes")
        app.run(lambda: None)
        assert app.told()["memory"] == 2, "a child that ended has none"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert app.told()["memory"] == 1, "nor has one that was killed"


def test_a_gauge_of_children_has_the_last_value_and_stays(app: App) -> None:
    app.run(lambda: app.last.set(3, {"import": "nightly"}))
    app.run(lambda: app.last.set(4, {"import": "nightly"}))
    assert [app.told()["last nightly"], app.told()["last nightly"]] == [4, 4]


def test_deltas_are_told_once(app: App) -> None:
    app.reader.shutdown()
    of_deltas = App(preference="delta")
    try:
        of_deltas.orders.add(1)
        of_deltas.run(lambda: of_deltas.orders.add(2))
        assert of_deltas.told()["orders"] == 3
        assert "orders" not in of_deltas.told()
    finally:
        of_deltas.reader.shutdown()


def test_attribute_sets_of_children_are_bounded_together() -> None:
    app = App(limit=10)
    try:
        for child in range(3):
            app.run(lambda child=child: [app.orders.add(1, {"id": f"{child}-{number}"}) for number in range(8)])  # type: ignore[misc]  # bound per child
        orders = {name: value for name, value in app.told().items() if name.startswith("orders")}
        assert len(orders) <= 11
        assert sum(orders.values()) == 24
        assert orders["orders True"] > 0
    finally:
        app.reader.shutdown()


def test_more_than_a_message_holds_arrives_whole(app: App) -> None:
    app.run(lambda: [app.latency.record(1, {"id": number, "text": "x" * 200}) for number in range(90)])
    assert len([name for name in app.told() if name.startswith("latency")]) == 90


def test_a_point_that_fits_into_no_message_is_counted_as_lost(app: App) -> None:
    pid = app.fork(lambda: app.orders.add(1, {"text": "x" * 3_000_000}))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    app.run(lambda: app.orders.add(1))
    assert app.told()["orders"] == 1


def test_children_wait_for_nobody_where_nobody_reads(app: App) -> None:
    children = app.reader._children
    assert isinstance(children, Children)
    with children._lock:  # as if the process that forked them stood still
        pids = [app.fork(lambda: [app.orders.add(1, {"n": n}) for n in range(4_000)]) for _ in range(2)]
        ended: list[int] = []
        waiting = threading.Thread(target=lambda: ended.extend(os.waitpid(pid, 0)[1] for pid in pids))
        waiting.start()
        waiting.join(WITHIN)
    assert len(ended) == 2


def test_a_child_of_a_child_tells_its_own(app: App) -> None:
    def fork_again() -> None:
        app.reader.renew_in_child()
        app.reader.join_parent()
        app.orders.add(7)

    app.run(fork_again)
    assert "orders" not in app.told()


def test_a_child_that_outlives_its_parent_tells_its_own(app: App) -> None:
    reading, writing = os.pipe()

    def after_the_end_of_the_parent() -> None:
        os.read(reading, 1)
        app.orders.add(3)
        app.reader.force_flush()
        (metric,) = [each for each in scopes(app.received[-1]) if each.name == "orders"]
        assert metric.data.data_points[0].value == 3

    pid = app.fork(after_the_end_of_the_parent)
    app.orders.add(1)
    app.reader.shutdown()
    os.write(writing, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reading)
    os.close(writing)


def test_a_child_that_closed_all_it_inherited_tells_its_own_and_writes_to_nobody(app: App) -> None:
    def become_a_daemon() -> None:
        # What is opened next has the numbers of what was closed.
        os.closerange(3, 200)
        others = [socket.socketpair() for _ in range(60)]
        app.orders.add(3)
        app.reader.force_flush()
        (metric,) = [each for each in scopes(app.received[-1]) if each.name == "orders"]
        assert metric.data.data_points[0].value == 3
        for end in [end for pair in others for end in pair]:
            with pytest.raises(BlockingIOError):
                end.recv(1, socket.MSG_DONTWAIT)

    app.run(become_a_daemon)


def scopes(data: MetricsData) -> list[Any]:
    return [metric for group in data.resource_metrics for scope in group.scope_metrics for metric in scope.metrics]


def test_a_child_that_does_not_join_tells_its_own(app: App) -> None:
    pid = os.fork()
    if pid == 0:
        app.reader.renew_in_child()
        app.orders.add(3)
        app.reader.shutdown()
        (metric,) = [each for each in scopes(app.received[-1]) if each.name == "orders"]
        os._exit(metric.data.data_points[0].value)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert "orders" not in app.told()
