"""The only place where telemetry is kept for a test instead of being sent.

It goes the way that it goes in production, to the last step: what is kept are the bytes that would have left, redacted
and cut as they would have been. There is one set of providers in a process, as OpenTelemetry has it, and a sink for
each test; an item belongs to every sink that is open when it ends.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    _Gauge,  # no public name, and no alias for it in the readers' own mapping
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelkit.otlp import encode
from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces
from otelkit.otlp.encode import Encoder
from otelkit.pipeline import Pipeline
from otelkit.pipeline._deliver import Carrier
from otelkit.pipeline._processors import Road
from otelkit.pipeline._queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics.export import MetricsData

    from otelkit._runtime import Telemetry
    from otelkit.pipeline import Deadline
    from otelkit.pipeline._queue import Item
    from otelkit.settings import Signal

_DECODE: Mapping[str, Callable[[bytes], list[Any]]] = {
    "traces": decode_traces,
    "metrics": decode_metrics,
    "logs": decode_logs,
}
_KINDS = (Counter, Histogram, ObservableCounter, ObservableGauge, ObservableUpDownCounter, UpDownCounter, _Gauge)

_open: tuple[Sink, ...] = ()
"""Replaced as a whole: whoever emits meanwhile walks through the old ones."""


class Sink:
    """What was emitted while it was open, by signal ("traces", "metrics", "logs"), in the order of emission."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._items: dict[str, list[Item]] = {name: [] for name in _DECODE}
        self._decoded: dict[str, list[Any]] = {name: [] for name in _DECODE}
        self._read = dict.fromkeys(_DECODE, 0)

    def keep(self, signal: str, item: Item) -> None:
        """Take an item, from whichever thread emits it."""
        self._items[signal].append(item)

    def read(self, signal: str) -> list[Any]:
        """Return what was kept, as `otelkit.otlp.model` has it."""
        items = self._items[signal]
        while self._read[signal] < len(items):
            self._decoded[signal] += _DECODE[signal](_message(items[self._read[signal]]))
            self._read[signal] += 1
        return list(self._decoded[signal])

    def messages(self, signal: str) -> list[bytes]:
        """Return what was kept, each item as a request of its own would carry it."""
        return [_message(item) for item in list(self._items[signal])]

    def sizes(self, signal: str) -> list[int]:
        """Tell how many bytes each item takes in a request, without resource and scope, before compression."""
        return [len(item.data) for item in list(self._items[signal])]


def _message(item: Item) -> bytes:
    return encode.request([(item.resource, item.scope, [item.data])])


@contextmanager
def opened(sink: Sink) -> Iterator[None]:
    """Let a sink take what is emitted meanwhile."""
    global _open  # noqa: PLW0603  one set of providers, one list of those who listen
    _open = (*_open, sink)
    try:
        yield
    finally:
        _open = tuple(other for other in _open if other is not sink)


class _Tap(Queue):
    """Stands where items would wait for delivery, and hands them to the open sinks."""

    def __init__(self, signal: str) -> None:
        super().__init__(max_items=0, max_bytes=0, batch_items=0, batch_bytes=0, delay=0.0)
        self._signal = signal

    def put(self, item: Item, *, error: bool = False) -> None:  # noqa: ARG002  the interface
        for sink in _open:
            sink.keep(self._signal, item)

    def put_all(self, items: Iterable[Item]) -> None:
        for item in items:
            self.put(item)


class _Nobody(Carrier):
    """Stands where a thread would deliver: there is nothing to deliver."""

    def __init__(self) -> None:
        """Without a transport."""

    def start(self) -> None: ...

    def drain(self) -> None: ...

    def renew(self) -> None: ...


