"""The only place that runs the measurements, keeps what they say, and judges it: `nox -s bench`.

    python bench --vanilla PYTHON [stall] [encoding] [instr] [cpu]
    python bench --vanilla PYTHON boards [--prometheus URL]

Without names the first four run, in about six minutes. `stall` and `encoding` measure the encoder alone; `instr` and
`cpu` measure requests of a small application in four variants (see `worker`), of which vanilla runs in an environment
of its own. `boards` measures what Grafana would wait for, with a day of the example shop's series; it takes six
minutes. Everything else goes through `otelkit.configure()`, so that they measure whatever stands behind it.

One JSON file for each run, `bench/results/<date>-<commit>.json`, holds every round, what arrived, and all versions. A
busy machine makes times longer and leaves instructions as they are: before you believe a time, look at the bare one.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boards
import cpu
import encoding
import instr
import stall

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
_NAMED = ("opentelemetry", "otelkit", "fastapi", "starlette", "sqlalchemy", "structlog", "protobuf", "pydantic")
_VERSIONS = """
import importlib.metadata as m, json
print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))
"""


def main() -> int:
    """Run what was asked for; return the exit code: 1 where a gate is not met."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="stall, encoding, instr, cpu, boards; without one all but boards"
    )
    parser.add_argument("--vanilla", type=Path, required=True, help="Python of an environment without otelkit")
    parser.add_argument(
        "--prometheus", metavar="URL", help="whose series `boards` takes; without, it starts the example shop"
    )
    asked = parser.parse_args()
    measurements: dict[str, Callable[[], dict[str, Any]]] = {
        "stall": stall.measure,
        "encoding": encoding.measure,
        "instr": lambda: instr.measure(asked.vanilla),
        "cpu": lambda: cpu.measure(asked.vanilla),
    }
    if "boards" in asked.names:
        if absent := boards.missing():
            parser.error(f"boards needs {' and '.join(absent)} on PATH")
        measurements["boards"] = lambda: boards.measure(asked.prometheus)
    if unknown := set(asked.names) - set(measurements):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(measurements)}")
    names = asked.names or list(measurements)
    if "instr" in names and (missing := instr.missing()):
        print(f"instr: skipped, {' and '.join(missing)} not installed (apt-get install valgrind)")
        names.remove("instr")
    results: dict[str, Any] = {}
    for name in names:
        print(f"{name} ...", flush=True)
        results[name] = measurements[name]()
    path = keep(results, asked.vanilla)
    print(f"\n{table(results)}\n\nkept in {path.relative_to(ROOT)}")
    failed = [name for name, result in results.items() if not result.get("passed", True)]
    for name in failed:
        print(f"{name}: not met, see its gate")
    return 1 if failed else 0


def keep(results: dict[str, Any], vanilla: Path) -> Path:
    """Write down what was measured, where and with what; return the path."""
    now = dt.datetime.now(dt.UTC)
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    document = {
        "at": now.isoformat(timespec="seconds"),
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--", "otelkit", "bench")),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()},
        "python": platform.python_version(),
        "versions": {
            "otelkit": _chosen({d.name.lower(): d.version for d in importlib.metadata.distributions()}),
            "vanilla": _chosen(json.loads(_output([str(vanilla), "-c", _VERSIONS]))),
        },
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}-{commit}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def table(results: dict[str, Any]) -> str:
    """Lay out the figures of each variant, and what they come to."""
    lines = []
    for name, result in results.items():
        for variant, figures in result["variants"].items():
            shown = "  ".join(f"{key} {value}" for key, value in figures.items() if isinstance(value, int | float))
            lines.append(f"{name:<9} {variant:<15} {shown}")
        summary = "  ".join(f"{key} {result[key]}" for key in _SUMMARY if key in result)
        if summary:
            lines.append(f"{name:<9} {'=':<15} {summary}")
    return "\n".join(lines)


_SUMMARY = (
    "added_ms",
    "gate_ms",
    "passed",
    "overhead_m_instr",
    "overhead_us",
    "ratio",
    "redaction_share",
    "unsampled_share",
    "all_boards_ms",
    "all_boards_cpu_ms",
    "aim_ms",
)


def _chosen(versions: dict[str, str]) -> dict[str, str]:
    return {name: version for name, version in sorted(versions.items()) if name.startswith(_NAMED)}


def _git(*arguments: str) -> str:
    return _output(["git", "-C", str(ROOT), *arguments])


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
