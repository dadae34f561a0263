"""The decoder against the real SDK's own encoder, and OTLP/JSON against protobuf."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord as SDKLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar as SDKExemplar
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SDKEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as SDKLink
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces
from otelkit.otlp.model import Buckets, Event, Exemplar, Link, LogRecord, Point, Scope, Span

if TYPE_CHECKING:
    from collections.abc import Callable

int64 = st.integers(-(2**63), 2**63 - 1)
uint32 = st.integers(0, 2**32 - 1)
count = st.integers(0, 2**64 - 1)
nanoseconds = st.integers(1, 2**64 - 1)
trace_ids = st.integers(1, 2**128 - 1)
span_ids = st.integers(1, 2**64 - 1)
number = st.floats(allow_nan=False)
short = st.text(max_size=12)
scalars = st.one_of(short, st.booleans(), int64, number, st.binary(max_size=8))
values = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(short, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(short, values, max_size=4)
plain_attributes = st.dictionaries(st.text(min_size=1, max_size=12), short | st.booleans() | int64, max_size=4)
resources = st.builds(Resource, plain_attributes)
scopes = st.builds(InstrumentationScope, short, short, short, plain_attributes)


def hex_id(number: int | None, digits: int) -> str:
    return f"{number:0{digits}x}" if number else ""


def scope_of(scope: InstrumentationScope) -> Scope:
    return Scope(
        name=scope.name,
        version=scope.version or "",
        attributes=dict(scope.attributes or {}),
        schema_url=scope.schema_url or "",
    )


@st.composite
def contexts(draw: st.DrawFn) -> SpanContext:
    members = draw(st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.from_regex(r"\A[a-z0-9]{1,5}\Z"), max_size=2))
    return SpanContext(
        draw(trace_ids),
        draw(span_ids),
        is_remote=draw(st.booleans()),
        trace_flags=TraceFlags(draw(st.sampled_from([0, 1]))),
        trace_state=TraceState(list(members.items())),
    )


def flags_of(context: SpanContext | None) -> int:
    return 0x300 if context is not None and context.is_remote else 0x100


@st.composite
def sdk_spans(draw: st.DrawFn) -> ReadableSpan:
    status = draw(st.sampled_from(StatusCode))
    return ReadableSpan(
        name=draw(short),
        context=draw(contexts()),
        parent=draw(st.none() | contexts()),
        resource=draw(resources),
        attributes=draw(attributes),
        events=draw(st.lists(st.builds(SDKEvent, short, plain_attributes, nanoseconds), max_size=3)),
        links=draw(st.lists(st.builds(SDKLink, contexts(), plain_attributes), max_size=3)),
        kind=draw(st.sampled_from(SpanKind)),
        status=Status(status, draw(short) if status is StatusCode.ERROR else None),
        start_time=draw(nanoseconds),
        end_time=draw(nanoseconds),
        instrumentation_scope=draw(scopes),
    )


def expected_span(span: ReadableSpan) -> Span:
    context = span.get_span_context()
    assert context is not None
    assert span.instrumentation_scope is not None
    return Span(
        trace_id=hex_id(context.trace_id, 32),
        span_id=hex_id(context.span_id, 16),
        parent_span_id=hex_id(span.parent.span_id, 16) if span.parent else "",
        name=span.name,
        kind=span.kind.name,  # type: ignore[arg-type]  # the SDK's names are the model's
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        attributes=dict(span.attributes or {}),
        status=span.status.status_code.name,  # type: ignore[arg-type]  # the SDK's names are the model's
        status_message=span.status.description or "",
        events=tuple(
            Event(name=event.name, time_ns=event.timestamp, attributes=dict(event.attributes or {}))
            for event in span.events
        ),
        links=tuple(
            Link(
                trace_id=hex_id(link.context.trace_id, 32),
                span_id=hex_id(link.context.span_id, 16),
                attributes=dict(link.attributes or {}),
                flags=flags_of(link.context),
            )
            for link in span.links
        ),
        trace_state=context.trace_state.to_header(),
        flags=flags_of(span.parent),
        scope=scope_of(span.instrumentation_scope),
        resource=dict(span.resource.attributes),
    )


@st.composite
def sdk_logs(draw: st.DrawFn) -> ReadableLogRecord:
    context = draw(st.none() | contexts())
    record = SDKLogRecord(
        timestamp=draw(nanoseconds),
        observed_timestamp=draw(nanoseconds),
        context=None if context is None else set_span_in_context(NonRecordingSpan(context)),
        severity_text=draw(short),
        severity_number=draw(st.sampled_from(SeverityNumber)),
        body=draw(values),
        attributes=draw(attributes),
        event_name=draw(short),
    )
    return ReadableLogRecord(record, draw(resources), draw(scopes))


def expected_log(log: ReadableLogRecord) -> LogRecord:
    record = log.log_record
    assert log.instrumentation_scope is not None
    assert record.severity_number is not None
    return LogRecord(
        body=record.body,
        time_ns=record.timestamp or 0,
        observed_ns=record.observed_timestamp or 0,
        severity_number=record.severity_number.value,
        severity_text=record.severity_text or "",
        event_name=record.event_name or "",
        attributes=dict(record.attributes or {}),
        trace_id=hex_id(record.trace_id, 32),
        span_id=hex_id(record.span_id, 16),
        flags=record.trace_flags or 0,
        scope=scope_of(log.instrumentation_scope),
        resource=dict(log.resource.attributes),
    )


exemplars = st.lists(
    st.one_of(
        st.builds(SDKExemplar, plain_attributes, int64 | number, nanoseconds, span_ids, trace_ids),
        st.builds(SDKExemplar, plain_attributes, int64 | number, nanoseconds, st.none(), st.none()),
    ),
    max_size=2,
)
number_points = st.lists(
    st.builds(sdk.NumberDataPoint, plain_attributes, nanoseconds, nanoseconds, int64 | number, exemplars), max_size=2
)
temporalities = st.sampled_from(sdk.AggregationTemporality)
histogram_points = st.lists(
    st.builds(
        sdk.HistogramDataPoint,
        attributes=plain_attributes,
        start_time_unix_nano=nanoseconds,
        time_unix_nano=nanoseconds,
        count=count,
        sum=number,
        bucket_counts=st.lists(count, max_size=4),
        explicit_bounds=st.lists(number, max_size=3),
        min=number,
        max=number,
        exemplars=exemplars,
    ),
    max_size=2,
)
sdk_buckets = st.builds(sdk.Buckets, st.integers(-(2**31), 2**31 - 1), st.lists(count, min_size=1, max_size=4))
exponential_points = st.lists(
    st.builds(
        sdk.ExponentialHistogramDataPoint,
        attributes=plain_attributes,
        start_time_unix_nano=nanoseconds,
        time_unix_nano=nanoseconds,
        count=count,
        sum=number,
        scale=st.integers(-10, 20),
        zero_count=count,
        positive=sdk_buckets,
        negative=sdk_buckets,
        flags=uint32,
        min=number,
        max=number,
        exemplars=exemplars,
    ),
    max_size=2,
)
metric_data = st.one_of(
    st.builds(sdk.Gauge, number_points),
    st.builds(sdk.Sum, number_points, temporalities, st.booleans()),
    st.builds(sdk.Histogram, histogram_points, temporalities),
    st.builds(sdk.ExponentialHistogram, exponential_points, temporalities),
)
metrics_data = st.builds(
    lambda resource, scope_metrics: sdk.MetricsData([sdk.ResourceMetrics(resource, scope_metrics, "")]),
    resources,
    st.lists(
        st.builds(sdk.ScopeMetrics, scopes, st.lists(st.builds(sdk.Metric, short, short, short, metric_data)), short),
        max_size=2,
        unique_by=lambda scope_metrics: scope_metrics.scope,
    ),
)


def expected_points(data: sdk.MetricsData) -> list[Point]:
    return [
        expected_point(point, metric, scope_metrics.scope, resource_metrics.resource)
        for resource_metrics in data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        for point in metric.data.data_points
    ]


def expected_point(point: Any, metric: sdk.Metric, scope: InstrumentationScope, resource: Resource) -> Point:
    data = metric.data
    fields: dict[str, Any] = {}
    if isinstance(data, sdk.Gauge):
        fields = {"kind": "gauge", "value": point.value}
    elif isinstance(data, sdk.Sum):
        fields = {
            "kind": "sum",
            "value": point.value,
            "monotonic": data.is_monotonic,
            "start_ns": point.start_time_unix_nano,
        }
    else:
        fields = {
            "count": point.count,
            "sum": point.sum,
            "min": point.min,
            "max": point.max,
            "start_ns": point.start_time_unix_nano,
        }
    if isinstance(data, sdk.Histogram):
        fields |= {
            "kind": "histogram",
            "bounds": tuple(point.explicit_bounds),
            "buckets": tuple(point.bucket_counts),
        }
    if isinstance(data, sdk.ExponentialHistogram):
        fields |= {
            "kind": "exponential_histogram",
            "scale": point.scale,
            "zero_count": point.zero_count,
            "positive": Buckets(offset=point.positive.offset, counts=tuple(point.positive.bucket_counts)),
            "negative": Buckets(offset=point.negative.offset, counts=tuple(point.negative.bucket_counts)),
            "flags": point.flags,
        }
    if not isinstance(data, sdk.Gauge):
        fields["temporality"] = data.aggregation_temporality.name
    return Point(
        metric=metric.name,
        unit=metric.unit or "",
        description=metric.description or "",
        attributes=dict(point.attributes),
        time_ns=point.time_unix_nano,
        exemplars=tuple(
            Exemplar(
                value=exemplar.value,
                time_ns=exemplar.time_unix_nano,
                trace_id=hex_id(exemplar.trace_id, 32),
                span_id=hex_id(exemplar.span_id, 16),
                attributes=dict(exemplar.filtered_attributes or {}),
            )
            for exemplar in point.exemplars
        ),
        scope=scope_of(scope),
        resource=dict(resource.attributes),
        **fields,
    )


def otlp_json(message: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Write a message as OTLP/JSON in one of the allowed spellings, with fields that nobody knows."""
    document = MessageToDict(message, use_integers_for_enums=draw(st.booleans()))
    as_numbers, with_unknown, upper = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def respell(node: Any) -> Any:
        if isinstance(node, list):
            return [respell(item) for item in node]
        if not isinstance(node, dict):
            return node
        fields: dict[str, Any] = {"fromTheFuture": {"traceId": "00", "x": [None, 1]}} if with_unknown else {}
        for key, value in node.items():
            fields[key] = respell(value)
            if key in ("traceId", "spanId", "parentSpanId"):
                digits = base64.b64decode(value).hex()
                fields[key] = digits.upper() if upper else digits
            elif as_numbers and (key in ("intValue", "asInt", "count", "zeroCount") or key.endswith("UnixNano")):
                fields[key] = int(value)
        return fields

    return json.dumps(respell(document)).encode()


