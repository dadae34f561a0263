"""Cases of the alerts on services as such."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_API = {"service_name": "api"}
_EVERYTHING = 'service_name="api", service_namespace="shop", deployment_environment_name="production"'
_PRODUCTION = {"service_name": "api", "service_namespace": "shop", "deployment_environment_name": "production"}


def _beats(values: str, labels: str = 'service_name="api"') -> dict[str, str]:
    """Return a process's time, which it tells as long as it lives."""
    return {f'process_cpu_time_seconds_total{{{labels}, cpu_mode="user"}}': values}


def _served(values: str, labels: str = 'service_name="api"', route: str = "/orders") -> dict[str, str]:
    return {f'http_server_request_duration_seconds_count{{{labels}, http_route="{route}"}}': values}


# Heard of last after 5 min.
_STOPPED = _beats("0+1x20 _x100") | _served("0+5x20 _x100")
_NAMED = Parameters(services={"api": Service()})
_NAMED_WHERE = Parameters(services={"api": Service(namespace="shop", environment="production")})
_NEVER = {"service_name": "api", "seen": "never"}

_DOWN = (
    Case(
        alert="ServiceDown",
        says="nothing is heard of it for 90 s",
        series=_STOPPED,
        at="6m30s",
        fires=(_API,),
        summary="api is down: nothing was heard of it for 1m 30s",
    ),
    Case(alert="ServiceDown", says="nothing is heard of it for 60 s", series=_STOPPED, at="6m"),
    Case(
        alert="ServiceDown", says="nothing is heard of it for 75 s, not yet true for 15 s", series=_STOPPED, at="6m15s"
    ),
    Case(
        alert="ServiceDown",
        says="a service with namespace and environment",
        series=_beats("0+1x20 _x100", _EVERYTHING) | _served("0+5x20 _x100", _EVERYTHING),
        at="7m",
        fires=(_PRODUCTION,),
    ),
    Case(
        alert="ServiceDown",
        says="one of two environments",
        series=_beats("0+1x20 _x100", _EVERYTHING)
        | _served("0+5x20 _x100", _EVERYTHING)
        | _beats("0+1x120", 'service_name="api", deployment_environment_name="test"')
        | _served("0+5x120", 'service_name="api", deployment_environment_name="test"'),
        at="7m",
        fires=(_PRODUCTION,),
    ),
    Case(
        alert="ServiceDown",
        says="a worker that has run tasks",
        series=_beats("0+1x20 _x100") | {'celery_task_executions_total{service_name="api"}': "0+1x20 _x100"},
        at="7m",
        fires=(_API,),
    ),
    Case(
        alert="ServiceDown",
        says="a worker that has run no task yet",
        series=_beats("0+1x20 _x100") | {'celery_task_executions_total{service_name="api"}': "0x20 _x100"},
        at="7m",
    ),
    Case(
        alert="ServiceDown", says="a script or a cron job, which serves nothing", series=_beats("0+1x20 _x100"), at="7m"
    ),
    Case(
        alert="ServiceDown",
        says="the canary of the doctor, which measures one thing only",
        series={'otelkit_doctor_canary_seconds_count{service_name="otelkit-doctor"}': "1 _x100"},
        at="7m",
    ),
    Case(
        alert="ServiceDown",
        says="a job that was asked by probes only",
        series=_beats("0+1x20 _x100") | _served("0+5x20 _x100", route="/health/ready"),
        at="7m",
    ),
    Case(
        alert="ServiceDown",
        says="a service that has a route for requests, and got none",
        series=_beats("0+1x20 _x100") | _served("0x20 _x100"),
        at="7m",
    ),
    Case(
        alert="ServiceDown",
        says="it is back, and was asked nothing yet",
        series=_beats("0+1x20 _x40 0+1x20") | _served("0+5x20 _x60"),
        at="18m",
    ),
    Case(
        alert="ServiceDown",
        says="after 13 hours it is still away",
        series=_STOPPED,
        at="13h",
        every="1m",
        fires=(_API,),
    ),
    Case(
        alert="ServiceDown",
        says="after 6 days it is still away",
        series=_beats("0+1x4 _x800") | _served("0+5x4 _x800"),
        at="6d",
        step="15m",
        every="15m",
        fires=(_API,),
    ),
    Case(
        alert="ServiceDown",
        says="after 8 days it is forgotten",
        series=_beats("0+1x4 _x800") | _served("0+5x4 _x800"),
        at="8d",
        step="15m",
        every="15m",
    ),
    Case(
        alert="ServiceDown",
        says="away for 2 min, where it may be for 3",
        series=_STOPPED,
        at="7m",
        parameters=Parameters(services={"api": Service(thresholds={"absent_s": 180.0})}),
    ),
    Case(
        alert="ServiceDown",
        says="away for 4 min, where it may be for 3",
        series=_STOPPED,
        at="9m",
        fires=(_API,),
        parameters=Parameters(services={"api": Service(thresholds={"absent_s": 180.0})}),
    ),
    Case(
        alert="ServiceDown",
        says="a script, where another service is expected",
        series=_beats("0+1x20 _x100", 'service_name="script"') | _beats("0+1x100") | _served("0+5x100"),
        at="7m",
        parameters=_NAMED,
    ),
    Case(
        alert="ServiceDown",
        says="one that is remembered, and has come and gone since it was said to",
        series={'service:last_seen:timestamp{service_name="api"}': "15x4 _x100"},
        at="10m",
        parameters=Parameters(services={"api": Service(expected=False)}),
    ),
    Case(
        alert="ServiceDown",
        says="one that comes and goes",
        series=_STOPPED,
        at="7m",
        parameters=Parameters(services={"api": Service(expected=False)}),
    ),
    Case(
        alert="ServiceDown",
        says="one that was missed until it was said that it comes and goes",
        series={'service:last_seen:timestamp{service_name="api"}': "0x4 _x100"},
        at="8m",
        parameters=Parameters(services={"api": Service(expected=False)}),
    ),
    Case(
        alert="ServiceDown",
        says="a script, beside a service that is named",
        series=_beats("0+1x20 _x100", 'service_name="job"') | _beats("0+1x100"),
        at="7m",
        parameters=_NAMED,
    ),
    Case(
        alert="ServiceDown",
        says="a named one that serves nothing is away",
        series=_beats("0+1x20 _x100"),
        at="7m",
        fires=(_API,),
        parameters=Parameters(services={"api": Service(thresholds={"absent_s": 61.0})}),
    ),
    Case(
        alert="ServiceDown",
        says="a named one never came",
        series=_beats("0+1x40", 'service_name="worker"'),
        at="1m",
        fires=(_NEVER,),
        summary="api is down: nothing was ever heard of it",
        parameters=_NAMED,
    ),
    Case(
        alert="ServiceDown",
        says="a named one never came, not yet for 1 min",
        series=_beats("0+1x40", 'service_name="worker"'),
        at="45s",
        parameters=_NAMED,
    ),
    Case(
        alert="ServiceDown",
        says="a named one is there, wherever that is",
        series=_beats("0+1x40", _EVERYTHING),
        at="5m",
        parameters=_NAMED,
    ),
    Case(
        alert="ServiceDown",
        says="a named one is there where it is to be",
        series=_beats("0+1x40", _EVERYTHING),
        at="5m",
        parameters=_NAMED_WHERE,
    ),
    Case(
        alert="ServiceDown",
        says="a named one is elsewhere only",
        series=_beats("0+1x40", 'service_name="api", service_namespace="shop", deployment_environment_name="test"'),
        at="5m",
        fires=({**_PRODUCTION, "seen": "never"},),
        parameters=_NAMED_WHERE,
    ),
)


