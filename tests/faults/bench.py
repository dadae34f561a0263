"""The only place for what a cell of the fault tests works with: the kit under test, its programs, and the verdict."""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.received import Sink, port, reserve
from support.processes import HOST, Process, wait_http, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from faults.received import Received
    from otelkit.otlp.model import Point

APPS = Path(__file__).with_name("apps")
OTELKIT = ("explicit", "launcher")
KITS = (*OTELKIT, "vanilla")
"""otelkit by `configure()`, otelkit by `opentelemetry-instrument`, and that launcher with its own distro."""

HTTP, GRPC = "http", "grpc"
DURATIONS = ("http.server.request.duration", "http.server.duration")
_PROTOCOLS = {HTTP: "http/protobuf", GRPC: "grpc"}


class SkippedError(Exception):
    """The machine lacks what the cell needs; the text says what."""


@dataclass
class Verdict:
    """What a cell found: a figure for everything it looked at, and the names of those that are wrong."""

    figures: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def note(self, name: str, figure: object) -> None:
        """Report a figure that cannot be wrong."""
        self.figures[name] = str(figure)

    def equal(self, name: str, found: object, wanted: object) -> None:
        """Ask for exactly this."""
        self.figures[name] = f"{found}/{wanted}" if isinstance(wanted, int) else str(found)
        if found != wanted:
            self.wrong.append(name)

    def within(self, name: str, found: float, most: float, unit: str = "", least: float = 0) -> None:
        """Ask for a figure between two bounds."""
        self.figures[name] = f"{found:.4g}{unit}"
        if not least <= found <= most:
            self.wrong.append(name)

    def true(self, name: str, holds: object, otherwise: str = "no") -> None:
        """Ask for something that has no number."""
        self.figures[name] = "yes" if holds else otherwise
        if not holds:
            self.wrong.append(name)


@dataclass
class Bench:
    """One kit, one cell.

    Args:
        kit: One of `KITS`.
        bin: Folder of the programs of the environment where that kit is installed.
        folder: An empty folder for the cell.
        full: Whether the cell shall take its full size, or that of the quick level.
    """

    kit: str
    bin: Path
    folder: Path
    full: bool
    verdict: Verdict = field(default_factory=Verdict)
    _started: int = 0

    def sink(self, fault: str = "ok") -> Sink:
        """Make a receiver."""
        self._started += 1
        return Sink(self.folder / f"sink{self._started}", fault)

    def start(self, arguments: Sequence[str | Path], endpoint: str, protocol: str, **variables: str) -> Process:
        """Make the process `python ARGUMENTS...` of the kit under test; variables beside what all cells set."""
        self._started += 1
        launcher = [] if self.kit == "explicit" else [self.bin / "opentelemetry-instrument"]
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOLS[protocol],
            "OTEL_SERVICE_NAME": "faults",
            "FAULTS_KIT": self.kit,
            "PYTHONPATH": str(APPS.parents[1]),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            **variables,
        }
        return Process(
            [*launcher, self.bin / "python", *arguments],
            folder=self.folder,
            env=environment,
            name=f"program{self._started}",
        )

    def script(self, name: str, *arguments: object, endpoint: str, protocol: str, **variables: str) -> Process:
        """Make the process of a script in `apps/`."""
        return self.start([APPS / f"{name}.py", *map(str, arguments)], endpoint, protocol, **variables)

    @contextlib.contextmanager
    def serve(
        self, server: Sequence[str], endpoint: str, protocol: str, app: str = "faults.apps.shop:app", **variables: str
    ) -> Iterator[tuple[Process, int]]:
        """Run an application in a server until the block ends; it is ready. Gives the process and its port."""
        with reserve() as reserved:
            number = port(reserved)
            arguments = [part.format(app=app, port=number) for part in server]
            with self.start(["-m", *arguments], endpoint, protocol, **variables) as process:
                wait_http(f"http://{HOST}:{number}/ready", within=60, process=process)
                # One worker answers while another still starts, and a SIGTERM that meets it there is forgotten.
                workers = 2 if "2" in server else 1
                wait_until(
                    lambda: len(_STARTED.findall(process.stdout + process.stderr)) >= workers,
                    within=60,
                    what=f"{workers} workers listen",
                )
                yield process, number

    def service(self, name: str, endpoint: str, protocol: str) -> AbstractContextManager[tuple[Process, int]]:
        """Run the shop in one of `SERVERS`, likewise."""
        return self.serve(SERVERS[name], endpoint, protocol)


_STARTED = re.compile("Application startup complete|ASGI server listening")
SERVERS = {
    "uvicorn": ("uvicorn", "{app}", "--port", "{port}", "--no-access-log"),
    "uvicorn --workers 2": ("uvicorn", "{app}", "--port", "{port}", "--no-access-log", "--workers", "2"),
    **{
        f"gunicorn {name}{preload}": (
            *("gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "-w", "2", "-k", worker),
            *preload.split(),
        )
        for name, worker in (("asgi", "asgi"), ("uvicorn worker", "uvicorn.workers.UvicornWorker"))
        for preload in ("", " --preload")
    },
}


def worked(received: Received) -> dict[str, set[Any]]:
    """Return what arrived about `/work/{number}`: each kind of span, and records."""
    found: dict[str, set[Any]] = {"spans": set(), "work": set(), "store": set(), "logs": set()}
    for span in received.spans:
        if span.kind == "SERVER":
            path = str(span.attributes.get("url.path") or span.attributes.get("http.target"))
            found["spans"] |= {(path, span.span_id)} if path.startswith("/work/") else set()
        elif span.name in ("work", "store"):
            found[span.name].add((span.trace_id, span.span_id))
    found["logs"] = received.bodies("worked on ")
    return found


def complete(count: int) -> Callable[[Received], bool]:
    """Return the condition that all of so many requests arrived."""
    return lambda received: all(len(found) >= count for found in worked(received).values())


def check_work(verdict: Verdict, received: Received, count: int, *, metric: bool = True, duplicates: int = 0) -> None:
    """Ask for everything that so many requests to `/work/{number}` leave behind.

    Args:
        verdict: Gets the figures.
        received: What arrived.
        count: How many requests there were.
        metric: Whether the metric was due as well.
        duplicates: How many items may have come twice.
    """
    for name, found in worked(received).items():
        verdict.equal(name, len(found), count)
    if metric:
        verdict.equal("metric", received.total(DURATIONS, _is_work), count)
    verdict.within("duplicates", received.duplicates("worked on "), duplicates)


def _is_work(point: Point) -> bool:
    return "/work/{number}" in (point.attributes.get("http.route"), point.attributes.get("http.target"))


def resident(pid: int) -> float:
    """Return the memory of a process that is in RAM, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main_done(process: Process) -> float:
    """Return when, by the monotonic clock, a script printed that its own work was done."""
    return float(process.stdout.rpartition("main done ")[2].split()[0])


def timed_wait(process: Process, *, within: float) -> float:
    """Wait for the end of a process; return when it was by the monotonic clock."""
    handle = os.pidfd_open(process.pid)  # tells at once, where waiting with a time-out looks every 50 ms
    select.select([handle], [], [], within)
    ended = time.monotonic()
    os.close(handle)
    process.wait(within=1)
    return ended
