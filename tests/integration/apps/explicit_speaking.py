"""The same service, configured by its own code: under uvicorn after the server has configured its logging."""

from __future__ import annotations

import otelkit

otelkit.configure()

from speaking import app  # type: ignore[import-not-found]  # noqa: E402  found beside it when it runs; configured first

__all__ = ["app"]
