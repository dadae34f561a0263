"""The only runner of the search for leaks: `python -m leaks [--full] [--kit KIT] [WORD ...]`, `tests/` on the path.

A service handles a secret in every place where services have them (`plants.SERVICE`), a Celery worker and who publishes
for it wherever tasks have them (`plants.TASKS`). Everything that leaves them is searched for each of them, in every
spelling: the bytes that arrive by OTLP, stdout and stderr. Nothing may be found. Each cell prints one line; a table
names the plants that were found; the exit code is 1 where there is one.

So that the search can fail, cells without rules must find many; `--kit vanilla` must too. And every plant must have
been used: the programs note what they took and what they planted, each request is answered as it should be, its spans
and records arrived under the trace that the client began, and so did the lines of Celery's that quote messages.

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
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis

from leaks import plants, search, services, workers
from leaks.cells import CELLS, KITS, OTELKIT, TASK_CELLS, Cell, Outcome, Surroundings, TaskCell
from support import closing, lanes, postgres, rabbitmq, redis_server
from support.processes import wait_until

LEAST: dict[type[Cell | TaskCell], dict[str, int]] = {
    Cell: {"unredacted": 120, "vanilla": 120},
    TaskCell: {"unredacted": 15, "vanilla": 30},
}
"""How many plants must be found where nothing holds them back; else the search would not notice a leak either."""

ALL: tuple[Cell | TaskCell, ...] = (*TASK_CELLS, *CELLS)  # the longest first
LANE, POSTGRES, REDIS, RABBITMQ = "leaks", "leaks-postgres", "leaks-redis", "leaks-rabbitmq"
_DATABASES = ("--databases", "128")
_TOGETHER = 3  # cells at a time: they wait more than they work


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
    chosen: list[Cell | TaskCell] = [
        cell
        for cell in ALL
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
    older = arguments.sqlalchemy_2_0
    with contextlib.ExitStack() as stack:
        surroundings = Surroundings(
            work=arguments.work.resolve(),
            bins=bins,
            older=older and older.resolve(),
            database=_database(stack),
            redis=_redis(stack),
            cluster=_cluster(stack),
            rabbitmq=_rabbitmq(stack, chosen),
        )
        chosen = [cell for cell in chosen if _can_run(cell, surroundings)]
        with ThreadPoolExecutor(_TOGETHER) as pool:
            outcomes = list(pool.map(lambda cell: _run(cell, surroundings), chosen))
    return _close(list(zip(chosen, outcomes, strict=True)))


def _database(stack: contextlib.ExitStack) -> str | None:
    """Start PostgreSQL, where it is installed."""
    if missing := postgres.missing():
        lanes.skipped(POSTGRES, missing)
        return None
    lanes.ran(POSTGRES)
    return stack.enter_context(postgres.server()).url("DRIVER")


def _redis(stack: contextlib.ExitStack) -> str | None:
    """Start Redis, where there is one."""
    if missing := redis_server.missing():
        lanes.skipped(REDIS, missing)
        return None
    lanes.ran(REDIS)
    # One server has one password, and two sorts of cells look for it under their own names.
    server = stack.enter_context(redis_server.server(*_DATABASES, password=plants.BROKER_PASSWORD))
    return server.url().removesuffix("0") + "DATABASE"


def _cluster(stack: contextlib.ExitStack) -> str | None:
    """Start a cluster of one, where there is Redis."""
    if redis_server.missing():
        return None
    node = stack.enter_context(redis_server.server("--cluster-enabled", "yes"))
    with redis.Redis(host=node.host, port=node.port) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        ready = "the cluster has its slots"
        wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok", within=20, what=ready)
    return node.url()


def _rabbitmq(stack: contextlib.ExitStack, chosen: list[Cell | TaskCell]) -> str | None:
    """Start RabbitMQ, where it is wanted and installed."""
    if not any(isinstance(cell, TaskCell) and cell.broker == "rabbitmq" for cell in chosen):
        return None
    if missing := rabbitmq.missing():
        lanes.skipped(RABBITMQ, missing)
        return None
    lanes.ran(RABBITMQ)
    return stack.enter_context(rabbitmq.server(plants.BROKER_PASSWORD)).url


def _can_run(cell: Cell | TaskCell, surroundings: Surroundings) -> bool:
    """Tell whether a cell's servers are there; results of tasks are kept in Redis, whatever the broker is."""
    if isinstance(cell, Cell):
        return True
    return bool(surroundings.redis and (cell.broker == "redis" or surroundings.rabbitmq))


def _run(cell: Cell | TaskCell, surroundings: Surroundings) -> Outcome:
    """Run one cell, and print its line."""
    folder = surroundings.work / "-".join(str(cell).replace(",", "").split())
    folder.mkdir()
    outcome = Outcome()
    began = time.monotonic()
    try:
        if isinstance(cell, Cell):
            services.fill(outcome, cell, folder, surroundings)
        else:
            workers.fill(outcome, cell, folder, surroundings)
    except Exception as error:  # noqa: BLE001  a program that does not start is a failed cell, not the end of the run
        outcome.wrong.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        (folder / "error").write_text(traceback.format_exc(), encoding="utf-8")
    outcome.seconds = time.monotonic() - began
    found = len({hit.place for hit in outcome.hits})
    sent = len({hit.place for hit in outcome.hits if hit.channel in search.SIGNALS.values()})
    if found < (least := LEAST[type(cell)].get(cell.kit, 0)):
        outcome.wrong.append(f"only {found} plants found, at least {least} were due: the search cannot fail")
    word = "FAIL" if _failed(cell, outcome) else "pass"
    places = plants.SERVICE if isinstance(cell, Cell) else plants.TASKS
    seen = f"{found} of {len(places)} found, {sent} of them in OTLP; {outcome.figures}"
    print(f"{word} {cell}: {seen} [{outcome.seconds:.1f} s]", flush=True)
    for sentence in outcome.wrong:
        print(f"     {sentence}", flush=True)
    return outcome


def _failed(cell: Cell | TaskCell, outcome: Outcome) -> bool:
    return bool(outcome.wrong or (outcome.hits and cell.kit in OTELKIT))


def _close(results: list[tuple[Cell | TaskCell, Outcome]]) -> int:
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
