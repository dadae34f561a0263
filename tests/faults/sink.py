"""The only place for the receiver with faults: OTLP over HTTP and gRPC, in a process of its own.

    python sink.py JOURNAL HTTP_PORT GRPC_PORT CONTROL_PORT

What is accepted stands in the journal before it is answered, so that killing the process loses no count; `received`
reads it back. A line sent to the control port switches the fault, from the next request on:

    ok               everything is accepted
    503, 400         refused (gRPC UNAVAILABLE, INVALID_ARGUMENT)
    429[:S]          refused, with S as Retry-After (gRPC RESOURCE_EXHAUSTED, RetryInfo)
    hang             a call is held until the fault changes, then treated as the new one says; who gives up is forgotten
    slow:S           accepted after S seconds; who gives up is forgotten
    partial:N        every N-th item is rejected by partial_success
    too_large:B      a message above B bytes is refused (413, RESOURCE_EXHAUSTED)
    reset            the connection is reset in the middle of a request
    blackhole        connections are taken and never read

Both protocols stand behind a relay, so that the faults of connections are the same for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import socket
import struct
import sys
import time
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import duration_pb2  # type: ignore[import-untyped]  # its types are a package of their own
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # the same
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # they have none
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
MAX_HTTP = 20 * 1024 * 1024  # the Collector's bounds
MAX_GRPC = 4 * 1024 * 1024
CHUNK = 1 << 16
NOTICING = 0.1  # seconds in which the end of a connection comes through the relay: who just gave up is not counted


@dataclass(frozen=True)
class Signal:
    """What the wire knows about one signal."""

    name: str
    path: str
    service: str
    request: Any
    response: Any
    rejected: str
    decode: Callable[[bytes], list[Any]]


SIGNALS = (
    Signal(
        "traces",
        "/v1/traces",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
        "rejected_spans",
        decode_traces,
    ),
    Signal(
        "metrics",
        "/v1/metrics",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
        "rejected_data_points",
        decode_metrics,
    ),
    Signal(
        "logs",
        "/v1/logs",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
        "rejected_log_records",
        decode_logs,
    ),
)

CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True)
class Answer:
    """What a call is answered with, before it is put into one protocol's words."""

    status: HTTPStatus
    body: bytes = b""
    retry_after: float | None = None
    reason: str = "a fault of the sink"


class Sink:
    """Holds the fault, decides about every call, and keeps the journal.

    Args:
        journal: Path of the file to append to.
    """

    def __init__(self, journal: str) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._changed = asyncio.Event()
        self.fault, self.argument = "ok", 0.0

    def switch(self, text: str) -> None:
        """Change the fault, and wake up what the last one held."""
        self.fault, _, argument = text.partition(":")
        self.argument = float(argument or 0)
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_changed(self) -> None:
        """Wait for the next fault."""
        await self._changed.wait()

    async def answer(self, signal: Signal, protocol: str, message: bytes) -> Answer:
        """Treat one call as the fault says; cancelled where the caller gives up."""
        while self.fault == "hang":
            await self.until_changed()
            await asyncio.sleep(NOTICING)
        if self.fault == "slow":
            await asyncio.sleep(self.argument)
        refused = self._refusal(signal, message)
        note: dict[str, Any] = {"signal": signal.name, "protocol": protocol, "size": len(message), "at": time.time()}
        if refused is not None:
            self._write({**note, "refused": f"{refused.status.value}"}, b"")
            return refused
        every = int(self.argument) if self.fault == "partial" else 0
        self._write({**note, "every": every}, message)
        rejected = len(signal.decode(message)) // every if every else 0
        if not rejected:
            return Answer(HTTPStatus.OK)
        response = signal.response()
        setattr(response.partial_success, signal.rejected, rejected)
        response.partial_success.error_message = f"every {every}th is rejected"
        return Answer(HTTPStatus.OK, response.SerializeToString())

    def _refusal(self, signal: Signal, message: bytes) -> Answer | None:
        if self.fault in ("400", "429", "503"):
            return Answer(HTTPStatus(int(self.fault)), retry_after=self.argument or None)
        if self.fault == "too_large" and len(message) > self.argument:
            # The words of gRPC itself, which has no code of its own for this.
            reason = f"received message larger than max ({len(message)} vs. {self.argument:g})"
            return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason=reason)
        try:
            signal.request.FromString(message)
        except DecodeError:
            return Answer(HTTPStatus.BAD_REQUEST)
        return None

    def _write(self, note: dict[str, Any], body: bytes) -> None:
        """Append one entry in one write, which a kill cannot divide."""
        entry = json.dumps({**note, "bytes": len(body)}).encode() + b"\n" + body
        if os.write(self._journal, entry) != len(entry):
            os._exit(1)  # the disk is full: no count would be right any more


