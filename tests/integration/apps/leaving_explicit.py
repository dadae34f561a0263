"""The same service, configured by its own code: uvicorn imports this while its signal handlers are in force."""

from __future__ import annotations

import otelkit

telemetry = otelkit.configure()

from leaving_app import app  # type: ignore[import-not-found]  # noqa: E402  found beside it; configured first

__all__ = ["app", "telemetry"]
