"""The only place for the board of telemetry itself: whether what services emit arrives, and where it does not."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, RATE, SERVED, threshold, to
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target

_SIGNAL: Final = "{{signal}}"
_STACK: Final = to("stack", "Stack")
_ALERTS: Final = to("alerts", "Alerts")
_COST: Final = to("cost", "Cost")

_SYMPTOMS = (
    Panel(
        title="Lost",
        about="Items that the Collector gave up in five minutes: refused by a store, or its queue was full.",
        unit="short",
        targets=(
            Target(
                query="sum by (signal, exporter) (collector_signal:lost_items:increase5m)",
                legend="{{signal}} {{exporter}}",
            ),
        ),
        link=_ALERTS,
        width=8,
        may_be_empty="the counts are born with the first loss",
    ),
    Panel(
        title="Dropped in services",
        about="Items that services lost before they were sent, and why: a full queue, an error, the end.",
        unit="short",
        targets=(
            Target(
                query="sum by (service_name, otelkit_signal, otelkit_reason) "
                f"(increase(otelkit_telemetry_dropped_total{{{CHOSEN}}}{RATE})) > 0",
                legend="{{service_name}} {{otelkit_signal}} {{otelkit_reason}}",
            ),
        ),
        link=_ALERTS,
        width=8,
        may_be_empty="nothing is dropped where all is well",
    ),
    Panel(
        title="Refused",
        about="Items that the Collector did not take for lack of memory. Services keep and send them again.",
        unit="ops",
        targets=(Target(query="sum by (signal) (collector_signal:refused_items:rate5m)", legend=_SIGNAL),),
        link=_ALERTS,
        width=8,
    ),
    Panel(
        title="Delivered",
        about="Share of what services handed over that was acknowledged. Below 100 % for long: loss, or a jam.",
        unit="percentunit",
        targets=(
            Target(
                query="sum by (service_name, otelkit_signal) "
                f"(rate(otelkit_telemetry_delivered_total{{{CHOSEN}}}{RATE})) / sum by (service_name, otelkit_signal) "
                f"(rate(otelkit_telemetry_emitted_total{{{CHOSEN}}}{RATE}) > 0)",
                legend="{{service_name}} {{otelkit_signal}}",
            ),
        ),
        link=_ALERTS,
        width=8,
    ),
    Panel(
        title="Spans for each request",
        about="Server spans that arrived for each request that was counted. Well below 1: sampling, or loss.",
        unit="percentunit",
        targets=(
            Target(
                query="sum by (service_name) (rate(traces_span_metrics_calls_total"
                f'{{{SERVED}, span_kind="SPAN_KIND_SERVER"}}{RATE})) / sum by (service_name) '
                f"(rate(http_server_request_duration_seconds_count{{{SERVED}}}{RATE}))",
                legend="{{service_name}}",
            ),
        ),
        link=_ALERTS,
        width=8,
    ),
    Panel(
        title="Libraries",
        about="How each library is instrumented: 1 works, 0 should and does not. `otelkit doctor` says why.",
        unit="short",
        targets=(
            Target(
                query="min by (service_name, otelkit_integration, otelkit_verdict) "
                f"(otelkit_integration_status{{{CHOSEN}}})",
                legend="Works",
                instant=True,
            ),
        ),
        link=to("red", "Requests"),
        kind="table",
        width=8,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "otelkit_integration": Column(title="Library"),
            "otelkit_verdict": Column(title="By"),
        },
    ),
)

_TRAFFIC = (
    Panel(
        title="Accepted",
        about="Items that the Collector took each second, by signal. A fall is a service that does not send.",
        unit="ops",
        targets=(Target(query="sum by (signal) (collector_signal:accepted_items:rate5m)", legend=_SIGNAL),),
        link=to("overview", "Overview"),
    ),
    Panel(
        title="Sent",
        about="Items that the Collector delivered each second. It stays below what was accepted while a store is away.",
        unit="ops",
        targets=(
            Target(
                query="sum by (signal, exporter) (collector_signal:sent_items:rate5m)",
                legend="{{signal}} {{exporter}}",
            ),
        ),
        link=_STACK,
    ),
    Panel(
        title="Queues",
        about="Share of each queue of the Collector that is taken. It fills while a store is away.",
        unit="percentunit",
        targets=(
            Target(
                query="max by (exporter, data_type) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
                legend="{{exporter}} {{data_type}}",
            ),
        ),
        link=_STACK,
        warn=threshold("queue_fill"),
        most=1.0,
    ),
    Panel(
        title="Export p95",
        about="How long a service took to hand a batch over to the Collector. Slow: the Collector, or the network.",
        unit="s",
        targets=(
            Target(
                query="histogram_quantile(0.95, sum by (service_name, otel_component_type, le) "
                f"(rate(otel_sdk_exporter_operation_duration_seconds_bucket{{{CHOSEN}}}{RATE})))",
                legend="{{service_name}} {{otel_component_type}}",
            ),
        ),
        link=_STACK,
        width=12,
    ),
    Panel(
        title="Waiting in services",
        about="Items that services have not delivered yet. Rising in all of them: the Collector is away.",
        unit="short",
        targets=(
            Target(
                query=f"sum by (service_name, otelkit_signal) (otelkit_telemetry_pending{{{CHOSEN}}})",
                legend="{{service_name}} {{otelkit_signal}}",
            ),
        ),
        link=_STACK,
        width=12,
    ),
)

_RESOURCES = (
    Panel(
        title="Series in Prometheus",
        about="Series in memory: what metrics cost. A jump is a label with too many values.",
        unit="short",
        targets=(Target(query="prometheus_tsdb_head_series", legend="{{instance}}"),),
        link=_COST,
        width=6,
        warn=threshold("max_series"),
    ),
    Panel(
        title="Cut off",
        about="Metrics with more sets of attributes than are kept: the rest is counted together.",
        unit="short",
        targets=(
            Target(
                query=f'count by (service_name, __name__) ({{{CHOSEN}, otel_metric_overflow="true"}})',
                legend="Processes",
                instant=True,
            ),
        ),
        link=_COST,
        kind="table",
        width=6,
        columns={"service_name": Column(title="Service", board="red", var="svc"), "__name__": Column(title="Metric")},
        may_be_empty="no metric has too many",
    ),
    Panel(
        title="Exemplars held",
        about="Traces that points of graphs lead to. None: exemplars are switched off in Prometheus.",
        unit="short",
        targets=(Target(query="prometheus_tsdb_exemplar_exemplars_in_storage", legend="{{instance}}"),),
        link=to("follow", "Follow a request"),
        kind="stat",
        width=6,
    ),
    Panel(
        title="Collector's memory",
        about="Its heap. Near its limit it refuses what comes.",
        unit="bytes",
        targets=(Target(query="otelcol_process_runtime_heap_alloc_bytes", legend="{{instance}}"),),
        link=_STACK,
        width=6,
        warn=threshold("collector_heap"),
    ),
)

BOARD: Final = Board(
    name="pipeline",
    title="Pipeline",
    question="Is the telemetry complete, and if not, where is it lost?",
    rows={"Symptoms": _SYMPTOMS, "Traffic": _TRAFFIC, "Resources": _RESOURCES},
    variables=CHOICE,
)
