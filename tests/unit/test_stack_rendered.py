"""What `otelkit stack up --rendered DIR` takes of a folder, and what of its own copy it leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otelkit.errors import StackError
from otelkit.ops import _assets, mixin, render
from otelkit.ops.mixin.parameters import Parameters
from otelkit.ops.stack import Wanted, _choice, _files, _state

if TYPE_CHECKING:
    from pathlib import Path

RULES = "deploy/prometheus/rules/http.yaml"
CACHE = "deploy/prometheus/rules/cache.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in _assets.pins():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "otelkit/stack"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A repository of somebody who tuned a threshold, has no cache, and wrote a board by hand."""
    root = tmp_path / "own"
    tuned = mixin.render(mixin.Inputs(parameters=Parameters(thresholds={"error_crit": 0.25})))
    tuned.pop(CACHE)
    render.write(root, render.differences(root, tuned))
    (root / "deploy/grafana/dashboards/by-hand.json").write_text('{"uid": "mine"}', encoding="utf-8")
    (root / "deploy/kubernetes.yaml").write_text("somebody's own\n", encoding="utf-8")
    return root


def copied(wanted: Wanted) -> Path:
    place = _state.folder(wanted.name)
    _files.copy(place, _choice.choose(wanted, "native"), _choice.files(wanted))
    return place


def test_what_was_rendered_replaces_what_is_shipped(own: Path) -> None:
    place = copied(Wanted(rendered=own))
    assert "> 0.25" in (place / RULES).read_text(encoding="utf-8")
    assert not (place / CACHE).exists()
    assert (place / "deploy/grafana/dashboards/by-hand.json").is_file()
    assert (place / "deploy/grafana/dashboards/by-hand.json").stat().st_mode & 0o777 == 0o644


def test_everything_else_stays_as_it_is_shipped(own: Path) -> None:
    (own / "deploy/.env").write_text("LOKI_PORT=1\n", encoding="utf-8")
    place = copied(Wanted(rendered=own))
    for name in ("deploy/.env", "deploy/alertmanager/otelkit.tmpl", "deploy/loki/loki.yaml", "collector/config.yaml"):
        assert (place / name).read_bytes() == (_assets.root() / name).read_bytes(), name
    assert not (place / "deploy/kubernetes.yaml").exists()


def test_a_folder_of_boards_alone_leaves_the_rules_that_are_shipped(tmp_path: Path) -> None:
    board = tmp_path / "boards/deploy/grafana/dashboards/one.json"
    board.parent.mkdir(parents=True)
    board.write_text('{"uid": "otelkit-one"}', encoding="utf-8")
    place = copied(Wanted(rendered=tmp_path / "boards"))
    assert [file.name for file in (place / "deploy/grafana/dashboards").iterdir()] == ["one.json"]
    assert (place / RULES).read_bytes() == (_assets.root() / RULES).read_bytes()


def test_a_folder_without_anything_rendered_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "empty/deploy/prometheus/rules").mkdir(parents=True)
    (tmp_path / "empty/deploy/prometheus/rules/mine.yaml").write_text("groups: []\n", encoding="utf-8")
    for name in ("empty", "none"):
        with pytest.raises(StackError, match=f"holds nothing that was rendered.*otelkit render --out .*{name}$"):
            _choice.choose(Wanted(rendered=tmp_path / name), "native")


def test_another_folder_or_another_content_is_told_as_a_difference(own: Path) -> None:
    runs = _choice.choose(Wanted(rendered=own), "native")
    assert _choice.differences(runs, _choice.choose(Wanted(rendered=own), "native")) == []
    (own / RULES).write_text(f"# {mixin.MARK}, changed\n", encoding="utf-8")
    (told,) = _choice.differences(runs, _choice.choose(Wanted(rendered=own), "native"))
    assert told == f"its configuration is not what is in this otelkit and {own} now"
    assert _choice.differences(runs, _choice.choose(Wanted(), "native"))


def test_the_folder_is_noted_and_a_note_without_one_is_read(own: Path, home: Path) -> None:
    place = home / "default"
    state = replace(_choice.choose(Wanted(rendered=own), "native"), created=1.0)
    _state.write(place, state)
    assert _state.read(place) == state
    noted = (place / "state.json").read_text(encoding="utf-8")
    (place / "state.json").write_text(noted.replace(f',\n  "rendered": "{own}"', ""), encoding="utf-8")
    assert _state.read(place) == replace(state, rendered=None)
