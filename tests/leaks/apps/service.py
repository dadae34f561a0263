"""A service that handles secrets as services do: each route takes, stores, raises, logs, measures or sends them."""

from __future__ import annotations

from leaks.apps import kit

kit.configure()

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
import tempfile
import warnings
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, unquote

import httpx
import structlog
from fastapi import BackgroundTasks, Body, FastAPI, Request, WebSocket  # noqa: TC002  FastAPI reads annotations
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response  # noqa: TC002  the same
from opentelemetry import _logs, baggage, context, metrics, trace
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from leaks import plants
from leaks.apps import stores
from leaks.apps.kit import arrived, use

if TYPE_CHECKING:
    from collections.abc import Callable

app = FastAPI()
app.include_router(stores.router)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
logging.getLogger("httpx").setLevel(logging.INFO)  # it names every URL that it asks
tracer = trace.get_tracer("shop")
meter = metrics.get_meter("shop")
_FOLDER = Path(tempfile.mkdtemp(prefix="leaks-"))
_OWN_FILE = (_FOLDER / "own.log").open("w", encoding="utf-8")
"""What an application prints elsewhere than to the terminal is its own affair."""


@app.get("/ready")
async def ready() -> str:
    """Answer, for whoever waits for the start."""
    return "yes"


@app.get("/flush")
def flush() -> str:
    """Send what there is."""
    arrived("environment: headers of the exporter", os.environ["OTEL_EXPORTER_OTLP_HEADERS"])
    kit.flush()
    return "sent"


# -- what a client sends ----------------------------------------------------------------------------------------------


@app.post("/inbound/{token}/{card}/{address}")
async def inbound(request: Request, token: str, card: str, address: str) -> JSONResponse:
    """Take what a browser, a proxy or another service sends, and set a cookie."""
    headers = request.headers
    for place, name in {
        "authorization, bearer": "authorization",
        "cookie": "cookie",
        "x-api-key": "x-api-key",
        "x-auth-token": "x-auth-token",
        "user-agent, api key": "user-agent",
        "user-agent, e-mail": "user-agent",
        "referer, query": "referer",
        "baggage, token": "baggage",
    }.items():
        arrived(f"header: {place}", headers.get(name))
    arrived("header: proxy-authorization", b64decode(headers["proxy-authorization"].split()[-1]))
    arrived("header: baggage, e-mail", unquote(headers["baggage"]))
    for place, key in {"password": "password", "token": "token", "e-mail": "email", "any other key": "q"}.items():
        arrived(f"query: {place}", request.query_params.get(key))
    arrived("query: no key", request.url.query)
    for place, value in {"jwt": token, "card": card, "e-mail": address}.items():
        arrived(f"path: {place}", value)
    body = await request.json()
    arrived("body: json password", body["password"])
    arrived("body: json card", body["payment"]["card"])
    arrived("body: json nested token", body["payment"]["token"])
    answer = JSONResponse({"password": use("response: body")})
    answer.set_cookie("session", use("response: set-cookie"))
    answer.headers["X-Api-Key"] = use("response: x-api-key")
    return answer


@app.post("/form")
async def form(request: Request) -> str:
    """Take a log-in."""
    fields = parse_qs((await request.body()).decode())
    arrived("body: form password", fields["password"])
    arrived("body: form e-mail", fields["email"])
    scheme, _, credentials = request.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    arrived("header: authorization, basic", b64decode(credentials))
    return "in"


@app.get("/redirect")
async def redirect(request: Request) -> Response:
    """Send a browser elsewhere, with a token for there."""
    arrived("query: in a redirect", request.query_params.get("code"))
    return RedirectResponse(f"/ready?token={use('response: location')}")


