"""The only place for the HTTP side of the receiver: OTLP/HTTP 1.x, protobuf and JSON, on the standard library.

A refusal is a 4xx with a `google.rpc.Status` that says what was wrong, in the encoding of the request (OTLP
specification, "OTLP/HTTP Response"). It costs nothing but that request, and the connection only where the next request
could not be found in it any more.

Clients may be hostile: heads, bodies, connections and threads are bounded in number and in bytes, a request also in the
seconds that it may take to arrive.
"""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
import re
import socket
import socketserver
import threading
import time
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from otelkit.otlp._crowd import Crowd, shut
from otelkit.otlp.model import FullError, RawRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.otlp._crowd import Seat
    from otelkit.otlp.model import Signal, Take

_PATHS: dict[str, Signal] = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_ENCODINGS = "gzip, deflate"
_INVALID_ARGUMENT = 3  # of google.rpc.Code

_IDLE_SECONDS = 120.0  # longer than the usual export interval (60 s): a client shall not meet a connection just closing
_LINGER_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
_POLL_SECONDS = 0.05

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_MAX_CHUNK_LINE = 1024
_MAX_TRAILERS = 100
_MAX_HEAD = 131_072  # bytes of request line and header; http.server would take 100 lines of half this size
_MAX_LENGTH_DIGITS = 18
_MAX_MEMBERS = 64  # of a gzip body: each costs more than its bytes
_MAX_QUOTE = 100
_PIECE = 65_536  # bytes of a body that are read at once
_INFLATED_PIECE = 1 << 20

MAX_CONNECTIONS = 128
_BODIES = 8  # of the largest size may be in memory at once, compressed and decompressed ones alike
_TURNED_AWAY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class HTTPFront(socketserver.ThreadingTCPServer):
    """An OTLP/HTTP server that listens from construction on, with one daemon thread for each connection.

    It is not an `http.server.HTTPServer`, which asks the resolver for the host's name: slow where DNS is broken.

    Args:
        host: Address to listen on; an IPv6 address is told by its colons.
        port: TCP port; 0 lets the system choose, see `port`.
        max_body: Largest body in bytes, before decompression as well as after.
        request_timeout: Seconds that a request may take to arrive, from its first byte on.
        take: Called with every request of a right path, method and type.
        refuse: Called with the status of every request that is refused.

    Raises:
        OSError: The address cannot be bound.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, *, host: str, port: int, max_body: int, request_timeout: float, take: Take, refuse: Callable[[int], None]
    ) -> None:
        self.max_body = max_body
        self.request_timeout = request_timeout
        self.take = take
        self.refuse = refuse
        self.closing = False
        self.crowd = Crowd(seats=MAX_CONNECTIONS, size=_BODIES * max_body)
        self._serving: dict[threading.Thread, Seat] = {}
        self._serving_lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Exchange)
        self.port: int = self.server_address[1]
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="otelkit-otlp-http", daemon=True
        )
        self._accepting.start()

    def close(self) -> None:
        """Stop listening and end every connection: an idle one at once, a busy one after its answer or one second."""
        self.closing = True
        self.shutdown()
        self._accepting.join()
        self.server_close()
        with self._serving_lock:
            threads = dict(self._serving)
        for seat in threads.values():
            shut(
                seat.connection, socket.SHUT_RD
            )  # a thread that waits for the next request reads the end of the stream
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for thread, seat in threads.items():
            if thread.is_alive():
                shut(seat.connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread of its own, remembered for `close`."""
        seat = self.crowd.admit(request)
        if seat is None:
            self._turn_away(request)
            return
        thread = threading.Thread(
            target=self._serve_connection, args=(seat, client_address), name="otelkit-otlp-connection", daemon=True
        )
        with self._serving_lock:
            self._serving[thread] = seat
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._forget(thread)
            self._turn_away(request)

    def seat(self) -> Seat:
        """The seat of the connection that the current thread serves."""
        with self._serving_lock:
            return self._serving[threading.current_thread()]

    def _serve_connection(self, seat: Seat, client_address: Any) -> None:
        try:
            self.process_request_thread(seat.connection, client_address)
        finally:
            self._forget(threading.current_thread())

    def _forget(self, thread: threading.Thread) -> None:
        with self._serving_lock:
            seat = self._serving.pop(thread)
        self.crowd.leave(seat)

    def _turn_away(self, request: socket.socket) -> None:
        self.refuse(HTTPStatus.TOO_MANY_REQUESTS.value)
        request.settimeout(0)
        with contextlib.suppress(OSError):  # an answer is a courtesy here
            request.send(_TURNED_AWAY)
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: what ends here is a client that went away in the middle of an exchange."""


class _RefusedError(Exception):
    """A request that gets a 4xx.

    Args:
        status: Status of the answer.
        reason: One line for whoever looks after the client.
        header: A header field, name and value, that says what would be right.
        keep: False where the end of the request is unknown or too far, so that the connection must close.
    """

    def __init__(
        self, status: HTTPStatus, reason: str, *, header: tuple[str, str] | None = None, keep: bool = True
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.header = header
        self.keep = keep


class _Source(io.RawIOBase):
    """The bytes of one connection: each request has a time in which it must arrive, and its head a size.

    Args:
        connection: Where they come from.
        request_timeout: Seconds from the first byte of a request to its last.
    """

    def __init__(self, connection: socket.socket, request_timeout: float) -> None:
        super().__init__()
        self._connection = connection
        self._request_timeout = request_timeout
        self.begin()

    def begin(self) -> None:
        """Wait for the next request."""
        self._deadline: float | None = None
        self._head_left: int | None = _MAX_HEAD

    def head_is_read(self) -> None:
        """What follows is the body, which whoever reads it bounds."""
        self._head_left = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there.

        Raises:
            _RefusedError: The request takes too long, or its head is too large.
        """
        if self._head_left is not None and self._head_left <= 0:
            raise _RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the header is larger than {_MAX_HEAD} bytes", keep=False
            )
        wait = _IDLE_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        try:
            self._connection.settimeout(max(wait, 0.001))  # 0 would mean not to wait at all
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            if self._deadline is None:
                return 0  # no request: as if the client had closed
            reason = f"the request did not arrive within {self._request_timeout:g} s"
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, reason, keep=False) from None
        if self._deadline is None:
            self._deadline = time.monotonic() + self._request_timeout
        if self._head_left is not None:
            self._head_left -= count
        return count


