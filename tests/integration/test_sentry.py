"""Sentry's SDK in the same process, with a server that stands for Sentry's: what docs/how-to/sentry.md says is so."""

from __future__ import annotations

import gzip
import json
import re
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelkit.otlp.model import Span

pytestmark = pytest.mark.skipif(find_spec("sentry_sdk") is None, reason="sentry-sdk is not installed")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "sentry.md"
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
CANARY = "hunter2-canary"
DECODERS: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}

OURS = "import otelkit\notelkit.configure()\n"
ERRORS = "import sentry_sdk\nsentry_sdk.init(dsn=dsn)\n"
TRACING = "import sentry_sdk\nsentry_sdk.init(dsn=dsn, traces_sample_rate=1.0)\n"
EXPORTING = """
import sentry_sdk
from sentry_sdk.integrations.otlp import OTLPIntegration
sentry_sdk.init(dsn=dsn, integrations=[OTLPIntegration()])
"""
SERVICE = """
import logging, os
dsn = os.environ["DSN"]
{setup}
import httpx
from fastapi import FastAPI
from opentelemetry import trace

app = FastAPI()

@app.get("/fail")
async def fail():
    raise ZeroDivisionError("no")

@app.get("/log")
async def log():
    logging.getLogger("app").error("could not charge")

@app.get("/call")
async def call():
    trace.get_current_span().set_attribute("note", "postgresql://shop:hunter2-canary@db/shop")
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(os.environ["DOWNSTREAM"])).json()
"""


