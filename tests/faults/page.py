"""The only place that stores what the fault tests measured, and makes docs/explanation/guarantees.md of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from faults.bench import KITS
from faults.table import CELLS
from outages import page as outages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STORED = Path(__file__).with_name("results.json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "guarantees.md"


class Promise(NamedTuple):
    """What stands above the table of one guarantee; `shown` are the figures in its cells, wrong ones always are."""

    title: str
    text: str
    shown: tuple[str, ...]


PROMISES = {
    "G1": Promise(
        "SIGTERM loses nothing",
        "Requests from eight clients, each with a server span, two spans of its own, one log record and its part "
        "in the duration metric; SIGTERM the moment the last one is answered. Everything arrives, and the exit "
        "code is what it is without a kit.",
        ("spans", "logs", "metric", "exit"),
    ),
    "G2": Promise(
        "Celery's children lose nothing",
        "200 tasks with a log record each, in a prefork worker of two children on Redis; SIGTERM the moment the last "
        "result is there, and with children that are replaced after 20 tasks, or after each. 200 runs and records, and "
        "200 in the metric of tasks.",
        ("runs", "logs", "metric", "exit"),
    ),
    "G3": Promise(
        "Children lose nothing and count once",
        "A process exports 600 spans and a counter at 1, then four children make 50 spans, 50 records and 50 "
        "counts each, and leave by returning, raising or `sys.exit`. 200 spans and records, a total of 201, five "
        "instance ids.",
        ("child spans", "child logs", "counter", "instances"),
    ),
    "G4": Promise(
        "An outage loses nothing below the bound",
        "A service at 40 requests a second; the receiver is killed (`down`), refuses (`503`, `429` with Retry-"
        "After) or hangs for half of the time. Everything arrives within ten seconds. Above the bound of the "
        "queue, what is missing is exactly what the kit says it dropped. The same with the real Collector.",
        ("spans", "logs", "traces", "duplicates"),
    ),
    "G5": Promise(
        "Leaving takes five seconds at most",
        "A script ends with 1500 spans, 1500 records and a counter to deliver: seconds from its last line to the "
        "end of the process, whatever the receiver does. A server gets the two seconds more that it takes by "
        "itself.",
        ("exit", "spans", "logs"),
    ),
    "G6": Promise(
        "The application does not notice",
        "Growth of the resident memory over 100,000 requests with nobody listening, 32 MB at most (quick level: "
        "10,000 requests with ten times the telemetry each). The ratio of latencies is reported and not judged: "
        "machines are noisy.",
        ("answered", "growth", "p99 ratio", "p99"),
    ),
    "G7": Promise(
        "No loss is silent",
        "emitted = delivered + dropped + pending for each signal, and what was delivered is what the receiver "
        "took; one batch may be on its way when the process leaves, and arrive after it was counted. Losses are named "
        "on stderr, once a minute at most, and at the end.",
        ("traces", "logs", "lines"),
    ),
    "G8": Promise(
        "No value poisons others",
        "Each hostile value of `tests/support/poison.py` between 50 and 50 innocent items: all that is innocent "
        "arrives, no call raises, no message passes 4 MiB.",
        ("innocent", "hostile", "raised", "spans", "largest message"),
    ),
    "G9": Promise(
        "The application sees no exception of telemetry",
        "Fifty requests to a route whose log call has a wrong argument are answered 200. Values that raise: see "
        "G8, `raised`.",
        ("answered 200", "logs"),
    ),
    "G10": Promise(
        "Secrets stay home",
        "A service handles secrets in 18 places: query, headers, baggage, log arguments and fields, SQL, URLs, labels, "
        "the texts of an exception and of its cause. How many are found in what arrives, and on stdout and stderr (of "
        "otelkit's; without it a server prints what it likes). `nox -s leaks` plants far more.",
        ("found", "printed"),
    ),
    "G11": Promise(
        "Names stay bounded",
        "50 invented Host headers, 300 paths that do not exist, 50 invented methods: series that each adds to the "
        "metric of the server that grew most, 1 at most, and as many names of server spans. A counter under 5000 "
        "labels has 2000 series and the overflow series, and its sum is 5000.",
        ("hosts", "paths", "methods", "labels", "sum"),
    ),
    "G12": Promise(
        "Strangers cannot flood or silence",
        "What one header adds to spans and records, 1 kB at most. And a request that fails is told "
        "although its caller's `traceparent` says that it is not sampled.",
        ("baggage", "baggage of 180", "tracestate", "user agent", "failing request"),
    ),
    "G14": Promise(
        "Set up again, and nothing changes",
        "Set up two and five times: threads and handlers stay what they are, each request is told once.",
        ("threads", "handlers", "spans", "logs"),
    ),
}

_HEAD = """\
# What is guaranteed, and what was measured

<!-- Made by `nox -s faults -- --kit all --full --store` of tests/faults/results.json; do not edit. -->

