"""The only place that runs what `deploy/` configures, with the arguments of its containers.

Commands and health checks are read out of compose.yaml and run natively: paths and ports are this machine's, the rest
is what a container would run.
"""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support import lanes
from support.processes import HOST, Process, free_port, http_get, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
LANE = "validators"
# What each container's program is called here, and the first port it listens on. In an order in which none misses
# another: its complaint would be one of the warnings that a test looks for.
PROGRAMS = {
    "alertmanager": (("alertmanager", "prometheus-alertmanager"), 9093),
    "prometheus": (("prometheus",), 9090),
    "loki": (("loki",), 3100),
    "tempo": (("tempo",), 3200),
    "collector": (("otelcol-contrib", "otelcol"), 13133),
}
READY = {"collector": "/", "prometheus": "/-/ready", "alertmanager": "/-/ready", "loki": "/ready", "tempo": "/ready"}
START = 60.0  # a busy machine takes that long
SOON = 30.0
# What cannot be had without a word: a label that dashboards ask for, and how Loki's parts find each other.
HARMLESS = ("Experimental receiver name in metrics enabled", 'msg="error getting ingester clients" err="empty ring"')
DOUBT = re.compile(r"level=(?:warn|error)|\t(?:warn|error)\t", re.IGNORECASE)


def _found(*names: str) -> str:
    """Return the program's path, or skip and say loudly that it is missing."""
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        missing = f"not on PATH: {' or '.join(names)}"
        lanes.skipped(LANE, missing)
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    return path


def _post(url: str, document: Any) -> None:
    request = urllib.request.Request(  # noqa: S310  loopback URLs of the tests
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=10).close()


def _json(url: str) -> Any:
    return json.loads(http_get(url).body)


@dataclass(frozen=True, kw_only=True)
class Running:
    """The programs of the stack, by the names of their services."""

    urls: Mapping[str, str]
    processes: Mapping[str, Process]
    folder: Path

    def printed(self, name: str) -> str:
        return self.processes[name].stdout + self.processes[name].stderr


def _compose() -> dict[str, Any]:
    """Return compose.yaml with .env filled in, by Docker's own rule that an empty variable is an empty word."""
    lines = (line.partition("=") for line in (DEPLOY / ".env").read_text().splitlines() if line[:1].isalpha())
    # Where people reach a program is empty in the file, so that the default applies.
    text = re.sub(r"\$\{[A-Z_]+_URL:-(\S+\}?)\}", r"\1", COMPOSE.read_text())
    for name, _, value in lines:
        text = text.replace(f"${{{name}}}", value)
    document: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return document


