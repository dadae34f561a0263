"""The only place for the board of requests: rate, errors and duration of a service, and what is behind them."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import (
    CALLS,
    CHOICE,
    CHOSEN,
    HTTP,
    RATE,
    SERVED,
    quantile,
    rate,
    threshold,
    to,
    traces,
)
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target

_FAILED = f'{SERVED}, http_response_status_code=~"5.."'
_ALL = rate("service_name", f"{HTTP}_count", SERVED)
_SERVED = traces("kind=server")
_SLOW = traces("kind=server && duration>500ms", "Slow traces")
_BROKEN = traces("status=error", "Failed traces")
_CALLED = traces("kind=client && span.server.address!=nil", "Calls")

_SYMPTOMS = (
    Panel(
        title="Rate",
        about="Requests answered each second, by route; probes are left out. A sudden fall is worse than a rise.",
        unit="reqps",
        targets=(
            Target(
                query=rate("http_request_method, http_route", f"{HTTP}_count", SERVED),
                legend="{{http_request_method}} {{http_route}}",
            ),
        ),
        link=_SERVED,
    ),
    Panel(
        title="Error ratio",
        about="Share of requests answered with 5xx: the fault of the service, or of what it calls. Red pages.",
        unit="percentunit",
        targets=(
            Target(
                query=f"({rate('service_name', f'{HTTP}_count', _FAILED)} or {_ALL} * 0) / ({_ALL} > 0)",
                legend="{{service_name}}",
            ),
        ),
        link=_BROKEN,
        warn=threshold("error_warn"),
        bad=threshold("error_crit"),
    ),
    Panel(
        title="Duration",
        about="How long answering took. A diamond is one request: a click leads to its trace.",
        unit="s",
        targets=(
            Target(query=quantile(0.5, HTTP, SERVED), legend="p50"),
            Target(query=quantile(0.95, HTTP, SERVED), legend="p95", exemplar=True),
            Target(query=quantile(0.99, HTTP, SERVED), legend="p99"),
        ),
        link=_SLOW,
        warn=threshold("p95_warn"),
        bad=threshold("p95_crit"),
    ),
    Panel(
        title="Errors by route",
        about="Requests answered with 4xx or 5xx each second: 4xx is what callers do wrong, 5xx what the service does.",
        unit="reqps",
        targets=(
            Target(
                query=rate(
                    "http_route, http_response_status_code",
                    f"{HTTP}_count",
                    f'{SERVED}, http_response_status_code=~"[45].."',
                ),
                legend="{{http_response_status_code}} {{http_route}}",
            ),
        ),
        link=to("issues", "Issues"),
    ),
    Panel(
        title="p95 by route",
        about="Which route is slow. One that is slow alone waits for something that the others do not need.",
        unit="s",
        targets=(Target(query=quantile(0.95, HTTP, SERVED, by="http_route"), legend="{{http_route}}", exemplar=True),),
        link=_SLOW,
        warn=threshold("p95_warn"),
        bad=threshold("p95_crit"),
    ),
    Panel(
        title="Error ratio by version",
        about="Whether a new version fails more than the one before: roll back if only it does.",
        unit="percentunit",
        targets=(
            Target(
                query=f"({rate('service_name, service_version', f'{HTTP}_count', _FAILED)} or "
                f"{rate('service_name, service_version', f'{HTTP}_count', SERVED)} * 0) / "
                f"({rate('service_name, service_version', f'{HTTP}_count', SERVED)} > 0)",
                legend="{{service_name}} {{service_version}}",
            ),
        ),
        link=to("release", "Compare versions"),
        warn=threshold("error_warn"),
        bad=threshold("error_crit"),
    ),
)

_TRAFFIC = (
    Panel(
        title="Durations",
        about="How many requests took how long. Two bands are two kinds of requests, or a cache that hits and misses.",
        unit="s",
        targets=(Target(query=f"sum by (le) (increase({HTTP}_bucket{{{SERVED}}}{RATE}))", exemplar=True),),
        link=_SLOW,
        kind="heatmap",
        width=8,
    ),
    Panel(
        title="Under way",
        about="Requests being answered right now: it rises when something that they wait for is slow.",
        unit="short",
        targets=(
            Target(query=f"sum by (service_name) (http_server_active_requests{{{CHOSEN}}})", legend="{{service_name}}"),
        ),
        link=_SERVED,
        width=8,
        warn=threshold("active"),
    ),
    Panel(
        title="Body sizes p95",
        about="Size of what comes in and goes out, by route. A jump is a new client, or a list without an end.",
        unit="bytes",
        targets=tuple(
            Target(
                query=quantile(0.95, f"http_server_{what}_body_size_bytes", SERVED, by="http_route"),
                legend=f"{what} {{{{http_route}}}}",
            )
            for what in ("request", "response")
        ),
        link=_SERVED,
        width=8,
    ),
    Panel(
        title="Busiest routes",
        about="How often each route was asked for in the time shown: what a change would touch most.",
        unit="short",
        targets=(
            Target(
                query="topk(10, sum by (service_name, http_request_method, http_route) "
                f"(increase({HTTP}_count{{{SERVED}}}[$__range])))",
                legend="Requests",
                instant=True,
            ),
        ),
        link=_SERVED,
        kind="table",
        width=12,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "http_request_method": Column(title="Method", width=90),
            "http_route": Column(title="Route"),
        },
        sort="Requests",
    ),
    Panel(
        title="Where the time goes",
        about="Seconds spent in each route in the time shown, often and slow together: where it pays to be faster.",
        unit="s",
        targets=(
            Target(
                query="topk(10, sum by (service_name, http_request_method, http_route) "
                f"(increase({HTTP}_sum{{{SERVED}}}[$__range])))",
                legend="Time spent",
                instant=True,
            ),
        ),
        link=_SLOW,
        kind="table",
        width=12,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "http_request_method": Column(title="Method", width=90),
            "http_route": Column(title="Route"),
        },
        sort="Time spent",
    ),
)

_DEPENDENCIES = (
    Panel(
        title="Calls to others",
        about="Requests that the service sent, by whom it asked and what came back: who else is at fault.",
        unit="reqps",
        targets=(
            Target(
                query=rate("server_address, server_port, http_response_status_code", f"{CALLS}_count"),
                legend="{{server_address}}:{{server_port}} {{http_response_status_code}}",
            ),
        ),
        link=_CALLED,
        width=12,
    ),
    Panel(
        title="Calls to others p95",
        about="How long the services that it calls took, seen from here. Slow here is slow above.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, CALLS, by="server_address, server_port"),
                legend="{{server_address}}:{{server_port}}",
                exemplar=True,
            ),
        ),
        link=_CALLED,
        width=12,
        warn=threshold("upstream_slow"),
    ),
    Panel(
        title="Health checks",
        about="What each service says of what it depends on. Without a critical one it asks for no more requests.",
        unit="short",
        targets=(
            Target(
                query=f"min by (service_name, otelkit_health_check) (otelkit_health_check_status{{{CHOSEN}}})",
                legend="{{service_name}} {{otelkit_health_check}}",
            ),
        ),
        link=to("status", "Status"),
        kind="states",
        width=12,
        colours={1.0: ("works", "green"), 0.0: ("does not work", "red")},
    ),
    Panel(
        title="Time for health checks",
        about="How long each check took. One that is slow soon times out, and takes the service out of service.",
        unit="s",
        targets=(
            Target(
                query="max by (service_name, otelkit_health_check) "
                f"(otelkit_health_check_duration_seconds{{{CHOSEN}}})",
                legend="{{service_name}} {{otelkit_health_check}}",
            ),
        ),
        link=to("database", "Database"),
        width=12,
        warn=threshold("check_slow"),
    ),
)

_RESOURCES = (
    Panel(
        title="Instances",
        about="Processes that reported in the last five minutes, and how long ago: who is missing, which version runs.",
        unit="s",
        targets=(
            Target(
                query="max by (service_name, service_version, service_instance_id) "
                f"(time() - timestamp(process_cpu_time_seconds_total{{{CHOSEN}}}))",
                legend="Last report",
                instant=True,
            ),
        ),
        link=to("host", "Hosts"),
        kind="table",
        width=12,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "service_version": Column(title="Version"),
            "service_instance_id": Column(title="Instance"),
        },
        sort="Last report",
    ),
    Panel(
        title="Processor",
        about="Processors that all processes of the service keep busy: 1 is one whole. Flat at a limit is too few.",
        unit="short",
        targets=(Target(query=rate("service_name", "process_cpu_time_seconds_total"), legend="{{service_name}}"),),
        link=to("host", "Hosts"),
        width=6,
    ),
    Panel(
        title="Event loop lag p99",
        about="How late the event loop is. It blocks when code waits without `await`: everything slows down at once.",
        unit="s",
        targets=(
            Target(query=quantile(0.99, "python_eventloop_lag_seconds", by="service_name"), legend="{{service_name}}"),
        ),
        link=_SLOW,
        width=6,
        warn=threshold("loop_lag"),
    ),
)

BOARD: Final = Board(
    name="red",
    title="Requests",
    question="Which service, route or version fails or is slow, and is it the fault of somebody it calls?",
    rows={
        "Symptoms": _SYMPTOMS,
        "Traffic": _TRAFFIC,
        "Dependencies": _DEPENDENCIES,
        "Resources": _RESOURCES,
    },
    variables=CHOICE,
)
