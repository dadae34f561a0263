"""The only place that redacts: it replaces what the rules of `otelkit._rules` call a secret, wherever it stands.

It runs in the application's threads, perhaps in a signal handler or in a child that was just forked: it takes no lock
and never raises. What it remembers are dictionaries that are emptied when they are full, and counters that count in one
step of the interpreter.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from otelkit._regex import compiled
from otelkit._rules import MARK, RULES, Rule, group
from otelkit._sql import OPERATIONS, without_literals
from otelkit.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Search = Callable[[str], re.Match[str] | None]

__all__ = ["RULES", "Redaction", "Redactor", "Rule"]

_MARK = re.compile(MARK)
_HASH = re.compile(r"hash:[0-9a-f]{16}")
_NAME = re.compile(r"[a-z][a-z-]{0,39}")
_GROWS = re.compile(r"\((?:\?:|\?P<\w+>)?(?:[^()\\]|\\.)*?(?<!\\)[+*]\)(?:[+*]|\{\d*,\})(?!\+)")
"""A group that ends with a repetition and is repeated itself: `(a+)+` takes twice the time for each character more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What is secret in telemetry, for `configure(redaction=Redaction(...))`.

    Args:
        extra: Rules of your own, tried before the others.
        without: Names of rules that do not apply.
        rules: What takes the place of the whole list; `()` redacts nothing.
        allow_keys: Attribute keys whose values are told as they are, whatever they hold.
        url_query_allow: Keys of URL queries whose values are told; what is secret by its shape goes even there.
        user_handlers: Whether handlers that the application attaches to `logging` get redacted records too.
        hash_key: At least one byte; with it, the values of `hash_keys` become `hash:<16 hex digits>` (HMAC-SHA-256):
            whoever has the key can find a user, and nobody else.
        hash_keys: Attribute keys whose values are hashed where there is a `hash_key`.

    Raises:
        SettingsError: An argument cannot work; all problems at once.
    """

    extra: tuple[Rule, ...] = ()
    without: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = RULES
    allow_keys: frozenset[str] = frozenset()
    url_query_allow: frozenset[str] = frozenset()
    user_handlers: bool = False
    hash_key: bytes | None = field(default=None, repr=False)
    hash_keys: frozenset[str] = frozenset({"user.id", "user.email", "user.name", "enduser.id", "enduser.pseudo.id"})

    def __post_init__(self) -> None:
        """Check the arguments, and make collections of names what they are declared to be."""
        problems: list[str] = []
        for name in ("extra", "rules"):
            given = getattr(self, name)
            given = tuple(given) if isinstance(given, Iterable) else (given,)
            if not all(isinstance(rule, Rule) for rule in given):
                problems.append(f"{name}: takes rules (otelkit.Rule)")
                given = ()
            object.__setattr__(self, name, given)
            if given is not RULES:
                problems += (f"{name}: {problem}" for rule in given for problem in _problems(rule))
        for name in ("without", "allow_keys", "url_query_allow", "hash_keys"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                problems.append(f"{name}: takes several names, not {given!r}")
                given = ()
            object.__setattr__(self, name, frozenset(given))
        known = {rule.name for rule in (*self.extra, *self.rules)}
        problems += (
            f"without: there is no rule {name!r}" for name in sorted(map(str, self.without)) if name not in known
        )
        if self.hash_key is not None and (not isinstance(self.hash_key, bytes) or not self.hash_key):
            problems.append("hash_key: takes bytes, at least one")
        if problems:
            raise SettingsError(problems)


def _problems(rule: Rule) -> Iterator[str]:
    """Say what is wrong with a rule."""
    label = f"rule {rule.name!r}"
    if not _NAME.fullmatch(rule.name):
        yield f"{label}: a name is at most 40 lower-case letters and dashes"
    if rule.pattern is None and not rule.keys and not rule.places:
        yield f"{label}: has no keys, no places and no pattern"
    for name in ("pattern", "re2_pattern"):
        pattern = getattr(rule, name)
        if pattern is None:
            continue
        if name == "pattern":
            try:
                compiled(pattern, re.ASCII)
            except re.error as error:
                yield f"{label}: {name} {pattern!r} does not compile: {error}"
                continue
        if name == "pattern" and _GROWS.search(pattern):
            yield f"{label}: {name} {pattern!r} repeats what repeats, which can take forever: write `++` or `*+` inside"
    if not rule.unbroken and any(hint != hint.lower() for hint in rule.hints):
        yield f"{label}: hints are in lower case"


class Redactor:
    """Applies a `Redaction`, and counts what it replaced.

    Args:
        redaction: What is secret.
    """

    def __init__(self, redaction: Redaction = Redaction()) -> None:
        self.redaction = redaction
        self._compiled = _compile(redaction)
        self._counters = {name: count() for name in self._compiled.names}
        self._clean: dict[str, None] = {}
        self._clean_there: dict[tuple[str, str], None] = {}
        self._keys: dict[str, _Key] = {}

    def adopt(self, redaction: Redaction) -> None:
        """Apply another `Redaction` from now on; what was counted stays.

        Args:
            redaction: What is secret.
        """
        compiled = _compile(redaction)
        self._counters = {**{name: count() for name in compiled.names}, **self._counters}
        self.redaction, self._compiled = redaction, compiled
        self._clean, self._clean_there, self._keys = {}, {}, {}

    def renew(self) -> None:
        """Count from zero, in a forked child."""
        self._counters = {name: count() for name in self._counters}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many secrets each rule found; rules that found none are left out."""
        # What a counter would give next stands in its repr: asking it for that would count.
        numbers = ((name, int(repr(counter)[6:-1])) for name, counter in self._counters.items())
        return {name: number for name, number in numbers if number}

    def text(self, value: str) -> str:
        """Redact free text of any place. Returns the very same object where nothing was redacted; never raises."""
        clean = self._clean
        if value in clean:
            return value
        told = self._text(value)
        if told is value and len(value) <= _SHORT:
            if len(clean) >= _REMEMBERED:
                clean.clear()
            clean[value] = None
        return told

    def value(self, key: str, value: str) -> str:
        """Redact the text of the attribute, field or label `key`, as `text` does and as its key demands."""
        how = self._keys.get(key) or self._learn(key)
        if how.plain:
            return self.text(value)
        if how.allowed:
            return value
        if how.hashed:
            return self._hashed(value)
        if how.whole is not None:
            return value if _MARK.fullmatch(value) else self._marked(how.whole)
        there, clean = (key, value), self._clean_there
        if there in clean:  # statements come again and again
            return value
        told = self._at_place(how, value)
        if told is value and len(value) <= _STATEMENT:
            if len(clean) >= _REMEMBERED_THERE:
                clean.clear()
            clean[there] = None
        return told

    def _at_place(self, how: _Key, value: str) -> str:
        told = value
        for _ in range(_ROUNDS):
            before = told
            for rule in how.rules:
                told = self._apply(rule, told)
            told = self.text(told)
            if told == before:
                return told
        return self._marked(how.rules[0].name)

    def secret(self, key: str) -> str | None:
        """Return what replaces the whole value under this key, of whatever type it is; None where it may stay.

        Each call that returns something counts as one secret.
        """
        how = self._keys.get(key) or self._learn(key)
        return None if how.whole is None else self._marked(how.whole)

    def plain(self, key: str, value: Any) -> Any:
        """Redact a value of plain types: text, numbers, bytes, and lists and mappings of them.

        Args:
            key: What it stands under; the keys of a mapping count for what stands under them.
            value: The value; the very same object is returned where nothing in it was redacted.
        """
        return self._plain(key, value, _DEPTH)

    def _plain(self, key: str, value: Any, depth: int) -> Any:  # noqa: PLR0911  one line per kind of value
        how = self._keys.get(key) or self._learn(key)
        if how.allowed or value is None:
            return value
        if isinstance(value, str):
            return self.value(key, value)
        if how.whole is not None:
            return self._marked(how.whole)
        if isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            if not how.hashed and abs(value) < _LEAST_CARD:
                return value
            shown = str(value) if abs(value) < _LONG else ""
            told = self.value(key, shown)
            return value if told is shown else told
        if isinstance(value, bytes | bytearray):
            shown = bytes(value).decode("utf-8", "backslashreplace")
            told = self.value(key, shown)
            return value if told is shown else told
        if isinstance(value, Mapping | list | tuple) and depth:
            return self._several(key, value, depth - 1)
        return value if depth else "…"

    def _several(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            if "input" in value and "loc" in value and _VALIDATION in self._compiled.names:
                return self._error_of_validation(value, depth)
            pairs = [(name, str(name), item) for name, item in value.items()]
            told = {
                name if (seen := self.text(shown)) is shown else seen: self._plain(shown, item, depth)
                for name, shown, item in pairs
            }
            same = len(told) == len(pairs) and all(name in told and told[name] is item for name, _, item in pairs)
            return value if same else told
        items = [self._plain(key, item, depth) for item in value]
        if all(told is item for told, item in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)

    def _error_of_validation(self, value: Mapping[Any, Any], depth: int) -> Any:
        """Redact one of pydantic's errors: where the input stood is told beside it, and not what its name says."""
        others = {name: item for name, item in value.items() if name != "input"}
        told = self._several("", others, depth)
        given = value["input"]
        if given is None or isinstance(given, bool) or (isinstance(given, str) and _MARK.fullmatch(given)):
            return value if told is others else {**told, "input": given}
        return {**told, "input": self._marked(_VALIDATION)}

    def _learn(self, key: str) -> _Key:
        how = self._compiled.key(key)
        if len(key) <= _SHORT:
            if len(self._keys) >= _REMEMBERED:
                self._keys.clear()
            self._keys[key] = how
        return how

    def _text(self, value: str) -> str:
        due_of, rules, name = self._compiled.due, self._compiled.rules, ""
        told = value
        for _ in range(_ROUNDS):
            due = due_of(told)
            before = told
            while due:
                bit = due & -due
                due ^= bit
                rule = rules[bit.bit_length() - 1]
                after = self._apply(rule, told)
                if after is not told:
                    told, name = after, rule.name
            if told is before:
                return told
        return self._marked(name)  # made to look like a new secret each time: none of it is told

    def _apply(self, rule: _Pattern, value: str) -> str:
        """Replace what a rule finds; the very same object where that is nothing."""
        if rule.find is None:
            told = rule.read(value)
            if told == value:
                return value
            next(self._counters[rule.name])
            return told
        parts: list[str] = []
        position = 0
        for start, end in rule.spans(value):
            secret = value[start:end]
            told = rule.read(secret)
            if told != secret:
                next(self._counters[rule.name])
                parts += (value[position:start], told)
                position = end
        if not parts:
            return value
        parts.append(value[position:])
        return "".join(parts)

    def _marked(self, name: str) -> str:
        next(self._counters[name])
        return f"[redacted:{name}]"

    def _hashed(self, value: str) -> str:
        if _HASH.fullmatch(value):
            return value
        next(self._counters[_HASHED])
        digest = hmac.new(self.redaction.hash_key or b"", value.encode("utf-8", "backslashreplace"), hashlib.sha256)
        return f"hash:{digest.hexdigest()[:16]}"


_HEAD = "[redacted:"
_LONGEST = 51  # characters of a mark
_UNBROKEN = 20
_SHORT = 200  # characters: longer texts seldom come twice
_REMEMBERED = 2_048
_STATEMENT = 4_200  # characters: what our own reader of SQL leaves of a statement
_REMEMBERED_THERE = 256
_ROUNDS = 6
_DEPTH = 24
_LEAST_CARD = 10**12
_LONG = 10**24
_HASHED = "hash"
_VALIDATION = "validation-input"


def _with_marks(value: str, start: int, end: int) -> tuple[int, int]:
    """Widen what was found to the whole of a mark at either edge: a mark is never cut, or found in part."""
    head = value.rfind(_HEAD, max(0, start - _LONGEST), start + len(_HEAD) - 1)
    mark = _MARK.match(value, head) if head >= 0 else None
    if mark is not None and mark.end() > start:
        start = head
    head = value.rfind(_HEAD, max(start, end - _LONGEST), end + len(_HEAD) - 1)
    mark = _MARK.match(value, head) if 0 <= head < end else None
    return start, max(end, mark.end()) if mark is not None else end


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A rule made ready."""

    name: str
    find: Callable[[str], Iterator[re.Match[str]]] | None
    read: Callable[[str], str]
    check: Callable[[re.Match[str]], bool] | None

    def spans(self, value: str) -> Iterator[tuple[int, int]]:
        """Find where secrets begin and end, one behind the other; nothing that was redacted already."""
        position = 0
        marked: bool | None = None  # asked once, and only where there is a match
        for match in self.find(value) if self.find is not None else ():
            start, end = match.span(group(match))
            if marked is None:
                marked = _HEAD in value
            if marked:
                start, end = _with_marks(value, start, end)
                if _MARK.fullmatch(value, start, end):
                    continue
            if position <= start < end and self._is_one(match):
                yield start, end
                position = end

    def _is_one(self, match: re.Match[str]) -> bool:
        if self.check is None:
            return True
        try:
            return self.check(match)
        except Exception:  # noqa: BLE001  a check of the application failed: what it looked at may be a secret
            return True


@dataclass(frozen=True, slots=True)
class _Key:
    """What an attribute's key demands."""

    plain: bool = False
    allowed: bool = False
    hashed: bool = False
    whole: str | None = None
    rules: tuple[_Pattern, ...] = ()


_FEW = 6  # hints that are asked for one by one


class _Gate(NamedTuple):
    """Rules that share what a text must hold for them.

    Args:
        needs: It holds one of these.
        any: Finds whether any hint stands there, where that takes less time than asking for one after the other.
        hints: Each with a bit for every rule that is due then.
    """

    needs: tuple[str, ...]
    any: _Search | None
    hints: tuple[tuple[str, int], ...]


_Gates = tuple[_Gate, ...]


def _either(words: Iterable[str]) -> str:
    """Write the pattern that finds any of several words, in which no beginning is tried twice."""
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    if "" in tails:
        return ""  # one of them ends here, and the longer ones need not be told apart
    parts = [f"{re.escape(first)}{_either(rest)}" for first, rest in tails.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _asked(text: str, gates: _Gates) -> int:
    due = 0
    for gate in gates:
        for need in gate.needs:
            if need in text:
                break
        else:
            continue
        if gate.any is None or gate.any(text) is not None:
            for hint, bits in gate.hints:
                if hint in text:
                    due |= bits
    return due


def _is_unbroken(value: str) -> bool:
    """Tell whether twenty characters follow each other without a space: keys and tokens do, words do not."""
    start, last = 0, len(value) - _UNBROKEN
    back = value.rfind
    while start <= last:
        space = back(" ", start, start + _UNBROKEN)
        if space < 0:
            return True
        start = space + 1
    return False


@dataclass(frozen=True, slots=True)
class _Compiled:
    """All rules of a `Redaction`, made ready once for all who apply it."""

    redaction: Redaction
    names: tuple[str, ...]
    rules: tuple[_Pattern, ...]
    unhinted: tuple[tuple[_Search, int], ...]
    gates: _Gates
    unbroken_gates: _Gates
    words: tuple[tuple[tuple[str, ...], str], ...]
    places: tuple[tuple[Rule, _Pattern], ...]

    def due(self, value: str) -> int:
        """Tell which rules may find something: a bit for each."""
        due = _asked(value.lower(), self.gates)
        for search, bit in self.unhinted:
            if search(value) is not None:
                due |= bit
        return due | _asked(value, self.unbroken_gates) if _is_unbroken(value) else due

    def key(self, key: str) -> _Key:
        """Decide what a key demands."""
        redaction = self.redaction
        if key in redaction.allow_keys:
            return _Key(allowed=True)
        if redaction.hash_key and key in redaction.hash_keys:
            return _Key(hashed=True)
        low = key.lower()
        there = [(rule, made) for rule, made in self.places if any(_is_at(low, place) for place in rule.places)]
        for rule, _ in there:
            if rule.whole:
                return _Key(whole=rule.name)
        if not low.startswith(INNOCENT_KEYS):
            words = _words(key)
            for phrase, name in self.words:
                if _names(words, phrase):
                    return _Key(whole=name)
        return _Key(rules=tuple(made for _, made in there)) if there else _PLAIN


_PLAIN = _Key(plain=True)
INNOCENT_KEYS = ("code.", "exception.", "otel.", "telemetry.")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
# fmt: off
ABOUT = frozenset({
    "age", "algorithm", "at", "attempts", "available", "banner", "bucket", "bytes", "change", "changed", "changes",
    "check", "consent", "count", "counter", "created", "date", "days", "enabled", "endpoint", "error", "errors",
    "exists", "expired", "expires", "expiration", "expiry", "failed", "failures", "field", "fields", "file", "format",
    "found", "hint", "invalid", "issuer", "kind", "last", "len", "length", "lifetime", "limit", "manager", "max", "min",
    "ms", "name", "names", "number", "ok", "path", "policy", "present", "provided", "rate", "reason", "remaining",
    "required", "reset", "result", "rotated", "rotation", "santa", "scheme", "seconds", "set", "size", "source",
    "start", "state", "status", "store", "strength", "success", "time", "timeout", "total", "ttl", "type", "updated",
    "usage", "used", "uri", "url", "valid", "verified", "version", "duration",
})
"""Words that say that a key is about a secret and holds none."""
AMOUNTS = frozenset({
    "max", "min", "num", "number", "count", "total", "prompt", "completion", "input", "output", "next", "cached",
    "reasoning", "per", "public", "by", "no", "has", "is", "with", "without",
})
"""Words before a secret word that say the same."""
# fmt: on


def _words(key: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(key))


def _names(words: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Tell whether a key names a secret: it has its words, and no others that say that it is only about one."""
    size = len(phrase)
    for place in range(len(words) - size + 1):
        if words[place : place + size] == phrase:
            before = words[place - 1] if place else ""
            behind = words[place + size :]
            if before not in AMOUNTS and ABOUT.isdisjoint(behind) and (phrase[-1] != "key" or behind[:1] != ("id",)):
                return True
    return False


def _is_at(key: str, place: str) -> bool:
    return key.startswith(place[:-1]) if place.endswith("*") else key == place


@lru_cache(maxsize=8)
def _compile(redaction: Redaction) -> _Compiled:
    rules = [rule for rule in (*redaction.extra, *redaction.rules) if rule.name not in redaction.without]
    everywhere: list[_Pattern] = []
    places: list[tuple[Rule, _Pattern]] = []
    words: list[tuple[tuple[str, ...], str]] = []
    gates: tuple[dict[tuple[str, ...], dict[str, int]], ...] = ({}, {})
    unhinted: list[tuple[_Search, int]] = []
    for rule in rules:
        words += ((tuple(phrase.split()), rule.name) for phrase in rule.keys)
        made = _made(rule, redaction)
        if rule.places:
            places.append((rule, made))
        elif rule.pattern is not None:
            bit = 1 << len(everywhere)
            everywhere.append(made)
            if not rule.hints:
                unhinted.append((compiled(rule.pattern, re.ASCII).search, bit))
            for hint in rule.hints:
                hints = gates[rule.unbroken].setdefault(rule.needs or _gate(hint), {})
                hints[hint] = hints.get(hint, 0) | bit
    broken, unbroken = (
        tuple(
            _Gate(needs, re.compile(_either(hints)).search if len(hints) > _FEW else None, tuple(hints.items()))
            for needs, hints in kind.items()
        )
        for kind in gates
    )
    return _Compiled(
        redaction=redaction,
        names=tuple(dict.fromkeys((*(rule.name for rule in rules), _HASHED))),
        rules=tuple(everywhere),
        unhinted=tuple(unhinted),
        gates=broken,
        unbroken_gates=unbroken,
        words=tuple(words),
        places=tuple(places),
    )


def _gate(hint: str) -> tuple[str, ...]:
    """Return the rarest character of a hint: texts without it need not be asked for the hint."""
    return (next((character for character in "@_=:[('-./" if character in hint), ""),)


def _made(rule: Rule, redaction: Redaction) -> _Pattern:
    mark = f"[redacted:{rule.name}]"
    read: Callable[[str], str]
    match rule.reads:
        case "url":
            read = lambda text: _url(text, mark, redaction.url_query_allow)  # noqa: E731  one of five
        case "query":
            read = lambda text: _query(text, mark, redaction.url_query_allow)  # noqa: E731  one of five
        case "sql":
            read = lambda text: _statement(text, mark)  # noqa: E731  one of five
        case "pairs":
            read = lambda text: _pairs(text, mark)  # noqa: E731  one of five
        case None:
            read = lambda _: mark  # noqa: E731  one of five
    find = None if rule.pattern is None else compiled(rule.pattern, re.ASCII).finditer
    return _Pattern(rule.name, find, read, rule.check)


def _url(url: str, mark: str, allowed: frozenset[str]) -> str:
    rest, hash_sign, fragment = url.partition("#")
    path, question, query = rest.partition("?")
    if fragment:
        fragment = mark
    return f"{path}{question}{_query(query, mark, allowed)}{hash_sign}{fragment}"


def _query(query: str, mark: str, allowed: frozenset[str]) -> str:
    told = []
    for piece in query.split("&"):
        key, equals, value = piece.partition("=")
        if value and not _MARK.fullmatch(value) and not (allowed and unquote_plus(key.lstrip("?")) in allowed):
            value = mark
        told.append(f"{key}{equals}{value}")
    return "&".join(told)


def _pairs(text: str, mark: str) -> str:
    """Hide the values of `key=value, key=value`; what has no key goes whole."""
    told = []
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        hidden = value if not value or _MARK.fullmatch(value) else mark
        told.append(f"{key}={hidden}" if equals else mark if piece.strip() else piece)
    return ",".join(told)


_FIRST_WORD = re.compile(r"[^\W\d]\w*", re.ASCII)
_SET = re.compile(r"=|\b(?:TO|TRANSACTION|SESSION|LOCAL|ROLE|NAMES|CHARACTER|CONSTRAINTS)\b", re.IGNORECASE)
_COMMANDS = compiled(r"\s*[A-Za-z][\w.]*(?: \?)*+(?: \.\.\.)?+(?:\n[A-Za-z][\w.]*(?: \?)*+)*+\s*", re.ASCII)


def _statement(text: str, mark: str) -> str:
    """Hide the literals of SQL; of what is no SQL (a command of Redis, a filter of MongoDB) all but its first word."""
    told = without_literals(text)
    first = _FIRST_WORD.search(told)
    word = first.group().upper() if first else ""
    if word == "WITH" or (word in OPERATIONS and (word != "SET" or _SET.search(told))):
        return told
    if _COMMANDS.fullmatch(text):
        return text
    if first is None:
        return told
    end = first.end()
    return told if _MARK.fullmatch(told[end:].strip()) else f"{told[:end]} {mark}"