@settings(deadline=None)
@given(st.lists(sdk_spans(), max_size=3), st.data())
def test_spans_are_what_the_sdk_encoded(spans: list[ReadableSpan], data: st.DataObject) -> None:
    message = encode_spans(spans)
    decoded = decode_traces(message.SerializeToString())
    assert sorted(decoded, key=repr) == sorted(map(expected_span, spans), key=repr)
    assert decode_traces(otlp_json(message, data.draw), json=True) == decoded


@settings(deadline=None)
@given(st.lists(sdk_logs(), max_size=3), st.data())
def test_logs_are_what_the_sdk_encoded(logs: list[ReadableLogRecord], data: st.DataObject) -> None:
    message = encode_logs(logs)
    decoded = decode_logs(message.SerializeToString())
    assert sorted(decoded, key=repr) == sorted(map(expected_log, logs), key=repr)
    assert decode_logs(otlp_json(message, data.draw), json=True) == decoded


@settings(deadline=None)
@given(metrics_data, st.data())
def test_points_are_what_the_sdk_encoded(metrics: sdk.MetricsData, data: st.DataObject) -> None:
    message = encode_metrics(metrics)
    decoded = decode_metrics(message.SerializeToString())
    assert decoded == expected_points(metrics)
    assert decode_metrics(otlp_json(message, data.draw), json=True) == decoded


