"""The only place where tests start and stop the real Collector, Prometheus, Alertmanager, Tempo and Loki.

They are started as a user does it, by `otelkit stack up --engine native`, at a port offset that is free, with all that
they keep in a folder of the test. Nothing here needs Docker or the network.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from otelkit.ops import _assets
from otelkit.ops.endpoints import Endpoints
from otelkit.ops.stack import _processes, _programs
from support.processes import HOST, PYTHON, clean_environment, http_get, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from support.processes import Process

ROOT = Path(__file__).resolve().parents[2]
_OVERLAYS = ROOT / "collector/overlays"

_PAUSE = 0.05  # seconds between two looks
_LAST_LINES = 40
_TRIES = 3
_SIDE_BY_SIDE = 60  # stacks of all tests of this machine
# Programs of a stack outlive who started them: where a run of tests is killed, its pipe ends, and this takes them down.
_WATCH = "import subprocess, sys; sys.stdin.buffer.read(); subprocess.run(sys.argv[1:], check=False)"

NAMES: Mapping[str, tuple[str, ...]] = {
    name: kind.executables for name, kind in _programs.KINDS.items() if name != "grafana"
}
"""What is started, and how its file may be called; Grafana joins where it is installed, and no test needs it."""


def find(program: str) -> str | None:
    """Return the path of a program of `NAMES`, or None if PATH has none of its names."""
    return _programs.find(_programs.KINDS[program], None)


def missing() -> str:
    """Name the programs that PATH lacks, as a sentence; empty when all are there."""
    absent = [" or ".join(names) for program, names in NAMES.items() if find(program) is None]
    return f"not on PATH: {', '.join(absent)}" if absent else ""


@contextmanager
def offset() -> Iterator[int]:
    """Give a `--port-offset` that no other test of this machine takes until the block ends, all ports of it free now.

    Two stacks side by side collide wherever the difference of their offsets is that of two ports: only offsets that are
    clear of each other are given, each locked by a file that its process holds.
    """
    ports = [int(value) for name, value in _assets.pins().items() if name.endswith("_PORT")]
    while True:
        for candidate in _clear_offsets(ports):
            held = os.open(f"{tempfile.gettempdir()}/otelkit-port-offset-{candidate}", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if all(_is_free(port + candidate) for port in ports):
                    yield candidate
                    return
            except BlockingIOError:
                continue
            finally:
                os.close(held)
        time.sleep(_PAUSE)


def _clear_offsets(ports: Sequence[int]) -> list[int]:
    differences = {abs(one - other) for one in ports for other in ports}
    found: list[int] = []
    # Above what programs use by default, below what Linux hands out to those that ask for any port.
    for candidate in range(2_000, 18_000):
        if not any(abs(candidate - other) in differences for other in found):
            found.append(candidate)
    return found[:_SIDE_BY_SIDE]


class StackError(AssertionError):
    """A program is missing, ended, or was not ready in time; the message ends in the last lines it printed."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """How one program was started, so that it can be started again, and where it says that it is ready."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    ready: str


