"""The only place for the gRPC side of the receiver; needs grpcio (the extra `otelkit[grpc]`)."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types

from otelkit.otlp.model import RawRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.otlp.model import Signal, Take

_SERVICES: dict[str, Signal] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
}
_WORKERS = 4
_CLOSE_SECONDS = 1.0


class GRPCFront:
    """An OTLP/gRPC server that listens from construction on.

    Messages are taken as bytes, without generated code, so that both fronts share one decoder and raw bytes are kept as
    they came. A message above `max_body` is refused by gRPC itself (RESOURCE_EXHAUSTED) and never seen here.

    Args:
        host: Address to listen on; an IPv6 address is told by its colons.
        port: TCP port; 0 lets the system choose, see `port`.
        max_body: Largest message in bytes, before decompression as well as after.
        take: Called with every request.
        refuse: Called with the HTTP status that means the same for every request that is refused.

    Raises:
        OSError: The address cannot be bound.
    """

    def __init__(self, *, host: str, port: int, max_body: int, take: Take, refuse: Callable[[int], None]) -> None:
        # gRPC tells of a taken port on stderr, and by RuntimeError or by port 0; a socket of ours says it properly.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
        self._take = take
        self._refuse = refuse
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="otelkit-otlp-grpc")
        self._server = grpc.server(
            self._workers,
            handlers=[self._handler(service, signal) for service, signal in _SERVICES.items()],
            options=[
                ("grpc.so_reuseport", 0),  # else a second receiver takes the same port and half of the calls
                ("grpc.max_receive_message_length", max_body),
            ],
        )
        self.port: int = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self._server.start()

    def close(self) -> None:
        """Stop listening; calls that are being answered get one second."""
        self._server.stop(_CLOSE_SECONDS).wait()
        self._workers.shutdown(wait=False, cancel_futures=True)  # a callback that hangs must not hang this

    def _handler(self, service: str, signal: Signal) -> grpc.GenericRpcHandler:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            fields: dict[str, str] = {}
            for name, value in context.invocation_metadata():
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                fields[name] = f"{fields[name]}, {text}" if name in fields else text
            try:
                self._take(signal, RawRequest(f"/{service}/Export", fields, body), json=False)
            except ValueError as error:
                self._refuse(HTTPStatus.BAD_REQUEST.value)
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return b""  # an Export...ServiceResponse without partial_success: all was accepted

        method: Any = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(service, {"Export": method})
