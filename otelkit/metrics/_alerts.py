"""The only place for what an alert on a declared metric is, and what can be wrong with one.

Plain data, beside the metric that they watch: `otelkit render --catalog` makes rules and runbooks of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.metrics._declared import Metric, Value

Severity = Literal["critical", "warning", "info"]
"""Critical pages, warning goes to the chat, info into the mail of the day."""

_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
_DURATION: Final = re.compile(r"([1-9]\d*)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LEAST: Final = 120
"""Seconds: rates need several of the exports, which come each 15 seconds."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Fires while too large a share of what a counter counts is bad, judged by five minutes.

    Args:
        bad: What is: values of attributes with a closed set, one or a tuple of them each.
        over: The share that is too large, between 0 and 1.
        runbook: What to do: which question comes first, what usually was the cause, what helped. It is required.
        at_least: Bad events within the five minutes below which a share tells nothing.
        for_: How long it has to last.
        severity: How loud it is.
        feels: What users, or whoever is on call, notice; by default that more of it is bad than should be.
        name: What people call it; by default the metric's name and "Failing".
    """

    bad: Mapping[str, Value | tuple[Value, ...]]
    over: float
    runbook: str = ""
    at_least: int = 5
    for_: str = "5m"
    severity: Severity = "warning"
    feels: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Fires while nothing is counted that was counted all the time before, until something is.

    Args:
        for_: How long nothing was.
        runbook: What to do. It is required.
        where: What counts: values of attributes with a closed set, one or a tuple of them each; empty: everything.
        at_least: How many the hour before lets expect in that time, below which their lack tells nothing. Of ten
            expected by chance, none comes once in twenty thousand times.
        severity: How loud it is.
        feels: What users, or whoever is on call, notice.
        name: What people call it; by default the metric's name and "Stopped".
    """

    for_: str
    runbook: str = ""
    where: Mapping[str, Value | tuple[Value, ...]] = field(default_factory=dict)
    at_least: int = 10
    severity: Severity = "warning"
    feels: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Below:
    """Fires while fewer than a number were counted within a time, in a service that had counted some before it.

    Args:
        per: The time, up to a week.
        value: The number.
        runbook: What to do. It is required.
        where: What counts: values of attributes with a closed set, one or a tuple of them each; empty: everything.
        for_: How long it has to last.
        severity: How loud it is.
        feels: What users, or whoever is on call, notice.
        name: What people call it; by default the metric's name and "Low".
    """

    per: str
    value: float
    runbook: str = ""
    where: Mapping[str, Value | tuple[Value, ...]] = field(default_factory=dict)
    for_: str = "30m"
    severity: Severity = "warning"
    feels: str = ""
    name: str = ""


MetricAlert = Ratio | Stopped | Below

_ENDINGS: Final[Mapping[type, str]] = {Ratio: "Failing", Stopped: "Stopped", Below: "Low"}


def alert_name(metric: str, alert: MetricAlert) -> str:
    """Return what people call an alert.

    Args:
        metric: The name of its metric, as emitted.
        alert: The alert.
    """
    words = re.split(r"[._]", metric)
    return alert.name or "".join(map(str.capitalize, words)) + _ENDINGS[type(alert)]


def chosen(alert: MetricAlert) -> Mapping[str, Value | tuple[Value, ...]]:
    """Return which events an alert is about."""
    return alert.bad if isinstance(alert, Ratio) else alert.where


def values_of(metric: Metric, key: str, values: Value | tuple[Value, ...]) -> list[Value]:
    """Return the declared values that some were chosen of, where an enum's members may stand for theirs."""
    every = metric.attributes.get(key)
    wanted = values if isinstance(values, tuple) else (values,)
    return [one for one in every if any(_same(one, value) for value in wanted)] if isinstance(every, tuple) else []


