"""The only place that holds the configuration files of Collector and stores against each other, running none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelkit.ops.query import lgtm

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR = ROOT / "collector/config.yaml"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yaml"
TEMPO = ROOT / "deploy/tempo/tempo.yaml"
LOKI = ROOT / "deploy/loki/loki.yaml"
README = ROOT / "collector/README.md"

# The Collector writes ${env:NAME:-default}, Tempo and Loki ${NAME:-default}; Prometheus knows no variables.
VARIABLE = re.compile(r"\$\{(?:env:)?(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")
GRPC_LIMIT = 4 * 1024 * 1024
PROMETHEUS_PORT = "9090"  # Prometheus' own default


def _variables(path: Path) -> set[tuple[str, str]]:
    return {(found["name"], found["default"]) for found in VARIABLE.finditer(path.read_text())}


def _defaults() -> dict[str, str]:
    return dict(set().union(*(_variables(path) for path in (COLLECTOR, TEMPO, LOKI))))


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda found: found["default"], path.read_text()))
    return document


@pytest.fixture(scope="module")
def collector() -> dict[str, Any]:
    return _load(COLLECTOR)


@pytest.mark.parametrize("path", [COLLECTOR, PROMETHEUS, TEMPO, LOKI], ids=lambda path: path.name)
def test_every_variable_has_a_default_and_a_name_of_ours(path: Path) -> None:
    text = path.read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert code.count("$") == len(VARIABLE.findall(code))
    assert all(name.startswith("STACK_") for name, _ in _variables(path))
    assert _load(path)


def test_a_variable_means_the_same_everywhere_and_is_documented() -> None:
    used = set().union(*(_variables(path) for path in (COLLECTOR, TEMPO, LOKI)))
    documented = set(re.findall(r"^\| `(STACK_[A-Z_]+)` \| `([^`]*)` \|", README.read_text(), re.MULTILINE))
    assert len(used) == len({name for name, _ in used})
    assert documented == used


def test_the_collector_sends_to_where_the_stores_listen(collector: dict[str, Any]) -> None:
    defaults = _defaults()
    exporters = collector["exporters"]
    host = defaults["STACK_HOST"]
    assert exporters["otlp_grpc/tempo"]["endpoint"] == f"http://{host}:{defaults['STACK_TEMPO_OTLP_PORT']}"
    assert exporters["otlp_http/prometheus"]["endpoint"] == f"http://{host}:{PROMETHEUS_PORT}/api/v1/otlp"
    assert exporters["otlp_http/loki"]["endpoint"] == f"http://{host}:{defaults['STACK_LOKI_PORT']}/otlp"
    tempo = _load(TEMPO)["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert tempo == f"{host}:{defaults['STACK_TEMPO_OTLP_PORT']}"


def test_applications_find_the_collector_at_the_ports_of_the_specification(collector: dict[str, Any]) -> None:
    protocols = collector["receivers"]["otlp"]["protocols"]
    assert {name: each["endpoint"] for name, each in protocols.items()} == {
        "grpc": "127.0.0.1:4317",
        "http": "127.0.0.1:4318",
    }


def test_all_programs_fit_on_one_machine_and_nobody_listens_beyond_it() -> None:
    defaults = _defaults()
    ports = [value for name, value in defaults.items() if name.endswith("_PORT")] + [PROMETHEUS_PORT]
    assert len(ports) == len(set(ports))
    assert defaults["STACK_HOST"] == "127.0.0.1"
    addresses = re.findall(
        r"^\s*(?:http_listen_address|grpc_listen_address|endpoint|host|frontend_address|instance_addr): *\"?(.*)",
        "\n".join(path.read_text() for path in (COLLECTOR, TEMPO, LOKI)),
        re.MULTILINE,
    )
    assert len(addresses) >= 10
    for address in addresses:
        assert VARIABLE.sub(lambda found: found["default"], address).removeprefix("http://").startswith("127.0.0.1")


def test_every_pipeline_is_guarded_and_every_component_used(collector: dict[str, Any]) -> None:
    pipelines = collector["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"
    used = {name for pipeline in pipelines.values() for names in pipeline.values() for name in names}
    kinds = ("receivers", "processors", "connectors", "exporters")
    assert used == {name for kind in kinds for name in collector[kind]}
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])


def test_a_queue_waits_out_a_store_and_sends_no_more_than_it_takes(collector: dict[str, Any]) -> None:
    total = 0
    for exporter in collector["exporters"].values():
        queue = exporter["sending_queue"]
        assert (queue["sizer"], queue["batch"]["sizer"]) == ("bytes", "bytes")
        assert queue["batch"]["min_size"] < queue["batch"]["max_size"] < GRPC_LIMIT
        assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
        total += queue["queue_size"]
    limiter = collector["processors"]["memory_limiter"]
    assert total <= (limiter["limit_mib"] - limiter["spike_limit_mib"]) * 1024 * 1024
    assert collector["exporters"]["otlp_http/prometheus"]["sending_queue"]["num_consumers"] == 1


def test_span_metrics_have_the_dimensions_that_queries_use(collector: dict[str, Any]) -> None:
    connector = collector["connectors"]["span_metrics"]
    assert [dimension["name"] for dimension in connector["dimensions"]] == [
        "service.namespace",
        "deployment.environment.name",
        "http.route",
        "http.request.method",
        "http.response.status_code",
        "db.system.name",
    ]
    assert connector["exemplars"]["enabled"] is True
    assert connector["histogram"]["unit"] == "s"
    assert "span_metrics" in collector["service"]["pipelines"]["traces"]["exporters"]
    assert "span_metrics" in collector["service"]["pipelines"]["metrics"]["receivers"]


def test_stores_keep_the_identity_of_a_service_as_labels() -> None:
    promoted = set(_load(PROMETHEUS)["otlp"]["promote_resource_attributes"])
    (index,) = _load(LOKI)["limits_config"]["otlp_config"]["resource_attributes"]["attributes_config"]
    labels = set(index["attributes"])
    assert labels <= promoted
    identity = {"service.name", "service.namespace", "deployment.environment.name"}
    assert identity <= labels
    assert "service.instance.id" in promoted - labels  # a label per process would be a stream per process
    assert labels <= set(lgtm.RESTORED.values())
