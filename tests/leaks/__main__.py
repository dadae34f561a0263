"""The only runner of the search for leaks: `python -m leaks [--full] [--kit KIT] [WORD ...]`, `tests/` on the path.

A service handles a secret in every place where services have them (`plants.PLACES`), and everything that leaves it is
searched for each of them, in every spelling: the bytes that arrive by OTLP, stdout and stderr. Nothing may be found.
Each cell prints one line; a table names the plants that were found; the exit code is 1 where there is one.

So that the search can fail, the last cell has no rules, and must find many; `--kit vanilla` must too. And every plant
must have been used: the service says what it took and what it planted, each request is answered as it should be, and
its spans and records arrived under the trace that the client began.

What nothing could know for a secret is not planted: a value without a shape (most passwords) where neither its key nor
its place says that it is private. That is free text ("the password is swordfish", "log-in of bob with swordfish"), a
field or attribute with an innocent key, a part of a path (`/reset/swordfish`), and the text of an exception that says
nothing but the value. Nor is the resource, which is sent as the operator wrote it, and what is not otelkit's to print:
`print()`, `sys.excepthook`, warnings that logging does not capture (docs/explanation/limits.md).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from leaks import plants, search, traffic
from otelkit.otlp.receiver import Receiver
from support import closing, lanes, postgres
from support.processes import HOST, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leaks.search import Hit
    from leaks.traffic import Sent

TESTS = Path(__file__).resolve().parents[1]
OTELKIT = ("explicit", "launcher")
KITS = (*OTELKIT, "unredacted", "vanilla")
"""otelkit by `configure()` and by `opentelemetry-instrument`, otelkit without a rule, that launcher's own distro."""

LEAST = {"unredacted": 100, "vanilla": 100}
"""How many plants must be found where nothing holds them back; else the search would not notice a leak either."""

_RAW = 40
"""How many plants a handler of the application must show where it gets records as they are."""

