"""The only place that knows how a setting is written: as the text of a variable, and as an argument in code.

A `Kind` reads one sort of value and raises `WrongValueError` with a clause for a person, never with a secret: what
could be one, anything but a short plain word or number, is not repeated.
"""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from base64 import b64encode
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_PLAIN = re.compile(r"[\w.+/-]{1,40}", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2: what may stand in the name of a header
_VISIBLE = re.compile(r"[\x20-\x7e]*")
_PLACE = re.compile(r"[\w.:/\[\]%-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_WORD = 64  # bits beyond which a number is not worth printing
_LONGEST = 200  # characters of a wrong value that a person still reads
_SURROGATE = re.compile("[\ud800-\udfff]")
_MASK = "***"
_SECONDS, _MILLISECONDS, _SHARE = "a number of seconds", "a number of milliseconds", "a share from 0 to 1"

NO_LIMIT = (2**31 - 1) / 1000
"""Seconds that stand for "no limit": the specification lets a time-out of 0 mean it, and allows this substitute."""


class WrongValueError(ValueError):
    """A value that cannot be used; the text is a clause without the value's name, safe to print."""


class Pairs(Mapping[str, str]):
    """An immutable, hashable mapping of text to text."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = dict(pairs)

    def __getitem__(self, key: str) -> str:
        return self._pairs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __hash__(self) -> int:
        return hash(frozenset(self._pairs.items()))

    def __eq__(self, other: object) -> bool:
        return self._pairs == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._pairs)


class Headers(Pairs):
    """Request headers: names may be shown, values never are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, _MASK))


@dataclass(frozen=True)
class Wrong:
    """A value of which only a part could be used: the part, and why the rest could not."""

    usable: Any
    reason: str


@dataclass(frozen=True)
class Kind:
    """One sort of value.

    Args:
        label: What the value is, for the reference.
        parse: Reads a variable's text, stripped and never empty; raises `WrongValueError`, or returns `Wrong` where a
            part of it is usable.
        check: Reads an argument; raises `WrongValueError`.
        show: Writes a value for a person, secrets masked.
        unset: The value where nothing is set and there is no default.
    """

    label: str
    parse: Callable[[str], Any]
    check: Callable[[object], Any]
    show: Callable[[Any], str] = str
    unset: Any = None


def shown(value: str) -> str:
    """Write a wrong value for a person if it is a short plain word or number; anything else may hold a secret."""
    return f'"{value}"' if _PLAIN.fullmatch(value) else "the value (not shown)"


def shown_url(url: str) -> str:
    """Write a URL without user, password, query and fragment; "***" where it is too odd to tell them apart."""
    head = re.split(r"[?#]", url, maxsplit=1)[0]
    before, at, place = head.rpartition("@")
    if ("@" in url and not at) or not _PLACE.fullmatch(place) or len(url) > _LONGEST:
        return _MASK
    return f'"{_MASK}@{place}"' if before else f'"{place}"'


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValueError(f"must be text, not {type(value).__name__}")
    if not value.strip():
        raise WrongValueError("is empty")
    return value


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word for part in text.split(",") if (word := part.strip())))


def _words_of(value: object) -> list[str]:
    if isinstance(value, str):
        return _words(value)
    if not isinstance(value, Sequence | AbstractSet) or not all(isinstance(word, str) for word in value):
        raise WrongValueError(f"must be a list of texts, not {type(value).__name__}")
    return list(dict.fromkeys(word.strip() for word in value))


def listed(words: Iterable[str], last_word: str = "or") -> str:
    """Write words as a sentence does: "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} {last_word} {last}" if most else last


def _clean(text: str) -> str:
    """Replace bytes that are not UTF-8, which Python keeps as lone surrogates: no exporter could encode them."""
    return _SURROGATE.sub("\ufffd", text)


TEXT = Kind("text", parse=_clean, check=lambda value: _clean(_text_of(value)))


def _switch(text: str) -> bool | Wrong:
    """Only "true" is true (specification, Boolean); anything but "true" and "false" deserves a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return Wrong(usable=False, reason=f"{shown(text)} is neither true nor false")


