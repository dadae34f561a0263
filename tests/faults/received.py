"""The only place that starts the receiver with faults, and counts what it accepted."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces
from support.processes import HOST, PYTHON, Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from otelkit.otlp.model import LogRecord, Point, Span

SINK = Path(__file__).with_name("sink.py")
_DECODE: dict[str, Callable[..., list[Any]]] = {
    "traces": decode_traces,
    "metrics": decode_metrics,
    "logs": decode_logs,
}


@dataclass
class Received:
    """Everything that was accepted, in order of arrival, and what was refused.

    Args:
        items: By signal.
        refused: Refused calls, by signal and HTTP status.
        rejected: Items rejected by partial_success, by signal.
        largest: Bytes of the largest message, refused ones too.
        calls: Accepted calls, by signal.
    """

    items: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _DECODE})
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    largest: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def spans(self) -> list[Span]:
        """Each span once, by trace and span id."""
        return list({(span.trace_id, span.span_id): span for span in self.items["traces"]}.values())

    @property
    def logs(self) -> list[LogRecord]:
        """Every log record, duplicates too: nothing on the wire tells two equal records apart."""
        return self.items["logs"]

    @property
    def points(self) -> list[Point]:
        """Every metric data point."""
        return self.items["metrics"]

    def bodies(self, start: str) -> set[str]:
        """Return the different bodies of log records that begin like that."""
        return {str(record.body) for record in self.logs if str(record.body).startswith(start)}

    def duplicates(self, start: str) -> int:
        """Count what arrived more than once: spans, and log records whose body begins like that."""
        records = [record for record in self.logs if str(record.body).startswith(start)]
        return len(self.items["traces"]) - len(self.spans) + len(records) - len(self.bodies(start))

    def total(self, metrics: Iterable[str], where: Callable[[Point], bool] = lambda _: True) -> int:
        """Sum the largest cumulative value of each series of each process: what the metric says happened.

        Args:
            metrics: Names of the metric; other libraries, other names.
            where: Which series count.
        """
        largest: dict[Any, float] = {}
        for point in self.points:
            if point.metric in metrics and where(point):
                value = point.count if point.kind.endswith("histogram") else point.value or 0
                series = (instance(point), point.metric, repr(sorted(point.attributes.items())))
                largest[series] = max(value, largest.get(series, 0))
        return int(sum(largest.values()))

    def series(self, start: str) -> Counter[str]:
        """Count the series of each metric whose name begins like that."""
        points = [point for point in self.points if point.metric.startswith(start)]
        found = {(instance(point), point.metric, repr(sorted(point.attributes.items()))) for point in points}
        return Counter(metric for _, metric, _ in found)


def instance(item: Any) -> str:
    """Return the process that an item came from."""
    return str(item.resource.get("service.instance.id", ""))


class Sink:
    """Context manager: a running receiver with faults; the harness' end of `sink.py`.

    Args:
        folder: A folder of its own.
        fault: The first fault, "down" for none that listens.
    """

    def __init__(self, folder: Path, fault: str = "ok") -> None:
        self._folder = folder
        self._fault = fault
        self._journal = folder / "journal"
        self._offset = 0
        self._received = Received()
        self._process: Process | None = None
        # Held all the time, without listening: no other program gets the ports while the receiver is down.
        self._reserved = [reserve() for _ in range(3)]
        self.http_port, self.grpc_port, self._control_port = (port(reserved) for reserved in self._reserved)

    def __enter__(self) -> Self:
        """Start it, unless it is down."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._fault != "down":
            self.start(self._fault)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill it."""
        self.kill()
        for reserved in self._reserved:
            reserved.close()

    def endpoint(self, protocol: str) -> str:
        """Return the value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://{HOST}:{self.grpc_port if protocol == 'grpc' else self.http_port}"

    def switch(self, fault: str) -> None:
        """Change the fault: one of `sink.py`'s, or "down"."""
        if fault == "down":
            self.kill()
        elif self._process is None:
            self.start(fault)
        else:
            self._tell(fault)

    def start(self, fault: str = "ok") -> None:
        """Start it on the same ports as before."""
        ports = [str(number) for number in (self.http_port, self.grpc_port, self._control_port)]
        self._process = Process([PYTHON, SINK, self._journal, *ports], folder=self._folder, name="sink").__enter__()
        wait_until(self._answers, within=30, what="the sink listens")
        self._tell(fault)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.stop()
            self._process = None

    def read(self) -> Received:
        """Return what was accepted so far; the same object each time, grown."""
        if not self._journal.exists():
            return self._received
        with self._journal.open("rb") as journal:
            journal.seek(self._offset)
            while line := journal.readline():
                note = json.loads(line) if line.endswith(b"\n") else {"bytes": 1}
                body = journal.read(note["bytes"])
                if len(body) < note["bytes"]:
                    break  # it is being written
                self._offset = journal.tell()
                self._take(note, body)
        return self._received

    def wait(self, condition: Callable[[Received], object], *, within: float) -> Received:
        """Return what was accepted as soon as the condition holds, or when the time is over."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: condition(self.read()), within=within, what="received")
        return self.read()

    def _take(self, note: dict[str, Any], body: bytes) -> None:
        name = note["signal"]
        self._received.largest = max(self._received.largest, note["size"])
        if "refused" in note:
            self._received.refused[name, note["refused"]] += 1
            return
        items = _DECODE[name](body)
        every = note["every"]
        accepted = [item for number, item in enumerate(items, 1) if not every or number % every]
        self._received.items[name] += accepted
        self._received.rejected[name] += len(items) - len(accepted)
        self._received.calls[name] += 1

    def _answers(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise RuntimeError(f"the sink ended\n{self._process.tail()}")
        try:
            self._tell("")
        except OSError:
            return False
        return True

    def _tell(self, fault: str) -> None:
        with socket.create_connection((HOST, self._control_port), timeout=5) as control:
            control.sendall(f"{fault}\n".encode())
            if control.recv(16) != b"done\n":
                raise ConnectionError("the sink did not answer")


def reserve() -> socket.socket:
    """Take a free port of the loopback interface: only programs that are told of it can listen there."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    return reserved


def port(reserved: socket.socket) -> int:
    """Return the number of a reserved port."""
    number: int = reserved.getsockname()[1]
    return number