def duration(text: str) -> int:
    """Read "30s", "5m", "1h" or "1d" in seconds; 0 is none."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return int(found[1]) * _SECONDS[found[2]] if found else 0


def problems_of_alerts(metric: Metric) -> Iterator[str]:
    """Yield what is wrong with the alerts of a metric, one sentence each."""
    names: set[str] = set()
    for each in metric.alerts:
        alert: object = each
        if not isinstance(alert, MetricAlert):
            yield f"an alert is a Ratio, Stopped or Below of otelkit.metrics, or a tuple of them, not {alert!r}"
            continue
        name = alert_name(metric.name, alert)
        if name in names:
            yield f"alert {name}: a second alert of this name needs a `name` of its own"
        names.add(name)
        for problem in _of(metric, alert):
            yield f"alert {name}: {problem}"


def _of(metric: Metric, alert: MetricAlert) -> Iterator[str]:
    if metric.kind != "counter":
        yield f"alerts are on counters, and this is a {metric.kind}"
    if type(alert.name) is not str or (alert.name and not _NAME.fullmatch(alert.name)):
        yield "a name is one word, as OrdersStopped"
    if type(alert.runbook) is not str or not alert.runbook.strip():
        yield "needs a `runbook`: what to do, for somebody who was asleep"
    if alert.severity not in get_args(Severity):
        yield f"severity {alert.severity!r} is none of {', '.join(get_args(Severity))}"
    given: object = chosen(alert)
    if not isinstance(given, Mapping):
        yield f"{'bad' if isinstance(alert, Ratio) else 'where'} is no mapping of attributes to values"
        return
    for key, values in given.items():
        yield from _of_values(metric, key, values)
    if isinstance(alert, Ratio):
        yield from _of_ratio(metric, alert)
    elif isinstance(alert, Stopped):
        yield from _of_duration("for_", alert.for_, least=_LEAST, most=3600)
        yield from _of_count(alert.at_least)
    else:
        yield from _of_duration("per", alert.per, least=_LEAST, most=7 * 86_400)
        yield from _of_duration("for_", alert.for_)
        if not _is_number(alert.value) or not alert.value > 0:
            yield f"value {alert.value!r} is no number above 0"


def _of_ratio(metric: Metric, alert: Ratio) -> Iterator[str]:
    if not alert.bad:
        yield "needs `bad`: which values of which attribute are"
    for key, values in alert.bad.items():
        every = metric.attributes.get(key)
        if isinstance(every, tuple) and len(alert.bad) == 1 and len(values_of(metric, key, values)) == len(every):
            yield f"all values of {key!r} are bad, which makes the ratio 1 at all times"
    if not _is_number(alert.over) or not 0 < alert.over < 1:
        yield f"over {alert.over!r} is no share between 0 and 1"
    yield from _of_duration("for_", alert.for_)
    yield from _of_count(alert.at_least)


def _of_values(metric: Metric, key: str, values: Value | tuple[Value, ...]) -> Iterator[str]:
    every = metric.attributes.get(key)
    if every is None:
        yield f"attribute {key!r} is not declared"
    elif not isinstance(every, tuple):
        yield f"attribute {key!r} is open: of what nobody listed there is no zero, and nothing to compare with"
    elif not _tuple(values):
        yield f"attribute {key!r}: no value is chosen"
    else:
        for value in _tuple(values):
            if not any(_same(one, value) for one in every):
                yield f"attribute {key!r} is never {value!r}: its values are {', '.join(map(repr, every))}"


def _of_duration(name: str, text: str, *, least: int = 1, most: int = 86_400) -> Iterator[str]:
    if not least <= duration(text) <= most:
        yield f"{name} {text!r} is no duration from {_shown(least)} to {_shown(most)}, as 5m"


def _of_count(count: int) -> Iterator[str]:
    if type(count) is not int or count < 1:
        yield f"at_least {count!r} is no whole number above 0"


def _same(declared: Value, value: object) -> bool:
    return declared == value and isinstance(declared, bool) == isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tuple(values: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return values if isinstance(values, tuple) else (values,)


def _shown(seconds: int) -> str:
    for unit, size in reversed(_SECONDS.items()):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return ""
