"""The only place that finds on which line of a TOML text something is said: Python's reader keeps no positions.

The text was read before, so that it is valid: what follows is as much of the grammar (toml.io/en/v1.0.0) as it takes to
know where keys and values begin and end.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys from the top, and the numbers of elements of arrays of tables: ("slo", 0, "objective")."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')[ \t]*(\.?)""")
_TEXT: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""{1,3}(?!")' r"|'''.*?'''{1,3}(?!')" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]+")


def lines(text: str) -> Mapping[Path, int]:
    """Return the line of each key, table and element of an array of tables, by its path.

    Args:
        text: That `tomllib.loads` takes.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {}
        self._elements: dict[Path, int] = {}  # arrays of tables, by their path without numbers: the last one's number

    def scan(self) -> Mapping[Path, int]:
        table: Path = ()
        while self._skip() < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._found

    def _skip(self) -> int:
        """Go on to what is neither blank nor a comment."""
        self._at = self._match(_BLANK).end()
        return self._at

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"line {self._line()}: this is no TOML")
        return found

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _header(self) -> Path:
        line = self._line()
        of_array = self._text.startswith("[[", self._at)
        self._at += 2 if of_array else 1
        keys = self._keys()
        self._at = self._text.index("]", self._at) + (2 if of_array else 1)
        path: Path = ()
        for key in keys[:-1]:
            path = self._in_array((*path, key))
            self._found.setdefault(path, line)
        path = (*path, keys[-1])
        if of_array:
            self._elements[path] = self._elements.get(path, -1) + 1
            self._found.setdefault(path, line)
        path = self._in_array(path)
        self._found[path] = line
        return path

    def _in_array(self, path: Path) -> Path:
        """Return the path of the last element, where there is an array of tables at this one."""
        return (*path, self._elements[path]) if path in self._elements else path

    def _keys(self) -> list[str]:
        """Read a key, with dots in it or not."""
        found = []
        while True:
            match = self._match(_KEY)
            self._at = match.end()
            key = match[1]
            found.append(tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key)
            if not match[2]:
                return found

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._found.setdefault(path, line)
        self._at += 1  # "="
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case "'" | '"':
                self._at = self._match(_TEXT).end()
            case _:
                self._at = self._match(_PLAIN).end()

    def _array(self, path: Path) -> None:
        self._at += 1
        number = 0
        while self._text[self._skip()] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._found[*path, number] = self._line()
            self._value((*path, number))
            number += 1
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip()] != "}":
            if self._text[self._at] == ",":
                self._at += 1
            else:
                self._pair(path)
        self._at += 1
