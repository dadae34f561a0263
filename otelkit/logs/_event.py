"""The only place that turns a log call into an event: one name, one moment, and fields that both roads can carry.

Whatever the application hands over (any object, a `__str__` that raises, a list that contains itself, half a surrogate
pair), the result is bounded and valid in JSON and in OTLP alike, and making it never raises (S-04 in
docs/explanation/facts.md).
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from structlog.contextvars import get_contextvars

from otelkit import _exceptions, _propagation, _retold
from otelkit._sanitise import ITEM_LIMIT, clean, head_and_tail, shown, text, type_name

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.context import Context

_BASE = frozenset({"timestamp", "level", "service", "event", "logger", "trace_id", "span_id"})
"""What otelkit says about every event; an application's field of the same name gets an underscore behind it."""
_LEGACY = frozenset({"otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"})
"""Second spellings of the ids, written by other instrumentation (opentelemetry-python-contrib #5071)."""
_PRIVATE = ("", "_")
RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""Attributes of a `logging.LogRecord` that are no `extra`; `color_message` is uvicorn's text for terminals."""
_ACCESS = frozenset({"uvicorn.access", "gunicorn.access", "hypercorn.access"})
"""Loggers of servers whose lines repeat what a caller wrote: the path, and the address a proxy is said to serve."""
_ACCESS_LIMIT = 512
"""Characters of such a line that are told."""
_OWN = frozenset({"request_id", "celery.task.name", "celery.task.id"})
"""Context variables that otelkit binds."""
_CALL = frozenset({"exc_info", "stack_info", "stacklevel"})
"""Arguments of a log call that are no fields."""
_CHAIN = _CALL | {"event", "level", "level_number", "logger", "timestamp", "exception", "stack", "positional_args"}
"""Keys of a structlog event dictionary that are told otherwise: as the event's own facts, or as `exception.*`."""

ExcInfo = tuple[type[BaseException], BaseException, "TracebackType | None"]


@dataclass(slots=True, kw_only=True)
class Event:
    """Something that was logged.

    Args:
        time_ns: When, in nanoseconds since 1970.
        level: Severity as a number of `logging`.
        level_name: The same as a word, in lower case.
        logger: Name of the logger; the scope in OTLP.
        body: What happened: the event name, or the formatted message.
        fields: Everything else, clean.
        context: The OpenTelemetry context of the call.
        trace_id: 32 hexadecimal digits; None outside of a trace.
        span_id: 16 hexadecimal digits; None outside of a trace.
    """

    time_ns: int
    level: int
    level_name: str
    logger: str
    body: str
    fields: dict[str, Any]
    context: Context
    trace_id: str | None
    span_id: str | None

    @classmethod
    def start(
        cls, logger: str, level: int, body: object, bound: Mapping[str, Any], time_ns: int | None = None
    ) -> Event:
        """Make an event of this context, with its ids.

        Args:
            logger: Name of the logger.
            level: Severity as a number of `logging`.
            body: What happened.
            bound: The context variables that go with it.
            time_ns: When; None for now.
        """
        context = otel_context.get_current()
        span = trace.get_current_span(context).get_span_context()
        event = cls(
            time_ns=time.time_ns() if time_ns is None else time_ns,
            level=level,
            level_name=logging.getLevelName(level).lower(),
            logger=logger,
            body=text(body) if type(body) is str else str(clean(body)),
            fields={},
            context=context,
            trace_id=format(span.trace_id, "032x") if span.is_valid else None,
            span_id=format(span.span_id, "016x") if span.is_valid else None,
        )
        event.add(bound)
        if given := _propagation.listed(context):
            event.add(given)
        return event

    def add(self, given: Mapping[str, Any], known: frozenset[str] = frozenset()) -> None:
        """Add the application's own fields.

        Args:
            given: Fields as they were logged. Keys with an underscore in front are private to their library, and stay.
            known: Keys that are no fields.
        """
        fields = self.fields
        left_out = 0
        for key, value in given.items():
            name = text(key) if type(key) is str else str(clean(key))
            if name in _BASE and name not in known:
                if value is not None and value == getattr(self, name, None):
                    continue  # says what the event says anyway
                name += "_"
            elif name in known or name in _LEGACY or name[:1] in _PRIVATE:
                continue
            if len(fields) < ITEM_LIMIT or name in fields:
                fields[name] = clean(value)
            else:
                left_out += 1
        if left_out:
            fields["otelkit.fields.left_out"] = left_out

    def add_exception(self, found: ExcInfo | None) -> None:
        """Add an exception with its stack and its causes; never the values of local variables."""
        if found is not None:
            kind, error, stack = found
            self.fields["exception.type"] = text(type_name(kind))
            self.fields["exception.message"] = text(shown(error))
            self.fields["exception.stacktrace"] = head_and_tail(text(formatted(kind, error, stack), None))
            self.fields |= _exceptions.told(error)

    def add_stack(self, stack: object) -> None:
        """Add where the call came from, as `stack_info=True` asks."""
        if stack:
            self.fields["code.stacktrace"] = head_and_tail(text(stack if type(stack) is str else shown(stack), None))


