"""How each program of the stack is found and started natively, held against what `deploy/` says of its container."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops import _assets
from otelkit.ops.stack import Wanted, _choice, _native, _programs
from otelkit.ops.stack._progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from otelkit.ops.stack import State

DEFAULT = re.compile(r"\$\{[A-Z_]+:-((?:[^{}]|\{[^{}]*\})*)\}")
OF_CONTAINERS = re.compile(r"\$\{([A-Z_]+)\}")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    for name in _assets.pins():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return _choice.choose(Wanted(port_offset=1), "native")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((_assets.root() / "deploy/compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = compose["services"]
    return found


def test_every_service_of_compose_is_a_program_with_the_same_pin(services: dict[str, Any]) -> None:
    main = {name: each["image"] for name, each in services.items() if name in _programs.KINDS}
    assert main == {name: f"${{{kind.pin}}}" for name, kind in _programs.KINDS.items()}


def test_every_port_of_the_file_is_listened_on_by_one_program(services: dict[str, Any]) -> None:
    listened = [port for kind in _programs.KINDS.values() for port in kind.ports]
    assert len(set(listened)) == len(listened)
    assert set(listened) == {name for name in _assets.pins() if re.fullmatch(r"(?!.*EXPORTER).*_PORT", name)}
    for name, kind in _programs.KINDS.items():
        published = {match for each in services[name]["ports"] for match in OF_CONTAINERS.findall(each)}
        assert {port for port in published if port.endswith("_PORT")} <= set(kind.ports)


@pytest.mark.parametrize("name", ["collector", "prometheus", "alertmanager", "loki", "tempo"])
def test_flags_are_those_of_the_container(name: str, services: dict[str, Any], state: State, tmp_path: Path) -> None:
    pins = _assets.pins()
    ports = {port: str(number) for port, number in state.ports.items()}
    words = DEFAULT.sub(lambda match: match[1], services[name]["command"])
    there = shlex.split(OF_CONTAINERS.sub(lambda match: {**pins, **ports}[match[1]], words))
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector/redaction.yaml").touch()
    here = _programs.command("/bin/it", name, tmp_path, state)[1:]
    folders = {
        "/etc/otelcol/": f"{tmp_path}/collector/",
        f"/etc/{name}/": f"{tmp_path}/deploy/{name}/",
        f"=/{name}": f"={state.data}/{name}",
    }
    for container, own in folders.items():
        there = [flag.replace(container, own) for flag in there]
    # Natively several share one machine, so that each is told its address as well.
    assert [flag for flag in here if not flag.startswith("--web.listen-address=")] == there


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_links_begin_with_where_people_reach_a_program(name: str, state: State, tmp_path: Path) -> None:
    port = state.ports[f"{name.upper()}_PORT"]
    assert f"--web.external-url=http://localhost:{port}" in _programs.command("/bin/it", name, tmp_path, state)
    address = f"https://ops.example.org/{name}"
    reached = replace(state, settings={**state.settings, f"{name.upper()}_EXTERNAL_URL": address})
    command = _programs.command("/bin/it", name, tmp_path, reached)
    # Its path is the proxy's: health checks and the other programs find it where they did.
    assert command[command.index(f"--web.external-url={address}") + 1] == "--web.route-prefix=/"


def test_what_an_ejected_file_adds_is_added_here_too(state: State, tmp_path: Path) -> None:
    more = {
        "COLLECTOR_OVERLAYS": "--config=/etc/otelcol/overlays/gateway.yaml",
        "PROMETHEUS_FLAGS": "--web.enable-lifecycle '--web.page-title=two words'",
    }
    changed = replace(state, settings={**state.settings, **more}, overlays=("debug",))
    overlays = tmp_path / "collector/overlays"
    collector = _programs.command("/bin/it", "collector", tmp_path, changed)
    assert collector[-2:] == [f"--config={overlays}/debug.yaml", f"--config={overlays}/gateway.yaml"]
    prometheus = _programs.command("/bin/it", "prometheus", tmp_path, changed)
    assert prometheus[-2:] == ["--web.enable-lifecycle", "--web.page-title=two words"]


def test_a_program_has_the_environment_of_its_container(
    services: dict[str, Any], state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/.env").write_text("GRAFANA_ADMIN_USER=admin\n")
    monkeypatch.delenv("GRAFANA_ADMIN_PASSWORD", raising=False)
    shared = _programs.variables(tmp_path, state, {})
    for name in _programs.KINDS:
        own = {**shared, **_native._own(tmp_path, state, name, Silent())}
        there = services[name].get("environment", {})
        assert {each for each in there if not each.endswith("_EXPORTER_HOST")} <= set(own)
        for variable, value in there.items():
            if variable.startswith("GF_") and "$" not in value:
                assert own[variable] == value.replace("/etc", f"{tmp_path}/deploy")


def test_every_variable_of_the_files_without_a_default_is_given_or_the_overlays_own(
    state: State, tmp_path: Path
) -> None:
    given = _programs.variables(tmp_path, state, {})
    files = [_assets.root() / "collector/config.yaml", *(_assets.root() / "deploy").glob("[lt]*/*.yaml")]
    for file in files:
        for variable, default in re.findall(r"\$\{(?:env:)?(STACK_[A-Z_]+)(:-)?", file.read_text(encoding="utf-8")):
            assert default or variable in given, f"{file.name}: {variable}"


def test_a_program_gets_the_variables_of_its_file_as_its_container_does(
    services: dict[str, Any], tmp_path: Path
) -> None:
    files = {name: each["env_file"][0]["path"] for name, each in services.items() if "env_file" in each}
    assert files == {name: f"{name}.env" for name in files}
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/collector.env").write_text(
        "# a gateway elsewhere\nSTACK_GATEWAY_URL=http://gateway:4317/?a=b\n"
    )
    assert _native._more(tmp_path, "collector") == {"STACK_GATEWAY_URL": "http://gateway:4317/?a=b"}
    assert _native._more(tmp_path, "grafana") == {}


def test_grafanas_password_is_made_once_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otelkit.ops.stack import _files

    monkeypatch.delenv("GRAFANA_ADMIN_PASSWORD", raising=False)
    monkeypatch.delenv("GRAFANA_ADMIN_USER", raising=False)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/.env").write_text("GRAFANA_ADMIN_USER=boss\nGRAFANA_ADMIN_PASSWORD=\n")
    user, made, told = _files.credentials(tmp_path)
    assert user == "boss"
    assert len(made) >= 20
    assert made in told
    assert (tmp_path / "grafana-password").stat().st_mode & 0o777 == 0o600
    assert _files.credentials(tmp_path) == ("boss", made, "")
    monkeypatch.setenv("GRAFANA_ADMIN_PASSWORD", "given")
    assert _files.credentials(tmp_path) == ("boss", "given", "")


def test_grafana_finds_its_pages_beside_its_program(state: State, tmp_path: Path) -> None:
    (tmp_path / "grafana-v1/bin").mkdir(parents=True)
    (tmp_path / "grafana-v1/conf").mkdir()
    (tmp_path / "grafana-v1/conf/defaults.ini").touch()
    program = tmp_path / "grafana-v1/bin/grafana"
    program.touch()
    (tmp_path / "grafana").symlink_to(program)
    argv = _programs.command(str(tmp_path / "grafana"), "grafana", tmp_path, state)
    assert argv[1:] == ["server", f"--homepath={tmp_path}/grafana-v1"]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("prom/prometheus:v3.14.0", "3.14.0"),
        ("otel/opentelemetry-collector-contrib:0.155.0", "0.155.0"),
        ("registry.example:5000/prom/prometheus:v3.14.0@sha256:00", "3.14.0"),
    ],
)
def test_the_version_wanted_is_the_tag_of_the_pin(image: str, version: str) -> None:
    kind = _programs.KINDS["prometheus"]
    assert kind.wanted({kind.pin: image}) == version
    assert kind.offered({kind.pin: image}).endswith(f"/v{version}")


def test_a_program_that_tells_no_version_has_none(tmp_path: Path) -> None:
    silent, broken = tmp_path / "silent", tmp_path / "broken"
    silent.write_text("#!/bin/sh\necho no idea\n")
    silent.chmod(0o755)
    assert _programs.versions({"silent": str(silent), "broken": str(broken)}) == {"silent": None, "broken": None}
