"""What a drill starts is ended, whoever is killed; nothing else is touched; what is missing is named."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
import yaml

from otelkit.errors import StackError
from otelkit.ops.drill._running import Program, Running, sweep
from otelkit.ops.drill.bench import bench, chosen
from otelkit.ops.drill.bench import missing as missing_for
from otelkit.ops.stack._processes import FOLDER
from support.processes import PYTHON, Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Starts a child, tells both their pids, and takes no notice of SIGTERM where asked.
PARENT = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
# A bench that is killed: it cannot clean up.
BENCH = """
import sys, time
from pathlib import Path
from otelkit.ops.drill._running import Program, Running
folder = Path(sys.argv[1])
with Running(folder) as running:
    log = folder / "log/parent.log"
    ready = lambda: log.exists() and len(log.read_text().split()) == 2
    running.launch(Program(name="parent", argv=[sys.executable, "-c", sys.argv[2]], ready=ready))
    running.wait("parent")
    print("started", flush=True)
    time.sleep(600)
"""


def pids(running: Running, name: str = "parent") -> list[int]:
    log = running.log(name)
    return [int(pid) for pid in log.read_text(encoding="utf-8").split()] if log.exists() else []


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def parent(running: Running, *arguments: str) -> Program:
    argv: Sequence[str] = [sys.executable, "-c", PARENT, *arguments]
    return Program(name="parent", argv=argv, ready=lambda: len(pids(running)) == 2)


@pytest.mark.parametrize("end", ["stop", "kill", "leave"])
def test_a_program_ends_with_what_it_started(tmp_path: Path, end: str) -> None:
    with Running(tmp_path) as running:
        running.launch(parent(running))
        running.wait("parent")
        both = pids(running)
        assert all(map(lives, both))
        if end == "stop":
            running.stop("parent")
        elif end == "kill":
            running.signal("parent", signal.SIGKILL)
        if end != "leave":
            wait_until(lambda: not any(map(lives, both)), within=20, what="both have ended")
    assert not any(map(lives, both))


def test_one_that_is_deaf_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otelkit.ops.drill._running._ENDS_WITHIN", 0.2)
    with Running(tmp_path) as running:
        running.launch(parent(running, "deaf"))
        running.wait("parent")
        both = pids(running)
    assert not any(map(lives, both))


def test_a_bench_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with Process([PYTHON, "-c", BENCH, str(tmp_path / "bench"), PARENT], folder=tmp_path) as process:
        (tmp_path / "bench").mkdir()
        process.wait_output("started", within=60)
        both = [int(pid) for pid in (tmp_path / "bench/log/parent.log").read_text().split()]
        assert all(map(lives, both))
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(lives, both)), within=60, what="both have ended")


def test_nothing_is_ended_that_does_not_carry_the_folder(tmp_path: Path) -> None:
    sleeps = [PYTHON, "-c", "print('up', flush=True); import time; time.sleep(600)"]
    other = {FOLDER: f"{tmp_path}-of-somebody-else/api"}
    mine = {FOLDER: f"{tmp_path}/api"}
    with (
        Process(sleeps, folder=tmp_path, name="none") as none,
        Process(sleeps, folder=tmp_path, env=other, name="other") as another,
        Process(sleeps, folder=tmp_path, env=mine, name="mine") as own,
    ):
        for process in (none, another, own):
            process.wait_output("up")
        sweep(str(tmp_path), within=10)
        assert [process.returncode is None for process in (none, another, own)] == [True, True, False]


def test_a_program_starts_again_as_it_was_and_goes_on_after_a_pause(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        running.launch(parent(running))
        running.wait("parent")
        (pid, _) = pids(running)
        running.signal("parent", signal.SIGSTOP)
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, within=10, what="it is stopped")
        running.signal("parent", signal.SIGCONT)
        wait_until(lambda: psutil.Process(pid).status() != psutil.STATUS_STOPPED, within=10, what="it goes on")
        running.log("parent").unlink()
        running.start("parent")
        assert lives(pids(running)[0])
        assert not lives(pid)


def test_one_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        argv = [sys.executable, "-c", "raise SystemExit('the port is taken')"]
        running.launch(Program(name="page", argv=argv, ready=lambda: False))
        with pytest.raises(StackError, match=r"(?s)page ended; it printed last:.*the port is taken"):
            running.wait("page")


def test_all_that_is_missing_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    # By its name in the package is the function, not the module.
    monkeypatch.setattr(importlib.import_module("otelkit.ops.drill.bench"), "_VERSIONS", tmp_path)
    absent = missing_for(shop=True)
    assert {"initdb", "postgres", "openssl", "redis-server or valkey-server", "tempo"} <= set(absent)
    assert "prometheus-node-exporter or node_exporter" in absent
    assert set(missing_for(shop=False)) < set(absent)
    with pytest.raises(StackError, match=r"not found on PATH: .*, openssl"), bench(tmp_path, shop=tmp_path):
        pytest.fail("started nevertheless")
    assert list(tmp_path.iterdir()) == []


def test_without_a_shop_nothing_is_scraped_that_does_not_run(tmp_path: Path) -> None:
    from otelkit.ops.drill.bench import _configure
    from otelkit.ops.drill.receiver import Receiver

    with Receiver.listening() as receiver:
        _configure(tmp_path, chosen(None), receiver, jobs=("blackbox",))
    overlay = yaml.safe_load((tmp_path / "configuration/collector/overlays/infra.yaml").read_text(encoding="utf-8"))
    (job,) = overlay["receivers"]["prometheus/infra"]["config"]["scrape_configs"]
    assert job["job_name"] == "blackbox"
    rules = {file.name for file in (tmp_path / "configuration/deploy/prometheus/rules").iterdir()}
    assert rules == {file.name for file in (tmp_path / "rendered/deploy/prometheus/rules").iterdir()}
