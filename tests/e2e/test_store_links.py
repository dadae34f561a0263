"""The only place that proves the links between the stores: each leads to the data, and is missed when broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops import _assets, correlation
from otelkit.ops.correlation import EXEMPLAR_TO_TRACE, LOG_TO_TRACE, SERVICE_GRAPH, TRACE_TO_LOGS, TRACE_TO_METRICS
from otelkit.ops.query import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from otelkit.ops.correlation import Link
    from otelkit.ops.query import Trace
    from otelkit.ops.query.lgtm import Lgtm
    from support.shop_services import Shop

pytestmark = pytest.mark.parametrize("shop", ["explicit"], indirect=True)

FILE = _assets.root() / "deploy/grafana/provisioning/datasources/stack.yaml"
METRIC = "http_server_request_duration_seconds_bucket"
DEADLINE = 120.0  # the service graph waits for the other end of each call, and Tempo begins to send late
KINDS = ("request", "messaging", "cache", "database")
METRICS = ("Rate", "Errors", "Duration (p95)")
NAMES = (
    EXEMPLAR_TO_TRACE,
    TRACE_TO_LOGS,
    LOG_TO_TRACE,
    *(f"{TRACE_TO_METRICS} ({name})" for name in METRICS),
    *(f"{SERVICE_GRAPH} ({kind})" for kind in KINDS),
)


@pytest.fixture
def order(shop: Shop, query: Lgtm) -> Trace:
    """The trace of the order, through every process, with its retry."""

    def stored() -> Trace | None:
        return query.trace(shop.order)

    def whole(trace: Trace | None) -> bool:
        return trace is not None and sum(span.kind == "CONSUMER" for span in trace.spans) == 2

    trace = wait_for(stored, whole, DEADLINE)
    assert trace is not None
    return trace


def follow(file: Path, query: Lgtm, order: Trace) -> tuple[Link, ...]:
    return correlation.follow(file, query, trace=order, exemplar_metric=METRIC)


@pytest.fixture
def links(query: Lgtm, order: Trace) -> tuple[Link, ...]:
    """Every link of the file as it is, once each leads to the data."""

    def broken() -> list[Link]:
        return [link for link in follow(FILE, query, order) if not link.found]

    wait_for(broken, lambda links: not links, DEADLINE)
    return follow(FILE, query, order)


def test_every_link_leads_to_the_data_of_the_order(links: tuple[Link, ...], shop: Shop) -> None:
    assert sorted(link.name for link in links) == sorted(NAMES)
    by_name = {link.name: link for link in links}
    about = f'service_namespace="{shop.namespace}", service_name="api"'
    assert by_name[EXEMPLAR_TO_TRACE].query == by_name[LOG_TO_TRACE].query == shop.order
    assert by_name[TRACE_TO_LOGS].query == f'{{{about}}} | trace_id = "{shop.order}"'
    assert about in by_name[f"{TRACE_TO_METRICS} (Rate)"].query
    assert 'span_name="POST /orders"' in by_name[f"{TRACE_TO_METRICS} (Rate)"].query
    ways = {(link.source, link.target) for link in links}
    assert ways == {("Prometheus", "Tempo"), ("Tempo", "Loki"), ("Loki", "Tempo"), ("Tempo", "Prometheus")}


def test_the_service_graph_has_calls_messages_caches_and_databases(links: tuple[Link, ...]) -> None:
    edges = {link.name: link.detail for link in links if link.name.startswith(SERVICE_GRAPH)}
    assert edges[f"{SERVICE_GRAPH} (request)"] == "api -> payment, worker -> payment"
    assert edges[f"{SERVICE_GRAPH} (messaging)"] == "api -> worker"
    assert edges[f"{SERVICE_GRAPH} (cache)"].startswith("api -> ")
    assert "payment -> payment.db" in edges[f"{SERVICE_GRAPH} (database)"]


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("service", ["api", "payment", "worker"])
def test_a_span_of_each_service_leads_to_its_logs(query: Lgtm, order: Trace, service: str) -> None:
    sources = correlation.load(FILE)
    span = next(span for span in order.spans if span.service == service)
    link = wait_for(lambda: correlation.trace_to_logs(sources, query, span), lambda link: link.found, DEADLINE)
    assert f'service_name="{service}"' in link.query


# What is wrong, where in the file's jsonData, and which links that breaks.
LOGS = "{$${__tags}} | trace_id = "
BROKEN: dict[str, tuple[str, tuple[str | int, ...], Any, str]] = {
    "label of an exemplar": ("prometheus", ("exemplarTraceIdDestinations", 0, "name"), "traceID", EXEMPLAR_TO_TRACE),
    "exemplars to logs": ("prometheus", ("exemplarTraceIdDestinations", 0, "datasourceUid"), "loki", EXEMPLAR_TO_TRACE),
    "exemplars to nowhere": ("prometheus", ("exemplarTraceIdDestinations",), [], EXEMPLAR_TO_TRACE),
    "dollars of the logs' query": (
        "tempo",
        ("tracesToLogsV2", "query"),
        LOGS.replace("$$", "$") + '"x"',
        TRACE_TO_LOGS,
    ),
    "variable of the logs' query": (
        "tempo",
        ("tracesToLogsV2", "query"),
        LOGS + '"$${__trace.traceID}"',
        TRACE_TO_LOGS,
    ),
    "filter by line": ("tempo", ("tracesToLogsV2", "query"), '{$${__tags}} |= "$${__trace.traceId}"', TRACE_TO_LOGS),
    "no filter": ("tempo", ("tracesToLogsV2", "query"), "{$${__tags}}", TRACE_TO_LOGS),
    "Grafana's own query, without a filter": ("tempo", ("tracesToLogsV2", "customQuery"), False, TRACE_TO_LOGS),
    "label of the logs": ("tempo", ("tracesToLogsV2", "tags", 0, "value"), "service", TRACE_TO_LOGS),
    "time of the logs": ("tempo", ("tracesToLogsV2", "spanStartTimeShift"), "4m", TRACE_TO_LOGS),
    "unit of time": ("tempo", ("tracesToLogsV2", "spanEndTimeShift"), "5 minutes", TRACE_TO_LOGS),
    "logs to nowhere": ("tempo", ("tracesToLogsV2", "datasourceUid"), "elastic", TRACE_TO_LOGS),
    "label of the metrics": ("tempo", ("tracesToMetrics", "tags", 0, "value"), "service", TRACE_TO_METRICS),
    "dollars of a metric": (
        "tempo",
        ("tracesToMetrics", "queries"),
        [{"name": "Rate", "query": "sum(rate(traces_span_metrics_calls_total{$__tags}[5m]))"}],
        TRACE_TO_METRICS,
    ),
    "name of a metric": (
        "tempo",
        ("tracesToMetrics", "queries"),
        [{"name": "Rate", "query": "sum(rate(traces_spanmetrics_calls_total{$$__tags}[5m]))"}],
        TRACE_TO_METRICS,
    ),
    "variable of a metric": (
        "tempo",
        ("tracesToMetrics", "queries"),
        [{"name": "Rate", "query": "rate(traces_span_metrics_calls_total{$$__tag}[5m])"}],
        TRACE_TO_METRICS,
    ),
    "metrics to nowhere": ("tempo", ("tracesToMetrics", "datasourceUid"), None, TRACE_TO_METRICS),
    "a tag without a key": ("tempo", ("tracesToMetrics", "tags", 0), {"value": "service"}, TRACE_TO_METRICS),
    "no metrics": ("tempo", ("tracesToMetrics",), None, TRACE_TO_METRICS),
    "graph to nowhere": ("tempo", ("serviceMap", "datasourceUid"), "loki", SERVICE_GRAPH),
    "no graph": ("tempo", ("serviceMap",), None, SERVICE_GRAPH),
    "label of a record": ("loki", ("derivedFields", 0, "matcherRegex"), "^traceid$$", LOG_TO_TRACE),
    "any label of a record": ("loki", ("derivedFields", 0, "matcherRegex"), "_id", LOG_TO_TRACE),
    "no pattern": ("loki", ("derivedFields", 0, "matcherRegex"), "(trace_id", LOG_TO_TRACE),
    "pattern in the line": ("loki", ("derivedFields", 0, "matcherType"), "regex", LOG_TO_TRACE),
    "dollars of a record": ("loki", ("derivedFields", 0, "url"), "${__value.raw}", LOG_TO_TRACE),
    "records to logs": ("loki", ("derivedFields", 0, "datasourceUid"), "loki", LOG_TO_TRACE),
}


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize(("uid", "path", "value", "kind"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_in_the_file_is_seen_and_nothing_else(
    query: Lgtm, order: Trace, tmp_path: Path, *, uid: str, path: tuple[str | int, ...], value: Any, kind: str
) -> None:
    document = yaml.safe_load(FILE.read_text())
    at = next(source for source in document["datasources"] if source["uid"] == uid)["jsonData"]
    for step in path[:-1]:
        at = at[step]
    assert at[path[-1]] != value
    at[path[-1]] = value
    file = tmp_path / "stack.yaml"
    file.write_text(yaml.safe_dump(document))
    broken = [link for link in follow(file, query, order) if not link.found]
    assert broken
    assert [link.name for link in broken if not link.name.startswith(kind)] == []
    assert all(link.detail for link in broken)
