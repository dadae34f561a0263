"""A service that makes otelkit emit everything that it can; telemetry is set up by the launcher around it."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

import redis as redis_py
import tasks  # type: ignore[import-not-found]  # beside it, as the worker has it
from celery import Celery
from fastapi import FastAPI, Request, WebSocket  # noqa: TC002  FastAPI reads the annotations
from opentelemetry import trace
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import otelkit
from otelkit.integrations.asgi import TelemetryMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

otelkit.configure(integrations={"redis": otelkit.RedisOptions(key_words=frozenset({"user", "cart"}))})

engine = create_engine("sqlite:///everything.db", pool_size=1, max_overflow=0, pool_timeout=0.05)
client = redis_py.Redis.from_url(os.environ["BACKEND"])
narrow = redis_py.Redis(
    connection_pool=redis_py.BlockingConnectionPool.from_url(os.environ["BACKEND"], max_connections=1, timeout=0.05)
)
cache = otelkit.Cache("orders")
health = otelkit.Health(refresh=0.2, drain=0.1)
log = logging.getLogger("everything")
nowhere = Celery("nowhere", broker="redis://127.0.0.1:1/0")
nowhere.conf.update(task_publish_retry=False)
app = FastAPI()
mended: list[str] = []


def fails_once(name: str) -> Callable[[], None]:
    """Return a probe that fails at first."""

    def probe() -> None:
        if name not in mended:
            mended.append(name)
            raise ConnectionError("password=hunter2")

    return probe


health.add("critical", fails_once("critical"))
health.add("other", fails_once("other"), critical=False)
app.add_middleware(otelkit.HealthMiddleware, health=health)


@app.post("/orders/{number}")
async def orders(number: int, request: Request) -> int:
    """Read a body, and log in every way."""
    await request.body()
    log.info("plain", extra={"number": number}, stack_info=True)
    log.info("malformed %d", "x")
    log.info("many", extra={f"number_{index}": index for index in range(200)})
    return number


@app.get("/fail")
def fail() -> None:
    """Raise, after a statement."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    raise RuntimeError("password=hunter2")


@app.get("/caught")
def caught() -> None:
    """Record an exception on a span of the application's own, and leave another one open."""
    trace.get_tracer("shop").start_span("never ended")
    with contextlib.suppress(KeyError), trace.get_tracer("shop").start_as_current_span("caught"):
        raise KeyError("x")


@app.get("/database")
def database() -> None:
    """Run statements that work, one that says nothing, one that fails, and wait for a connection in vain."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO orders VALUES (:n)"), [{"n": 1}, {"n": 2}])
        connection.execute(text("SELECT 1"))
        connection.execute(text("-- nothing"))
        with contextlib.suppress(IntegrityError):
            connection.execute(text("INSERT INTO orders VALUES (1)"))
        with contextlib.suppress(PoolTimeoutError):
            engine.connect()


@app.get("/redis")
def redis() -> None:
    """Run commands that work, two that do not, a pipeline, and wait for a connection in vain."""
    for operation in (cache.lookup(), cache.lookup(), cache.store(), cache.drop()):
        with operation as lookup:
            if client.set("user:1:cart", "x"):
                lookup.hit()
    with contextlib.suppress(redis_py.ResponseError):
        client.execute_command("NOSUCHCOMMAND")  # type: ignore[no-untyped-call]  # redis-py's
    with contextlib.suppress(redis_py.ResponseError):
        client.lpush("user:1:cart", "x")
    pipeline = client.pipeline()
    pipeline.get("a")
    pipeline.get("b")
    pipeline.execute()
    held = narrow.connection_pool.get_connection("GET")
    with contextlib.suppress(redis_py.ConnectionError):
        narrow.get("a")
    narrow.connection_pool.release(held)


@app.get("/tasks")
def publish() -> None:
    """Publish tasks that work, fail, are tried again, wait, and belong together; and one that nobody takes."""
    tasks.work.delay(1)
    tasks.work.apply_async((2,), countdown=0.1)
    tasks.flaky.delay(1)
    tasks.broken.delay("x")
    tasks.orchestrate.delay()
    tasks.double.apply((1,))
    with contextlib.suppress(Exception):
        nowhere.send_task("lost")


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    """Accept, and end well or badly."""
    await socket.accept()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    if await socket.receive_text() == "fail":
        raise RuntimeError("password=hunter2")
    await socket.close()


# -- the same without FastAPI ------------------------------------------------------------------------------------------


async def plain(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    """Answer, or fail."""
    await receive()
    if scope["path"] == "/fail":
        raise RuntimeError("password=hunter2")
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@app.get("/plain")
async def call_plain() -> None:
    """Call an ASGI application that is no FastAPI, as a server does."""
    wrapped = TelemetryMiddleware(plain)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x"}

    async def send(_: Message) -> None: ...

    common = {"http_version": "1.1", "query_string": b"a=b", "headers": [(b"host", b"shop.test")]}
    for kind in ("http", "websocket"):
        for path in ("/", "/fail"):
            for method in ("GET", "PROPFIND"):
                scope: Any = {**common, "type": kind, "path": path, "scheme": kind[:4], "method": method}
                with contextlib.suppress(RuntimeError):
                    await wrapped(scope, receive, send)
