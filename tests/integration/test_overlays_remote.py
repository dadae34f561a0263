"""The Collector's overlays `remote` and `debug`: signals go where they are sent to, and are shown on the way."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind

from otelkit.ops.query import wait_for
from otelkit.ops.query.lgtm import Lgtm
from otelkit.otlp.receiver import Receiver
from support import lanes, overlays, stack
from support.processes import HOST, Process, free_port, http_get, wait_until
from support.scripted import http_receiver
from support.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANE = "collector"
KEY = "k3y-of-this-test"
SECRET = "hunter2-of-this-test"
PATHS = {"/v1/traces", "/v1/metrics", "/v1/logs"}


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run a Prometheus that takes remote write, and give its URL."""
    program = stack.find("prometheus")
    if program is None:
        lanes.skipped(LANE, missing := "not on PATH: prometheus")
        pytest.skip(missing)
    port = free_port()
    (folder / "prometheus.yaml").write_text("{}\n")
    argv = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={HOST}:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=exemplar-storage",
    ]
    with Process(argv, folder=folder, name="prometheus") as process:
        url = f"http://{HOST}:{port}"
        wait_until(lambda: process.wait_http(f"{url}/-/ready").status == 200, within=30, what="Prometheus is ready")
        yield url


def test_any_vendor_gets_all_signals_with_its_key_from_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    with http_receiver() as vendor:
        variables = {
            "STACK_REMOTE_OTLP_URL": f"http://{HOST}:{vendor.port}",
            "STACK_REMOTE_HEADERS": f'{{X-Scope-OrgID: shop, Api-Key: "${{file:{key}}}"}}',
        }
        with (
            overlays.collector(tmp_path, "remote", variables=variables) as collector,
            Sender(collector.http, service="shop") as sender,
        ):
            sender.request("/orders")
            wait_until(lambda: {heard.path for heard in vendor.heard} == PATHS, within=30, what="all three signals")
        assert KEY not in collector.process.stderr
    for heard in vendor.heard:
        headers = {name.lower(): value for name, value in heard.headers.items()}
        assert (headers["api-key"], headers["x-scope-orgid"]) == (KEY, "shop")


def test_only_sampled_traces_go_to_a_vendor_behind_the_gateway_overlay(tmp_path: Path) -> None:
    with Receiver(grpc_port=0) as vendor:
        variables = {
            "STACK_REMOTE_OTLP_URL": vendor.http_url,
            "STACK_GATEWAY_WAIT": "1s",
            "STACK_GATEWAY_SHARE": "0",
            "STACK_SPAN_METRICS_INTERVAL": "200ms",
        }
        with (
            overlays.collector(tmp_path, "gateway", "remote", variables=variables) as collector,
            Sender(collector.http, service="shop") as sender,
        ):
            with sender.span("ordinary"):
                pass
            with pytest.raises(RuntimeError), sender.span("failing"):
                raise RuntimeError
            wait_until(lambda: vendor.spans() and vendor.points(), within=30, what="the error, and span metrics")
        assert {span.name for span in vendor.spans()} == {"failing"}
        counted = {point.attributes["span.name"] for point in vendor.points() if point.metric.endswith(".calls")}
        assert counted == {"ordinary", "failing"}


def test_metrics_go_by_remote_write_and_the_rest_as_before(tmp_path: Path) -> None:
    with ExitStack() as running:
        store = running.enter_context(Receiver(grpc_port=0))
        url = running.enter_context(prometheus(tmp_path))
        variables = {
            "STACK_TRACES_EXPORTER": "otlp_grpc/tempo",
            "STACK_METRICS_EXPORTER": "prometheus_remote_write/remote",
            "STACK_LOGS_EXPORTER": "otlp_http/loki",
            "STACK_REMOTE_WRITE_URL": f"{url}/api/v1/write",
            "STACK_SPAN_METRICS_INTERVAL": "200ms",
        }
        collector = running.enter_context(overlays.collector(tmp_path, "remote", variables=variables, store=store))
        sender = running.enter_context(Sender(collector.http, service="shop"))
        trace = sender.request("/orders")
        ask = Lgtm.at(prometheus=url, tempo=url, loki=url).prometheus
        for metric in ("http_server_request_duration_seconds_count", "traces_span_metrics_calls_total"):
            found = wait_for(
                lambda metric=metric: ask.query(f'{metric}{{service_name="shop"}}'),  # type: ignore[misc]  # bound
                bool,
                30,
            )
            assert {sample.labels["job"] for sample in found} == {"shop"}
        exemplars = wait_for(lambda: ask.exemplars("http_server_request_duration_seconds_bucket"), bool, 30)
        assert {exemplar.trace_id for exemplar in exemplars} == {trace}
        wait_until(lambda: store.spans() and store.logs(), within=30, what="spans and records in their stores")
        assert store.points() == []


def test_debug_shows_what_arrives_and_its_pages_answer(tmp_path: Path) -> None:
    variables = {"STACK_DEBUG_VERBOSITY": "detailed", "STACK_SPAN_METRICS_INTERVAL": "200ms"}
    with ExitStack() as running:
        store = running.enter_context(Receiver(grpc_port=0))
        collector = running.enter_context(overlays.collector(tmp_path, "debug", variables=variables, store=store))
        sender = running.enter_context(Sender(collector.http, service="shop"))
        with sender.span("shown span", SpanKind.SERVER):
            sender.log("shown record", {})
        sender.request("/shown/route")
        for shown in ("shown span", "shown record", "/shown/route", "traces.span.metrics.calls"):
            collector.process.wait_output(shown)
        wait_until(lambda: store.spans() and store.logs() and store.points(), within=30, what="the stores get all too")
        for port, page in (("STACK_ZPAGES_PORT", "pipelinez"), ("STACK_PPROF_PORT", "pprof/cmdline")):
            assert http_get(f"http://{HOST}:{collector.port(port)}/debug/{page}").status == 200


def test_neither_debug_nor_an_agent_gives_a_secret_away(tmp_path: Path) -> None:
    with Receiver(grpc_port=0, keep_raw=True) as gateway:
        variables = {"STACK_DEBUG_VERBOSITY": "detailed", "STACK_GATEWAY_URL": gateway.grpc_endpoint}
        with (
            overlays.collector(tmp_path, "agent", "debug", variables=variables, rules=True) as agent,
            Sender(agent.http, service="shop") as sender,
        ):
            with sender.span("sign in", SpanKind.SERVER, {"password": SECRET}):
                sender.log("signed in", {"password": SECRET})
            wait_until(lambda: gateway.spans() and gateway.logs(), within=30, what="both at the gateway")
            for shown in ("sign in", "signed in"):
                agent.process.wait_output(shown)
        assert SECRET not in agent.process.stderr + agent.process.stdout
        assert not any(SECRET.encode() in request.body for request in gateway.raw())
        assert {attribute for span in gateway.spans() for attribute in span.attributes} >= {"password"}
