"""The only place that redacts what other handlers print of a record: all of it, or the line that one of them makes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelkit import _retold
from otelkit._sanitise import clean, shown
from otelkit.logs import _event, _roads

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.logs._event import ExcInfo
    from otelkit.redact import Redactor


_TAKEN_APART = frozenset({"uvicorn.access"})
"""Loggers whose formatter takes the arguments one by one, and fails without them; none needs another to be known."""


def redacted(record: logging.LogRecord, redactor: Redactor) -> logging.LogRecord:
    """Return a copy of a record without what is secret in it. Never raises.

    An exception is replaced by one of the same name that says the same and holds no frames: their local variables are
    what some handlers print too.

    Args:
        record: Stays as it is, since the application may have kept it.
        redactor: Knows what is secret.
    """
    try:
        copied = _as_retold(copy.copy(record))
        fields = vars(copied)
        for key in fields.keys() - _event.RECORD:
            fields[key] = told(redactor, key, fields[key])
        _redact_exception(copied, redactor)
        _redact_message(copied, redactor)
    except Exception:  # noqa: BLE001  what cannot be redacted is not told
        _roads.note("log.redaction.failed")
        about = record.name, record.levelno, record.pathname, record.lineno
        return logging.LogRecord(*about, "log.redaction.failed", (), None, record.funcName)
    return copied


def _as_retold(record: logging.LogRecord) -> logging.LogRecord:
    """Have a copy of a record say what is told instead of it, if anything is."""
    instead = _retold.retold(record)
    if instead is not None:
        record.msg, record.args = instead.message, ()
        for name in instead.hidden:
            vars(record).pop(name, None)
    return record


def redacted_event_dict(given: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """Return a copy of an event dictionary of structlog without what is secret in it, exceptions as in a record."""
    result = {key: told(redactor, key, value) for key, value in given.items() if key != "exc_info"}
    if "exc_info" in given:
        found = _event.exc_info(given["exc_info"])
        result["exc_info"] = None if found is None else _stand_in(found, redactor)
    return result


def told(redactor: Redactor, key: str, value: Any) -> Any:
    """Return the value of a field, the very same where nothing in it is secret."""
    if type(value) is str:
        return redactor.value(key, value)
    cleaned = clean(value)
    result = redactor.plain(key, cleaned)
    if result != cleaned:
        return result
    # What was cut off while cleaning a value is printed with it.
    whole = shown(value)
    return value if redactor.text(whole) == whole else result


def _redact_message(record: logging.LogRecord, redactor: Redactor) -> None:
    """Redact the arguments where they are; the whole message where that is not enough."""
    if isinstance(record.msg, Mapping):  # what structlog hands to its ProcessorFormatter
        record.msg = redacted_event_dict(record.msg, redactor)
        return
    given = record.args
    if isinstance(given, Mapping):
        record.args = {key: told(redactor, str(key), value) for key, value in given.items()}
    elif given:
        record.args = tuple(told(redactor, "", value) for value in given)
    message = _formatted(record, record.args)
    if message is None:  # a wrong call, or a number that is a text now
        message = _formatted(record, given)
    if message is None:
        record.msg = redactor.text(shown(record.msg))  # the handler fails as it always did
        return
    if record.args and record.name in _TAKEN_APART:
        return
    if (safe := redactor.text(message)) != message:
        record.msg, record.args = safe, ()
        vars(record).pop("color_message", None)  # uvicorn's second spelling, which takes the same arguments


def _formatted(record: logging.LogRecord, args: Any) -> str | None:
    """Return the message made with these arguments; None where they do not fit."""
    kept, record.args = record.args, args
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a wrong call
        return None
    finally:
        record.args = kept


def _redact_exception(record: logging.LogRecord, redactor: Redactor) -> None:
    found = _event.exc_info(record.exc_info)
    if found is not None:
        text = record.exc_text or _event.formatted(*found)
        record.exc_info, record.exc_text = _stand_in(found, redactor), redactor.text(text)
    elif record.exc_text:
        record.exc_text = redactor.text(record.exc_text)
    if record.stack_info:
        record.stack_info = redactor.text(record.stack_info)


def _stand_in(found: ExcInfo, redactor: Redactor) -> ExcInfo:
    """Make an exception that says what another one says, for handlers that render exceptions by themselves."""
    kind, error, _ = found
    namespace = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    made: Any = type(kind.__name__, (Exception,), namespace)
    other = made(redactor.text(shown(error)))
    other.add_note(redactor.text(_event.formatted(*found)))
    return made, other, None


class Lines:
    """Stands in for the `format` method of a handler, and redacts the line that this makes.

    Args:
        handler: A server's own handler, or Celery's.
        redactor: Returns what knows the secrets at that moment; None where lines stay as they are.
    """

    def __init__(self, handler: logging.Handler, redactor: Callable[[], Redactor | None]) -> None:
        self._format = handler.format
        self._redactor = redactor

    def __call__(self, record: logging.LogRecord) -> str:
        """Return the line."""
        redactor = self._redactor()
        if redactor is None:
            return self._format(record)
        other = _retold.retold(record) is not None
        return redactor.text(self._format(_as_retold(copy.copy(record)) if other else record))

    @classmethod
    def redact(cls, handler: logging.Handler, redactor: Callable[[], Redactor | None]) -> None:
        """Redact the lines of a handler from now on, once."""
        if not isinstance(vars(handler).get("format"), cls):
            handler.format = cls(handler, redactor)  # type: ignore[method-assign]  # the record itself stays as it is
