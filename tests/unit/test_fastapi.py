"""FastAPI: the same telemetry whichever way it is made, in every order of import and creation, through mounts."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import (  # FastAPI evaluates annotations, so that even what only they name is needed
    APIRouter,
    BackgroundTasks,  # noqa: TC002  the same
    Depends,
    FastAPI,
    HTTPException,
    Request,  # noqa: TC002  the same
    Response,  # noqa: TC002  the same
    WebSocket,  # noqa: TC002  the same
)
from flask import Flask
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from otelkit import _serving
from otelkit.errors import SettingsError
from otelkit.integrations import _request
from otelkit.integrations._exchange import was_recorded
from otelkit.integrations.asgi import TelemetryMiddleware
from otelkit.integrations.fastapi import NATIVE, FastAPIIntegration, FastAPIOptions
from support.calls import Telemetry, fetch, request, websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

INSTALLED = version("fastapi")
IS_NATIVE = tuple(int(part) for part in INSTALLED.split(".")[:2]) >= NATIVE


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Listen, with FastAPI instrumented by default options."""
    integration = FastAPIIntegration()
    with Telemetry() as listening:
        integration.install(listening.wiring(), FastAPIOptions())
        yield listening
        integration.uninstall()


def install(telemetry: Telemetry, environ: dict[str, str] | None = None, **options: Any) -> None:
    FastAPIIntegration().install(telemetry.wiring(environ), FastAPIOptions(**options))


def shop() -> FastAPI:
    app = FastAPI()

    @app.get("/orders/{order}")
    def read(order: int) -> dict[str, int]:
        logging.getLogger("app").info("reading")
        return {"order": order}

    @app.post("/orders")
    async def place(order: dict[str, int], later: BackgroundTasks) -> dict[str, int]:
        later.add_task(logging.getLogger("app").info, "in the background")
        return order

    @app.get("/declined")
    def declined() -> None:
        raise HTTPException(402)

    @app.get("/broken")
    def broken() -> None:
        raise ValueError("boom")

    @app.get("/probe")
    def probe() -> str:
        return "alive"

    return app


# -- the same telemetry, whichever way ---------------------------------------------------------------------------------


def test_verdict_names_the_version_that_decided() -> None:
    with Telemetry() as telemetry:
        integration = FastAPIIntegration()
        verdict = integration.install(telemetry.wiring(), None)
        integration.uninstall()
    assert (verdict.choice, verdict.works) == ("native" if IS_NATIVE else "ours", True)
    assert INSTALLED in verdict.reason
    assert verdict.version == INSTALLED
    assert integration.replaces == {"fastapi"}


def test_one_server_span_per_request(telemetry: Telemetry) -> None:
    fetch(shop(), "/orders/7?page=2")
    (span,) = telemetry.spans
    assert (span.name, span.kind, span.parent) == ("GET /orders/{order}", trace.SpanKind.SERVER, None)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/orders/{order}",
        "network.protocol.version": "1.1",
        "server.address": "testserver",
        "server.port": 80,
        "url.path": "/orders/7",
        "url.query": "page=2",
        "url.scheme": "http",
    }


def test_metrics_of_a_request(telemetry: Telemetry) -> None:
    fetch(shop(), "/orders", method="POST", body=b'{"order": 7}', headers=[("content-type", "application/json")])
    (span,) = telemetry.spans
    metrics = telemetry.metrics()
    attributes = {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/orders",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    assert set(metrics) == {
        "http.server.active_requests",
        "http.server.request.duration",
        "http.server.request.body.size",
        "http.server.response.body.size",
    }
    for name, total in (("request", 12), ("response", 11)):
        (size,) = metrics[f"http.server.{name}.body.size"]
        assert (size.attributes, size.count, size.sum) == (attributes, 1, total)
    (duration,) = metrics["http.server.request.duration"]
    assert (duration.attributes, duration.count) == (attributes, 1)
    assert [exemplar.span_id for exemplar in duration.exemplars] == [span.context.span_id]
    (active,) = metrics["http.server.active_requests"]
    assert (active.attributes, active.value) == ({"http.request.method": "POST", "url.scheme": "http"}, 0)


