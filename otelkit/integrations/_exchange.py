"""The only place for the story of one HTTP request or WebSocket connection: span, measurements, ids, events.

Span and metrics made here have the names, attributes and moments of FastAPI's own telemetry, so that a service looks
the same whichever made them: both end when the last piece of the response was handed to the server, before background
tasks.
"""

from __future__ import annotations

import logging
import re
import sys
import uuid
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode

from otelkit import _exceptions, _propagation
from otelkit.integrations import _request, _routes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from opentelemetry.trace import Span

    from otelkit.integrations.asgi import Recorder

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


_access_log = logging.getLogger("otelkit.access")
_exception_log = logging.getLogger("otelkit.exceptions")
_own_log = logging.getLogger("otelkit")

_SERVER_ERROR = 500
_NORMAL_CLOSES = (1000, 1001)
_REQUEST_ID = b"x-request-id"
_TRACE_RESPONSE = b"traceresponse"  # https://www.w3.org/TR/trace-context-2/ named it so in its drafts
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SIGNATURES = frozenset({"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sig", "X-Goog-Signature"})
"""Query keys whose values the semantic conventions for HTTP server spans want redacted."""

_MARK = "__otelkit_recorded__"
_access_replaced: ContextVar[bool] = ContextVar("otelkit_access_replaced", default=False)
_told: list[bool] = []


def access_replaced() -> bool:
    """Tell whether the server need not print an access line: the request has an event of ours, or is excluded."""
    return _access_replaced.get()


def was_recorded(exception: BaseException | None) -> bool:
    """Tell whether this very exception object was recorded by an exchange."""
    return exception is not None and _MARK in exception.__dict__


class SpanSource(Protocol):
    """What makes the server span and the duration metric where the exchange does not."""

    @property
    def within(self) -> bool:
        """True when it begins inside the exchange, and finds its parent in the headers, given an empty context."""

    def span(self, scope: Scope) -> Span | None:
        """Return the server span of a request; None as long as there is none."""

    def routed(self, scope: Scope, template: str) -> None:
        """Take note of the full template of a request's route."""


