"""The only place that says in PromQL by how much a counter grew, also one that is born with the first failure."""

from __future__ import annotations


def grown(series: str, window: str = "5m") -> str:
    """Return the growth of each series within a window.

    Many counters do not exist before they count something, and begin above zero: `increase()` sees no step then. What
    was not there before the window counts whole. After an hour without Prometheus that is all that was ever counted.

    Args:
        series: A selector.
        window: How long back.
    """
    return f"(({series} unless {series} offset {window}) or increase({series}[{window}]))"
