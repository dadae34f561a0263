"""The only place that starts, finds and ends the native programs of a stack.

Each runs in a session of its own, so that a terminal's Ctrl-C and hang-up reach otelkit alone, and carries two
variables that name its stack: it is found by them, not by a pid that the system may have given to somebody else since,
and also when whoever started it was killed before it could write anything down.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from otelkit.ops.stack._state import Record

FOLDER = "STACK_FOLDER"
PROGRAM = "STACK_PROGRAM"

_CLOCK = 2.0  # seconds by which two readings of a start time may differ where the clock was set in between
_KILLED_WITHIN = 10.0  # seconds; one that writes to a disk which hangs may outlive SIGKILL for as long
_PAUSE = 0.05  # seconds between two looks


def start(
    argv: list[str], *, name: str, place: Path, log: Path, cwd: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program in the background.

    Args:
        argv: The command.
        name: The program's name in the stack.
        place: The stack's folder.
        log: Where its output goes; that of the run before is kept beside it, the one before that is not.
        cwd: Its working directory.
        env: Its whole environment, less the two variables by which it is found.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603  starting programs is what this is for
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**env, FOLDER: str(place), PROGRAM: name},
            start_new_session=True,
        )


def started(pid: int) -> float:
    """Return when a process was started, in seconds since the epoch; now if it has ended already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return time.time()


def argv(process: psutil.Process) -> list[str]:
    """Return what a process was started with; empty if it has ended already."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def release(popen: subprocess.Popen[bytes]) -> None:
    """Let go of a child that is to outlive this process: it is no longer ours to wait for."""
    if popen.poll() is None:
        popen.returncode = 0  # else Popen complains, as it is collected, of a child that still runs


def running(place: Path, noted: Mapping[str, Record] | None = None) -> dict[str, psutil.Process]:
    """Return the programs of a stack that run, by name.

    Args:
        place: The stack's folder.
        noted: Programs of its state file: what tells of those whose environment the system does not show.
    """
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(FOLDER) == str(place) and lives(process):
                found[environment.get(PROGRAM, "")] = process
    for name, record in (noted or {}).items():
        if name not in found and (process_ := _by_pid(record)) is not None:
            found[name] = process_
    return found


def stack_of(process: psutil.Process) -> tuple[str, str] | None:
    """Return the folder of the stack that a process belongs to, and which of its programs it is; None if of none."""
    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        if FOLDER in environment:
            return environment[FOLDER], environment.get(PROGRAM, "")
    return None


def end(
    processes: Iterable[psutil.Process], *, within: float, check: Callable[[], None] = lambda: None
) -> list[psutil.Process]:
    """Send SIGTERM to all, wait for all until one deadline, then send SIGKILL to those that are left.

    Args:
        processes: What to end. They need not be children of this process.
        within: Seconds between the two.
        check: Called between two looks; what it raises ends the wait, and nothing is killed.

    Returns:
        Those that had to be killed.
    """
    left = [process for process in processes if _signal(process, kill=False)]
    deadline = time.monotonic() + within
    while left := [process for process in left if lives(process)]:
        if time.monotonic() > deadline:
            break
        check()
        time.sleep(_PAUSE)
    killed = [process for process in left if _signal(process, kill=True)]
    deadline = time.monotonic() + _KILLED_WITHIN
    while any(lives(process) for process in killed) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return killed


def lives(process: psutil.Process) -> bool:
    """Tell whether a process still does something; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, *, kill: bool) -> bool:
    try:
        # psutil looks whether the pid is still that process before it sends.
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return False
    return True


def _by_pid(record: Record) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
    except psutil.Error:
        return None
    try:
        process.environ()
    except psutil.AccessDenied:
        if abs(process.create_time() - record.started) < _CLOCK and lives(process):
            return process
    except psutil.Error:
        pass
    return None
