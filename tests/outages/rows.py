"""The only place that runs cells, several at a time, and makes a row of what each found."""

from __future__ import annotations

import re
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faults.bench import SkippedError
from outages.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from outages.table import Cell


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one cell.

    Args:
        cell: Its name.
        level: "full" or "quick".
        outcome: "pass", "FAIL" or "skipped".
        figures: What it looked at, by name.
        wrong: The names of those that are wrong.
        seconds: How long it took.
        date: When it ran.
    """

    cell: str
    level: str
    outcome: str
    figures: Mapping[str, str]
    wrong: Sequence[str] = ()
    seconds: float
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))

    def __str__(self) -> str:
        """Return the line that is printed."""
        figures = (f"{name} {figure}{' (!)' if name in self.wrong else ''}" for name, figure in self.figures.items())
        return f"{self.outcome:4} {self.cell}: {', '.join(figures)} [{self.seconds} s]"


def run(cells: Sequence[Cell], work: Path, *, full: bool, beside: int) -> Iterator[Row]:
    """Run cells, and give the row of each as it ends.

    Args:
        cells: Which.
        work: A folder for what their programs leave; it is made.
        full: Whether at their full size, or that of the quick level.
        beside: How many at a time.
    """
    work.mkdir(parents=True)
    with ThreadPoolExecutor(beside) as pool:
        for done in as_completed([pool.submit(_row, cell, work, full=full) for cell in cells]):
            yield done.result()


def _row(cell: Cell, work: Path, *, full: bool) -> Row:
    folder = work / re.sub(r"[^\w.]+", "-", cell.name)
    folder.mkdir()
    bench = Bench(folder=folder, full=full)
    began = time.monotonic()
    outcome = "skipped"
    try:
        cell.run(bench)
        outcome = "FAIL" if bench.verdict.wrong else "pass"
    except SkippedError as missing:
        bench.verdict.note("missing", missing)
    except Exception as error:  # noqa: BLE001  a program that does not start is a failed cell, not the end of the run
        outcome = "FAIL"
        bench.verdict.note("error", f"{type(error).__name__}: {error}".splitlines()[0][:200])
        (folder / "error").write_text(traceback.format_exc(), encoding="utf-8")
    return Row(
        cell=cell.name,
        level="full" if full else "quick",
        outcome=outcome,
        figures=bench.verdict.figures,
        wrong=bench.verdict.wrong,
        seconds=round(time.monotonic() - began, 1),
    )
