"""The only place that tells Celery's own log lines without what they quote: arguments, results, whole messages.

They quote at every level: a message for an unknown task at ERROR with its body and headers, a result at INFO, what goes
to the pool at DEBUG. The records stay as they are for handlers of the application; on the roads of otelkit, and in the
lines of Celery's own handlers, other words stand for them (`otelkit._retold`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelkit import _retold

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY_NAME = ("celery.app.trace", "celery.worker.strategy")
"""Loggers whose lines are made of a mapping."""
_GIVEN = frozenset({"args", "kwargs", "return_value"})
_HIDDEN = frozenset({"data"})
"""The field in which those repeat that mapping."""
_BY_PLACE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "celery.worker.consumer.consumer": {
        "Received unregistered task": (0, 3),
        "Received and deleted unknown message": (),
        "Received invalid task message": (0,),
        "Can't decode message body": (1, 2),
        "Failed to cancel active request": (),
    },
    "celery.worker.strategy": {"Couldn't convert ETA": (0, 1)},
    "celery.pool": {"TaskPool: Apply": (0,)},
    "kombu.pidbox": {"pidbox received method": ()},
}
"""How lines begin, by logger, and which of their arguments are told."""
_CUT: Mapping[str, str] = {
    "celery.worker.request": "(revoked by header: ",
    "celery.beat": "Current schedule:\n",
}
"""Behind which words of a line, by logger, nothing is told: these lines are made before they are logged."""


class _LeftOut:
    """What stands for a value, however a line shows it."""

    def __repr__(self) -> str:
        return "[...]"


_LEFT_OUT = _LeftOut()


def install() -> None:
    """Tell these lines without values from now on."""
    for logger in _loggers():
        logger.addFilter(_without_values)


def uninstall() -> None:
    """Tell them as they are."""
    for logger in _loggers():
        logger.removeFilter(_without_values)


def _loggers() -> Iterator[logging.Logger]:
    return map(logging.getLogger, {*_BY_NAME, *_BY_PLACE, *_CUT})


def _without_values(record: logging.LogRecord) -> bool:
    """Have a record told without what Celery was given, or gave: a filter, which lets every record pass."""
    message = str(record.msg)
    given: Any = record.args
    if isinstance(given, Mapping):
        if record.name in _BY_NAME:
            shown: Any = {key: _LEFT_OUT if key in _GIVEN else value for key, value in given.items()}
            _retold.retell(record, _formatted(message, shown), _HIDDEN)
        return True
    for begin, told in _BY_PLACE.get(record.name, {}).items():
        if message.startswith(begin):
            shown = tuple(value if at in told else _LEFT_OUT for at, value in enumerate(given or ()))
            _retold.retell(record, _formatted(message, shown), _HIDDEN)
    begin, marker, _ = message.partition(_CUT.get(record.name, "\0"))
    if marker:
        _retold.retell(record, f"{_formatted(begin, given)}{marker}{_LEFT_OUT}", _HIDDEN)
    return True


def _formatted(message: str, given: Any) -> str:
    """Return a line made with other arguments; without any where they do not fit a format of the application's own."""
    try:
        return message % given if given else message
    except Exception:  # noqa: BLE001  never into a worker
        return message
