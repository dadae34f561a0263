"""The only place that writes OTLP messages: ended spans, log records and metrics as bytes of protobuf's wire format.

Nothing here makes protobuf objects: building those is 99 % of what the SDK's encoder costs, and it needs a whole batch
at once. Here each item is encoded by itself, where it ends, and a request is a join of bytes. What the SDK's encoder
can carry arrives exactly as it would send it; what it cannot carry arrives as `otelkit._sanitise` shows it.

It runs in the application's threads, perhaps in a signal handler: it takes no lock and never raises. Its memos are
dictionaries that are emptied when they are full, which needs no lock either.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from otelkit._sanitise import clean, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

VALUE_LIMIT = 256 * 1024
"""Characters of one text, bytes of one bytes value; what is cut off is counted at its end."""
ITEM_LIMIT = 1024 * 1024
"""Bytes of one encoded item: a quarter of what gRPC receivers take in one message by default."""


class _Limits(NamedTuple):
    """How much of an item is told."""

    text: int  # characters of a text, bytes of a bytes value
    items: int  # values in one list or mapping
    depth: int  # lists and mappings inside each other; parsers stop at 100 messages, which are 3 for each mapping
    parts: int  # attributes, events, links and exemplars, of each


_FULL = _Limits(text=VALUE_LIMIT, items=ITEM_LIMIT, depth=30, parts=ITEM_LIMIT)
_STEPS = (
    _FULL,
    _Limits(text=16 * 1024, items=100, depth=6, parts=128),
    _Limits(text=1024, items=20, depth=3, parts=32),
    _Limits(text=256, items=0, depth=0, parts=0),  # ids, names, times and counts: it always fits
)


class _TooLargeError(Exception):
    """The item is above ITEM_LIMIT already: what is left of it need not be looked at."""


def span(span: ReadableSpan) -> bytes:
    """Encode an ended span as an element of `ScopeSpans.spans`.

    Returns:
        At most ITEM_LIMIT bytes, tag and length included; empty where it is no span at all, or no stack is left.
    """
    try:
        return _element(b"\x12", _fitted(_span, span))
    except RecursionError:
        return b""


def log_record(record: ReadableLogRecord) -> bytes:
    """Encode a log record as an element of `ScopeLogs.log_records`.

    Returns:
        At most ITEM_LIMIT bytes, tag and length included; empty where it is no record at all, or no stack is left.
    """
    try:
        return _element(b"\x12", _fitted(_log_record, record))
    except RecursionError:
        return b""


def metric(metric: Metric, max_bytes: int = ITEM_LIMIT) -> list[tuple[bytes, int]]:
    """Encode a metric as elements of `ScopeMetrics.metrics`, each with as many of the points as fit.

    A point that cannot be told in `max_bytes` without losing attributes is left out: it would count for another
    series. So the counts may add up to less than the metric has.

    Args:
        metric: What a metric reader collected of one instrument.
        max_bytes: Bytes of one element, tag and length included.

    Returns:
        The elements, and how many data points each holds.
    """
    try:
        return _metric(metric, max_bytes)
    except Exception:  # noqa: BLE001  objects of somebody else's SDK or pipeline: an exporter must survive them
        return []


def request(groups: Iterable[tuple[Resource, InstrumentationScope | None, Sequence[bytes]]]) -> bytes:
    """Join encoded items to an `ExportTraceServiceRequest`; those of logs and metrics have the same field numbers.

    Groups that follow each other and have the same resource share its description.

    Args:
        groups: Items as the functions above return them, with the resource and the scope they belong to.
    """
    resources = []
    for resource, same in groupby(groups, key=itemgetter(0)):
        head, tail = _described(resource, _resource)
        scopes = []
        for _, scope, items in same:
            scope_head, scope_tail = _described(scope, _scope)
            scopes.append(_element(b"\x12", b"".join((scope_head, *items, scope_tail))))
        resources.append(_element(b"\x0a", b"".join((head, *scopes, tail))))
    return b"".join(resources)


# The wire: varints, fixed numbers, and messages behind their lengths.

_SHORT = 1024
_BITS = 0x7F
_MORE = 0x80
_LONG = 2**63
_UNSIGNED = 2**64 - 1
_UNSIGNED_32 = 2**32 - 1


def _encoded_varint(number: int) -> bytes:
    out = bytearray()
    while number > _BITS:
        out.append(number & _BITS | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


_VARINTS = tuple(map(_encoded_varint, range(_SHORT)))


def _varint(number: int) -> bytes:
    """Encode a number that is not negative."""
    return _VARINTS[number] if number < _SHORT else _encoded_varint(number)


def _element(tag: bytes, message: bytes | None) -> bytes:
    """Put tag and length before a message; there is nothing to put them before where there is none."""
    return b"" if message is None else b"".join((tag, _varint(len(message)), message))


_U64 = struct.Struct("<Q").pack
_S64 = struct.Struct("<q").pack
_U32 = struct.Struct("<I").pack
_DOUBLE = struct.Struct("<d").pack
_SPAN_TIMES = struct.Struct("<BQBQ").pack


def _whole(value: object, low: int, high: int) -> int:
    """Read a number the SDK promises to be one, in the range that its field has; 0 where it is none."""
    try:
        return min(max(int(value), low), high)  # type: ignore[call-overload, no-any-return]  # what is no number raises
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return 0


def _fixed64(tag: bytes, value: Any) -> bytes:
    number = _whole(value, 0, _UNSIGNED)
    return tag + _U64(number) if number else b""


def _count(tag: bytes, value: Any) -> bytes:
    if value == 0:  # nearly always
        return b""
    number = _whole(value, 0, _UNSIGNED_32)
    return tag + _varint(number) if number else b""


def _zigzag(tag: bytes, value: Any) -> bytes:
    number = _whole(value, -(2**31), 2**31 - 1)
    return tag + _varint((number << 1 ^ number >> 31) & _UNSIGNED_32) if number else b""


def _double(tag: bytes, value: Any) -> bytes:
    """Encode a number as a double, also zero: these fields tell "none" from 0."""
    if value is None:
        return b""
    try:
        return tag + _DOUBLE(value)
    except Exception:  # noqa: BLE001  no number, one beyond all doubles, or code of the application
        return b""


def _number(as_double: bytes, as_int: bytes, value: Any) -> bytes:
    """Encode what was measured as what it is; whole numbers beyond 64 bits become doubles."""
    if issubclass(type(value), int) and -_LONG <= value < _LONG:
        return as_int + _S64(value)
    return _double(as_double, value)


def _id(tag_and_size: bytes, value: Any) -> bytes:
    try:
        return tag_and_size + value.to_bytes(tag_and_size[1], "big")  # type: ignore[no-any-return]  # what is no id raises
    except Exception:  # noqa: BLE001  no number, or one that is too large: better no id than a wrong one
        return b""


# Values: text, attributes, and what hides in them.


def _utf8(value: Any, limit: int) -> bytes:
    """Turn whatever stands where text belongs into text: names, messages, keys."""
    kind = type(value)
    if kind is str and len(value) <= limit:
        try:
            return value.encode()  # type: ignore[no-any-return]  # a str
        except UnicodeEncodeError:
            return text(value, limit).encode()
    if value is None:
        return b""
    if issubclass(kind, str):
        value = str.__str__(value)
    elif issubclass(kind, bytes):
        value = bytes.decode(value, "utf-8", "backslashreplace")
    else:
        value = str(clean(value))  # cleaned first, as the text of a list of lists may have no end
    return text(value, limit).encode()


def _string(tag: bytes, value: Any, limit: int) -> bytes:
    raw = _utf8(value, limit)
    return b"".join((tag, _varint(len(raw)), raw)) if raw else b""


_MEMO_ENTRIES = 4096
_MEMO_BYTES = 192  # of a pair or a key: longer ones seldom come twice
# Encoded attributes by key, value and type, as 1, 1.0 and True are equal; and the first half of them, by key.
_PAIRS: dict[tuple[Any, Any, type], bytes] = {}
_KEYS: dict[str, bytes] = {}


def _remember(memo: dict[Any, bytes], key: Any, encoded: bytes) -> None:
    if len(memo) >= _MEMO_ENTRIES:
        memo.clear()
    memo[key] = encoded


def _attributes(attributes: Any, limits: _Limits) -> tuple[list[bytes], int]:
    """Encode attributes as `KeyValue` messages behind their lengths, tags left out, and count those that are not there.

    Raises:
        _TooLargeError: They are.
    """
    if attributes is None:
        return [], 0
    try:
        plain = attributes.copy()  # of the SDK's own mappings: a plain dict, ten times as fast as asking them
    except Exception:  # noqa: BLE001  any code of the application may run in there
        plain = None
    if type(plain) is not dict:
        plain = _read(attributes)
    known = _PAIRS.get
    pairs: list[bytes] = []
    size = 0
    for key, value in plain.items() if len(plain) <= limits.parts else islice(plain.items(), limits.parts):
        kind = type(value)
        if kind is str or kind is int or kind is bool:
            pair = known((key, value, kind))
            if pair is not None:
                pairs.append(pair)
                continue
        pair = _pair(key, value, limits, limits.depth)
        if pair is not None:
            pairs.append(pair)
            size += len(pair)
            if size > ITEM_LIMIT:
                raise _TooLargeError
    return pairs, len(plain) - len(pairs)


def _read(attributes: Any) -> dict[Any, Any]:
    """Read a mapping of the application's: it may have no end, or not let itself be read."""
    try:
        return dict(islice(attributes.items(), ITEM_LIMIT))
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return {}


