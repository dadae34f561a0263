"""The only place that reads SQL: what a statement does, to which table, and its text without a single literal.

One pass over the tokens, in time linear in the text whatever it holds. Values that an application passes as parameters
never were in the text; the values it wrote into the text become `?`, comments are dropped. How a literal ends depends
on the database (`Grammar`); where that is unknown, the reading that hides more is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from otelkit._regex import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_LIMIT = 4_096
"""Characters of a statement that are kept: a list of a thousand rows says no more than its beginning."""

_SCAN_LIMIT = 32_768
_UNKNOWN_LIMIT = 8_192
_SHORT = 4_096
_LONG = 262_144

# fmt: off
OPERATIONS = frozenset({
    "ABORT", "ALTER", "ANALYZE", "ATTACH", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLUSTER", "COMMENT",
    "COMMIT", "COPY", "CREATE", "DEALLOCATE", "DECLARE", "DELETE", "DESCRIBE", "DETACH", "DISCARD", "DO",
    "DROP", "END", "EXEC", "EXECUTE", "EXPLAIN", "FETCH", "FLUSH", "GRANT", "INSERT", "KILL", "LISTEN",
    "LOAD", "LOCK", "MERGE", "MOVE", "NOTIFY", "OPTIMIZE", "PRAGMA", "PREPARE", "REFRESH", "REINDEX",
    "RELEASE", "RENAME", "REPLACE", "RESET", "REVOKE", "ROLLBACK", "SAVEPOINT", "SELECT", "SET", "SHOW",
    "START", "TABLE", "TRUNCATE", "UNLISTEN", "UNLOCK", "UPDATE", "UPSERT", "USE", "VACUUM", "VALUES",
})
# fmt: on
"""What may become `db.operation.name`: a closed set, since it labels metrics. Another first word gives no operation."""

_AFTER_WITH = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE"})
_QUERIES = frozenset({"SELECT", "WITH", "VALUES"})

# Which word announces the name of the table; an empty set: the name follows the operation itself.
_ANNOUNCED_BY = {
    "SELECT": frozenset({"FROM"}),
    "DELETE": frozenset({"FROM"}),
    "INSERT": frozenset({"INTO"}),
    "REPLACE": frozenset({"INTO"}),
    "MERGE": frozenset({"INTO"}),
    "CREATE": frozenset({"TABLE", "ON"}),
    "ALTER": frozenset({"TABLE"}),
    "DROP": frozenset({"TABLE", "ON"}),
    "LOCK": frozenset({"TABLE", "TABLES"}),
    "UPDATE": frozenset[str](),
    "TRUNCATE": frozenset[str](),
    "COPY": frozenset[str](),
}
_BEFORE_NAME = frozenset(
    {
        "ABORT",
        "CONCURRENTLY",
        "EXISTS",
        "FAIL",
        "IF",
        "IGNORE",
        "LATERAL",
        "LOW_PRIORITY",
        "NOT",
        "ONLY",
        "OR",
        "REPLACE",
        "ROLLBACK",
        "TABLE",
    }
)

_NAME = re.compile(r"(?=.{0,63}[^\W\d])[\w $.\-]{1,64}")
_COMPARES = frozenset("=<>!")
_EDGE = re.compile(r"/\*|\*/")
_PASSWORD = ("IDENTIFIED", "BY")
"""What stands before a bare word that is a password, in Oracle."""
_DISPUTED = re.compile(r"""['"`$\[\\#]|--|/\*""")
"""What the grammars disagree about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How one database writes literals, names and comments.

    Args:
        backslash: A backslash escapes the next character in any string.
        double_quoted: What "..." is: "name", "string", or "either" (SQLite takes an unknown name for a string).
        brackets: [...] is a name.
        dollar_quotes: $tag$...$tag$ is a string.
        q_quotes: q'[...]' is a string.
        hash_comments: # begins a comment.
        dash_needs_space: -- begins a comment only before white space.
        nested_comments: /* */ nest.
    """

    backslash: bool = False
    double_quoted: str = "name"
    brackets: bool = False
    dollar_quotes: bool = True
    q_quotes: bool = False
    hash_comments: bool = False
    dash_needs_space: bool = False
    nested_comments: bool = True


_MYSQL = Grammar(
    backslash=True,
    double_quoted="string",
    dollar_quotes=False,
    hash_comments=True,
    dash_needs_space=True,
    nested_comments=False,
)
_BACKSLASH = Grammar(backslash=True)
_GRAMMARS = {
    "bigquery": Grammar(backslash=True, double_quoted="string", dollar_quotes=False, hash_comments=True),
    "clickhouse": _BACKSLASH,
    "databricks": Grammar(backslash=True, double_quoted="string", dollar_quotes=False),
    "hive": Grammar(backslash=True, double_quoted="string", dollar_quotes=False),
    "mariadb": _MYSQL,
    "mssql": Grammar(brackets=True, dollar_quotes=False),
    "mysql": _MYSQL,
    "oracle": Grammar(dollar_quotes=False, q_quotes=True, nested_comments=False),
    "snowflake": _BACKSLASH,
    "sqlite": Grammar(double_quoted="either", brackets=True, dollar_quotes=False, nested_comments=False),
}
_STANDARD = Grammar()
_ALL = tuple(dict.fromkeys((_STANDARD, *_GRAMMARS.values())))


def grammar(dialect: str) -> Grammar:
    """Return the grammar of a SQLAlchemy dialect by its name; that of PostgreSQL for a name nobody knows."""
    return _GRAMMARS.get(dialect, _STANDARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What telemetry may say about a statement.

    Args:
        operation: The first keyword in capitals (the main one after WITH), if it is one of `OPERATIONS`.
        collection: The table it is about, with its schema if that is written: the first one where there are several.
        text: The text without literals and comments, white space folded, at most `TEXT_LIMIT` characters.
    """

    operation: str | None
    collection: str | None
    text: str


def read(sql: str, how: Grammar) -> Statement:
    """Read a statement. Results are kept per text: programs run the same statements again and again.

    Long texts (rows of a bulk insert) have a small cache of their own, so that memory stays bounded.
    """
    reader = _read_short if len(sql) <= _SHORT else _read_long if len(sql) <= _LONG else _read
    statement = reader(sql, how)
    if statement.text not in _told:
        if len(_told) >= _MOST_TOLD:
            _told.clear()
        _told[statement.text] = None
    return statement


_told: dict[str, None] = {}
"""Texts that `read` made, of a known database: what it left in quotes are names. Emptied when full, without a lock."""
_MOST_TOLD = 1_024


def without_literals(sql: str, dialect: str | None = None) -> str:
    """Return a statement as it was written, with a `?` in place of each literal and comment.

    The very same object where there is none. What is behind the first 32,768 characters, or 8,192 where the database is
    unknown and the text is read in many ways, is left out.

    Args:
        sql: The statement.
        dialect: The name of its SQLAlchemy dialect; None where the database is unknown: then what is a literal or a
            comment to any database goes.
    """
    if dialect is None and sql in _told:
        return sql
    seen = sql[: _SCAN_LIMIT if dialect is not None else _UNKNOWN_LIMIT]
    hows = _ALL if dialect is None and _DISPUTED.search(seen) else (grammar(dialect or ""),)
    spans = sorted(span for how in hows for span in _hidden(seen, how))
    if not spans and len(sql) == len(seen):
        return sql
    parts: list[str] = []
    position = 0
    for start, end in spans:
        if start >= position:
            parts += (seen[position:start], "?")
        position = max(position, end)
    parts.append(seen[position:])
    return "".join(parts) if len(sql) == len(seen) else f"{''.join(parts)}..."


def _hidden(sql: str, how: Grammar) -> Iterator[tuple[int, int]]:
    start = 0
    for token in _tokens(sql, how):
        if token.kind in ("literal", "comment"):
            yield start, token.end
        start = token.end


def _read(sql: str, how: Grammar) -> Statement:
    subject, text = _Subject(), _Text()
    for token in _tokens(sql[:_SCAN_LIMIT], how):
        text.add(token)
        if token.kind not in ("space", "comment"):
            subject.add(token)
        if text.full and subject.settled:
            break
    return Statement(
        operation=subject.operation, collection=subject.collection, text=text.result(cut=len(sql) > _SCAN_LIMIT)
    )


_read_short = lru_cache(maxsize=512)(_read)
_read_long = lru_cache(maxsize=16)(_read)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # space, comment, literal, parameter, name, word, other
    text: str
    end: int  # where the next one begins


def _quoted(mark: str, *, backslash: bool) -> str:
    """Write the pattern of a quoted token: a doubled mark stands for itself, no closing mark means up to the end.

    Possessive, so that no text makes it go back.
    """
    inside = rf"[^{mark}\\]+|\\(?:.|\Z)|{mark}{mark}" if backslash else rf"[^{mark}]+|{mark}{mark}"
    return rf"{mark}(?:{inside})*+(?:{mark}|\Z)"


@lru_cache(maxsize=32)
def _pattern(how: Grammar) -> re.Pattern[str]:
    """Compile the tokens of a grammar; the first alternative that fits wins, and one always does."""
    strings = [
        rf"[eE]{_quoted(chr(39), backslash=True)}",
        rf"(?:[bBnNxX]|[uU]&)?{_quoted(chr(39), backslash=how.backslash)}",
    ]
    if how.q_quotes:
        pairs = "|".join(rf"{re.escape(a)}.*?(?:{re.escape(z)}'|\Z)" for a, z in ("[]", "{}", "()", "<>"))
        strings.insert(0, rf"[nN]?[qQ]'(?:{pairs}|(?P<mark>[^\s'\[{{(<]).*?(?:(?P=mark)'|\Z))")
    if how.dollar_quotes:
        strings.append(r"\$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)")
    names = [_quoted("`", backslash=False)]
    if how.double_quoted == "string":
        strings.append(_quoted('"', backslash=how.backslash))
    else:
        names.append(_quoted('"', backslash=False))
    if how.brackets:
        names.append(r"\[(?:[^\]]+|\]\])*+(?:\]|\Z)")
    comments = [r"--(?=\s|\Z)[^\n]*" if how.dash_needs_space else r"--[^\n]*"]
    if how.hash_comments:
        comments.append(r"\#[^\n]*")
    kinds = {
        "space": r"\s+",
        "comment": "|".join(comments),
        "block": r"/\*",
        "literal": "|".join(strings),
        "name": "|".join(names),
        "parameter": r"\$\d+|(?<![\w\]):])\:\d+|%\([^)\n]{1,256}\)s|\?\d*",
        "number": r"\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?",
        "word": r"[^\W\d][\w$]*",
        "other": r".",
    }
    return compiled("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()), re.DOTALL)


def _tokens(sql: str, how: Grammar) -> Iterator[_Token]:
    match = _pattern(how).match
    position, before, last, listing = 0, "", "", False
    while found := match(sql, position):
        kind, text = found.lastgroup or "other", found.group()
        position = found.end()
        # A group inside an alternative (a tag, a mark) closes before the alternative itself: `lastgroup` is right.
        if kind == "block":
            position = _end_of_comment(sql, position, nested=how.nested_comments)
            kind = "comment"
        elif kind == "word":
            listing = text.upper() in ("VALUES", "IN")
        elif kind == "number" or (kind == "name" and _is_value(text, last, sql[position : position + 1], how, listing)):
            kind = "literal"
        if kind in ("word", "name") and (before.upper(), last.upper()) == _PASSWORD:
            kind = "literal"
        yield _Token(kind, text, position)
        if kind not in ("space", "comment"):
            before, last = last, text


def _end_of_comment(sql: str, position: int, *, nested: bool) -> int:
    depth = 1
    for edge in _EDGE.finditer(sql, position):
        if edge.group() == "*/":
            depth -= 1
        elif nested:
            depth += 1
        if depth == 0:
            return edge.end()
    return len(sql)


def _is_value(quoted: str, before: str, following: str, how: Grammar, listing: bool) -> bool:
    """Tell whether a quoted name is none: it does not look like one, or SQLite may read it as a string.

    SQLite does so where it knows no column of that name, which the text alone does not tell: compared with something,
    or in the list of IN or VALUES, it counts as a value unless it is the first part of a longer name.
    """
    if _NAME.fullmatch(quoted[1:-1]) is None:
        return True
    compared = before[-1:] in _COMPARES or before.upper() in ("LIKE", "GLOB", "MATCH")
    return how.double_quoted == "either" and quoted[0] == '"' and (compared or listing) and following != "."


class _Text:
    """Puts the text together: literals as `?`, comments and runs of white space as one space."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._gap = False

    @property
    def full(self) -> bool:
        return self._length > TEXT_LIMIT

    def add(self, token: _Token) -> None:
        if token.kind in ("space", "comment"):
            self._gap = True
        elif not self.full:
            part = "?" if token.kind == "literal" else token.text
            if self._gap and self._parts:
                part = f" {part}"
            self._gap = False
            self._parts.append(part)
            self._length += len(part)

    def result(self, *, cut: bool) -> str:
        text = "".join(self._parts)
        return f"{text[:TEXT_LIMIT]}..." if cut or len(text) > TEXT_LIMIT else text


class _Subject:
    """Follows the tokens until it knows the operation and the table it is about.

    Only words at the level of the statement itself count: `EXTRACT(year FROM t)` and a sub-select among the columns
    are deeper. Where a sub-select is the source, the level moves into it.
    """

    def __init__(self) -> None:
        self.operation: str | None = None
        self.collection: str | None = None
        self.settled = False
        self._depth = 0
        self._level = 0
        self._with = False
        self._expecting = False
        self._naming = False
        self._before = ""

    def add(self, token: _Token) -> None:
        if self.settled:
            return
        if self._naming:
            self._go_on_naming(token)
        elif token.kind in ("word", "name"):
            self._word(token)
        else:
            self._mark(token)
        self._before = token.text.upper()

    def _word(self, token: _Token) -> None:
        word = token.text.upper() if token.kind == "word" else ""
        if self.operation is None:
            self._begin(word)
        elif self._expecting:
            self._expected(token, word)
        elif self._depth == self._level and word in _ANNOUNCED_BY[self.operation]:
            # `a IS DISTINCT FROM b` announces nothing.
            self._expecting = self._before != "DISTINCT"

    def _begin(self, word: str) -> None:
        if not self._with and word == "WITH":
            self._with, self._level = True, self._depth
        elif not self._with or (self._depth == self._level and word in _AFTER_WITH):
            self.operation = word if word in OPERATIONS else None
            self._level = self._depth
            self.settled = self.operation not in _ANNOUNCED_BY
            self._expecting = not self.settled and not _ANNOUNCED_BY[word]

    def _expected(self, token: _Token, word: str) -> None:
        if word in _QUERIES:
            self._expecting = False
        elif word not in _BEFORE_NAME:
            self.collection = _bare(token)
            self._naming = True

    def _mark(self, token: _Token) -> None:
        if token.text == "(":
            self._depth += 1
            self._level += self._expecting
        elif token.text == ")":
            self._depth -= 1
        elif token.text == ";" and self.operation is not None:
            self.settled = True
        elif self._expecting:
            self.settled = True  # a parameter or a variable stands where the name would

    def _go_on_naming(self, token: _Token) -> None:
        if token.text == ".":
            return
        if self._before == "." and token.kind in ("word", "name") and self.collection is not None:
            self.collection = f"{self.collection}.{_bare(token)}"
            return
        if token.text == "(" and self.operation == "SELECT":
            self.collection = None  # a function that returns rows
        self.settled = True


def _bare(token: _Token) -> str:
    """Return a name without its quotes."""
    return token.text[1:-1] if token.kind == "name" else token.text
