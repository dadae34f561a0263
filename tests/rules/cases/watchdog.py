"""The case of the alert that always fires."""

from __future__ import annotations

from typing import Final

from rules.case import Case

CASES: Final = (
    Case(
        alert="Watchdog",
        says="at any time, whatever there is",
        series={},
        at="0s",
        fires=({},),
        summary="Alerting works",
    ),
)

_ANY: Final = "it fires by being there, whatever its value is"
SURVIVORS: Final = {"Watchdog: 1 x2": _ANY, "Watchdog: 1 /2": _ANY}
