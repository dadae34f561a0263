"""The only place that measures how soon telemetry is found, with otelkit's defaults; the run prints the table last.

No time is asserted but a deadline that only what never arrives misses: the figures are for people.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.errors import QueryError
from support.processes import PYTHON, Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

APP = Path(__file__).parent / "apps" / "fresh.py"
EVENTS = 8
DEADLINE = 90.0
METRIC_INTERVAL = 1.0  # seconds; the default of 15 would make the measurement of its own wait
_PAUSE = 0.02


@dataclass
class Road:
    """One way from an event to a person who looks for it.

    Args:
        name: What is looked for, and how.
        waits: What takes time on the way, by default.
        found: Tells the numbers of the events that are found so far.
        delays: Seconds from event to found, by the event's number.
    """

    name: str
    waits: str
    found: Callable[[], set[int]]
    delays: dict[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the line of the table."""
        delays = list(self.delays.values())
        return f"{self.name:36} {statistics.median(delays):6.2f} s {max(delays):6.2f} s  {self.waits}"


def told(app: Process) -> list[dict[str, float | str]]:
    """Return the events that the service told of so far."""
    lines = (line.partition("told ")[2] for line in app.stdout.splitlines() if line.startswith("told {"))
    return [json.loads(line) for line in lines]


def watch(road: Road, app: Process, stop: threading.Event) -> None:
    """Look for the events until all are found."""
    while len(road.delays) < EVENTS and not stop.wait(_PAUSE):
        events = {int(each["number"]): float(each["at"]) for each in told(app)}
        try:
            found = road.found()
        except QueryError:
            continue  # it will be asked again, until the deadline
        now = time.time()
        for number in found & events.keys() - road.delays.keys():
            road.delays[number] = max(0.0, now - events[number])


def roads(query: Lgtm, app: Process, service: str) -> list[Road]:
    """Return every way that is measured."""
    mine = {"service_name": service}

    def by_trace() -> dict[str, int]:
        return {str(each["trace"]): int(each["number"]) for each in told(app)}

    def logs() -> set[int]:
        # Not those that otelkit writes of its own.
        found = (record.attributes.get("number") for record in query.logs(service=service))
        return {int(str(number)) for number in found if number is not None}

    def spans_by_id() -> set[int]:
        return {number for trace_id, number in by_trace().items() if query.trace(trace_id)}

    def spans_by_search() -> set[int]:
        numbers = by_trace()
        return {numbers[hit.trace_id] for hit in query.traces(service=service) if hit.trace_id in numbers}

    def counted(series: str) -> Callable[[], set[int]]:
        return lambda: set(range(round(max((each.value for each in query.samples(series, mine)), default=0))))

    def exemplars() -> set[int]:
        numbers = by_trace()
        found = query.exemplars("fresh_took_seconds_bucket", mine)
        return {numbers[each.trace_id] for each in found if each.trace_id in numbers}

    interval = f"metric interval {METRIC_INTERVAL:g} s here, 15 s by default"
    return [
        Road("log record, by LogQL", "log delay 0.2 s, batch of the Collector 0.2 s", logs),
        Road("trace, by its id", "span delay 5 s, batch of the Collector 0.2 s", spans_by_id),
        Road("trace, by TraceQL", "the same, Tempo writes it down after 1 to 2 s", spans_by_search),
        Road("series, by PromQL", f"{interval}, batch of the Collector 0.2 s", counted("fresh_done_total")),
        Road("exemplar, by PromQL", f"{interval}, batch of the Collector 0.2 s", exemplars),
        Road(
            "span metric, by PromQL",
            "span delay 5 s, flush of span metrics 1 s here, 15 s by default",
            counted("traces_span_metrics_calls_total"),
        ),
    ]


def test_everything_is_found_and_the_run_prints_how_soon(
    running: Stack, query: Lgtm, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    service = f"fresh-{uuid.uuid4().hex[:8]}"
    environment = {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
        "OTEL_METRIC_EXPORT_INTERVAL": str(round(METRIC_INTERVAL * 1000)),
    }
    stop = threading.Event()
    with Process([PYTHON, APP, str(EVENTS)], folder=tmp_path, env=environment) as app:
        measured = roads(query, app, service)
        watching = [threading.Thread(target=watch, args=(road, app, stop)) for road in measured]
        for thread in watching:
            thread.start()
        try:
            wait_until(lambda: all(len(road.delays) == EVENTS for road in measured), within=DEADLINE, what="all found")
        except AssertionError as error:
            error.add_note("\n".join(f"{road.name}: {len(road.delays)} of {EVENTS}" for road in measured))
            raise
        finally:
            stop.set()
            for thread in watching:
                thread.join()
    head = f"{'how soon an event is found as':36} {'median':>8} {'worst':>8}  what takes time"
    record_property("printed last", "\n".join([head, *map(str, measured)]))
