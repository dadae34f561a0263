"""What the fault tests count with: metrics across processes, duplicates, and what a verdict calls wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faults.bench import DURATIONS, Verdict, check_work
from faults.received import Received
from otelkit.otlp.model import LogRecord, Point, Span

if TYPE_CHECKING:
    from otelkit.otlp.model import SpanKind


def duration(process: str, count: int, route: str = "/work/{number}") -> Point:
    """Make a point of the duration histogram, as a process exports it again and again."""
    return Point(
        metric=DURATIONS[0],
        kind="histogram",
        count=count,
        attributes={"http.route": route},
        resource={"service.instance.id": process},
    )


def test_a_metric_is_the_last_of_each_process_and_the_sum_of_all() -> None:
    received = Received()
    received.items["metrics"] = [
        duration("one", 3),
        duration("one", 5),
        duration("two", 2),
        duration("two", 9, "/ready"),
    ]
    assert received.total(DURATIONS, lambda point: point.attributes["http.route"] == "/work/{number}") == 7


def test_the_series_of_one_process_add_up() -> None:
    received = Received()
    received.items["metrics"] = [
        Point(metric="adds", kind="sum", value=value, attributes={"who": who}) for who, value in (("a", 2), ("b", 3))
    ]
    assert received.total(["adds"]) == 5


@pytest.mark.parametrize("missing", ["spans", "work", "store", "logs", "metric", None])
def test_each_thing_that_a_request_leaves_is_asked_for(missing: str | None) -> None:
    received = Received()
    kinds: dict[str, SpanKind] = {"spans": "SERVER", "work": "INTERNAL", "store": "INTERNAL"}
    received.items["traces"] = [
        Span(trace_id="1", span_id=f"{number}{name}", name=name, kind=kind, attributes={"url.path": f"/work/{number}"})
        for number in range(2)
        for name, kind in kinds.items()
        if not (number and name == missing)
    ]
    received.items["logs"] = [LogRecord(body=f"worked on {number}") for number in range(1 if missing == "logs" else 2)]
    received.items["metrics"] = [duration("one", 1 if missing == "metric" else 2)]
    verdict = Verdict()
    check_work(verdict, received, 2)
    assert verdict.wrong == ([missing] if missing else [])


def test_duplicates_are_counted_and_lost_among_nothing() -> None:
    received = Received()
    received.items["traces"] = [Span(trace_id="1", span_id="2", name="work")] * 3
    received.items["logs"] = [LogRecord(body="worked on 1")] * 2
    assert (len(received.spans), received.duplicates("worked on ")) == (1, 3)
    assert received.bodies("worked on ") == {"worked on 1"}


def test_a_verdict_names_what_is_outside_of_its_bounds() -> None:
    verdict = Verdict()
    verdict.within("fine", 5.0, 5)
    verdict.within("late", 5.1, 5, " s")
    verdict.within("silent", 0, 1, least=1)
    verdict.equal("lost", 3, 4)
    assert verdict.wrong == ["late", "silent", "lost"]
    assert verdict.figures == {"fine": "5", "late": "5.1 s", "silent": "0", "lost": "3/4"}