def _pair(key: Any, value: Any, limits: _Limits, depth: int) -> bytes | None:
    """Encode a `KeyValue` behind its length; None where there is no key."""
    exact = type(key) is str
    head = _KEYS.get(key) if exact else None
    if head is None:
        head = _string(b"\x0a", "None" if key is None else key, limits.text)
        if not head:
            return None
        head += b"\x12"
        if exact and len(head) <= _MEMO_BYTES:
            _remember(_KEYS, key, head)
    body = _value(value, limits, depth)
    size = _varint(len(body))
    pair = b"".join((_varint(len(head) + len(size) + len(body)), head, size, body))
    kind = type(value)
    if exact and (kind is str or kind is int or kind is bool) and len(pair) <= _MEMO_BYTES:
        _remember(_PAIRS, (key, value, kind), pair)
    return pair


def _value(value: Any, limits: _Limits, depth: int) -> bytes:  # noqa: PLR0911  one line per kind of value
    """Encode the content of an `AnyValue`.

    Raises:
        _TooLargeError: It is.
    """
    kind = type(value)
    if kind is str:
        raw = _utf8(value, limits.text)
        return b"".join((b"\x0a", _varint(len(raw)), raw))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int and -_LONG <= value < _LONG:
        return b"\x18" + _varint(value & _UNSIGNED)
    if kind is float:
        return b"\x21" + _DOUBLE(value)
    if value is None:
        return b""
    if kind is tuple or kind is list:
        return _array(value, limits, depth)
    if kind is dict:
        return _mapping(value.copy(), limits, depth)
    if kind is bytes:
        if len(value) > limits.text:
            value = value[: limits.text] + f"… ({len(value) - limits.text} more bytes)".encode()
        return b"".join((b"\x3a", _varint(len(value)), value))
    return _other(value, limits, depth)


