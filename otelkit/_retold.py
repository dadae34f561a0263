"""The only place that says how a record of stdlib logging is told otherwise than it was logged.

A library may log what it was given to work with: arguments and results of tasks. The record stays as it is for the
handlers of the application; on the roads of otelkit other words stand for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from logging import LogRecord

_KEY = "_otelkit_retold"


class Retold(NamedTuple):
    """What is told instead.

    Args:
        message: Instead of the record's own.
        hidden: Names of fields that are left out.
    """

    message: str
    hidden: frozenset[str]


def retell(record: LogRecord, message: str, hidden: frozenset[str]) -> None:
    """Have a record told otherwise; to be called in a filter of its logger.

    Args:
        record: It stays as it is.
        message: Instead of its own.
        hidden: Names of fields that are left out.
    """
    vars(record)[_KEY] = Retold(message, hidden)


def retold(record: LogRecord) -> Retold | None:
    """Return what is told instead of a record; None where it is told as it is."""
    found: Retold | None = vars(record).get(_KEY)
    return found
