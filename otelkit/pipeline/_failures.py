"""The only place that notices failing exports and decides what is said about them, and how often.

The exporters report through `logging`. Left alone those records land in the application's own handlers (E-59) or in the
pipeline that is failing; here they are caught at the `opentelemetry` logger, and an endpoint's first failure becomes
one line on stderr.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from otelkit._stderr import say_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelkit.settings import Signal

# Clients the exporters use: their own debug output about our traffic is none of the application's business.
_CLIENT_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry", "requests", "grpc", "grpc._channel")
_CONNECT_TIMEOUT = 2.0
_DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 4317}

_exporting: contextvars.ContextVar[tuple[str, Signal] | None] = contextvars.ContextVar(
    "otelkit.exporting", default=None
)


def origin(endpoint: str) -> tuple[str, int] | None:
    """Name the host and port an endpoint is served from; None where there is no TCP port (unix sockets)."""
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    if parts.hostname is None or parts.scheme == "unix":
        return None
    return parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 4317)


class Failures:
    """What is known about the endpoints of this process, and the ear on the `opentelemetry` loggers.

    Args:
        level: Least severe level of their reports that is passed on, `OTEL_LOG_LEVEL`.
    """

    def __init__(self, level: int = logging.WARNING) -> None:
        self._lock = threading.Lock()
        self._watched: set[tuple[str, int]] = set()
        self._silent: set[tuple[str, int]] = set()
        self._ear = _Ear(self, level)

    def listen(self) -> None:
        """Take over what the OpenTelemetry loggers report. Idempotent over instances: the newest one listens."""
        logger = logging.getLogger("opentelemetry")
        for handler in list(logger.handlers):
            if isinstance(handler, _Ear):
                logger.removeHandler(handler)
        logger.addHandler(self._ear)
        # The records go nowhere else: neither to handlers of the application nor back into the log pipeline.
        logger.propagate = False
        for name in _CLIENT_LOGGERS:
            client = logging.getLogger(name)
            if not any(isinstance(known, _OwnTraffic) for known in client.filters):
                client.addFilter(_OwnTraffic())

    def unreachable(self) -> bool:
        """Tell whether nobody listens at any of the endpoints, as far as is known."""
        with self._lock:
            return bool(self._watched) and self._watched <= self._silent

    @contextlib.contextmanager
    def exporting(self, name: str, signal: Signal) -> Iterator[None]:
        """Mark the current thread as busy with an export, so that what is logged meanwhile can be told apart."""
        token = _exporting.set((name, signal))
        try:
            yield
        finally:
            _exporting.reset(token)

    def delivered(self, signal: Signal) -> None:
        """Note that a signal's endpoint took something."""
        with self._lock:
            self._silent -= {origin(signal.endpoint)}

    def refused(self, name: str, signal: Signal, cause: str) -> None:
        """Say once per endpoint that an export failed, and why."""
        where = origin(signal.endpoint)
        with self._lock:
            known_silent = where in self._silent
        if not known_silent:
            say_once(
                f"export:{signal.endpoint}",
                f"{name} cannot be delivered to {signal.shown_endpoint}: {cause}. Said once; still trying.",
            )

    def probe(self, signals: Iterable[Signal]) -> None:
        """Try to connect to each OTLP endpoint in the background and say once where nobody listens."""
        targets: dict[tuple[str, int], Signal] = {}
        for signal in signals:
            where = origin(signal.endpoint) if "otlp" in signal.exporters else None
            if where is not None:
                targets.setdefault(where, signal)
        with self._lock:
            self._watched = set(targets)
        for where, signal in targets.items():
            scheme = urlsplit(signal.endpoint).scheme
            if getproxies().get(scheme) and not proxy_bypass(where[0]):
                continue  # only the proxy can tell
            threading.Thread(target=self._connect, args=(where, signal), name="otelkit-probe", daemon=True).start()

    def _connect(self, where: tuple[str, int], signal: Signal) -> None:
        try:
            socket.create_connection(where, timeout=_CONNECT_TIMEOUT).close()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA refuses
            with self._lock:
                self._silent.add(where)
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            say_once(
                f"silent:{where}",
                f"nothing answers at {signal.shown_endpoint} ({cause}): telemetry is not delivered there. "
                f"Said once; still trying.",
            )


class _OwnTraffic(logging.Filter):
    """Drops what an HTTP or gRPC client logs while it carries our own exports."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  the thread decides, not the record
        return _exporting.get() is None


class _Ear(logging.Handler):
    """Turns reports of the OpenTelemetry packages into at most one line each on stderr."""

    def __init__(self, failures: Failures, level: int) -> None:
        super().__init__(level)
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  a malformed log call of a library must not raise here
            message = str(record.msg)
        current = _exporting.get()
        if current is not None:
            if record.levelno >= logging.ERROR or "ransient error" in message:
                self._failures.refused(*current, _cause(record, message))
        else:
            say_once(f"opentelemetry:{record.name}:{record.msg}", f"{record.name}: {message}")


def _cause(record: logging.LogRecord, message: str) -> str:
    """Find the short reason in an exporter's report."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        return f"{type(error).__name__}: {error}"
    if isinstance(record.args, tuple):
        for value in record.args:
            if isinstance(value, BaseException):
                return _innermost(value)
    return message


def _innermost(error: BaseException) -> str:
    """Unwrap a client's exception to the operating system's own words ("Connection refused")."""
    seen: BaseException = error
    for _ in range(8):
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
