"""The only place that knows whether a test captures what this process emits, so that nothing is sent.

It loads nothing: the pytest plugin says it at the start of every run, whoever uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

make_pipeline: Callable[..., Any] | None = None
"""Makes, in the place of `otelkit.pipeline.Pipeline`, what keeps instead of sending; None as in production."""
