"""The only place where an event leaves the process: as a line on stdout, and as a record through the logs API."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import SeverityNumber
from structlog.dev import ConsoleRenderer, plain_traceback

from otelkit._passing import passing

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

    from otelkit.logs._event import Event
    from otelkit.redact import Redactor

_NS = 1_000_000_000
_SCOPE_LIMIT = 1_000
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_CLIENTS = frozenset({"urllib3", "requests", "grpc"})
_EXPORT_THREADS = ("Otel", "otelkit")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {ord("\t"): "\t", ord("\n"): "\n    "}

_note = logging.getLogger("otelkit")
_noted: list[bool] = []
_busy = threading.local()


class OtlpRoad:
    """Emits events through a logger provider, one scope per logger name.

    Args:
        provider: Any provider of the OpenTelemetry logs API.
        redacted: Whether events come here redacted, so that the pipeline need not look again.
    """

    def __init__(self, provider: LoggerProvider, *, redacted: bool = False) -> None:
        self._provider = provider
        self._redacted = redacted
        self._loggers: dict[str, Logger] = {}

    def send(self, event: Event) -> None:
        """Emit one record. What is logged meanwhile, by processors or exporters, is not emitted in turn."""
        if getattr(_busy, "emitting", False):
            return
        _busy.emitting, passing.redacted = True, self._redacted
        try:
            (self._loggers.get(event.logger) or self._logger(event.logger)).emit(
                timestamp=event.time_ns,
                context=event.context,
                severity_number=severity(event.level),
                severity_text=event.level_name.upper(),
                body=event.body,
                attributes=event.fields,
                event_name=event.body if _EVENT_NAME.fullmatch(event.body) else None,
            )
        finally:
            _busy.emitting = passing.redacted = False

    def _logger(self, name: str) -> Logger:
        if len(self._loggers) >= _SCOPE_LIMIT:
            self._loggers.clear()  # names made up per request must not pile up
        logger = self._loggers[name] = self._provider.get_logger(name)
        return logger


class StdoutRoad:
    """Writes events to stdout, whatever `sys.stdout` is at that moment.

    Args:
        service: The service's name, on every JSON line.
        people: Lines for a person instead of JSON.
        colors: Colour them.
    """

    def __init__(self, service: str, *, people: bool = False, colors: bool = False) -> None:
        self._service = service
        self._people = (
            ConsoleRenderer(colors=colors, exception_formatter=plain_traceback, sort_keys=False) if people else None
        )
        self._encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode

    @property
    def format(self) -> str:
        """What a line looks like: "JSON" or "text"."""
        return "JSON" if self._people is None else "text"

    def send(self, event: Event) -> None:
        """Write one line. A stdout that is gone (closed, a broken pipe) loses it, and disturbs nobody."""
        line = self._line(event) if self._people is None else self._text(event)
        stream = sys.stdout
        try:
            with _lock:
                try:
                    stream.write(line + "\n")
                except UnicodeEncodeError:
                    stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
                stream.flush()
        except (OSError, ValueError, AttributeError):  # AttributeError: there is no stdout, as under pythonw
            return

    def _line(self, event: Event) -> str:
        line: dict[str, Any] = {
            "timestamp": f"{_second(event.time_ns // _NS)}.{event.time_ns % _NS // 1000:06d}Z",
            "level": event.level_name,
            "service": self._service,
            "event": event.body,
            "logger": event.logger,
        }
        if event.trace_id is not None:
            line["trace_id"] = event.trace_id
            line["span_id"] = event.span_id
        fields = event.fields
        if "request_id" in fields:
            line["request_id"] = fields["request_id"]
        line.update(fields)
        return self._encode(line)

    def _text(self, event: Event) -> str:
        """Render for a person; control characters are shown, not obeyed, and only our own lines start at the margin."""
        fields = {key: _shown(value) for key, value in event.fields.items()}
        stacks = [fields.pop(key, None) for key in ("code.stacktrace", "exception.stacktrace")]
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(event.time_ns / 1e9).astimezone().strftime("%H:%M:%S.%f")[:-3],
            "level": event.level_name,
            "event": _shown(event.body),
            "logger": event.logger,
            **fields,
        }
        if event.trace_id is not None:
            line["trace_id"] = event.trace_id
        if stack := "\n".join(filter(None, stacks)):
            line["exception"] = stack
        assert self._people is not None  # noqa: S101  the only caller has asked
        return str(self._people(None, event.level_name, line))


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Format the part of a timestamp that many events share."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _shown(value: Any) -> Any:
    return value.translate(_CONTROL) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Active:
    """The roads that are open.

    Args:
        stdout: The way to stdout, None where nothing of ours is written there.
        otlp: The way to OTLP, None where nothing is exported.
        level: Least severe level of our own loggers, and of a root logger that nobody configured.
        redactor: Knows what is secret; None tells everything.
        user_handlers: Whether handlers of the application get redacted records too.
    """

    stdout: StdoutRoad | None
    otlp: OtlpRoad | None
    level: int
    redactor: Redactor | None = None
    user_handlers: bool = False

    def deliver(self, event: Event, *, stdout: bool, otlp: bool) -> None:
        """Send an event on its roads. Never raises.

        Args:
            event: What happened.
            stdout: Whether it may go to stdout; False where another handler writes it there.
            otlp: Whether it may go to OTLP; False where it was, or will be, exported otherwise.
        """
        if event.context and is_own_traffic(event.logger):
            return
        if self.redactor is not None and ((otlp and self.otlp is not None) or (stdout and self.stdout is not None)):
            try:
                event = _redacted(event, self.redactor)
            except Exception:  # noqa: BLE001  what cannot be redacted is not told
                note("log.redaction.failed")
                return
        if otlp and self.otlp is not None:
            try:
                self.otlp.send(event)
            except Exception:  # noqa: BLE001  a processor of the application failed, not the code that logs
                note("log.export.failed")
        if stdout and self.stdout is not None:
            try:
                self.stdout.send(event)
            except Exception:  # noqa: BLE001  the line is lost, the record is not
                note("log.write.failed")


def _redacted(event: Event, redactor: Redactor) -> Event:
    """Return an event without what is secret in it: the very same where nothing is, as others may look at it too."""
    fields = event.fields
    body = redactor.text(event.body)
    told = {redactor.text(key): redactor.plain(key, value) for key, value in fields.items()}
    if body is event.body and told.keys() == fields.keys() and all(map(is_, told.values(), fields.values())):
        return event
    return replace(event, body=body, fields=told)


def is_own_traffic(logger: str) -> bool:
    """Tell whether something is logged because telemetry is being exported: exporting it would never end.

    Inside an export instrumentation is suppressed. An application may suppress it too, round calls that should leave no
    spans, and what it logs there is worth as much as elsewhere: only the exporters' threads and clients are cut off.
    """
    if logger.partition(".")[0] not in _CLIENTS and not threading.current_thread().name.startswith(_EXPORT_THREADS):
        return False
    try:
        # Imported late: with a wrong OTEL_PROPAGATORS this fails until `configure()` has put the variable right, and
        # loggers may be used before that.
        from opentelemetry.instrumentation.utils import is_instrumentation_enabled  # noqa: PLC0415  as said
    except ValueError:
        return False
    return not is_instrumentation_enabled()


def note(event: str) -> None:
    """Leave one trace per process of a failure of our own; called while it is handled."""
    if not _noted:
        _noted.append(True)
        with contextlib.suppress(Exception):
            _note.debug(event, exc_info=True)


@lru_cache(maxsize=64)
def severity(level: int) -> SeverityNumber:
    """Map a level of `logging` to OpenTelemetry's severity: ten levels to four, from TRACE (1) to FATAL4 (24)."""
    if level <= 0:
        return SeverityNumber.UNSPECIFIED
    tens, ones = divmod(min(level, 53), 10)
    return SeverityNumber(1 + 4 * tens + min(ones, 3))


# Reentrant, as a signal handler may log; renewed in a forked child, where its owner may not exist.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603  one stdout, one lock
    _lock = threading.RLock()
    _busy.emitting = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