# -- the two protocols
# --------------------------------------------------------------------------------------------------


def grpc_server(sink: Sink) -> tuple[Any, int]:
    """Make the gRPC server; return it and its port."""

    def handler(signal: Signal) -> Any:
        async def export(message: bytes, context: Any) -> bytes:
            answer = await sink.answer(signal, "grpc", message)
            if answer.status == HTTPStatus.OK:
                return answer.body
            await context.abort(CODES[answer.status], answer.reason, trailing_metadata=details(answer))
            raise AssertionError("abort() raises")

        method = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(signal.service, {"Export": method})

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_GRPC)])
    server.add_generic_rpc_handlers([handler(signal) for signal in SIGNALS])
    return server, server.add_insecure_port(f"{HOST}:0")


def details(answer: Answer) -> tuple[tuple[str, bytes], ...]:
    """Say in gRPC's words when to come back."""
    if answer.retry_after is None:
        return ()
    delay = duration_pb2.Duration(nanos=int(answer.retry_after % 1 * 1e9), seconds=int(answer.retry_after))
    status = status_pb2.Status(code=CODES[answer.status].value[0])
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def http_connection(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, until it ends."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            # The real stores have prefixes: the Collector sends to /otlp/v1/logs as well.
            signal = next((signal for signal in SIGNALS if first.split()[1].endswith(signal.path)), None)
            if signal is None:
                answer: Answer | None = Answer(HTTPStatus.NOT_FOUND)
            elif len(body) > MAX_HTTP:
                answer = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            else:
                message = decompressed(body, fields.get("content-encoding", ""))
                answer = await while_connected(reader, sink.answer(signal, "http", message))
            if answer is None:
                return
            head = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", f"Content-Length: {len(answer.body)}"]
            head += ["Content-Type: application/x-protobuf"]
            head += [f"Retry-After: {answer.retry_after:g}"] if answer.retry_after is not None else []
            writer.write("\r\n".join([*head, "", ""]).encode() + answer.body)
            await writer.drain()


def decompressed(body: bytes, encoding: str) -> bytes:
    """Undo Content-Encoding."""
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
    return body


async def while_connected(reader: asyncio.StreamReader, call: Any) -> Answer | None:
    """Return what the call answers; None, with the call cancelled, where the client leaves before that."""
    answering, leaving = asyncio.ensure_future(call), asyncio.ensure_future(reader.read(1))
    await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
    if answering.done():
        leaving.cancel()
        await asyncio.wait((leaving,))  # two may not read at the same time, and the next request is read soon
        answer: Answer = answering.result()
        return answer
    answering.cancel()
    return None


# -- the faults of connections
# ------------------------------------------------------------------------------------------


async def relay(sink: Sink, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry a client's connection to the server behind it, as far as the fault lets it."""
    inner_reader, inner_writer = await asyncio.open_connection(HOST, port)

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()

    async def carry_in() -> None:
        while data := await reader.read(CHUNK):
            if sink.fault in ("blackhole", "reset"):
                if sink.fault == "blackhole":
                    await sink.until_changed()
                linger = struct.pack("ii", 1, 0)  # close with RST
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            inner_writer.write(data)
            await inner_writer.drain()

    ways = [asyncio.ensure_future(carry_in()), asyncio.ensure_future(carry(inner_reader, writer))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)
    inner_writer.transport.abort()
    writer.transport.abort() if sink.fault == "reset" else writer.close()


async def control_connection(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take one line, the new fault."""
    with contextlib.closing(writer):
        sink.switch((await reader.readline()).decode().strip() or sink.fault)
        writer.write(b"done\n")
        await writer.drain()


async def serve(journal: str, http_port: int, grpc_port: int, control_port: int) -> None:
    """Serve until the process is killed, or whoever started it is gone."""
    starter = os.getppid()
    sink = Sink(journal)
    inner_grpc, inner_grpc_port = grpc_server(sink)
    await inner_grpc.start()
    inner_http = await asyncio.start_server(lambda *ends: http_connection(sink, *ends), HOST, 0)
    inner_http_port = inner_http.sockets[0].getsockname()[1]
    await asyncio.start_server(lambda *ends: relay(sink, inner_http_port, *ends), HOST, http_port)
    await asyncio.start_server(lambda *ends: relay(sink, inner_grpc_port, *ends), HOST, grpc_port)
    await asyncio.start_server(lambda *ends: control_connection(sink, *ends), HOST, control_port)
    while os.getppid() == starter:  # noqa: ASYNC110  no event tells of it
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], *map(int, sys.argv[2:])))
