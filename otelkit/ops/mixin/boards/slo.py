"""The only place for the board of service level objectives: what was promised, and what is left of it."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, to
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_SLO: Final = "{{slo}}"
_REQUESTS: Final = to("red", "Requests")
_WINDOWS: Final = ("1h", "6h", "1d", "3d")

BOARD: Final = Board(
    name="slo",
    title="Objectives",
    question="Is what was promised to users kept, and how fast is the rest of the budget used up?",
    rows={
        "Symptoms": (
            Panel(
                title="Objective",
                about="Share of good events that was promised: what everything below is measured against.",
                unit="percentunit",
                targets=(Target(query=f"slo:objective:ratio{{{CHOSEN}}}", legend=_SLO),),
                link=to("alerts", "Alerts"),
                kind="stat",
                width=8,
            ),
            Panel(
                title="Budget left",
                about="Share of the failures that the objective allows in its period that are still left. Below 0 "
                "the promise is broken: reliability first, features later.",
                unit="percentunit",
                targets=(Target(query=f"slo:error_budget_remaining:ratio{{{CHOSEN}}}", legend=_SLO),),
                link=_REQUESTS,
                kind="gauge",
                width=8,
                most=1.0,
                negative=True,
            ),
            Panel(
                title="Bad events in a day",
                about="How many requests broke the objective in the last 24 hours: as many annoyed users.",
                unit="short",
                targets=(Target(query=f"sum by (slo) (slo:bad_events:increase1d{{{CHOSEN}}})", legend=_SLO),),
                link=to("issues", "Issues"),
                kind="stat",
                width=8,
            ),
        ),
        "Burn": (
            Panel(
                title="Burn rate",
                about="How many times faster than allowed the budget is used up, by the window that is looked at. At 1 "
                "it lasts for exactly the period; a short window that is high and a long one that is not is over.",
                unit="short",
                targets=tuple(
                    Target(
                        query=f"slo:sli_error:ratio_rate{window}{{{CHOSEN}}} / "
                        "on (slo) group_left () (1 - slo:objective:ratio)",
                        legend=f"{_SLO} {window}",
                    )
                    for window in _WINDOWS
                ),
                link=_REQUESTS,
                width=12,
            ),
            Panel(
                title="Good events",
                about="Share of good events in five minutes: what users have right now.",
                unit="percentunit",
                targets=(
                    Target(query=f"1 - slo:sli_error:ratio_rate5m{{{CHOSEN}}}", legend=_SLO),
                    Target(query=f"slo:objective:ratio{{{CHOSEN}}}", legend=f"{_SLO} promised"),
                ),
                link=_REQUESTS,
                width=12,
                most=1.0,
                negative=True,
            ),
        ),
        "Traffic": (
            Panel(
                title="Events",
                about="Requests that count for the objective, each second. Of few, one failure is a large share.",
                unit="reqps",
                targets=(Target(query=f"sum by (slo) (slo:events:rate5m{{{CHOSEN}}})", legend=_SLO),),
                link=_REQUESTS,
                width=12,
            ),
            Panel(
                title="Bad events",
                about="Requests that broke the objective, each second. A peak is an incident; a floor is a bug.",
                unit="reqps",
                targets=(Target(query=f"sum by (slo) (slo:bad_events:rate5m{{{CHOSEN}}})", legend=_SLO),),
                link=to("issues", "Issues"),
                width=12,
            ),
        ),
    },
    variables=CHOICE,
    range="now-24h",
)
