"""No call of the API raises into the application, whatever it is given, and one hostile item costs only itself."""

from __future__ import annotations

import decimal
import warnings
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Counter, Observation
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, Status, StatusCode

from otelkit import _guard
from support import poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

RESOURCE = Resource({})


class Telemetry:
    """The three guarded providers, and what came out of them."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.records: list[Any] = []
        self.reader = InMemoryMetricReader()
        self.tracers = _guard.TracerProvider(resource=RESOURCE, shutdown_on_exit=False, sampler=sampling.ALWAYS_ON)
        self.meters = _guard.MeterProvider(metric_readers=[self.reader], resource=RESOURCE, shutdown_on_exit=False)
        self.loggers = _guard.LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.loggers.add_log_record_processor(Keeping(self.records))
        self.api = poison.Api(
            tracer=self.tracers.get_tracer("tests"),
            meter=self.meters.get_meter("tests"),
            logger=self.loggers.get_logger("tests"),
        )
        self.innocent = self.meters.get_meter("innocent").create_counter("innocent")
        self.meters.get_meter("innocent").create_observable_gauge("observed", [lambda _: [Observation(1)]])

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def points(self) -> dict[str, list[Any]]:
        """Collect, and return the data points by metric."""
        data = self.reader.get_metrics_data()
        assert data is not None
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


class Keeping(sdk_logs.LogRecordProcessor):
    """Keeps what is emitted."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records

    def on_emit(self, log_record: Any) -> None:
        self._records.append(log_record.log_record)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the interface
        return True


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


class TestAnyValue:
    @pytest.mark.parametrize("place", poison.PLACES)
    @pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
    def test_nothing_raises_and_no_bystander_is_lost(self, place: str, telemetry: Telemetry) -> None:
        raised: dict[str, Exception] = {}
        for name, make in poison.VALUES.items():
            value = make()
            telemetry.api.tracer.start_span("innocent").end()
            try:
                poison.PLACES[place](telemetry.api, value)
            except Exception as error:  # noqa: BLE001  told together below
                raised[name] = error
            telemetry.innocent.add(1)
            telemetry.api.logger.emit(body="innocent")
        assert raised == {}
        assert sum(span.name == "innocent" for span in telemetry.spans) == len(poison.VALUES)
        assert sum(record.body == "innocent" for record in telemetry.records) == len(poison.VALUES)
        points = telemetry.points()
        assert [point.value for point in points["innocent"]] == [len(poison.VALUES)]
        assert [point.value for point in points["observed"]] == [1]

    @pytest.mark.parametrize("place", [place for place in poison.PLACES if place.startswith(("span ", "log "))])
    def test_the_hostile_item_itself_arrives(self, place: str) -> None:
        lost = []
        for name, make in poison.VALUES.items():
            telemetry = Telemetry()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Log record attributes were dropped")
                poison.PLACES[place](telemetry.api, make())
            if not telemetry.spans and not telemetry.records:
                lost.append(name)
        assert lost == []

    @pytest.mark.parametrize("key", poison.KEYS)
    def test_an_odd_key_costs_at_most_itself(self, key: str, telemetry: Telemetry) -> None:
        attributes: Any = {"before": 1, poison.KEYS[key](): 2, "after": 3}
        span = telemetry.api.tracer.start_span("span", attributes=attributes, links=[Link(poison.CONTEXT, attributes)])
        span.set_attributes(attributes)
        span.set_attribute(poison.KEYS[key](), 2)
        span.add_event("event", attributes)
        span.end()
        telemetry.innocent.add(1, attributes)
        telemetry.api.logger.emit(body="record", attributes=attributes)
        (point,) = telemetry.points()["innocent"]
        (record,) = telemetry.records
        kept = telemetry.span
        for found in (kept.attributes, kept.events[0].attributes, kept.links[0].attributes, record.attributes):
            assert found is not None
            assert (found["before"], found["after"]) == (1, 3)
        assert (point.attributes["before"], point.attributes["after"]) == (1, 3)

    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(place=st.sampled_from(sorted(poison.PLACES)), value=poison.values())
    def test_fuzzing_finds_nothing_that_raises(self, place: str, value: Any) -> None:
        telemetry = Telemetry()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Log record attributes were dropped")
            poison.PLACES[place](telemetry.api, value)
        telemetry.innocent.add(1)
        assert {"innocent", "observed"} <= telemetry.points().keys()

    @settings(deadline=None)
    @given(attributes=st.dictionaries(st.text(), poison.values(), max_size=5))
    def test_fuzzing_finds_no_span_that_loses_its_other_attributes(self, attributes: dict[str, Any]) -> None:
        telemetry = Telemetry()
        telemetry.api.tracer.start_span("span", attributes={**attributes, "innocent": 1}).end()
        assert telemetry.span.attributes is not None
        assert telemetry.span.attributes["innocent"] == 1


