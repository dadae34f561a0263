"""The only place that puts received spans and logs together: parents, what is missing, and clocks that disagree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelkit.otlp.model import LogRecord, Span

_SKEW_TOLERANCE_NS = 1_000_000
"""Clocks of one data centre differ by so much on a good day: nothing worth correcting, or mentioning."""


@dataclass(kw_only=True, slots=True, eq=False)
class Node:
    """One span's place in a trace.

    Args:
        span_id: Its id.
        span: None where the span was not received, and only its children or logs tell that it exists.
        children: By start.
        logs: The records written in it, by time.
        shift_ns: To be added to every time of the span, its events and its logs, so that clocks agree.
    """

    span_id: str
    span: Span | None = None
    children: list[Node] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    shift_ns: int = 0

    @property
    def start_ns(self) -> int:
        """When it began, as far as is known: a span that was not received begins with the first it contains."""
        if self.span is not None:
            return self.span.start_ns + self.shift_ns
        return min([child.start_ns for child in self.children] + [log_time(log) for log in self.logs], default=0)

    @property
    def end_ns(self) -> int:
        """When it ended; never before its start."""
        return self.start_ns if self.span is None else max(self.span.end_ns + self.shift_ns, self.start_ns)


@dataclass(kw_only=True, slots=True, eq=False)
class Trace:
    """All that was received of one trace.

    Args:
        trace_id: "" for log records outside any trace.
        roots: Spans without a parent, and those that were not received; by start.
        logs: Records of the trace that belong to no span; by time.
        skews: By service, how many nanoseconds its times were shifted.
    """

    trace_id: str
    roots: list[Node] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    skews: dict[str, int] = field(default_factory=dict)

    def nodes(self) -> Iterator[Node]:
        """Every node, parents before their children."""
        return _walk(self.roots)


def log_time(log: LogRecord) -> int:
    """When a record was written, or else seen; in nanoseconds."""
    return log.time_ns or log.observed_ns


def build(spans: Iterable[Span], logs: Iterable[LogRecord]) -> list[Trace]:
    """Sort spans and records into traces, by start; records outside any trace come last.

    Nothing is lost: a span whose parent is missing hangs below a placeholder, one of a circle of parents becomes a
    root, and spans with the same id stand side by side.
    """
    spans_of: dict[str, list[Span]] = {}
    logs_of: dict[str, list[LogRecord]] = {}
    for span in spans:
        spans_of.setdefault(span.trace_id, []).append(span)
    for log in logs:
        logs_of.setdefault(log.trace_id, []).append(log)
    traces = [
        _trace(trace_id, spans_of.get(trace_id, []), sorted(logs_of.get(trace_id, []), key=log_time))
        for trace_id in {**spans_of, **logs_of}
    ]
    return sorted(traces, key=lambda trace: (not trace.roots, _start(trace)))


def _start(trace: Trace) -> int:
    return min([root.start_ns for root in trace.roots] + [log_time(log) for log in trace.logs], default=0)


def _trace(trace_id: str, spans: list[Span], logs: list[LogRecord]) -> Trace:
    trace = Trace(trace_id=trace_id)
    nodes = [Node(span_id=span.span_id, span=span) for span in sorted(spans, key=lambda span: span.start_ns)]
    known: dict[str, Node] = {}
    for node in nodes:
        known.setdefault(node.span_id, node)
    missing: dict[str, Node] = {}

    def find(span_id: str) -> Node:
        return known.get(span_id) or missing.setdefault(span_id, Node(span_id=span_id))

    for log in logs:
        (find(log.span_id).logs if log.span_id else trace.logs).append(log)
    parents: dict[Node, Node] = {}
    for node in nodes:
        parent_id = node.span.parent_span_id if node.span is not None else ""
        if parent_id:
            parents[node] = find(parent_id)
            parents[node].children.append(node)
    trace.roots = [node for node in nodes if node not in parents] + list(missing.values())
    reached = set(_walk(trace.roots))
    for node in nodes:  # what no root reaches is a circle, or hangs on one: its earliest span is made a root
        if node not in reached:
            parents[node].children.remove(node)
            trace.roots.append(node)
            reached.update(_walk([node]))
    trace.skews = _align(trace)
    for node in [*nodes, *missing.values()]:
        node.children.sort(key=lambda child: child.start_ns)
    trace.roots.sort(key=lambda root: root.start_ns)
    return trace


def _walk(roots: Iterable[Node]) -> Iterator[Node]:
    """Depth first without recursion: a trace may be deeper than Python's stack."""
    waiting = list(roots)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def _align(trace: Trace) -> dict[str, int]:
    """Shift the spans of processes whose clock is proved wrong by a parent; tell the shifts by service."""
    shifts: dict[tuple[str, ...], int] = {}
    skews: dict[str, int] = {}
    for parent in trace.nodes():
        for child in parent.children:
            span = child.span
            if span is None or parent.span is None or not span.start_ns or not parent.span.start_ns:
                continue
            if _clock(span) == _clock(parent.span):
                child.shift_ns = parent.shift_ns
                continue
            child.shift_ns = shifts.get(_clock(span), 0)
            if _impossible(parent, child):
                spare = (parent.end_ns - parent.start_ns) - (child.end_ns - child.start_ns)
                child.shift_ns = parent.start_ns + max(0, spare // 2) - span.start_ns
                shifts[_clock(span)] = child.shift_ns
            if child.shift_ns:
                skews[span.service] = child.shift_ns
    return skews


def _clock(span: Span) -> tuple[str, ...]:
    """Identify the process a span was made in, and with it the clock."""
    return tuple(str(span.resource.get(name, "")) for name in ("service.name", "service.instance.id", "host.name"))


def _impossible(parent: Node, child: Node) -> bool:
    """Tell whether two clocks contradict each other: an effect before its cause, or a call served after its end.

    A child that merely outlives its parent proves nothing: a caller may give up, and a queue takes its time.
    """
    if child.start_ns < parent.start_ns - _SKEW_TOLERANCE_NS:
        return True
    called = parent.span is not None and parent.span.kind == "CLIENT"
    serves = child.span is not None and child.span.kind == "SERVER"
    return called and serves and child.start_ns > parent.end_ns + _SKEW_TOLERANCE_NS
