"""The only place for drills: break one thing, and prove that its alert fires, is told, opens its runbook and resolves.

`otelkit drill` (`otelkit.ops.cli.drill`) is this as a command. A drill runs on a bench (`otelkit.ops.drill.bench`): a
stack and, where wanted, a shop, which are started for it and ended again, also where it is interrupted. Nothing else is
touched: there is no way to name a stack that runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.errors import QueryError
from otelkit.ops._words import some
from otelkit.ops.drill._drills import DRILLS, Drill
from otelkit.ops.drill._follow import Followed, Follower
from otelkit.ops.drill._table import page
from otelkit.ops.drill.bench import bench, chosen
from otelkit.ops.mixin.groups import groups
from otelkit.ops.query import wait_for
from otelkit.ops.query.lgtm import Lgtm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otelkit.ops.drill._follow import Stage
    from otelkit.ops.drill.bench import Bench
    from otelkit.ops.mixin.model import Alert, Look

__all__ = ["DRILLS", "Drill", "Followed", "Outcome", "alerts", "bench", "page", "run", "within"]

_PROMISED = 120.0  # seconds from fault to notification, of an alert that states no budget
_QUIET = 300.0  # seconds in which a stack that was just started has to come to rest
_LOOKS = 30.0  # seconds in which the runbook's first query has to have data
_SILENT = 150.0  # seconds without the Watchdog, which comes each minute, after which a dead man's switch reports
_PAUSE = 0.25


@dataclass(kw_only=True)
class Outcome:
    """What came of a drill.

    Args:
        drill: Which.
        followed: What became of each alert that it proves, by name.
        runbook: What the runbook's first query answered, in a line.
        silent: Seconds from the fault until the dead man's switch reports; None where there was somebody to tell.
        heard_again: Seconds from its removal until the switch hears the Watchdog again.
        problems: What is not as it has to be; empty where the drill proved its alert.
    """

    drill: Drill
    followed: Mapping[str, Followed] = field(default_factory=dict)
    runbook: str = ""
    silent: float | None = None
    heard_again: float | None = None
    problems: list[str] = field(default_factory=list)


def alerts(drill: Drill) -> tuple[str, ...]:
    """Return the names of all alerts that a drill proves, the one that it is about first."""
    named = dict.fromkeys(alert.name for alert in _declared() if alert.drill == drill.name)
    return (drill.alert, *(name for name in named if name != drill.alert))


def within(drill: Drill) -> float:
    """Return how many seconds may pass from a drill's fault until its alert is told."""
    if drill.within is not None:
        return drill.within
    alert = next(alert for alert in _declared() if alert.name == drill.alert)
    return alert.budget[0] if alert.budget else _PROMISED


@cache
def _declared() -> tuple[Alert, ...]:
    inputs = chosen(Path("examples"))  # what it holds does not matter here, that there is one does
    return tuple(alert for group in groups(inputs.parameters, inputs.catalog) for alert in group.alerts)


def run(
    drills: Iterable[Drill], bench: Bench, *, tell: Callable[[str], object], ended: Callable[[Outcome], object]
) -> list[Outcome]:
    """Break, follow, mend, follow: one drill after the other. A fault is removed however this ends.

    Args:
        drills: What to do, in this order.
        bench: Where; nothing is wrong there yet.
        tell: Called with each line of the timeline.
        ended: Called with what came of each, once that is decided; of those that linger, last.
    """
    course = _Course(bench, tell)
    outcomes = []
    for drill in drills:
        tell(f"\n{drill.name}: {drill.about}")
        outcomes.append(outcome := course.run(drill))
        if not course.lingers(outcome):
            ended(outcome)
    for outcome in course.finish():
        ended(outcome)
    return outcomes


@dataclass(frozen=True, kw_only=True)
class _Lingering:
    """An alert whose fault is gone, and that looks back for minutes: it is followed beside the next drills."""

    outcome: Outcome
    follower: Follower
    deadline: float


