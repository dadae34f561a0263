"""Cases of the alerts on telemetry itself."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_API: Final = {"service_name": "api"}
_FULL: Final = 'service_name="api", service_namespace="shop", deployment_environment_name="production"'
_FULL_LABELS: Final = {
    "service_name": "api",
    "service_namespace": "shop",
    "deployment_environment_name": "production",
}
_SDK: Final = {
    "otel_sdk_processor_span_processed_total": "batching_span_processor",
    "otel_sdk_processor_log_processed_total": "batching_log_processor",
    "otel_sdk_exporter_span_exported_total": "otlp_http_span_exporter",
    "otel_sdk_exporter_log_exported_total": "otlp_http_log_exporter",
    "otel_sdk_exporter_metric_data_point_exported_total": "otlp_http_metric_exporter",
}


def _dropped(values: str, *, labels: str = 'service_name="api"') -> dict[str, str]:
    series = (
        f'otelkit_telemetry_dropped_total{{{labels}, service_instance_id="1", otelkit_signal="traces", otelkit_reason'
    )
    return {f'{series}="queue_full"}}': values, f'{series}="rejected"}}': "0x80"}


_QUEUE_FULL: Final = {"otelkit_signal": "traces", "otelkit_reason": "queue_full"}
_DROPPED = (
    Case(
        alert="TelemetryDropped",
        says="spans are dropped",
        series=_dropped("0x9 500x40"),
        at="4m",
        fires=({**_API, **_QUEUE_FULL},),
    ),
    Case(
        alert="TelemetryDropped",
        says="a process drops spans before anybody has heard of it",
        series=_dropped("_x9 500x40"),
        at="4m",
        fires=({**_API, **_QUEUE_FULL},),
        summary="api dropped 500 of its traces in five minutes: queue_full",
    ),
    Case(
        alert="TelemetryDropped",
        says="a process that has run for long drops some",
        series=_dropped("7x39 9x40"),
        at="10m15s",
        fires=({**_API, **_QUEUE_FULL},),
    ),
    Case(
        alert="TelemetryDropped",
        says="nothing was heard for twenty minutes, and no more were dropped",
        series=_dropped("7x40 _x80 7x40"),
        at="32m",
    ),
    Case(
        alert="TelemetryDropped",
        says="nothing was heard for twenty minutes, in which two more were dropped",
        series=_dropped("7x40 _x80 9x40"),
        at="32m",
        fires=({**_API, **_QUEUE_FULL},),
        summary="api dropped 2 of its traces in five minutes: queue_full",
    ),
    Case(alert="TelemetryDropped", says="the last drop was long ago", series=_dropped("500x80"), at="15m"),
    Case(
        alert="TelemetryDropped",
        says="a service with namespace and environment drops",
        series=_dropped("0x9 500x40", labels=_FULL),
        at="4m",
        fires=({**_FULL_LABELS, **_QUEUE_FULL},),
    ),
)


def _counted(name: str, values: str, *, failed: bool = True) -> dict[str, str]:
    error = ', error_type="queue_full"' if failed else ""
    return {f'{name}{{service_name="api", otel_component_type="{_SDK[name]}", otel_component_name="0"{error}}}': values}


def _loses(name: str) -> dict[str, str]:
    return {**_API, "otel_component_type": _SDK[name], "error_type": "queue_full"}


def _counts(values: str, *, failed: bool = True) -> dict[str, str]:
    return {series: each for name in _SDK for series, each in _counted(name, values, failed=failed).items()}


_LOG_QUEUE: Final = "otel_sdk_processor_log_processed_total"
_SDK_DROPPING = (
    Case(
        alert="SdkQueueDropping",
        says="a queue is full for the first time",
        series=_counted(_LOG_QUEUE, "_x9 20x40"),
        at="4m",
        fires=(_loses(_LOG_QUEUE),),
        summary="api lost 20 items in five minutes in its batching_log_processor: queue_full",
    ),
    Case(
        alert="SdkQueueDropping",
        says="the first items of each kind are lost",
        series=_counts("_x9 20x40"),
        at="4m",
        fires=tuple(map(_loses, _SDK)),
    ),
    Case(
        alert="SdkQueueDropping",
        says="more of each kind are lost",
        series=_counts("20x39 30x40"),
        at="11m",
        fires=tuple(map(_loses, _SDK)),
    ),
    Case(
        alert="SdkQueueDropping",
        says="nothing was heard for twenty minutes, and no more are lost",
        series=_counts("20x40 _x80 20x40"),
        at="32m",
    ),
    Case(
        alert="SdkQueueDropping",
        says="the last loss was long ago, and more is processed",
        series=_counts("20x80") | _counts("0+100x80", failed=False),
        at="15m",
    ),
)


def _spans(delivered: str, counted: str, *, left_out: str = "") -> dict[str, str]:
    way = 'instance="collector:8888", job="otelcol", otel_signal="traces", processor='
    found = {
        'otelkit_telemetry_delivered_total{service_name="api", otelkit_signal="traces"}': delivered,
        # Not what is compared: other signals, and what tail sampling leaves out behind the count.
        'otelkit_telemetry_delivered_total{service_name="api", otelkit_signal="logs"}': "0+900x400",
        'traces_span_metrics_calls_total{service_name="api", span_name="GET"}': counted,
        f'otelcol_processor_incoming_items_total{{{way}"tail_sampling"}}': "0+1000x400",
        f'otelcol_processor_outgoing_items_total{{{way}"tail_sampling"}}': "0+10x400",
        'otelcol_processor_incoming_items_total{otel_signal="logs", processor="memory_limiter"}': "0+1000x400",
        'otelcol_processor_outgoing_items_total{otel_signal="logs", processor="memory_limiter"}': "0+1000x400",
    }
    if left_out:
        found[f'otelcol_processor_incoming_items_total{{{way}"filter/forced"}}'] = "0+100x400"
        found[f'otelcol_processor_outgoing_items_total{{{way}"filter/forced"}}'] = left_out
    return {series: values for series, values in found.items() if values}


_LOSS = (
    Case(
        alert="TelemetryLossSuspected",
        says="6 % of the spans are not counted",
        series=_spans("0+100x100", "0+94x100"),
        at="22m",
        fires=(_API,),
        summary="6% of the spans that api delivered never reached the count of the Collector",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="4 % are not",
        series=_spans("0+100x100", "0+96x100"),
        at="24m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="6 % have not been counted for less than ten minutes",
        series=_spans("0+100x100", "0+94x100"),
        at="9m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="as many as a filter takes out are not counted",
        series=_spans("0+100x100", "0+90x100", left_out="0+90x100"),
        at="24m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="7 % more than a filter takes out are not counted",
        series=_spans("0+100x100", "0+83x100", left_out="0+90x100"),
        at="24m",
        fires=(_API,),
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="none is counted any more, for three hours",
        series=_spans("0+100x400", "0+100x100"),
        at="3h",
        fires=(_API,),
        every="1m",
        step="30s",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="spans of the service go elsewhere, and none was ever counted",
        series=_spans("0+100x100", ""),
        at="24m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="150 spans in ten minutes, half of them counted",
        series=_spans("0+3.75x100", "0+1.875x100"),
        at="24m",
        fires=(_API,),
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="110 spans in ten minutes, half of them counted",
        series=_spans("0+2.75x100", "0+1.375x100"),
        at="24m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="each name of a span comes once, and its series with it",
        series=_spans("0+9x140", "")
        | {
            f'traces_span_metrics_calls_total{{service_name="api", span_name="{number}"}}': f"_x{20 * number} 180x40"
            for number in range(7)
        },
        at="28m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="one span in ten is sampled, and counts for ten",
        series=_spans("0+100x100", "0+1000x100"),
        at="24m",
    ),
    Case(
        alert="TelemetryLossSuspected",
        says="4 % are not counted where the service asks for 2 %",
        series=_spans("0+100x100", "0+96x100"),
        at="24m",
        fires=(_API,),
        parameters=Parameters(services={"api": Service(thresholds={"span_loss": 0.02})}),
    ),
)


def _folded(name: str, labels: str = 'service_name="api"') -> dict[str, str]:
    return {f'{name}{{{labels}, service_instance_id="1", otel_metric_overflow="true"}}': "1+1x60"}


_OVERFLOW = (
    Case(
        alert="MetricOverflow",
        says="a counter is folded",
        series=_folded("shop_orders_total"),
        at="6m",
        fires=({**_API, "metric": "shop_orders_total"},),
        summary="shop_orders_total of api has more series than are kept apart",
    ),
    Case(
        alert="MetricOverflow",
        says="a histogram is folded, in two processes",
        series=_folded("http_server_request_duration_seconds_count")
        | _folded("http_server_request_duration_seconds_sum")
        | _folded("http_server_request_duration_seconds_bucket", 'service_name="api", le="1"')
        | _folded("http_server_request_duration_seconds_bucket", 'service_name="api", service_version="2", le="1"'),
        at="6m",
        fires=({**_API, "metric": "http_server_request_duration_seconds"},),
    ),
    Case(alert="MetricOverflow", says="for less than five minutes", series=_folded("shop_orders_total"), at="4m45s"),
    Case(
        alert="MetricOverflow",
        says="all series are kept apart",
        series={'shop_orders_total{service_name="api"}': "0+1x60"},
        at="8m",
    ),
)


_SAME: Final = "its labels are matched with those of the others, which ask for it too"
SURVIVORS: Final = {
    f'SdkQueueDropping: without error_type!=""{f" #{number}" if number > 1 else ""}': _SAME
    for number in range(1, 4 * len(_SDK))
    if number % 4
}

CASES: Final = (*_DROPPED, *_SDK_DROPPING, *_LOSS, *_OVERFLOW)
