"""The only place that keeps received telemetry: an in-process OTLP sink over HTTP and gRPC.

It is for tests, demonstrations and a developer's own machine: what arrives stays in memory until `clear()`, it listens
on loopback unless told otherwise, and it neither authenticates nor encrypts. It prints nothing.

Whoever reaches it may be hostile: time, threads and memory that clients can take are bounded, the store as well.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from otelkit.otlp._http import HTTPFront
from otelkit.otlp.decode import decode_logs, decode_metrics, decode_traces
from otelkit.otlp.model import FullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from otelkit.otlp._grpc import GRPCFront
    from otelkit.otlp.model import LogRecord, Point, RawRequest, Signal, Span

_logger = logging.getLogger("otelkit")

_DECODE: dict[Signal, Callable[..., list[Any]]] = {
    "traces": decode_traces,
    "metrics": decode_metrics,
    "logs": decode_logs,
}

MAX_BODY = 20 * 1024 * 1024
"""Default bound of a request in bytes; that of the Collector's HTTP receiver."""

MAX_STORE = 1 << 30
"""Default bound of what is kept, in bytes of memory by the estimate of `_weight`."""

_SMALL = 65_536
_LARGE_AT_ONCE = 2
_OBJECT = 256  # bytes of an item's own objects in memory, about
_GROWTH = 8  # bytes in memory for one on the wire: texts become strings in tuples and dicts


