"""The only place that follows alerts through a drill: pending, firing, told, and back.

It asks who evaluates (Prometheus, Loki's ruler) and listens at the receivers; nothing is taken from a rule's text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from otelkit.errors import QueryError
from otelkit.ops.query._http import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otelkit.ops.drill.receiver import Heard
    from otelkit.ops.endpoints import Endpoints

Stage = Literal["pending", "firing", "told", "resolved", "told resolved"]
STAGES: tuple[Stage, ...] = ("pending", "firing", "told", "resolved", "told resolved")
"""What becomes of an alert, in this order; one without `for` is not seen pending."""


@dataclass(kw_only=True)
class Followed:
    """What became of one alert.

    Args:
        seconds: When each stage was first seen, from the fault on; the two last ones from its removal on.
        labels: Those of the alert, of the first series that it fired for.
        by: Which receivers were told that it fires.
    """

    seconds: dict[Stage, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)


class Follower:
    """Follows alerts by name.

    Args:
        names: Whom.
        endpoints: Where Prometheus and Loki answer.
        heard: Everything that the receivers were told so far.
        tell: Called with the alert's name, the stage, and its seconds.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        endpoints: Endpoints,
        heard: Callable[[], Iterable[Heard]],
        tell: Callable[[str, Stage, float], object],
    ) -> None:
        self.alerts = {name: Followed() for name in names}
        self._stores = (
            (Backend(name="Prometheus", url=endpoints.prometheus, timeout=3.0), "/api/v1/alerts"),
            (Backend(name="Loki", url=endpoints.loki, timeout=3.0), "/prometheus/api/v1/alerts"),
        )
        self._heard = heard
        self._tell = tell
        self.began = time.monotonic()
        """When it began to follow: when the fault is injected."""
        self._removed: float | None = None

    def removed(self) -> None:
        """The fault is gone: from here on alerts resolve."""
        self._removed = time.monotonic()

    def reached(self, name: str, stage: Stage) -> bool:
        """Look, and tell whether an alert has come to a stage."""
        self.look()
        return stage in self.alerts[name].seconds

    def look(self) -> set[str]:
        """Ask everybody once, and return who is up, pending or firing.

        Who does not answer, perhaps because that is the drill, is asked again the next time.
        """
        states, all_answered = self._states()
        for name, alert in states.items():
            self._reached(name, alert["state"])
            if alert["state"] == "firing" and not self.alerts[name].labels:
                self.alerts[name].labels = alert["labels"]
        for each in self._heard():
            for name in set(each.alerts) & set(self.alerts):
                self._told(name, each)
        if all_answered and self._removed is not None:
            for name in set(self.alerts) - set(states):
                if "firing" in self.alerts[name].seconds:
                    self._reached(name, "resolved")
        return set(states)

    def _states(self) -> tuple[dict[str, dict[str, Any]], bool]:
        """Return the alerts that are up, the loudest series of each, and whether everybody answered."""
        states: dict[str, dict[str, Any]] = {}
        all_answered = True
        for store, path in self._stores:
            try:
                for alert in store.ask(path, {}, lambda answer: list(answer["data"]["alerts"])):
                    name = alert["labels"].get("alertname", "")
                    if name in self.alerts and states.get(name, {}).get("state") != "firing":
                        states[name] = alert
            except QueryError:
                all_answered = False
        return states, all_answered

    def _told(self, name: str, heard: Heard) -> None:
        followed = self.alerts[name]
        if heard.at < self.began:
            return
        if heard.status == "firing":
            if heard.kind not in followed.by:
                followed.by.append(heard.kind)
            self._reached(name, "told", heard.at)
        elif self._removed is not None and heard.at > self._removed:
            self._reached(name, "told resolved", heard.at)

    def _reached(self, name: str, stage: Stage, at: float | None = None) -> None:
        seconds = self.alerts[name].seconds
        if stage in seconds or (stage == "pending" and "firing" in seconds):
            return
        since = self.began if stage in ("pending", "firing", "told") or self._removed is None else self._removed
        seconds[stage] = round((at or time.monotonic()) - since, 1)
        self._tell(name, stage, seconds[stage])
