"""A script that makes one span and one log record at a time, adds to a counter once, and ends.

    python emit.py COUNT RATE BYTES leave|end

RATE is per second, 0 is as fast as it goes; BYTES is the size of an attribute of each span. "leave" shuts telemetry
down and prints the accounts, "end" just ends.
"""

from __future__ import annotations

from faults.apps import kit

kit.configure()

import logging
import sys
import time

from opentelemetry import metrics, trace

count, rate, size = (int(argument) for argument in sys.argv[1:4])
tracer = trace.get_tracer("emit")
log = logging.getLogger("emit")
log.setLevel(logging.INFO)
print("main begins", flush=True)
begin = time.monotonic()
for number in range(count):
    with tracer.start_as_current_span("item", attributes={"number": number, "fill": "x" * size}):
        pass
    log.info("item %d", number)
    if rate:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
metrics.get_meter("emit").create_counter("items").add(count)
print("main done", time.monotonic(), flush=True)
if sys.argv[4] == "leave":
    kit.leave()
