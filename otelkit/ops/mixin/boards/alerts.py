"""The only place for the board of alerts: what fires, what fired, how loud it was, and who was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin.boards._parts import BY_SERVICE, RATE, to
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target

if TYPE_CHECKING:
    from otelkit.ops.mixin.parameters import Parameters

_FIRING: Final = 'ALERTS{alertstate="firing", severity!="none"}'
_KNOWN: Final = f"alertname, severity, group, slo, {BY_SERVICE}"
_WELL: Final = "nothing fires where nothing is wrong"
_ALONE: Final = "nobody is told where no receiver is switched on"
_PIPELINE: Final = to("pipeline", "Pipeline")


def board(parameters: Parameters) -> Board:
    """Return the board, whose alerts lead to the runbooks that were chosen."""
    page = f"{parameters.runbooks}/${{__value.raw:percentencode}}.md"
    runbook = Column(title="Alert", links={"Open the runbook": page})
    return Board(
        name="alerts",
        title="Alerts",
        question="What fires, since when, what is there to do, and was anybody told?",
        rows={"Symptoms": _symptoms(runbook), "History": _history(runbook), "Notifications": _NOTIFICATIONS},
    )


def _symptoms(runbook: Column) -> tuple[Panel, ...]:
    return (
        Panel(
            title="Firing now",
            about="Alerts on metrics that fire, and since when they were pending. A click on a name opens its runbook; "
            "those on log records are beside it.",
            unit="dateTimeFromNow",
            targets=(
                Target(
                    query=f"1000 * max by ({_KNOWN}) (ALERTS_FOR_STATE and ignoring (alertstate) {_FIRING})",
                    legend="Since",
                    instant=True,
                ),
            ),
            link=to("overview", "Overview"),
            kind="table",
            width=16,
            columns={
                "alertname": runbook,
                "severity": Column(title="Severity", width=100),
                "group": Column(title="Group", width=100),
                "slo": Column(title="SLO"),
                "service_name": Column(title="Service", board="red", var="svc"),
                "service_namespace": Column(title="Namespace"),
                "deployment_environment_name": Column(title="Environment"),
            },
            sort="Since",
            may_be_empty=_WELL,
        ),
        Panel(
            title="On log records",
            about="Alerts of Loki's ruler, which Prometheus knows nothing of: bursts of errors, new fingerprints.",
            unit="short",
            source="loki",
            targets=(),
            link=to("issues", "Issues"),
            kind="alerts",
            width=8,
        ),
    )


def _history(runbook: Column) -> tuple[Panel, ...]:
    return (
        Panel(
            title="History",
            about="When each alert fired. Those that begin together have one cause: look at the one that began first.",
            unit="short",
            targets=(
                Target(query=f"max by (alertname, service_name) ({_FIRING})", legend="{{alertname}} {{service_name}}"),
            ),
            link=to("release", "Compare versions"),
            kind="states",
            width=24,
            colours={1.0: ("firing", "red")},
            may_be_empty=_WELL,
        ),
        Panel(
            title="By severity",
            about="How many alerts fire, by severity: how bad it was, and for how long.",
            unit="short",
            targets=(Target(query=f"count by (severity) ({_FIRING})", legend="{{severity}}"),),
            link=to("overview", "Overview"),
            kind="bars",
            width=12,
            may_be_empty=_WELL,
        ),
        Panel(
            title="Noisiest in a week",
            about="How often each alert became pending in seven days. One that leads and that nobody acts on needs "
            "another threshold, or has to go.",
            unit="short",
            targets=(
                Target(
                    query='topk(15, sum by (alertname) (changes(ALERTS_FOR_STATE{severity!="none"}[7d]) + 1))',
                    legend="Times",
                    instant=True,
                ),
            ),
            link=to("overview", "Overview"),
            kind="table",
            width=12,
            columns={"alertname": runbook},
            sort="Times",
            may_be_empty=_WELL,
        ),
    )


_NOTIFICATIONS: Final = (
    Panel(
        title="Known to Alertmanager",
        about="Alerts by state: active ones are told, suppressed ones are silenced, or explained by another.",
        unit="short",
        targets=(Target(query="sum by (state) (alertmanager_alerts)", legend="{{state}}"),),
        link=_PIPELINE,
        width=6,
    ),
    Panel(
        title="Sent",
        about="Notifications each minute, by how they go. Alerts that fire without any here reach nobody.",
        unit="cpm",
        targets=(
            Target(
                query=f"60 * sum by (integration) (rate(alertmanager_notifications_total{RATE}))",
                legend="{{integration}}",
            ),
        ),
        link=_PIPELINE,
        width=6,
        may_be_empty=_ALONE,
    ),
    Panel(
        title="Failed",
        about="Notifications that did not arrive, each minute. Any at all: a secret, an address, or the network.",
        unit="cpm",
        targets=(
            Target(
                query=f"60 * sum by (integration) (rate(alertmanager_notifications_failed_total{RATE}))",
                legend="{{integration}}",
            ),
        ),
        link=_PIPELINE,
        width=6,
        may_be_empty=_ALONE,
    ),
    Panel(
        title="Silences",
        about="Silences that are active. One that nobody remembers hides an outage.",
        unit="short",
        targets=(Target(query='sum (alertmanager_silences{state="active"})', legend="active"),),
        link=_PIPELINE,
        kind="stat",
        width=6,
    ),
)
