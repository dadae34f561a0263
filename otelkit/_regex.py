"""The only place that compiles patterns with possessive repetitions, which Python before 3.11.5 gets wrong.

There, `(?:...)*+` with a choice inside may match too little or too much (https://github.com/python/cpython/issues/106052):
a password in a URL would stay. An atomic group round an ordinary repetition means the same, and is right everywhere.
"""

from __future__ import annotations

import re
import sys
from typing import Final

_BROKEN: Final = sys.version_info < (3, 11, 5)
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(|\)(?:([*+?]|\{\d*,?\d*\})(\+)?)?|.", re.DOTALL)


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern so that this Python matches what it says.

    Args:
        pattern: As of `re`.
        flags: Likewise.

    Raises:
        re.error: It is no pattern.
    """
    return re.compile(atomic(pattern) if _BROKEN else pattern, flags)


def atomic(pattern: str) -> str:
    """Write possessive repetitions of groups as atomic groups; what repeats a single character is right as it is."""
    written: list[str] = []
    opened: list[int] = []
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text == "(":
            opened.append(len(written))
        elif text[0] == ")" and opened:
            begin = opened.pop()
            if token[2]:
                written[begin] = f"(?>{written[begin]}"
                text = f"){token[1]})"
        written.append(text)
    return "".join(written)