class Stack:
    """Context manager: the programs of a stack, ready on entry, gone on exit.

    Args:
        folder: A folder of the test, for their configuration, data and output; a second one in it finds the data.
        ready_within: Seconds until all are ready.
        stop_within: Seconds they get to end on SIGTERM before SIGKILL. Tempo takes two, or minutes while it searches.
        variables: Variables on top of `clean_environment()`, for example `STACK_*`; None removes one.
        overlays: Further configuration files of the Collector, in their order; the project's own or a test's.
        config: A folder with `collector/` and `deploy/` to run; None means otelkit's own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ready_within: float = 60.0,
        stop_within: float = 5.0,
        variables: Mapping[str, str | None] | None = None,
        overlays: Sequence[Path] = (),
        config: Path | None = None,
    ) -> None:
        self._folder = folder
        self._ready_within = ready_within
        self._stop_within = stop_within
        self._overlays = tuple(overlays)
        self._config = config
        self._programs: dict[str, Program] = {}
        self._started: set[str] = set()
        self._offset = ExitStack()
        self._watcher: subprocess.Popen[bytes] | None = None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._endpoints: Endpoints | None = None
        self.environment: dict[str, str | None] = {**(variables or {}), "XDG_STATE_HOME": str(folder / "state")}
        """What another `otelkit` command needs, to be about this stack; a test adds its own."""

    def __enter__(self) -> Self:
        """Start everything; a port that somebody took in between costs one more try."""
        self._folder.mkdir(parents=True, exist_ok=True)
        arguments = self._arguments()
        for last in (*[False] * (_TRIES - 1), True):
            self._watch()
            number = self._offset.enter_context(offset())
            up = self.command("up", *arguments, "--port-offset", str(number), name="up")
            if up.returncode == 0:
                break
            self.stop()
            if last or not any(text in up.tail() for text in ("is taken by", "address already in use")):
                raise StackError(f"otelkit stack up ended with {up.returncode}\n{up.tail()}")
        self._note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything that still runs."""
        self.stop()

    @property
    def endpoints(self) -> Endpoints:
        """Where each program answers."""
        if self._endpoints is None:
            raise RuntimeError("used outside of its `with` block")
        return self._endpoints

    @property
    def otlp_http(self) -> str:
        """Where applications send OTLP over HTTP: a base URL."""
        return self.endpoints.otlp_http

    @property
    def otlp_grpc(self) -> str:
        """Where applications send OTLP over gRPC: a base URL."""
        return self.endpoints.otlp_grpc

    @property
    def prometheus(self) -> str:
        """Base URL of Prometheus."""
        return self.endpoints.prometheus

    @property
    def alertmanager(self) -> str:
        """Base URL of Alertmanager."""
        return self.endpoints.alertmanager

    @property
    def tempo(self) -> str:
        """Base URL of Tempo."""
        return self.endpoints.tempo

    @property
    def loki(self) -> str:
        """Base URL of Loki."""
        return self.endpoints.loki

    @property
    def collector_metrics(self) -> str:
        """URL of the Collector's own metrics, in Prometheus' text format."""
        return f"{self.endpoints.collector_metrics}/metrics"

    @property
    def place(self) -> Path:
        """The stack's folder, with its state, configuration, data and logs."""
        return self._folder / "state/otelkit/stack/default"

    def command(self, action: str, *arguments: str, name: str = "") -> Process:
        """Run `otelkit stack ACTION` about this stack, and return it ended."""
        return run(
            [PYTHON, "-m", "otelkit.ops.cli", "stack", action, *arguments],
            folder=self._folder,
            env=self.environment,
            within=self._ready_within + 60,
            name=name or f"stack-{action}",
        )

    def pid(self, name: str) -> int | None:
        """Return the process of a program, None where it does not run."""
        process = _processes.running(self.place).get(name)
        return None if process is None else process.pid

    def start(self, *names: str) -> None:
        """Start programs again that were stopped, without waiting for them."""
        for name in names:
            program = self._programs[name]
            argv, environment = list(program.argv), program.environment
            self._children[name] = _processes.start(
                argv, name=name, place=self.place, log=program.log, cwd=program.cwd, env=environment
            )
            self._started.add(name)

    def wait_ready(self) -> None:
        """Return once each program that was started, and not stopped since, says that it is ready.

        Raises:
            StackError: One ended, or was not ready in time.
        """
        deadline = time.monotonic() + self._ready_within
        for name in sorted(self._started):
            while not _answers(self._programs[name].ready):
                if self.pid(name) is None:
                    raise StackError(f"{name} ended\n{self._tail(name)}")
                if time.monotonic() > deadline:
                    raise StackError(f"{name} not ready within {self._ready_within} s\n{self._tail(name)}")
                time.sleep(_PAUSE)

    def stop(self, *names: str, kill: bool = False) -> None:
        """Stop the named programs, or take the stack down: SIGTERM, then SIGKILL for one that takes too long.

        Args:
            names: Programs of `NAMES`; none means all.
            kill: SIGKILL at once, as a crash would.
        """
        if names:
            running = _processes.running(self.place)
            stopped = [running[name] for name in names if name in running]
            if kill:
                for process in stopped:
                    process.kill()
            _processes.end(stopped, within=self._stop_within)
        else:
            down = self.command("down", "--timeout", str(self._stop_within))
            assert down.returncode == 0, down.tail()
        for name in names or tuple(self._started):
            self._started.discard(name)
            if name in self._children:
                self._children.pop(name).wait()
        if not names:
            self._offset.close()
            self._stop_watching()

    def printed(self, name: str) -> str:
        """Return what a program has printed since it was started last."""
        return self._programs[name].log.read_text(encoding="utf-8", errors="replace")

    def _arguments(self) -> list[str]:
        config = self._config
        if any(overlay.parent != _OVERLAYS for overlay in self._overlays):
            config = self._folder / "configuration"
            for name in _assets.FOLDERS:
                shutil.copytree((self._config or _assets.root()) / name, config / name)
            for overlay in self._overlays:
                shutil.copy(overlay, config / "collector/overlays")
        arguments = ["--engine", "native", "--timeout", str(self._ready_within)]
        for overlay in self._overlays:
            arguments += ["--overlay", overlay.stem]
        return arguments if config is None else [*arguments, "--config", str(config)]

    def _watch(self) -> None:
        down = [PYTHON, "-m", "otelkit.ops.cli", "stack", "down", "--timeout", str(self._stop_within)]
        self._watcher = subprocess.Popen(
            [PYTHON, "-c", _WATCH, *down],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=clean_environment(self.environment),
            start_new_session=True,
        )

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None

    def _note(self) -> None:
        told: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        self._endpoints = Endpoints(**told["endpoints"])
        for name, process in _processes.running(self.place).items():
            self._programs[name] = Program(
                argv=tuple(process.cmdline()),
                environment=process.environ(),
                cwd=Path(process.cwd()),
                log=Path(told["programs"][name]["log"]),
                ready=told["programs"][name]["url"],
            )
        self._started = set(self._programs)

    def _tail(self, name: str) -> str:
        return "\n".join(self.printed(name).splitlines()[-_LAST_LINES:])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _answers(url: str) -> bool:
    """Tell whether the URL answers 200 right now."""
    try:
        return http_get(url, timeout=1.0).status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
