"""One service, launched in every way people launch it: the telemetry that a receiver decodes is the same."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import PYTHON, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent

ORDERS = 3
PATHS = ["/orders/7"] * ORDERS + ["/orders/5000", "/orders/many", "/nowhere/8231", "/broken"]
"""Requests of one round: three that succeed, a refusal, a validation failure, an unknown path, a crash."""

# Per process or per run, by their nature.
VARYING = {"service.instance.id", "process.pid", "server.port", "client.port", "network.peer.port", "host.id"}


@dataclass(frozen=True)
class Launch:
    """A way to start the service."""

    command: tuple[str, ...]
    app: str

    def argv(self, port: int) -> list[str]:
        program, *arguments = self.command
        arguments = [part.format(port=port, app=self.app) for part in arguments]
        return [program if program == PYTHON else str(BIN / program), *arguments]


UVICORN = ("uvicorn", "{app}", "--port", "{port}")
LAUNCHES = {
    "explicit": Launch(UVICORN, "explicit:app"),
    "launcher": Launch(("opentelemetry-instrument", *UVICORN), "orders:app"),
    "otelkit-run": Launch(("otelkit", "run", "--", *UVICORN), "orders:app"),
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(grpc_port=0) as running:
        yield running


def environment(receiver: Receiver, protocol: str = "http/protobuf") -> dict[str, str]:
    endpoint = receiver.http_url if protocol == "http/protobuf" else receiver.grpc_endpoint
    return {
        "OTEL_SERVICE_NAME": "orders",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONPATH": str(APPS),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),  # as in an activated environment
        "PYTHONUNBUFFERED": "1",
    }


def place_orders(port: int, paths: Sequence[str] = PATHS) -> list[int]:
    """Make the requests, one after the other, and return their status codes."""
    statuses = []
    for path in paths:
        method = "POST" if path.startswith("/orders") else "GET"
        statuses.append(http_get(f"http://127.0.0.1:{port}{path}", method=method).status)
    return statuses


def server_spans(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans() if span.kind == "SERVER" and "/ready" not in span.name]


def counted(receiver: Receiver) -> int:
    """Requests in the duration histogram, over all processes, without the readiness probe."""
    newest: dict[object, int] = {}
    for point in receiver.points():
        if point.metric == "http.server.request.duration" and point.attributes.get("http.route") != "/ready":
            key = (point.resource["service.instance.id"], tuple(sorted(point.attributes.items())))
            newest[key] = point.count
    return sum(newest.values())


def told(receiver: Receiver) -> dict[str, object]:
    """Reduce what arrived to what must not depend on the launch: names, kinds, parents, attributes, units, counts."""
    names = {span.span_id: span.name for span in receiver.spans()}

    def attributes(item: dict[str, object]) -> tuple[tuple[str, str], ...]:
        # Ids, times and sizes of messages differ between runs; that they are there must not.
        return tuple(
            sorted(
                (key, type(value).__name__ if key in VARYING | {"duration", "request_id"} else str(value))
                for key, value in item.items()
                if key not in {"exception.stacktrace", "code.line.number", "thread.id"}
            )
        )

    spans = [span for span in receiver.spans() if "/ready" not in span.name]
    points = [point for point in receiver.points() if point.attributes.get("http.route") != "/ready"]
    logs = [record for record in receiver.logs() if record.attributes.get("http.route") != "/ready"]
    return {
        "spans": Counter(
            (
                span.name,
                span.kind,
                span.status,
                span.scope.name,
                names.get(span.parent_span_id),
                attributes(span.attributes),
            )
            for span in spans
        ),
        "metrics": {
            (point.metric, point.kind, point.unit, point.scope.name, attributes(point.attributes)) for point in points
        },
        "logs": Counter(
            (
                record.body,
                record.severity_text,
                bool(record.trace_id),
                tuple(key for key, _ in attributes(record.attributes)),
            )
            for record in logs
            if record.body != "otelkit.started" and not record.scope.name.startswith(("uvicorn", "asyncio"))
        ),
        "resource": {
            tuple(sorted(key for key in item.resource if key != "process.command")) for item in [*spans, *points, *logs]
        },
        "started": [record.attributes["verdicts"] for record in receiver.logs() if record.body == "otelkit.started"],
    }


def run_round(launch: Launch, tmp_path: Path, receiver: Receiver, protocol: str) -> dict[str, object]:
    port = free_port()
    env = environment(receiver, protocol)
    with Process(launch.argv(port), folder=tmp_path, env=env, name=launch.command[0].rpartition("/")[2]) as server:
        server.wait_http(f"http://127.0.0.1:{port}/ready", within=60)
        assert place_orders(port) == [200] * ORDERS + [402, 422, 404, 500]
        wait_until(
            lambda: len(server_spans(receiver)) == len(PATHS), within=30, what=f"spans: {server_spans(receiver)}"
        )
        wait_until(lambda: counted(receiver) == len(PATHS), within=30, what=f"points: {counted(receiver)}")
        printed = {
            event["request_id"] for event in map(json.loads, server.stdout.splitlines()) if "request_id" in event
        }

        def exported() -> set[object]:
            return {record.attributes.get("request_id") for record in receiver.logs()} - {None}

        wait_until(
            lambda: exported() == printed, within=30, what=f"{len(exported())} of {len(printed)} requests logged"
        )
        assert server.stderr == ""
    return told(receiver)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_every_launch_tells_the_same(tmp_path: Path, protocol: str) -> None:
    stories = {}
    for name, launch in LAUNCHES.items():
        (tmp_path / name).mkdir()
        with Receiver(grpc_port=0) as receiver:
            stories[name] = run_round(launch, tmp_path / name, receiver, protocol)
    assert stories["launcher"] == stories["explicit"]
    assert stories["otelkit-run"] == stories["explicit"]
    assert stories["explicit"]["spans"], "nothing was compared"


SERVERS = {
    "uvicorn --workers": ("uvicorn", "{app}", "--port", "{port}", "--workers", "2"),
    "uvicorn --reload": ("uvicorn", "{app}", "--port", "{port}", "--reload"),
    "gunicorn uvicorn worker": (
        "gunicorn",
        "{app}",
        "-w",
        "2",
        "-k",
        "uvicorn.workers.UvicornWorker",
        "-b",
        "127.0.0.1:{port}",
    ),
    "gunicorn asgi": ("gunicorn", "{app}", "-w", "2", "-k", "asgi", "-b", "127.0.0.1:{port}"),
    "gunicorn asgi --preload": ("gunicorn", "{app}", "-w", "2", "-k", "asgi", "--preload", "-b", "127.0.0.1:{port}"),
}


@pytest.mark.parametrize("mode", ["explicit", "launcher"])
@pytest.mark.parametrize("server_name", SERVERS)
def test_servers(tmp_path: Path, receiver: Receiver, server_name: str, mode: str) -> None:
    command = SERVERS[server_name]
    launch = Launch(command if mode == "explicit" else ("opentelemetry-instrument", *command), LAUNCHES[mode].app)
    port = free_port()
    with Process(launch.argv(port), folder=tmp_path, env=environment(receiver)) as server:
        server.wait_http(f"http://127.0.0.1:{port}/ready", within=60)
        # One order per process may find no table: each worker has a database of its own, made at its start.
        statuses = place_orders(port, ["/orders/7"] * 10)
        assert statuses == [200] * 10
        wait_until(lambda: len(server_spans(receiver)) == 10, within=30, what="ten server spans")
        wait_until(lambda: counted(receiver) == 10, within=30, what="ten requests in the histogram")
        statements = [span for span in receiver.spans() if span.kind == "CLIENT" and span.parent_span_id]
        assert len(statements) == 20
        assert all(
            span.name == "POST /orders/{amount}"
            for span in receiver.spans()
            if span.kind == "SERVER" and "/ready" not in span.name
        )


def test_a_script_needs_no_change_and_keeps_its_arguments(tmp_path: Path, receiver: Receiver) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import logging, sys\n"
        "from opentelemetry import trace\n"
        "with trace.get_tracer('script').start_as_current_span('work'):\n"
        "    logging.getLogger('script').warning('arguments %s', sys.argv[1:])\n"
    )
    arguments = ["--config", "x y", "--", "--service_name", "-v"]
    argv = [str(BIN / "otelkit"), "run", "--", PYTHON, str(script), *arguments]
    with Process(argv, folder=tmp_path, env=environment(receiver)) as process:
        assert process.wait() == 0, process.tail()
    assert [span.name for span in receiver.spans()] == ["work"]
    record = next(record for record in receiver.logs() if record.scope.name == "script")
    assert record.body == f"arguments {arguments}"
    assert record.trace_id == receiver.spans()[0].trace_id


def test_the_process_that_multiprocessing_cleans_up_with_has_no_telemetry(tmp_path: Path, receiver: Receiver) -> None:
    script = tmp_path / "spawning.py"
    script.write_text(
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    semaphore = context.Semaphore()\n"  # starts the resource tracker
        "    child = context.Process(target=print, args=('child',))\n"
        "    child.start(), child.join()\n"
    )
    argv = [str(BIN / "opentelemetry-instrument"), PYTHON, str(script)]
    with Process(argv, folder=tmp_path, env=environment(receiver)) as process:
        assert process.wait() == 0, process.tail()
    instances = [record for record in receiver.logs() if record.body == "otelkit.started"]
    assert len(instances) == 2, "the program and its child"


@pytest.mark.skipif(
    "TEST_OTHER_DISTRO" not in os.environ,
    reason="TEST_OTHER_DISTRO names no folder with opentelemetry-distro (`nox -s integration` makes one)",
)
class TestBesideAnotherDistro:
    """opentelemetry-distro lies earlier on the path, so that the plain launcher finds it first."""

    @pytest.fixture
    def env(self, receiver: Receiver) -> dict[str, str]:
        found = environment(receiver)
        return found | {"PYTHONPATH": os.pathsep.join([os.environ["TEST_OTHER_DISTRO"], found["PYTHONPATH"]])}

    def test_the_plain_launcher_s_user_is_told(self, tmp_path: Path, env: dict[str, str]) -> None:
        argv = [str(BIN / "opentelemetry-instrument"), PYTHON, "-c", "print('ran')"]
        # Nothing of the other distro's exporters: its exit would take half a minute.
        off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
        with Process(argv, folder=tmp_path, env=env | off) as process:
            assert process.wait() == 0
        assert process.stdout == "ran\n"
        assert process.stderr.count("otelkit run -- COMMAND") == 1

    def test_otelkit_run_is_in_charge(self, tmp_path: Path, env: dict[str, str], receiver: Receiver) -> None:
        program = "from opentelemetry import trace; trace.get_tracer('t').start_span('ours').end(); print('ran')"
        argv = [str(BIN / "otelkit"), "run", "--", PYTHON, "-c", program]
        with Process(argv, folder=tmp_path, env=env) as process:
            assert process.wait() == 0
        assert process.stderr == ""
        assert process.stdout.splitlines()[-1] == "ran"
        assert [span.resource["telemetry.distro.name"] for span in receiver.spans()] == ["otelkit"]


def test_run_names_a_missing_program(tmp_path: Path) -> None:
    with Process([BIN / "otelkit", "run", "--", "no-such-program"], folder=tmp_path) as process:
        assert process.wait() == 127
    assert process.stderr == "otelkit: run: there is no program 'no-such-program' on PATH\n"


def test_run_rescues_a_program_from_a_misspelt_propagator(tmp_path: Path, receiver: Receiver) -> None:
    env = environment(receiver) | {"OTEL_PROPAGATORS": "tracecontxt"}
    code = "import opentelemetry.propagate; print('ran')"
    argv: list[str | Path] = [BIN / "otelkit", "run", "--", PYTHON, "-c", code]
    with Process(argv, folder=tmp_path, env=env) as process:
        assert process.wait() == 0, process.tail()
    assert process.stderr.count("\n") == 1
    assert "OTEL_PROPAGATORS" in process.stderr


def test_nothing_listening_is_said_once_and_slows_nothing_down(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "PYTHONPATH": str(APPS)}
    port = free_port()
    with Process(LAUNCHES["explicit"].argv(port), folder=tmp_path, env=env) as server:
        server.wait_http(f"http://127.0.0.1:{port}/ready", within=60)
        place_orders(port)
        server.wait_output("nothing answers at http://127.0.0.1", within=5)
        server.signal(signal.SIGTERM)
        server.wait(within=3)
    assert server.stderr.count("\n") == 1, server.stderr
