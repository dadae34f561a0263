"""The only place for the metric reader: what collects at intervals, and what a forked child must not inherit of it.

At a fork only the forking thread survives. Whatever another thread held at that moment, a lock inside the SDK or half
of a collection, stays so for ever in the child: its next `counter.add` would wait for a thread that does not exist.
Two means against it: a fork waits for a running collection, so that no callback of the application is cut in the
middle; and the child gets new locks, an empty storage and a thread of its own.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelkit._stderr import say_once
from otelkit.pipeline._children import Children
from otelkit.pipeline._cumulative import Cumulative, inner_temporality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricsData

    from otelkit.pipeline._children import Parent

_PATIENCE = 1.0  # seconds that a fork waits for a collection to end; a slow callback must not hold it up for longer
_DECISION = 10.0  # seconds that a child has to join its parent before it tells series of its own
_COLLECTION_TIMEOUT = 30_000.0  # milliseconds, the SDK's default too: it fails a collection that takes longer
_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())


class Reader(MetricReader):
    """Collects at intervals, when flushed and once more at shutdown, and hands on what is to be reported.

    One collection runs at a time, in a thread named "otelkit-metrics" or, when flushed, in one of its own.

    Args:
        receive: Takes each collection. It must be quick, and must not raise: what it refuses of a delta is lost.
        interval: Seconds between two collections; infinite for none but those asked for.
        preference: "cumulative", "delta" or "lowmemory" (metrics/sdk_exporters/otlp.md of the specification).
        exponential: Whether histograms are base-2 exponential ones; otherwise they have explicit buckets.
    """

    def __init__(
        self, receive: Callable[[MetricsData], None], *, interval: float, preference: str, exponential: bool
    ) -> None:
        super().__init__(
            preferred_temporality=inner_temporality(preference),
            preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()} if exponential else None,
        )
        self._receive = receive
        self._interval = interval
        self._cumulative = Cumulative(preference)
        self._provider: Callable[[], MeterProvider | None] = lambda: None
        self._closed = False
        self._children: Children | None = None
        self._inherited: Children | None = None
        self._renew()
        self._start()
        if hasattr(os, "register_at_fork"):
            _hold_forks(weakref.ref(self))

    def _renew(self) -> None:
        """Make what belongs to one process."""
        # Held while collecting; reentrant, as a callback may fork.
        self._gate = threading.RLock()
        self._collector: int | None = None
        self._handed_on = False
        self._parent: Parent | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        if self._interval == math.inf or self._closed:
            return
        thread = threading.Thread(target=self._run, name="otelkit-metrics", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left; flushing and shutdown still collect
            say_once("metrics:thread", f"metrics are collected at the end only: {error}")
        else:
            self._thread = thread

    def _run(self) -> None:
        stop = self._stop
        if self._inherited is not None and stop.wait(_DECISION):
            return
        while not stop.wait(self._interval):
            self._gather(_COLLECTION_TIMEOUT)

    def _gather(self, timeout_millis: float) -> bool:
        """Collect and hand on; False when another collection was not over in time, or this one failed."""
        deadline = time.monotonic() + timeout_millis / 1000
        gate = self._gate
        if not gate.acquire(timeout=_seconds(timeout_millis)):
            return False
        try:
            self._collector, self._handed_on = threading.get_ident(), False
            if self._collect is not None:  # otherwise no provider has this reader, or none has it any more
                self.collect((deadline - time.monotonic()) * 1000)
            if not self._handed_on:  # the SDK has nothing new, which says nothing about the sums
                self._hand_on(None)
        except BaseException as error:  # noqa: BLE001  nor may a callback that exits or cancels end the thread
            cause = f"{type(error).__name__}: {error}"
            say_once(f"metrics:{cause}", f"metrics were not collected: {cause}. Said once; still trying.")
            return False
        finally:
            self._collector = None
            gate.release()
        return True

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:  # noqa: ARG002  the SDK's interface
        """Hand on what was collected. The SDK's method for readers to override."""
        with self._gate:
            self._hand_on(metrics_data)

    def _hand_on(self, data: MetricsData | None) -> None:
        self._handed_on = True
        if self._parent is not None:
            if self._parent.tell(data, final=self._closed):
                return
            self._parent = None
        if self._children is not None:
            data = self._children.merged(data, final=self._closed)
        total = self._cumulative.add(data)
        if total is not None:
            self._receive(total)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Collect now, and wait no longer than that whatever the callbacks do.

        Args:
            timeout_millis: Milliseconds to wait, also for a collection that is running; callbacks are told the rest.

        Returns:
            True when everything measured before the call was handed on.
        """
        if self._collector == threading.get_ident():
            return False  # called by a callback, inside a collection: the SDK's locks are taken, and not reentrant
        outcome: list[bool] = []
        # In another thread: nothing interrupts a callback, and who flushes in a signal handler may have interrupted
        # this thread inside one of the SDK's locks.
        thread = threading.Thread(
            target=lambda: outcome.append(self._gather(timeout_millis)), name="otelkit-metrics-flush", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # none can be started; from Python 3.12 on that is so when the interpreter ends
            return self._gather(timeout_millis)
        thread.join(_seconds(timeout_millis))
        return outcome == [True]

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002  the SDK's interface
        """Collect a last time and end the thread, within `timeout_millis` milliseconds. Idempotent."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + timeout_millis / 1000
        self._stop.set()
        self.force_flush(timeout_millis)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._children is not None:
            self._children.close()

    def adopt_children(self, limit: int, *, within: float, lost: Callable[[int], object]) -> None:
        """Tell what children that are forked from now on measure as this process's own, if they `join_parent`.

        Args:
            limit: Attribute sets of one instrument that are told apart, all children together.
            within: Seconds after which a child hands a measurement over at the latest: it may be killed.
            lost: Told, in a child, of points that could not be handed over.
        """
        if self._children is None and not self._closed:
            self._children = Children(limit, within=within, lost=lost)

    def join_parent(self) -> None:
        """Hand what this forked child measures to the process that forked it, where that adopts its children.

        To be called as soon as it is known: once the child has closed descriptors it does not know, it is too late.
        """
        adopting, self._inherited = self._inherited, None
        if adopting is None:
            return
        self._parent = adopting.parent()
        self._interval = min(self._interval, adopting.within)
        self._stop.set()
        self._stop = threading.Event()
        self._start()

    def _set_meter_provider(self, meter_provider: MeterProvider) -> None:
        super()._set_meter_provider(meter_provider)
        self._provider = weakref.ref(meter_provider)

    def hold_fork(self) -> bool:
        """Wait for a collection to end and hold off the next; False when it takes too long."""
        return self._gate.acquire(timeout=_PATIENCE)

    def release_fork(self) -> None:
        """Let collections go on in the parent."""
        self._gate.release()

    def renew_in_child(self) -> None:
        """Start at zero in a forked child: drop what the parent measured, and whatever its threads held.

        To be called in the child before it measures anything (`os.register_at_fork`). The thread is started at once:
        nothing tells a reader of a first measurement.
        """
        # Kept where nobody joins: its sockets may be closed, and their numbers those of others, which it would close.
        self._inherited, self._children = self._children, None
        self._renew()
        collect: Any = self._collect
        consumer: Any = getattr(collect, "__self__", None)
        if hasattr(consumer, "add_metric_reader"):
            _renew_locks(consumer)
            # Replaces this reader's storage: the uncollected deltas, the start times and the locks of its series.
            consumer.add_metric_reader(self)
        elif collect is not None:
            # An SDK of another make: its deltas can still be read, and dropped.
            with contextlib.suppress(Exception):
                collect(self)
        self._cumulative.forget()
        for part in _with_locks(consumer, self._provider()):
            _renew_locks(part)
        self._start()


