"""The only place that makes alerts of what a service declares: `Ratio`, `Stopped` and `Below` of `otelkit.metrics`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otelkit.metrics import Ratio, Stopped, alert_name
from otelkit.metrics._alerts import chosen, duration, values_of
from otelkit.metrics._declared import label
from otelkit.ops._words import listed
from otelkit.ops.mixin._variants import any_of, filled, meant, quoted
from otelkit.ops.mixin.model import Alert, Group, Look, Runbook, Threshold

if TYPE_CHECKING:
    from otelkit.metrics import Below, Metric, MetricAlert, Value
    from otelkit.ops.mixin.parameters import Parameters

_WINDOW = 300
"""Seconds that a ratio is judged by."""
_ANY = 'service_name!=""'
_THIS = 'service_name="<service_name>"'
_OWN = 'ALERTS{{alertname="{}"}}'
"""That it fires already."""
_UNDRILLED = "it is a service's own: who declares it can make it true"


def group(parameters: Parameters, catalog: tuple[Metric, ...]) -> Group:  # noqa: ARG001  as all groups are made
    """Return the group: an alert for each that a metric was declared with.

    Args:
        parameters: What people chose; of no concern here.
        catalog: What the service declares.
    """
    return Group(
        name="business",
        about="What a service counts of its own.",
        alerts=tuple(_alert(metric, alert) for metric in catalog for alert in metric.alerts),
        waits_for="" if any(metric.alerts for metric in catalog) else "a catalogue whose metrics have an `alert`",
    )


def _alert(metric: Metric, alert: MetricAlert) -> Alert:
    if isinstance(alert, Ratio):
        return _ratio(metric, alert)
    return _stopped(metric, alert) if isinstance(alert, Stopped) else _below(metric, alert)


def _ratio(metric: Metric, alert: Ratio) -> Alert:
    name = alert_name(metric.name, alert)
    bad = f"sum by ($S) (rate({_series(metric, alert)}[5m]))"
    every = f"sum by ($S) (rate({metric.series[0]}{{$service}}[5m]))"
    over = Threshold(
        name=f"{_snake(name)}_over",
        default=alert.over,
        unit="ratio",
        about=f"share of {metric.name} that has {_told(metric, alert)}",
        observed=filled(f"{bad} / ({every} > 0)", service=_ANY),
    )
    return Alert(
        name=name,
        group="business",
        severity=alert.severity,
        lasting=alert.for_,
        expr=f"{bad}\n/ ({every} > 0) > ${over.name}\nand {bad} * {_WINDOW} >= {alert.at_least}",
        thresholds=(over,),
        feels=alert.feels or f"More goes wrong than usual: {metric.description}",
        summary=f"{{{{ $value | humanizePercentage }}}} of {metric.name} of {{{{ $labels.service_name }}}} have "
        f"{_told(metric, alert)}",
        runbook=_runbook(metric, alert, f"{bad} / ({every} > 0)"),
        undrilled=_UNDRILLED,
    )


def _stopped(metric: Metric, alert: Stopped) -> Alert:
    name, window = alert_name(metric.name, alert), duration(alert.for_)
    series, told = _series(metric, alert), _in_brackets(metric, alert)
    usual = f"sum by ($S) (increase({series}[1h] offset {window + 600}s)) * {window} / 3600"
    least = Threshold(
        name=f"{_snake(name)}_expected",
        default=alert.at_least,
        unit="number",
        about=f"{metric.name}{told} that the hour before lets expect within {alert.for_}; of fewer none tells nothing",
        observed=filled(usual, service=_ANY),
        crossed="guard",
    )
    return Alert(
        name=name,
        group="business",
        severity=alert.severity,
        # An hour later the hour before is as empty: what fires already goes on until something is counted.
        expr=f"({usual} > ${least.name}\n"
        f"  or on ($S) {_firing(name)})\n"
        "and on ($S) service:heartbeat:timestamp\n"
        f"unless on ($S) sum by ($S) (increase({series}[{alert.for_}])) > 0",
        thresholds=(least,),
        feels=alert.feels or f"What happened all the time happens no more: {metric.description}",
        summary=f"{{{{ $labels.service_name }}}} has counted no {metric.name}{told} for {alert.for_}",
        runbook=_runbook(metric, alert, usual),
        absence=True,
        late=(_OWN.format(name),),
        undrilled=_UNDRILLED,
    )


def _below(metric: Metric, alert: Below) -> Alert:
    name = alert_name(metric.name, alert)
    series, told = _series(metric, alert), _in_brackets(metric, alert)
    before = duration(alert.for_) + 3600
    counted = f"sum by ($S) (increase({series}[{alert.per}]))"
    least = Threshold(
        name=f"{_snake(name)}_least",
        default=alert.value,
        unit="number",
        about=f"{metric.name}{told} within {alert.per}",
        observed=filled(counted, service=_ANY),
        crossed="below",
    )
    return Alert(
        name=name,
        group="business",
        severity=alert.severity,
        lasting=alert.for_,
        # Every service that imports the declaration publishes a zero: those are asked that had counted some before.
        expr=f"{counted} < ${least.name}\n"
        f"and on ($S) (sum by ($S) (max_over_time({series}[{before}s] offset {alert.per})) > 0\n"
        f"  or on ($S) {_firing(name)})",
        thresholds=(least,),
        feels=alert.feels or f"Less happens than should: {metric.description}",
        summary=f"{{{{ $labels.service_name }}}} has counted {{{{ $value | humanize }}}} {metric.name}{told} "
        f"within {alert.per}",
        runbook=_runbook(metric, alert, counted),
        late=(_OWN.format(name),),
        undrilled=_UNDRILLED,
    )


def _runbook(metric: Metric, alert: MetricAlert, judged: str) -> Runbook:
    """Return what the service's own people wrote, and what can be looked at in any case."""
    by = ", ".join(("service_version", *map(label, metric.attributes)))
    return Runbook(
        looks=(
            Look(says="what is judged, and since when", query=filled(judged, service=_THIS)),
            Look(
                says="what is counted, by all that tells it apart, and by version",
                query=f"sum by ({by}) (rate({metric.series[0]}{{{_THIS}}}[5m]))",
            ),
            Look(
                says="what went wrong meanwhile",
                query=f"{{{_THIS}}} | severity_number >= 13",
                source="loki",
            ),
        ),
        causes=(),
        tell="The owners of the service.",
        note=" ".join(alert.runbook.split()),
    )


def _series(metric: Metric, alert: MetricAlert) -> str:
    matchers = [f"{label(key)}{_one_of(values)}" for key, values in _chosen(metric, alert).items()]
    return f"{metric.series[0]}{{{', '.join((*matchers, '$service'))}}}"


def _firing(name: str) -> str:
    return f'max by ($S) (ALERTS{{alertname="{name}", alertstate="firing", $service}})'


def _one_of(values: list[str]) -> str:
    return meant(f'="{quoted(values[0])}"' if len(values) == 1 else f'=~"{any_of(values)}"')


def _told(metric: Metric, alert: MetricAlert) -> str:
    return listed([f"{key}={'|'.join(values)}" for key, values in _chosen(metric, alert).items()])


def _in_brackets(metric: Metric, alert: MetricAlert) -> str:
    return f" ({told})" if (told := _told(metric, alert)) else ""


def _chosen(metric: Metric, alert: MetricAlert) -> dict[str, list[str]]:
    """Return which events it is about, by attribute, as Prometheus writes their values."""
    return {key: [_text(each) for each in values_of(metric, key, values)] for key, values in chosen(alert).items()}


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
