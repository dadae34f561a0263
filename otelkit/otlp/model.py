"""The only place for what received telemetry looks like in Python: plain frozen values, decoded from OTLP.

Values are what the message said: attribute values are str, bool, int, float, bytes, None, tuple (an OTLP array) or dict
(an OTLP key-value list). Identifiers are lower-case hex, "" where there is none. Times are nanoseconds since the epoch,
0 where the sender gave none. Every item knows the scope and the resource it came with. Field meanings are those of
opentelemetry-proto 1.x (`common.proto`, `trace.proto`, `metrics.proto`, `logs.proto`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

Signal = Literal["traces", "metrics", "logs"]
SpanKind = Literal["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
StatusCode = Literal["UNSET", "OK", "ERROR"]
Temporality = Literal["UNSPECIFIED", "DELTA", "CUMULATIVE"]
PointKind = Literal["sum", "gauge", "histogram", "exponential_histogram", "summary"]


class RawRequest(NamedTuple):
    """One export request as it arrived, before it was decoded.

    Attributes:
        path: The URL path over HTTP, the full method name over gRPC.
        headers: Header fields, or gRPC metadata, by lower-case name; repeated fields are joined by a comma and a space.
        body: The message, decompressed.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes


class FullError(Exception):
    """There is no room to keep a request; another time there may be."""


class Take(Protocol):
    """What a front of the receiver does with a request that it could read."""

    def __call__(self, signal: Signal, request: RawRequest, *, json: bool) -> None:
        """Decode the request and keep what it carries.

        Raises:
            ValueError: The body is malformed; the text says why.
            FullError: There is no room for it.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The instrumentation scope: which library, in which version, made the telemetry."""

    name: str = ""
    version: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    schema_url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sourced:
    """What every item carries about its origin."""

    scope: Scope = field(default_factory=Scope)
    resource: Mapping[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The resource's `service.name`, "" where it has none."""
        return str(self.resource.get("service.name", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened inside a span, for example an exception."""

    name: str
    time_ns: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A span's pointer to another span that is not its parent."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    dropped_attributes: int = 0
    flags: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Span(_Sourced):
    """One ended span; `parent_span_id` is "" for a root."""

    trace_id: str
    span_id: str
    name: str
    parent_span_id: str = ""
    kind: SpanKind = "UNSPECIFIED"
    start_ns: int = 0
    end_ns: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    status: StatusCode = "UNSET"
    status_message: str = ""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0

    @property
    def duration_ns(self) -> int:
        """End minus start; negative where the sender's clock stepped back."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRecord(_Sourced):
    """One log record; `severity_number` is 1 (TRACE) to 24 (FATAL4), 0 where unknown."""

    body: Any = None
    time_ns: int = 0
    observed_ns: int = 0
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    dropped_attributes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplar:
    """A single measurement kept beside an aggregate, usually with the span it was made in."""

    value: int | float | None
    time_ns: int = 0
    trace_id: str = ""
    span_id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Buckets:
    """One side of an exponential histogram: `counts[i]` belongs to bucket index `offset + i`."""

    offset: int = 0
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Point(_Sourced):
    """One data point, together with the metric it belongs to.

    Which fields are filled depends on `kind`:

    - sum, gauge: `value` (None where flagged as "no recorded value"); a sum also `temporality` and `monotonic`;
    - histogram: `count`, `sum`, `min`, `max`, `bounds`, `buckets` (one more bucket than bounds), `temporality`;
    - exponential_histogram: `count`, `sum`, `min`, `max`, `scale`, `zero_count`, `zero_threshold`, `positive`,
      `negative`, `temporality`;
    - summary: `count`, `sum`, `quantiles` (pairs of quantile and value).
    """

    metric: str
    kind: PointKind
    unit: str = ""
    description: str = ""
    temporality: Temporality = "UNSPECIFIED"
    monotonic: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    start_ns: int = 0
    time_ns: int = 0
    flags: int = 0
    value: int | float | None = None
    count: int = 0
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    scale: int = 0
    zero_count: int = 0
    zero_threshold: float = 0.0
    positive: Buckets = field(default_factory=Buckets)
    negative: Buckets = field(default_factory=Buckets)
    quantiles: tuple[tuple[float, float], ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
