"""The same service as `front`, with the lines that a person who imports otelkit writes."""

from __future__ import annotations

import otelkit

otelkit.configure(service_name="front")

from front import app  # type: ignore[import-not-found]  # noqa: E402  found beside it when it runs; configured first, as the tutorial says

__all__ = ["app"]
