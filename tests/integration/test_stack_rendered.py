"""`otelkit render`, then `otelkit stack up --rendered`: the real Prometheus evaluates what somebody chose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import lanes, stack
from support.processes import HOST, PYTHON, http_get, run

if TYPE_CHECKING:
    from support.processes import Process

LANE = "stack"


def test_the_stack_runs_what_was_rendered_and_says_so(tmp_path: Path) -> None:
    program = stack.find("prometheus")
    if program is None:
        lanes.skipped(LANE, "not on PATH: prometheus")
        pytest.skip(f"{LANE}: not on PATH: prometheus")
    lanes.ran(LANE)
    own, programs = tmp_path / "own", tmp_path / "bin"
    (own / "deploy").mkdir(parents=True)
    (own / "deploy/parameters.toml").write_text('[thresholds]\nerror_crit = "25%"\n', encoding="utf-8")
    programs.mkdir()
    (programs / Path(program).name).symlink_to(program)
    variables = {"XDG_STATE_HOME": str(tmp_path / "state"), "PATH": str(programs)}

    def otelkit(*arguments: str) -> Process:
        return run([PYTHON, "-m", "otelkit.ops.cli", *arguments], folder=tmp_path, env=variables, name=arguments[0])

    assert otelkit("render", "--out", str(own)).returncode == 0
    with stack.offset() as offset:
        up = otelkit("stack", "up", "--engine", "native", "--port-offset", str(offset), "--rendered", str(own))
        try:
            assert up.returncode == 0, up.tail()
            shown = otelkit("stack", "status").stdout
            told = json.loads(otelkit("stack", "status", "--json").stdout)
            rules = json.loads(http_get(f"{told['endpoints']['prometheus']}/api/v1/rules?type=alert").body)
        finally:
            assert otelkit("stack", "down").returncode == 0
    assert f"Rules, boards and receivers are those of {own}." in shown
    assert told["rendered"] == str(own)
    assert told["endpoints"]["prometheus"].startswith(f"http://{HOST}:")
    queries = {rule["name"]: rule["query"] for group in rules["data"]["groups"] for rule in group["rules"]}
    assert "> 0.25" in queries["HighErrorRate"]
