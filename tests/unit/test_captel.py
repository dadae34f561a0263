"""The fixture `captel` in this process: what it captures, what it answers, and what a failed assertion tells."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otelkit
from otelkit import _runtime, testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import CallbackOptions

    from otelkit.testing import Captel

SECRET = "tr0ub4dor&3"
tracer = trace.get_tracer("app")
orders = metrics.get_meter("app").create_counter("captel.orders")
seconds = metrics.get_meter("app").create_histogram("captel.duration", unit="s")
stock = metrics.get_meter("app").create_up_down_counter("captel.stock")
heat = metrics.get_meter("app").create_gauge("captel.heat")
total = [0]


def observe(_: CallbackOptions) -> Iterator[Observation]:
    yield Observation(total[0])


metrics.get_meter("app").create_observable_counter("captel.total", callbacks=[observe])


def place(number: int, **attributes: Any) -> None:
    """Do what an application does."""
    with tracer.start_as_current_span("place", attributes={"order.id": number, **attributes}):
        logging.getLogger("app").info("placing")
        otelkit.get_logger("shop").warning("order.placed", order_id=number)
        orders.add(1, {"order.status": "placed"})
        seconds.record(0.5)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let an application's `configure()` leave the libraries of this process as they are."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")  # written again; put back afterwards
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*")
    return monkeypatch


class TestCaptured:
    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_test_sees_its_own_spans_records_and_deltas(self, captel: Captel, turn: int) -> None:
        for number in range(turn):
            place(number)
        stock.add(turn)
        heat.set(20 + turn)
        total[0] += turn
        assert [span.attributes["order.id"] for span in captel.spans("place")] == list(range(turn))
        assert len(captel.logs("order.placed")) == turn
        assert captel.metric("captel.orders").value == turn
        assert (captel.metric("captel.duration").count, captel.metric("captel.duration").sum) == (turn, 0.5 * turn)
        assert captel.metric("captel.stock").value == turn
        assert captel.metric("captel.heat").value == 20 + turn
        assert captel.metric("captel.total").value == turn

    def test_several_looks_add_up(self, captel: Captel) -> None:
        for turn in (1, 2, 3):
            place(turn)
            assert captel.metric("captel.orders", order_status="placed").value == turn
            assert len(captel.spans()) == turn

    def test_info_of_stdlib_loggers_is_captured_and_stays_unseen_by_caplog(
        self, captel: Captel, caplog: pytest.LogCaptureFixture
    ) -> None:
        place(1)
        assert captel.log("placing", logger="app", level="info").trace_id == captel.span("place").trace_id
        assert [record.getMessage() for record in caplog.records if record.name == "app"] == []

    def test_what_other_threads_emit_belongs_to_the_test_that_runs(self, captel: Captel) -> None:
        thread = threading.Thread(target=place, args=(7,))
        thread.start()
        thread.join()
        assert captel.span("place").attributes["order.id"] == 7

    def test_clear_forgets_all_three_signals(self, captel: Captel) -> None:
        place(1)
        captel.clear()
        place(2)
        assert (len(captel.spans()), len(captel.logs("order.placed")), captel.metric("captel.orders").value) == (
            1,
            1,
            1,
        )

    def test_without_pytest_and_nested_and_asked_afterwards(self) -> None:
        with testing.captured() as outer:
            place(1)
            with testing.captured() as inner:
                place(2)
            place(3)
        place(4)
        assert [span.attributes["order.id"] for span in outer.spans("place")] == [1, 2, 3]
        assert [span.attributes["order.id"] for span in inner.spans("place")] == [2]
        assert (outer.metric("captel.orders").value, inner.metric("captel.orders").value) == (3, 1)

    def test_logging_is_as_before_afterwards(self) -> None:
        before = logging.getLogger().level, logging.Logger.filter, logging.getLogger().handlers[:]
        with testing.captured():
            assert logging.getLogger().isEnabledFor(logging.INFO)
        assert (logging.getLogger().level, logging.Logger.filter, logging.getLogger().handlers[:]) == before

    def test_declared_metrics_raise_for_what_they_do_not_declare(self, captel: Captel) -> None:
        counter = otelkit.Catalog("captel").counter(
            "captel.declared", unit="{order}", description="Orders.", attributes={"captel.outcome": ("ok", "bad")}
        )
        counter.add(1, {"captel.outcome": "ok"})
        with pytest.raises(otelkit.MeasurementError):
            counter.add(1, {"captel.outcome": "okay"})
        assert captel.metric("captel.declared", captel_outcome="ok").value == 1


class TestQuestions:
    def test_attributes_are_asked_for_with_dots_or_underscores_and_by_presence(self, captel: Captel) -> None:
        place(1, tags=["a", "b"])
        place(2)
        dotted: dict[str, Any] = {"order.id": 1}
        assert captel.span("place", order_id=1, tags=["a", "b"]) == captel.span("place", **dotted)
        assert captel.span(tags=...).attributes["order.id"] == 1
        assert captel.spans(order_id="1") == []

    def test_kind_and_status_of_spans(self, captel: Captel) -> None:
        with pytest.raises(KeyError), tracer.start_as_current_span("failing", kind=trace.SpanKind.CLIENT):
            raise KeyError("x")
        assert captel.span(kind="CLIENT", status="ERROR").events[0].name == "exception"
        assert captel.spans(kind="SERVER") == []

    def test_a_trace_is_a_tree_with_its_records(self, captel: Captel) -> None:
        with tracer.start_as_current_span("request"):
            place(1)
        place(2)
        tree = captel.trace(captel.span("request"))
        assert [span.name for span in tree.roots] == ["request"]
        assert [span.name for span in tree.children(tree.roots[0])] == ["place"]
        assert [re.sub(r" [0-9.e-]+ ms", "", line) for line in str(tree).splitlines()] == [
            "request",
            "  place order.id=1",
            "    INFO placing",
            "    WARNING order.placed order_id=1",
        ]
        assert {record.body for record in tree.logs} == {"placing", "order.placed"}

    def test_several_series_add_up_and_one_can_be_asked_for(self, captel: Captel) -> None:
        orders.add(1, {"order.status": "placed"})
        orders.add(2, {"order.status": "declined"})
        assert captel.metric("captel.orders").value == 3
        assert captel.metric("captel.orders", order_status="declined").value == 2
        assert [reading.value for reading in captel.metrics("captel.orders")] == [1, 2]
        assert captel.metric("captel.orders", order_status="lost").value == 0

    def test_a_histogram_has_no_value_a_counter_no_count_and_two_gauges_no_sum(self, captel: Captel) -> None:
        place(1)
        heat.set(1, {"room": "a"})
        heat.set(2, {"room": "b"})
        with pytest.raises(AssertionError, match=r"captel\.duration is a histogram: ask for its \.count and \.sum"):
            _ = captel.metric("captel.duration").value
        with pytest.raises(AssertionError, match=r"captel\.orders is no histogram and has no \.count"):
            _ = captel.metric("captel.orders").count
        with pytest.raises(AssertionError, match=r"captel\.heat is a gauge of several series"):
            _ = captel.metric("captel.heat").value
        assert captel.metric("captel.heat", room="b").value == 2


class TestFailures:
    def test_a_missing_span_lists_those_captured_and_those_still_open(self, captel: Captel) -> None:
        place(1)
        with tracer.start_as_current_span("charge"), pytest.raises(AssertionError) as failed:
            captel.span("charge", order_id=1)
        lines = str(failed.value).splitlines()
        assert lines[0] == "expected one span 'charge', order_id=1, there is none; captured:"
        assert lines[1].startswith("  place ")
        assert lines[1].endswith(" ms order.id=1")
        assert lines[2] == "  charge (not ended)"

    def test_too_many_show_those_that_fit(self, captel: Captel) -> None:
        place(1)
        place(2)
        with pytest.raises(AssertionError) as failed:
            captel.log("order.placed")
        assert str(failed.value) == (
            "expected one log record 'order.placed', there are 2; these fit:\n"
            "  WARNING order.placed order_id=1\n  WARNING order.placed order_id=2"
        )

    def test_a_reading_shows_what_was_measured_instead(self, captel: Captel) -> None:
        orders.add(1, {"order.status": "placed"})
        shown = repr(captel.metric("captel.orders", order_status="declined"))
        assert shown == "<captel.orders{order_status=declined} 0; captured: captel.orders{order.status=placed} 1>"

    def test_two_traces_are_drawn(self, captel: Captel) -> None:
        place(1)
        assert captel.assert_one_trace().roots[0].name == "place"
        place(2)
        with pytest.raises(AssertionError) as failed:
            captel.assert_one_trace()
        told = str(failed.value)
        assert told.startswith("expected one trace, there are 2\ncaptured: 2 spans, 4 log records")
        assert all(f"  trace {span.trace_id}\n" in told for span in captel.spans())

    def test_the_story_has_an_end(self, captel: Captel) -> None:
        for number in range(50):
            place(number)
        assert len(str(captel).splitlines()) == 40
        assert str(captel).endswith("more lines")


class TestSecrets:
    def test_redacted_is_not_told(self, captel: Captel) -> None:
        place(1, **{"url.full": f"https://shop.test/?token={SECRET}"})
        otelkit.get_logger("shop").info("login", password=SECRET)
        captel.assert_no_secret(SECRET)

    @pytest.mark.parametrize("form", [SECRET, "tr0ub4dor%263"])
    def test_a_secret_is_named_by_its_place_and_not_shown(self, captel: Captel, form: str) -> None:
        place(1, note=f"so {form} it is")
        with pytest.raises(AssertionError) as failed:
            captel.assert_no_secret("absent", SECRET)
        assert str(failed.value) == "a secret would leave:\n  span place: attributes['note']"

    @pytest.mark.parametrize("where", ["name", "event", "label", "record", "scope"])
    def test_it_is_found_wherever_it_is(self, captel: Captel, where: str) -> None:
        with tracer.start_as_current_span(SECRET if where == "name" else "plain") as span:
            if where == "event":
                span.add_event("happened", {"detail": SECRET})
        if where == "label":
            orders.add(1, {"who": SECRET})
        if where == "record":
            otelkit.get_logger("shop").info("noted", detail=SECRET)
        if where == "scope":
            trace.get_tracer(SECRET).start_span("scoped").end()
        with pytest.raises(AssertionError, match="a secret would leave") as failed:
            captel.assert_no_secret(SECRET)
        assert SECRET not in str(failed.value)

    def test_an_empty_secret_is_a_mistake(self, captel: Captel) -> None:
        with pytest.raises(ValueError, match="empty"):
            captel.assert_no_secret("")


class TestBudget:
    def test_what_is_above_is_listed_and_the_rest_is_not(self, captel: Captel) -> None:
        place(1)
        place(2)
        with tracer.start_as_current_span("query", kind=trace.SpanKind.CLIENT, attributes={"db.system.name": "sqlite"}):
            pass
        text = testing.exceeded(captel, {"spans": 2, "statements": 0, "logs": 4, "log_bytes": 10, "metric_points": 1})
        lines = text.splitlines()
        assert lines[:6] == [
            "telemetry budget exceeded",
            "spans: 3, allowed 2",
            "  2 x place",
            "  1 x query",
            "statements: 1, allowed 0",
            "  1 x query",
        ]
        assert lines[6].startswith("log_bytes: ")
        assert "logs: " not in text
        assert "metric_points: 2, allowed 1" in lines
        assert "  captel.orders{order.status=placed} 2" in lines

    def test_within_it_says_nothing(self, captel: Captel) -> None:
        place(1)
        assert testing.exceeded(captel, {"spans": 1, "logs": 2}) == ""

    def test_statements_of_caches_are_none(self, captel: Captel) -> None:
        with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes={"db.system.name": "redis"}):
            pass
        assert captel.statements() == []

    @pytest.mark.parametrize("limits", [{}, {"span": 1}, {"spans": -1}, {"spans": True}, {"spans": "many"}])
    def test_a_budget_that_bounds_nothing_is_refused(self, limits: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="telemetry_budget"):
            testing.check_limits(limits)


@pytest.mark.usefixtures("configured")
class TestJoining:
    @pytest.mark.parametrize("name", ["first", "second"])
    def test_an_application_joins_for_its_test(self, captel: Captel, name: str) -> None:
        telemetry = otelkit.configure(service_name=name, resource={"team": "blue"})
        place(1)
        span = captel.span("place")
        assert (span.service, span.resource["team"]) == (name, "blue")
        assert captel.log("order.placed").service == name
        assert captel.metrics("captel.orders")[0].points[0].service == name
        assert telemetry.settings.service_name == telemetry.resource["service.name"] == name
        assert otelkit.configure(service_name=name) is telemetry

    def test_it_has_left_afterwards(self) -> None:
        rule = otelkit.Rule(name="order", about="numbers of orders", keys=("order id",))
        with testing.captured() as during:
            otelkit.configure(service_name="gone", redaction=otelkit.Redaction(extra=(rule,)))
            place(1)
        with testing.captured() as captel:
            place(1)
        assert during.span("place").attributes["order.id"] == "[redacted:order]"
        assert captel.span("place").attributes["order.id"] == 1
        assert captel.span("place").service != "gone"

    def test_what_it_shuts_down_is_there_for_the_next(self) -> None:
        for _ in range(2):
            with testing.captured() as captel:
                telemetry = otelkit.configure(service_name="shop")
                place(1)
                assert telemetry.shutdown()
                trace.get_tracer_provider().shutdown()  # type: ignore[attr-defined]  # the SDK's
                metrics.get_meter_provider().shutdown()  # type: ignore[attr-defined]  # the SDK's
                place(2)
            assert len(captel.spans("place")) == len(captel.logs("order.placed")) == 2
            assert captel.metric("captel.orders").value == 2

    def test_it_starts_no_thread_and_says_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        before = threading.enumerate()
        with testing.captured():
            otelkit.configure(otelkit.Settings(service_name="shop", endpoint="http://192.0.2.1:4318"))
            place(1)
        assert threading.enumerate() == before
        assert "otelkit:" not in capfd.readouterr().err

    def test_its_processors_see_spans_redacted_and_only_in_its_test(self) -> None:
        exporter = InMemorySpanExporter()
        with testing.captured():
            otelkit.configure(span_processors=[SimpleSpanProcessor(exporter)])
            place(1, **{"url.full": f"https://shop.test/?token={SECRET}"})
        with testing.captured():
            place(2)
        (span,) = exporter.get_finished_spans()
        assert SECRET not in str(span.attributes)

    def test_its_readers_are_gone_afterwards_and_those_of_other_providers_stay(self) -> None:
        joined, apart = InMemoryMetricReader(), InMemoryMetricReader()
        with testing.captured():
            telemetry = otelkit.configure(metric_readers=[joined])
            other = MeterProvider([apart], shutdown_on_exit=False)
            place(1)
            assert joined.get_metrics_data() is not None
        other.get_meter("other").create_counter("captel.other").add(1)
        assert apart.get_metrics_data() is not None
        other.shutdown()
        provider: Any = telemetry.meter_provider
        assert joined not in provider._measurement_consumer._reader_storages

    def test_wrong_arguments_raise_as_in_production(self, captel: Captel) -> None:
        with pytest.raises(otelkit.SettingsError, match="there is no integration 'fastapy'"):
            otelkit.configure(integrations={"fastapy": False})
        with pytest.raises(otelkit.SettingsError, match="endpoint"):
            otelkit.configure(otelkit.Settings(endpoint="garbage"))
        assert captel.spans() == []

    def test_what_providers_fix_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        with testing.captured():
            otelkit.configure(sampler=trace.NoOpTracer())  # type: ignore[arg-type]  # whatever it is, it is not used
        assert "configure(sampler=...) has no effect: a test captures already" in capsys.readouterr().err

    def test_a_second_call_is_named_as_in_production(self, capsys: pytest.CaptureFixture[str]) -> None:
        with testing.captured():
            otelkit.configure(service_name="one")
            otelkit.configure(service_name="two")
        assert "an earlier configure() has configured this process already; ignored here: service_name" in (
            capsys.readouterr().err
        )

    def test_the_providers_are_the_sdks(self, captel: Captel) -> None:
        assert isinstance(otelkit.configure().tracer_provider, TracerProvider)
        assert _runtime.current() is not None
        assert captel.unfinished == []
