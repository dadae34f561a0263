"""The only place that tells which series an expression of PromQL reads, and what a look's query does."""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
_PASSED_OVER: Final = re.compile(
    rf"{_TEXT}|"
    rf"\{{(?:{_TEXT}|[^}}\"'])*\}}|"  # matchers
    r"\[[^\]]*\]|"  # windows
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|"
    r"\$\{?\w+\}?|<\w+>|"  # what a template, or a person, fills in
    r"\b\d[\w.]*"
)
_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
_WORDS: Final = frozenset(("and", "or", "unless", "offset", "bool", "inf", "nan", "atan2", "start", "end"))


def selected(expr: str) -> set[str]:
    """Return the names of the series that an expression, or the template of one, reads.

    A name that is only matched by a pattern (`{__name__=~"..."}`) is not among them.
    """
    named = set(re.findall(r'__name__\s*=\s*"([^"]+)"', expr))
    return named | {word for word in _NAME.findall(_PASSED_OVER.sub(" ", expr)) if word.lower() not in _WORDS}
