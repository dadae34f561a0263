"""Where something stands in a TOML text, however it is written: texts of any shape, written by a writer that counts."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelkit.ops.mixin._lines import lines

if TYPE_CHECKING:
    from otelkit.ops.mixin._lines import Path

patient = settings(deadline=None)  # machines that run tests are busy

WORDS = st.text("ab-_1", min_size=1, max_size=3) | st.sampled_from(["a b", "x.y", "#", "/r/{id}", 'q"', "é", "", "[z]"])
TEXTS = st.sampled_from(["", "plain", "# no comment", "a ] b } c", "''", '"', 'two\nlines\n"""', "back\\slash", "'''"])
SCALARS = st.integers(-9, 9) | st.booleans() | TEXTS | st.just(1.5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, min_size=1, max_size=2),
    max_leaves=5,
)
PAIRS = st.dictionaries(WORDS, VALUES, max_size=3)
BLANKS = st.sampled_from(["", "\n", "# a = 1\n", "  # [x]\n\n", "\r\n"])


class Writer:
    """Writes what it is told in ways that the data chooses, and notes where."""

    def __init__(self, data: st.DataObject) -> None:
        self.text = ""
        self.at: dict[Path, int] = {}
        self._data = data

    def note(self, path: Path) -> None:
        self.at[path] = self.text.count("\n") + 1

    def blank(self) -> None:
        self.text += self._data.draw(BLANKS)

    def key(self, name: str) -> str:
        plain = name != "" and name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()
        ways = [json.dumps(name), *([f"'{name}'"] if "'" not in name else []), *([name] if plain else [])]
        return self._data.draw(st.sampled_from(ways))

    def pairs(self, path: Path, pairs: dict[str, Any]) -> None:
        for name, value in pairs.items():
            self.blank()
            self.note((*path, name))
            self.text += f"{self.key(name)} = "
            self.value((*path, name), value)
            self.text += self._data.draw(st.sampled_from(["\n", " # [a] = {\n", "\r\n"]))

    def value(self, path: Path, value: object, *, inline: bool = False) -> None:
        if isinstance(value, dict):
            self.text += "{ "
            for position, (name, inner) in enumerate(value.items()):
                self.text += ", " if position else ""
                self.note((*path, name))
                self.text += f"{self.key(name)} = "
                self.value((*path, name), inner, inline=True)
            self.text += " }"
        elif isinstance(value, list):
            self.text += "["
            for position, inner in enumerate(value):
                self.text += "" if inline else self._data.draw(st.sampled_from(["", "\n  ", " # ]\n"]))
                self.note((*path, position))
                self.value((*path, position), inner, inline=inline)
                self.text += ","
            self.text += "]"
        elif isinstance(value, str):
            self.text += self.written(value)
        else:
            self.text += json.dumps(value)

    def written(self, text: str) -> str:
        ways = [json.dumps(text), '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""']
        if "'" not in text:
            ways.append(f"'''\n{text}'''")
        if "'" not in text and "\n" not in text:
            ways.append(f"'{text}'")
        return self._data.draw(st.sampled_from(ways))


@patient
@given(data=st.data())
def test_every_key_is_found_on_the_line_that_it_was_written_on(data: st.DataObject) -> None:
    writer = Writer(data)
    top = data.draw(PAIRS)
    expected: dict[str, Any] = dict(top)
    writer.pairs((), top)
    for name in data.draw(st.lists(WORDS.filter(lambda word: word not in top), unique=True, max_size=3)):
        if data.draw(st.booleans()):
            table = data.draw(PAIRS)
            writer.blank()
            writer.note((name,))
            writer.text += f"[ {writer.key(name)} ]\n"
            writer.pairs((name,), table)
            expected[name] = table
        else:
            expected[name] = []
            for position in range(data.draw(st.integers(1, 3))):
                element = data.draw(PAIRS)
                inner = data.draw(st.dictionaries(WORDS.filter(lambda word: word not in element), PAIRS, max_size=1))  # noqa: B023  it is drawn at once
                writer.blank()
                writer.note((name, position))
                writer.text += f"[[{writer.key(name)}]] # more\n"
                writer.pairs((name, position), element)
                for key, below in inner.items():
                    writer.note((name, position, key))
                    writer.text += f"[{writer.key(name)}.{writer.key(key)}]\n"
                    writer.pairs((name, position, key), below)
                expected[name].append({**element, **inner})
    assert tomllib.loads(writer.text) == expected  # the writer can write
    found = lines(writer.text)
    assert {path: found.get(path) for path in writer.at} == writer.at


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a.b . 'c' = 1", ("a", "b", "c"), 1),
        ("\n[a.b]\n\nc.d = 1", ("a", "b", "c", "d"), 4),
        ("[a]\n[a.b.c]\nd = 2020-01-01 10:00:00\n", ("a", "b", "c", "d"), 3),
        ('x = """"a"""""\ny = 1', ("y",), 2),
        ("x = ''''a'''''\ny = 1", ("y",), 2),
        ('x = """\n\\\n\n  a"""\ny = 1', ("y",), 5),
        ('x = ["""]\n""", [1,\n2]]\ny = 1', ("x", 1, 1), 3),
    ],
)
def test_rarer_forms_are_found(text: str, path: Path, line: int) -> None:
    tomllib.loads(text)
    assert lines(text)[path] == line
