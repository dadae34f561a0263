"""The only place that turns any value of an application into one that OTLP and JSON can carry.

Whatever comes in (any object, a `__str__` that raises, a list that contains itself, half a surrogate pair, ten
megabytes), what comes out is valid, bounded and made of plain types only, and making it never raises (S-04 in
docs/explanation/facts.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT_LIMIT = 16_384
"""Characters of one text, a stack trace included."""
ITEM_LIMIT = 100
"""Fields of one event, and items of one list or mapping in a field."""
_DEPTH_LIMIT = 6
_NODE_LIMIT = 1_000
_LONG = 2**63  # what OTLP's integers end at
_SMALL = 2**53
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def clean(value: object) -> Any:
    """Return something that JSON and OTLP can both carry: as it is where they can, bounded and as text where not.

    Text keeps 16,384 characters, lists and mappings 100 items, six levels deep and 1,000 values in all; a list of
    several kinds of values becomes one of texts. Never raises.
    """
    kind = type(value)
    if kind is str:  # not isinstance: it asks a proxy for its class, and proxies may raise
        return text(value)  # type: ignore[arg-type]  # a str
    if kind is bool or value is None or (kind is int and -_SMALL < value < _SMALL):  # type: ignore[operator]  # an int
        return value
    try:
        return _cleaned(value, _DEPTH_LIMIT, [_NODE_LIMIT])
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return f"<unreadable {kind.__name__}>"


def text(value: str, limit: int | None = TEXT_LIMIT) -> str:
    """Return text that UTF-8 can encode, cut at `limit` characters."""
    if limit is not None and len(value) > limit:
        value = f"{value[:limit]}… ({len(value) - limit} more characters)"
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def head_and_tail(value: str, limit: int = TEXT_LIMIT) -> str:
    """Cut the middle out of a stack trace: where it started and what was raised say most."""
    if len(value) <= limit:
        return value
    half = limit // 2
    return f"{value[:half]}\n… {len(value) - 2 * half} characters left out …\n{value[-half:]}"


def type_name(kind: type) -> str:
    """Name a type as `exception.type` wants it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _cleaned(value: object, depth: int, left: list[int]) -> Any:  # noqa: PLR0911  one line per kind of value
    left[0] -= 1
    match value:
        case None | bool():
            return value
        case str():
            return text(str(value))
        case int():
            # Compared, not looked up in a range: for a subclass (HTTPStatus) a range is walked through, one by one.
            return int(value) if -_LONG <= value < _LONG else shown(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return text(bytes(value[:TEXT_LIMIT]).decode("utf-8", "backslashreplace"))
        case Mapping() if depth and left[0] > 0:
            pairs = list(_first(value.items(), left))
            keys = [text(key if isinstance(key, str) else shown(key)) for key, _ in pairs]
            return {key: _cleaned(item, depth - 1, left) for key, (_, item) in zip(keys, pairs, strict=True)}
        case list() | tuple() | set() | frozenset() if depth and left[0] > 0:
            return _alike([_cleaned(item, depth - 1, left) for item in _first(value, left)])
        case Mapping() | list() | tuple() | set() | frozenset():
            return "…"
        case BaseException():
            return text(f"{type_name(type(value))}: {shown(value)}")
    return text(shown(value))


def _alike(items: list[Any]) -> list[Any]:
    """Make the items of a list one kind of value: SDKs before 1.45 replace a mixed list by nothing, with a warning."""
    kinds = {type(item) for item in items if item is not None}
    if len(kinds) <= 1:
        return items
    if kinds == {int, float}:
        return [None if item is None else float(item) for item in items]
    return [item if item is None or isinstance(item, str) else _ENCODE(item) for item in items]


def _first(items: Iterable[Any], left: list[int]) -> Iterable[Any]:
    """Pass on as many items as may be told, and a sign where there were more."""
    for count, item in enumerate(items):
        if count >= ITEM_LIMIT or left[0] <= 0:
            return
        yield item


def shown(value: object) -> str:
    """Return `str(value)`, or a text that says that it could not be made."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return f"<unreadable {type(value).__name__}>"