class TestWhatArrives:
    @pytest.mark.parametrize(
        "name",
        [
            "NaN",
            "infinity",
            "bytes",
            "None",
            "NUL",
            "newline",
            "mixed list",
            "list of lists",
            "dict",
            "2**70",
            "10 MB text",
        ],
    )
    def test_what_otlp_can_carry_arrives_as_the_sdk_takes_it(self, name: str, telemetry: Telemetry) -> None:
        value = poison.VALUES[name]()
        plain = sdk_trace.TracerProvider(resource=RESOURCE, shutdown_on_exit=False).get_tracer("tests")
        expected = plain.start_span("plain", attributes={"at start": value})
        expected.set_attribute("later", value)
        with telemetry.api.tracer.start_as_current_span("span", attributes={"at start": value}) as span:
            span.set_attribute("later", value)
        assert isinstance(expected, sdk_trace.ReadableSpan)
        assert repr(dict(telemetry.span.attributes or {})) == repr(dict(expected.attributes or {}))

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("everything raises", "<unreadable Refusing>"),
            ("text that is no text", "<unreadable NoText>"),
            ("calls itself", "<unreadable Descending>"),
            ("text whose methods raise", "text"),
            ("text enum", "red"),
            ("integer enum", 3),
            ("decimal", "1.50"),
            ("exception", "ValueError: a reason"),
            ("list of what raises", ("one", "<unreadable Refusing>")),
            ("uses telemetry", "reentrant"),
        ],
    )
    def test_what_it_cannot_arrives_as_text(self, name: str, expected: object, telemetry: Telemetry) -> None:
        with telemetry.api.tracer.start_as_current_span("span") as span:
            span.set_attribute("value", poison.VALUES[name]())
        assert telemetry.span.attributes is not None
        assert telemetry.span.attributes["value"] == expected

    def test_names_are_text_that_can_be_encoded(self, telemetry: Telemetry) -> None:
        span = telemetry.api.tracer.start_span(poison.LONE_SURROGATE)
        span.add_event(poison.LONE_SURROGATE)
        span.set_status(Status(StatusCode.ERROR, poison.LONE_SURROGATE))
        span.end()
        kept = telemetry.span
        assert kept.name == kept.events[0].name == kept.status.description == "half \\ud83d of a pair"

    def test_a_name_that_is_no_text_becomes_one(self, telemetry: Telemetry) -> None:
        telemetry.api.tracer.start_span(7).end()  # type: ignore[arg-type]
        assert telemetry.span.name == "7"

    def test_a_span_as_context_costs_the_parent_only(self, telemetry: Telemetry) -> None:
        parent: Any = telemetry.api.tracer.start_span("parent")
        telemetry.api.tracer.start_span("child", context=parent, attributes={"one": 1}).end()
        assert telemetry.span.attributes == {"one": 1}

    def test_a_kind_that_is_none_becomes_internal(self, telemetry: Telemetry) -> None:
        telemetry.api.tracer.start_span("span", kind="SERVER").end()  # type: ignore[arg-type]
        assert telemetry.span.kind is trace.SpanKind.INTERNAL

    def test_times_in_float_nanoseconds_are_taken(self, telemetry: Telemetry) -> None:
        telemetry.api.tracer.start_span("span", start_time=1e18).end(1e18 + 1e9)  # type: ignore[arg-type]
        assert (telemetry.span.start_time, telemetry.span.end_time) == (10**18, 10**18 + 10**9)

    def test_too_many_attributes_of_a_record_cost_no_record_where_warnings_are_errors(
        self, telemetry: Telemetry
    ) -> None:
        telemetry.api.logger.emit(body="many", attributes={f"key.{number}": number for number in range(1000)})
        assert [record.body for record in telemetry.records] == ["many"]

    def test_a_record_object_of_the_caller_stays_as_it_was(self, telemetry: Telemetry) -> None:
        record = sdk_logs_record(body=poison.Refusing, attributes={"value": 1})
        telemetry.api.logger.emit(record)
        assert record.body is poison.Refusing
        assert type(record.attributes) is dict

    def test_a_severity_may_be_a_number(self, telemetry: Telemetry) -> None:
        telemetry.api.logger.emit(body="warned", severity_number=13)  # type: ignore[call-overload]
        assert telemetry.records[0].severity_number.name == "WARN"

    def test_an_unreadable_exception_of_a_record_is_described(self, telemetry: Telemetry) -> None:
        telemetry.api.logger.emit(body="failed", attributes={"order": 7}, exception=poison.UnreadableError())
        attributes = telemetry.records[0].attributes
        assert attributes["exception.type"] == "support.poison.UnreadableError"
        assert attributes["exception.message"] == "<unreadable UnreadableError>"
        assert attributes["order"] == 7


