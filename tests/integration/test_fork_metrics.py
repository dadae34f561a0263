"""Metrics of forked children: each counts from zero, none is lost, and none waits for a thread that stayed behind."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelkit.pipeline._reader import Reader
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

CHILDREN, ADDS = 4, 50
WITHIN = 20.0  # seconds until a child must have answered


class App:
    """What an application has: instruments of each synchronous kind, and a reader that its children renew."""

    def __init__(
        self,
        *,
        preference: str = "cumulative",
        interval: float = math.inf,
        exponential: bool = False,
        beside: Iterable[MetricReader] = (),
    ) -> None:
        self.received: list[MetricsData] = []
        self.reader = Reader(self.received.append, interval=interval, preference=preference, exponential=exponential)
        self.provider = MeterProvider([self.reader, *beside], shutdown_on_exit=False)
        self.meter = self.provider.get_meter("t")
        self.orders = self.meter.create_counter("orders")
        self.queue = self.meter.create_up_down_counter("queue")
        self.latency = self.meter.create_histogram("latency")
        _renew_in_children(weakref.ref(self.reader))

    def work(self, times: int) -> None:
        for _ in range(times):
            self.orders.add(1, {"route": "/"})
            self.queue.add(1, {"route": "/"})
            self.latency.record(2, {"route": "/"})

    def points(self) -> list[dict[str, Any]]:
        """Return every data point handed on so far: name, value or count, and times in nanoseconds."""
        return [
            {
                "name": metric.name,
                "value": getattr(point, "value", getattr(point, "count", None)),
                "start": point.start_time_unix_nano,
                "time": point.time_unix_nano,
            }
            for data in self.received
            for group in data.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]


def _renew_in_children(reference: weakref.ref[Reader]) -> None:
    """Do what the pipeline does in a forked child."""

    def in_child() -> None:
        reader = reference()
        if reader is not None:
            reader.renew_in_child()

    os.register_at_fork(after_in_child=in_child)


def fork(act: Callable[[], object]) -> Callable[[], Any]:
    """Run `act` in a forked child; return what waits for its answer, and fails where there is none in time."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            answer = json.dumps(act()).encode()
            os.write(writing, len(answer).to_bytes(8, "big") + answer)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)

    def wait() -> Any:
        received, deadline = b"", time.monotonic() + WITHIN
        try:
            while chunk := _read(reading, deadline):
                received += chunk
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(reading)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0
        assert int.from_bytes(received[:8], "big") == len(received) - 8
        return json.loads(received[8:])

    return wait


def _read(descriptor: int, deadline: float) -> bytes:
    if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        raise TimeoutError(f"the child did not answer within {WITHIN:g} s")
    return os.read(descriptor, 65536)


