"""The only place that tests what the end of a run says, and when a skipped lane fails it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import lanes
from support.closing import COUNTS, Closing, Counts, note_counts
from support.processes import PYTHON, run

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest
def test_passes(): pass
def test_fails(): assert False
@pytest.mark.skip
def test_skips(): pass
@pytest.mark.xfail
def test_fails_as_expected(): assert False
@pytest.fixture
def broken(): raise RuntimeError
def test_cannot_start(broken): pass
"""


@pytest.fixture
def skip_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Note skipped lanes in the file that a `Closing(tmp_path)` reads."""
    monkeypatch.setenv(lanes.VARIABLE, str(Closing(tmp_path).lanes_file))
    return lanes.skipped


def test_nothing_is_said_where_no_lane_was_asked_for(tmp_path: Path) -> None:
    assert Closing(tmp_path).lines() == []


def test_sessions_are_listed_and_their_tests_added_up(tmp_path: Path, skip_lane: Callable[[str, str], None]) -> None:
    closing = Closing(tmp_path)
    closing.done("lint", ok=True)
    note_counts(closing.counts_file("unit"), Counts(passed=3, skipped=1))
    note_counts(closing.counts_file("unit"), Counts(passed=4))
    closing.done("unit", ok=True)
    skip_lane("e2e", "not on PATH: tempo")
    note_counts(closing.counts_file("e2e"), Counts(skipped=2))
    closing.done("e2e", ok=True)
    assert closing.lines() == [
        "lane e2e: SKIPPED, not on PATH: tempo",
        "lane lint: ran",
        "lane unit: ran",
        "7 passed, 0 failed, 3 skipped",
    ]


def test_a_failed_check_counts_once_and_failed_tests_are_not_counted_twice(tmp_path: Path) -> None:
    closing = Closing(tmp_path)
    closing.done("lint", ok=False)
    note_counts(closing.counts_file("unit"), Counts(passed=5, failed=2))
    closing.done("unit", ok=False)
    note_counts(closing.counts_file("integration"), Counts(passed=1))
    closing.done("integration", ok=False)
    assert closing.lines() == [
        "lane lint: FAILED",
        "lane unit: FAILED",
        "lane integration: FAILED",
        "6 passed, 4 failed, 0 skipped",
    ]


def test_a_skip_is_refused_where_the_machine_can_run_the_lane(
    tmp_path: Path, skip_lane: Callable[[str, str], None]
) -> None:
    lanes.ran("rules")
    skip_lane("e2e", "not on PATH: tempo")
    assert Closing(tmp_path).refused() == ()
    assert Closing(tmp_path, required="require").refused() == ("lane e2e: SKIPPED, not on PATH: tempo",)
    assert Closing(tmp_path, required="require but celery-rabbitmq e2e").refused() == ()
    assert Closing(tmp_path, required="require but e2").refused() != ()


def test_pytest_leaves_its_counts(tmp_path: Path) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE, encoding="utf-8")
    closing = Closing(tmp_path)
    own = {COUNTS: str(closing.counts_file("unit")), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    plain = ["-c", os.devnull, "--import-mode=importlib", "-p", "conftest"]
    run([PYTHON, "-m", "pytest", *plain, suite], folder=tmp_path, env=own | {"PYTHONPATH": path})
    assert closing.counts("unit") == Counts(passed=1, failed=2, skipped=2)
