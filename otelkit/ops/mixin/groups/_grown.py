"""The only place that says in PromQL by how much a counter grew, also one that is born with the first failure."""

from __future__ import annotations


def grown(series: str, window: str = "5m", memory: str = "1h") -> str:
    """Return the growth of each series within a window: whole items, where `increase()` estimates.

    Many counters do not exist before they count something, and begin above zero: `increase()` sees no step then. What
    was not there before counts whole, and so does what began anew. Nothing counts twice where no data came for a while:
    the last that is remembered is taken off.

    Args:
        series: A selector.
        window: How long back.
        memory: How long before that a value is remembered.
    """
    return f"({series} - (last_over_time({series}[{memory}] offset {window}) <= {series}) or {series})"
