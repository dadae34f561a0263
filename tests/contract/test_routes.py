"""Who hears of which alert, as Alertmanager's own `amtool` reads the generated file: every severity, every group."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from otelkit.ops.mixin.alertmanager import ALL, CONFIGURATION, render_alertmanager
from otelkit.ops.mixin.groups import GROUPS as DECLARED
from otelkit.ops.mixin.model import GROUPS, Severity
from otelkit.ops.mixin.parameters import Notify, Parameters
from support import lanes
from support.processes import run

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
LANE = "validators"
SERVICE = {"service_namespace": "shop", "service_name": "api", "deployment_environment_name": "production"}
HEARD = {
    "critical": "webhook,pager,chat",
    "warning": "webhook,chat",
    "info": "webhook,mail",
    "none": "deadman",
    "": "webhook,chat",
    "unheard_of": "webhook,chat",
}
"""By severity: a program hears everything, and an alert that nobody thought of is told to people."""


@pytest.fixture(scope="module")
def amtool() -> str:
    path = shutil.which("amtool")
    if path is None:
        lanes.skipped(LANE, "not on PATH: amtool")
        pytest.skip(f"{LANE}: not on PATH: amtool")
    lanes.ran(LANE)
    return path


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with every receiver on, beside its template."""
    folder = tmp_path_factory.mktemp("alertmanager")
    notify = Notify(smarthost="smtp.example.org:587", sender="a@example.org", to="b@example.org", user="me")
    file = folder / "alertmanager.yaml"
    file.write_text(render_alertmanager(Parameters(notify=notify), DECLARED, ALL)[CONFIGURATION])
    shutil.copy(ROOT / "deploy/alertmanager/otelkit.tmpl", folder)
    return file


def goes_to(amtool: str, file: Path, labels: Mapping[str, str], folder: Path) -> str:
    words = ["config", "routes", "test", f"--config.file={file}", *(f"{name}={each}" for name, each in labels.items())]
    told = run([amtool, *words], folder=folder)
    assert told.returncode == 0, told.tail()
    return told.stdout.strip()


def test_every_severity_that_rules_have_is_routed() -> None:
    assert set(get_args(Severity)) == HEARD.keys() - {"", "unheard_of"}


@pytest.mark.parametrize("severity", HEARD)
def test_severity_decides_who_hears_of_an_alert_whatever_its_board_and_its_service(
    severity: str, amtool: str, everybody: Path, tmp_path: Path
) -> None:
    given = {"severity": severity} if severity else {}
    assert goes_to(amtool, everybody, given, tmp_path) == HEARD[severity]
    for group, labels in zip(GROUPS, itertools.cycle(({}, SERVICE)), strict=False):
        routed = goes_to(amtool, everybody, {**given, "group": group, **labels}, tmp_path)
        assert routed == HEARD[severity], (group, labels)


@pytest.mark.parametrize("file", ["as committed", "with everybody on"])
def test_alertmanager_takes_the_file(file: str, amtool: str, everybody: Path, tmp_path: Path) -> None:
    path = ROOT / CONFIGURATION if file == "as committed" else everybody
    checked = run([amtool, "check-config", path], folder=tmp_path)
    assert checked.returncode == 0, checked.tail()
    assert "warn" not in (checked.stdout + checked.stderr).lower()
    assert f"{len(ALL)} receivers" in checked.stdout
    assert "1 templates" in checked.stdout
