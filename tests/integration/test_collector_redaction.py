"""One table of secrets through both ends: what the real Collector makes of raw telemetry, and what the SDK does.

The telemetry is that of a service without otelkit, byte by byte; the Collector delivers to a receiver of ours.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otelkit._rules import RULES
from otelkit.otlp.receiver import Receiver
from otelkit.redact import Redactor
from support import collector
from support.planted import INNOCENTS, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otelkit.otlp.model import Span
    from support.collector import Running

NOTE = "note"
WITHIN = 30.0

EXACT = {rule.name for rule in RULES if rule.re2 == "exact"} - {rule.name for rule in RULES if rule.re2 != "exact"}

HIDDEN_THERE = {
    "4111111111111112",
    "ssh://git@github.com/acme/shop.git",
    "git@github.com:acme/shop.git",
    "celery@worker-1.internal ready",
    "logo@2x.png",
    "getty@tty1.service started",
    "password: must have 12 characters",
    "password: field required",
    "invalid token: expired",
    "cookie: not found",
    "password=None token=null secret=''",
    "password=%s",
    "password=$1 and token=:token",
    "token_type=bearer expires_in=3600",
    "sk-learn-compatible-estimators-everywhere",
}
"""Innocent texts of which the Collector hides a part, for want of a check. Lines of source come on top."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Collector for all of these tests."""
    with Receiver(grpc_port=0) as store, collector.running(tmp_path_factory.mktemp("collector"), store) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_thread_left() -> None:
    """Take the place of the check that no thread is left: the Collector's connections to what tests share stay open."""


def value_of(value: Any) -> AnyValue:
    """Write a value of OTLP."""
    match value:
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=pairs(value)))
        case _:
            return AnyValue(array_value=ArrayValue(values=map(value_of, value)))


def pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    """Write attributes of OTLP."""
    return [KeyValue(key=key, value=value_of(value)) for key, value in values.items()]


def post(running: Running, signal: str, message: Any) -> None:
    """Send one request."""
    assert collector.post(running.otlp_http, signal, message.SerializeToString()) == HTTPStatus.OK


def through(running: Running, rows: Sequence[tuple[str, str]], resource: Mapping[str, Any] | None = None) -> list[Any]:
    """Return what becomes of attributes, one span each."""
    running.store.clear()
    message = ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.extend(pairs({"service.name": "raw", **(resource or {})}))
    spans = sent.scope_spans.add().spans
    for number, (key, text) in enumerate(rows, 1):
        span = spans.add(trace_id=b"\1" * 16, span_id=number.to_bytes(8, "big"), name="GET")
        span.attributes.extend(pairs({key or NOTE: text}))
    post(running, "traces", message)
    assert running.store.wait_for(lambda: len(running.store.spans()) >= len(rows), WITHIN)
    told: dict[str, Span] = {span.span_id: span for span in running.store.spans()}
    return [told[f"{number:016x}"].attributes[key or NOTE] for number, (key, _) in enumerate(rows, 1)]


def test_what_the_sdk_hides_the_collector_hides_and_says_it_alike_where_the_rule_is_exact(running: Running) -> None:
    redactor = Redactor()
    rows = [(planted.key, planted.text) for planted in SECRETS]
    alike = 0
    for planted, told in zip(SECRETS, through(running, rows), strict=True):
        expected = redactor.value(planted.key, planted.text)
        alike += told == expected
        assert planted.secret not in told
        if planted.rule in EXACT:
            assert told == expected
    assert alike >= 0.9 * len(SECRETS)


def test_what_was_redacted_passes_a_second_collector_unchanged(running: Running) -> None:
    rows = [(planted.key, planted.text) for planted in SECRETS]
    once = through(running, rows)
    again = through(running, [(key, told) for (key, _), told in zip(rows, once, strict=True)])
    assert again == once


def test_an_innocent_text_passes_unless_it_is_known_to_need_a_check(running: Running) -> None:
    changed = {text for (_, text), told in zip(INNOCENTS, through(running, INNOCENTS), strict=True) if told != text}
    lines_of_source = {text for text in changed if text.startswith("  File ")}
    assert changed - lines_of_source == HIDDEN_THERE


def test_what_a_service_with_otelkit_sends_is_its_own_matter(running: Running) -> None:
    rows = [(planted.key, planted.text) for planted in SECRETS]
    assert through(running, rows, {"telemetry.distro.name": "otelkit"}) == [text for _, text in rows]


SECRET = "hunter2OfEveryPlace"
TEXT = f"failed with password={SECRET} at last"


