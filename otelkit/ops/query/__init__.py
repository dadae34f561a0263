"""The only place for the questions asked of stored telemetry: the interface, its answers, and how to wait for one.

`Query` is what commands, viewer and end-to-end tests are written against; `lgtm` implements it on Tempo, Loki and
Prometheus. Spans and log records are those of `otelkit.otlp.model`, whichever store they come from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from otelkit.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelkit.otlp.model import LogRecord, Span, SpanKind

T = TypeVar("T")

_NANOSECONDS = 1_000_000_000
_SHOWN = 500


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of time, both ends in nanoseconds since the epoch."""

    start_ns: int
    end_ns: int

    @classmethod
    def last(cls, seconds: float) -> Window:
        """Return the window that ends now."""
        now = time.time_ns()
        return cls(start_ns=now - round(seconds * _NANOSECONDS), end_ns=now)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What is stored of one trace.

    Args:
        trace_id: 32 hex digits.
        spans: By start time.
        incomplete: Why the store left spans out, in its own words; empty where it left out none.
    """

    trace_id: str
    spans: tuple[Span, ...]
    incomplete: str = ""


@dataclass(frozen=True, kw_only=True)
class TraceSummary:
    """One hit of a search; `Query.trace` has the rest.

    Args:
        trace_id: 32 hex digits.
        root_service: The service of the root span; empty while the store has not seen the root.
        root_name: The name of the root span; empty likewise.
        start_ns: When the first span started, nanoseconds since the epoch.
        duration_ns: To the end of the last span; the store may round it to milliseconds.
    """

    trace_id: str
    root_service: str
    root_name: str
    start_ns: int
    duration_ns: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The newest value of one series.

    Args:
        labels: As stored, the name as `__name__` among them.
        value: In the metric's unit; may be infinite or not a number.
        time_ns: When it was evaluated, nanoseconds since the epoch.
    """

    labels: Mapping[str, str]
    value: float
    time_ns: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one series was over a stretch of time.

    Args:
        labels: As stored.
        points: Time in nanoseconds since the epoch, and value; oldest first.
    """

    labels: Mapping[str, str]
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """One measurement that a series kept as an example, with the span it was made in.

    Args:
        series: Labels of its series.
        value: In the metric's unit.
        time_ns: Nanoseconds since the epoch.
        trace_id: 32 hex digits; empty where the measurement was made outside of any trace.
        span_id: 16 hex digits; empty likewise.
        labels: What else the exemplar carries.
    """

    series: Mapping[str, str]
    value: float
    time_ns: int
    trace_id: str
    span_id: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Query(Protocol):
    """How stored telemetry is read back. Each question raises `QueryError` where the store gives no answer.

    `window` None means the last hour. Metric and label names are Prometheus', for example
    `http_server_request_duration_seconds_count` and `http_route`.
    """

    def trace(self, trace_id: str) -> Trace | None:
        """Return a trace, or None while nothing of it is stored. `ValueError` unless the id is 1 to 32 hex digits."""

    def traces(
        self, *, service: str = "", kind: SpanKind | None = None, window: Window | None = None, limit: int = 20
    ) -> tuple[TraceSummary, ...]:
        """Return the newest traces, newest first: those with a span of the service and of the kind, where given."""

    def logs(
        self, *, trace_id: str = "", service: str = "", window: Window | None = None, limit: int = 1000
    ) -> tuple[LogRecord, ...]:
        """Return log records, oldest first: those of a trace, of a service, of both, or all."""

    def samples(self, metric: str, labels: Mapping[str, str] | None = None) -> tuple[Sample, ...]:
        """Return the newest value of each series of a metric that has all these labels."""

    def exemplars(
        self, metric: str, labels: Mapping[str, str] | None = None, *, window: Window | None = None
    ) -> tuple[Exemplar, ...]:
        """Return the exemplars of a metric's series that have all these labels, oldest first."""


def wait_for(ask: Callable[[], T], until: Callable[[T], object], deadline: float, *, interval: float = 0.1) -> T:
    """Ask again and again until the answer is the one wanted, and return it.

    Args:
        ask: The question, for example `lambda: query.trace(trace_id)`.
        until: Tells whether an answer will do.
        deadline: Seconds from now.
        interval: Seconds between two questions.

    Raises:
        TimeoutError: The deadline passed; the message has the last answer or error.
        QueryError: The question itself is refused, so that asking again cannot help.
    """
    end = time.monotonic() + deadline
    while True:
        try:
            answer = ask()
        except QueryError as error:
            if not error.passing:
                raise
            last = str(error)
        else:
            if until(answer):
                return answer
            last = repr(answer)
        if time.monotonic() + interval > end:
            raise TimeoutError(f"no answer as wanted within {deadline} s; the last one: {last[:_SHOWN]}")
        time.sleep(interval)
