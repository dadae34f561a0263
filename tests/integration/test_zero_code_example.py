"""The only place that tests examples/zero_code: observed under both launchers, without knowing of telemetry."""

from __future__ import annotations

import ast
import json
import os
import urllib.request
from pathlib import Path

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, wait_until

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "zero_code"
BIN = Path(PYTHON).parent

LAUNCHERS: dict[str, list[str | Path]] = {
    "opentelemetry-instrument": [BIN / "opentelemetry-instrument"],
    "otelkit run": [BIN / "otelkit", "run", "--"],
}


def test_the_example_knows_nothing_of_telemetry() -> None:
    tree = ast.parse((FOLDER / "app.py").read_text(encoding="utf-8"))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} & {"otelkit", "opentelemetry", "structlog"} == set()


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_both_launchers_tell_its_story(tmp_path: Path, launcher: str) -> None:
    port = free_port()
    with Receiver() as receiver:
        env = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # as in an activated environment
            "OTEL_SERVICE_NAME": "zero-code",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "PAYMENT_URL": f"http://{HOST}:{port}",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }
        command = [*LAUNCHERS[launcher], "uvicorn", "app:app", "--app-dir", FOLDER, "--port", str(port)]
        with Process(command, folder=tmp_path, env=env) as server:
            server.wait_http(f"http://{HOST}:{port}/openapi.json", within=40)
            trace_id = order(port)
            assert receiver.wait_for(
                lambda: len(receiver.traces().get(trace_id, [])) >= 4 and told(receiver, trace_id), timeout=10
            ), server.tail()
            assert receiver.wait_for(lambda: {"/orders", "/charges"} <= measured_routes(receiver), timeout=10)
            wait_until(lambda: "sold 2 of teapot" in server.stdout, within=5, what="the line on stdout")

        spans = {(span.name, span.kind): span for span in receiver.traces()[trace_id]}
        request, call = spans["POST /orders", "SERVER"], spans["POST", "CLIENT"]
        charge, statement = spans["POST /charges", "SERVER"], spans["UPDATE products", "CLIENT"]
        assert len(receiver.traces()[trace_id]) == 4
        assert request.parent_span_id == ""
        assert call.parent_span_id == statement.parent_span_id == request.span_id
        assert charge.parent_span_id == call.span_id
        assert request.service == "zero-code"

        line = next(
            json.loads(line) for line in server.stdout.splitlines() if json.loads(line)["event"] == "sold 2 of teapot"
        )
        assert (line["trace_id"], line["span_id"]) == (trace_id, request.span_id)
        assert "sold 2 of teapot" in told(receiver, trace_id)
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


def told(receiver: Receiver, trace_id: str) -> list[object]:
    return [record.body for record in receiver.logs() if record.trace_id == trace_id]


def measured_routes(receiver: Receiver) -> set[object]:
    return {
        point.attributes["http.route"] for point in receiver.points() if point.metric == "http.server.request.duration"
    }
