"""Tells as many requests as asked for, each of a length and an outcome that are known beforehand.

Every tenth fails, of each length alike, where there are ten lengths.
"""

from __future__ import annotations

import sys
import time

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import otelkit


def main(requests: int, lengths: list[float]) -> None:
    """Tell them; what is left is delivered at the exit.

    Args:
        requests: How many.
        lengths: In seconds, one after the other.
    """
    otelkit.configure()
    tracer = trace.get_tracer("shop")
    for number in range(requests):
        start = time.time_ns()
        span = tracer.start_span("GET /orders", kind=SpanKind.SERVER, start_time=start)
        if number // 10 % 10 == number % 10:
            span.set_status(StatusCode.ERROR)
        span.end(start + int(lengths[number % len(lengths)] * 1e9))


if __name__ == "__main__":
    main(int(sys.argv[1]), [float(length) for length in sys.argv[2:]])
