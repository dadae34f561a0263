"""The same service, configured by its own code: under uvicorn after the server has configured its logging."""

from __future__ import annotations

import otelkit

otelkit.configure()

from speaking import app  # noqa: E402  configured first, as the tutorial says

__all__ = ["app"]