def _words(service: Mapping[str, Any], where: Mapping[str, str]) -> list[str]:
    """Return the container's arguments with its folders replaced by this machine's."""
    words: list[str] = service["command"].split()
    for inside, here in where.items():
        words = [word.replace(f"={inside}", f"={here}") for word in words]
    return words


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All five, with the arguments of their containers; rules and targets are the tests'."""
    folder = tmp_path_factory.mktemp("deploy")
    paths = {name: _found(*names) for name, (names, _) in PROGRAMS.items()}
    shutil.copytree(DEPLOY, folder / "deploy")
    ports = _ports()
    urls = {name: f"http://{HOST}:{ports[name]}" for name in PROGRAMS}
    jobs = {
        "otelcol": "metrics",
        "prometheus": "prometheus",
        "alertmanager": "alertmanager",
        "loki": "loki",
        "tempo": "tempo",
    }
    for file in (folder / "deploy/prometheus/targets").iterdir():
        (group,) = yaml.safe_load(file.read_text())
        group["targets"] = [f"{HOST}:{ports[jobs[group['labels']['job']]]}"]
        file.write_text(yaml.safe_dump([group]))
    _write_rules(folder / "deploy")
    scraped = folder / "deploy/prometheus/prometheus.yaml"
    scraped.write_text(scraped.read_text().replace("scrape_interval: 15s", "scrape_interval: 1s"))
    variables = {
        "STACK_PROMETHEUS_URL": urls["prometheus"],
        "STACK_LOKI_URL": urls["loki"],
        "STACK_ALERTMANAGER_URL": urls["alertmanager"],
        "STACK_TEMPO_OTLP_URL": f"http://{HOST}:{ports['tempo_otlp']}",
        "STACK_COLLECTOR_HEALTH_PORT": str(ports["collector"]),
        "STACK_COLLECTOR_METRICS_PORT": str(ports["metrics"]),
        "STACK_OTLP_GRPC_PORT": str(ports["grpc"]),
        "STACK_OTLP_HTTP_PORT": str(ports["http"]),
        "STACK_LOKI_PORT": str(ports["loki"]),
        "STACK_LOKI_GRPC_PORT": str(ports["loki_grpc"]),
        "STACK_LOKI_RULES": str(folder / "deploy/loki/rules"),
        "STACK_TEMPO_PORT": str(ports["tempo"]),
        "STACK_TEMPO_GRPC_PORT": str(ports["tempo_grpc"]),
        "STACK_TEMPO_OTLP_PORT": str(ports["tempo_otlp"]),
        "STACK_RULE_INTERVAL": "1s",
        **{f"STACK_{name.upper()}_DATA": str(folder / name) for name in ("collector", "loki", "tempo")},
    }
    services = _compose()["services"]
    with ExitStack() as stack:
        processes = {}
        for name in PROGRAMS:
            data = services[name]["volumes"][-1].partition(":")[2]
            where = {"/etc/otelcol": str(ROOT / "collector"), data: str(folder / name)}
            where = {f"/etc/{name}": str(folder / "deploy" / name), **where}
            words = _words(services[name], where)
            if name in {"prometheus", "alertmanager"}:
                words.append(f"--web.listen-address={HOST}:{ports[name]}")
            (folder / name).mkdir()
            cwd = folder / "deploy" / name if name == "alertmanager" else folder / name
            process = Process([paths[name], *words], folder=folder, cwd=cwd, env=variables, name=name, stop_within=5.0)
            processes[name] = stack.enter_context(process)
            wait_until(partial(_ready, urls[name] + READY[name], process), within=START, what=f"{name} is ready")
        yield Running(urls=urls, processes=processes, folder=folder)


def _ports() -> dict[str, int]:
    names = (*PROGRAMS, "metrics", "grpc", "http", "loki_grpc", "tempo_grpc", "tempo_otlp")
    found: set[int] = set()
    while len(found) < len(names):
        found.add(free_port())
    return dict(zip(names, found, strict=True))


def _ready(url: str, process: Process) -> bool:
    assert process.returncode is None, process.tail()
    try:
        return http_get(url).status == 200
    except OSError:
        return False


def _write_rules(deploy: Path) -> None:
    """Give Prometheus and Loki one rule each, as the rules of the project will be written."""
    rule: dict[str, Any] = {"alert": "Metrics", "expr": "vector(1)", "labels": {"severity": "warning"}}
    groups = {"groups": [{"name": "test", "interval": "1s", "rules": [rule]}]}
    (deploy / "prometheus/rules").mkdir(exist_ok=True)
    (deploy / "prometheus/rules/test.yaml").write_text(yaml.safe_dump(groups))
    expression = 'sum by (service_name) (count_over_time({service_name=~".+"} | severity_number >= 17 [5m])) > 0'
    rule = {"alert": "Logs", "expr": expression, "labels": {"severity": "warning"}}
    groups = {"groups": [{"name": "test", "rules": [rule]}]}
    (deploy / "loki/rules/fake/test.yaml").write_text(yaml.safe_dump(groups))


