"""The only place that proves the example shop in the real stores: one row per library and signal, in both launch modes.

Each row of `ROWS` is a question to Prometheus, Tempo or Loki in its own language, and holds when it has an answer.
`SIGNALS` says which signals a library must have: a row that is missing is seen as one that fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from otelkit._catalog import STOCK
from otelkit.ops.query import wait_for
from shop import metrics
from support.shop_services import DEADLINE, PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query.lgtm import Lgtm
    from support.shop_services import Shop

SIGNALS = {
    "FastAPI": {"span", "metric", "exemplar", "log"},
    "httpx client": {"span", "metric"},
    "SQLAlchemy, asyncio": {"span", "metric", "exemplar"},
    "SQLAlchemy": {"span", "metric"},
    "Redis": {"span", "metric"},
    "Celery publish": {"span", "metric"},
    "Celery run": {"span", "metric", "exemplar", "log"},
    "Celery beat": {"span", "metric", "log"},
    "exceptions": {"span", "metric", "log"},
    "structlog": {"log"},
    "stdlib logging": {"log"},
    "cache": {"metric"},
    "declared metrics": {"metric"},
    "health": {"metric"},
    "process": {"metric"},
    "verdicts": {"metric"},
    "delivery": {"metric"},
    "metrics of spans": {"metric", "exemplar"},
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What must be in a store.

    Args:
        library: Whose telemetry it is.
        signal: "span" asks Tempo, "log" Loki, "metric" Prometheus; "exemplar" Prometheus, for those of the order.
        service: Which process says it.
        question: TraceQL, LogQL or PromQL. `$` stands for the selection of that process, `TRACE` for the order's trace.
    """

    library: str
    signal: str
    service: str
    question: str

    def __str__(self) -> str:
        """Return the name of the test."""
        return f"{self.library}-{self.signal}-{self.service}"


def rows(library: str, service: str, **questions: str | list[str]) -> Iterator[Row]:
    """Make the rows of one library in one process, by signal."""
    for signal, asked in questions.items():
        for question in [asked] if isinstance(asked, str) else asked:
            yield Row(library=library, signal=signal, service=service, question=question)


CONFIRM = 'celery_task_name="shop.tasks.confirm"'
REMIND = 'celery_task_name="shop.tasks.remind"'
QUEUE = 'messaging_destination_name="celery"'
PROCESS = [
    "process_cpu_time_seconds_total{$} > 0",
    "process_memory_usage_bytes{$} > 0",
    "process_thread_count{$} > 0",
    "process_unix_file_descriptor_count{$} > 0",
    "process_memory_virtual_bytes{$} > 0",
    "cpython_gc_collections_total{$} > 0",
    "cpython_gc_collected_objects_total{$} >= 0",
    "cpython_gc_uncollectable_objects_total{$} >= 0",
    "otelkit_program_start_time_seconds{$} > 1700000000",
]

