"""The only place that holds the configuration files of Collector and stores against each other, running none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelkit import _sampling
from otelkit._catalog import RESOURCE_LABELS, SPAN_DIMENSIONS, STREAM_LABELS
from otelkit.ops.query import lgtm

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR = ROOT / "collector/config.yaml"
REDACTION = ROOT / "collector/redaction.yaml"
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


def test_a_variable_means_the_same_everywhere_and_those_of_the_collector_are_documented() -> None:
    used = set().union(*(_variables(path) for path in (COLLECTOR, REDACTION, TEMPO, LOKI)))
    assert len(used) == len({name for name, _ in used})
    documented = set(re.findall(r"^\| `(STACK_[A-Z_]+)` \| `([^`]*)` \|", README.read_text(), re.MULTILINE))
    assert documented >= _variables(COLLECTOR) | _variables(REDACTION)


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


def test_what_comes_from_outside_is_limited_then_redacted_before_anything_else_sees_it(
    collector: dict[str, Any],
) -> None:
    pipelines = collector["service"]["pipelines"]
    outside = {name for name, pipeline in pipelines.items() if "otlp" in pipeline["receivers"]}
    assert outside == {"traces", "metrics", "logs"}
    for name in outside:
        assert pipelines[name]["processors"] == ["memory_limiter", "transform/redaction"]
    for name in set(pipelines) - outside:
        assert set(pipelines[name]["receivers"]) <= set(collector["connectors"])


def test_every_component_is_defined_once_and_used(collector: dict[str, Any]) -> None:
    pipelines = collector["service"]["pipelines"]
    used = {name for pipeline in pipelines.values() for names in pipeline.values() for name in names}
    kinds = ("receivers", "processors", "connectors", "exporters")
    defined = [name for document in (collector, _load(REDACTION)) for kind in kinds for name in document.get(kind, ())]
    assert sorted(defined) == sorted(used)
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])


def test_spans_are_counted_before_any_sampling_and_without_those_that_stand_for_no_others(
    collector: dict[str, Any],
) -> None:
    pipelines = collector["service"]["pipelines"]
    assert pipelines["traces"]["exporters"] == ["forward/spans"]
    counted, stored = pipelines["traces/span_metrics"], pipelines["traces/store"]
    assert counted["receivers"] == stored["receivers"] == ["forward/spans"]
    assert counted["processors"] == ["filter/forced", "transform/counted"]
    assert counted["exporters"] == ["span_metrics"]
    assert stored["exporters"] == ["otlp_grpc/tempo"]
    assert pipelines["metrics/spans"]["receivers"] == ["span_metrics"]
    assert pipelines["metrics/spans"]["exporters"] == pipelines["metrics"]["exporters"]
    (condition,) = collector["processors"]["filter/forced"]["traces"]["span"]
    assert condition == f'attributes["{_sampling.FORCED}"] == true'


def test_metrics_of_spans_have_the_labels_of_the_catalogue_that_outlive_a_process(collector: dict[str, Any]) -> None:
    ((statement,),) = [
        group["statements"] for group in collector["processors"]["transform/counted"]["trace_statements"]
    ]
    kept = re.findall(r'"([^"]+)"', statement)
    assert statement.startswith("keep_keys(attributes, [")
    assert sorted(kept) == sorted(set(RESOURCE_LABELS) - {"service.instance.id"})


def test_a_queue_on_disk_waits_out_a_store_and_sends_no_more_than_it_takes(collector: dict[str, Any]) -> None:
    for exporter in collector["exporters"].values():
        queue = exporter["sending_queue"]
        assert queue["storage"] in collector["service"]["extensions"]
        assert (queue["sizer"], queue["batch"]["sizer"]) == ("bytes", "bytes")
        assert queue["batch"]["min_size"] < queue["batch"]["max_size"] < GRPC_LIMIT
        assert queue["queue_size"] > 64 * queue["batch"]["max_size"]
        assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
    for exporter in ("otlp_http/prometheus", "otlp_grpc/tempo"):
        assert collector["exporters"][exporter]["sending_queue"]["num_consumers"] == 1


def test_components_have_the_names_that_stay(collector: dict[str, Any]) -> None:
    old = {"otlphttp", "spanmetrics", "batch", "logging", "healthcheck", "filestorage", "hostmetrics", "loadbalancing"}
    kinds = ("extensions", "receivers", "processors", "connectors", "exporters")
    assert old.isdisjoint(name.partition("/")[0] for kind in kinds for name in collector[kind])
    assert "otlp" not in {name.partition("/")[0] for name in collector["exporters"]}


def test_span_metrics_have_the_dimensions_of_the_catalogue(collector: dict[str, Any]) -> None:
    connector = collector["connectors"]["span_metrics"]
    assert tuple(dimension["name"] for dimension in connector["dimensions"]) == SPAN_DIMENSIONS
    assert connector["exemplars"]["enabled"] is True
    assert connector["histogram"]["unit"] == "s"


def test_stores_keep_the_labels_of_the_catalogue() -> None:
    promoted = set(_load(PROMETHEUS)["otlp"]["promote_resource_attributes"])
    (index,) = _load(LOKI)["limits_config"]["otlp_config"]["resource_attributes"]["attributes_config"]
    assert set(RESOURCE_LABELS) <= promoted
    assert index["attributes"] == list(STREAM_LABELS)
    assert set(STREAM_LABELS) < set(RESOURCE_LABELS)
    assert "service.instance.id" not in STREAM_LABELS  # a label per process would be a stream per process
    assert set(STREAM_LABELS) <= set(lgtm.RESTORED.values())
