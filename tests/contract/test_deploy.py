"""The only place that holds `deploy/` together: variables, ports, names and mounts, of Compose and of the programs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit._catalog import RESOURCE_LABELS
from otelkit.ops import _assets
from support.processes import PYTHON, run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
HOW_TO = ROOT / "docs/how-to"
JOIN = HOW_TO / "join-an-application.md"
FILES = {name: DEPLOY / name / f"{name}.yaml" for name in ("prometheus", "alertmanager", "loki", "tempo")}

# In Compose: $$ is a dollar, ${NAME} a variable of .env, with :- a default and with :? a reason to stop.
COMPOSE_VARIABLE = re.compile(
    r"(?<!\$)\$\{(?P<name>[A-Z_]+)(?:(?P<kind>:[-?])(?P<rest>[^{}]*(?:\$\{[A-Z_]+\})?[^{}]*))?\}"
)
# In the files of Loki and Tempo; the Collector's say env: before the name.
FILE_VARIABLE = re.compile(r"\$\{(?:env:)?STACK_(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")
# Where everything runs on one machine these keep programs apart; containers are apart anyway.
NATIVE_ONLY = {"TEMPO_OTLP_PORT", "TEMPO_GRPC_PORT", "LOKI_GRPC_PORT"}
# Their image is one file, which has no health command.
WITHOUT_HEALTH = {"collector-volume", "redis-exporter"}


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    return _assets.pins(ROOT)


@pytest.fixture(scope="module")
def compose(pins: dict[str, str]) -> dict[str, Any]:
    return _compose(COMPOSE.read_text(), pins)


def _compose(text: str, pins: dict[str, str]) -> dict[str, Any]:
    """Return the document as Compose reads it, with the variables of .env filled in and a password given."""
    given = {**pins, "GRAFANA_ADMIN_PASSWORD": "given"}

    def filled(found: re.Match[str]) -> str:
        value = given[found["name"]]
        return value if value or found["kind"] != ":-" else _interpolated(found["rest"])

    def _interpolated(part: str) -> str:
        return COMPOSE_VARIABLE.sub(filled, part)

    document: dict[str, Any] = yaml.safe_load(_interpolated(text).replace("$$", "$"))
    return document


def _load(path: Path) -> Any:
    return yaml.safe_load(FILE_VARIABLE.sub(lambda found: found["default"], path.read_text()))


def _words(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return command.split() if isinstance(command, str) else list(command)


def _ports(service: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield address, published port and port inside of each port that the service publishes."""
    for port in service.get("ports", ()):
        address, published, inside = port.rsplit(":", 2)
        yield address, published, inside


def _mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for volume in service.get("volumes", ()):
        source, target, *options = volume.split(":")
        yield source, target, options[0].split(",") if options else []


def test_compose_is_what_its_specification_allows(tmp_path: Path) -> None:
    check = [PYTHON, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    judged = run([*check, COMPOSE], folder=tmp_path)
    assert judged.returncode == 0, judged.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("  alertmanager:\n    <<: *service", "  alertmanager:\n    imagge: x"))
    judged = run([*check, wrong], folder=tmp_path)
    assert "imagge" in judged.stdout


def test_each_variable_of_compose_has_its_line_in_env_and_the_reverse(pins: dict[str, str]) -> None:
    code = "\n".join(line for line in COMPOSE.read_text().splitlines() if not line.lstrip().startswith("#"))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", code))
    assert used == set(pins) - NATIVE_ONLY
    assert set(pins) >= NATIVE_ONLY


def test_defaults_in_the_configuration_files_are_those_of_env(pins: dict[str, str]) -> None:
    found = [
        (path.name, each["name"], each["default"])
        for path in (*FILES.values(), *(ROOT / "collector").rglob("*.yaml"))
        for each in FILE_VARIABLE.finditer(path.read_text())
        if each["name"] in pins
    ]
    assert len({name for _, name, _ in found}) >= 15
    assert [(file, name, default) for file, name, default in found if default != pins[name]] == []


