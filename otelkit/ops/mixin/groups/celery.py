"""The only place for what is recorded of Celery, and for the alerts on it: tasks, queues, workers, beat, publishing.

A queue has no service: it is filled by one and worked off by another, so that its alerts have the namespace, the
environment and the queue's name for labels, and compare what these say.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups._grown import grown
from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_PLACE = "service_namespace, deployment_environment_name"
_QUEUE = f"{_PLACE}, messaging_destination_name"
_RUNS = "celery_task_executions_total"
_SENT = "messaging_client_sent_messages_total"
_BY_STATE = "service_task_state:celery_task_executions:rate5m"
_FAILED_SHARE = "service_task:celery_task_failures:ratio_rate5m"
_DEPTH = "namespace_queue:celery_queue_depth:max"
_TICK = "service:celery_beat_last_tick_time_seconds:max"

RECORDINGS: Final = (
    Recording(
        name=_BY_STATE,
        expr=f'sum by ($S, celery_task_name, celery_task_state) (rate({_RUNS}{{service_name!=""}}[5m]))',
    ),
    Recording(
        name=_FAILED_SHARE,
        expr=f'sum by ($S, celery_task_name) ({_BY_STATE}{{celery_task_state="failure"}})\n'
        f'/ (sum by ($S, celery_task_name) ({_BY_STATE}{{celery_task_state=~"success|failure"}}) > 0)',
    ),
    # Every process tells the depth that it saw. A script that published and ended would be believed for five minutes:
    # only what was told within the last one counts.
    Recording(
        name=_DEPTH,
        expr=f'max by ({_QUEUE}) (last_over_time(celery_queue_depth{{service_name!=""}}[1m]))',
    ),
    # A dead beat tells nothing any more: its last tick is remembered, for a week, as services are.
    Recording(
        name=_TICK,
        expr='max by ($S) (celery_beat_last_tick_time_seconds{service_name!=""})\n'
        f"or last_over_time({_TICK}[6h]) > time() - 7 * 86400",
    ),
)

_OF_TASK: Final = "{{ $labels.celery_task_name }} of {{ $labels.service_name }}"

_TASK_LOGS: Final = Look(
    says="what its runs logged, with the fingerprint of the exception",
    query='{service_name="<service_name>"} | celery_task_name="<celery_task_name>" | severity_number >= 17',
    source="loki",
)

CELERY_TASKS_FAILING = Alert(
    name="CeleryTasksFailing",
    group="celery",
    severity="warning",
    lasting="2m",
    # The second half leaves single failures of a task that seldom runs alone.
    expr=f"{_FAILED_SHARE}{{$service}} > $task_fail\n"
    "and on ($S, celery_task_name) sum by ($S, celery_task_name) "
    f'(increase({_RUNS}{{celery_task_state="failure", $service}}[10m])) >= 3',
    thresholds=(
        Threshold(
            name="task_fail",
            default=0.05,
            unit="ratio",
            about="share of a task's runs that fail",
            observed=f"max by ($S) ({_FAILED_SHARE})",
        ),
    ),
    feels="What the task does is missing: mails, reports, payments.",
    summary=f"{_OF_TASK} fails in {{{{ $value | humanizePercentage }}}} of its runs",
    runbook=Runbook(
        looks=(
            Look(
                says="how its runs end, and since when",
                query=f'{_BY_STATE}{{service_name="<service_name>", celery_task_name="<celery_task_name>"}}',
            ),
            _TASK_LOGS,
            Look(
                says="runs that failed, from the request that asked for them",
                query='{resource.service.name="<service_name>" && name="run/<celery_task_name>" && status=error}',
                source="tempo",
            ),
        ),
        causes=(
            Cause(
                what="A new version is broken, or gets arguments of the old one.",
                sign="It began with a deploy; `TypeError` about arguments for messages that were waiting meanwhile.",
                fix="Roll back. Arguments that changed need a default for as long as old messages can be waiting.",
            ),
            Cause(
                what="What the task calls fails.",
                sign="The exception is one of a client: time-out, connection refused, 5xx.",
                fix="See the runbook of DbErrors or UpstreamFailing. Retry with a back-off instead of failing.",
            ),
            Cause(
                what="Its child is killed: memory, or the hard time limit.",
                sign="`WorkerLostError` or `TimeLimitExceeded`; HostOutOfMemoryKill may fire.",
                fix="`worker_max_memory_per_child`, a smaller batch, a higher `time_limit`.",
            ),
        ),
        tell="The owners of the service. What failed is not run again by itself: note from when to when.",
        note="A task that runs less than every five minutes is seen for five minutes after each run only: the alert on "
        "new exceptions tells of it too.",
    ),
    drill="failing-tasks",
)

CELERY_RETRY_STORM = Alert(
    name="CeleryRetryStorm",
    group="celery",
    severity="warning",
    lasting="10m",
    expr=f'sum by ($S, celery_task_name) ({_BY_STATE}{{celery_task_state="retry", $service}})\n'
    f"/ (sum by ($S, celery_task_name) ({_BY_STATE}{{$service}}) > 0.05) > $retry",
    thresholds=(
        Threshold(
            name="retry",
            default=0.2,
            unit="ratio",
            about="share of a task's runs that end in a retry",
            observed=f'max by ($S) (sum by ($S, celery_task_name) ({_BY_STATE}{{celery_task_state="retry"}}) '
            f"/ (sum by ($S, celery_task_name) ({_BY_STATE}) > 0))",
        ),
    ),
    feels="What the task does comes late, and other tasks wait behind its retries.",
    summary=f"{{{{ $value | humanizePercentage }}}} of the runs of {_OF_TASK} end in a retry",
    runbook=Runbook(
        looks=(
            Look(
                says="how its runs end, and since when",
                query=f'{_BY_STATE}{{service_name="<service_name>", celery_task_name="<celery_task_name>"}}',
            ),
            Look(
                says="why: the exceptions of its runs",
                query='{service_name="<service_name>"} | celery_task_name="<celery_task_name>" | severity_number >= 13',
                source="loki",
            ),
            Look(
                says="which upstream fails",
                query="sum by (server_address, error_type) "
                '(rate(http_client_request_duration_seconds_count{service_name="<service_name>", error_type!=""}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="What the task calls is away or slow.",
                sign="The exceptions are those of its client; UpstreamFailing or DbErrors fires.",
                fix="Wait, if it comes back; else stop the task: `celery -A APP control rate_limit TASK 1/m`.",
            ),
            Cause(
                what="It can never succeed: bad data, tried over and over.",
                sign="The same arguments, ids or orders in all its traces.",
                fix="Raise without a retry for such errors (`autoretry_for` names the others); bound `max_retries`.",
            ),
            Cause(
                what="All retry at once.",
                sign="Runs come in waves.",
                fix="`retry_backoff=True`, `retry_jitter=True`.",
            ),
        ),
        tell="The owners of the service, and of the upstream.",
    ),
    undrilled="takes ten minutes of retries; its cases cover both sides",
)

_OF_QUEUE: Final = (
    "queue {{ $labels.messaging_destination_name }}"
    "{{ with $labels.service_namespace }} of {{ . }}{{ end }}"
    "{{ with $labels.deployment_environment_name }} ({{ . }}){{ end }}"
)
_DEPTH_LOOK: Final = Look(
    says="how many wait, and since when",
    query=f'{_DEPTH}{{messaging_destination_name="<messaging_destination_name>"}}',
)
_WORK_LOOK: Final = Look(
    says="which services work it off, and how fast; nothing is nobody",
    query="sum by (service_name, celery_task_name) "
    f'(rate({_RUNS}{{messaging_destination_name="<messaging_destination_name>"}}[5m]))',
)

CELERY_QUEUE_BACKLOG = Alert(
    name="CeleryQueueBacklog",
    group="celery",
    severity="warning",
    lasting="5m",
    # One that gets shorter is on its way back.
    expr=f"{_DEPTH} > $backlog and deriv({_DEPTH}[5m]) >= 0",
    thresholds=(
        Threshold(
            name="backlog",
            default=100,
            unit="number",
            about="messages that wait in a queue which does not get shorter",
            observed=_DEPTH,
        ),
    ),
    feels="Delays that grow: mails, reports, payments come later and later.",
    summary=f'{{{{ $value | printf "%.0f" }}}} messages wait in the {_OF_QUEUE}, and they do not get fewer',
    runbook=Runbook(
        looks=(
            _DEPTH_LOOK,
            _WORK_LOOK,
            Look(
                says="who fills it",
                query="sum by (service_name, celery_task_name) "
                f'(rate({_SENT}{{messaging_destination_name="<messaging_destination_name>"}}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="More is published than the workers can do.",
                sign="The third look rose; CeleryWorkersSaturated fires.",
                fix="More workers, or `celery -A APP control pool_grow 4`.",
            ),
            Cause(
                what="Tasks became slower, since what they call did.",
                sign="The second look fell, the third did not. The board Worker shows longer runs.",
                fix="See the runbook of SlowQueries or UpstreamSlow.",
            ),
            Cause(
                what="Workers are gone.",
                sign="The second look has nothing; CeleryStalled follows.",
                fix="See the runbook of CeleryStalled.",
            ),
        ),
        tell="The owners of the services in the second and third look.",
        note="Tasks with an ETA are with the workers until they are due, and not counted here.",
    ),
    undrilled="takes more messages than a drill should leave behind; its cases cover both sides",
)

CELERY_QUEUE_WAIT_HIGH = Alert(
    name="CeleryQueueWaitHigh",
    group="celery",
    severity="warning",
    lasting="5m",
    expr="histogram_quantile(0.95, sum by ($S, messaging_destination_name, le) "
    "(rate(celery_task_wait_time_seconds_bucket{$service}[5m]))) > $wait_p95",
    thresholds=(
        Threshold(
            name="wait_p95",
            default=60,
            unit="seconds",
            about="time that one task in twenty waits longer for",
            quantile_of="celery.task.wait_time",
            observed="histogram_quantile(0.95, sum by ($S, le) "
            '(rate(celery_task_wait_time_seconds_bucket{service_name!=""}[5m])))',
        ),
    ),
    feels="What was asked for happens minutes later.",
    summary="One in twenty tasks of {{ $labels.service_name }} waits longer than {{ $value | humanizeDuration }} in "
    "the queue {{ $labels.messaging_destination_name }}",
    runbook=Runbook(
        looks=(
            Look(
                says="how long tasks wait, and since when",
                query="histogram_quantile(0.95, sum by (messaging_destination_name, le) "
                '(rate(celery_task_wait_time_seconds_bucket{service_name="<service_name>"}[5m])))',
            ),
            _DEPTH_LOOK,
            Look(
                says="how busy the workers are: 1 is all of them",
                query='sum by (service_name) (celery_task_active{service_name="<service_name>"}) '
                '/ sum by (service_name) (celery_worker_concurrency{service_name="<service_name>"})',
            ),
            Look(
                says="which task takes the time",
                query="topk(5, sum by (celery_task_name) "
                '(rate(celery_task_duration_seconds_sum{service_name="<service_name>"}[5m])))',
            ),
        ),
        causes=(
            Cause(
                what="Too few workers for what is published.",
                sign="The third look is near 1.",
                fix="More workers, or `celery -A APP control pool_grow 4`.",
            ),
            Cause(
                what="Long tasks hold up short ones.",
                sign="The fourth look has one far ahead; short tasks wait in the same queue.",
                fix="A queue and workers of their own for long tasks (`task_routes`).",
            ),
            Cause(
                what="A worker took more messages than it runs.",
                sign="Tasks wait although the third look is low.",
                fix="`worker_prefetch_multiplier = 1`, `task_acks_late = True`.",
            ),
        ),
        tell="The owners of the service.",
        note="Measured when a task begins: a queue that nobody works off is CeleryStalled.",
    ),
    undrilled="needs tasks that waited for minutes; its cases cover both sides",
)

CELERY_STALLED = Alert(
    name="CeleryStalled",
    group="celery",
    severity="critical",
    lasting="1m",
    expr=f"{_DEPTH} > 0\nunless on ({_QUEUE}) sum by ({_QUEUE}) (rate({_RUNS}[$stall])) > 0",
    thresholds=(
        Threshold(
            name="stall",
            default=120,
            unit="seconds",
            about="time without an end of any task of a queue in which some wait: more than the longest task takes",
        ),
    ),
    feels="Nothing is processed any more: no mails, no reports, orders stay where they are.",
    summary=f'{{{{ $value | printf "%.0f" }}}} messages wait in the {_OF_QUEUE}, and no task of it ends',
    runbook=Runbook(
        looks=(
            _DEPTH_LOOK,
            _WORK_LOOK,
            Look(
                says="whether workers are there, and what they are busy with",
                query="sum by (service_name, service_instance_id) (celery_task_active)",
            ),
            Look(
                says="what the workers logged last",
                query='{service_name=~".+"} |~ "(?i)celery|worker|broker" | severity_number >= 13',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="The workers are gone, or were never told of this queue.",
                sign="The third look has none of them; `celery -A APP inspect active_queues` does not name the queue.",
                fix="Start them: `celery -A APP worker -Q QUEUE`.",
            ),
            Cause(
                what="They are stuck: every process waits for something that does not come.",
                sign="The third look stays at the concurrency; `celery -A APP inspect active` shows tasks with an old "
                "`time_start`.",
                fix="Restart them; with `task_acks_late` the tasks come back. Then give calls a time-out and tasks a "
                "`time_limit`.",
            ),
            Cause(
                what="They lost the broker and did not come back.",
                sign="Their log ends in `Connection to broker lost`; the broker answers others.",
                fix="Restart them.",
            ),
            Cause(
                what="Tasks of this queue simply take longer than `stall`.",
                sign="The second look is above 0 every few minutes.",
                fix='Set `stall = "15m"` in parameters, above the longest one.',
            ),
        ),
        tell="The owners of the worker. Whoever speaks to customers, when what waits is about them.",
        note="The depth is told by whoever publishes or works: where nobody does, nobody knows it. A task counts when "
        "it ends.",
    ),
    drill="worker-stopped",
    budget=(300, "two minutes without an end of a task, and one more: a quiet queue is no fault"),
    absence=True,
)

CELERY_WORKERS_SATURATED = Alert(
    name="CeleryWorkersSaturated",
    group="celery",
    severity="warning",
    lasting="10m",
    # A worker that has all hands full is no fault while nothing waits.
    expr="sum by ($S) (celery_task_active{$service})\n"
    "/ (sum by ($S) (celery_worker_concurrency{$service}) > 0) > $busy\n"
    f"and on ({_PLACE}) max by ({_PLACE}) ({_DEPTH}) > 0",
    thresholds=(
        Threshold(
            name="busy",
            default=0.9,
            unit="ratio",
            about="share of the processes of workers that run a task, while others wait",
            observed='sum by ($S) (celery_task_active{service_name!=""}) '
            '/ (sum by ($S) (celery_worker_concurrency{service_name!=""}) > 0)',
        ),
    ),
    feels="Delays that grow with the next peak.",
    summary="The workers of {{ $labels.service_name }} are {{ $value | humanizePercentage }} busy, and tasks wait",
    runbook=Runbook(
        looks=(
            Look(
                says="how busy each worker is: 1 is all its processes",
                query="sum by (service_instance_id) (celery_task_active"
                '{service_name="<service_name>"}) / sum by (service_instance_id) '
                '(celery_worker_concurrency{service_name="<service_name>"})',
            ),
            Look(says="what waits, in which queue", query=_DEPTH),
            Look(
                says="which task takes the time",
                query="topk(5, sum by (celery_task_name) "
                '(rate(celery_task_duration_seconds_sum{service_name="<service_name>"}[5m])))',
            ),
        ),
        causes=(
            Cause(
                what="More work than the workers are made for.",
                sign="Runs rose, their duration did not.",
                fix="More workers, or `celery -A APP control pool_grow 4` where the machine has cores and memory.",
            ),
            Cause(
                what="A task became slow.",
                sign="The third look has one that grew.",
                fix="Look at its traces: a query, an upstream, a lock.",
            ),
            Cause(
                what="Processes hang in tasks that do not end.",
                sign="`celery -A APP inspect active` shows tasks with an old `time_start`.",
                fix="Restart the worker; set `soft_time_limit` and `time_limit`.",
            ),
        ),
        tell="The owners of the service.",
    ),
    undrilled="takes ten minutes of load; its cases cover both sides",
)

CELERY_BEAT_STALLED = Alert(
    name="CeleryBeatStalled",
    group="celery",
    severity="warning",
    lasting="30s",
    expr=f"time() - {_TICK}{{$service}} > $beat",
    thresholds=(
        Threshold(
            name="beat",
            default=400,
            unit="seconds",
            about="time since beat looked at its schedule: it sleeps for up to 300 s when nothing is due",
            observed=f"time() - {_TICK}",
        ),
    ),
    feels="What is scheduled does not happen: reports, clean-ups, renewals.",
    summary="Beat of {{ $labels.service_name }} looked at its schedule {{ $value | humanizeDuration }} ago",
    runbook=Runbook(
        looks=(
            Look(
                says="seconds since beat looked at its schedule",
                query=f'time() - {_TICK}{{service_name="<service_name>"}}',
            ),
            Look(
                says="what it logged last",
                query='{service_name="<service_name>"} |~ "(?i)beat|schedul"',
                source="loki",
            ),
            Look(
                says="whether its process reports at all",
                query='count by (service_instance_id) (process_cpu_time_seconds_total{service_name="<service_name>"})',
            ),
        ),
        causes=(
            Cause(
                what="Its process ended, and nothing started it again.",
                sign="The third look has nothing.",
                fix="Start it: `celery -A APP beat`. Only one: two send everything twice.",
            ),
            Cause(
                what="It hangs: a lock of a second beat, a broker or database that does not answer.",
                sign="The process runs; its last line is old.",
                fix="Restart it; delete a stale `celerybeat.pid`.",
            ),
            Cause(
                what="It is gone on purpose.",
                sign="No deploy starts it any more.",
                fix="Silence the alert for a week: by then it is forgotten.",
            ),
        ),
        tell="The owners of the service: which jobs were missed since, and has one to be run by hand?",
        note="With a `beat_max_loop_interval` above 300 s, `beat` has to be more than that.",
    ),
    drill="beat-halted",
    absence=True,
)

_LOST: Final = f'{_SENT}{{error_type!="", $service}}'

PUBLISH_FAILING = Alert(
    name="PublishFailing",
    group="celery",
    severity="critical",
    lasting="1m",
    # Each process begins a series with its first failure. What Prometheus finds when it comes back is no first one.
    expr=f"sum by ($S, messaging_destination_name) ({grown(_LOST, '2m')}) >= $publish_lost\n"
    "and on () group(up offset 2m)",
    thresholds=(
        Threshold(
            name="publish_lost",
            default=2,
            unit="number",
            about="messages of a service that could not be sent to a queue within two minutes",
        ),
    ),
    feels="What users asked for is never done: an order without a confirmation, without a delivery.",
    summary='{{ $labels.service_name }} could not send {{ $value | printf "%.0f" }} messages to the queue '
    "{{ $labels.messaging_destination_name }} in two minutes",
    runbook=Runbook(
        looks=(
            Look(
                says="which tasks are lost, and with which exception",
                query="sum by (celery_task_name, error_type) "
                f'(rate({_SENT}{{service_name="<service_name>", error_type!=""}}[5m]))',
            ),
            Look(
                says="the requests that lost them, to run again later",
                query='{resource.service.name="<service_name>" && name=~"apply_async/.*" && status=error}',
                source="tempo",
            ),
            Look(says="whether Redis is up, where it is the broker", query="redis_up"),
        ),
        causes=(
            Cause(
                what="The broker is down or not reached.",
                sign="`OperationalError`, `ConnectionError`; all services that publish have it.",
                fix="Redis: see the runbook of RedisDown. RabbitMQ: `rabbitmqctl status`, then its log.",
            ),
            Cause(
                what="The broker is full and takes nothing.",
                sign="Redis: `OutOfMemoryError`. RabbitMQ: `rabbitmqctl list_alarms` or blocked connections.",
                fix="Make room: memory, disk, or a queue that nobody works off.",
            ),
            Cause(
                what="The arguments of a task cannot be sent.",
                sign="`EncodeError`, one task only, since a deploy.",
                fix="Roll back.",
            ),
        ),
        tell="The owners of the service at once: what was not sent is lost, and somebody has to send it again.",
        note="Celery tries to publish several times before a message counts as lost (`task_publish_retry`).",
    ),
    drill="redis-down",
    late=(f'{_SENT}{{error_type!=""}}',),
)

GROUP = Group(
    name="celery",
    about="Celery: tasks, queues, workers, beat, publishing.",
    recordings=RECORDINGS,
    alerts=(
        CELERY_TASKS_FAILING,
        CELERY_RETRY_STORM,
        CELERY_QUEUE_BACKLOG,
        CELERY_QUEUE_WAIT_HIGH,
        CELERY_STALLED,
        CELERY_WORKERS_SATURATED,
        CELERY_BEAT_STALLED,
        PUBLISH_FAILING,
    ),
)
