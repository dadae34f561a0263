"""The only place for what a cell of the outage tests works with: a stack of its own, its flows, and the verdict."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from faults.bench import SkippedError, Verdict
from outages.flow import Flow
from outages.stored import Stored
from support import stack
from support.processes import http_get, wait_until
from support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

STORES = {"traces": "tempo", "logs": "loki", "metrics": "prometheus"}
"""Which program keeps which signal."""
EXPORTERS = {"traces": "otlp_grpc/tempo", "logs": "otlp_http/loki", "metrics": "otlp_http/prometheus"}
RATES = {"traces": 10, "logs": 10, "metrics": 2}  # requests in a second
FOUND = 90.0
"""Seconds in which everything must be found; the Collector waits for up to 15 between two tries."""
TEMPO_HOLDS = 6.0
"""Seconds: Tempo writes a trace down a second after its last span, and looks every second; a busy machine is slower."""
_PAUSE = 0.05
_BETWEEN = 0.5  # seconds between two probes


@dataclass
class Bench:
    """One cell.

    Args:
        folder: An empty folder for the cell.
        full: Whether the cell shall take its full size, or that of the quick level.
    """

    folder: Path
    full: bool
    verdict: Verdict = field(default_factory=Verdict)

    @contextmanager
    def stack(self, variables: Mapping[str, str] | None = None, overlays: Sequence[Path] = ()) -> Iterator[Stack]:
        """Run the programs until the block ends.

        Args:
            variables: `STACK_*` variables on top of the ports and folders.
            overlays: Further configuration files of the Collector.

        Raises:
            SkippedError: PATH lacks one of them.
        """
        if absent := stack.missing():
            raise SkippedError(absent)
        with Stack(self.folder, variables=variables, overlays=overlays) as running:
            yield running

    def check(self, running: Stack, flow: Flow, *, since: float = 0.0) -> Loss:
        """Ask for every item that was accepted; those that came twice are counted.

        Args:
            running: The stack.
            flow: It has stopped.
            since: By the monotonic clock: what was accepted before may be missing, and is what this returns.
        """
        began = time.monotonic()
        asked = {each for request in flow.accepted if request.answered >= since for each in request.ids}
        stored = Stored(running)
        found = stored.wait(flow, asked, within=FOUND)
        seconds = time.monotonic() - began
        if flow.signal == "traces":
            # Looked at once more when it is no longer in Tempo's memory but in its file.
            written = time.monotonic() + TEMPO_HOLDS
            wait_until(lambda: time.monotonic() > written, within=2 * TEMPO_HOLDS, what="Tempo wrote it down")
            found = stored.wait(flow, asked, within=0)
        self.verdict.equal(flow.signal, len(asked & found.keys()), len(asked))
        if lost := [request for request in flow.accepted if asked.intersection(request.ids) - found.keys()]:
            first, last = (request.answered - flow.accepted[0].answered for request in (lost[0], lost[-1]))
            self.verdict.note(f"{flow.signal} lost", f"accepted {first:.1f} to {last:.1f} s after the first")
        self.verdict.note(f"{flow.signal} twice", sum(count - 1 for count in found.values()))
        self.verdict.note(f"{flow.signal} all found after", f"{seconds:.1f} s")
        if flow.doubtful:
            self.verdict.note(f"{flow.signal} requests without an answer", flow.doubtful)
        if flow.wrong:
            self.verdict.true(f"{flow.signal} answers", holds=False, otherwise=flow.wrong[0])
        missing = {request: set(request.ids) - found.keys() for request in flow.accepted if request.answered < since}
        ages = [since - request.answered for request, ids in missing.items() if ids]
        return Loss(items=sum(map(len, missing.values())), oldest=max(ages, default=0.0))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What was accepted and is not found.

    Args:
        items: How many.
        oldest: Seconds between its acceptance and the moment it was lost, the longest.
    """

    items: int
    oldest: float


@contextmanager
def flows(running: Stack, *signals: str) -> Iterator[dict[str, Flow]]:
    """Send each of the signals at a steady rate until the block ends; none means all three."""
    with ExitStack() as sending:
        yield {
            signal: sending.enter_context(Flow(signal, running.otlp_http, rate=RATES[signal]))
            for signal in signals or STORES
        }


class Probe:
    """Context manager: looks again and again how soon the newest item of a flow is found.

    Args:
        running: The stack.
        flow: What is looked for.
    """

    def __init__(self, running: Stack, flow: Flow) -> None:
        self.delays: list[float] = []
        """Seconds from accepted to found, in the order asked."""
        self._stored, self._flow = Stored(running), flow
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe of {flow.signal}")

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; what was not found yet does not count."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_BETWEEN):
            if not self._flow.accepted:
                continue
            newest = self._flow.accepted[-1]
            while not self._stop.is_set():
                if self._stored.has(self._flow, newest):
                    self.delays.append(time.monotonic() - newest.answered)
                    break
                self._stop.wait(_PAUSE)


def queued(running: Stack) -> dict[str, float]:
    """Return what waits in the Collector's queues by signal, in MB, as its own metrics tell."""
    lines = http_get(running.collector_metrics).body.decode().splitlines()
    sizes = [line for line in lines if line.startswith("otelcol_exporter_queue_size")]
    return {
        signal: sum(float(line.split()[-1]) for line in sizes if f'exporter="{name}"' in line) / 1e6
        for signal, name in EXPORTERS.items()
    }
