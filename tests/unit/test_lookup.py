"""The only place that tests which trace is the last, and when a trace is whole: rules that hold for every store."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from otelkit.ops import lookup
from otelkit.ops.query import Query, Trace, TraceSummary
from otelkit.otlp.model import LogRecord, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.ops.query import Exemplar, Sample, Window
    from otelkit.otlp.model import SpanKind

SECOND = 1_000_000_000
OLD = 1_700_000_000 * SECOND


@dataclass
class Stored(Query):
    """What is kept in lists: the interface with nothing behind it."""

    spans: list[Span] = field(default_factory=list)
    logs_: list[LogRecord] = field(default_factory=list)
    asked: int = 0

    def trace(self, trace_id: str) -> Trace | None:
        self.asked += 1
        spans = tuple(span for span in self.spans if span.trace_id == trace_id)
        return Trace(trace_id=trace_id, spans=spans) if spans else None

    def traces(
        self, *, service: str = "", kind: SpanKind | None = None, window: Window | None = None, limit: int = 20
    ) -> tuple[TraceSummary, ...]:
        assert window is None
        wanted = [span for span in self.spans if service in {"", span.service} and kind in {None, span.kind}]
        ids = dict.fromkeys(span.trace_id for span in sorted(wanted, key=lambda span: -span.start_ns))
        roots = {span.trace_id: span for span in self.spans if not span.parent_span_id}
        return tuple(
            TraceSummary(
                trace_id=id_,
                root_service=roots[id_].service,
                root_name=roots[id_].name,
                start_ns=roots[id_].start_ns,
                duration_ns=0,
            )
            for id_ in ids
        )[:limit]

    def logs(
        self, *, trace_id: str = "", service: str = "", window: Window | None = None, limit: int = 1000
    ) -> tuple[LogRecord, ...]:
        assert not service
        found = [log for log in self.logs_ if log.trace_id == trace_id]
        return tuple(log for log in found if not window or window.start_ns <= log.time_ns <= window.end_ns)[:limit]

    def samples(self, metric: str, labels: Mapping[str, str] | None = None) -> tuple[Sample, ...]:
        raise NotImplementedError

    def exemplars(
        self, metric: str, labels: Mapping[str, str] | None = None, *, window: Window | None = None
    ) -> tuple[Exemplar, ...]:
        raise NotImplementedError


def span(trace: str, name: str, *, kind: SpanKind = "INTERNAL", parent: str = "", at: int = 0) -> Span:
    """Make a span that ended long ago; its id is its name."""
    return Span(
        trace_id=trace,
        span_id=name,
        name=name,
        kind=kind,
        parent_span_id=parent,
        start_ns=OLD + at * SECOND,
        end_ns=OLD + at * SECOND + 1,
        resource={"service.name": trace},
    )


REQUEST = span("request", "POST /orders", kind="SERVER", at=1)
PROBES = [
    span(f"probe{number}", name, kind="SERVER", at=10 + number)
    for number, name in enumerate(["GET /health", "GET /health/ready", "GET /livez", "GET /readyz"])
]
TIMER = [span("timer", "tick", at=20), span("timer", "SELECT", kind="CLIENT", parent="tick", at=20)]
ALONE = span("alone", "beat", at=30)


def test_the_last_trace_is_the_newest_request_whatever_goes_on_by_itself() -> None:
    query = Stored([REQUEST, *PROBES, *TIMER, ALONE])
    assert lookup.newest(query) == "request"
    query.spans.append(span("care", "GET /healthcare", kind="SERVER", at=5))
    assert lookup.newest(query) == "care", "the route of a probe is a whole word"


def test_without_a_request_it_is_the_newest_of_several_spans() -> None:
    assert lookup.newest(Stored([*PROBES, *TIMER, ALONE])) == "timer"


def test_without_several_spans_it_is_the_newest() -> None:
    assert lookup.newest(Stored([*PROBES, ALONE])) == "alone"
    assert lookup.newest(Stored(PROBES)) == "probe3"
    assert lookup.newest(Stored()) is None


def test_of_a_service_it_is_the_newest_that_it_took_part_in() -> None:
    assert lookup.newest(Stored([REQUEST, *TIMER, ALONE]), service="timer") == "timer"
    assert lookup.newest(Stored([REQUEST]), service="timer") is None


def test_what_is_whole_and_long_over_is_told_at_the_first_look() -> None:
    log = LogRecord(body="order.placed", trace_id="request", time_ns=REQUEST.end_ns)
    late = replace(log, time_ns=REQUEST.end_ns + 600 * SECOND)
    query = Stored([REQUEST], [log, late])
    told = lookup.tell(query, "request", wait=60.0)
    assert told.trace is not None
    assert (told.trace.spans, told.logs, told.missing, query.asked) == ((REQUEST,), (log,), (), 1)


def test_what_has_just_ended_is_looked_at_until_nothing_more_arrives() -> None:
    query = Stored([replace(REQUEST, end_ns=time.time_ns())])
    told = lookup.tell(query, "request", wait=60.0)
    assert (told.missing, query.asked) == ((), 2)


def test_what_is_missing_is_waited_for_and_then_named() -> None:
    publish = span("request", "publish confirm", kind="PRODUCER", parent="POST /orders")
    query = Stored([REQUEST, publish, span("request", "SELECT", parent="never sent")])
    told = lookup.tell(query, "request", wait=1.0)
    assert told.missing == ("the caller of SELECT", "the run of publish confirm")
    assert query.asked > 1


def test_as_many_runs_are_missing_as_messages_were_published_and_not_run() -> None:
    publish = span("request", "publish", kind="PRODUCER")
    run = span("request", "run", kind="CONSUMER", parent="publish", at=1)
    retry = span("request", "publish again", kind="PRODUCER", parent="run", at=2)
    second = span("request", "run again", kind="CONSUMER", parent="publish", at=3)

    def missing(*spans: Span) -> tuple[str, ...]:
        return lookup.missing(Trace(trace_id="request", spans=spans))

    assert missing(publish) == ("the run of publish",)
    assert missing(publish, run) == ()
    assert missing(publish, run, retry) == ("the run of publish again",)
    assert missing(publish, run, retry, second) == ()


def test_records_of_a_trace_without_spans_are_told() -> None:
    """It was not sampled, or Tempo has forgotten it; an id may be short, as Tempo itself writes it."""
    log = LogRecord(body="order.placed", trace_id="0" * 30 + "ab", time_ns=OLD)
    told = lookup.tell(Stored([], [log]), "AB", wait=0.0)
    assert (told.trace, told.logs) == (None, (log,))
