"""The pipeline: shared deadlines, exporters built late and per process, failures named once."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import prometheus_client
import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult
from opentelemetry.sdk.trace import TracerProvider

from otelkit import _stderr
from otelkit.errors import SettingsError
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Deadline, Pipeline, run_against
from otelkit.pipeline._exporters import preferred_temporality
from otelkit.pipeline._failures import Failures, origin
from otelkit.pipeline._reader import Reader
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _fresh_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what was said by other tests, and give the `opentelemetry` logger back afterwards."""
    monkeypatch.setattr(_stderr, "_said", set())
    logger = logging.getLogger("opentelemetry")
    before = (list(logger.handlers), logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_several_late_jobs_share_one_deadline() -> None:
    release = threading.Event()
    started = time.monotonic()
    assert not run_against(Deadline.after(0.2), [release.wait, release.wait, release.wait])
    assert time.monotonic() - started < 0.5
    release.set()


def test_a_raising_job_fails_and_the_others_still_run() -> None:
    ran: list[str] = []

    def broken() -> None:
        raise RuntimeError

    assert not run_against(Deadline.after(2), [broken, lambda: ran.append("after")])
    assert ran == ["after"]


def test_every_job_in_time_is_success() -> None:
    assert run_against(Deadline.after(2), [lambda: None, lambda: True])


def test_spans_reach_the_receiver() -> None:
    with Receiver() as receiver:
        pipeline = Pipeline(Settings(endpoint=receiver.http_url, environ={}))
        provider = TracerProvider(shutdown_on_exit=False)
        for processor in pipeline.span_processors():
            provider.add_span_processor(processor)
        with provider.get_tracer("test").start_as_current_span("hello"):
            pass
        assert pipeline.force_flush("traces")
        assert [span.name for span in receiver.spans()] == ["hello"]
        pipeline.close("traces")


def test_a_dead_endpoint_is_named_once_and_does_not_hold_up_the_exit(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    pipeline = Pipeline(Settings(endpoint=f"http://user:secret@127.0.0.1:{port}", environ={}))
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in pipeline.span_processors():
        provider.add_span_processor(processor)
    pipeline.probe()
    said = ""
    deadline = time.monotonic() + 5
    while "nothing answers" not in said and time.monotonic() < deadline:
        said += capfd.readouterr().err
    assert f"http://127.0.0.1:{port}" in said
    assert "secret" not in said
    provider.get_tracer("test").start_span("lost").end()
    assert pipeline.grace(5) < 1
    started = time.monotonic()
    run_against(Deadline.after(pipeline.grace(5)), [lambda: pipeline.close("traces")])
    assert time.monotonic() - started < 2
    said += capfd.readouterr().err
    assert said.count("\n") == 1, said
    # The exit did not wait for the worker, which still retries: let it end here, not in the tests that follow.
    with Receiver(http_port=port) as late:
        assert late.wait_for(late.spans, 10)


def test_a_refusing_endpoint_is_named_with_its_cause_and_without_its_credentials(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Receiver() as receiver:
        settings = Settings(endpoint=f"{receiver.http_url}/wrong", environ={})
        pipeline = Pipeline(settings)
        provider = TracerProvider(shutdown_on_exit=False)
        for processor in pipeline.span_processors():
            provider.add_span_processor(processor)
        for _ in range(3):
            provider.get_tracer("test").start_span("refused").end()
            pipeline.force_flush("traces")
        pipeline.close("traces")
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert "/wrong/v1/traces" in said
    assert "404" in said


def test_reports_of_opentelemetry_become_one_line_and_reach_no_handler_of_the_application(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Failures().listen()
    Failures().listen()
    for _ in range(3):
        logging.getLogger("opentelemetry.sdk.trace").warning("odd %s", "value")
    assert capfd.readouterr().err == "otelkit: opentelemetry.sdk.trace: odd value\n"
    assert caplog.records == []


def test_a_malformed_report_does_not_raise(capfd: pytest.CaptureFixture[str]) -> None:
    Failures().listen()
    logging.getLogger("opentelemetry.sdk.trace").warning("%d spans", "many")
    assert "%d spans" in capfd.readouterr().err


def test_clients_are_silent_about_our_traffic_only(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    failures.listen()
    client = logging.getLogger("urllib3.connectionpool")
    with caplog.at_level(logging.DEBUG), failures.exporting("traces", Settings(environ={}).traces):
        client.debug("ours")
    with caplog.at_level(logging.DEBUG):
        client.debug("the application's")
    assert [record.message for record in caplog.records] == ["the application's"]


def test_an_exporter_is_built_anew_in_a_forked_child() -> None:
    with Receiver() as receiver:
        pipeline = Pipeline(Settings(endpoint=receiver.http_url, environ={}))
        provider = TracerProvider(shutdown_on_exit=False)
        for processor in pipeline.span_processors():
            provider.add_span_processor(processor)
        tracer = provider.get_tracer("test")
        tracer.start_span("parent").end()
        assert pipeline.force_flush("traces")
        pid = os.fork()
        if pid == 0:
            tracer.start_span("child").end()
            os._exit(0 if pipeline.force_flush("traces") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert {span.name for span in receiver.spans()} == {"parent", "child"}
        pipeline.close("traces")


@pytest.mark.parametrize(
    ("preference", "deltas"),
    [
        ("cumulative", set()),
        ("delta", {Counter, Histogram, ObservableCounter}),
        ("lowmemory", {Counter, Histogram}),
    ],
)
def test_temporality_preferences_are_the_specification_s(preference: str, deltas: set[type]) -> None:
    preferred = preferred_temporality(preference)
    assert {kind for kind, value in preferred.items() if value is AggregationTemporality.DELTA} == deltas
    assert preferred[UpDownCounter] is AggregationTemporality.CUMULATIVE


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://localhost:4318/v1/traces", ("localhost", 4318)),
        ("https://collector.example/v1/traces", ("collector.example", 443)),
        ("http://[::1]:9", ("::1", 9)),
        ("unix:///run/otel.sock", None),
    ],
)
def test_origin(endpoint: str, expected: tuple[str, int] | None) -> None:
    assert origin(endpoint) == expected


def test_a_fork_in_the_middle_of_an_export_leaves_the_child_able_to_export() -> None:
    busy, release = threading.Event(), threading.Event()

    class Slow(MetricExporter):
        def export(self, metrics_data: object, timeout_millis: float = 0, **_: object) -> MetricExportResult:  # noqa: ARG002  the SDK's interface
            busy.set()
            release.wait(0.3)
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:  # noqa: ARG002  the SDK's interface
            return True

        def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
            pass

    reader = Reader(Slow(), export_interval_millis=math.inf)
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider.get_meter("t").create_counter("c").add(1)
    thread = threading.Thread(target=reader.collect)
    thread.start()
    assert busy.wait(5)
    pid = os.fork()
    if pid == 0:
        done = threading.Thread(target=reader.collect, daemon=True)
        done.start()
        done.join(5)
        os._exit(1 if done.is_alive() else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    thread.join(5)
    provider.shutdown()
    assert status == 0


def test_a_missing_package_costs_its_signal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    pipeline = Pipeline(Settings(environ={"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}))
    assert pipeline.span_processors() == []
    assert 'pip install "otelkit[grpc]"' in capfd.readouterr().err
    assert len(pipeline.log_processors()) == 1
    pipeline.close("logs")


def test_a_missing_package_that_code_asks_for_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    pipeline = Pipeline(Settings(protocol="grpc", environ={}))
    with pytest.raises(SettingsError, match=r"otelkit\[grpc\]"):
        pipeline.span_processors()


def test_prometheus_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("prometheus_client.REGISTRY", prometheus_client.CollectorRegistry())
    variables = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    pipeline = Pipeline(Settings(environ=variables))
    provider = MeterProvider(metric_readers=pipeline.metric_readers(), shutdown_on_exit=False)
    provider.get_meter("t").create_counter("orders", unit="{order}").add(3)
    answer = urllib.request.urlopen(f"http://localhost:{port}/metrics").read().decode()
    assert "orders_total" in answer
    pipeline.close("metrics")
