"""The same service, with the one line that a person who imports otelkit writes."""

from __future__ import annotations

import otelkit

telemetry = otelkit.configure()

from orders import app  # type: ignore[import-not-found]  # noqa: E402  found beside it when it runs; configured first

__all__ = ["app", "telemetry"]
