"""Runs inside a process of the demo and counts, without any telemetry, what the process does.

    DEMO_APP=shop.api:app DEMO_COUNTS=api.counts uvicorn _demo.witness:app
    DEMO_APP=shop.worker:app DEMO_COUNTS=worker.counts celery -A _demo.witness:app worker

One word per event goes to the file DEMO_COUNTS, see `WORDS`. The process ends when its standard input does, so that it
cannot outlive the demo, however that ended.
"""

from __future__ import annotations

import os
import signal
import threading
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery import Celery, current_task, signals
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

WORDS = {
    "ready": "a Celery process has started",
    "request": "an HTTP request for the service",
    "probe": "what health asked, or was asked",
    "statement": "an SQL statement for a request or a task",
    "background": "an SQL statement for neither, to create the tables",
    "command": "a Redis command for a request",
    "cache": "one of these for a product",
    "publish": "a message that asks for a task",
    "run": "a task that a worker ran",
    "retry": "one of these that will be tried again",
}

_module, _, _attribute = os.environ["DEMO_APP"].partition(":")
_service: Any = getattr(import_module(_module), _attribute)
_counts = os.open(os.environ["DEMO_COUNTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_in_request: ContextVar[bool] = ContextVar("in_request", default=False)


def _count(*words: str) -> None:
    os.write(_counts, "".join(f"{word}\n" for word in words).encode())


async def _serve(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Pass everything on to the service."""
    if scope["type"] != "http":
        await _service(scope, receive, send)
        return
    if scope["path"].startswith("/health"):
        _count("probe")
        await _service(scope, receive, send)
        return
    _count("request")
    token = _in_request.set(True)
    try:
        await _service(scope, receive, send)
    finally:
        _in_request.reset(token)


app = _service if isinstance(_service, Celery) else _serve


@event.listens_for(Engine, "before_cursor_execute")
def _statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
    if _in_request.get() or current_task:
        _count("statement")
    else:
        _count("probe" if statement == "SELECT 1" else "background")


_execute: Any = Redis.execute_command


async def _command(client: Redis, *args: Any, **options: Any) -> Any:
    if _in_request.get():
        _count("command", *(["cache"] if str(args[1]).startswith("product:") else []))
    else:
        _count("probe")
    return await _execute(client, *args, **options)


Redis.execute_command = _command  # type: ignore[method-assign,assignment]  # where all commands pass


def _published(**_: object) -> None:
    _count("publish")


def _ran(state: str | None = None, **_: object) -> None:
    _count("run", *(["retry"] if state == "RETRY" else []))


def _ready(**_: object) -> None:
    _count("ready")


signals.after_task_publish.connect(_published, weak=False)
signals.task_postrun.connect(_ran, weak=False)
signals.worker_ready.connect(_ready, weak=False)
signals.beat_init.connect(_ready, weak=False)


def _end_with_the_demo() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=_end_with_the_demo, daemon=True).start()
