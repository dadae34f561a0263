"""The only place for the few forms of Markdown that generated pages are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def code(text: str) -> str:
    """Set a name; "unset" where there is none."""
    return f"`{text}`" if text else "unset"


def codes(words: Iterable[str]) -> str:
    """Set names, with commas between them."""
    return ", ".join(map(code, words))


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Draw a table; a bar in a cell is text."""
    columns = list(header)
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
