"""The only place for the service of a drill that needs none in particular: it emits a little of everything, steadily.

    python -m otelkit.ops.drill._emitter

It runs until its standard input ends, so that it outlives no drill. The line "burst" makes it end more spans at once
than its queue holds, which is a short one: what is too much is dropped, and counted.
"""

from __future__ import annotations

import sys
import threading

from opentelemetry import trace

import otelkit

NAME = "drill"
"""Its `service.name`."""

_PAUSE = 0.1  # seconds between two rounds
_QUEUE = 512
_BURST = 40 * _QUEUE


def main() -> None:
    """Emit until the drill ends."""
    telemetry = otelkit.configure(otelkit.Settings(service_name=NAME, span_queue_size=_QUEUE))
    rounds = otelkit.Catalog(NAME).counter("drill.rounds", unit="{round}", description="Rounds of the drill's service.")
    log = otelkit.get_logger()
    tracer = trace.get_tracer(NAME)
    ended = threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            if line.strip() == "burst":
                for _ in range(_BURST):
                    tracer.start_span("burst").end()
        ended.set()

    threading.Thread(target=obey, daemon=True).start()
    while not ended.wait(_PAUSE):
        with tracer.start_as_current_span("round"):
            log.info("drill.round")
            rounds.add(1)
    telemetry.shutdown()


if __name__ == "__main__":
    main()