def test_no_password_is_usable_before_somebody_sets_one_and_none_is_committed(
    compose: dict[str, Any], pins: dict[str, str]
) -> None:
    secrets = [name for name in pins if name.endswith(("PASSWORD", "DSN"))]
    assert len(secrets) == 3
    assert [pins[name] for name in secrets] == [""] * 3
    assert "${GRAFANA_ADMIN_PASSWORD:?" in COMPOSE.read_text()
    # ... and what is put into the folder of Alertmanager's secrets is never committed.
    assert (DEPLOY / "alertmanager/secrets/.gitignore").read_text().splitlines() == ["*", "!.gitignore"]
    env_files = {each["path"] for service in compose["services"].values() for each in service.get("env_file", ())}
    assert {f"/{path}" for path in env_files} <= set((DEPLOY / ".gitignore").read_text().splitlines())
    # ... nor packed into a wheel that is built from a checkout which runs a stack.
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert {"/collector/tls", "/deploy/alertmanager/secrets/[!.]*", "/deploy/?*.env"} <= set(build["exclude"])
    assert "force-include" not in build["targets"]["wheel"]  # asks nobody what is excluded


def test_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9_-]+:v?\d+\.\d+\.\d+", service["image"])


def test_ports_are_published_on_this_machine_only_and_as_the_programs_call_them(
    compose: dict[str, Any], pins: dict[str, str]
) -> None:
    published = {}
    for name, service in compose["services"].items():
        for address, port, inside in _ports(service):
            assert address == "127.0.0.1"
            assert inside == {"grafana": "3000"}.get(name, port)  # 3000 is what half of all front ends take
            published[port] = name
    assert set(published) == {
        value for name, value in pins.items() if name.endswith("_PORT") and name not in NATIVE_ONLY
    }
    assert published.keys() >= {"4317", "4318"}  # what applications find by the specification


def test_each_program_listens_inside_where_compose_and_the_others_look(compose: dict[str, Any]) -> None:
    services = compose["services"]
    listens = {
        "collector": {"4317", "4318", "13133", "8888"},
        "prometheus": {"9090"},
        "alertmanager": {"9093"},
        "grafana": {"3000"},
        "loki": {str(_load(FILES["loki"])["server"]["http_listen_port"])},
        "tempo": {
            str(_load(FILES["tempo"])["server"]["http_listen_port"]),
            _load(FILES["tempo"])["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[
                2
            ],
        },
    }
    for name, ports in listens.items():
        assert {inside for _, _, inside in _ports(services[name])} <= ports
    texts = [str(value) for service in services.values() for value in service.get("environment", {}).values()]
    texts += [path.read_text() for path in (DEPLOY / "prometheus/targets").iterdir()]
    named = set(re.findall(rf"\b({'|'.join(services)}):(\d+)", "\n".join(texts)))
    assert {name for name, _ in named} == set(listens) - {"grafana"}
    assert [(name, port) for name, port in named if port not in listens[name]] == []
    exporters = {
        value for name, value in services["collector"]["environment"].items() if name.endswith("EXPORTER_HOST")
    }
    assert exporters == {name for name, service in services.items() if service.get("profiles") == ["infra"]}