def _other(value: Any, limits: _Limits, depth: int) -> bytes:
    """Encode what is of none of the plain types: their subclasses as what they are, the rest as text shows it."""
    kind = type(value)
    plain: Any
    try:
        if issubclass(kind, str):
            plain = str.__str__(value)
        elif issubclass(kind, int) and -_LONG <= int.__int__(value) < _LONG:
            plain = int.__int__(value)
        elif issubclass(kind, float):
            plain = float.__float__(value)
        elif issubclass(kind, bytes | bytearray):
            plain = b"".join((value,))
        elif isinstance(value, Sequence) and not isinstance(value, str | memoryview):
            return _array(value, limits, depth)
        elif isinstance(value, Mapping):
            return _mapping(value, limits, depth)
        else:
            plain = clean(value)
    except _TooLargeError:
        raise
    except Exception:  # noqa: BLE001  any code of the application may run in there
        plain = f"<unreadable {kind.__name__}>"
    return _value(plain, limits, depth)


_DEEPER = "…"


def _array(values: Sequence[Any], limits: _Limits, depth: int) -> bytes:
    if not depth:
        return _value(_DEEPER, limits, depth)
    _refuse_endless(values, limits)
    parts: list[bytes] = []
    size = 0
    for value in islice(values, limits.items):
        body = _value(value, limits, depth - 1)
        parts += (b"\x0a", _varint(len(body)), body)
        size += len(body) + 2
        if size > ITEM_LIMIT:
            raise _TooLargeError
    if len(values) > limits.items:
        parts.append(_element(b"\x0a", _value(f"… ({len(values) - limits.items} more items)", limits, depth)))
    return _element(b"\x2a", b"".join(parts))


