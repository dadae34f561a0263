"""A service whose requests, logs and tasks can be counted one by one; it configures nothing itself."""

from __future__ import annotations

import asyncio
import logging

from fastapi import FastAPI
from opentelemetry import trace

log = logging.getLogger("leaving")
tracer = trace.get_tracer("leaving")
app = FastAPI()
tasks: set[asyncio.Task[None]] = set()


@app.get("/ready")
async def ready() -> str:
    return "ready"


@app.get("/work/{number}")
async def work(number: int) -> int:
    with tracer.start_as_current_span(f"inside {number}"):
        log.warning("worked on %d", number)
    return number


@app.get("/slow/{number}")
async def slow(number: int) -> int:
    """Take so long that SIGTERM comes meanwhile."""
    log.warning("begun %d", number)
    await asyncio.sleep(1.0)
    with tracer.start_as_current_span(f"late {number}"):
        log.warning("worked on %d", number)
    return number


@app.get("/open")
async def leave_open() -> str:
    """Begin a task that is still in its span when the process leaves."""

    async def forever() -> None:
        with tracer.start_as_current_span("task that never ends"):
            await asyncio.sleep(3600)

    tasks.add(asyncio.create_task(forever()))
    await asyncio.sleep(0)
    return "begun"
