"""The only place where the application differs by kit and by who writes its log; and the list of what it has used."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from leaks import plants

KIT, LOGS = os.environ["LEAKS_KIT"], os.environ["LEAKS_LOGS"]
used: set[str] = set()
"""The places whose secret was really there."""


def use(place: str) -> str:
    """Return the secret of a place where the application itself plants it."""
    used.add(place)
    return plants.secret(place)


def arrived(place: str, value: object) -> None:
    """Note that the secret of a place came from outside."""
    if plants.secret(place) in str(value):
        used.add(place)


def configure() -> None:
    """Set logging and telemetry up, as far as that is the program's task; a launcher has done it before."""
    if LOGS != "ours":
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="user %(levelname)s %(name)s %(message)s")
    logging.captureWarnings(capture=True)
    if KIT in ("explicit", "unredacted"):
        import otelkit

        options: dict[str, Any] = {}
        if KIT == "unredacted":
            options["redaction"] = otelkit.Redaction(rules=())  # type: ignore[attr-defined]
        elif LOGS == "all":
            options["redaction"] = otelkit.Redaction(user_handlers=True)  # type: ignore[attr-defined]
        otelkit.configure(**options)


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
