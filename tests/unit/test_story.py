"""The story: exact text for a representative trace, and that nothing is lost or breaks for any other."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from otelkit.ops import story
from otelkit.otlp.model import Event, Link, LogRecord, Span

MS = 1_000_000
START = 1_795_239_054_845 * MS
TRACE = "5b8efff798038103d269b633813fc60c"
SHOP = {"service.name": "shop"}
PAYMENT = {"service.name": "payment"}
STACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/starlette/routing.py", line 76, in app
    response = await f(request)
               ^^^^^^^^^^^^^^^^
  File "/home/me/shop/payment/api.py", line 41, in charge
    raise CardDeclined(card)
payment.CardDeclined: card [red]4242[/red] declined
"""
DECLINED = {
    "exception.type": "payment.CardDeclined",
    "exception.message": "card [red]4242[/red] declined",
    "exception.stacktrace": STACK,
}


def span(number: int, parent: int, name: str, start: float, end: float, **fields: Any) -> Span:
    defaults: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "parent_span_id": f"{parent:016x}" if parent else "",
        "name": name,
        "start_ns": START + int(start * MS),
        "end_ns": START + int(end * MS),
        "resource": SHOP,
    }
    return Span(**defaults | fields)


def log(number: int, at: float, body: Any, **fields: Any) -> LogRecord:
    defaults: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}" if number else "",
        "time_ns": START + int(at * MS),
        "severity_number": 9,
        "body": body,
        "resource": SHOP,
    }
    return LogRecord(**defaults | fields)


SPANS = [
    span(6, 99, "audit.write", 171, 180),
    span(
        4,
        3,
        "POST /charge",
        44,
        168,
        kind="SERVER",
        resource=PAYMENT,
        status="ERROR",
        status_message="CardDeclined: card [red]4242[/red] declined",
        attributes={"http.route": "/charge", "http.response.status_code": 500},
        events=(
            Event(name="exception", time_ns=START + 160 * MS, attributes=DECLINED),
            Event(name="retry", time_ns=START + 90 * MS, attributes={"attempt": 2}),
        ),
        links=(
            Link(trace_id="c" * 32, span_id="d" * 16),
            Link(trace_id=TRACE, span_id=f"{2:016x}", attributes={"why": "the stock"}),
        ),
    ),
    span(
        1,
        0,
        "POST /orders",
        0,
        184.2,
        kind="SERVER",
        attributes={"http.route": "/orders", "http.response.status_code": 402},
    ),
    span(
        2,
        1,
        "SELECT stock",
        3,
        15.1,
        attributes={"db.query.text": "SELECT stock.sku, stock.quantity\nFROM stock WHERE stock.sku = ?"},
    ),
    span(
        3,
        1,
        "POST",
        40,
        170,
        kind="CLIENT",
        status="ERROR",
        attributes={"url.full": "http://localhost:8001/charge", "http.response.status_code": 500},
    ),
    span(5, 4, "INSERT payments", 60, 81, resource=PAYMENT, attributes={"db.query.text": "INSERT INTO payments"}),
]
LOGS = [
    log(1, 184, "http.request.completed", attributes={"http.route": "/orders", "duration": 0.18421234}),
    log(1, 16, "stock.reserved", attributes={"sku": 7, "gift": True, "note": "to be wrapped"}),
    log(4, 161, "http.request.failed", severity_number=17, resource=PAYMENT, attributes=DECLINED),
    log(0, 175, "lease\x1b[31m.expired\n", severity_number=13),
]

STORY = r"""Trace 5b8efff798038103d269b633813fc60c   184.2 ms   2026-11-21 05:30:54.845Z
shop · payment · 6 spans · 4 log records · 2 failed

━━━━━━━━━━━━━━━━  184.2 ms  shop     POST /orders  402
━╸                 12.1 ms  shop     ├╴SELECT stock
                                     │   SELECT … FROM stock WHERE stock.sku = ?
 ●                +16.0 ms  shop     │ INFO  stock.reserved  sku=7 gift=true
                                     │       note="to be wrapped"
   ━━━━━━━━━━━━   130.0 ms  shop     └╴✗ POST  500
                                       │ http://localhost:8001/charge
   ╺━━━━━━━━━━━   124.0 ms  payment    └╴✗ POST /charge  500
                                         │ ↗ linked to span dddddddddddddddd of
                                         │   trace
                                         │   cccccccccccccccccccccccccccccccc
                                         │ ↗ linked to SELECT stock of this
                                         │   trace  why="the stock"
     ━━╸           21.0 ms  payment      └╴INSERT payments
                                             INSERT INTO payments
       ◆          +90.0 ms  payment        ◆ retry  attempt=2
             ✗   +160.0 ms  payment        ✗ payment.CardDeclined: card
                                             [red]4242[/red] declined
                                             starlette/routing.py:76 in app
                                               response = await f(request)
                                             shop/payment/api.py:41 in charge
                                               raise CardDeclined(card)
             ●   +161.0 ms  payment        ERROR http.request.failed  ✗ above
               ● +184.0 ms  shop       INFO  http.request.completed
                                             duration=0.184212
                         ?           span 0000000000000063 was not received
              ╺━    9.0 ms  shop     └╴audit.write
               ● +175.0 ms  shop     WARN  lease\x1b[31m.expired\n
"""