def test_access_event_and_log_lines_share_the_ids(telemetry: Telemetry) -> None:
    reply = fetch(shop(), "/orders/7", headers=[("x-request-id", "from-the-caller")])
    (span,) = telemetry.spans
    (line,), (access,) = telemetry.events("app"), telemetry.events("otelkit.access")
    assert {(r.request_id, r.trace_id, r.span_id) for r in (line, access)} == {
        ("from-the-caller", span.context.trace_id, span.context.span_id)
    }
    assert reply.headers["x-request-id"] == "from-the-caller"
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" in reply.headers["traceresponse"]
    fields = dict(access.fields)
    assert fields.pop("duration") > 0
    assert fields == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/orders/{order}",
        "http.request.body.size": 0,
        "http.response.body.size": 11,
        "url.path": "/orders/7",
    }


def test_background_task_has_the_ids_and_is_not_part_of_the_request(telemetry: Telemetry) -> None:
    reply = fetch(shop(), "/orders", method="POST", body=b"{}", headers=[("content-type", "application/json")])
    assert [r.event for r in telemetry.records] == ["http.request.completed", "in the background"]
    (span,) = telemetry.spans
    assert {(r.request_id, r.span_id) for r in telemetry.records} == {
        (reply.headers["x-request-id"], span.context.span_id)
    }


def test_background_task_that_fails_is_recorded_and_does_not_fail_the_request(telemetry: Telemetry) -> None:
    app = FastAPI()

    def fails() -> None:
        raise ValueError("in the background")

    @app.get("/")
    def endpoint(later: BackgroundTasks) -> None:
        later.add_task(fails)

    assert fetch(app, "/").status == 200
    (span,) = telemetry.spans
    (record,) = telemetry.events("otelkit.exceptions")
    assert span.status.status_code is trace.StatusCode.UNSET
    assert record.span_id == span.context.span_id


def test_streamed_response_ends_with_its_last_piece(telemetry: Telemetry) -> None:
    app = FastAPI()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            assert telemetry.spans == ()
            yield b"data: x\n\n"

    @app.get("/events")
    def events() -> StreamingResponse:
        return StreamingResponse(pieces(), media_type="text/event-stream")

    assert len(fetch(app, "/events").body) == 27
    (point,) = telemetry.points("http.server.response.body.size")
    assert point.sum == 27
    assert len(telemetry.spans) == 1


def test_stream_that_breaks_is_one_failed_span(telemetry: Telemetry) -> None:
    app = FastAPI()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        raise ValueError("boom")

    @app.get("/")
    def broken() -> StreamingResponse:
        state = _request.current()
        assert state is not None
        state.statements += 2
        return StreamingResponse(pieces())

    reply = fetch(app, "/")
    (span,) = telemetry.spans
    kind = type(reply.error).__qualname__
    assert kind in {"ValueError", "ExceptionGroup"}  # Starlette < 0.46 leaves the group as it is
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == kind
    assert span.attributes["otelkit.db.statements"] == 2
    assert len(telemetry.events("otelkit.exceptions")) == len(telemetry.events("otelkit.access")) == 1
    assert telemetry.points("http.server.response.body.size")[0].attributes["error.type"] == kind


def test_statements_are_counted_on_the_server_span(telemetry: Telemetry) -> None:
    app = FastAPI()

    @app.get("/")
    def endpoint() -> None:  # in a thread, as most database code
        state = _request.current()
        assert state is not None
        state.statements += 3

    fetch(app, "/")
    (span,) = telemetry.spans
    assert span.attributes is not None
    assert span.attributes["otelkit.db.statements"] == 3


