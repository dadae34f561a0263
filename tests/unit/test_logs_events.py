"""What becomes of a log call: fields, exceptions, malformed calls, and values that no encoder takes."""

from __future__ import annotations

import enum
import json
import logging
import math
import sys
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelkit.logs import _event, clean
from otelkit.logs._roads import StdoutRoad, severity


class Unprintable:
    def __str__(self) -> str:  # noqa: D105  raising is all it does
        raise RuntimeError("no text")

    __repr__ = __str__


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


def is_plain(value: Any) -> bool:
    """Tell whether JSON and OTLP both take a value."""
    match value:
        case str():
            return value.encode() is not None
        case float():
            return math.isfinite(value)
        case list():
            return all(map(is_plain, value))
        case dict():
            return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)


class TestClean:
    @pytest.mark.parametrize(
        "value", ["", "naïve", True, False, 0, -3, 2**63 - 1, 1.5, None, [1, 2, None], {"a": {"b": [True]}}]
    )
    def test_leaves_what_both_roads_carry(self, value: object) -> None:
        cleaned = clean(value)
        assert cleaned == value
        assert type(cleaned) is type(value)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (2**63, "9223372036854775808"),
            (math.nan, "nan"),
            (-math.inf, "-inf"),
            (b"caf\xc3\xa9", "café"),
            (b"\xff", "\\xff"),
            ("\ud800", "\\ud800"),
            (Colour.RED, "red"),
            (Size.BIG, 3),
            ((1, 2), [1, 2]),
            ([1, 2.5, None], [1.0, 2.5, None]),
            ([1, "a", True, {"b": None}, [1.5]], ["1", "a", "true", '{"b":null}', "[1.5]"]),
            (frozenset({1}), [1]),
            (UserDict(a=1), {"a": 1}),
            ({1: 2, None: 3}, {"1": 2, "None": 3}),
            (Decimal("1.10"), "1.10"),
            (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            (datetime(2026, 11, 21, tzinfo=UTC), "2026-11-21 00:00:00+00:00"),
            (Path("a") / "b", str(Path("a") / "b")),
            (ValueError("bad"), "ValueError: bad"),
            (Unprintable(), "<unreadable Unprintable>"),
            ([Unprintable()], ["<unreadable Unprintable>"]),
            ({Unprintable(): 1}, {"<unreadable Unprintable>": 1}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_turns_the_rest_into_what_they_carry(self, value: object, expected: object) -> None:
        assert clean(value) == expected

    def test_bounds_text(self) -> None:
        cleaned = clean("x" * 20_000)
        assert cleaned == "x" * 16_384 + "… (3616 more characters)"

    def test_bounds_depth_width_and_recursion(self) -> None:
        recursive: list[Any] = []
        recursive.append(recursive)
        deep: list[Any] = []
        for _ in range(2_000):
            deep = [deep]
        assert clean(recursive) == clean(deep) == [[[[[["…"]]]]]]
        assert len(clean(list(range(1_000)))) == 100
        assert len(json.dumps(clean([list(range(100))] * 100))) < 10_000

    def test_a_mapping_that_raises_costs_itself(self) -> None:
        class Broken(UserDict[str, int]):
            def items(self) -> Any:
                raise RuntimeError("gone")

        assert clean(Broken()) == "<unreadable Broken>"

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(st.characters())
            | st.text(st.characters(categories=["Cs"]))
            | st.binary()
            | st.builds(Unprintable),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
        )
    )
    def test_makes_any_value_plain_and_is_idempotent(self, value: object) -> None:
        cleaned = clean(value)
        assert is_plain(cleaned)
        assert clean(cleaned) == cleaned


def make(msg: object = "m", *args: object, **attributes: object) -> logging.LogRecord:
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, msg, args, None)
    vars(record).update(attributes)
    return record


