"""The only place that proves a request's whole story in the real stores: two services, launched both ways."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from otelkit.ops.query import wait_for
from support.processes import HOST, PYTHON, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query import Exemplar
    from otelkit.ops.query.lgtm import Lgtm
    from otelkit.otlp.model import Span
    from support.stack import Stack

APPS = Path(__file__).parent / "apps"
DEADLINE = 60.0
START = 60.0  # a busy machine takes that long to import a framework
REQUESTS = 3
ROUTES = {"front": ("POST", "/orders/{item}"), "back": ("GET", "/stock/{item}")}


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Two services that answered some requests.

    Args:
        namespace: Their `service.namespace`, which no other test uses.
    """

    namespace: str

    def of(self, service: str) -> dict[str, str]:
        """Return the labels of one service's series."""
        return {"service_namespace": self.namespace, "service_name": service}


def _command(mode: str, service: str, port: int) -> list[str]:
    """Return how a user launches the service."""
    arguments = ["--app-dir", str(APPS), "--host", HOST, "--port", str(port)]
    if mode == "explicit":
        return [PYTHON, "-m", "uvicorn", f"explicit_{service}:app", *arguments]
    launcher = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    assert launcher, "opentelemetry-instrument is installed beside the interpreter of the tests"
    return [launcher, "uvicorn", f"{service}:app", *arguments]


def _environment(mode: str, service: str, endpoint: str, folder: Path, back: int) -> dict[str, str]:
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / f'{service}.db'}",
        "BACK_URL": f"http://{HOST}:{back}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={folder.name},deployment.environment.name=e2e",
    }
    if mode == "zero_code":
        environment["OTEL_SERVICE_NAME"] = service
    return environment


@pytest.fixture(scope="module", params=["explicit", "zero_code"])
def shop(request: pytest.FixtureRequest, running: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Both services, launched one way, after some orders; they run on while their telemetry is looked at."""
    mode: str = request.param
    folder = tmp_path_factory.mktemp(mode)
    ports = {"back": free_port(), "front": free_port()}

    def launched(service: str) -> Process:
        environment = _environment(mode, service, running.otlp_http, folder, ports["back"])
        return Process(_command(mode, service, ports[service]), folder=folder, env=environment, name=service)

    with launched("back") as back, launched("front") as front:
        back.wait_http(f"http://{HOST}:{ports['back']}/openapi.json", within=START)
        front.wait_http(f"http://{HOST}:{ports['front']}/openapi.json", within=START)
        for _ in range(REQUESTS):
            answer = httpx.post(f"http://{HOST}:{ports['front']}/orders/teapot", trust_env=False)
            assert answer.json() == {"amount": 7}
        yield Shop(namespace=folder.name)


@pytest.mark.parametrize("service", ROUTES)
def test_request_durations_are_there_by_service_and_route(shop: Shop, query: Lgtm, service: str) -> None:
    method, route = ROUTES[service]
    (sample,) = wait_for(
        lambda: query.samples("http_server_request_duration_seconds_count", {"http_route": route, **shop.of(service)}),
        lambda samples: [sample.value for sample in samples] == [REQUESTS],
        DEADLINE,
    )
    assert sample.labels["http_request_method"] == method
    assert sample.labels["http_response_status_code"] == "200"
    assert sample.labels["deployment_environment_name"] == "e2e"
    assert sample.labels["service_instance_id"]


def test_an_exemplar_leads_to_the_spans_of_both_services(shop: Shop, query: Lgtm) -> None:
    exemplar = _exemplar(shop, query)
    spans = _spans(query, exemplar.trace_id)
    servers = {span.service: span for span in spans if span.kind == "SERVER"}
    assert {service: span.name for service, span in servers.items()} == {
        service: " ".join(route) for service, route in ROUTES.items()
    }
    assert servers["front"].parent_span_id == ""
    assert servers["front"].span_id == exemplar.span_id
    statements = [span for span in spans if "db.system.name" in span.attributes]
    assert {(span.service, span.name) for span in statements} == {("front", "INSERT orders"), ("back", "SELECT stock")}
    for span in statements:
        assert span.parent_span_id == servers[span.service].span_id
        assert span.kind == "CLIENT"
    (call,) = [span for span in spans if span.kind == "CLIENT" and span not in statements]
    assert (call.service, call.parent_span_id) == ("front", servers["front"].span_id)
    assert servers["back"].parent_span_id == call.span_id


def test_each_log_record_of_the_trace_is_found_by_its_id(shop: Shop, query: Lgtm) -> None:
    trace_id = _exemplar(shop, query).trace_id
    spans = {span.span_id: span for span in _spans(query, trace_id)}
    wanted = {("front", "order stored"), ("back", "stock read"), *((name, "http.request.completed") for name in ROUTES)}
    records = wait_for(
        lambda: [record for record in query.logs(trace_id=trace_id) if record.scope.name != "httpx"],
        lambda found: len(found) >= len(wanted),
        DEADLINE,
    )
    assert sorted((record.service, record.body) for record in records) == sorted(wanted)
    for record in records:
        assert spans[record.span_id].service == record.service


@pytest.mark.parametrize("service", ROUTES)
def test_the_collector_counts_the_spans(shop: Shop, query: Lgtm, service: str) -> None:
    method, route = ROUTES[service]
    found = wait_for(
        lambda: query.samples(
            "traces_span_metrics_calls_total",
            {"span_kind": "SPAN_KIND_SERVER", "http_route": route, **shop.of(service)},
        ),
        lambda samples: [sample.value for sample in samples] == [REQUESTS],
        DEADLINE,
    )
    assert found[0].labels["span_name"] == f"{method} {route}"


@pytest.mark.parametrize(
    ("service", "operation", "table"), [("front", "INSERT", "orders"), ("back", "SELECT", "stock")]
)
def test_statement_durations_are_there_by_operation(
    shop: Shop, query: Lgtm, service: str, operation: str, table: str
) -> None:
    (sample,) = wait_for(
        lambda: query.samples(
            "db_client_operation_duration_seconds_count",
            {"db_operation_name": operation, "db_collection_name": table, **shop.of(service)},
        ),
        lambda samples: [sample.value >= REQUESTS for sample in samples] == [True],
        DEADLINE,
    )
    assert sample.labels["db_system_name"] == "sqlite"


def _exemplar(shop: Shop, query: Lgtm) -> Exemplar:
    """Return the newest exemplar of the front service's order route."""
    route = ROUTES["front"][1]
    found = wait_for(
        lambda: query.exemplars(
            "http_server_request_duration_seconds_bucket", {"http_route": route, **shop.of("front")}
        ),
        bool,
        DEADLINE,
    )
    return found[-1]


def _spans(query: Lgtm, trace_id: str) -> tuple[Span, ...]:
    """Return a trace once both services' spans are in: two servers, two statements and the call."""

    def names() -> list[str]:
        trace = query.trace(trace_id)
        return [f"{span.service}: {span.name}" for span in trace.spans] if trace else []

    wait_for(names, lambda found: len(found) >= 5, DEADLINE)
    trace = query.trace(trace_id)
    assert trace is not None
    return trace.spans
