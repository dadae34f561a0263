"""The only place for the board of what telemetry costs: who sends how much of it."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import RATE, threshold, to
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target
from otelkit.ops.mixin.model import HEALTH

_SERVICE: Final = {"service_name": Column(title="Service", board="red", var="svc")}
_REQUESTS: Final = f'http_server_request_duration_seconds_count{{service_name!="", http_route!~"{HEALTH}"}}'
_PIPELINE: Final = to("pipeline", "Pipeline")

BOARD: Final = Board(
    name="cost",
    title="Cost",
    question="Who sends how much telemetry, and is it growing?",
    rows={
        "Metrics": (
            Panel(
                title="Series",
                about="Series in memory of Prometheus. Memory grows with them, not with requests.",
                unit="short",
                targets=(Target(query="prometheus_tsdb_head_series", legend="{{instance}}"),),
                link=to("stack", "Stack"),
                warn=threshold("max_series"),
            ),
            Panel(
                title="Growth in a week",
                about="Series now, compared with a week ago. More without new services: a label with too many values.",
                unit="percentunit",
                targets=(
                    Target(
                        query="prometheus_tsdb_head_series / prometheus_tsdb_head_series offset 7d - 1",
                        legend="{{instance}}",
                    ),
                ),
                link=_PIPELINE,
                negative=True,
                may_be_empty="there was nothing a week ago",
            ),
            Panel(
                title="New series",
                about="Series born each second. After a deployment it is high for a moment; always high is too much.",
                unit="ops",
                targets=(
                    Target(
                        query=f"sum by (instance) (rate(prometheus_tsdb_head_series_created_total{RATE}))",
                        legend="{{instance}}",
                    ),
                ),
                link=_PIPELINE,
            ),
            Panel(
                title="Series by service",
                about="The services with most series. A click leads to their requests.",
                unit="short",
                targets=(
                    Target(
                        query='topk(15, count by (service_name) ({service_name!=""}))', legend="Series", instant=True
                    ),
                ),
                link=_PIPELINE,
                kind="table",
                width=12,
                columns=_SERVICE,
                sort="Series",
            ),
            Panel(
                title="Series by metric",
                about="The metrics with most series. A histogram has one for each of its bounds and sets of labels.",
                unit="short",
                targets=(
                    Target(query='topk(15, count by (__name__) ({service_name!=""}))', legend="Series", instant=True),
                ),
                link=_PIPELINE,
                kind="table",
                width=12,
                columns={"__name__": Column(title="Metric")},
                sort="Series",
            ),
        ),
        "Traces": (
            Panel(
                title="Spans by service",
                about="Spans that services made each second, before any sampling.",
                unit="ops",
                targets=(
                    Target(
                        query=f"sum by (service_name) (rate(traces_span_metrics_calls_total{RATE}))",
                        legend="{{service_name}}",
                    ),
                ),
                link=_PIPELINE,
                width=12,
            ),
            Panel(
                title="Spans for each request",
                about="Spans that all services make for a request of the busiest: what one more request costs.",
                unit="short",
                targets=(
                    Target(
                        query=f"sum(rate(traces_span_metrics_calls_total{RATE})) / max(sum by (service_name) "
                        f"(rate({_REQUESTS}{RATE})))",
                        legend="Spans",
                    ),
                ),
                link=_PIPELINE,
                width=12,
            ),
        ),
        "Log records": (
            Panel(
                title="Bytes by service",
                about="What each service logged in the time shown, without what goes with each record.",
                unit="bytes",
                source="loki",
                targets=(
                    Target(
                        query='label_replace(sum by (service_name) (bytes_over_time({service_name=~".+"} [$__range])), '
                        '"column", "Bytes", "", "")',
                        legend="Bytes",
                        instant=True,
                    ),
                ),
                link=to("logs", "Logs"),
                kind="table",
                width=12,
                columns=_SERVICE,
                sort="Bytes",
            ),
            Panel(
                title="Records by level",
                about="Records each second, by level. Debug records in production are most of the cost.",
                unit="ops",
                source="loki",
                targets=(
                    Target(
                        query='sum by (severity_text) (rate({service_name=~".+"} [$__auto]))',
                        legend="{{severity_text}}",
                    ),
                ),
                link=to("logs", "Logs"),
                width=12,
            ),
        ),
    },
)
