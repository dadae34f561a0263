"""Real ASGI servers: no request inherits the context of another on its connection, and each thing is printed once."""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
WITHIN = 30.0

SERVERS = {
    "uvicorn h11": ("uvicorn", "{app}", "--port", "{port}", "--http", "h11"),
    "uvicorn httptools": ("uvicorn", "{app}", "--port", "{port}", "--http", "httptools"),
    "gunicorn asgi": ("gunicorn", "{app}", "-k", "asgi", "--bind", "127.0.0.1:{port}"),
    "hypercorn": ("hypercorn", "{app}", "--bind", "127.0.0.1:{port}"),
}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

ACCESS_LINE = re.compile(r'"GET /visit/\w+ HTTP/1\.1" 200')
"""What uvicorn prints for a request, by default."""


class Server:
    """A running service, and what it exported."""

    def __init__(self, process: Process, port: int, receiver: Receiver) -> None:
        self.process, self.port, self.receiver = process, port, receiver

    def spans(self, path: str = "") -> list[Any]:
        """Return its server spans, without the one that waited for it."""
        spans = [span for span in self.receiver.spans() if span.kind == "SERVER"]
        return [span for span in spans if path in span.attributes.get("url.path", path) and "first" not in str(span)]

    def printed(self, logger: str) -> list[dict[str, Any]]:
        """Return the JSON lines of one logger."""
        lines = (json.loads(line) for line in self.process.stdout.splitlines() if line.startswith("{"))
        return [line for line in lines if line["logger"] == logger and "first" not in str(line)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Start the service in each server."""
    port = free_port()
    command = [part.format(app="keeping:app", port=port) for part in SERVERS[request.param]]
    with Receiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "PYTHONPATH": os.pathsep.join([str(APPS)]),
        }
        with Process([PYTHON, "-m", *command], folder=tmp_path, env=environment) as process:
            process.wait_http(f"http://{HOST}:{port}/visit/first", within=60)
            yield Server(process, port, receiver)


class Connection:
    """One HTTP/1.1 connection, written and read by hand: no client of the standard library pipelines."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=WITHIN)
        self._file = self._socket.makefile("rb")

    def send(self, *requests: bytes) -> None:
        """Send all requests at once, without waiting for an answer."""
        self._socket.sendall(b"".join(requests))

    def read(self) -> tuple[dict[str, str], Any]:
        """Read one answer: its headers and its JSON."""
        assert b" 200 " in self._file.readline()
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if "content-length" in headers:
            return headers, json.loads(self._file.read(int(headers["content-length"])))
        body = b""
        while size := int(self._file.readline(), 16):  # chunked
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return headers, json.loads(body)

    def close(self) -> None:
        """Close."""
        self._file.close()
        self._socket.close()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: shop", *headers, "", ""]).encode()


def post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size


CLEAN = {"before": "nobody", "bound": ["request_id"], "startup": "kept", "precision": 7}


def check(server: Server, answers: list[tuple[dict[str, str], Any]], *, parents: dict[str, str]) -> None:
    """Compare what the requests found with what they should, and the server spans with the answers."""
    assert [{key: found[key] for key in CLEAN} for _, found in answers] == [CLEAN] * len(answers)
    wait_until(lambda: len(server.spans()) >= len(answers), within=WITHIN, what=f"{len(answers)} server spans")
    spans = {f"00-{span.trace_id}-{span.span_id}": span for span in server.spans()}
    told = [headers["traceresponse"].rpartition("-")[0] for headers, _ in answers]
    assert sorted(told) == sorted(spans)
    for span in spans.values():
        assert span.parent_span_id == parents.get(span.attributes["url.path"], "")
    alone = [span.trace_id for span in spans.values() if not span.parent_span_id]
    assert len(set(alone)) == len(alone), "requests share a trace"
    events = {event["request_id"]: event for event in server.printed("otelkit.access")}
    assert sorted(events) == sorted(headers["x-request-id"] for headers, _ in answers)
    for headers, _ in answers:
        event = events[headers["x-request-id"]]
        assert headers["traceresponse"].startswith(f"00-{event['trace_id']}-{event['span_id']}")


def test_pipelined_requests_share_nothing(server: Server) -> None:
    with closing(Connection(server.port)) as connection:
        connection.send(
            *(get(f"/visit/{name}") for name in ("one", "two")),
            get("/visit/called", f"traceparent: {TRACEPARENT}"),
            *(get(f"/visit/{name}") for name in ("four", "five")),
        )
        answers = [connection.read() for _ in range(5)]
    check(server, answers, parents={"/visit/called": TRACEPARENT.split("-")[2]})


def test_requests_that_keep_a_connection_share_nothing(server: Server) -> None:
    answers = []
    with closing(Connection(server.port)) as connection:
        for number in range(10):
            # An upload makes the server pause and resume its reading, inside the request.
            connection.send(post(f"/upload/{number}", 300_000) if number % 3 == 0 else get(f"/visit/{number}"))
            answers.append(connection.read())
    check(server, answers, parents={})


def test_exception_is_told_once_on_each_road(server: Server) -> None:
    assert http_get(f"http://{HOST}:{server.port}/broken/it").status == 500

    def exported() -> list[Any]:
        return [r for r in server.receiver.logs() if "it found it broken" in str(r.attributes) + str(r.body)]

    wait_until(exported, within=WITHIN, what="the exception event")
    wait_until(lambda: server.spans("/broken"), within=WITHIN, what="the server span")
    (record,), (span,) = exported(), server.spans("/broken")
    assert (record.body, record.scope.name, record.severity_text) == (
        "http.request.failed",
        "otelkit.exceptions",
        "ERROR",
    )
    assert record.attributes["exception.type"] == "ValueError"
    assert "in broken" in record.attributes["exception.stacktrace"]
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert (span.status, span.events) == ("ERROR", ())
    (line,) = server.printed("otelkit.exceptions")
    assert line["trace_id"] == span.trace_id
    for output in (server.process.stdout, server.process.stderr):
        assert "Traceback (most recent call last)" not in re.sub(r'"exception\.stacktrace":".*?"[,}]', "", output)
    assert server.process.stdout.count("it found it broken") == 2  # message and stack of the one line


def test_server_prints_no_access_line_beside_ours(server: Server) -> None:
    with closing(Connection(server.port)) as connection:
        connection.send(get("/visit/again"))
        connection.read()
    wait_until(lambda: server.printed("otelkit.access"), within=WITHIN, what="the access event")
    assert not ACCESS_LINE.search(server.process.stdout + server.process.stderr)


def test_access_line_of_an_application_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "import otelkit\n"
        "otelkit.configure(service_name='other')\n"
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        "async def visit(request): return PlainTextResponse('hello')\n"
        "app = Starlette(routes=[Route('/visit/{name}', visit)])\n"
    )
    port = free_port()
    command = [PYTHON, "-m", "uvicorn", "other:app", "--port", str(port)]
    with Process(command, folder=tmp_path, env={"OTEL_SDK_DISABLED": None, "OTEL_TRACES_EXPORTER": "none"}) as process:
        process.wait_http(f"http://{HOST}:{port}/visit/one", within=60)
        wait_until(
            lambda: "/visit/one HTTP/1.1" in process.stdout + process.stderr,
            within=WITHIN,
            what="uvicorn's access line",
        )


