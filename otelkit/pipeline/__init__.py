"""The only place for the way from an ended span, record or metric point to the wire.

`Pipeline` is the narrow interface the rest of otelkit sees: it hands the providers one processor or reader per signal,
is flushed and closed against a deadline, and accounts for every item. Behind it, the same for all three signals:

    _redacted               what processors of the application's own get to see
    _processors, _reader    take what the SDK hands over, and encode it at once (otelkit.otlp.encode)
    _cumulative             sums of metrics, which a forked child must not inherit
    _children               what children of a pool measured, told by the process that forked them
    _queue                  what waits: bounded, counted, the oldest shed first
    _deliver, _transport    when to send, and again; how
    _failures               what is said about it on stderr
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from otelkit import _catalog
from otelkit._stderr import say
from otelkit.errors import SettingsError
from otelkit.metrics import create
from otelkit.otlp.encode import Encoder
from otelkit.pipeline import _prometheus
from otelkit.pipeline._deliver import Carrier
from otelkit.pipeline._failures import Failures
from otelkit.pipeline._processors import Records, Road, Spans
from otelkit.pipeline._queue import Queue, SignalStats
from otelkit.pipeline._reader import Reader
from otelkit.pipeline._redacted import RedactedSpan, redact_record
from otelkit.pipeline._transport import open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from otelkit.redact import Redaction, Redactor
    from otelkit.settings import Settings, Signal

__all__ = ["Deadline", "Pipeline", "Records", "RedactedSpan", "SignalStats", "Spans", "redact_record", "run_against"]

# With nothing listening, waiting longer than this at exit only slows reloads down: the data has nowhere to go.
_UNREACHABLE_GRACE = 0.5
_BATCH_BYTES = 3 * 1024 * 1024  # receivers take gRPC messages up to 4 MiB
_PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
_KINDS = {"traces": "span", "metrics": "metric", "logs": "log"}


@dataclass(frozen=True)
class Deadline:
    """A point in time that several waits share, so that they never add up.

    Args:
        at: `time.monotonic()` seconds.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Make the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())


