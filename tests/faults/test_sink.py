"""The sink does what its faults say, over both protocols, asked by plain clients: else no cell would prove anything."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import time
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # they have none
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from faults.received import Sink
from support.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
GAVE_UP = "gave up"
CODES = {
    "200": "OK",
    "400": "INVALID_ARGUMENT",
    "413": "RESOURCE_EXHAUSTED",
    "429": "RESOURCE_EXHAUSTED",
    "503": "UNAVAILABLE",
    "lost": "UNAVAILABLE",
    GAVE_UP: "DEADLINE_EXCEEDED",
}


def request(first: int, count: int = 1) -> bytes:
    """Make an export of spans with ids from `first` on."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in range(first, first + count):
        spans.add(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name="span")
    data: bytes = message.SerializeToString()
    return data


class Client:
    """Exports over one protocol, without retrying; tells the outcome in HTTP's words, or "lost" or "gave up"."""

    def __init__(self, sink: Sink, protocol: str) -> None:
        self._sink, self._protocol = sink, protocol
        self.retry_after: float | None = None
        self.rejected = 0

    def export(self, message: bytes, timeout: float = 10.0) -> str:
        if self._protocol == "http":
            return self._http(message, timeout)
        code = self._grpc(message, timeout)
        return next(word for word, name in CODES.items() if name == code)

    def _http(self, message: bytes, timeout: float) -> str:
        with contextlib.closing(http.client.HTTPConnection(HOST, self._sink.http_port, timeout=timeout)) as connection:
            try:
                connection.request("POST", "/v1/traces", gzip.compress(message), {"Content-Encoding": "gzip"})
                answer = connection.getresponse()
            except TimeoutError:
                return GAVE_UP
            except (ConnectionError, http.client.HTTPException):
                return "lost"
            after = answer.headers["Retry-After"]
            self.retry_after = float(after) if after else None
            self._read(answer.read())
            return str(answer.status)

    def _grpc(self, message: bytes, timeout: float) -> str:
        with grpc.insecure_channel(f"{HOST}:{self._sink.grpc_port}") as channel:
            try:
                self._read(channel.unary_unary(METHOD)(message, timeout=timeout))
            except grpc.RpcError as error:
                refused: Any = error
                details = dict(refused.trailing_metadata() or ()).get("grpc-status-details-bin")
                if details:
                    delay = error_details_pb2.RetryInfo()
                    status_pb2.Status.FromString(details).details[0].Unpack(delay)
                    self.retry_after = delay.retry_delay.ToTimedelta().total_seconds()
                return str(refused.code().name)
        return "OK"

    def _read(self, body: bytes) -> None:
        self.rejected = ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path / "sink") as running:
        yield running


def names(outcome: str, protocol: str) -> str:
    """Return the first word for what the protocol calls the same."""
    return outcome if protocol == "http" else next(word for word in CODES if CODES[word] == CODES[outcome])


def test_what_is_accepted_is_counted_once_and_duplicates_apart(sink: Sink, protocol: str) -> None:
    client = Client(sink, protocol)
    assert [client.export(request(1, 3)), client.export(request(2, 3))] == ["200", "200"]
    received = sink.read()
    assert (len(received.spans), received.duplicates(""), received.calls["traces"]) == (4, 2, 2)


@pytest.mark.parametrize("fault", ["400", "429", "503"])
def test_a_refusal_is_refused_and_not_counted(sink: Sink, protocol: str, fault: str) -> None:
    sink.switch(fault)
    client = Client(sink, protocol)
    assert client.export(request(1)) == names(fault, protocol)
    assert client.retry_after is None
    assert sink.read().refused == {("traces", fault): 1}
    assert sink.read().spans == []


def test_a_refusal_may_say_when_to_come_back(sink: Sink, protocol: str) -> None:
    sink.switch("429:2")
    client = Client(sink, protocol)
    client.export(request(1))
    assert client.retry_after == 2


def test_every_nth_item_is_rejected(sink: Sink, protocol: str) -> None:
    sink.switch("partial:3")
    client = Client(sink, protocol)
    assert client.export(request(1, 10)) == "200"
    assert client.rejected == 3
    assert [int(span.span_id, 16) for span in sink.read().spans] == [1, 2, 4, 5, 7, 8, 10]
    assert sink.read().rejected["traces"] == 3


def test_only_what_is_too_large_is_refused(sink: Sink, protocol: str) -> None:
    sink.switch("too_large:1000")
    client = Client(sink, protocol)
    assert client.export(request(1, 100)) == names("413", protocol)
    assert client.export(request(1)) == "200"
    assert sink.read().largest > 1000


@pytest.mark.parametrize("fault", ["hang", "slow:2", "blackhole"])
def test_who_gives_up_is_not_counted(sink: Sink, protocol: str, fault: str) -> None:
    sink.switch(fault)
    assert Client(sink, protocol).export(request(1), timeout=0.5) == GAVE_UP
    sink.switch("ok")
    assert Client(sink, protocol).export(request(2)) == "200"
    assert [int(span.span_id, 16) for span in sink.read().spans] == [2]


def test_who_waits_long_enough_is_counted(sink: Sink, protocol: str) -> None:
    sink.switch("slow:0.5")
    began = time.monotonic()
    assert Client(sink, protocol).export(request(1)) == "200"
    assert time.monotonic() - began >= 0.5
    assert len(sink.read().spans) == 1


def test_a_reset_ends_the_connection_before_anything_is_counted(sink: Sink, protocol: str) -> None:
    sink.switch("reset")
    assert Client(sink, protocol).export(request(1)) == names("lost", protocol)
    assert sink.read().spans == []


def test_a_kill_loses_no_count_and_the_ports_stay(sink: Sink, protocol: str) -> None:
    assert Client(sink, protocol).export(request(1)) == "200"
    sink.switch("down")
    assert Client(sink, protocol).export(request(2), timeout=2) == names("lost", protocol)
    sink.switch("ok")
    assert Client(sink, protocol).export(request(3)) == "200"
    assert [int(span.span_id, 16) for span in sink.read().spans] == [1, 3]


def test_what_is_no_otlp_is_refused(sink: Sink, protocol: str) -> None:
    assert Client(sink, protocol).export(b"no protobuf") == "400"


def test_a_connection_is_good_for_the_next_request(sink: Sink) -> None:
    with contextlib.closing(http.client.HTTPConnection(HOST, sink.http_port, timeout=10)) as connection:
        for number in range(1, 51):
            connection.request("POST", "/v1/traces", request(number))
            assert connection.getresponse().read() == b""
    assert len(sink.read().spans) == 50