def _check(values: str, critical: str = "true", instance: str = "1") -> dict[str, str]:
    labels = f'otelkit_health_check="database", otelkit_health_critical="{critical}", service_instance_id="{instance}"'
    return {f'otelkit_health_check_status{{service_name="api", {labels}}}': values}


_DATABASE = {"service_name": "api", "otelkit_health_check": "database"}
_TAKES = 'otelkit_health_check_duration_seconds{service_name="api", otelkit_health_check="database"}'

_HEALTH = (
    Case(
        alert="HealthCheckFailing",
        says="all instances find it broken",
        series=_check("1x4 0x20") | _check("1x4 0x20", instance="2"),
        at="3m15s",
        fires=(_DATABASE,),
        summary="api finds database broken",
    ),
    Case(
        alert="HealthCheckFailing",
        says="all instances find it broken, not yet for 1 min",
        series=_check("1x4 0x20") | _check("1x4 0x20", instance="2"),
        at="2m",
    ),
    Case(
        alert="HealthCheckFailing",
        says="one of two instances finds it broken",
        series=_check("0x30") | _check("1x30", instance="2"),
        at="5m",
    ),
    Case(
        alert="HealthCheckFailing",
        says="the one instance finds it broken, another that did not has ended",
        series=_check("_x8 0x30") | _check("1x8", instance="2"),
        at="4m30s",
        fires=(_DATABASE,),
    ),
    Case(
        alert="HealthCheckFailing",
        says="something that is not critical is broken",
        series=_check("0x30", critical="false"),
        at="5m",
    ),
    Case(
        alert="HealthCheckSlow",
        says="a check takes 120 ms",
        series={_TAKES: "0.12x60"},
        at="11m",
        fires=(_DATABASE,),
        summary="The check database of api takes 120ms",
    ),
    Case(
        alert="HealthCheckSlow", says="a check takes 120 ms, not yet for 10 min", series={_TAKES: "0.12x60"}, at="9m45s"
    ),
    Case(alert="HealthCheckSlow", says="a check takes 80 ms", series={_TAKES: "0.08x60"}, at="11m"),
)