class _Course:
    """Runs drills on a bench.

    Args:
        bench: Where.
        tell: Called with each line of the timeline.
    """

    def __init__(self, bench: Bench, tell: Callable[[str], object]) -> None:
        self._bench = bench
        self._tell = tell
        self._lingering: list[_Lingering] = []

    def run(self, drill: Drill) -> Outcome:
        """Run one, up to the end of an alert that does not linger."""
        outcome = Outcome(drill=drill)
        self._rest(outcome)
        if not outcome.problems:
            (self._by_silence if drill.alert == "Watchdog" else self._by_alert)(outcome)
        return outcome

    def lingers(self, outcome: Outcome) -> bool:
        """Tell whether it is not yet decided what comes of a drill."""
        return any(each.outcome is outcome for each in self._lingering)

    def finish(self) -> Iterator[Outcome]:
        """Follow those that linger to their ends."""
        while self._lingering:
            each = self._lingering.pop(0)
            self._resolved(each.outcome, each.follower, each.deadline)
            yield each.outcome

    def _follower(self, names: Iterable[str], tell: Callable[[str, Stage, float], object]) -> Follower:
        return Follower(names, endpoints=self._bench.endpoints, heard=self._bench.heard, tell=tell)

    def _until(self, done: Callable[[], object], deadline: float) -> bool:
        """Wait, and look at those that linger meanwhile; False where time is up."""
        while not done():
            if time.monotonic() > deadline:
                return False
            for each in self._lingering:
                each.follower.look()
            time.sleep(_PAUSE)
        return True

    def _rest(self, outcome: Outcome) -> None:
        """Wait until the Watchdog was told, and nothing else that the drill proves is up."""
        names = set(alerts(outcome.drill)) - {"Watchdog"}
        watched = self._follower({*names, "Watchdog"}, lambda *_: None)
        up: set[str] = set()

        def rests() -> bool:
            nonlocal up
            up = watched.look() & names
            return "told" in watched.alerts["Watchdog"].seconds and not up

        if not self._until(rests, time.monotonic() + _QUIET):
            wrong = f"{', '.join(sorted(up))} fires" if up else "the Watchdog is not told"
            outcome.problems.append(f"before the fault, for {_QUIET:g} s: {wrong}")

    def _by_alert(self, outcome: Outcome) -> None:
        drill = outcome.drill
        breaks, mends = drill.acts
        self._tell(f"    0.0 s  {drill.about}")
        follower = self._follower(
            alerts(drill), lambda name, stage, seconds: self._tell(f"{seconds:7.1f} s  {name} {stage}")
        )
        outcome.followed = follower.alerts
        try:
            breaks(self._bench)
            if self._until(lambda: follower.reached(drill.alert, "told"), follower.began + within(drill)):
                self._open_runbook(outcome)
            else:
                reached = ", ".join(follower.alerts[drill.alert].seconds) or "nothing"
                outcome.problems.append(f"{drill.alert} was not told within {within(drill):g} s; it reached: {reached}")
        finally:
            mends(self._bench)
        follower.removed()
        self._tell(f"    0.0 s  {drill.name} is mended")
        deadline = time.monotonic() + drill.back
        if outcome.problems:
            return
        if drill.lingers:
            self._lingering.append(_Lingering(outcome=outcome, follower=follower, deadline=deadline))
        else:
            self._resolved(outcome, follower, deadline)

    def _resolved(self, outcome: Outcome, follower: Follower, deadline: float) -> None:
        drill = outcome.drill
        if not self._until(lambda: follower.reached(drill.alert, "told resolved"), deadline):
            outcome.problems.append(f"nobody was told within {drill.back:g} s that {drill.alert} is resolved")

    def _by_silence(self, outcome: Outcome) -> None:
        """Where Prometheus or Alertmanager is away, who hears the Watchdog no more is the one to tell."""
        drill = outcome.drill
        breaks, mends = drill.acts
        self._tell(f"    0.0 s  {drill.about}")
        began = time.monotonic()

        def silent() -> bool:
            return min(self._bench.silent_for(), time.monotonic() - began) > _SILENT

        try:
            breaks(self._bench)
            if self._until(silent, began + within(drill)):
                outcome.silent = time.monotonic() - began
                says = f"the dead man's switch has heard nothing for {_SILENT:g} s, and reports"
                self._tell(f"{outcome.silent:7.1f} s  {says}")
            else:
                why = f"the dead man's switch still heard the Watchdog after {within(drill):g} s"
                outcome.problems.append(why)
        finally:
            mends(self._bench)
        self._tell(f"    0.0 s  {drill.name} is mended")
        follower = self._follower(["Watchdog"], lambda *_: None)
        if self._until(lambda: follower.reached("Watchdog", "told"), follower.began + drill.back):
            outcome.heard_again = time.monotonic() - follower.began
            self._tell(f"{outcome.heard_again:7.1f} s  the dead man's switch hears the Watchdog again")
        else:
            outcome.problems.append(f"the Watchdog was not heard again within {drill.back:g} s")

    def _open_runbook(self, outcome: Outcome) -> None:
        """Look for the page that the alert leads to, and ask its first query with the alert's own labels."""
        name = outcome.drill.alert
        page = self._bench.rendered / "docs/runbooks" / f"{name}.md"
        if not page.is_file():
            outcome.problems.append(f"there is no runbook: {page}")
            return
        look = next(each for each in _declared() if each.name == name).runbook.looks[0]
        labels = outcome.followed[name].labels
        query = re.sub(r"<(\w+)>", lambda found: labels.get(found[1], ""), look.query)
        try:
            answers = wait_for(lambda: _answers(self._bench, look, query), bool, _LOOKS)
        except (QueryError, TimeoutError) as error:
            outcome.problems.append(f"the first query of the runbook has no data: {query}: {error}")
            return
        outcome.runbook = f"{page.name}: {look.says}: {some(answers, 'answer')}"
        self._tell(f"           {outcome.runbook}")


def _answers(bench: Bench, look: Look, query: str) -> int:
    at = bench.endpoints
    stores = Lgtm.at(prometheus=at.prometheus, tempo=at.tempo, loki=at.loki)
    if look.source == "loki":
        return len(stores.loki.lines(query) if query.startswith("{") else stores.loki.range(query))
    return len(stores.prometheus.query(query) if look.source == "prometheus" else stores.tempo.search(query))
