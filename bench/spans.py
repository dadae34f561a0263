"""The only place for the spans that encoders are measured with: ended ones of a real provider, with 8 attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


def ended_spans(count: int) -> list[ReadableSpan]:
    """Make server spans as an HTTP service has them: two of eight values differ from one to the next."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench", "1.0")
    with tracer.start_as_current_span("around"):
        for number in range(count):
            attributes: dict[str, str | int] = {
                "http.request.method": "GET",
                "http.route": "/items/{item_id}",
                "url.path": f"/items/{number}",
                "url.scheme": "http",
                "server.address": "shop.example.com",
                "server.port": 80,
                "http.response.status_code": 200,
                "item.id": number,
            }
            tracer.start_span("GET /items/{item_id}", kind=SpanKind.SERVER, attributes=attributes).end()
    spans = list(exporter.get_finished_spans())[:count]
    provider.shutdown()
    return spans