def _programs(*programs: tuple[int, str], instance: str = "") -> dict[str, str]:
    """Return when programs on a host were started, each with the steps of 15 s at which it tells: "_x4 {}x10"."""
    name = 'otelkit_program_start_time_seconds{service_name="api", host_name="one", service_instance_id='
    return {f'{name}"{instance}{i}"}}': told.replace("{}", str(start)) for i, (start, told) in enumerate(programs)}


_SERVES = _beats("0+1x200") | _served("0+5x200")
_ON_ONE = {"service_name": "api", "host_name": "one"}
_CRASHING = _programs((10, "_ {}x6 _x80"), (130, "_x9 {}x6 _x80"), (250, "_x17 {}x100"))
_FOR_LONG = _programs(*[(-300 - n, "{}x40 _x80") for n in range(4)])

_RESTARTING = (
    Case(
        alert="ServiceRestarting",
        says="two of three starts have ended",
        series=_SERVES | _CRASHING,
        at="14m",
        fires=(_ON_ONE,),
        summary="api on one was started and ended again 2 times within a quarter of an hour",
    ),
    Case(
        alert="ServiceRestarting",
        says="one of two starts has ended",
        series=_SERVES | _programs((10, "_ {}x6 _x80"), (130, "_x9 {}x100")),
        at="14m",
    ),
    Case(
        alert="ServiceRestarting",
        says="three starts, and none of them has lasted",
        series=_SERVES | _programs((10, "_ {}x6 _x80"), (130, "_x9 {}x6 _x80"), (250, "_x17 {}x6 _x80")),
        at="14m",
        fires=(_ON_ONE,),
    ),
    Case(
        alert="ServiceRestarting",
        says="workers are replaced, again and again, by the program that started them",
        series=_SERVES | _programs(*[(10, f"_x{8 * n + 1} {{}}x7 _x80") for n in range(7)]),
        at="14m",
    ),
    Case(
        alert="ServiceRestarting",
        says="one of two programs on a host crashes, the other runs for 20 min",
        series=_SERVES | _CRASHING | _programs((-360, "{}x100"), instance="other"),
        at="14m",
        fires=(_ON_ONE,),
    ),
    Case(
        alert="ServiceRestarting",
        says="two programs have ended within ten minutes, and were started 20 min ago",
        series=_SERVES | _programs(*[(n, "_ {}x40 _x80") for n in (10, 20)]),
        at="20m",
    ),
    Case(
        alert="ServiceRestarting",
        says="four programs that ran for a quarter of an hour are replaced by a deployment",
        series=_SERVES | _FOR_LONG | _programs(*[(600 + n, "_x40 {}x60") for n in range(4)], instance="new"),
        at="14m",
    ),
    Case(
        alert="ServiceRestarting",
        says="a job that runs every two minutes, and serves nothing",
        series=_CRASHING | _beats("0+1x100"),
        at="14m",
    ),
)