def test_every_place_of_a_span_is_reached_but_links_scopes_and_lists(running: Running) -> None:
    running.store.clear()
    message = ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.extend(pairs({"service.name": "raw", "note": TEXT, "api_key": SECRET}))
    within = sent.scope_spans.add()
    within.scope.name = "scope"
    within.scope.attributes.extend(pairs({"note": "scope " + TEXT}))
    span = within.spans.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, name=TEXT)
    span.status.message, span.status.code = TEXT, 2
    span.attributes.extend(
        pairs({"note": TEXT, "app.password": [SECRET, 1], "pin": 4711, "app.token": {"a": SECRET}, "http.status": 500})
    )
    span.attributes.extend(pairs({"listed": ["listed " + TEXT], "http.request.header.referer": ["http://shop/?a=bob"]}))
    event = span.events.add(name=TEXT)
    event.attributes.extend(pairs({"exception.message": TEXT, "secret": SECRET}))
    span.links.add(trace_id=b"\2" * 16, span_id=b"\2" * 8).attributes.extend(pairs({"note": "link " + TEXT}))
    post(running, "traces", message)
    assert running.store.wait_for(running.store.spans, WITHIN)
    (told,) = running.store.spans()
    hidden = "failed with password=[redacted:password] at last"
    assert (told.name, told.status_message) == (hidden, hidden)
    assert told.resource["note"] == told.attributes["note"] == hidden
    assert told.resource["api_key"] == "[redacted:api-key]"
    assert told.attributes["app.password"] == "[redacted:password]"
    assert told.attributes["pin"] == "[redacted:code]"
    assert told.attributes["app.token"] == "[redacted:token]"
    assert told.attributes["http.status"] == 500
    assert told.attributes["http.request.header.referer"] == '["http://shop/?a=[redacted:url-query]'
    assert len(told.attributes) == 7
    (at,) = told.events
    assert (at.name, at.attributes) == (hidden, {"exception.message": hidden, "secret": "[redacted:secret]"})
    assert SECRET in str(told.links)
    assert SECRET in str(told.scope)
    assert SECRET in str(told.attributes["listed"])


def test_every_place_of_a_log_record_is_reached_and_a_map_stays_one_without_a_secret(running: Running) -> None:
    running.store.clear()
    message = ExportLogsServiceRequest()
    sent = message.resource_logs.add()
    sent.resource.attributes.extend(pairs({"service.name": "raw"}))
    records = sent.scope_logs.add().log_records
    bodies = [TEXT, {"user": {"password": SECRET}, "n": 1}, {"n": 1, "list": ["a"]}, ["b", TEXT]]
    for number, body in enumerate(bodies, 1):
        record = records.add(body=value_of(body), time_unix_nano=number)
        record.attributes.extend(pairs({"note": TEXT, "password": SECRET}))
    post(running, "logs", message)
    assert running.store.wait_for(lambda: len(running.store.logs()) == len(bodies), WITHIN)
    told = sorted(running.store.logs(), key=lambda record: record.time_ns)
    for record in told:
        assert record.attributes["password"] == "[redacted:password]"
        assert len(record.attributes) == 2
        assert SECRET not in str(record)
    assert told[0].body == "failed with password=[redacted:password] at last"
    assert told[1].body == '{"n":1,"user":{"password":"[redacted:password]"}}'
    assert told[2].body == {"n": 1, "list": ("a",)}
    assert told[3].body == '["b","failed with password=[redacted:password] at last"]'


def test_labels_of_a_metric_are_reached(running: Running) -> None:
    running.store.clear()
    message = ExportMetricsServiceRequest()
    sent = message.resource_metrics.add()
    sent.resource.attributes.extend(pairs({"service.name": "raw", "token": SECRET}))
    metric = sent.scope_metrics.add().metrics.add(name="requests")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
    point = metric.sum.data_points.add(as_int=1, time_unix_nano=1)
    point.attributes.extend(pairs({"note": TEXT, "url.full": "http://shop/cart?who=bob", "session": SECRET}))
    post(running, "metrics", message)

    def here() -> list[Any]:
        return [each for each in running.store.points() if each.metric == "requests"]

    assert running.store.wait_for(here, WITHIN)
    (told,) = here()
    assert told.resource["token"] == "[redacted:token]"
    assert told.attributes == {
        "note": "failed with password=[redacted:password] at last",
        "url.full": "http://shop/cart?who=[redacted:url-query]",
        "session": "[redacted:session]",
    }


def test_metrics_made_of_spans_hold_no_secret_of_their_names(running: Running) -> None:
    running.store.clear()
    message = ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.extend(pairs({"service.name": "named"}))
    sent.scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, name=TEXT)
    post(running, "traces", message)

    def names() -> set[str]:
        points = [each for each in running.store.points() if each.metric == "traces.span.metrics.calls"]
        return {each.attributes["span.name"] for each in points if each.attributes["service.name"] == "named"}

    assert running.store.wait_for(names, WITHIN)
    assert names() == {"failed with password=[redacted:password] at last"}


def test_no_statement_fails_and_nothing_is_deprecated(running: Running) -> None:
    printed = running.process.stdout + running.process.stderr
    assert [line for line in printed.splitlines() if "\twarn\t" in line or "\terror\t" in line] == []
