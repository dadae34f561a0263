"""The `otelkit` command: what its subcommands answer."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from otelkit.ops.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_run_without_a_program_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--"]) == 2
    assert "name the program" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "doctor", "stack", "trace", "render"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"otelkit {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["doctor"], ["stack", "status"], ["trace", "--last"], ["render", "--check"]])
def test_a_command_without_the_extra_says_how_to_install_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extra = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('grafana_foundation_sdk', 'psutil', 'rich', 'yaml')))\n"
        "from otelkit.ops.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", without_extra, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'otelkit[ops]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["trance"])
    assert exit_.value.code == 2
    assert "trance" in capsys.readouterr().err
