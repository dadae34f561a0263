"""A service that tells what each request found: what was set at start-up, and what others left behind."""

from __future__ import annotations

import asyncio
import decimal
from contextvars import ContextVar
from typing import Any

import structlog

import otelkit

otelkit.configure(service_name="keeping")

from fastapi import FastAPI, Request, WebSocket  # noqa: E402, TC002  after configure(), as the order that is hardest to get right

decimal.getcontext().prec = 7
startup: ContextVar[str] = ContextVar("startup", default="lost")
startup.set("kept")
last: ContextVar[str] = ContextVar("last", default="nobody")

app = FastAPI()


def _found(name: str) -> dict[str, Any]:
    found = {
        "before": last.get(),
        "bound": sorted(structlog.contextvars.get_contextvars()),
        "startup": startup.get(),
        "precision": decimal.getcontext().prec,
    }
    last.set(name)
    structlog.contextvars.bind_contextvars(visitor=name)
    return found


@app.get("/visit/{name}")
async def visit(name: str) -> dict[str, Any]:
    """Tell, and leave something behind."""
    found = _found(name)
    await asyncio.sleep(0.001)
    otelkit.get_logger("keeping").info("visited", visitor_name=name)
    return found


@app.post("/upload/{name}")
async def upload(name: str, request: Request) -> dict[str, Any]:
    """Read a body large enough to make a server pause its reading, and to go on in the context of this request."""
    found = _found(name)
    return found | {"size": len(await request.body())}


@app.get("/broken/{name}")
async def broken(name: str) -> None:
    """Fail."""
    raise ValueError(f"{name} found it broken")


@app.websocket("/talk/{name}")
async def talk(socket: WebSocket, name: str) -> None:
    """Tell, and go."""
    await socket.accept()
    await socket.send_json(_found(name))
    await socket.close()
