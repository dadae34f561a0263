"""A drill that is interrupted ends all that it started, and says so by its exit code."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from otelkit.ops.drill._running import carrying
from otelkit.ops.drill.bench import missing
from support import lanes
from support.processes import PYTHON, Process, wait_until

if TYPE_CHECKING:
    from pathlib import Path

LANE = "operations"
WITHIN = 90.0  # seconds, on a machine that does much else


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    if absent := missing(shop=False):
        lanes.skipped(LANE, f"not on PATH: {', '.join(absent)}")
        pytest.skip(", ".join(absent))
    lanes.ran(LANE)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    argv = [PYTHON, "-m", "otelkit.ops.cli", "drill", "collector-down"]
    with Process(argv, folder=tmp_path, env={"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}) as drill:
        drill.wait_output("collector-down: the Collector is killed", within=WITHIN)
        assert len(carrying(str(temporary))) > 5
        drill.signal(number)
        assert drill.wait(within=WITHIN) == 128 + number
        assert drill.stderr == (
            "interrupted; what was broken is mended, and everything that was started has been ended\n"
        )
    wait_until(lambda: carrying(str(temporary)) == [], within=WITHIN, what="everything has ended")
    assert list(temporary.iterdir()) == []
