"""The only place that tells what a test captured, in a few lines under the assertion that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otelkit.otlp.model import LogRecord, Span
    from otelkit.testing._readings import Reading

_MOST_LINES = 40
_MOST_PAIRS = 6
_MOST_VALUE = 60
_BORING = (
    "client.",
    "code.",
    "exception.stacktrace",
    "network.",
    "request_id",
    "server.",
    "thread.",
    "url.scheme",
    "user_agent.",
)
"""Beginnings of attributes that nobody compares and that would hide the others."""
_OF_PROCESS = ("process.", "cpython.", "python.", "otelkit.")
_MS = 1_000_000


class Told(Protocol):
    """What there is to tell."""

    def spans(self) -> Sequence[Span]:
        """Every span."""

    def logs(self) -> Sequence[LogRecord]:
        """Every record."""

    def metrics(self) -> Sequence[Reading]:
        """Every series."""

    @property
    def unfinished(self) -> Sequence[str]:
        """The names of the spans that have not ended."""


def story(captured: Told) -> str:
    """Tell everything that was captured: traces as trees with their log records, then what was measured."""
    spans, logs, metrics = captured.spans(), captured.logs(), moved(captured.metrics())
    numbers = (count(len(spans), "span"), count(len(logs), "log record"), f"{len(metrics)} metric series")
    lines = [f"captured: {', '.join(numbers)}"]
    traces = list(dict.fromkeys(span.trace_id for span in spans))
    for trace_id in traces:
        lines.append(f"  trace {trace_id}")
        lines += tree([s for s in spans if s.trace_id == trace_id], [r for r in logs if r.trace_id == trace_id], "    ")
    if loose := [record for record in logs if record.trace_id not in traces]:
        lines.append("  outside of these traces")
        lines += [f"    {told_record(record)}" for record in loose]
    if captured.unfinished:
        lines.append(f"  not ended: {', '.join(captured.unfinished[:_MOST_PAIRS])}")
    if metrics:
        lines += ["  metrics", *(f"    {measured(reading)}" for reading in metrics)]
    return "\n".join(cut(lines))


def tree(spans: Sequence[Span], logs: Sequence[LogRecord], indent: str = "") -> list[str]:
    """Tell a trace: children under their parents, records under their spans, in the order in which they began."""
    known = {span.span_id for span in spans}

    def below(parent: Span | None, indent: str) -> Iterator[str]:
        for span in sorted(spans, key=lambda span: span.start_ns):
            belongs = span.parent_span_id not in known if parent is None else span.parent_span_id == parent.span_id
            if belongs:
                yield f"{indent}{told_span(span)}"
                yield from (f"{indent}  {told_record(record)}" for record in logs if record.span_id == span.span_id)
                yield from below(span, f"{indent}  ")

    orphans = [f"{indent}{told_record(record)}" for record in logs if record.span_id not in known]
    return [*below(None, indent), *orphans]


def told_span(span: Span) -> str:
    """Tell a span in one line."""
    failed = f" ERROR {_shown(span.status_message)}".rstrip() if span.status == "ERROR" else ""
    events = "".join(f" [{event.name}]" for event in span.events[:3])
    kind = "" if span.kind == "INTERNAL" else f" {span.kind}"
    return f"{span.name}{kind} {span.duration_ns / _MS:.3g} ms{failed}{pairs(span.attributes)}{events}"


def told_record(record: LogRecord) -> str:
    """Tell a log record in one line."""
    return f"{record.severity_text or 'LOG'} {_shown(record.body)}{pairs(record.attributes)}"


def moved(metrics: Iterable[Reading]) -> list[Reading]:
    """Leave out where nothing was measured, and what is observed of the process itself: nothing that a test does."""
    return [reading for reading in metrics if reading.moved and not reading.name.startswith(_OF_PROCESS)]


def measured(reading: Reading) -> str:
    """Tell what was measured of a series in one line."""
    labels = ", ".join(f"{key}={_shown(value)}" for key, value in reading.attributes.items())
    name = f"{reading.name}{{{labels}}}" if labels else reading.name
    if reading.kind.endswith("histogram"):
        return f"{name} count {reading.count}, sum {reading.sum:.6g}"
    if reading.several:
        return f"{name} of several series"
    return f"{name} {reading.value:.6g}"


def pairs(attributes: Mapping[str, Any]) -> str:
    """Tell the attributes that say most."""
    kept = [(key, value) for key, value in attributes.items() if not key.startswith(_BORING)]
    shown = "".join(f" {key}={_shown(value)}" for key, value in kept[:_MOST_PAIRS])
    return shown + (" …" if len(attributes) > len(kept[:_MOST_PAIRS]) else "")


def cut(lines: Sequence[str], most: int = _MOST_LINES) -> list[str]:
    """Leave out what nobody would read."""
    return [*lines] if len(lines) <= most else [*lines[: most - 1], f"  … {len(lines) - most + 1} more lines"]


def count(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(lines: Iterable[str], *, none: str) -> str:
    """Indent what there is, under a line that ends in a colon."""
    found = [f"  {line}" for line in lines]
    return "\n".join(cut(found)) if found else f"  {none}"


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _MOST_VALUE else f"{text[: _MOST_VALUE - 1]}…"
