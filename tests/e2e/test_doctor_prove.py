"""`otelkit doctor --prove`, by breaking the real programs one at a time: it names the hop, its cause and a fix.

In this order for the sake of time: one stack serves all, and its service graph is there once others have waited.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops.doctor.collector import look
from otelkit.ops.doctor.hops import HOPS, Where, prove
from support import lanes, stack
from support.processes import PYTHON, free_port, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from otelkit.ops.doctor.hops import Proof
    from support.processes import Process

LANE = "e2e"
TIMEOUT = 15.0
SOURCES = "deploy/grafana/provisioning/datasources/stack.yaml"

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


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with one program.

    Args:
        program: Which; it is started anew with the fault.
        file: Its configuration, below the stack's folder.
        edit: Breaks that file.
        without: Flags that the program is started without.
        variables: What the program's environment has besides.
        down: Whether the program is not there at all.
    """

    program: str
    file: str = ""
    edit: Callable[[dict[str, Any]], None] | None = None
    without: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    down: bool = False


class Bench:
    """A stack of which one program at a time is broken, and mended by the next test that wants it whole."""

    def __init__(self, running: stack.Stack) -> None:
        self.stack = running
        self._whole = dict(running._programs)
        self._files: dict[Path, str] = {}
        self._broken: Fault | None = None

    @property
    def where(self) -> Where:
        """All of the stack; nobody is Grafana here."""
        place, at = self.stack.place, self.stack.endpoints
        return Where(
            collector_metrics=at.collector_metrics,
            prometheus=at.prometheus,
            tempo=at.tempo,
            loki=at.loki,
            grafana="",
            collector_log=place / "log/collector.log",
            datasources=place / SOURCES,
        )

    def prove(self, *, timeout: float = TIMEOUT, **changes: Any) -> Proof:
        return prove(replace(self.where, **changes), stack=self.stack.endpoints, timeout=timeout)

    def mend(self) -> None:
        """Start what is broken as it was."""
        for path, text in self._files.items():
            path.write_text(text, encoding="utf-8")
        self._files.clear()
        if self._broken is not None:
            self._anew(self._broken.program, self._whole[self._broken.program])
            self._broken = None

    def break_(self, fault: Fault) -> None:
        """Break one program, after mending another one that was."""
        if self._broken == fault:
            return
        if self._broken is not None and self._broken.program != fault.program:
            self.mend()
        for path, text in self._files.items():
            path.write_text(text, encoding="utf-8")
        self._broken = fault
        if fault.edit is not None:
            path = self.stack.place / fault.file
            self._files.setdefault(path, path.read_text(encoding="utf-8"))
            document = yaml.safe_load(self._files[path])
            fault.edit(document)
            path.write_text(yaml.safe_dump(document), encoding="utf-8")
        whole = self._whole[fault.program]
        argv = tuple(word for word in whole.argv if word not in fault.without)
        assert len(argv) == len(whole.argv) - len(fault.without)
        environment = {**whole.environment, **fault.variables}
        self._anew(fault.program, replace(whole, argv=argv, environment=environment), start=not fault.down)

    def _anew(self, name: str, program: stack.Program, *, start: bool = True) -> None:
        self.stack._programs[name] = program
        self.stack.stop(name, kill=True)
        if start:
            self.stack.start(name)
            self.stack.wait_ready()
            wait_until(self._nothing_waits, within=30, what="the Collector has delivered what it kept meanwhile")

    def _nothing_waits(self) -> bool:
        now = look(self.stack.endpoints.collector_metrics)
        return not any(now.total("otelcol_exporter_queue_size", data_type=signal) for signal in ("traces", "logs"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One stack for all of this file, since each test leaves a program broken or starts it anew."""
    if absent := stack.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"e2e: {absent}")
    soon = {"STACK_SPAN_METRICS_INTERVAL": "1s", "STACK_SERVICE_GRAPH_WAIT": "1s"}
    with stack.Stack(tmp_path_factory.mktemp("doctor"), variables=soon) as started:
        lanes.ran(LANE)
        yield Bench(started)


@pytest.fixture
def whole(bench: Bench) -> Bench:
    """With nothing broken."""
    bench.mend()
    return bench


def states(proof: Proof) -> dict[str, str]:
    return {hop.id: hop.state for hop in proof.hops}


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


def assert_broken(proof: Proof, hop: str, cause: str, fix: str) -> None:
    broken = proof.broken
    assert broken is not None, states(proof)
    assert broken.id == hop, broken
    assert re.search(cause, broken.cause), broken
    assert re.search(fix, broken.fix), broken


# -- the programs ------------------------------------------------------------------------------------------------------


COLLECTOR = "collector/config.yaml"


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


# -- Tempo -------------------------------------------------------------------------------------------------------------


def test_tempo_that_is_down_is_named_with_its_cause_and_a_fix(whole: Bench) -> None:
    """Last: a Collector that lost its connection takes its time to try again."""
    whole.break_(Fault(program="tempo", down=True))
    wanted = ("sent traces", "otlp_grpc/tempo: .*connection refused", "start Tempo")
    assert_broken(whole.prove(), *wanted)
