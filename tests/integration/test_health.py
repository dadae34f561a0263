"""Health asked over the network while things go wrong: real servers, probes that hang, SIGTERM; and what it leaves."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
UVICORN_WORKER = (
    "uvicorn.workers.UvicornWorker" if importlib.util.find_spec("uvicorn.workers") else "uvicorn_worker.UvicornWorker"
)
BIND = ("--bind", f"{HOST}:{{port}}", "--access-logfile", "-")
SERVERS = {
    "uvicorn": ("uvicorn", "{app}", "--port", "{port}"),
    "uvicorn on asyncio without lifespan": (
        *("uvicorn", "{app}", "--port", "{port}"),
        *("--loop", "asyncio", "--lifespan", "off"),
    ),
    "uvicorn workers": ("uvicorn", "{app}", "--port", "{port}", "--workers", "2"),
    "gunicorn asgi": ("gunicorn", "{app}", "-w", "2", "-k", "asgi", *BIND),
    "gunicorn asgi on asyncio": ("gunicorn", "{app}", "-w", "1", "-k", "asgi", "--asgi-loop", "asyncio", *BIND),
    "gunicorn uvicorn": ("gunicorn", "{app}", "-w", "2", "-k", UVICORN_WORKER, "--preload", *BIND),
    "hypercorn": ("hypercorn", "{app}", "-w", "0", *BIND),  # with workers it tells them to stop by no signal
}
STARTED = {"uvicorn": "Started server process", "gunicorn": "ASGI server listening", "hypercorn": "Running on"}
DIES_BY_SIGNAL = {"uvicorn", "uvicorn on asyncio without lifespan"}
DRAIN = 4
"""Seconds of draining; nobody asserts how long it took."""

PATHS = ("/health", "/health/ready", "/health/detailed", "/livez", "/readyz")
CANARY = "hunter2-canary"


class Service(NamedTuple):
    """A running service with health."""

    process: Process
    receiver: Receiver
    folder: Path
    url: str

    def get(self, path: str) -> int:
        return http_get(self.url + path, timeout=30).status

    def told(self, path: str) -> dict[str, Any]:
        """Return what a path of health says."""
        told: dict[str, Any] = json.loads(http_get(self.url + path, timeout=30).body)
        return told

    def wait_passed(self, path: str) -> None:
        """Wait until a path of health says yes."""
        wait_until(lambda: self.get(path) == 200, within=30, what=f"200 at {path}")

    def wait_ready(self, reason: str = "") -> None:
        """Wait until it is ready, or not ready for a reason."""
        what = f"not ready: {reason}" if reason else "ready"
        wait_until(lambda: self.told("/health/ready").get("reason", "") == reason, within=30, what=what)


@contextmanager
def service(
    folder: Path, server: str = "uvicorn", app: str = "healthy:inside", *, drain: float = 0, zero_code: bool = False
) -> Iterator[Service]:
    """Serve until the end of the block, or until it has ended by itself."""
    port = free_port()
    program, *arguments = [part.format(app=app, port=port) for part in SERVERS[server]]
    workers = 2 if {"2"} & set(arguments) else 1
    started = STARTED["uvicorn" if UVICORN_WORKER in arguments else program]
    launcher = [BIN / "opentelemetry-instrument"] if zero_code else []
    with Receiver() as receiver:
        env = {
            "HEALTHY_ZERO_CODE": "1" if zero_code else None,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "HEALTHY_FOLDER": str(folder),
            "HEALTHY_DRAIN": str(drain),
            "PYTHONPATH": str(APPS),
            "PYTHONUNBUFFERED": "1",
        }
        with Process([*launcher, BIN / program, *arguments], folder=folder, env=env, stop_within=30) as process:
            running = Service(process, receiver, folder, f"http://{HOST}:{port}")
            process.wait_http(f"{running.url}/health", within=60)
            wait_until(
                lambda: (process.stdout + process.stderr).count(started) >= workers, within=60, what="all workers serve"
            )
            running.wait_ready()
            yield running


def changes(running: Service, check: str) -> list[tuple[Any, Any]]:
    """Return the changes of one check that arrived as events."""
    return [
        (record.attributes["otelkit.health.from"], record.attributes["otelkit.health.to"])
        for record in running.receiver.logs()
        if record.body == "health.changed" and record.attributes["otelkit.health.check"] == check
    ]


def statuses(running: Service) -> dict[tuple[Any, Any], float | None]:
    """Return the last exported status by check and criticality."""
    return {
        (point.attributes["otelkit.health.check"], point.attributes["otelkit.health.critical"]): point.value
        for point in running.receiver.points()
        if point.metric == "otelkit.health.check.status"
    }


@pytest.mark.parametrize(
    ("server", "app"), [(server, "healthy:inside") for server in SERVERS] + [("uvicorn", "healthy:outside")]
)
def test_sigterm_with_drain_is_unready_at_once_and_serves_on_before_the_server_ends(
    server: str, app: str, tmp_path: Path
) -> None:
    with service(tmp_path, server, app, drain=DRAIN) as running:
        answered = sum(running.get(f"/work/{number}") == 200 for number in range(20))
        running.process.signal(signal.SIGTERM)
        running.wait_ready("draining")
        assert running.get("/health") == 200
        answered += sum(running.get(f"/work/{number}") == 200 for number in range(20, 40))
        code = running.process.wait(within=30)
        assert answered == 40
        assert code == (-signal.SIGTERM if server in DIES_BY_SIGNAL else 0)
        routes = {span.attributes["url.path"] for span in running.receiver.spans() if "url.path" in span.attributes}
        assert routes == {f"/work/{number}" for number in range(40)}
        assert {record.body for record in running.receiver.logs()} >= {f"worked on {number}" for number in range(40)}


def test_sigterm_again_changes_nothing_and_sigint_ends_the_drain(tmp_path: Path) -> None:
    with service(tmp_path, drain=600) as running:
        running.process.signal(signal.SIGTERM)
        running.wait_ready("draining")
        running.process.signal(signal.SIGTERM)
        assert running.get("/work/1") == 200
        running.wait_ready("draining")
        running.process.signal(signal.SIGINT)
        running.process.wait(within=30)


def test_sigterm_without_drain_is_the_servers_alone(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.process.signal(signal.SIGTERM)
        assert running.process.wait(within=30) == -signal.SIGTERM
        assert "health.draining" not in running.process.stdout


def test_deadline_for_the_last_telemetry_begins_after_the_drain(tmp_path: Path) -> None:
    longer = 7  # than the 5 s that the end may take
    with service(tmp_path, drain=longer, zero_code=True) as running:
        running.process.signal(signal.SIGTERM)
        running.wait_ready("draining")
        answered = set()
        with contextlib.suppress(OSError):
            for number in range(1_000_000):
                if running.get(f"/work/{number}") == 200:
                    answered.add(f"/work/{number}")
                time.sleep(0.02)
        running.process.wait(within=30)
        told = {span.attributes["url.path"] for span in running.receiver.spans() if "url.path" in span.attributes}
        assert answered
        assert told >= answered


@pytest.mark.parametrize("zero_code", [False, True], ids=["explicit", "zero-code"])
@pytest.mark.parametrize(
    ("server", "app"),
    [
        ("uvicorn", "healthy:inside"),
        ("uvicorn", "healthy:outside"),
        ("gunicorn asgi", "healthy:inside"),
        ("gunicorn uvicorn", "healthy:inside"),
        ("hypercorn", "healthy:inside"),
    ],
)
def test_health_leaves_no_telemetry(server: str, app: str, *, zero_code: bool, tmp_path: Path) -> None:
    with service(tmp_path, server, app, zero_code=zero_code) as running:
        for path in PATHS:  # of several workers one may be ready before the other
            running.wait_passed(path)
        assert http_get(f"{running.url}/health", method="HEAD").status == 200
        assert http_get(f"{running.url}/health/ready", method="POST").status == 405
        assert running.get("/health/") == 404  # not ours: no redirect, and with telemetry
        assert running.get("/work/1") == 200
        running.process.stop()
        paths = {span.attributes["url.path"] for span in running.receiver.spans() if "url.path" in span.attributes}
        assert paths == {"/health/", "/work/1"}
        measured = {
            point.attributes.get("http.route")
            for point in running.receiver.points()
            if point.metric.startswith("http.server.") and point.metric != "http.server.active_requests"
        }
        assert measured == {"/work/{number}", None}
        (unrouted,) = {
            point.count
            for point in running.receiver.points()
            if point.metric == "http.server.request.duration" and "http.route" not in point.attributes
        }
        assert unrouted == 1
        access = [record for record in running.receiver.logs() if record.body == "http.request.completed"]
        assert sorted(str(record.attributes["url.path"]) for record in access) == ["/health/", "/work/1"]
        lines = [*running.process.stdout.splitlines(), *running.process.stderr.splitlines()]
        lines += [str(record.body) for record in running.receiver.logs()]
        assert [line for line in lines for path in PATHS for after in (" ", '"') if path + after in line] == []


def test_probe_that_hangs_fails_its_check_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        (tmp_path / "hang").touch()
        running.wait_ready("checks")
        assert running.get("/health") == 200
        assert running.get("/work/1") == 200
        wait_until(
            lambda: "hangs" in running.told("/health/detailed")["checks"]["backend"]["reason"],
            within=30,
            what="the next refresh finds it hanging",
        )
        wait_until(lambda: statuses(running).get(("backend", "true")) == 0, within=30, what="exported as 0")
        (tmp_path / "hang").unlink()
        running.wait_ready()
        wait_until(lambda: statuses(running).get(("backend", "true")) == 1, within=30, what="exported as 1")
        wait_until(
            lambda: changes(running, "backend") == [("pass", "fail"), ("fail", "pass")],
            within=30,
            what="both changes arrived, each once",
        )
    assert ("extra", "false") in statuses(running)


def test_process_ends_while_a_probe_hangs(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        (tmp_path / "hang").touch()
        running.wait_ready("checks")
        running.process.signal(signal.SIGTERM)
        assert running.process.wait(within=30) == -signal.SIGTERM


def test_reason_of_a_failure_is_told_without_its_secret(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        (tmp_path / "fail").touch()
        running.wait_ready("checks")
        answer = http_get(f"{running.url}/health/detailed")
        assert answer.status == 503
        reason = json.loads(answer.body)["checks"]["backend"]["reason"]
        assert reason.startswith("ConnectionError: no route to postgresql://")
        wait_until(lambda: changes(running, "backend"), within=30, what="the change arrived")
        everything = f"{answer.body!r} {running.receiver.logs()} {running.process.stdout} {running.process.stderr}"
        assert CANARY not in everything


def test_check_that_is_not_critical_is_told_and_does_not_decide(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        (tmp_path / "fail-extra").touch()
        wait_until(lambda: running.told("/health/detailed")["status"] == "warn", within=30, what="a warning")
        assert running.get("/health/ready") == 200
        assert running.get("/health/detailed") == 200
        wait_until(lambda: statuses(running).get(("extra", "false")) == 0, within=30, what="exported as 0")


def test_each_worker_of_a_preloaded_application_probes_and_its_parent_does_not(tmp_path: Path) -> None:
    with service(tmp_path, "gunicorn uvicorn") as running:
        wait_until(lambda: len(list(tmp_path.glob("probed-by-*"))) == 2, within=30, what="two processes probe")
        probing = {path.name.removeprefix("probed-by-") for path in tmp_path.glob("probed-by-*")}
        assert str(running.process.pid) not in probing
        wait_until(
            lambda: (
                {
                    point.resource["process.pid"]
                    for point in running.receiver.points()
                    if point.metric == "otelkit.health.check.status"
                }
                == {int(pid) for pid in probing}
            ),
            within=30,
            what="each of them exports its results",
        )
