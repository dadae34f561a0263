"""The only place where tests start a program of their own, watch it and stop it.

Servers, launchers and scripts run as real processes: `with Process([...], folder=tmp_path) as server:`. Each leads a
process group of its own, so that workers and reloaders end with it, whatever the test did.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

HOST = "127.0.0.1"
PYTHON = sys.executable
"""The interpreter of the tests: `[PYTHON, "-m", "uvicorn", ...]` starts what is installed beside them."""

_PAUSE = 0.02  # seconds between two looks


class ProcessError(AssertionError):
    """A program ended, or stayed silent, when it should not have; the message ends in the last lines it printed."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a URL answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], *, within: float, what: str) -> None:
    """Poll until the condition is true.

    Args:
        condition: Called again and again; anything true ends the wait.
        within: Seconds until it must be true.
        what: What is waited for, completes "not within 5 s: ...".

    Raises:
        AssertionError: The time is over.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(_PAUSE)


def http_get(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, timeout: float = 5.0
) -> Answer:
    """Fetch a loopback URL past any configured proxy; an HTTP error status is an answer like any other."""
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)  # noqa: S310  loopback URLs of the tests
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(status=response.status, headers=dict(response.headers), body=response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(status=error.code, headers=dict(error.headers), body=error.read())


def wait_http(url: str, *, within: float = 20.0, process: Process | None = None) -> Answer:
    """Poll a URL until it answers at all, and return that answer.

    Args:
        url: A loopback URL.
        within: Seconds until the first answer.
        process: The program that should answer; the wait ends at once when it has ended.

    Raises:
        ProcessError: No answer in time, or the program ended.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return http_get(url)
        except OSError as error:
            if process is not None and process.returncode is not None:
                raise ProcessError(f"{process} ended before {url} answered\n{process.tail()}") from error
            if time.monotonic() > deadline:
                printed = "" if process is None else f"\n{process.tail()}"
                raise ProcessError(f"{url} did not answer within {within:g} s: {error}{printed}") from error
        time.sleep(_PAUSE)


def clean_environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return this process's environment without any `OTEL_*` or `OTELKIT_*` variable.

    Args:
        extra: Variables on top; None removes one.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELKIT_"))}
    for name, value in (extra or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


class Process:
    """Context manager: a running program, gone on exit with everything it started.

    Args:
        argv: The command; use `PYTHON` for the interpreter.
        folder: A folder of the test: working directory, and home of `<name>.out` and `<name>.err`.
        env: Variables on top of `clean_environment()`; None removes one.
        cwd: Working directory, if it is not `folder`. Never the checkout: `otelkit` would come from there, and not
            from the built wheel.
        name: Name of the output files; needed where one folder sees several programs.
        stop_within: Seconds between SIGTERM and SIGKILL on exit.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        folder: Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        name: str = "process",
        stop_within: float = 10.0,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self._env = clean_environment(env)
        self._cwd = cwd or folder
        self._stop_within = stop_within
        self._name = name
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        self._popen: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        """Return the command, as a message needs it."""
        return f"{self._name} ({' '.join(self.argv)[:200]})"

    def __enter__(self) -> Self:
        """Start the program."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the program; where the test failed, show what it printed last."""
        self.stop()
        if error is not None and not isinstance(error, ProcessError):
            error.add_note(f"--- {self}, exit code {self.returncode}\n{self.tail()}")

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while the program runs."""
        return self._running.poll()

    @property
    def stdout(self) -> str:
        """Everything printed to stdout so far, by the program and its children."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """Everything printed to stderr so far, by the program and its children."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of both outputs, for a message."""
        parts = (("stdout", self.stdout), ("stderr", self.stderr))
        return "\n".join(f"--- {kind}\n" + "\n".join(text.splitlines()[-lines:]) for kind, text in parts if text)

    def signal(self, number: int) -> None:
        """Send a signal to the program itself, as `kill` does, and not to its children."""
        with contextlib.suppress(ProcessLookupError):
            self._running.send_signal(number)

    def wait(self, *, within: float = 20.0) -> int:
        """Wait for the program to end by itself, and return its exit code.

        Raises:
            ProcessError: It still runs when the time is over.
        """
        try:
            return self._running.wait(within)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self} still runs after {within:g} s\n{self.tail()}") from None

    def wait_http(self, url: str, *, within: float = 20.0) -> Answer:
        """Poll a URL that this program serves until it answers, and return the answer."""
        return wait_http(url, within=within, process=self)

    def wait_output(self, text: str, *, within: float = 20.0) -> None:
        """Wait until the text was printed, to stdout or stderr.

        Raises:
            ProcessError: The program ended, or the time is over, without it.
        """
        deadline = time.monotonic() + within
        while True:
            # Asked before looking: what the program printed last, it printed before it ended.
            over = self.returncode is not None or time.monotonic() > deadline
            if text in self.stdout or text in self.stderr:
                return
            if over:
                raise ProcessError(f"{self} did not print {text!r} within {within:g} s\n{self.tail()}")
            time.sleep(_PAUSE)

    def stop(self) -> int:
        """Send SIGTERM to the program, then SIGKILL to what is left of its group; return the exit code."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(self._stop_within)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._running.wait()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise RuntimeError("used outside of its `with` block")
        return self._popen


def run(
    argv: Sequence[str | Path],
    *,
    folder: Path,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    within: float = 60.0,
    name: str = "process",
) -> Process:
    """Run a program to its end, and return it with `returncode`, `stdout` and `stderr`.

    Args:
        argv: The command; use `PYTHON` for the interpreter.
        folder: As for `Process`.
        env: As for `Process`.
        cwd: As for `Process`.
        within: Seconds it may take.
        name: As for `Process`.

    Raises:
        ProcessError: It still runs when the time is over.
    """
    with Process(argv, folder=folder, env=env, cwd=cwd, name=name) as process:
        process.wait(within=within)
    return process
