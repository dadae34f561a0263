"""The only place where tests start and stop the real Collector, Prometheus, Tempo and Loki.

The programs are found on PATH and run the project's own configuration files, on free loopback ports, with their data in
a folder of the test. Nothing here needs Docker or the network.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import yaml

from support.processes import HOST, Process, free_port, http_get

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]

_PAUSE = 0.05  # seconds between two looks

# Any of the names will do: the Collector's release archives and images call it by its distribution.
NAMES: Mapping[str, tuple[str, ...]] = {
    "prometheus": ("prometheus",),
    "tempo": ("tempo",),
    "loki": ("loki",),
    "collector": ("otelcol-contrib", "otelcol"),
}

_PORTS = (
    "STACK_OTLP_GRPC_PORT",
    "STACK_OTLP_HTTP_PORT",
    "STACK_COLLECTOR_HEALTH_PORT",
    "STACK_COLLECTOR_METRICS_PORT",
    "STACK_PROMETHEUS_PORT",
    "STACK_TEMPO_PORT",
    "STACK_TEMPO_GRPC_PORT",
    "STACK_TEMPO_OTLP_PORT",
    "STACK_LOKI_PORT",
    "STACK_LOKI_GRPC_PORT",
)

_SCRAPED = {
    "otelcol": "STACK_COLLECTOR_METRICS_PORT",
    "prometheus": "STACK_PROMETHEUS_PORT",
    "loki": "STACK_LOKI_PORT",
    "tempo": "STACK_TEMPO_PORT",
}


def find(program: str) -> str | None:
    """Return the path of a program of `NAMES`, or None if PATH has none of its names."""
    return next((path for name in NAMES[program] if (path := shutil.which(name))), None)


def missing() -> str:
    """Name the programs that PATH lacks, as a sentence; empty when all are there."""
    absent = [" or ".join(names) for program, names in NAMES.items() if find(program) is None]
    return f"not on PATH: {', '.join(absent)}" if absent else ""


class StackError(AssertionError):
    """A program is missing, ended, or was not ready in time; the message ends in the last lines it printed."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """How one program is started, and where it says that it is ready."""

    name: str
    argv: tuple[str, ...]
    ready: str


class Stack:
    """Context manager: the four programs, ready on entry, gone on exit.

    Args:
        folder: An empty folder for their data and output.
        ready_within: Seconds each program gets to become ready.
        stop_within: Seconds each gets to end on SIGTERM before SIGKILL. Tempo takes two, or minutes while it searches.
        variables: `STACK_*` variables on top of the ports and folders set here.
        overlays: Further configuration files of the Collector, in their order.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ready_within: float = 60.0,
        stop_within: float = 5.0,
        variables: Mapping[str, str] | None = None,
        overlays: Sequence[Path] = (),
    ) -> None:
        self._folder = folder
        self._ready_within = ready_within
        self._stop_within = stop_within
        self._extra = dict(variables or {})
        self._configurations = (*(ROOT / "collector" / name for name in ("config.yaml", "redaction.yaml")), *overlays)
        self._variables: dict[str, str] = {}
        self._running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        """Start everything; a port that somebody took in between costs one more try."""
        for last in (False, False, True):
            self._variables = {**_free_ports(), **self._folders(), **self._extra}
            self._variables |= {
                "STACK_TEMPO_OTLP_URL": f"http://{HOST}:{self._variables['STACK_TEMPO_OTLP_PORT']}",
                "STACK_PROMETHEUS_URL": self.prometheus,
                "STACK_LOKI_URL": self.loki,
            }
            try:
                self.start("prometheus", "tempo", "loki")
                self.wait_ready()
                self.start("collector")  # last: it would complain of stores that do not listen yet
                self.wait_ready()
            except BaseException as error:
                self.stop()
                if last or "address already in use" not in str(error):
                    raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything that still runs."""
        self.stop()

    @property
    def otlp_http(self) -> str:
        """Where applications send OTLP over HTTP: a base URL."""
        return self._url("STACK_OTLP_HTTP_PORT")

    @property
    def otlp_grpc(self) -> str:
        """Where applications send OTLP over gRPC: a base URL."""
        return self._url("STACK_OTLP_GRPC_PORT")

    @property
    def prometheus(self) -> str:
        """Base URL of Prometheus."""
        return self._url("STACK_PROMETHEUS_PORT")

    @property
    def tempo(self) -> str:
        """Base URL of Tempo."""
        return self._url("STACK_TEMPO_PORT")

    @property
    def loki(self) -> str:
        """Base URL of Loki."""
        return self._url("STACK_LOKI_PORT")

    @property
    def collector_metrics(self) -> str:
        """URL of the Collector's own metrics, in Prometheus' text format."""
        return self._url("STACK_COLLECTOR_METRICS_PORT") + "/metrics"

    def start(self, *names: str) -> None:
        """Start programs of `NAMES`, without waiting for them."""
        for name in names:
            argv = self._program(name).argv
            process = Process(argv, folder=self._folder, env=self._variables, name=name, stop_within=self._stop_within)
            self._running[name] = process.__enter__()  # left by stop(), which a test may call for one program

    def wait_ready(self) -> None:
        """Return once each started program says that it is ready.

        Raises:
            StackError: One ended, or was not ready in time.
        """
        for name, process in self._running.items():
            self._wait_ready(name, process)

    def stop(self, *names: str, kill: bool = False) -> None:
        """Stop the named programs, or all that run: SIGTERM, then SIGKILL for one that takes too long.

        Args:
            names: Programs of `NAMES`; none means all.
            kill: SIGKILL at once, as a crash would.
        """
        for name in names or tuple(self._running):
            process = self._running.pop(name)
            if kill:
                process.signal(signal.SIGKILL)
            process.stop()

    def printed(self, name: str) -> str:
        """Return what a running program has printed so far."""
        process = self._running[name]
        return process.stdout + process.stderr

    def _wait_ready(self, name: str, process: Process) -> None:
        ready = self._program(name).ready
        deadline = time.monotonic() + self._ready_within
        while not _answers(ready):
            if process.returncode is not None:
                raise StackError(f"{name} ended with {process.returncode}\n{process.tail()}")
            if time.monotonic() > deadline:
                raise StackError(f"{name} not ready at {ready} within {self._ready_within} s\n{process.tail()}")
            time.sleep(_PAUSE)

    def _folders(self) -> dict[str, str]:
        folders = {f"STACK_{name.upper()}_DATA": self._folder / name for name in NAMES}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {variable: str(folder) for variable, folder in folders.items()}

    def _prometheus_configuration(self) -> Path:
        """Write what Prometheus runs: the project's file, beside targets that are the programs of this stack."""
        folder = self._folder / "prometheus.configuration"
        (folder / "targets").mkdir(parents=True, exist_ok=True)
        for job, port in _SCRAPED.items():
            group = {"targets": [urlsplit(self._url(port)).netloc], "labels": {"job": job}}
            (folder / "targets" / f"{job}.yaml").write_text(yaml.safe_dump([group]), encoding="utf-8")
        return Path(shutil.copy(ROOT / "deploy/prometheus/prometheus.yaml", folder))

    def _url(self, port: str) -> str:
        return f"http://{HOST}:{self._variables[port]}"

    def _program(self, name: str) -> Program:
        path = find(name)
        if path is None:
            raise StackError(f"{name}: none of {', '.join(NAMES[name])} on PATH")
        match name:
            case "collector":
                arguments: tuple[str, ...] = tuple(f"--config={path}" for path in self._configurations)
                ready = self._url("STACK_COLLECTOR_HEALTH_PORT") + "/"
            case "prometheus":
                arguments = (
                    f"--config.file={self._prometheus_configuration()}",
                    f"--web.listen-address={urlsplit(self.prometheus).netloc}",
                    f"--storage.tsdb.path={self._variables['STACK_PROMETHEUS_DATA']}",
                    "--web.enable-otlp-receiver",
                    "--web.enable-remote-write-receiver",
                    "--enable-feature=exemplar-storage",
                )
                ready = self.prometheus + "/-/ready"
            case _:
                arguments = (f"-config.file={ROOT / f'deploy/{name}/{name}.yaml'}", "-config.expand-env=true")
                ready = self._url(f"STACK_{name.upper()}_PORT") + "/ready"
        return Program(name=name, argv=(path, *arguments), ready=ready)


def _free_ports() -> dict[str, str]:
    """Return a free port for each port variable of the configuration files, all different."""
    ports: set[int] = set()
    while len(ports) < len(_PORTS):
        ports.add(free_port())
    return {name: str(port) for name, port in zip(_PORTS, ports, strict=True)}


def _answers(url: str) -> bool:
    """Tell whether the URL answers 200 right now."""
    try:
        return http_get(url, timeout=1.0).status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
