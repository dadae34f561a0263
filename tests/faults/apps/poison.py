"""A script that hands hostile values to telemetry, each between 50 and 50 innocent items, and prints what it noticed.

python poison.py spans|logs|metrics
"""

from __future__ import annotations

from faults.apps import kit

kit.configure()

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace

from support import poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = {
    "spans": ("span name", "span attribute", "event attribute", "status description", "exception passes"),
    "logs": ("log body", "log attribute"),
    "metrics": ("counter attribute", "histogram attribute", "counter amount"),
}
api = poison.Api(
    tracer=trace.get_tracer("poison"), meter=metrics.get_meter("poison"), logger=_logs.get_logger("poison")
)
log = logging.getLogger("poison")
log.setLevel(logging.INFO)
innocents = api.meter.create_counter("innocents")


def cases(kind: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name each hostile call; what has no end would end nothing but the comparison, where a kit reads it to its end."""
    for place in PLACES[kind]:
        for name, make in poison.VALUES.items():
            if not name.startswith("endless"):
                yield f"{place}: {name}", lambda place=place, make=make: poison.PLACES[place](api, make())  # type: ignore[misc]
    if kind == "spans":
        for name, make_error in poison.EXCEPTIONS.items():
            yield f"exception: {name}", lambda make=make_error: poison.PLACES["exception passes"](api, make())  # type: ignore[misc]
    if kind == "logs":
        for name, make_call in poison.LOG_CALLS.items():
            if "endless" not in name and forgiven(*make_call()):
                yield name, lambda make=make_call: call(*make())  # type: ignore[misc]


def forgiven(message: Any, arguments: tuple[Any, ...], _: dict[str, Any]) -> bool:
    """Tell whether Python's own logging takes the call, before any handler of anybody sees it."""
    try:
        logging.LogRecord("poison", logging.INFO, "", 1, message, arguments, None)
    except RuntimeError:
        return False
    return True


def call(message: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Log as an application does."""
    log.info(message, *arguments, **keywords)


def innocent(kind: str, case: int, numbers: range) -> None:
    """Emit what must arrive."""
    for number in numbers:
        match kind:
            case "spans":
                api.tracer.start_span("innocent", attributes={"case": case, "number": number}).end()
            case "logs":
                log.info("innocent %d %d", case, number)
            case "metrics":
                innocents.add(1)


def main(kind: str) -> None:
    """Go through all cases of one kind."""
    todo = list(cases(kind))
    print("cases", len(todo), flush=True)
    raised = []
    for case, (name, hostile) in enumerate(todo):
        innocent(kind, case, range(50))
        try:
            hostile()
        except BaseException as error:  # noqa: BLE001  that nothing raises is what is looked at
            raised.append(f"{name}: {type(error).__name__}")
        innocent(kind, case, range(50, 100))
        kit.flush()
    print("raised", json.dumps(raised), flush=True)


main(sys.argv[1])