@pytest.mark.parametrize(
    ("path", "method", "status", "name"),
    [
        ("/nowhere/8231", "GET", 404, "GET"),
        ("/orders/many", "GET", 422, "GET /orders/{order}"),
        ("/orders/7", "DELETE", 405, "DELETE /orders/{order}"),
        ("/orders/7", "BREW", 405, "HTTP /orders/{order}"),
        ("/nowhere/8231", "BREW", 404, "HTTP"),
        ("/declined", "GET", 402, "GET /declined"),
    ],
)
def test_answers_that_are_no_failures(telemetry: Telemetry, path: str, method: str, status: int, name: str) -> None:
    assert fetch(shop(), path, method=method).status == status
    (span,) = telemetry.spans
    assert (span.name, span.status.status_code) == (name, trace.StatusCode.UNSET)
    assert telemetry.events("otelkit.exceptions") == []
    (point,) = telemetry.points("http.server.request.duration")
    assert point.attributes["http.request.method"] == ("_OTHER" if method == "BREW" else method)
    assert point.attributes.get("http.route", "") == name.partition(" ")[2]


def test_strangers_add_no_series(telemetry: Telemetry) -> None:
    app = shop()
    for number in range(20):
        fetch(app, f"/nowhere/{number}", method=f"M{number}", host=f"host{number}")
    (point,) = telemetry.points("http.server.request.duration")
    assert point.count == 20


@pytest.mark.skipif(not IS_NATIVE, reason="an event of FastAPI's own telemetry")
def test_validation_failure_takes_our_road_once(telemetry: Telemetry) -> None:
    fetch(shop(), "/orders/many")
    (record,) = telemetry.events("fastapi.validation")
    (span,) = telemetry.spans
    assert (record.event, record.level, record.span_id) == (
        "fastapi.validation.failed",
        "WARNING",
        span.context.span_id,
    )
    assert record.fields == {"fastapi.validation.error_count": 1, "http.route": "/orders/{order}"}


# -- exceptions --------------------------------------------------------------------------------------------------------


def test_exception_is_recorded_once_before_it_is_answered(telemetry: Telemetry) -> None:
    reply = fetch(shop(), "/broken")
    (span,) = telemetry.spans
    (record,) = telemetry.events("otelkit.exceptions")
    assert [r.event for r in telemetry.records] == ["http.request.failed", "http.request.completed"]
    assert (reply.status, reply.body) == (500, b"Internal Server Error")
    assert record.exception is reply.error
    assert record.fields == {"http.request.method": "GET", "http.route": "/broken", "url.path": "/broken"}
    assert {(r.trace_id, r.span_id, r.request_id) for r in telemetry.records} == {
        (span.context.trace_id, span.context.span_id, reply.headers["x-request-id"])
    }
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, None)
    assert span.events == ()
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert telemetry.points("http.server.request.duration")[0].attributes["error.type"] == "ValueError"
    assert was_recorded(reply.error)


def test_exception_that_the_application_answers_itself_is_recorded_too(telemetry: Telemetry) -> None:
    app = shop()

    @app.exception_handler(Exception)
    async def answer(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"sorry": True}, status_code=503)

    reply = fetch(app, "/broken")
    (span,) = telemetry.spans
    assert (reply.status, json.loads(reply.body)) == (503, {"sorry": True})
    assert len(telemetry.events("otelkit.exceptions")) == 1
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"


def test_exception_with_a_handler_of_its_own_is_an_answer(telemetry: Telemetry) -> None:
    app = shop()

    @app.exception_handler(ValueError)
    async def answer(_: Request, __: ValueError) -> JSONResponse:
        return JSONResponse({}, status_code=409)

    assert fetch(app, "/broken").status == 409
    (span,) = telemetry.spans
    assert span.status.status_code is trace.StatusCode.UNSET
    assert telemetry.events("otelkit.exceptions") == []


