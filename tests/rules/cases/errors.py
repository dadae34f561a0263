"""Cases of the alerts on exceptions."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_API: Final = {"service_name": "api", "exception_fingerprint": "7aa822e57568"}
_PLACE: Final = {"service_namespace": "shop", "deployment_environment_name": "production"}


def _counted(values: str, *, instance: str = "1", fingerprint: str = "7aa822e57568", **more: str) -> dict[str, str]:
    labels = {"service_name": "api", "service_instance_id": instance, "exception_fingerprint": fingerprint, **more}
    matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return {f"otelkit_exceptions_total{{{matchers}}}": values}


_NEW = (
    Case(
        alert="ErrorFingerprintNew",
        says="an exception that nobody has seen",
        series=_counted("_x40 1x40"),
        at="11m",
        fires=(_API,),
        summary="api fails in a way that was not seen for a day: 7aa822e57568",
    ),
    Case(
        alert="ErrorFingerprintNew",
        says="another one, of a service with namespace and environment",
        series=_counted("1x80", **_PLACE) | _counted("_x40 1x40", fingerprint="93bd6de9f359", **_PLACE),
        at="11m",
        fires=({**_API, **_PLACE, "exception_fingerprint": "93bd6de9f359"},),
    ),
    Case(
        alert="ErrorFingerprintNew",
        says="it is told once: five minutes later it is known",
        series=_counted("_x40 1x60"),
        at="16m",
    ),
    Case(
        alert="ErrorFingerprintNew",
        says="a new process meets it, and another that has ended met it twenty hours before",
        series=_counted("1x10") | _counted("_x240 1x10", instance="2"),
        step="5m",
        every="5m",
        at="20h",
    ),
    Case(
        alert="ErrorFingerprintNew",
        says="a new process meets it, and another that has ended met it two days before",
        series=_counted("1x10") | _counted("_x576 1x10", instance="2"),
        step="5m",
        every="5m",
        at="48h",
        fires=(_API,),
    ),
    Case(
        alert="ErrorFingerprintNew",
        says="what was folded has no fingerprint",
        series={'otelkit_exceptions_total{service_name="api", otel_metric_overflow="true"}': "_x40 1x40"},
        at="11m",
    ),
)

_SPIKE = (
    Case(
        alert="ErrorFingerprintSpike",
        says="forty in five minutes, in two processes and on two routes",
        series=_counted("0+1x80", http_route="/orders") | _counted("0+1x80", instance="2", http_route="/charges"),
        at="10m",
        fires=(_API,),
        summary="api failed 40 times in five minutes in one way: 7aa822e57568",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="twenty in five minutes",
        series=_counted("0+1x80"),
        at="10m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="a process begins with fifty, and has had no more",
        series=_counted("_x9 50x80"),
        at="4m",
        fires=(_API,),
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="fifty long ago",
        series=_counted("50x80"),
        at="15m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="fifty long ago, and nothing was heard for twenty minutes",
        series=_counted("50x40 _x80 50x40"),
        at="32m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="twenty of each of two",
        series=_counted("0+1x80") | _counted("0+1x80", fingerprint="93bd6de9f359"),
        at="10m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="many, for less than a minute",
        series=_counted("_x9 50x80"),
        at="3m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="many were folded, of different kinds",
        series={'otelkit_exceptions_total{service_name="api", otel_metric_overflow="true"}': "0+50x80"},
        at="10m",
    ),
    Case(
        alert="ErrorFingerprintSpike",
        says="twenty in five minutes, where the service asks for half as many",
        series=_counted("0+1x80"),
        at="10m",
        fires=(_API,),
        parameters=Parameters(services={"api": Service(thresholds={"error_spike": 0.05})}),
    ),
)

CASES: Final = (*_NEW, *_SPIKE)

_SAME: Final = "its labels are matched with those of the others, which ask for it too"
SURVIVORS: Final = {
    f'ErrorFingerprintSpike: without exception_fingerprint!=""{more}': _SAME for more in ("", " #2", " #3")
}