ROWS = (
    *rows(
        "FastAPI",
        "api",
        span='{$ && trace:id = "TRACE" && name = "POST /orders" && span.http.response.status_code = 201}',
        metric=[
            'http_server_request_duration_seconds_count{$,http_route="/orders",http_response_status_code="201"} == 1',
            "http_server_active_requests{$} >= 0",
            'http_server_request_body_size_bytes_sum{$,http_route="/orders"} > 0',
            'http_server_response_body_size_bytes_sum{$,http_route="/orders"} > 0',
        ],
        exemplar='http_server_request_duration_seconds_bucket{$,http_route="/orders"}',
        log='{$} | trace_id = "TRACE" |= "http.request.completed"',
    ),
    *rows(
        "FastAPI",
        "payment",
        span='{$ && trace:id = "TRACE" && name =~ "POST /webhooks.*" && span.http.response.status_code = 503}',
        metric='http_server_request_duration_seconds_count{$,http_response_status_code="503"} == 1',
    ),
    *rows(
        "httpx client",
        "api",
        span='{$ && trace:id = "TRACE" && name = "POST" && kind = client && span.http.response.status_code = 201}',
        metric='http_client_request_duration_seconds_count{$,http_response_status_code="201"} == 1',
    ),
    *rows(
        "httpx client",
        "worker",
        span='{$ && trace:id = "TRACE" && name = "POST" && kind = client && span.http.response.status_code = 503}',
        metric='http_client_request_duration_seconds_count{$,http_response_status_code="204"} == 1',
    ),
    *rows(
        "SQLAlchemy, asyncio",
        "api",
        span='{$ && trace:id = "TRACE" && name = "INSERT orders" && kind = client && span.db.system.name = "sqlite"}',
        metric=[
            'db_client_operation_duration_seconds_count{$,db_operation_name="INSERT",db_collection_name="orders"} == 2',
            'db_client_connection_count{$,db_client_connection_pool_name=~"sqlite.*"} >= 0',
            'db_client_connection_max{$,db_client_connection_pool_name=~"sqlite.*"} > 0',
            'db_client_connection_pending_requests{$,db_client_connection_pool_name=~"sqlite.*"} == 0',
            'db_client_connection_timeouts_total{$,db_client_connection_pool_name=~"sqlite.*"} == 0',
            'db_client_connection_wait_time_seconds_count{$,db_client_connection_pool_name=~"sqlite.*"} > 0',
        ],
        exemplar='db_client_operation_duration_seconds_bucket{$,db_collection_name="orders",db_operation_name="INSERT"}',
    ),
    *rows(
        "SQLAlchemy",
        "worker",
        span='{$ && trace:id = "TRACE" && name = "UPDATE orders" && kind = client}',
        metric='db_client_operation_duration_seconds_count{$,db_operation_name="UPDATE"} == 1',
    ),
    *rows(
        "Redis",
        "api",
        span='{$ && trace:id = "TRACE" && name = "GET" && kind = client && span.db.system.name = "redis"}',
        metric=[
            'db_client_operation_duration_seconds_count{$,db_system_name="redis",db_operation_name="GET"} > 0',
            'db_client_connection_count{$,db_client_connection_pool_name=~".*:[0-9]+/.*"} >= 0',
        ],
    ),
    *rows(
        "cache",
        "api",
        metric=[
            'cache_requests_total{$,cache_name="products",cache_operation="get",cache_result="miss"} == 1',
            'cache_requests_total{$,cache_name="products",cache_operation="get",cache_result="hit"} == 2',
            'cache_requests_total{$,cache_name="products",cache_operation="get",cache_result="error"} == 0',
            'cache_requests_total{$,cache_name="products",cache_operation="set",cache_result="ok"} == 1',
            'cache_operation_duration_seconds_count{$,cache_name="products"} > 0',
        ],
    ),
    *rows(
        "Celery publish",
        "api",
        span='{$ && trace:id = "TRACE" && name = "apply_async/shop.tasks.confirm" && kind = producer}',
        metric=[
            f"messaging_client_sent_messages_total{{$,{CONFIRM}}} == 1",
            'celery_queue_depth{$,messaging_destination_name="celery"} >= 0',
        ],
    ),
    *rows(
        "Celery run",
        "worker",
        span=[
            '{$ && trace:id = "TRACE" && name = "run/shop.tasks.confirm" && span.celery.task.state = "retry"}',
            '{$ && trace:id = "TRACE" && name = "run/shop.tasks.confirm" && span.celery.task.state = "success"}',
        ],
        metric=[
            f'celery_task_executions_total{{$,{CONFIRM},celery_task_state="retry"}} == 1',
            f'celery_task_executions_total{{$,{CONFIRM},celery_task_state="success"}} == 1',
            f"celery_task_duration_seconds_count{{$,{CONFIRM}}} > 0",
            'celery_task_wait_time_seconds_count{$,messaging_destination_name="celery"} > 0',
            "celery_task_active{$} >= 0",
            "celery_worker_concurrency{$} == 1",
            'celery_queue_depth{$,messaging_destination_name="celery"} >= 0',
        ],
        exemplar=f"celery_task_duration_seconds_bucket{{$,{CONFIRM}}}",
        log='{$} | trace_id = "TRACE" | celery_task_name != "" | celery_task_id != "" |= "order.confirmed"',
    ),
    *rows(
        "exceptions",
        "payment",
        span='{$ && name = "POST /charges" && status = error && span.exception.fingerprint != nil}',
        metric='otelkit_exceptions_total{$,http_route="/charges",exception_fingerprint!=""} == 1',
        log='{$} | exception_type = "KeyError" | exception_fingerprint != "" | exception_stacktrace != ""',
    ),
    *rows("structlog", "api", log='{$} | trace_id = "TRACE" | amount = "7800" |= "order.placed"'),
    *rows("structlog", "worker", log='{$} | trace_id = "TRACE" | amount = "7800" |= "order.confirmed"'),
    *rows("stdlib logging", "payment", log='{$} | trace_id = "TRACE" | amount = "7800" |= "charge.accepted"'),
    *rows("stdlib logging", "worker", log='{$} | trace_id = "TRACE" |= "succeeded in"'),
    *rows(
        "declared metrics",
        "api",
        metric=[
            'shop_orders_total{$,shop_order_status="placed"} == 1',
            'shop_orders_total{$,shop_order_status="failed"} == 1',
            'shop_orders_total{$,shop_order_status="sold_out"} == 0',
            "app_user_signups_total{$} == 1",
            'app_auth_attempts_total{$,app_auth_outcome="success"} == 1',
            'app_auth_attempts_total{$,app_auth_outcome="failure"} == 1',
        ],
    ),
    *rows(
        "declared metrics",
        "worker",
        metric=[
            "sum(shop_revenue_EUR_total{$}) == 78",
            'sum(app_webhook_deliveries_total{$,app_webhook_outcome="success"}) == 1',
            'sum(app_webhook_deliveries_total{$,app_webhook_outcome="failure"}) == 1',
        ],
    ),
    *rows(
        "health",
        "api",
        metric=[
            'otelkit_health_check_status{$,otelkit_health_check="database",otelkit_health_critical="true"} == 1',
            'otelkit_health_check_status{$,otelkit_health_check="redis",otelkit_health_critical="false"} == 1',
            'otelkit_health_check_status{$,otelkit_health_check="broker",otelkit_health_critical="false"} == 1',
            'otelkit_health_check_duration_seconds{$,otelkit_health_check="database"} > 0',
        ],
    ),
    *rows("health", "payment", metric='otelkit_health_check_status{$,otelkit_health_check="database"} == 1'),
    *(row for service in PROCESSES for row in rows("process", service, metric=PROCESS)),
    *rows(
        "verdicts",
        "api",
        metric=[
            f'otelkit_integration_status{{$,otelkit_integration="{name}",otelkit_verdict="{verdict}"}} == 1'
            for name, verdict in (
                ("fastapi", "native"),
                ("httpx", "contrib"),
                ("sqlalchemy", "ours"),
                ("redis", "ours"),
                ("celery", "ours"),
            )
        ],
    ),
    *rows("process", "api", metric="python_eventloop_lag_seconds_count{$} > 0"),
    *(
        row
        for service in PROCESSES
        for row in rows(
            "delivery",
            service,
            metric=[
                'otelkit_telemetry_delivered_total{$,otelkit_signal="traces"} > 0',
                'otelkit_telemetry_delivered_total{$,otelkit_signal="logs"} > 0',
                'otelkit_telemetry_emitted_total{$,otelkit_signal="metrics"} > 0',
                'otelkit_telemetry_pending{$,otelkit_signal="traces"} >= 0',
                "absent(otelkit_telemetry_dropped_total{$} > 0)",
                "otel_sdk_exporter_operation_duration_seconds_count{$} > 0",
            ],
        )
    ),
    *rows(
        "Celery beat",
        "beat",
        span='{$ && name = "apply_async/shop.tasks.remind" && kind = producer}',
        metric=[
            "celery_beat_last_tick_time_seconds{$} > 0",
            f"messaging_client_sent_messages_total{{$,{REMIND}}} > 0",
        ],
        log='{$} |= "Sending due task remind"',
    ),
    # Made by the Collector: of requests, statements, commands and messages, by the attributes that become labels.
    *rows(
        "metrics of spans",
        "api",
        metric=[
            'traces_span_metrics_calls_total{$,http_route="/orders",http_response_status_code="201"} == 1',
            'traces_span_metrics_calls_total{$,span_kind="SPAN_KIND_CLIENT",db_system_name="sqlite"} > 0',
            'traces_span_metrics_calls_total{$,span_kind="SPAN_KIND_CLIENT",db_system_name="redis"} > 0',
            f'traces_span_metrics_calls_total{{$,span_kind="SPAN_KIND_PRODUCER",{QUEUE}}} == 1',
            'traces_span_metrics_duration_seconds_count{$,http_request_method="POST",http_route="/orders"} > 0',
        ],
        exemplar='traces_span_metrics_duration_seconds_bucket{$,http_route="/orders"}',
    ),
    *rows(
        "metrics of spans",
        "worker",
        metric=f'traces_span_metrics_calls_total{{$,span_kind="SPAN_KIND_CONSUMER",{QUEUE}}} > 0',
    ),
    *rows(
        "metrics of spans",
        "payment",
        metric='traces_span_metrics_calls_total{$,http_route="/charges",status_code="STATUS_CODE_ERROR"} == 1',
    ),
)


