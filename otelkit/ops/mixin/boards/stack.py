"""The only place for the board of the stack: whether Collector, Prometheus, Alertmanager, Loki and Tempo are well.

Prometheus keeps one native histogram instead of classic series for each of what these tell of themselves.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import RATE, threshold, to
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_PIPELINE: Final = to("pipeline", "Pipeline")
_ALERTS: Final = to("alerts", "Alerts")
_COST: Final = to("cost", "Cost")
_REQUESTS: Final = '{__name__=~"(loki|tempo)_request_duration_seconds"'
_PROGRAMS: Final = 'job=~"prometheus|alertmanager|loki|tempo"'

BOARD: Final = Board(
    name="stack",
    title="Stack",
    question="Are the programs well that keep telemetry and raise alerts?",
    rows={
        "Symptoms": (
            Panel(
                title="Up",
                about="Whether each program answers Prometheus. Gaps are Prometheus' own.",
                unit="short",
                targets=(Target(query="min by (job) (up)", legend="{{job}}"),),
                link=_ALERTS,
                kind="states",
                width=12,
                colours={1.0: ("up", "green"), 0.0: ("down", "red")},
            ),
            Panel(
                title="Failed requests",
                about="Share of requests to Loki and Tempo that failed: boards with holes, searches without an answer.",
                unit="percentunit",
                targets=(
                    Target(
                        query=f'(histogram_count(sum by (job) (rate({_REQUESTS}, status_code=~"5.."}}{RATE}))) or '
                        f"histogram_count(sum by (job) (rate({_REQUESTS}}}{RATE}))) * 0) / "
                        f"(histogram_count(sum by (job) (rate({_REQUESTS}}}{RATE}))) > 0)",
                        legend="{{job}}",
                    ),
                ),
                link=_ALERTS,
                width=6,
                warn=threshold("stack_errors"),
            ),
            Panel(
                title="Failed rules",
                about="Rules that could not be evaluated in the last hour. Any at all: an alert that cannot fire.",
                unit="short",
                targets=(
                    Target(query="sum(increase(prometheus_rule_evaluation_failures_total[1h]))", legend="Failures"),
                ),
                link=_ALERTS,
                kind="stat",
                width=6,
            ),
        ),
        "Traffic": (
            Panel(
                title="Request p95",
                about="How long Loki and Tempo take to answer. Slow: too long a time is searched, or the disk.",
                unit="s",
                targets=(
                    Target(
                        query=f"histogram_quantile(0.95, sum by (job) (rate({_REQUESTS}}}{RATE})))", legend="{{job}}"
                    ),
                ),
                link=_PIPELINE,
            ),
            Panel(
                title="Samples in",
                about="Samples that Prometheus stores each second.",
                unit="ops",
                targets=(
                    Target(
                        query=f"sum by (instance) (rate(prometheus_tsdb_head_samples_appended_total{RATE}))",
                        legend="{{instance}}",
                    ),
                ),
                link=_COST,
            ),
            Panel(
                title="Bytes in",
                about="Bytes of log records and spans that arrive each second. A jump is a debug level, or a loop.",
                unit="Bps",
                targets=(
                    Target(query=f"sum(rate(loki_distributor_bytes_received_total{RATE}))", legend="log records"),
                    Target(query=f"sum(rate(tempo_distributor_bytes_received_total{RATE}))", legend="spans"),
                ),
                link=_COST,
            ),
            Panel(
                title="Discarded",
                about="What Loki and Tempo took and threw away, and why: it is lost.",
                unit="short",
                targets=(
                    Target(
                        query=f"sum by (reason) (increase(loki_discarded_samples_total{RATE}))",
                        legend="records {{reason}}",
                    ),
                    Target(
                        query=f"sum by (reason) (increase(tempo_discarded_spans_total{RATE}))",
                        legend="spans {{reason}}",
                    ),
                ),
                link=_ALERTS,
                may_be_empty="the counts are born with the first loss",
            ),
            Panel(
                title="Notifications queued",
                about="Alerts that Prometheus has not handed to Alertmanager yet. It stays near 0.",
                unit="short",
                targets=(
                    Target(query="sum by (instance) (prometheus_notifications_queue_length)", legend="{{instance}}"),
                ),
                link=_ALERTS,
            ),
            Panel(
                title="Time for rules",
                about="How long the slowest groups of rules take. It must stay well below the 15 s of their interval.",
                unit="s",
                targets=(
                    Target(
                        query="topk(10, max by (rule_group) (prometheus_rule_group_last_duration_seconds))",
                        legend="{{rule_group}}",
                    ),
                ),
                link=_ALERTS,
            ),
        ),
        "Resources": (
            Panel(
                title="Memory",
                about="Memory of each program. The Collector refuses data before it is killed; the others are killed.",
                unit="bytes",
                targets=(
                    Target(query=f"max by (job) (process_resident_memory_bytes{{{_PROGRAMS}}})", legend="{{job}}"),
                    Target(query="max by (job) (otelcol_process_memory_rss_bytes)", legend="{{job}}"),
                ),
                link=_PIPELINE,
                width=8,
            ),
            Panel(
                title="Processor",
                about="Processors that each program keeps busy: 1 is one whole.",
                unit="short",
                targets=(
                    Target(
                        query=f"max by (job) (rate(process_cpu_seconds_total{{{_PROGRAMS}}}{RATE}))",
                        legend="{{job}}",
                    ),
                    Target(query=f"max by (job) (rate(otelcol_process_cpu_seconds_total{RATE}))", legend="{{job}}"),
                ),
                link=to("host", "Hosts"),
                width=8,
            ),
            Panel(
                title="Storage of metrics",
                about="Bytes that Prometheus keeps on disk: blocks, and what was written lately.",
                unit="bytes",
                targets=(
                    Target(
                        query="prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes",
                        legend="{{instance}}",
                    ),
                ),
                link=_COST,
                width=8,
            ),
        ),
    },
)
