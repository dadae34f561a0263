"""The only place that has the real programs judge their own configuration files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import lanes
from support.processes import run

if TYPE_CHECKING:
    from support.processes import Process

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "collector": ROOT / "collector/config.yaml",
    "prometheus": ROOT / "deploy/prometheus/prometheus.yaml",
    "tempo": ROOT / "deploy/tempo/tempo.yaml",
    "loki": ROOT / "deploy/loki/loki.yaml",
}
REDACTION = ROOT / "collector/redaction.yaml"
PROGRAMS = {
    "collector": ("otelcol-contrib", "otelcol"),
    "prometheus": ("promtool",),
    "tempo": ("tempo",),
    "loki": ("loki",),
}
QUIET = ("collector", "tempo")  # say nothing at all about a good file
LANE = "validators"


def _validate(name: str, config: Path, folder: Path) -> Process:
    """Run the validator, or skip and say loudly that it is missing."""
    program = next((path for each in PROGRAMS[name] if (path := shutil.which(each))), None)
    if program is None:
        missing = f"not on PATH: {' or '.join(PROGRAMS[name])}"
        lanes.skipped(LANE, missing)
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    arguments = {
        "collector": ("validate", f"--config={config}", f"--config={REDACTION}"),
        "prometheus": ("check", "config", str(config)),
        "tempo": (f"-config.file={config}", "-config.expand-env=true", "-config.verify=true"),
        "loki": (f"-config.file={config}", "-config.expand-env=true", "-verify-config"),
    }[name]
    return run(
        [program, *arguments],
        folder=folder,
        env={f"STACK_{each}_DATA": str(folder) for each in ("COLLECTOR", "LOKI", "TEMPO")},
    )


@pytest.mark.parametrize("name", CONFIG)
def test_the_program_accepts_its_file_without_a_warning(name: str, tmp_path: Path) -> None:
    judged = _validate(name, CONFIG[name], tmp_path)
    printed = judged.stdout + judged.stderr
    assert judged.returncode == 0, printed
    assert "warn" not in printed.lower()
    assert "error" not in printed.lower()
    if name in QUIET:
        assert printed == ""


@pytest.mark.parametrize("name", CONFIG)
def test_the_program_would_refuse_a_word_it_does_not_know(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG[name].read_text() + "\nunheard_of: {}\n")
    judged = _validate(name, wrong, tmp_path)
    assert judged.returncode != 0
    assert "unheard_of" in judged.stdout + judged.stderr
