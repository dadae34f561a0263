"""The only place that tells a trace as a story in the terminal.

    ━━━━━━━━━━━━━━━━  184.2 ms  shop     POST /orders  201
     ━╸                12.1 ms  shop     ├╴SELECT stock
       ●              +31.0 ms  shop     │ INFO  stock.reserved  sku=7
       ╺━━━━━━━━       98.0 ms  shop     └╴POST  200
        ━━━━━━━        91.3 ms  payment    └╴POST /charge  200

Each line has four columns: when (scaled to the whole trace), how long (or, for what has no length, how long after the
trace's start), which service, and what. No line exceeds the width; what is too long goes on below its own column. Names
are always told whole; statements, values, log messages and stacks are cut where long, and it shows.

What was received is data: control characters become escapes, and nothing is taken for rich's markup.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from otelkit.ops._tree import Node, build, log_time
from otelkit.ops._words import some
from otelkit.otlp.model import LogRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otelkit.ops._tree import Trace
    from otelkit.otlp.model import Event, Link, Span

_MIN_WIDTH = 40
_MIN_WIDTH_WITH_SERVICES = 60
_MIN_TEXT = 20
_TIMING = 9

_MAX_NAME = 1_000
_MAX_VALUE = 60
_MAX_MESSAGE_LINES = 5
_MAX_STACK_LINES = 12

_SERVICE_STYLES = ("cyan", "magenta", "green", "blue", "yellow")
# The lowest number of each range: OpenTelemetry logs data model, "SeverityNumber".
_SEVERITIES = (
    (21, "FATAL", "bold red"),
    (17, "ERROR", "bold red"),
    (13, "WARN", "bold yellow"),
    (9, "INFO", "green"),
    (5, "DEBUG", "dim"),
    (1, "TRACE", "dim"),
)
_ASCII = str.maketrans("━╸╺│├└╴●◆✗↗…·µ", "===||`-*+x>~-u")

# What a span is about, the most telling first: stable names, and those that they replaced.
_DETAILS = (
    "db.query.text",
    "db.statement",
    "http.route",
    "url.full",
    "http.url",
    "url.path",
    "http.target",
    "messaging.destination.name",
    "rpc.method",
)
_STATUSES = ("http.response.status_code", "http.status_code", "rpc.response.status_code", "rpc.grpc.status_code")
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
# Attributes of a record that are told in another way, or say only which request or line of code wrote it.
_UNTOLD = ("exception.", "code.", "thread.", "process.", "request_id")

# Below which duration to use which unit: the limits are what would be rounded up to the next unit.
_UNITS = (
    (1_000, 1, 0, "ns"),
    (999_950, 1_000, 1, "µs"),
    (999_950_000, 1_000_000, 1, "ms"),
    (59_995_000_000, 1_000_000_000, 2, "s"),
)
_FAILED = Text("✗ ", "bold red")
_SELECTED = re.compile(r"^select\b.*?\bfrom\b", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last)"
_FRAME = re.compile(r'\s*File "(?P<path>[^"]*)", line (?P<line>\d+), in (?P<function>.*)')
_CARETS = re.compile(r"[\s~^]*")
_LIBRARY = re.compile(r".*/(?:site-packages|dist-packages|python3\.\d+)/")


def render(
    spans: Iterable[Span], logs: Iterable[LogRecord], *, width: int = 80, color: bool = False, ascii_only: bool = False
) -> str:
    """Tell traces as text.

    Args:
        spans: Spans of one trace or of several, from any number of services, in any order.
        logs: Log records; those of no trace are told last.
        width: Columns; at least 40 are used.
        color: Whether to use ANSI colours, the sixteen of the terminal's own theme.
        ascii_only: Whether to do without characters beyond ASCII; in the data they become escapes.

    Returns:
        Lines, each ended by a newline; "" where there is nothing to tell.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
    )
    _print(console, _lines(spans, logs, width=width, ascii_only=ascii_only))
    return out.getvalue()


def tell(spans: Iterable[Span], logs: Iterable[LogRecord], console: Console | None = None) -> None:
    """Print traces as text, in the width, the colours and the characters that the console has.

    Args:
        spans: Spans of one trace or of several, from any number of services, in any order.
        logs: Log records; those of no trace are told last.
        console: Where to print; by default stdout, without colours where that is no terminal.
    """
    console = console or Console()
    ascii_only = not console.encoding.lower().startswith("utf")
    _print(console, _lines(spans, logs, width=console.width, ascii_only=ascii_only))


