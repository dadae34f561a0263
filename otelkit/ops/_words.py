"""The only place that writes numbers of things, and lists of them, as a sentence has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def some(number: int, noun: str) -> str:
    """Write a number and its noun: "1 span", "2 spans", "2 series"."""
    return f"{number} {noun}" if number == 1 or noun == "series" else f"{number} {noun}s"


def listed(words: Sequence[str]) -> str:
    """Write a list: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
