"""The only place that tests how lanes are written down and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import lanes

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_lane_is_read_back_once_and_what_it_lacked_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lanes"
    monkeypatch.setenv(lanes.VARIABLE, str(file))
    lanes.ran("rules")
    lanes.ran("e2e")
    lanes.skipped("e2e", "tempo not on PATH")
    lanes.skipped("e2e", "loki not on PATH")
    lanes.skipped("e2e", "tempo not on PATH")
    lanes.ran("e2e")
    assert [str(lane) for lane in lanes.read(file)] == [
        "lane e2e: SKIPPED, tempo not on PATH; loki not on PATH",
        "lane rules: ran",
    ]


def test_nothing_is_written_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lanes.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    lanes.ran("e2e")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_lanes_reads_as_none(tmp_path: Path) -> None:
    assert lanes.read(tmp_path / "absent") == ()
