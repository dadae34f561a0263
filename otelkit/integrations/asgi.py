"""The only place for what surrounds an ASGI application as a whole, whatever the framework.

`TelemetryMiddleware` goes round Starlette, Litestar, Quart or a bare application; the FastAPI integration uses the same
parts from inside. Per request: a server span and the stable HTTP metrics (unless the framework makes them itself), the
sizes of both bodies, a request id bound to every log line, both ids returned to the caller, one access event, and
exceptions recorded once.

A server span's parent comes from the request's own headers only, never from the context in which the server happened to
call: a server may go on reading a connection in the context of the request before (E-49).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from otelkit import _catalog, _propagation, _serving
from otelkit.integrations import _process, _routes, _silent
from otelkit.integrations._exchange import Exchange, header
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from otelkit.integrations._exchange import ASGIApp, Receive, Scope, Send, SpanSource

__all__ = ["TelemetryMiddleware"]

KNOWN_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})

_SCOPE = "otelkit.integrations.asgi"
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"  # that of FastAPI's own telemetry


class TelemetryMiddleware:
    """Telemetry for any ASGI application, one layer around it.

    FastAPI applications have it from `otelkit.configure()`; do not add it to them. Give it the whole application:

        app = TelemetryMiddleware(Starlette(...))

    Args:
        app: The ASGI application.
        tracer_provider: Makes the server spans; the global one if None.
        meter_provider: Makes the metrics; the global one if None.
        server_span: False where something else makes the server span and the duration metric already.
        access_event: One event per request on the logger "otelkit.access".
        exclude: Regular expressions; a request whose whole path one of them matches (root path taken off) leaves no
            spans, nor does anything it calls, no metrics, no access event and no exception event.
        excluded_urls: The same by regular expressions that are searched for in `scheme://host/path`, as contrib does
            with `OTEL_PYTHON_EXCLUDED_URLS`.
        known_methods: Request methods that are reported by name; any other is `_OTHER`.
        route: Tells the template of a routed request by its scope; asked where the routing of Starlette or FastAPI did
            not tell. None asks Litestar.
        public_endpoint: True where callers are strangers: each request is a trace of its own, with a link to the trace
            that its headers name, and without their baggage. None takes what `otelkit.configure()` was told.

    Raises:
        re.error: An expression is malformed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        server_span: bool = True,
        access_event: bool = True,
        exclude: Sequence[str] = (),
        excluded_urls: Sequence[str] = (),
        known_methods: Iterable[str] = KNOWN_METHODS,
        route: Callable[[Scope], str | None] | None = None,
        public_endpoint: bool | None = None,
    ) -> None:
        self.app = app
        self._source = None if server_span else ForeignSpan(within=False)
        self._recorder = Recorder(
            Instruments(tracer_provider or trace.get_tracer_provider(), meter_provider or metrics.get_meter_provider()),
            exclude=Exclusion(paths=exclude, urls=excluded_urls),
            known_methods=frozenset(known_methods),
            access_event=access_event,
            route=route or _litestar_route,
            public_endpoint=public_endpoint,
        )
        _routes.install()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        _serving.mark()
        if concerns(scope) and not _silent.answered_within(self.app, scope):
            await self._recorder.serve(self.app, scope, receive, send, source=self._source)
        else:
            await self.app(scope, receive, send)


def concerns(scope: Scope) -> bool:
    """Tell whether a call is a request that no layer of ours has seen; a mounted application shares its parent's."""
    return scope["type"] in ("http", "websocket") and _routes.EXCHANGE not in scope