def _lags(quick: str, late: str, every: str, instance: str = "1") -> dict[str, str]:
    """Return how many looks at an event loop were up to 0.1, 0.25 and 0.5 s late."""
    labels = f'service_name="api", service_instance_id="{instance}"'
    name = f"python_eventloop_lag_seconds_bucket{{{labels}, le="
    return {
        f'{name}"0.1"}}': quick,
        f'{name}"0.25"}}': late,
        f'{name}"0.5"}}': every,
        f'{name}"+Inf"}}': every,
        f"python_eventloop_lag_seconds_count{{{labels}}}": every,
    }


def _prompt(looks: str, instance: str = "1") -> dict[str, str]:
    """Return looks that were all in time."""
    return _lags(looks, looks, looks, instance)


_LOOP = (
    Case(
        alert="EventLoopBlocked",
        says="two looks in a hundred are more than 0.25 s late",
        series=_lags("0+90x60", "0+98x60", "0+100x60"),
        at="3m",
        fires=(_API,),
        summary="An event loop of api is blocked for 375ms at a time",
    ),
    Case(
        alert="EventLoopBlocked",
        says="two looks in a hundred are more than 0.25 s late, not yet for 2 min",
        series=_lags("0+90x60", "0+98x60", "0+100x60"),
        at="2m",
    ),
    Case(
        alert="EventLoopBlocked",
        says="ten looks in a hundred are up to 0.25 s late",
        series=_lags("0+90x60", "0+100x60", "0+100x60"),
        at="5m",
    ),
    Case(
        alert="EventLoopBlocked",
        says="one of two processes takes no look at all any more",
        series=_prompt("0+60x20 1200x60") | _prompt("0+60x80", instance="2"),
        at="10m",
        fires=(_API,),
        summary="An event loop of api is blocked for 2m 0s at a time",
    ),
)

_MEMORY = 'process_memory_usage_bytes{service_name="api", service_instance_id='
_FILES = 'process_unix_file_descriptor_count{service_name="api", service_instance_id='
_REFUSED = {"service_name": "api", "otelkit_integration": "redis"}


def _integration(values: str, verdict: str = "skipped", instance: str = "1") -> dict[str, str]:
    labels = f'otelkit_integration="redis", otelkit_verdict="{verdict}", service_instance_id="{instance}"'
    return {f'otelkit_integration_status{{service_name="api", {labels}}}': values}


CASES = (
    *_DOWN,
    *_HEALTH,
    *_RESTARTING,
    *_LOOP,
    Case(
        alert="ProcessMemoryHigh",
        says="one of two processes uses 1.2 GB",
        series={_MEMORY + '"1"}': "1.2e9x60", _MEMORY + '"2"}': "2e8x60"},
        at="11m",
        fires=(_API,),
        summary="A process of api uses 1.118GiB of memory",
    ),
    Case(
        alert="ProcessMemoryHigh",
        says="a process uses 1.2 GB, not yet for 10 min",
        series={_MEMORY + '"1"}': "1.2e9x60"},
        at="9m45s",
    ),
    Case(
        alert="ProcessMemoryHigh",
        says="two processes use 0.8 GB each",
        series={_MEMORY + '"1"}': "8e8x60", _MEMORY + '"2"}': "8e8x60"},
        at="11m",
    ),
    Case(
        alert="FileDescriptorsHigh",
        says="a process has 900 files open",
        series={_FILES + '"1"}': "900x60"},
        at="6m",
        fires=(_API,),
        summary="A process of api has 900 files and sockets open",
    ),
    Case(
        alert="FileDescriptorsHigh",
        says="a process has 900 files open, not yet for 5 min",
        series={_FILES + '"1"}': "900x60"},
        at="4m45s",
    ),
    Case(
        alert="FileDescriptorsHigh",
        says="two processes have 700 files open each",
        series={_FILES + '"1"}': "700x60", _FILES + '"2"}': "700x60"},
        at="6m",
    ),
    Case(
        alert="IntegrationRefused",
        says="a library should be instrumented, and is not",
        series=_integration("0x60"),
        at="6m",
        fires=(_REFUSED,),
        summary="api does not instrument redis, and should",
    ),
    Case(
        alert="IntegrationRefused",
        says="a library should be instrumented, and is not, not yet for 5 min",
        series=_integration("0x60"),
        at="4m45s",
    ),
    Case(
        alert="IntegrationRefused",
        says="it is instrumented",
        series=_integration("1x60", verdict="native"),
        at="6m",
    ),
)
