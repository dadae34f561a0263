"""Programs in the background: found by what they carry, ended within a deadline, and never taken for another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from otelkit.errors import StackError
from otelkit.ops.stack import Record, _ports, _processes
from support.processes import HOST, PYTHON, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAITS = "import time; time.sleep(300)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """Start Python as a program of the stack in `tmp_path`."""
    started = []

    def start(name: str, code: str) -> subprocess.Popen[bytes]:
        child = _processes.start(
            [PYTHON, "-c", code],
            name=name,
            place=tmp_path,
            log=tmp_path / f"{name}.log",
            cwd=tmp_path,
            env=dict(os.environ),
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_programs_are_found_by_the_folder_of_their_stack(
    start: Callable[[str, str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    one, two = start("one", WAITS), start("two", WAITS)
    found = _processes.running(tmp_path)
    assert {name: process.pid for name, process in found.items()} == {"one": one.pid, "two": two.pid}
    assert _processes.running(tmp_path / "other") == {}
    assert os.getsid(one.pid) == one.pid  # no Ctrl-C of a terminal reaches it


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([PYTHON, "-c", WAITS]) as stranger:
        try:
            noted = Record(
                pid=stranger.pid,
                started=_processes.started(stranger.pid),
                argv=("loki",),
                log="",
                ready="",
                version=None,
            )
            assert _processes.running(tmp_path, {"loki": noted}) == {}
        finally:
            stranger.kill()


def test_one_deadline_for_all_then_the_deaf_are_killed(
    start: Callable[[str, str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    children = {name: start(name, code) for name, code in (("good", WAITS), ("deaf", DEAF), ("dumb", DEAF))}
    for name in ("deaf", "dumb"):
        wait_until((tmp_path / f"{name}.log").read_text, within=20, what=f"{name} ignores SIGTERM")
    killed = _processes.end(_processes.running(tmp_path).values(), within=0.5)
    assert {process.pid for process in killed} == {children["deaf"].pid, children["dumb"].pid}
    assert _processes.running(tmp_path) == {}
    codes = {name: child.wait() for name, child in children.items()}
    assert codes == {"good": -signal.SIGTERM, "deaf": -signal.SIGKILL, "dumb": -signal.SIGKILL}


def test_what_only_waits_to_be_reaped_has_ended(
    start: Callable[[str, str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    child = start("gone", "pass")
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, within=20, what="it ended")
    assert _processes.running(tmp_path) == {}


def test_the_output_of_the_run_before_is_kept_once(
    start: Callable[[str, str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    for number in range(3):
        start("talks", f"print({number})").wait()
    assert (tmp_path / "talks.log").read_text() == "2\n"
    assert (tmp_path / "talks.log.1").read_text() == "1\n"


def test_a_port_that_is_taken_is_told_with_who_holds_it() -> None:
    with socket.socket() as held, socket.socket() as free:
        for each in (held, free):
            each.bind((HOST, 0))
        held.listen()
        free_port = free.getsockname()[1]
        free.close()
        port = held.getsockname()[1]
        told = _ports.taken({"LOKI_PORT": (HOST, port), "TEMPO_PORT": (HOST, free_port)})
        assert told == [f"port {port} (LOKI_PORT) is taken by {psutil.Process().name()} (pid {os.getpid()})"]


def test_a_port_that_a_connection_used_a_moment_ago_is_free() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((HOST, port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    deadline = time.monotonic() + 5
    while (told := _ports.taken({"LOKI_PORT": (HOST, port)})) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert told == []


@pytest.mark.parametrize("host", ["203.0.113.7", "::1", "no.such.host.invalid"])
def test_an_address_that_is_none_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(StackError, match="is to be listened on"):
        _ports.taken({"LOKI_PORT": (host, 3100)})