def created_ns(record: logging.LogRecord) -> int:
    """When a record was made, as exactly as its floating-point seconds tell: to the microsecond."""
    return round(record.created * 1_000_000) * 1_000


def from_record(record: logging.LogRecord) -> Event:
    """Read a record of stdlib logging, `extra` included; a malformed call becomes an event that says so."""
    error = None
    instead = _retold.retold(record)
    hidden = RECORD if instead is None else RECORD | instead.hidden
    try:
        body: object = record.getMessage() if instead is None else instead.message
        if record.name in _ACCESS:
            body = text(str(body), _ACCESS_LIMIT)
    except Exception as raised:  # noqa: BLE001  the application must not see what its log call did wrong
        body, error = record.msg, raised
    event = Event.start(record.name, record.levelno, body, get_contextvars(), created_ns(record))
    event.add({key: value for key, value in vars(record).items() if key not in hidden})
    if error is not None:
        _malformed(event, error, record.args)
    found = exc_info(record.exc_info)
    event.add_exception(found)
    if found is None and record.exc_text:
        event.fields["exception.stacktrace"] = head_and_tail(text(record.exc_text, None))
    event.add_stack(record.stack_info)
    return event


def from_call(logger: str, level: int, name: object, args: tuple[Any, ...], fields: Mapping[str, Any]) -> Event:
    """Read a call of one of our own loggers."""
    body, error = interpolated(name, args)
    event = Event.start(logger, level, body, get_contextvars())
    event.add(fields, _CALL)
    if error is not None:
        _malformed(event, error, args)
    event.add_exception(exc_info(fields.get("exc_info")))
    stack = fields.get("stack_info")
    event.add_stack("".join(traceback.format_stack(caller())) if stack is True else stack)
    return event


def from_event_dict(
    logger: str, level: int, given: Mapping[str, Any], found: ExcInfo | None, time_ns: int | None = None
) -> Event:
    """Read an event dictionary of structlog as it stands before its renderer.

    Args:
        logger: Name of the logger, unless the chain added one.
        level: Severity as a number of `logging`.
        given: The event dictionary; not changed.
        found: The exception, caught before a processor rendered it.
        time_ns: When; None for now.
    """
    args = given.get("positional_args") or ()
    body, error = interpolated(given.get("event"), args if isinstance(args, tuple) else (args,))
    named = given.get("logger")
    # The chain merges context variables itself, or left them out on purpose: only our own comes on top.
    own = {key: value for key, value in get_contextvars().items() if key in _OWN}
    event = Event.start(named if isinstance(named, str) else logger, level, body, own, time_ns)
    event.add(given, _CHAIN)
    if error is not None:
        _malformed(event, error, args)
    event.add_exception(found)
    rendered = given.get("exception")
    if found is None and isinstance(rendered, str):
        event.fields["exception.stacktrace"] = head_and_tail(text(rendered, None))
    event.add_stack(given.get("stack"))
    return event


def exc_info(given: object) -> ExcInfo | None:
    """Read an `exc_info` argument as `logging` and structlog do: a flag, an exception, or a `sys.exc_info()`."""
    if not given:
        return None
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    found = given if isinstance(given, tuple) else sys.exc_info()
    match found:
        case (type() as kind, BaseException() as error, stack):
            return kind, error, stack
    return None


def caller() -> Any:
    """Return the frame that logged: the first one outside of structlog, `logging` and this package."""
    frame = sys._getframe(1)  # noqa: SLF001  the documented way to look at the stack
    while frame.f_back is not None and _is_logging(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def _is_logging(module: str) -> bool:
    return module in ("otelkit", "logging") or module.startswith(("structlog.", "otelkit.logs"))


def interpolated(name: object, args: tuple[Any, ...]) -> tuple[object, Exception | None]:
    """Fill the arguments into a message, as far as they fit."""
    if not args:
        return "" if name is None else name, None
    try:
        mapping = len(args) == 1 and isinstance(args[0], Mapping) and args[0]
        return str(name) % (mapping or args), None
    except Exception as error:  # noqa: BLE001  the application must not see what its log call did wrong
        return name, error


def _malformed(event: Event, error: Exception, args: object) -> None:
    event.fields["otelkit.log.malformed"] = told(error)
    event.fields["otelkit.log.arguments"] = clean(args)


def told(error: BaseException) -> str:
    """Say in a line what an exception is."""
    return f"{type(error).__name__}: {text(shown(error))}"


def formatted(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> str:
    """Render an exception with its stack and its causes, as far as it lets itself be rendered."""
    try:
        return "".join(traceback.format_exception(kind, error, stack)).rstrip()
    except Exception:  # noqa: BLE001  exceptions may have properties that raise
        return f"{type_name(kind)}: {shown(error)}"