def _switch_of(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValueError(f"must be True or False, not {type(value).__name__}")
    return value


SWITCH = Kind("true or false", parse=_switch, check=_switch_of, show=lambda value: str(value).lower())


def _number(text: str, what: str) -> float:
    if not _NUMBER.fullmatch(text):  # float() takes more: 1_000, nan, digits of other scripts
        raise WrongValueError(f"{shown(text)} is not {what}")
    return float(text)


def _number_of(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValueError(f"must be {what}, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise WrongValueError(f"must be {what}, neither endless nor undefined")
    return number


def whole(label: str, *, least: int, most: int = 2**31 - 1) -> Kind:
    """Whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
            raise WrongValueError(f"{shown(text)} is not a whole number from {least} to {most}")
        return check(int(text))

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValueError(f"must be a whole number, not {type(value).__name__}")
        if not least <= value <= most:
            said = shown(str(value)) if value.bit_length() < _WORD else "the value"
            raise WrongValueError(f"{said} is not a whole number from {least} to {most}")
        return value

    def show(value: int | None) -> str:
        return "no limit" if value is None else str(value)

    return Kind(f"whole number, {label}", parse=parse, check=check, show=show)


def _seconds_shown(seconds: float) -> str:
    return "no limit" if seconds >= NO_LIMIT else f"{seconds:g} s"


def _interval(seconds: float) -> float:
    if seconds <= 0:
        raise WrongValueError("must be more than 0")
    return min(seconds, NO_LIMIT)


def _timeout(seconds: float) -> float:
    if seconds < 0:
        raise WrongValueError("must not be negative")
    return min(seconds or NO_LIMIT, NO_LIMIT)


INTERVAL = Kind(
    "milliseconds",
    parse=lambda text: _interval(_number(text, _MILLISECONDS) / 1000),
    check=lambda value: _interval(_number_of(value, _SECONDS)),
    show=_seconds_shown,
)
"""How often something happens: milliseconds in a variable, seconds in code, never 0."""

TIMEOUT = Kind(
    "milliseconds, 0 for no limit",
    parse=lambda text: _timeout(_number(text, _MILLISECONDS) / 1000),
    check=lambda value: _timeout(_number_of(value, _SECONDS)),
    show=_seconds_shown,
)
"""How long something may take: milliseconds in a variable, seconds in code (specification, Timeout)."""


def _either_seconds(text: str) -> float:
    number = _number(text, _MILLISECONDS)
    return _timeout(number if number < 1000 else number / 1000)  # noqa: PLR2004  the rule is in the label below


EXPORT_TIMEOUT = Kind(
    "milliseconds from 1000 up, seconds below; 0 for no limit",
    parse=_either_seconds,
    check=TIMEOUT.check,
    show=_seconds_shown,
)
"""The specification counts milliseconds, Python's exporters seconds: 10 and 10000 both mean ten seconds here."""

SECONDS = Kind(
    "seconds",
    parse=lambda text: _interval(_number(text, _SECONDS)),
    check=lambda value: _interval(_number_of(value, _SECONDS)),
    show=_seconds_shown,
)


def _ratio(number: float) -> float:
    if not 0 <= number <= 1:
        raise WrongValueError(f'"{number:g}" is not {_SHARE}')
    return number


RATIO = Kind(
    "share from 0 to 1",
    parse=lambda text: _ratio(_number(text, _SHARE)),
    check=lambda value: _ratio(_number_of(value, _SHARE)),
    show=lambda value: f"{value:g}",
)


OLD_EXPORTERS = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
"""Names that the Python SDK also takes for the exporter `otlp`, and the protocol that each implies."""


def choice(*words: str, also: Callable[[], AbstractSet[str]] = frozenset) -> Kind:
    """One of a few words, in any case.

    Args:
        words: The known words.
        also: Asked for further words when one is not known.
    """

    def parse(text: str) -> str:
        if text.lower() not in words and text.lower() not in also():
            raise WrongValueError(f"{shown(text)} is not {listed(words)}")
        return text.lower()

    return Kind(f"one of {', '.join(words)}", parse=parse, check=lambda value: parse(_text_of(value)))


def choices(*words: str, also: Callable[[], AbstractSet[str]] = frozenset, aliases: Iterable[str] = ()) -> Kind:
    """A list of words out of a few; "none" must stand alone.

    Args:
        words: The known words.
        also: Asked for further words when one is not known.
        aliases: Accepted words that are not advertised.
    """

    def parse(text: str) -> Any:
        return sift(_words(text))

    def sift(given: Sequence[str]) -> Any:
        named = [word.lower() for word in given]
        known = {*words, *aliases}
        if not known.issuperset(named):
            known |= also()
        good = tuple(word for word in named if word in known and (word != "none" or named == ["none"]))
        bad = [word for word in named if word not in good]
        if not bad and good:
            return good
        reason = f"{listed(map(shown, bad)) if bad else 'the list'} is not {listed(words)}"
        if bad == ["none"]:
            reason = '"none" must stand alone'
        if not good:
            raise WrongValueError(reason)
        return Wrong(usable=good, reason=reason)

    return Kind(
        f"list of {', '.join(words)}",
        parse=parse,
        check=lambda value: _complete(sift(_words_of(value))),
        show=", ".join,
    )


def _complete(result: Any) -> Any:
    """Refuse an argument of which only a part is usable."""
    if isinstance(result, Wrong):
        raise WrongValueError(result.reason)
    return result


NAMES = Kind(
    "list of names",
    parse=lambda text: tuple(_words(text)),
    check=lambda value: tuple(_words_of(value)),
    show=", ".join,
    unset=(),
)
NAME_SET = Kind(
    "list of names",
    parse=lambda text: frozenset(_words(text)),
    check=lambda value: frozenset(_words_of(value)),
    show=lambda value: ", ".join(sorted(value)) or "none",
    unset=frozenset(),
)


def _regexes(patterns: Sequence[str]) -> tuple[str, ...] | Wrong:
    good, bad = [], []
    for position, pattern in enumerate(patterns, start=1):
        try:
            with warnings.catch_warnings(action="ignore"):  # of a pattern that may change its meaning one day
                re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            bad.append(f"number {position} is not a regular expression ({type(error).__name__})")
        else:
            good.append(pattern)
    return Wrong(usable=tuple(good), reason=", ".join(bad)) if bad else tuple(good)


REGEXES = Kind(
    "list of regular expressions",
    parse=lambda text: _regexes(_words(text)),
    check=lambda value: _complete(_regexes(_words_of(value))),
    show=lambda value: f"{len(value)} of them" if value else "none of them",
    unset=(),
)

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "critical": logging.CRITICAL,
}


def _level(text: str) -> int:
    if text.lower() not in _LEVELS:
        raise WrongValueError(f"{shown(text)} is not {listed(_LEVELS)}")
    return _LEVELS[text.lower()]


def _level_of(value: object) -> int:
    if isinstance(value, str):
        return _level(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WrongValueError("must be a level such as logging.INFO")
    return value


LEVEL = Kind(
    f"one of {', '.join(_LEVELS)}",
    parse=_level,
    check=_level_of,
    show=lambda value: logging.getLevelName(value).lower(),
)


def _pairs(text: str, read: Callable[[str, str], tuple[str, str]]) -> list[tuple[str, str]] | Wrong:
    """Read `key=value,key=value`, percent-decoded (W3C Baggage without properties)."""
    good, bad = [], []
    for position, item in enumerate((part for part in text.split(",") if part.strip()), start=1):
        key, equals, value = item.partition("=")
        try:
            if not (equals and key.strip()):
                raise WrongValueError("has no key=value")  # noqa: TRY301  one way out for every wrong pair
            good.append(read(_decoded(key), _decoded(value)))
        except WrongValueError as error:
            bad.append(f"pair {position} {error}")
    return Wrong(usable=good, reason=", ".join(bad)) if bad else good


def _decoded(text: str) -> str:
    try:
        return unquote(text.strip(), errors="strict")
    except UnicodeDecodeError:
        raise WrongValueError("is not UTF-8 when decoded") from None


def _header(name: str, value: str) -> tuple[str, str]:
    """Check one header; names are lower-cased, as gRPC demands and HTTP allows."""
    if not _TOKEN.fullmatch(name):
        raise WrongValueError("has a name that no header can have")
    if not _VISIBLE.fullmatch(value):
        raise WrongValueError("has a value outside printable ASCII")
    if not value.strip("= "):  # as in `c2VjcmV0==`: a value without its name, which would pass for a name
        raise WrongValueError("has no value")
    return name.lower(), value.strip()


def _mapped(result: list[tuple[str, str]] | Wrong, into: type[Pairs]) -> Pairs | Wrong:
    return Wrong(into(result.usable), result.reason) if isinstance(result, Wrong) else into(result)


def _mapping_of(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        raise WrongValueError(f"must be a mapping, not {type(value).__name__}")
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise WrongValueError("must map texts to texts")
    return list(value.items())


def _headers_of(value: object) -> Headers:
    return Headers(_header(name, text) for name, text in _mapping_of(value))


HEADERS = Kind(
    "list of key=value",
    parse=lambda text: _mapped(_pairs(text, _header), Headers),
    check=_headers_of,
    show=lambda value: ", ".join(value) or "no header",
    unset=Headers(),
)


def _attribute(key: str, value: str) -> tuple[str, str]:
    return _clean(key), _clean(value)


PAIRS = Kind(
    "list of key=value",
    parse=lambda text: _mapped(_pairs(text, _attribute), Pairs),
    check=lambda value: Pairs(_attribute(key, text) for key, text in _mapping_of(value)),
    show=lambda value: ", ".join(value) or "nothing of it",
    unset=Pairs(),
)


def _file(path: str) -> str:
    if not os.path.isfile(path):  # noqa: PTH113  Path's own raises for a name that is too long
        raise WrongValueError(f"{shown(path)} is not a file")
    if not os.access(path, os.R_OK):
        raise WrongValueError(f"{shown(path)} is a file that cannot be read")
    return path


FILE = Kind("path of a file", parse=_file, check=lambda value: _file(_text_of(value)))


_SPACE = re.compile("[\x00-\x20\x7f\ud800-\udfff]")
_HOST = re.compile(r"[\w.:%-]+")
_BARE = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]+):(\d{1,5})/?")
_RESOLVER = re.compile(r"(dns|unix|unix-abstract|ipv4|ipv6|vsock|xds):[^@?#]+")


@dataclass(frozen=True)
class Target:
    """An endpoint taken apart.

    Args:
        url: The endpoint without user, password and fragment.
        port: Its port, if it names one.
        authorization: The value of the header that carries user and password (RFC 7617), if there were any.
        is_url: False for what only gRPC understands: `host:port` and its resolvers' names.
    """

    url: str
    port: int | None = None
    authorization: str | None = field(default=None, repr=False)
    is_url: bool = True

    def below(self, path: str) -> str:
        """The URL of `path` relative to this one, the query kept."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))

    def for_grpc(self, *, insecure: bool) -> tuple[str, bool]:
        """The target of a channel, and whether it goes without TLS; a scheme decides, else `insecure`."""
        if self.is_url:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.netloc}", parts.scheme == "http"
        if _BARE.fullmatch(self.url):
            return f"{'http' if insecure else 'https'}://{self.url}", insecure
        return self.url, insecure


def _port(read: Callable[[], int | None]) -> int | None:
    try:
        port = read()
    except ValueError:
        port = 0
    if port == 0:
        raise WrongValueError("has a port that is not a number from 1 to 65535")
    return port


def _url(text: str) -> Target:
    try:
        parts = urlsplit(text)
        user, at, place = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=place, path=parts.path or "/", fragment=""))
        plain = urlsplit(url)
    except ValueError:
        raise WrongValueError("is not a URL") from None
    if not plain.hostname or not _HOST.fullmatch(plain.hostname):
        raise WrongValueError("names no host")
    if parts.path.startswith("//"):  # "http://http://collector": the host would be "http"
        raise WrongValueError("has a second // right behind the host")
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # a password with a bare / ? or # would end up in the URL
        raise WrongValueError("has an @ behind the host, to be written as %40")
    basic = b64encode(unquote(user if ":" in user else f"{user}:").encode()).decode()
    return Target(url=url, port=_port(lambda: plain.port), authorization=f"Basic {basic}" if at else None)


def _target(text: str) -> Target:
    try:
        if _SPACE.search(text):
            raise WrongValueError("has a space or control character inside")  # noqa: TRY301  one way out adds the masked value
        if re.match(r"https?://", text, re.IGNORECASE):
            return _url(text)
        if _BARE.fullmatch(text):
            return Target(url=text.rstrip("/"), port=_port(lambda: urlsplit(f"//{text}").port), is_url=False)
        if _RESOLVER.fullmatch(text):
            return Target(url=text, is_url=False)
        raise WrongValueError("does not begin with http:// or https://")  # noqa: TRY301  as above
    except WrongValueError as error:
        raise WrongValueError(f"{shown_url(text)} {error}") from None


ENDPOINT = Kind(
    "URL", parse=_target, check=lambda value: _target(_text_of(value)), show=lambda value: shown_url(value.url)
)


_SPAN_KINDS = ("server", "consumer", "client", "producer", "internal")
_FIRM = "!"


@dataclass(frozen=True, kw_only=True)
class SamplingRule:
    """What shall become of some of the traces that begin here.

    Args:
        share: How many of them are kept, from 0 to 1; None for none at all, not even those that fail.
        kind: The kind of their first span, "server" for example; None for every kind.
        path: A pattern for the path of its request, with the wildcards of a shell; None for every path.
        firm: Whether it holds for traces that began elsewhere too, whatever was decided there.
    """

    share: float | None
    kind: str | None = None
    path: str | None = None
    firm: bool = False


def sampling_rule(text: str) -> SamplingRule:
    """Read one rule.

    Raises:
        WrongValueError: It is none.
    """
    action, *conditions = text.split()
    word = action.removesuffix(_FIRM).lower()
    if word in ("drop", "always"):
        share = None if word == "drop" else 1.0
    elif _NUMBER.fullmatch(word):
        share = _ratio(float(word))
    else:
        raise WrongValueError(f"{shown(action)} is not drop, always or {_SHARE}")
    kind = conditions.pop(0).lower() if conditions and conditions[0].lower() in _SPAN_KINDS else None
    path = conditions.pop(0) if conditions and conditions[0][0] in "/*" else None
    if conditions:
        raise WrongValueError(f"{shown(conditions[0])} is neither {listed(_SPAN_KINDS)} nor a path that begins with /")
    return SamplingRule(share=share, kind=kind, path=path, firm=action.endswith(_FIRM))


def _sampling_rules(texts: Iterable[str]) -> tuple[str, ...] | Wrong:
    good, bad = [], []
    for position, text in enumerate(filter(None, map(str.strip, texts)), start=1):
        try:
            sampling_rule(text)
        except WrongValueError as error:
            bad.append(f"rule {position}: {error}")
        else:
            good.append(" ".join(_clean(text).split()))
    return Wrong(usable=tuple(good), reason=", ".join(bad)) if bad else tuple(good)


def _rule_texts(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split(";")
    if not isinstance(value, Sequence) or not all(isinstance(text, str) for text in value):
        raise WrongValueError(f"must be a text or a list of texts, not {type(value).__name__}")
    return [part for text in value for part in text.split(";")]


SAMPLING_RULES = Kind(
    "list of rules, separated by ;",
    parse=lambda text: _sampling_rules(text.split(";")),
    check=lambda value: _complete(_sampling_rules(_rule_texts(value))),
    show=lambda value: "; ".join(value) or "no rule",
    unset=(),
)
"""`drop server /health*; 0.1 server /api/search*; always consumer; 0.01`: the first rule that fits decides."""
