"""The only place where a test run writes down which lanes ran and which did not, and why.

A lane is a part of the suite that needs something the machine may lack: programs, servers, a kernel feature. A skip in
the middle of a thousand dots is overlooked, so each lane is also appended to the file named by `OTELKIT_LANES_FILE`,
and the task runner prints that file last. Several processes may append to it at the same time.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "OTELKIT_LANES_FILE"


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What became of one lane.

    Args:
        name: The lane, for example "e2e".
        missing: Why it did not run, for a person to act on; None where it ran.
    """

    name: str
    missing: str | None = None

    def __str__(self) -> str:
        """Return the line that the summary prints."""
        return f"lane {self.name}: ran" if self.missing is None else f"lane {self.name}: SKIPPED, {self.missing}"


def ran(name: str) -> None:
    """Note that the lane ran."""
    _append(Lane(name=name))


def skipped(name: str, missing: str) -> None:
    """Note that the lane did not run, and what it lacks."""
    _append(Lane(name=name, missing=missing))


def read(path: Path) -> tuple[Lane, ...]:
    """Return the lanes noted in the file by name; one that lacked something anywhere counts as skipped."""
    missing: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        lane = Lane(**json.loads(line))
        reasons = missing.setdefault(lane.name, [])
        if lane.missing is not None and lane.missing not in reasons:
            reasons.append(lane.missing)
    return tuple(Lane(name=name, missing="; ".join(missing[name]) or None) for name in sorted(missing))


def _append(lane: Lane) -> None:
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = json.dumps({"name": lane.name, "missing": lane.missing}) + "\n"
    # One unbuffered write in append mode, so that lines of parallel processes never mix.
    with Path(path).open("ab", buffering=0) as file:
        file.write(line.encode())
