"""The service that strangers call, with `configure()`: by FastAPI, below our middleware, and below contrib's."""

from __future__ import annotations

import otelkit

otelkit.configure()

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: E402  after configure(), as a user does
from starlette.applications import Starlette  # noqa: E402  the same
from starlette.responses import JSONResponse  # noqa: E402  the same
from starlette.routing import Route  # noqa: E402  the same
from untrusted import (  # type: ignore[import-not-found]  # noqa: E402  found beside it when it runs; the same
    app,
    broken,
    flush,
    ok,
)

from otelkit.integrations.asgi import TelemetryMiddleware  # noqa: E402  the same


def _starlette() -> Starlette:
    return Starlette(
        routes=[
            Route("/ok/{name}", lambda request: JSONResponse(ok(request.path_params["name"]))),
            Route("/broken/{name}", lambda request: JSONResponse(broken(request.path_params["name"]))),
            Route("/flush", lambda _: JSONResponse(flush())),
        ]
    )


ours = TelemetryMiddleware(_starlette())
contrib = OpenTelemetryMiddleware(_starlette())

__all__ = ["app", "contrib", "ours"]