def _with_locks(consumer: Any, provider: Any) -> Iterator[Any]:
    """Walk through what has locks in the SDK that a measurement or a new instrument takes."""
    if provider is not None:
        yield provider
        yield from getattr(provider, "_meters", {}).values()
    # Every reader's: a measurement goes through all of them.
    for storage in getattr(consumer, "_reader_storages", {}).values():
        yield storage
        for matches in getattr(storage, "_instrument_view_instrument_matches", {}).values():
            for match in matches:
                yield match
                for aggregation in getattr(match, "_attributes_aggregation", {}).values():
                    yield aggregation
                    yield getattr(aggregation, "_reservoir", None)


def _renew_locks(owner: Any) -> None:
    """Replace the locks of an object; no other thread exists yet that could hold one."""
    for name, value in list(getattr(owner, "__dict__", {}).items()):
        if isinstance(value, _LOCK):
            setattr(owner, name, threading.Lock())
        elif isinstance(value, _RLOCK):
            setattr(owner, name, threading.RLock())


def _seconds(milliseconds: float) -> float:
    return min(max(milliseconds / 1000, 0.0), threading.TIMEOUT_MAX)


def _hold_forks(reference: weakref.ref[Reader]) -> None:
    """Keep the forks of this process out of the reader's collections, as long as the reader exists."""
    held = threading.local()  # several threads may fork at a time

    def before() -> None:
        reader = reference()
        held.reader = reader if reader is not None and reader.hold_fork() else None

    def in_parent() -> None:
        reader = getattr(held, "reader", None)
        if reader is not None:
            held.reader = None
            reader.release_fork()

    os.register_at_fork(before=before, after_in_parent=in_parent)
