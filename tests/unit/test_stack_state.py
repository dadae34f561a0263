"""What is noted of a stack between two commands: written whole, read again, damaged, locked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from otelkit.errors import StackError
from otelkit.ops import stack
from otelkit.ops.stack import Record, State, _state
from support.processes import PYTHON, Process

if TYPE_CHECKING:
    from pathlib import Path

STATE = State(
    name="default",
    engine="native",
    otelkit="1.2.3",
    created=1.5,
    source=None,
    digest="ab",
    host="127.0.0.1",
    ports={"LOKI_PORT": 3100},
    settings={"LOKI_RETENTION": "744h"},
    overlays=("debug", "infra"),
    data="/data",
    programs_folder=None,
    programs={"loki": Record(pid=7, started=2.5, argv=("loki", "-x"), log="/l", ready="http://x/ready", version=None)},
    missing={"grafana": "it is not there"},
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / "new"
    _state.write(place, STATE)
    assert _state.read(place) == STATE
    assert json.loads((place / "state.json").read_text())["format"] == 1
    _state.forget(place)
    assert _state.read(place) is None
    _state.forget(place)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "programs": {"x": 3}}'])
def test_a_damaged_note_says_so_and_how_to_get_rid_of_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StackError, match=r"state.json is damaged.*`otelkit stack down`"):
        _state.read(tmp_path)


def test_the_note_of_another_otelkit_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": 2}')
    with pytest.raises(StackError, match="another version of otelkit"):
        _state.read(tmp_path)


def test_a_relative_state_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _state.folder("x") == tmp_path / ".local/state/otelkit/stack/x"


def test_no_stack_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert stack.state() is None
    assert stack.endpoints() is None
    assert stack.look() == []
    assert stack.down() == []


def test_a_note_without_processes_is_no_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    _state.write(_state.folder("default"), STATE)
    assert stack.endpoints() is None
    assert {seen.name: seen.state for seen in stack.look()} == {"loki": "ended", "grafana": "missing"}


def test_a_lock_is_waited_for_told_about_and_given_up_on(tmp_path: Path) -> None:
    holds = (
        "import sys, pathlib; from otelkit.ops.stack import _state; nothing = lambda: None\n"
        f"with _state.lock(pathlib.Path({str(tmp_path)!r}), within=1, waits=nothing, check=nothing):\n"
        "    print('held', flush=True); sys.stdin.read(); import time; time.sleep(60)"
    )
    told: list[str] = []
    with Process([PYTHON, "-c", holds], folder=tmp_path) as other:
        other.wait_output("held")
        with (
            pytest.raises(StackError, match=rf"\(pid {other.pid}\) works on stack {tmp_path.name}"),
            _state.lock(tmp_path, within=0.2, waits=lambda: told.append("waits"), check=lambda: None),
        ):
            pytest.fail("two hold it")
    assert told == ["waits"]
    # It went with its process, however that ended.
    with _state.lock(tmp_path, within=5, waits=lambda: told.append("waits"), check=lambda: None):
        assert told == ["waits"]
