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

    from otelkit.redact import Redactor

VALUE_LIMIT = 256 * 1024
"""Characters of one text, bytes of one bytes value; what is cut off is counted at its end."""
CALLERS = {
    **dict.fromkeys(("user_agent.original", "server.address", "client.address", "network.peer.address"), 256),
    **dict.fromkeys(("http.request.method_original", "network.protocol.name", "network.protocol.version"), 256),
    # The names before the stable ones, of an instrumentation that was asked for them.
    **dict.fromkeys(("http.user_agent", "http.host", "http.server_name", "http.client_ip", "http.flavor"), 256),
    **dict.fromkeys(("net.host.name", "net.peer.name", "net.peer.ip"), 256),
    **dict.fromkeys(("url.path", "url.query", "http.target", "http.url"), 2048),
}
"""Characters of what the caller of a server writes into attributes, whichever instrumentation reads it from there."""
HEADER_LIMIT = 256
"""Characters of each value of a recorded request header."""
ITEM_LIMIT = 1024 * 1024
"""Bytes of one encoded item: a quarter of what gRPC receivers take in one message by default."""


class _Telling(NamedTuple):
    """How much of an item is told, and what of it nobody may know."""

    text: int  # characters of a text, bytes of a bytes value
    items: int  # values in one list or mapping
    depth: int  # lists and mappings inside each other; parsers stop at 100 messages, which are 3 for each mapping
    parts: int  # attributes, events, links and exemplars, of each
    redactor: Redactor | None
    # Memos, emptied when full. Encoded attributes by key, value and type, as 1, 1.0 and True are equal; and the first
    # half of them, by key.
    pairs: dict[tuple[Any, Any, type], bytes]
    keys: dict[str, bytes]


_SIZES = (
    (VALUE_LIMIT, ITEM_LIMIT, 30, ITEM_LIMIT),
    (16 * 1024, 100, 6, 128),
    (1024, 20, 3, 32),
    (256, 0, 0, 0),  # ids, names, times and counts: it always fits
)


class _TooLargeError(Exception):
    """The item is above ITEM_LIMIT already: what is left of it need not be looked at."""