class Recorder:
    """Serves requests with telemetry: the instruments, and the rules that hold for all requests.

    Args:
        instruments: Where spans and measurements go.
        exclude: Tells which requests leave no telemetry.
        known_methods: Request methods that are reported by name.
        access_event: Whether each request leaves an access event.
        route: Tells the route template where no routing hook did.
        public_endpoint: Whether callers are strangers; None takes what `configure()` was told, whenever that is.
    """

    def __init__(
        self,
        instruments: Instruments,
        *,
        exclude: Callable[[Scope], bool],
        known_methods: frozenset[str] = KNOWN_METHODS,
        access_event: bool = True,
        route: Callable[[Scope], str | None] | None = None,
        public_endpoint: bool | None = None,
    ) -> None:
        self.instruments = instruments
        self.exclude = exclude
        self.known_methods = known_methods
        self.access_event = access_event
        self.route = route
        self._public_endpoint = public_endpoint

    @property
    def public_endpoint(self) -> bool:
        """Whether callers are strangers, whose context is not continued."""
        return _propagation.public_endpoint() if self._public_endpoint is None else self._public_endpoint

    async def serve(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        source: SpanSource | None = None,
        metrics: bool = True,
    ) -> None:
        """Run an application for one request; this is the one frame that otelkit adds to a traceback.

        Args:
            app: The application.
            scope: The request's scope; it carries the exchange while the application runs.
            receive: The server's.
            send: The server's.
            source: What makes the server span and the duration metric; None makes them here.
            metrics: False leaves all metrics out.
        """
        _process.look_at_running_loop()
        exchange = Exchange(self, scope, receive, send, source=source, metrics=metrics)
        exchange.open()
        # A WebSocket's messages are none of ours: it has no body sizes, and its handshake takes no further headers.
        if scope["type"] == "http":
            receive, send = exchange.receive, exchange.send
        error: BaseException | None = None
        try:
            await app(scope, receive, send)
        except BaseException as exception:
            error = exception
            exchange.failed(exception)
            raise
        finally:
            exchange.close(error)
            del error  # it holds this frame by its traceback


class Exclusion:
    """Which requests leave no telemetry.

    Args:
        paths: Regular expressions for the whole path, root path taken off.
        urls: Regular expressions searched for in `scheme://host/path`.

    Raises:
        re.error: An expression is malformed.
    """

    def __init__(self, *, paths: Iterable[str] = (), urls: Iterable[str] = ()) -> None:
        self._paths = tuple(re.compile(pattern) for pattern in paths)
        self._urls = tuple(re.compile(pattern) for pattern in urls)

    def __call__(self, scope: Scope) -> bool:
        """Tell whether the request of this scope is excluded."""
        if self._paths:
            path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
            if any(pattern.fullmatch(path) for pattern in self._paths):
                return True
        if self._urls:
            url = f"{scope.get('scheme', 'http')}://{_host(scope)}{scope['path']}"
            return any(pattern.search(url) for pattern in self._urls)
        return False


class Instruments:
    """The tracer and the metric instruments, made once.

    Args:
        tracer_provider: Makes the tracer.
        meter_provider: Makes the instruments.
    """

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.tracer = tracer_provider.get_tracer(_SCOPE, schema_url=_SCHEMA)
        meter = meter_provider.get_meter(_SCOPE, schema_url=_SCHEMA)
        self.duration = create(meter, _catalog.metric("http.server.request.duration"))
        self.active = create(meter, _catalog.metric("http.server.active_requests"))
        self.request_size = create(meter, _catalog.metric("http.server.request.body.size"))
        self.response_size = create(meter, _catalog.metric("http.server.response.body.size"))


class ForeignSpan:
    """The server span of another instrumentation: the span that is current when first asked for.

    Args:
        within: True when the other instrumentation begins inside ours, so that it must find an empty context.
    """

    def __init__(self, *, within: bool) -> None:
        self.within = within

    def span(self, scope: Scope) -> Span | None:  # noqa: ARG002  as the protocol has it
        """Return the current span."""
        span = trace.get_current_span()
        return span if span.get_span_context().is_valid else None

    def routed(self, scope: Scope, template: str) -> None:
        """Leave names to the other instrumentation."""


def _host(scope: Scope) -> str:
    if given := header(scope, b"host"):
        return given.decode("latin-1")
    address, port = scope.get("server") or ("", None)
    return str(address) if port in (None, 80) else f"{address}:{port}"


def _litestar_route(scope: Scope) -> str | None:
    template = scope.get("path_template")
    return template if isinstance(template, str) else None
