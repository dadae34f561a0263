"""The encoder against the SDK's own, over generated items; then what the SDK's own cannot carry."""

from __future__ import annotations

import enum
import gc
import http
import math
import subprocess
import sys
import threading
from collections import UserDict, UserList, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Exemplar, MeterProvider, export
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otelkit.otlp import encode
from otelkit.otlp.encode import ITEM_LIMIT, VALUE_LIMIT, Encoder
from support import poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

ENCODER = Encoder()

int64 = st.integers(-(2**63), 2**63 - 1)
count = st.integers(0, 2**64 - 1)
nanoseconds = st.integers(0, 2**64 - 1)
short = st.text(max_size=12)
keys = st.text(min_size=1, max_size=12)
# Few values, so that the memos are hit, and among them those that are equal and of different types.
common = st.sampled_from(["GET", "1", 1, 1.0, True, 0, 0.0, -0.0, False, "", 200])
scalars = st.one_of(common, short, st.booleans(), int64, st.floats(), st.binary(max_size=8), st.none())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys | st.sampled_from(["a", "b"]), inner, max_size=3)
    ),
    max_leaves=8,
)
attributes = st.dictionaries(keys | st.sampled_from(["a", "b", "c"]), values, max_size=5)
resources = st.builds(Resource, attributes, short)
scopes = st.builds(InstrumentationScope, short, st.none() | short, st.none() | short, st.none() | attributes)
states = st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.from_regex(r"\A[a-z0-9]{1,5}\Z"), max_size=2)
contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    states.map(lambda members: TraceState(list(members.items()))),
)
statuses = st.one_of(
    st.builds(Status, st.sampled_from([StatusCode.UNSET, StatusCode.OK])),
    st.builds(Status, st.just(StatusCode.ERROR), st.none() | short),
)
spans = st.builds(
    ReadableSpan,
    name=short,
    context=contexts,
    parent=st.none() | contexts,
    resource=resources,
    attributes=st.none() | attributes,
    events=st.lists(st.builds(Event, short, st.none() | attributes, nanoseconds), max_size=3),
    links=st.lists(st.builds(Link, contexts, st.none() | attributes), max_size=3),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=st.none() | nanoseconds,
    end_time=st.none() | nanoseconds,
    instrumentation_scope=st.none() | scopes,
)
records = st.builds(
    ReadableLogRecord,
    st.builds(
        LogRecord,
        timestamp=st.none() | nanoseconds,
        observed_timestamp=nanoseconds,
        context=contexts.map(lambda context: set_span_in_context(NonRecordingSpan(context))),
        severity_text=st.none() | short,
        severity_number=st.none() | st.sampled_from(SeverityNumber),
        body=values,
        attributes=st.none() | attributes,
        event_name=st.none() | short,
    ),
    resources,
    st.none() | scopes,
)
exemplars = st.lists(
    st.builds(
        Exemplar,
        st.none() | attributes,
        int64 | st.floats(),
        nanoseconds,
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.integers(0, 2**128 - 1),
    ),
    max_size=2,
)
number_points = st.lists(
    st.builds(
        export.NumberDataPoint,
        attributes,
        nanoseconds,
        nanoseconds,
        int64 | st.floats(),
        exemplars,
    ),
    min_size=1,
    max_size=3,
)
temporalities = st.sampled_from(export.AggregationTemporality)
histogram_points = st.lists(
    st.builds(
        export.HistogramDataPoint,
        attributes=attributes,
        start_time_unix_nano=nanoseconds,
        time_unix_nano=nanoseconds,
        count=count,
        sum=int64 | st.floats(),
        bucket_counts=st.lists(count, max_size=4),
        explicit_bounds=st.lists(st.floats() | st.integers(-(2**53), 2**53), max_size=3),
        min=int64 | st.floats(),
        max=int64 | st.floats(),
        exemplars=exemplars,
    ),
    min_size=1,
    max_size=2,
)
buckets = st.builds(export.Buckets, st.integers(-(2**31), 2**31 - 1), st.lists(count, max_size=4))
exponential_points = st.lists(
    st.builds(
        export.ExponentialHistogramDataPoint,
        attributes=attributes,
        start_time_unix_nano=nanoseconds,
        time_unix_nano=nanoseconds,
        count=count,
        sum=int64 | st.floats(),
        scale=st.integers(-(2**31), 2**31 - 1),
        zero_count=count,
        positive=buckets,
        negative=buckets,
        flags=st.integers(0, 2**32 - 1),
        min=st.floats(),
        max=st.floats(),
        exemplars=exemplars,
    ),
    min_size=1,
    max_size=2,
)
metrics = st.builds(
    export.Metric,
    short,
    st.none() | short,
    st.none() | short,
    st.one_of(
        st.builds(export.Gauge, number_points),
        st.builds(export.Sum, number_points, temporalities, st.booleans()),
        st.builds(export.Histogram, histogram_points, temporalities),
        st.builds(export.ExponentialHistogram, exponential_points, temporalities),
    ),
)


