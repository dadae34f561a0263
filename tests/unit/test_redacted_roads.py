"""Secrets stay home on every road: what is encoded, what processors of the application see, what stdout shows."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from otelkit import _guard, _providers, _sql, get_logger
from otelkit.logs._event import Event as LogEvent
from otelkit.logs._roads import _redacted
from otelkit.otlp.encode import VALUE_LIMIT, Encoder
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Deadline, Pipeline
from otelkit.redact import Redaction, Redactor
from otelkit.settings import Settings
from support.heard import hearing, own_handlers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk._logs import ReadWriteLogRecord

pytestmark = pytest.mark.usefixtures("fresh_reports")

SECRET = "hunter2-Correct-Horse"
TEXT = f"cannot log in with password={SECRET} today"
CARD = 4111_1111_1111_1111
RESOURCE = Resource({})
CONTEXT = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))


def span_of(**fields: Any) -> ReadableSpan:
    given: dict[str, Any] = {"name": "s", "context": CONTEXT, "resource": RESOURCE, "end_time": 5}
    return ReadableSpan(**(given | fields))


def record_of(**fields: Any) -> ReadableLogRecord:
    return ReadableLogRecord(LogRecord(**({"timestamp": 4, "observed_timestamp": 5} | fields)), RESOURCE, None)


PLACES: dict[str, Mapping[str, Any]] = {
    "the name": {"name": TEXT},
    "an attribute": {"attributes": {"note": TEXT}},
    "an attribute with a telling name": {"attributes": {"db.password": SECRET}},
    "a list": {"attributes": {"notes": ["innocent", TEXT]}},
    "a list below a telling name": {"attributes": {"db.passwords": [SECRET]}},
    "a mapping": {"attributes": {"form": {"user": "ann", "password": SECRET}}},
    "a mapping in a list": {"attributes": {"forms": [{"deeper": {"password": SECRET}}]}},
    "bytes": {"attributes": {"body": TEXT.encode()}},
    "a key": {"attributes": {TEXT: "innocent"}},
    "a status": {"status": Status(StatusCode.ERROR, TEXT)},
    "the name of an event": {"events": [Event(TEXT)]},
    "an event": {"events": [Event("exception", {"exception.message": TEXT, "exception.stacktrace": TEXT})]},
    "a link": {"links": [Link(CONTEXT, {"note": TEXT})]},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_span_is_not_encoded(place: str) -> None:
    redactor = Redactor()
    span = span_of(**PLACES[place])
    assert SECRET.encode() in Encoder().span(span)  # it would be, without
    assert SECRET.encode() not in Encoder(redactor).span(span)
    assert sum(redactor.counts.values()) == (2 if place == "an event" else 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"body": TEXT},
        {"body": {"user": "ann", "password": SECRET}},
        {"body": ["innocent", TEXT]},
        {"attributes": {"note": TEXT}},
        {"attributes": {"password": SECRET}},
        {"event_name": TEXT},
        {"severity_text": TEXT},
    ],
)
def test_a_secret_in_a_log_record_is_not_encoded(fields: Mapping[str, Any]) -> None:
    record = record_of(**fields)
    assert SECRET.encode() in Encoder().log_record(record)
    assert SECRET.encode() not in Encoder(Redactor()).log_record(record)


def test_a_secret_in_a_label_is_not_encoded() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
    meters.get_meter("m").create_counter("calls").add(1, {"note": TEXT})
    data: Any = reader.get_metrics_data()
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert SECRET.encode() in Encoder().metric(metric)[0][0]
    assert SECRET.encode() not in Encoder(Redactor()).metric(metric)[0][0]


def test_a_statement_that_our_own_reader_has_told_keeps_its_quoted_names() -> None:
    told = _sql.read("""SELECT "order"."id" FROM "order" WHERE note = 'x'""", _sql.grammar("postgresql")).text
    assert told == 'SELECT "order"."id" FROM "order" WHERE note = ?'
    assert Redactor().value("db.query.text", told) is told
    foreign = Redactor().value("db.query.text", told.replace("id", "no"))
    assert foreign == "SELECT ?.? FROM ? WHERE note = ?"  # to MySQL these are texts


def test_a_number_of_a_user_is_hashed_where_that_is_asked_for() -> None:
    redactor = Redactor(Redaction(hash_key=b"k"))
    sent = Encoder(redactor).span(span_of(attributes={"user.id": 42, "order.id": 43}))
    assert b"hash:" in sent
    assert redactor.counts == {"hash": 1}


def test_an_error_of_a_validation_tells_no_input_on_any_road() -> None:
    error = {"type": "int_parsing", "loc": ("body", "card"), "msg": "no number", "input": "swordfish"}
    assert b"swordfish" not in Encoder(Redactor()).span(span_of(attributes={"errors": [error]}))


def test_a_card_number_is_one_as_a_number_too() -> None:
    sent = Encoder(Redactor()).span(span_of(attributes={"number": CARD, "numbers": [CARD], "order": 4111}))
    assert sent.count(b"[redacted:") == 2
    assert Encoder().span(span_of(attributes={"order": 4111}))[-40:] in sent or b"order" in sent


def test_what_comes_often_is_counted_every_time() -> None:
    redactor = Redactor()
    encoder = Encoder(redactor)
    for _ in range(3):
        encoder.span(span_of(attributes={"note": "password=abc123xyz"}))
    assert sum(redactor.counts.values()) == 3


@pytest.mark.parametrize("before", [VALUE_LIMIT - 60, VALUE_LIMIT - 20, VALUE_LIMIT, VALUE_LIMIT + 4090])
def test_a_secret_where_a_long_text_is_cut_is_gone_whole(before: int) -> None:
    text = f"{'x' * before} {TEXT} {'y' * 10_000}"
    sent = Encoder(Redactor()).span(span_of(attributes={"long": text}))
    assert b"hunter2" not in sent
    assert b"more characters)" in sent


# -- processors of the application's own -------------------------------------------------------------------------------


class Way:
    """Guarded providers with our pipeline and one processor of the application's own."""

    def __init__(self, receiver: Receiver) -> None:
        self.redactors = {signal: Redactor() for signal in ("traces", "metrics", "logs")}
        self.pipeline = Pipeline(Settings(endpoint=receiver.http_url, environ={}), RESOURCE, self.redactors)
        self.theirs = InMemorySpanExporter()
        limits = SpanLimits(max_events=1)
        self.tracers = _guard.TracerProvider(
            redactor=self.redactors["traces"], resource=RESOURCE, shutdown_on_exit=False, span_limits=limits
        )
        self.loggers = _guard.LoggerProvider(redactor=self.redactors["logs"], resource=RESOURCE, shutdown_on_exit=False)
        self.records: list[Any] = []

    def flush(self) -> None:
        assert self.pipeline.flush(Deadline.after(10))


