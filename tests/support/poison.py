"""The only place for hostile values, and for the calls of the API that an application may hand them to.

`VALUES`, `KEYS`, `EXCEPTIONS` and `LOG_CALLS` are tables: a name, and how to make the value. `PLACES` are the calls of
the OpenTelemetry API that take a value of the application's. The classes of input are those of A6 of the reliability
reference, and what fuzzing found since. Everything is made anew for each use: some values are used up by being read.
"""

# ruff: noqa: D105  the methods of hostile objects raise, which their classes say

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.metrics import Observation
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry._logs import Logger
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Tracer

LONE_SURROGATE = "half \ud83d of a pair"
MEGABYTES = "x" * 10_000_000
DEEP = 2_000


class Refusing:
    """Raises at whatever is asked of it."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("this object answers nothing")

    __str__ = __repr__ = __format__ = __bytes__ = __bool__ = __len__ = __iter__ = _refuse
    __int__ = __float__ = __index__ = __eq__ = __lt__ = __hash__ = _refuse

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"this object has no {name}")


class Endless(Sequence[int]):
    """A sequence without an end."""

    def __getitem__(self, index: Any) -> Any:
        return index

    def __len__(self) -> int:
        return 2**40

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class EndlessMapping(Mapping[str, int]):
    """A mapping without an end."""

    def __getitem__(self, key: str) -> int:
        return 1

    def __len__(self) -> int:
        return 2**40

    def __iter__(self) -> Iterator[str]:
        count = 0
        while True:
            yield str(count)
            count += 1


class RefusingMapping(dict[str, int]):
    """A mapping whose items cannot be read."""

    def items(self) -> Any:
        raise RuntimeError("these items are not to be read")

    __iter__ = __len__ = __getitem__ = keys = values = items  # type: ignore[assignment]


class RefusingText(str):
    """A text whose methods raise."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("this text is not to be read")

    __str__ = __repr__ = __format__ = __len__ = __iter__ = __getitem__ = __eq__ = __hash__ = _refuse
    encode = isascii = lower = strip = _refuse  # type: ignore[assignment]


class Level(enum.IntEnum):
    """An integer with a name."""

    HIGH = 3


class Colour(str, enum.Enum):  # noqa: UP042  the older form is the odd one: its text is not its value
    """A text with a name, as people wrote it before StrEnum."""

    RED = "red"


class Reentrant:
    """Uses telemetry while its text is made, as an object does that loads itself from a database."""

    def __str__(self) -> str:
        trace.get_current_span().set_attribute("reentrant", "yes")
        return "reentrant"


class Descending:
    """Calls itself until the stack is used up."""

    def __str__(self) -> str:
        return str(self)