def wire(message: Any) -> bytes:
    """Spell a message one way, so that NaN is equal to itself: unequal messages are unequal here too."""
    return bytes(message.SerializeToString(deterministic=True))


def sent_spans(*items: ReadableSpan) -> Any:
    groups = [(item.resource, item.instrumentation_scope, [ENCODER.span(item)]) for item in items]
    return ExportTraceServiceRequest.FromString(encode.request(groups))


def sent_span(item: ReadableSpan) -> Any:
    return sent_spans(item).resource_spans[0].scope_spans[0].spans[0]


def sent_records(*items: ReadableLogRecord) -> Any:
    groups = [(item.resource, item.instrumentation_scope, [ENCODER.log_record(item)]) for item in items]
    return ExportLogsServiceRequest.FromString(encode.request(groups))


def sent_record(item: ReadableLogRecord) -> Any:
    return sent_records(item).resource_logs[0].scope_logs[0].log_records[0]


def sent_metrics(data: export.MetricsData) -> Any:
    groups = (
        (
            resource_metrics.resource,
            scope_metrics.scope,
            [element for metric in scope_metrics.metrics for element, _ in ENCODER.metric(metric)],
        )
        for resource_metrics in data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
    )
    return ExportMetricsServiceRequest.FromString(encode.request(groups))


def only(metric: export.Metric) -> export.MetricsData:
    scope = export.ScopeMetrics(InstrumentationScope("s"), [metric], "")
    return export.MetricsData([export.ResourceMetrics(Resource({}), [scope], "")])


def parts(metric: export.Metric, max_bytes: int = ITEM_LIMIT) -> list[Any]:
    return [
        ExportMetricsServiceRequest.FromString(encode.request([(Resource({}), None, [element])]))
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics[0]
        for element, _ in ENCODER.metric(metric, max_bytes)
    ]


def test_encoding_needs_neither_the_sdk_nor_protobuf() -> None:
    code = "import sys, otelkit.otlp.encode; print([n for n in sys.modules if 'protobuf' in n or '.sdk' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@settings(deadline=None)
@given(spans)
def test_a_span_is_what_the_sdk_would_send(item: ReadableSpan) -> None:
    expected = encode_spans([item])
    if item.parent is not None and not item.parent.is_remote:  # what other vendors wrote is told where it comes in
        expected.resource_spans[0].scope_spans[0].spans[0].trace_state = ""
    assert wire(sent_spans(item)) == wire(expected)


@settings(deadline=None)
@given(records)
def test_a_log_record_is_what_the_sdk_would_send(item: ReadableLogRecord) -> None:
    assert wire(sent_records(item)) == wire(encode_logs([item]))


@settings(deadline=None)
@given(resources, st.lists(st.tuples(scopes, st.lists(metrics, min_size=1, max_size=3)), min_size=1, max_size=1))
def test_metrics_are_what_the_sdk_would_send(
    resource: Resource, scoped: list[tuple[InstrumentationScope, list[export.Metric]]]
) -> None:
    data = export.MetricsData(
        [export.ResourceMetrics(resource, [export.ScopeMetrics(scope, some, "") for scope, some in scoped], "")]
    )
    assert wire(sent_metrics(data)) == wire(encode_metrics(data))


@dataclass
class Recorded:
    """What real providers hand on."""

    spans: InMemorySpanExporter
    tracers: TracerProvider
    logs: InMemoryLogRecordExporter
    loggers: LoggerProvider


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    resource = Resource({"service.name": "encoded"})
    it = Recorded(
        InMemorySpanExporter(),
        TracerProvider(
            resource=resource,
            span_limits=SpanLimits(
                max_span_attributes=6, max_events=2, max_links=2, max_event_attributes=1, max_link_attributes=1
            ),
            shutdown_on_exit=False,
        ),
        InMemoryLogRecordExporter(),  # type: ignore[no-untyped-call]  # the SDK's
        LoggerProvider(resource, shutdown_on_exit=False),
    )
    it.tracers.add_span_processor(SimpleSpanProcessor(it.spans))
    it.loggers.add_log_record_processor(SimpleLogRecordProcessor(it.logs))
    yield it
    it.tracers.shutdown()
    it.loggers.shutdown()


