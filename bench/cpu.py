"""The only place that measures the CPU time a request costs, all variants alive at once and taking turns on one core.

The machine's speed changes from one minute to the next, so each round is compared with the bare application in the same
round only; figures of different runs are never compared.
"""

from __future__ import annotations

import contextlib
import os
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from workers import VARIANTS, started

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 20
REQUESTS = 170
_BASES = {"vanilla": "bare", "otelkit": "bare_native"}


def measure(vanilla: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return microseconds of CPU for each request of each variant, of all threads, sending included."""
    core = min(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        workers = {variant: stack.enter_context(started(variant, vanilla)) for variant in VARIANTS}
        for worker in workers.values():
            os.sched_setaffinity(worker.process.pid, {core})
        taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        last: dict[str, Any] = {}
        for number in range(rounds):
            for variant in VARIANTS if number % 2 else reversed(VARIANTS):
                last[variant] = workers[variant].ask(f"run {REQUESTS}")
                taken[variant].append(last[variant]["cpu"] / REQUESTS * 1e6)
        arrived = {variant: worker.received(rounds * REQUESTS) for variant, worker in workers.items()}
    overhead = {
        name: median(mine - its for mine, its in zip(taken[name], taken[base], strict=True))
        for name, base in _BASES.items()
    }
    return {
        "variants": {
            variant: {
                "us_q25": round(quantiles(values, n=4)[0], 1),
                "rss_mb": round(last[variant]["rss_mb"], 1),
                "threads": last[variant]["threads"],
                "arrived": arrived[variant],
                "rounds": [round(value, 1) for value in values],
            }
            for variant, values in taken.items()
        },
        "requests": rounds * REQUESTS,
        "overhead_us": {name: round(value, 1) for name, value in overhead.items()},
        "ratio": round(overhead["otelkit"] / overhead["vanilla"], 3),
    }
