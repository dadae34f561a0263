"""The only place for drills: break one thing, and prove that its alert fires, is told, opens its runbook and resolves.

`otelkit drill` (`otelkit.ops.cli.drill`) is this as a command. A drill runs on a bench (`otelkit.ops.drill.bench`): a
stack and, where wanted, a shop, which are started for it and ended again, also where it is interrupted. Nothing else is
touched: there is no way to name a stack that runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.errors import QueryError
from otelkit.ops.drill._drills import DRILLS, Drill
from otelkit.ops.drill._follow import Followed, Follower
from otelkit.ops.drill._table import page
from otelkit.ops.drill.bench import bench, chosen
from otelkit.ops.mixin.groups import groups
from otelkit.ops.query import wait_for
from otelkit.ops.query.lgtm import Lgtm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelkit.ops.drill._follow import Stage
    from otelkit.ops.drill.bench import Bench
    from otelkit.ops.mixin.model import Alert, Look

__all__ = ["DRILLS", "Drill", "Followed", "Outcome", "alerts", "bench", "page", "run"]

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


def _declared() -> tuple[Alert, ...]:
    inputs = chosen(Path("examples"))  # what it holds does not matter here, that there is one does
    return tuple(alert for group in groups(inputs.parameters, inputs.catalog) for alert in group.alerts)


def run(drill: Drill, bench: Bench, *, tell: Callable[[str], object]) -> Outcome:
    """Break, follow, mend, follow. The fault is removed however this ends.

    Args:
        drill: What to do.
        bench: Where; nothing is wrong there yet.
        tell: Called with each line of the timeline.
    """
    tell("waiting until nothing fires")
    outcome = Outcome(drill=drill)
    _rest(drill, bench, outcome)
    if not outcome.problems:
        prove = _by_silence if drill.alert == "Watchdog" else _by_alert
        prove(drill, bench, outcome, tell)
    return outcome


def _rest(drill: Drill, bench: Bench, outcome: Outcome) -> None:
    """Wait until all rules were evaluated, the Watchdog is heard, and nothing else that the drill proves is up."""
    names = set(alerts(drill)) - {"Watchdog"}
    watched = Follower({*names, "Watchdog"}, endpoints=bench.endpoints, heard=bench.heard, tell=lambda *_: None)
    deadline = time.monotonic() + _QUIET
    while True:
        up = watched.look()
        if "told" in watched.alerts["Watchdog"].seconds and not up & names:
            return
        if time.monotonic() > deadline:
            missing = "the Watchdog is not told" if not up & names else f"{', '.join(sorted(up & names))} fires"
            outcome.problems.append(f"before the fault, for {_QUIET:g} s: {missing}")
            return
        time.sleep(_PAUSE)


def _by_alert(drill: Drill, bench: Bench, outcome: Outcome, tell: Callable[[str], object]) -> None:
    names = alerts(drill)

    def told(name: str, stage: Stage, seconds: float) -> None:
        tell(f"{seconds:7.1f} s  {name} {stage}")

    breaks, mends = drill.acts
    tell(f"    0.0 s  {drill.about}")
    follower = Follower(names, endpoints=bench.endpoints, heard=bench.heard, tell=told)
    outcome.followed = follower.alerts
    try:
        breaks(bench)
        if follower.until(drill.alert, "told", drill.within):
            _open_runbook(drill, bench, outcome, tell)
        else:
            reached = ", ".join(follower.alerts[drill.alert].seconds) or "nothing"
            outcome.problems.append(f"{drill.alert} was not told within {drill.within:g} s; it reached: {reached}")
    finally:
        mends(bench)
    follower.removed()
    tell("    0.0 s  mended")
    if not outcome.problems and not follower.until(drill.alert, "told resolved", drill.back):
        outcome.problems.append(f"nobody was told within {drill.back:g} s that {drill.alert} is resolved")


def _by_silence(drill: Drill, bench: Bench, outcome: Outcome, tell: Callable[[str], object]) -> None:
    """Where Prometheus or Alertmanager is away, who hears the Watchdog no more is the one to tell."""
    breaks, mends = drill.acts
    tell(f"    0.0 s  {drill.about}")
    began = time.monotonic()
    try:
        breaks(bench)
        heard = began
        while time.monotonic() - heard < _SILENT:
            heard = max([heard, *(each.at for each in bench.heard() if "Watchdog" in each.alerts)])
            if time.monotonic() - began > drill.within:
                outcome.problems.append(f"the dead man's switch still heard the Watchdog after {drill.within:g} s")
                return
            time.sleep(_PAUSE)
        outcome.silent = time.monotonic() - began
        tell(f"{outcome.silent:7.1f} s  the dead man's switch has heard nothing for {_SILENT:g} s: it reports")
    finally:
        mends(bench)
    mended = time.monotonic()
    tell("    0.0 s  mended")
    follower = Follower(["Watchdog"], endpoints=bench.endpoints, heard=bench.heard, tell=lambda *_: None)
    if follower.until("Watchdog", "told", drill.back):
        outcome.heard_again = time.monotonic() - mended
        tell(f"{outcome.heard_again:7.1f} s  the dead man's switch hears the Watchdog again")
    else:
        outcome.problems.append(f"the Watchdog was not heard again within {drill.back:g} s")


def _open_runbook(drill: Drill, bench: Bench, outcome: Outcome, tell: Callable[[str], object]) -> None:
    """Look for the page that the alert leads to, and ask its first query with the alert's own labels."""
    page = bench.rendered / "docs/runbooks" / f"{drill.alert}.md"
    if not page.is_file():
        outcome.problems.append(f"there is no runbook: {page}")
        return
    (alert, *_) = (each for each in _declared() if each.name == drill.alert)
    look = alert.runbook.looks[0]
    labels = outcome.followed[drill.alert].labels
    query = re.sub(r"<(\w+)>", lambda found: labels.get(found[1], ""), look.query)
    try:
        answers = wait_for(lambda: _answers(bench, look, query), bool, _LOOKS)
    except (QueryError, TimeoutError) as error:
        outcome.problems.append(f"the first query of the runbook has no data: {query}: {error}")
        return
    outcome.runbook = f"{page.name}: {look.says}: {answers} answers"
    tell(f"           {outcome.runbook}")


def _answers(bench: Bench, look: Look, query: str) -> int:
    at = bench.endpoints
    stores = Lgtm.at(prometheus=at.prometheus, tempo=at.tempo, loki=at.loki)
    if look.source == "loki":
        return len(stores.loki.lines(query) if query.startswith("{") else stores.loki.range(query))
    return len(stores.prometheus.query(query) if look.source == "prometheus" else stores.tempo.search(query))
