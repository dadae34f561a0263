"""One service in three shapes, FastAPI, Starlette in our ASGI middleware and in contrib's, with crowded labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import otelkit
from otelkit.integrations.asgi import TelemetryMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

VALUES = 5000
STATUSES = {"pay": 402, "clash": 409, "busy": 503}


def set_up() -> None:
    """Configure telemetry, and measure under more label values than anybody should."""
    otelkit.configure()
    meter = metrics.get_meter("crowded")
    counter = meter.create_counter("crowded.adds")
    for number in range(VALUES):
        counter.add(2, {"user": f"user-{number}"})

    def observe(_: object) -> Iterator[metrics.Observation]:
        yield from (metrics.Observation(1, {"user": f"user-{number}"}) for number in range(VALUES))

    meter.create_observable_gauge("crowded.gauge", [observe])
    meter.create_observable_counter("crowded.observed", [observe])


async def order(request: Request) -> Response:
    """Answer with what stands in the path."""
    return JSONResponse(request.path_params)


async def place(request: Request) -> Response:
    """Answer, or fail as the body asks."""
    body = await request.body()
    word = body.decode("latin-1").partition(" ")[0]
    if word == "raise":
        raise RuntimeError(word)
    if word in STATUSES:
        raise HTTPException(STATUSES[word])
    return JSONResponse({"received": len(body)})


def flush(_: Request) -> Response:
    """Send everything, this request itself not yet."""
    return Response(status_code=200 if otelkit.configure().force_flush(60) else 503)


def routes() -> list[Any]:
    """Return what all shapes serve."""
    inner = Starlette(routes=[Route("/things/{thing}", order, methods=["GET"])])
    return [
        Route("/orders/{order}", order, methods=["GET"]),
        Route("/orders", place, methods=["POST"]),
        Route("/files/{path:path}", order, methods=["GET"]),
        Route("/flush", flush, methods=["GET"]),
        Mount("/inner", inner),
    ]


def fastapi() -> Any:
    """FastAPI: its own telemetry, or ours where it has none."""
    set_up()
    from fastapi import FastAPI

    return FastAPI(routes=routes(), openapi_url=None)


def plain() -> Any:
    """Any ASGI application in our middleware."""
    set_up()
    return TelemetryMiddleware(Starlette(routes=routes()))


def contrib() -> Any:
    """The same in contrib's middleware, applied by hand."""
    set_up()
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(Starlette(routes=routes()))
