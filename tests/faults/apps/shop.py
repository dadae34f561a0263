"""A service whose every request makes a server span, two spans of its own and one log record."""

from __future__ import annotations

from faults.apps import kit

kit.configure()

import logging

from fastapi import FastAPI
from opentelemetry import trace

tracer = trace.get_tracer("shop")
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
app = FastAPI()


@app.get("/ready")
async def ready() -> str:
    """Answer, for whoever waits for the start."""
    return "yes"


@app.get("/work/{number}")
async def work(number: int, times: int = 1) -> int:
    """Do something that can be told apart from every other request."""
    for _ in range(times):
        with tracer.start_as_current_span("work", attributes={"number": number}), tracer.start_as_current_span("store"):
            log.info("worked on %d", number)
    return number


@app.get("/malformed/{number}")
async def malformed(number: int) -> int:
    """Make a mistake that Python's logging forgives."""
    log.info("user %d", "abc")
    return number