class Exchange(_request.RequestState):
    """One request or connection on its way through the application.

    None of its methods raises because of telemetry; `receive` and `send` raise what the server's raise.

    Args:
        recorder: Instruments, and the rules for all requests.
        scope: The request's scope.
        receive: The server's.
        send: The server's.
        source: What makes the server span; None makes it here.
        metrics: Whether metrics are wanted.
    """

    __slots__ = (
        "_abandoned",
        "_announced",
        "_around",
        "_attributes",
        "_disconnected",
        "_error",
        "_finished",
        "_method",
        "_metrics",
        "_outer",
        "_received",
        "_recorded",
        "_recorder",
        "_request_id",
        "_scope",
        "_sent",
        "_server_receive",
        "_server_send",
        "_source",
        "_started",
        "_status",
        "_trailers",
        "_undo",
        "_websocket",
        "closed",
        "excluded",
    )

    def __init__(
        self,
        recorder: Recorder,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        source: SpanSource | None = None,
        metrics: bool = True,
    ) -> None:
        super().__init__()
        self._recorder, self._scope, self._source, self._metrics = recorder, scope, source, metrics
        self._server_receive, self._server_send = receive, send
        self._started = perf_counter()
        self._websocket = scope["type"] == "websocket"
        self._method = scope.get("method", "") if scope.get("method") in recorder.known_methods else "_OTHER"
        self._around: Context | None = None
        self._attributes: dict[str, str | int] = {}
        self._request_id = self._outer = ""
        self._status: int | None = None
        self._error: BaseException | None = None
        self._recorded: list[BaseException] = []
        self._received = self._sent = self._announced = 0
        self._trailers = self._disconnected = self._finished = self._abandoned = False
        self.excluded = self.closed = False
        self._undo: list[Callable[[], object]] = []

    # -- what the recorder calls ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin: a clean OpenTelemetry context, the ids, and the server span where it is made here."""
        try:
            self._open()
        except Exception:  # noqa: BLE001  telemetry never raises into the application
            _tell_once()

    def failed(self, exception: BaseException) -> None:
        """Take note of an exception that left the application, or is about to be answered by an error handler.

        An exception object is recorded once per request, with its stack, on the logger "otelkit.exceptions".
        """
        self._error = exception
        self._abandoned = isinstance(exception, GeneratorExit)
        self._count_statements()  # a span that is made elsewhere may end before we hear of it
        if self.excluded or not isinstance(exception, Exception) or self._is_normal_close(exception):
            return
        if any(recorded is exception for recorded in self._recorded):
            return
        try:
            self._record(exception)
        except Exception:  # noqa: BLE001  telemetry never raises into the application
            _tell_once()
        else:
            self._recorded.append(exception)
            exception.__dict__[_MARK] = True  # not setattr, which an exception class may forbid

    def close(self, exception: BaseException | None = None) -> None:
        """End: whatever was not finished, and every context variable as it was before."""
        if not self._finished:
            if exception is None and not self._websocket:
                exception = (
                    ConnectionError("Client disconnected")
                    if self._disconnected
                    else RuntimeError("Incomplete ASGI response")
                )
            elif exception is not None and self._is_normal_close(exception):
                exception = None
            self._finish(exception)
        if not self._abandoned:  # a coroutine that is thrown away ends in another context, where nothing is to undo
            for undo in reversed(self._undo):
                try:
                    undo()
                except Exception:  # noqa: BLE001  telemetry never raises into the application
                    _tell_once()
        self._scope.pop(_routes.EXCHANGE, None)
        _routes.forget(self._scope)
        self.closed = True
        # A task or a context that outlives the request holds this object; the request itself may go.
        self._scope, self._error, self._around = {"type": self._scope["type"]}, None, None
        self._recorded.clear()
        self._undo.clear()

    # -- what the application calls ------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Receive a message of the request, and count its body."""
        message = await self._server_receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body") or b"")
        elif message["type"] == "http.disconnect":
            self._disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response: ids into its headers, its body counted, the story ended with the last one."""
        last = False
        try:
            if message["type"] == "http.response.start":
                message = self._response_started(message)
            else:
                last = self._response_continued(message)
        except Exception:  # noqa: BLE001  a message that is wrong is for the server to refuse
            _tell_once()
        await self._server_send(message)
        if last and not self._finished:
            self._finish(None)

    def routed(self, template: str) -> None:
        """Take note of the full route template, level by level."""
        self.route = template
        if self._source is not None:
            self._source.routed(self._scope, template)
            self._find_span()
        elif self.span is not None:
            self.span.set_attribute("http.route", template)
            self.span.update_name(f"{self._span_method} {template}")

    def template(self) -> str | None:
        """Return the template of the route; asks the framework where no hook of ours has told yet."""
        if self.route is None and not self.closed:
            self._settle_route()
        return self.route

    def exclude(self) -> bool:
        """Leave no telemetry of this request, nor of what it calls; returns True."""
        self.excluded = self._finished = True
        if self._around is not None:  # a call from inside the process stays a part of its caller's trace
            self._attach(self._around)
        suppression = suppress_instrumentation()
        suppression.__enter__()  # left in `close`, which runs in the same context
        self._undo.append(lambda: suppression.__exit__(None, None, None))
        self._begin(None)
        return True

    # -- the beginning -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        scope = self._scope
        scope[_routes.EXCHANGE] = self
        self._outer = _routes.mounts(scope)
        if self._source is None or self._source.within:
            self._leave_ambient_span()
        given = header(scope, _REQUEST_ID)
        self._request_id = given.decode() if given and _SAFE_ID.fullmatch(given) else uuid.uuid4().hex
        bound = structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self._undo.append(lambda: structlog.contextvars.reset_contextvars(**bound))
        if self._recorder.access_event:
            replaced = _access_replaced.set(True)
            self._undo.append(lambda: _access_replaced.reset(replaced))
        if self._recorder.exclude(scope):
            self.exclude()
            return
        self._begin(self)
        _propagation.keep()
        public = self._recorder.public_endpoint
        if public or _propagation.public_endpoint():
            said = _propagation.begin_request(scope, _HEADERS, public=public)
            self._undo.append(lambda: _propagation.end_request(said))
        self._attributes = self._request_attributes()
        if self._source is None:
            self._start_span()

    def _leave_ambient_span(self) -> None:
        """Forget the span that is current around the request: its parent is in its own headers or nowhere.

        A call from inside the process keeps what its caller set otherwise. But where a server goes on in the context of
        a request that has ended, nothing of that one may be left.
        """
        around = _request.current()
        if isinstance(around, Exchange) and around.closed:
            structlog.contextvars.clear_contextvars()
            self._attach(Context())
        else:
            self._around = otel_context.get_current()
            self._attach(trace.set_span_in_context(trace.INVALID_SPAN))

    def _attach(self, context: Context) -> None:
        token = otel_context.attach(context)
        self._undo.append(lambda: otel_context.detach(token))

    def _begin(self, state: _request.RequestState | None) -> None:
        token = _request.begin(state)
        self._undo.append(lambda: _request.end(token))

    @property
    def _span_method(self) -> str:
        if self._websocket:
            return "WS"
        return "HTTP" if self._method == "_OTHER" else self._method

    def _request_attributes(self) -> dict[str, str | int]:
        """Attributes of both span and duration metric that are known when the request arrives."""
        scheme: str = self._scope.get("scheme", "ws" if self._websocket else "http")
        if self._websocket:
            return {"url.scheme": scheme, "network.protocol.name": "websocket"}
        attributes: dict[str, str | int] = {"url.scheme": scheme, "http.request.method": self._method}
        if version := self._scope.get("http_version"):
            attributes["network.protocol.version"] = version
        return attributes

    def _active_attributes(self) -> dict[str, str | int]:
        return {key: value for key, value in self._attributes.items() if key != "network.protocol.version"}

    def _start_span(self) -> None:
        parent = propagate.extract(self._scope, getter=_HEADERS)
        attributes = {**self._attributes, **_server_attributes(self._scope)}
        if not self._websocket:
            attributes["url.path"] = self._scope["path"]
            if query := self._scope.get("query_string"):
                attributes["url.query"] = _redacted_query(query)
            if self._method == "_OTHER":
                attributes["http.request.method_original"] = self._scope.get("method", "")
            if self._metrics:
                self._recorder.instruments.active.add(1, self._active_attributes())
        self.span = self._recorder.instruments.tracer.start_span(
            self._span_method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            links=_propagation.links(parent),
        )
        self._attach(trace.set_span_in_context(self.span, parent))

    # -- the response --------------------------------------------------------------------------------------------------

    def _response_started(self, message: Message) -> Message:
        self._status = message["status"]
        self._trailers = message.get("trailers", False)
        headers = list(message.get("headers") or ())
        names = {bytes(name).lower(): bytes(value) for name, value in headers}
        length = names.get(b"content-length", b"")
        self._announced = int(length) if length.isdigit() else 0
        own = names.get(_REQUEST_ID)
        if own is None:
            headers.append((_REQUEST_ID, self._request_id.encode()))
        elif _SAFE_ID.fullmatch(own):
            self._request_id = own.decode()  # the application's own choice is what the caller will ask about
        span = self._find_span()
        if span is not None and _TRACE_RESPONSE not in names and (context := span.get_span_context()).is_valid:
            ids = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
            headers.append((_TRACE_RESPONSE, ids.encode()))
        return {**message, "headers": headers}

    def _response_continued(self, message: Message) -> bool:
        """Count a piece of the response; True for the last one."""
        match message["type"]:
            case "http.response.body":
                if self._scope.get("method") != "HEAD":  # its body never travels
                    self._sent += len(message.get("body") or b"")
                return not message.get("more_body", False) and not self._trailers
            case "http.response.zerocopysend":
                self._sent += message.get("count") or 0
                return not message.get("more_body", False) and not self._trailers
            case "http.response.trailers":
                return not message.get("more_trailers", False)
            case "http.response.pathsend":
                self._sent = self._announced  # the server reads the file
                return True
            case _:
                return False

    def _find_span(self) -> Span | None:
        if self.span is None and self._source is not None and not self.excluded:
            self.span = self._source.span(self._scope)
        return self.span

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, error: BaseException | None) -> None:
        self._finished = True
        seconds = max(0.0, perf_counter() - self._started)
        try:
            self._settle_route()
            outcome, failed = self._outcome(error)
            if failed and error is None and self._error is None:
                self._mark(sys.exception())  # a framework that answers a failure does so while it handles it
            self._count_statements()
            if self.span is not None and self._source is None:
                self.span.set_attributes(outcome)
                if failed:
                    self.span.set_status(StatusCode.ERROR)
            self._inside(lambda: self._tell(seconds, outcome))
        except Exception:  # noqa: BLE001  telemetry never raises into the application
            _tell_once()
        finally:
            if self.span is not None and self._source is None:
                self.span.end()

    def _count_statements(self) -> None:
        span = self._find_span()
        if self.statements and span is not None and span.is_recording():
            span.set_attribute(_request.STATEMENTS, self.statements)

    def _settle_route(self) -> None:
        """Ask the framework for the route where its routing went on without a hook of ours."""
        told = self._recorder.route(self._scope) if self._recorder.route is not None else None
        if told is not None and told != self.route:
            self.routed(_routes.below(self._outer, told, self._scope))

    def _outcome(self, error: BaseException | None) -> tuple[dict[str, str | int], bool]:
        """Attributes of the duration metric, and whether the request failed."""
        outcome = dict(self._attributes)
        if self.route is not None:
            outcome["http.route"] = self.route
        if self._status is not None:
            outcome["http.response.status_code"] = self._status
        failed = error is not None
        if not self._websocket:
            failed = failed or self._status is None or self._status >= _SERVER_ERROR
        if failed:
            cause = error or self._error
            outcome["error.type"] = _type_name(cause) if cause is not None else str(self._status)
        return outcome, failed

    def _tell(self, seconds: float, outcome: Mapping[str, str | int]) -> None:
        """Measure and write the access event; runs inside the server span, so that exemplars and ids are right."""
        instruments = self._recorder.instruments
        if not self._websocket and self._metrics:
            if self._source is None:
                instruments.duration.record(seconds, outcome)
                instruments.active.add(-1, self._active_attributes())
            if self._received:  # most requests have no body: nothing was measured
                instruments.request_size.record(self._received, outcome)
            instruments.response_size.record(self._sent, outcome)
        if self._recorder.access_event and _access_log.isEnabledFor(logging.INFO):
            _access_log.info(
                "websocket.connection.completed" if self._websocket else "http.request.completed",
                extra=self._event(outcome) | self._sizes() | {"duration": seconds},
            )

    def _event(self, outcome: Mapping[str, str | int]) -> dict[str, str | int | float]:
        """Tell what an event says about the request; never the query, which may hold secrets."""
        keys = ("http.request.method", "http.route", "http.response.status_code", "error.type")
        return {"url.path": self._scope["path"]} | {key: outcome[key] for key in keys if key in outcome}

    def _sizes(self) -> dict[str, str | int | float]:
        if self._websocket:
            return {}
        return {"http.request.body.size": self._received, "http.response.body.size": self._sent}

    def _record(self, exception: Exception) -> None:
        outcome, _ = self._outcome(exception)
        fields = self._event({key: value for key, value in outcome.items() if key != "error.type"})
        self._mark(exception)
        name = "websocket.connection.failed" if self._websocket else "http.request.failed"
        error = (type(exception), exception, exception.__traceback__)
        self._inside(lambda: _exception_log.error(name, exc_info=error, extra=fields))

    def _mark(self, exception: BaseException | None) -> None:
        """Put the fingerprint of what failed on the server span, unless that has ended."""
        span = self._find_span()
        if span is not None and span.is_recording() and isinstance(exception, Exception):
            span.set_attributes(_exceptions.told(exception, span))

    def _inside(self, act: Callable[[], object]) -> None:
        """Act with the server span as the current one and the request id bound, whatever the application left."""
        span = self._find_span()
        bound = structlog.contextvars.bind_contextvars(request_id=self._request_id)
        token = None
        if span is not None and trace.get_current_span() is not span:
            token = otel_context.attach(trace.set_span_in_context(span))
        try:
            act()
        finally:
            if token is not None:
                otel_context.detach(token)
            structlog.contextvars.reset_contextvars(**bound)

    def _is_normal_close(self, exception: BaseException) -> bool:
        """Tell whether a WebSocket ended as it should: going away is no failure."""
        return (
            self._websocket
            and type(exception).__name__ == "WebSocketDisconnect"
            and getattr(exception, "code", None) in _NORMAL_CLOSES
        )


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header; `name` in lower case."""
    for key, value in scope.get("headers") or ():
        if key == name:
            return bytes(value)
    return None


