"""The only place that says what every implementation of `otelkit.ops.query.Query` must do, as tests.

A test module of an implementation imports all names of this one and defines two fixtures: `stored`, the implementation,
and `otlp_http`, where its telemetry is received. Everything is sent over OTLP, and nothing is known of what is behind.

What differs between stores, and is no part of the contract: how soon something is found (within `DEADLINE`), whether a
value of a log attribute keeps its type, and whether duration and start of a `TraceSummary` are rounded.
"""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind

from otelkit.ops.query import Window, wait_for
from support.sender import NAME, Sender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query import Query

DEADLINE = 30.0
ROUTE = "/orders/{order_id}"
METRIC = "http_server_request_duration_seconds"
SECOND = 1_000_000_000


@pytest.fixture
def sender(otlp_http: str) -> Iterator[Sender]:
    """A service of one test alone."""
    about = {"service.namespace": "contract", "deployment.environment.name": "e2e", "service.version": "1.2.3"}
    with Sender(otlp_http, service=f"orders-{uuid.uuid4().hex[:8]}", resource=about) as sender:
        yield sender


def test_a_trace_has_its_spans_by_start_with_all_that_they_say(stored: Query, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    trace = wait_for(lambda: stored.trace(trace_id), lambda found: found and len(found.spans) == 2, DEADLINE)
    assert trace is not None
    server, statement = trace.spans
    assert (trace.trace_id, trace.incomplete) == (trace_id, "")
    assert (server.kind, server.name, server.parent_span_id) == ("SERVER", f"GET {ROUTE}", "")
    assert server.attributes == {"http.request.method": "GET", "http.route": ROUTE}
    assert (statement.kind, statement.parent_span_id) == ("CLIENT", server.span_id)
    assert server.start_ns <= statement.start_ns <= statement.end_ns <= server.end_ns
    assert {(span.trace_id, span.service) for span in trace.spans} == {(trace_id, sender.service)}
    assert (server.resource["service.instance.id"], server.scope.name) == (sender.instance, NAME)


def test_an_id_may_be_written_in_capitals_and_what_is_none_is_refused(stored: Query, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    trace = wait_for(lambda: stored.trace(trace_id.upper()), bool, DEADLINE)
    assert trace is not None
    assert trace.trace_id == trace_id
    for wrong in ("", "xyz", "1" * 33):
        with pytest.raises(ValueError, match="hex digits"):
            stored.trace(wrong)


def test_traces_are_found_newest_first_by_service_and_kind(stored: Query, sender: Sender) -> None:
    first = sender.request(ROUTE)
    with sender.span("tick") as tick:
        pass
    second = sender.request("/products")
    found = wait_for(lambda: stored.traces(service=sender.service), lambda found: len(found) == 3, DEADLINE)
    assert [summary.trace_id for summary in found] == [second, tick, first]
    assert [summary.root_name for summary in found] == ["GET /products", "tick", f"GET {ROUTE}"]
    assert {summary.root_service for summary in found} == {sender.service}
    assert all(abs(summary.start_ns - time.time_ns()) < 600 * SECOND for summary in found)
    of_kind = partial(stored.traces, service=sender.service)
    assert [summary.trace_id for summary in of_kind(kind="SERVER")] == [second, first]
    assert [summary.trace_id for summary in of_kind(kind="INTERNAL")] == [tick]
    assert of_kind(kind="CONSUMER") == ()
    assert [summary.trace_id for summary in of_kind(limit=1)] == [second]
    assert second in {summary.trace_id for summary in stored.traces(limit=1000)}


def test_traces_before_the_window_are_not_found(stored: Query, sender: Sender) -> None:
    trace_id = sender.request(ROUTE)
    wait_for(lambda: stored.traces(service=sender.service), bool, DEADLINE)
    now = time.time_ns()
    before = Window(start_ns=now - 7200 * SECOND, end_ns=now - 3600 * SECOND)
    assert stored.traces(service=sender.service, window=before) == ()
    (found,) = stored.traces(service=sender.service, window=Window.last(600))
    assert found.trace_id == trace_id


def test_records_are_found_by_trace_and_by_service_oldest_first(stored: Query, sender: Sender) -> None:
    with sender.span("work", SpanKind.INTERNAL) as trace_id:
        sender.log("order.placed", {"order.id": 7})
        sender.log("order.paid", {"order.id": 7})
    sender.log("order.elsewhere", {})
    records = wait_for(lambda: stored.logs(service=sender.service), lambda found: len(found) == 3, DEADLINE)
    assert [record.body for record in records] == ["order.placed", "order.paid", "order.elsewhere"]
    placed = records[0]
    assert (placed.severity_number, placed.severity_text) == (9, "INFO")
    assert (placed.trace_id, placed.service, placed.scope.name) == (trace_id, sender.service, NAME)
    assert len(placed.span_id) == 16
    assert [str(value) for value in placed.attributes.values()] == ["7"]
    assert placed.resource["service.version"] == "1.2.3"
    of_trace = stored.logs(trace_id=trace_id)
    assert [record.body for record in of_trace] == ["order.placed", "order.paid"]
    assert stored.logs(trace_id=trace_id, service=sender.service) == of_trace
    assert stored.logs(trace_id=trace_id, limit=1) == of_trace[:1]
    before = Window(start_ns=placed.time_ns - 600 * SECOND, end_ns=placed.time_ns - SECOND)
    assert stored.logs(trace_id=trace_id, window=before) == ()


def test_a_metric_has_one_sample_per_series_with_the_labels_of_its_resource(
    stored: Query, otlp_http: str, sender: Sender
) -> None:
    with Sender(otlp_http, service=sender.service) as other:
        other.request(ROUTE)
        sender.request(ROUTE)
        found = wait_for(
            lambda: stored.samples(f"{METRIC}_count", {"service_name": sender.service}),
            lambda samples: len(samples) == 2,
            DEADLINE,
        )
    by_instance = {sample.labels["service_instance_id"]: sample for sample in found}
    assert set(by_instance) == {sender.instance, other.instance}
    mine = by_instance[sender.instance]
    wanted = {
        "__name__": f"{METRIC}_count",
        "http_route": ROUTE,
        "service_namespace": "contract",
        "deployment_environment_name": "e2e",
    }
    assert {name: mine.labels.get(name) for name in wanted} == wanted
    assert (mine.value, abs(mine.time_ns - time.time_ns()) < 600 * SECOND) == (1, True)
    sender.request(ROUTE)
    wait_for(
        lambda: stored.samples(f"{METRIC}_count", {"service_instance_id": sender.instance}),
        lambda samples: [sample.value for sample in samples] == [2],
        DEADLINE,
    )


def test_an_exemplar_names_the_span_that_was_measured(stored: Query, sender: Sender) -> None:
    trace_id = sender.request(ROUTE, seconds=0.05)
    (exemplar,) = wait_for(
        lambda: stored.exemplars(f"{METRIC}_bucket", {"service_name": sender.service}), bool, DEADLINE
    )
    assert (exemplar.trace_id, exemplar.value, exemplar.labels) == (trace_id, 0.05, {})
    assert exemplar.series["http_route"] == ROUTE
    trace = wait_for(lambda: stored.trace(trace_id), bool, DEADLINE)
    assert trace is not None
    assert exemplar.span_id in {span.span_id for span in trace.spans}
    now = time.time_ns()
    before = Window(start_ns=now - 7200 * SECOND, end_ns=now - 3600 * SECOND)
    assert stored.exemplars(f"{METRIC}_bucket", {"service_name": sender.service}, window=before) == ()


def test_quotes_and_backslashes_in_what_is_looked_for_are_only_text(stored: Query) -> None:
    odd = 'a "quoted\\" } | name'
    assert stored.traces(service=odd) == ()
    assert stored.logs(service=odd) == ()
    assert stored.samples("up", {"job": odd}) == ()


def test_nothing_is_found_where_nothing_is(stored: Query) -> None:
    unknown = uuid.uuid4().hex
    assert stored.trace(unknown) is None
    assert stored.logs(trace_id=unknown) == ()
    assert stored.logs(service=unknown) == ()
    assert stored.traces(service=unknown) == ()
    assert stored.samples("up", {"job": unknown}) == ()
    assert stored.exemplars("up", {"job": unknown}) == ()
