"""The only place for the board of Celery: whether tasks run, in time and without failing."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, quantile, rate, records, threshold, to, traces
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_RUNS = "celery_task_executions_total"
_FAILED = f'{CHOSEN}, celery_task_state="failure"'
_ENDED = f'{CHOSEN}, celery_task_state=~"success|failure"'
_QUEUE = "{{messaging_destination_name}}"
_TASK = "{{celery_task_name}}"
_TRACES = traces("kind=consumer", "Runs")
_BROKEN = traces("kind=consumer && status=error", "Failed runs")

_SYMPTOMS = (
    Panel(
        title="Failure ratio",
        about="Share of runs that failed for good, by task; retries are not in it.",
        unit="percentunit",
        targets=(
            Target(
                query=f"{rate('celery_task_name', _RUNS, _FAILED)} / ({rate('celery_task_name', _RUNS, _ENDED)} > 0)",
                legend=_TASK,
            ),
        ),
        link=to("issues", "Issues"),
        warn=threshold("task_fail"),
    ),
    Panel(
        title="Wait in the queue p95",
        about="From publishing a task, or from when it is due, to the begin of its run: what users wait for.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, "celery_task_wait_time_seconds", by="messaging_destination_name"), legend=_QUEUE
            ),
        ),
        link=_TRACES,
        warn=threshold("wait_p95"),
    ),
    Panel(
        title="Queue",
        about="Messages that wait for a worker. Publishers count too, so that it shows when every worker is gone.",
        unit="short",
        targets=(Target(query=f"max by (messaging_destination_name) (celery_queue_depth{{{CHOSEN}}})", legend=_QUEUE),),
        link=to("alerts", "Alerts"),
        warn=threshold("backlog"),
    ),
)

_TRAFFIC = (
    Panel(
        title="Runs",
        about="Runs by how they ended. A retry is a run that will be tried again; many are a dependency in trouble.",
        unit="ops",
        targets=(
            Target(
                query=rate("celery_task_name, celery_task_state", _RUNS),
                legend="{{celery_task_name}} {{celery_task_state}}",
            ),
        ),
        link=_TRACES,
    ),
    Panel(
        title="Run p95",
        about="How long a run took. A diamond is one run: a click leads to its trace.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, "celery_task_duration_seconds", by="celery_task_name"),
                legend=_TASK,
                exemplar=True,
            ),
        ),
        link=_TRACES,
    ),
    Panel(
        title="Published and run",
        about="Tasks published and runs that ended, each second. Where more are published than run, a queue grows.",
        unit="ops",
        targets=(
            Target(
                query=rate("celery_task_name", "messaging_client_sent_messages_total"),
                legend=f"published {_TASK}",
            ),
            Target(query=rate("celery_task_name", _RUNS), legend=f"run {_TASK}"),
        ),
        link=_TRACES,
    ),
)

_DEPENDENCIES = (
    Panel(
        title="Failed to publish",
        about="Tasks that could not be published, by queue: what they were to do is lost. Look at the broker.",
        unit="ops",
        targets=(
            Target(
                query=rate(
                    "service_name, messaging_destination_name",
                    "messaging_client_sent_messages_total",
                    f'{CHOSEN}, error_type!=""',
                ),
                legend="{{service_name}} {{messaging_destination_name}}",
            ),
        ),
        link=to("cache", "Redis"),
        may_be_empty="nothing failed",
    ),
    Panel(
        title="From publisher to worker p95",
        about="Time between the end of a publish and the begin of its run, made of traces, by who publishes to whom.",
        unit="s",
        targets=(
            Target(
                query="histogram_quantile(0.95, sum by (client, server, le) "
                "(rate(traces_service_graph_request_messaging_system_seconds_bucket[$__rate_interval])))",
                legend="{{client}} to {{server}}",
            ),
        ),
        link=to("cache", "Redis"),
    ),
    Panel(
        title="Failed runs",
        about="Tasks that failed and what they logged, newest first. Open a record: its trace id leads to the trace.",
        unit="short",
        source="loki",
        targets=(Target(query=f'{{{CHOSEN}}} | severity_number >= 17 | celery_task_name != ""'),),
        link=_BROKEN,
        kind="logs",
        may_be_empty="no task failed",
    ),
)

_RESOURCES = (
    Panel(
        title="Use of workers",
        about="Share of what workers can run at a time that they run. Full for long: more workers, or shorter tasks.",
        unit="percentunit",
        targets=(
            Target(
                query=f"sum by (service_name) (celery_task_active{{{CHOSEN}}}) / "
                f"sum by (service_name) (celery_worker_concurrency{{{CHOSEN}}})",
                legend="{{service_name}}",
            ),
        ),
        link=to("host", "Hosts"),
        kind="gauge",
        width=12,
        most=1.0,
        warn=threshold("busy"),
    ),
    Panel(
        title="Beat's last look",
        about="How long ago beat looked at its schedule. It sleeps up to five minutes where nothing is due earlier.",
        unit="s",
        targets=(
            Target(
                query=f"time() - max by (service_name) (celery_beat_last_tick_time_seconds{{{CHOSEN}}})",
                legend="{{service_name}}",
            ),
        ),
        link=records(),
        kind="stat",
        width=12,
        warn=threshold("beat"),
    ),
)

BOARD: Final = Board(
    name="worker",
    title="Workers",
    question="Do tasks run, in time, and without failing?",
    rows={
        "Symptoms": _SYMPTOMS,
        "Traffic": _TRAFFIC,
        "Dependencies": _DEPENDENCIES,
        "Resources": _RESOURCES,
    },
    variables=CHOICE,
)