def selection(shop: Shop, row: Row) -> str:
    """Select the process of a row, in the language of its question."""
    if row.signal == "span":
        return f'resource.service.namespace = "{shop.namespace}" && resource.service.name = "{row.service}"'
    return f'service_namespace="{shop.namespace}",service_name="{row.service}"'


def answer(shop: Shop, row: Row, query: Lgtm) -> object:
    """Put the question of a row."""
    question = row.question.replace("$", selection(shop, row)).replace("TRACE", shop.order)
    match row.signal:
        case "span":
            return query.tempo.search(question)
        case "log":
            return query.loki.query(question)
        case "exemplar":
            return [each for each in query.prometheus.exemplars(question) if each.trace_id == shop.order]
        case _:
            return query.prometheus.query(question)


def test_every_library_has_a_row_for_each_of_its_signals() -> None:
    found: dict[str, set[str]] = {}
    for row in ROWS:
        found.setdefault(row.library, set()).add(row.signal)
    assert found == SIGNALS
    assert {row.service for row in ROWS} == set(PROCESSES)


def test_every_metric_of_the_catalogues_has_a_row() -> None:
    """Those of otelkit and of the shop: one that no row asks for could be missing, and nobody would see it."""
    asked = {name for row in ROWS if row.signal == "metric" for name in re.findall(r"(\w+)\{\$", row.question)}
    declared = [*(stock.metric for stock in STOCK), *metrics.catalog.metrics]
    assert [metric.name for metric in declared if asked.isdisjoint(metric.series)] == []


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_store_has_an_answer(shop: Shop, query: Lgtm, row: Row) -> None:
    wait_for(lambda: answer(shop, row, query), bool, DEADLINE)


def test_an_order_is_one_trace_through_every_process(shop: Shop, query: Lgtm) -> None:
    wanted = ["POST /orders", "POST /charges", *["run/shop.tasks.confirm", "POST /webhooks/order-confirmed"] * 2]

    def work() -> list[str]:
        trace = query.trace(shop.order)
        return sorted(span.name for span in trace.spans if span.kind in {"SERVER", "CONSUMER"}) if trace else []

    wait_for(work, lambda names: names == sorted(wanted), DEADLINE)
    trace = query.trace(shop.order)
    assert trace is not None
    (root,) = [span for span in trace.spans if not span.parent_span_id]
    assert (root.service, root.name) == ("api", "POST /orders")
    assert {span.parent_span_id for span in trace.spans} - {span.span_id for span in trace.spans} == {""}
    first, second = [span for span in trace.spans if span.name == "run/shop.tasks.confirm"]
    assert first.parent_span_id == second.parent_span_id
    assert [link.span_id for link in second.links] == [first.span_id]
