"""The only place that says at the end of a run how many alerts it held, by how many cases, and how long it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otelkit.ops.mixin.groups import GROUPS
from rules import found

if TYPE_CHECKING:
    import pytest

_BEGAN = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what is declared, and what has cases."""
    cases = found.cases()
    names = {alert.name for group in GROUPS for alert in group.alerts} | {case.alert for case in cases}
    fire = sum(bool(case.fires) for case in cases)
    with_cases = len({case.alert for case in cases})
    terminalreporter.write_line(
        f"rules: {len(names)} alerts, {with_cases} of them with {len(cases)} cases for promtool "
        f"({fire} fire, {len(cases) - fire} are silent), in {time.monotonic() - _BEGAN:.0f} s"
    )
