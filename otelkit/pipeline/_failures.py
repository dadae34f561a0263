"""The only place that decides what is said about failing exports, and how often.

On stderr, since a report through the pipeline that fails is no report: an endpoint's first failure at once, then at
most a line a minute while items are being lost, with endpoint, cause and counts.

What the OpenTelemetry packages log about themselves is caught at the `opentelemetry` logger: left alone it lands in the
application's own handlers (E-59).
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from otelkit._stderr import say, say_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otelkit.pipeline._queue import SignalStats
    from otelkit.settings import Signal

# Clients the exporters use: their own debug output about our traffic is none of the application's business.
_CLIENT_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry", "requests", "grpc", "grpc._channel")
_CONNECT_TIMEOUT = 2.0
_DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 4317}

_MINUTE = 60.0
_ITEMS = {"traces": "spans", "metrics": "metric points", "logs": "log records"}

_exporting: contextvars.ContextVar[bool] = contextvars.ContextVar("otelkit.exporting", default=False)


def origin(endpoint: str) -> tuple[str, int] | None:
    """Name the host and port an endpoint is served from; None where there is no TCP port (unix sockets)."""
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    if parts.hostname is None or parts.scheme == "unix":
        return None
    return parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 4317)


class Failures:
    """What is known about the endpoints of this process, and the ear on the `opentelemetry` loggers.

    Args:
        level: Least severe level of OpenTelemetry's reports that is passed on, `OTEL_LOG_LEVEL`.
        stats: Tells what became of each signal's items.
        redact: Takes what is secret out of what others report.
    """

    def __init__(
        self,
        level: int = logging.WARNING,
        stats: Callable[[], Mapping[str, SignalStats]] = dict,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._level, self._stats, self._redact = level, stats, redact
        self._watched: set[tuple[str, int]] = set()
        self._silent: set[tuple[str, int]] = set()
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child too: what the parent knows of endpoints holds, what it counted is its own."""
        self._lock = threading.RLock()
        self._causes: dict[str, tuple[str, str]] = {}
        self._told: dict[str, int] = {}
        self._told_at = -_MINUTE

    def listen(self) -> None:
        """Take over what the OpenTelemetry loggers report. Idempotent over instances: the newest one listens."""
        logger = logging.getLogger("opentelemetry")
        for handler in list(logger.handlers):
            if isinstance(handler, _Ear):
                logger.removeHandler(handler)
        logger.addHandler(_Ear(self._level, self._redact))
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
    def own_traffic(self) -> Iterator[None]:
        """Mark the current thread as one that exports, so that what clients log there can be told apart."""
        token = _exporting.set(True)
        try:
            yield
        finally:
            _exporting.reset(token)

    def delivered(self, name: str, signal: Signal) -> None:
        """Note that a signal's endpoint took something; say so where drops are due to be told."""
        with self._lock:
            self._silent -= {origin(signal.endpoint)}
            cause = self._causes.pop(name, None)
        self._report(cause[1] if cause else "it takes less than is emitted", name, signal)

    def failed(self, name: str, signal: Signal, cause: str, *, silent: bool = False) -> None:
        """Note that an attempt failed, and say so: once per endpoint at once, then once a minute while items are lost.

        Args:
            name: "traces", "metrics" or "logs".
            signal: Where it should have gone.
            cause: In a few words.
            silent: Whether nobody listens there.
        """
        where = origin(signal.endpoint)
        with self._lock:
            if where is not None:
                (self._silent.add if silent else self._silent.discard)(where)
            self._causes[name] = (signal.shown_endpoint, cause)
        # One endpoint is usually that of all signals: the path differs, the trouble is the same.
        known = f"silent:{where}" if silent else f"failed:{where or signal.shown_endpoint}:{cause}"
        if say_once(
            known,
            f"{name} cannot be delivered to {signal.shown_endpoint}: {cause}. Said once; still trying{self._counts()}.",
        ):
            with self._lock:
                self._told, self._told_at = self._lost(), time.monotonic()
        else:
            self._report(cause, name, signal)

    def left(self, undelivered: Mapping[str, int], signals: Mapping[str, Signal]) -> None:
        """Say what was not delivered when the process left; nothing where it is known that nobody listens.

        Args:
            undelivered: How many items, by signal.
            signals: Where they should have gone.
        """
        lost = {name: count for name, count in undelivered.items() if count}
        if lost and not self.unreachable():
            items = ", ".join(f"{count} {_ITEMS[name]}" for name, count in lost.items())
            late = "there was no time"
            causes = [self._causes.get(name, (signals[name].shown_endpoint, late)) for name in lost]
            told = dict.fromkeys(f"{endpoint}: {cause}" for endpoint, cause in causes)
            say(f"not delivered when the process left: {items} ({'; '.join(told)})")

    def _report(self, cause: str, name: str, signal: Signal) -> None:
        """Say that items of this signal were lost since the last line, at most once a minute for all signals."""
        lost = self._lost()
        with self._lock:
            if lost.get(name, 0) <= self._told.get(name, 0) or time.monotonic() - self._told_at < _MINUTE:
                return
            self._told, self._told_at = lost, time.monotonic()
        say(f"telemetry is lost, {name} to {signal.shown_endpoint}: {cause}{self._counts()}.")

    def _lost(self) -> dict[str, int]:
        return {name: sum(stats.dropped.values()) for name, stats in self._stats().items()}

    def _counts(self) -> str:
        """What is waiting and what was dropped so far, for a person."""
        parts = []
        for name, stats in self._stats().items():
            waiting = [f"{stats.pending} waiting"] if stats.pending else []
            dropped = [f"{count} dropped ({reason})" for reason, count in stats.dropped.items() if count]
            if waiting or dropped:
                parts.append(f"{_ITEMS[name]}: {', '.join(waiting + dropped)}")
        return f"; {'; '.join(parts)}" if parts else ""

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
        return not _exporting.get()


class _Ear(logging.Handler):
    """Turns reports of the OpenTelemetry packages into at most one line each on stderr.

    Args:
        level: Least severe level that is told.
        redact: As above.
    """

    def __init__(self, level: int, redact: Callable[[str], str]) -> None:
        super().__init__(level)
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  a malformed log call of a library must not raise here
            message = str(record.msg)
        say_once(f"opentelemetry:{record.name}:{record.msg}", self._redact(f"{record.name}: {message}"))
