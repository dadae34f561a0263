"""The only place for the board that compares two versions of a service."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, HTTP, LINES, SERVED, quantile, rate, threshold, to, traces
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target, Variable

_VERSIONS: Final = 'label_values(target_info{service_name=~"$svc", telemetry_sdk_language!=""}, service_version)'
_OLD: Final = Variable(name="old", label="Old version", every=".*", query=_VERSIONS)
_NEW: Final = Variable(name="new", label="New version", every=".*", query=_VERSIONS)

_BOTH: Final = 'service_version=~"$old|$new"'
_BY: Final = "service_name, service_version"
_VERSION: Final = "{{service_name}} {{service_version}}"
_REQUESTS: Final = f"{SERVED}, {_BOTH}"
_FAILED: Final = f'{_REQUESTS}, http_response_status_code=~"5.."'
_ALL: Final = rate(_BY, f"{HTTP}_count", _REQUESTS)
_BROKEN: Final = traces("status=error", "Failed traces")
_FOUND: Final = f'{LINES} | exception_fingerprint != "" | {_BOTH.replace("=~", " =~ ")}'

BOARD: Final = Board(
    name="release",
    title="Release",
    question="Is the new version worse than the old one?",
    rows={
        "Symptoms": (
            Panel(
                title="Error ratio",
                about="Share of requests answered with 5xx, by version. The new one above the old one: roll back.",
                unit="percentunit",
                targets=(
                    Target(
                        query=f"({rate(_BY, f'{HTTP}_count', _FAILED)} or {_ALL} * 0) / ({_ALL} > 0)", legend=_VERSION
                    ),
                ),
                link=_BROKEN,
                warn=threshold("error_warn"),
                bad=threshold("error_crit"),
            ),
            Panel(
                title="Duration p95",
                about="How long each version takes to answer. The first minutes of a new process are slower: caches.",
                unit="s",
                targets=(Target(query=quantile(0.95, HTTP, _REQUESTS, by=_BY), legend=_VERSION, exemplar=True),),
                link=traces("kind=server && duration>500ms", "Slow traces"),
                warn=threshold("p95_warn"),
                bad=threshold("p95_crit"),
            ),
            Panel(
                title="Rate",
                about="Requests that each version answers: how far the roll-out is.",
                unit="reqps",
                targets=(Target(query=_ALL, legend=_VERSION),),
                link=to("red", "Requests"),
            ),
            Panel(
                title="Failures by version",
                about="Fingerprints and the versions they happened in. One of the new version only is what it broke.",
                unit="short",
                source="loki",
                targets=(
                    Target(
                        query="label_replace(sum by (service_name, service_version, exception_type, "
                        f'exception_fingerprint) (count_over_time({_FOUND} [$__range])), "column", "Times", "", "")',
                        legend="Times",
                        instant=True,
                    ),
                ),
                link=to("issues", "Issues"),
                kind="table",
                width=24,
                columns={
                    "service_name": Column(title="Service", board="red", var="svc"),
                    "service_version": Column(title="Version"),
                    "exception_type": Column(title="Exception"),
                    "exception_fingerprint": Column(title="Fingerprint", board="issues", var="issue"),
                },
                sort="Times",
            ),
        ),
        "Traffic": (
            Panel(
                title="Duration p95 by route",
                about="Which route became slower, by version. One alone: look at what that route changed.",
                unit="s",
                targets=(
                    Target(
                        query=quantile(0.95, HTTP, _REQUESTS, by="http_route, service_version"),
                        legend="{{http_route}} {{service_version}}",
                    ),
                ),
                link=to("red", "Requests"),
                width=12,
            ),
            Panel(
                title="Failed runs of tasks",
                about="Tasks that failed each second, by version: a new worker that cannot do what the old one asked.",
                unit="ops",
                targets=(
                    Target(
                        query=rate(
                            "celery_task_name, service_version",
                            "celery_task_executions_total",
                            f'{CHOSEN}, {_BOTH}, celery_task_state="failure"',
                        ),
                        legend="{{celery_task_name}} {{service_version}}",
                    ),
                ),
                link=to("worker", "Workers"),
                width=12,
            ),
        ),
        "Resources": (
            Panel(
                title="Processor for each request",
                about="Seconds of a processor that a request takes, by version: what the new one costs.",
                unit="s",
                targets=(
                    Target(
                        query=f"{rate(_BY, 'process_cpu_time_seconds_total', f'{CHOSEN}, {_BOTH}')} / ({_ALL} > 0)",
                        legend=_VERSION,
                    ),
                ),
                link=to("host", "Hosts"),
                width=12,
            ),
            Panel(
                title="Memory",
                about="Memory of the largest process of each version. If only the new one's rises, it is its leak.",
                unit="bytes",
                targets=(
                    Target(query=f"max by ({_BY}) (process_memory_usage_bytes{{{CHOSEN}, {_BOTH}}})", legend=_VERSION),
                ),
                link=to("host", "Hosts"),
                width=12,
            ),
        ),
    },
    variables=(*CHOICE, _OLD, _NEW),
)
