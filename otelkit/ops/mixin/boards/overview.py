"""The only place for the board that is opened first: whether anything is wrong, and on which board to go on."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import (
    BY_SERVICE,
    CHOICE,
    CHOSEN,
    HTTP,
    SERVED,
    quantile,
    rate,
    threshold,
    to,
    traces,
)
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target

_FAILED = f'{SERVED}, http_response_status_code=~"5.."'
_ALL = rate(BY_SERVICE, f"{HTTP}_count", SERVED)
_RATIO = f"({rate(BY_SERVICE, f'{HTTP}_count', _FAILED)} or {_ALL} * 0) / ({_ALL} > 0)"
_FIRING = 'ALERTS{alertstate="firing", severity!="none"}'

_SYMPTOMS = (
    Panel(
        title="Services reporting",
        about="Services that sent metrics in the last minute. One less than usual is one that is down, or cut off.",
        unit="short",
        targets=(
            Target(
                query=f"count(time() - max by ({BY_SERVICE}) "
                f"(timestamp(process_cpu_time_seconds_total{{{CHOSEN}}})) < 60)",
                legend="Services",
            ),
        ),
        link=to("red", "Requests"),
        kind="stat",
        width=4,
    ),
    Panel(
        title="Firing alerts",
        about="Alerts that fire now, by severity. Begin with the critical ones: the board Alerts has runbooks.",
        unit="short",
        targets=(Target(query=f"count by (severity) ({_FIRING})", legend="{{severity}}"),),
        link=to("alerts", "Alerts"),
        kind="stat",
        width=8,
        may_be_empty="nothing is wrong",
    ),
    Panel(
        title="Error ratio",
        about="Share of requests answered with 5xx, by service: yellow warns, red pages.",
        unit="percentunit",
        targets=(Target(query=_RATIO, legend="{{service_name}}"),),
        link=to("issues", "Issues"),
        kind="gauge",
        width=12,
        warn=threshold("error_warn"),
        bad=threshold("error_crit"),
        most=1.0,
    ),
    Panel(
        title="Services",
        about="Rate, errors and duration of every service. A click on a name opens its requests.",
        unit="reqps",
        targets=(
            Target(query=_ALL, legend="Rate", instant=True),
            Target(query=_RATIO, legend="Errors", instant=True, unit="percentunit"),
            Target(query=quantile(0.95, HTTP, SERVED, by=BY_SERVICE), legend="p95", instant=True, unit="s"),
        ),
        link=to("red", "Requests"),
        kind="table",
        width=12,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "service_namespace": Column(title="Namespace"),
            "deployment_environment_name": Column(title="Environment"),
        },
        sort="Rate",
    ),
    Panel(
        title="Duration",
        about="How long all services took to answer. A diamond is one request: a click leads to its trace.",
        unit="s",
        targets=tuple(
            Target(query=quantile(share, HTTP, SERVED), legend=legend, exemplar=legend == "p95")
            for share, legend in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))
        ),
        link=traces("kind=server && duration>500ms", "Slow traces"),
        width=12,
        warn=threshold("p95_warn"),
        bad=threshold("p95_crit"),
    ),
)

_TRAFFIC = (
    Panel(
        title="Rate by endpoint",
        about="Requests answered each second, by service and route; probes are left out.",
        unit="reqps",
        targets=(
            Target(
                query=rate("service_name, http_route", f"{HTTP}_count", SERVED),
                legend="{{service_name}} {{http_route}}",
            ),
        ),
        link=to("red", "Requests"),
        width=12,
    ),
    Panel(
        title="Status codes",
        about="Requests answered each second, by status: 5xx is our fault, a rise of 4xx is somebody's new client.",
        unit="reqps",
        targets=(
            Target(
                query=rate("http_response_status_code", f"{HTTP}_count", SERVED),
                legend="{{http_response_status_code}}",
            ),
        ),
        link=traces("status=error", "Failed traces"),
        width=12,
    ),
)

_DEPENDENCIES = (
    Panel(
        title="Map",
        about="Who calls whom, made of traces: requests each second and their duration. Red parts of a ring failed.",
        unit="reqps",
        source="tempo",
        targets=(Target(query='{client!=""}'),),
        link=to("red", "Requests"),
        kind="graph",
        width=24,
    ),
    Panel(
        title="PostgreSQL connections",
        about="Connections by state, as the server counts them. Many `idle in transaction` hold locks.",
        unit="short",
        targets=(Target(query="sum by (state) (pg_stat_activity_count)", legend="{{state}}"),),
        link=to("database", "Database"),
        width=12,
    ),
    Panel(
        title="Redis memory",
        about="Memory that Redis uses. At its limit it evicts keys, or refuses writes.",
        unit="bytes",
        targets=(Target(query="redis_memory_used_bytes", legend="{{instance}}"),),
        link=to("cache", "Cache"),
        width=12,
    ),
)

_RESOURCES = (
    Panel(
        title="Application memory",
        about="Memory of all processes of a service. A line that only rises is a leak.",
        unit="bytes",
        targets=(
            Target(query=f"sum by (service_name) (process_memory_usage_bytes{{{CHOSEN}}})", legend="{{service_name}}"),
        ),
        link=to("host", "Hosts"),
        width=24,
    ),
)

BOARD: Final = Board(
    name="overview",
    title="Overview",
    question="Is anything wrong, and where?",
    rows={
        "Symptoms": _SYMPTOMS,
        "Traffic": _TRAFFIC,
        "Dependencies": _DEPENDENCIES,
        "Resources": _RESOURCES,
    },
    variables=CHOICE,
)
