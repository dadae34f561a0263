"""The tutorial's own code, run as it stands on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support.processes import PYTHON, Process, free_port, http_get, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def blocks() -> list[str]:
    """Return the page's Python, in order: the service, the receiver, what is added to the service."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    service, receiver, _ = blocks()
    otlp, port = str(free_port()), free_port()
    (tmp_path / "app.py").write_text(service)
    (tmp_path / "receive.py").write_text(receiver.replace("4318", otlp))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}", "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
    uvicorn = [PYTHON, "-m", "uvicorn", "app:app", "--port", str(port)]
    with (
        Process([PYTHON, "receive.py"], folder=tmp_path, env=env, name="receive") as told,
        Process(uvicorn, folder=tmp_path, env=env, name="app") as app,
    ):
        told.wait_output("listening at")
        app.wait_http(f"http://127.0.0.1:{port}/openapi.json", within=60)
        answer = http_get(f"http://127.0.0.1:{port}/items/21")
        assert json.loads(answer.body) == {"answer": 42}
        for words in ("GET /items/{item_id}", "item.looked_up", "http.request.completed"):
            told.wait_output(words, within=30)
        lines = [json.loads(line) for line in app.stdout.splitlines()]
        # What the page says about the lines and the headers.
        assert lines[0]["event"] == "otelkit.started"
        assert lines[0]["verdicts"]["sqlalchemy"] == "ours"
        of_the_request = [line for line in lines if line.get("request_id") == answer.headers["x-request-id"]]
        assert [line["event"] for line in of_the_request] == ["item.looked_up", "http.request.completed"]
        assert {line["trace_id"] for line in of_the_request} == {answer.headers["traceresponse"].split("-")[1]}


def test_what_it_counts_and_whether_it_is_healthy_is_seen_without_a_back_end(tmp_path: Path) -> None:
    service, _, added = blocks()
    port, scraped = free_port(), free_port()
    (tmp_path / "app.py").write_text(f"{service}\n\n{added}")
    env = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    env["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(scraped)
    uvicorn = [PYTHON, "-m", "uvicorn", "app:app", "--port", str(port)]
    with Process(uvicorn, folder=tmp_path, env=env, name="app") as app:
        app.wait_http(f"http://127.0.0.1:{port}/openapi.json", within=60)
        wait_until(lambda: health(port) == {"status": "pass"}, within=30, what="ready")
        placed = http_get(f"http://127.0.0.1:{port}/orders/21", method="POST")
        assert json.loads(placed.body) == {"status": "placed"}
        metrics = http_get(f"http://127.0.0.1:{scraped}/metrics").body.decode()
        counted = dict(re.findall(r'^shop_orders_total\{.*shop_order_status="(\w+)".*\} (\S+)', metrics, re.MULTILINE))
        assert counted == {"placed": "1.0", "sold_out": "0.0"}
        assert "/health" not in app.stdout


def health(port: int) -> object:
    return json.loads(http_get(f"http://127.0.0.1:{port}/health/ready").body)