def test_a_trace_across_two_services_with_a_failure() -> None:
    assert story.render(SPANS, LOGS) == STORY


def test_in_ascii_only_the_characters_differ() -> None:
    assert story.render(SPANS, LOGS, ascii_only=True) == STORY.translate(
        str.maketrans("━╸╺│├└╴●◆✗↗…·", "===||`-*+x>~-")
    )


def test_colours_change_nothing_but_colours() -> None:
    colored = story.render(SPANS, LOGS, color=True)
    assert "\x1b[1;31m✗ " in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == STORY


def told(spans: list[Span], logs: list[LogRecord] | None = None, width: int = 80) -> list[str]:
    """Tell, and return the lines below the head, without the blank one."""
    _, _, body = story.render(spans, logs or [], width=width).partition("\n\n")
    return body.splitlines()


def test_one_service_needs_no_column_and_one_line_holds_a_short_statement() -> None:
    statement = {"db.query.text": "SELECT 1"}
    assert told([span(1, 0, "GET /", 0, 10), span(2, 1, "SELECT", 5, 7.5, attributes=statement)]) == [
        "━━━━━━━━━━━━━━━━   10.0 ms  GET /",
        "        ━━━━        2.5 ms  └╴SELECT  SELECT 1",
    ]


def test_a_narrow_terminal_and_a_name_too_long_for_its_line() -> None:
    assert told([span(1, 0, "GET /a/{very}/long/{path}", 0, 10)], width=10) == [
        "━━━━━━━━   10.0 ms  GET",
        "                    /a/{very}/long/{path",
        "                    }",
    ]


def test_spans_and_records_below_a_span_that_was_not_received() -> None:
    assert told([span(2, 1, "a", 0, 10), span(3, 1, "b", 5, 10)], [log(1, 2, "hello")]) == [
        "                         ?  span 0000000000000001 was not received",
        "━━━━━━━━━━━━━━━━   10.0 ms  ├╴a",
        "   ●               +2.0 ms  │ INFO  hello",
        "        ━━━━━━━━    5.0 ms  └╴b",
    ]


def test_several_roots_and_several_traces_by_time() -> None:
    other = span(9, 0, "other", -5, -4, trace_id="a" * 32)
    text = story.render([span(2, 0, "second", 5, 10), span(1, 0, "first", 0, 10), other], [log(0, 0, "x", trace_id="")])
    order = [text.index(part) for part in ("a" * 32, "other", TRACE, "first", "second", "Outside any trace", "INFO  x")]
    assert order == sorted(order)


def test_a_wrong_clock_is_corrected_and_said() -> None:
    behind = [
        span(1, 0, "GET /", 0, 100),
        span(2, 1, "GET", 20, 80, kind="CLIENT"),
        span(3, 2, "GET /stock", -5_000, -4_960, kind="SERVER", resource=PAYMENT),
        span(4, 3, "SELECT", -4_990, -4_980, resource=PAYMENT),
    ]
    text = story.render(behind, [log(3, -4_970, "served", resource=PAYMENT)])
    assert "The clock of payment is off: its spans are shown 5.03 s later.\n" in text
    assert told(behind, [log(3, -4_970, "served", resource=PAYMENT)]) == [
        "━━━━━━━━━━━━━━━━  100.0 ms  shop     GET /",
        "   ━━━━━━━━━━      60.0 ms  shop     └╴GET",
        "    ╺━━━━━━╸       40.0 ms  payment    └╴GET /stock",
        "      ━━           10.0 ms  payment      └╴SELECT",
        "         ●        +60.0 ms  payment        INFO  served",
    ]
    ahead = [span(1, 0, "GET", 0, 100, kind="CLIENT"), span(2, 1, "GET /", 900, 950, kind="SERVER", resource=PAYMENT)]
    assert "its spans are shown 875.0 ms earlier" in story.render(ahead, [])


