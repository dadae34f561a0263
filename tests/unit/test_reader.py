"""The metric reader in one process: when it collects, and what it survives (forks: test_fork_metrics.py)."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Histogram,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource

from otelkit import _stderr
from otelkit.pipeline._reader import Reader
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.sdk.metrics.export import (
        Metric,
        MetricsData,
    )


@pytest.fixture(autouse=True)
def _fresh_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was said by other tests."""
    monkeypatch.setattr(_stderr, "_said", {})


def metrics(data: MetricsData) -> dict[str, Metric]:
    return {m.name: m for group in data.resource_metrics for scope in group.scope_metrics for m in scope.metrics}


def values(data: MetricsData, name: str) -> list[float]:
    points = metrics(data)[name].data.data_points
    return [point.value for point in points if isinstance(point, NumberDataPoint)]


class Setup:
    """A reader, what it handed on, and a provider that has it."""

    def __init__(self, *, interval: float = math.inf, exponential: bool = False) -> None:
        self.received: list[MetricsData] = []
        self.during: Callable[[], None] = lambda: None
        self.reader = Reader(self._receive, interval=interval, preference="cumulative", exponential=exponential)
        self.provider = MeterProvider([self.reader], Resource.get_empty(), shutdown_on_exit=False)
        self.meter = self.provider.get_meter("t")

    def _receive(self, data: MetricsData) -> None:
        self.during()
        self.received.append(data)

    def reports(self, name: str, value: float) -> bool:
        return bool(self.received) and values(self.received[-1], name) == [value]

    def observe(self, callback: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        self.meter.create_observable_gauge("heat", [callback])


@pytest.fixture
def ticking() -> Iterator[Setup]:
    """Return a reader that collects twenty times a second."""
    setup = Setup(interval=0.05)
    yield setup
    setup.during = lambda: None
    setup.provider.shutdown()


def collector_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "otelkit-metrics"]


def test_a_daemon_thread_collects_at_each_interval(ticking: Setup) -> None:
    counter = ticking.meter.create_counter("orders")
    for total in (1, 2, 3):
        counter.add(1)
        wait_until(partial(ticking.reports, "orders", total), within=5, what=f"{total} collected")
    (thread,) = collector_threads()
    assert thread.daemon


def test_sums_are_reported_again_although_nothing_was_measured(ticking: Setup) -> None:
    ticking.meter.create_counter("orders").add(7)
    wait_until(lambda: len(ticking.received) >= 3, within=5, what="three collections")
    assert [values(data, "orders") for data in ticking.received[:3]] == [[7]] * 3


def test_without_an_interval_there_is_no_thread() -> None:
    setup = Setup()
    assert collector_threads() == []
    setup.meter.create_counter("orders").add(1)
    assert setup.reader.force_flush()
    assert len(setup.received) == 1


def test_nothing_is_handed_on_before_there_is_something_to_report(ticking: Setup) -> None:
    assert ticking.reader.force_flush()
    assert ticking.received == []


def test_a_reader_that_no_provider_has_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    received: list[MetricsData] = []
    reader = Reader(received.append, interval=math.inf, preference="cumulative", exponential=False)
    assert reader.force_flush()
    reader.shutdown()
    assert (received, caplog.records) == ([], [])


def test_a_reader_can_be_added_to_a_provider_and_taken_away() -> None:
    received: list[MetricsData] = []
    provider = MeterProvider(shutdown_on_exit=False)
    counter = provider.get_meter("t").create_counter("orders")
    reader = Reader(received.append, interval=0.05, preference="cumulative", exponential=False)
    provider.add_metric_reader(reader)
    counter.add(2)
    wait_until(lambda: received, within=5, what="a collection")
    provider.remove_metric_reader(reader)
    assert collector_threads() == []
    assert values(received[-1], "orders") == [2]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()], ids=repr)
def test_a_raising_callback_does_not_end_the_thread(ticking: Setup, error: BaseException) -> None:
    broken = threading.Event()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        if not broken.is_set():
            broken.set()
            raise error
        return [Observation(20)]

    ticking.meter.create_counter("orders").add(3)
    ticking.observe(callback)
    assert broken.wait(5)
    wait_until(lambda: ticking.received and "heat" in metrics(ticking.received[-1]), within=5, what="heat")
    assert values(ticking.received[-1], "heat") == [20]
    assert values(ticking.received[-1], "orders") == [3]


def test_a_raising_receive_does_not_end_the_thread_and_is_said_once(
    ticking: Setup, capfd: pytest.CaptureFixture[str]
) -> None:
    refused: list[None] = []

    def refuse() -> None:
        if len(refused) < 3:
            refused.append(None)
            raise OSError("disk full")

    ticking.during = refuse
    ticking.meter.create_counter("orders").add(3)
    wait_until(lambda: ticking.received, within=5, what="a collection after three refused")
    assert values(ticking.received[0], "orders") == [3]
    assert capfd.readouterr().err.count("metrics were not collected: OSError: disk full") == 1


