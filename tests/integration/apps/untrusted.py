"""A service that strangers call, without otelkit: it answers, fails, calls onward, and can be told to flush."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request  # noqa: TC002  FastAPI evaluates annotations
from opentelemetry import _logs, baggage, metrics, propagate, trace

log = logging.getLogger("untrusted")
tracer = trace.get_tracer("untrusted")

app = FastAPI()


@app.get("/ok/{name}")
def ok(name: str) -> str:
    """Answer, with a span and a record of its own."""
    with tracer.start_as_current_span("inside"):
        log.warning("answered %s", name)
    return name


@app.get("/broken/{name}")
def broken(name: str) -> str:
    """Fail."""
    log.warning("failing %s", name)
    with tracer.start_as_current_span("inside"):
        raise RuntimeError(name)


@app.get("/unavailable")
def unavailable() -> None:
    """Answer with an error, without an exception."""
    raise HTTPException(503)


@app.get("/health")
def health() -> str:
    """Answer what orchestrators ask."""
    with tracer.start_as_current_span("inside"):
        return "alive"


@app.get("/forward")
def forward(request: Request) -> dict[str, Any]:
    """Tell what a call onward would carry, and what came in."""
    onward: dict[str, str] = {}
    propagate.inject(onward)
    return {"onward": onward, "came": dict(request.headers), "baggage": dict(baggage.get_all())}


@app.get("/flush")
def flush() -> str:
    """Send everything, this request itself not yet."""
    providers: list[Any] = [trace.get_tracer_provider(), _logs.get_logger_provider(), metrics.get_meter_provider()]
    for provider in providers:
        provider.force_flush()
    return "flushed"
