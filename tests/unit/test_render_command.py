"""`otelkit render` as people call it: in their own repository, with their catalogues and parameters."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from otelkit.ops import mixin, render
from otelkit.ops.cli import main
from otelkit.ops.mixin import alertmanager

if TYPE_CHECKING:
    from pathlib import Path

RULES = "deploy/prometheus/rules/http.yaml"
CATALOG = """\
import otelkit
catalog = otelkit.Catalog("planted")
catalog.counter("planted.orders", unit="{order}", description="Orders.")
other = "a text"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that is not otelkit's, as the current folder, with a service in it."""
    (tmp_path / "planted.py").write_text(CATALOG, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import no_such_module\n", encoding="utf-8")
    (tmp_path / "ending.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "")
    return tmp_path


def test_what_render_writes_check_accepts(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted([*mixin.render(mixin.Inputs()), render.TEMPLATE])
    assert main(["render", "--check"]) == 0
    assert main(["render"]) == 0
    assert capsys.readouterr().out == ""
    assert (own / RULES).is_file()


def test_check_shows_a_difference_as_a_diff_and_writes_nothing(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["render"])
    text = (own / RULES).read_text(encoding="utf-8")
    (own / RULES).write_text(text.replace("> 0.05", "> 0.06"), encoding="utf-8")
    (own / "deploy/prometheus/rules/gone.yaml").write_text(f"# {mixin.MARK}\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["render", "--check"]) == 1
    shown = capsys.readouterr().out
    assert f"--- committed/{RULES}" in shown
    assert f"+++ generated/{RULES}" in shown
    assert "--- committed/deploy/prometheus/rules/gone.yaml\n+++ /dev/null" in shown
    assert "> 0.06" in (own / RULES).read_text(encoding="utf-8")
    assert main(["render"]) == 0
    assert capsys.readouterr().out == f"{RULES}\ndeploy/prometheus/rules/gone.yaml removed\n"


def test_a_file_that_somebody_wrote_stays_and_is_named(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / RULES).parent.mkdir(parents=True)
    (own / RULES).write_text("groups: []\n", encoding="utf-8")
    assert main(["render"]) == 1
    assert f"not generated, and in the way: {RULES}" in capsys.readouterr().err
    assert [file.name for file in (own / "deploy").rglob("*.*")] == ["http.yaml"]


def test_a_folder_that_is_none_is_one_clear_line(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "file").touch()
    assert main(["render", "--out", "file"]) == 2
    told = capsys.readouterr().err
    assert "file" in told
    assert told.count("\n") == 1


def test_parameters_are_those_of_the_folder_or_those_named(own: Path) -> None:
    (own / "tight.toml").write_text('[thresholds]\nerror_crit = "1%"\n', encoding="utf-8")
    assert main(["render", "--parameters", "tight.toml"]) == 0
    assert not (own / "deploy/parameters.toml").exists()
    assert "> 0.01" in (own / RULES).read_text(encoding="utf-8")
    (own / "deploy/parameters.toml").write_text('[thresholds]\nerror_crit = "2%"\n', encoding="utf-8")
    assert main(["render"]) == 0
    assert "> 0.02" in (own / RULES).read_text(encoding="utf-8")
    assert main(["render", "--check"]) == 0


def test_wrong_parameters_are_told_with_file_and_line_and_nothing_is_written(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "p.toml").write_text("[thresholds]\nerror_crit = 5\nerror_krit = 1\n", encoding="utf-8")
    assert main(["render", "--parameters", "p.toml"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line[:9] for line in told] == ["p.toml:2:", "p.toml:3:"]
    assert main(["render", "--parameters", "none.toml"]) == 2
    assert "none.toml: there is no such file" in capsys.readouterr().err
    assert not (own / "deploy").exists()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("planted", "a module and a name in it"),
        (":catalog", "a module and a name in it"),
        ("no_such_service:catalog", "No module named 'no_such_service'"),
        ("broken:catalog", "No module named 'no_such_module'"),
        ("planted:katalog", "has no attribute 'katalog'"),
        ("planted:other", "is str, not otelkit.Catalog"),
        ("ending:catalog", "SystemExit: 3"),
    ],
)
def test_a_catalogue_that_is_none_is_one_clear_line(
    named: str, says: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "--catalog", named]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"--catalog {named}: ")
    assert says in told
    assert told.count("\n") == 1
    assert not (own / "deploy").exists()


def test_an_alert_of_a_catalogue_that_is_called_as_one_of_ours_is_one_clear_line(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "clashing.py").write_text(
        "import otelkit\n"
        "from otelkit.metrics import Stopped\n"
        "catalog = otelkit.Catalog('clashing')\n"
        "alert = Stopped(name='ServiceDown', for_='5m', runbook='Look.')\n"
        "catalog.counter('clashing.orders', unit='{order}', description='Orders.', alert=alert)\n",
        encoding="utf-8",
    )
    assert main(["render", "--catalog", "clashing:catalog"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ServiceDown: otelkit has an alert of this name")
    assert told.count("\n") == 1
    assert not (own / "deploy").exists()


def test_a_metric_of_two_catalogues_is_rendered_once(own: Path) -> None:
    (own / "again.py").write_text(CATALOG, encoding="utf-8")
    assert main(["render", "--catalog", "planted:catalog", "--catalog", "again:catalog"]) == 0


def test_a_catalogue_may_tidy_the_path_itself(own: Path) -> None:
    tidying = "import os, sys\nsys.path.remove(os.getcwd())\n"
    (own / "tidying.py").write_text(tidying + CATALOG.replace("planted", "tidying"), encoding="utf-8")
    assert main(["render", "--catalog", "tidying:catalog"]) == 0


def test_catalogues_are_imported_from_the_current_folder_and_send_nothing(own: Path) -> None:
    (own / "sending.py").write_text(
        "import threading, otelkit\n"
        "otelkit.configure(service_name='sending')\n"
        "from planted import catalog\n"
        "print(threading.active_count(), 'thread')\n",
        encoding="utf-8",
    )
    catalogs = ("--catalog", "sending:catalog", "--catalog", "planted:catalog")
    done = subprocess.run(
        [sys.executable, "-m", "otelkit.ops.cli", "render", *catalogs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "1 thread"


def test_receivers_whose_secret_is_there_are_on_but_in_otelkits_own_checkout(own: Path) -> None:
    secrets = own / alertmanager.SECRETS
    secrets.mkdir(parents=True)
    (secrets / alertmanager.ALL["pager"].file).write_text("planted", encoding="utf-8")
    assert main(["render"]) == 0
    assert "pagerduty_configs" in (own / alertmanager.CONFIGURATION).read_text(encoding="utf-8")
    (own / "otelkit/ops").mkdir(parents=True)
    (own / "otelkit/ops/render.py").touch()
    assert main(["render"]) == 0
    assert "pagerduty_configs" not in (own / alertmanager.CONFIGURATION).read_text(encoding="utf-8")


def test_secrets_may_lie_elsewhere_and_what_is_wrong_with_them_is_said(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "elsewhere"
    secrets.mkdir()
    for name in ("slack-webhook-url", "deadman"):
        (secrets / name).write_text("https://planted.example.org", encoding="utf-8")
        (secrets / name).chmod(0o600)
    assert main(["render", "--secrets", str(secrets)]) == 0
    assert "slack_configs" in (own / alertmanager.CONFIGURATION).read_text(encoding="utf-8")
    assert f"render: {secrets / 'deadman'} is nobody's secret" in capsys.readouterr().err


def test_alertmanager_finds_the_templates_that_its_file_names(own: Path) -> None:
    assert main(["render"]) == 0
    folder = (own / alertmanager.CONFIGURATION).parent
    named = yaml.safe_load((own / alertmanager.CONFIGURATION).read_text(encoding="utf-8"))["templates"]
    assert named
    assert all((folder / name).is_file() for name in named)


def test_words_of_notifications_belong_to_who_takes_the_mark_away(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render"]) == 0
    file = own / render.TEMPLATE
    file.write_text(file.read_text(encoding="utf-8").partition("\n")[2] + "{{/* mine */}}\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["render"]) == 0
    assert capsys.readouterr().out == ""
    assert "mine" in file.read_text(encoding="utf-8")


def test_an_objective_is_held_against_what_prometheus_keeps(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_RETENTION", raising=False)
    slo = '[[slo]]\nname = "a"\nservice = "shop"\nobjective = 0.99\nperiod = "30d"\n'
    (own / "p.toml").write_text(slo, encoding="utf-8")
    assert main(["render", "--parameters", "p.toml"]) == 2
    assert "p.toml:5: a period of 30 days needs PROMETHEUS_RETENTION=31d" in capsys.readouterr().err
    (own / "deploy").mkdir()
    (own / "deploy/.env").write_text("PROMETHEUS_RETENTION=4w4d\n", encoding="utf-8")
    assert main(["render", "--parameters", "p.toml"]) == 0
    monkeypatch.setenv("PROMETHEUS_RETENTION", "30d")
    assert main(["render", "--parameters", "p.toml"]) == 2
