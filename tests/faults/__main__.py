"""The only runner of the fault tests: `python -m faults [--full] [--kit KIT] [CELL ...]`, with `tests/` on the path.

Each cell prints one line, and leaves a JSON row in `rows.jsonl` and its files in a folder below `--work`. The exit code
is 1 where otelkit failed a cell; what vanilla fails is a result, not a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults import page
from faults.bench import KITS, OTELKIT, Bench, SkippedError
from faults.table import CELLS
from support import closing, lanes

if TYPE_CHECKING:
    from faults.table import Cell

CHOICES = {**{kit: (kit,) for kit in KITS}, "otelkit": OTELKIT, "all": KITS}
LANE = "faults"
COLLECTOR = "collector-faults"
"""The lane of the cells that need a program, which nothing here can install."""

_VERSIONS = """
import importlib.metadata, json, platform
wanted = ("otelkit", "fastapi", "uvicorn", "gunicorn", "grpcio", "opentelemetry-sdk", "opentelemetry-distro")
found = {each.name: each.version for each in importlib.metadata.distributions() if each.name in wanted}
print(json.dumps({"python": platform.python_version(), **dict(sorted(found.items()))}))
"""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="faults", description="Run the guarantees against a receiver with faults.")
    parser.add_argument("cells", nargs="*", help="words that pick cells, for example G4 or 'hang, grpc'; none is all")
    parser.add_argument("--full", action="store_true", help="every cell at its full size, not the quick level")
    parser.add_argument("--kit", choices=CHOICES, default="otelkit", help="what is tested")
    parser.add_argument(
        "--vanilla", type=Path, help="folder of the programs of an environment with opentelemetry-distro"
    )
    parser.add_argument("--work", type=Path, default=Path("faults-work"), help="folder for what the programs leave")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    parser.add_argument("--store", action="store_true", help="keep the rows for the page, and write the page")
    parser.add_argument("--page", action="store_true", help="write the page from the stored rows, run nothing")
    arguments = parser.parse_args()
    if arguments.page:
        page.write()
        return 0
    kits = CHOICES[arguments.kit]
    if "vanilla" in kits and arguments.vanilla is None:
        parser.error("--kit vanilla needs --vanilla FOLDER")
    # Not resolved: behind a virtual environment's link stands an interpreter that has none of its packages.
    bins = dict.fromkeys(OTELKIT, Path(sys.executable).parent) | {"vanilla": arguments.vanilla}
    chosen = [
        (cell, kit)
        for cell in CELLS
        for kit in kits
        if kit in cell.kits
        and (arguments.full or kit in cell.quick or (kit == "vanilla" and cell.quick))
        and all(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", _title(cell, kit)) for word in arguments.cells)
    ]
    if arguments.list:
        print(*(_title(cell, kit) for cell, kit in chosen), sep="\n")
        return 0
    if not chosen:
        parser.error("no such cell; --list names them")
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    rows = _run(chosen, bins, arguments.work.resolve(), full=arguments.full)
    if arguments.store:
        page.store(rows, {kit: _versions(bins[kit]) for kit in kits})
        page.write()
    return _close(rows)


def _run(chosen: list[tuple[Cell, str]], bins: dict[str, Path], work: Path, *, full: bool) -> list[dict[str, Any]]:
    """Run the cells, as many at a time as they allow: first those that mostly wait, last those that measure time."""
    rows = []
    order = sorted(chosen, key=lambda pair: -pair[0].beside)
    with (work / "rows.jsonl").open("w", encoding="utf-8") as file:
        for beside, group in groupby(order, key=lambda pair: pair[0].beside):

            def run(pair: tuple[Cell, str]) -> dict[str, Any]:
                row = _row(*pair, bins[pair[1]], work, full=full)
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(_line(row), flush=True)
                return row

            with ThreadPoolExecutor(beside) as pool:
                rows += list(pool.map(run, group))
    return rows


def _row(cell: Cell, kit: str, programs: Path, work: Path, *, full: bool) -> dict[str, Any]:
    """Run one cell."""
    folder = work / re.sub(r"[^\w.]+", "-", _title(cell, kit))
    folder.mkdir()
    bench = Bench(kit=kit, bin=programs, folder=folder, full=full)
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
    return {
        "guarantee": cell.guarantee,
        "cell": cell.name,
        "kit": kit,
        "level": "full" if full else "quick",
        "outcome": outcome,
        "figures": bench.verdict.figures,
        "wrong": bench.verdict.wrong,
        "seconds": round(time.monotonic() - began, 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def _title(cell: Cell, kit: str) -> str:
    return f"{cell.guarantee} {cell.name}, {kit}"


def _line(row: dict[str, Any]) -> str:
    figures = ", ".join(
        f"{name} {figure}{' (!)' if name in row['wrong'] else ''}" for name, figure in row["figures"].items()
    )
    return f"{row['outcome']:4} {row['guarantee']} {row['cell']}, {row['kit']}: {figures} [{row['seconds']} s]"


def _close(rows: list[dict[str, Any]]) -> int:
    """Tell the task runner, and return the exit code."""
    ours = [row["outcome"] for row in rows if row["kit"] in OTELKIT]
    counts = closing.Counts(passed=ours.count("pass"), failed=ours.count("FAIL"), skipped=ours.count("skipped"))
    if path := os.environ.get(closing.COUNTS):
        closing.note_counts(Path(path), counts)
    for row in rows:
        if row["outcome"] == "skipped":
            lanes.skipped(COLLECTOR, row["figures"]["missing"])
        else:
            lanes.ran(COLLECTOR if "Collector" in row["cell"] else LANE)
    print(f"otelkit: {counts}")
    theirs = [row["outcome"] for row in rows if row["kit"] == "vanilla"]
    if theirs:
        print(
            f"vanilla: {theirs.count('pass')} passed, {theirs.count('FAIL')} failed, {theirs.count('skipped')} skipped"
        )
    return 1 if counts.failed else 0


def _versions(programs: Path) -> dict[str, str]:
    """Ask an environment what is installed in it."""
    asked = subprocess.run([programs / "python", "-c", _VERSIONS], capture_output=True, check=True, text=True)
    versions: dict[str, str] = json.loads(asked.stdout)
    return versions


if __name__ == "__main__":
    sys.exit(main())
