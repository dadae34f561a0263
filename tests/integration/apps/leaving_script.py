"""A script that emits NUMBER spans, logs and counts, then ends as its argument says.

It configures itself, unless the launcher did: `leaving_script.py [--launched] END NUMBER`.
"""

from __future__ import annotations

import atexit
import logging
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

if "--launched" in sys.argv:
    sys.argv.remove("--launched")
else:
    import otelkit

    otelkit.configure()

from opentelemetry import metrics, trace

tracer = trace.get_tracer("leaving")
counter = metrics.get_meter("leaving").create_counter("leaving.done")
log = logging.getLogger("leaving")


def emit(name: str) -> None:
    with tracer.start_as_current_span(name):
        log.warning("done %s", name)
        counter.add(1)


def on_sigterm(number: int, frame: object) -> NoReturn:
    emit("handled")
    print("handled", number, frame is not None, flush=True)  # noqa: T201  the test reads it
    sys.exit(3)


def say_ready() -> None:
    print(f"main done {time.time():.6f}", flush=True)  # noqa: T201  the test reads it


def forever() -> NoReturn:
    """Sleep, but briefly: a signal that comes between Python's last look and the sleep is only seen after it."""
    while True:
        time.sleep(0.05)


def count_forever() -> NoReturn:
    """Be nearly always inside an instrument, which holds a lock, when the signal comes."""
    while True:
        counter.add(1, {"busy": True})


def observe_under_lock() -> None:
    """Hold a lock that an observable instrument's callback needs when the signal comes."""
    lock = threading.Lock()

    def observe(_: metrics.CallbackOptions) -> Any:
        with lock:
            return [metrics.Observation(1)]

    metrics.get_meter("leaving").create_observable_gauge("leaving.observed", [observe])
    say_ready()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with lock:
            time.sleep(0.3)
        time.sleep(0.01)


def raise_signal() -> NoReturn:
    signal.raise_signal(signal.SIGTERM)
    forever()


def fail() -> NoReturn:
    raise LookupError("nobody catches this")


def leave_open() -> NoReturn:
    tracer.start_span("never ended").set_attribute("kept", value=True)
    forever()


def go_on_in_a_thread() -> None:
    def late() -> None:
        time.sleep(0.3)
        emit("by a thread")

    threading.Thread(target=late).start()


def say_farewell() -> None:
    """Print once the interpreter is about to leave, before otelkit does what it does then."""
    atexit.register(sys.stdout.write, "farewell\n")


def nothing() -> None:
    """Just return."""


ENDS: dict[str, Callable[[], object]] = {
    "return": nothing,
    "exit": partial(sys.exit, 7),
    "raise": fail,
    "wait": forever,
    "handler": forever,
    "busy": count_forever,
    "open": leave_open,
    "raise-signal": raise_signal,
    "thread": go_on_in_a_thread,
    "under-lock": nothing,
    "farewell": say_farewell,
}


def main(end: str, number: int) -> None:
    if end == "handler":
        signal.signal(signal.SIGTERM, on_sigterm)  # after configure(): it replaces ours
    for index in range(number):
        emit(f"item {index}")
    if end == "under-lock":
        observe_under_lock()
    say_ready()
    ENDS[end]()


main(sys.argv[1], int(sys.argv[2]))