class _Exchange(BaseHTTPRequestHandler):
    """Reads the requests of one connection, answers each."""

    server: HTTPFront
    command = requestline = ""  # until a request has been read: http.server sets them late
    request_version = "HTTP/1.1"
    protocol_version = "HTTP/1.1"
    server_version = "otelkit"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True  # header and body are two writes; together they would wait for a delayed ACK (40 ms)

    def setup(self) -> None:
        """Read through `_Source` instead of the socket's own file."""
        super().setup()
        self.rfile.close()
        self._source = _Source(self.connection, self.server.request_timeout)
        self.rfile = io.BufferedReader(self._source, _PIECE)
        self._seat = self.server.seat()

    def handle_one_request(self) -> None:
        """Refuse a request that never becomes one; http.server does the rest."""
        self.server.crowd.waits(self._seat)
        self._source.begin()
        try:
            super().handle_one_request()
        except _RefusedError as refused:
            self._refuse(refused)

    def do_POST(self) -> None:
        """Take one export request, or say why not."""
        self._source.head_is_read()
        try:
            body = self._body()  # first, so that a refused request is over and the connection good for the next
            if not self.server.crowd.serves(self._seat):
                self.close_connection = True
                return
            signal = self._signal()
            is_json = self._is_json()
            body = _decompressed(body, self.headers.get("Content-Encoding", ""), self.server.max_body, self._make_room)
            try:
                self.server.take(signal, RawRequest(self.path, self._fields(), body), json=is_json)
            except ValueError as error:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
            except FullError as error:
                raise _too_much(str(error)) from error
        except _RefusedError as refused:
            self._refuse(refused)
        else:
            self.server.crowd.waits(self._seat)
            # An Export...ServiceResponse without partial_success, which must be unset when all was accepted.
            self._answer(HTTPStatus.OK, _JSON if is_json else _PROTOBUF, b"{}" if is_json else b"")

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815  http.server's names; all but POST end in a 405

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002  http.server's signature
        """Refuse what http.server itself could not read as a request."""
        status = HTTPStatus(code)
        self.request_version = (
            self.protocol_version
        )  # else what has no version would get no status line, as in HTTP/0.9
        self._refuse(_RefusedError(status, message or status.phrase, keep=False))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's signature
        """Print nothing."""

    def _signal(self) -> Signal:
        try:
            path = urlsplit(self.path).path
        except ValueError as error:  # the absolute form, with a host that is none
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the request target is no URL: {error}") from error
        signal = _PATHS.get(path)
        if signal is None:
            asked = path[:_MAX_QUOTE]
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"no such path: {asked}; there are {', '.join(_PATHS)}")
        if self.command != "POST":
            raise _RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not possible here, POST is", header=("Allow", "POST")
            )
        return signal

    def _media_type(self) -> str:
        headers = getattr(self, "headers", None)  # http.server may refuse before it has read any
        return headers.get_content_type() if headers is not None and "Content-Type" in headers else ""

    def _is_json(self) -> bool:
        media_type = self._media_type()
        if media_type not in (_JSON, _PROTOBUF):
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Type is {media_type or 'missing'}; it must be {_PROTOBUF} or {_JSON}",
                header=("Accept", f"{_PROTOBUF}, {_JSON}"),
            )
        return media_type == _JSON

    def _fields(self) -> dict[str, str]:
        return {name.lower(): ", ".join(self.headers.get_all(name, ())) for name in self.headers}

    def _body(self) -> bytes:
        lengths = set(self.headers.get_all("Content-Length", ()))
        transfer = self.headers.get("Transfer-Encoding")
        if transfer is not None:
            if lengths or transfer.strip().lower() != "chunked":
                raise _unframed("Transfer-Encoding must be chunked, and alone")
            return self._chunks()
        length = lengths.pop() if lengths else "0"
        if lengths or not (length.isascii() and length.isdigit()):
            raise _unframed("Content-Length is not one number")
        if len(length) > _MAX_LENGTH_DIGITS or int(length) > self.server.max_body:
            raise _too_large(self.server.max_body, keep=False)
        body = bytearray()
        self._read_into(body, int(length))
        return bytes(body)

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > self.server.max_body:
                raise _too_large(self.server.max_body, keep=False)
            self._read_into(body, size)
            if self.rfile.readline(2) not in (b"\r\n", b"\n"):
                raise _unframed("a chunk is longer than its size")
        for _ in range(_MAX_TRAILERS):
            if self.rfile.readline(_MAX_CHUNK_LINE) in (b"\r\n", b"\n", b""):
                return bytes(body)
        raise _unframed("too many trailers")

    def _chunk_size(self) -> int:
        matched = _CHUNK_SIZE.fullmatch(self.rfile.readline(_MAX_CHUNK_LINE))
        if matched is None:
            raise _unframed("a chunk has no size")
        return int(matched[1], 16)

    def _read_into(self, body: bytearray, size: int) -> None:
        """Read so many bytes, in pieces: what a header announces takes no memory before it is there."""
        while size:
            piece = self.rfile.read(min(size, _PIECE))
            if not piece:
                raise _unframed("the body ends early")
            self._make_room(len(piece))
            body += piece
            size -= len(piece)

    def _make_room(self, size: int) -> None:
        if not self.server.crowd.takes(self._seat, size):
            raise _too_much("too many large requests at once", keep=False)

    def _refuse(self, refused: _RefusedError) -> None:
        self.server.refuse(refused.status.value)
        self.server.crowd.waits(self._seat)
        if self._media_type() == _PROTOBUF:
            media_type, body = _PROTOBUF, _status_message(refused.reason)
        else:
            media_type = _JSON
            body = jsonlib.dumps({"code": _INVALID_ARGUMENT, "message": refused.reason}).encode()
        self._answer(refused.status, media_type, body, header=refused.header, keep=refused.keep)
        if not refused.keep:
            self._linger()

    def _answer(
        self,
        status: HTTPStatus,
        media_type: str,
        body: bytes,
        *,
        header: tuple[str, str] | None = None,
        keep: bool = True,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if header is not None:
            self.send_header(*header)
        if not keep or self.server.closing:
            self.send_header("Connection", "close")  # http.server notices
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _linger(self) -> None:
        """Read on for a moment: closing with unread input resets the connection, and the client loses the answer."""
        deadline = time.monotonic() + _LINGER_SECONDS
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 16):
                    return
        except OSError:
            return