class Misleading:
    """Claims to be a text."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return str


class NoText:
    """Makes something else than a text."""

    def __str__(self) -> str:
        return cast("str", 5)


class UnreadableError(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def _recursive_list() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def _recursive_dict() -> dict[str, Any]:
    items: dict[str, Any] = {"one": 1}
    items["again"] = items
    return items


def _deep(wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(DEEP):
        value = wrap(value)
    return value


VALUES: Mapping[str, Callable[[], Any]] = {
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "negative infinity": lambda: float("-inf"),
    "bytes": lambda: b"abc",
    "bytes that are no UTF-8": lambda: b"\xff\xfe\x00",
    "bytearray": lambda: bytearray(b"abc"),
    "None": lambda: None,
    "empty text": lambda: "",
    "NUL": lambda: "before\x00after",
    "newline": lambda: "one\ntwo\r\nthree",
    "lone surrogate": lambda: LONE_SURROGATE,
    "nested surrogate": lambda: {"inner": [LONE_SURROGATE]},
    "object": object,
    "2**70": lambda: 2**70,
    "-2**70": lambda: -(2**70),
    "2**5000": lambda: 2**5000,
    "mixed list": lambda: [1, "two", 3.0, None, b"four", True],
    "list of lists": lambda: [[1, 2], [3, 4]],
    "dict": lambda: {"one": 1, "two": {"three": [4]}},
    "dict with odd keys": lambda: {"": 1, None: 2, 3: 4, (5, 6): 7, Refusing: 8},
    "set": lambda: {1, 2, 3},
    "exception": lambda: ValueError("a reason"),
    "exception with a lone surrogate": lambda: ValueError(LONE_SURROGATE),
    "exception whose text raises": UnreadableError,
    "lambda": lambda: lambda: None,
    "type": lambda: int,
    "date": lambda: dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
    "UUID": lambda: uuid.UUID(int=7),
    "decimal": lambda: decimal.Decimal("1.50"),
    "decimal NaN": lambda: decimal.Decimal("sNaN"),
    "integer enum": lambda: Level.HIGH,
    "text enum": lambda: Colour.RED,
    "everything raises": Refusing,
    "list of what raises": lambda: ["one", Refusing()],
    "text whose methods raise": lambda: RefusingText("text"),
    "mapping whose items raise": lambda: RefusingMapping(one=1),
    "text that is no text": NoText,
    "claims to be a text": Misleading,
    "uses telemetry": Reentrant,
    "calls itself": Descending,
    "recursive list": _recursive_list,
    "recursive dict": _recursive_dict,
    "2000-deep list": lambda: _deep(lambda inner: [inner]),
    "2000-deep dict": lambda: _deep(lambda inner: {"in": inner}),
    "endless sequence": Endless,
    "endless mapping": EndlessMapping,
    "endless generator": lambda: iter(int, 1),
    "10 MB text": lambda: MEGABYTES,
    "10 MB bytes": MEGABYTES.encode,
    "10,000 attributes": lambda: {f"key.{number}": number for number in range(10_000)},
    "100,000 items": lambda: list(range(100_000)),
    "an attribute's type, spelt wrong": lambda: "ERROR",
}
"""Hostile, odd and large values, wherever the API takes one."""

KEYS: Mapping[str, Callable[[], Any]] = {
    "empty": lambda: "",
    "None": lambda: None,
    "integer": lambda: 7,
    "tuple": lambda: (1, 2),
    "lone surrogate": lambda: LONE_SURROGATE,
    "10 MB": lambda: MEGABYTES,
    "NUL": lambda: "a\x00b",
    "text enum": lambda: Colour.RED,
    "object": object,
    "type": lambda: int,
}
"""Odd keys of attributes; all can be hashed, or no mapping could hold them."""

EXCEPTIONS: Mapping[str, Callable[[], Exception]] = {
    "text raises": UnreadableError,
    "lone surrogate": lambda: ValueError(LONE_SURROGATE),
    "10 MB": lambda: ValueError(MEGABYTES),
    "NUL": lambda: ValueError("a\x00b"),
    "argument raises": lambda: ValueError(Refusing()),
    "group": lambda: ExceptionGroup("several", [UnreadableError(), ValueError(LONE_SURROGATE)]),
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
}
"""Exceptions of an application; each must come out of a span as itself."""

LogCall = tuple[Any, tuple[Any, ...], dict[str, Any]]
# Python's own logging asks a lone mapping for its length, and raises, before any handler sees the record.
_NOT_LOGGED = "mapping whose items raise"


def _log_argument(make: Callable[[], Any]) -> LogCall:
    return "user %s", (make(),), {}


def _log_extra(make: Callable[[], Any]) -> LogCall:
    return "user", (), {"extra": {"value": make()}}


LOG_CALLS: Mapping[str, Callable[[], LogCall]] = {
    "wrong type": lambda: ("user %d", ("abc",), {}),
    "argument missing": lambda: ("user %s of %s", ("abc",), {}),
    "argument too many": lambda: ("user", ("abc",), {}),
    "broken format": lambda: ("100 % of %(users)s %", ("abc",), {}),
    "extra takes a field's name": lambda: ("user", (), {"extra": {"trace_id": 1, "span_id": 2, "otelTraceID": 3}}),
    "message is no text": lambda: ({"user": 1}, (), {}),
    **{f"argument: {name}": partial(_log_argument, make) for name, make in VALUES.items() if name != _NOT_LOGGED},
    **{f"extra: {name}": partial(_log_extra, make) for name, make in VALUES.items()},
}
"""Arguments of `logging.Logger.info`: message, arguments, keywords."""


@dataclass(frozen=True, kw_only=True)
class Api:
    """What an application gets from the providers."""

    tracer: Tracer
    meter: Meter
    logger: Logger


CONTEXT = SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=TraceFlags(1))


def _exception_passes(api: Api, value: Any) -> None:
    error = value if isinstance(value, Exception) else ValueError(value)

    def fail() -> None:
        raise error

    try:
        with api.tracer.start_as_current_span("exception"):
            fail()
    except Exception as passed:
        if passed is not error:
            raise


def _reentrant(api: Api, value: Any) -> None:
    with api.tracer.start_as_current_span("current") as span:
        span.set_attribute("value", value)
        span.add_event("event", {"value": value})


def _observe(api: Api, value: Any) -> None:
    def generator() -> Any:
        yield value

    for number, callback in enumerate((lambda _: [value], lambda _: value, value)):
        api.meter.create_observable_gauge(f"observed.{number}", [cast("Any", callback)])
    api.meter.create_observable_counter("observed.value", [lambda _: [Observation(value)]])
    api.meter.create_observable_gauge("observed.attribute", [lambda _: [Observation(1, {"value": value})]])
    api.meter.create_observable_gauge("observed.attributes", [lambda _: [Observation(1, value)]])
    api.meter.create_observable_up_down_counter("observed.generator", [cast("Any", generator())])


def _record(**fields: Any) -> LogRecord:
    record = LogRecord(body="record")
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def _on_span(call: Callable[[trace.Span, Any], object]) -> Callable[[Api, Any], None]:
    def place(api: Api, value: Any) -> None:
        span = api.tracer.start_span("hostile")
        call(span, value)
        span.end()

    return place


PLACES: Mapping[str, Callable[[Api, Any], object]] = {
    "span name": lambda api, value: api.tracer.start_span(value).end(),
    "span attribute": lambda api, value: api.tracer.start_span("hostile", attributes={"value": value}).end(),
    "span attributes": lambda api, value: api.tracer.start_span("hostile", attributes=value).end(),
    "span kind": lambda api, value: api.tracer.start_span("hostile", kind=value).end(),
    "span context": lambda api, value: api.tracer.start_span("hostile", context=value).end(),
    "span start": lambda api, value: api.tracer.start_span("hostile", start_time=value).end(),
    "span end": lambda api, value: api.tracer.start_span("hostile").end(value),
    "links": lambda api, value: api.tracer.start_span("hostile", links=value).end(),
    "link": lambda api, value: api.tracer.start_span("hostile", links=[value, Link(value)]).end(),
    "link attribute": lambda api, value: api.tracer.start_span(
        "hostile", links=[Link(CONTEXT, {"value": value}), Link(CONTEXT, value)]
    ).end(),
    "current span": _reentrant,
    "set_attribute": _on_span(lambda span, value: span.set_attribute("value", value)),
    "set_attribute key": _on_span(lambda span, value: span.set_attribute(value, 1)),
    "set_attributes": _on_span(lambda span, value: span.set_attributes({"value": value, "innocent": 1})),
    "set_attributes mapping": _on_span(lambda span, value: span.set_attributes(value)),
    "event name": _on_span(lambda span, value: span.add_event(value)),
    "event attribute": _on_span(lambda span, value: span.add_event("event", {"value": value})),
    "event attributes": _on_span(lambda span, value: span.add_event("event", value)),
    "event time": _on_span(lambda span, value: span.add_event("event", timestamp=value)),
    "add_link": _on_span(lambda span, value: span.add_link(value)),
    "add_link attribute": _on_span(lambda span, value: span.add_link(CONTEXT, {"value": value})),
    "update_name": _on_span(lambda span, value: span.update_name(value)),
    "status": _on_span(lambda span, value: span.set_status(value)),
    "status description": _on_span(lambda span, value: span.set_status(StatusCode.ERROR, value)),
    "status of texts": _on_span(
        lambda span, value: span.set_status(Status(StatusCode.ERROR, value if type(value) is str else None))
    ),
    "record_exception": _on_span(lambda span, value: span.record_exception(value)),
    "record_exception attribute": _on_span(
        lambda span, value: span.record_exception(ValueError("a reason"), {"value": value})
    ),
    "exception passes": _exception_passes,
    "counter amount": lambda api, value: api.meter.create_counter("counted").add(value),
    "counter attribute": lambda api, value: api.meter.create_counter("counted").add(1, {"value": value}),
    "counter attributes": lambda api, value: api.meter.create_counter("counted").add(1, value),
    "counter context": lambda api, value: api.meter.create_counter("counted").add(1, None, value),
    "up-down amount": lambda api, value: api.meter.create_up_down_counter("updown").add(value),
    "histogram amount": lambda api, value: api.meter.create_histogram("timed").record(value),
    "histogram attribute": lambda api, value: api.meter.create_histogram("timed").record(1, {"value": value}),
    "histogram boundaries": lambda api, value: api.meter.create_histogram(
        "timed.bounded", explicit_bucket_boundaries_advisory=value
    ).record(1),
    "gauge amount": lambda api, value: api.meter.create_gauge("gauged").set(value, {"value": value}),
    "instrument name": lambda api, value: api.meter.create_counter(value).add(1),
    "instrument unit": lambda api, value: api.meter.create_counter("counted.unit", unit=value).add(1),
    "instrument description": lambda api, value: api.meter.create_counter("counted.text", description=value).add(1),
    "callbacks": lambda api, value: api.meter.create_observable_gauge("observed.callbacks", value),
    "observation": _observe,
    "log body": lambda api, value: api.logger.emit(body=value),
    "log attribute": lambda api, value: api.logger.emit(body="hostile", attributes={"value": value}),
    "log attributes": lambda api, value: api.logger.emit(body="hostile", attributes=value),
    "log severity": lambda api, value: api.logger.emit(
        body="hostile", severity_number=value, severity_text=cast("Any", value)
    ),
    "log time": lambda api, value: api.logger.emit(body="hostile", timestamp=value, observed_timestamp=value),
    "log event": lambda api, value: api.logger.emit(body="hostile", event_name=value),
    "log context": lambda api, value: api.logger.emit(body="hostile", context=value),
    "log exception": lambda api, value: api.logger.emit(body="hostile", exception=value),
    "log record": lambda api, value: api.logger.emit(
        _record(body=value, severity_number=value, severity_text=value, attributes={"value": value}, event_name=value)
    ),
    "log record attributes": lambda api, value: api.logger.emit(_record(attributes=value, exception=value)),
}
"""Calls of the API, each with one value of the application's: none may raise, whatever the value."""


def values() -> st.SearchStrategy[Any]:
    """Make hostile values, nested in one another."""
    texts = st.text(st.characters(codec=None), max_size=20)  # surrogates included
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.binary(max_size=20),
        texts,
        st.sampled_from([name for name in VALUES if "MB" not in name and "10" not in name]).map(lambda n: VALUES[n]()),
    )
    keys = st.one_of(texts, st.none(), st.integers(), st.sampled_from(["", Level.HIGH, Colour.RED]))
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=5),
            st.lists(inner, max_size=5).map(tuple),
            st.dictionaries(keys, inner, max_size=5),
        ),
        max_leaves=20,
    )