class _Deltas(MetricReader):
    """Collects when asked, and only what was measured since it was asked before."""

    def __init__(self, receive: Callable[[MetricsData], None], *, exponential: bool) -> None:
        super().__init__(
            preferred_temporality=dict.fromkeys(_KINDS, AggregationTemporality.DELTA),
            preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()} if exponential else None,
        )
        self._receive = receive

    def look(self) -> None:
        if self._collect is not None:  # otherwise no provider has this reader
            self.collect()

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:  # noqa: ARG002  the SDK's interface
        self._receive(metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None: ...


class Captured(Pipeline):
    """A pipeline whose roads end in the sinks: no thread, no socket, whatever the settings say about exporters."""

    def __init__(self, *arguments: Any) -> None:
        reports = logging.getLogger("opentelemetry")
        before = reports.handlers[:], reports.propagate
        super().__init__(*arguments)
        # What OpenTelemetry reports about itself is for the test to see, as everything that is logged.
        reports.handlers[:], reports.propagate = before

    def _build(self, name: str, signal: Signal, builders: Mapping[str, Callable[[], Any]]) -> list[Any]:  # noqa: ARG002  the interface
        return [builders["otlp"]()]

    def _road(self, name: str, signal: Signal, items: int, batch: int, delay: float) -> Road:  # noqa: ARG002  the interface
        road = self._roads[name] = Road(
            queue=_Tap(name),
            carrier=_Nobody(),
            encoder=Encoder(self._redactors.get(name)),
            resource=lambda given: self._resource or given,
            patience=0.0,
        )
        return road

    def metric_readers(self) -> list[MetricReader]:
        """Build the reader, which collects when somebody looks."""
        road = self._road("metrics", self._settings.metrics, sys.maxsize, sys.maxsize, 0.0)
        exponential = self._settings.histogram_aggregation == "base2_exponential_bucket_histogram"
        self._deltas = _Deltas(road.send_points, exponential=exponential)
        return [self._deltas]

    def collect(self) -> None:
        """Hand what was measured since the last time to the open sinks."""
        self._deltas.look()

    @property
    def unfinished(self) -> list[str]:
        """The names of the spans that are open now."""
        return [span.name for span in list(self._spans._open.values())] if self._spans is not None else []  # noqa: SLF001  those that an exit would end

    def publish(self, meter: Meter) -> None:
        """Export no accounts: nothing is delivered."""

    def probe(self) -> None:
        """Look for nobody."""

    def flush(self, deadline: Deadline) -> bool:  # noqa: ARG002  the interface
        """Hand over what was measured; the rest is there already."""
        self.collect()
        return True

    def close(self, deadline: Deadline) -> bool:
        """Flush: what an application closes at the end of a test is there for the next one."""
        return self.flush(deadline)

    def give_up(self) -> None:
        """Lose nothing."""


def stay_open(telemetry: Telemetry) -> None:
    """Let the providers outlive the application of one test, which may well shut them down."""
    for provider in telemetry._own.values():  # noqa: SLF001  made by us
        vars(provider)["shutdown"] = lambda *_, **__: None


@contextmanager
def without_guests(telemetry: Telemetry) -> Iterator[None]:
    """Take away afterwards the processors and readers that were added meanwhile: an application's of one test."""
    own: Mapping[str, Any] = telemetry._own  # noqa: SLF001  made by us
    lists = [
        (vars(own[signal])[owner], attribute)
        for signal, owner, attribute in (
            ("traces", "_active_span_processor", "_span_processors"),
            ("logs", "_multi_log_record_processor", "_log_record_processors"),
        )
        if signal in own
    ]
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute in lists]
    readers = _readers(own.get("metrics"))
    try:
        yield
    finally:
        for owner, attribute, kept in before:
            added = [part for part in getattr(owner, attribute) if part not in kept]
            setattr(owner, attribute, kept)
            for part in added:
                part.shutdown()
        for reader in _readers(own.get("metrics")) - readers:
            own["metrics"].remove_metric_reader(reader)


def _readers(provider: Any) -> set[Any]:
    """Return the readers of a meter provider. The SDK's own list of them is one for all providers of the process."""
    consumer = getattr(provider, "_measurement_consumer", None)
    return set(getattr(consumer, "_reader_storages", ()))
