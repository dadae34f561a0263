"""The only place for the service of a drill that needs none in particular: it emits a little of everything, steadily.

    python -m otelkit.ops.drill._emitter

It runs until its standard input ends, so that it outlives no drill. The line "burst" makes it log more at once than its
queue holds: what is too much is dropped, and counted.
"""

from __future__ import annotations

import sys
import threading

from opentelemetry import trace

import otelkit

NAME = "drill"
"""Its `service.name`."""

_PAUSE = 0.1  # seconds between two rounds
_BURST = 20_000


def main() -> None:
    """Emit until the drill ends."""
    telemetry = otelkit.configure(service_name=NAME)
    rounds = otelkit.Catalog(NAME).counter("drill.rounds", unit="{round}", description="Rounds of the drill's service.")
    log = otelkit.get_logger()
    tracer = trace.get_tracer(NAME)
    ended = threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            if line.strip() == "burst":
                for number in range(_BURST):
                    log.info("drill.burst", number=number)
        ended.set()

    threading.Thread(target=obey, daemon=True).start()
    while not ended.wait(_PAUSE):
        with tracer.start_as_current_span("round"):
            log.info("drill.round")
            rounds.add(1)
    telemetry.shutdown()


if __name__ == "__main__":
    main()
