"""The only place that fetches one trace whole: chooses which is meant by the last, and waits for what is on its way.

Written against `Query`, so that it does the same for every store.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelkit.ops.mixin.model import HEALTH
from otelkit.ops.query import Window

if TYPE_CHECKING:
    from otelkit.ops.query import Query, Trace
    from otelkit.otlp.model import LogRecord

CANDIDATES = 30
"""How many of the newest traces `newest` looks at."""

_INTERVAL = 0.25  # seconds between two looks
_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_SETTLED = 30 * _SECOND  # after its last span, longer than any default of an SDK, Collector or store holds spans back
_PROBE = re.compile(rf"[A-Z]+ ({HEALTH})")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is stored of one trace.

    Args:
        trace: Its spans; None where the store of traces has none of it.
        logs: Its log records, by time.
        missing: What must still be on its way, in words: the callers of spans, and the runs of published messages.
    """

    trace: Trace | None
    logs: tuple[LogRecord, ...]
    missing: tuple[str, ...]


def newest(query: Query, *, service: str = "", window: Window | None = None, wait: float = 0.0) -> str | None:
    """Return the id of the trace that somebody means by the last one; None where there is no trace at all.

    It is the newest that serves a request, unless it begins with a health probe: timers and workers go on by
    themselves. Else it is the newest of several spans, else the newest.

    Args:
        query: Where to look.
        service: That took part; empty for any.
        window: When it began; None is the last hour.
        wait: Seconds until there must be one.

    Raises:
        QueryError: The store gives no answer.
    """
    end = time.monotonic() + wait
    while not (found := query.traces(service=service, window=window, limit=CANDIDATES)):
        if time.monotonic() + _INTERVAL > end:
            return None
        time.sleep(_INTERVAL)
    requests = query.traces(service=service, kind="SERVER", window=window, limit=CANDIDATES)
    served = (summary.trace_id for summary in requests if not _PROBE.fullmatch(summary.root_name))
    several = (summary.trace_id for summary in found if _spans(query, summary.trace_id) > 1)
    return next(served, None) or next(several, found[0].trace_id)


def tell(query: Query, trace_id: str, *, wait: float) -> Told:
    """Return what is stored of a trace, once nothing is missing and nothing more arrives, or the time is up.

    Args:
        query: Where to look.
        trace_id: 1 to 32 hex digits.
        wait: Seconds; a trace that ended half a minute ago is not waited for unless something is missing.

    Raises:
        QueryError: A store gives no answer.
        ValueError: The id is none.
    """
    end = time.monotonic() + wait
    before = -1
    while True:
        told = _look(query, trace_id)
        seen = len(told.logs) + (len(told.trace.spans) if told.trace else 0)
        if told.trace and not told.missing and (seen == before or _ended(told.trace)):
            return told
        if time.monotonic() + _INTERVAL > end:
            return told
        before = seen
        time.sleep(_INTERVAL)


def around(trace: Trace) -> Window:
    """Return when a trace was, with room for records that were written late and for clocks that differ."""
    start, end = min(span.start_ns for span in trace.spans), max(span.end_ns for span in trace.spans)
    return Window(start_ns=start - 5 * _MINUTE, end_ns=end + 5 * _MINUTE)


def missing(trace: Trace) -> tuple[str, ...]:
    """Name what a trace must have and lacks: a span that others name as their parent, a run for each published message.

    A retry is published from within the run that failed, but its own run stands below the first publish: so runs are
    counted, and the messages that nothing stands below are named.
    """
    known = {span.span_id for span in trace.spans}
    orphans = [f"the caller of {span.name}" for span in trace.spans if span.parent_span_id not in {"", *known}]
    parents = {span.parent_span_id for span in trace.spans}
    published = [span for span in trace.spans if span.kind == "PRODUCER"]
    lacking = len(published) - sum(span.kind == "CONSUMER" for span in trace.spans)
    waiting = [span for span in published if span.span_id not in parents]
    return (*orphans, *(f"the run of {span.name}" for span in waiting[-lacking:] if lacking > 0))


def _spans(query: Query, trace_id: str) -> int:
    trace = query.trace(trace_id)
    return len(trace.spans) if trace else 0


def _look(query: Query, trace_id: str) -> Told:
    trace = query.trace(trace_id)
    window = around(trace) if trace and trace.spans else None
    logs = query.logs(trace_id=trace.trace_id if trace else trace_id.lower().rjust(32, "0"), window=window)
    return Told(trace=trace, logs=logs, missing=missing(trace) if trace else ())


def _ended(trace: Trace) -> bool:
    return max(span.end_ns for span in trace.spans) + _SETTLED < time.time_ns()
