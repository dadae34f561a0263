"""The only place for the alert that always fires: where it falls silent, alerting itself is dead."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook

WATCHDOG: Final = Alert(
    name="Watchdog",
    group="watchdog",
    severity="none",
    expr="vector(1)",
    feels="Nothing. It fires always; told to a service outside, its silence says that nobody is told anything any "
    "more.",
    summary="Alerting works",
    runbook=Runbook(
        looks=(
            Look(says="that Prometheus fires it", query='ALERTS{alertname="Watchdog", alertstate="firing"}'),
            Look(
                says="that it is handed over: errors, by Alertmanager",
                query="rate(prometheus_notifications_errors_total[2m])",
            ),
            Look(
                says="that Alertmanager hands it on",
                query='sum by (integration, reason) (alertmanager_notifications_failed_total{integration="webhook"})',
            ),
        ),
        causes=(
            Cause(
                what="You are here since it fires.",
                sign="It is red on a board, or in a chat.",
                fix="Nothing: it is meant to. It belongs to the receiver `deadman`, and to no people.",
            ),
            Cause(
                what="You are here since the service outside hears nothing: Prometheus is down.",
                sign="The first look has no answer at all.",
                fix="`otelkit stack status`, `otelkit stack logs prometheus`, `otelkit stack up`.",
            ),
            Cause(
                what="Alertmanager is down, or cannot reach the service outside.",
                sign="The second look is above zero, or the third grows.",
                fix="`otelkit stack logs alertmanager`; mend its configuration or the way out; see "
                "`PrometheusCannotNotify` and `NotificationsFailing`.",
            ),
        ),
        tell="When it is silent: everybody on call, at once. No alert reaches anybody.",
        note="It proves the chain only if somebody outside listens: `docs/how-to/run-the-stack.md`.",
    ),
    drill="prometheus-down",
)

GROUP: Final = Group(name="watchdog", about="That alerts are evaluated and handed on at all.", alerts=(WATCHDOG,))