def failure(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    try:
        raise error
    except type(error):
        kind, found, stack = sys.exc_info()
        assert kind is not None
        assert found is not None
        return kind, found, stack


class TestRecords:
    def test_extra_keeps_its_types(self) -> None:
        event = _event.from_record(make(amount=3, ratio=0.5, paid=True, tags=["a"], note=None))
        assert event.fields == {"amount": 3, "ratio": 0.5, "paid": True, "tags": ["a"], "note": None}

    def test_arguments_are_filled_in(self) -> None:
        assert _event.from_record(make("%s of %d", "a", 2)).body == "a of 2"

    def test_time_is_the_records(self) -> None:
        event = _event.from_record(make(created=1_700_000_000.25))
        assert event.time_ns == 1_700_000_000_250_000_000

    def test_a_malformed_call_says_so(self) -> None:
        event = _event.from_record(make("user %d", "abc"))
        assert event.body == "user %d"
        assert event.fields["otelkit.log.malformed"].startswith("TypeError: %d format")
        assert event.fields["otelkit.log.arguments"] == ["abc"]

    @pytest.mark.parametrize("message", [Unprintable(), {"a": 1}, None, 7])
    def test_a_message_may_be_anything(self, message: object) -> None:
        body = _event.from_record(make(message)).body
        assert body == ("<unreadable Unprintable>" if isinstance(message, Unprintable) else str(message))

    def test_private_and_second_spellings_stay_out(self) -> None:
        event = _event.from_record(
            make(_secret=1, otelTraceID="0", otelSpanID="0", otelServiceName="x", color_message="m")
        )
        assert event.fields == {}

    def test_names_of_base_fields_are_kept_apart(self) -> None:
        event = _event.from_record(make(level="gold", event="e", service="s", timestamp=1, trace_id="mine"))
        assert event.fields == {"level_": "gold", "event_": "e", "service_": "s", "timestamp_": 1, "trace_id_": "mine"}

    def test_many_fields_are_bounded_and_counted(self) -> None:
        event = _event.from_record(make(**{f"f{number}": number for number in range(10_000)}))
        assert len(event.fields) == 101
        assert event.fields["otelkit.fields.left_out"] == 9_900

    def test_a_stack_that_was_asked_for(self) -> None:
        event = _event.from_record(make(stack_info="Stack (most recent call last):\n  here"))
        assert event.fields == {"code.stacktrace": "Stack (most recent call last):\n  here"}

    def test_an_exception_that_lost_its_object_keeps_its_text(self) -> None:
        assert _event.from_record(make(exc_text="Traceback ...")).fields == {"exception.stacktrace": "Traceback ..."}


class TestExceptions:
    def fields(self, error: BaseException) -> dict[str, Any]:
        return _event.from_record(make(exc_info=failure(error))).fields

    def test_type_message_and_stack(self) -> None:
        secret = "s3cret-local"
        fields = self.fields(KeyError("x"))
        assert (fields["exception.type"], fields["exception.message"]) == ("KeyError", "'x'")
        assert fields["exception.stacktrace"].startswith("Traceback (most recent call last):")
        assert fields["exception.stacktrace"].endswith("KeyError: 'x'")
        assert secret not in fields["exception.stacktrace"]

    def test_a_type_of_a_module_carries_its_name(self) -> None:
        assert self.fields(json.JSONDecodeError("m", "", 0))["exception.type"] == "json.decoder.JSONDecodeError"

    def test_causes_are_in_the_stack(self) -> None:
        error = RuntimeError("outer")
        error.__cause__ = failure(ValueError("inner"))[1]
        stack = self.fields(error)["exception.stacktrace"]
        assert "ValueError: inner" in stack
        assert "direct cause" in stack
        assert stack.endswith("RuntimeError: outer")

    def test_groups_too(self) -> None:
        stack = self.fields(ExceptionGroup("several", [ValueError("one"), KeyError("two")]))["exception.stacktrace"]
        assert "ValueError: one" in stack
        assert "KeyError: 'two'" in stack

    def test_a_long_stack_keeps_head_and_tail(self) -> None:
        stack = self.fields(ValueError("y" * 100_000 + "THE END"))["exception.stacktrace"]
        assert len(stack) < 16_500
        assert stack.startswith("Traceback")
        assert stack.endswith("THE END")
        assert "characters left out" in stack

    def test_one_that_cannot_be_printed(self) -> None:
        class Silent(Exception):  # noqa: N818  a test's own
            __str__ = Unprintable.__str__

        fields = self.fields(Silent())
        assert fields["exception.message"] == "<unreadable Silent>"
        assert "Silent" in fields["exception.stacktrace"]

    def test_half_a_surrogate_pair(self) -> None:
        fields = self.fields(ValueError("\ud800"))
        assert fields["exception.message"] == "\\ud800"
        fields["exception.stacktrace"].encode()

    @pytest.mark.parametrize("given", [None, False, 0, (), (None, None, None), True, "yes", (1, 2, 3)])
    def test_no_exception_outside_of_one(self, given: object) -> None:
        assert _event.exc_info(given) is None

    def test_the_ways_to_give_one(self) -> None:
        found = failure(ValueError("v"))
        assert _event.exc_info(found) == found
        assert _event.exc_info(found[1]) == (ValueError, found[1], found[2])
        try:
            raise found[1]
        except ValueError:
            for flag in (True, 1, "yes"):  # as logging reads it
                assert _event.exc_info(flag) == (ValueError, found[1], found[1].__traceback__)


@pytest.mark.parametrize(
    ("level", "number"),
    [(0, 0), (5, 4), (10, 5), (11, 6), (20, 9), (25, 12), (30, 13), (40, 17), (50, 21), (60, 24), (10_000, 24)],
)
def test_severity_follows_the_level(level: int, number: int) -> None:
    assert severity(level).value == number


@given(st.integers(max_value=100), st.integers(max_value=100))
def test_severity_never_falls_with_a_higher_level(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert severity(low).value <= severity(high).value


class TestLines:
    def test_the_base_fields_come_first(self, capsys: pytest.CaptureFixture[str]) -> None:
        event = _event.from_record(make("hello", request_id="r1", amount=3, created=1_700_000_000.25))
        event.trace_id, event.span_id = "a" * 32, "b" * 16
        StdoutRoad("shop").send(event)
        line = json.loads(capsys.readouterr().out)
        assert list(line.items()) == [
            ("timestamp", "2023-11-14T22:13:20.250000Z"),
            ("level", "info"),
            ("service", "shop"),
            ("event", "hello"),
            ("logger", "shop"),
            ("trace_id", "a" * 32),
            ("span_id", "b" * 16),
            ("request_id", "r1"),
            ("amount", 3),
        ]

    def test_one_event_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        StdoutRoad("shop").send(_event.from_record(make('a\n{"level":"forged"}\r\u2028', text="\n\x00")))
        assert capsys.readouterr().out.count("\n") == 1

    def test_a_person_sees_text_and_no_control_characters(self, capsys: pytest.CaptureFixture[str]) -> None:
        event = _event.from_record(make("a\x1b[2J\nsecond", amount=3, exc_info=failure(ValueError("bad"))))
        event.trace_id = "a" * 32
        StdoutRoad("shop", people=True).send(event)
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "\n    second" in printed
        assert "amount=3" in printed
        assert "a" * 32 in printed
        assert printed.rstrip().endswith("ValueError: bad")

    def test_colours_where_wanted(self, capsys: pytest.CaptureFixture[str]) -> None:
        StdoutRoad("shop", people=True, colors=True).send(_event.from_record(make("hello")))
        assert "\x1b[" in capsys.readouterr().out

    def test_a_stdout_that_cannot_say_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        with (tmp_path / "out").open("w", encoding="ascii") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            StdoutRoad("shop").send(_event.from_record(make("café", who="Zoë")))
        line = json.loads((tmp_path / "out").read_text().replace("\\x", "\\u00"))
        assert (line["event"], line["who"]) == ("café", "Zoë")

    @pytest.mark.parametrize("stdout", ["closed", "none", "broken"])
    def test_a_stdout_that_is_gone(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stdout: str) -> None:
        stream: Any = None
        if stdout != "none":
            stream = (tmp_path / "out").open("w")
            stream.close() if stdout == "closed" else None
        if stdout == "broken":
            stream.close()
            stream = Path("/dev/full").open("w")  # noqa: SIM115  given to the test as stdout
        monkeypatch.setattr(sys, "stdout", stream)
        StdoutRoad("shop").send(_event.from_record(make("hello")))
        monkeypatch.undo()
        if stdout == "broken":
            with pytest.raises(OSError, match="No space"):
                stream.close()


def test_an_enumeration_of_integers_is_its_number_at_once() -> None:
    assert clean({"status": HTTPStatus.OK, "lowest": -(2**63), "beyond": 2**63}) == {
        "status": 200,
        "lowest": -(2**63),
        "beyond": str(2**63),
    }


def test_a_server_s_access_line_is_cut_and_no_other() -> None:
    def body(logger: str) -> str:
        record = logging.makeLogRecord({"name": logger, "msg": "%s - GET", "args": ("x" * 5000,)})
        return _event.from_record(record).body

    assert body("uvicorn.access") == "x" * 512 + "… (4494 more characters)"
    assert body("shop") == "x" * 5000 + " - GET"
