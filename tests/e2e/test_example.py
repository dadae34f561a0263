"""The only place that proves the example shop in the real stores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from otelkit.ops.query import wait_for
from support.processes import HOST, PYTHON, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
START = 60.0  # a busy machine takes that long to import a framework
DEADLINE = 20.0


@pytest.fixture(scope="module")
def order(running: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One order, placed with both services: the trace id that the shop answered with."""
    folder = tmp_path_factory.mktemp("shop")
    ports = {"payment": free_port(), "api": free_port()}
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "SHOP_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'shop.db'}",
        "PAYMENT_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'payment.db'}",
        "PAYMENT_URL": f"http://{HOST}:{ports['payment']}",
    }

    def launched(module: str) -> Process:
        command: list[str | Path] = [
            PYTHON,
            "-m",
            "uvicorn",
            f"shop.{module}:app",
            "--app-dir",
            EXAMPLES,
            "--port",
            str(ports[module]),
        ]
        return Process(command, folder=folder, env=environment, name=module)

    with launched("payment") as payment, launched("api") as api:
        for process, module in ((payment, "payment"), (api, "api")):
            process.wait_http(f"http://{HOST}:{ports[module]}/openapi.json", within=START)
        answer = httpx.post(f"http://{HOST}:{ports['api']}/orders", json={"sku": "teapot"}, trust_env=False)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        yield answer.headers["traceresponse"].split("-")[1]


def test_an_order_is_one_trace_through_both_services_and_their_databases(query: Lgtm, order: str) -> None:
    def answered() -> set[str]:
        trace = query.trace(order)
        return {span.service for span in trace.spans if span.kind == "SERVER"} if trace else set()

    wait_for(answered, lambda services: services == {"shop", "payment"}, DEADLINE)
    trace = query.trace(order)
    assert trace is not None
    (root,) = [span for span in trace.spans if not span.parent_span_id]
    assert (root.service, root.name) == ("shop", "POST /orders")
    assert {span.parent_span_id for span in trace.spans} - {span.span_id for span in trace.spans} == {""}
    assert {span.service for span in trace.spans if "db.system.name" in span.attributes} == {"shop", "payment"}


def test_its_log_lines_of_both_services_are_found_by_its_trace_id(query: Lgtm, order: str) -> None:
    wanted = {("shop", "stock.reserved"), ("shop", "order.placed"), ("payment", "charge.accepted")}
    wait_for(lambda: {(each.service, each.body) for each in query.logs(trace_id=order)}, wanted.issubset, DEADLINE)


def test_its_measurements_lead_to_its_trace(query: Lgtm, order: str) -> None:
    def services(metric: str) -> set[str]:
        return {each.series["service_name"] for each in query.exemplars(metric) if each.trace_id == order}

    for metric in ("http_server_request_duration_seconds_bucket", "db_client_operation_duration_seconds_bucket"):
        wait_for(partial(services, metric), lambda found: found == {"shop", "payment"}, DEADLINE)