Every figure is a count or a time from a run of `tests/faults`: real servers and scripts, over http/protobuf and gRPC,
against a receiver with faults in a process of its own. The same programs run with otelkit set up by `configure()`,
with otelkit under `opentelemetry-instrument`, and under `opentelemetry-instrument` with opentelemetry-distro and its
default settings ("vanilla"). `a/b` is found and wanted; (!) marks what is wrong; "not run" was not measured, "-" makes
no sense there.

```console
$ nox -s faults                        # the quick level, part of every test run
$ nox -s faults -- --full G4           # all cells of a guarantee
$ nox -s faults -- --kit vanilla G1    # the other column
```
"""

_LIMITS = """\
## What no kit inside the process can hold

- SIGKILL, `os._exit`, the kernel's out-of-memory killer, a crash of the interpreter and power loss: what was not
  acknowledged by then is gone. There is no spooling to disk.
- An outage longer than the queue holds out: the oldest items go first, errors last, each one counted.
- Items are delivered at least once: where an answer is lost, a batch is sent again, and a receiver that had taken it
  sees duplicates. The tables of outages show how many.
- What is still not acknowledged five seconds after a process began to leave is given up, and counted.
- Times are those of a shared machine with two cores. Counts do not depend on that; compare times within a line only.
"""


def write() -> None:
    """Write the page."""
    PAGE.write_text(render(json.loads(STORED.read_text(encoding="utf-8"))), encoding="utf-8")


def store(rows: Iterable[Mapping[str, Any]], versions: Mapping[str, Mapping[str, str]]) -> None:
    """Keep the rows of a run, over earlier ones; those that were measured with other versions are forgotten.

    Args:
        rows: As the runner makes them.
        versions: What was installed, by kit.
    """
    kept: dict[str, Any] = {"versions": {}, "rows": []}
    if STORED.exists():
        kept = json.loads(STORED.read_text(encoding="utf-8"))
    fresh = {(row["guarantee"], row["cell"], row["kit"]): row for row in rows}
    changed = {kit for kit, found in versions.items() if kept["versions"].get(kit) != found}
    old = {(row["guarantee"], row["cell"], row["kit"]): row for row in kept["rows"] if row["kit"] not in changed}
    merged = old | fresh
    order = [(cell.guarantee, cell.name, kit) for cell in CELLS for kit in KITS]
    result = {
        "versions": dict(sorted({**kept["versions"], **versions}.items())),
        "rows": [merged[key] for key in order if key in merged],
    }
    STORED.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def render(stored: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = {(row["guarantee"], row["cell"], row["kit"]): row for row in stored["rows"]}
    parts = [_HEAD, *(_versions(kit, stored) for kit in KITS if kit in stored["versions"]), "", _summary(rows)]
    for guarantee, promise in PROMISES.items():
        parts += [
            f"## {guarantee}: {promise.title}",
            "",
            promise.text,
            "",
            _LINE.format("", *_NAMES),
            "|---|---|---|---|",
        ]
        for cell in CELLS:
            if cell.guarantee == guarantee:
                shown = (
                    _shown(rows.get((guarantee, cell.name, kit)), promise) if kit in cell.kits else "-" for kit in KITS
                )
                parts.append(_LINE.format(cell.name, *shown))
        parts.append("")
    return "\n".join([*parts, outages.section(), _LIMITS])


_LINE = "| {} | {} | {} | {} |"
_NAMES = ("otelkit, `configure()`", "otelkit, launcher", "vanilla")


def _versions(kit: str, stored: Mapping[str, Any]) -> str:
    dates = sorted({row["date"] for row in stored["rows"] if row["kit"] == kit})
    versions = ", ".join(f"{name} {version}" for name, version in stored["versions"][kit].items())
    return f"- {_NAMES[KITS.index(kit)]}: {', '.join(dates)}; {versions}"


def _summary(rows: Mapping[Any, Mapping[str, Any]]) -> str:
    """Count the outcomes of each guarantee."""
    lines = [_LINE.format("cells that pass, of those run", *_NAMES), "|---|---|---|---|"]
    for guarantee, promise in PROMISES.items():
        counts = []
        for kit in KITS:
            outcomes = [row["outcome"] for key, row in rows.items() if key[0] == guarantee and key[2] == kit]
            run = [outcome for outcome in outcomes if outcome != "skipped"]
            counts.append(f"{run.count('pass')} of {len(run)}" if run else "not run")
        lines.append(_LINE.format(f"{guarantee} {promise.title}", *counts))
    return "\n".join([*lines, ""])


def _shown(row: Mapping[str, Any] | None, promise: Promise) -> str:
    if row is None or row["outcome"] == "skipped":
        return "not run"
    wrong = row["wrong"]
    named = set(promise.shown) & set(row["figures"])
    # The others are named where none of these tells why the cell failed.
    named |= set() if named & set(wrong) else {*wrong, "error"}
    figures = [
        f"{name} {figure}{' (!)' if name in wrong else ''}".replace("|", "/")
        for name, figure in row["figures"].items()
        if name in named
    ]
    level = "" if row["level"] == "full" else " (quick)"
    return f"**{row['outcome']}**{level}<br>{', '.join(figures)}"
