"""The only place that measures what encoding a span costs: CPU time of one thread, the two encoders taking turns.

For otelkit it is paid when a span ends, so the memos see spans one after the other, as here. `fresh` are spans whose
values were never seen before, which no memo helps.
"""

from __future__ import annotations

import time
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from otelkit.otlp.encode import Encoder
from otelkit.redact import Redactor
from spans import ended_spans

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 25
SPANS = 512


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the microseconds that each span takes."""
    spans = ended_spans(SPANS)

    encoder, plain = Encoder(Redactor()), Encoder()
    works: dict[str, tuple[Callable[[], None], Callable[[], Any]]] = {
        "vanilla": (lambda: None, lambda: encode_spans(spans).SerializeToString()),
        "otelkit": (lambda: None, lambda: [encoder.span(span) for span in spans]),
        "otelkit, fresh": (lambda: None, lambda: list(map(Encoder(Redactor()).span, spans))),
        "otelkit, unredacted": (lambda: None, lambda: list(map(plain.span, spans))),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (prepare, work) in works.items():
            prepare()
            started = time.thread_time()
            work()
            taken[name].append((time.thread_time() - started) / SPANS * 1e6)
    return {
        "variants": {
            name: {
                "us_per_span_min": round(min(values), 2),
                "us_per_span_q25": round(quantiles(values, n=4)[0], 2),
                "rounds": [round(value, 2) for value in values],
            }
            for name, values in taken.items()
        }
    }
