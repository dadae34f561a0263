"""The only place that says what the board "Service" shows; `_board_json` writes it as Grafana reads it.

Every query works with `service.namespace` and `deployment.environment.name` unset, as they are by default: what stands
for "All" matches a label that is not there, and only the service's must not be empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTH = "/health(/.*)?|/livez|/readyz"
"""The routes of probes: polled all day, they would drown what people ask for. `/healthcare` is none."""

UID = "otelkit-service"
TITLE = "Service"
REFRESH = "30s"

ABOUT = "Requests, errors and durations of a service; its database, cache and tasks; its logs."
_SELECTED = 'service_namespace=~"$ns", deployment_environment_name=~"$env", service_name=~"$svc"'
_REQUESTS = f'{_SELECTED}, http_route!~"{HEALTH}"'
_STATEMENTS = f'{_SELECTED}, db_system_name!~"redis|memcached"'
_GETS = f'{_SELECTED}, cache_operation="get"'
_RATE = "[$__rate_interval]"
_TRACES = 'resource.service.name=~"${svc:percentencode}"'
Kind = Literal["timeseries", "bars", "table", "logs", "traces"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One query of a panel.

    Args:
        query: PromQL, LogQL or TraceQL.
        legend: How its series are called; may name labels, {{http_route}}.
        exemplar: Whether the traces behind its values are shown.
        instant: Whether it is asked for one moment, not for a stretch of time.
    """

    query: str
    legend: str = ""
    exemplar: bool = False
    instant: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Args:
        title: Unique on the board.
        about: What it shows, and what to make of it: the text behind its "i".
        unit: Grafana's name of the unit.
        targets: What is asked, of one data source.
        traces: What the panel's link searches Tempo for; empty links to the logs.
        source: The data source's uid.
        kind: How it looks.
        width: Of the board's 24 columns.
        warn: From which value on it is yellow; None for never.
        bad: From which value on it is red.
    """

    title: str
    about: str
    unit: str
    targets: tuple[Target, ...]
    traces: str = ""
    source: Literal["prometheus", "loki", "tempo"] = "prometheus"
    kind: Kind = "timeseries"
    width: int = 8
    warn: float | None = None
    bad: float | None = None


def _p(quantile: float, metric: str, selected: str, *by: str) -> str:
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{{{selected}}}{_RATE})))"


def _sum(by: str, metric: str, selected: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{selected}}}{_RATE}))"


_HTTP = "http_server_request_duration_seconds"
_ALL = _sum("service_name", f"{_HTTP}_count", _REQUESTS)
_FAILED = _sum("service_name", f"{_HTTP}_count", f'{_REQUESTS}, http_response_status_code=~"5.."')
_USED = f'db_client_connection_count{{{_SELECTED}, db_client_connection_state="used"}}'
_POOL = "service_name, db_client_connection_pool_name"
_LINES = '{service_namespace=~"$ns", deployment_environment_name=~"$env", service_name=~"$svc"}'

LOGS = (
    '{service_namespace=~"${ns:percentencode}", deployment_environment_name=~"${env:percentencode}", '
    'service_name=~"${svc:percentencode}"}'
)
"""What the link of a panel about logs asks Loki for."""

_SERVED = f"{{{_TRACES} && kind=server}}"
_SLOW = f"{{{_TRACES} && kind=server && duration>500ms}}"
_BROKEN = f"{{{_TRACES} && status=error}}"
_QUERIES = f"{{{_TRACES} && span.db.system.name!=nil}}"
_RUNS = f"{{{_TRACES} && kind=consumer}}"

ROWS: dict[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel(
            title="Rate",
            about="Requests that were answered, by route; probes are left out.",
            unit="reqps",
            targets=(
                Target(
                    query=_sum("http_request_method, http_route", f"{_HTTP}_count", _REQUESTS),
                    legend="{{http_request_method}} {{http_route}}",
                ),
            ),
            traces=_SERVED,
        ),
        Panel(
            title="Errors",
            about="Share of requests that were answered with 5xx: the service's own fault, or of what it calls.",
            unit="percentunit",
            targets=(Target(query=f"({_FAILED} or {_ALL} * 0) / {_ALL}", legend="{{service_name}}"),),
            traces=_BROKEN,
            warn=0.01,
            bad=0.05,
        ),
        Panel(
            title="Duration",
            about="How long answering took. A diamond is one request: a click leads to its trace.",
            unit="s",
            targets=(
                Target(query=_p(0.5, _HTTP, _REQUESTS), legend="p50"),
                Target(query=_p(0.95, _HTTP, _REQUESTS), legend="p95", exemplar=True),
                Target(query=_p(0.99, _HTTP, _REQUESTS), legend="p99"),
            ),
            traces=_SLOW,
            warn=0.5,
            bad=2.0,
        ),
        Panel(
            title="Failed, by status",
            about="Requests that were answered with 4xx or 5xx, by route: 4xx is what callers do wrong.",
            unit="reqps",
            targets=(
                Target(
                    query=_sum(
                        "http_route, http_response_status_code",
                        f"{_HTTP}_count",
                        f'{_REQUESTS}, http_response_status_code=~"[45].."',
                    ),
                    legend="{{http_response_status_code}} {{http_route}}",
                ),
            ),
            traces=_BROKEN,
        ),
        Panel(
            title="Duration p95, by route",
            about="Which route is slow.",
            unit="s",
            targets=(Target(query=_p(0.95, _HTTP, _REQUESTS, "http_route"), legend="{{http_route}}", exemplar=True),),
            traces=_SLOW,
        ),
        Panel(
            title="Under way",
            about="Requests that are being answered right now: it rises when something that they wait for is slow.",
            unit="short",
            targets=(
                Target(
                    query=f"sum by (service_name) (http_server_active_requests{{{_SELECTED}}})",
                    legend="{{service_name}}",
                ),
            ),
            traces=_SERVED,
        ),
        Panel(
            title="Busiest routes",
            about="How often each route was asked for in the time shown.",
            unit="short",
            targets=(
                Target(
                    query=f"topk(10, sum by (service_name, http_request_method, http_route) "
                    f"(increase({_HTTP}_count{{{_REQUESTS}}}[$__range])))",
                    instant=True,
                ),
            ),
            traces=_SERVED,
            kind="table",
            width=12,
        ),
        Panel(
            title="Where the time goes",
            about="Seconds that were spent in each route in the time shown: often and slow together.",
            unit="s",
            targets=(
                Target(
                    query=f"topk(10, sum by (service_name, http_request_method, http_route) "
                    f"(increase({_HTTP}_sum{{{_REQUESTS}}}[$__range])))",
                    instant=True,
                ),
            ),
            traces=_SLOW,
            kind="table",
            width=12,
        ),
    ),
    "Database and cache": (
        Panel(
            title="Statements",
            about="Statements that the service sent to its database, by operation and table.",
            unit="ops",
            targets=(
                Target(
                    query=_sum(
                        "db_operation_name, db_collection_name",
                        "db_client_operation_duration_seconds_count",
                        _STATEMENTS,
                    ),
                    legend="{{db_operation_name}} {{db_collection_name}}",
                ),
            ),
            traces=_QUERIES,
        ),
        Panel(
            title="Statement p95",
            about="How long a statement took, seen from the service: network and waiting for locks included.",
            unit="s",
            targets=(
                Target(
                    query=_p(
                        0.95,
                        "db_client_operation_duration_seconds",
                        _STATEMENTS,
                        "db_operation_name",
                        "db_collection_name",
                    ),
                    legend="{{db_operation_name}} {{db_collection_name}}",
                    exemplar=True,
                ),
            ),
            traces=_QUERIES,
            warn=0.5,
            bad=1.0,
        ),
        Panel(
            title="Connections in use",
            about="Share of a pool's connections that are lent out. At 100 % the next request waits.",
            unit="percentunit",
            targets=(
                Target(
                    query=f"sum by ({_POOL}) ({_USED}) / sum by ({_POOL}) (db_client_connection_max{{{_SELECTED}}})",
                    legend="{{service_name}} {{db_client_connection_pool_name}}",
                ),
            ),
            traces=_QUERIES,
            warn=0.8,
            bad=1.0,
        ),
        Panel(
            title="Wait for a connection p95",
            about="How long a request waited until the pool had a connection for it.",
            unit="s",
            targets=(
                Target(
                    query=_p(
                        0.95,
                        "db_client_connection_wait_time_seconds",
                        _SELECTED,
                        "service_name",
                        "db_client_connection_pool_name",
                    ),
                    legend="{{service_name}} {{db_client_connection_pool_name}}",
                ),
            ),
            traces=_QUERIES,
        ),
        Panel(
            title="Redis p95",
            about="How long a Redis command took, seen from the service.",
            unit="s",
            targets=(
                Target(
                    query=_p(
                        0.95,
                        "db_client_operation_duration_seconds",
                        f'{_SELECTED}, db_system_name="redis"',
                        "db_operation_name",
                    ),
                    legend="{{db_operation_name}}",
                ),
            ),
            traces=_QUERIES,
        ),
        Panel(
            title="Cache hits",
            about="Share of look-ups that the cache could answer.",
            unit="percentunit",
            targets=(
                Target(
                    query=_sum("cache_name", "cache_requests_total", f'{_GETS}, cache_result="hit"')
                    + " / "
                    + _sum("cache_name", "cache_requests_total", _GETS),
                    legend="{{cache_name}}",
                ),
            ),
            traces=_QUERIES,
        ),
    ),
    "Tasks": (
        Panel(
            title="Runs",
            about="Runs of Celery tasks by how they ended. A retry is a run that will be tried again.",
            unit="ops",
            targets=(
                Target(
                    query=_sum("celery_task_name, celery_task_state", "celery_task_executions_total", _SELECTED),
                    legend="{{celery_task_name}} {{celery_task_state}}",
                ),
            ),
            traces=_RUNS,
            width=6,
        ),
        Panel(
            title="Run p95",
            about="How long a run took.",
            unit="s",
            targets=(
                Target(
                    query=_p(0.95, "celery_task_duration_seconds", _SELECTED, "celery_task_name"),
                    legend="{{celery_task_name}}",
                    exemplar=True,
                ),
            ),
            traces=_RUNS,
            width=6,
        ),
        Panel(
            title="Wait in the queue p95",
            about="From publishing a task to the begin of its run.",
            unit="s",
            targets=(
                Target(
                    query=_p(0.95, "celery_task_wait_time_seconds", _SELECTED, "messaging_destination_name"),
                    legend="{{messaging_destination_name}}",
                ),
            ),
            traces=_RUNS,
            width=6,
        ),
        Panel(
            title="Queue",
            about="Messages that wait for a worker; publishers count too, so that it shows when every worker is gone.",
            unit="short",
            targets=(
                Target(
                    query=f"max by (messaging_destination_name) (celery_queue_depth{{{_SELECTED}}})",
                    legend="{{messaging_destination_name}}",
                ),
            ),
            traces=_RUNS,
            width=6,
        ),
    ),
    "Logs and traces": (
        Panel(
            title="Records by level",
            about="Log records of the service, by level.",
            unit="short",
            source="loki",
            targets=(
                Target(
                    query=f"sum by (severity_text) (count_over_time({_LINES} [$__auto]))", legend="{{severity_text}}"
                ),
            ),
            kind="bars",
            width=12,
        ),
        Panel(
            title="Failed traces",
            about="The newest traces with an error in the service. A click opens the trace.",
            unit="short",
            source="tempo",
            targets=(Target(query='{resource.service.name=~"$svc" && status=error}'),),
            kind="traces",
            width=12,
            traces=_BROKEN,
        ),
        Panel(
            title="Warnings and errors",
            about="Open a record: its trace id leads to the trace.",
            unit="short",
            source="loki",
            targets=(Target(query=f"{_LINES} | severity_number >= 13"),),
            kind="logs",
            width=24,
        ),
        Panel(
            title="Records",
            about="Everything that the service logged.",
            unit="short",
            source="loki",
            targets=(Target(query=_LINES),),
            kind="logs",
            width=24,
        ),
    ),
}

# Programs of the stack have no SDK: a board about applications does not list them.
_APPLICATIONS = 'service_namespace=~"$ns", deployment_environment_name=~"$env", telemetry_sdk_language!=""'

VARIABLES = {
    "ns": ("Namespace", ".*", "label_values(target_info, service_namespace)"),
    "env": ("Environment", ".*", 'label_values(target_info{service_namespace=~"$ns"}, deployment_environment_name)'),
    "svc": ("Service", ".+", f"label_values(target_info{{{_APPLICATIONS}}}, service_name)"),
}
"""By name: what people read, what "All" stands for, and where the values come from."""


def panels() -> Iterator[Panel]:
    """Yield every panel, in the order of the board."""
    for row in ROWS.values():
        yield from row
