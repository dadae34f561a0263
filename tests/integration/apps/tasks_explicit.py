"""The same application, with `otelkit.configure()` in its module."""

from __future__ import annotations

import otelkit

otelkit.configure(service_name="tasks")

from tasks import app  # type: ignore[import-not-found]  # noqa: E402  found beside it; configured first

__all__ = ["app"]