class Receiver:
    """Takes OTLP from construction on until `close()`; a context manager.

        with Receiver() as receiver:
            ...  # something exports to receiver.http_url
            assert receiver.wait_for(lambda: len(receiver.spans()) >= 3, timeout=5)

    All methods may be called from any thread.

    Args:
        http_port: Port for http/protobuf and http/json; 0 lets the system choose.
        grpc_port: Port for gRPC, 0 lets the system choose; None is no gRPC. Needs grpcio.
        host: Address to listen on.
        max_body: Largest request in bytes, before decompression as well as after; more is refused (HTTP 413, gRPC
            RESOURCE_EXHAUSTED).
        max_store: Bytes of memory, estimated, that the store may take; when it is full, requests are refused (HTTP 429,
            gRPC RESOURCE_EXHAUSTED) until `clear()`.
        request_timeout: Seconds that a request may take to arrive, from its first byte on; a slower one is refused
            (HTTP 408, gRPC CANCELLED).
        keep_raw: Also keep the bytes of each request, for searching them: see `raw()`.
        on_export: Called as `on_export(signal, items)` in the serving thread after each request was kept and before it
            is answered. What it raises is logged at debug level and changes nothing.

    Raises:
        OSError: An address cannot be bound.
        ImportError: `grpc_port` is given and grpcio is not installed.
    """

    def __init__(
        self,
        *,
        http_port: int = 0,
        grpc_port: int | None = None,
        host: str = "127.0.0.1",
        max_body: int = MAX_BODY,
        max_store: int = MAX_STORE,
        request_timeout: float = 30.0,
        keep_raw: bool = False,
        on_export: Callable[[Signal, list[Any]], None] | None = None,
    ) -> None:
        self._changed = threading.Condition()  # re-entrant, so that a predicate may ask for spans()
        self._items: dict[Signal, list[Any]] = {signal: [] for signal in _DECODE}
        self._raw: list[RawRequest] = []
        self._requests: Counter[Signal] = Counter()
        self._refusals: Counter[int] = Counter()
        self._max_store = max_store
        self._weight = 0
        # Decoding a large request takes a multiple of its size; what is small need not wait for it.
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._keep_raw = keep_raw
        self._on_export = on_export
        self._grpc: GRPCFront | None = None
        self._host = f"[{host}]" if ":" in host else host
        self._http = HTTPFront(
            host=host,
            port=http_port,
            max_body=max_body,
            request_timeout=request_timeout,
            take=self._take,
            refuse=self._refuse,
        )
        if grpc_port is not None:
            try:
                from otelkit.otlp._grpc import GRPCFront  # noqa: PLC0415  grpcio is optional, and slow to import

                self._grpc = GRPCFront(
                    host=host,
                    port=grpc_port,
                    max_body=max_body,
                    request_timeout=request_timeout,
                    take=self._take,
                    refuse=self._refuse,
                )
            except BaseException:
                self._http.close()
                raise

    def __enter__(self) -> Self:
        """Return the receiver, which listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop receiving and end every connection, a busy one after a second at most; the store stays readable."""
        self._http.close()
        if self._grpc is not None:
            self._grpc.close()

    @property
    def http_url(self) -> str:
        """Base URL for OTLP/HTTP: what OTEL_EXPORTER_OTLP_ENDPOINT expects."""
        return f"http://{self._host}:{self._http.port}"

    @property
    def grpc_endpoint(self) -> str:
        """URL for OTLP/gRPC, insecure.

        Raises:
            RuntimeError: The receiver was made without `grpc_port`.
        """
        if self._grpc is None:
            msg = "this receiver takes no gRPC: it was made without grpc_port"
            raise RuntimeError(msg)
        return f"http://{self._host}:{self._grpc.port}"

    def spans(self) -> list[Span]:
        """Every span received, in order of arrival."""
        with self._changed:
            return list(self._items["traces"])

    def points(self) -> list[Point]:
        """Every metric data point received, in order of arrival."""
        with self._changed:
            return list(self._items["metrics"])

    def logs(self) -> list[LogRecord]:
        """Every log record received, in order of arrival."""
        with self._changed:
            return list(self._items["logs"])

    def traces(self) -> dict[str, list[Span]]:
        """Return the spans by trace id, each trace ordered by start."""
        traces: dict[str, list[Span]] = {}
        for span in sorted(self.spans(), key=lambda span: span.start_ns):
            traces.setdefault(span.trace_id, []).append(span)
        return traces

    def raw(self) -> list[RawRequest]:
        """Every request that could be read, malformed ones too, as (path, headers, decompressed body).

        Empty without `keep_raw`.
        """
        with self._changed:
            return list(self._raw)

    @property
    def requests(self) -> Counter[Signal]:
        """Requests accepted, by signal ("traces", "metrics", "logs")."""
        with self._changed:
            return self._requests.copy()

    @property
    def refusals(self) -> Counter[int]:
        """Requests refused, by HTTP status; a malformed gRPC message counts as 400."""
        with self._changed:
            return self._refusals.copy()

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Wait until `predicate()` is true, asked again whenever something arrived.

        Args:
            predicate: Called with the store locked: it sees a consistent state, and must not wait for another thread
                that uses this receiver.
            timeout: Seconds.

        Returns:
            Whether the predicate was true in time.
        """
        with self._changed:
            return bool(self._changed.wait_for(predicate, timeout))

    def clear(self) -> None:
        """Forget everything received and every count."""
        with self._changed:
            for items in self._items.values():
                items.clear()
            self._raw.clear()
            self._requests.clear()
            self._refusals.clear()
            self._weight = 0

    def _take(self, signal: Signal, request: RawRequest, *, json: bool) -> None:
        if self._keep_raw:
            self._make_room(len(request.body) + _OBJECT)
            with self._changed:
                self._raw.append(request)
        with contextlib.nullcontext() if len(request.body) <= _SMALL else self._large:
            items = _DECODE[signal](request.body, json=json)
        self._make_room(_weight(request.body, items))
        with self._changed:
            self._items[signal] += items
            self._requests[signal] += 1
            self._changed.notify_all()
        if self._on_export is not None:
            try:
                self._on_export(signal, items)
            except Exception:  # the callback is the caller's, and the exporter must get its answer
                _logger.debug("on_export failed", exc_info=True)

    def _make_room(self, weight: int) -> None:
        with self._changed:
            if self._weight + weight > self._max_store:
                raise FullError("the receiver is full; clear() makes room")
            self._weight += weight

    def _refuse(self, status: int) -> None:
        with self._changed:
            self._refusals[status] += 1
            self._changed.notify_all()


def _weight(body: bytes, items: list[Any]) -> int:
    """Estimate the memory that the items of a request take."""
    parts = sum(
        1 + len(getattr(item, "events", ())) + len(getattr(item, "links", ())) + len(getattr(item, "exemplars", ()))
        for item in items
    )
    return _GROWTH * len(body) + _OBJECT * parts
