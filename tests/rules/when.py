"""The only place that tells when the alert of a case is true, and when it fires: for those who write cases.

`python -m rules.when HighErrorRate` prints it for each case of an alert, looked at every 15 s.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from rules import found, promtool
from rules.durations import seconds, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rules.case import Case


def spells(case: Case, *, firing: bool, until: int) -> list[tuple[int, int]]:
    """Return from when to when the alert fires, or is true where `firing` is not asked for, in seconds."""
    rules = [promtool.without_summary(rule) for rule in promtool.needed(case)]
    if not firing:
        lasting = ("for", "keep_firing_for")
        rules = [{key: value for key, value in rule.items() if key not in lasting} for rule in rules]
    moments = range(0, until + 1, seconds(case.every))
    silent = [replace(case, at=f"{moment}s", fires=(), summary="") for moment in moments]
    (said,) = promtool.run([promtool.Job(rules=rules, cases=silent)])
    runs = groupby(zip(moments, map(bool, said), strict=True), key=lambda each: each[1])
    spans = [[moment for moment, _ in run] for true, run in runs if true]
    return [(span[0], span[-1]) for span in spans]


def _said(found: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{words(first)} to {words(last)}" for first, last in found) or "never"


def main(*alerts: str) -> None:
    """Print when each case's alert is true and fires, until a little after the case looks."""
    for case in (case for case in found.cases() if case.alert in alerts):
        until = seconds(case.at) + 300
        true, fires = (_said(spells(case, firing=firing, until=until)) for firing in (False, True))
        print(f"{case}: at {case.at}; true {true}; fires {fires}")


if __name__ == "__main__":
    main(*sys.argv[1:])