def test_spans_of_a_real_provider_are_what_the_sdk_would_send(recorded: Recorded) -> None:
    tracer = recorded.tracers.get_tracer("shop", "1.2", "https://example.com/schema", {"team": "a"})
    remote = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("ot", "th:8")]))
    parent = set_span_in_context(NonRecordingSpan(remote))
    links = [Link(remote, {"n": n, "m": n}) for n in range(3)]

    def order_something() -> None:
        with tracer.start_as_current_span("order", parent, SpanKind.SERVER, {"http.route": "/"}, links) as span:
            for number in range(9):
                span.set_attribute(f"n.{number % 7}", number)
                span.add_event("step", {"number": number, "of": 9})
            with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT) as inner:
                inner.set_attributes({"list": ["a", "b"], "mixed": [1, "a", None], "deep": {"a": {"b": [1.5]}}})
                inner.set_status(StatusCode.OK)
            raise ValueError("no stock")

    with pytest.raises(ValueError, match="no stock"):
        order_something()

    ended = recorded.spans.get_finished_spans()
    order = sent_span(ended[1])
    assert (order.dropped_attributes_count, order.dropped_events_count, order.dropped_links_count) == (4, 8, 1)
    assert (order.events[0].dropped_attributes_count, order.links[0].dropped_attributes_count) == (1, 1)
    assert wire(sent_spans(*ended)) != wire(encode_spans(ended))  # the SDK puts equal scopes together, we do it below
    scope = ended[0].instrumentation_scope
    together = encode.request([(ended[0].resource, scope, [ENCODER.span(span) for span in ended])])
    assert wire(ExportTraceServiceRequest.FromString(together)) == wire(encode_spans(ended))


def test_what_other_vendors_wrote_into_a_trace_state_is_told_once_and_bounded() -> None:
    written = TraceState([("ot", "th:8"), *((f"vendor{number}", "x" * 100) for number in range(30))])
    context = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1), trace_state=written)
    caller = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=written)
    entering = sent_span(span_of(context=context, parent=caller)).trace_state
    assert entering.startswith("ot=th:8,vendor0=")
    assert len(entering) <= 512
    assert set(entering.split(",")) <= {f"{key}={value}" for key, value in written.items()}  # whole entries only
    inside = SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(1), trace_state=written)
    assert sent_span(span_of(context=context, parent=inside)).trace_state == "ot=th:8"


def test_log_records_of_a_real_provider_are_what_the_sdk_would_send(recorded: Recorded) -> None:
    logger = recorded.loggers.get_logger("shop", "1.2", "https://example.com/schema", {"team": "a"})
    with recorded.tracers.get_tracer("t").start_as_current_span("around"), pytest.warns(match="were dropped"):
        logger.emit(
            LogRecord(
                timestamp=1,
                observed_timestamp=2,
                severity_text="WARN",
                severity_number=SeverityNumber.WARN,
                body={"a": ["b", {"c": None}]},
                attributes={f"n.{number}": number for number in range(130)},
                event_name="shop.order",
            )
        )
    (log,) = recorded.logs.get_finished_logs()
    assert sent_record(log).dropped_attributes_count == 2
    assert sent_record(log).span_id
    assert wire(sent_records(log)) == wire(encode_logs([log]))