@pytest.mark.parametrize(
    "child",
    [
        span(2, 1, "task", 500, 900, kind="CONSUMER", resource=PAYMENT),  # a queue takes its time
        span(2, 1, "GET /", 50, 900, kind="SERVER", resource=PAYMENT),  # a caller gives up before
        span(2, 1, "GET /", -0.5, 20, kind="SERVER", resource=PAYMENT),  # half a millisecond is no wrong clock
        span(2, 1, "odd", -50, 20),  # the same clock cannot differ
    ],
)
def test_what_may_be_true_is_not_corrected(child: Span) -> None:
    assert "clock" not in story.render([span(1, 0, "parent", 0, 100, kind="CLIENT"), child], [])


def test_a_circle_of_parents_a_span_that_is_its_own_parent_and_twins_are_all_told() -> None:
    circle = [span(1, 2, "one", 0, 9), span(2, 3, "two", 1, 9), span(3, 1, "three", 2, 9), span(4, 3, "four", 3, 9)]
    text = story.render(
        [*circle, span(5, 5, "narcissus", 4, 9), span(6, 0, "twin a", 5, 9), span(6, 0, "twin b", 5, 9)], []
    )
    for name in ("one", "two", "three", "four", "narcissus", "twin a", "twin b"):
        assert text.count(name) == 1
    assert "not received" not in text


def test_a_trace_deeper_than_the_stack_of_python_keeps_room_for_the_text() -> None:
    lines = told([span(number, number - 1, f"level {number}", number, 5_000) for number in range(1, 2_001)])
    assert len(lines) == 2_000
    assert lines[-1].endswith("└╴level 2000")
    assert max(map(len, lines)) <= 80


def test_spans_without_times_and_with_the_last_time_there_is() -> None:
    nowhen = span(1, 0, "nowhen", 0, 0, start_ns=0, end_ns=0)
    assert told([nowhen]) == ["                         ?  nowhen"]
    assert told([nowhen, span(2, 1, "back", 10, 5)]) == [
        "                         ?  nowhen",
        "╸                  -5.0 ms  └╴back",
    ]
    assert "2554-07-21 23:34:33.709Z" in story.render(
        [span(1, 0, "late", 0, 0, start_ns=2**64 - 2, end_ns=2**64 - 1)], []
    )


def test_data_is_neither_markup_nor_control() -> None:
    hostile = "[bold]x[/] [link=http://evil]y[/link] :smile: \x1b]0;title\x07 \u202egnp.exe \x9b2J \ud800 \r\n"
    attributes = {"db.query.text": f"DROP {hostile}", f"http.response{hostile}": hostile, "error.type": hostile}
    resource = {"service.name": hostile}
    text = story.render(
        [
            span(1, 0, hostile, 0, 1, attributes=attributes, resource=resource, status="ERROR", status_message=hostile),
            span(2, 1, "x", 0, 1, events=(Event(name=hostile, attributes={hostile: hostile}),)),
        ],
        [log(1, 1, hostile, severity_number=0, severity_text=hostile, attributes={hostile: hostile})],
        width=500,
    )
    shown = r"[bold]x[/] [link=http://evil]y[/link] :smile: \x1b]0;title\x07 \u202egnp.exe \x9b2J \ud800 \r\n"
    assert text.count(shown) >= 5
    assert all(line.isprintable() for line in text.splitlines())


def test_long_messages_values_and_statements_are_cut_and_it_shows() -> None:
    lines = told(
        [span(1, 0, "GET /", 0, 10, attributes={"db.query.text": "x" * 10_000})],
        [log(1, 5, "word " * 10_000), log(1, 6, "short", attributes={"big": "y" * 10_000})],
    )
    assert lines[1] == " " * 30 + "x" * 49 + "…"
    assert len(lines) == 2 + 5 + 3
    assert lines[6].endswith("…")
    assert sum(line.count("y") for line in lines) == 59


def test_a_stack_is_cut_to_the_innermost_frames() -> None:
    frames = "".join(f'  File "/srv/app/deep/file.py", line {n}, in f{n}\n    f{n + 1}()\n' for n in range(30))
    python = f"Traceback (most recent call last):\n{frames}ValueError: no\n"
    lines = told(
        [],
        [
            log(
                1,
                0,
                "failed",
                attributes={"exception.type": "ValueError", "exception.message": "no", "exception.stacktrace": python},
            )
        ],
    )
    assert [line.strip() for line in lines[2:6]] == [
        "✗ ValueError: no",
        "… 48 more lines",
        "app/deep/file.py:24 in f24",
        "f25()",
    ]
    assert lines[-1].strip() == "f30()"
    java = "java.lang.Error: no\n" + "".join(f"\tat C.m{n}(C.java:{n})\n" for n in range(30))
    lines = told([], [log(1, 0, "failed", attributes={"exception.message": "no", "exception.stacktrace": java})])
    assert [line.strip() for line in lines[3:5]] == ["java.lang.Error: no", "at C.m0(C.java:0)"]
    assert lines[-1].strip() == "… 19 more lines"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.0 µs"),
        (999_949, "999.9 µs"),
        (999_950, "1.0 ms"),
        (999_949_999, "999.9 ms"),
        (999_950_000, "1.00 s"),
        (59_994_999_999, "59.99 s"),
        (59_995_000_000, "1m 00s"),
        (3_599_400_000_000, "59m 59s"),
        (3_599_500_000_000, "1h 00m"),
        (90_000_000_000_000, "1d 01h"),
        (100 * 86_400_000_000_000, "100d"),
    ],
)
def test_durations(ns: int, text: str) -> None:
    (line,) = told([span(1, 0, "x", 0, 0, end_ns=START + ns)])
    assert re.split(r"  +", line)[-2].strip().removeprefix("━" * 16).removeprefix("╸").strip() == text


