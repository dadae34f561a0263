"""One request of any ASGI application: ids, span, metrics, access event, exceptions, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from otelkit.integrations import _request
from otelkit.integrations._exchange import access_replaced, was_recorded
from otelkit.integrations.asgi import Exclusion, TelemetryMiddleware
from support.calls import Telemetry, fetch, request, websocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SIZES = ("http.server.request.body.size", "http.server.response.body.size")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with Telemetry() as listening:
        yield listening


def around(app: Any, telemetry: Telemetry, **options: Any) -> TelemetryMiddleware:
    return TelemetryMiddleware(
        app, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider, **options
    )


def answering(status: int = 200, body: bytes = b"hello", *headers: tuple[bytes, bytes]) -> Any:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_caller_gets_both_ids(telemetry: Telemetry) -> None:
    reply = fetch(around(answering(), telemetry), "/")
    (span,) = telemetry.spans
    ids = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
    assert reply.headers["traceresponse"] in {f"00-{ids}-01", f"00-{ids}-03"}  # 02 says that the id is random
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


def test_two_requests_have_two_ids(telemetry: Telemetry) -> None:
    app = around(answering(), telemetry)
    first, second = fetch(app, "/"), fetch(app, "/")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len({span.context.trace_id for span in telemetry.spans}) == 2


def test_safe_id_of_the_caller_is_kept(telemetry: Telemetry) -> None:
    reply = fetch(around(answering(), telemetry), "/", headers=[("X-Request-ID", "order-42_a.b")])
    assert reply.headers["x-request-id"] == "order-42_a.b"
    assert telemetry.events("otelkit.access")[0].request_id == "order-42_a.b"


@settings(deadline=None)  # an event loop each, on a machine that does other things
@given(st.text(st.characters(codec="latin-1"), max_size=140))
def test_an_id_is_the_callers_only_when_it_is_safe(identifier: str) -> None:
    with Telemetry() as telemetry:
        reply = fetch(around(answering(), telemetry), "/", headers=[("x-request-id", identifier)])
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", identifier) and identifier.isascii():
        assert reply.headers["x-request-id"] == identifier
    else:
        assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


def test_headers_of_the_application_win(telemetry: Telemetry) -> None:
    app = answering(200, b"", (b"X-Request-Id", b"mine"), (b"traceresponse", b"theirs"))
    reply = fetch(around(app, telemetry), "/")
    assert reply.headers == {"x-request-id": "mine", "traceresponse": "theirs"}
    assert telemetry.events("otelkit.access")[0].request_id == "mine"


def test_message_of_the_application_is_not_changed(telemetry: Telemetry) -> None:
    headers: list[tuple[bytes, bytes]] = []
    start = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    wrapped = around(app, telemetry)
    assert {*fetch(wrapped, "/").headers} == {*fetch(wrapped, "/").headers} == {"x-request-id", "traceresponse"}
    assert headers == []
    assert start == {"type": "http.response.start", "status": 200, "headers": []}


def test_every_log_line_has_the_id_also_from_threads_and_after_the_response(telemetry: Telemetry) -> None:
    log = logging.getLogger("app")

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await asyncio.to_thread(log.info, "in a thread")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})
        await asyncio.create_task(asyncio.to_thread(log.info, "after the response"))

    reply = fetch(around(app, telemetry), "/")
    (span,) = telemetry.spans
    assert [record.event for record in telemetry.events("app")] == ["in a thread", "after the response"]
    assert {(r.request_id, r.span_id) for r in telemetry.records} == {
        (reply.headers["x-request-id"], span.context.span_id)
    }


def test_access_event_has_the_id_although_the_application_cleared_its_context(telemetry: Telemetry) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.clear_contextvars()
        await answering()(scope, receive, send)

    reply = fetch(around(app, telemetry), "/")
    assert telemetry.events("otelkit.access")[0].request_id == reply.headers["x-request-id"]


# -- the span and the metrics ------------------------------------------------------------------------------------------


def test_span_follows_the_conventions(telemetry: Telemetry) -> None:
    fetch(around(answering(201), telemetry), "/orders/7?a=1&sig=secret", method="PUT", headers=[("User-Agent", "x")])
    (span,) = telemetry.spans
    assert span.name == "PUT"
    assert span.kind is trace.SpanKind.SERVER
    assert span.parent is None
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.attributes == {
        "http.request.method": "PUT",
        "http.response.status_code": 201,
        "network.protocol.version": "1.1",
        "server.address": "testserver",
        "server.port": 80,
        "url.path": "/orders/7",
        "url.query": "a=1&sig=REDACTED",
        "url.scheme": "http",
    }


def test_metrics_follow_the_conventions(telemetry: Telemetry) -> None:
    fetch(around(answering(200, b"0123456789"), telemetry), "/", method="POST", body=b"abc")
    attributes = {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    for name, total in zip(SIZES, (3, 10), strict=True):
        (point,) = telemetry.points(name)
        assert (point.attributes, point.count, point.sum) == (attributes, 1, total)
    (duration,) = telemetry.points("http.server.request.duration")
    assert (duration.attributes, duration.count) == (attributes, 1)
    assert duration.explicit_bounds[:2] == (0.005, 0.01)
    (active,) = telemetry.points("http.server.active_requests")
    assert (active.attributes, active.value) == ({"http.request.method": "POST", "url.scheme": "http"}, 0)


def test_exemplars_lead_to_the_server_span(telemetry: Telemetry) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with telemetry.tracer_provider.get_tracer("app").start_as_current_span("inner"):
            await answering()(scope, receive, send)  # the response ends inside a span of the application

    fetch(around(app, telemetry), "/")
    (server,) = telemetry.server_spans
    metrics = telemetry.metrics()
    for name in ("http.server.request.duration", "http.server.response.body.size"):
        (point,) = metrics[name]
        assert [(e.trace_id, e.span_id) for e in point.exemplars] == [(server.context.trace_id, server.context.span_id)]


def test_parent_comes_from_the_headers_and_never_from_around(telemetry: Telemetry) -> None:
    app = around(answering(), telemetry)

    async def calls() -> None:
        with telemetry.tracer_provider.get_tracer("command").start_as_current_span("command"):
            await request(app, "/")
            await request(app, "/", headers=[("traceparent", TRACEPARENT)])

    asyncio.run(calls())
    alone, called = telemetry.server_spans
    assert alone.parent is None
    assert called.parent is not None
    assert f"{called.parent.trace_id:032x}-{called.parent.span_id:016x}" in TRACEPARENT


def test_baggage_of_several_headers_arrives(telemetry: Telemetry) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(baggage.get_all()))
        await answering()(scope, receive, send)

    fetch(around(app, telemetry), "/", headers=[("baggage", "a=1"), ("baggage", "b=2")])
    assert seen == [{"a": "1", "b": "2"}]


def test_unknown_method_adds_no_series(telemetry: Telemetry) -> None:
    app = around(answering(405), telemetry)
    for method in ("BREW", "PROPFIND", "get"):
        fetch(app, "/", method=method)
    assert {span.name for span in telemetry.spans} == {"HTTP"}
    assert [span.attributes["http.request.method_original"] for span in telemetry.spans if span.attributes] == [
        "BREW",
        "PROPFIND",
        "get",
    ]
    (point,) = telemetry.points("http.server.request.duration")
    assert point.attributes["http.request.method"] == "_OTHER"
    assert point.count == 3


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.example:8443", {"server.address": "shop.example", "server.port": 8443}),
        ("[2001:db8::1]", {"server.address": "2001:db8::1", "server.port": 80}),
        ("user@shop.example", {}),
        ("shop.example:port", {}),
        ("shop.example/path", {}),
    ],
)
def test_server_address_is_the_callers_word_unless_it_is_malformed(
    telemetry: Telemetry, host: str, expected: dict[str, Any]
) -> None:
    fetch(around(answering(), telemetry), "/", host=host)
    (span,) = telemetry.spans
    assert {k: v for k, v in (span.attributes or {}).items() if k.startswith("server.")} == expected


# -- the end of a request ----------------------------------------------------------------------------------------------


def test_background_work_is_not_part_of_the_request(telemetry: Telemetry) -> None:
    ended: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering()(scope, receive, send)
        ended.append(len(telemetry.spans))
        ended.append(len(telemetry.events("otelkit.access")))

    fetch(around(app, telemetry), "/")
    assert ended == [1, 1]


def test_streamed_response_is_counted_piece_by_piece_and_ends_with_the_last(telemetry: Telemetry) -> None:
    async def pieces() -> Any:
        for _ in range(3):
            assert telemetry.spans == ()
            yield b"12345"

    app = Starlette(routes=[Route("/", lambda _: StreamingResponse(pieces()))])
    assert fetch(around(app, telemetry), "/").body == b"12345" * 3
    (point,) = telemetry.points("http.server.response.body.size")
    assert point.sum == 15
    assert len(telemetry.spans) == 1


def test_answer_to_head_has_no_body(telemetry: Telemetry) -> None:
    fetch(around(answering(), telemetry), "/", method="HEAD")
    (point,) = telemetry.points("http.server.response.body.size")
    assert (point.sum, point.count) == (0, 1)


@pytest.mark.parametrize(
    ("messages", "size"),
    [
        ([{"type": "http.response.pathsend", "path": "/file"}], 77),
        ([{"type": "http.response.zerocopysend", "file": 3, "count": 5}], 5),
        ([{"type": "http.response.body", "body": b"12"}, {"type": "http.response.trailers", "headers": []}], 2),
    ],
)
def test_extensions_of_asgi_end_a_response_too(telemetry: Telemetry, messages: list[Message], size: int) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"77")]}

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(start | {"trailers": len(messages) > 1})
        for message in messages:
            assert telemetry.spans == ()
            await send(message)
        assert len(telemetry.spans) == 1

    assert fetch(around(app, telemetry), "/").error is None
    (point,) = telemetry.points("http.server.response.body.size")
    assert point.sum == size


def test_access_event_says_what_happened(telemetry: Telemetry) -> None:
    fetch(around(answering(404, b"nope"), telemetry), "/orders/7?token=secret", method="DELETE", body=b"xy")
    (record,) = telemetry.records
    (span,) = telemetry.spans
    fields = dict(record.fields)
    assert (record.logger, record.level, record.event) == ("otelkit.access", "INFO", "http.request.completed")
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert 0 < fields.pop("duration") < 5
    assert fields == {
        "http.request.method": "DELETE",
        "http.response.status_code": 404,
        "http.request.body.size": 2,
        "http.response.body.size": 4,
        "url.path": "/orders/7",
    }


def test_statements_of_the_request_are_counted_on_its_span(telemetry: Telemetry) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        state = _request.current()
        assert state is not None
        state.statements += 3
        await answering()(scope, receive, send)

    fetch(around(app, telemetry), "/")
    fetch(around(answering(), telemetry), "/")
    counted, none = telemetry.spans
    assert counted.attributes is not None
    assert counted.attributes["otelkit.db.statements"] == 3
    assert "otelkit.db.statements" not in (none.attributes or {})


# -- failures ----------------------------------------------------------------------------------------------------------


class _FrozenError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def _raising(error: BaseException, *before: Message) -> Any:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        raise error

    return app


@pytest.mark.parametrize("error", [ValueError("boom"), _FrozenError("boom")])
def test_exception_is_recorded_once_with_its_stack_inside_the_span(telemetry: Telemetry, error: Exception) -> None:
    reply = fetch(around(_raising(error), telemetry), "/x")
    (span,) = telemetry.spans
    (record,) = telemetry.events("otelkit.exceptions")
    assert reply.error is error
    assert (record.level, record.event, record.exception) == ("ERROR", "http.request.failed", error)
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert record.request_id == telemetry.events("otelkit.access")[0].request_id
    assert was_recorded(error)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None  # the text may be secret; it is in the log record
    assert span.events == ()
    name = type(error).__qualname__ if type(error) is ValueError else f"{__name__}.{type(error).__qualname__}"
    assert (span.attributes or {})["error.type"] == name
    assert telemetry.points("http.server.request.duration")[0].attributes["error.type"] == name


def test_same_exception_object_is_recorded_again_by_another_request(telemetry: Telemetry) -> None:
    app = around(_raising(ValueError("a constant")), telemetry)
    fetch(app, "/")
    fetch(app, "/")
    assert len(telemetry.events("otelkit.exceptions")) == 2


def test_exception_after_the_response_is_recorded_and_changes_nothing_else(telemetry: Telemetry) -> None:
    done = ({"type": "http.response.start", "status": 200}, {"type": "http.response.body"})
    reply = fetch(around(_raising(ValueError("in the background"), *done), telemetry), "/")
    (span,) = telemetry.spans
    (record,) = telemetry.events("otelkit.exceptions")
    assert reply.status == 200
    assert span.status.status_code is trace.StatusCode.UNSET
    assert record.span_id == span.context.span_id
    assert len(telemetry.events("otelkit.access")) == 1


def test_one_frame_is_added_to_a_traceback(telemetry: Telemetry) -> None:
    app = _raising(ValueError("boom"))

    def frames(error: BaseException | None) -> list[str]:
        traceback, names = error.__traceback__ if error else None, []
        while traceback is not None:
            names.append(traceback.tb_frame.f_code.co_qualname)
            traceback = traceback.tb_next
        return names

    assert frames(fetch(around(app, telemetry), "/").error) == [
        "request",
        "TelemetryMiddleware.__call__",
        "Recorder.serve",
        "_raising.<locals>.app",
    ]


@pytest.mark.parametrize("status", [500, 503])
def test_answered_failure_has_its_status_as_type(telemetry: Telemetry, status: int) -> None:
    fetch(around(answering(status), telemetry), "/")
    (span,) = telemetry.spans
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == str(status)
    assert telemetry.events("otelkit.exceptions") == []


def test_response_that_is_never_finished(telemetry: Telemetry) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    fetch(around(app, telemetry), "/")
    (span,) = telemetry.spans
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    assert len(telemetry.events("otelkit.access")) == 1
    assert telemetry.events("otelkit.exceptions") == []


def test_client_that_goes_away(telemetry: Telemetry) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        assert (await receive())["type"] == "http.disconnect"

    async def gone(scope: Scope, _: Receive, send: Send) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        await around(app, telemetry)(scope, receive, send)

    fetch(gone, "/")
    (span,) = telemetry.spans
    assert (span.attributes or {})["error.type"] == "ConnectionError"
    assert telemetry.events("otelkit.exceptions") == []


def test_cancelled_request_ends_its_span_and_is_no_exception_event(telemetry: Telemetry) -> None:
    started = asyncio.Event()

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        started.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(request(around(app, telemetry), "/"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    (span,) = telemetry.spans
    assert (span.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"
    assert telemetry.events("otelkit.exceptions") == []
    assert telemetry.points("http.server.active_requests")[0].value == 0


def test_request_thrown_away_by_its_loop_ends_quietly(telemetry: Telemetry, capfd: pytest.CaptureFixture[str]) -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.Event().wait()

    coroutine = request(around(app, telemetry), "/")
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    coroutine.close()  # as the interpreter does, in another context than the task's
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own word about it is not what we look at
    loop.close()
    assert len(telemetry.spans) == 1
    assert capfd.readouterr().err == ""


def test_broken_telemetry_leaves_the_application_alone(telemetry: Telemetry) -> None:
    class Broken(logging.Filter):
        def filter(self, _: logging.LogRecord) -> bool:
            raise OSError("disk full")

    broken = Broken()
    loggers = [logging.getLogger(name) for name in ("otelkit.access", "otelkit.exceptions")]
    for logger in loggers:
        logger.addFilter(broken)
    error = ValueError("boom")
    try:
        assert fetch(around(answering(), telemetry), "/").body == b"hello"
        assert fetch(around(_raising(error), telemetry), "/").error is error
    finally:
        for logger in loggers:
            logger.removeFilter(broken)
    assert len(telemetry.spans) == 2
    assert not was_recorded(error)  # so the server's own report is not suppressed


# -- what is around a request ------------------------------------------------------------------------------------------


def test_nothing_is_left_behind(telemetry: Telemetry) -> None:
    async def calls() -> None:
        before = (trace.get_current_span(), structlog.contextvars.get_contextvars(), _request.current())
        scope: list[Scope] = []

        async def app(own: Scope, receive: Receive, send: Send) -> None:
            scope.append(own)
            assert access_replaced()
            await answering()(own, receive, send)

        await request(around(app, telemetry), "/")
        assert (trace.get_current_span(), structlog.contextvars.get_contextvars(), _request.current()) == before
        assert not access_replaced()
        assert [key for key in scope[0] if key.startswith("otelkit")] == []

    asyncio.run(calls())


def test_caller_inside_the_process_hands_on_its_context_but_not_its_ids(telemetry: Telemetry) -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    seen: list[tuple[str, dict[str, Any]]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((tenant.get(), structlog.contextvars.get_contextvars()))
        await answering()(scope, receive, send)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.bind_contextvars(user=7)
        tenant.set("acme")
        reply = await request(around(inner, telemetry), "/inner")
        assert structlog.contextvars.get_contextvars()["request_id"] != reply.headers["x-request-id"]
        await answering()(scope, receive, send)

    fetch(around(outer, telemetry), "/")
    ((name, bound),) = seen
    assert name == "acme"
    assert bound["user"] == 7
    assert len({span.context.trace_id for span in telemetry.spans}) == 2


def test_context_left_over_from_a_request_that_ended_is_not_inherited(telemetry: Telemetry) -> None:
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((structlog.contextvars.get_contextvars(), dict(baggage.get_all())))
        structlog.contextvars.bind_contextvars(user=7)
        if scope["path"] == "/first":
            # What a server does that goes on reading inside the request, but after its end.
            loop.call_soon(lambda: follow_up.set_result(loop.create_task(request(wrapped, "/second"))))
        await answering()(scope, receive, send)

    wrapped = around(app, telemetry)

    async def calls() -> None:
        await request(wrapped, "/first", headers=[("traceparent", TRACEPARENT), ("baggage", "a=1")])
        await (await follow_up)

    loop = asyncio.new_event_loop()
    follow_up: asyncio.Future[asyncio.Task[Any]] = loop.create_future()
    loop.run_until_complete(calls())
    loop.close()
    (_, first_baggage), (second, second_baggage) = seen
    assert first_baggage == {"a": "1"}
    assert set(second) == {"request_id"}
    assert second_baggage == {}
    assert telemetry.server_spans[1].parent is None


# -- exclusion ---------------------------------------------------------------------------------------------------------


def test_excluded_request_leaves_nothing_but_a_request_id(telemetry: Telemetry) -> None:
    log = logging.getLogger("app")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        log.info("probed")
        assert access_replaced()
        assert _request.current() is None
        await answering()(scope, receive, send)

    reply = fetch(around(app, telemetry, exclude=["/probe"]), "/probe")
    (record,) = telemetry.records
    assert record.request_id == reply.headers["x-request-id"]
    assert record.trace_id == 0
    assert "traceresponse" not in reply.headers
    assert telemetry.spans == ()
    assert telemetry.points("http.server.request.duration") == []
    assert telemetry.points("http.server.active_requests") == []


@pytest.mark.parametrize(
    ("path", "root_path", "excluded"),
    [
        ("/probe", "", True),
        ("/probes", "", False),
        ("/a/probe", "", False),
        ("/api/probe", "/api", True),
        ("/live/deep", "", True),
        ("/contrib-style/x", "", True),
    ],
)
def test_what_is_excluded(path: str, root_path: str, excluded: bool) -> None:
    exclusion = Exclusion(paths=["/probe", "/live/.*"], urls=["testserver/contrib-.*"])
    scope = {"scheme": "http", "path": path, "root_path": root_path, "headers": [(b"host", b"testserver")]}
    assert exclusion(scope) is excluded


def test_url_is_searched_like_contrib_does_where_no_host_was_given() -> None:
    exclusion = Exclusion(urls=["^http://192.0.2.1:8000/probe$"])
    assert exclusion({"scheme": "http", "path": "/probe", "headers": [], "server": ("192.0.2.1", 8000)})


# -- frameworks --------------------------------------------------------------------------------------------------------


def test_starlette_names_its_routes_through_mounts(telemetry: Telemetry) -> None:
    async def hello(_: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    shop = Starlette(routes=[Route("/orders/{order:int}", hello)])
    app = around(Starlette(routes=[Mount("/{tenant}", shop), Route("/", hello)]), telemetry)
    for path in ("/", "/acme/orders/7", "/acme/nowhere"):
        fetch(app, path, root_path="")
    fetch(app, "/proxied/acme/orders/7", root_path="/proxied")
    assert [span.name for span in telemetry.spans] == [
        "GET /",
        "GET /{tenant}/orders/{order}",
        "GET /{tenant}/{path}",
        "GET /proxied/{tenant}/orders/{order}",
    ]
    assert {point.attributes["http.route"] for point in telemetry.points("http.server.request.duration")} == {
        span.name.removeprefix("GET ") for span in telemetry.spans
    }


def test_any_framework_may_tell_its_route(telemetry: Telemetry) -> None:
    async def litestar(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_template"] = "/orders/{order}"
        await answering()(scope, receive, send)

    fetch(around(litestar, telemetry), "/orders/7")
    fetch(around(answering(), telemetry, route=lambda _: "/told"), "/orders/7")
    assert [span.name for span in telemetry.spans] == ["GET /orders/{order}", "GET /told"]


@pytest.mark.parametrize("outside", [True, False])
def test_span_of_another_instrumentation_is_used(telemetry: Telemetry, outside: bool) -> None:
    def other(app: Any) -> Any:
        async def instrumented(scope: Scope, receive: Receive, send: Send) -> None:
            with telemetry.tracer_provider.get_tracer("other").start_as_current_span(
                "other", kind=trace.SpanKind.SERVER
            ):
                await app(scope, receive, send)

        return instrumented

    def ours(app: Any) -> Any:
        return around(app, telemetry, server_span=False)

    app = other(ours(answering())) if outside else ours(other(answering()))
    reply = fetch(app, "/")
    (span,) = telemetry.spans
    assert f"{span.context.span_id:016x}" in reply.headers["traceresponse"]
    assert telemetry.events("otelkit.access")[0].span_id == span.context.span_id
    assert telemetry.points("http.server.request.duration") == []
    assert len(telemetry.points("http.server.response.body.size")) == 1


def test_second_layer_does_nothing(telemetry: Telemetry) -> None:
    app = around(around(answering(), telemetry), telemetry)
    fetch(app, "/")
    assert len(telemetry.spans) == len(telemetry.records) == 1


def test_lifespan_passes_through(telemetry: Telemetry) -> None:
    seen: list[str] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(around(app, telemetry)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


def test_websocket_is_one_span_and_one_event_and_no_metric(telemetry: Telemetry) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    sent = asyncio.run(websocket(around(app, telemetry), "/chat", "one", "two"))
    (span,) = telemetry.spans
    (record,) = telemetry.records
    assert sent == [{"type": "websocket.accept"}]
    assert (span.name, span.kind, span.status.status_code) == ("WS", trace.SpanKind.SERVER, trace.StatusCode.UNSET)
    assert span.attributes == {
        "network.protocol.name": "websocket",
        "server.address": "testserver",
        "server.port": 80,
        "url.scheme": "ws",
    }
    assert (record.event, record.span_id) == ("websocket.connection.completed", span.context.span_id)
    assert set(record.fields) == {"url.path", "duration"}
    assert telemetry.points("http.server.request.duration") == []
    assert telemetry.points("http.server.active_requests") == []


def test_failed_websocket_is_recorded_once(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(websocket(around(_raising(ValueError("boom")), telemetry), "/chat"))
    assert [record.event for record in telemetry.records] == [
        "websocket.connection.failed",
        "websocket.connection.completed",
    ]
    (span,) = telemetry.spans
    assert span.status.status_code is trace.StatusCode.ERROR
