"""The only place for what is recorded of exceptions, and for the alerts on them: a new one, and one that comes often.

Both ask the count of exceptions by fingerprint, not the logs: to know what is new, Loki would read a day of all logs
every 15 s (docs/decisions/0034-alerts-on-logs.md).
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups._grown import grown
from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_SEEN: Final = "service_fingerprint:otelkit_exceptions:seen"

RECORDINGS: Final = (
    # Remembers by reading itself, a step at a time: looking back a day at all counts is far dearer. An hour of itself,
    # so that it outlives a Prometheus that was away.
    Recording(
        name=_SEEN,
        expr="max by ($S, exception_fingerprint) "
        '(timestamp(otelkit_exceptions_total{service_name!="", exception_fingerprint!=""}))'
        f"\nor (last_over_time({_SEEN}[1h]) > time() - 86400)",
    ),
)

ERROR_SPIKE: Final = Threshold(
    name="error_spike",
    default=0.1,
    unit="per_second",
    about="exceptions a second of one fingerprint",
    observed="max by (service_name) (sum by (service_name, exception_fingerprint) "
    "(rate(otelkit_exceptions_total[5m])))",
)

_SELECTED: Final = '{service_name="<service_name>", exception_fingerprint="<exception_fingerprint>"}'
_WHERE: Final = Look(
    says="on which routes, and of which versions",
    query=f"sum by (http_route, service_version) (otelkit_exceptions_total{_SELECTED})",
)
_LOGGED: Final = Look(
    says="what it is: type, message and stack, where it was logged",
    query='{service_name="<service_name>"} | exception_fingerprint="<exception_fingerprint>"',
    source="loki",
)
_TRACED: Final = Look(
    says="what it was in the middle of, also where nothing was logged",
    query='{resource.service.name="<service_name>" && span.exception.fingerprint="<exception_fingerprint>"}',
    source="tempo",
)

NEW: Final = Alert(
    name="ErrorFingerprintNew",
    group="errors",
    severity="warning",
    expr=f"{_SEEN}{{$service}}\nunless last_over_time({_SEEN}{{$service}}[1h] offset 5m)",
    feels="Something fails that did not fail before. How many are hurt, the alerts on requests and tasks tell.",
    summary="{{ $labels.service_name }} fails in a way that was not seen for a day: "
    "{{ $labels.exception_fingerprint }}",
    runbook=Runbook(
        looks=(_WHERE, _LOGGED, _TRACED),
        causes=(
            Cause(
                what="A version that has just been deployed.",
                sign="The first look shows the newest `service.version` only.",
                fix="Roll back if it is often (`ErrorFingerprintSpike`, `HighErrorRate`); else hand it to its authors.",
            ),
            Cause(
                what="Something that it depends on fails for the first time, or in a new way.",
                sign="The stack ends in a client: database, HTTP, broker. No deployment.",
                fix="See to what it depends on: its alerts, its status page.",
            ),
            Cause(
                what="The same failure under a new fingerprint: a function was renamed or moved.",
                sign="A fingerprint with the same type and message ended at that moment, board Issues.",
                fix="Nothing.",
            ),
        ),
        tell="The authors of the last change; nobody at night, unless another alert pages.",
        note="It is told once, for five minutes. In the first minutes of a stack, and when Prometheus was away for "
        "longer than an hour, each is new. A fingerprint that was folded (`MetricOverflow`) is not seen.",
    ),
    drill="failing-requests",
)

SPIKE: Final = Alert(
    name="ErrorFingerprintSpike",
    group="errors",
    severity="warning",
    lasting="1m",
    expr="sum by ($S, exception_fingerprint) ("
    + grown('otelkit_exceptions_total{exception_fingerprint!="", $service}')
    + ") > $error_spike * 300",
    thresholds=(ERROR_SPIKE,),
    feels="The same thing fails again and again. Those who meet it see an error.",
    summary='{{ $labels.service_name }} failed {{ $value | printf "%.0f" }} times in five minutes in one way: '
    "{{ $labels.exception_fingerprint }}",
    runbook=Runbook(
        looks=(_WHERE, _LOGGED, _TRACED),
        causes=(
            Cause(
                what="What it depends on is down or slow.",
                sign="The stack ends in a client: database, HTTP, broker.",
                fix="See to that first. If it cannot be mended, switch off what needs it.",
            ),
            Cause(
                what="A new version.",
                sign="It began with a deployment; the first look shows one version.",
                fix="Roll back.",
            ),
            Cause(
                what="One client repeats a request that cannot succeed.",
                sign="One route; the traces have the same attributes.",
                fix="Answer it with 4xx and without an exception; limit it by its key.",
            ),
        ),
        tell="The owners of the service.",
        note="An exception counts once for each trace. One that is meant to happen belongs into no span: raise it as "
        "an answer, or set a higher `error_spike` for the service.",
    ),
    drill="failing-requests",
)

GROUP: Final = Group(
    name="errors",
    about="Exceptions, by fingerprint.",
    recordings=RECORDINGS,
    alerts=(NEW, SPIKE),
)
