"""The only place that counts the instructions a request costs, by callgrind: they do not depend on the machine's load.

A worker is warmed up uncounted, then 85 requests and the sending of their telemetry are counted, of all threads, in
user space. Counts repeat within 2 %, their ratio within 5 %. What a variant costs is its count above the application
that logs the same way without telemetry.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from workers import UNSAMPLED, VARIANTS, started

REQUESTS = 85
TOOLS = ("valgrind", "callgrind_control")
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def missing() -> list[str]:
    """Return the programs that are needed and not installed; Debian's package `valgrind` has them."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def measure(vanilla: Path) -> dict[str, Any]:
    """Return millions of instructions for each request of each variant, and what parts of otelkit's cost are."""
    figures = {variant: _count(variant, vanilla) for variant in (*VARIANTS, "unredacted", *UNSAMPLED)}
    count = {variant: figure["m_instr"] for variant, figure in figures.items()}
    cost = {"vanilla": count["vanilla"] - count["bare"], "otelkit": count["otelkit"] - count["bare_native"]}
    return {
        "variants": figures,
        "requests": REQUESTS,
        "overhead_m_instr": {name: round(value, 3) for name, value in cost.items()},
        "ratio": round(cost["otelkit"] / cost["vanilla"], 3),
        "redaction_share": round((count["otelkit"] - count["unredacted"]) / cost["otelkit"], 3),
        "unsampled_share": {
            variant: round((count[variant] - count["bare_native"]) / cost["otelkit"], 3) for variant in UNSAMPLED
        },
    }


def _count(variant: str, vanilla: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        under = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--fair-sched=yes",
            f"--callgrind-out-file={out}",
        ]
        with started(variant, vanilla, under=under) as worker:
            pid = worker.process.pid
            _control("-i", "on", str(pid))
            worker.ask(f"run {REQUESTS}")
            _control("-i", "off", str(pid))
            _control("-d", str(pid))
            deadline = time.monotonic() + 30
            while not (counts := _totals(Path(folder))) and time.monotonic() < deadline:
                time.sleep(0.1)
            arrived = worker.received(REQUESTS)
        if not counts:
            raise RuntimeError(f"{variant}: callgrind left no count in {folder}")
    return {"m_instr": round(max(counts) / REQUESTS / 1e6, 3), "arrived": arrived}


def _control(*arguments: str) -> None:
    subprocess.run(["callgrind_control", *arguments], check=True, capture_output=True, timeout=60)  # noqa: S607  wherever Valgrind is


def _totals(folder: Path) -> list[int]:
    return [int(number) for file in folder.glob("callgrind.out*") for number in _TOTALS.findall(file.read_text())]
