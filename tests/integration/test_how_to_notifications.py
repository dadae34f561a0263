"""The pages about notifications and the status page: their own lines, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from otelkit.ops.mixin import alertmanager, reading
from otelkit.ops.mixin.parameters import Notify
from support import lanes
from support.processes import HOST, PYTHON, Process, free_port, http_get, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
NOTIFICATIONS = (ROOT / "docs/how-to/notifications.md").read_text(encoding="utf-8")
STATUS = (ROOT / "docs/how-to/status-page.md").read_text(encoding="utf-8")
LANE = "notifications"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_every_receiver_has_its_row_with_its_secret() -> None:
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| `([a-z-]+)`", NOTIFICATIONS, re.MULTILINE)
    assert rows == [channel.file for channel in alertmanager.ALL.values()]


def test_what_is_chosen_can_be_read() -> None:
    (text,) = blocks(NOTIFICATIONS, "toml")
    assert reading.read(text, name="parameters.toml").notify == Notify(
        smarthost="smtp.example.org:587",
        sender="alerts@example.org",
        to="team@example.org",
        user="alerts@example.org",
    )


def test_the_dead_mans_switch_is_the_one_that_is_rendered() -> None:
    (text,) = blocks(NOTIFICATIONS, "yaml")
    shown = yaml.safe_load(text)
    rendered = yaml.safe_load((ROOT / alertmanager.CONFIGURATION).read_text(encoding="utf-8"))
    assert shown["route"]["routes"] == [r for r in rendered["route"]["routes"] if r["receiver"] == "deadman"]
    ways = yaml.safe_load((ROOT / alertmanager.RECEIVERS).read_text(encoding="utf-8"))
    assert shown["receivers"] == [{"name": "deadman", **ways["deadman"]}]


def test_the_lines_that_test_a_receiver_post_an_alert_and_tell_whom_it_goes_to(tmp_path: Path) -> None:
    if absent := [name for name in ("amtool", "alertmanager") if shutil.which(name) is None]:
        lanes.skipped(LANE, missing := f"not on PATH: {', '.join(absent)}")
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    (text,) = (block for block in blocks(NOTIFICATIONS, "console") if "alert add" in block)
    add, routes = re.findall(r"^\$ (.*?)$(?!\n {4})", text, re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "deploy/alertmanager", tmp_path / "deploy/alertmanager")
    told = run(["bash", "-c", routes], folder=tmp_path, name="routes")
    assert told.stdout.strip() == "webhook,pager,chat"
    url = f"http://{HOST}:{free_port()}"
    words = ["--config.file=deploy/alertmanager/alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="]
    words.append(f"--web.listen-address={url.removeprefix('http://')}")
    with Process(["alertmanager", *words], folder=tmp_path) as process:
        process.wait_http(f"{url}/-/ready", within=60)
        posted = run(["bash", "-c", add.replace("http://localhost:9093", url)], folder=tmp_path, name="add")
        assert (posted.returncode, posted.stderr) == (0, "")
        (alert,) = json.loads(http_get(f"{url}/api/v2/alerts").body)
    assert alert["labels"] == {"alertname": "Test", "severity": "critical", "service_name": "test"}
    assert alert["annotations"] == {"summary": "a test: stay in bed"}


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        (
            {
                "min(probe_success)": "1",
                "avg(avg_over_time(probe_success[1d]))": "0.9987",
                "avg(avg_over_time(probe_success[7d]))": "1",
                "avg(probe_duration_seconds)": "0.1234",
            },
            ["yes", "99.87%", "100.00%", "0.12 s"],
        ),
        ({"min(probe_success)": "0"}, ["no", "unknown", "unknown", "unknown"]),
    ],
)
def test_the_static_page_says_what_prometheus_answers(
    answers: Mapping[str, str], shown: list[str], tmp_path: Path
) -> None:
    (code,) = blocks(STATUS, "python")
    (tmp_path / "status.py").write_text(code, encoding="utf-8")
    with _prometheus(answers) as url:
        done = subprocess.run(
            [PYTHON, "status.py", url], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"<dd>(.*)", done.stdout) == shown


@contextmanager
def _prometheus(answers: Mapping[str, str]) -> Iterator[str]:
    """Answer queries as Prometheus does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (query,) = parse_qs(urlsplit(self.path).query)["query"]
            result = [{"metric": {}, "value": [0, answers[query]]}] if query in answers else []
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
