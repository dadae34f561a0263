"""The Collector's overlay `infra`: what exporters say of a machine, PostgreSQL, Redis and a page arrives."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit.ops import _assets
from otelkit.ops.query import wait_for
from otelkit.ops.query.lgtm import Lgtm
from otelkit.otlp.receiver import Receiver
from support import lanes, overlays, postgres, redis_server, stack
from support.processes import HOST, Process, free_port, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query.lgtm import Prometheus

ROOT = Path(__file__).resolve().parents[2]
LANE = "infra"
NAMES = {
    "NODE": ("prometheus-node-exporter", "node_exporter"),
    "POSTGRES": ("prometheus-postgres-exporter", "postgres_exporter"),
    "REDIS": ("prometheus-redis-exporter", "redis_exporter"),
    "BLACKBOX": ("prometheus-blackbox-exporter", "blackbox_exporter"),
}
"""Debian's names, and those of the publishers."""


def programs() -> dict[str, str]:
    """Return the exporters on PATH, or skip and say which are missing."""
    found = {name: path for name, each in NAMES.items() if (path := next(filter(None, map(shutil.which, each)), None))}
    absent = [" or ".join(each) for name, each in NAMES.items() if name not in found]
    absent += [name for name in ("collector", "prometheus") if stack.find(name) is None]
    if absent:
        lanes.skipped(LANE, missing := f"not on PATH: {', '.join(absent)}")
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_runs_is_what_is_pinned(name: str, tmp_path: Path) -> None:
    pinned = _assets.pins()[f"{name}_EXPORTER_IMAGE"].rpartition(":v")[2]
    asked = run([programs()[name], "--version"], folder=tmp_path)
    said = re.search(r"(?:version|Exporter) (\d[\d.]*\d)", asked.stdout + asked.stderr)
    assert said is not None
    assert said[1] == pinned


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """All of it, scraped every two seconds."""
    found, folder = programs(), tmp_path_factory.mktemp("infra")
    ports = {name: str(free_port()) for name in NAMES}
    with ExitStack() as running:

        def start(name: str, *arguments: str, **env: str) -> None:
            listen = f"--web.listen-address={HOST}:{ports[name]}"
            process = Process([found[name], listen, *arguments], folder=folder, env=env, name=name)
            running.enter_context(process).wait_http(f"http://{HOST}:{ports[name]}/")

        database, redis = running.enter_context(postgres.server()), running.enter_context(redis_server.server())
        source = f"postgresql://{postgres.USER}:{postgres.PASSWORD}@{HOST}:{database.port}/{postgres.DATABASE}"
        modules = folder / "blackbox.yaml"
        modules.write_text("modules: {http_2xx: {prober: http, http: {preferred_ip_protocol: ip4}}}\n")
        start("NODE")
        start("POSTGRES", DATA_SOURCE_NAME=f"{source}?sslmode=disable")
        start("REDIS", REDIS_ADDR=f"redis://{HOST}:{redis.port}")
        start("BLACKBOX", f"--config.file={modules}")

        url = f"http://{HOST}:{free_port()}"
        shutil.copy(ROOT / "deploy/prometheus/prometheus.yaml", folder)  # without its targets: nothing is scraped twice
        argv = [
            str(stack.find("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--web.enable-otlp-receiver",
        ]
        store = running.enter_context(Process(argv, folder=folder, name="prometheus"))
        wait_until(lambda: store.wait_http(f"{url}/-/ready").status == 200, within=30, what="Prometheus is ready")
        variables = {
            **{f"STACK_{name}_EXPORTER_PORT": port for name, port in ports.items()},
            "STACK_PROMETHEUS_URL": url,
            "STACK_PROBED_URLS": f"[{url}/-/healthy, {url}/-/ready]",
            "STACK_ENVIRONMENT": "test",
            "STACK_INFRA_INTERVAL": "2s",
            "STACK_INFRA_TIMEOUT": "2s",
        }
        running.enter_context(overlays.collector(folder, "infra", variables=variables))
        asked = Lgtm.at(prometheus=url, tempo=url, loki=url).prometheus
        # Targets are looked for five seconds after the start, all at once.
        wait_for(lambda: asked.query("up == 1"), lambda found: len(found) == len(NAMES) + 1, 60)
        yield asked


def told() -> list[tuple[str, str, set[str]]]:
    """Return what the overlay's comment promises: job, metric, labels."""
    comment = re.findall(r"^#   (\w+) +(.+)$", overlays.path("infra").read_text(encoding="utf-8"), re.MULTILINE)
    return [
        (job, metric, {label for label in labels.split(", ") if label})
        for job, text in comment
        for metric, labels in re.findall(r"(\w+_\w+)(?:\{([\w, ]+)\})?", text)
    ]


def test_the_comment_promises_something_of_every_job() -> None:
    assert {job for job, *_ in told()} == {"node", "postgresql", "redis", "blackbox"}
    assert len(told()) >= 12


@pytest.mark.parametrize(("job", "metric", "labels"), told(), ids=lambda part: part if isinstance(part, str) else "")
def test_what_the_comment_promises_is_in_prometheus(ask: Prometheus, job: str, metric: str, labels: set[str]) -> None:
    found = wait_for(lambda: ask.query(f'{metric}{{job="{job}"}}'), bool, 30)
    assert any(labels <= set(sample.labels) for sample in found)
    for sample in found:
        assert sample.labels["service_name"] == job
        assert sample.labels["instance"] == sample.labels["service_instance_id"]
        assert sample.labels["deployment_environment_name"] == "test"


@pytest.mark.parametrize("metric", ["pg_up", "redis_up"])
def test_what_is_looked_at_was_reached(ask: Prometheus, metric: str) -> None:
    found = wait_for(lambda: ask.query(f"{metric} == 1"), bool, 30)
    assert len(found) == 1


@pytest.mark.parametrize("asked", ["probe_success == 1", "probe_http_status_code == 200"])
def test_each_probed_page_is_an_instance(ask: Prometheus, asked: str) -> None:
    found = wait_for(lambda: ask.query(asked), lambda found: len(found) == 2, 30)
    assert {sample.labels["instance"].rpartition("/")[2] for sample in found} == {"healthy", "ready"}


def test_an_exporter_that_does_not_answer_is_down_and_said_so(tmp_path: Path) -> None:
    ports = {f"STACK_{name}_EXPORTER_PORT": str(free_port()) for name in NAMES}
    variables = {**ports, "STACK_INFRA_INTERVAL": "1s", "STACK_INFRA_TIMEOUT": "1s"}

    def down(store: Receiver) -> set[str]:
        points = [point for point in store.points() if point.metric == "up"]
        assert all(point.value == 0 for point in points)
        return {str(point.resource["service.name"]) for point in points}

    with Receiver(grpc_port=0) as store, overlays.collector(tmp_path, "infra", variables=variables, store=store) as it:
        jobs = {"node", "postgresql", "redis", "blackbox"}
        wait_until(lambda: down(store) == jobs, within=60, what="four exporters are down")
        it.process.wait_output("Failed to scrape")
