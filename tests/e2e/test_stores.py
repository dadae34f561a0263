"""The only place that proves what the stores do beyond storing: Tempo's service graph, and what Loki takes."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otelkit._sanitise import TEXT_LIMIT
from otelkit.ops.query import wait_for
from support.processes import http_get
from support.sender import Sender

if TYPE_CHECKING:
    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

DEADLINE = 60.0  # the first edge takes 15 s longer: Tempo then begins to send
CALLS = 3


def test_the_service_graph_has_an_edge_to_each_database_cache_and_worker(query: Lgtm, running: Stack) -> None:
    unique = uuid.uuid4().hex[:8]
    api = Sender(running.otlp_http, service=f"api-{unique}", resource={"service.namespace": "tests"})
    worker = Sender(running.otlp_http, service=f"worker-{unique}", resource={"service.namespace": "tests"})
    with api, worker:
        traces = {_order(api, worker, f"shop-{unique}") for _ in range(CALLS)}
        edges = wait_for(
            lambda: query.samples("traces_service_graph_request_total", {"client": api.service}),
            lambda found: [sample.value for sample in found] == [CALLS] * 3,
            DEADLINE,
        )
        assert {(edge.labels["server"], edge.labels["connection_type"]) for edge in edges} == {
            (f"shop-{unique}", "database"),
            ("redis", "database"),
            (worker.service, "messaging_system"),
        }
        assert {edge.labels["service_namespace"] for edge in edges} == {"tests"}
        # What Grafana's service graph reads besides.
        for name in ("server_seconds_sum", "server_seconds_bucket", "client_seconds_bucket"):
            series = f"traces_service_graph_request_{name}"
            assert wait_for(partial(query.samples, series, {"client": api.service}), bool, DEADLINE), name

        # An exemplar is sent once, and not by a Tempo that began a moment ago.
        def told() -> set[str]:
            traces.add(_order(api, worker, f"shop-{unique}"))
            found = query.exemplars("traces_service_graph_request_server_seconds_bucket", {"client": api.service})
            return {exemplar.trace_id.zfill(32) for exemplar in found}  # Tempo drops leading zeros

        assert wait_for(told, bool, DEADLINE, interval=1.0) <= traces


def test_spans_are_counted_once_by_the_collector_and_not_by_tempo(query: Lgtm, running: Stack) -> None:
    with Sender(running.otlp_http, service=f"api-{uuid.uuid4().hex[:8]}") as api, api.span("GET /", SpanKind.SERVER):
        pass
    counted = wait_for(
        lambda: query.prometheus.query(f'{{__name__=~"traces_span.*calls_total", service_name="{api.service}"}}'),
        lambda found: [sample.value for sample in found] == [1],
        DEADLINE,
    )
    assert [sample.labels["__name__"] for sample in counted] == ["traces_span_metrics_calls_total"]
    of_tempo = query.prometheus.query('count by (__name__) ({source="tempo"})')
    assert [sample for sample in of_tempo if "service_graph" not in sample.labels["__name__"]] == []


def test_tempo_keeps_a_stack_trace_to_its_end(query: Lgtm, running: Stack) -> None:
    stack = "😀" * (TEXT_LIMIT - 10) + "ValueError"
    with (
        Sender(running.otlp_http, service=f"api-{uuid.uuid4().hex[:8]}") as api,
        api.span("GET /", SpanKind.SERVER, {"exception.stacktrace": stack}) as trace_id,
    ):
        pass
    trace = wait_for(lambda: query.trace(trace_id), bool, DEADLINE)
    assert trace is not None
    assert trace.spans[0].attributes["exception.stacktrace"] == stack


def test_loki_takes_what_a_collector_kept_during_an_outage(running: Stack) -> None:
    """Short records of a resource with many attributes: each repeats them, once it is inside of Loki."""
    service = f"api-{uuid.uuid4().hex[:8]}"
    many = {f"attribute.of.the.resource.{number}": f"a value of some length {number}" for number in range(15)}
    records = [_record("short", {"number": str(number)}) for number in range(8000)]
    _send(running, {"service.name": service, **many}, records)
    wait_for(lambda: _count(running, service), lambda found: found == len(records), DEADLINE)
    assert _count(running, service) == len(records)


def test_loki_takes_a_record_with_a_long_stack_or_many_attributes(query: Lgtm, running: Stack) -> None:
    service = f"api-{uuid.uuid4().hex[:8]}"
    stack = "x" * 70_000
    many = {f"attribute_{number}": "value" for number in range(128)}
    long = "y" * 300_000
    records = [_record("a stack", {"exception.stacktrace": stack}), _record("many", many), _record(long, {})]
    _send(running, {"service.name": service}, records)
    found = wait_for(lambda: query.logs(service=service), lambda logs: len(logs) == len(records), DEADLINE)
    by_body = {record.body[:7]: record for record in found}
    assert by_body["a stack"].attributes["exception.stacktrace"] == stack
    assert by_body["many"].attributes.items() >= many.items()
    assert 200_000 < len(by_body["yyyyyyy"].body) < len(long)  # cut, not refused


def _order(api: Sender, worker: Sender, database: str) -> str:
    """Pretend one order, and return its trace id: a statement, a command, and a task that the worker runs."""
    task = {"messaging.system": "celery", "messaging.destination.name": "orders"}
    with api.span("POST /orders", SpanKind.SERVER) as trace_id:
        with api.span("INSERT orders", SpanKind.CLIENT, {"db.system.name": "postgresql", "db.namespace": database}):
            pass
        with api.span("SET", SpanKind.CLIENT, {"db.system.name": "redis"}):
            pass
        with api.span("publish", SpanKind.PRODUCER, task), worker.span("run", SpanKind.CONSUMER, task):
            pass
    return trace_id


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in values.items()]


def _record(body: str, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "timeUnixNano": str(time.time_ns()),
        "severityNumber": 9,
        "body": {"stringValue": body},
        "attributes": _attributes(attributes),
    }


def _send(running: Stack, resource: dict[str, str], records: list[dict[str, Any]]) -> None:
    logs = {"resource": {"attributes": _attributes(resource)}, "scopeLogs": [{"logRecords": records}]}
    request = urllib.request.Request(  # noqa: S310  loopback URLs of the tests
        f"{running.otlp_http}/v1/logs",
        json.dumps({"resourceLogs": [logs]}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()


def _count(running: Stack, service: str) -> int:
    """Count the stored records of a service; a page of the query API would stop at a few thousand."""
    query = f"sum(count_over_time(%7Bservice_name=%22{service}%22%7D%5B10m%5D))"
    answer = json.loads(http_get(f"{running.loki}/loki/api/v1/query?query={query}").body)
    return sum(int(series["value"][1]) for series in answer["data"]["result"])