def _status_message(reason: str) -> bytes:
    from google.rpc.status_pb2 import (  # type: ignore[import-untyped]  # noqa: PLC0415  it has no types, and is loaded on use only
        Status,
    )

    message: bytes = Status(code=_INVALID_ARGUMENT, message=reason).SerializeToString()
    return message


def _unframed(reason: str) -> _RefusedError:
    return _RefusedError(HTTPStatus.BAD_REQUEST, reason, keep=False)


def _too_large(limit: int, *, keep: bool = True) -> _RefusedError:
    return _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes", keep=keep)


def _too_much(reason: str, *, keep: bool = True) -> _RefusedError:
    return _RefusedError(HTTPStatus.TOO_MANY_REQUESTS, reason, header=("Retry-After", "1"), keep=keep)


def _decompressed(body: bytes, encoding: str, limit: int, make_room: Callable[[int], None]) -> bytes:
    """Undo Content-Encoding, never making more than `limit` bytes and a piece."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            window, members = 16 + zlib.MAX_WBITS, _MAX_MEMBERS
        case "deflate":
            window, members = zlib.MAX_WBITS, 1
        case _:
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding is {encoding[:_MAX_QUOTE]}; possible are {_ENCODINGS}",
                header=("Accept-Encoding", _ENCODINGS),
            )
    plain = bytearray()
    try:
        for _ in range(members):
            inflater = zlib.decompressobj(window)
            while not inflater.eof:
                piece = inflater.decompress(body, _INFLATED_PIECE)
                body = inflater.unconsumed_tail
                if not (piece or body or inflater.eof):
                    raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the {encoding} body ends early")
                if len(plain) + len(piece) > limit:
                    raise _too_large(limit)
                make_room(len(piece))
                plain += piece
            body = inflater.unused_data.lstrip(b"\0")  # padding, as gzip allows it (RFC 1952 §2.2: members follow on)
            if not body:
                return bytes(plain)
    except zlib.error as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not {encoding}: {error}") from error
    raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the {encoding} body goes on behind its end")