def observe(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(3, {"pool": "a"})
    yield Observation(2.5, {"pool": "b"})


@pytest.mark.parametrize("temporality", list(export.AggregationTemporality)[1:])
def test_metrics_of_a_real_provider_are_what_the_sdk_would_send(
    recorded: Recorded, temporality: export.AggregationTemporality
) -> None:
    reader = InMemoryMetricReader(
        dict.fromkeys((sdk_metrics.Counter, sdk_metrics.UpDownCounter, sdk_metrics.Histogram), temporality)
    )
    exponential = View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())
    kept = View(instrument_name="kept", attribute_keys={"route"})
    provider = MeterProvider([reader], views=[exponential, kept], shutdown_on_exit=False)
    meter = provider.get_meter("shop", "1.2", "https://example.com/schema")
    with recorded.tracers.get_tracer("t").start_as_current_span("around"):
        meter.create_counter("counter", "1", "counts").add(2, {"a": 1})
        meter.create_up_down_counter("up_down").add(-2.5)
        meter.create_gauge("gauge").set(5)
        meter.create_observable_gauge("observed", [observe])
        for name in ("histogram", "exponential", "kept"):
            histogram = meter.create_histogram(name, "s")
            for value in (0, 0.004, 3, 1e6):
                histogram.record(value, {"route": "/", "user": "x"})
    data = reader.get_metrics_data()
    provider.shutdown()

    assert data is not None
    sent = sent_metrics(data)
    kinds = {metric.WhichOneof("data") for metric in sent.resource_metrics[0].scope_metrics[0].metrics}
    assert kinds == {"gauge", "sum", "histogram", "exponential_histogram"}
    (kept_metric,) = (m for m in sent.resource_metrics[0].scope_metrics[0].metrics if m.name == "kept")
    assert {a.key for a in kept_metric.histogram.data_points[0].exemplars[0].filtered_attributes} == {"user"}
    assert wire(sent) == wire(encode_metrics(data))


def test_a_threshold_of_zero_is_sent_where_a_point_has_one() -> None:
    class Point(export.ExponentialHistogramDataPoint):
        zero_threshold = 0.25

    empty = export.Buckets(0, [])
    point = Point({}, 1, 2, 3, 4.0, 0, 3, empty, empty, 0, 1.0, 2.0)
    metric = export.Metric("m", None, None, export.ExponentialHistogram([point], export.AggregationTemporality.DELTA))
    (part,) = parts(metric)
    assert part.exponential_histogram.data_points[0].zero_threshold == 0.25


# Requests.


def span_of(**fields: Any) -> ReadableSpan:
    context = SpanContext(0xABC, 0xDEF, is_remote=False)
    given: dict[str, Any] = {"name": "s", "context": context, "resource": Resource({}), "end_time": 5}
    return ReadableSpan(**(given | fields))


def record_of(**fields: Any) -> ReadableLogRecord:
    return ReadableLogRecord(LogRecord(**({"timestamp": 4, "observed_timestamp": 5} | fields)), Resource({}), None)


def test_an_empty_request_is_no_bytes() -> None:
    assert encode.request([]) == b""


def test_groups_in_a_row_share_their_resource_also_where_it_is_only_equal() -> None:
    item = ENCODER.span(span_of())
    a, b, other = Resource({"n": 1}), Resource({"n": 1}), Resource({"n": 2})
    one, two = InstrumentationScope("one", "1", "u", {"x": 1}), InstrumentationScope("two")
    groups = [(a, one, [item]), (b, two, [item, item]), (other, None, [item]), (a, one, [item])]
    request = ExportTraceServiceRequest.FromString(encode.request(groups))
    assert [
        [(scope_spans.scope.name, len(scope_spans.spans)) for scope_spans in resource_spans.scope_spans]
        for resource_spans in request.resource_spans
    ] == [[("one", 1), ("two", 2)], [("", 1)], [("one", 1)]]


def test_what_describes_items_is_remembered_by_identity_alone() -> None:
    item = ENCODER.span(span_of())
    for number in range(1000):  # each is gone before the next one is made, and may get its address
        request = ExportTraceServiceRequest.FromString(
            encode.request([(Resource({"n": number}), InstrumentationScope(f"s{number}"), [item])])
        )
        assert request.resource_spans[0].resource.attributes[0].value.int_value == number
        assert request.resource_spans[0].scope_spans[0].scope.name == f"s{number}"
        if number % 100 == 0:
            gc.collect()
    assert len(encode._DESCRIBED) <= encode._MOST_DESCRIBED


# Values that the SDK's encoder cannot carry, or that its attributes would not let through.


def refuse(self: object, *_: object) -> Any:
    raise RuntimeError(f"nothing can be asked of {type(self).__name__}")


class Unreadable:
    __str__ = __repr__ = refuse


class Shouting(str):
    __slots__ = ()
    __str__ = str.upper


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(float):
    __slots__ = ()


class Raw(bytes):
    __slots__ = ()


class Lazy:
    """A proxy with nothing behind it: it cannot even be asked for its class."""

    __class__ = property(refuse)