def test_no_program_starts_with_a_warning(running: Running) -> None:
    for name in ("collector", "prometheus", "alertmanager", "loki"):
        doubts = [line for line in running.printed(name).splitlines() if DOUBT.search(line)]
        assert [line for line in doubts if not any(each in line for each in HARMLESS)] == [], name
    assert "deprecated" not in "".join(map(running.printed, PROGRAMS)).lower()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_health_check_of_a_container_tells_whether_its_program_is_ready(
    name: str, running: Running, tmp_path: Path
) -> None:
    kind, program, *arguments = _compose()["services"][name]["healthcheck"]["test"]
    assert kind == "CMD"
    names, port = PROGRAMS[name]
    argv = [_found(*(names if name == "collector" else (Path(program).name,))), *arguments]
    asked = f"http://{HOST}:{port}"
    assert asked in " ".join(argv)
    ready = run([word.replace(asked, running.urls[name]) for word in argv], folder=tmp_path, name="ready")
    assert ready.returncode == 0, ready.tail()
    nobody = [word.replace(asked, f"http://{HOST}:{free_port()}") for word in argv]
    assert run(nobody, folder=tmp_path, name="nobody").returncode != 0


def test_prometheus_keeps_samples_as_long_as_the_flag_says(running: Running) -> None:
    status = _json(running.urls["prometheus"] + "/api/v1/status/runtimeinfo")["data"]
    assert status["storageRetention"] == "15d"


def test_prometheus_watches_every_program_of_the_stack(running: Running) -> None:
    def up() -> set[str]:
        answer = _json(running.urls["prometheus"] + "/api/v1/query?query=up%3D%3D1")
        return {series["metric"]["job"] for series in answer["data"]["result"]}

    wait_until(lambda: len(up()) == len(PROGRAMS), within=SOON, what="each of the five jobs is up")
    assert up() == {"otelcol", "prometheus", "alertmanager", "loki", "tempo"}


def test_what_prometheus_and_loki_find_out_reaches_alertmanager(running: Running) -> None:
    record = {
        "timeUnixNano": str(time.time_ns()),
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": {"stringValue": "no"},
    }
    attributes = [{"key": "service.name", "value": {"stringValue": "api"}}]
    logs = {"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [record]}]}
    _post(running.urls["loki"] + "/otlp/v1/logs", {"resourceLogs": [logs]})

    def told() -> dict[tuple[str, str], str]:
        alerts = _json(running.urls["alertmanager"] + "/api/v2/alerts")
        return {
            (alert["labels"]["alertname"], alert["labels"].get("service_name", "")): alert["generatorURL"]
            for alert in alerts
        }

    wait_until(
        lambda: told().keys() >= {("Metrics", ""), ("Logs", "api")}, within=SOON, what="both alerts are in Alertmanager"
    )
    # Their sources are where people reach Prometheus and Grafana, not what containers call each other.
    assert told()["Metrics", ""].startswith("http://localhost:9090/graph?")
    assert told()["Logs", "api"].startswith("http://localhost:3001/explore?")


def test_what_could_not_be_delivered_for_hours_is_stored_all_the_same(running: Running) -> None:
    hours = 11
    now = time.time_ns()
    then = now - hours * 3600 * 10**9
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "late"}}]}
    for at in (now, then):
        point = {"timeUnixNano": str(at), "asDouble": 1.0}
        metrics = [{"name": "late", "gauge": {"dataPoints": [point]}}]
        document = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}
        _post(running.urls["prometheus"] + "/api/v1/otlp/v1/metrics", document)
        records = [{"timeUnixNano": str(at), "body": {"stringValue": "late"}}]
        document = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
        _post(running.urls["loki"] + "/otlp/v1/logs", document)
    metric = f"/api/v1/query?time={then // 10**9 + 1}&query=late"
    (series,) = _json(running.urls["prometheus"] + metric)["data"]["result"]
    assert series["metric"]["service_name"] == "late"
    window = f"start={then - 10**9}&end={then + 10**9}"
    log = f"/loki/api/v1/query_range?query=%7Bservice_name=%22late%22%7D&{window}"
    (stream,) = _json(running.urls["loki"] + log)["data"]["result"]
    assert [line for _, line in stream["values"]] == ["late"]