def _mapping(values: Mapping[Any, Any], limits: _Limits, depth: int) -> bytes:
    if not depth:
        return _value(_DEEPER, limits, depth)
    _refuse_endless(values, limits)
    pairs: list[bytes] = []
    size = 0
    for key, value in islice(values.items(), limits.items):
        pair = _pair(key, value, limits, depth - 1)
        if pair is not None:
            pairs.append(pair)
            size += len(pair) + 1
            if size > ITEM_LIMIT:
                raise _TooLargeError
    if len(values) > limits.items:
        pairs += filter(None, [_pair(_DEEPER, f"({len(values) - limits.items} more items)", limits, depth)])
    return _element(b"\x32", _repeated(b"\x0a", pairs))


def _refuse_endless(values: Sequence[Any] | Mapping[Any, Any], limits: _Limits) -> None:
    """Save the time of encoding what cannot fit: a value in a list or mapping takes two bytes at least."""
    if 2 * min(len(values), limits.items) > ITEM_LIMIT:
        raise _TooLargeError


def _repeated(tag: bytes, messages: Sequence[bytes]) -> bytes:
    """Put the tag before each message, which has its length before it already."""
    return tag + tag.join(messages) if messages else b""


def _fitted(encode: Callable[[Any, _Limits], bytes], item: Any, max_bytes: int = ITEM_LIMIT - 8) -> bytes | None:
    """Encode an item with as much as fits; None where not even the least can be told."""
    for limits in _STEPS:
        try:
            message = encode(item, limits)
        except Exception:  # noqa: BLE001, S112  too large, no stack left, no such item: less of it may go
            continue
        if len(message) <= max_bytes:
            return message
    return None


# Spans.

_KINDS = tuple(b"\x30" + _varint(kind + 1) for kind in range(5))
_CODES = (b"", b"\x18\x01", b"\x18\x02")
_HERE = b"\x00\x01\x00\x00"  # the flags of a context that is known not to be remote
_REMOTE = b"\x00\x03\x00\x00"