def test_programs_in_containers_are_told_to_listen_and_where_the_others_are(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("collector", "loki", "tempo"):
        assert services[name]["environment"]["STACK_HOST"] == "0.0.0.0"  # noqa: S104  inside of a container
    files = {"collector": ROOT / "collector/config.yaml", **{name: FILES[name] for name in ("loki", "tempo")}}
    for name, path in files.items():
        wanted = {f"STACK_{each['name']}" for each in FILE_VARIABLE.finditer(path.read_text())}
        urls = {variable for variable in wanted if variable.endswith("_URL")}
        given = services[name]["environment"]
        assert urls <= given.keys()
        assert {variable for variable in given if variable.startswith("STACK_")} <= wanted | {
            variable for variable in given if variable.endswith("EXPORTER_HOST")
        }
    sources = (DEPLOY / "grafana/provisioning/datasources/stack.yaml").read_text()
    assert set(re.findall(r"url: \$(STACK_[A-Z]+_URL)", sources)) <= services["grafana"]["environment"].keys()


def test_what_is_mounted_exists_and_cannot_be_written_to(compose: dict[str, Any]) -> None:
    volumes = set()
    for name, service in compose["services"].items():
        for source, target, options in _mounts(service):
            if source in compose["volumes"]:
                volumes.add(source)
                continue
            assert (DEPLOY / source).is_dir(), f"{name}: {source}"
            assert "ro" in options, f"{name}: {target}"
    assert volumes == set(compose["volumes"])
    for name, service in compose["services"].items():
        if "--config.file" in str(_words(service)) or "-config.file" in str(_words(service)) or name == "collector":
            mounted = {target: DEPLOY / source for source, target, _ in _mounts(service)}
            for file in re.findall(r"config(?:\.file)?=(/\S+)", " ".join(_words(service))):
                folder = next(target for target in mounted if file.startswith(target + "/"))
                assert (mounted[folder] / file.removeprefix(folder + "/")).is_file()


def test_data_is_written_to_the_volume_and_nowhere_else(compose: dict[str, Any]) -> None:
    folders = {
        "collector": "/var/lib/otelcol",
        "prometheus": "/prometheus",
        "alertmanager": "/alertmanager",
        "loki": "/loki",
        "tempo": "/var/tempo",
        "grafana": "/var/lib/grafana",
    }
    for name, folder in folders.items():
        assert [target for source, target, _ in _mounts(compose["services"][name]) if source == name] == [folder]
        told = (ROOT / "collector/config.yaml" if name == "collector" else FILES.get(name, COMPOSE)).read_text()
        assert (
            f"DATA:-{folder}}}" in told
            or f".path={folder}" in " ".join(_words(compose["services"][name]))
            or name == "grafana"
        )


def test_a_container_may_do_no_more_than_it_has_to(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
        if name == "collector-volume":
            assert (service["cap_add"], service["network_mode"], service["restart"]) == (["CHOWN"], "none", "no")
            continue
        assert "cap_add" not in service
        assert not service["user"].startswith(("0:", "root"))
        assert service["restart"] == "unless-stopped"
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}
        assert service["networks"] == ["telemetry"]


def test_every_container_is_asked_for_its_health_and_none_waits_for_a_store(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {name for name, service in services.items() if "healthcheck" not in service} == WITHOUT_HEALTH
    for name, service in services.items():
        if "healthcheck" in service:
            test = " ".join(service["healthcheck"]["test"])
            assert set(re.findall(r"127\.0\.0\.1:(\d+)", test)) <= {inside for *_, inside in _ports(service)}
            assert service["healthcheck"]["test"][0] == ("CMD-SHELL" if name == "grafana" else "CMD")
    assert {name: set(service["depends_on"]) for name, service in services.items() if "depends_on" in service} == {
        "collector": {"collector-volume"}
    }


def test_the_collector_refuses_data_before_its_container_is_killed(pins: dict[str, str]) -> None:
    limit = int(pins["COLLECTOR_MEMORY"].removesuffix("m"))
    assert int(pins["COLLECTOR_MEMORY_MIB"]) <= 0.8 * limit  # beside it a health check takes 86 MB for a moment


def test_overlays_are_given_by_one_variable(pins: dict[str, str]) -> None:
    more = "--config=/etc/otelcol/overlays/gateway.yaml --config=/etc/otelcol/overlays/debug.yaml"
    document = _compose(COMPOSE.read_text(), {**pins, "COLLECTOR_OVERLAYS": more})
    assert _words(document["services"]["collector"])[2:] == more.split()


def test_prometheus_watches_each_program_once_and_notifies_the_one_it_watches(compose: dict[str, Any]) -> None:
    document = yaml.safe_load(FILES["prometheus"].read_text())
    groups = [
        group
        for path in sorted((DEPLOY / "prometheus/targets").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())
    ]
    jobs = {group["labels"]["job"]: group["targets"] for group in groups}
    assert jobs.keys() == {"otelcol", "prometheus", "alertmanager", "loki", "tempo"}
    assert len(groups) == len(jobs)
    (config,) = document["scrape_configs"]
    assert config["file_sd_configs"] == [{"files": ["targets/*.yaml"]}]
    (manager,) = document["alerting"]["alertmanagers"]
    assert manager["file_sd_configs"] == [{"files": ["targets/alertmanager.yaml"]}]
    assert {target.partition(":")[0] for (target,) in jobs.values()} <= set(compose["services"])


def test_prometheus_promotes_what_the_catalogue_calls_labels() -> None:
    document = yaml.safe_load(FILES["prometheus"].read_text())
    assert document["otlp"]["promote_resource_attributes"] == list(RESOURCE_LABELS)


def test_prometheus_keeps_its_samples_as_long_as_one_variable_says(
    compose: dict[str, Any], pins: dict[str, str]
) -> None:
    words = _words(compose["services"]["prometheus"])
    assert f"--storage.tsdb.retention.time={pins['PROMETHEUS_RETENTION']}" in words
    assert "retention" not in yaml.safe_load(FILES["prometheus"].read_text())["storage"]["tsdb"]
    for flag in (
        "--web.enable-otlp-receiver",
        "--web.enable-remote-write-receiver",
        "--enable-feature=exemplar-storage",
    ):
        assert flag in words


def test_tempo_reads_its_retention_in_both_places_and_makes_no_metrics_that_the_collector_makes() -> None:
    document = _load(FILES["tempo"])
    scheduler = document["backend_scheduler"]["provider"]["compaction"]["compaction"]["block_retention"]
    assert scheduler == document["backend_worker"]["compaction"]["block_retention"]
    generator = document["overrides"]["defaults"]["metrics_generator"]
    assert generator["processors"] == ["service-graphs"]
    assert generator["trace_id_label_name"] == "trace_id"
    graphs = document["metrics_generator"]["processor"]["service_graphs"]
    assert "enable_virtual_node_label" not in graphs  # 3.0.3 begins all counts anew every 10 s with it
    for names in (graphs["peer_attributes"], graphs["database_name_attributes"]):
        assert names.index("db.namespace") < names.index("db.system.name")


def test_the_stores_take_what_comes_equally_late() -> None:
    late = 12
    assert yaml.safe_load(FILES["prometheus"].read_text())["storage"]["tsdb"]["out_of_order_time_window"] == f"{late}h"
    assert _load(FILES["tempo"])["live_store"]["wal"]["ingestion_time_range_slack"] == f"{late}h"
    loki = _load(FILES["loki"])
    assert loki["ingester"]["max_chunk_age"] == f"{2 * late}h"  # half of it may be out of order
    assert int(loki["querier"]["query_ingesters_within"].removesuffix("h")) > 2 * late


def test_variables_of_the_stores_are_told(pins: dict[str, str]) -> None:
    told = "\n".join(path.read_text() for path in (ROOT / "collector/README.md", HOW_TO / "run-the-stack.md"))
    used = {
        f"STACK_{each['name']}"
        for name in ("loki", "tempo")
        for each in FILE_VARIABLE.finditer(FILES[name].read_text())
    }
    assert [name for name in sorted(used) if f"`{name}`" not in told] == []
    assert [name for name in sorted(pins) if f"`{name}`" not in told and not name.endswith(("_IMAGE", "_PORT"))] == []


def test_only_alerts_of_one_service_hide_what_they_are_compared_with() -> None:
    document = yaml.safe_load(FILES["alertmanager"].read_text())
    for rule in document["inhibit_rules"]:
        matchers = [*rule["source_matchers"], *rule["target_matchers"]]
        assert any(matcher.startswith(("alertname", "severity")) for matcher in rule["source_matchers"])
        for label in ("service_name", "group"):
            if label in rule.get("equal", ()):
                assert matchers.count(f'{label}!=""') == 2


def _joined(block: dict[str, Any], stack: dict[str, Any]) -> dict[str, Any]:
    """Return an application's document with the one that it includes: every name is in one of them only."""
    merged: dict[str, Any] = {}
    for kind in ("services", "networks", "volumes"):
        own = block.get(kind, {})
        included = stack[kind] if "include" in block else {}
        assert own.keys().isdisjoint(included), f"{kind} in both"
        merged[kind] = {**included, **own}
    return merged


def _blocks() -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", JOIN.read_text(), re.DOTALL)]


@pytest.mark.parametrize("number", range(2))
def test_the_recipes_for_joining_make_one_whole(
    number: int, compose: dict[str, Any], pins: dict[str, str], tmp_path: Path
) -> None:
    block = _blocks()[number]
    merged = _joined(block, compose)
    if "include" in block:
        assert [Path(each).name for each in block["include"]] == [COMPOSE.name]
    else:
        # The stack runs beside, and its network is found by the name that it has there.
        assert block["networks"] == {"telemetry": {"name": pins["STACK_NETWORK"], "external": True}}
        assert compose["networks"]["telemetry"]["name"] == pins["STACK_NETWORK"]
    for service in block["services"].values():
        assert set(service.get("networks", ["default"])) <= {"default", *merged["networks"]}
        endpoint = service.get("environment", {}).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        if endpoint is not None:
            assert endpoint == "http://collector:4318"
            assert "telemetry" in service["networks"]
            assert "depends_on" not in service  # an application starts without its telemetry
    written = tmp_path / "compose.yaml"
    written.write_text(yaml.safe_dump({**block, "include": []} if "include" in block else block))
    judged = run(
        [PYTHON, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", written], folder=tmp_path
    )
    assert judged.returncode == 0, judged.stdout
