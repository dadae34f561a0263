"""The only place that says what a whole run came to: its lanes and the closing line of totals.

One run is several sessions of the task runner, some of them pytest runs. Each adds what it did to a folder; at the end
`Closing.lines()` reads it all back. The totals hold the failed checks too: "0 failed" means that everything passed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from support import lanes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COUNTS = "OTELKIT_COUNTS_FILE"
"""The variable that names the file where pytest leaves its counts."""

REQUIRED = "OTELKIT_LANES"
"""The variable that, set to `require`, makes a skipped lane a failure; `require but LANE LANE` excuses some."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What became of the tests of one or more pytest runs.

    Args:
        passed: Tests that passed.
        failed: Tests that failed or could not be set up or torn down, and files that could not be collected.
        skipped: Tests that did not run, or failed as expected.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, stats: Mapping[str, list[object]]) -> Counts:
        """Take the counts from the statistics of pytest's terminal reporter."""
        count = {outcome: len(reports) for outcome, reports in stats.items()}
        return cls(
            passed=count.get("passed", 0) + count.get("xpassed", 0),
            failed=count.get("failed", 0) + count.get("error", 0),
            skipped=count.get("skipped", 0) + count.get("xfailed", 0),
        )

    def __add__(self, other: Counts) -> Counts:
        """Return the sum."""
        return Counts(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        """Return the closing line."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def note_counts(path: Path, counts: Counts) -> None:
    """Add the counts of a pytest run to a file; one session of the runner may run pytest several times."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(counts)) + "\n")


class Closing:
    """What the sessions of one run did.

    Args:
        folder: An empty folder of the run.
        required: The value of `OTELKIT_LANES`; empty where every lane may be skipped.
    """

    def __init__(self, folder: Path, *, required: str = "") -> None:
        self.folder = folder
        demand, _, excused = required.partition(" but ")
        self._strict = demand == "require"
        self._excused = frozenset(excused.split())
        self._done: dict[str, bool] = {}

    @property
    def lanes_file(self) -> Path:
        """The file for `support.lanes`."""
        return self.folder / "lanes"

    def counts_file(self, session: str) -> Path:
        """Return the file for the counts of a session's tests."""
        return self.folder / f"{session}.counts"

    def counts(self, session: str) -> Counts:
        """Return the counts of a session's tests."""
        path = self.counts_file(session)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return sum((Counts(**json.loads(line)) for line in lines), Counts())

    def refused(self) -> tuple[str, ...]:
        """Return the lanes, as they are printed, that were skipped and must not be."""
        noted = lanes.read(self.lanes_file) if self._strict else ()
        return tuple(str(lane) for lane in noted if lane.missing is not None and lane.name not in self._excused)

    def done(self, session: str, *, ok: bool) -> None:
        """Note how a session ended."""
        self._done[session] = ok

    def lines(self) -> list[str]:
        """Return the lanes, and then the closing line; nothing where no session was noted."""
        if not self._done:
            return []
        noted = {lane.name: str(lane) for lane in lanes.read(self.lanes_file)}
        total = Counts()
        listed = dict(noted)
        for session, ok in self._done.items():
            counts = self.counts(session)
            total += counts
            if not ok:
                # A check without tests, or a run that broke before or beside its tests, is one failure.
                total += Counts(failed=0 if counts.failed else 1)
                listed[session] = f"lane {session}: FAILED"
            elif session not in noted:
                listed[session] = f"lane {session}: ran"
        return [*listed.values(), str(total)]