def test_exception_of_a_middleware_is_recorded(telemetry: Telemetry) -> None:
    app = shop()

    @app.middleware("http")
    async def broken(_: Request, __: Any) -> Response:
        raise ValueError("boom")

    fetch(app, "/orders/7")
    (span,) = telemetry.spans
    assert span.name == "GET"
    assert len(telemetry.events("otelkit.exceptions")) == 1


def test_our_code_is_no_part_of_the_recorded_stack(telemetry: Telemetry) -> None:
    fetch(shop(), "/broken")
    (record,) = telemetry.events("otelkit.exceptions")
    assert record.exception is not None
    traceback, files = record.exception.__traceback__, []
    while traceback is not None:
        files.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    assert len([name for name in files if "otelkit/integrations" in name]) <= (1 if IS_NATIVE else 2)


# -- the class that everything hangs on --------------------------------------------------------------------------------


def test_subclass_with_a_call_of_its_own(telemetry: Telemetry) -> None:
    class Own(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["seen"] = True
            await super().__call__(scope, receive, send)

    app = Own()

    @app.get("/")
    def endpoint(request: Request) -> bool:
        return bool(request.scope["seen"])

    assert fetch(app, "/").body == b"true"
    assert [span.name for span in telemetry.spans] == ["GET /"]


def test_servers_still_see_an_asgi_application() -> None:
    assert asyncio.iscoroutinefunction(FastAPI().__call__)


# -- options -----------------------------------------------------------------------------------------------------------


def test_excluded_request_leaves_nothing_but_a_request_id(telemetry: Telemetry) -> None:
    install(telemetry, exclude=["/probe"])
    app = FastAPI()

    @app.get("/probe")
    def probe() -> None:
        logging.getLogger("app").info("probed")

    reply = fetch(app, "/probe")
    (record,) = telemetry.records
    assert record.request_id == reply.headers["x-request-id"]
    assert "traceresponse" not in reply.headers
    assert telemetry.spans == ()
    assert telemetry.metrics() == {}


@pytest.mark.parametrize("variable", ["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"])
def test_variables_exclude_urls(telemetry: Telemetry, variable: str) -> None:
    install(telemetry, {variable: "pro.e,nothing"})
    fetch(shop(), "/probe")
    fetch(shop(), "/orders/7")
    assert [span.name for span in telemetry.spans] == ["GET /orders/{order}"]


@pytest.mark.skipif(not IS_NATIVE, reason="an option of FastAPI's own telemetry")
def test_exclusion_of_the_application_counts_too(telemetry: Telemetry) -> None:
    install(telemetry, exclude=["/probe"])
    app = FastAPI(telemetry={"exclude": lambda scope: scope["path"] == "/private"})
    for path in ("/private", "/probe", "/public"):
        fetch(app, path)
    assert [span.attributes["url.path"] for span in telemetry.spans if span.attributes] == ["/public"]
    assert [record.fields["url.path"] for record in telemetry.events("otelkit.access")] == ["/public"]


@pytest.mark.skipif(not IS_NATIVE, reason="an option of FastAPI's own telemetry")
def test_options_of_the_application_are_respected_and_given_back() -> None:
    own = Telemetry()
    apps = [
        FastAPI(telemetry={"tracing": False}),
        FastAPI(telemetry={"metrics": False}),
        FastAPI(telemetry={"logs": False}),
        FastAPI(telemetry={"tracer_provider": own.tracer_provider}),
    ]
    for app in apps:

        @app.get("/broken")
        def broken() -> None:
            raise ValueError("boom")

    before = [dict(app._telemetry) for app in apps]
    with Telemetry() as telemetry:
        install(telemetry)
        found = []
        for app in apps:
            fetch(app, "/broken")
            durations = telemetry.points("http.server.request.duration")
            sizes = telemetry.points("http.server.response.body.size")
            found.append(
                (
                    len(telemetry.spans),
                    sum(point.count for point in durations),
                    sum(point.count for point in sizes),
                    len(telemetry.events("otelkit.exceptions")),
                )
            )
        FastAPIIntegration().uninstall()
        for app in apps:
            fetch(app, "/nowhere")
    # Cumulative: no span of the first, no metrics of the second, an exception event each, the last's spans elsewhere.
    assert found == [(0, 1, 1, 1), (1, 1, 1, 2), (2, 2, 2, 3), (2, 3, 3, 4)]
    assert "fastapi.endpoint" in {span.name for span in own.spans}
    assert [dict(app._telemetry) for app in apps] == before


@pytest.mark.skipif(not IS_NATIVE, reason="an option of FastAPI's own telemetry")
def test_exporters_of_fastapi_are_declined_where_the_environment_asks_for_them(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}
    monkeypatch.setenv(*next(iter(variable.items())))
    app = FastAPI()
    verdict = FastAPIIntegration().install(telemetry.wiring(variable), None)
    fetch(app, "/")
    assert "FASTAPI_OTEL_AUTO_CONFIGURE" in verdict.reason
    assert app._telemetry["auto_configure"] is False


def test_later_options_apply_at_once(telemetry: Telemetry) -> None:
    app = shop()
    fetch(app, "/probe")
    install(telemetry, exclude=["/probe"], access_event=False)
    fetch(app, "/probe")
    fetch(app, "/orders/7")
    assert [span.name for span in telemetry.spans] == ["GET /probe", "GET /orders/{order}"]
    assert len(telemetry.events("otelkit.access")) == 1


def test_uninstall_leaves_nothing_of_ours() -> None:
    app = shop()
    with Telemetry() as telemetry:
        install(telemetry)
        fetch(app, "/orders/7")
        FastAPIIntegration().uninstall()
        reply = fetch(app, "/orders/7")
    assert [name for name in reply.headers if name in ("x-request-id", "traceresponse")] == []
    assert len(telemetry.spans) == 1


@pytest.mark.parametrize("wrong", [{"exclude": "/probe"}, {"exclude": ["("]}, {"exclude": [7]}])
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"FastAPIOptions\.exclude"):
        FastAPIOptions(**wrong)


