"""A program that emits one item of each signal under the name it is given: `python small.py NAME [explicit] [stay]`."""

from __future__ import annotations

import logging
import sys

name, *way = sys.argv[1:]
if "explicit" in way:
    import otelkit

    otelkit.configure()

from opentelemetry import metrics, trace  # noqa: E402  after configure(), as the order that is hardest to get right

with trace.get_tracer(name).start_as_current_span("work"):
    logging.getLogger(name).warning("worked")
metrics.get_meter(name).create_counter("works").add(1)
if "stay" in way:
    sys.stdin.read()
print("done")  # noqa: T201  what must not change
