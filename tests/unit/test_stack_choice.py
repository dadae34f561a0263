"""What `otelkit stack up` is told and what the shell and deploy/.env say: what comes of it, and what differs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.stack import Wanted, _choice, _programs, _state

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in _assets.pins():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "otelkit/stack"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A configuration that somebody ejected."""
    for name in _assets.FOLDERS:
        shutil.copytree(_assets.root() / name, tmp_path / "own" / name)
    return tmp_path / "own"


def test_ports_are_those_of_the_file_and_an_offset_moves_all_of_them() -> None:
    pins = _assets.pins()
    listened = {port for kind in _programs.KINDS.values() for port in kind.ports}
    assert _choice.choose(Wanted(), "native").ports == {name: int(pins[name]) for name in listened}
    moved = _choice.choose(Wanted(port_offset=100), "native").ports
    assert moved == {name: int(pins[name]) + 100 for name in listened}


def test_no_two_programs_want_the_same_port() -> None:
    ports = _choice.choose(Wanted(), "native").ports
    assert len(set(ports.values())) == len(ports)


def test_exporters_are_moved_only_where_the_stack_starts_them() -> None:
    pins = _assets.pins()
    native, compose = (_choice.choose(Wanted(port_offset=5), engine) for engine in ("native", "compose"))
    assert "REDIS_EXPORTER_PORT" not in native.ports
    assert native.settings["REDIS_EXPORTER_PORT"] == pins["REDIS_EXPORTER_PORT"]
    assert compose.ports["REDIS_EXPORTER_PORT"] == int(pins["REDIS_EXPORTER_PORT"]) + 5


def test_a_variable_of_the_shell_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKI_PORT", "4100")
    monkeypatch.setenv("LOKI_RETENTION", "24h")
    state = _choice.choose(Wanted(port_offset=1), "native")
    given = _programs.variables(home / "default", state, {})
    assert (given["STACK_LOKI_PORT"], given["STACK_LOKI_RETENTION"]) == ("4101", "24h")
    assert given["STACK_LOKI_URL"] == "http://127.0.0.1:4101"


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:9090", "", "0", "65536", "-1"])
def test_what_is_no_port_is_named_with_its_variable(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_PORT", value)
    monkeypatch.setenv("LOKI_PORT", "many")
    with pytest.raises(StackError, match=r"PROMETHEUS_PORT is .*; LOKI_PORT is 'many', which is no port"):
        _choice.choose(Wanted(), "native")


def test_a_store_elsewhere_is_named_by_its_url_and_nothing_else_moves(home: Path) -> None:
    state = _choice.choose(Wanted(), "native")
    shell = {"STACK_LOKI_URL": "http://loki.example:3100", "STACK_HOST": "0.0.0.0", "STACK_LOKI_PORT": "1"}  # noqa: S104  nothing listens
    given = _programs.variables(home / "default", state, shell)
    assert given["STACK_LOKI_URL"] == "http://loki.example:3100"
    assert (given["STACK_HOST"], given["STACK_LOKI_PORT"]) == ("127.0.0.1", "3100")


def test_what_listens_everywhere_is_reached_at_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_BIND", "0.0.0.0")  # noqa: S104  nothing listens
    state = _choice.choose(Wanted(), "native")
    given = _programs.variables(home / "default", state, {})
    assert given["STACK_HOST"] == "0.0.0.0"  # noqa: S104  nothing listens
    assert given["STACK_PROMETHEUS_URL"] == "http://127.0.0.1:9090"


def test_otlp_and_grafana_may_have_addresses_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTLP_BIND", "192.0.2.1")
    monkeypatch.setenv("GRAFANA_BIND", "0.0.0.0")  # noqa: S104  nothing listens
    plain, compose = _choice.choose(Wanted(), "native"), _choice.choose(Wanted(), "compose")
    secure = _choice.choose(Wanted(overlays=("secure",)), "native")
    assert plain.url("OTLP_HTTP_PORT") == "http://127.0.0.1:4318"
    assert secure.url("OTLP_HTTP_PORT") == "https://192.0.2.1:4318"
    assert compose.url("OTLP_GRPC_PORT") == "http://192.0.2.1:4317"
    for state in (plain, secure, compose):
        assert state.url("LOKI_PORT") == "http://127.0.0.1:3100"
        assert (state.listens_at("GRAFANA_PORT"), state.url("GRAFANA_PORT")) == ("0.0.0.0", "http://127.0.0.1:3001")  # noqa: S104  nothing listens


def test_credentials_are_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_ADMIN_PASSWORD", "hunter2-planted")
    monkeypatch.setenv("REDIS_EXPORTER_PASSWORD", "hunter2-planted")
    monkeypatch.setenv("POSTGRES_EXPORTER_DSN", "postgresql://u:hunter2-planted@db/x")
    assert "hunter2-planted" not in repr(_choice.choose(Wanted(), "native"))


def test_an_ejected_file_without_a_newer_variable_has_what_is_shipped(own: Path) -> None:
    (own / "deploy/.env").write_text("LOKI_PORT=4100\n")
    state = _choice.choose(Wanted(config=own), "native")
    assert state.ports == {**_choice.choose(Wanted(), "native").ports, "LOKI_PORT": 4100}
    assert state.settings["LOKI_IMAGE"] == _assets.pins()["LOKI_IMAGE"]


def test_the_same_again_differs_in_nothing(own: Path) -> None:
    wanted = Wanted(config=own, overlays=("debug",), port_offset=7)
    assert _choice.differences(_choice.choose(wanted, "native"), _choice.choose(wanted, "native")) == []


def test_each_difference_is_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = replace(_choice.choose(Wanted(config=own), "native"), otelkit="0.0.1")
    (own / "collector/config.yaml").write_text("changed")
    monkeypatch.setenv("PROMETHEUS_RETENTION", "1d")
    wanted = Wanted(config=own, overlays=("infra",), port_offset=1, data=own)
    told = "\n".join(_choice.differences(runs, _choice.choose(wanted, "native")))
    for words in (
        "otelkit 0.0.1 started it",
        f"not what is in {own}",
        "overlays: none, not infra",
        f"not in {own}",
        "_PORT is",
        "PROMETHEUS_RETENTION is 15d, not 1d",
    ):
        assert words in told


def test_a_configuration_without_an_overlay_names_those_it_has(own: Path) -> None:
    with pytest.raises(StackError, match=r"lacks collector/overlays/gatway.yaml; its overlays: agent, debug, gateway"):
        _choice.choose(Wanted(config=own, overlays=("gatway",)), "native")


@pytest.mark.parametrize("name", ["", "..", "a/b", "Upper", "-a", "x" * 41])
def test_a_name_that_is_no_folder_and_no_project_is_refused(name: str) -> None:
    with pytest.raises(StackError, match="cannot name a stack"):
        _state.folder(name)
