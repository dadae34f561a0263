"""The only place for receivers that answer what a test tells them to, over HTTP and gRPC, one answer after another.

They take bytes and keep them; what those mean is for `otelkit.otlp.decode`. The last answer of a script is repeated.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # ships no types

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a receiver answers.

    Args:
        status: HTTP status, or the name of a gRPC status.
        body: Body of the answer.
        headers: Header fields; for gRPC, trailing metadata.
        details: gRPC's words beside the status.
        before: Called first; may wait.
    """

    status: int | str = 200
    body: bytes = b""
    headers: Mapping[str, Any] = field(default_factory=dict)
    details: str = ""
    before: Callable[[], object] | None = None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Script:
    """The answers to come, and the requests that came."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = list(replies)
        self._lock = threading.Lock()
        self.heard: list[Heard] = []
        self.port = 0

    def next(self, heard: Heard) -> Reply:
        """Note a request, and tell the answer to it."""
        with self._lock:
            self.heard.append(heard)
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if reply.before is not None:
            reply.before()
        return reply


@contextlib.contextmanager
def http_receiver(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """Answer HTTP requests, over TLS where a context is given."""
    script = Script(replies or [Reply()])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = script.next(Heard(path=self.path, headers=dict(self.headers), body=body))
            self.send_response(int(reply.status))
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's signature
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing: a client may go away, or refuse the certificate."""

    with Server((HOST, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        script.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def grpc_receiver(*replies: Reply, tls: grpc.ServerCredentials | None = None) -> Iterator[Script]:
    """Answer gRPC calls, over TLS where credentials are given; a reply's status is a name, 200 means OK."""
    script = Script(replies or [Reply()])

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped
        def service(self, details: Any) -> Any:
            def export(body: bytes, context: Any) -> bytes:
                fields = {name: str(value) for name, value in details.invocation_metadata}
                reply = script.next(Heard(path=details.method, headers=fields, body=body))
                if reply.status != 200:
                    context.set_trailing_metadata(tuple(reply.headers.items()))
                    context.abort(grpc.StatusCode[str(reply.status)], reply.details)
                return reply.body

            return grpc.unary_unary_rpc_method_handler(export)

    with ThreadPoolExecutor(4) as workers:
        server = grpc.server(workers, handlers=[Handlers()], options=[("grpc.so_reuseport", 0)])
        place = f"{HOST}:0"
        script.port = server.add_secure_port(place, tls) if tls is not None else server.add_insecure_port(place)
        server.start()
        try:
            yield script
        finally:
            server.stop(0.5).wait()
