"""The only place for what a test asks about captured telemetry, and for what it is told when that is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from otelkit.testing._readings import readings, together
from otelkit.testing._story import count, listed, story, told_record, told_span, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otelkit.otlp.model import LogRecord, Point, Span
    from otelkit.testing._captured import Captured, Sink
    from otelkit.testing._readings import Reading

_MOST_PLACES = 10
_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The spans of one trace in the order in which they began, and the log records written in it; `str()` draws it."""

    spans: tuple[Span, ...]
    logs: tuple[LogRecord, ...] = ()

    @property
    def trace_id(self) -> str:
        """The trace's id, in hex."""
        return self.spans[0].trace_id

    @property
    def roots(self) -> list[Span]:
        """The spans whose parent was not captured; the caller may be in another process."""
        known = {span.span_id for span in self.spans}
        return [span for span in self.spans if span.parent_span_id not in known]

    def children(self, span: Span) -> list[Span]:
        """Return what a span called, in the order in which it began."""
        return [other for other in self.spans if other.parent_span_id == span.span_id]

    def __str__(self) -> str:
        """Draw the tree, a line for each span and log record."""
        return "\n".join(tree(self.spans, self.logs))


class Captel:
    """What the code under test emitted: spans, log records and metrics as they would have left, redacted.

    Attributes are asked for by keyword. A dot in a name is written as an underscore, and `...` stands for any value:

        captel.span("GET /orders/{id}", http_response_status_code=404)
        captel.log("order.declined", order_id=..., level="WARNING")
        assert captel.metric("shop.orders", shop_order_status="placed").value == 1

    Spans are captured as they end, log records as they are written, metrics as the difference to the moment before.
    """

    def __init__(self, sink: Sink, pipeline: Captured) -> None:
        self._sink, self._pipeline = sink, pipeline

    # -- what there is

    def spans(
        self, name: str | None = None, *, kind: str | None = None, status: str | None = None, **attributes: Any
    ) -> list[Span]:
        """Return the spans that fit, in the order in which they ended.

        Args:
            name: The span's name.
            kind: "SERVER", "CLIENT", "INTERNAL", "PRODUCER" or "CONSUMER".
            status: "UNSET", "OK" or "ERROR".
            attributes: What the span must have.
        """
        return [
            span
            for span in self._sink.read("traces")
            if name in (None, span.name)
            and kind in (None, span.kind)
            and status in (None, span.status)
            and _fits(span.attributes, attributes)
        ]

    def logs(
        self, event: str | None = None, *, level: str | None = None, logger: str | None = None, **attributes: Any
    ) -> list[LogRecord]:
        """Return the log records that fit, in the order in which they were written.

        Args:
            event: The event, or the whole message of a record of stdlib logging.
            level: "INFO", "WARNING" and so on.
            logger: The logger's name.
            attributes: What the record must have.
        """
        wanted = None if level is None else _LEVELS.get(level.upper(), level.upper())
        return [
            record
            for record in self._sink.read("logs")
            if event in (None, record.body, record.event_name)
            and wanted in (None, record.severity_text)
            and logger in (None, record.scope.name)
            and _fits(record.attributes, attributes)
        ]

    def metrics(self, name: str | None = None, **attributes: Any) -> list[Reading]:
        """Return what was measured, one reading for each series that fits.

        Args:
            name: The metric's name.
            attributes: What the series must have.
        """
        self._pipeline.collect()
        points: Sequence[Point] = self._sink.read("metrics")
        return [
            reading
            for reading in readings(points)
            if name in (None, reading.name) and _fits(reading.attributes, attributes)
        ]

    def statements(self) -> list[Span]:
        """Return the spans of statements that went to a database; caches are none."""
        return [span for span in self.spans(kind="CLIENT") if _is_database(span.attributes)]

    @property
    def unfinished(self) -> list[str]:
        """The names of the spans that have not ended, and are not captured yet."""
        return self._pipeline.unfinished

    # -- exactly one

    def span(
        self, name: str | None = None, *, kind: str | None = None, status: str | None = None, **attributes: Any
    ) -> Span:
        """Return the one span that fits; arguments as for `spans`.

        Raises:
            AssertionError: There is none, or there are several; the text lists those that were captured.
        """
        __tracebackhide__ = True
        found = self.spans(name, kind=kind, status=status, **attributes)
        if len(found) != 1:
            asked = _asked(name, {"kind": kind, "status": status, **attributes})
            near = found or self.spans(name) or self.spans()
            lines = [*map(told_span, near), *(f"{open_span} (not ended)" for open_span in self.unfinished)]
            raise AssertionError(_not_one("span", asked, len(found), lines))
        return found[0]

    def log(
        self, event: str | None = None, *, level: str | None = None, logger: str | None = None, **attributes: Any
    ) -> LogRecord:
        """Return the one log record that fits; arguments as for `logs`.

        Raises:
            AssertionError: There is none, or there are several; the text lists those that were captured.
        """
        __tracebackhide__ = True
        found = self.logs(event, level=level, logger=logger, **attributes)
        if len(found) != 1:
            asked = _asked(event, {"level": level, "logger": logger, **attributes})
            near = found or self.logs(event) or self.logs()
            raise AssertionError(_not_one("log record", asked, len(found), [*map(told_record, near)]))
        return found[0]

    def metric(self, name: str, **attributes: Any) -> Reading:
        """Return what was measured under a name, all series that fit together; nothing measured reads 0.

        Args:
            name: The metric's name.
            attributes: What a series must have to be counted.
        """
        every = self.metrics()
        found = [reading for reading in every if reading.name == name and _fits(reading.attributes, attributes)]
        return together(name, attributes, found, every)

    def trace(self, span: Span | None = None) -> Trace:
        """Return the trace that a span belongs to; without a span, the only one.

        Raises:
            AssertionError: No span is given, and there is no trace or there are several.
        """
        __tracebackhide__ = True
        if span is None:
            return self.assert_one_trace()
        spans = sorted(
            (other for other in self.spans() if other.trace_id == span.trace_id), key=lambda other: other.start_ns
        )
        logs = tuple(record for record in self.logs() if record.trace_id == span.trace_id)
        return Trace(spans=tuple(spans), logs=logs)

    # -- assertions

    def assert_one_trace(self) -> Trace:
        """Assert that all spans belong to one trace, and return it.

        Raises:
            AssertionError: There is none, or there are several; the text draws them.
        """
        __tracebackhide__ = True
        spans = self.spans()
        traces = {span.trace_id for span in spans}
        if len(traces) != 1:
            raise AssertionError(f"expected one trace, there are {len(traces)}\n{self}")
        return self.trace(spans[0])

    def assert_no_secret(self, *secrets: str) -> None:
        """Assert that texts are nowhere in what would have left: names, values, events, links, labels, the resource.

        They are looked for as they are, and as they stand in URLs and in JSON. Lines on stdout are not captured here.

        Args:
            secrets: What must not be told. The failure's text shows the places and none of them.

        Raises:
            AssertionError: One is told.
            ValueError: One is empty.
        """
        __tracebackhide__ = True
        if not all(secrets):
            raise ValueError("an empty text is everywhere")
        self._pipeline.collect()
        forms = {form for secret in secrets for form in _forms(secret)}
        places = dict.fromkeys(
            f"{what} {_masked(_name_of(item), forms)}: {_masked(place, forms)}"
            for signal, what in (("traces", "span"), ("logs", "log record"), ("metrics", "metric"))
            for item in self._sink.read(signal)
            for place, text in _texts(item)
            if any(form in text for form in forms)
        )
        # Whatever the model above leaves out of the message.
        raw = [
            f"the bytes of {signal}"
            for signal in ("traces", "logs", "metrics")
            if not places and any(form.encode() in body for body in self._sink.messages(signal) for form in forms)
        ]
        found = [*places, *raw]
        if found:
            more = len(found) - _MOST_PLACES
            lines = [*found[:_MOST_PLACES], *([f"… and {count(more, 'more place')}"] if more > 0 else ())]
            raise AssertionError(f"a secret would leave:\n{listed(lines, none='')}")

    def clear(self) -> None:
        """Forget what was captured until now, to look at what comes only."""
        self._pipeline.collect()
        self._sink.clear()

    def __str__(self) -> str:
        """Tell all that was captured, in at most 40 lines."""
        return story(self)

    def __repr__(self) -> str:
        """Tell how much was captured."""
        spans, logs, metrics = len(self.spans()), len(self.logs()), len(self.metrics())
        return f"<Captel: {count(spans, 'span')}, {count(logs, 'log record')}, {metrics} metric series>"

    def log_sizes(self) -> list[tuple[int, LogRecord]]:
        """Return the log records with the bytes that each takes in an export, before compression."""
        return list(zip(self._sink.sizes("logs"), self._sink.read("logs"), strict=False))