def sdk_logs_record(**fields: Any) -> Any:
    return poison._record(**fields)


def in_current_span(tracer: trace.Tracer, fail: Callable[[], None]) -> None:
    with tracer.start_as_current_span("span"):
        fail()


def in_use_span(tracer: trace.Tracer, fail: Callable[[], None]) -> None:
    with trace.use_span(tracer.start_span("span"), end_on_exit=True):
        fail()


def in_span_itself(tracer: trace.Tracer, fail: Callable[[], None]) -> None:
    with tracer.start_span("span"):
        fail()


def in_decorated(tracer: trace.Tracer, fail: Callable[[], None]) -> None:
    @tracer.start_as_current_span("span")
    def decorated() -> None:
        fail()

    decorated()


def in_decorated_coroutine(tracer: trace.Tracer, fail: Callable[[], None]) -> None:
    @tracer.start_as_current_span("span")
    async def decorated() -> None:
        fail()

    # Not asyncio.run(): Python's own runner makes texts of exceptions, and fails at these.
    decorated().send(None)


class TestExceptions:
    @pytest.mark.parametrize("name", poison.EXCEPTIONS)
    @pytest.mark.parametrize(
        "way", [in_current_span, in_use_span, in_span_itself, in_decorated, in_decorated_coroutine]
    )
    def test_the_one_that_was_raised_comes_out_and_is_recorded(
        self, way: Callable[..., None], name: str, telemetry: Telemetry
    ) -> None:
        raised = poison.EXCEPTIONS[name]()

        def fail() -> None:
            raise raised

        with pytest.raises(type(raised)) as caught:
            way(telemetry.api.tracer, fail)
        assert caught.value is raised
        assert (raised.__context__, raised.__cause__) == (None, None)
        (event,) = telemetry.span.events
        assert event.attributes is not None
        assert str(event.attributes["exception.type"]).endswith(type(raised).__name__)
        assert "in fail" in str(event.attributes["exception.stacktrace"])
        assert telemetry.span.status.status_code is StatusCode.ERROR
        assert str(telemetry.span.status.description).startswith(type(raised).__name__)

    @pytest.mark.parametrize("record", [True, False])
    @pytest.mark.parametrize("status", [True, False])
    def test_one_that_is_unreadable_obeys_what_was_asked(
        self, record: bool, status: bool, telemetry: Telemetry
    ) -> None:
        with (
            pytest.raises(poison.UnreadableError),
            telemetry.api.tracer.start_as_current_span("span", record_exception=record, set_status_on_exception=status),
        ):
            raise poison.UnreadableError
        assert len(telemetry.span.events) == record
        assert telemetry.span.status.is_ok is not status

    def test_asking_in_a_handler_changes_nothing(self, telemetry: Telemetry) -> None:
        def fail() -> None:
            raise poison.UnreadableError

        with telemetry.api.tracer.start_as_current_span("span") as span:
            try:
                fail()
            except poison.UnreadableError:
                assert span.is_recording()
        assert telemetry.span.events == ()

    def test_a_stack_that_is_used_up_ends_as_it_would_without_telemetry(self, telemetry: Telemetry) -> None:
        hostile: Any = poison.Refusing()

        def dive(depth: int) -> int:
            span = telemetry.api.tracer.start_span("deep", attributes={"value": hostile})
            span.set_attribute("value", hostile)
            span.end()
            return dive(depth + 1)

        with pytest.raises(RecursionError), telemetry.api.tracer.start_as_current_span("span"):
            dive(0)
        assert telemetry.spans[-1].name == "span"
        assert telemetry.spans[-1].events[0].name == "exception"