class _Headers(Getter["Scope"]):
    """Reads propagation headers out of an ASGI scope."""

    def get(self, carrier: Scope, key: str) -> list[str] | None:
        wanted = key.lower().encode("latin-1")
        values = [value.decode("latin-1") for name, value in carrier.get("headers") or () if name == wanted]
        # The baggage propagator reads one value only; lists may be joined (RFC 9110, 5.3).
        return [",".join(values)] if wanted == b"baggage" and values else values or None

    def keys(self, carrier: Scope) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier.get("headers") or ()]


_HEADERS = _Headers()


def _server_attributes(scope: Scope) -> dict[str, str | int]:
    """Name the server as the caller addressed it; nothing where the Host header is malformed."""
    host = header(scope, b"host")
    if host is None:
        address, port = scope.get("server") or (None, None)
    else:
        try:
            url = urlsplit(f"//{host.decode('latin-1')}")
            address, port = url.hostname, url.port
        except ValueError:
            return {}
        if url.username is not None or url.path or url.query or url.fragment:
            return {}
        port = port or _PORTS.get(scope.get("scheme", "http"))
    attributes: dict[str, str | int] = {}
    if address is not None:
        attributes["server.address"] = address
        if port is not None:
            attributes["server.port"] = port
    return attributes


def _redacted_query(query: bytes) -> str:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode([(key, "REDACTED" if key in _SIGNATURES else value) for key, value in pairs])


def _type_name(exception: BaseException) -> str:
    kind = type(exception)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _tell_once() -> None:
    """Leave one trace of a failure of our own; called while it is handled."""
    if not _told:
        _told.append(True)
        _own_log.debug("asgi.telemetry.failed", exc_info=True)
