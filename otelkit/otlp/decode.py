"""The only place that reads OTLP messages: protobuf and OTLP/JSON, for traces, metrics and logs.

Both encodings end in the same protobuf message, so that they decode equal by construction. OTLP/JSON is proto3's JSON
mapping with one exception: trace and span ids are hex, not base64 (OTLP specification, "JSON Protobuf Encoding").
Unknown fields are ignored in both, as the specification asks of receivers.

protobuf is imported on first use only.
"""

from __future__ import annotations

import base64
import json as jsonlib
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from otelkit.otlp.model import (
    Buckets,
    Event,
    Exemplar,
    Link,
    LogRecord,
    Point,
    Scope,
    Span,
    SpanKind,
    StatusCode,
    Temporality,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1 import logs_pb2
    from opentelemetry.proto.metrics.v1 import metrics_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

    from otelkit.otlp.model import PointKind

_Name = TypeVar("_Name", bound=str)

# The order of the literals in `model` is the order of the enums' numbers in opentelemetry-proto.
_SPAN_KINDS: tuple[SpanKind, ...] = get_args(SpanKind)
_STATUS_CODES: tuple[StatusCode, ...] = get_args(StatusCode)
_TEMPORALITIES: tuple[Temporality, ...] = get_args(Temporality)

_MAX_REASON = 500  # the parser may quote the body
_MAX_PARTS = (
    1_000_000  # messages, or values in JSON, in one request: an empty one has 2 bytes, and 172 once it is parsed
)
_MAX_DEPTH = 100  # of messages, as protobuf's own parser has it
_DELIMITED = 2  # protobuf's wire type of texts, bytes and messages
_MORE = 0x80  # of a varint's byte: another one follows
_MAX_VARINT = 10  # bytes
_FIXED = {1: 8, 5: 4}  # wire types, and the bytes of their values
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8
# The names of every id field in OTLP, in JSON's spelling and in protobuf's own, which proto3 parsers accept as well.
_JSON_IDS = {
    "traceId": _TRACE_ID_BYTES,
    "trace_id": _TRACE_ID_BYTES,
    "spanId": _SPAN_ID_BYTES,
    "span_id": _SPAN_ID_BYTES,
    "parentSpanId": _SPAN_ID_BYTES,
    "parent_span_id": _SPAN_ID_BYTES,
}


_ALL_TAKEN = b"\n\x00"
"""A response whose `partial_success` is there and empty, as the Collector writes it."""


def decode_traces(body: bytes, *, json: bool = False) -> list[Span]:
    """Read an ExportTraceServiceRequest (or TracesData: they are the same on the wire).

    Args:
        body: The message, decompressed.
        json: True for OTLP/JSON, False for protobuf.

    Raises:
        ValueError: The body is no such message; the text says why, in one line.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  protobuf only on use
        ExportTraceServiceRequest,
    )

    return list(_spans(_message(ExportTraceServiceRequest, body, json=json)))


def decode_metrics(body: bytes, *, json: bool = False) -> list[Point]:
    """Read an ExportMetricsServiceRequest, one `Point` for each data point.

    Args:
        body: The message, decompressed.
        json: True for OTLP/JSON, False for protobuf.

    Raises:
        ValueError: The body is no such message; the text says why, in one line.
    """
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # noqa: PLC0415  protobuf only on use
        ExportMetricsServiceRequest,
    )

    return list(_points(_message(ExportMetricsServiceRequest, body, json=json)))


def decode_logs(body: bytes, *, json: bool = False) -> list[LogRecord]:
    """Read an ExportLogsServiceRequest.

    Args:
        body: The message, decompressed.
        json: True for OTLP/JSON, False for protobuf.

    Raises:
        ValueError: The body is no such message; the text says why, in one line.
    """
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415  protobuf only on use
        ExportLogsServiceRequest,
    )

    return list(_logs(_message(ExportLogsServiceRequest, body, json=json)))


def rejected_items(body: bytes) -> tuple[int, str]:
    """Read the answer to an export: how many items the receiver did not take, and why.

    The responses of the three signals have the same field numbers (`partial_success`). A body that is no response tells
    of nothing rejected: the receiver's status said that it took the request.
    """
    if body in (b"", _ALL_TAKEN):
        return 0, ""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  protobuf on first use
        ExportTraceServiceResponse,
    )

    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001  protobuf's DecodeError, which it does not export from one place in all versions
        return 0, ""
    return max(0, partial.rejected_spans), partial.error_message


def _message(message_type: Any, body: bytes, *, json: bool) -> Any:
    """Parse `body` into a new protobuf message; every way of being malformed becomes one kind of ValueError."""
    from google.protobuf.json_format import (  # type: ignore[import-untyped]  # noqa: PLC0415  protobuf has no types, and is loaded on use only
        ParseDict,
    )

    try:
        if len(body) > 2 * _MAX_PARTS and _parts(body, message_type.DESCRIPTOR, json=json) > _MAX_PARTS:
            msg = f"it has more than {_MAX_PARTS} parts"
            raise ValueError(msg)  # noqa: TRY301  one kind of error for all that cannot be read
        if json:
            document = jsonlib.loads(body, object_hook=_ids_to_base64)
            if not isinstance(document, dict):
                msg = f"the JSON document is not an object but {type(document).__name__}"
                raise ValueError(msg)  # noqa: TRY301  one kind of error for all that is malformed
            return ParseDict(document, message_type(), ignore_unknown_fields=True)
        return message_type.FromString(body)
    except Exception as error:  # the parsers raise more than they document: SystemError for a name that is not Unicode
        name, encoding = message_type.DESCRIPTOR.name, "OTLP/JSON" if json else "protobuf"
        reason = " ".join(str(error).split())[:_MAX_REASON]
        msg = f"not an {name} in {encoding}: {reason}"
        raise ValueError(msg) from error


def _parts(body: bytes, descriptor: Any, *, json: bool) -> int:
    """Count what becomes an object of its own, up to a little beyond the bound; what is malformed ends the count."""
    if json:
        return sum(map(body.count, (b"{", b"[", b",")))
    count, at = 0, 0
    ends, kinds = [len(body)], [_nested(descriptor)]
    try:
        while ends and count <= _MAX_PARTS:
            if at >= ends[-1]:
                ends.pop()
                kinds.pop()
                continue
            tag, at = _varint(body, at)
            kind = tag & 7
            if kind == _DELIMITED:
                size, at = _varint(body, at)
                inner = kinds[-1].get(tag >> 3)
                if inner is None:
                    at += size
                    continue
                count += 1
                if len(ends) > _MAX_DEPTH:
                    break
                ends.append(min(at + size, ends[-1]))
                kinds.append(_nested(inner))
            elif kind in _FIXED:
                at += _FIXED[kind]
            elif kind == 0:
                _, at = _varint(body, at)
    except IndexError:
        pass
    return count


@cache
def _nested(descriptor: Any) -> dict[int, Any]:
    """The fields of a message that hold messages, by number."""
    return {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Read a number and where it ends.

    Raises:
        IndexError: It does not end, or not where a number of 64 bits does.
    """
    value = body[at]
    if value < _MORE:
        return value, at + 1
    value = 0
    for place in range(_MAX_VARINT):
        byte = body[at + place]
        value |= (byte & ~_MORE) << 7 * place
        if byte < _MORE:
            return value, at + place + 1
    raise IndexError(at)


def _ids_to_base64(fields: dict[str, Any]) -> dict[str, Any]:
    """Spell the ids of one JSON object as proto3's JSON mapping expects bytes.

    User data cannot be hit by mistake: attribute keys are values of `key` in OTLP/JSON, never names of an object.
    """
    for name in _JSON_IDS.keys() & fields.keys():
        text = fields[name]
        if isinstance(text, str):
            try:
                raw = bytes.fromhex(text)
            except ValueError:
                msg = f"{name} is not hexadecimal: {text[:40]!r}"
                raise ValueError(msg) from None
            fields[name] = base64.b64encode(raw).decode()
    return fields


def _id(raw: bytes, length: int, what: str) -> str:
    """Hex of an id; "" where absent or all zero, which the specification calls invalid.

    Raises:
        ValueError: The id has a wrong length (Collectors refuse such a message as well).
    """
    if len(raw) not in (0, length):
        msg = f"{what} has {len(raw)} bytes instead of {length}"
        raise ValueError(msg)
    return raw.hex() if any(raw) else ""


def _trace_id(raw: bytes) -> str:
    return _id(raw, _TRACE_ID_BYTES, "a trace id")


def _span_id(raw: bytes) -> str:
    return _id(raw, _SPAN_ID_BYTES, "a span id")


def _name(names: tuple[_Name, ...], number: int) -> _Name:
    """Name of an enum's number; an unknown number, from a newer sender, is what 0 is."""
    return names[number] if 0 <= number < len(names) else names[0]


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if which == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, which)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _scope(group: trace_pb2.ScopeSpans | metrics_pb2.ScopeMetrics | logs_pb2.ScopeLogs) -> Scope:
    scope = group.scope
    return Scope(
        name=scope.name,
        version=scope.version,
        attributes=_attributes(scope.attributes),
        schema_url=group.schema_url,
    )


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for by_resource in request.resource_spans:
        resource = _attributes(by_resource.resource.attributes)
        for by_scope in by_resource.scope_spans:
            scope = _scope(by_scope)
            for span in by_scope.spans:
                yield _span(span, scope, resource)