def _fits(attributes: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether attributes are as asked for."""
    if not wanted:
        return True
    found = {key.replace(".", "_"): value for key, value in attributes.items()}
    for key, value in wanted.items():
        plain = key.replace(".", "_")
        if plain not in found:
            return False
        if value is not ... and found[plain] != (tuple(value) if isinstance(value, list) else value):
            return False
    return True


def _is_database(attributes: Mapping[str, Any]) -> bool:
    system = attributes.get("db.system.name", attributes.get("db.system"))
    return system is not None and system not in ("redis", "memcached")


def _asked(name: str | None, rest: Mapping[str, Any]) -> str:
    given = [f"{key}={'...' if value is ... else repr(value)}" for key, value in rest.items() if value is not None]
    return ", ".join([*([] if name is None else [repr(name)]), *given])


def _not_one(what: str, asked: str, found: int, lines: list[str]) -> str:
    number = f"are {found}" if found else "is none"
    of = f" {asked}" if asked else ""
    head = "these fit" if found else "captured"
    return f"expected one {what}{of}, there {number}; {head}:\n{listed(lines, none='nothing')}"


def _forms(secret: str) -> set[str]:
    """Write a text as it may stand in a URL or in JSON, too."""
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}


def _masked(text: str, forms: set[str]) -> str:
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "<secret>")
    return text


def _name_of(item: Any) -> str:
    if hasattr(item, "metric"):
        return str(item.metric)
    return str(item.name if hasattr(item, "name") else item.event_name or item.body)


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Walk through every text of an item, with the place where it stands."""
    if isinstance(value, str):
        yield place or "text", value
    elif isinstance(value, bytes):
        yield place, value.decode("latin-1")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place}, a key", key
            yield from _texts(inner, f"{place}[{key!r}]")
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _texts(inner, place)
    elif is_dataclass(value):
        for item in fields(value):
            name = f"{place}.{item.name}" if place else item.name
            yield from _texts(getattr(value, item.name), name)
    elif value is not None:
        yield place, str(value)
