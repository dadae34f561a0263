"""Every variable that otelkit reads, with every sort of wrong value, one process each: the slow lane of G13.

The cases come from the table of variables, and so does what is expected: a value that its kind refuses must be named on
stderr, one that it takes must not. A new variable is covered by itself.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from otelkit._values import Wrong, WrongValueError
from otelkit._variables import VARIABLES
from otelkit.otlp.receiver import Receiver
from support import settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit._variables import Variable

AT_ONCE = os.cpu_count() or 2
READ = [row for row in VARIABLES if row.fields]

VALUES = {
    "garbage": "hunter2 &?=;garbage",
    "plain word": "garbage",
    "empty": "",
    "huge text": "x" * 100_000,
    "huge number": "9" * 400,
    "large number": "2147483647",
    "negative": "-1",
    "not ASCII": "gärbäge ☃",
    "not UTF-8": "caf\udce9 cr\udce8me",
    "wrong type": '[1.5, {"a": null}]',
}

# A word that is right by its kind, but names what is not installed, or is too much beside another setting.
ONLY_BESIDE_OTHERS = ("_MAX_EXPORT_BATCH_SIZE", "_CREDENTIAL_PROVIDER", "_RESOURCE_DETECTORS", "_SAMPLER_ARG")
RECEIVER = "OTEL_EXPORTER_OTLP_ENDPOINT"  # set by `settled.run`: without a value, nothing leads to the test's receiver
STOPS_ITS_SIGNALS = ("ENDPOINT", "CREDENTIAL_PROVIDER")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def is_wrong(row: Variable, value: str) -> bool:
    """Tell what the table says about a value; blanks are the same as nothing (specification, "Parsing empty value")."""
    text = value.strip()
    if not text:
        return False
    try:
        return isinstance(row.reading.parse(text), Wrong)
    except WrongValueError:
        return True


def concerned(row: Variable) -> frozenset[str]:
    """The signals that a variable is about."""
    return settled.SIGNALS.intersection(field.partition(".")[0] for field in row.fields)


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_wrong_value_costs_no_more_than_its_setting(row: Variable, receiver: Receiver) -> None:
    def run(value: str) -> settled.Outcome:
        return settled.run(receiver, {row.name: value})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(VALUES, pool.map(run, VALUES.values()), strict=True))
    for what, outcome in outcomes.items():
        check(row, VALUES[what], outcome)


def check(row: Variable, value: str, outcome: settled.Outcome) -> None:
    """Hold one outcome against what the table says."""
    outcome.assert_unharmed()
    assert all(line.startswith("otelkit: ") for line in outcome.said), outcome.said
    named = [line for line in outcome.said if row.name in line]
    wrong, beside = is_wrong(row, value), row.name.endswith(ONLY_BESIDE_OTHERS)
    if wrong:
        assert len(named) == 1, (value[:40], outcome.said)
        assert len(named[0]) < 1000
    elif not beside:
        assert named == [], value[:40]
    if not settled.may_be_shown(value) and value.strip():
        assert value.strip() not in outcome.stderr
    unset = row.name != RECEIVER and not value.strip()
    stopped = concerned(row) if row.name.endswith(STOPS_ITS_SIGNALS) and not unset else frozenset()
    assert outcome.arrived >= settled.SIGNALS - stopped, (value[:40], outcome.said)
    if stopped - outcome.arrived and value.strip():
        assert named, (value[:40], outcome.said)


def test_every_variable_that_is_read_is_here() -> None:
    assert len(READ) > 90
    assert all(row.kind is not None for row in READ)
