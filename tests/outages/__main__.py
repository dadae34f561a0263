"""The only runner of the outage tests: `python -m outages [--full] [WORD ...]`, with `tests/` on the path.

Each cell prints one line, and leaves its files in a folder below `--work`. The exit code is 1 where a cell failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from faults import page as guarantees
from outages import page
from outages.rows import run
from outages.table import CELLS
from support import closing, lanes

if TYPE_CHECKING:
    from outages.rows import Row

LANE = "outages"
BESIDE = {True: 3, False: 5}
"""Cells at a time, full and quick; they mostly wait, and each has a stack of its own."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="outages", description="Take stores and the Collector away under load.")
    parser.add_argument("words", nargs="*", help="words that pick cells, for example Tempo or killed; none is all")
    parser.add_argument("--full", action="store_true", help="every cell, an outage takes a minute; not the quick level")
    parser.add_argument("--work", type=Path, default=Path("outages-work"), help="folder for what the programs leave")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    parser.add_argument("--store", action="store_true", help="keep the rows, and write the page of guarantees")
    arguments = parser.parse_args()
    chosen = [
        cell
        for cell in CELLS
        if (arguments.full or cell.quick)
        and all(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", cell.name) for word in arguments.words)
    ]
    if arguments.list:
        print(*(cell.name for cell in chosen), sep="\n")
        return 0
    if not chosen:
        parser.error("no such cell; --list names them")
    shutil.rmtree(arguments.work, ignore_errors=True)
    rows = []
    for row in run(chosen, arguments.work.resolve(), full=arguments.full, beside=BESIDE[arguments.full]):
        print(row, flush=True)
        rows.append(row)
    if arguments.store:
        page.store(rows)
        guarantees.write()
    return _close(rows)


def _close(rows: list[Row]) -> int:
    """Tell the task runner, and return the exit code."""
    outcomes = [row.outcome for row in rows]
    counts = closing.Counts(
        passed=outcomes.count("pass"), failed=outcomes.count("FAIL"), skipped=outcomes.count("skipped")
    )
    if path := os.environ.get(closing.COUNTS):
        closing.note_counts(Path(path), counts)
    for row in rows:
        if row.outcome == "skipped":
            lanes.skipped(LANE, row.figures["missing"])
        else:
            lanes.ran(LANE)
    print(counts)
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