def test_options_of_another_type_are_named() -> None:
    with Telemetry() as telemetry, pytest.raises(SettingsError, match=r"integrations\['fastapi'\].*dict"):
        FastAPIIntegration().install(telemetry.wiring(), {"exclude": []})


# -- mounts ------------------------------------------------------------------------------------------------------------


async def _hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def _mounted() -> FastAPI:
    """FastAPI in FastAPI, Starlette in FastAPI, a router in a router."""
    router = APIRouter()

    @router.get("/things/{thing}")
    def read(thing: str) -> str:
        return thing

    inner = FastAPI()
    inner.include_router(router, prefix="/{kind}")
    app = FastAPI()
    app.include_router(router, prefix="/included/{kind}")
    app.mount("/fastapi/{tenant}", inner)
    app.mount("/starlette", Starlette(routes=[Mount("/{a}", routes=[Route("/{b:int}", _hello)])]))
    return app


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/included/new/things/7", "/included/{kind}/things/{thing}"),
        ("/fastapi/acme/new/things/7", "/fastapi/{tenant}/{kind}/things/{thing}"),
        ("/fastapi/acme/nowhere", "/fastapi/{tenant}/{path}"),
        ("/starlette/x/7", "/starlette/{a}/{b}"),
        ("/starlette/x/nowhere", "/starlette/{a}/{path}"),
    ],
)
@pytest.mark.parametrize("outside", ["", "/outer"])
def test_mounted_request_is_one_span_and_one_point_with_the_whole_template(
    telemetry: Telemetry, path: str, route: str, outside: str
) -> None:
    app: Any = _mounted()
    if outside:
        app = Starlette(routes=[Mount(outside, app)])
    fetch(app, outside + path)
    (span,), (access,) = telemetry.spans, telemetry.records
    assert span.attributes is not None
    assert (span.name, span.attributes["http.route"]) == (f"GET {outside}{route}", outside + route)
    assert access.fields["http.route"] == outside + route
    metrics = telemetry.metrics()
    for name in ("http.server.request.duration", "http.server.response.body.size"):
        (point,) = metrics[name]
        assert (point.count, point.attributes["http.route"]) == (1, outside + route)


