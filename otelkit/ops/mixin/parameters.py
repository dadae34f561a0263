"""The only place for what people choose of the rules: thresholds, which alerts are on, who pages, SLOs, addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.ops.mixin.model import Threshold


@dataclass(frozen=True, kw_only=True)
class Slo:
    """A service level objective.

    Args:
        name: Unique.
        service: `service.name` of whose requests it counts.
        namespace: `service.namespace` of the same; "" where it has none.
        environment: `deployment.environment.name`; "" where it has none.
        objective: Share of good events, below 1.
        kind: Good is "availability": not answered with 5xx; or "latency": answered within `under`, of those.
        under: Seconds; a bound of the histogram's buckets.
        route: Only this one; "" for all but those of probes.
        period: Days that the objective is kept over.
    """

    name: str
    service: str
    objective: float
    kind: Literal["availability", "latency"] = "availability"
    namespace: str = ""
    environment: str = ""
    under: float = 0.0
    route: str = ""
    period: int = 14


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is chosen for one service.

    Args:
        expected: Whether it is to be there at all times; one that comes and goes cannot be down.
        namespace: Its `service.namespace`; "" where it has none.
        environment: Its `deployment.environment.name`; "" where it has none.
        disable: Alerts that it does not have.
        thresholds: Its own, by name.
        routes: Those of its routes, by route and name.
    """

    expected: bool = True
    namespace: str = ""
    environment: str = ""
    disable: frozenset[str] = frozenset()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Notify:
    """How people are told, but for secrets: those are files (`otelkit.ops.mixin.alertmanager`).

    Args:
        channel: Slack's, for example "#alerts"; "" is the one that the webhook was made for.
        smarthost: The mail server, `host:port`; "" sends no mail.
        sender: Whom mail comes from.
        to: Who gets it; several with commas between them.
        user: Whose password is in the file of secrets; "" where the server asks for none.
        tls: Whether mail goes by STARTTLS or not at all.
        pagerduty: Where PagerDuty takes events, if not at its usual address: that of the EU, for example.
    """

    channel: str = ""
    smarthost: str = ""
    sender: str = ""
    to: str = ""
    user: str = ""
    tls: bool = True
    pagerduty: str = ""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything that is chosen; without arguments, what is chosen by default.

    Args:
        thresholds: Those of all services and of the stack, by name, where they are not the default.
        disable: Alerts that are switched off.
        enable: Alerts that are off by default and switched on.
        page_environments: Where critical alerts page; elsewhere they are warnings. Empty: everywhere. An alert without
            an environment always pages.
        services: By `service.name`.
        slos: In the order of the file.
        notify: How people are told.
        grafana: Its address, for links.
        runbooks: Where the runbooks can be read: a folder's address.
        alertmanager: Its address, for links to silences.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    disable: frozenset[str] = frozenset()
    enable: frozenset[str] = frozenset()
    page_environments: tuple[str, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    slos: tuple[Slo, ...] = ()
    notify: Notify = field(default_factory=Notify)
    grafana: str = "http://localhost:3001"
    runbooks: str = "https://github.com/otelkit/otelkit/blob/main/docs/runbooks"
    alertmanager: str = "http://localhost:9093"

    def in_force(self, threshold: Threshold) -> float:
        """Return what is chosen of a threshold for all services and the stack, else its default."""
        return self.thresholds.get(threshold.name, threshold.default)