def of_length(length: int, item: Any, kind: type = Sequence) -> Any:
    """Make a list or mapping that says it is that long, and answers with `item` when asked for more."""
    methods = {"__len__": lambda _: length, "__getitem__": item, "__iter__": lambda _: iter("a")}
    if kind is Sequence:
        del methods["__iter__"]  # a sequence is asked for one item after another
    return type("Broken", (kind,), methods)()


def nested(levels: int, make: Callable[[Any], Any], value: Any = "end") -> Any:
    for _ in range(levels):
        value = make(value)
    return value


MORE: dict[str, Callable[[], Any]] = {
    "only a surrogate": lambda: "\udc80",
    "2**63": lambda: 2**63,
    "-2**63-1": lambda: -(2**63) - 1,
    "10**5000, too long to be shown": lambda: 10**5000,
    "unreadable": Unreadable,
    "str subclass": lambda: Shouting("quiet"),
    "complex": lambda: 1j,
    "generator": lambda: (n for n in range(3)),
    "memoryview": lambda: memoryview(b"abc"),
    "list of the unreadable": lambda: [Unreadable(), "a\ud800", 2**70, b"\xff"],
    "dict of the unreadable": lambda: {"a": Unreadable(), 1: None, None: "\ud800", "\ud800": 2**70, "": 1},
    "unreadable key": lambda: {Unreadable(): 1},
    "broken list": lambda: of_length(3, refuse),
    "broken mapping": lambda: of_length(3, refuse, Mapping),
    "proxy": Lazy,
    "list of proxies": lambda: [Lazy()],
    "long lone surrogates": lambda: "\ud800" * 300_000,
    "2000-deep UserList": lambda: nested(2000, lambda value: UserList([value])),
    "lists that double 28 times": lambda: nested(28, lambda value: [value, value]),
    "a million numbers": lambda: list(range(1_000_000)),
    "100 texts of 100 kB": lambda: ["x" * 100_000] * 100,
    "mapping of 100 kB keys": lambda: {f"{n}" + "x" * 100_000: n for n in range(100)},
}
HOSTILE = {**poison.VALUES, **MORE}
hostile = pytest.mark.parametrize("make", list(HOSTILE.values()), ids=list(HOSTILE))


def items_with(value: Any) -> Iterator[ReadableSpan | ReadableLogRecord | export.Metric]:
    """Put a value wherever an application can put one, and past the SDK's own cleaning."""
    everywhere = {"a": value, "b": [value], "c": {"d": value}}
    yield span_of(attributes=everywhere)
    yield span_of(name=value)
    yield span_of(events=[Event("e", {"exception.message": value}, 5), Event(value, None, 5)])
    yield span_of(events=[Event("e", everywhere, value)], start_time=value, end_time=value)
    yield span_of(links=[Link(SpanContext(1, 2, is_remote=False), everywhere)], kind=value)
    status = Status(StatusCode.ERROR)
    status._description = value  # the SDK checks for text, which says nothing about what it encodes
    yield span_of(status=status)
    yield record_of(body=value, attributes=everywhere)
    yield record_of(severity_text=value, event_name=value)
    yield record_of(severity_number=value, timestamp=value, observed_timestamp=value)
    try:
        keyed = {value: value}
    except (TypeError, RuntimeError):  # it cannot be hashed
        pass
    else:
        yield span_of(attributes=keyed)
    point = export.NumberDataPoint(everywhere, value, value, 5, [Exemplar(everywhere, 1, value)])
    yield export.Metric("m", value, value, export.Gauge([point]))
    yield export.Metric(value, "", "", export.Gauge([export.NumberDataPoint({}, 1, 2, value)]))


def elements_of(item: Any) -> list[bytes]:
    if isinstance(item, ReadableSpan):
        return [ENCODER.span(item)]
    return [ENCODER.log_record(item)] if isinstance(item, ReadableLogRecord) else [e for e, _ in ENCODER.metric(item)]


def message_of(item: Any, element: bytes) -> Any:
    parser: Any = (
        ExportTraceServiceRequest
        if isinstance(item, ReadableSpan)
        else ExportLogsServiceRequest
        if isinstance(item, ReadableLogRecord)
        else ExportMetricsServiceRequest
    )
    return parser.FromString(encode.request([(Resource({}), None, [element])]))


@hostile
def test_no_value_raises_or_breaks_the_message_or_grows_above_the_limit(make: Callable[[], Any]) -> None:
    for item in items_with(make()):
        (element,) = elements_of(item)
        assert len(element) <= ITEM_LIMIT
        message = message_of(item, element)
        if isinstance(item, ReadableSpan):
            (span,) = message.resource_spans[0].scope_spans[0].spans
            assert (span.trace_id, span.span_id) == ((0xABC).to_bytes(16, "big"), (0xDEF).to_bytes(8, "big"))


