"""The only place that makes of what a call was given something that the SDK takes, whatever it is."""

from __future__ import annotations

import functools
import json
import math
import operator
import time
import traceback
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from otelkit._sanitise import clean, head_and_tail, shown, text, type_name
from otelkit._stderr import say_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Call = TypeVar("_Call", bound="Callable[..., Any]")

PLAIN: frozenset[type] = frozenset({str, bool, int, float, bytes, type(None)})
# Not float: no NaN equals another, each would open a series of its own.
PLAIN_LABELS = PLAIN - {float}
# What a value may hold at most to be taken as it is; the rest is cut down by `clean`.
_DEPTH_LIMIT = 16
NODE_LIMIT = 10_000
LIST_LIMIT = 1_000  # links, callbacks or boundaries read from one call
LONG = 2**63  # what OTLP's integers end at
_ERROR_LIMIT = 200  # characters of an error in a line on stderr


def note(what: str, error: BaseException) -> None:
    """Say once what was not recorded and why."""
    say_once(f"guard:{what}", f"not recorded: {what} ({text(clean(error), _ERROR_LIMIT)}). Said once.")


def never_raises(method: _Call) -> _Call:
    """Make a method return None where it would raise."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except RecursionError:
            return None  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            note(method.__qualname__.lstrip("_"), error)
            return None

    return call  # type: ignore[return-value]  # the same signature, by functools.wraps


def line(value: Any) -> Any:
    """Return a name, a unit or a description as text that UTF-8 can encode; None stays None."""
    if value is None or (type(value) is str and value.isascii()):
        return value
    # Not isinstance(): an object may claim any class.
    return text(str.__str__(value) if issubclass(type(value), str) else shown(value), None)


def instant(value: Any) -> int | None:
    """Return nanoseconds since the epoch; None, for "now", where the value is no such time; never raises."""
    if value is None or type(value) is int:
        return value
    try:
        return int(value) if issubclass(type(value), float) else operator.index(value)
    except Exception as error:  # noqa: BLE001  any code of the application may run in there
        note("a time", error)
        return None


def _fits(value: Any, depth: int, left: list[int]) -> bool:
    """Tell whether a value is made of plain types only, not too deep and not too large."""
    kind = type(value)
    if kind in PLAIN:
        return True
    left[0] -= len(value) if kind in {list, tuple, dict} else 0
    if not depth or left[0] < 0:
        return False
    if kind is list or kind is tuple:
        return all(_fits(item, depth - 1, left) for item in value)
    if kind is dict:
        return all(type(key) is str and _fits(item, depth - 1, left) for key, item in value.items())
    return False


def carried(value: Any) -> Any:
    """Return a value as it is where OTLP can carry it, and cleaned where not; never raises."""
    try:
        # Not str(value) and the like: an enum's text is its name, and the application's code would run.
        for kind, plain in ((str, str.__str__), (int, int.__int__), (float, float.__float__), (bytes, bytes.__bytes__)):
            if issubclass(type(value), kind):
                return value if type(value) in PLAIN else plain(value)
        if issubclass(type(value), bytearray):
            return bytes(value)
        if _fits(value, _DEPTH_LIMIT, [NODE_LIMIT]):
            return value
    except Exception:  # noqa: BLE001, S110  what it is not, `clean` will make of it
        pass
    return clean(value)


def label(value: Any) -> Any:
    """Return a value by which a series can be told from others, so a hashable one; never raises."""
    value = carried(value)
    if type(value) is float:
        return math.nan if math.isnan(value) else value
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple) and all(type(item) in PLAIN for item in value):
        return tuple(value)
    # SDKs before 1.45 lose a whole collection to one mapping among the attributes of an observation.
    return json.dumps(clean(value), ensure_ascii=False)


def attributes_of(given: Any, plain: frozenset[type] = PLAIN, carried: Callable[[Any], Any] = carried) -> Any:
    """Return attributes that the SDK takes: the very same where they are plain; never raises."""
    if given is None:
        return None
    try:
        if type(given) is dict:
            for key, value in given.items():
                if type(value) not in plain or type(key) is not str or not key:
                    break
            else:
                return given
        if not isinstance(given, Mapping):
            raise TypeError(f"{type_name(type(given))} is no mapping")  # noqa: TRY301  one way out for all of them
        # Copied first: another thread may change it, and a mapping of the application's own may never end.
        items = list(given.items() if type(given) is dict else islice(given.items(), NODE_LIMIT))
        return {name: carried(value) for key, value in items if (name := line(key))}
    except Exception as error:  # noqa: BLE001  any code of the application may run in there
        note("attributes", error)
        return None


def shut_down(processors: Iterable[Any]) -> None:
    for processor in processors:
        try:
            processor.shutdown()
        except Exception as error:  # noqa: BLE001  a processor of the application's own
            note(f"shutdown() of {type_name(type(processor))}", error)


def flushed(processors: Iterable[Any], timeout_millis: int) -> bool:
    deadline = time.monotonic() + timeout_millis / 1000
    flushed = True
    for processor in processors:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            flushed &= processor.force_flush(int(left * 1000)) is not False
        except Exception as error:  # noqa: BLE001  a processor of the application's own
            note(f"force_flush() of {type_name(type(processor))}", error)
            flushed = False
    return flushed


def exception_attributes(exception: Any) -> dict[str, Any]:
    """Describe an exception that does not describe itself."""
    attributes = {"exception.type": type_name(type(exception)), "exception.message": text(shown(exception), None)}
    if isinstance(exception, BaseException):
        try:
            attributes["exception.stacktrace"] = head_and_tail("".join(traceback.format_exception(exception)))
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            note("a stack trace", error)
    return attributes


def is_readable(exception: Any) -> bool:
    """Tell whether an exception's text can be made, as the SDK makes it."""
    try:
        f"{exception}"
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return False
    return isinstance(exception, BaseException)
