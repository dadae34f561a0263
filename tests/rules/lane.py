"""The only place that says whether the lane `rules` can run: it needs promtool, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from support import lanes

LANE = "rules"


def promtool() -> str:
    """Return the program's path, or skip and say loudly that it is missing."""
    path = shutil.which("promtool")
    if path is None:
        lanes.skipped(LANE, "not on PATH: promtool")
        pytest.skip(f"{LANE}: promtool is not on PATH")
    lanes.ran(LANE)
    return path
