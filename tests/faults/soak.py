"""The only place for the soak: `python -m faults.soak [--minutes M] [--seed S]`.

A service under a mixed load, whose workers are recycled all the time, while the receiver goes from fault to fault in an
order that the seed fixes. Each worker writes its accounts when it ends. At the end every single one must balance, and
all that they say was delivered must have arrived.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults import load
from faults.bench import HTTP, Bench
from faults.received import instance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.received import Received, Sink

FAULTS = ("down", "503", "429:1", "hang", "blackhole", "reset", "slow:1", "400", "partial:7")
# Requests a second, by path: small ones, some with much telemetry, some with a mistake in a log call.
MIX = {"/work/{}": 60.0, "/work/{}?times=20": 5.0, "/malformed/{}": 20.0}
SERVER = ("gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "-w", "2", "-k", "asgi", "--max-requests", "400")


def soak(bench: Bench, *, seconds: float, seed: int) -> None:
    """Run it, and leave the figures in the bench's verdict."""
    file = bench.folder / "accounts"
    with bench.sink() as sink:
        endpoint = sink.endpoint(HTTP)
        variables = {"FAULTS_ACCOUNTS": str(file), "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
        with bench.serve(SERVER, endpoint, HTTP, app="faults.apps.soaked:app", **variables) as (process, port):
            over = time.monotonic() + seconds
            troubles = threading.Thread(target=trouble, args=(sink, random.Random(seed), over), name="trouble")  # noqa: S311  repeatable, not secret
            troubles.start()
            with ThreadPoolExecutor(len(MIX)) as pool:
                loads = list(pool.map(lambda path: load.paced(port, until(over), rate=MIX[path], path=path), MIX))
            troubles.join()
            time.sleep(2)  # so that the last workers begin to leave with a receiver that is well
            process.signal(signal.SIGTERM)
            process.wait(within=60)
        received = sink.wait(lambda _: False, within=1)
    check(bench, received, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
    bench.verdict.note("requests", sum(each.answered for each in loads))
    bench.verdict.note("not answered", sum(len(each.failed) for each in loads))


def until(over: float) -> Iterator[int]:
    """Number requests until the time is over."""
    return itertools.takewhile(lambda _: time.monotonic() < over, itertools.count())


def trouble(sink: Sink, chance: random.Random, over: float) -> None:
    """Let the receiver be well and ill in turns, and well at the end."""
    while (left := over - time.monotonic()) > 0:
        for fault, least, most in (("ok", 2, 10), (chance.choice(FAULTS), 2, 20)):
            sink.switch(fault)
            time.sleep(max(0.0, min(chance.uniform(least, most), left)))
    sink.switch("ok")


def check(bench: Bench, received: Received, accounts: list[dict[str, Any]]) -> None:
    """Ask for balanced accounts, and that what was delivered is what arrived."""
    verdict = bench.verdict
    verdict.within("workers", len(accounts), 10_000, least=3)
    arrived = {"traces": len(received.spans), "logs": len(records(received)), "metrics": len(points(received))}
    for name, number in arrived.items():
        total: Counter[str] = Counter()
        for account in accounts:
            figures = dict(account[name])
            dropped = figures.pop("dropped")
            if figures["emitted"] != figures["delivered"] + sum(dropped.values()) + figures["pending"]:
                verdict.wrong.append(f"{name} of a worker")
            total.update(figures)
            total.update({f"dropped, {reason}": count for reason, count in dropped.items()})
        verdict.figures[name] = ", ".join(f"{what} {count}" for what, count in total.items() if count)
        verdict.figures[name] += f"; {number} arrived"
        # A kill between the receiver's note and its answer leaves items that arrived and count as lost.
        if not total["delivered"] <= number <= total["emitted"]:
            verdict.wrong.append(name)


def records(received: Received) -> set[Any]:
    """Tell log records apart, as nothing on the wire does: by their process, their nanosecond and their text."""
    return {(instance(item), item.time_ns, item.observed_ns, str(item.body), item.span_id) for item in received.logs}


def points(received: Received) -> set[Any]:
    """Tell metric points apart: a series has one at a time."""
    return {
        (
            instance(item),
            item.scope.name,
            item.metric,
            repr(sorted(item.attributes.items())),
            item.start_ns,
            item.time_ns,
        )
        for item in received.points
    }


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("soak-work"), help="folder for what the programs leave")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    bench = Bench(kit="explicit", bin=Path(sys.executable).parent, folder=arguments.work.resolve(), full=True)
    soak(bench, seconds=arguments.minutes * 60, seed=arguments.seed)
    for name, figure in bench.verdict.figures.items():
        print(f"{name}: {figure}{' (!)' if name in bench.verdict.wrong else ''}")
    print("FAIL: " + ", ".join(bench.verdict.wrong) if bench.verdict.wrong else "pass")
    return 1 if bench.verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