def summary_request() -> ExportMetricsServiceRequest:
    """Build the one kind that the Python SDK never makes."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="latency", unit="s")
    point = metric.summary.data_points.add(count=3, sum=1.5, time_unix_nano=7)
    point.quantile_values.add(quantile=0.5, value=0.4)
    point.quantile_values.add(quantile=1.0, value=0.8)
    return request


def test_a_summary() -> None:
    expected = [
        Point(
            metric="latency",
            kind="summary",
            unit="s",
            count=3,
            sum=1.5,
            time_ns=7,
            quantiles=((0.5, 0.4), (1.0, 0.8)),
        )
    ]
    assert decode_metrics(summary_request().SerializeToString()) == expected
    assert decode_metrics(json.dumps(MessageToDict(summary_request())).encode(), json=True) == expected


def test_absent_sum_minimum_and_value_are_none_and_a_metric_without_data_is_nothing() -> None:
    request = ExportMetricsServiceRequest()
    scope_metrics = request.resource_metrics.add().scope_metrics.add()
    scope_metrics.metrics.add(name="empty")
    scope_metrics.metrics.add(name="h").histogram.data_points.add(count=1)
    flag = metrics_pb2.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
    scope_metrics.metrics.add(name="g").gauge.data_points.add(flags=flag)
    histogram, gauge = decode_metrics(request.SerializeToString())
    assert (histogram.sum, histogram.min, histogram.max, histogram.count) == (None, None, None, 1)
    assert (gauge.value, gauge.flags) == (None, 1)


def test_json_as_the_specification_writes_it() -> None:
    document = b"""{"resourceSpans": [{"resource": {"attributes": [
      {"key": "service.name", "value": {"stringValue": "shop"}}]},
      "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "",
        "name": "GET /", "kind": 2, "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": 1544712661000000000,
        "status": {"code": "STATUS_CODE_ERROR"}, "traceState": null,
        "attributes": [{"key": "n", "value": {"intValue": 10}}, {"key": "m", "value": {"intValue": "-11"}},
          {"key": "b", "value": {"bytesValue": "aGk="}}, {"key": "none", "value": {}},
          {"key": "inf", "value": {"doubleValue": "-Infinity"}},
          {"key": "nan", "value": {"doubleValue": "NaN"}}]}]}]}]}"""
    (span,) = decode_traces(document, json=True)
    assert (span.trace_id, span.span_id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert (span.parent_span_id, span.kind, span.status, span.service) == ("", "SERVER", "ERROR", "shop")
    assert span.duration_ns == 1_000_000_000
    assert math.isnan(span.attributes.pop("nan"))
    assert span.attributes == {"n": 10, "m": -11, "b": b"hi", "none": None, "inf": -math.inf}


def test_ids_of_zeros_mean_no_id_and_numbers_from_the_future_mean_unspecified() -> None:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, parent_span_id=bytes(8))
    )
    span.kind = 99  # the enum is open: a newer sender may say so
    (decoded,) = decode_traces(request.SerializeToString())
    assert (decoded.parent_span_id, decoded.kind) == ("", "UNSPECIFIED")


def a_span(**fields: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "is not an object but list"),
        (b'{"resourceSpans": 1}', "resourceSpans"),
        (b'{"resourceSpans": [null]}', "null"),
        (b"\xff\xfe\xfd", "decode"),
        (b"[" * 100_000, "recursion"),
        (a_span(traceId="not hex"), "traceId is not hexadecimal: 'not hex'"),
        (a_span(traceId="W47/95gDgQPSabYzgT/GDA=="), "traceId is not hexadecimal"),
        (a_span(spanId="abcd"), "a span id has 2 bytes instead of 8"),
        (a_span(startTimeUnixNano="soon"), "startTimeUnixNano"),
        (a_span(startTimeUnixNano=2**64), "startTimeUnixNano"),
        (a_span(name="\ud800"), "name"),
        (a_span(attributes=[{"key": "x", "value": {"doubleValue": math.nan}}]), "NaN"),
    ],
)
def test_malformed_json_is_a_value_error_that_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(not an ExportTraceServiceRequest in OTLP/JSON: |a span id)") as caught:
        decode_traces(body, json=True)
    text = str(caught.value)
    assert reason in text
    assert "\n" not in text
    assert len(text) < 700


@settings(deadline=None)
@given(st.binary(max_size=64))
@pytest.mark.parametrize("decode", [decode_traces, decode_metrics, decode_logs])
def test_any_bytes_decode_or_are_a_value_error(decode: Callable[[bytes], list[Any]], body: bytes) -> None:
    try:
        assert isinstance(decode(body), list)
    except ValueError as error:
        assert str(error)  # noqa: PT017  both ways are right


def test_values_nested_beyond_protobuf_s_own_bound_are_refused() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": value}]}]}]}).encode()
    with pytest.raises(ValueError, match="not an ExportLogsServiceRequest"):
        decode_logs(body, json=True)


def test_an_empty_message_is_empty() -> None:
    assert decode_traces(b"") == []
    assert decode_logs(ExportLogsServiceRequest().SerializeToString()) == []
    assert decode_metrics(b"{}", json=True) == []