class Faulty(sdk_trace.SpanProcessor):
    """Raises whenever it is told something."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002  the interface
        raise RuntimeError("on_start")

    def _on_ending(self, span: Any) -> None:  # noqa: ARG002  the interface
        raise RuntimeError("on_ending")

    def on_end(self, span: Any) -> None:  # noqa: ARG002  the interface
        raise RuntimeError("on_end")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the interface
        raise RuntimeError("force_flush")


class FaultyLogs(sdk_logs.LogRecordProcessor):
    """Raises whenever it is told something."""

    def on_emit(self, log_record: Any) -> None:  # noqa: ARG002  the interface
        raise RuntimeError("on_emit")

    def enabled(self, **_: Any) -> bool:
        raise RuntimeError("enabled")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the interface
        raise RuntimeError("force_flush")


class TestPartsOfTheApplication:
    def test_a_processor_that_raises_costs_the_others_nothing(self) -> None:
        kept = InMemorySpanExporter()
        provider = _guard.TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_span_processor(Faulty())
        provider.add_span_processor(SimpleSpanProcessor(kept))
        with provider.get_tracer("tests").start_as_current_span("span", attributes={"one": 1}):
            pass
        (span,) = kept.get_finished_spans()
        assert (span.name, dict(span.attributes or {})) == ("span", {"one": 1})
        assert provider.force_flush() is False
        provider.shutdown()
        provider.get_tracer("tests").start_span("late").end()
        assert kept.get_finished_spans() == (span,)  # the second processor was shut down too

    def test_nor_does_one_of_records(self) -> None:
        records: list[Any] = []
        provider = _guard.LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_log_record_processor(FaultyLogs())
        provider.add_log_record_processor(Keeping(records))
        provider.get_logger("tests").emit(body="record")
        assert [record.body for record in records] == ["record"]
        assert provider.force_flush() is False
        provider.shutdown()

    def test_a_processor_sees_a_span_that_is_guarded_already(self) -> None:
        class Eager(sdk_trace.SpanProcessor):
            def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002  the interface
                span.set_attribute("value", poison.UnreadableError())
                span.set_attribute("other", 1)

        kept = InMemorySpanExporter()
        provider = _guard.TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_span_processor(Eager())
        provider.add_span_processor(SimpleSpanProcessor(kept))
        provider.get_tracer("tests").start_span("span").end()
        assert (kept.get_finished_spans()[0].attributes or {})["other"] == 1

    def test_a_sampler_that_raises_leaves_the_trace_whole(self) -> None:
        class Broken(sampling.Sampler):
            def should_sample(self, *_: Any, **__: Any) -> Any:
                raise RuntimeError("no decision")

            def get_description(self) -> str:
                return "broken"

        provider = _guard.TracerProvider(resource=RESOURCE, shutdown_on_exit=False, sampler=Broken())
        with trace.use_span(NonRecordingSpan(poison.CONTEXT)):
            span = provider.get_tracer("tests").start_span("span")
        assert span.get_span_context() == poison.CONTEXT


class TestMetrics:
    @pytest.mark.parametrize("name", poison.VALUES)
    def test_no_amount_spoils_its_series(self, name: str, telemetry: Telemetry) -> None:
        counter = telemetry.api.meter.create_up_down_counter("amounts")
        histogram = telemetry.api.meter.create_histogram("timed")
        counter.add(1)
        counter.add(poison.VALUES[name]())
        counter.add(0.5)
        histogram.record(1)
        histogram.record(poison.VALUES[name]())
        histogram.record(0.5)
        points = telemetry.points()
        assert isinstance(points["amounts"][0].value, int | float)
        if name not in {"2**70", "-2**70", "decimal", "integer enum"}:
            assert points["amounts"][0].value == 1.5
            assert points["timed"][0].count == 2

    def test_numbers_of_other_kinds_count(self, telemetry: Telemetry) -> None:
        telemetry.innocent.add(decimal.Decimal("1.5"))  # type: ignore[arg-type]
        telemetry.innocent.add(True)  # noqa: FBT003  an amount
        telemetry.innocent.add(poison.Level.HIGH)
        assert telemetry.points()["innocent"][0].value == 5.5

    def test_nan_as_attribute_is_one_series(self, telemetry: Telemetry) -> None:
        for _ in range(3):
            telemetry.innocent.add(1, {"value": float("nan")})
        (point,) = telemetry.points()["innocent"]
        assert point.value == 3

    def test_lists_and_mappings_as_attributes_tell_series_apart(self, telemetry: Telemetry) -> None:
        for value in ([1, 2], (1, 2), [3], {"a": [1]}, {"a": [1]}):
            telemetry.innocent.add(1, {"value": value})
        series = {str(point.attributes["value"]): point.value for point in telemetry.points()["innocent"]}
        assert series == {"(1, 2)": 2, "(3,)": 1, '{"a": [1]}': 2}

    def test_a_hostile_observation_costs_itself_only(self, telemetry: Telemetry) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(1, {"which": "first"})
            yield Observation(cast("Any", poison.Refusing()), {"which": "hostile"})
            yield Observation(2, {"which": "second", "value": poison._recursive_list()})
            raise RuntimeError("half-way")

        telemetry.api.meter.create_observable_gauge("watched", [observe])
        found = {point.attributes["which"]: point.value for point in telemetry.points()["watched"]}
        assert found == {"first": 1, "second": 2}

    def test_a_generator_as_callback_receives_the_options(self, telemetry: Telemetry) -> None:
        received: list[Any] = []

        def generator() -> Iterator[Any]:
            received.append((yield []))
            received.append((yield [Observation(1)]))

        telemetry.api.meter.create_observable_gauge("watched", [generator()])  # type: ignore[list-item]
        assert [point.value for point in telemetry.points()["watched"]] == [1]
        assert "watched" not in telemetry.points()
        assert [type(options) for options in received] == [CallbackOptions, CallbackOptions]

    def test_an_instrument_that_the_sdk_refuses_records_nothing(self, telemetry: Telemetry) -> None:
        telemetry.api.meter.create_counter("größe").add(1)
        assert telemetry.points().keys() == {"observed"}

    def test_an_instrument_made_twice_counts_once(self, telemetry: Telemetry) -> None:
        first, second = (telemetry.api.meter.create_counter("twice") for _ in range(2))
        first.add(1)
        second.add(1)
        assert first is second
        assert telemetry.points()["twice"][0].value == 2


class TestStillTheSdk:
    """Other libraries look at what the SDK made, by its classes and by its properties."""

    def test_providers_and_what_they_hand_out_are_of_the_sdk(self, telemetry: Telemetry) -> None:
        span = telemetry.api.tracer.start_span("span", kind=trace.SpanKind.CLIENT, attributes={"one": 1})
        assert isinstance(telemetry.tracers, sdk_trace.TracerProvider)
        assert isinstance(telemetry.meters, sdk_metrics.MeterProvider)
        assert isinstance(telemetry.loggers, sdk_logs.LoggerProvider)
        assert isinstance(telemetry.api.tracer, sdk_trace.Tracer)
        assert isinstance(telemetry.api.meter, sdk_metrics.Meter)
        assert isinstance(telemetry.api.logger, sdk_logs.Logger)
        assert isinstance(span, sdk_trace.Span)
        assert isinstance(span, sdk_trace.ReadableSpan)
        assert isinstance(telemetry.innocent, Counter)
        assert isinstance(telemetry.innocent, sdk_metrics.Counter)
        assert (span.name, span.kind, dict(span.attributes or {})) == ("span", trace.SpanKind.CLIENT, {"one": 1})
        span.end()

    def test_each_scope_keeps_its_own_object(self, telemetry: Telemetry) -> None:
        for get in (telemetry.tracers.get_tracer, telemetry.meters.get_meter, telemetry.loggers.get_logger):
            assert get("scope") is get("scope")
            assert get("scope") is not get("other")

    def test_a_span_that_is_not_sampled_records_nothing(self) -> None:
        provider = _guard.TracerProvider(resource=RESOURCE, shutdown_on_exit=False, sampler=sampling.ALWAYS_OFF)
        assert not provider.get_tracer("tests").start_span("span").is_recording()

    def test_a_span_that_has_ended_stays_ended(self, telemetry: Telemetry) -> None:
        span = telemetry.api.tracer.start_span("span")
        span.end(5)
        span.end(6)
        span.set_attribute("late", 1)
        assert not span.is_recording()
        assert (telemetry.span.end_time, dict(telemetry.span.attributes or {})) == (5, {})

    @pytest.mark.parametrize("name", poison.VALUES)
    def test_no_scope_raises(self, name: str, telemetry: Telemetry) -> None:
        value = poison.VALUES[name]()
        for get in (telemetry.tracers.get_tracer, telemetry.meters.get_meter, telemetry.loggers.get_logger):
            assert get(value) is not None
            assert get("scope", value, value, {"value": value}) is not None
            assert get("scope", None, None, value) is not None
