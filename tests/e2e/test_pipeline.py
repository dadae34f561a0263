"""The only place that proves the way through Collector, Prometheus, Tempo and Loki by itself: the plain SDK sends."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import format_trace_id

from otelkit.errors import QueryError
from otelkit.ops.query import wait_for
from support.processes import http_get
from support.sender import NAME, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

DEADLINE = 60.0
ROUTE = "/orders/{order_id}"


@pytest.fixture
def sender(running: Stack) -> Iterator[Sender]:
    """A service of this test alone."""
    about = {"service.namespace": "tests", "deployment.environment.name": "e2e", "service.version": "1.2.3"}
    with Sender(running.otlp_http, service=f"orders-{uuid.uuid4().hex[:8]}", resource=about) as sender:
        yield sender


def test_the_collector_starts_without_a_warning(running: Stack) -> None:
    """Deprecated names and doubtful settings are said at start only; `validate` accepts them in silence."""
    start, ready, _ = running.printed("collector").partition("Everything is ready")
    assert ready
    assert [line for line in start.splitlines() if "\tinfo\t" not in line] == []


def test_a_trace_is_whole_by_its_id(query: Lgtm, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    trace = wait_for(lambda: query.trace(trace_id), lambda found: found and len(found.spans) == 2, DEADLINE)
    assert trace is not None
    server, statement = trace.spans
    assert (server.kind, server.name, server.attributes["http.route"]) == ("SERVER", f"GET {ROUTE}", ROUTE)
    assert (statement.kind, statement.parent_span_id) == ("CLIENT", server.span_id)
    assert {span.trace_id for span in trace.spans} == {trace_id}
    assert {span.service for span in trace.spans} == {sender.service}
    assert server.resource["service.instance.id"] == sender.instance
    assert trace.incomplete == ""


def test_a_trace_is_found_by_its_service_within_seconds(query: Lgtm, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    (found,) = wait_for(lambda: query.traces(service=sender.service), bool, DEADLINE)
    assert (found.trace_id, found.root_service, found.root_name) == (trace_id, sender.service, f"GET {ROUTE}")
    assert abs(found.start_ns - time.time_ns()) < 60e9


def test_a_log_record_is_found_by_its_trace_id(query: Lgtm, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    sender.log("order.elsewhere", {})
    (record,) = wait_for(lambda: query.logs(trace_id=trace_id), bool, DEADLINE)
    assert (record.body, record.severity_text, record.severity_number) == ("order.read", "INFO", 9)
    assert (record.trace_id, record.service) == (trace_id, sender.service)
    assert record.attributes == {"order_id": "7"}
    assert record.scope.name == NAME
    by_service = wait_for(lambda: query.logs(service=sender.service), lambda found: len(found) == 2, DEADLINE)
    assert [each.body for each in by_service] == ["order.read", "order.elsewhere"]


def test_resource_attributes_become_labels_and_each_process_its_own_series(
    query: Lgtm, running: Stack, sender: Sender
) -> None:
    with Sender(running.otlp_http, service=sender.service) as other:
        other.request(ROUTE)
        sender.request(ROUTE)
        found = wait_for(
            lambda: query.samples("http_server_request_duration_seconds_count", {"service_name": sender.service}),
            lambda samples: len(samples) == 2,
            DEADLINE,
        )
    by_instance = {sample.labels["service_instance_id"]: sample for sample in found}
    assert set(by_instance) == {sender.instance, other.instance}
    mine = by_instance[sender.instance]
    assert mine.value == 1
    wanted = {
        "http_route": ROUTE,
        "http_request_method": "GET",
        "job": f"tests/{sender.service}",
        "service_namespace": "tests",
        "service_version": "1.2.3",
        "deployment_environment_name": "e2e",
    }
    assert {name: mine.labels.get(name) for name in wanted} == wanted


def test_an_exemplar_leads_to_its_trace(query: Lgtm, sender: Sender) -> None:
    trace_id = sender.request(ROUTE, seconds=0.05)
    (exemplar,) = wait_for(
        lambda: query.exemplars("http_server_request_duration_seconds_bucket", {"service_name": sender.service}),
        bool,
        DEADLINE,
    )
    assert (exemplar.trace_id, exemplar.value) == (trace_id, 0.05)
    assert exemplar.series["http_route"] == ROUTE
    trace = wait_for(lambda: query.trace(exemplar.trace_id), bool, DEADLINE)
    assert trace is not None
    assert exemplar.span_id in {span.span_id for span in trace.spans}


def test_every_span_is_counted_by_the_collector(query: Lgtm, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    found = wait_for(
        lambda: query.samples("traces_span_metrics_calls_total", {"service_name": sender.service}),
        lambda samples: [sample.value for sample in samples] == [1, 1],  # each series begins with a zero
        DEADLINE,
    )
    by_kind = {sample.labels["span_kind"]: sample for sample in found}
    server, client = by_kind["SPAN_KIND_SERVER"], by_kind["SPAN_KIND_CLIENT"]
    assert (server.labels["http_route"], client.labels["db_system_name"]) == (ROUTE, "postgresql")
    for sample in found:
        assert "service_instance_id" not in sample.labels  # who counts is the Collector, for all processes of a service
        assert sample.labels["deployment_environment_name"] == "e2e"
    exemplars = wait_for(
        lambda: query.exemplars("traces_span_metrics_duration_seconds_bucket", {"service_name": sender.service}),
        lambda found: len(found) == 2,
        DEADLINE,
    )
    assert {exemplar.trace_id for exemplar in exemplars} == {trace_id}


def test_grpc_is_taken_as_well(query: Lgtm, running: Stack) -> None:
    with _exporting(GrpcExporter(endpoint=running.otlp_grpc, insecure=True)) as (tracer, _):
        span = tracer.start_span("over gRPC")
        span.end()
    trace_id = format_trace_id(span.get_span_context().trace_id)
    trace = wait_for(lambda: query.trace(trace_id), bool, DEADLINE)
    assert trace is not None
    assert [span.name for span in trace.spans] == ["over gRPC"]


def test_a_request_larger_than_grpc_takes_arrives_in_parts(query: Lgtm, running: Stack) -> None:
    """8 MB in one HTTP request; Tempo is sent it over gRPC, which refuses what is larger than 4 MiB."""
    traces = []
    with _exporting(HttpExporter(endpoint=f"{running.otlp_http}/v1/traces", timeout=30)) as (tracer, flush):
        for _ in range(8):
            with tracer.start_as_current_span("root") as root:
                traces.append(format_trace_id(root.get_span_context().trace_id))
                for _ in range(99):
                    tracer.start_span("step", attributes={"text": "x" * 10_000}).end()
        assert flush()
    for trace_id in traces:
        found = wait_for(partial(query.trace, trace_id), lambda trace: trace and len(trace.spans) == 100, DEADLINE)
        assert found is not None
        assert found.incomplete == ""
    assert not [line for line in _own_metrics(running) if "_failed_" in line and not line.endswith(" 0")]


def test_what_is_sent_while_a_store_is_away_arrives_when_it_is_back(
    query: Lgtm, running: Stack, sender: Sender
) -> None:
    running.stop("tempo", kill=True)
    trace_id = sender.request(ROUTE)
    assert wait_for(lambda: query.logs(trace_id=trace_id), bool, DEADLINE), "one store away, the others have theirs"
    with pytest.raises(QueryError, match=r"Tempo: no answer from http://127.0.0.1:\d+/api/v2/traces/"):
        query.trace(trace_id)
    running.start("tempo")
    running.wait_ready()
    trace = wait_for(lambda: query.trace(trace_id), bool, 30.0)
    assert trace is not None
    assert len(trace.spans) == 2


def test_the_collector_names_its_own_series_as_alerts_expect(running: Stack, sender: Sender) -> None:
    sender.request(ROUTE)
    names = {re.split("[{ ]", line)[0] for line in _own_metrics(running)}
    assert {"otelcol_receiver_accepted_spans_total", "otelcol_receiver_accepted_log_records_total"} <= names
    assert {"otelcol_exporter_queue_size", "otelcol_process_uptime_seconds_total"} <= names


def test_a_wrong_question_is_refused_in_the_words_of_the_store(query: Lgtm) -> None:
    for ask, backend in (
        (lambda: query.prometheus.query("sum by ("), "Prometheus"),
        (lambda: query.tempo.search("{ name = "), "Tempo"),
        (lambda: query.loki.query("{service_name="), "Loki"),
    ):
        with pytest.raises(QueryError, match=rf"^{backend}: HTTP 400 from http://\S+: .*parse error") as refused:
            wait_for(ask, bool, 0.0)
        assert not refused.value.passing


def test_nothing_is_found_where_nothing_is(query: Lgtm) -> None:
    unknown = uuid.uuid4().hex
    assert query.trace(unknown) is None
    assert query.logs(trace_id=unknown) == ()
    assert query.traces(service=unknown) == ()
    assert query.samples("up", {"job": unknown}) == ()
    assert query.exemplars("up", {"job": unknown}) == ()


@contextmanager
def _exporting(exporter: SpanExporter) -> Iterator[tuple[Tracer, Callable[[], bool]]]:
    """Give a tracer, and a function that sends all its spans in one request."""
    provider = TracerProvider(resource=Resource({"service.name": "bulk"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10_000, max_export_batch_size=10_000))
    try:
        yield provider.get_tracer(NAME), provider.force_flush
    finally:
        provider.shutdown()


def _own_metrics(running: Stack) -> list[str]:
    text = http_get(running.collector_metrics).body.decode()
    return [line for line in text.splitlines() if not line.startswith("#")]
