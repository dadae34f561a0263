"""A script with children: `leaving_children.py METHOD CONFIGURES END NUMBER`.

METHOD is os.fork, fork, spawn, forkserver, pool or daemon. CONFIGURES tells who calls `configure()`: the parent, the
child, the module (imported by both), or the launcher. Each process emits NUMBER spans, logs and counts.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from typing import Any

CHILDREN = 4
numbers = count()  # goes on where a process emits again, as one of a pool may


def configure() -> None:
    import otelkit

    otelkit.configure()


def emit(number: int) -> None:
    from opentelemetry import metrics, trace

    counter = metrics.get_meter("leaving").create_counter("leaving.done")
    for index in islice(numbers, number):
        with trace.get_tracer("leaving").start_as_current_span(f"item {os.getpid()} {index}"):
            logging.getLogger("leaving").warning("done %d %d", os.getpid(), index)
            counter.add(1)


def emit_late(number: int) -> None:
    time.sleep(0.3)
    emit(number)


def child(configures: str, end: str, number: int, begun: Any) -> None:
    if configures == "child":
        configure()
    if end == "thread":
        threading.Thread(target=emit_late, args=(number,)).start()
        return
    emit(number)
    begun.release()
    if end == "raise":
        raise LookupError("nobody catches this")
    if end == "exit":
        sys.exit(7)
    if end == "wait":
        time.sleep(60)


def fork(configures: str, end: str, number: int) -> list[int] | None:
    """Fork children; None in each of them, when it has done its work."""
    pids = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            child(configures, end, number, threading.Semaphore())
            return None
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def start(method: str, configures: str, end: str, number: int) -> list[int | None]:
    """Start children by `multiprocessing`; daemons are left to be terminated by it."""
    context = multiprocessing.get_context("fork" if method == "daemon" else method)
    begun = context.Semaphore(0)
    arguments = (configures, end, number, begun)
    processes = [
        context.Process(target=child, args=arguments, daemon=method == "daemon")  # type: ignore[attr-defined]  # one of
        for _ in range(CHILDREN)
    ]
    for process in processes:
        process.start()
    if end == "wait":
        for _ in processes:
            begun.acquire()
    if method == "daemon":
        return []
    for process in processes:
        if end == "wait":
            process.terminate()
        process.join()
    return [process.exitcode for process in processes]


def main(method: str, configures: str, end: str, number: int) -> None:
    if configures == "parent":
        configure()
    if configures != "child":
        emit(number)
    codes: list[int] | list[int | None] | None = []
    if method == "os.fork":
        codes = fork(configures, end, number)
    elif method == "pool":
        with ProcessPoolExecutor(CHILDREN, multiprocessing.get_context("fork")) as pool:
            list(pool.map(emit, [number] * CHILDREN))
    else:
        codes = start(method, configures, end, number)
    if codes is not None:
        print("codes", codes, flush=True)  # noqa: T201  the test reads it


if "module" in sys.argv:
    configure()

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
