"""The only place for what is recorded of requests, and for the alerts on them: errors, durations, traffic, calls."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_REQUESTS = "http_server_request_duration_seconds"
_BY_ROUTE = "service_route:http_server_requests"
_FAILED = '{http_response_status_code=~"5..", $service, $route}'
_ALL = "{$service, $route}"

RECORDINGS: Final = tuple(
    rule
    for window in ("2m", "5m")
    for rule in (
        Recording(
            name=f"service_route_status:http_server_requests:rate{window}",
            expr=f"sum by ($S, http_route, http_request_method, http_response_status_code) "
            f'(rate({_REQUESTS}_count{{service_name!=""}}[{window}]))',
        ),
        Recording(
            name=f"service_route_le:{_REQUESTS}_bucket:rate{window}",
            expr=f'sum by ($S, http_route, le) (rate({_REQUESTS}_bucket{{service_name!=""}}[{window}]))',
        ),
    )
)

MIN_RPS = Threshold(
    name="min_rps",
    default=0.1,
    unit="per_second",
    about="requests a second below which durations and a lack of traffic tell nothing",
)


def _rate(window: str, selected: str) -> str:
    return f"sum by ($S) (service_route_status:http_server_requests:rate{window}{selected})"


HIGH_ERROR_RATE = Alert(
    name="HighErrorRate",
    group="http",
    severity="critical",
    lasting="30s",
    # The second half leaves a single failure of a quiet night alone: five in the two minutes.
    expr=f"{_rate('2m', _FAILED)} / ({_rate('2m', _ALL)} > 0) > $error_crit\nand {_rate('2m', _FAILED)} * 120 >= 5",
    thresholds=(
        Threshold(
            name="error_crit",
            default=0.05,
            unit="ratio",
            about="share of requests answered with 5xx that pages",
        ),
    ),
    feels="Pages fail: users see errors, and repeat what they did.",
    summary="{{ $labels.service_name }} answers {{ $value | humanizePercentage }} of its requests with 5xx",
    runbook=Runbook(
        looks=(
            Look(
                says="which route fails, and with which status",
                query="sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count"
                '{service_name="<service_name>", http_response_status_code=~"5.."}[5m]))',
            ),
            Look(
                says="what the failing requests logged, and the fingerprint of the exception",
                query='{service_name="<service_name>"} | severity_number >= 17',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="A new version is broken.",
                sign="The board Release shows the errors on the new `service.version` only.",
                fix="Roll back first, understand later.",
            ),
        ),
        tell="The owners of the service. After a quarter of an hour, whoever speaks to customers.",
    ),
    drill="failing-requests",
)

GROUP = Group(name="http", about="Requests that services answer.", recordings=RECORDINGS, alerts=(HIGH_ERROR_RATE,))
