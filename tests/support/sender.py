"""The only place where tests make telemetry with the plain SDK and send it over OTLP, item by item.

Tests of Collector and stores use it, so that they prove the stack alone: nothing of otelkit makes what they look for.
"""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, format_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

NAME = "otelkit.tests"
_NEVER = 3_600_000.0  # milliseconds between two exports: metrics leave on flush() only


class Sender:
    """Context manager: one pretended process of a service, with an instance id of its own.

    Args:
        endpoint: Base URL of an OTLP/HTTP receiver.
        service: Its `service.name`.
        resource: Further resource attributes.
    """

    def __init__(self, endpoint: str, *, service: str, resource: Mapping[str, str] | None = None) -> None:
        self.service = service
        self.instance = uuid.uuid4().hex
        about = Resource({"service.name": service, "service.instance.id": self.instance, **(resource or {})})
        self._spans = TracerProvider(resource=about, shutdown_on_exit=False)
        self._spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{endpoint}/v1/metrics"), export_interval_millis=_NEVER
        )
        self._metrics = MeterProvider([reader], resource=about, shutdown_on_exit=False)
        self._logs = LoggerProvider(resource=about, shutdown_on_exit=False)
        self._logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
        self._requests = self._metrics.get_meter(NAME).create_histogram(
            "http.server.request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.01, 0.1, 1.0]
        )

    def __enter__(self) -> Self:
        """Return the sender, ready to use."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what is left and close the connections, whatever one of the providers says."""
        with ExitStack() as closing:
            for provider in (self._spans, self._metrics, self._logs):
                closing.callback(provider.shutdown)

    def request(self, route: str, *, seconds: float = 0.02) -> str:
        """Pretend one request: a server span with a statement span inside, a measurement and a log record.

        Args:
            route: The route, for example "/orders/{order_id}".
            seconds: The duration to measure.

        Returns:
            The trace id.
        """
        with self.span(f"GET {route}", SpanKind.SERVER, {"http.request.method": "GET", "http.route": route}) as trace:
            with self.span("SELECT orders", SpanKind.CLIENT, {"db.system.name": "postgresql"}):
                pass
            self._requests.record(seconds, {"http.request.method": "GET", "http.route": route})
            self.log("order.read", {"order.id": 7})
        self.flush()
        return trace

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        """Open a span, and give its trace id."""
        with self._spans.get_tracer(NAME).start_as_current_span(name, kind=kind, attributes=attributes) as span:
            yield format_trace_id(span.get_span_context().trace_id)

    def log(self, event: str, attributes: Mapping[str, str | int]) -> None:
        """Emit a log record inside the current span."""
        record = LogRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=event,
            attributes=dict(attributes),
        )
        self._logs.get_logger(NAME).emit(record)

    def flush(self) -> None:
        """Send the metrics; spans and log records have left already."""
        self._metrics.force_flush()
