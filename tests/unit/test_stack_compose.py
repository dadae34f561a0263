"""What the Compose engine asks of Docker, and how it reads the answers.

There is no container engine here. A program named `docker` on PATH writes down how it was called, and answers what
Compose's documentation shows: that proves arguments, environment and parsing, and nothing about containers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from otelkit.errors import StackError
from otelkit.ops import _assets, stack
from otelkit.ops.stack import Wanted, _compose
from otelkit.ops.stack._progress import Silent
from support.processes import PYTHON

CONTAINERS = (
    {"Service": "collector-volume", "State": "exited", "Health": "", "ExitCode": 0},
    {"Service": "collector", "State": "running", "Health": "healthy", "ExitCode": 0},
    {"Service": "prometheus", "State": "running", "Health": "starting", "ExitCode": 0, "Status": "Up 2 seconds"},
    {"Service": "loki", "State": "exited", "Health": "", "ExitCode": 1, "Status": "exited (1)"},
    {"Service": "redis-exporter", "State": "running", "Health": "", "ExitCode": 0},
)
VARIABLES = ("COLLECTOR_OVERLAYS", "STACK_NETWORK", "GRAFANA_ADMIN_PASSWORD", "PROMETHEUS_PORT")
DOCKER = f"""#!{PYTHON} -SE
import json, os, sys, time
called = {{"argv": sys.argv[1:], "env": {{name: os.environ.get(name) for name in json.loads(os.environ["RECORDED"])}}}}
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(called) + "\\n")
if "ps" in sys.argv and os.path.exists(os.environ["CALLS"] + ".up"):
    print(open(os.environ["PRINTED"]).read())
if "up" in sys.argv:
    open(os.environ["CALLS"] + ".up", "w").close()
    time.sleep(float(os.environ["STARTS_IN"]))
"""


class Docker:
    """What was asked of the program."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.place = folder / "state/otelkit/stack/default"

    def asked(self, word: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.calls.read_text().splitlines())
        return [call for call in lines if word in call["argv"]]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    for name in _assets.pins():
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    (tmp_path / "printed").write_text("\n".join(map(json.dumps, CONTAINERS)))
    variables = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "PRINTED": str(tmp_path / "printed"),
        "RECORDED": json.dumps(VARIABLES),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "STARTS_IN": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Docker(tmp_path)


def test_compose_is_taken_where_it_answers(docker: Docker) -> None:
    state = stack.up(Wanted())
    assert state.engine == "compose"
    (up,) = docker.asked("up")
    deploy = f"{docker.place}/deploy"
    assert up["argv"] == [
        *("compose", "--project-name", "otelkit-default", "--project-directory", deploy),
        *("--env-file", f"{deploy}/.env", "--file", f"{deploy}/compose.yaml"),
        *("up", "--detach", "--wait", "--wait-timeout", "60"),
    ]
    assert Path(deploy, "compose.yaml").is_file()
    # As shipped: containers find each other by the names of their services.
    assert "collector:8888" in Path(deploy, "prometheus/targets/collector.yaml").read_text()


def test_overlays_offset_and_name_reach_compose_as_variables(docker: Docker, tmp_path: Path) -> None:
    stack.up(Wanted(name="two", overlays=("gateway", "infra"), port_offset=100))
    (up,) = docker.asked("up")
    assert up["argv"][1:3] == ["--project-name", "otelkit-two"]
    assert "--profile infra up" in " ".join(up["argv"])
    password = (tmp_path / "state/otelkit/stack/two/grafana-password").read_text()
    assert up["env"] == {
        "COLLECTOR_OVERLAYS": "--config=/etc/otelcol/overlays/gateway.yaml --config=/etc/otelcol/overlays/infra.yaml",
        "STACK_NETWORK": "otelkit-two",
        "GRAFANA_ADMIN_PASSWORD": password,
        "PROMETHEUS_PORT": "9190",
    }
    endpoints = stack.endpoints("two")
    assert endpoints
    assert endpoints.otlp_http == "http://127.0.0.1:4418"


def test_what_became_of_each_container_is_read_from_ps(docker: Docker) -> None:
    stack.up(Wanted())
    states = {seen.name: seen.state for seen in stack.look()}
    assert states == {"collector": "ready", "prometheus": "not ready", "loki": "ended", "redis-exporter": "ready"}
    reasons = {seen.name: seen.reason for seen in stack.look()}
    assert reasons["loki"].startswith("exited (1)")
    assert docker.asked("ps")[0]["argv"][-4:] == ["ps", "--all", "--format", "json"]


def test_a_second_up_starts_what_is_missing_of_what_runs(docker: Docker) -> None:
    first = stack.up(Wanted())
    told: list[str] = []

    class Telling(Silent):
        def say(self, line: str) -> None:
            told.append(line)

    assert stack.up(Wanted(port_offset=5), progress=Telling()) == first
    assert any("stays as it is" in line for line in told)
    assert [call["env"] for call in docker.asked("up")] == [docker.asked("up")[0]["env"]] * 2


def test_down_removes_containers_and_keeps_volumes_which_only_fresh_removes(docker: Docker) -> None:
    stack.up(Wanted())
    assert stack.down() == ["collector", "prometheus", "redis-exporter"]
    assert docker.asked("down")[-1]["argv"][-3:] == ["--profile", "*", "down"]
    assert stack.state() is None
    stack.up(Wanted(fresh=True))
    assert docker.asked("down")[-1]["argv"][-2:] == ["down", "--volumes"]


def test_an_interrupted_up_takes_down_what_it_began(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARTS_IN", "600")

    class Interrupted(Exception):  # noqa: N818  it is no error
        pass

    class Interrupting(Silent):
        def check(self) -> None:
            if docker.asked("up"):
                raise Interrupted

    with pytest.raises(Interrupted):
        stack.up(Wanted(), progress=Interrupting())
    assert docker.asked("down")
    assert stack.state() is None


def test_an_engine_that_is_gone_is_told_as_such(docker: Docker, tmp_path: Path) -> None:
    stack.up(Wanted())
    (tmp_path / "bin/docker").write_text("#!/bin/sh\nexit 1\n")
    for action in (stack.down, stack.look, lambda: stack.up(Wanted())):
        with pytest.raises(StackError, match="is one of containers, and docker compose version fails"):
            action()
    (docker.place / "state.json").unlink()
    assert stack.look() == []


def test_a_folder_for_data_is_no_matter_of_containers(docker: Docker, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="--engine native"):
        stack.up(Wanted(data=tmp_path / "data"))
    assert not docker.asked("up")


def test_both_forms_of_the_list_are_read() -> None:
    lines = "\n".join(map(json.dumps, CONTAINERS))
    assert _compose.parsed(lines) == _compose.parsed(json.dumps(CONTAINERS)) == list(CONTAINERS)
    assert _compose.parsed("") == _compose.parsed("[]\n") == []


@pytest.mark.parametrize("fails", ["compose", "info"])
def test_why_compose_cannot_be_used_is_told(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\n[ "$1" != {fails} ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"docker {fails}" in _compose.unavailable()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(StackError, match=f"Docker Compose cannot be used: docker {fails}"):
        stack.up(Wanted(engine="compose"))