def _span(span: ReadableSpan, limits: _Limits) -> bytes:
    context: Any = span.get_span_context()
    parent = span.parent
    name = _utf8(span.name, limits.text)
    attributes, attributes_left_out = _attributes(span.attributes, limits)
    events, events_left_out = _messages(b"\x5a", span.events, _event, limits)
    links, links_left_out = _messages(b"\x6a", span.links, _link, limits)
    return b"".join(
        (
            _id(b"\x0a\x10", context.trace_id),
            _id(b"\x12\x08", context.span_id),
            _trace_state(context.trace_state, limits),
            b"" if parent is None else _id(b"\x22\x08", parent.span_id),
            b"\x2a",
            _varint(len(name)),
            name,
            _member(_KINDS, span.kind),
            _span_times(span.start_time, span.end_time),
            _repeated(b"\x4a", attributes),
            _count(b"\x50", span.dropped_attributes + attributes_left_out),
            events,
            _count(b"\x60", span.dropped_events + events_left_out),
            links,
            _count(b"\x70", span.dropped_links + links_left_out),
            _status(span.status, limits),
            b"\x85\x01",
            _REMOTE if parent is not None and parent.is_remote else _HERE,
        )
    )


def _messages(
    tag: bytes, things: Sequence[Any], encode: Callable[[Any, _Limits], bytes], limits: _Limits
) -> tuple[bytes, int]:
    """Encode the last of several things, as what ended badly stands there, and count those that are not told.

    Raises:
        _TooLargeError: They are.
    """
    if not things:
        return b"", 0
    left_out = max(0, len(things) - limits.parts)
    parts: list[bytes] = []
    size = 0
    for thing in things[left_out:] if left_out else things:
        message = encode(thing, limits)
        parts += (tag, _varint(len(message)), message)
        size += len(message) + 2
        if size > ITEM_LIMIT:
            raise _TooLargeError
    return b"".join(parts), left_out


def _span_times(start: Any, end: Any) -> bytes:
    try:
        return _SPAN_TIMES(0x39, start, 0x41, end)
    except Exception:  # noqa: BLE001  one of them is missing, or nothing that a clock could have said
        return _fixed64(b"\x39", start) + _fixed64(b"\x41", end)


def _member(encoded: Sequence[bytes], member: Any) -> bytes:
    """Look up what an enum's member is encoded as; the first for what is none."""
    try:
        return encoded[member._value_]  # type: ignore[no-any-return]  # of a sequence of bytes
    except Exception:  # noqa: BLE001  the SDK takes anything for a kind or a status
        return encoded[0]


def _trace_state(state: Any, limits: _Limits) -> bytes:
    return _string(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]), limits.text) if state else b""


def _status(status: Any, limits: _Limits) -> bytes:
    if status is None:
        return b""
    code = _member(_CODES, status.status_code)
    description = status.description
    if description is None:
        return b"\x7a" + _varint(len(code)) + code
    return _element(b"\x7a", _string(b"\x12", description, limits.text) + code)


def _event(event: Any, limits: _Limits) -> bytes:
    attributes, left_out = _attributes(event.attributes, limits)
    return b"".join(
        (
            _fixed64(b"\x09", event.timestamp),
            _string(b"\x12", event.name, limits.text),
            _repeated(b"\x1a", attributes),
            _count(b"\x20", event.dropped_attributes + left_out),
        )
    )


def _link(link: Any, limits: _Limits) -> bytes:
    context = link.context
    attributes, left_out = _attributes(link.attributes, limits)
    return b"".join(
        (
            _id(b"\x0a\x10", context.trace_id),
            _id(b"\x12\x08", context.span_id),
            _repeated(b"\x22", attributes),
            _count(b"\x28", link.dropped_attributes + left_out),
            b"\x35",
            _REMOTE if context.is_remote else _HERE,
        )
    )


# Log records.

_SEVERITIES = (b"", *(b"\x10" + _varint(number) for number in range(1, 25)))


