"""The only place for what is recorded of services as such, and for the alerts on them: there, well, not restarting.

Which services can be down (docs/decisions/0032): those that have answered a request or run a task, until they were away
for a week, and those that parameters name. Scripts, cron jobs and canaries do neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin._variants import any_of, meant
from otelkit.ops.mixin.model import HEALTH, Alert, Cause, Group, Look, Recording, Runbook, Threshold

if TYPE_CHECKING:
    from otelkit.metrics import Metric
    from otelkit.ops.mixin.parameters import Parameters

_REMEMBERED: Final = 7 * 86_400
"""Seconds. A page has to last over a weekend and its holidays; and what was retired must not page for ever."""
_ASLEEP: Final = "6h"
"""How long Prometheus itself may be away, and still know who was there."""
_STARTED: Final = "otelkit_program_start_time_seconds"

# -- recordings --------------------------------------------------------------------------------------------------------


def _last_seen(parameters: Parameters) -> Recording:
    """When each service that can be down reported last; it remembers itself, since a push leaves nothing behind."""
    named = sorted(name for name, service in parameters.services.items() if service.expected)
    coming_and_going = sorted(name for name, service in parameters.services.items() if not service.expected)
    chosen = f'{{service_name!~"{meant(any_of(coming_and_going))}"}}' if coming_and_going else ""
    remembered = f"last_over_time(service:last_seen:timestamp{chosen}[{_ASLEEP}])"
    served = (
        f'sum by ($S) (http_server_request_duration_seconds_count{{http_route!~"{HEALTH}"}}) > 0\n'
        "    or sum by ($S) (celery_task_executions_total) > 0\n"
        f"    or last_over_time(service:last_seen:timestamp[{_ASLEEP}])"
    )
    found = f"(service:heartbeat:timestamp{chosen} and on ($S) (\n    {served}\n))"
    if named:
        found += f'\nor service:heartbeat:timestamp{{service_name=~"{meant(any_of(named))}"}}'
    return Recording(name="service:last_seen:timestamp", expr=f"{found}\nor {remembered} > time() - {_REMEMBERED}")


def _starts(window: str) -> str:
    """Count the programs that were started within a quarter of an hour, and have been seen within a window."""
    return (
        'count by ($S, host_name) (count_values by ($S, host_name) ("started", '
        f'last_over_time({_STARTED}{{service_name!=""}}[{window}]) > time() - 900))'
    )


_HEARTBEAT: Final = Recording(
    name="service:heartbeat:timestamp",
    expr='max by ($S) (timestamp(process_cpu_time_seconds_total{service_name!=""}))',
)
_BEGUN: Final = Recording(name="service_host:starts:count15m", expr=_starts("15m"))
_ENDED: Final = Recording(
    name="service_host:ended_starts:count15m",
    expr=f"service_host:starts:count15m\n- ({_starts('1m')}\n  or service_host:starts:count15m * 0)",
)

# -- thresholds --------------------------------------------------------------------------------------------------------

_SERVICE: Final = "service_namespace, service_name, deployment_environment_name"

ABSENT: Final = Threshold(
    name="absent_s",
    default=60,
    unit="seconds",
    about="how long nothing was heard of a service before it counts as down; it reports every 15 seconds",
    observed="time() - service:last_seen:timestamp",
)
CHECK_SLOW: Final = Threshold(
    name="check_slow",
    default=0.1,
    unit="seconds",
    about="duration of a health check",
    observed=f"max by ({_SERVICE}) (otelkit_health_check_duration_seconds)",
)
RESTARTS: Final = Threshold(
    name="restarts",
    default=2,
    unit="number",
    about="starts of a service on one machine that ended again, both within a quarter of an hour",
    observed="service_host:ended_starts:count15m",
)
LOOP_LAG: Final = Threshold(
    name="loop_lag",
    default=0.25,
    unit="seconds",
    about="how late one look in a hundred at an event loop is",
    quantile_of="python.eventloop.lag",
    observed=f"histogram_quantile(0.99, sum by ({_SERVICE}, le) (rate(python_eventloop_lag_seconds_bucket[5m])))",
)
RSS: Final = Threshold(
    name="rss",
    default=1_000_000_000,
    unit="bytes",
    about="physical memory of one process",
    observed=f'max by ({_SERVICE}) (process_memory_usage_bytes{{service_name!=""}})',
)
FILES: Final = Threshold(
    name="fds",
    default=800,
    unit="number",
    about="files and sockets that one process has open; the usual limit is 1024",
    observed=f'max by ({_SERVICE}) (process_unix_file_descriptor_count{{service_name!=""}})',
)

# -- alerts ------------------------------------------------------------------------------------------------------------

_LAST_WORDS: Final = Look(
    says="its last words: a traceback, a signal, or nothing, which is a kill",
    query='{service_name="<service_name>"}',
    source="loki",
)
_CRASH: Final = Cause(
    what="It crashes as it starts: configuration, migration, import.",
    sign="The last lines are a traceback, or the program's own output has one: `kubectl logs --previous <pod>`, "
    "`docker logs <container>`, `journalctl -u <unit>`.",
    fix="Roll back to the version that ran: `kubectl rollout undo deployment/<name>`.",
)
_KILLED: Final = Cause(
    what="It was killed for its memory.",
    sign="No last words; `kubectl describe pod` says OOMKilled, or `dmesg` names the process.",
    fix="Raise the limit to have it back; then look on the board Host since when its memory grows.",
)

_DOWN: Final = Runbook(
    looks=(
        Look(
            says="since how many seconds it is away; several at once: look at the machine, the network, the Collector",
            query="time() - service:last_seen:timestamp",
        ),
        _LAST_WORDS,
        Look(
            says="how much memory it used before",
            query='max by (service_instance_id) (process_memory_usage_bytes{service_name="<service_name>"})',
        ),
    ),
    causes=(
        _CRASH,
        _KILLED,
        Cause(
            what="It runs, and its telemetry does not arrive: a wrong address, a firewall, a frozen process.",
            sign="It answers: `curl http://<its address>/health`.",
            fix="`otelkit doctor --prove` where it runs names the hop that is broken.",
        ),
        Cause(
            what="It was stopped, renamed or retired on purpose.",
            sign="Somebody says so; a service of another name, namespace or environment began when this one ended.",
            fix="Silence it for a week, then it is forgotten. One that comes and goes: `expected = false` in the "
            "parameters.",
        ),
    ),
    tell="The owners of the service. After five minutes, whoever speaks to customers.",
    note="Known are services that have answered a request (other than a probe's) or run a task, for a week after they "
    "were seen last, and those that the parameters name: these fire also where they never came. A service whose clock "
    "is a minute late seems to be away.",
)
_DOWN_FEELS: Final = "Nothing answers, or nothing is processed."

SERVICE_DOWN: Final = Alert(
    name="ServiceDown",
    group="service",
    severity="critical",
    lasting="15s",
    expr="time() - service:last_seen:timestamp{$service} > $absent_s",
    thresholds=(ABSENT,),
    feels=_DOWN_FEELS,
    summary="{{ $labels.service_name }} is down: nothing was heard of it for {{ $value | humanizeDuration }}",
    runbook=_DOWN,
    absence=True,
    drill="service-stopped",
)
# A minute, since what is started with the stack takes as long to report.
SERVICE_NEVER_CAME: Final = Alert(
    name="ServiceDown",
    group="service",
    severity="critical",
    lasting="1m",
    expr="absent(service:last_seen:timestamp{$service})",
    feels=_DOWN_FEELS,
    summary="{{ $labels.service_name }} is down: nothing was ever heard of it",
    runbook=_DOWN,
    labels={"seen": "never"},
    named=True,
    absence=True,
    drill="service-stopped",
)

HEALTH_CHECK_FAILING: Final = Alert(
    name="HealthCheckFailing",
    group="service",
    severity="critical",
    lasting="1m",
    # Of the last minute: what an instance said that is gone since would hide for five minutes what the others say.
    expr="max by ($S, otelkit_health_check) "
    '(last_over_time(otelkit_health_check_status{otelkit_health_critical="true", $service}[1m])) == 0',
    feels="The service takes itself out of traffic: what needs the dependency fails, or everything does.",
    summary="{{ $labels.service_name }} finds {{ $labels.otelkit_health_check }} broken",
    runbook=Runbook(
        looks=(
            Look(
                says="which checks fail, of which services: one dependency, or one service",
                query="max by (service_name, otelkit_health_check) (otelkit_health_check_status)",
            ),
            Look(
                says="how long the check takes: at its timeout it hangs, at nothing it is refused",
                query="max by (otelkit_health_check) "
                '(otelkit_health_check_duration_seconds{service_name="<service_name>"})',
            ),
            Look(
                says="what the service says of it",
                query='{service_name="<service_name>"} | severity_number >= 13',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="The dependency is away.",
                sign="Services that share it fire too; DatabaseDown or RedisDown fires.",
                fix="Go on with the runbook of that alert.",
            ),
            Cause(
                what="Only this service cannot reach it: password, address, network policy, connections used up.",
                sign="Others that use it are well. `curl http://<its address>/health/detailed` names the reason.",
                fix="Undo the last change of its configuration; restart it where its pool is exhausted.",
            ),
        ),
        tell="The owners of the dependency, and those of the service.",
    ),
    drill="database-down",
)

HEALTH_CHECK_SLOW: Final = Alert(
    name="HealthCheckSlow",
    group="service",
    severity="info",
    lasting="10m",
    expr="max by ($S, otelkit_health_check) (otelkit_health_check_duration_seconds{$service}) > $check_slow",
    thresholds=(CHECK_SLOW,),
    feels="Nothing yet. What the check asks answers slowly, and others ask it too.",
    summary="The check {{ $labels.otelkit_health_check }} of {{ $labels.service_name }} takes "
    "{{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            Look(
                says="since when, and in which services",
                query="max by (service_name, otelkit_health_check) (otelkit_health_check_duration_seconds)",
            ),
            Look(
                says="whether statements are slower too",
                query="histogram_quantile(0.95, sum by (db_system_name, le) "
                '(rate(db_client_operation_duration_seconds_bucket{service_name="<service_name>"}[5m])))',
            ),
        ),
        causes=(
            Cause(
                what="The dependency is under load, or far away.",
                sign="All services that check it are slow.",
                fix="Look at the board of the dependency: processor, locks, memory.",
            ),
            Cause(
                what="The check asks for too much.",
                sign="Only this check is slow; statements are quick.",
                fix="A check is one `SELECT 1` or one `PING`.",
            ),
        ),
        tell="The owners of the service, in the mail of the day.",
    ),
    undrilled="it has to be slow for ten minutes; its cases play them",
)

SERVICE_RESTARTING: Final = Alert(
    name="ServiceRestarting",
    group="service",
    severity="warning",
    # What never served is no service: a cron job ends after each start, as it should.
    expr="service_host:ended_starts:count15m{$service} >= $restarts\nand on ($S) service:last_seen:timestamp",
    thresholds=(RESTARTS,),
    feels="Requests are dropped each time, and what was cached is lost.",
    summary="{{ $labels.service_name }} on {{ $labels.host_name }} was started and ended again {{ $value }} times "
    "within a quarter of an hour",
    runbook=Runbook(
        looks=(
            Look(
                says="when each was started that is still seen, and by which version",
                query="max by (host_name, service_version, service_instance_id) "
                '(otelkit_program_start_time_seconds{service_name="<service_name>"})',
            ),
            _LAST_WORDS,
            Look(
                says="whether its memory grew before each end",
                query='max by (service_instance_id) (process_memory_usage_bytes{service_name="<service_name>"})',
            ),
        ),
        causes=(
            _CRASH,
            _KILLED,
            Cause(
                what="Its liveness probe fails: too strict, or it asks for dependencies.",
                sign="`kubectl describe pod` says Liveness probe failed; the program ended by SIGTERM, in good order.",
                fix="`/livez` asks nothing but the process; give it more time: `timeoutSeconds`, `failureThreshold`.",
            ),
        ),
        tell="The owners of the service.",
        note="Workers that gunicorn, uvicorn or Celery replaces belong to the program that started them, and are none. "
        "A start under a new host name is not seen as one more: an orchestrator that does so tells of it itself.",
    ),
    drill="restarts",
)

EVENT_LOOP_BLOCKED: Final = Alert(
    name="EventLoopBlocked",
    group="service",
    severity="warning",
    lasting="2m",
    # A loop is looked at four times a second. One that is not, in a process that reports, is blocked for good.
    expr="histogram_quantile(0.99, sum by ($S, le) (rate(python_eventloop_lag_seconds_bucket{$service}[2m])))"
    " > $loop_lag\n"
    "or count by ($S) (sum by ($S, service_instance_id) (rate(python_eventloop_lag_seconds_count{$service}[2m])) == 0)"
    " * 0 + 120",
    thresholds=(LOOP_LAG,),
    feels="Everything is slow at once, in all requests of a process.",
    summary="An event loop of {{ $labels.service_name }} is blocked for {{ $value | humanizeDuration }} at a time",
    runbook=Runbook(
        looks=(
            Look(
                says="which processes, and since when",
                query="histogram_quantile(0.99, sum by (service_instance_id, le) "
                '(rate(python_eventloop_lag_seconds_bucket{service_name="<service_name>"}[2m])))',
            ),
            Look(
                says="which requests ran meanwhile: the one that blocks has a long gap without spans",
                query='{resource.service.name="<service_name>" && kind=server && duration>250ms}',
                source="tempo",
            ),
            Look(
                says="whether it computes (near 1) or waits (near 0)",
                query="sum by (service_instance_id) (rate"
                '(process_cpu_time_seconds_total{service_name="<service_name>"}[2m]))',
            ),
        ),
        causes=(
            Cause(
                what="A blocking call in asynchronous code: `requests`, `time.sleep`, a synchronous driver, a file.",
                sign="Little processor time. `py-spy dump --pid <pid>` shows the call.",
                fix="`await asyncio.to_thread(call)`, or the asynchronous client.",
            ),
            Cause(
                what="Work that takes processor time: hashing, images, a large JSON.",
                sign="One processor is used up.",
                fix="Give it to a task, or to a process pool; more workers of the server until then.",
            ),
            Cause(
                what="The machine has no processor time left for the process.",
                sign="HostCpuHigh fires, or the container is throttled.",
                fix="Raise its limit, or move it.",
            ),
        ),
        tell="The owners of the service.",
    ),
    drill="blocked-event-loop",
)

PROCESS_MEMORY_HIGH: Final = Alert(
    name="ProcessMemoryHigh",
    group="service",
    severity="warning",
    lasting="10m",
    expr="max by ($S) (process_memory_usage_bytes{$service}) > $rss",
    thresholds=(RSS,),
    feels="Nothing yet. When the limit is reached the process is killed, with the requests that it answers.",
    summary="A process of {{ $labels.service_name }} uses {{ $value | humanize1024 }}B of memory",
    runbook=Runbook(
        looks=(
            Look(
                says="a staircase (large requests), a slope (a leak), or a step at a release",
                query="max by (service_instance_id, service_version) "
                '(process_memory_usage_bytes{service_name="<service_name>"})',
            ),
            Look(
                says="whether the garbage collector finds what it cannot free",
                query="sum by (service_instance_id) "
                '(rate(cpython_gc_uncollectable_objects_total{service_name="<service_name>"}[5m]))',
            ),
        ),
        causes=(
            Cause(
                what="A leak: a cache without a bound, a list that is kept, a library.",
                sign="A slope that goes on at night.",
                fix="Restart it now; recycle workers until it is found (`--max-requests`, `max_tasks_per_child`).",
            ),
            Cause(
                what="A large result is held at once: an export, an upload.",
                sign="Steps at single requests; their traces are long.",
                fix="Read and write in parts.",
            ),
            Cause(
                what="It needs as much.",
                sign="Flat since the start, and the machine has more.",
                fix="Raise `rss` for the service, below the limit of its container.",
            ),
        ),
        tell="The owners of the service, in working hours.",
    ),
    undrilled="a gigabyte is more than the example may take of a small machine",
)

FILE_DESCRIPTORS_HIGH: Final = Alert(
    name="FileDescriptorsHigh",
    group="service",
    severity="warning",
    lasting="5m",
    expr="max by ($S) (process_unix_file_descriptor_count{$service}) > $fds",
    thresholds=(FILES,),
    feels="Nothing yet. At the limit every new connection fails: `Too many open files`.",
    summary="A process of {{ $labels.service_name }} has {{ $value }} files and sockets open",
    runbook=Runbook(
        looks=(
            Look(
                says="a slope is a leak; a plateau with the load is none",
                query="max by (service_instance_id) "
                '(process_unix_file_descriptor_count{service_name="<service_name>"})',
            ),
            Look(
                says="how many of them are connections of pools",
                query='sum by (service_instance_id) (db_client_connection_count{service_name="<service_name>"})',
            ),
        ),
        causes=(
            Cause(
                what="Clients are made for each request and never closed.",
                sign="`ls -l /proc/<pid>/fd | awk '{print $NF}' | sort | uniq -c | sort -n | tail`: mostly sockets.",
                fix="One client for the process, or `async with`; restart it until then.",
            ),
            Cause(
                what="Many connections from outside: WebSockets, keep-alive without an end.",
                sign="`ss -tnp | grep <pid>` shows clients.",
                fix="Shorter keep-alive, or a higher limit: `LimitNOFILE=` in the unit, `ulimits` in Compose.",
            ),
        ),
        tell="The owners of the service.",
    ),
    undrilled="eight hundred open files say no more than the cases do",
)

INTEGRATION_REFUSED: Final = Alert(
    name="IntegrationRefused",
    group="service",
    severity="info",
    lasting="5m",
    expr="max by ($S, otelkit_integration) (otelkit_integration_status{$service}) == 0",
    feels="Users nothing. Spans and metrics of a library are missing where you will look for them.",
    summary="{{ $labels.service_name }} does not instrument {{ $labels.otelkit_integration }}, and should",
    runbook=Runbook(
        looks=(
            Look(
                says="which libraries, in which services",
                query="max by (service_name, otelkit_integration, otelkit_verdict) (otelkit_integration_status) == 0",
            ),
            Look(
                says="why: the reason is said once at the start",
                query='{service_name="<service_name>"} |= "otelkit"',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="The library's version is one that nothing here can instrument.",
                sign="`otelkit doctor -- <command>` says so, with the versions that work.",
                fix="Upgrade the library, or otelkit.",
            ),
            Cause(
                what="An extra is not installed.",
                sign="The same names the package that is missing.",
                fix='`pip install "otelkit[<library>]"`.',
            ),
            Cause(
                what="It is not wanted.",
                sign="Nobody looks for these spans.",
                fix="Switch it off: `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=<library>`; then it counts as none.",
            ),
        ),
        tell="The owners of the service, in the mail of the day.",
    ),
    undrilled="an integration refuses by what is installed, which no drill changes",
)


def group(parameters: Parameters, catalog: tuple[Metric, ...]) -> Group:  # noqa: ARG001  as all groups are made
    """Return the group: who can be down depends on who is expected.

    Args:
        parameters: What people chose.
        catalog: What the service declares; of no concern here.
    """
    return Group(
        name="service",
        about="Services: there, well, not restarting.",
        recordings=(_HEARTBEAT, _last_seen(parameters), _BEGUN, _ENDED),
        alerts=(
            SERVICE_DOWN,
            SERVICE_NEVER_CAME,
            HEALTH_CHECK_FAILING,
            HEALTH_CHECK_SLOW,
            SERVICE_RESTARTING,
            EVENT_LOOP_BLOCKED,
            PROCESS_MEMORY_HIGH,
            FILE_DESCRIPTORS_HIGH,
            INTEGRATION_REFUSED,
        ),
    )
