"""A service with otelkit's defaults that does something at a steady pace, and prints when it did."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time

from opentelemetry import trace

import otelkit

EVENTS = int(sys.argv[1])
PAUSE = 0.7  # seconds between two; no multiple of what waits on the way

catalog = otelkit.Catalog("fresh")
DONE = catalog.counter("fresh.done", unit="{event}", description="Events so far.")
# A bucket each: of a bucket only the newest exemplar is kept.
TOOK = catalog.histogram("fresh.took", unit="s", description="Numbers.", buckets=[n + 0.5 for n in range(EVENTS)])

otelkit.configure()
log = otelkit.get_logger()
tracer = trace.get_tracer("fresh")

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
for number in range(EVENTS):
    with tracer.start_as_current_span("event") as span:
        DONE.add(1)
        TOOK.record(float(number))
        log.info("event", number=number)
    told = {"number": number, "trace": f"{span.get_span_context().trace_id:032x}", "at": time.time()}
    print("told", json.dumps(told), flush=True)
    stop.wait(PAUSE)
stop.wait()