class Running(NamedTuple):
    """A service with both SDKs.

    Args:
        url: Its address.
        process: The server.
        receiver: Takes what otelkit sends.
        sentry: What came where Sentry should be, decoded: type or path, and content.
    """

    url: str
    process: Process
    receiver: Receiver
    sentry: list[tuple[str, Any]]

    def get(self, path: str) -> dict[str, str]:
        """Ask as one that has a trace; return what was answered."""
        answer = http_get(self.url + path, headers={"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}, timeout=30)
        told: dict[str, str] = json.loads(answer.body) if answer.status == 200 and path == "/call" else {}
        return told

    def of(self, kind: str) -> list[Any]:
        """Return what Sentry was told of a kind."""
        return [content for name, content in list(self.sentry) if name == kind]

    def event(self) -> dict[str, Any]:
        """Wait for an event, end the service, and return the only one that came."""
        wait_until(lambda: self.of("event"), within=30, what="an event at Sentry")
        self.process.stop()
        (event,) = self.of("event")
        told: dict[str, Any] = event
        return told

    def server_spans(self) -> list[Span]:
        """Return the server spans that have arrived."""
        return [span for span in self.receiver.spans() if span.kind == "SERVER" and span.name != "GET"]


def decoded(body: bytes) -> Iterator[tuple[str, Any]]:
    """Take an envelope apart: a header line, then a header and a payload for each item."""
    lines = iter(body.split(b"\n")[1:])
    for header in filter(None, lines):
        yield json.loads(header)["type"], json.loads(next(lines))


@contextmanager
def listening(taken: list[tuple[str, Any]]) -> Iterator[str]:
    """Keep what is posted, and tell who gets which headers reached us."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if (coding := self.headers.get("content-encoding")) in DECODERS:
                body = DECODERS[coding](body)
            taken.extend(decoded(body) if self.path.endswith("/envelope/") else [(self.path, body)])
            self.answer({})

        def do_GET(self) -> None:
            self.answer({name.lower(): value for name, value in self.headers.items()})

        def answer(self, told: dict[str, str]) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def service(folder: Path, setup: str, *, zero_code: bool = False) -> Iterator[Running]:
    """Serve the application with what sets the two SDKs up."""
    (folder / "service.py").write_text(SERVICE.format(setup=setup), encoding="utf-8")
    port = free_port()
    taken: list[tuple[str, Any]] = []
    launcher = [Path(PYTHON).parent / "opentelemetry-instrument"] if zero_code else []
    # Two servers: Sentry's SDK sends no headers of its own to where its events go.
    with Receiver() as receiver, listening(taken) as sentry, listening([]) as downstream:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "DSN": f"http://key@{sentry}/1",
            "DOWNSTREAM": f"http://{downstream}/",
            "PYTHONPATH": str(folder),
        }
        argv: list[str | Path] = [*launcher, PYTHON, "-m", "uvicorn", "service:app", "--port", str(port)]
        with Process(argv, folder=folder, env=env, stop_within=30) as process:
            running = Running(f"http://{HOST}:{port}", process, receiver, taken)
            process.wait_http(f"{running.url}/none", within=60)
            yield running


def of_the_page(*, zero_code: bool) -> str:
    """Return the code that the page tells to write."""
    code: str
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return code.replace("otelkit.configure()\n", "") if zero_code else code


@pytest.mark.parametrize("zero_code", [False, True], ids=["explicit", "zero-code"])
def test_code_of_the_page_tells_a_failure_once_under_the_trace_id_of_its_span(
    tmp_path: Path, *, zero_code: bool
) -> None:
    with service(tmp_path, of_the_page(zero_code=zero_code), zero_code=zero_code) as running:
        headers = running.get("/call")
        running.get("/fail")
        event = running.event()
        raised = event["exception"]["values"][-1]
        assert raised["type"] == "ZeroDivisionError"
        assert raised["mechanism"]["handled"] is False
        call, fail = running.server_spans()
        assert [call.name, fail.name] == ["GET /call", "GET /fail"]
        assert call.trace_id == fail.trace_id == CALLER
        assert event["contexts"]["trace"]["trace_id"] == CALLER
        assert event["contexts"]["trace"]["span_id"] == fail.span_id
        assert headers["traceparent"].split("-")[1] == CALLER
        assert not {"sentry-trace", "baggage"} & set(headers)
        assert running.of("transaction") == []
        assert [record.body for record in running.receiver.logs() if record.trace_id and "failed" in str(record.body)]


def test_error_that_is_logged_has_the_trace_id_too(tmp_path: Path) -> None:
    with service(tmp_path, of_the_page(zero_code=False)) as running:
        running.get("/log")
        event = running.event()
        assert event["logentry"]["formatted"] == "could not charge"
        assert event["contexts"]["trace"]["trace_id"] == CALLER


def test_without_the_integration_sentry_s_trace_id_is_its_own(tmp_path: Path) -> None:
    with service(tmp_path, OURS + ERRORS) as running:
        headers = running.get("/call")
        running.get("/fail")
        event = running.event()
        assert event["contexts"]["trace"]["trace_id"] != CALLER
        assert {"traceparent", "sentry-trace", "baggage"} <= set(headers)
        # Without `ignore_logger`.
        raised = event["exception"]["values"][-1]
        assert (raised["mechanism"]["type"], raised["mechanism"]["handled"]) == ("logging", True)


def test_tracing_of_sentry_tells_every_request_a_second_time(tmp_path: Path) -> None:
    with service(tmp_path, OURS + TRACING) as running:
        running.get("/call")
        wait_until(
            lambda: any(each["transaction"] == "/call" for each in running.of("transaction")), within=30, what="it"
        )
        running.process.stop()
        (transaction,) = [each for each in running.of("transaction") if each["transaction"] == "/call"]
        assert transaction["contexts"]["trace"]["trace_id"] != CALLER
        assert [span["op"] for span in transaction["spans"]] == ["http.client"]
        assert [(span.name, span.trace_id) for span in running.server_spans()] == [("GET /call", CALLER)]


@pytest.mark.parametrize(("setup", "provider"), [(OURS + EXPORTING, "ours"), (EXPORTING + OURS, "adopted")])
def test_otlp_integration_as_it_comes_replaces_the_propagators(setup: str, provider: str, tmp_path: Path) -> None:
    with service(tmp_path, setup) as running:
        headers = running.get("/call")
        running.process.stop()
        assert "sentry-trace" in headers
        assert "traceparent" not in headers
        (span,) = running.server_spans()
        assert span.trace_id != CALLER
        (started,) = [record for record in running.receiver.logs() if record.body == "otelkit.started"]
        assert str(started.attributes["providers"]["traces"]).startswith(provider)
        assert all(CANARY not in str(span.attributes) for span in running.receiver.spans())
        exported = [body for path, body in running.sentry if path.endswith("/v1/traces/")]
        if provider == "ours":
            assert exported
            assert all(CANARY.encode() not in body for body in exported)
