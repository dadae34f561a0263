"""`otelkit doctor --prove`, by breaking the real programs one at a time: it names the hop, its cause and a fix."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.doctor_bench import Fault, assert_broken, started
from support.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.doctor_bench import Bench

COLLECTOR = "collector/config.yaml"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One stack for all of this file, since each test leaves a program broken or starts it anew."""
    with started(tmp_path_factory.mktemp("doctor")) as bench:
        yield bench


def no_metrics_pipeline(document: dict[str, Any]) -> None:
    del document["service"]["pipelines"]["metrics"]


def a_tight_limiter(document: dict[str, Any]) -> None:
    document["processors"]["memory_limiter"] = {"check_interval": "100ms", "limit_mib": 2, "spike_limit_mib": 1}


def not_promoted(document: dict[str, Any]) -> None:
    document["otlp"]["promote_resource_attributes"].remove("service.instance.id")


def no_index_label(document: dict[str, Any]) -> None:
    (labels,) = document["limits_config"]["otlp_config"]["resource_attributes"]["attributes_config"]
    labels["attributes"].remove("service.name")


def few_attributes(document: dict[str, Any]) -> None:
    document["limits_config"]["max_structured_metadata_entries_count"] = 1


FAULTS = {
    "no-metrics-pipeline": (
        Fault(program="collector", file=COLLECTOR, edit=no_metrics_pipeline),
        ("endpoint", "HTTP 404", "a pipeline for each of these signals, with the receiver otlp"),
    ),
    "exporter-with-a-wrong-port": (
        Fault(program="collector", variables={"STACK_TEMPO_OTLP_URL": "http://127.0.0.1:{free}"}),
        ("sent traces", r"otlp_grpc/tempo: .*connection refused", r"Tempo answers at http://\S+: correct the endpoint"),
    ),
    "memory-limiter": (
        Fault(program="collector", file=COLLECTOR, edit=a_tight_limiter),
        ("acknowledged", "memory_limiter: .*Refusing data", "COLLECTOR_MEMORY_MIB"),
    ),
    "no-otlp-receiver": (
        Fault(program="prometheus", without=("--web.enable-otlp-receiver",)),
        (
            "sent metrics",
            "otlp_http/prometheus: .*/api/v1/otlp/v1/metrics responded with HTTP Status Code 404",
            "--web.enable-otlp-receiver",
        ),
    ),
    "no-exemplar-storage": (
        Fault(program="prometheus", without=("--enable-feature=exemplar-storage",)),
        ("exemplar", "without the feature exemplar-storage", "--enable-feature=exemplar-storage"),
    ),
    "label-not-promoted": (
        Fault(program="prometheus", file="deploy/prometheus/prometheus.yaml", edit=not_promoted),
        ("labels", "no label service_instance_id", r"promote service\.instance\.id"),
    ),
    "loki-down": (
        Fault(program="loki", down=True),
        ("sent logs", "otlp_http/loki: .*connection refused", "start Loki"),
    ),
    "loki-refuses": (
        Fault(program="loki", file="deploy/loki/loki.yaml", edit=few_attributes),
        ("sent logs", "otlp_http/loki: .*structured metadata", "raise the limit that Loki names"),
    ),
    "loki-without-a-label": (
        Fault(program="loki", file="deploy/loki/loki.yaml", edit=no_index_label),
        ("sent logs", "otlp_http/loki: .*at least one label pair is required", "an index label: service.name"),
    ),
    "loki-with-another-label": (
        Fault(program="loki", file="deploy/loki/loki.yaml", edit=no_index_label),
        ("record", r"service\.name is no index label there", "add service.name .*action index_label"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_program_is_named_with_its_cause_and_a_fix(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, (hop, cause, fix) = FAULTS[name]
    if name == "loki-with-another-label":
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=tests")
    variables = {key: value.format(free=free_port()) for key, value in fault.variables.items()}
    bench.break_(replace(fault, variables=variables))
    if name == "memory-limiter":  # it looks only now and then, and what it refuses is sent again until time is up
        wait_until(lambda: "Refusing data" in bench.stack.printed("collector"), within=20, what="the limiter refuses")
        assert_broken(bench.prove(timeout=3.0), hop, cause, fix)
    else:
        assert_broken(bench.prove(), hop, cause, fix)


def test_tempo_that_is_down_is_named_with_its_cause_and_a_fix(bench: Bench) -> None:
    """Last: a Collector that lost its connection takes its time to try again."""
    bench.mend()
    bench.break_(Fault(program="tempo", down=True))
    # Refused, or reset where the Collector noticed its end.
    wanted = ("sent traces", "otlp_grpc/tempo: .*connection re(fused|set)", "start Tempo")
    assert_broken(bench.prove(), *wanted)
