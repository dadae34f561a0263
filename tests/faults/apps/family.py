"""A process that exports something, and then has four children who emit, and leave in a given way.

    python family.py METHOD END

METHOD is os.fork, early (os.fork before anybody configured), fork, spawn or forkserver; END is return, raise or exit.
"""

from __future__ import annotations

import sys

from faults.apps import kit

METHOD, END = sys.argv[1:3]
if METHOD != "early":
    kit.configure()

import logging
import multiprocessing
import os

from opentelemetry import metrics, trace

CHILDREN = 4
EACH = 50
log = logging.getLogger("family")
log.setLevel(logging.INFO)


def child(end: str) -> None:
    """Emit, and leave."""
    kit.configure()
    emit("child", EACH)
    if end == "raise":
        raise RuntimeError("on purpose")
    if end == "exit":
        sys.exit(3)


def emit(name: str, count: int) -> None:
    """Make spans, each with a log record and one more in the counter; the parent's speak of themselves."""
    counter = metrics.get_meter("family").create_counter("adds")
    for number in range(count):
        with trace.get_tracer("family").start_as_current_span(name):
            log.info("%s %d %d", name, os.getpid(), number)
        counter.add(1)


def main() -> None:
    """Have children by the method that was asked for."""
    if METHOD != "early":
        prepare()
    if METHOD in ("os.fork", "early"):
        pids = []
        for _ in range(CHILDREN):
            pid = os.fork()
            if pid == 0:
                child(END)
                return  # and goes on to the end of the script, as its parent does later
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    else:
        context = multiprocessing.get_context(METHOD)
        processes = [context.Process(target=child, args=(END,)) for _ in range(CHILDREN)]  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
    if METHOD == "early":
        kit.configure()
        prepare()
    print("codes", *codes, flush=True)


def prepare() -> None:
    """Export 600 spans and a counter at 1."""
    for _ in range(600):
        trace.get_tracer("family").start_span("parent").end()
    metrics.get_meter("family").create_counter("adds").add(1)
    kit.flush()


if __name__ == "__main__":
    main()
