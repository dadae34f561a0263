"""The only place that starts, watches and ends the programs of a bench, one by one, by their names.

Each leads a session of its own and carries the bench's folder in its environment, as those of its stack do. By that
everything is found and ended, also where whoever started it was killed; nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import psutil

from otelkit.errors import StackError
from otelkit.ops.stack._processes import FOLDER, end, lives, stack_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PAUSE: Final = 0.05  # seconds between two looks
_ENDS_WITHIN: Final = 10.0  # seconds between SIGTERM and SIGKILL
_READY_WITHIN: Final = 60.0  # a busy machine takes that long to import a framework
_LAST_LINES: Final = 15
# Outlives its parent: where that was killed, its pipe ends, and everything is ended that carries the folder.
_WATCH: Final = (
    "import sys; sys.stdin.buffer.read(); from otelkit.ops.drill._running import sweep; sweep(sys.argv[1], within=5)"
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """How a program is started, and seen to be ready.

    Args:
        name: What the drills call it.
        argv: The command.
        env: Its variables, beside those of this process that are no settings of telemetry.
        ready: Tells whether it is; called again and again.
        ends_on: The signal that makes it end in order.
        user: Whose it is, where root starts it.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], object]
    env: Mapping[str, str] = field(default_factory=dict)
    ends_on: int = signal.SIGTERM
    user: str | None = None


class Running:
    """Context manager: programs of a bench; all are gone on exit.

    Args:
        folder: Of the bench: they work there, and print into files below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Have somebody watch over what is started."""
        self._watch = subprocess.Popen(  # noqa: S603  this very interpreter
            [sys.executable, "-c", _WATCH, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, the last started first."""
        for name in reversed(self._processes):
            self.stop(name)
        sweep(str(self._folder), within=_ENDS_WITHIN)
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()

    def __contains__(self, name: str) -> bool:
        """Tell whether a program was ever started here."""
        return name in self._programs

    def launch(self, program: Program) -> None:
        """Start a program, without waiting for it."""
        self._programs[program.name] = program
        log = self.log(program.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELKIT_"))}
        with log.open("ab") as out:
            try:
                self._processes[program.name] = subprocess.Popen(  # noqa: S603  programs of the bench
                    program.argv,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd="/" if program.user else self._folder,
                    env={**kept, **program.env, FOLDER: f"{self._folder}/{program.name}"},
                    user=program.user,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{program.name}: {program.argv[0]} cannot be started: {error}") from error

    def wait(self, *names: str) -> None:
        """Return once each is ready.

        Raises:
            StackError: One ended, or was not ready in time; the message has what it printed last.
        """
        deadline = time.monotonic() + _READY_WITHIN
        for name in names:
            while not self._programs[name].ready():
                ended = self._processes[name].poll() is not None
                if ended or time.monotonic() > deadline:
                    why = "ended" if ended else f"was not ready within {_READY_WITHIN:g} s"
                    raise StackError(f"{name} {why}; it printed last:\n{self._last_lines(name)}")
                time.sleep(_PAUSE)

    def start(self, name: str) -> None:
        """Start a program again, as it was, and wait until it is ready."""
        self.stop(name)
        self.launch(self._programs[name])
        self.wait(name)

    def say(self, name: str, line: str) -> None:
        """Write a line to a program's standard input."""
        pipe = self._processes[name].stdin
        if pipe is not None:
            pipe.write(f"{line}\n".encode())
            pipe.flush()

    def stop(self, name: str) -> None:
        """End a program in order, and what it started with it."""
        process = self._processes[name]
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(self._programs[name].ends_on)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_WITHIN)
        self.signal(name, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program, and to what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._processes[name].pid, number)

    def log(self, name: str) -> Path:
        """Return the file of what a program printed."""
        return self._folder / "log" / f"{name}.log"

    def _last_lines(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])


def sweep(folder: str, *, within: float) -> None:
    """End whatever still carries a bench's folder in its environment: of the stack, and of those beside it.

    Args:
        folder: Of the bench.
        within: Seconds between SIGTERM and SIGKILL.
    """
    found = carrying(folder)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.resume()  # one that is paused hears nothing else
    end(found, within=within)
    end(carrying(folder), within=0.0)  # what those started meanwhile


def carrying(folder: str) -> list[psutil.Process]:
    """Return every process but this one that carries a bench's folder in its environment."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid()
        and (of := stack_of(process)) is not None
        and of[0].startswith(f"{folder}/")
        and lives(process)
    ]
