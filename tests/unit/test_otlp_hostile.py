"""The receiver under attack, in a process of its own: others are served meanwhile, and memory is bounded."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import subprocess
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces
from otelkit.otlp.receiver import MAX_BODY, Receiver
from support.processes import PYTHON, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TIMEOUT = 2  # seconds that the attacked receiver gives a request
MEMORY = 700  # MB; unbounded, each attack below would need many GB
THREADS = 200
SERVE = f"""if True:
    import sys
    from otelkit.otlp.receiver import Receiver
    with Receiver(grpc_port=0, request_timeout={TIMEOUT}, max_store=64 << 20) as receiver:
        print(receiver.http_url, receiver.grpc_endpoint, flush=True)
        for _ in sys.stdin:
            print(len(receiver.spans()), flush=True)
            receiver.clear()
"""
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


def varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def span(name: str = "healthy") -> bytes:
    return field(1, field(2, field(2, field(1, b"t" * 16) + field(2, b"s" * 8) + field(5, name.encode()))))


class Attacked:
    """A receiver in a process of its own, and what is known of that."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._pid, self._in, self._out = process.pid, process.stdin, process.stdout
        url, self.grpc = (urlsplit(each).netloc for each in self._out.readline().split())
        self.address = (url.partition(":")[0], int(url.partition(":")[2]))

    def status(self, field: str) -> int:
        """A number of /proc/PID/status; memory in MB."""
        found = re.search(rf"^{field}:\s+(\d+)( kB)?", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) // (1024 if found[2] else 1)

    def take(self) -> int:
        """How many spans it holds; it holds none then."""
        self._in.write("\n")
        self._in.flush()
        return int(self._out.readline())

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def post(self, body: bytes, headers: dict[str, str], *, path: str = "/v1/traces") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, body: bytes, compression: grpc.Compression = grpc.Compression.NoCompression) -> grpc.StatusCode:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.grpc, options=options) as channel:
            try:
                channel.unary_unary(EXPORT)(body, timeout=30, compression=compression)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    pipe = subprocess.PIPE
    with subprocess.Popen([PYTHON, "-c", SERVE], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        yield Attacked(process)
        assert process.stdin
        assert process.stderr
        process.stdin.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")


@pytest.fixture
def served(attacked: Attacked) -> Iterator[Attacked]:
    """The receiver, while others export to it over both protocols: nothing of theirs is refused or lost."""
    attacked.take()
    over = threading.Event()
    answers: list[int] = []

    def export() -> None:
        while not (over.is_set() and answers):
            answers.append(attacked.post(span(), PROTOBUF)[0])
            over.wait(0.05)

    def call() -> None:
        while not over.is_set():
            answers.append(attacked.call(span()).value[0] or 200)
            over.wait(0.05)

    others = [threading.Thread(target=export), threading.Thread(target=call)]
    for other in others:
        other.start()
    try:
        yield attacked
    finally:
        over.set()
        for other in others:
            other.join()
    assert attacked.post(span(), PROTOBUF)[0] == 200
    assert attacked.call(span()) is grpc.StatusCode.OK
    assert set(answers) == {200}
    assert attacked.take() >= len(answers) + 2
    assert attacked.status("VmHWM") < MEMORY
    assert attacked.status("Threads") < THREADS


def head(*fields: bytes, target: bytes = b"/v1/traces") -> bytes:
    lines = (b"POST %s HTTP/1.1" % target, b"Host: x", b"Content-Type: application/x-protobuf", *fields)
    return b"\r\n".join((*lines, b"", b""))


def read_all(client: socket.socket) -> bytes:
    """Everything until the receiver closes; nothing where it did not care to answer."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            data += piece
    return data


class TestBodies:
    """What is much larger than it looks."""

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_a_bomb_costs_no_more_than_the_largest_body(self, served: Attacked, encoding: str) -> None:
        zeros = bytes(1 << 20)
        packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
        bomb = b"".join(packer.compress(zeros) for _ in range(1_000)) + packer.flush()
        assert len(bomb) < MAX_BODY < 1_000 * len(zeros)
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda _: served.post(bomb, PROTOBUF | {"Content-Encoding": encoding})[0], range(20))
        assert set(answers) <= {413, 429}

    def test_members_of_gzip_add_up(self, served: Attacked) -> None:
        assert served.post(gzip.compress(span()[:9]) + gzip.compress(span()[9:]), _gzip())[0] == 200
        assert served.post(gzip.compress(bytes(1 << 23)) * 3, _gzip())[0] == 413
        many = gzip.compress(b"") * 500_000
        assert served.post(many, _gzip()) == (400, served.post(many, _gzip())[1])
        assert served.post(gzip.compress(span()) + b"more", _gzip())[0] == 400

    def test_what_is_compressed_twice_is_undone_once(self, served: Attacked) -> None:
        twice = gzip.compress(gzip.compress(bytes(1 << 24)))
        assert served.post(twice, _gzip())[0] == 400
        assert served.post(twice, PROTOBUF | {"Content-Encoding": "gzip, gzip"})[0] == 415

    def test_a_bomb_over_grpc(self, served: Attacked) -> None:
        with ThreadPoolExecutor(2) as pool:
            codes = set(pool.map(lambda _: served.call(bytes(400_000_000), grpc.Compression.Gzip), range(2)))
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}

    def test_millions_of_empty_messages_are_not_parsed(self, served: Attacked) -> None:
        deepest = MAX_BODY // 2 - 50
        floods = {
            "resources": b"\x0a\x00" * deepest,
            "spans": field(1, field(2, b"\x12\x00" * deepest)),
            "events": field(1, field(2, field(2, b"\x5a\x00" * deepest))),
        }
        for flood in floods.values():
            status, answer = served.post(flood, PROTOBUF)
            assert (status, b"more than 1000000 parts" in answer) == (400, True)
            assert served.call(flood) is grpc.StatusCode.INVALID_ARGUMENT
        for text in (b'{"resourceSpans":[' + b"{}," * 6_000_000 + b"{}]}", b"[" * 19_000_000, b"[" + b"0," * 9_000_000):
            assert served.post(text, JSON)[0] == 400

    def test_what_is_accepted_does_not_fill_the_memory_either(self, attacked: Attacked) -> None:
        attacked.take()
        flood = field(1, field(2, b"\x12\x00" * 100_000))
        statuses = [attacked.post(flood, PROTOBUF)[0] for _ in range(4)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert attacked.call(flood) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert attacked.take() == 100_000 * statuses.count(200)
        assert attacked.post(flood, PROTOBUF)[0] == 200
        assert attacked.take() == 100_000
        assert attacked.status("VmHWM") < MEMORY

    def test_bodies_that_stop_before_their_end_give_way(self, served: Attacked) -> None:
        announced = head(b"Content-Length: %d" % MAX_BODY) + bytes(MAX_BODY - 1)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(served.connect())
                with contextlib.suppress(ConnectionError):  # made to give way already
                    client.sendall(announced)
            large = span("x" * 5_000_000)
            wait_until(lambda: served.post(large, PROTOBUF)[0] == 200, within=30, what="a large request fits")


def _gzip() -> dict[str, str]:
    return PROTOBUF | {"Content-Encoding": "gzip"}


class TestSlowClients:
    """Who holds on to what others need."""

    @pytest.mark.parametrize(
        "begun",
        [b"", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX: ", head(b"Content-Length: 1000"),
         head(b"Transfer-Encoding: chunked") + b"3e8;"],
        ids=["request line", "header", "body", "chunk"],
    )  # fmt: skip
    def test_a_request_dripped_byte_by_byte_ends_in_time(self, served: Attacked, begun: bytes) -> None:
        with served.connect() as client:
            client.sendall(begun or b"P")
            client.settimeout(0.1)
            answer = None
            deadline = time.monotonic() + 10 * TIMEOUT
            while answer is None and time.monotonic() < deadline:
                client.sendall(b"O")
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(65536)
            assert answer is not None
            client.settimeout(30)
            answer += read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 2 s" in answer

    def test_more_connections_than_threads(self, served: Attacked) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(400):
                client = stack.enter_context(served.connect())
                client.sendall((b"", b"POST", head(b"Content-Length: 9"))[number % 3])
            assert served.post(span(), PROTOBUF)[0] == 200
            assert served.status("Threads") < THREADS

    def test_a_client_that_reads_no_answer_is_left(self, served: Attacked) -> None:
        with served.connect() as client:
            client.settimeout(0.5)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while True:
                    client.sendall(head(b"Content-Length: 0") * 100)

    def test_calls_without_message_hold_no_worker(self, served: Attacked) -> None:
        with contextlib.ExitStack() as stack:
            over = threading.Event()
            stack.callback(over.set)

            def nothing() -> Iterator[bytes]:
                over.wait(60)
                yield from ()

            calls = []
            for _ in range(48):
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = stack.enter_context(grpc.insecure_channel(served.grpc, options=options))
                calls.append(channel.stream_unary(EXPORT).future(nothing(), timeout=60))
            assert served.call(span()) is grpc.StatusCode.OK
            wait_until(lambda: all(call.done() for call in calls), within=30, what="every call was cancelled")
            assert {call.code() for call in calls} <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}


class TestFraming:
    """Requests that are no requests."""

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (head(b"Content-Length: " + b"9" * 5_000), 413),
            (head(b"Content-Length: " + b"9" * 19), 413),
            (head(b"Content-Length: -1"), 400),
            (head(b"Content-Length: 0x10"), 400),
            (head(b"Content-Length: 5", b"Content-Length: 6") + b"12345", 400),
            (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
            (head(b"Transfer-Encoding: chunked") + b"FFFFFFFF\r\n", 413),
            (head(b"Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFFF\r\n", 400),
            (head(target=b"http://[/v1/traces"), 400),
            (head(target=b"http://[::1/v1/traces"), 400),
            (head(target=b"*"), 404),
            (head(target=b"/" + b"x" * 60_000), 404),
            (head(*(b"X-%d: 1" % number for number in range(200))), 431),
            (head(*(b"X: " + b"y" * 60_000 for _ in range(90))), 431),
            (head(b"X: " + b"y" * 100_000), 431),
            (head(b"Content-Type: \xff\xfe", b"Content-Encoding: \xff"), 415),
            (b"\x00\xff\xfe\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\n", 400),
        ],
    )
    def test_they_are_answered_with_a_4xx(self, served: Attacked, data: bytes, status: int) -> None:
        with served.connect() as client:
            with contextlib.suppress(ConnectionError):  # refused before all was sent
                client.sendall(data)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
        assert answer.split(b" ")[1:2] == [b"%d" % status]

    def test_the_absolute_form_is_understood(self, served: Attacked) -> None:
        with served.connect() as client:
            client.sendall(head(b"Connection: close", target=b"http://anything:1/v1/traces?x=y"))
            assert read_all(client).startswith(b"HTTP/1.1 200 OK")


def requests() -> tuple[bytes, ...]:
    """A real request of each signal, rich in what may go wrong."""
    traces = ExportTraceServiceRequest()
    scope = traces.resource_spans.add().scope_spans.add()
    one = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="one", start_time_unix_nano=1)
    one.attributes.add(key="list").value.array_value.values.add().string_value = "é"
    one.attributes.add(key="map").value.kvlist_value.values.add(key="x").value.bytes_value = b"\xff"
    one.events.add(name="event", time_unix_nano=2)
    one.links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    metrics = ExportMetricsServiceRequest()
    group = metrics.resource_metrics.add().scope_metrics.add()
    histogram = group.metrics.add(name="h", unit="s").histogram.data_points.add(count=3, sum=1.5)
    histogram.bucket_counts.extend([1, 2])
    histogram.explicit_bounds.append(0.5)
    histogram.exemplars.add(as_double=0.1, trace_id=b"t" * 16, span_id=b"s" * 8)
    group.metrics.add(name="e").exponential_histogram.data_points.add(scale=3).positive.bucket_counts.extend([1, 2])
    group.metrics.add(name="s").sum.data_points.add(as_int=-1)
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(severity_number=9, trace_id=b"t" * 16)
    record.body.string_value = "text"
    return traces.SerializeToString(), metrics.SerializeToString(), logs.SerializeToString()


REQUESTS = requests()
DECODE: tuple[Callable[..., list[Any]], ...] = (decode_traces, decode_metrics, decode_logs)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Long numbers, huge lengths, wrong types and depths, and bytes of any kind.
PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"\xff" * 11, b"\x80" * 500,
         b"\x0a\xff\xff\xff\xff\x07", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0a\x00" * 50,
         b"\x0b" * 200, b"\x0c", b"\x12\x04\xed\xa0\x80x", b"\x2a\x02\xc3\x28", b"\x00", bytes(100)]
    ),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> tuple[int, bytes]:
    """A real request in which some bytes were replaced, left out, repeated or put in."""
    which = draw(st.integers(0, 2))
    data = REQUESTS[which]
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        data = data[:at] + draw(PIECES | st.just(data[at : at + length] * 3)) + data[at + length :]
    return which, data


def outcome(which: int, body: bytes, *, json: bool = False) -> list[Any] | str:
    """The items, or what was said; any other exception fails the test."""
    try:
        return DECODE[which](body, json=json)
    except ValueError as error:
        said = str(error)
    assert re.match(r"not an Export\w+Request in (protobuf|OTLP/JSON): |an? .* id has \d+ bytes", said)
    assert "\n" not in said
    assert len(said) < 700
    return said


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["NaN", "-Infinity", "1e400", "9" * 400, "\ud800", "AAAA", "zz", 10**400, 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.sampled_from(
        ["traceId", "spanId", "attributes", "key", "value", "arrayValue", "values", "kvlistValue", "intValue", "kind",
         "events", "links", "@type", "status", "startTimeUnixNano", "bytesValue"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip
GROUPS = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceMetrics", "scopeMetrics", "metrics"),
    ("resourceLogs", "scopeLogs", "logRecords"),
)


class TestMalformed:
    """What a parser makes of anything: items, or one line that says why not."""

    @patient
    @given(mutated())
    def test_mutated_protobuf(self, case: tuple[int, bytes]) -> None:
        outcome(*case)

    @patient
    @given(st.integers(0, 2), st.binary(max_size=300))
    def test_any_bytes(self, which: int, body: bytes) -> None:
        outcome(which, body)
        outcome(which, body, json=True)

    @patient
    @given(st.integers(0, 2), VALUES, st.integers(0, 3))
    def test_any_json(self, which: int, value: Any, depth: int) -> None:
        for name in reversed(GROUPS[which][:depth]):
            value = {name: [value]}
        outcome(which, json.dumps(value).encode(), json=True)

    @pytest.mark.parametrize("levels", [90, 101, 1_000, 100_000])
    def test_depth(self, levels: int) -> None:
        """Deep values: protobuf in messages, JSON in lists and in objects."""
        value = field(1, b"deep")
        while levels > 0 and len(value) < 1_000_000:
            value = field(5, field(1, value))
            levels -= 2
        outcome(2, field(1, field(2, field(2, field(5, value)))))
        for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"resourceSpans":[', "]}")):
            assert isinstance(outcome(0, (opening * 100_000 + closing * 100_000).encode(), json=True), str)
            assert isinstance(outcome(0, (opening * 100_000).encode(), json=True), str)

    def test_json_s_odd_corners(self) -> None:
        def of(span: str) -> list[Any] | str:
            return outcome(0, f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'.encode(), json=True)

        twice = of('{"name":"a","name":"b"}')
        assert isinstance(twice, list)
        assert twice[0].name == "b"
        for wrong in (
            '{"startTimeUnixNano":NaN}',
            '{"startTimeUnixNano":1e400}',
            '{"startTimeUnixNano":' + "9" * 5_000 + "}",
            '{"startTimeUnixNano":' + "9" * 4_000 + "}",
            '{"startTimeUnixNano":-1}',
            '{"kind":Infinity}',
            '{"name":"\\ud800"}',
            '{"traceId":"zz"}',
            '{"attributes":{}}',
            "7",
            '{"\\ud800":1}',
        ):
            assert isinstance(of(wrong), str), wrong

    def test_every_answer_over_the_wire_is_200_or_a_clear_4xx(self) -> None:
        bodies = [
            *REQUESTS,
            b"\xff" * 100,
            b"{",
            b"[" * 100_000,
            b"\x80" * 100_000,
            '{"\ud800"'.encode("utf-16", "surrogatepass"),
        ]
        with Receiver(grpc_port=0) as receiver:
            address = urlsplit(receiver.http_url).netloc
            connection = http.client.HTTPConnection(address, timeout=30)
            for path in PATHS:
                for body in bodies:
                    for headers in (PROTOBUF, JSON):
                        connection.request("POST", path, body, headers)
                        response = connection.getresponse()
                        answer = response.read()
                        assert response.status in {200, 400}
                        assert (response.status == 200) == (answer in {b"", b"{}"})
            connection.close()
            with grpc.insecure_channel(urlsplit(receiver.grpc_endpoint).netloc) as channel:
                for body in bodies:
                    with contextlib.suppress(grpc.RpcError):
                        assert channel.unary_unary(EXPORT)(body, timeout=30) == b""
                        continue
                    with pytest.raises(grpc.RpcError) as refused:
                        channel.unary_unary(EXPORT)(body, timeout=30)
                    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
