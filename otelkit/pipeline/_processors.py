"""The only place where ended spans and emitted records leave the SDK: encoded at once, in the thread that ends them.

Bytes are all that waits. Their size is known, nothing that happens to the span later shows, an export joins them in a
moment (docs/decisions/0013), and an item that cannot be encoded costs itself.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from otelkit import _propagation
from otelkit._passing import passing
from otelkit._sampling import FORCED, Allowance
from otelkit.otlp.encode import Encoder
from otelkit.pipeline._queue import Item
from otelkit.pipeline._redacted import RedactedSpan

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otelkit.pipeline._deliver import Carrier
    from otelkit.pipeline._queue import Queue

_PLAIN = Encoder()
"""For what has been redacted on its way here."""
_ERROR = 17  # SeverityNumber.ERROR
_UNFINISHED = "otelkit.span.unfinished"
_MOST_OPEN = 10_000  # spans that are remembered as open; a program that never ends its spans must not grow for ever


@dataclass(kw_only=True)
class Road:
    """One signal's way from the SDK to its endpoint.

    Args:
        queue: Where its items wait.
        carrier: Delivers them.
        encoder: Encodes them, redacted.
        resource: Tells the resource of an item by the one that it brings.
        patience: Seconds that a shutdown by the provider may take.
    """

    queue: Queue
    carrier: Carrier
    encoder: Encoder
    resource: Callable[[Resource], Resource]
    patience: float

    def send(self, encoded: Callable[[Any], bytes], thing: Any, *, error: bool) -> None:
        """Encode something and queue it. Never raises."""
        try:
            item = Item(encoded(thing), 1, self.resource(thing.resource), thing.instrumentation_scope)
        except Exception:  # noqa: BLE001  a poisoned item costs itself; the encoder is made so that none is
            item = None
        if item is None or not item.data:  # without bytes: no such thing, or no stack left to read it
            self.queue.lost(1, "invalid")
            return
        self.queue.put(item, error=error)
        self.carrier.start()

    def send_points(self, data: MetricsData) -> None:
        """Encode a collection of metrics and queue it, as one."""
        items: list[Item] = []
        points = 0
        for of_resource in data.resource_metrics:
            resource = self.resource(of_resource.resource)
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    points += len(metric.data.data_points)
                    items += [Item(encoded, n, resource, of_scope.scope) for encoded, n in self.encoder.metric(metric)]
        # A point that fits into no item with all its attributes is left out: cut, it would be another series.
        self.queue.lost(points - sum(item.number for item in items), "invalid")
        self.queue.put_all(items)
        self.carrier.start()

    def flush(self, seconds: float) -> bool:
        """Deliver what was handed over before; True where all of it was acknowledged in time."""
        mark = self.queue.mark()
        self.queue.hurry()
        try:
            return self.wait(mark, time.monotonic() + seconds)
        finally:
            self.queue.calm()

    def wait(self, mark: tuple[int, int], at: float) -> bool:
        """Wait until what was emitted before a mark is settled; until `at`, in `time.monotonic()` seconds."""
        if self.queue.pending:
            self.carrier.start()
            self.carrier.drain()
        return self.queue.wait(mark, at)

    def shutdown(self) -> None:
        """Deliver everything and stop, for users who shut a provider down themselves."""
        at = time.monotonic() + self.patience
        mark = self.queue.mark()
        self.queue.close(at)
        self.wait(self.queue.mark(mark), at)


class Spans(SpanProcessor):
    """Sends spans as they end, and knows those that have not.

    Args:
        road: Their way out.
        forced_per_second: How many server spans that failed may go although they were not sampled.
    """

    def __init__(self, road: Road, forced_per_second: int = 0) -> None:
        self._road = road
        self._forced = Allowance(forced_per_second)
        self._open: dict[int, Span] = {}
        self._inherited: frozenset[int] = frozenset()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember an open span, and give it what its context brings along."""
        context = span.context
        if context is not None and len(self._open) < _MOST_OPEN:
            self._open[context.span_id] = span
        for key, value in _propagation.listed(parent_context).items():
            if key not in (span.attributes or ()):
                span.set_attribute(key, value)
        if span.kind is SpanKind.SERVER and span.parent is None:
            caller = _propagation.caller(parent_context)
            if caller is not None and all(link.context != caller for link in span.links):
                span.add_link(caller)

    def on_end(self, span: ReadableSpan) -> None:
        """Send a span that was sampled, or one that was recorded for the case that it fails."""
        context = span.context
        if context is None:
            return
        self._open.pop(context.span_id, None)
        # A span that was open at a fork belongs to the parent, which ends it too.
        if context.span_id in self._inherited:
            return
        failed = span.status.status_code is StatusCode.ERROR
        if context.trace_flags.sampled or (failed and FORCED in (span.attributes or ()) and self._forced.take()):
            encoder = _PLAIN if type(span) is RedactedSpan else self._road.encoder
            self._road.send(encoder.span, span, error=failed)

    def end_open(self) -> int:
        """End what is still open, with a flag that says so; tells how many there were."""
        still_open = list(self._open.values())
        for span in still_open:
            with contextlib.suppress(Exception):  # a processor of the user may raise; the next span must still end
                span.set_attribute(_UNFINISHED, value=True)
                span.end()
        return len(still_open)

    def renew(self) -> None:
        """Forget, in a forked child, the spans of the parent."""
        self._inherited = frozenset(self._open)
        self._open = {}
        self._forced.renew()

    def shutdown(self) -> None:
        """Deliver what ended before; the pipeline has done it where it was closed first."""
        self._road.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what ended before."""
        return self._road.flush(timeout_millis / 1000)


class Records(LogRecordProcessor):
    """Sends log records as they are emitted."""

    def __init__(self, road: Road) -> None:
        self._road = road

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Send a record."""
        severity = log_record.log_record.severity_number
        encoder = _PLAIN if passing.redacted else self._road.encoder
        self._road.send(encoder.log_record, log_record, error=severity is not None and severity.value >= _ERROR)

    def shutdown(self) -> None:
        """Deliver what was emitted before; the pipeline has done it where it was closed first."""
        self._road.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what was emitted before."""
        return self._road.flush(timeout_millis / 1000)