def _print(console: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _lines(spans: Iterable[Span], logs: Iterable[LogRecord], *, width: int, ascii_only: bool) -> Iterator[Text]:
    for number, trace in enumerate(build(spans, logs)):
        if number:
            yield Text()
        for line in _Teller(trace, max(width, _MIN_WIDTH), ascii_only=ascii_only).tell():
            line.rstrip()
            if ascii_only:
                line.plain = line.plain.translate(_ASCII)
            yield line


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """Something to be told, and its place: what is drawn before its first line and before its further ones."""

    what: Node | LogRecord | Event
    owner: Node | None
    time_ns: int
    first: str
    rest: str


class _Teller:
    """Tells one trace."""

    def __init__(self, trace: Trace, width: int, *, ascii_only: bool) -> None:
        self._trace = trace
        self._width = width
        self._ascii_only = ascii_only
        self._wrapping = Console(file=io.StringIO(), width=width)  # rich wraps text only on behalf of a console
        self._nodes = list(trace.nodes())
        self._records = [*trace.logs, *(log for node in self._nodes for log in node.logs)]
        self._spans = [node.span for node in self._nodes if node.span is not None]
        timed = [node for node in self._nodes if node.span is not None and node.span.start_ns]
        times = [time for node in timed for time in (node.start_ns, node.end_ns)]
        times = times or [log_time(log) for log in self._records] or [0]
        self._start, self._end = min(times), max(times)
        self._services = list(dict.fromkeys(item.service for item in (*self._spans, *self._records) if item.service))
        self._told_stacks: set[tuple[str, ...]] = set()
        # The columns: when, how long, which service (only where there are several), what.
        self._bar = max(8, min(24, (width - _MIN_WIDTH) * 2 // 5))
        self._service = 0
        if len(self._services) > 1 and width >= _MIN_WIDTH_WITH_SERVICES:
            self._service = min(max(cell_len(self._clean(service)) for service in self._services), width // 6)
        self._margin = self._bar + 1 + _TIMING + 2 + (self._service + 2 if self._service else 0)
        self._text = width - self._margin

    def tell(self) -> Iterator[Text]:
        yield from self._head()
        yield Text()
        waiting = self._entries(None, "")[::-1]
        while waiting:  # not by recursion: a trace may be deeper than Python's stack
            entry = waiting.pop()
            if isinstance(entry.what, Node):
                yield from self._node(entry, entry.what)
                waiting += self._entries(entry.what, entry.rest)[::-1]
            elif isinstance(entry.what, LogRecord):
                yield from self._log(entry, entry.what)
            else:
                yield from self._event(entry, entry.what)

    def _entries(self, owner: Node | None, guide: str) -> list[_Entry]:
        """What a span contains, or on top the whole trace, by time."""
        children, logs, shift = self._trace.roots, self._trace.logs, 0
        events: tuple[Event, ...] = ()
        if owner is not None:
            children, logs, shift = owner.children, owner.logs, owner.shift_ns
            events = () if owner.span is None else owner.span.events
        things: list[tuple[int, Node | LogRecord | Event]] = [(child.start_ns, child) for child in children]
        things += [(log_time(log) + shift, log) for log in logs]
        things += [(event.time_ns + shift, event) for event in events]
        things.sort(key=lambda thing: thing[0])
        entries = []
        left = len(children) if owner is not None else 0
        for time_ns, what in things:
            first = rest = guide
            if owner is not None:
                if isinstance(what, Node):
                    left -= 1
                    first += "├╴" if left else "└╴"
                rest += "│ " if left else "  "
                first = first if isinstance(what, Node) else rest
            entries.append(_Entry(what=what, owner=owner, time_ns=time_ns, first=first, rest=rest))
        return entries

    # --- the head ---

    def _head(self) -> Iterator[Text]:
        facts = [
            Text(f"Trace {self._clean(self._trace.trace_id)}" if self._trace.trace_id else "Outside any trace", "bold")
        ]
        if self._start:
            facts.append(Text(_duration(self._end - self._start), "bold"))
            facts.append(Text(_timestamp(self._start)))
        yield from self._flow(facts, "   ")
        facts = [Text(self._clean(service), self._service_style(service)) for service in self._services]
        if self._spans:
            facts.append(Text(some(len(self._spans), "span")))
        facts.append(Text(some(len(self._records), "log record")))
        if failed := sum(span.status == "ERROR" for span in self._spans):
            facts.append(Text(f"{failed} failed", "bold red"))
        yield from self._flow(facts, " · ")
        for service, shift in self._trace.skews.items():
            by, when = _duration(abs(shift)), "later" if shift > 0 else "earlier"
            note = f"The clock of {self._clean(service)} is off: its spans are shown {by} {when}."
            yield from self._wrapped(Text(note, "yellow"), self._width)

    def _flow(self, facts: list[Text], separator: str) -> Iterator[Text]:
        """Put facts on as few lines as hold them, breaking inside a fact only where it is longer than a line."""
        line = facts[0]
        for fact in facts[1:]:
            if line.cell_len + len(separator) + fact.cell_len > self._width:
                yield from self._wrapped(line, self._width)
                line = fact
            else:
                line = Text.assemble(line, (separator, "dim"), fact)
        yield from self._wrapped(line, self._width)

    # --- what a trace consists of ---

    def _node(self, entry: _Entry, node: Node) -> Iterator[Text]:
        below = entry.rest + ("│ " if node.children else "  ")
        span = node.span
        if span is None:
            body = Text(f"span {self._clean(node.span_id)} was not received", "italic yellow")
            yield from self._row(entry.first, below, body, timing="?")
            return
        failed = span.status == "ERROR"
        name = _cut(self._clean(span.name), _MAX_NAME) or "(no name)"
        body = Text.assemble((name, "bold red" if failed else "bold"))
        if status := self._status(span):
            body.append("  ").append_text(status)
        mark = _FAILED if failed else Text()
        detail = self._detail(span, self._text - len(self._fitted(below)))
        beside = (
            bool(detail)
            and len(self._fitted(below)) + mark.cell_len + body.cell_len + 2 + detail.cell_len <= self._text
        )
        if beside:
            body.append("  ").append_text(detail)
        style = "red" if failed else self._service_style(span.service)
        bar = Text(self._bar_of(node.start_ns, node.end_ns) if span.start_ns else "", style)
        timing = _duration(span.duration_ns) if span.start_ns else "?"
        yield from self._row(entry.first, below, body, mark=mark, bar=bar, timing=timing, service=span.service)
        if detail and not beside:
            yield from self._row(below, below, detail, most=1)
        for link in span.links:
            yield from self._row(below, below, self._link(link), mark=Text("↗ ", "blue"), most=_MAX_MESSAGE_LINES)
        exceptions = [_plain(event.attributes.get("exception.message")) for event in span.events]
        if span.status_message and not any(told and told in span.status_message for told in exceptions):
            message = Text(self._clean(span.status_message), "red")
            yield from self._row(below, below, message, mark=_FAILED, most=_MAX_MESSAGE_LINES)

    def _log(self, entry: _Entry, log: LogRecord) -> Iterator[Text]:
        level, style = _severity(log)
        level = self._clean(level)[:_TIMING]  # in this order: an escape is longer than what it shows
        body = Text(self._clean(_plain(log.body if log.body is not None else log.event_name)))
        said = dict(log.resource)
        if entry.owner is not None and entry.owner.span is not None:
            said |= entry.owner.span.attributes
        attributes = {
            key: value
            for key, value in log.attributes.items()
            if not key.startswith(_UNTOLD) and (key not in said or said[key] != value)
        }
        self._append_pairs(body, attributes)
        error, stack = self._error(log.attributes), self._stack(log.attributes)
        told = bool(stack) and tuple(stack) in self._told_stacks
        if told:
            body.append("  ✗ above", "dim red")
        mark = Text(f"{level:<5} ", style)
        yield from self._moment(entry, body, mark=mark, at="●", service=log.service)
        if error and not told:
            yield from self._row(entry.rest, entry.rest, error, mark=_FAILED, most=_MAX_MESSAGE_LINES)
            yield from self._tell_stack(entry.rest + "  ", stack)

    def _event(self, entry: _Entry, event: Event) -> Iterator[Text]:
        service = "" if entry.owner is None or entry.owner.span is None else entry.owner.span.service
        if event.name == "exception":
            yield from self._moment(entry, self._error(event.attributes), mark=_FAILED, at="✗", service=service)
            yield from self._tell_stack(entry.rest + "  ", self._stack(event.attributes))
            return
        body = Text(self._clean(event.name))
        self._append_pairs(body, event.attributes)
        yield from self._moment(entry, body, mark=Text("◆ ", "dim"), at="◆", service=service)

    def _link(self, link: Link) -> Text:
        target = f"span {self._clean(link.span_id)} of trace {self._clean(link.trace_id)}"
        if link.trace_id == self._trace.trace_id:
            names = [self._clean(span.name) for span in self._spans if span.span_id == link.span_id]
            target = f"{names[0]} of this trace" if names else f"span {self._clean(link.span_id)} of this trace"
        body = Text(f"linked to {target}")
        self._append_pairs(body, link.attributes)
        return body

    def _error(self, attributes: Mapping[str, Any]) -> Text:
        """Name an exception as Python would, "" where the attributes hold none."""
        parts = (_plain(attributes.get(f"exception.{part}", "")) for part in ("type", "message"))
        return Text(": ".join(self._clean(part) for part in parts if part), "bold red")

    def _stack(self, attributes: Mapping[str, Any]) -> list[str]:
        """Shorten an exception's stack to what is next to the error, without repeating the error itself."""
        stack = _plain(attributes.get("exception.stacktrace", ""))
        lines = [self._clean(line.expandtabs(2)) for line in stack.splitlines()]
        return _stack_lines([line for line in lines if line != self._error(attributes).plain])

    def _tell_stack(self, guide: str, lines: list[str]) -> Iterator[Text]:
        if tuple(lines) in self._told_stacks:
            lines = ["(its stack is told above)"]
        elif lines:
            self._told_stacks.add(tuple(lines))
        for line in lines:
            text = line.lstrip()
            indent = guide + " " * (len(line) - len(text))
            yield from self._row(indent, indent + "  ", Text(text, "dim"), most=2)

    # --- one line ---

    def _moment(self, entry: _Entry, body: Text, *, mark: Text, at: str, service: str) -> Iterator[Text]:
        """Tell something that has a time but no length."""
        bar, timing = Text(), ""
        if entry.time_ns and self._start:
            after = entry.time_ns - self._start
            cell = after * self._bar // max(1, self._end - self._start)
            bar = Text(" " * max(0, min(self._bar - 1, cell)) + at, mark.style)
            timing = f"{'+' if after >= 0 else ''}{_duration(after)}"
        yield from self._row(
            entry.first, entry.rest, body, mark=mark, bar=bar, timing=timing, service=service, most=_MAX_MESSAGE_LINES
        )

    def _row(
        self,
        first: str,
        rest: str,
        body: Text,
        *,
        mark: Text | None = None,
        bar: Text | None = None,
        timing: str = "",
        service: str = "",
        most: int | None = None,
    ) -> Iterator[Text]:
        """Lay one entry out in the columns.

        Args:
            first: The tree's guide on the first line.
            rest: The guide on further lines, where the other columns stay empty.
            body: What goes into the last column, wrapped.
            mark: Stands before the body, which hangs from it.
            bar: For the first column.
            timing: For the second column.
            service: For the third column.
            most: Lines, after which the body is cut.
        """
        margin = Text.assemble(bar or "")
        margin.pad_right(self._bar - margin.cell_len)
        margin.append(f" {timing:>{_TIMING}}  ", "dim" if timing.startswith(("+", "-", "?")) else "")
        if self._service:
            name = Text(self._clean(service), self._service_style(service))
            name.truncate(self._service, overflow="ellipsis", pad=True)
            margin.append_text(name).append("  ")
        mark = mark if mark is not None else Text()
        first, rest = self._fitted(first), self._fitted(rest)
        room = self._text - max(len(first), len(rest)) - mark.cell_len
        for number, line in enumerate(self._wrapped(body, room, most)):
            if number == 0:
                yield Text.assemble(margin, (first, "dim"), mark, line)
            else:
                yield Text.assemble(" " * self._margin, (rest, "dim"), " " * mark.cell_len, line)

    def _fitted(self, guide: str) -> str:
        """Cut the guide of what is very deep in the tree, so that its text keeps some room."""
        most = max(0, self._text - _MIN_TEXT)
        return guide if len(guide) <= most else f"…{guide[len(guide) - most + 1 :]}"[:most]

    def _wrapped(self, text: Text, width: int, most: int | None = None) -> Sequence[Text]:
        if most is not None:
            text.truncate(width * (most + 1))  # what comes after is cut below anyway: wrap no megabytes
        lines = list(text.wrap(self._wrapping, width, overflow="fold", tab_size=1)) or [Text()]
        if most is None or len(lines) <= most:
            return lines
        last = lines[most - 1]
        last.truncate(width - 1)
        last.append("…")
        return lines[:most]

    def _bar_of(self, start_ns: int, end_ns: int) -> str:
        """Draw from start to end in half cells, never nothing."""
        halves, total = 2 * self._bar, max(1, self._end - self._start)
        begin = max(0, min(halves - 1, (start_ns - self._start) * halves // total))
        end = max(begin + 1, min(halves, -((self._start - end_ns) * halves // total)))
        return "".join(
            " ╺╸━"[2 * (begin <= left < end) + (begin <= left + 1 < end)] for left in range(0, halves, 2)
        ).rstrip()

    def _status(self, span: Span) -> Text | None:
        for name in _STATUSES:
            if name in span.attributes:
                value = span.attributes[name]
                style = "green"
                if isinstance(value, int) and value >= _CLIENT_ERROR:
                    style = "bold red" if value >= _SERVER_ERROR else "yellow"
                return Text(self._clean(_plain(value)), style)
        return None

    def _detail(self, span: Span, room: int) -> Text:
        """Tell the most interesting attribute that the name does not tell already."""
        for name in _DETAILS:
            value = self._clean(" ".join(_plain(span.attributes.get(name, "")).split()))
            if value and value not in self._clean(span.name):
                if len(value) > room:
                    value = _SELECTED.sub("SELECT … FROM", value)  # the columns are the least interesting of a query
                return Text(_cut(value, self._width), "dim")
        return Text()

    def _append_pairs(self, body: Text, attributes: Mapping[str, Any]) -> None:
        for number, (key, value) in enumerate(attributes.items()):
            text = _cut(self._clean(_plain(value)), _MAX_VALUE)
            text = f'"{text}"' if isinstance(value, str) and (" " in text or not text) else text
            body.append("  " if number == 0 else " ").append(f"{self._clean(key)}={text}", "dim")

    def _service_style(self, service: str) -> str:
        if service not in self._services:
            return ""
        return _SERVICE_STYLES[self._services.index(service) % len(_SERVICE_STYLES)]

    def _clean(self, text: str) -> str:
        """Show what a terminal would act upon, or cannot show, as a Python escape."""
        if not text.isprintable():
            text = "".join(
                char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
            )
        return text.encode("ascii", "backslashreplace").decode("ascii") if self._ascii_only else text


def _plain(value: Any) -> str:
    """Write an attribute value or a log body on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else json.dumps(value, default=str, ensure_ascii=False)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _severity(log: LogRecord) -> tuple[str, str]:
    for lowest, name, style in _SEVERITIES:
        if log.severity_number >= lowest:
            return name, style
    return log.severity_text or "LOG", ""


def _duration(ns: int) -> str:
    """Write a duration in at most eight characters, with three or four digits that matter."""
    if ns < 0:
        return f"-{_duration(-ns)}"
    for limit, unit, digits, name in _UNITS:
        if ns < limit:
            return f"{ns / unit:.{digits}f} {name}"
    minutes, seconds = divmod(round(ns / 1_000_000_000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h" if days < 100 else f"{days}d"  # noqa: PLR2004  what eight characters hold
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {seconds:02}s"


def _timestamp(ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)  # OTLP's 64 bits end in 2554
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1_000:03}Z"


def _stack_lines(stack: list[str]) -> list[str]:
    """Shorten a stack trace: one line for each frame and one for its code, and only those next to the error."""
    python = any(_TRACEBACK in line for line in stack[:2])
    lines = []
    for line in stack:
        if frame := _FRAME.fullmatch(line):
            path = frame["path"].replace("\\", "/")
            short = _LIBRARY.sub("", path)
            short = "/".join(path.split("/")[-3:]) if short == path else short
            lines.append(f"{short}:{frame['line']} in {frame['function']}")
        elif not _CARETS.fullmatch(line) and not line.startswith(_TRACEBACK):
            lines.append(f"  {line.strip()}" if python and line.startswith("    ") else line.rstrip())
    left_out = len(lines) - _MAX_STACK_LINES
    if left_out <= 0:
        return lines
    note = f"… {some(left_out, 'more line')}"
    return [note, *lines[left_out:]] if python else [*lines[:_MAX_STACK_LINES], note]