def last(points: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {point["name"]: point for point in points}


def summed(points: Iterable[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(int)
    for point in points:
        total[point["name"]] += point["value"]
    return dict(total)


@pytest.mark.parametrize("exponential", [False, True], ids=["explicit", "exponential"])
@pytest.mark.parametrize("collected", [True, False], ids=["collected", "uncollected"])
@pytest.mark.parametrize("before", [1, 600])
def test_children_count_from_zero_and_lose_nothing(before: int, collected: bool, exponential: bool) -> None:
    app = App(exponential=exponential)
    app.work(before)
    if collected:
        assert app.reader.force_flush()

    def child() -> list[dict[str, Any]]:
        app.received.clear()
        app.work(ADDS)
        app.provider.shutdown()
        return app.points()

    forked = time.time_ns()
    answers = [wait() for wait in [fork(child) for _ in range(CHILDREN)]]
    app.provider.shutdown()
    parent = last(app.points())
    for name in ("orders", "queue", "latency"):
        assert parent[name]["value"] == before
        assert [last(points)[name]["value"] for points in answers] == [ADDS] * CHILDREN
        assert parent[name]["value"] + sum(last(points)[name]["value"] for points in answers) == before + 200
        assert all(forked <= point["start"] <= point["time"] for points in answers for point in points)
        assert parent[name]["start"] < forked


@pytest.mark.parametrize("preference", ["delta", "lowmemory"])
def test_what_the_parent_had_not_collected_is_no_childs_delta(preference: str) -> None:
    app = App(preference=preference)
    app.work(4)
    assert app.reader.force_flush()
    app.work(2)

    def child() -> list[dict[str, Any]]:
        app.received.clear()
        app.work(ADDS)
        app.provider.shutdown()
        return app.points()

    answers = [wait() for wait in [fork(child) for _ in range(CHILDREN)]]
    app.provider.shutdown()
    for name in ("orders", "latency"):
        assert summed(app.points())[name] == 6
        assert [summed(points)[name] for points in answers] == [ADDS] * CHILDREN
    assert last(app.points())["queue"]["value"] == 6  # an up-down counter is cumulative under every preference
    assert [last(points)["queue"]["value"] for points in answers] == [ADDS] * CHILDREN


def test_a_child_has_a_collecting_thread_of_its_own() -> None:
    app = App(interval=0.05)
    app.work(3)

    def child() -> list[dict[str, Any]]:
        app.received.clear()
        app.work(ADDS)
        wait_until(lambda: app.received and last(app.points())["orders"]["value"] == ADDS, within=10, what="collected")
        return app.points()

    answer = fork(child)()
    app.provider.shutdown()
    assert last(answer)["queue"]["value"] == ADDS
    assert last(app.points())["orders"]["value"] == 3


def test_a_grandchild_counts_from_zero_too() -> None:
    app = App(interval=600)
    app.work(3)

    def report() -> dict[str, Any]:
        app.provider.shutdown()
        return last(app.points())

    def grandchild() -> dict[str, Any]:
        app.work(7)
        return report()

    def child() -> list[Any]:
        app.work(10)
        wait = fork(grandchild)
        return [report(), wait()]

    child_points, grandchild_points = fork(child)()
    app.provider.shutdown()
    assert [points["orders"]["value"] for points in (child_points, grandchild_points)] == [10, 7]
    assert last(app.points())["orders"]["value"] == 3


def test_a_child_of_a_closed_reader_starts_no_thread() -> None:
    app = App(interval=0.05)
    app.provider.shutdown()
    assert fork(lambda: [thread.name for thread in threading.enumerate()])() == ["MainThread"]


def test_an_sdk_whose_storage_cannot_be_replaced_is_read_empty() -> None:
    app = App()
    reader: Any = app.reader
    collect: Callable[..., MetricsData] = reader._collect
    reader._set_collect_callback(partial(collect))  # not bound to what the reader knows
    app.work(4)
    assert app.reader.force_flush()
    app.work(2)

    def child() -> dict[str, Any]:
        app.received.clear()
        app.work(ADDS)
        app.provider.shutdown()
        return last(app.points())

    assert {name: point["value"] for name, point in fork(child)().items()} == dict.fromkeys(
        ("orders", "queue", "latency"), ADDS
    )


def test_the_gauges_of_the_parent_are_not_the_childs() -> None:
    app = App()
    gauge = app.meter.create_gauge("heat")
    gauge.set(20)
    app.meter.create_observable_counter("pid", [lambda _: [Observation(os.getpid())]])

    def child() -> list[Any]:
        app.received.clear()
        app.reader.force_flush()
        return [os.getpid(), {name: point["value"] for name, point in last(app.points()).items()}]

    pid, values = fork(child)()
    assert values == {"pid": pid}
    assert app.reader.force_flush()
    assert {"heat", "pid"} <= last(app.points()).keys()


@contextmanager
def collecting(app: App, callback: Callable[[], object]) -> Iterator[None]:
    """Keep another thread in the middle of a collection; the callback is quick in children."""
    parent, busy = os.getpid(), threading.Event()

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        if os.getpid() == parent:
            busy.set()
            callback()
        return [Observation(1)]

    app.meter.create_observable_gauge("slow", [observe])
    thread = threading.Thread(target=app.reader.force_flush)
    thread.start()
    assert busy.wait(5)
    try:
        yield
    finally:
        thread.join(10)


def _add_and_flush(app: App) -> list[Any]:
    app.received.clear()
    app.work(ADDS)
    flushed = app.reader.force_flush(timeout_millis=5000)
    return [flushed, {name: point["value"] for name, point in last(app.points()).items()}]


EXPECTED = [True, {"orders": ADDS, "queue": ADDS, "latency": ADDS, "slow": 1}]


def test_a_fork_waits_for_a_running_collection() -> None:
    app = App()
    app.work(4)
    release = threading.Event()

    def finish_soon() -> None:
        threading.Timer(0.3, release.set).start()
        release.wait(10)

    with collecting(app, finish_soon):
        answer = fork(lambda: [release.is_set(), *_add_and_flush(app)])
        assert answer() == [True, *EXPECTED]
    assert last(app.points())["orders"]["value"] == 4


def test_a_fork_waits_a_second_at_most_and_the_child_is_whole_all_the_same() -> None:
    app = App()
    app.work(4)
    release = threading.Event()
    with collecting(app, lambda: release.wait(10)):
        started = time.monotonic()
        answer = fork(lambda: _add_and_flush(app))
        assert 0.9 <= time.monotonic() - started < 3
        assert answer() == EXPECTED
        release.set()
    assert last(app.points())["orders"]["value"] == 4


def test_threads_that_fork_at_once_leave_the_reader_usable() -> None:
    app = App()
    app.work(1)
    answers: list[Any] = []

    def forking() -> None:
        answers.extend(fork(lambda: _add_and_flush(app))() for _ in range(3))

    release = threading.Event()
    with collecting(app, lambda: release.wait(1.5)):
        threads = [threading.Thread(target=forking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == [EXPECTED] * 9
    assert app.reader.force_flush(timeout_millis=2000)
    assert last(app.points())["orders"]["value"] == 1


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Switch threads so often that forks meet them inside the SDK's locks."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_children_forked_while_other_threads_measure_do_not_wait_for_them() -> None:
    plain = InMemoryMetricReader()  # another reader's locks are in the way of a measurement too
    app = App(beside=[plain])
    stop = threading.Event()

    def hammer() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            app.work(1)
            app.provider.get_meter(f"meter.{number % 10}").create_counter(f"more.{number % 50}").add(1)

    def child() -> list[Any]:
        stop.set()
        app.received.clear()
        app.work(ADDS)
        app.provider.get_meter("meter.1").create_counter("new").add(1)
        app.provider.get_meter("another").create_counter("newer").add(1)
        flushed = app.reader.force_flush(timeout_millis=5000)
        return [flushed, {name: point["value"] for name, point in last(app.points()).items()}]

    threads = [threading.Thread(target=hammer) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        answers = [fork(child)() for _ in range(60)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    expected = {"orders": ADDS, "queue": ADDS, "latency": ADDS, "new": 1, "newer": 1}
    assert answers == [[True, expected]] * 60
