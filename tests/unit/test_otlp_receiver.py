"""The receiver over real sockets: with the real exporters, and byte by byte where clients misbehave."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it ships no types
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otelkit.otlp.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export import SpanExporter

LIMIT = 10_000


def assert_threads(number: int) -> None:
    """Wait for threads that have done all but return."""
    deadline = time.monotonic() + 5
    while threading.active_count() > number and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= number  # one of an earlier test may have ended meanwhile


PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.fixture
def receiver(capfd: pytest.CaptureFixture[str]) -> Iterator[Receiver]:
    """A small receiver; after each test it must have closed completely and in silence."""
    threads = threading.active_count()
    with Receiver(max_body=LIMIT, keep_raw=True) as receiver:
        yield receiver
    assert_threads(threads)
    gc.collect()  # a socket left open would be a ResourceWarning, which is an error here
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def connection(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    host, _, port = receiver.http_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.connect()
    connection.auto_open = 0  # a closed connection shall show, not be opened again
    yield connection
    connection.close()


def traces(*names: str) -> bytes:
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope_spans.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name)
    body: bytes = request.SerializeToString()
    return body


def post(
    connection: http.client.HTTPConnection,
    body: bytes,
    headers: dict[str, str],
    *,
    path: str = "/v1/traces",
    method: str = "POST",
) -> tuple[int, bytes, dict[str, str]]:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}


def export_span(exporter: SpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span("exported").end()
    provider.shutdown()


@pytest.mark.parametrize("compression", list(Compression))
def test_the_sdk_s_http_exporter(receiver: Receiver, compression: Compression) -> None:
    export_span(OTLPSpanExporter(receiver.http_url + "/v1/traces", headers={"x-tenant": "a"}, compression=compression))
    assert [span.name for span in receiver.spans()] == ["exported"]
    assert receiver.requests == {"traces": 1}
    ((path, headers, body),) = receiver.raw()
    assert (path, headers["x-tenant"], headers["content-type"]) == ("/v1/traces", "a", "application/x-protobuf")
    assert b"exported" in body


def test_the_three_signals_in_both_encodings(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=1)
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(event_name="e")
    assert post(connection, traces("s"), PROTOBUF)[:2] == (200, ExportTraceServiceResponse().SerializeToString())
    assert post(connection, metrics.SerializeToString(), PROTOBUF, path="/v1/metrics")[:2] == (200, b"")
    assert post(connection, logs.SerializeToString(), PROTOBUF, path="/v1/logs")[:2] == (200, b"")
    for path, document in (
        ("/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "s"}]}]}]}),
        (
            "/v1/metrics",
            {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [{}]}}]}]}]},
        ),
        ("/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "e"}]}]}]}),
    ):
        status, body, headers = post(connection, json.dumps(document).encode(), JSON, path=path)
        assert (status, body, headers["content-type"]) == (200, b"{}", "application/json")
    assert [span.name for span in receiver.spans()] == ["s", "s"]
    assert [point.metric for point in receiver.points()] == ["m", "m"]
    assert [log.event_name for log in receiver.logs()] == ["e", "e"]
    assert receiver.requests == {"traces": 2, "metrics": 2, "logs": 2}
    receiver.clear()
    assert (receiver.spans(), receiver.points(), receiver.logs(), receiver.raw()) == ([], [], [], [])
    assert receiver.requests == {}


@pytest.mark.parametrize(
    ("status", "request_", "hint", "reason"),
    [
        (404, {"path": "/v1/trace"}, None, "no such path: /v1/trace"),
        (404, {"path": "/", "method": "GET"}, None, "no such path: /;"),
        (405, {"method": "GET"}, ("allow", "POST"), "GET is not possible here"),
        (405, {"method": "PUT"}, ("allow", "POST"), "PUT is not possible here"),
        (
            415,
            {"headers": {"Content-Type": "text/plain"}},
            ("accept", "application/x-protobuf, application/json"),
            "text/plain",
        ),
        (415, {"headers": {}}, ("accept", "application/x-protobuf, application/json"), "Content-Type is missing"),
        (
            415,
            {"headers": PROTOBUF | {"Content-Encoding": "br"}},
            ("accept-encoding", "gzip, deflate"),
            "Content-Encoding is br",
        ),
        (400, {"body": b"\xff"}, None, "not an ExportTraceServiceRequest in protobuf"),
        (400, {"body": b"{", "headers": JSON}, None, "not an ExportTraceServiceRequest in OTLP/JSON"),
        (400, {"body": b"xyz", "headers": PROTOBUF | {"Content-Encoding": "gzip"}}, None, "the body is not gzip"),
        (400, {"body": b"xyz", "headers": PROTOBUF | {"Content-Encoding": "deflate"}}, None, "the body is not deflate"),
        (
            400,
            {"body": gzip.compress(traces("s"))[:-9], "headers": PROTOBUF | {"Content-Encoding": "gzip"}},
            None,
            "gzip",
        ),
        (
            400,
            {"body": zlib.compress(traces("s"))[:-5], "headers": PROTOBUF | {"Content-Encoding": "deflate"}},
            None,
            "ends early",
        ),
        (
            413,
            {"body": gzip.compress(bytes(LIMIT + 1)), "headers": JSON | {"Content-Encoding": "gzip"}},
            None,
            "larger than 10000 bytes",
        ),
        (
            413,
            {"body": zlib.compress(bytes(1 << 22)), "headers": PROTOBUF | {"Content-Encoding": "deflate"}},
            None,
            "larger than",
        ),
    ],
)
def test_a_refusal_says_why_in_the_request_s_encoding_and_costs_nothing_else(
    receiver: Receiver,
    connection: http.client.HTTPConnection,
    *,
    status: int,
    request_: dict[str, Any],
    hint: tuple[str, str] | None,
    reason: str,
) -> None:
    assert post(connection, traces("before"), PROTOBUF)[0] == 200
    got, body, headers = post(connection, **({"body": traces("bad"), "headers": PROTOBUF} | request_))
    assert got == status
    if headers["content-type"] == "application/x-protobuf":
        assert request_.get("headers", PROTOBUF)["Content-Type"] == "application/x-protobuf"
        message, code = Status.FromString(body).message, Status.FromString(body).code
    else:
        assert headers["content-type"] == "application/json"
        message, code = json.loads(body)["message"], json.loads(body)["code"]
    assert reason in message
    assert code == 3
    if hint is not None:
        assert headers[hint[0]] == hint[1]
    assert post(connection, traces("after"), PROTOBUF)[0] == 200  # on the same connection
    assert [span.name for span in receiver.spans()] == ["before", "after"]
    assert receiver.refusals == {status: 1}


def test_a_body_of_exactly_the_limit_is_taken(connection: http.client.HTTPConnection) -> None:
    body = traces("x" * LIMIT)
    body = traces("x" * (LIMIT - (len(body) - LIMIT)))
    assert len(body) == LIMIT
    assert post(connection, body, PROTOBUF)[0] == 200
    assert post(connection, gzip.compress(body), PROTOBUF | {"Content-Encoding": "gzip"})[0] == 200
    assert post(connection, zlib.compress(body), PROTOBUF | {"Content-Encoding": "deflate"})[0] == 200
    assert post(connection, b"", PROTOBUF | {"Content-Encoding": "identity"})[0] == 200


def test_an_oversized_body_gets_its_413_even_by_a_client_that_sends_it_all_first(receiver: Receiver) -> None:
    for headers in (b"Content-Length: 30000000", b"Transfer-Encoding: chunked"):
        with connect(receiver) as client:
            client.sendall(head(headers))
            piece = bytes(1_000_000)
            for _ in range(30):
                client.sendall(b"F4240\r\n" + piece + b"\r\n" if b"chunked" in headers else piece)
            answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in answer
        assert b"larger than 10000 bytes" in answer
    assert receiver.refusals == {413: 2}


def connect(receiver: Receiver) -> socket.socket:
    host, _, port = receiver.http_url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def head(*fields: bytes) -> bytes:
    lines = (b"POST /v1/traces HTTP/1.1", b"Host: x", b"Content-Type: application/x-protobuf", *fields)
    return b"\r\n".join((*lines, b"", b""))


def test_chunked_bodies_with_extensions_and_trailers(receiver: Receiver) -> None:
    body = traces("one")
    chunks = b"5;name=value\r\n" + body[:5] + b"\r\n%x\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
    with connect(receiver) as client:
        client.sendall(2 * (head(b"Transfer-Encoding: chunked") + chunks) + head(b"Connection: close"))
        assert read_all(client).count(b"HTTP/1.1 200 OK") == 3
    assert [span.name for span in receiver.spans()] == ["one", "one"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (head(b"Content-Length: 1", b"Content-Length: 2") + b"x", b"Content-Length is not one number"),
        (head(b"Content-Length: +1") + b"x", b"Content-Length is not one number"),
        (head(b"Content-Length: 1", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", b"Transfer-Encoding must be"),
        (head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", b"Transfer-Encoding must be"),
        (head(b"Transfer-Encoding: chunked") + b"-1\r\n", b"a chunk has no size"),
        (head(b"Transfer-Encoding: chunked") + b"1\r\nxyz\r\n0\r\n\r\n", b"a chunk is longer than its size"),
        (head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * 1000, b"too many trailers"),
        (head(b"Content-Length: 5") + b"x", b"the body ends early"),
        (b"nonsense\r\n\r\n", b"Bad request syntax"),
        (b"BREW /v1/traces HTTP/1.1\r\n\r\n", b"Unsupported method"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Invalid HTTP version (2.0)"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"Request-URI Too Long"),
    ],
)
def test_what_is_not_framed_as_http_is_refused_and_the_connection_closed(
    receiver: Receiver, data: bytes, reason: bytes
) -> None:
    with connect(receiver) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert reason in answer
    assert sum(receiver.refusals.values()) == 1
    assert receiver.spans() == []


def test_head_has_no_body(connection: http.client.HTTPConnection) -> None:
    status, body, _ = post(connection, b"", {}, method="HEAD")
    assert (status, body) == (405, b"")


def test_expect_100_continue_is_answered(receiver: Receiver) -> None:
    body = traces("late")
    with connect(receiver) as client:
        client.sendall(head(b"Expect: 100-continue", b"Content-Length: %d" % len(body), b"Connection: close"))
        assert client.recv(100).startswith(b"HTTP/1.1 100 Continue")
        client.sendall(body)
        assert b"200 OK" in read_all(client)
    assert [span.name for span in receiver.spans()] == ["late"]


def test_answers_are_not_delayed_by_nagle(connection: http.client.HTTPConnection) -> None:
    def fifty() -> float:
        started = time.monotonic()
        for _ in range(50):
            post(connection, b"\xff", PROTOBUF)
        return time.monotonic() - started

    assert min(fifty() for _ in range(3)) < 1.5  # a delayed acknowledgement each would make 2 s


def test_many_clients_at_once_lose_nothing(receiver: Receiver) -> None:
    def client(number: int) -> None:
        host, _, port = receiver.http_url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        for turn in range(20):
            assert post(connection, traces(f"{number}.{turn}"), PROTOBUF)[0] == 200
            assert post(connection, b"\xff", PROTOBUF)[0] == 400
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    assert sorted(span.name for span in receiver.spans()) == sorted(f"{n}.{t}" for n in range(8) for t in range(20))
    assert receiver.requests == {"traces": 160}
    assert receiver.refusals == {400: 160}


def test_wait_for(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    started = time.monotonic()
    assert not receiver.wait_for(receiver.spans, timeout=0.05)
    assert 0.04 < time.monotonic() - started < 5
    started = time.monotonic()
    timer = threading.Timer(0.05, post, (connection, traces("a", "b"), PROTOBUF))
    timer.start()
    assert receiver.wait_for(lambda: len(receiver.spans()) == 2, timeout=10)
    timer.join()
    timer = threading.Timer(0.05, post, (connection, b"\xff", PROTOBUF))
    timer.start()
    assert receiver.wait_for(lambda: receiver.refusals[400], timeout=10)
    timer.join()
    assert time.monotonic() - started < 10  # told of each arrival, not found at the end of a wait


def test_traces_are_grouped_and_ordered_by_start(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for trace, start in ((b"a", 3), (b"b", 2), (b"a", 1)):
        spans.add(trace_id=trace * 16, span_id=b"s" * 8, start_time_unix_nano=start)
    post(connection, request.SerializeToString(), PROTOBUF)
    assert {trace_id: [span.start_ns for span in trace] for trace_id, trace in receiver.traces().items()} == {
        "61" * 16: [1, 3],
        "62" * 16: [2],
    }


def test_raw_bytes_of_malformed_requests_are_kept_too_and_only_on_demand(
    receiver: Receiver, connection: http.client.HTTPConnection
) -> None:
    post(connection, gzip.compress(b"\xffsecret"), PROTOBUF | {"Content-Encoding": "gzip"}, path="/v1/logs?a=b")
    assert [(path, body) for path, _, body in receiver.raw()] == [("/v1/logs?a=b", b"\xffsecret")]
    with Receiver() as other:
        export_span(OTLPSpanExporter(other.http_url + "/v1/traces"))
        assert other.raw() == []
        assert len(other.spans()) == 1


def test_repeated_header_fields_are_joined(receiver: Receiver) -> None:
    with connect(receiver) as client:
        client.sendall(head(b"X-A: 1", b"x-a: 2", b"Connection: close"))
        read_all(client)
    assert receiver.raw()[0].headers["x-a"] == "1, 2"


def test_on_export_sees_each_request_and_its_failure_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[str, list[str]]] = []

    def on_export(signal: str, items: list[Any]) -> None:
        seen.append((signal, [span.name for span in items]))
        msg = "callback broke"
        raise RuntimeError(msg)

    with caplog.at_level("DEBUG", "otelkit"), Receiver(on_export=on_export) as receiver:
        export_span(OTLPSpanExporter(receiver.http_url + "/v1/traces"))
        assert receiver.requests == {"traces": 1}
    assert seen == [("traces", ["exported"])]
    assert [(record.levelname, record.name) for record in caplog.records if record.name == "otelkit"] == [
        ("DEBUG", "otelkit")
    ]


def test_close_lets_a_busy_request_finish_but_waits_no_longer_than_a_second() -> None:
    entered, leave = threading.Event(), threading.Event()

    def on_export(_signal: str, _items: list[Any]) -> None:
        entered.set()
        leave.wait(10)

    receiver = Receiver(on_export=on_export)
    client = connect(receiver)
    body = traces("slow")
    client.sendall(head(b"Content-Length: %d" % len(body)) + body)
    assert entered.wait(10)
    threading.Timer(0.1, leave.set).start()
    receiver.close()
    answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer
    client.close()

    entered.clear()
    leave.clear()
    receiver = Receiver(on_export=on_export)
    client = connect(receiver)
    client.sendall(head(b"Content-Length: %d" % len(body)) + body)
    assert entered.wait(10)
    started = time.monotonic()
    receiver.close()
    assert time.monotonic() - started < 5  # and not the ten of the callback
    assert receiver.spans()[0].name == "slow"
    leave.set()
    assert read_all(client) == b""
    client.close()


def close_with_idle_connections() -> float:
    receiver = Receiver(grpc_port=0)
    clients = [connect(receiver) for _ in range(5)]
    for client in clients:
        client.sendall(head())
    assert receiver.wait_for(lambda: receiver.requests["traces"] == len(clients), timeout=10)
    started = time.monotonic()
    receiver.close()
    took = time.monotonic() - started
    receiver.close()  # a second time does nothing
    for client in clients:
        assert read_all(client).startswith(b"HTTP/1.1 200 OK")
        client.close()
    port = int(receiver.http_url.rpartition(":")[2])
    with Receiver(http_port=port) as again:
        assert again.http_url == receiver.http_url
    return took


def test_close_ends_idle_connections_at_once_and_frees_the_port() -> None:
    threads = threading.active_count()
    assert min(close_with_idle_connections() for _ in range(3)) < 0.5
    assert_threads(threads)


def test_a_taken_port_is_an_os_error_and_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Receiver(http_port=port)
        with pytest.raises(OSError, match="in use"):
            Receiver(grpc_port=port)
    assert_threads(threads)
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_loopback_and_on_ipv6_when_told() -> None:
    with Receiver(grpc_port=0) as receiver:
        assert receiver.http_url.startswith("http://127.0.0.1:")
        assert receiver.grpc_endpoint.startswith("http://127.0.0.1:")
    with Receiver(host="::1", grpc_port=0) as receiver:
        assert receiver.http_url.startswith("http://[::1]:")
        export_span(OTLPSpanExporter(receiver.http_url + "/v1/traces"))
        export_span(GRPCSpanExporter(receiver.grpc_endpoint))
        assert len(receiver.spans()) == 2


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc(compression: grpc.Compression) -> None:
    with Receiver(grpc_port=0, max_body=LIMIT, keep_raw=True) as receiver:
        export_span(GRPCSpanExporter(receiver.grpc_endpoint, headers={"x-tenant": "a"}, compression=compression))
        assert [span.name for span in receiver.spans()] == ["exported"]
        ((path, headers, body),) = receiver.raw()
        assert path == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        assert headers["x-tenant"] == "a"
        assert b"exported" in body
        with grpc.insecure_channel(receiver.grpc_endpoint.removeprefix("http://"), compression=compression) as channel:
            export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]  # generated code
            assert export(ExportTraceServiceRequest.FromString(traces("s"))) == ExportTraceServiceResponse()
            with pytest.raises(grpc.RpcError) as too_large:
                export(ExportTraceServiceRequest.FromString(traces("x" * LIMIT)))
            assert too_large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            with pytest.raises(grpc.RpcError) as malformed:
                channel.unary_unary(path)(b"\xff", timeout=10)
            assert malformed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "not an ExportTraceServiceRequest in protobuf" in malformed.value.details()
        assert receiver.requests == {"traces": 2}
        assert receiver.refusals == {400: 1}


def test_without_grpc_its_endpoint_is_an_error(receiver: Receiver) -> None:
    with pytest.raises(RuntimeError, match="made without grpc_port"):
        _ = receiver.grpc_endpoint


def test_a_receiver_left_open_does_not_hold_up_the_interpreter_and_prints_nothing() -> None:
    code = """if True:
        from otelkit.otlp.receiver import Receiver
        import sys, urllib.request
        assert not {"grpc", "google.protobuf", "opentelemetry.sdk"} & sys.modules.keys()
        receiver = Receiver(grpc_port=0)
        request = urllib.request.Request(receiver.http_url + "/v1/logs", b"{}", {"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()
        assert receiver.requests["logs"] == 1
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
