"""The only place that holds thresholds against what was seen: quantiles of what each one is compared with.

The guards of an alert (a minimum of traffic, of failures) are no part of it: what is told to have been beyond a
threshold for long enough fired only where they were met, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin import _units, _variants
from otelkit.ops.mixin.model import HEALTH, SERVICE
from otelkit.ops.query import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otelkit.ops.mixin.model import Alert, Group, Threshold, Unit
    from otelkit.ops.mixin.parameters import Parameters
    from otelkit.ops.query import Series
    from otelkit.ops.query.lgtm import Prometheus

_POINTS: Final = 2000  # of a series; Prometheus gives 11,000
_INTERVAL: Final = 15.0  # seconds between two samples
_THOUSAND: Final = 1000
_LONG: Final = (("d", 86_400.0), ("h", 3600.0))
_SECOND: Final = 1e9  # nanoseconds


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One threshold and one series that it is compared with.

    Args:
        threshold: Its declaration.
        labels: Of the series; those of a service, where it is one's.
        in_force: What is chosen for it.
        quantiles: p50, p95, p99 and the greatest; of one that fires below it, from the other end: the least is last.
            Empty where nothing was seen.
        beyond: Share of the time that it was beyond the threshold.
        fired: Whether that lasted for as long as an alert asks for.
    """

    threshold: Threshold
    labels: Mapping[str, str]
    in_force: float
    quantiles: tuple[float, float, float, float] | None = None
    beyond: float = 0.0
    fired: bool = False


def observe(
    prometheus: Prometheus, groups: Iterable[Group], parameters: Parameters, *, over: float
) -> Iterator[Observed]:
    """Yield what was seen of each threshold that has a query for it, in the order of the reference.

    Args:
        prometheus: Where it is stored.
        groups: Whose thresholds.
        parameters: What was chosen.
        over: Seconds until now.

    Raises:
        QueryError: Prometheus gave no answer.
    """
    alerts = [alert for group in groups for alert in group.alerts]
    thresholds = {each.name: each for alert in alerts for each in alert.thresholds if each.observed}
    chosen = {each.name: _number(each, parameters) for alert in alerts for each in alert.thresholds}
    step = max(1, math.ceil(over / _POINTS / _INTERVAL)) * _INTERVAL
    window = Window.last(over)
    for threshold in thresholds.values():
        own = [alert for alert in alerts if threshold in alert.thresholds]
        asked = _asked(threshold.observed, chosen)
        found = prometheus.range(asked, window, step)
        for series in sorted(found, key=lambda each: sorted(each.labels.items())):
            yield _observed(threshold, own, series, parameters, step)
        if not found:
            yield Observed(threshold=threshold, labels={}, in_force=chosen[threshold.name])


def lasting(alert: Alert) -> float:
    """Return for how many seconds it has to be true before it fires."""
    return _units.number(alert.lasting, "seconds") or 0.0


def _asked(template: str, thresholds: Mapping[str, float]) -> str:
    numbers = {name: _variants.number(value) for name, value in thresholds.items()}
    return _variants.filled(template, service='service_name!=""', route=f'http_route!~"{HEALTH}"', **numbers)


def _number(threshold: Threshold, parameters: Parameters, service: str = "") -> float:
    own = parameters.services[service].thresholds if service in parameters.services else {}
    return own.get(threshold.name, parameters.in_force(threshold))


def _observed(
    threshold: Threshold, alerts: Sequence[Alert], series: Series, parameters: Parameters, step: float
) -> Observed:
    in_force = _number(threshold, parameters, series.labels.get("service_name", ""))
    sign = -1 if threshold.crossed == "below" else 1
    points = [(time / _SECOND, sign * value) for time, value in series.points if not math.isnan(value)]
    labels = {name: value for name, value in series.labels.items() if value and name != "__name__"}
    plain = Observed(threshold=threshold, labels=labels, in_force=in_force)
    if not points:
        return plain
    values = sorted(value for _, value in points)
    p50, p95, p99, most = (sign * values[math.ceil(share * len(values)) - 1] for share in (0.5, 0.95, 0.99, 1.0))
    beyond = [time for time, value in points if threshold.crossed != "guard" and value > sign * in_force]
    needed = min(lasting(alert) for alert in alerts)
    return replace(
        plain,
        quantiles=(p50, p95, p99, most),
        beyond=len(beyond) / len(points),
        fired=any(long >= needed for long in _runs(beyond, step)),
    )


def _runs(times: Iterable[float], step: float) -> Iterator[float]:
    """Yield how long each run of points lasted that follow each other."""
    first = last = None
    for time in times:
        if first is None or last is None or time - last > step * 1.5:
            if first is not None and last is not None:
                yield last - first
            first = time
        last = time
    if first is not None and last is not None:
        yield last - first


def shown(value: float, unit: Unit) -> str:
    """Write a value as a table has it: 5 %, 0.25 s, 450 MB."""
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    if unit == "seconds":
        longest = next((each for each in _LONG if abs(value) >= each[1]), ("s", 1))
        return f"{value / longest[1]:.3g} {longest[0]}"
    if unit != "bytes":
        ending = "/s" if unit == "per_second" else ""
        return (f"{value:.0f}" if abs(value) >= _THOUSAND else f"{value:.3g}") + ending
    for ending in ("B", "kB", "MB", "GB"):
        if abs(value) < _THOUSAND:
            return f"{value:.3g} {ending}"
        value /= _THOUSAND
    return f"{value:.3g} TB"


def named(labels: Mapping[str, str]) -> str:
    """Write whose a series is: a service as shop/api (production), anything else by what its labels say."""
    namespace, service, environment = (labels.get(label, "") for label in SERVICE)
    rest = dict.fromkeys(value for name, value in sorted(labels.items()) if name not in (*SERVICE, "job"))
    name = f"{namespace}/{service}" if namespace and service else service or namespace
    where = f"({environment})" if environment else ""
    return " ".join(part for part in (name, where, *rest) if part) or "all"
