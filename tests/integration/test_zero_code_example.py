"""The only place that tests examples/zero_code: observed under both launchers, without knowing of telemetry."""

from __future__ import annotations

import ast
import json
import os
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support import lanes, redis_server
from support.processes import HOST, PYTHON, Process, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.redis_server import RedisServer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "zero_code"
BIN = Path(PYTHON).parent
STARTS = 60.0  # seconds that a process may take to start on a loaded machine

LAUNCHERS: dict[str, list[str | Path]] = {
    "opentelemetry-instrument": [BIN / "opentelemetry-instrument"],
    "otelkit run": [BIN / "otelkit", "run", "--"],
}


@pytest.mark.parametrize("module", ["app.py", "packing.py"])
def test_the_example_knows_nothing_of_telemetry(module: str) -> None:
    tree = ast.parse((FOLDER / module).read_text(encoding="utf-8"))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} & {"otelkit", "opentelemetry", "structlog"} == set()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if (why := redis_server.missing()) is not None:
        lanes.skipped("celery-redis", why)
        pytest.skip(why)
    with redis_server.server() as running:
        yield running


def environment(receiver: Receiver, port: int) -> dict[str, str]:
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # as in an activated environment
        "OTEL_SERVICE_NAME": "zero-code",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "PAYMENT_URL": f"http://{HOST}:{port}",
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_both_launchers_tell_its_story(tmp_path: Path, launcher: str, redis: RedisServer) -> None:
    port = free_port()
    with Receiver() as receiver:
        env = environment(receiver, port) | {"BROKER_URL": redis.url(list(LAUNCHERS).index(launcher))}
        serve = [*LAUNCHERS[launcher], "uvicorn", "app:app", "--app-dir", FOLDER, "--port", str(port)]
        work = [*LAUNCHERS[launcher], "celery", "--workdir", FOLDER, "-A", "packing", "worker", "-c", "1", "-l", "INFO"]
        with (
            Process(work, folder=tmp_path, env=env | {"OTEL_SERVICE_NAME": "worker"}, name="worker") as worker,
            Process(serve, folder=tmp_path, env=env) as server,
        ):
            server.wait_http(f"http://{HOST}:{port}/openapi.json", within=STARTS)
            trace_id = order(port)
            wanted = {"sold 2 of teapot", "packed 2 of teapot"}
            assert receiver.wait_for(
                lambda: len(receiver.traces().get(trace_id, [])) >= 6 and wanted <= told(receiver, trace_id),
                timeout=STARTS,
            ), server.tail() + worker.tail()
            assert receiver.wait_for(lambda: {"/orders", "/charges"} <= measured_routes(receiver), timeout=10)
            assert receiver.wait_for(lambda: finished(receiver) == {("packing.pack", "success")}, timeout=10)
            wait_until(lambda: "sold 2 of teapot" in server.stdout, within=5, what="the line on stdout")

        spans = {(span.name, span.kind): span for span in receiver.traces()[trace_id]}
        request, call = spans["POST /orders", "SERVER"], spans["POST", "CLIENT"]
        charge, statement = spans["POST /charges", "SERVER"], spans["UPDATE products", "CLIENT"]
        publish, run = spans["apply_async/packing.pack", "PRODUCER"], spans["run/packing.pack", "CONSUMER"]
        assert len(receiver.traces()[trace_id]) == 6
        assert request.parent_span_id == ""
        assert call.parent_span_id == statement.parent_span_id == publish.parent_span_id == request.span_id
        assert charge.parent_span_id == call.span_id
        assert run.parent_span_id == publish.span_id
        assert (request.service, run.service) == ("zero-code", "worker")

        line = printed(server, "sold 2 of teapot")
        assert (line["trace_id"], line["span_id"]) == (trace_id, request.span_id)
        assert server.stderr == ""


def test_without_a_broker_the_service_runs_the_task_itself(tmp_path: Path) -> None:
    port = free_port()
    with Receiver() as receiver:
        serve = [*LAUNCHERS["otelkit run"], "uvicorn", "app:app", "--app-dir", FOLDER, "--port", str(port)]
        with Process(serve, folder=tmp_path, env=environment(receiver, port)) as server:
            server.wait_http(f"http://{HOST}:{port}/openapi.json", within=STARTS)
            trace_id = order(port)
            wait_until(lambda: "packed 2 of teapot" in server.stdout, within=5, what="the line on stdout")
        spans = {(span.name, span.kind): span for span in receiver.traces()[trace_id]}
        request, run = spans["POST /orders", "SERVER"], spans["run/packing.pack", "INTERNAL"]
        assert run.parent_span_id == request.span_id
        assert printed(server, "packed 2 of teapot")["span_id"] == run.span_id
        assert server.stderr == ""


def order(port: int) -> str:
    """Order two teapots and return the trace id of the answer."""
    wanted = urllib.request.Request(
        f"http://{HOST}:{port}/orders",
        data=json.dumps({"quantity": 2}).encode(),
        headers={"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(wanted, timeout=10) as answer:
        assert answer.status == 201
        return str(answer.headers["traceresponse"]).split("-")[1]


def printed(process: Process, event: str) -> dict[str, Any]:
    """Return the line of an event on stdout."""
    (line,) = [line for line in map(json.loads, process.stdout.splitlines()) if line["event"] == event]
    return dict(line)


def told(receiver: Receiver, trace_id: str) -> set[object]:
    return {record.body for record in receiver.logs() if record.trace_id == trace_id}


def measured_routes(receiver: Receiver) -> set[object]:
    return {
        point.attributes["http.route"] for point in receiver.points() if point.metric == "http.server.request.duration"
    }


def finished(receiver: Receiver) -> set[tuple[object, object]]:
    """Return the tasks that were counted, and how they ended."""
    return {
        (point.attributes["celery.task.name"], point.attributes["celery.task.state"])
        for point in receiver.points()
        if point.metric == "celery.task.executions" and point.value
    }
