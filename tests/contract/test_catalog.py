"""What rules and boards select exists in the catalogue, under these names and by these labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import otelkit
from otelkit import metrics
from otelkit._catalog import PROCESS, RENAMED, STOCK

ROOT = Path(__file__).resolve().parents[2]

SELECTED = {
    "http.server.request.duration": (
        "http_server_request_duration_seconds_bucket",
        "http.route http.request.method http.response.status_code",
    ),
    "http.server.active_requests": ("http_server_active_requests", ""),
    "http.server.request.body.size": ("http_server_request_body_size_bytes_bucket", "http.route"),
    "http.server.response.body.size": ("http_server_response_body_size_bytes_bucket", "http.route"),
    "db.client.operation.duration": (
        "db_client_operation_duration_seconds_bucket",
        "db.system.name db.operation.name db.collection.name error.type",
    ),
    "db.client.connection.count": (
        "db_client_connection_count",
        "db.client.connection.pool.name db.client.connection.state",
    ),
    "db.client.connection.max": ("db_client_connection_max", "db.client.connection.pool.name"),
    "db.client.connection.pending_requests": (
        "db_client_connection_pending_requests",
        "db.client.connection.pool.name",
    ),
    "db.client.connection.timeouts": ("db_client_connection_timeouts_total", "db.client.connection.pool.name"),
    "db.client.connection.wait_time": (
        "db_client_connection_wait_time_seconds_bucket",
        "db.client.connection.pool.name",
    ),
    "otelkit.integration.status": ("otelkit_integration_status", "otelkit.integration otelkit.verdict"),
    "otelkit.telemetry.emitted": ("otelkit_telemetry_emitted_total", "otelkit.signal"),
    "otelkit.telemetry.delivered": ("otelkit_telemetry_delivered_total", "otelkit.signal"),
    "otelkit.telemetry.dropped": ("otelkit_telemetry_dropped_total", "otelkit.signal otelkit.reason"),
    "otelkit.telemetry.pending": ("otelkit_telemetry_pending", "otelkit.signal"),
    "otel.sdk.exporter.operation.duration": (
        "otel_sdk_exporter_operation_duration_seconds_bucket",
        "otel.component.type",
    ),
    "celery.task.executions": (
        "celery_task_executions_total",
        "celery.task.name celery.task.state messaging.destination.name",
    ),
    "celery.task.duration": ("celery_task_duration_seconds_bucket", "celery.task.name"),
    "celery.task.wait_time": ("celery_task_wait_time_seconds_bucket", "messaging.destination.name"),
    "celery.queue.depth": ("celery_queue_depth", "messaging.destination.name"),
    "celery.task.active": ("celery_task_active", ""),
    "celery.worker.concurrency": ("celery_worker_concurrency", ""),
    "celery.beat.last_tick.time": ("celery_beat_last_tick_time_seconds", ""),
    "messaging.client.sent.messages": (
        "messaging_client_sent_messages_total",
        "messaging.destination.name celery.task.name error.type",
    ),
    "cache.requests": ("cache_requests_total", "cache.name cache.operation cache.result"),
    "cache.operation.duration": ("cache_operation_duration_seconds_bucket", "cache.name cache.operation"),
    "otelkit.health.check.status": (
        "otelkit_health_check_status",
        "otelkit.health.check otelkit.health.critical",
    ),
    "otelkit.health.check.duration": ("otelkit_health_check_duration_seconds", "otelkit.health.check"),
    "otelkit.exceptions": ("otelkit_exceptions_total", "exception.fingerprint http.route"),
    "process.cpu.time": ("process_cpu_time_seconds_total", ""),
    "process.memory.usage": ("process_memory_usage_bytes", ""),
    "process.unix.file_descriptor.count": ("process_unix_file_descriptor_count", ""),
    "otelkit.program.start.time": ("otelkit_program_start_time_seconds", ""),
    "python.eventloop.lag": ("python_eventloop_lag_seconds_bucket", ""),
}
"""By the name that is emitted: the series in Prometheus, and the labels that it is selected or grouped by."""

DECLARED = {stock.metric.name: stock.metric for stock in STOCK}


@pytest.mark.parametrize("name", SELECTED)
def test_a_selected_series_is_in_the_catalogue_with_its_labels(name: str) -> None:
    series, labels = SELECTED[name]
    assert series in DECLARED[name].series
    assert set(labels.split()) <= set(DECLARED[name].attributes)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("http.server.request.duration", 0.5),  # the latency objective
        ("db.client.operation.duration", 1.0),  # what a slow statement is
        ("python.eventloop.lag", 0.25),  # what a blocked loop is
        ("celery.task.wait_time", 1800.0),  # the longest wait that is told apart
    ],
)
def test_a_threshold_is_the_bound_of_a_bucket(name: str, bound: float) -> None:
    assert bound in DECLARED[name].buckets


def test_renamed_labels_are_declared_under_their_new_name_only() -> None:
    for group, keys in RENAMED.items():
        declared = {key for name, metric in DECLARED.items() if name.startswith(group) for key in metric.attributes}
        assert not declared & set(keys)
    assert set(RENAMED["db.client."].values()) <= set(DECLARED["db.client.operation.duration"].attributes)


def test_no_two_metrics_share_a_series() -> None:
    series = [name for metric in DECLARED.values() for name in metric.series]
    assert len(series) == len(set(series))


def test_a_process_tells_its_processor_memory_threads_files_garbage_and_event_loop() -> None:
    told = {stock.metric.name for stock in PROCESS}
    assert told >= {
        "process.cpu.time",
        "process.memory.usage",
        "process.thread.count",
        "process.unix.file_descriptor.count",
        "cpython.gc.collections",
        "python.eventloop.lag",
    }


def test_every_instrument_of_otelkit_is_made_from_its_declaration() -> None:
    making = re.compile(r"\.create_(?:counter|histogram|gauge|up_down_counter|observable_\w+)\(")
    allowed = {"otelkit/metrics/_instruments.py", "otelkit/_guard/_metrics.py"}
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "otelkit").rglob("*.py")
        if making.search(path.read_text(encoding="utf-8"))
    }
    assert found <= allowed


def test_the_business_metrics_that_boards_select_can_be_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_known", {})
    catalog = otelkit.Catalog("shop")
    ends = ("success", "failure")
    catalog.counter(
        "shop.orders",
        unit="{order}",
        description="x",
        attributes={"shop.order.status": ("placed", "declined"), "shop.channel": str},
    )
    catalog.counter("shop.revenue", unit="EUR", description="x")
    catalog.counter("app.auth.attempts", unit="{attempt}", description="x", attributes={"app.auth.outcome": ends})
    catalog.counter("app.user.signups", unit="{user}", description="x")
    delivered = {"app.webhook.outcome": ends}
    catalog.counter("app.webhook.deliveries", unit="{delivery}", description="x", attributes=delivered)
    assert [metric.series for metric in catalog.metrics] == [
        ("shop_orders_total",),
        ("shop_revenue_EUR_total",),
        ("app_auth_attempts_total",),
        ("app_user_signups_total",),
        ("app_webhook_deliveries_total",),
    ]
