"""The only place that lists the groups of rules; each is declared in the file of its name."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups import http

GROUPS: Final = (http.GROUP,)
"""In the order of the reference."""