def test_tell_writes_what_the_console_can_show() -> None:
    piped = io.StringIO()
    story.tell(SPANS, LOGS, Console(file=piped, width=80))
    assert piped.getvalue() == STORY
    ascii_pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    story.tell(SPANS, LOGS, Console(file=ascii_pipe, width=80))
    ascii_pipe.seek(0)
    assert ascii_pipe.read() == story.render(SPANS, LOGS, ascii_only=True)
    terminal = io.StringIO()
    story.tell(
        SPANS, LOGS, Console(file=terminal, width=80, force_terminal=True, color_system="standard", no_color=False)
    )
    assert terminal.getvalue() == story.render(SPANS, LOGS, color=True)


def test_tell_prints_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    story.tell([span(1, 0, "GET /", 0, 1)], [])
    assert "GET /" in capsys.readouterr().out


def test_nothing_to_tell() -> None:
    assert story.render([], []) == ""


ids = st.sampled_from(["", *(f"{number:016x}" for number in range(1, 5))])
traces = st.sampled_from(["", TRACE, "a" * 32])
times = st.integers(START - 10**12, START + 10**12) | st.integers(0, 2**64 - 1)
texts = st.text(max_size=120) | st.text("ab [/]=x\n\x1b漢", max_size=120)
values = st.one_of(texts, st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=4), st.tuples(texts))
keys = st.sampled_from(
    [
        "db.query.text",
        "http.route",
        "http.response.status_code",
        "exception.type",
        "exception.message",
        "exception.stacktrace",
    ]
)
attributes = st.dictionaries(keys | texts, values, max_size=3)
resources = st.dictionaries(st.just("service.name"), st.sampled_from(["shop", "payment"]) | texts, max_size=1)
events = st.builds(Event, name=st.just("exception") | texts, time_ns=times, attributes=attributes)
links = st.builds(Link, trace_id=traces, span_id=ids, attributes=attributes)
any_span = st.builds(
    Span,
    trace_id=traces,
    span_id=ids,
    parent_span_id=ids,
    name=texts,
    kind=st.sampled_from(["SERVER", "CLIENT", "INTERNAL"]),
    start_ns=times,
    end_ns=times,
    attributes=attributes,
    status=st.sampled_from(["UNSET", "ERROR"]),
    status_message=texts,
    events=st.lists(events, max_size=2).map(tuple),
    links=st.lists(links, max_size=2).map(tuple),
    resource=resources,
)
any_log = st.builds(
    LogRecord,
    body=values,
    time_ns=times,
    observed_ns=times,
    severity_number=st.integers(0, 24),
    severity_text=texts,
    attributes=attributes,
    trace_id=traces,
    span_id=ids,
    resource=resources,
)


def squeezed(text: str) -> str:
    """Without the spaces, guides and marks that a wrapped name has between its parts."""
    return re.sub(r"[\s│├└╴…|`~-]", "", text)


def escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def test_a_severity_of_unprintable_characters_is_cut_as_it_is_shown() -> None:
    log = LogRecord(severity_text="0\U00011aa3\U0002ebe1")
    assert all(cell_len(line) <= 40 for line in story.render([], [log], width=1).splitlines())


@settings(deadline=None)
@given(st.lists(any_span, max_size=6), st.lists(any_log, max_size=4), st.integers(1, 200))
def test_anything_renders_within_the_width_and_every_name_is_told(
    spans: list[Span], logs: list[LogRecord], width: int
) -> None:
    text = story.render(spans, logs, width=width)
    assert all(cell_len(line) <= max(width, 40) for line in text.splitlines())
    told_text = squeezed(text)
    for one in spans:
        assert squeezed(escaped(one.name)) in told_text
    ascii_text = story.render(spans, logs, width=width, ascii_only=True)
    assert ascii_text.isascii()
    for one in spans:
        assert squeezed(escaped(one.name).encode("ascii", "backslashreplace").decode()) in squeezed(ascii_text)