@hostile
def test_a_resource_or_scope_of_any_value_is_written(make: Callable[[], Any]) -> None:
    resource = Resource({})
    resource._attributes = MappingProxyType({"a": make(), "b": 1})  # type: ignore[assignment]  # past its cleaning
    scope = InstrumentationScope("s", make(), None)
    body = encode.request([(resource, scope, [ENCODER.span(span_of())])])
    assert len(body) <= 3 * ITEM_LIMIT
    (resource_spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert resource_spans.scope_spans[0].scope.name == "s"


@settings(deadline=None, max_examples=40)
@given(poison.values())
def test_no_mix_of_values_raises_or_breaks_the_message(value: Any) -> None:
    for item in items_with(value):
        (element,) = elements_of(item)
        message_of(item, element)


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return mapped(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


def mapped(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: plain(pair.value) for pair in pairs}


def arrived(value: Any) -> Any:
    """Return what arrives of an attribute's value."""
    return mapped(sent_span(span_of(attributes={"a": value})).attributes)["a"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Shouting("quiet"), "quiet"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (http.HTTPStatus.OK, 200),
        (Ratio(0.5), 0.5),
        (Raw(b"r"), b"r"),
        (bytearray(b"\xff"), b"\xff"),
        (range(3), [0, 1, 2]),
        (deque([1, "a"]), [1, "a"]),
        (UserDict({"a": (1,)}), {"a": [1]}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "a", None: "c", False: "d"}, {"1": "a", "None": "c", "False": "d"}),
        ({"": 1, "a": 2}, {"a": 2}),
        ("a\ud800b", "a\\ud800b"),
        (2**63, str(2**63)),
        (math.inf, math.inf),
        (Unreadable(), "<unreadable Unreadable>"),
        (ValueError("x"), "ValueError: x"),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_a_value_arrives_as_what_it_is(value: Any, expected: Any) -> None:
    sent = arrived(value)
    assert sent == expected
    assert type(sent) is type(expected)


def test_values_that_are_equal_and_of_different_types_keep_their_types() -> None:
    for _ in range(2):  # the second time from the memos
        for value in (1, True, 1.0, 0, False, 0.0, "1"):
            sent = arrived(value)
            assert (sent, type(sent)) == (value, type(value))
    assert math.copysign(1, arrived(-0.0)) == -1


def test_keys_that_are_no_text_do_not_take_each_others_place() -> None:
    for key, name in ((1, "1"), (True, "True"), (1.0, "1.0"), ("1", "1"), (Shouting("1"), "1"), (b"1", "1")):
        for _ in range(2):
            assert mapped(sent_span(span_of(attributes={key: "v"})).attributes) == {name: "v"}


def test_an_empty_key_is_dropped_and_counted() -> None:
    span = sent_span(span_of(attributes={"": 1, "a": 2}))
    assert (mapped(span.attributes), span.dropped_attributes_count) == ({"a": 2}, 1)


def test_names_and_descriptions_of_bytes_are_their_text() -> None:
    assert sent_span(span_of(name=b"n\xff")).name == "n\\xff"


@pytest.mark.parametrize("length", [VALUE_LIMIT, VALUE_LIMIT + 1])
def test_a_long_text_is_cut_at_the_limit_and_says_how_much_is_missing(length: int) -> None:
    text = arrived("x" * length)
    raw = arrived(b"x" * length)
    if length == VALUE_LIMIT:
        assert (text, raw) == ("x" * length, b"x" * length)
    else:
        assert text == "x" * VALUE_LIMIT + "… (1 more characters)"
        assert raw == b"x" * VALUE_LIMIT + "… (1 more bytes)".encode()


def test_the_deepest_nesting_that_is_sent_can_be_parsed_and_ends_in_a_sign() -> None:
    deep = nested(100, lambda value: {"d": value})
    (event,) = sent_span(span_of(events=[Event("e", {"a": deep}, 5)])).events
    levels, value = 0, mapped(event.attributes)["a"]
    while isinstance(value, dict):
        levels, value = levels + 1, value["d"]
    assert (levels, value) == (30, "…")


def test_nesting_that_a_parser_takes_arrives_whole() -> None:
    deep = nested(30, lambda value: {"d": value})
    assert arrived(deep) == deep
    assert arrived(nested(30, lambda value: [value])) == nested(30, lambda value: [value])


def test_a_span_that_is_too_large_loses_length_before_it_loses_attributes() -> None:
    values = {f"a{number}": "x" * 100_000 for number in range(20)}
    span = sent_span(span_of(attributes=values | {"n": 1}))
    sent = mapped(span.attributes)
    assert sent["a7"] == "x" * 16_384 + "… (83616 more characters)"
    assert (sent["n"], span.dropped_attributes_count) == (1, 0)


def test_a_list_that_is_too_large_says_how_much_is_missing() -> None:
    sent = arrived(list(range(1_000_000)))
    assert sent[:100] == list(range(100))
    assert sent[100:] == ["… (999900 more items)"]
    sent = arrived({f"k{number}": "x" * 10_000 for number in range(1000)})
    assert sent.pop("…") == "(900 more items)"
    assert len(sent) == 100


def test_a_span_that_is_far_too_large_keeps_its_last_events_and_counts_the_others() -> None:
    events = [Event(f"e{number}", {"n": number, "text": "x" * 900}, 5) for number in range(10_000)]
    span = sent_span(span_of(events=events))
    assert span.events[-1].name == "e9999"
    assert span.dropped_events_count == 10_000 - len(span.events) > 9_000


def test_a_span_that_no_step_makes_fit_keeps_its_ids_name_times_and_status() -> None:
    wide = {f"k{number}": ["x" * 2000] * 50 for number in range(200)}
    wider = {f"k{number}": wide for number in range(200)}
    item = span_of(
        name="n" * 10_000_000,
        parent=SpanContext(0xABC, 0x123, is_remote=True),
        start_time=3,
        attributes={f"a{number}": wider for number in range(50)},
        events=[Event("e", wider, 5)] * 100,
        links=[Link(SpanContext(1, 2, is_remote=False), wider)] * 100,
        status=Status(StatusCode.ERROR, "d" * 1000),
        kind=SpanKind.CONSUMER,
    )
    span = sent_span(item)
    assert (span.span_id, span.parent_span_id) == ((0xDEF).to_bytes(8, "big"), (0x123).to_bytes(8, "big"))
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.kind, span.flags) == (3, 5, 5, 0x300)
    assert span.name == "n" * 256 + "… (9999744 more characters)"
    assert span.status.message == "d" * 256 + "… (744 more characters)"
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (50, 100, 100)


def test_a_log_record_that_no_step_makes_fit_keeps_what_tells_where_it_belongs() -> None:
    wide = {f"k{number}": ["x" * 2000] * 50 for number in range(200)}
    wider = {f"k{number}": wide for number in range(200)}
    context = set_span_in_context(NonRecordingSpan(SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(1))))
    record = sent_record(
        record_of(
            context=context,
            body=wider,
            attributes={f"a{number}": wider for number in range(50)},
            severity_number=SeverityNumber.FATAL4,
        )
    )
    assert (record.time_unix_nano, record.observed_time_unix_nano, record.severity_number) == (4, 5, 24)
    assert (record.trace_id[-1], record.span_id[-1], record.flags, record.dropped_attributes_count) == (7, 8, 1, 50)
    assert record.body.string_value == "…"