@app.middleware("http")
async def unknown(request: Request, call_next: Any) -> Any:
    """Look at what asks for paths that do not exist."""
    if request.url.path.startswith("/nowhere/"):
        arrived("path: jwt in an unknown path", request.url.path)
        arrived("query: in an unknown path", request.url.query)
    return await call_next(request)


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Take a connection, and fail."""
    arrived("query: of a websocket", socket.query_params.get("token"))
    await socket.accept()
    raise LookupError(f"no account of {use('exception: of a websocket')}")


class Account(BaseModel):
    """What a client must send to open an account; the types are wrong for what it sends."""

    password: int
    email: int
    card: bool


@app.post("/validation")
async def validation(account: Annotated[Account, Body()], pin: int) -> str:
    """Never get here."""
    return f"{account}{pin}"


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, error: RequestValidationError) -> Any:
    """Log what was wrong, as a service does until somebody notices what that holds (E-55)."""
    arrived("validation: query", request.query_params.get("pin"))
    arrived("validation: json password", error.body)
    arrived("validation: json e-mail", error.body)
    password = {"password": use("validation: data of the event, password")}
    log.warning("account refused", extra={"data": {"body": {**error.body, **password}, "errors": error.errors()}})
    use("validation: errors in a message, card")
    log.warning("account refused: %s", error.errors())
    return await request_validation_exception_handler(request, error)


# -- databases --------------------------------------------------------------------------------------------------------

_TABLE = "CREATE TABLE {} (email VARCHAR(200) UNIQUE, password VARCHAR(200) UNIQUE, number INTEGER)"
_URLS = {
    "sqlite": f"sqlite:///{_FOLDER}/sync",
    "aiosqlite": f"sqlite+aiosqlite:///{_FOLDER}/async",
    **{driver: os.environ.get("LEAKS_POSTGRES", "").replace("DRIVER", driver) for driver in plants.POSTGRES},
}


def statements(database: str) -> list[tuple[str, dict[str, str] | None]]:
    """Return what is asked of a database, each statement with its bound values; the last ones fail."""

    def at(what: str) -> str:
        return use(f"sql, {database}: {what}")

    table = f"account_{database}_{os.getpid()}"
    insert = f"INSERT INTO {table} (email, password) VALUES (:email, :password)"  # noqa: S608  not from outside
    select = f"SELECT * FROM {table} WHERE"  # noqa: S608  the same
    rows = {"email": at("bound e-mail"), "password": at("bound password")}
    twice = {"email": at("unique violation, e-mail"), "password": at("unique violation, bound password")}
    told = [
        ("SELECT 1", None),
        (_TABLE.format(table), None),
        (insert, rows),
        (f"{select} email = '{at('literal e-mail')}'", None),
        (f"{select} email = '{at('literal card')}' OR number = 0", None),
        (f"{select} password = '{at('literal password')}'", None),
        (f"{select} password IN ('x', '{at('literal in a list')}')", None),
        (f"{select} password = '{at('literal token')}' -- again", None),
        (insert, twice),
        (insert, twice),
        (f"{select} passwort = '{at('syntax error, literal')}' AND", None),
    ]
    if database in plants.POSTGRES:
        opaque = {"email": "somebody", "password": at("unique violation, opaque key")}
        typed: Any = at("type error, bound value")
        told += [
            (f"{select} password = $tag${at('dollar-quoted literal')}$tag$", None),
            (insert, opaque),
            (insert, {**opaque, "email": "else"}),
            (f"SELECT CAST('{at('type error, literal')}' AS INTEGER)", None),
            (f"UPDATE {table} SET number = CAST(CAST(:password AS VARCHAR) AS INTEGER)", {"password": typed}),  # noqa: S608  the same
        ]
    return told


@app.get("/sql/{database}/{number}")
async def sql(database: str, number: int) -> int:
    """Send one statement; a failing one fails the request. The statement behind the last one is asked for by number."""
    told = statements(database)
    if number == len(told):
        email = use(f"sql, {database}: text of a raised error")
        await execute(database, f"SELECT * FROM missing WHERE email = '{email}'", None)  # noqa: S608  not from outside
    else:
        await execute(database, *told[number])
    return len(told)


async def execute(database: str, statement: str, values: dict[str, str] | None) -> None:
    """Send a statement, in a transaction of its own, whichever way the driver works."""
    if database in ("aiosqlite", "asyncpg"):
        engine = create_async_engine(_URLS[database])
        async with engine.begin() as connection:
            await connection.execute(text(statement), values)
        await engine.dispose()
    else:
        with create_engine(_URLS[database]).begin() as plain:
            plain.execute(text(statement), values)


# -- exceptions -------------------------------------------------------------------------------------------------------


class DeclinedError(Exception):
    """An error that writes its own text."""

    def __init__(self, secret: str) -> None:
        super().__init__("declined")
        self.secret = secret

    def __str__(self) -> str:
        """Say too much."""
        return f"declined with password={self.secret}"


class Credentials(BaseModel):
    """What pydantic refuses, and repeats."""

    password: int


def connect(*, password: str) -> None:
    """Fail without a word of the password: it stands in the line that calls."""
    raise ConnectionError(f"{len(password)} is too long")


def with_cause(secret: str) -> None:
    """Fail because of another failure."""
    raise RuntimeError("order failed") from ValueError(f"password={secret}")


def with_context(secret: str) -> None:
    """Fail while another failure is handled."""
    try:
        raise KeyError(secret)  # noqa: TRY301  nobody else calls it
    except KeyError:
        raise RuntimeError("order failed")  # noqa: B904  the context is what is looked at


def with_note(secret: str) -> None:
    """Fail, and say more."""
    error = ValueError("order failed")
    error.add_note(f"with {secret}")
    raise error


def with_local(secret: str) -> None:
    """Fail with a secret in the frame."""
    raise ValueError(f"order failed, {len(secret)} characters")


ERRORS: dict[str, Callable[[str], Exception]] = {
    "password": lambda secret: ValueError(f"log-in failed with password={secret}"),
    "e-mail": lambda secret: LookupError(f"no account of {secret}"),
    "card": lambda secret: ValueError(f"card {secret} is expired"),
    "jwt": lambda secret: PermissionError(f"cannot verify {secret}"),
    "bearer": lambda secret: PermissionError(f"refused: Authorization: Bearer {secret}"),
    "connection string": lambda secret: ConnectionError(f"cannot connect to {secret}"),
    "private key": lambda secret: ValueError(f"cannot read key:\n{secret}\n"),
    "member of a group": lambda secret: ExceptionGroup("two", [ValueError(f"token={secret}"), ValueError("other")]),
    "arguments": lambda secret: ValueError("no account", {"email": secret}),
    "text of its own making": DeclinedError,
}
RAISING: dict[str, Callable[[str], Any]] = {
    "cause": with_cause,
    "context": with_context,
    "note": with_note,
    "local variable": with_local,
    "input of pydantic": lambda secret: Credentials.model_validate({"password": secret}),
}


async def fail(what: str) -> None:
    """Raise."""
    secret = use(f"exception: {what}")
    if what in ERRORS:
        raise ERRORS[what](secret)
    if what in RAISING:
        RAISING[what](secret)
    if plants.SOURCE_LINE.endswith(what):
        connect(password="hunter2SourceLineOfAFrame")
    url = f"http://127.0.0.1:{os.environ['LEAKS_PORT']}/nothing?token={secret}"
    (await ask("GET", url)).raise_for_status()


@app.get("/raise/{what}")
async def raising(what: str) -> None:
    """Fail, and leave it to the server."""
    await fail(what)


@app.get("/caught/{what}")
async def caught(what: str) -> None:
    """Fail, and log it."""
    try:
        await fail(what)
    except Exception:
        log.exception("order failed")
        structlog.get_logger("shop").exception("order.failed")


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    """Fail after the answer."""

    async def work() -> None:
        raise ValueError(f"password={use('exception: of a background task')}")

    async def abandoned() -> None:
        raise ValueError(f"password={use('exception: of an abandoned asyncio task')}")

    tasks.add_task(work)
    task = asyncio.create_task(abandoned())
    await asyncio.sleep(0)
    del task
    gc.collect()
    return "later"


# -- logs -------------------------------------------------------------------------------------------------------------


@dataclass
class Login:
    """Prints whole, as dataclasses do."""

    user: str
    password: str


@app.get("/log/stdlib")
async def stdlib() -> str:
    """Log in every way that stdlib logging has."""
    log.info("log-in with password=" + use("log: message"))  # noqa: G003  as people do
    log.info(f"log-in with token={use('log: f-string')}")  # noqa: G004  as people do
    log.info("log-in with password: %s", use("log: argument"))
    log.info("log-in with api_key=%(key)s", {"key": use("log: argument by name")})
    log.info("log-in: %r", Login("somebody", use("log: argument that is an object")))
    log.info("log-in: %s", [{"password": use("log: argument that is a dict")}])
    log.info("header Authorization: Bearer %s", use("log: bearer"))
    log.info("connecting to %s", use("log: connection string"))
    log.info("token is %s", use("log: jwt"))
    card = use("log: card with spaces")
    log.info("paid with %s", " ".join(card[start : start + 4] for start in range(0, 16, 4)))
    log.info("log-in", extra={"password": use("log: extra, password")})
    log.info("log-in", extra={"account": {"login": [{"client_secret": use("log: extra, nested")}]}})
    log.info("log-in", extra={"who": f"{use('log: extra, e-mail')} of us"})
    log.info("paid", extra={"paid_with": int(use("log: extra, number"))})
    log.info("asked", extra={"headers": {"authorization": f"Bearer {use('log: extra, headers')}"}})
    task = {
        "name": "shop.mail",
        "args": f"('{use('log: data of a task, args')}',)",
        "kwargs": f"{{'password': '{use('log: data of a task, kwargs')}'}}",
    }
    log.info("Task shop.mail received", extra={"data": task})
    try:
        try:
            raise ValueError(f"card {use('log: exception(), cause')}")  # noqa: TRY301  as above
        except ValueError as error:
            raise RuntimeError(f"password={use('log: exception()')}") from error
    except RuntimeError:
        log.exception("order failed")
    log.warning("order failed", exc_info=ValueError(f"key {use('log: exc_info at level warning')}"))
    with contextlib.suppress(Exception):
        log.info("user %d", f"password={use('log: malformed call')}")
    warnings.warn(f"old password={use('log: warning that was captured')}", stacklevel=1)
    logging.getLogger("library").warning("password=%s", use("log: without any handler"))
    server = logging.getLogger("gunicorn.error" if "gunicorn" in sys.modules else "uvicorn.error")
    server.warning("password=%s", use("log: of the server"))
    server.error("worker failed", exc_info=ValueError(f"password={use('log: of the server, exception')}"))
    logging.getLogger("opentelemetry.shop").warning("password=%s", use("log: of opentelemetry"))
    _logs.get_logger("shop.api").emit(
        severity_number=_logs.SeverityNumber.WARN,
        body=f"password={use('log: by the logs api, body')}",
        attributes={"password": use("log: by the logs api, attribute")},
    )
    return "logged"


@app.get("/log/structlog")
async def with_structlog() -> str:
    """Log in every way that structlog has: its own printer, a chain into stdlib logging, a chain that prints."""
    logger = structlog.get_logger("shop")
    structlog.contextvars.bind_contextvars(session_token=use("structlog: context variable"))
    logger.info(f"log-in with password={use('structlog: event')}")  # noqa: G004  as people do
    logger.info("log-in", password=use("structlog: field"), who=use("structlog: field, e-mail"))
    logger.info("log-in", account={"login": [{"secret": use("structlog: nested field")}]})
    logger.bind(key=use("structlog: bound")).info("log-in")
    into = structlog.wrap_logger(
        log,
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    into.info("log-in", password=use("structlog: chain to stdlib logging"))
    printing = structlog.wrap_logger(
        structlog.PrintLogger(None if kit.LOGS == "all" else _OWN_FILE),
        processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()],
    )
    printing.info("log-in", password=use("structlog: chain that prints"))
    try:
        password = use("structlog: chain that prints, local variable")
        raise ValueError(f"password={use('structlog: chain that prints, exception')}, {len(password)}")  # noqa: TRY301  as above
    except ValueError:
        printing.exception("order.failed")
    try:
        raise ValueError(f"no account of {use('structlog: chain to stdlib logging, exception')}")  # noqa: TRY301  as above
    except ValueError:
        into.exception("order.failed")
    try:
        raise ValueError(f"password={use('structlog: exception()')}")  # noqa: TRY301  as above
    except ValueError:
        logger.exception("order.failed")
    structlog.contextvars.clear_contextvars()
    return "logged"


# -- spans and metrics ------------------------------------------------------------------------------------------------


@app.get("/measured")
async def measured() -> str:
    """Put secrets into everything that the API takes."""
    with tracer.start_as_current_span(
        f"verify {use('span: name')}", attributes={"password": use("span: attribute at start")}
    ) as span:
        span.set_attribute("api_key", use("span: attribute by key"))
        span.set_attribute("note", f"with {use('span: attribute by value')}")
        span.set_attribute("recipients", ["somebody", use("span: attribute, list")])
        span.set_attribute("paid_with", int(use("span: attribute of a number")))
        span.set_attribute("url.full", f"https://api.shop.example/pay?key={use('span: url.full')}")
        span.set_attribute("db.query.text", f"SELECT * FROM account WHERE pin = '{use('span: db.query.text')}'")  # noqa: S608  never sent
        span.set_attribute("http.request.header.authorization", [f"Bearer {use('span: http.request.header')}"])
        span.add_event(f"sent {use('span: event name')}", {"password": use("span: event attribute")})
        span.add_link(span.get_span_context(), {"password": use("span: link attribute")})
        span.record_exception(ValueError(f"cannot use {use('exception: recorded on a span')}"))
        span.set_status(trace.StatusCode.ERROR, f"password={use('span: status description')}")
    with tracer.start_as_current_span("mail") as span:
        span.update_name(f"mail to {use('span: updated name')}")
    token = context.attach(baggage.set_baggage("session.token", use("baggage: set in code")))
    with tracer.start_as_current_span("with baggage"):
        log.info("with baggage")
    context.detach(token)
    paid = meter.create_counter("shop.paid")
    paid.add(1, {"password": use("metric: attribute by key")})
    paid.add(1, {"customer": use("metric: attribute by value")})
    meter.create_histogram("shop.amount").record(9.5, {"paid_with": use("metric: histogram attribute")})
    observed = {"session": f"of {use('metric: observed attribute')}"}
    meter.create_observable_gauge("shop.open", [lambda _: [metrics.Observation(1, observed)]])
    return "measured"


# -- what is sent to others -------------------------------------------------------------------------------------------


async def ask(method: str, url: str, **options: Any) -> httpx.Response:
    """Ask another service."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, **options)


@app.post("/echo")
async def echo(request: Request) -> str:
    """Be the other service."""
    arrived("outbound: query", request.url.query)
    arrived("outbound: authorization", request.headers.get("x-authorization"))
    arrived("outbound: cookie", request.headers.get("cookie"))
    arrived("outbound: body", json.loads(await request.body()))
    return "heard"


@app.get("/outbound")
async def outbound() -> str:
    """Ask another service, and one that does not answer."""
    host = f"127.0.0.1:{os.environ['LEAKS_PORT']}"
    await ask(
        "POST",
        f"http://{host}/echo?token={plants.secret('outbound: query')}",
        headers={
            "X-Authorization": plants.secret("outbound: authorization"),
            "Cookie": f"session={plants.secret('outbound: cookie')}",
        },
        json={"password": plants.secret("outbound: body")},
    )
    await ask("GET", f"http://shop:{use('outbound: password in the url')}@{host}/ready")
    await ask("GET", f"http://{host}/ready?api_key={use('outbound: logged by the client')}")
    query, password = use("outbound: refused, query"), use("outbound: refused, password in the url")
    await ask("GET", f"http://shop:{password}@127.0.0.1:1/pay?token={query}")
    return "never"
