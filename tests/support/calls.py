"""The only place where tests call an ASGI application inside the process, and look at the telemetry it left.

A call is what a server does: one scope, one `receive`, one `send`. Providers are real SDK providers that keep all in
memory; log records are kept with what was current when they were written.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import structlog
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelkit.integrations import Wiring
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from types import TracebackType

    from opentelemetry.sdk.trace import ReadableSpan

    Message = MutableMapping[str, Any]
    App = Callable[
        [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
        Awaitable[None],
    ]

LOGGERS = ("otelkit.access", "otelkit.exceptions", "fastapi.validation", "app")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an application answered.

    Args:
        status: The status code; None where no response began.
        headers: Names in lower case.
        body: All pieces.
        error: What the application raised to its server.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: BaseException | None = None


async def request(
    app: App,
    path: str,
    *,
    method: str = "GET",
    host: str = "testserver",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    **scope: Any,
) -> Reply:
    """Call an application for one HTTP request, as a server does, but in the caller's task and context.

    Args:
        app: The application.
        path: The path, and the query behind a question mark.
        method: The request's method.
        host: The `host` header.
        headers: Header fields beside `host`.
        body: The request's body, received in one piece.
        scope: Further keys of the scope.
    """
    path, _, query = path.partition("?")
    whole: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", host.encode()), *((k.lower().encode(), v.encode("latin-1")) for k, v in headers)],
        "server": ("testserver", 80),
        "client": ("192.0.2.1", 4711),
        **scope,
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()  # a connection that stays open has nothing more to say
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    error: BaseException | None = None
    try:
        await app(whole, receive, send)
    except Exception as raised:  # noqa: BLE001  a server takes anything
        error = raised
    start: Message = next((m for m in sent if m["type"] == "http.response.start"), {})
    return Reply(
        status=start.get("status"),
        headers={k.decode().lower(): v.decode() for k, v in start.get("headers", ())},
        body=b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body"),
        error=error,
    )


def fetch(app: App, path: str, **arguments: Any) -> Reply:
    """Call an application for one request in a loop and a context of its own; see `request`."""
    return Context().run(asyncio.run, request(app, path, **arguments))


async def websocket(app: App, path: str, *texts: str, close_code: int = 1000) -> list[Message]:
    """Connect to an application, send texts, close, and return what it sent.

    Raises:
        Exception: Whatever the application raised to its server.
    """
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80),
        "client": ("192.0.2.1", 4711),
        "subprotocols": [],
    }
    incoming: list[Message] = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", "text": text} for text in texts),
        {"type": "websocket.disconnect", "code": close_code},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@dataclass(frozen=True, kw_only=True)
class Record:
    """One log record, and what was current when it was written."""

    logger: str
    level: str
    event: str
    fields: Mapping[str, Any]
    exception: BaseException | None
    trace_id: int
    span_id: int
    request_id: str | None


class Telemetry(logging.Handler):
    """Context manager: providers that keep everything, and a handler on the loggers a request writes to."""

    def __init__(self) -> None:
        super().__init__()
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.records: list[Record] = []

    def __enter__(self) -> Self:
        """Begin to listen."""
        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.setLevel(logging.NOTSET)
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()

    def wiring(self, environ: Mapping[str, str] | None = None) -> Wiring:
        """Return what `configure()` would give an integration."""
        return Wiring(
            settings=Settings(environ=dict(environ or {})),
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        span = trace.get_current_span().get_span_context()
        self.records.append(
            Record(
                logger=record.name,
                level=record.levelname,
                event=record.getMessage(),
                fields={k: v for k, v in vars(record).items() if "." in k or k == "duration"},
                exception=record.exc_info[1] if record.exc_info else None,
                trace_id=span.trace_id,
                span_id=span.span_id,
                request_id=structlog.contextvars.get_contextvars().get("request_id"),
            )
        )

    def events(self, logger: str) -> list[Record]:
        """Return the records of one logger."""
        return [record for record in self.records if record.logger == logger]

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return the ended spans, in the order they ended."""
        return self._exporter.get_finished_spans()

    @property
    def server_spans(self) -> list[ReadableSpan]:
        """Return the ended server spans."""
        return [span for span in self.spans if span.kind is trace.SpanKind.SERVER]

    def metrics(self) -> dict[str, list[Any]]:
        """Collect, and return all data points by metric, in whichever scope; exemplars are there once."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found

    def points(self, metric: str) -> list[Any]:
        """Collect, and return the data points of one metric."""
        return self.metrics().get(metric, [])
