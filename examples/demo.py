"""Shows otelkit at work: a shop of four processes, real orders, their stories, and whether everything arrived.

    python examples/demo.py           runs on until Ctrl-C, and tells what you order
    python examples/demo.py --once    stops after its own visits: exit code 0 if every hop and count is right, else 1

The processes get your `OTEL_*` variables, except those that say where to send: everything goes to the receiver in here.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _demo import hops
from _demo.customers import FAILED, RETRIED, visits
from _demo.hops import Evidence
from _demo.report import Report
from _demo.services import ServiceError, Services
from otelkit.otlp.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from _demo.customers import Kind, Visit

_ARRIVAL = 20.0  # seconds: retries pause for one, beat for five, metrics are sent every second, the rest sooner
_QUIET = 1.0  # seconds after a request until its story is told: spans and logs come in batches
_LOOK = 0.25  # seconds between two looks


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(description="A shop, real orders, and all that they tell.")
    parser.add_argument(
        "--once", action="store_true", help="stop after the demo's own visits; exit 1 if a hop is broken"
    )
    once = parser.parse_args().once
    take_signals()
    report = Report()
    report.opening()
    try:
        with running() as (receiver, services):
            report.places(receiver, services)
            right, made = show(report, receiver, services)
            if once:
                return 0 if right else 1
            report.running_on(services)
            follow(report, receiver, services, told={visit.trace_id for visit in made})
    except ServiceError as error:
        report.line(str(error), "bold red")
        return 1
    except KeyboardInterrupt:
        report.line()
        report.line("Stopped.")
        return 128 + signal.SIGINT if once else 0


def take_signals() -> None:
    """Let every way of ending the demo end its services too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def running() -> Iterator[tuple[Receiver, Services]]:
    """Start receiver and services, and stop the services first: they send their last words."""
    with (
        tempfile.TemporaryDirectory(prefix="otelkit-demo-") as folder,
        Receiver() as receiver,
        Services(Path(folder), receiver.http_url) as services,
    ):
        yield receiver, services


def show(report: Report, receiver: Receiver, services: Services) -> tuple[bool, list[Visit]]:
    """Let customers come, tell two orders, compare both sides; return whether all is right, and the visits."""
    made = list(visits(services.all["api"].url))
    report.visits(made)

    receiver.wait_for(lambda: hops.first_broken(Evidence.gather(made, services.all, receiver)) is None, _ARRIVAL)
    evidence = Evidence.gather(made, services.all, receiver)

    report.heading("One order that crossed every process, and was confirmed on the second try")
    report.story(receiver, last(made, RETRIED).trace_id)
    report.heading("One order that failed")
    report.story(receiver, last(made, FAILED).trace_id)
    report.table(hops.table(evidence))
    report.business(hops.business(evidence))
    broken = hops.first_broken(evidence)
    report.verdict(broken)
    if broken is not None:
        for service in services.all.values():
            report.errors(service)
    return broken is None, made


def last(made: list[Visit], kind: Kind) -> Visit:
    """Return the last visit of a kind: by then the services are warm."""
    return [visit for visit in made if visit.kind is kind][-1]


def follow(report: Report, receiver: Receiver, services: Services, told: set[str]) -> NoReturn:
    """Tell each further request, until something ends the demo."""
    while True:
        services.check()
        time.sleep(_LOOK)
        before = time.time_ns() - int(_QUIET * 1e9)
        for trace_id, spans in receiver.traces().items():
            roots = [span for span in spans if not span.parent_span_id]
            if trace_id not in told and roots and max(span.end_ns for span in roots) < before:
                told.add(trace_id)
                report.line()
                report.story(receiver, trace_id)


if __name__ == "__main__":
    sys.exit(main())