@pytest.mark.parametrize("levels_left", range(1, 40))
def test_with_hardly_any_stack_left_nothing_raises(levels_left: int) -> None:
    item, record = span_of(attributes={"a": [{"b": [1, 2]}]}), record_of(body=Unreadable())
    results: list[bytes] = []

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            results.extend((ENCODER.span(item), ENCODER.log_record(record)))

    depth, frame = 0, sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]  # ends with None
        depth += 1
    try:
        descend(sys.getrecursionlimit() - depth - levels_left - 5)
    except RecursionError as error:
        # Not even the call went through: what is called never ran.
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        assert last is not None
        assert last.tb_frame.f_code.co_name == "descend"
    for result in results:
        ExportTraceServiceRequest.FromString(encode.request([(Resource({}), None, [result])]))


@pytest.mark.parametrize("thing", [None, object(), Unreadable(), {"name": "no span"}])
def test_what_is_no_item_is_no_bytes(thing: Any) -> None:
    assert ENCODER.span(thing) == b""
    assert ENCODER.log_record(thing) == b""
    assert ENCODER.metric(thing) == []


# Metrics that are split.


def sum_of(points: Sequence[Any], name: str = "m") -> export.Metric:
    return export.Metric(
        name, "described", "1", export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    )


@settings(deadline=None, max_examples=60)
@given(metrics, st.integers(400, 2000))
@example(sum_of([export.NumberDataPoint({"n": number}, 1, 2, number) for number in range(1000)]), 400)
def test_a_metric_is_split_between_its_points_and_put_together_is_the_same(metric: export.Metric, more: int) -> None:
    (whole,) = encode_metrics(only(metric)).resource_metrics[0].scope_metrics[0].metrics
    kind = whole.WhichOneof("data")
    points = [wire(point) for point in getattr(whole, kind).data_points]
    limit = max(map(len, points)) + more
    elements = ENCODER.metric(metric, limit)
    assert all(len(element) <= limit for element, _ in elements)
    split = parts(metric, limit)
    assert [wire(point) for part in split for point in getattr(part, kind).data_points] == points
    assert [len(getattr(part, kind).data_points) for part in split] == [points for _, points in elements]
    for part in split:
        getattr(part, kind).ClearField("data_points")
        expected = type(whole)()
        expected.CopyFrom(whole)
        getattr(expected, kind).ClearField("data_points")
        assert wire(part) == wire(expected)


