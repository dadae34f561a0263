"""`otelkit doctor --prove` where all is well, and where a variable of the application or a link of Grafana is wrong.

In this order for the sake of time: one stack serves all, and its service graph is there once others have waited.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops.doctor.hops import HOPS, prove
from support.doctor_bench import SOURCES, assert_broken, started, states
from support.processes import PYTHON, free_port, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.doctor_bench import Bench
    from support.processes import Process

WAY = ["exports", "endpoint", "acknowledged", "accepted", "sent traces", "sent metrics", "sent logs"]
STORED = ["trace", "series", "labels", "exemplar", "record"]
LINKS = [
    "exemplar to trace",
    "trace to logs",
    "log to trace",
    "trace to metrics (Rate)",
    "trace to metrics (Errors)",
    "trace to metrics (Duration (p95))",
    "service graph (request)",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One stack for all of this file: no test changes it."""
    with started(tmp_path_factory.mktemp("doctor")) as bench:
        yield bench


# -- the application's side --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "{http}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ("endpoint", "no gRPC is spoken there", r"http/protobuf, port 4318"),
            id="grpc-to-the-http-port",
        ),
        pytest.param(
            {"OTEL_LOGS_EXPORTER": "none"},
            ("exports", "OTEL_LOGS_EXPORTER says none", "correct OTEL_LOGS_EXPORTER"),
            id="a-signal-switched-off",
        ),
        pytest.param(
            {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"},
            ("exemplar", "OTEL_METRICS_EXEMPLAR_FILTER is always_off", "unset OTEL_METRICS_EXEMPLAR_FILTER"),
            id="no-exemplars-made",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"},
            ("series", "is delta; Prometheus drops that", "unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
            id="deltas",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    whole: Bench, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: tuple[str, str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(free=free_port(), http=whole.stack.otlp_http))
    assert_broken(whole.prove(), *wanted)


# -- nothing is wrong --------------------------------------------------------------------------------------------------


def test_a_canary_comes_by_every_hop_and_every_link_leads_to_it(whole: Bench) -> None:
    proof = prove(whole.where, stack=whole.stack.endpoints, timeout=60.0)
    assert proof.broken is None, proof.broken
    assert states(proof) == dict.fromkeys([*WAY, *STORED, *LINKS], "ok") | {"grafana": "unseen"}
    assert sorted(hop.id for hop in proof.hops) == sorted([*WAY, *STORED, *LINKS, "grafana"])
    assert {hop.id.partition(" (")[0] for hop in proof.hops} == set(HOPS)
    times = [hop.seconds for hop in proof.hops if hop.seconds is not None]
    assert times == sorted(times)


def test_the_command_prints_hops_and_ends_with_what_they_come_to(whole: Bench) -> None:
    done = command(whole, "--name", "default", "--timeout", "60")
    assert done.returncode == 0, done.tail()
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["ok"] * 7
    assert "Nothing is broken as far as can be seen; not seen: grafana." in lines


def test_the_command_ends_with_1_and_names_the_hop_where_nothing_answers(whole: Bench) -> None:
    done = command(whole, "--json", "--name", "default", endpoint=f"http://127.0.0.1:{free_port()}")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"], document["broken"]) == (1, False, "endpoint")
    (endpoint,) = [hop for hop in document["hops"] if hop["id"] == "endpoint"]
    assert "Connection refused" in endpoint["cause"]
    assert "start the Collector" in endpoint["fix"]
    assert {hop["state"] for hop in document["hops"][2:-1]} == {"skipped"}


def test_what_nobody_can_tell_is_unseen_and_not_broken(whole: Bench) -> None:
    proof = whole.prove(collector_metrics=f"http://127.0.0.1:{free_port()}", loki="", collector_log=None)
    assert proof.broken is None
    found = states(proof)
    unseen = ["accepted", "sent traces", "sent metrics", "sent logs", "record", "grafana"]
    assert [id_ for id_, state in found.items() if state == "unseen"] == unseen
    assert found["trace"] == "ok"
    assert found["links"] == "skipped"
    (accepted,) = [hop for hop in proof.hops if hop.id == "accepted"]
    assert "refused" in accepted.cause
    assert "--collector-metrics" in accepted.fix


def command(bench: Bench, *arguments: str, endpoint: str = "") -> Process:
    argv = [PYTHON, "-m", "otelkit.ops.cli", "doctor", "--prove", *arguments]
    env = bench.stack.environment | ({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {})
    return run(argv, folder=bench.stack._folder, env=env, name="doctor", within=120)


# -- the links ---------------------------------------------------------------------------------------------------------


def source(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each["jsonData"] for each in document["datasources"] if each["name"] == name]
    return found


def wrong_label(document: dict[str, Any]) -> None:
    source(document, "Loki")["derivedFields"][0]["matcherRegex"] = "traceID"


def wrong_query(document: dict[str, Any]) -> None:
    source(document, "Tempo")["tracesToLogsV2"]["query"] = '{$${__tags}} |= "$${__trace.traceId}"'


def wrong_exemplar(document: dict[str, Any]) -> None:
    source(document, "Prometheus")["exemplarTraceIdDestinations"][0]["name"] = "traceID"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (wrong_label, ("log to trace", "label 'traceID' finds nothing", "derivedFields of Loki in stack.yaml")),
        (wrong_query, ("trace to logs", "Loki has no record of it", "tracesToLogsV2 of Tempo in stack.yaml")),
        (wrong_exemplar, ("exemplar to trace", "has no label 'traceID'", "exemplarTraceIdDestinations of Prometheus")),
    ],
)
def test_a_link_that_leads_nowhere_is_named(
    whole: Bench, tmp_path: Path, change: Callable[[dict[str, Any]], None], wanted: tuple[str, str, str]
) -> None:
    document = yaml.safe_load((whole.stack.place / SOURCES).read_text(encoding="utf-8"))
    change(document)
    mutated = tmp_path / "stack.yaml"
    mutated.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert_broken(whole.prove(datasources=mutated), *wanted)
