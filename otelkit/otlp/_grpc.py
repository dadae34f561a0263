"""The only place for the gRPC side of the receiver; needs grpcio (the extra `otelkit[grpc]`).

What gRPC refuses by itself (too large, before or after decompression; too many calls) is answered and counted by it.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types

from otelkit.otlp.model import FullError, RawRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelkit.otlp.model import Signal, Take

_SERVICES: dict[str, Signal] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
}
_WORKERS = 32
_CALLS = 64  # at once, those that wait for a worker included; gRPC refuses more (RESOURCE_EXHAUSTED)
_CONNECTIONS = 512
_IDLE_SECONDS = 120
_HANDSHAKE_SECONDS = 10
_MAX_HEAD = 65_536
_CLOSE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 1.0  # for a message, while other calls may be waiting for a worker


class GRPCFront:
    """An OTLP/gRPC server that listens from construction on.

    Messages are taken as bytes, without generated code, so that both fronts share one decoder and raw bytes are kept as
    they came. A message above `max_body` is refused by gRPC itself (RESOURCE_EXHAUSTED) and never seen here.

    A call occupies a worker from its header on, so one without a message could hold it for ever. The method is
    therefore declared as one that takes a stream, which a client cannot tell: a handler of that kind can be cancelled
    while it waits.

    Args:
        host: Address to listen on; an IPv6 address is told by its colons.
        port: TCP port; 0 lets the system choose, see `port`.
        max_body: Largest message in bytes, before decompression as well as after.
        request_timeout: Seconds that a call may keep a worker waiting for its message.
        take: Called with every request.
        refuse: Called with the HTTP status that means the same for every request that is refused.

    Raises:
        OSError: The address cannot be bound.
    """

    def __init__(
        self, *, host: str, port: int, max_body: int, request_timeout: float, take: Take, refuse: Callable[[int], None]
    ) -> None:
        # gRPC tells of a taken port on stderr, and by RuntimeError or by port 0; a socket of ours says it properly.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
        self._take = take
        self._refuse = refuse
        self._request_timeout = request_timeout
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._waiting_lock = threading.Lock()
        self._closed = threading.Event()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="otelkit-otlp-grpc")
        self._server = grpc.server(
            self._workers,
            handlers=[self._handler(service, signal) for service, signal in _SERVICES.items()],
            maximum_concurrent_rpcs=_CALLS,
            options=[
                ("grpc.so_reuseport", 0),  # else a second receiver takes the same port and half of the calls
                ("grpc.max_receive_message_length", max_body),
                ("grpc.absolute_max_metadata_size", _MAX_HEAD),
                ("grpc.max_concurrent_streams", _CALLS),
                ("grpc.max_allowed_incoming_connections", _CONNECTIONS),
                ("grpc.max_connection_idle_ms", _IDLE_SECONDS * 1000),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_SECONDS * 1000),
            ],
        )
        self.port: int = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self._server.start()
        self._watching = threading.Thread(target=self._watch, name="otelkit-otlp-grpc-watch", daemon=True)
        self._watching.start()

    def close(self) -> None:
        """Stop listening; calls that are being answered get one second."""
        self._server.stop(_CLOSE_SECONDS).wait()
        self._workers.shutdown(wait=False, cancel_futures=True)  # a callback that hangs must not hang this
        self._closed.set()
        self._watching.join()

    def _watch(self) -> None:
        """Cancel calls whose messages do not come: in time, and sooner where they hold all workers."""
        while not self._closed.wait(_LOOK_SECONDS):
            now = time.monotonic()
            with self._waiting_lock:
                patience = self._request_timeout if len(self._waiting) < _WORKERS else _PATIENCE_SECONDS
                late = [context for context, since in self._waiting.items() if now - since > patience]
            for context in late:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT.value)
                context.cancel()

    def _message(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """The message of a call; None where there is none.

        Raises:
            grpc.RpcError: The call is over: cancelled, here or by the client, or its message was too large.
        """
        with self._waiting_lock:
            self._waiting[context] = time.monotonic()
        try:
            return next(messages, None)
        finally:
            with self._waiting_lock:
                del self._waiting[context]

    def _handler(self, service: str, signal: Signal) -> grpc.GenericRpcHandler:
        def export(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                body = self._message(messages, context)
            except grpc.RpcError:
                return b""  # nobody reads it
            if body is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
                return b""
            fields: dict[str, str] = {}
            for name, value in context.invocation_metadata():
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                fields[name] = f"{fields[name]}, {text}" if name in fields else text
            try:
                self._take(signal, RawRequest(f"/{service}/Export", fields, body), json=False)
            except ValueError as error:
                self._refuse(HTTPStatus.BAD_REQUEST.value)
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except FullError as error:
                self._refuse(HTTPStatus.TOO_MANY_REQUESTS.value)
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            return b""  # an Export...ServiceResponse without partial_success: all was accepted

        method: Any = grpc.stream_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(service, {"Export": method})
