"""The only place that proves that a scraped series is named and labelled as the pushed one, by the real Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import yaml

from otelkit._catalog import PROCESS, RESOURCE_LABELS
from support import lanes, stack
from support.processes import HOST, PYTHON, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from pathlib import Path

WITHIN = 60.0
LANE = "e2e"
DESCRIBED = ("service.namespace=tests", "deployment.environment.name=e2e", "service.version=1.2", "team=a")

APP = """
import signal, threading
import otelkit
from opentelemetry import metrics

catalog = otelkit.Catalog("shop")
closed = {"shop.order.status": ("placed", "declined"), "shop.express": (True, False), "shop.size": (1, 2)}
declared = [
    catalog.counter("shop.orders", unit="{order}", description="x", attributes=closed | {"shop.campaign": str}),
    catalog.counter("shop.revenue", unit="EUR", description="x"),
    catalog.counter("shop.upload", unit="By", description="x"),
    catalog.counter("app.auth.attempts", unit="{attempt}", description="x", attributes={"app.auth.outcome": ("ok",)}),
    catalog.up_down_counter("shop.carts", unit="{cart}", description="x"),
    catalog.up_down_counter("shop.reserved", unit="MiBy", description="x"),
    catalog.gauge("shop.oven", unit="Cel", description="x"),
    catalog.gauge("shop.full", unit="1", description="x"),
    catalog.gauge("shop.humid", unit="%", description="x"),
    catalog.gauge("shop.speed", unit="By/s", description="x"),
    catalog.gauge("shop.pace", unit="{order}/min", description="x"),
    catalog.gauge("shop.beat", unit="1/s", description="x"),
    catalog.gauge("shop.price_level", unit="JPY", description="x"),
    catalog.gauge("shop.power", unit="kW", description="x"),
    catalog.histogram("shop.charge.duration", unit="s", description="x", attributes={"shop.card": str}),
    catalog.histogram("shop.parcel.weight", unit="kg", description="x", buckets=[0.5, 1, 10, 1e6]),
]
otelkit.configure(service_name="parity")
for instrument in declared:
    kind = instrument.metric.kind
    measure = {"histogram": "record", "gauge": "set"}.get(kind, "add")
    getattr(instrument, measure)(2)
declared[0].add(1, {"shop.order.status": "placed", "shop.express": True, "shop.campaign": "Spring \\"26\\\\\\n"})
declared[14].record(0.2, {"shop.card": "visa"})
catalog.observe("shop.stock", lambda: [(3, {"shop.shelf": "a"})], unit="{item}", description="x",
                attributes={"shop.shelf": ("a", "b")}, kind="up_down_counter")

# What libraries emit that know no catalog.
meter = metrics.get_meter("library", "9.9")
meter.create_counter("Library.Calls-made.total", unit="1").add(1, {"http.method": "GET", "flag": True, "size": 10})
meter.create_counter("library.bytes.read", unit="By").add(1)
meter.create_up_down_counter("library.open", unit="1").add(1)
meter.create_gauge("library.load", unit="{GC cycles}").set(1.5)
meter.create_gauge("library__odd..name", unit="widgets/w").set(1)
odd = "m/s KBy kBy By/m 1/mo x/y g/min /s {a}/{b} a/b/c % 1 m/m".split()
for number, unit in enumerate(odd):
    meter.create_gauge(f"library.unit{number}", unit=unit).set(1)
    meter.create_counter(f"library.count{number}", unit=unit).add(1)
meter.create_counter("library.plain").add(1)
for number in range(12):
    meter.create_counter("library.many").add(1, {"id": f"n{number}"})
print("ready", *(name for instrument in declared for name in instrument.metric.series), flush=True)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
"""

Series = frozenset[tuple[str, str]]


def configuration(folder: Path, port: int) -> Path:
    """Write the project's own configuration, and a job that scrapes the application."""
    config = yaml.safe_load((stack.ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
    job = {"job_name": "scraped", "scrape_interval": "1s", "scrape_timeout": "1s"}
    config["scrape_configs"] = [{**job, "static_configs": [{"targets": [f"{HOST}:{port}"]}]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def series(prometheus: str, job: str) -> set[Series]:
    """Return the series of a job: name and labels, but what differs by nature."""
    asked = urlencode({"query": f'{{job="{job}"}}'})
    answer = json.loads(http_get(f"{prometheus}/api/v1/query?{asked}").body)
    found = set()
    for each in answer["data"]["result"]:
        labels = {key: value for key, value in each["metric"].items() if key not in ("job", "instance")}
        if "le" in labels:
            labels["le"] = str(float(labels["le"]))
        if not labels["__name__"].startswith(("scrape_", "up")):
            found.add(frozenset(labels.items()))
    return found


def test_scraped_and_pushed_metrics_are_the_same_series(tmp_path: Path) -> None:
    program = stack.find("prometheus")
    if program is None:
        lanes.skipped(LANE, "not on PATH: prometheus")
        pytest.skip("e2e: not on PATH: prometheus")
    lanes.ran(LANE)
    port, own = free_port(), free_port()
    prometheus = f"http://{HOST}:{own}"
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    argv = [
        program,
        f"--config.file={configuration(tmp_path, port)}",
        f"--web.listen-address={HOST}:{own}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        "--web.enable-otlp-receiver",
    ]
    variables = {
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{prometheus}/api/v1/otlp/v1/metrics",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTELKIT_METRIC_CARDINALITY_LIMIT": "10",
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(DESCRIBED),
    }
    with Process(argv, folder=tmp_path, name="prometheus") as server:
        wait_until(lambda: server.wait_http(f"{prometheus}/-/ready").status == 200, within=WITHIN, what="ready")
        with Process([PYTHON, "app.py"], folder=tmp_path, env=variables, name="app") as app:
            app.wait_output("ready", within=WITHIN)
            seen: dict[str, set[Series]] = {}

            def same() -> bool:
                seen["pushed"] = series(prometheus, "tests/parity")
                seen["scraped"] = series(prometheus, "scraped")
                return bool(seen["pushed"]) and seen["pushed"] == seen["scraped"]

            try:
                wait_until(same, within=WITHIN, what="pushed and scraped series are the same")
            except AssertionError as error:
                for one, other in (("pushed", "scraped"), ("scraped", "pushed")):
                    only = sorted(str(sorted(each)) for each in seen[one] - seen[other])
                    error.add_note(f"{one} only: {json.dumps(only[:20], indent=1)}")
                raise
            promised = app.stdout.partition("\nready ")[2].split()
    names = {dict(each)["__name__"] for each in seen["pushed"]}
    assert promised
    assert [name for name in promised if name not in names] == []
    # The event loop's lag needs a loop; all others are there.
    process = [name for stock in PROCESS if stock.metric.kind != "histogram" for name in stock.metric.series]
    assert [name for name in process if name not in names] == []
    assert "target_info" in names
    revenue = next(dict(each) for each in seen["scraped"] if ("__name__", "shop_revenue_EUR_total") in each)
    assert {"service_name", "service_namespace", "service_version", "host_name", "deployment_environment_name"} < set(
        revenue
    )


def test_the_resource_attributes_that_become_labels_are_the_same_in_prometheus_and_in_the_catalogue() -> None:
    config = yaml.safe_load((stack.ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
    assert tuple(config["otlp"]["promote_resource_attributes"]) == RESOURCE_LABELS
