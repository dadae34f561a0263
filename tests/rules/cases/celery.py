"""Cases of the alerts on Celery."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_WORKER = {"service_name": "worker"}
_SEND = {**_WORKER, "celery_task_name": "shop.send"}
_DEFAULT = {"messaging_destination_name": "default"}


def _runs(*, service: str = "worker", queue: str = "default", place: str = "", **states: str) -> dict[str, str]:
    """Return how the runs of a task ended, by state."""
    labels = f'service_name="{service}", celery_task_name="shop.send", messaging_destination_name="{queue}"{place}'
    name = "celery_task_executions_total"
    return {f'{name}{{{labels}, celery_task_state="{state}"}}': values for state, values in states.items()}


def _depth(values: str, *, service: str = "api", queue: str = "default", place: str = "") -> dict[str, str]:
    """Return the depth of a queue as a service sees it."""
    return {f'celery_queue_depth{{service_name="{service}", messaging_destination_name="{queue}"{place}}}': values}


def _waits(**buckets: str) -> dict[str, str]:
    """Return a histogram of waits: `up_to_60` is its bucket of 60 s."""
    labels = 'service_name="worker", messaging_destination_name="default"'
    bounds = {name.removeprefix("up_to_"): values for name, values in buckets.items()}
    return {
        f'celery_task_wait_time_seconds_bucket{{{labels}, le="{bound.replace("all", "+Inf")}"}}': values
        for bound, values in bounds.items()
    }


def _workers(active: str, concurrency: str = "20x120") -> dict[str, str]:
    return {
        'celery_task_active{service_name="worker"}': active,
        'celery_worker_concurrency{service_name="worker"}': concurrency,
    }


def _tick(values: str) -> dict[str, str]:
    return {'celery_beat_last_tick_time_seconds{service_name="beat"}': values}


_BEAT = {"service_name": "beat"}


def _sent(failed: str, ok: str = "0+50x60", *, process: str = "1", up: str = "1x60") -> dict[str, str]:
    """Return messages of a process that could not be sent, and others; `up` is Prometheus itself."""
    labels = f'service_name="api", messaging_destination_name="default", service_instance_id="{process}"'
    name = "messaging_client_sent_messages_total"
    failing = f'{name}{{{labels}, error_type="kombu.OperationalError"}}'
    return {'up{job="prometheus"}': up, f"{name}{{{labels}}}": ok, failing: failed}


_API_DEFAULT = {"service_name": "api", **_DEFAULT}
# Three tasks each 15 s until 5 minutes, then none: from 6:45 on there was no end within two minutes.
_STOPPED = "0+3x20 60x80"

CASES = (
    Case(
        alert="CeleryTasksFailing",
        says="6 % of the runs fail",
        series=_runs(success="0+94x60", failure="0+6x60"),
        at="5m",
        fires=(_SEND,),
        summary="shop.send of worker fails in 6% of its runs",
    ),
    Case(alert="CeleryTasksFailing", says="4 % fail", series=_runs(success="0+96x60", failure="0+4x60"), at="5m"),
    Case(
        alert="CeleryTasksFailing",
        says="6 % fail, for not yet two minutes",
        series=_runs(success="0+94x60", failure="0+6x60"),
        at="2m",
    ),
    Case(
        alert="CeleryTasksFailing",
        says="a task that seldom runs failed four times in ten minutes",
        series=_runs(success="0+0.3x80", failure="0+0.1x80"),
        at="15m",
        fires=(_SEND,),
    ),
    Case(
        alert="CeleryTasksFailing",
        says="twice in ten minutes",
        series=_runs(success="0+0.3x80", failure="0+0.05x80"),
        at="15m",
    ),
    Case(
        alert="CeleryTasksFailing",
        says="a tenth is tried again, and none fails",
        series=_runs(success="0+90x60", retry="0+10x60", failure="0x60"),
        at="5m",
    ),
    Case(
        alert="CeleryTasksFailing",
        says="6 % of those that are not tried again",
        series=_runs(success="0+94x60", failure="0+6x60", retry="0+100x60"),
        at="5m",
        fires=(_SEND,),
    ),
    Case(
        alert="CeleryTasksFailing",
        says="6 % of a service that allows 10 %",
        series=_runs(success="0+94x60", failure="0+6x60"),
        at="5m",
        parameters=Parameters(services={"worker": Service(thresholds={"task_fail": 0.1})}),
    ),
    # -- retries: 1.2 runs each 15 s are 0.08 a second
    Case(
        alert="CeleryRetryStorm",
        says="a quarter is tried again",
        series=_runs(success="0+0.9x120", retry="0+0.3x120"),
        at="14m",
        fires=(_SEND,),
        summary="25% of the runs of shop.send of worker end in a retry",
    ),
    Case(
        alert="CeleryRetryStorm",
        says="for not yet ten minutes",
        series=_runs(success="0+0.9x120", retry="0+0.3x120"),
        at="13m",
    ),
    Case(
        alert="CeleryRetryStorm",
        says="15 % are tried again",
        series=_runs(success="0+8.5x120", retry="0+1.5x120"),
        at="14m",
    ),
    Case(
        alert="CeleryRetryStorm",
        says="half of a task that runs twice a minute",
        series=_runs(success="0+0.3x120", retry="0+0.3x120"),
        at="14m",
    ),
    # -- backlog
    Case(
        alert="CeleryQueueBacklog",
        says="120 wait, and more with every minute",
        series=_depth("120+1x60"),
        at="6m",
        fires=(_DEFAULT,),
        summary="144 messages wait in the queue default, and they do not get fewer",
    ),
    Case(
        alert="CeleryQueueBacklog",
        says="150 wait, as many as before, in a namespace and an environment",
        series=_depth("150x60", place=', service_namespace="shop", deployment_environment_name="test"'),
        at="6m",
        fires=({**_DEFAULT, "service_namespace": "shop", "deployment_environment_name": "test"},),
        summary="150 messages wait in the queue default of shop (test), and they do not get fewer",
    ),
    Case(alert="CeleryQueueBacklog", says="for not yet five minutes", series=_depth("150x60"), at="5m"),
    Case(alert="CeleryQueueBacklog", says="60 wait, and more come", series=_depth("60+1x60"), at="6m"),
    Case(alert="CeleryQueueBacklog", says="190 wait, and it gets less", series=_depth("190-1x60"), at="6m"),
    Case(
        alert="CeleryQueueBacklog",
        says="two services see the same 80",
        series=_depth("80x60") | _depth("80x60", service="worker"),
        at="6m",
    ),
    # -- wait
    Case(
        alert="CeleryQueueWaitHigh",
        says="one in twenty waits longer than 80 s",
        series=_waits(up_to_60="0+94.5x80", up_to_300="0+100x80", up_to_all="0+100x80"),
        at="6m",
        fires=({**_WORKER, **_DEFAULT},),
        summary="One in twenty tasks of worker waits longer than 1m 21s in the queue default",
    ),
    Case(
        alert="CeleryQueueWaitHigh",
        says="longer than 45 s",
        series=_waits(up_to_30="0+90x80", up_to_60="0+100x80", up_to_all="0+100x80"),
        at="6m",
    ),
    Case(
        alert="CeleryQueueWaitHigh",
        says="longer than 80 s, for not yet five minutes",
        series=_waits(up_to_60="0+94.5x80", up_to_300="0+100x80", up_to_all="0+100x80"),
        at="5m",
    ),
    Case(
        alert="CeleryQueueWaitHigh",
        says="longer than 80 s, before they stopped to run",
        series=_waits(up_to_60="94x80", up_to_300="100x80", up_to_all="100x80"),
        at="10m",
    ),
    # -- stalled
    Case(
        alert="CeleryStalled",
        says="five wait, and no task of the queue has ended for three minutes",
        series=_depth("5x80") | _runs(success=_STOPPED),
        at="8m",
        fires=(_DEFAULT,),
        summary="5 messages wait in the queue default, and no task of it ends",
    ),
    Case(
        alert="CeleryStalled",
        says="for less than three minutes",
        series=_depth("5x80") | _runs(success=_STOPPED),
        at="7m30s",
    ),
    Case(
        alert="CeleryStalled",
        says="still, half an hour later",
        series=_depth("5x200") | _runs(success=_STOPPED),
        at="35m",
        fires=(_DEFAULT,),
    ),
    Case(
        alert="CeleryStalled",
        says="five wait, and tasks end",
        series=_depth("5x80") | _runs(success="0+3x80"),
        at="10m",
    ),
    Case(
        alert="CeleryStalled",
        says="nothing waits, and nothing ends",
        series=_depth("0x80") | _runs(success=_STOPPED),
        at="15m",
    ),
    Case(
        alert="CeleryStalled",
        says="the worker is gone, its series with it",
        series=_depth("5+1x80") | _runs(success="0+3x20 _x80"),
        at="15m",
        fires=(_DEFAULT,),
    ),
    Case(
        alert="CeleryStalled",
        says="the worker of another queue is busy",
        series=_depth("5x80")
        | _depth("5x80", queue="mail")
        | _runs(success=_STOPPED)
        | _runs(success="0+3x80", queue="mail", service="mailer"),
        at="15m",
        fires=(_DEFAULT,),
    ),
    Case(
        alert="CeleryStalled",
        says="the worker of a queue of this name in another environment is busy",
        series=_depth("5x80", place=', deployment_environment_name="production"')
        | _runs(success="0+3x80", place=', deployment_environment_name="test"'),
        at="15m",
        fires=({**_DEFAULT, "deployment_environment_name": "production"},),
    ),
    Case(
        alert="CeleryStalled",
        says="a script published, saw its message wait, and ended",
        series=_depth("0x80") | _depth("_x20 3 _x60", service="script") | _runs(success="3x80"),
        at="7m45s",
    ),
    # -- saturation
    Case(
        alert="CeleryWorkersSaturated",
        says="19 of 20 are busy, and tasks wait",
        series=_workers("19x120") | _depth("5x120"),
        at="11m",
        fires=(_WORKER,),
        summary="The workers of worker are 95% busy, and tasks wait",
    ),
    Case(
        alert="CeleryWorkersSaturated",
        says="for not yet ten minutes",
        series=_workers("19x120") | _depth("5x120"),
        at="9m45s",
    ),
    Case(
        alert="CeleryWorkersSaturated",
        says="17 of 20 are busy, and tasks wait",
        series=_workers("17x120") | _depth("5x120"),
        at="11m",
    ),
    Case(
        alert="CeleryWorkersSaturated",
        says="all are busy, and nothing waits",
        series=_workers("20x120") | _depth("0x120"),
        at="11m",
    ),
    Case(
        alert="CeleryWorkersSaturated",
        says="a worker that is not ready has no process yet",
        series=_workers("1x120", concurrency="0x120") | _depth("5x120"),
        at="11m",
    ),
    # -- beat: `time()` is 0 where a case begins
    Case(
        alert="CeleryBeatStalled",
        says="beat stopped at 5 minutes",
        series=_tick("0+15x20 300x100"),
        at="12m15s",
        fires=(_BEAT,),
        summary="Beat of beat looked at its schedule 7m 15s ago",
    ),
    Case(alert="CeleryBeatStalled", says="for 400 s", series=_tick("0+15x20 300x100"), at="12m"),
    Case(
        alert="CeleryBeatStalled",
        says="beat sleeps for 300 s at a time",
        series=_tick("0x20 300x20 600x20 900x20"),
        at="14m45s",
    ),
    Case(
        alert="CeleryBeatStalled",
        says="beat ended, and its series with it, days ago",
        series=_tick("0+3600x3 _x200"),
        at="6d",
        fires=(_BEAT,),
        step="1h",
        every="1h",
    ),
    Case(
        alert="CeleryBeatStalled",
        says="beat ended more than a week ago",
        series=_tick("0+3600x3 _x200"),
        at="7d5h",
        step="1h",
        every="1h",
    ),
    Case(
        alert="CeleryBeatStalled",
        says="beat of a service that looks every ten minutes",
        series=_tick("0+15x20 300x100"),
        at="13m",
        parameters=Parameters(services={"beat": Service(thresholds={"beat": 900})}),
    ),
    # -- publishing
    Case(
        alert="PublishFailing",
        says="three lost, the first ever",
        series=_sent("_x8 3x40"),
        at="3m15s",
        fires=(_API_DEFAULT,),
        summary="api could not send 3 messages to the queue default in two minutes",
    ),
    Case(
        alert="PublishFailing",
        says="each of two processes lost one",
        series=_sent("_x8 1x40") | _sent("_x9 1x40", process="2"),
        at="3m30s",
        fires=(_API_DEFAULT,),
    ),
    Case(alert="PublishFailing", says="for not yet a minute", series=_sent("_x8 3x40"), at="2m45s"),
    Case(alert="PublishFailing", says="one lost", series=_sent("_x8 1x40"), at="3m30s"),
    Case(
        alert="PublishFailing",
        says="one is lost each 15 s, after some of yesterday",
        series=_sent("5x16 6+1x40"),
        at="8m",
        fires=(_API_DEFAULT,),
    ),
    Case(alert="PublishFailing", says="seven were lost yesterday", series=_sent("7x60"), at="10m"),
    Case(
        alert="PublishFailing",
        says="seven were lost before Prometheus was there",
        series=_sent("_x20 7x60", ok="_x20 50x60", up="_x20 1x60"),
        at="6m30s",
    ),
)

SURVIVORS = {
    f'PublishFailing: without error_type!=""{number}': "only series with the same `error_type` are compared"
    for number in ("", " #2", " #3")
}
