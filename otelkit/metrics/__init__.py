"""The only place for metrics that an application declares: the declaration is the instrument and its documentation.

catalog = otelkit.Catalog("shop")
ORDERS = catalog.counter(
    "shop.orders",
    unit="{order}",
    description="Orders by outcome.",
    attributes={"shop.order.status": ("placed", "declined"), "shop.campaign": str},
)
ORDERS.add(1, {"shop.order.status": "placed"})

A catalog stands at module level, before or after `configure()`; what is measured before it goes nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import metrics

from otelkit.errors import SettingsError
from otelkit.metrics._alerts import Below, MetricAlert, Ratio, Stopped, alert_name
from otelkit.metrics._declared import DURATIONS, Kind, Metric, Value, Values, plain
from otelkit.metrics._instruments import Counter, Gauge, Histogram, Observer, Timer, UpDownCounter, create, strict
from otelkit.metrics._units import prometheus_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otelkit.metrics._declared import ObservedKind

__all__ = [
    "DURATIONS",
    "Below",
    "Catalog",
    "Counter",
    "Gauge",
    "Histogram",
    "Kind",
    "Metric",
    "MetricAlert",
    "Observer",
    "Ratio",
    "Stopped",
    "Timer",
    "UpDownCounter",
    "Value",
    "Values",
    "alert_name",
    "create",
    "prometheus_name",
    "publish_zeros",
    "strict",
]

_I = TypeVar("_I", Counter, UpDownCounter, Gauge, Histogram, Observer)

_known: dict[str, tuple[Metric, Any]] = {}
"""Every declaration of this process, by its first name in Prometheus: there, two metrics of one name are one."""


def publish_zeros() -> None:
    """Publish the zeros of all counters anew, for providers that did not exist when they were declared."""
    for _, instrument in list(_known.values()):
        if isinstance(instrument, Counter):
            instrument.publish_zeros()


class Catalog:
    """The metrics that a service declares.

    Attributes are told when a metric is declared. A tuple is a closed set: a counter publishes a zero for each of its
    values from the start. `str`, `int` or `bool` is an open one, bounded by `OTELKIT_METRIC_CARDINALITY_LIMIT`. What is
    measured under another attribute or value raises in tests; in production it is left out of the measurement, which
    counts on, and is said once on stderr.

    All declaring methods return the same instrument for the same declaration, wherever it is made again, and raise a
    `SettingsError` that lists every problem of a declaration, a different one of the same name included.

    Args:
        name: Of the instrumentation scope: the service or package that owns the metrics.
        version: Of the same.
    """

    def __init__(self, name: str, *, version: str | None = None) -> None:
        if type(name) is not str or not name:
            raise SettingsError(["Catalog(name): needs the name of the service or package that owns the metrics"])
        self.name = name
        self._meter = metrics.get_meter(name, version or "")
        self._metrics: dict[str, Metric] = {}

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What was declared here, in that order."""
        return tuple(self._metrics.values())

    def counter(
        self,
        name: str,
        *,
        unit: str,
        description: str,
        attributes: Mapping[str, Values] | None = None,
        alert: MetricAlert | tuple[MetricAlert, ...] = (),
    ) -> Counter:
        """Declare what only grows.

        Args:
            name: Lower-case words, grouped by dots: `shop.orders`.
            unit: UCUM (`{order}`, `By`, `s`), or a currency of ISO 4217 (`EUR`).
            description: One sentence.
            attributes: Keys, with a tuple of values or a type each.
            alert: What is watched of it: `Ratio`, `Stopped` or `Below`, or several of them.

        Raises:
            SettingsError: The declaration cannot work.
        """
        alerts = alert if isinstance(alert, tuple) else (alert,)
        metric = _metric(name, "counter", unit, description, attributes, alerts=alerts)
        return self._instrument(metric, lambda: Counter(self._meter, metric))

    def up_down_counter(
        self, name: str, *, unit: str, description: str, attributes: Mapping[str, Values] | None = None
    ) -> UpDownCounter:
        """Declare what grows and shrinks, and can be added up: connections, items in stock.

        Args:
            name: Lower-case words, grouped by dots.
            unit: UCUM, or a currency of ISO 4217.
            description: One sentence.
            attributes: Keys, with a tuple of values or a type each.

        Raises:
            SettingsError: The declaration cannot work.
        """
        metric = _metric(name, "up_down_counter", unit, description, attributes)
        return self._instrument(metric, lambda: UpDownCounter(self._meter, metric))

    def gauge(self, name: str, *, unit: str, description: str, attributes: Mapping[str, Values] | None = None) -> Gauge:
        """Declare what is told as it is now, and cannot be added up: a temperature, a ratio.

        Args:
            name: Lower-case words, grouped by dots.
            unit: UCUM, or a currency of ISO 4217.
            description: One sentence.
            attributes: Keys, with a tuple of values or a type each.

        Raises:
            SettingsError: The declaration cannot work.
        """
        metric = _metric(name, "gauge", unit, description, attributes)
        return self._instrument(metric, lambda: Gauge(self._meter, metric))

    def histogram(
        self,
        name: str,
        *,
        unit: str,
        description: str,
        attributes: Mapping[str, Values] | None = None,
        buckets: Sequence[float] | None = None,
    ) -> Histogram:
        """Declare measurements whose spread matters: durations, sizes.

        Args:
            name: Lower-case words, grouped by dots.
            unit: UCUM, or a currency of ISO 4217.
            description: One sentence.
            attributes: Keys, with a tuple of values or a type each.
            buckets: Upper bounds in the unit, rising; None only for seconds: 5 ms to 10 s.

        Raises:
            SettingsError: The declaration cannot work.
        """
        bounds = tuple(buckets) if buckets is not None else DURATIONS if unit == "s" else ()
        metric = _metric(name, "histogram", unit, description, attributes, buckets=bounds)
        return self._instrument(metric, lambda: Histogram(self._meter, metric))

    def observe(
        self,
        name: str,
        callback: Callable[[], float | Iterable[tuple[float, Mapping[str, Value]]]],
        *,
        unit: str,
        description: str,
        attributes: Mapping[str, Values] | None = None,
        kind: ObservedKind = "gauge",
    ) -> Observer:
        """Declare what is asked for at each collection: no value in between matters.

        Declared once more, the newest callback answers.

        Args:
            name: Lower-case words, grouped by dots.
            callback: Returns a number, or pairs of a number and its attributes. It runs in a thread of telemetry.
            unit: UCUM, or a currency of ISO 4217.
            description: One sentence.
            attributes: Keys, with a tuple of values or a type each.
            kind: "gauge", "counter" (the callback returns totals) or "up_down_counter".

        Raises:
            SettingsError: The declaration cannot work.
        """
        metric = _metric(name, kind, unit, description, attributes, observed=True)
        observer = self._instrument(metric, lambda: Observer(self._meter, metric, callback))
        observer.callback = callback
        return observer

    def _instrument(self, metric: Metric, make: Callable[[], _I]) -> _I:
        problems = metric.problems() or _names_taken(metric)
        if problems:
            raise SettingsError(problems)
        known, instrument = _known.get(metric.series[0]) or (metric, None)
        if known != metric:
            differing = ", ".join(part for part in vars(metric) if getattr(known, part) != getattr(metric, part))
            raise SettingsError([f"{metric.name}: declared before as {known.name} with another {differing}"])
        if instrument is None:
            # One step: of two threads that declare at once, both get what the first one made.
            known, instrument = _known.setdefault(metric.series[0], (metric, make()))
        self._metrics[metric.name] = known
        return cast("_I", instrument)


def _metric(
    name: str,
    kind: Kind,
    unit: str,
    description: str,
    attributes: Mapping[str, Values] | None,
    *,
    buckets: tuple[float, ...] = (),
    observed: bool = False,
    alerts: tuple[MetricAlert, ...] = (),
) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        description=description,
        attributes={key: plain(values) for key, values in (attributes or {}).items()},
        buckets=buckets,
        observed=observed,
        alerts=alerts,
    )


def _names_taken(metric: Metric) -> list[str]:
    """List the names of its alerts that are those of another metric's."""
    others = {
        alert_name(other.name, alert): other.name
        for other, _ in list(_known.values())
        if other.series != metric.series
        for alert in other.alerts
    }
    names = (alert_name(metric.name, alert) for alert in metric.alerts)
    return [f"{metric.name}: alert {name}: {others[name]} has one of this name" for name in names if name in others]