@pytest.mark.parametrize("implementation", ["websockets", "websockets-sansio", "wsproto"])
def test_websocket_after_requests_shares_nothing(tmp_path: Path, implementation: str) -> None:
    pytest.importorskip("wsproto" if implementation == "wsproto" else "websockets")
    port = free_port()
    with Receiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "PYTHONPATH": str(APPS),
        }
        command = [PYTHON, "-m", "uvicorn", "keeping:app", "--port", str(port), "--http", "h11", "--ws", implementation]
        with Process(command, folder=tmp_path, env=environment) as process:
            process.wait_http(f"http://{HOST}:{port}/visit/first", within=60)
            with socket.create_connection((HOST, port), timeout=WITHIN) as connection:
                upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
                key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
                connection.sendall(get("/visit/before") + get("/talk/socket", *upgrade, key))
                received = b""
                while b'"startup"' not in received or not received.rstrip(b"\x88\x02\x03\xe8").endswith(b"}"):
                    piece = connection.recv(65536)
                    assert piece, received
                    received += piece
            found = json.loads(received[received.rindex(b"{") :].partition(b"}")[0] + b"}")
            assert found == CLEAN
            wait_until(
                lambda: [s for s in receiver.spans() if s.name == "WS /talk/{name}"], within=WITHIN, what="the span"
            )
            (span,) = [span for span in receiver.spans() if span.name == "WS /talk/{name}"]
            assert (span.kind, span.parent_span_id) == ("SERVER", "")
