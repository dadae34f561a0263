"""The only place that lists what is done to the Collector and the stores: one table, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from outages import cells
from outages.bench import STORES

if TYPE_CHECKING:
    from collections.abc import Callable

    from outages.bench import Bench

NAMES = {"tempo": "Tempo", "loki": "Loki", "prometheus": "Prometheus"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of the table.

    Args:
        name: What is done, in the words of the page.
        run: Does it, and leaves figures in the bench's verdict.
        quick: Whether it also runs at the quick level.
    """

    name: str
    run: Callable[[Bench], None]
    quick: bool = True


CELLS = (
    *(
        Cell(
            name=f"{NAMES[store]} killed, and back after a minute",
            run=partial(cells.store_killed, signal=signal),
            quick=signal == "traces",  # all are away in the next cell
        )
        for signal, store in STORES.items()
    ),
    Cell(name="all stores away for a minute, the Collector killed meanwhile", run=cells.collector_killed),
    Cell(name="the Collector as a gateway killed", run=cells.gateway_killed),
    *(
        Cell(
            name=f"the queue for {NAMES[store]} full",
            run=partial(cells.queue_full, signal=signal),
            quick=signal == "traces",
        )
        for signal, store in STORES.items()
        if signal != "metrics"
    ),
    Cell(name="the disk of the queues full", run=cells.disk_full, quick=False),
    Cell(
        name="each program stopped by SIGTERM, and started again",
        run=partial(cells.restarted, kill=False),
        quick=False,
    ),
    Cell(name="each program killed, and started again", run=partial(cells.restarted, kill=True)),
)