class Encoder:
    """Encodes items one by one, with what is secret in them replaced.

    Args:
        redactor: Knows what is secret; None where the items have been redacted already. What it counts in an item that
            is told twice, as it is too large to be told whole, it counts twice.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._steps = tuple(_Telling(*sizes, redactor, {}, {}) for sizes in _SIZES)

    def forget(self) -> None:
        """Forget what was found clean, as the redactor has other rules now."""
        for telling in self._steps:
            telling.pairs.clear()
            telling.keys.clear()

    def span(self, span: ReadableSpan) -> bytes:
        """Encode an ended span as an element of `ScopeSpans.spans`.

        Returns:
            At most ITEM_LIMIT bytes, tag and length included; empty where it is no span at all, or no stack is left.
        """
        try:
            return _element(b"\x12", _fitted(_span, span, self._steps))
        except RecursionError:
            return b""

    def log_record(self, record: ReadableLogRecord) -> bytes:
        """Encode a log record as an element of `ScopeLogs.log_records`.

        Returns:
            At most ITEM_LIMIT bytes, tag and length included; empty where it is no record at all, or no stack is left.
        """
        try:
            return _element(b"\x12", _fitted(_log_record, record, self._steps))
        except RecursionError:
            return b""

    def metric(self, metric: Metric, max_bytes: int = ITEM_LIMIT) -> list[tuple[bytes, int]]:
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
            return _metric(metric, max_bytes, self._steps)
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
    if type(value) is str and len(value) <= limit:
        try:
            return value.encode()
        except UnicodeEncodeError:
            return text(value, limit).encode()
    return b"" if value is None else text(_as_text(value), limit).encode()


def _as_text(value: Any) -> str:
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes):
        return bytes.decode(value, "utf-8", "backslashreplace")
    return str(clean(value))  # cleaned first, as the text of a list of lists may have no end


def _string(tag: bytes, value: Any, limit: int) -> bytes:
    raw = _utf8(value, limit)
    return b"".join((tag, _varint(len(raw)), raw)) if raw else b""


_MARGIN = 4096  # characters behind those that are told, so that a secret at the end is seen whole
_NOTE = 64  # characters, at most, that say how much was left out


def _redacted(value: str, telling: _Telling, key: str) -> str:
    """Replace what is secret in the text that stands under a key; the same object where nothing is."""
    redactor = telling.redactor
    if redactor is None:
        return value
    if len(value) <= telling.text + _MARGIN:
        return redactor.value(key, value)
    # Half a secret may stand at the end of what is looked at, and is not told.
    told = redactor.value(key, value[: telling.text + _MARGIN])[: telling.text - _NOTE]
    return f"{told}… ({len(value) - len(told)} more characters)"


def _told(tag: bytes, value: Any, telling: _Telling, key: str = "") -> bytes:
    """Encode a name or a message without what is secret in it.

    Args:
        tag: Of its field.
        value: It, or whatever stands in its place.
        telling: How much of it is told.
        key: The attribute that it is like.
    """
    if value is not None and telling.redactor is not None:
        value = _redacted(value if type(value) is str else _as_text(value), telling, key)
    return _string(tag, value, telling.text)


_MEMO_ENTRIES = 4096
_MEMO_BYTES = 192  # of a pair or a key: longer ones seldom come twice


def _remember(memo: dict[Any, bytes], key: Any, encoded: bytes) -> None:
    if len(memo) >= _MEMO_ENTRIES:
        memo.clear()
    memo[key] = encoded


def _attributes(attributes: Any, telling: _Telling) -> tuple[list[bytes], int]:
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
    known = telling.pairs.get
    pairs: list[bytes] = []
    size = 0
    for key, value in plain.items() if len(plain) <= telling.parts else islice(plain.items(), telling.parts):
        kind = type(value)
        if kind is str or kind is int or kind is bool:
            pair = known((key, value, kind))
            if pair is not None:
                pairs.append(pair)
                continue
        pair = _pair(key, value, telling, telling.depth)
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


def _pair(key: Any, value: Any, telling: _Telling, depth: int) -> bytes | None:
    """Encode a `KeyValue` behind its length; None where there is no key."""
    exact = type(key) is str
    head = telling.keys.get(key) if exact else None
    if head is None:
        head = _key(key, telling)
        if not head:
            return None
    kind = type(value)
    told = value
    if exact and (len(value) > _SHORT_TEXT if kind is str else kind is tuple or kind is list):
        telling = _for_callers(key, telling)
    if telling.redactor is not None:
        name = key if exact else _as_text(key)
        if kind is str:
            told = _redacted(value, telling, name)
        elif kind is int or kind is bool or kind is float:
            told = telling.redactor.plain(name, value)
        elif value is not None:
            told = telling.redactor.secret(name) or value
        body = _text(told, telling) if type(told) is str else _value(told, telling, depth, name)
    else:
        body = _value(value, telling, depth)
    size = _varint(len(body))
    pair = b"".join((_varint(len(head) + len(size) + len(body)), head, size, body))
    # What was redacted is not remembered: it counts every time.
    if exact and told is value and (kind is str or kind is int or kind is bool) and len(pair) <= _MEMO_BYTES:
        _remember(telling.pairs, (key, value, kind), pair)
    return pair


_SHORT_TEXT = min(CALLERS.values())
_HEADER = "http.request.header."
_MOST_VALUES = 2  # of one header: beyond, its number is told


def _for_callers(key: str, telling: _Telling) -> _Telling:
    """Tell less of what a caller wrote."""
    if key.startswith(_HEADER):
        return telling._replace(text=min(telling.text, HEADER_LIMIT), items=min(telling.items, _MOST_VALUES))
    limit = CALLERS.get(key)
    return telling if limit is None else telling._replace(text=min(telling.text, limit))


def _key(key: Any, telling: _Telling) -> bytes:
    """Encode the key of a `KeyValue`, and the tag of its value; empty where there is none."""
    head = _told(b"\x0a", "None" if key is None else key, telling)
    if not head:
        return b""
    head += b"\x12"
    if type(key) is str and len(head) <= _MEMO_BYTES:
        _remember(telling.keys, key, head)
    return head


def _text(told: str, telling: _Telling) -> bytes:
    raw = _utf8(told, telling.text)
    return b"".join((b"\x0a", _varint(len(raw)), raw))


_LARGE = 10**12  # the least number that a card's may be


def _value(value: Any, telling: _Telling, depth: int, key: str = "") -> bytes:  # noqa: PLR0911  one line per kind of value
    """Encode the content of an `AnyValue`.

    Args:
        value: The value.
        telling: How much of it is told.
        depth: How many lists and mappings may still be inside each other.
        key: What it stands under.

    Raises:
        _TooLargeError: It is.
    """
    kind = type(value)
    if kind is str:
        return _text(_redacted(value, telling, key), telling)
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int and -_LONG <= value < _LONG:
        hidden = _hidden(str(value), telling, key) if value >= _LARGE else None
        return b"\x18" + _varint(value & _UNSIGNED) if hidden is None else _text(hidden, telling)
    if kind is float:
        return b"\x21" + _DOUBLE(value)
    if value is None:
        return b""
    if kind is tuple or kind is list:
        return _array(value, telling, depth, key)
    if kind is dict:
        return _mapping(value.copy(), telling, depth)
    if kind is bytes:
        return _bytes(value, telling, key)
    return _other(value, telling, depth, key)


def _bytes(value: bytes, telling: _Telling, key: str) -> bytes:
    hidden = _hidden(value[: telling.text + _MARGIN].decode("utf-8", "backslashreplace"), telling, key)
    if hidden is not None:
        return _text(hidden, telling)
    if len(value) > telling.text:
        value = value[: telling.text] + f"… ({len(value) - telling.text} more bytes)".encode()
    return b"".join((b"\x3a", _varint(len(value)), value))


def _hidden(shown: str, telling: _Telling, key: str) -> str | None:
    """Redact the text of what is no text; None where nothing in it is secret."""
    told = _redacted(shown, telling, key)
    return None if told is shown else told


def _other(value: Any, telling: _Telling, depth: int, key: str) -> bytes:
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
            return _array(value, telling, depth, key)
        elif isinstance(value, Mapping):
            return _mapping(value, telling, depth)
        else:
            plain = clean(value)
    except _TooLargeError:
        raise
    except Exception:  # noqa: BLE001  any code of the application may run in there
        plain = f"<unreadable {kind.__name__}>"
    return _value(plain, telling, depth, key)


_DEEPER = "…"


def _array(values: Sequence[Any], telling: _Telling, depth: int, key: str) -> bytes:
    if not depth:
        return _value(_DEEPER, telling, depth)
    _refuse_endless(values, telling)
    parts: list[bytes] = []
    size = 0
    for value in islice(values, telling.items):
        body = _value(value, telling, depth - 1, key)
        parts += (b"\x0a", _varint(len(body)), body)
        size += len(body) + 2
        if size > ITEM_LIMIT:
            raise _TooLargeError
    if len(values) > telling.items:
        parts.append(_element(b"\x0a", _value(f"… ({len(values) - telling.items} more items)", telling, depth)))
    return _element(b"\x2a", b"".join(parts))


def _mapping(values: Mapping[Any, Any], telling: _Telling, depth: int) -> bytes:
    if not depth:
        return _value(_DEEPER, telling, depth)
    _refuse_endless(values, telling)
    if telling.redactor is not None and type(values) is dict and "input" in values and "loc" in values:
        values = telling.redactor.plain("", values)  # an error of a validation tells its input in its own way
    pairs: list[bytes] = []
    size = 0
    for key, value in islice(values.items(), telling.items):
        pair = _pair(key, value, telling, depth - 1)
        if pair is not None:
            pairs.append(pair)
            size += len(pair) + 1
            if size > ITEM_LIMIT:
                raise _TooLargeError
    if len(values) > telling.items:
        pairs += filter(None, [_pair(_DEEPER, f"({len(values) - telling.items} more items)", telling, depth)])
    return _element(b"\x32", _repeated(b"\x0a", pairs))


def _refuse_endless(values: Sequence[Any] | Mapping[Any, Any], telling: _Telling) -> None:
    """Save the time of encoding what cannot fit: a value in a list or mapping takes two bytes at least."""
    if 2 * min(len(values), telling.items) > ITEM_LIMIT:
        raise _TooLargeError


def _repeated(tag: bytes, messages: Sequence[bytes]) -> bytes:
    """Put the tag before each message, which has its length before it already."""
    return tag + tag.join(messages) if messages else b""


def _fitted(
    encode: Callable[[Any, _Telling], bytes], item: Any, steps: Sequence[_Telling], max_bytes: int = ITEM_LIMIT - 8
) -> bytes | None:
    """Encode an item with as much as fits; None where not even the least can be told."""
    for telling in steps:
        try:
            message = encode(item, telling)
        except Exception:  # noqa: BLE001, S112  too large, no stack left, no such item: less of it may go
            continue
        if len(message) <= max_bytes:
            return message
    return None


# Spans.

_TRACE_STATE_LIMIT = 512
_OWN_ENTRY = "ot"  # of OpenTelemetry: the threshold by which a trace was sampled

_KINDS = tuple(b"\x30" + _varint(kind + 1) for kind in range(5))
_CODES = (b"", b"\x18\x01", b"\x18\x02")
_HERE = b"\x00\x01\x00\x00"  # the flags of a context that is known not to be remote
_REMOTE = b"\x00\x03\x00\x00"


def _span(span: ReadableSpan, telling: _Telling) -> bytes:
    context: Any = span.get_span_context()
    parent = span.parent
    name = _told(b"\x2a", span.name, telling) or b"\x2a\x00"
    attributes, attributes_left_out = _attributes(span.attributes, telling)
    events, events_left_out = _messages(b"\x5a", span.events, _event, telling)
    links, links_left_out = _messages(b"\x6a", span.links, _link, telling)
    return b"".join(
        (
            _id(b"\x0a\x10", context.trace_id),
            _id(b"\x12\x08", context.span_id),
            _trace_state(context.trace_state, telling, foreign=parent is None or bool(parent.is_remote)),
            b"" if parent is None else _id(b"\x22\x08", parent.span_id),
            name,
            _member(_KINDS, span.kind),
            _span_times(span.start_time, span.end_time),
            _repeated(b"\x4a", attributes),
            _count(b"\x50", span.dropped_attributes + attributes_left_out),
            events,
            _count(b"\x60", span.dropped_events + events_left_out),
            links,
            _count(b"\x70", span.dropped_links + links_left_out),
            _status(span.status, telling),
            b"\x85\x01",
            _REMOTE if parent is not None and parent.is_remote else _HERE,
        )
    )


def _messages(
    tag: bytes, things: Sequence[Any], encode: Callable[[Any, _Telling], bytes], telling: _Telling
) -> tuple[bytes, int]:
    """Encode the last of several things, as what ended badly stands there, and count those that are not told.

    Raises:
        _TooLargeError: They are.
    """
    if not things:
        return b"", 0
    left_out = max(0, len(things) - telling.parts)
    parts: list[bytes] = []
    size = 0
    for thing in things[left_out:] if left_out else things:
        message = encode(thing, telling)
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


def _trace_state(state: Any, telling: _Telling, *, foreign: bool) -> bytes:
    """Encode a trace state: our own entry, and where the trace enters the process what others wrote, too.

    Whoever calls may write 32 entries of 512 characters. They are passed on, but told once, and whole entries up to
    what a vendor must pass on at least (W3C Trace Context, 3.3.1.5): the first were written last.
    """
    if not state:
        return b""
    told: list[str] = []
    left = _TRACE_STATE_LIMIT
    for key, value in state.items():
        entry = f"{key}={value}"
        if (foreign or key == _OWN_ENTRY) and (left := left - len(entry) - bool(told)) >= 0:
            told.append(entry)
    return _told(b"\x1a", ",".join(told), telling)


def _status(status: Any, telling: _Telling) -> bytes:
    if status is None:
        return b""
    code = _member(_CODES, status.status_code)
    description = status.description
    if description is None:
        return b"\x7a" + _varint(len(code)) + code
    return _element(b"\x7a", _told(b"\x12", description, telling, "otel.status_description") + code)


def _event(event: Any, telling: _Telling) -> bytes:
    attributes, left_out = _attributes(event.attributes, telling)
    return b"".join(
        (
            _fixed64(b"\x09", event.timestamp),
            _told(b"\x12", event.name, telling),
            _repeated(b"\x1a", attributes),
            _count(b"\x20", event.dropped_attributes + left_out),
        )
    )


def _link(link: Any, telling: _Telling) -> bytes:
    context = link.context
    attributes, left_out = _attributes(link.attributes, telling)
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


def _log_record(readable: ReadableLogRecord, telling: _Telling) -> bytes:
    record = readable.log_record
    attributes, left_out = _attributes(record.attributes, telling)
    flags = _whole(record.trace_flags, 0, _UNSIGNED_32)
    return b"".join(
        (
            _fixed64(b"\x09", record.timestamp),
            _member(_SEVERITIES, record.severity_number),
            _told(b"\x1a", record.severity_text, telling),
            _element(b"\x2a", _value(record.body, telling, telling.depth)),
            _repeated(b"\x32", attributes),
            _count(b"\x38", readable.dropped_attributes + left_out),
            b"\x45" + _U32(flags) if flags else b"",
            _id(b"\x4a\x10", record.trace_id) if record.trace_id else b"",
            _id(b"\x52\x08", record.span_id) if record.span_id else b"",
            _fixed64(b"\x59", record.observed_timestamp),
            _told(b"\x62", record.event_name, telling),
        )
    )


# Metrics.

_TAG_AND_LENGTH = 6  # bytes, at most


def _metric(metric: Metric, max_bytes: int, steps: Sequence[_Telling]) -> list[tuple[bytes, int]]:
    data: Any = metric.data
    head = _fitted(_metric_head, metric, steps, max_bytes // 2) or b""
    tail = _count(b"\x10", getattr(data, "aggregation_temporality", 0))
    if getattr(data, "is_monotonic", False):
        tail += b"\x18\x01"
    room = max_bytes - len(head) - len(tail) - 3 * _TAG_AND_LENGTH  # of the metric, of its data, of one point
    points = list(data.data_points)
    tag, encode = _kind_of_points(data, points)
    messages = (_fitted(encode, point, steps, room) for point in points)
    return [
        (_element(b"\x12", head + _element(tag, b"".join((*some, tail)))), len(some))
        for some in _packed((_element(b"\x0a", message) for message in messages if message is not None), room)
    ]


def _kind_of_points(data: Any, points: Sequence[Any]) -> tuple[bytes, Callable[[Any, _Telling], bytes]]:
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


def _metric_head(metric: Metric, telling: _Telling) -> bytes:
    return b"".join(
        (
            _string(b"\x0a", metric.name, telling.text),
            _string(b"\x12", metric.description, telling.text),
            _string(b"\x1a", metric.unit, telling.text),
        )
    )


def _series(tag: bytes, attributes: Any, telling: _Telling) -> bytes:
    """Encode the attributes of a point.

    Raises:
        _TooLargeError: Some would be left out, and the point count for another series.
    """
    if attributes is not None and len(attributes) > telling.parts:
        raise _TooLargeError
    return _repeated(tag, _attributes(attributes, telling)[0])


def _gauge_point(point: Any, telling: _Telling) -> bytes:
    return b"".join(
        (
            _fixed64(b"\x19", point.time_unix_nano),
            _number(b"\x21", b"\x31", point.value),
            _messages(b"\x2a", point.exemplars, _exemplar, telling)[0],
            _series(b"\x3a", point.attributes, telling),
        )
    )


def _sum_point(point: Any, telling: _Telling) -> bytes:
    return _fixed64(b"\x11", point.start_time_unix_nano) + _gauge_point(point, telling)


def _histogram_point(point: Any, telling: _Telling) -> bytes:
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
            _messages(b"\x42", point.exemplars, _exemplar, telling)[0],
            _series(b"\x4a", point.attributes, telling),
            _double(b"\x59", point.min),
            _double(b"\x61", point.max),
        )
    )


def _exponential_point(point: Any, telling: _Telling) -> bytes:
    threshold = getattr(point, "zero_threshold", 0)
    return b"".join(
        (
            _series(b"\x0a", point.attributes, telling),
            _fixed64(b"\x11", point.start_time_unix_nano),
            _fixed64(b"\x19", point.time_unix_nano),
            _fixed64(b"\x21", point.count),
            _double(b"\x29", point.sum),
            _zigzag(b"\x30", point.scale),
            _fixed64(b"\x39", point.zero_count),
            _buckets(b"\x42", point.positive),
            _buckets(b"\x4a", point.negative),
            _count(b"\x50", point.flags),
            _messages(b"\x5a", point.exemplars, _exemplar, telling)[0],
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


def _exemplar(exemplar: Any, telling: _Telling) -> bytes:
    attributes, _ = _attributes(exemplar.filtered_attributes, telling)
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


# What items belong to. The application describes itself here: whoever sets a resource up sees what it says.

_DESCRIBING = tuple(_Telling(*sizes, None, {}, {}) for sizes in _SIZES)

# By identity: a Resource's own hash writes all of it as JSON. The object stays in the entry, so that its id stays its.
_DESCRIBED: dict[int, tuple[Any, tuple[bytes, bytes]]] = {}
_MOST_DESCRIBED = 256


def _described(thing: Any, encode: Callable[[Any, _Telling], bytes]) -> tuple[bytes, bytes]:
    """Encode a resource or a scope with the fields around it: what stands before its items, and what behind."""
    known = _DESCRIBED.get(id(thing))
    if known is not None and known[0] is thing:
        return known[1]
    head = _element(b"\x0a", b"" if thing is None else _fitted(encode, thing, _DESCRIBING) or b"")
    tail = b"" if thing is None else _string(b"\x1a", getattr(thing, "schema_url", None), _DESCRIBING[1].text)
    if len(_DESCRIBED) >= _MOST_DESCRIBED:
        _DESCRIBED.clear()
    _DESCRIBED[id(thing)] = (thing, (head, tail))
    return head, tail


def _resource(resource: Resource, telling: _Telling) -> bytes:
    attributes, left_out = _attributes(resource.attributes, telling)
    return _repeated(b"\x0a", attributes) + _count(b"\x10", left_out)


def _scope(scope: InstrumentationScope, telling: _Telling) -> bytes:
    attributes, left_out = _attributes(scope.attributes, telling)
    return b"".join(
        (
            _string(b"\x0a", scope.name, telling.text),
            _string(b"\x12", scope.version, telling.text),
            _repeated(b"\x1a", attributes),
            _count(b"\x20", left_out),
        )
    )