@pytest.mark.parametrize(("path", "route"), [("/users/7", "/old/users/<int:user>"), ("/nowhere/8231", "/old/{path}")])
def test_mounted_flask_has_its_own_rule_and_never_a_raw_path(telemetry: Telemetry, path: str, route: str) -> None:
    old = Flask("old")

    @old.get("/users/<int:user>")
    def read(user: int) -> str:
        return str(user)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Starlette's bridge is deprecated, and the one that people have
        from starlette.middleware.wsgi import WSGIMiddleware

        app = FastAPI()
        app.mount("/old", WSGIMiddleware(old))
    fetch(app, f"/old{path}")
    (span,) = telemetry.spans
    (point,) = telemetry.points("http.server.request.duration")
    assert (span.name, point.attributes["http.route"]) == (f"GET {route}", route)


def test_root_path_is_part_of_the_route(telemetry: Telemetry) -> None:
    app = shop()
    fetch(app, "/api/orders/7", root_path="/api")
    assert [span.name for span in telemetry.spans] == ["GET /api/orders/{order}"]


@pytest.mark.skipif(not IS_NATIVE, reason="below FastAPI's own telemetry a redirect has no route")
@pytest.mark.parametrize("outside", ["", "/outer"])
def test_redirect_to_the_path_without_its_last_slash(telemetry: Telemetry, outside: str) -> None:
    app = Starlette(routes=[Mount(outside, shop())])
    assert fetch(app, f"{outside}/orders/7/").status == 307
    (span,) = telemetry.spans
    (point,) = telemetry.points("http.server.response.body.size")
    assert span.name == f"GET {outside}/orders/{{order}}"
    assert point.attributes["http.route"] == f"{outside}/orders/{{order}}"


def test_application_called_inside_the_process_is_a_request_of_its_own(telemetry: Telemetry) -> None:
    inner, outer = shop(), FastAPI()

    @outer.get("/outer")
    async def call() -> int | None:
        carrier: dict[str, str] = {}
        from opentelemetry.propagate import inject

        inject(carrier)
        return (await request(inner, "/orders/7", headers=carrier.items())).status

    assert fetch(outer, "/outer").body == b"200"
    callee, caller = telemetry.spans
    assert (callee.name, caller.name) == ("GET /orders/{order}", "GET /outer")
    assert callee.parent is not None
    assert callee.parent.span_id == caller.context.span_id


def test_middleware_that_runs_the_application_in_another_task(telemetry: Telemetry) -> None:
    app = shop()

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    fetch(app, "/orders/7")
    (span,) = telemetry.spans
    assert span.name == "GET /orders/{order}"
    assert {record.span_id for record in telemetry.records} == {span.context.span_id}
    assert len(telemetry.records) == 2