def run_against(deadline: Deadline, jobs: Iterable[Callable[[], Any]]) -> bool:
    """Run `jobs` side by side and wait for all of them, but never past the deadline.

    A job that is late goes on in its daemon thread and is not waited for. Exceptions count as failures.

    Returns:
        True when every job returned in time without raising and without returning False.
    """
    results: list[bool] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            results.append(job() is not False)
        except Exception:  # noqa: BLE001  a failing exporter or a user's processor must not break shutdown
            results.append(False)

    threads = []
    expected = 0
    for job in jobs:
        expected += 1
        thread = threading.Thread(target=run, args=(job,), name="otelkit-flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 and later start no thread at exit: one after the other, while there is time
            if deadline.remaining:
                run(job)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join(deadline.remaining)
    return len(results) == expected and all(results)


class Pipeline:
    """Builds, flushes and closes the way out for all three signals.

    Args:
        settings: Where each signal goes, and how often.
        resource: What every item belongs to; None where the providers are not ours, and items bring their own.
        redactors: By signal, what knows what is secret; empty to send everything as it is.
    """

    def __init__(
        self, settings: Settings, resource: Resource | None = None, redactors: Mapping[str, Redactor] | None = None
    ) -> None:
        self._redactors = redactors or {}
        self._settings = settings
        self._resource = resource
        self._roads: dict[str, Road] = {}
        self._spans: Spans | None = None
        self._reader: Reader | None = None
        self._others: list[Any] = []  # consoles and /metrics
        self._closed = False
        self._operations: Histogram | None = None
        redactor = self._redactors.get("logs")
        self._failures = Failures(settings.diagnostics_level, self.stats, str if redactor is None else redactor.text)
        self._failures.listen()

    @property
    def resource(self) -> Resource | None:
        """What every item belongs to; a forked child has one of its own."""
        return self._resource

    def describe(self, resource: Resource) -> None:
        """Say anew what every item belongs to: for a test, whose applications differ."""
        self._resource = resource

    # -- what the providers are given

    def span_processors(self) -> Sequence[SpanProcessor]:
        """Build the processors that carry spans out; empty when traces go nowhere."""
        settings = self._settings

        def otlp() -> SpanProcessor:
            self._spans = Spans(
                self._road(
                    "traces", settings.traces, settings.span_queue_size, settings.span_batch_size, settings.span_delay
                ),
                settings.forced_per_second,
            )
            return self._spans

        console = partial(SimpleSpanProcessor, ConsoleSpanExporter())
        return self._build("traces", settings.traces, {"otlp": otlp, "console": console})

    def log_processors(self) -> Sequence[LogRecordProcessor]:
        """Build the processors that carry log records out; empty when records go to stdout only."""
        settings = self._settings

        def otlp() -> LogRecordProcessor:
            return Records(
                self._road("logs", settings.logs, settings.log_queue_size, settings.log_batch_size, settings.log_delay)
            )

        return self._build("logs", settings.logs, {"otlp": otlp})

    def metric_readers(self) -> Sequence[MetricReader]:
        """Build the readers that carry metrics out; empty when metrics go nowhere."""
        settings = self._settings

        def otlp() -> MetricReader:
            road = self._road("metrics", settings.metrics, sys.maxsize, sys.maxsize, 0.0)
            self._reader = Reader(
                road.send_points,
                interval=settings.metric_interval,
                preference=settings.temporality,
                exponential=settings.histogram_aggregation == "base2_exponential_bucket_histogram",
            )
            return self._reader

        def console() -> MetricReader:
            return PeriodicExportingMetricReader(
                ConsoleMetricExporter(), export_interval_millis=settings.metric_interval * 1000
            )

        prometheus = partial(_prometheus.serve, settings.prometheus_host, settings.prometheus_port)
        return self._build("metrics", settings.metrics, {"otlp": otlp, "console": console, "prometheus": prometheus})

    def _road(self, name: str, signal: Signal, items: int, batch: int, delay: float) -> Road:
        try:
            transport = open_transport(name, signal)
        except LookupError as error:
            part = "grpc_credentials" if signal.protocol == "grpc" else "http_credentials"
            raise LookupError(f"{self._settings.origin(f'{name}.{part}')}: {error}") from error
        queue = Queue(
            max_items=items,
            max_bytes=self._settings.queue_bytes,
            batch_items=batch,
            batch_bytes=_BATCH_BYTES,
            delay=delay,
        )
        road = self._roads[name] = Road(
            queue=queue,
            carrier=Carrier(name, signal, queue, transport, failures=self._failures, observe=self._observe),
            encoder=Encoder(self._redactors.get(name)),
            resource=lambda given: self._resource or given,
            patience=self._settings.shutdown_timeout,
        )
        return road

    def _build(self, name: str, signal: Signal, builders: Mapping[str, Callable[[], Any]]) -> list[Any]:
        """Build what one signal asks for; what is not installed, or whose port is taken, costs that road only.

        Raises:
            SettingsError: It was asked for in code, and its package is not installed.
        """
        parts = []
        for exporter in signal.exporters:
            if exporter not in builders:
                continue
            try:
                part = builders[exporter]()
            except ImportError as error:
                extra = "grpc" if exporter == "otlp" else exporter
                problem = f'{name} by {extra}: needs `pip install "otelkit[{extra}]"` ({error})'
                if self._settings.origin(f"{name}.{'protocol' if exporter == 'otlp' else 'exporters'}") == "argument":
                    raise SettingsError([problem]) from error
                say(f"{problem}; {name} are not exported that way")
            except (OSError, LookupError) as error:
                say(f"{name} by {exporter}: {error}; {name} are not exported that way")
            else:
                parts.append(part)
                if exporter != "otlp":
                    self._others.append(part)
        return parts

    def redact(self, redaction: Redaction) -> None:
        """Send what is emitted from now on redacted by other rules."""
        for redactor in self._redactors.values():
            redactor.adopt(redaction)
        for road in self._roads.values():
            road.encoder.forget()

    # -- what is known about delivery

    def stats(self) -> Mapping[str, SignalStats]:
        """Tell what became of every item of this process, for each signal that is exported by OTLP."""
        return {name: replace(road.queue.stats(), redacted=self._redacted(name)) for name, road in self._roads.items()}

    def _redacted(self, name: str) -> Mapping[str, int]:
        return dict(self._redactors[name].counts) if name in self._redactors else {}

    def publish(self, meter: Meter) -> None:
        """Export the accounts as metrics: every signal and reason from the start, with zeros."""

        def observed(value: Callable[[SignalStats], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
            def observe(_: CallbackOptions) -> Iterable[Observation]:
                for name, stats in self.stats().items():
                    yield Observation(value(stats), {"otelkit.signal": name})

            return observe

        def dropped(_: CallbackOptions) -> Iterable[Observation]:
            for name, stats in self.stats().items():
                for reason, count in stats.dropped.items():
                    yield Observation(count, {"otelkit.signal": name, "otelkit.reason": reason})

        create(meter, _catalog.metric("otelkit.telemetry.emitted"), [observed(lambda stats: stats.emitted)])
        create(meter, _catalog.metric("otelkit.telemetry.delivered"), [observed(lambda stats: stats.delivered)])
        create(meter, _catalog.metric("otelkit.telemetry.dropped"), [dropped])
        create(meter, _catalog.metric("otelkit.telemetry.pending"), [observed(lambda stats: stats.pending)])
        self._operations = create(meter, _catalog.metric("otel.sdk.exporter.operation.duration"))

    def _observe(self, name: str, seconds: float, error: str | None) -> None:
        operations = self._operations
        if operations is not None:
            signal: Signal = getattr(self._settings, name)
            attributes = {"otel.component.type": f"otlp_{_PROTOCOLS[signal.protocol]}_{_KINDS[name]}_exporter"}
            operations.record(seconds, attributes | ({"error.type": error} if error else {}))

    def probe(self) -> None:
        """Look, in the background, whether somebody listens at each endpoint, and say once where nobody does."""
        self._failures.probe((self._settings.traces, self._settings.metrics, self._settings.logs))

    def grace(self, timeout: float) -> float:
        """Shorten a wait at exit where it cannot help: every endpoint is known to have nobody listening.

        Args:
            timeout: Seconds the caller would wait.
        """
        return min(timeout, _UNREACHABLE_GRACE) if self._failures.unreachable() else timeout

    # -- the end

    def end_open_spans(self) -> int:
        """End the spans that are still open, flagged `otelkit.span.unfinished`; tells how many there were."""
        return self._spans.end_open() if self._spans is not None else 0

    def flush(self, deadline: Deadline) -> bool:
        """Deliver everything that was emitted before the call, all signals side by side.

        Returns:
            True where all of it was acknowledged before the deadline.
        """
        return self._send_all(deadline, closing=False)

    def close(self, deadline: Deadline) -> bool:
        """Deliver everything and stop: what is not acknowledged at the deadline is lost, and said. Idempotent.

        Returns:
            True where everything was acknowledged before the deadline.
        """
        if self._closed:
            return True
        self._closed = True
        delivered = self._send_all(deadline, closing=True)
        self.give_up()
        for part in self._others:
            part.shutdown()
        return delivered

    def give_up(self) -> None:
        """Count what is still pending as lost, and say so; the last thing that happens. Idempotent."""
        left = {name: road.queue.abandon() for name, road in self._roads.items()}
        self._failures.left(left, {name: getattr(self._settings, name) for name in left})

    def _send_all(self, deadline: Deadline, *, closing: bool) -> bool:
        roads = list(self._roads.values())
        before = [road.queue.mark() for road in roads]
        with contextlib.ExitStack() as calming:
            for road in roads:
                road.queue.hurry()
                calming.callback(road.queue.calm)
            collected = self._collect(deadline, closing=closing)
            if closing:
                for road in roads:
                    road.queue.close(deadline.at)
            # Marked again after the collection, which has added to one of them, and in whose time others may have lost.
            marks = [road.queue.mark(earlier) for road, earlier in zip(roads, before, strict=True)]
            return all([collected, *(road.wait(mark, deadline.at) for road, mark in zip(roads, marks, strict=True))])

    def _collect(self, deadline: Deadline, *, closing: bool) -> bool:
        if self._reader is None:
            return True
        if closing:  # once and for all: a collection after the queue is closed would be lost
            self._reader.shutdown(deadline.remaining * 1000)
            return True
        return self._reader.force_flush(deadline.remaining * 1000)

    def after_fork_in_child(self) -> None:
        """Begin anew in a forked child: what waits is the parent's, accounts are zero, the instance is another one."""
        if self._resource is not None:
            attributes = dict(self._resource.attributes)
            attributes |= {"service.instance.id": str(uuid.uuid4()), "process.pid": os.getpid()}
            self._resource = Resource(attributes, self._resource.schema_url)
        self._failures.renew()
        for redactor in self._redactors.values():
            redactor.renew()
        for road in self._roads.values():
            road.queue.renew()
            road.carrier.renew()
        if self._spans is not None:
            self._spans.renew()
        if self._reader is not None:
            self._reader.renew_in_child()

    # -- children of a pool

    def adopt_children(self) -> None:
        """Tell the metrics of children that are forked from now on as this process's own, if they `join_parent`."""
        if self._reader is None or not hasattr(os, "fork"):
            return
        settings = self._settings
        lost = partial(self._roads["metrics"].queue.lost, reason="shutdown")
        try:
            self._reader.adopt_children(settings.metric_cardinality_limit, within=settings.span_delay, lost=lost)
        except OSError as error:  # no file descriptor left: children tell their own, as without this
            say(f"metrics of children are series of their own: {error}")

    def join_parent(self) -> None:
        """Hand the metrics of this forked child to the process that forked it."""
        if self._reader is not None:
            self._reader.join_parent()
