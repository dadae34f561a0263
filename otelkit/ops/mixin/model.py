"""The only place that says what an alert, a recording rule, a threshold and a runbook consist of.

They are data. What an alert watches, the numbers in it, what people feel when it fires, what helps, and the drill that
proves it stand in one declaration, so that none of them can be missing; `otelkit.ops.mixin.groups` holds them all.

An expression is a template (`string.Template`). It may name

- `$S`: the labels of a service, to aggregate by and to match on;
- `$service`: matchers that choose the services a rule is for, in PromQL and LogQL; an alert with it is one of services,
  and its thresholds can be set for one of them;
- `$route`: matchers that leave the routes of probes out; an alert with it has thresholds that can be set for a route;
- a threshold of the alert, by its name: `$error_crit`.

A dollar that is meant is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE: Final = ("service_namespace", "service_name", "deployment_environment_name")
"""The labels of a service: in every aggregate, route, inhibition and link. `$S` in expressions."""

HEALTH: Final = "/health(/.*)?|/livez|/readyz"
"""The routes of probes: polled all day, they would drown what people ask for. `/healthcare` is none."""

EVALUATION: Final = 15
"""Seconds between two evaluations of rules: as often as services export."""

Severity = Literal["critical", "warning", "info", "none"]
"""Critical pages, warning goes to the chat, info into the mail of the day; none is the Watchdog."""

Unit = Literal["ratio", "seconds", "bytes", "per_second", "number"]
"""What a threshold is counted in. In parameters `"5%"`, `"500ms"`, `"1GB"` may stand for the number in base units."""

Language = Literal["promql", "logql"]
Source = Literal["prometheus", "loki", "tempo"]

GROUPS: Final[Mapping[str, str]] = {
    "service": "red",
    "http": "red",
    "slo": "slo",
    "business": "business",
    "db": "database",
    "cache": "cache",
    "celery": "worker",
    "host": "host",
    "container": "containers",
    "uptime": "status",
    "collector": "pipeline",
    "telemetry": "pipeline",
    "stack": "stack",
    "logs": "logs",
    "errors": "issues",
    "watchdog": "alerts",
}
"""Groups of alerts, and the board that each is looked at on: the label `group`, which inhibition compares."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A number of an alert that people tune.

    Args:
        name: What it is called in parameters; the same name in two alerts is the same threshold, declared once.
        default: In base units: a share of one, seconds, bytes, a number each second, or a number.
        unit: Which of these.
        about: What it bounds, in a few words.
        quantile_of: The histogram whose quantile is compared with it: beyond the last bound nothing is ever measured.
        observed: PromQL whose value is what the threshold is compared with, by the labels of a service where it has
            them: what `otelkit render --observed` shows beside it. Empty where there is nothing to tune by.
        crossed: Where an alert fires; "guard" is one that only keeps alerts quiet: a minimum of traffic.
    """

    name: str
    default: float
    unit: Unit
    about: str
    quantile_of: str = ""
    observed: str = ""
    crossed: Literal["above", "below", "guard"] = "above"


@dataclass(frozen=True, kw_only=True)
class Look:
    """One thing to look at, first.

    Args:
        says: What its answer tells.
        query: Exact: PromQL, LogQL or TraceQL. `<service_name>` stands for the label's value in the alert, as for every
            label of it.
        source: What it is asked of.
    """

    says: str
    query: str
    source: Source = "prometheus"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One likely cause.

    Args:
        what: The cause.
        sign: How to tell that it is this one.
        fix: What to do, as commands where that is possible.
    """

    what: str
    sign: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Runbook:
    """What to do at three in the morning; `docs/runbooks/<Alert>.md` is made of it.

    Args:
        looks: What to look at, in this order. In a drill the first has to have data.
        causes: The likely ones, the likeliest first.
        tell: Who else has to know, and when.
        note: What is good to know besides: when it is no fault, what it cannot see.
    """

    looks: tuple[Look, ...]
    causes: tuple[Cause, ...]
    tell: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording rule.

    Args:
        name: `level:metric:operation`; level is the labels besides those of a service.
        expr: A template that may name `$S`.
        labels: Which its series have besides.
    """

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert.

    Args:
        name: What people call it. Alerts of one name differ in `labels`, and share all that is said of them.
        group: One of `GROUPS`.
        severity: How loud it is.
        expr: When it fires; a template.
        feels: What users, or whoever is on call, notice of the fault.
        summary: One sentence with the labels of the alert, as Prometheus' templates write them.
        runbook: What to do.
        lasting: For how long it has to be true before it fires: "0s", "30s", "5m".
        thresholds: Its numbers.
        labels: Which it has besides.
        language: What `expr` is written in.
        named: Whether there is a rule only for each service that parameters name and expect, and none for all: of what
            is absent nothing tells that it was ever there.
        off: Whether it has to be switched on (`enable` in parameters).
        drill: The drill that makes it fire; empty where `undrilled` says why there is none.
        undrilled: Why not.
        needs: What has to run besides services and stack for it to see anything; empty where nothing has.
        unproven: Why nothing it selects can exist in the tests; empty where it does.
        late: What is born with the first fault, each a name, matchers, or both as PromQL writes them: nothing that it
            selects exists while all is well.
        budget: Seconds from fault to notification that it may take, where 120 are not enough, and why; a critical one.
        absence: Whether a lack of pushed data makes it fire. Nobody is told of it while the Collector is down.
    """

    name: str
    group: str
    severity: Severity
    expr: str
    feels: str
    summary: str
    runbook: Runbook
    lasting: str = "0s"
    thresholds: tuple[Threshold, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    language: Language = "promql"
    named: bool = False
    off: bool = False
    drill: str = ""
    undrilled: str = ""
    needs: str = ""
    unproven: str = ""
    late: tuple[str, ...] = ()
    budget: tuple[int, str] | None = None
    absence: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rules that are declared in one file of `otelkit.ops.mixin.groups`.

    Args:
        name: Of the file of rules that it becomes.
        about: What it watches, in a line.
        recordings: Evaluated before the alerts, in this order.
        alerts: In the order of the page.
        waits_for: What has to be chosen before its rules are written; empty where they always are. Its alerts are
            told of all the same.
    """

    name: str
    about: str
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alert, ...] = ()
    waits_for: str = ""