def test_span_of_a_dependency_is_a_child(telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("app")

    async def session() -> AsyncIterator[None]:
        with tracer.start_as_current_span("session"):
            yield

    app = FastAPI(dependencies=[Depends(session)])

    @app.get("/")
    def endpoint() -> None:
        """Answer."""

    fetch(app, "/")
    (server,) = telemetry.server_spans
    (inner,) = [span for span in telemetry.spans if span.name == "session"]
    assert inner.parent is not None
    assert inner.parent.span_id == server.context.span_id
    assert telemetry.events("otelkit.access")[0].span_id == server.context.span_id


# -- websockets, contrib, the process ----------------------------------------------------------------------------------


def _chat(error: Exception | None = None) -> FastAPI:
    app = FastAPI()

    @app.websocket("/rooms/{room}")
    async def chat(socket: WebSocket, room: int) -> None:
        await socket.accept()
        if error is not None:
            raise error
        while True:
            await socket.send_text(f"{room}: {await socket.receive_text()}")

    return app


def test_websocket_is_one_span_and_no_metric(telemetry: Telemetry) -> None:
    with pytest.raises(WebSocketDisconnect):
        asyncio.run(websocket(_chat(), "/rooms/7", "one"))
    (span,) = telemetry.spans
    (record,) = telemetry.records
    assert (span.name, span.kind, span.status.status_code) == (
        "WS /rooms/{room}",
        trace.SpanKind.SERVER,
        trace.StatusCode.UNSET,
    )
    assert span.attributes == {
        "http.route": "/rooms/{room}",
        "network.protocol.name": "websocket",
        "server.address": "testserver",
        "server.port": 80,
        "url.scheme": "ws",
    }
    assert (record.event, record.fields["http.route"]) == ("websocket.connection.completed", "/rooms/{room}")
    assert telemetry.metrics() == {}


def test_failed_websocket_is_recorded_once(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(websocket(_chat(ValueError("boom")), "/rooms/7"))
    (span,) = telemetry.spans
    (record,) = telemetry.events("otelkit.exceptions")
    assert record.event == "websocket.connection.failed"
    assert record.span_id == span.context.span_id
    assert span.status.status_code is trace.StatusCode.ERROR


def test_websocket_of_a_mounted_starlette(telemetry: Telemetry) -> None:
    async def chat(socket: Any) -> None:
        await socket.accept()
        await socket.close()

    app = FastAPI()
    app.mount("/chat", Starlette(routes=[WebSocketRoute("/{room}", chat)]))
    asyncio.run(websocket(app, "/chat/7"))
    assert [span.name for span in telemetry.spans] == ["WS /chat/{room}"]


def test_contrib_that_was_applied_by_hand_stays_the_only_server_span(telemetry: Telemetry) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.fastapi")
    app = shop()
    instrumentation.FastAPIInstrumentor.instrument_app(
        app, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
    )
    reply = fetch(app, "/orders/7")
    (span,) = telemetry.server_spans
    assert f"{span.context.span_id:016x}" in reply.headers["traceresponse"]
    assert telemetry.events("otelkit.access")[0].span_id == span.context.span_id


@pytest.mark.parametrize("applied", ["contrib", "ours"])
def test_mounted_application_makes_no_second_server_span(telemetry: Telemetry, applied: str) -> None:
    app: Any = FastAPI()
    app.mount("/shop", shop())
    if applied == "contrib":
        instrumentation = pytest.importorskip("opentelemetry.instrumentation.fastapi")
        instrumentation.FastAPIInstrumentor.instrument_app(app, tracer_provider=telemetry.tracer_provider)
    else:
        app = TelemetryMiddleware(
            app, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )
    fetch(app, "/shop/orders/7")
    assert len(telemetry.server_spans) == 1
    assert telemetry.events("otelkit.access")[0].fields["http.route"] == "/shop/orders/{order}"


def test_process_serves_from_its_first_request_on(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serving, "_marked", False)
    assert not _serving.is_serving()
    fetch(shop(), "/orders/7")
    assert _serving.is_serving()
    assert telemetry.spans


def test_every_request_of_many_at_once_keeps_its_own(telemetry: Telemetry) -> None:
    app = FastAPI()

    @app.get("/{number}")
    async def endpoint(number: int) -> int:
        await asyncio.sleep(0.001)
        logging.getLogger("app").info("%s", number)
        return number

    async def calls() -> list[Any]:
        return await asyncio.gather(
            *(asyncio.create_task(request(app, f"/{n}", headers=[("x-request-id", f"id-{n}")])) for n in range(50))
        )

    replies = asyncio.run(calls())
    assert [reply.headers["x-request-id"] for reply in replies] == [f"id-{n}" for n in range(50)]
    assert {(r.event, r.request_id) for r in telemetry.events("app")} == {(f"{n}", f"id-{n}") for n in range(50)}
    assert len({span.context.trace_id for span in telemetry.spans}) == 50
