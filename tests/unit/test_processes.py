"""The only place that tests how tests start, watch and stop programs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.processes import (
    HOST,
    PYTHON,
    Process,
    ProcessError,
    clean_environment,
    free_port,
    http_get,
    run,
    wait_http,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:  # noqa: PTH123  a kernel file, read as a stream
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_and_exit_code_are_kept_apart_and_complete(tmp_path: Path) -> None:
    code = "import sys; print('to out'); print('to err', file=sys.stderr); sys.exit(3)"
    process = run([PYTHON, "-c", code], folder=tmp_path)
    assert (process.returncode, process.stdout, process.stderr) == (3, "to out\n", "to err\n")


def test_the_variables_of_telemetry_do_not_leak_in_but_given_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "leaked")
    monkeypatch.setenv("OTELKIT_LOG_FORMAT", "leaked")
    monkeypatch.setenv("PLAIN", "kept")
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith(('OTEL', 'PLAIN', 'GIVEN'))))"
    process = run([PYTHON, "-c", code], folder=tmp_path, env={"GIVEN": "1", "OTEL_TRACES_EXPORTER": "none"})
    assert process.stdout.strip() == str([("GIVEN", "1"), ("OTEL_TRACES_EXPORTER", "none"), ("PLAIN", "kept")])
    assert "PLAIN" not in clean_environment({"PLAIN": None})


def test_a_server_is_awaited_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    argv = [PYTHON, "-m", "http.server", str(port), "--bind", HOST]
    with Process(argv, folder=tmp_path) as server:
        assert server.wait_http(f"http://{HOST}:{port}/").status == 200
        assert http_get(f"http://{HOST}:{port}/absent").status == 404
    assert server.returncode == -signal.SIGTERM


def test_a_program_that_ignores_sigterm_goes_with_its_children(tmp_path: Path) -> None:
    with Process([PYTHON, "-c", STUBBORN], folder=tmp_path, stop_within=0.2) as stubborn:
        stubborn.wait_output("child")
        child = int(stubborn.stdout.split()[1])
        assert is_alive(child)
    assert stubborn.returncode == -signal.SIGKILL
    wait_until(lambda: not is_alive(child), within=5, what="the child is gone")


def test_a_program_that_ends_early_is_not_awaited_and_its_words_are_shown(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessError, match=r"(?s)ended before .* answered.*no such application"),
        Process([PYTHON, "-c", "raise SystemExit('no such application')"], folder=tmp_path) as process,
    ):
        process.wait_http(f"http://{HOST}:{free_port()}/", within=30)


def test_silence_is_an_error_after_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"did not answer within 0\.1 s"):
        wait_http(f"http://{HOST}:{free_port()}/", within=0.1)
    with Process([PYTHON, "-c", "import time; time.sleep(600)"], folder=tmp_path) as process:
        with pytest.raises(ProcessError, match="did not print 'ready'"):
            process.wait_output("ready", within=0.1)
        with pytest.raises(ProcessError, match="still runs"):
            process.wait(within=0.1)
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the impossible"):
        wait_until(lambda: False, within=0.05, what="the impossible")


def test_a_failing_test_shows_what_the_program_printed(tmp_path: Path) -> None:
    def fail_beside_a_program() -> None:
        code = "import time; print('the clue', flush=True); time.sleep(600)"
        with Process([PYTHON, "-c", code], folder=tmp_path) as process:
            process.wait_output("the clue")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail_beside_a_program()
    assert "the clue" in "".join(caught.value.__notes__)
