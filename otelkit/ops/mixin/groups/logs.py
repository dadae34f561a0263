"""The only place for the alerts on logs, which Loki evaluates: errors in a burst, very many records, none at all."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook, Threshold

LOG_ERRORS: Final = Threshold(
    name="log_errors",
    default=1,
    unit="per_second",
    about="log records of level ERROR and above a second",
)
# Records, not bytes: what Loki calls the bytes of a stream are its messages, a twentieth of what is stored.
LOG_RATE: Final = Threshold(
    name="log_rate",
    default=1000,
    unit="per_second",
    about="log records a second; at half a kilobyte each, 1000 are 43 GB a day",
)
LOGS_ABSENT: Final = Threshold(
    name="logs_absent",
    default=600,
    unit="seconds",
    about="how long a service may be without a log record",
)

BURST: Final = Alert(
    name="LogErrorBurst",
    group="logs",
    severity="warning",
    lasting="1m",
    language="logql",
    expr="sum by ($S) (rate({$service} | severity_number >= 17 [2m])) > $log_errors",
    thresholds=(LOG_ERRORS,),
    feels="Requests or tasks fail, or are about to.",
    summary="{{ $labels.service_name }} logs {{ $value | humanize }} errors a second",
    runbook=Runbook(
        looks=(
            Look(
                says="which errors, the most frequent first",
                query="topk(5, sum by (exception_fingerprint, exception_type, scope_name) (count_over_time("
                '{service_name="<service_name>"} | severity_number >= 17 [10m])))',
                source="loki",
            ),
            Look(
                says="the errors themselves",
                query='{service_name="<service_name>"} | severity_number >= 17',
                source="loki",
            ),
            Look(
                says="whether users see them",
                query="sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count"
                '{service_name="<service_name>", http_response_status_code=~"5.."}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="Requests or tasks fail.",
                sign="`HighErrorRate` or `CeleryTasksFailing` fires, or is about to.",
                fix="Go on with its runbook.",
            ),
            Cause(
                what="A loop fails again and again where no user is: a poller, a consumer, a reconnect.",
                sign="One logger (`scope_name`), one message, no failed requests.",
                fix="See to what it connects to; then let it wait longer between two tries.",
            ),
            Cause(
                what="Something is logged as an error that is none.",
                sign="The message tells of a client's mistake.",
                fix="Log it as a warning; meanwhile a higher `log_errors` for the service.",
            ),
        ),
        tell="The owners of the service.",
    ),
    drill="failing-requests",
)

VOLUME: Final = Alert(
    name="LogVolumeSpike",
    group="logs",
    severity="info",
    lasting="10m",
    language="logql",
    expr="sum by ($S) (rate({$service} [5m])) > $log_rate",
    thresholds=(LOG_RATE,),
    feels="Nothing yet. Searches get slow, the disk fills, and it costs.",
    summary="{{ $labels.service_name }} logs {{ $value | humanize }} records a second",
    runbook=Runbook(
        looks=(
            Look(
                says="which logger, and which level",
                query="topk(5, sum by (scope_name, severity_text) (count_over_time("
                '{service_name="<service_name>"} [5m])))',
                source="loki",
            ),
            Look(
                says="what it says",
                query='{service_name="<service_name>"}',
                source="loki",
            ),
            Look(
                says="whether there is simply more to do",
                query='sum(rate(http_server_request_duration_seconds_count{service_name="<service_name>"}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="Debugging was left on.",
                sign="The level is DEBUG.",
                fix="`OTELKIT_LOG_LEVEL=INFO`, or the level of the one logger.",
            ),
            Cause(
                what="A loop logs each round.",
                sign="One logger, one message.",
                fix="Log what changed, not that nothing did.",
            ),
            Cause(
                what="There is that much traffic.",
                sign="Requests grew likewise; the access event is most of it.",
                fix="Keep a share of it, or set a higher `log_rate` for the service.",
            ),
        ),
        tell="The owners of the service, in working hours.",
    ),
    undrilled="it takes ten minutes of 1000 records a second",
)

ABSENT: Final = Alert(
    name="LogsAbsent",
    group="logs",
    severity="warning",
    lasting="5m",
    language="logql",
    named=True,
    expr="absent_over_time({$service} [${logs_absent}s])",
    thresholds=(LOGS_ABSENT,),
    feels="When the service fails, nothing will tell why.",
    summary="{{ $labels.service_name }} logs nothing",
    runbook=Runbook(
        looks=(
            Look(
                says="that there is nothing: the last records of a day",
                query='{service_name="<service_name>"}',
                source="loki",
            ),
            Look(
                says="whether it runs: seconds since it last told anything by metrics",
                query='time() - max(max_over_time(service:heartbeat:timestamp{service_name="<service_name>"}[1h]))',
            ),
            Look(
                says="what becomes of its records",
                query="{__name__=~"
                '"otelkit_telemetry_(emitted|delivered|dropped|pending).*", service_name="<service_name>", '
                'otelkit_signal="logs"}',
            ),
        ),
        causes=(
            Cause(
                what="The service does not run.",
                sign="`ServiceDown` fires; the second look is minutes or empty.",
                fix="Go on with the runbook of `ServiceDown`.",
            ),
            Cause(
                what="Its logs go to stdout only.",
                sign="It runs; none are emitted.",
                fix="`OTEL_LOGS_EXPORTER=otlp`, or unset; `otelkit doctor` in its environment.",
            ),
            Cause(
                what="Loki does not take them, or the Collector does not send them.",
                sign="They are delivered, and other services have none either; `BackendNotAccepting`.",
                fix="Go on with the runbook of `BackendNotAccepting`.",
            ),
            Cause(
                what="It has nothing to say.",
                sign="No requests; it is a quiet service.",
                fix="A larger `logs_absent` for it, or `disable` the alert for it.",
            ),
        ),
        tell="The owners of the service.",
        note="For services that `parameters.toml` names as expected: of what is absent nothing tells that it ever was.",
    ),
    absence=True,
    undrilled="it takes a quarter of an hour of silence",
)

GROUP: Final = Group(
    name="logs",
    about="Logs: errors in a burst, very many records, none at all.",
    alerts=(BURST, VOLUME, ABSENT),
)
