"""The only place for the alerts on telemetry itself, as services tell of it: dropped, lost, folded."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups._grown import grown
from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

# Of a plain SDK: what it counts with an `error.type` is lost, by its queue or by its exporter.
_OF_SDKS: Final = (
    "otel_sdk_processor_span_processed_total",
    "otel_sdk_processor_log_processed_total",
    "otel_sdk_exporter_span_exported_total",
    "otel_sdk_exporter_log_exported_total",
    "otel_sdk_exporter_metric_data_point_exported_total",
)
_LEFT_OUT: Final = 'otel_signal="traces", processor!~"tail_sampling.*"'

RECORDINGS: Final = (
    Recording(
        name="service:spans_delivered:increase10m",
        expr="sum by ($S) "
        '(increase(otelkit_telemetry_delivered_total{service_name!="", otelkit_signal="traces"}[10m]))',
    ),
    Recording(
        name="service:spans_counted:increase10m",
        expr="sum by ($S) (" + grown('traces_span_metrics_calls_total{service_name!=""}', "10m", "10m") + ")",
    ),
    # On purpose, before they are counted: a filter, a sampler. What tail sampling leaves out has been counted.
    Recording(
        name="collector:spans_left_out:increase10m",
        expr=f"sum(increase(otelcol_processor_incoming_items_total{{{_LEFT_OUT}}}[10m])) - "
        f"sum(increase(otelcol_processor_outgoing_items_total{{{_LEFT_OUT}}}[10m]))",
    ),
)

SPAN_LOSS: Final = Threshold(
    name="span_loss",
    default=0.05,
    unit="ratio",
    about="share of the delivered spans that the Collector has not counted",
    observed="1 - service:spans_counted:increase10m / service:spans_delivered:increase10m",
)

_WHY: Final = Look(
    # Not by `increase()`: the first loss of a process has no value before it.
    says="how many of what since its processes began, and why",
    query="sum by (otelkit_signal, otelkit_reason) "
    '(otelkit_telemetry_dropped_total{service_name="<service_name>"}) > 0',
)

DROPPED: Final = Alert(
    name="TelemetryDropped",
    group="telemetry",
    severity="warning",
    expr=f"sum by ($S, otelkit_signal, otelkit_reason) ({grown('otelkit_telemetry_dropped_total{$service}')}) > 0",
    feels="Traces, metrics or logs of the service have gaps. Its users notice nothing.",
    summary='{{ $labels.service_name }} dropped {{ $value | printf "%.0f" }} of its {{ $labels.otelkit_signal }} in '
    "five minutes: {{ $labels.otelkit_reason }}",
    runbook=Runbook(
        looks=(
            _WHY,
            Look(
                says="whether they wait: a queue that stands still has nobody who takes",
                query='sum by (otelkit_signal) (otelkit_telemetry_pending{service_name="<service_name>"})',
            ),
            Look(
                says="how exports go: an `error_type` is the receiver's answer, or that of the network",
                query="sum by (otel_component_type, error_type) "
                "(rate(otel_sdk_exporter_operation_duration_seconds_count"
                '{service_name="<service_name>"}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="`queue_full`: the Collector was away, or slow, for longer than the queue holds.",
                sign="`CollectorDown` or `CollectorRefusing` fires, or the service cannot reach it.",
                fix="Mend the Collector first. Outages that have to be outlived: a Collector beside the service, "
                "overlay `agent`; or raise `OTELKIT_QUEUE_BYTES` and `OTEL_BSP_MAX_QUEUE_SIZE`.",
            ),
            Cause(
                what="`rejected`: whoever receives refuses them for good.",
                sign="The service's stderr has the answer: a status, a wrong token, a limit.",
                fix="Correct `OTEL_EXPORTER_OTLP_HEADERS` or the endpoint; `otelkit doctor --prove` in its environment "
                "tells which.",
            ),
            Cause(
                what="`shutdown`: the process left before all was delivered.",
                sign="At each deployment, and at no other time.",
                fix="Give it longer between SIGTERM and SIGKILL than `OTELKIT_SHUTDOWN_TIMEOUT`.",
            ),
            Cause(
                what="`too_large`, `invalid`: single items that nobody takes, or of which no bytes can be made.",
                sign="Few, and always of the same code.",
                fix="Look for what puts much into an attribute; its stderr names it.",
            ),
        ),
        tell="The owners of the service.",
        note="Five minutes after the last drop it is over; what was dropped stays lost.",
    ),
    drill="dropped-telemetry",
)

SDK_DROPPING: Final = Alert(
    name="SdkQueueDropping",
    group="telemetry",
    severity="warning",
    expr="sum by ($S, otel_component_type, error_type) (\n"
    + "\nor ".join(grown(f'{name}{{error_type!="", $service}}') for name in _OF_SDKS)
    + "\n) > 0",
    feels="Traces, metrics or logs of the service have gaps. Its users notice nothing.",
    summary='{{ $labels.service_name }} lost {{ $value | printf "%.0f" }} items in five minutes in its '
    "{{ $labels.otel_component_type }}: {{ $labels.error_type }}",
    runbook=Runbook(
        looks=(
            Look(
                says="where they were lost, and why",
                query='sum by (__name__, otel_component_type, error_type) ({__name__=~"otel_sdk_(processor_(span|log)_'
                'processed|exporter_(span|log|metric_data_point)_exported)_total", service_name="<service_name>", '
                'error_type!=""})',
            ),
            Look(
                says="how full its queues are",
                query="sum by (otel_component_name) (otel_sdk_processor_span_queue_size"
                '{service_name="<service_name>"}) / sum by (otel_component_name) '
                '(otel_sdk_processor_span_queue_capacity{service_name="<service_name>"})',
            ),
        ),
        causes=(
            Cause(
                what="`queue_full`: it makes more than it exports.",
                sign="The component is a batching processor; the queue stands at its capacity, 2048 unless set.",
                fix="Raise `OTEL_BSP_MAX_QUEUE_SIZE` (`OTEL_BLRP_MAX_QUEUE_SIZE` for logs); see whether the Collector "
                "is slow. Or let otelkit export: its queue counts bytes.",
            ),
            Cause(
                what="The exporter gave up: its retries are over.",
                sign="The component is an exporter; `error_type` is what went wrong.",
                fix="Mend the Collector, or the way to it: `otelkit doctor --prove` in the service's environment.",
            ),
        ),
        tell="The owners of the service.",
        note="Of services with a plain SDK that counts this (`OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`). Those with "
        "otelkit have `TelemetryDropped`.",
    ),
    late=_OF_SDKS,
    undrilled="the shop has no plain SDK",
)

LOSS_SUSPECTED: Final = Alert(
    name="TelemetryLossSuspected",
    group="telemetry",
    severity="warning",
    lasting="10m",
    # Compared with what was acknowledged, not with requests: a URL that is excluded, a caller that does not sample, a
    # rule that drops make no span to begin with. A service that was counted within a day and no more counts as zero.
    expr="(service:spans_delivered:increase10m{$service}\n  - on ($S) (service:spans_counted:increase10m or on ($S) "
    "last_over_time(service:spans_counted:increase10m[1d]) * 0)\n  - scalar(collector:spans_left_out:increase10m or "
    "vector(0)))\n/ on ($S) (service:spans_delivered:increase10m{$service} > 120)\n> $span_loss",
    thresholds=(SPAN_LOSS,),
    feels="Traces of the service have gaps that nothing else tells of.",
    summary="{{ $value | humanizePercentage }} of the spans that {{ $labels.service_name }} delivered never reached "
    "the count of the Collector",
    runbook=Runbook(
        looks=(
            Look(
                says="how many spans were acknowledged to the service in ten minutes",
                query='service:spans_delivered:increase10m{service_name="<service_name>"}',
            ),
            Look(
                says="how many of them the Collector counted",
                query='service:spans_counted:increase10m{service_name="<service_name>"}',
            ),
            Look(
                says="whether it concerns all services, hence the way, or this one",
                query="1 - service:spans_counted:increase10m / service:spans_delivered:increase10m",
            ),
        ),
        causes=(
            Cause(
                what="A proxy or an agent between service and Collector says that it has them, and drops them.",
                sign="All services behind it; `otelkit doctor --prove` from there fails at `accepted`.",
                fix="Look into its log and its limits; take it out of the way: `OTEL_EXPORTER_OTLP_ENDPOINT` straight "
                "to the Collector.",
            ),
            Cause(
                what="Another Collector on the way filters or samples, and Prometheus does not scrape it.",
                sign="It is in no line of `up`; its configuration has a `filter` or a sampler.",
                fix="Have it scraped (`deploy/prometheus/targets/`): what it leaves out on purpose then counts as "
                "such.",
            ),
            Cause(
                what="A Collector lost power, or its queue was thrown away.",
                sign="It began when one was restarted.",
                fix="Nothing to mend; see its `file_storage`, `collector/README.md`.",
            ),
        ),
        tell="Whoever runs what stands between service and Collector.",
        note="It cannot see: less than 120 spans in ten minutes; services without otelkit; a service none of whose "
        "spans was counted within a day, such as one that sends them elsewhere; what is lost of sampled traces, since "
        "one of ten counts as ten; losses smaller than what the Collector's own filters take out.",
    ),
    undrilled="it takes something between service and Collector that drops what it has acknowledged, for 20 minutes",
)

OVERFLOW: Final = Alert(
    name="MetricOverflow",
    group="telemetry",
    severity="warning",
    lasting="5m",
    # No name of a metric, and cheap: the label is on the few series that it is about, and the index is asked by it.
    expr='count by ($S, metric) (label_replace({otel_metric_overflow="true", $service}, '
    '"metric", "$$1", "__name__", "(.+?)(?:_bucket|_sum|_count)?"))',
    feels="Sums of the metric are right, but no longer its parts: routes, tasks or outcomes are missing from boards, "
    "and from the alerts on them.",
    summary="{{ $labels.metric }} of {{ $labels.service_name }} has more series than are kept apart",
    runbook=Runbook(
        looks=(
            Look(
                says="which attribute has so many values",
                query='topk(20, {__name__=~"<metric>(_count)?", service_name="<service_name>"})',
            ),
            Look(
                says="how much of it has no attributes any more",
                query='{__name__=~"<metric>(_count)?", service_name="<service_name>", otel_metric_overflow="true"}',
            ),
        ),
        causes=(
            Cause(
                what="An attribute has values without end: an id, a path, a name that somebody chose.",
                sign="Nearly each series has a value of its own.",
                fix="Take the attribute off, or declare its values: `otelkit.Catalog`, "
                "`docs/how-to/declared-metrics.md`. For span metrics: names of spans without ids.",
            ),
            Cause(
                what="There are that many, and they are meant.",
                sign="Values repeat, and are known.",
                fix="Raise `OTELKIT_METRIC_CARDINALITY_LIMIT` (2000), or `aggregation_cardinality_limit` of the "
                "Collector's span metrics (5000). See first what the series cost: board Cost.",
            ),
        ),
        tell="The owners of the service.",
        note="It lasts until the processes are started again: a series that was folded is not unfolded.",
    ),
    late=('{otel_metric_overflow="true"}',),
    undrilled="it takes thousands of series",
)

GROUP: Final = Group(
    name="telemetry",
    about="Telemetry itself: what services drop, lose and fold.",
    recordings=RECORDINGS,
    alerts=(DROPPED, SDK_DROPPING, LOSS_SUSPECTED, OVERFLOW),
)
