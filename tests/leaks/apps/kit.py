"""The only place where the application differs by kit and by who writes its log; and the list of what it has used."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from leaks import plants

KIT, LOGS = os.environ["LEAKS_KIT"], os.environ["LEAKS_LOGS"]
_USED = Path(os.environ["LEAKS_USED"])
"""Where all processes note the places whose secret was really there."""


def use(place: str) -> str:
    """Return the secret of a place where the application itself plants it."""
    _note(place)
    return plants.secret(place)


def arrived(place: str, value: object) -> None:
    """Note that the secret of a place came from outside."""
    if plants.secret(place) in str(value):
        _note(place)


def used() -> set[str]:
    """Return the places whose secret was really there, in any process."""
    return set(_USED.read_text(encoding="utf-8").splitlines())


def _note(place: str) -> None:
    with _USED.open("ab", buffering=0) as file:  # one write: lines of several processes never mix
        file.write(f"{place}\n".encode())


class Handler(logging.StreamHandler[TextIO]):
    """The application's own handler, whose lines can be told from all others."""

    def format(self, record: logging.LogRecord) -> str:
        """Mark every line."""
        return "\n".join(f"theirs| {line}" for line in super().format(record).splitlines())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name that logging calls
        """Keep the arguments of a malformed call from stderr, where Python would show them."""
        if LOGS == "all":
            super().handleError(record)


def configure() -> None:
    """Set logging and telemetry up, as far as that is the program's task; a launcher has done it before."""
    if LOGS != "ours":
        logging.basicConfig(handlers=[Handler(sys.stdout)], level=logging.INFO)
    logging.captureWarnings(capture=True)
    if KIT in ("explicit", "unredacted"):
        import otelkit
        from otelkit.integrations.fastapi import FastAPIOptions
        from otelkit.integrations.redis import RedisOptions
        from otelkit.redact import Redaction

        otelkit.configure(
            redaction=Redaction(rules=()) if KIT == "unredacted" else Redaction(user_handlers=LOGS == "all"),
            # Where the application prints its own log, the server shall print its access lines beside it.
            integrations={
                "fastapi": FastAPIOptions(access_event=LOGS == "ours"),
                "redis": RedisOptions(key_words=frozenset({"cart", "user"})),
            },
        )


def flush() -> None:
    """Send everything, by the providers' own method."""
    from opentelemetry import _logs, metrics, trace

    providers: tuple[Any, ...] = (
        trace.get_tracer_provider(),
        metrics.get_meter_provider(),
        _logs.get_logger_provider(),
    )
    for provider in providers:
        provider.force_flush()