def test_force_flush_tells_whether_everything_was_handed_on() -> None:
    setup = Setup()
    setup.meter.create_counter("orders").add(1)

    def refuse() -> None:
        raise OSError("disk full")

    setup.during = refuse
    assert setup.reader.force_flush() is False
    setup.during = lambda: None
    assert setup.reader.force_flush() is True
    assert values(setup.received[0], "orders") == [1]


def test_force_flush_waits_for_a_running_collection_but_not_past_its_timeout() -> None:
    setup = Setup()
    busy, release = threading.Event(), threading.Event()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        busy.set()
        release.wait(10)
        return []

    setup.observe(callback)
    counter = setup.meter.create_counter("orders")
    counter.add(1)
    other = threading.Thread(target=setup.reader.force_flush)
    other.start()
    assert busy.wait(5)
    started = time.monotonic()
    assert setup.reader.force_flush(timeout_millis=200) is False
    assert 0.2 <= time.monotonic() - started < 2
    setup.reader.shutdown(timeout_millis=200)
    assert time.monotonic() - started < 3
    release.set()
    other.join(5)
    counter.add(1)
    assert setup.reader.force_flush()
    assert values(setup.received[-1], "orders") == [2]


def test_force_flush_does_not_wait_for_a_hanging_callback() -> None:
    setup = Setup()
    release = threading.Event()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        release.wait(10)
        return []

    setup.observe(callback)
    setup.meter.create_counter("orders").add(1)
    started = time.monotonic()
    assert setup.reader.force_flush(timeout_millis=200) is False
    assert 0.2 <= time.monotonic() - started < 2
    release.set()
    wait_until(lambda: setup.reports("orders", 1), within=5, what="what was collected too late")


def test_a_callback_that_flushes_does_not_wait_for_itself() -> None:
    setup = Setup()
    inside: list[bool] = []

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        inside.append(setup.reader.force_flush())
        return [Observation(1)]

    setup.observe(callback)
    assert setup.reader.force_flush(timeout_millis=5000)
    assert inside == [False]


def test_a_signal_handler_may_flush_while_the_interrupted_thread_does() -> None:
    setup = Setup()
    inside: list[bool] = []
    raised = threading.Event()
    previous = signal.signal(signal.SIGUSR1, lambda *_: inside.append(setup.reader.force_flush()))

    main = threading.get_ident()

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        if not raised.is_set():
            raised.set()
            signal.pthread_kill(main, signal.SIGUSR1)
        return [Observation(1)]

    setup.observe(callback)
    try:
        assert setup.reader.force_flush(timeout_millis=5000)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert inside == [True]
    assert values(setup.received[0], "heat") == [1]


def test_shutdown_collects_a_last_time_and_ends_the_thread() -> None:
    setup = Setup(interval=600)
    setup.meter.create_counter("orders").add(5)
    assert len(collector_threads()) == 1
    setup.provider.shutdown()
    assert [values(data, "orders") for data in setup.received] == [[5]]
    assert collector_threads() == []
    setup.reader.shutdown()
    assert len(setup.received) == 1


def test_threads_that_collect_at_once_hand_on_growing_sums() -> None:
    setup = Setup()
    counter = setup.meter.create_counter("orders")

    def work() -> None:
        for _ in range(20):
            counter.add(1)
            assert setup.reader.force_flush()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    sums = [values(data, "orders")[0] for data in setup.received]
    assert len(sums) == 80
    assert sums == sorted(sums)
    assert sums[-1] == 80


@pytest.mark.parametrize(("exponential", "kind"), [(False, Histogram), (True, ExponentialHistogram)])
def test_histograms_are_of_the_kind_that_was_asked_for(exponential: bool, kind: type) -> None:
    setup = Setup(exponential=exponential)
    setup.meter.create_histogram("latency").record(1)
    assert setup.reader.force_flush()
    assert isinstance(metrics(setup.received[0])["latency"].data, kind)


def test_bounds_that_an_instrument_advises_are_kept() -> None:
    setup = Setup()
    setup.meter.create_histogram("latency", explicit_bucket_boundaries_advisory=[1, 2]).record(1.5)
    assert setup.reader.force_flush()
    (point,) = metrics(setup.received[0])["latency"].data.data_points
    assert tuple(getattr(point, "explicit_bounds", ())) == (1, 2)


def test_views_and_further_readers_work_beside_it() -> None:
    received: list[MetricsData] = []
    reader = Reader(received.append, interval=math.inf, preference="cumulative", exponential=False)
    beside = InMemoryMetricReader()
    views = [View(instrument_name="orders", name="renamed")]
    provider = MeterProvider([reader, beside], views=views, shutdown_on_exit=False)
    counter = provider.get_meter("t").create_counter("orders")
    for total in (4, 8):
        counter.add(4)
        assert reader.force_flush()
        plain = beside.get_metrics_data()
        assert plain is not None
        assert values(received[-1], "renamed") == values(plain, "renamed") == [total]


def test_where_no_thread_can_be_started_flushing_still_collects(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        setup = Setup(interval=1)
    assert "metrics are collected at the end only: can't start new thread" in capfd.readouterr().err
    setup.meter.create_counter("orders").add(1)
    setup.provider.shutdown()
    assert values(setup.received[0], "orders") == [1]
