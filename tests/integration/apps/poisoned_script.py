"""A script that makes each hostile call between 50 innocent items and 50 more, one innocent item between any two."""

from __future__ import annotations

import sys

from opentelemetry import _logs, metrics, trace

import otelkit
from support import poison

AROUND = 50
telemetry = otelkit.configure()
api = poison.Api(
    tracer=trace.get_tracer("hostile"), meter=metrics.get_meter("hostile"), logger=_logs.get_logger("hostile")
)
tracer = trace.get_tracer("innocent")
logger = _logs.get_logger("innocent")
counter = metrics.get_meter("innocent").create_counter("innocent")
made = 0


def innocent(times: int = 1) -> None:
    global made  # noqa: PLW0603  a script
    for _ in range(times):
        tracer.start_span(f"innocent {made}").end()
        logger.emit(body=f"innocent {made}")
        counter.add(1)
        made += 1


for place in sys.argv[1:]:
    innocent(AROUND)
    for make in poison.VALUES.values():
        poison.PLACES[place](api, make())
        innocent()
    innocent(AROUND)
    assert telemetry.force_flush(30)
print(made)  # noqa: T201  the test reads it