class Keeping(LogRecordProcessor):
    """Keeps what a processor sees, as text."""

    def __init__(self, records: list[Any]) -> None:
        self.records = records

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        told = log_record.log_record
        self.records.append(json.dumps([told.body, dict(told.attributes or {}), told.event_name]))

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the SDK's interface
        return True


def test_a_span_processor_of_the_application_sees_what_is_exported() -> None:
    with Receiver() as receiver:
        way = Way(receiver)
        for processor in (SimpleSpanProcessor(way.theirs), *way.pipeline.span_processors()):
            way.tracers.add_span_processor(processor)
        attributes: dict[str, Any] = {"a": 1, "note": TEXT, "z": (TEXT, "x")}
        with way.tracers.get_tracer("t").start_as_current_span("s", attributes=attributes) as span:
            span.add_event("first")
            span.add_event("second", {"password": SECRET})
            span.set_status(StatusCode.ERROR, TEXT)
        way.flush()
        (theirs,) = way.theirs.get_finished_spans()
        assert SECRET not in theirs.to_json()
        assert (theirs.dropped_attributes, theirs.dropped_events) == (0, 1)
        assert theirs.start_time is not None
        (sent,) = receiver.spans()
        assert sent.attributes == dict(theirs.attributes or {})
        assert sent.status_message == theirs.status.description
        assert sum(way.pipeline.stats()["traces"].redacted.values()) == 4  # two attributes, the event, the status
        way.pipeline.close(Deadline.after(5))