def test_elements_of_a_split_metric_are_as_full_as_they_can_be() -> None:
    metric = sum_of([export.NumberDataPoint({"n": number}, 1, 2, number) for number in range(1000)])
    sizes = [len(element) for element, _ in ENCODER.metric(metric, 2000)]
    assert all(size > 1900 for size in sizes[:-1])
    assert sum(points for _, points in ENCODER.metric(metric, 2000)) == 1000


def test_a_point_that_has_no_room_loses_exemplars_before_it_is_left_out() -> None:
    many = [Exemplar({"user": "x" * 50}, number, 5, 1, 2) for number in range(100)]
    metric = sum_of([export.NumberDataPoint({"n": 1}, 1, 2, 3, many)])
    (part,) = parts(metric, 4000)
    assert part.sum.data_points[0].as_int == 3
    assert [exemplar.as_int for exemplar in part.sum.data_points[0].exemplars] == list(range(68, 100))


def test_a_point_is_never_sent_with_some_of_its_attributes_only() -> None:
    points = [
        export.NumberDataPoint({f"k{number}": "x" * 2000 for number in range(1000)}, 1, 2, 3),
        export.NumberDataPoint({"big": "x" * 10_000_000}, 1, 2, 4),
        export.NumberDataPoint({"small": 1}, 1, 2, 5),
    ]
    metric = sum_of(points)
    (part,) = parts(metric)
    assert [point.as_int for point in part.sum.data_points] == [4, 5]
    assert [points for _, points in ENCODER.metric(metric)] == [2]


def test_a_number_that_no_integer_field_holds_becomes_a_double() -> None:
    (part,) = parts(sum_of([export.NumberDataPoint({}, 1, 2, 2**70), export.NumberDataPoint({}, 1, 2, -(2**63))]))
    assert part.sum.data_points[0].as_double == 2.0**70
    assert part.sum.data_points[1].as_int == -(2**63)


# Memory and threads.


def test_memos_are_bounded_whatever_comes() -> None:
    encoder = Encoder()
    for number in range(3 * encode._MEMO_ENTRIES):
        encoder.span(span_of(attributes={f"k{number}": f"v{number}", "n": number, "long": "x" * 500}))
    for step in encoder._steps:
        assert len(step.pairs) <= encode._MEMO_ENTRIES
        assert len(step.keys) <= encode._MEMO_ENTRIES
        assert max(map(len, step.pairs.values()), default=0) <= encode._MEMO_BYTES


def test_threads_that_fill_and_empty_the_memos_together_get_what_they_asked_for() -> None:
    wrong: list[Any] = []
    start = threading.Barrier(4)

    def run(thread: int) -> None:
        start.wait()
        for number in range(2000):
            values = {f"k{number % 50}": f"{thread}-{number}", "n": number, "flag": number % 2 == 0, "t": thread}
            element = ENCODER.span(span_of(attributes=values))
            if number % 20 == 0:
                request = ExportTraceServiceRequest.FromString(encode.request([(Resource({}), None, [element])]))
                sent = mapped(request.resource_spans[0].scope_spans[0].spans[0].attributes)
                if sent != values:
                    wrong.append((values, sent))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
