"""A FastAPI service whose routes hand hostile values to telemetry, and answer what they would without it."""

from __future__ import annotations

import logging

import structlog
from fastapi import FastAPI, Request  # noqa: TC002  FastAPI reads the annotations
from fastapi.responses import JSONResponse
from opentelemetry import _logs, metrics, trace

import otelkit
from support import poison

REQUESTS = 50
otelkit.configure()
app = FastAPI()
stdlib = logging.getLogger("poisoned")
stdlib.setLevel(logging.INFO)
log = structlog.get_logger("poisoned")
api = poison.Api(
    tracer=trace.get_tracer("poisoned"), meter=metrics.get_meter("poisoned"), logger=_logs.get_logger("poisoned")
)


@app.exception_handler(poison.UnreadableError)
async def unreadable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"raised": type(error).__name__}, status_code=418)


@app.get("/ready")
async def ready() -> int:
    return 1


@app.get("/logs/{number}")
async def logs(number: int) -> int:
    for make in list(poison.LOG_CALLS.values())[number::REQUESTS]:
        message, arguments, keywords = make()
        stdlib.info(message, *arguments, **keywords)
        # As fields only: structlog itself raises at positional arguments that do not fit, with telemetry and without.
        log.info("said", arguments=arguments, **keywords)
        try:
            raise poison.UnreadableError  # noqa: TRY301  what a handler of the application would log
        except poison.UnreadableError:
            stdlib.exception(message, *arguments)
    stdlib.info("innocent %d", number)
    return number


@app.get("/values/{number}")
def values(number: int) -> int:
    for place in list(poison.PLACES.values())[number::REQUESTS]:
        for make in poison.VALUES.values():
            place(api, make())
    return number


@app.get("/raises/{name}")
async def raises(name: str) -> str:
    raised = poison.EXCEPTIONS[name]()
    try:
        with api.tracer.start_as_current_span("raises"):
            raise raised  # noqa: TRY301  it is to pass through the span
    except Exception as passed:  # noqa: BLE001  the answer tells which it was
        return f"{type(passed).__name__}, the same: {passed is raised}"


@app.get("/unreadable")
async def raise_unreadable() -> None:
    raise poison.UnreadableError
