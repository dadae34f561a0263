"""Runs inside a service of the demo and counts, without any telemetry, what the service does.

    DEMO_APP=shop.api:app DEMO_COUNTS=shop.counts uvicorn _demo.witness:app

One word per line goes to the file DEMO_COUNTS: "request" for each HTTP request that reached the service, "statement"
for each SQL statement executed for one, "background" for each executed for none (creating the tables). The service ends
when its standard input does, so that it cannot outlive the demo, however that ended.
"""

from __future__ import annotations

import os
import signal
import threading
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

_module, _, _attribute = os.environ["DEMO_APP"].partition(":")
_service = getattr(import_module(_module), _attribute)
_counts = os.open(os.environ["DEMO_COUNTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_in_request: ContextVar[bool] = ContextVar("in_request", default=False)


def _count(word: str) -> None:
    os.write(_counts, f"{word}\n".encode())


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Pass everything on to the service."""
    if scope["type"] != "http":
        await _service(scope, receive, send)
        return
    _count("request")
    token = _in_request.set(True)
    try:
        await _service(scope, receive, send)
    finally:
        _in_request.reset(token)


@event.listens_for(Engine, "before_cursor_execute")
def _statement(*_: object) -> None:
    _count("statement" if _in_request.get() else "background")


def _end_with_the_demo() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=_end_with_the_demo, daemon=True).start()
