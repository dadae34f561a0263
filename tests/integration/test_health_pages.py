"""What docs/how-to/health-on-kubernetes.md gives to copy: its manifest adds up, its worker's file is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from otelkit import HealthMiddleware
from support.celery_workers import redis_broker
from support.processes import PYTHON, Process, run, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "health-on-kubernetes.md"
DEADLINE = 5
"""Seconds for the last telemetry, by default."""

WORKER = """
import os
from celery import Celery

app = Celery(broker=os.environ["BROKER"])
"""


def code(language: str) -> list[str]:
    """Return the blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_manifest_asks_paths_that_are_answered_and_leaves_time_to_leave() -> None:
    spec: dict[str, Any] = yaml.safe_load(code("yaml")[0])["spec"]
    (container,) = spec["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert HealthMiddleware.otelkit_silent(container[probe]["httpGet"]["path"])
    (drain,) = re.findall(r"Health\(drain=(\d+)\)", code("python")[0])
    command = container["command"]
    graceful = command[command.index("--timeout-graceful-shutdown") + 1]
    assert int(drain) + int(graceful) + DEADLINE < spec["terminationGracePeriodSeconds"]


def test_heartbeat_of_a_worker_touches_its_file_and_it_answers_a_ping(tmp_path: Path) -> None:
    (page,) = (block for block in code("python") if "heartbeat_sent" in block)
    alive = tmp_path / "worker-alive"
    (tmp_path / "worker.py").write_text(WORKER + page.replace("/tmp/worker-alive", str(alive)), encoding="utf-8")  # noqa: S108  the page's
    celery = [PYTHON, "-m", "celery", "-A", "worker"]
    with redis_broker() as broker:
        env = {"BROKER": broker.url(), "PYTHONPATH": str(tmp_path)}
        with Process([*celery, "worker", "-c", "1", "-n", "w@here"], folder=tmp_path, env=env, stop_within=30):
            wait_until(alive.exists, within=60, what="the file")
            first = alive.stat().st_mtime_ns
            wait_until(lambda: alive.stat().st_mtime_ns > first, within=60, what="the next heartbeat")
            asked = run([*celery, "inspect", "ping", "-d", "w@here", "-t", "30"], folder=tmp_path, env=env, name="ping")
            assert asked.returncode == 0, asked.tail()
            (command,) = (yaml.safe_load(block) for block in code("yaml") if "worker-alive" in block)
            shell = command["livenessProbe"]["exec"]["command"]
            looked = run([part.replace("/tmp/worker-alive", str(alive)) for part in shell], folder=tmp_path, name="sh")  # noqa: S108  the same
            assert looked.returncode == 0
            alive.unlink()
            looked = run([part.replace("/tmp/worker-alive", str(alive)) for part in shell], folder=tmp_path, name="sh")  # noqa: S108  the same
            # The worker may have touched it again by now.
            assert looked.returncode == 1 or alive.exists()
