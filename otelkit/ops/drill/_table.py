"""The only place that writes what came of drills as a page: docs/reference/drills.md, committed from a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelkit.ops._markdown import code, sentence, table
from otelkit.ops.drill._follow import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otelkit.ops.drill import Outcome
    from otelkit.ops.drill._follow import Followed

_INTRODUCTION = """\
# What came of the drills

Written by `otelkit drill --table`, which `nox -s drills` runs: real programs, the rules as they are committed, export,
scrape and evaluation every 15 s. Seconds count from the fault, in the columns on "resolved" from its removal. Told: the
receivers that are named had the notification, by the routes of the committed configuration. An alert that stays pending
lasts longer than the drill; one without "told" is inhibited by a louder one, or resolved before.

With Prometheus or Alertmanager away nobody is left to tell: there the dead man's switch hears no more.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the page of these drills."""
    head = ("Drill", "Fault", "Alert", *(stage.capitalize() for stage in STAGES), "By")
    parts = [_INTRODUCTION, table(head, (row for outcome in outcomes for row in _rows(outcome))), ""]
    if failed := [outcome for outcome in outcomes if outcome.problems]:
        parts += ["## Failed\n", *(f"- {code(each.drill.name)}: {'; '.join(each.problems)}" for each in failed), ""]
    return "\n".join(parts)


def _rows(outcome: Outcome) -> Iterator[Iterable[str]]:
    drill = outcome.drill
    first = [code(drill.name), sentence(drill.about)]
    if not outcome.followed:
        # The silence of the dead man's switch, and its end.
        yield [*first, drill.alert, "", "", _shown(outcome.silent), "", _shown(outcome.heard_again), "silence"]
        return
    for name, followed in outcome.followed.items():
        if followed.seconds:
            yield [*first, _link(name), *_stages(followed), ", ".join(followed.by)]
            first = ["", ""]


def _stages(followed: Followed) -> Iterator[str]:
    return (_shown(followed.seconds.get(stage)) for stage in STAGES)


def _shown(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f}"


def _link(alert: str) -> str:
    return f"[{alert}](../runbooks/{alert}.md)"