def test_a_log_processor_of_the_application_sees_what_is_exported() -> None:
    with Receiver() as receiver:
        way = Way(receiver)
        for processor in (Keeping(way.records), *way.pipeline.log_processors()):
            way.loggers.add_log_record_processor(processor)
        logger = way.loggers.get_logger("l")
        logger.emit(body=TEXT, attributes={"password": SECRET, TEXT: 1}, severity_number=SeverityNumber.INFO)
        logger.emit(body={"password": SECRET}, event_name="shop.opened")
        way.flush()
        assert len(way.records) == 2
        assert SECRET not in "".join(way.records)
        assert SECRET.encode() not in b"".join(request.body for request in receiver.raw())
        assert sum(way.pipeline.stats()["logs"].redacted.values()) == 4
        way.pipeline.close(Deadline.after(5))


def test_spans_of_a_provider_that_was_there_before_are_redacted_on_our_way_out() -> None:
    with Receiver() as receiver:
        way = Way(receiver)
        theirs = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        for processor in way.pipeline.span_processors():
            theirs.add_span_processor(processor)
        theirs.get_tracer("t").start_span("s", attributes={"note": TEXT}).end()
        way.flush()
        assert [span.name for span in receiver.spans()] == ["s"]
        assert SECRET.encode() not in b"".join(request.body for request in receiver.raw())
        way.pipeline.close(Deadline.after(5))


# -- our own road of logs ----------------------------------------------------------------------------------------------


def test_an_event_is_redacted_once_for_all_its_roads() -> None:
    redactor = Redactor()
    with hearing(redactor=redactor) as heard:
        get_logger("shop").info(
            "order.placed", order_id=42, note=TEXT, form={"password": SECRET, "user": "ann"}, items=[TEXT]
        )
        assert heard.line["order_id"] == 42
        assert heard.line["form"]["user"] == "ann"
        assert SECRET not in heard.text
        assert SECRET not in str([dict(record.attributes) for record in heard.records])
    assert sum(redactor.counts.values()) == 3


def fail() -> None:
    """Raise an exception that has a cause, both with the secret in their text."""
    raise RuntimeError(TEXT) from ValueError(TEXT)


def test_an_exception_is_redacted_with_its_causes() -> None:
    with hearing(redactor=Redactor()) as heard:
        try:
            fail()
        except RuntimeError:
            get_logger("shop").exception("order.failed")
            logging.getLogger("stdlib").exception("failed with %s", TEXT)
        assert len(heard.lines) == 2
        assert SECRET not in heard.text
        assert "Traceback" in heard.text
        assert SECRET not in str([dict(record.attributes) for record in heard.records])


def test_what_handlers_of_the_application_get_is_theirs() -> None:
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign, assignment]  # the shortest handler there is
    with hearing(redactor=Redactor()) as heard, own_handlers("theirs", handler) as logger:
        logger.warning("failed with %s", TEXT)
        assert SECRET not in heard.text
    assert kept[0].getMessage() == f"failed with {TEXT}"


def test_an_event_without_a_secret_is_not_copied() -> None:
    event = LogEvent.start("l", logging.INFO, "order.placed", {"order_id": 42, "tags": ["a", "b"]})
    assert _redacted(event, Redactor()) is event


def test_what_describes_the_process_is_redacted_too() -> None:
    given = {"OTEL_RESOURCE_ATTRIBUTES": f"service.name=shop,db.url=postgresql://shop:{SECRET}@db/shop,team=a"}
    described = _providers.resource(
        Settings(environ=given), {"process.command_args": ["x", "--password", SECRET]}, Redactor()
    )
    assert SECRET not in described.to_json()
    assert (described.attributes["service.name"], described.attributes["team"]) == ("shop", "a")