def _span(span: trace_pb2.Span, scope: Scope, resource: dict[str, Any]) -> Span:
    return Span(
        trace_id=_trace_id(span.trace_id),
        span_id=_span_id(span.span_id),
        parent_span_id=_span_id(span.parent_span_id),
        name=span.name,
        kind=_name(_SPAN_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status=_name(_STATUS_CODES, span.status.code),
        status_message=span.status.message,
        events=tuple(
            Event(
                name=event.name,
                time_ns=event.time_unix_nano,
                attributes=_attributes(event.attributes),
                dropped_attributes=event.dropped_attributes_count,
            )
            for event in span.events
        ),
        links=tuple(
            Link(
                trace_id=_trace_id(link.trace_id),
                span_id=_span_id(link.span_id),
                trace_state=link.trace_state,
                attributes=_attributes(link.attributes),
                dropped_attributes=link.dropped_attributes_count,
                flags=link.flags,
            )
            for link in span.links
        ),
        trace_state=span.trace_state,
        flags=span.flags,
        dropped_attributes=span.dropped_attributes_count,
        dropped_events=span.dropped_events_count,
        dropped_links=span.dropped_links_count,
        scope=scope,
        resource=resource,
    )


def _logs(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for by_resource in request.resource_logs:
        resource = _attributes(by_resource.resource.attributes)
        for by_scope in by_resource.scope_logs:
            scope = _scope(by_scope)
            for record in by_scope.log_records:
                yield LogRecord(
                    body=_value(record.body),
                    time_ns=record.time_unix_nano,
                    observed_ns=record.observed_time_unix_nano,
                    severity_number=record.severity_number,
                    severity_text=record.severity_text,
                    event_name=record.event_name,
                    attributes=_attributes(record.attributes),
                    trace_id=_trace_id(record.trace_id),
                    span_id=_span_id(record.span_id),
                    flags=record.flags,
                    dropped_attributes=record.dropped_attributes_count,
                    scope=scope,
                    resource=resource,
                )


def _points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for by_resource in request.resource_metrics:
        resource = _attributes(by_resource.resource.attributes)
        for by_scope in by_resource.scope_metrics:
            scope = _scope(by_scope)
            for metric in by_scope.metrics:
                yield from _metric_points(metric, scope, resource)


def _metric_points(metric: metrics_pb2.Metric, scope: Scope, resource: dict[str, Any]) -> Iterator[Point]:
    kind: PointKind | None = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        yield Point(
            metric=metric.name,
            kind=kind,
            unit=metric.unit,
            description=metric.description,
            # A gauge and a summary have neither of the two.
            temporality=_name(_TEMPORALITIES, getattr(data, "aggregation_temporality", 0)),
            monotonic=getattr(data, "is_monotonic", False),
            attributes=_attributes(point.attributes),
            start_ns=point.start_time_unix_nano,
            time_ns=point.time_unix_nano,
            flags=point.flags,
            scope=scope,
            resource=resource,
            **_READ_DATA[kind](point),
        )


def _number(point: metrics_pb2.NumberDataPoint | metrics_pb2.Exemplar) -> int | float | None:
    which = point.WhichOneof("value")
    return None if which is None else getattr(point, which)


def _number_data(point: metrics_pb2.NumberDataPoint) -> dict[str, Any]:
    return {"value": _number(point), "exemplars": _exemplars(point.exemplars)}


def _distribution_data(
    point: metrics_pb2.HistogramDataPoint | metrics_pb2.ExponentialHistogramDataPoint,
) -> dict[str, Any]:
    return {
        "count": point.count,
        "sum": point.sum if point.HasField("sum") else None,
        "min": point.min if point.HasField("min") else None,
        "max": point.max if point.HasField("max") else None,
        "exemplars": _exemplars(point.exemplars),
    }


def _histogram_data(point: metrics_pb2.HistogramDataPoint) -> dict[str, Any]:
    return {
        **_distribution_data(point),
        "bounds": tuple(point.explicit_bounds),
        "buckets": tuple(point.bucket_counts),
    }


def _exponential_data(point: metrics_pb2.ExponentialHistogramDataPoint) -> dict[str, Any]:
    return {
        **_distribution_data(point),
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": point.zero_threshold,
        "positive": Buckets(offset=point.positive.offset, counts=tuple(point.positive.bucket_counts)),
        "negative": Buckets(offset=point.negative.offset, counts=tuple(point.negative.bucket_counts)),
    }


def _summary_data(point: metrics_pb2.SummaryDataPoint) -> dict[str, Any]:
    return {
        "count": point.count,
        "sum": point.sum,
        "quantiles": tuple((at.quantile, at.value) for at in point.quantile_values),
    }


_READ_DATA: dict[PointKind, Callable[[Any], dict[str, Any]]] = {
    "gauge": _number_data,
    "sum": _number_data,
    "histogram": _histogram_data,
    "exponential_histogram": _exponential_data,
    "summary": _summary_data,
}


def _exemplars(exemplars: Iterable[metrics_pb2.Exemplar]) -> tuple[Exemplar, ...]:
    return tuple(
        Exemplar(
            value=_number(exemplar),
            time_ns=exemplar.time_unix_nano,
            trace_id=_trace_id(exemplar.trace_id),
            span_id=_span_id(exemplar.span_id),
            attributes=_attributes(exemplar.filtered_attributes),
        )
        for exemplar in exemplars
    )