def _log_record(readable: ReadableLogRecord, limits: _Limits) -> bytes:
    record = readable.log_record
    attributes, left_out = _attributes(record.attributes, limits)
    flags = _whole(record.trace_flags, 0, _UNSIGNED_32)
    return b"".join(
        (
            _fixed64(b"\x09", record.timestamp),
            _member(_SEVERITIES, record.severity_number),
            _string(b"\x1a", record.severity_text, limits.text),
            _element(b"\x2a", _value(record.body, limits, limits.depth)),
            _repeated(b"\x32", attributes),
            _count(b"\x38", readable.dropped_attributes + left_out),
            b"\x45" + _U32(flags) if flags else b"",
            _id(b"\x4a\x10", record.trace_id) if record.trace_id else b"",
            _id(b"\x52\x08", record.span_id) if record.span_id else b"",
            _fixed64(b"\x59", record.observed_timestamp),
            _string(b"\x62", record.event_name, limits.text),
        )
    )


# Metrics.

_TAG_AND_LENGTH = 6  # bytes, at most


def _metric(metric: Metric, max_bytes: int) -> list[tuple[bytes, int]]:
    data: Any = metric.data
    head = _fitted(_metric_head, metric, max_bytes // 2) or b""
    tail = _count(b"\x10", getattr(data, "aggregation_temporality", 0))
    if getattr(data, "is_monotonic", False):
        tail += b"\x18\x01"
    room = max_bytes - len(head) - len(tail) - 3 * _TAG_AND_LENGTH  # of the metric, of its data, of one point
    points = list(data.data_points)
    tag, encode = _kind_of_points(data, points)
    messages = (_fitted(encode, point, room) for point in points)
    return [
        (_element(b"\x12", head + _element(tag, b"".join((*some, tail)))), len(some))
        for some in _packed((_element(b"\x0a", message) for message in messages if message is not None), room)
    ]


def _kind_of_points(data: Any, points: Sequence[Any]) -> tuple[bytes, Callable[[Any, _Limits], bytes]]:
    """Tell by what they have, not by class: what keeps cumulative sums may bring points of its own."""
    if hasattr(data, "is_monotonic"):
        return b"\x3a", _sum_point
    if points and hasattr(points[0], "scale"):
        return b"\x52", _exponential_point
    if points and hasattr(points[0], "explicit_bounds"):
        return b"\x4a", _histogram_point
    return b"\x2a", _gauge_point


def _packed(points: Iterable[bytes], room: int) -> Iterable[list[bytes]]:
    """Put points together, as many as have room, in their order."""
    some: list[bytes] = []
    size = 0
    for point in points:
        size += len(point)
        if some and size > room + _TAG_AND_LENGTH:
            yield some
            some, size = [], len(point)
        some.append(point)
    if some:
        yield some


def _metric_head(metric: Metric, limits: _Limits) -> bytes:
    return b"".join(
        (
            _string(b"\x0a", metric.name, limits.text),
            _string(b"\x12", metric.description, limits.text),
            _string(b"\x1a", metric.unit, limits.text),
        )
    )


def _series(tag: bytes, attributes: Any, limits: _Limits) -> bytes:
    """Encode the attributes of a point.

    Raises:
        _TooLargeError: Some would be left out, and the point count for another series.
    """
    if attributes is not None and len(attributes) > limits.parts:
        raise _TooLargeError
    return _repeated(tag, _attributes(attributes, limits)[0])


def _gauge_point(point: Any, limits: _Limits) -> bytes:
    return b"".join(
        (
            _fixed64(b"\x19", point.time_unix_nano),
            _number(b"\x21", b"\x31", point.value),
            _messages(b"\x2a", point.exemplars, _exemplar, limits)[0],
            _series(b"\x3a", point.attributes, limits),
        )
    )


def _sum_point(point: Any, limits: _Limits) -> bytes:
    return _fixed64(b"\x11", point.start_time_unix_nano) + _gauge_point(point, limits)


def _histogram_point(point: Any, limits: _Limits) -> bytes:
    counts = [_whole(count, 0, _UNSIGNED) for count in point.bucket_counts]
    bounds = point.explicit_bounds
    return b"".join(
        (
            _fixed64(b"\x11", point.start_time_unix_nano),
            _fixed64(b"\x19", point.time_unix_nano),
            _fixed64(b"\x21", point.count),
            _double(b"\x29", point.sum),
            _element(b"\x32", struct.pack(f"<{len(counts)}Q", *counts)) if counts else b"",
            _element(b"\x3a", struct.pack(f"<{len(bounds)}d", *bounds)) if bounds else b"",
            _messages(b"\x42", point.exemplars, _exemplar, limits)[0],
            _series(b"\x4a", point.attributes, limits),
            _double(b"\x59", point.min),
            _double(b"\x61", point.max),
        )
    )


def _exponential_point(point: Any, limits: _Limits) -> bytes:
    threshold = getattr(point, "zero_threshold", 0)
    return b"".join(
        (
            _series(b"\x0a", point.attributes, limits),
            _fixed64(b"\x11", point.start_time_unix_nano),
            _fixed64(b"\x19", point.time_unix_nano),
            _fixed64(b"\x21", point.count),
            _double(b"\x29", point.sum),
            _zigzag(b"\x30", point.scale),
            _fixed64(b"\x39", point.zero_count),
            _buckets(b"\x42", point.positive),
            _buckets(b"\x4a", point.negative),
            _count(b"\x50", point.flags),
            _messages(b"\x5a", point.exemplars, _exemplar, limits)[0],
            _double(b"\x61", point.min),
            _double(b"\x69", point.max),
            _double(b"\x71", threshold) if threshold else b"",
        )
    )


def _buckets(tag: bytes, buckets: Any) -> bytes:
    if not buckets.bucket_counts:
        return b""
    counts = b"".join([_varint(_whole(count, 0, _UNSIGNED)) for count in buckets.bucket_counts])
    return _element(tag, _zigzag(b"\x08", buckets.offset) + _element(b"\x12", counts))


def _exemplar(exemplar: Any, limits: _Limits) -> bytes:
    attributes, _ = _attributes(exemplar.filtered_attributes, limits)
    traced = exemplar.span_id is not None and exemplar.trace_id is not None
    return b"".join(
        (
            _fixed64(b"\x11", exemplar.time_unix_nano),
            _number(b"\x19", b"\x31", exemplar.value),
            _id(b"\x22\x08", exemplar.span_id) if traced else b"",
            _id(b"\x2a\x10", exemplar.trace_id) if traced else b"",
            _repeated(b"\x3a", attributes),
        )
    )


# What items belong to.

# By identity: a Resource's own hash writes all of it as JSON. The object stays in the entry, so that its id stays its.
_DESCRIBED: dict[int, tuple[Any, tuple[bytes, bytes]]] = {}
_MOST_DESCRIBED = 256


def _described(thing: Any, encode: Callable[[Any, _Limits], bytes]) -> tuple[bytes, bytes]:
    """Encode a resource or a scope with the fields around it: what stands before its items, and what behind."""
    known = _DESCRIBED.get(id(thing))
    if known is not None and known[0] is thing:
        return known[1]
    head = _element(b"\x0a", b"" if thing is None else _fitted(encode, thing) or b"")
    tail = b"" if thing is None else _string(b"\x1a", getattr(thing, "schema_url", None), _STEPS[1].text)
    if len(_DESCRIBED) >= _MOST_DESCRIBED:
        _DESCRIBED.clear()
    _DESCRIBED[id(thing)] = (thing, (head, tail))
    return head, tail


def _resource(resource: Resource, limits: _Limits) -> bytes:
    attributes, left_out = _attributes(resource.attributes, limits)
    return _repeated(b"\x0a", attributes) + _count(b"\x10", left_out)


def _scope(scope: InstrumentationScope, limits: _Limits) -> bytes:
    attributes, left_out = _attributes(scope.attributes, limits)
    return b"".join(
        (
            _string(b"\x0a", scope.name, limits.text),
            _string(b"\x12", scope.version, limits.text),
            _repeated(b"\x1a", attributes),
            _count(b"\x20", left_out),
        )
    )
