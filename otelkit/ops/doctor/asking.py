"""The only place that starts a process in order to ask it: the service's own command, or an interpreter of this shell.

The command is started as it is written, with one variable more. Whether it configures telemetry in code, by
`otelkit run`, by `opentelemetry-instrument` or not at all is part of the answer, so nothing is added to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit import _environment
from otelkit._telling import Told
from otelkit.ops.doctor import find
from otelkit.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelkit.ops.doctor import Finding

_PAUSE = 0.05  # seconds between two looks
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_TAIL = 4_096
_LONGEST = 300

_THIS_SHELL = (sys.executable, "-c", "import otelkit; otelkit.configure()")
"""What any program of this interpreter and this environment would do."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of asking.

    Args:
        told: What the process told; None where it told nothing.
        findings: Why it told nothing.
    """

    told: Told | None
    findings: tuple[Finding, ...] = ()


def ask(command: Sequence[str] = (), *, timeout: float) -> Asked:
    """Start a command and return what its first process to configure telemetry tells; it runs no further.

    Args:
        command: The program and its arguments; empty asks an interpreter of this shell.
        timeout: Seconds until it must have told. Then it, and whatever it started, is ended.

    Raises:
        OSError: The program cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="otelkit-doctor-") as folder:
        report, errors = Path(folder, "report.json"), Path(folder, "stderr")
        report.touch()
        with errors.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603  the user's own command, without a shell
                list(command or _THIS_SHELL),
                env=_environment.asking(str(report)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                ended = _await(process, report, time.monotonic() + timeout)
            finally:
                _end(process)
        text = report.read_text(encoding="utf-8")
        return _read(text) if text else Asked(told=None, findings=(_silence(command, ended, errors, timeout),))


def _await(process: subprocess.Popen[bytes], report: Path, deadline: float) -> int | None:
    """Wait for the report, for the end of the process, or for the deadline; return the exit code if it ended."""
    while time.monotonic() < deadline:
        ended = process.poll()  # before the look: what it wrote last is there when it has ended
        if report.stat().st_size:
            return ended
        if ended is not None:
            return ended
        time.sleep(_PAUSE)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started: they are a group of their own."""
    deadline = time.monotonic() + _GRACE
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()) if number == signal.SIGTERM else None)


def _read(text: str) -> Asked:
    try:
        return Asked(told=Told.read(text))
    except ValueError as error:
        other = find(
            "other-otelkit",
            f"what the program tells cannot be read by otelkit {version('otelkit')}: {error}",
            "run the `otelkit` that is installed beside the program",
        )
        return Asked(told=None, findings=(other,))


def _silence(command: Sequence[str], ended: int | None, errors: Path, timeout: float) -> Finding:
    shown = Path(command[0]).name if command else "the interpreter"
    fix = f"start it by `otelkit run -- {shown} ...`, or call `otelkit.configure()` in it"
    if ended is None:
        return find("not-configured", f"{shown} configured no telemetry with otelkit within {timeout:g} s", fix)
    last = _last_line(errors)
    if ended == 0:
        return find("not-configured", f"{shown} ended without having configured telemetry with otelkit", fix)
    how = f"by signal {-ended}" if ended < 0 else f"with exit code {ended}"
    return find(
        "command-failed",
        f"{shown} ended {how} before it configured telemetry" + (f": {last}" if last else ""),
        "make it start, then ask again; telemetry is not what stops it",
    )


def _last_line(errors: Path) -> str:
    text = errors.read_bytes()[-_TAIL:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Redactor().text(lines[-1])[:_LONGEST] if lines else ""