LANE, POSTGRES = "leaks", "leaks-postgres"
_PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}
_SERVERS = {
    "uvicorn": ("uvicorn", "leaks.apps.service:app", "--port", "{port}"),
    "gunicorn": (
        *("gunicorn", "leaks.apps.service:app", "--bind", "127.0.0.1:{port}", "-w", "1", "-k", "asgi"),
        *("--access-logfile", "-"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run the service.

    Args:
        kit: One of `KITS`.
        protocol: "http" or "grpc".
        sqlalchemy: "2.1", which is the newest, or "2.0".
        server: "uvicorn" or "gunicorn".
        logs: Who writes the log to the terminal. "ours": nobody has set logging up. "user": a handler of the
            application does, and gets records as they are; beside it the server's own handlers print, and their lines
            are searched. "all": the same with `Redaction(user_handlers=True)`, and all is searched.
        quick: Whether it belongs to the quick level.
    """

    kit: str
    protocol: str = "http"
    sqlalchemy: str = "2.1"
    server: str = "uvicorn"
    logs: str = "ours"
    quick: bool = False

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.kit}, {self.protocol}, SQLAlchemy {self.sqlalchemy}, {self.server}, logs {self.logs}"


CELLS = (
    Cell(kit="explicit", quick=True),
    Cell(kit="launcher", protocol="grpc", sqlalchemy="2.0", server="gunicorn", quick=True),
    Cell(kit="explicit", logs="user", quick=True),
    Cell(kit="explicit", logs="all", quick=True),
    Cell(kit="explicit", server="gunicorn"),
    Cell(kit="explicit", server="gunicorn", logs="user"),
    Cell(kit="explicit", server="gunicorn", logs="all"),
    *(
        Cell(kit=kit, protocol=protocol, sqlalchemy=version)
        for kit, protocol, version in product(OTELKIT, _PROTOCOLS, ("2.1", "2.0"))
        if (kit, protocol, version) != ("explicit", "http", "2.1")
    ),
    Cell(kit="unredacted", quick=True),
    *(Cell(kit="vanilla", protocol=protocol, sqlalchemy="2.0", quick=True) for protocol in _PROTOCOLS),
)


@dataclass
class Outcome:
    """What became of a cell.

    Args:
        hits: The plants that were found.
        wrong: Why the cell proves nothing, each in a sentence.
        figures: What was looked at.
        seconds: How long it took.
    """

    hits: list[Hit] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    figures: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all cells share.

    Args:
        work: A folder for what the programs leave.
        bins: The folder of programs by kit.
        older: The folder that holds SQLAlchemy 2.0; None where the installed one is to be taken.
        database: URL of PostgreSQL with DRIVER in the place of the driver; None where there is none.
    """

    work: Path
    bins: dict[str, Path]
    older: Path | None
    database: str | None


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="leaks", description="Search everything that leaves a service for secrets.")
    parser.add_argument("words", nargs="*", help="words that pick cells, for example gunicorn or grpc; none is all")
    parser.add_argument("--full", action="store_true", help="every cell, not the quick level")
    parser.add_argument("--kit", choices=(*KITS, "otelkit", "all"), default="otelkit", help="what is tested")
    parser.add_argument("--sqlalchemy-2-0", type=Path, metavar="FOLDER", help="where SQLAlchemy 2.0 is, for its cells")
    parser.add_argument(
        "--vanilla", type=Path, help="folder of the programs of an environment with opentelemetry-distro"
    )
    parser.add_argument("--work", type=Path, default=Path("leaks-work"), help="folder for what the programs leave")
    arguments = parser.parse_args()
    kits = {"otelkit": KITS[:-1], "all": KITS}.get(arguments.kit, (arguments.kit,))
    if "vanilla" in kits and arguments.vanilla is None:
        parser.error("--kit vanilla needs --vanilla FOLDER")
    chosen = [
        cell
        for cell in CELLS
        if cell.kit in kits
        and (arguments.full or cell.quick)
        and all(word in str(cell).replace(",", "").split() for word in arguments.words)
    ]
    if not chosen:
        parser.error("no such cell")
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    # Not resolved: behind a virtual environment's link stands an interpreter that has none of its packages.
    bins = dict.fromkeys(KITS, Path(sys.executable).parent) | {"vanilla": arguments.vanilla}
    with _database() as database, ThreadPoolExecutor(2) as pool:
        older = arguments.sqlalchemy_2_0
        surroundings = Surroundings(
            work=arguments.work.resolve(), bins=bins, older=older and older.resolve(), database=database
        )
        outcomes = list(pool.map(lambda cell: _run(cell, surroundings), chosen))
    return _close(list(zip(chosen, outcomes, strict=True)))


@contextlib.contextmanager
def _database() -> Iterator[str | None]:
    """Start PostgreSQL, where it is installed."""
    if missing := postgres.missing():
        lanes.skipped(POSTGRES, missing)
        yield None
        return
    lanes.ran(POSTGRES)
    with postgres.server() as server:
        yield server.url("DRIVER")


def _run(cell: Cell, surroundings: Surroundings) -> Outcome:
    """Run one cell, and print its line."""
    folder = surroundings.work / "-".join(str(cell).replace(",", "").split())
    folder.mkdir()
    outcome = Outcome()
    began = time.monotonic()
    try:
        _fill(outcome, cell, folder, surroundings)
    except Exception as error:  # noqa: BLE001  a program that does not start is a failed cell, not the end of the run
        outcome.wrong.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        (folder / "error").write_text(traceback.format_exc(), encoding="utf-8")
    outcome.seconds = time.monotonic() - began
    found = len({hit.place for hit in outcome.hits})
    sent = len({hit.place for hit in outcome.hits if hit.channel in search.SIGNALS.values()})
    if found < (least := LEAST.get(cell.kit, 0)):
        outcome.wrong.append(f"only {found} plants found, at least {least} were due: the search cannot fail")
    word = "FAIL" if _failed(cell, outcome) else "pass"
    seen = f"{found} of {len(plants.PLACES)} found, {sent} of them in OTLP; {outcome.figures}"
    print(f"{word} {cell}: {seen} [{outcome.seconds:.1f} s]", flush=True)
    for sentence in outcome.wrong:
        print(f"     {sentence}", flush=True)
    return outcome


def _failed(cell: Cell, outcome: Outcome) -> bool:
    return bool(outcome.wrong or (outcome.hits and cell.kit in OTELKIT))


def _fill(outcome: Outcome, cell: Cell, folder: Path, surroundings: Surroundings) -> None:
    """Run the service, send everything, and search what left it."""
    databases = tuple(
        name for name in plants.DATABASES if surroundings.database is not None or name not in plants.POSTGRES
    )
    with Receiver(grpc_port=0, keep_raw=True) as receiver:
        port = free_port()
        with _service(cell, folder, port, receiver, surroundings) as process:
            process.wait_http(f"http://{HOST}:{port}/ready", within=60)
            sent = [traffic.send(port, request) for request in traffic.requests(databases)]
            used = set(traffic.ask(port, "/used"))
            process.signal(signal.SIGTERM)
            process.wait()
        channels = search.exported(receiver) | search.printed(process)
        found = search.hits(channels, receiver)
        _check_use(outcome, sent, used, databases)
        if cell.kit != "vanilla":
            _check_arrival(outcome, sent, receiver)
    outcome.hits = [hit for hit in found if cell.logs != "user" or hit.channel != search.THEIRS]
    raw = sum(hit.channel == search.THEIRS for hit in found)
    if cell.logs == "user" and raw < _RAW:
        outcome.wrong.append(f"the application's own handler printed {raw} secrets: its records were changed")
    lines = [f"{hit.place} | {hit.channel} | {hit.where}\n" for hit in found]
    (folder / "hits").write_text("".join(lines), encoding="utf-8")
    sizes = " ".join(f"{name} {len(content):,} B" for name, content in channels.items())
    outcome.figures = f"{len(sent)} requests, {len(used)} plants used, {sizes}"


def _service(cell: Cell, folder: Path, port: int, receiver: Receiver, surroundings: Surroundings) -> Process:
    """Make the process of the service."""
    programs = surroundings.bins[cell.kit]
    launcher = [programs / "opentelemetry-instrument"] if cell.kit in ("launcher", "vanilla") else []
    older = [str(surroundings.older)] if surroundings.older and cell.sqlalchemy == "2.0" else []
    environment = {
        "LEAKS_KIT": cell.kit,
        "LEAKS_LOGS": cell.logs,
        "LEAKS_PORT": str(port),
        "LEAKS_POSTGRES": surroundings.database or "",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url if cell.protocol == "http" else receiver.grpc_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOLS[cell.protocol],
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{plants.secret('environment: headers of the exporter')}",
        "OTEL_SERVICE_NAME": "leaks",
        "PYTHONPATH": os.pathsep.join([*older, str(TESTS)]),
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    arguments = [part.format(port=port) for part in _SERVERS[cell.server]]
    return Process([*launcher, programs / "python", "-m", *arguments], folder=folder, env=environment)


def _check_use(outcome: Outcome, sent: list[Sent], used: set[str], databases: tuple[str, ...]) -> None:
    """See that each request was answered as it should be, and that each plant was in its place."""
    odd = [f"{each.request.target[:40]}: {each.status}" for each in sent if each.status != each.request.status]
    if odd:
        outcome.wrong.append(f"{len(odd)} requests were answered otherwise: {'; '.join(odd[:5])}")
    without = tuple(f"sql, {name}:" for name in plants.DATABASES if name not in databases)
    unused = [place for place in plants.PLACES if place not in used and not place.startswith(without)]
    if unused:
        outcome.wrong.append(f"{len(unused)} plants were not used: {'; '.join(unused[:5])}")


def _check_arrival(outcome: Outcome, sent: list[Sent], receiver: Receiver) -> None:
    """See that what was searched holds what each request left: its spans, its records, and the metrics."""
    spans = Counter(span.trace_id for span in receiver.spans())
    records = Counter(record.trace_id for record in receiver.logs())
    missing = [f"{each.request.target[:40]}: no span" for each in sent if not spans[each.trace_id]]
    missing += [
        f"{each.request.target[:40]}: no record" for each in sent if each.request.logs and not records[each.trace_id]
    ]
    names = {point.metric for point in receiver.points()}
    missing += [f"no metric {name}" for name in ("shop.paid", "shop.amount", "shop.open") if name not in names]
    if missing:
        outcome.wrong.append(f"{len(missing)} did not arrive: {'; '.join(missing[:5])}")


def _close(results: list[tuple[Cell, Outcome]]) -> int:
    """Print the table, tell the task runner, and return the exit code."""
    table: dict[str, dict[str, str]] = {}
    for cell, outcome in results:
        for hit in outcome.hits if cell.kit in OTELKIT else ():
            table.setdefault(hit.place, {})[hit.channel] = hit.where
    for place, found in sorted(table.items()):
        print(f"{place}:", *(f"\n     {channel:7} {where}" for channel, where in found.items()))
    failed = sum(_failed(cell, outcome) for cell, outcome in results)
    counts = closing.Counts(passed=len(results) - failed, failed=failed)
    if path := os.environ.get(closing.COUNTS):
        closing.note_counts(Path(path), counts)
    lanes.ran(LANE)
    named = sum(place in table for place in plants.A7)
    print(f"G10's {len(plants.A7)} strings: {named} found; {len(plants.PLACES)} plants, {len(results)} cells: {counts}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
