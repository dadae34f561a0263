"""The tutorial's own code, run as it stands on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support.processes import PYTHON, Process, free_port, http_get

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def blocks() -> list[str]:
    """Return the page's Python, in order: the service, the receiver."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    service, receiver = blocks()
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
