"""The only place that proves the example shop in the real stores: one row per library and signal, in both launch modes.

Each row of `ROWS` is a question to Prometheus, Tempo or Loki in its own language, and holds when it has an answer.
`SIGNALS` says which signals a library must have: a row that is missing is seen as one that fails.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from otelkit._catalog import STOCK
from otelkit.ops.query import wait_for
from shop import metrics
from support import lanes, redis_server
from support.processes import HOST, PYTHON, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query.lgtm import Lgtm
    from support.redis_server import RedisServer
    from support.stack import Stack

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
APPS = Path(__file__).parent / "apps"
LAUNCHER = Path(sys.executable).parent / "opentelemetry-instrument"
START = 60.0  # a busy machine takes that long to import a framework
DEADLINE = 30.0  # a retry pauses for a second, beat asks every two, metrics are sent every second
MODES = ("explicit", "launched")
PROCESSES = {
    "payment": ["uvicorn"],
    "api": ["uvicorn"],
    "worker": ["celery", "-A", "{app}", "worker", "--concurrency", "1", "--without-mingle", "--without-gossip"],
    "beat": ["celery", "-A", "{app}", "beat", "--schedule", "schedule", "--pidfile="],
}

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
PROCESS = [
    "process_cpu_time_seconds_total{$} > 0",
    "process_memory_usage_bytes{$} > 0",
    "process_thread_count{$} > 0",
    "process_unix_file_descriptor_count{$} > 0",
    "process_memory_virtual_bytes{$} > 0",
    "cpython_gc_collections_total{$} > 0",
    "cpython_gc_collected_objects_total{$} >= 0",
    "cpython_gc_uncollectable_objects_total{$} >= 0",
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
)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The running shop, after some visits.

    Args:
        namespace: Its `service.namespace`, which nobody else uses.
        order: The trace of the order that went well.
    """

    namespace: str
    order: str

    def selection(self, row: Row) -> str:
        """Select the process of a row, in the language of its question."""
        if row.signal == "span":
            return f'resource.service.namespace = "{self.namespace}" && resource.service.name = "{row.service}"'
        return f'service_namespace="{self.namespace}",service_name="{row.service}"'

    def ask(self, row: Row, query: Lgtm) -> object:
        """Put the question of a row."""
        question = row.question.replace("$", self.selection(row)).replace("TRACE", self.order)
        match row.signal:
            case "span":
                return query.tempo.search(question)
            case "log":
                return query.loki.query(question)
            case "exemplar":
                return [each for each in query.prometheus.exemplars(question) if each.trace_id == self.order]
            case _:
                return query.prometheus.query(question)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if absent := redis_server.missing():
        lanes.skipped("e2e", absent)
        pytest.skip(f"e2e: {absent}")
    with redis_server.server() as server:
        yield server


@pytest.fixture(scope="module", params=MODES)
def shop(
    request: pytest.FixtureRequest, running: Stack, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """All processes, launched one way, after some visits; they run on while their telemetry is looked at."""
    mode: str = request.param
    folder = tmp_path_factory.mktemp(mode)
    namespace = "shop" if mode == "explicit" else folder.name
    ports = {"payment": free_port(), "api": free_port()}
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(EXAMPLES), str(APPS)]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={namespace}",
        "SHOP_DATABASE_URL": f"sqlite:///{folder / 'shop.db'}",
        "PAYMENT_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'payment.db'}",
        "PAYMENT_URL": f"http://{HOST}:{ports['payment']}",
        "REDIS_URL": redis.url(2 * MODES.index(mode)),
        "BROKER_URL": redis.url(2 * MODES.index(mode) + 1),
        "SHOP_REMIND_SECONDS": "2",
    }

    def launched(service: str) -> Process:
        app = f"shop.{service}:app"
        own = {**environment, "SHOP_APP": app}
        command = PROCESSES[service]
        if command == ["uvicorn"]:
            command = ["uvicorn", "{app}", "--host", HOST, "--port", str(ports[service])]
        program: list[str | Path] = [PYTHON, "-m"]
        if mode == "launched":
            app = "launched:app"
            own["OTEL_SERVICE_NAME"] = service
            program = [LAUNCHER, PYTHON, "-m"]
        return Process([*program, *(part.format(app=app) for part in command)], folder=folder, env=own, name=service)

    with ExitStack() as stack:
        processes = {service: stack.enter_context(launched(service)) for service in ("payment", "api", "worker")}
        for service, port in ports.items():
            processes[service].wait_http(f"http://{HOST}:{port}/health/ready", within=START)
        stack.enter_context(launched("beat"))  # the tables are there
        with httpx.Client(base_url=f"http://{HOST}:{ports['api']}", trust_env=False, timeout=DEADLINE) as customer:
            yield Shop(namespace=namespace, order=visit(customer))


def visit(customer: httpx.Client) -> str:
    """Order twice, look at a product, sign up and log in; return the trace id of the order that went well."""
    failed = customer.post("/orders", json={"sku": "teapot", "card": "diners"})
    assert failed.status_code == httpx.codes.BAD_GATEWAY
    ordered = customer.post("/orders", json={"sku": "teapot", "quantity": 2, "card": "mastercard"})
    assert ordered.status_code == httpx.codes.CREATED, ordered.text
    assert customer.get("/products/teapot").json() == {"sku": "teapot", "price": 39_00}
    ada: dict[str, Any] = {"email": "ada@example.org", "password": "correct horse"}
    assert customer.post("/users", json=ada).status_code == httpx.codes.CREATED
    assert customer.post("/users/log-in", json=ada).status_code == httpx.codes.OK
    wrong = customer.post("/users/log-in", json=ada | {"password": "incorrect horse"})
    assert wrong.status_code == httpx.codes.UNAUTHORIZED
    return str(ordered.headers["traceresponse"]).split("-")[1]


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
    wait_for(lambda: shop.ask(row, query), bool, DEADLINE)


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
