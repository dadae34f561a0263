"""What otelkit sends arrives through the real Collector as it was sent: both launches, both protocols, nothing changed.

The Collector runs with the project's own files, and delivers to a receiver of ours.
"""

from __future__ import annotations

import sys
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support import collector
from support.processes import PYTHON, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.collector import Running

WITHIN = 30.0
LAUNCHER = Path(sys.executable).parent / "opentelemetry-instrument"
LAUNCHES = {"explicit": "http/protobuf", "launched": "grpc"}
OF_SPANS = "traces.span.metrics."
"""How the metrics begin that the Collector makes itself."""

APP = """
import sys
import otelkit
from opentelemetry import metrics, trace
from opentelemetry.trace import Link, SpanKind

if sys.argv[1] == "explicit":
    otelkit.configure(service_name="through")
log = otelkit.get_logger("through")
tracer, meter = trace.get_tracer("through", "1.2", attributes={"a": 1}), metrics.get_meter("through")
with tracer.start_as_current_span("first", kind=SpanKind.SERVER, attributes={"http.route": "/orders/{id}"}) as first:
    first.add_event("seen", {"numbers": [1, 2], "text": "Grüße", "yes": True, "share": 0.5})
    meter.create_histogram("took", unit="s").record(0.2, {"http.route": "/orders/{id}"})
    meter.create_counter("orders", unit="{order}").add(3, {"status": "placed"})
    meter.create_up_down_counter("open").add(-2)
    meter.create_gauge("oven", unit="Cel").set(-1.5)
    log.info("order.placed", order_id=42, who="ada@example.org", items=["tea", "pot"])
    with tracer.start_as_current_span("second", links=[Link(first.get_span_context(), {"why": "test"})]):
        try:
            raise ValueError("no tea")
        except ValueError:
            log.exception("order.failed")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A program that does a bit of everything."""
    path = tmp_path / "app.py"
    path.write_text(APP, encoding="utf-8")
    return path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A Collector that delivers to a receiver."""
    with Receiver(grpc_port=0) as store, collector.running(tmp_path, store) as started:
        yield started


def launch(app: Path, mode: str, endpoint: str, protocol: str) -> None:
    """Run the program to its end, launched one way."""
    program: list[str | Path] = [] if mode == "explicit" else [LAUNCHER]
    environment = {
        "OTEL_SERVICE_NAME": "through",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=tests,team=a",
    }
    ended = run([*program, PYTHON, app, mode], folder=app.parent, env=environment, name=mode)
    assert ended.returncode == 0, ended.tail()


def told(receiver: Receiver) -> dict[str, Counter[str]]:
    """Return everything that arrived, as text; without what the Collector made itself."""
    points = [point for point in receiver.points() if not point.metric.startswith(OF_SPANS)]
    found: dict[str, list[Any]] = {"spans": receiver.spans(), "logs": receiver.logs(), "points": points}
    return {signal: Counter(map(repr, items)) for signal, items in found.items()}


def test_nothing_of_otelkits_own_telemetry_is_changed_lost_or_added_on_the_way(app: Path, running: Running) -> None:
    """Whatever otelkit sent, request by request, is sent again through the Collector."""
    with Receiver(keep_raw=True) as sent:
        launch(app, "explicit", sent.http_url, "http/protobuf")
        wanted, requests = told(sent), sent.raw()
    assert all(wanted.values())
    for request in requests:
        status = collector.post(running.otlp_http, request.path.rpartition("/")[2], request.body)
        assert status == HTTPStatus.OK
    store = running.store
    arrived = store.wait_for(lambda: all(told(store)[s].total() >= each.total() for s, each in wanted.items()), WITHIN)
    assert told(store) == wanted
    assert arrived


@pytest.mark.parametrize("mode", LAUNCHES)
def test_each_launch_delivers_every_signal_by_each_protocol(app: Path, running: Running, mode: str) -> None:
    endpoint = running.otlp_http if LAUNCHES[mode] == "http/protobuf" else running.otlp_grpc
    launch(app, mode, endpoint, LAUNCHES[mode])
    store = running.store
    assert store.wait_for(lambda: len(store.spans()) == 2 and len(store.logs()) >= 2, WITHIN)
    metrics = {"took", "orders", "open", "oven"}
    assert store.wait_for(lambda: metrics <= {point.metric for point in store.points()}, WITHIN)
    assert {span.name for span in store.spans()} == {"first", "second"}
    assert {record.body for record in store.logs()} >= {"order.placed", "order.failed"}
    assert {span.resource["service.namespace"] for span in store.spans()} == {"tests"}
