"""The pipeline: what is emitted arrives, or is accounted for, whatever the receiver does; and what is said about it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from otelkit.errors import SettingsError
from otelkit.otlp.decode import decode_traces
from otelkit.otlp.encode import Encoder
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Deadline, Pipeline, run_against
from otelkit.pipeline._failures import Failures, origin
from otelkit.pipeline._queue import REASONS
from otelkit.redact import Redactor
from otelkit.settings import Settings
from support.processes import free_port, wait_until
from support.scripted import Reply, grpc_receiver, http_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import CallbackOptions

    from otelkit.pipeline import SignalStats
    from support.scripted import Script


pytestmark = pytest.mark.usefixtures("fresh_reports")


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


class Way:
    """A pipeline with providers on it, as `configure()` puts them together, and what is emitted through them."""

    def __init__(self, endpoint: str, *, resource: Resource | None = None, **settings: Any) -> None:
        quiet: dict[str, Any] = {"environ": {}, "metric_interval": 3600.0, "timeout": 1.0, "span_delay": 60.0}
        self.settings = Settings(endpoint=endpoint, **(quiet | settings))
        self.pipeline = Pipeline(self.settings, resource)
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        for processor in self.pipeline.span_processors():
            self.tracer_provider.add_span_processor(processor)
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        for record_processor in self.pipeline.log_processors():
            self.logger_provider.add_log_record_processor(record_processor)
        self.meter_provider = MeterProvider(metric_readers=self.pipeline.metric_readers(), shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("tests")

    def spans(self, *names: str) -> None:
        for name in names:
            self.tracer.start_span(name).end()

    def stats(self, signal: str = "traces") -> SignalStats:
        return self.pipeline.stats()[signal]

    def flush(self, seconds: float = 5.0) -> bool:
        return self.pipeline.flush(Deadline.after(seconds))

    def close(self, seconds: float = 5.0) -> bool:
        return self.pipeline.close(Deadline.after(seconds))


@contextlib.contextmanager
def way(endpoint: str, **settings: Any) -> Iterator[Way]:
    made = Way(endpoint, **settings)
    try:
        yield made
    finally:
        made.close(0.2)


@contextlib.contextmanager
def scripted(protocol: str, *replies: Reply) -> Iterator[tuple[str, Script]]:
    """A receiver with scripted answers, and the endpoint that it has; for gRPC the statuses are translated."""
    names = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 400: "INVALID_ARGUMENT", 413: "RESOURCE_EXHAUSTED"}
    if protocol == "grpc":
        words = "Received message larger than max"
        replies = tuple(
            replace(reply, status=names.get(reply.status, reply.status), details=words if reply.status == 413 else "")  # type: ignore[arg-type]  # an int
            for reply in replies
        )
    with grpc_receiver(*replies) if protocol == "grpc" else http_receiver(*replies) as script:
        yield f"http://127.0.0.1:{script.port}", script


def sent(script: Script) -> list[list[str]]:
    """The names of the spans of each request."""
    return [[span.name for span in decode_traces(heard.body)] for heard in script.heard]


both_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


class TestDelivery:
    @both_protocols
    def test_all_three_signals_arrive(self, protocol: str) -> None:
        with Receiver(grpc_port=0) as receiver:
            endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_url
            with way(endpoint, protocol=protocol) as made:
                with made.tracer.start_as_current_span("hello"):
                    made.logger_provider.get_logger("tests").emit(body="said", severity_number=SeverityNumber.INFO)
                made.meter_provider.get_meter("tests").create_counter("orders").add(3)
                assert made.flush()
                assert [span.name for span in receiver.spans()] == ["hello"]
                assert [record.body for record in receiver.logs()] == ["said"]
                assert [(point.metric, point.value) for point in receiver.points()] == [("orders", 3)]
                for stats in made.pipeline.stats().values():
                    assert (stats.emitted, stats.delivered, stats.pending) == (1, 1, 0)

    @both_protocols
    @pytest.mark.parametrize("status", [429, 503])
    def test_what_is_refused_for_now_is_sent_again(self, protocol: str, status: int) -> None:
        with scripted(protocol, Reply(status=status), Reply()) as (endpoint, script):
            with way(endpoint, protocol=protocol) as made:
                made.spans("a")
                assert made.flush()
                stats = made.stats()
            assert sent(script) == [["a"], ["a"]]
            assert (stats.delivered, stats.resent, sum(stats.dropped.values())) == (1, 1, 0)

    def test_a_receiver_that_asks_for_time_gets_it(self) -> None:
        with scripted("http/protobuf", Reply(status=503, headers={"Retry-After": "1"}), Reply()) as (endpoint, _):
            started = time.monotonic()
            with way(endpoint) as made:
                made.spans("a")
                assert made.flush()
            assert time.monotonic() - started >= 1

    @both_protocols
    def test_what_is_refused_for_good_is_dropped_and_the_next_is_not(self, protocol: str) -> None:
        with scripted(protocol, Reply(status=400), Reply()) as (endpoint, script):
            with way(endpoint, protocol=protocol) as made:
                made.spans("a")
                assert not made.flush()
                made.spans("b")
                assert made.flush()
                stats = made.stats()
            assert sent(script) == [["a"], ["b"]]
            assert (stats.emitted, stats.delivered, stats.dropped["rejected"]) == (2, 1, 1)

    def test_what_is_refused_while_metrics_are_collected_is_told_by_the_flush(self) -> None:
        with scripted("http/protobuf", Reply(status=400), Reply()) as (endpoint, _), way(endpoint) as made:

            def only_then(_: CallbackOptions) -> list[Observation]:
                wait_until(lambda: made.stats().dropped["rejected"] == 1, within=4, what="the refusal")
                return [Observation(1)]

            made.meter_provider.get_meter("tests").create_observable_gauge("late", [only_then])
            made.spans("a")
            assert not made.flush()

    @both_protocols
    def test_what_is_too_large_together_goes_in_halves(self, protocol: str) -> None:
        with scripted(protocol, Reply(status=413), Reply(status=413), Reply()) as (endpoint, script):
            with way(endpoint, protocol=protocol) as made:
                made.spans("a", "b", "c", "d")
                assert made.flush()
                assert made.stats().delivered == 4
            assert sent(script) == [["a", "b", "c", "d"], ["a", "b"], ["a"], ["b"], ["c", "d"]]

    @both_protocols
    def test_what_is_too_large_alone_costs_itself(self, protocol: str) -> None:
        with scripted(protocol, Reply(status=413), Reply(status=413), Reply()) as (endpoint, _):
            with way(endpoint, protocol=protocol) as made:
                made.spans("a", "b")
                assert not made.flush()
                stats = made.stats()
            assert (stats.delivered, stats.dropped["too_large"]) == (1, 1)

    @both_protocols
    def test_what_a_receiver_says_it_did_not_take_is_a_drop(self, protocol: str) -> None:
        partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
        body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
        with scripted(protocol, Reply(body=body)) as (endpoint, _), way(endpoint, protocol=protocol) as made:
            made.spans("a", "b")
            assert not made.flush()
            stats = made.stats()
            assert (stats.delivered, stats.dropped["rejected"]) == (1, 1)

    def test_batches_stay_below_what_receivers_take(self) -> None:
        with Receiver(keep_raw=True) as receiver, way(receiver.http_url) as made:
            for _ in range(40):
                made.tracer.start_span("big", attributes={"blob": "x" * 200_000}).end()
            assert made.flush()
            assert len(receiver.spans()) == 40
            assert max(len(request.body) for request in receiver.raw()) < 4 * 1024 * 1024 * 0.8

    def test_a_full_queue_sheds_the_oldest_and_keeps_errors(self) -> None:
        blocked = threading.Event()
        with scripted("http/protobuf", Reply(before=blocked.wait)) as (endpoint, script):
            with way(endpoint, timeout=10.0, span_queue_size=5, span_batch_size=1) as made:
                made.spans("first")
                wait_until(lambda: script.heard, within=5, what="the first request")
                failed = made.tracer.start_span("failed")
                failed.set_status(StatusCode.ERROR)
                failed.end()
                made.spans(*"abcdef")
                stats = made.stats()
                assert (stats.emitted, stats.pending, stats.dropped["queue_full"]) == (8, 5, 3)
                blocked.set()
                made.flush()
            assert [name for names in sent(script) for name in names] == ["first", "failed", "d", "e", "f"]

    def test_a_span_that_cannot_be_encoded_costs_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> bytes:
            raise ValueError

        with Receiver() as receiver, way(receiver.http_url) as made:
            with monkeypatch.context() as patch:
                patch.setattr(Encoder, "span", refuse)
                made.spans("poison")
            made.spans("innocent")
            made.flush()
            assert [span.name for span in receiver.spans()] == ["innocent"]
            assert made.stats().dropped["invalid"] == 1

    def test_spans_that_were_not_sampled_stay(self) -> None:
        with Receiver() as receiver, way(receiver.http_url) as made:
            unsampled = SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=TraceFlags(0))
            parent = trace.set_span_in_context(NonRecordingSpan(unsampled))
            made.tracer.start_span("child", parent).end()
            assert made.flush()
            assert made.stats().emitted == 0

    def test_what_users_flush_at_the_provider_is_delivered(self) -> None:
        with Receiver() as receiver, way(receiver.http_url) as made:
            made.spans("a")
            assert made.tracer_provider.force_flush(5000)
            assert len(receiver.spans()) == 1
            made.spans("b")
            made.tracer_provider.shutdown()
            assert len(receiver.spans()) == 2


class TestMetrics:
    @pytest.mark.parametrize(
        ("preference", "values"), [("cumulative", [3, 5]), ("delta", [3, 2]), ("lowmemory", [3, 2])]
    )
    def test_sums_grow_or_count_anew_as_was_asked(self, preference: str, values: list[int]) -> None:
        with Receiver() as receiver, way(receiver.http_url, environ=preferring(preference)) as made:
            orders = made.meter_provider.get_meter("tests").create_counter("orders")
            for amount in (3, 2):
                orders.add(amount)
                assert made.flush()
            assert [point.value for point in receiver.points()] == values
            expected = "CUMULATIVE" if preference == "cumulative" else "DELTA"
            assert {point.temporality for point in receiver.points()} == {expected}

    def test_exponential_histograms_and_exemplars_survive(self) -> None:
        variables = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}
        with Receiver() as receiver, way(receiver.http_url, environ=variables) as made:
            with made.tracer.start_as_current_span("work") as span:
                made.meter_provider.get_meter("tests").create_histogram("duration").record(0.3)
            assert made.flush()
            (point,) = receiver.points()
            assert (point.kind, point.count, point.sum, sum(point.positive.counts)) == (
                "exponential_histogram",
                1,
                0.3,
                1,
            )
            assert [exemplar.trace_id for exemplar in point.exemplars] == [f"{span.get_span_context().trace_id:032x}"]


def preferring(temporality: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality}


class TestAccounts:
    def test_they_are_exported_with_zeros(self) -> None:
        with Receiver() as receiver, way(receiver.http_url) as made:
            made.pipeline.publish(made.meter_provider.get_meter("otelkit"))
            made.spans("a")
            assert made.flush()
            assert made.flush()
            points = {
                (point.metric, *point.attributes.values()): point.value
                for point in receiver.points()
                if point.metric.startswith("otelkit.telemetry")
            }
            reasons = [f"{signal}/{reason}" for signal in ("traces", "metrics", "logs") for reason in REASONS]
            dropped = {"/".join(key[1:]): value for key, value in points.items() if key[0].endswith("dropped")}
            assert dropped == dict.fromkeys(reasons, 0)
            assert points["otelkit.telemetry.emitted", "traces"] == 1
            assert points["otelkit.telemetry.delivered", "traces"] == 1
            assert points["otelkit.telemetry.pending", "logs"] == 0
            durations = {
                point.attributes["otel.component.type"] for point in receiver.points() if "operation" in point.metric
            }
            assert durations == {"otlp_http_span_exporter", "otlp_http_metric_exporter"}

    def test_an_outage_is_exact_at_every_moment(self) -> None:
        with scripted("http/protobuf", *[Reply(status=503)] * 3, Reply()) as (endpoint, script):
            with way(endpoint, span_queue_size=50, span_batch_size=10) as made:
                for number in range(300):
                    made.spans(str(number))
                    stats = made.stats()
                    assert stats.emitted == number + 1
                    assert stats.emitted == stats.delivered + sum(stats.dropped.values()) + stats.pending
                made.flush()
                stats = made.stats()
            arrived = {name for names in sent(script) for name in names}
            assert stats.pending == 0
            assert stats.delivered == len(arrived)
            assert stats.dropped["queue_full"] == 300 - stats.delivered > 0


class TestEnd:
    def test_everything_goes_out_and_then_nothing(self) -> None:
        with Receiver() as receiver, way(receiver.http_url) as made:
            made.spans(*map(str, range(1500)))
            assert made.close()
            assert len(receiver.spans()) == 1500
            made.spans("late")
            assert made.stats().dropped["shutdown"] == 1
            assert made.close()

    @pytest.mark.parametrize("status", [503, 429])
    def test_a_refusing_receiver_does_not_hold_it_up(self, status: int, capfd: pytest.CaptureFixture[str]) -> None:
        with scripted("http/protobuf", Reply(status=status)) as (endpoint, _), way(endpoint) as made:
            made.spans("a", "b")
            started = time.monotonic()
            assert not made.close(0.6)
            assert time.monotonic() - started < 1.5
            assert made.stats().dropped["shutdown"] == 2
        assert "not delivered when the process left: 2 spans" in capfd.readouterr().err

    def test_a_receiver_that_asks_for_more_time_than_there_is_gets_none(self) -> None:
        reply = Reply(status=503, headers={"Retry-After": "60"})
        with scripted("http/protobuf", reply) as (endpoint, _), way(endpoint) as made:
            made.spans("a")
            started = time.monotonic()
            assert not made.close(5)
            assert time.monotonic() - started < 2

    def test_a_silent_receiver_does_not_hold_it_up(self) -> None:
        release = threading.Event()
        reply = Reply(before=release.wait)
        with scripted("http/protobuf", reply) as (endpoint, _), way(endpoint, timeout=30.0) as made:
            made.spans("a")
            started = time.monotonic()
            assert not made.close(0.3)
            assert time.monotonic() - started < 1
            release.set()

    def test_spans_that_are_open_are_ended_and_flagged(self) -> None:
        with Receiver() as receiver, way(receiver.http_url) as made:
            made.spans("over")
            held = made.tracer.start_span("open")
            assert made.pipeline.end_open_spans() == 1
            assert made.close()
            assert not held.is_recording()
            flags = {span.name: span.attributes.get("otelkit.span.unfinished") for span in receiver.spans()}
            assert flags == {"over": None, "open": True}

    @both_protocols
    def test_a_forked_child_has_its_own_connection_account_and_identity(self, protocol: str) -> None:
        described = Resource({"service.name": "shop", "service.instance.id": "parent", "process.pid": os.getpid()})
        with Receiver(grpc_port=0) as receiver:
            endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_url
            with way(endpoint, protocol=protocol, resource=described, span_delay=0.01) as made:
                made.spans("parent")
                assert made.flush()
                both = made.tracer.start_span("the parent ends it")
                pid = os.fork()
                if pid == 0:
                    made.pipeline.after_fork_in_child()
                    both.end()
                    made.spans("child")
                    exact = made.flush() and made.stats().emitted == made.stats().delivered == 1
                    os._exit(0 if exact else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                both.end()
                assert made.flush()
            found = {span.name: span.resource for span in receiver.spans()}
        assert len(receiver.spans()) == 3
        assert found["child"]["process.pid"] == pid
        assert found["child"]["service.instance.id"] != "parent"
        assert found["parent"]["service.instance.id"] == found["the parent ends it"]["service.instance.id"] == "parent"
        assert found["child"]["service.name"] == "shop"


class TestWords:
    def test_a_dead_endpoint_is_named_once_and_does_not_hold_up_the_exit(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        port = free_port()
        with way(f"http://user:secret@127.0.0.1:{port}") as made:
            made.pipeline.probe()
            said = Said(capfd)
            wait_until(lambda: "nothing answers" in said(), within=5, what="a line")
            assert f"http://127.0.0.1:{port}" in said()
            assert "secret" not in said()
            made.spans("lost")
            assert made.pipeline.grace(5) < 1
            started = time.monotonic()
            made.close(made.pipeline.grace(5))
            assert time.monotonic() - started < 2
            assert said().count("\n") == 1, said()

    def test_a_refusing_endpoint_is_named_with_its_cause_and_a_count(self, capfd: pytest.CaptureFixture[str]) -> None:
        with Receiver() as receiver, way(f"{receiver.http_url}/wrong") as made:
            for _ in range(3):
                made.spans("refused")
                made.flush()
        said = capfd.readouterr().err
        assert said.count("\n") == 1, said
        assert "/wrong/v1/traces" in said
        assert "404" in said
        assert "1 dropped (rejected)" in said

    def test_loss_is_told_once_a_minute(
        self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = Said(capfd)
        with Receiver() as receiver, way(receiver.http_url) as made:

            def lose() -> None:
                made.pipeline._roads["traces"].queue.lost(1, "queue_full")
                made.spans("a")
                made.flush()

            lose()
            lose()
            wait_until(said, within=5, what="a line")
            assert said().count("\n") == 1, said()
            assert f"to {receiver.http_url}/v1/traces" in said()
            assert "1 dropped (queue_full)" in said()
            failures = made.pipeline._failures
            monkeypatch.setattr(failures, "_told_at", failures._told_at - 61)
            lose()
            wait_until(lambda: said().count("\n") == 2, within=5, what="another line")
            assert "3 dropped (queue_full)" in said()

    def test_loss_is_told_of_the_signal_that_lost(self, capfd: pytest.CaptureFixture[str]) -> None:
        said = Said(capfd)
        with Receiver() as receiver, way(receiver.http_url) as made:
            failures = made.pipeline._failures
            made.pipeline._roads["traces"].queue.lost(1, "queue_full")
            failures.delivered("logs", made.settings.logs)
            assert not said()
            failures.delivered("traces", made.settings.traces)
            assert "is lost, traces to" in said()
            assert said().count("\n") == 1, said()

    def test_a_forked_child_knows_that_nobody_listens(self, capfd: pytest.CaptureFixture[str]) -> None:
        with way(f"http://127.0.0.1:{free_port()}") as made:
            made.pipeline.probe()
            wait_until(Said(capfd), within=5, what="a line")
            assert made.pipeline.grace(5) < 1
            made.pipeline._failures.renew()
            assert made.pipeline.grace(5) < 1


class Said:
    """What was printed on stderr so far."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self._text = capfd, ""

    def __call__(self) -> str:
        self._text += self._capfd.readouterr().err
        return self._text


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


def test_reports_of_opentelemetry_are_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    Failures(redact=Redactor().text).listen()
    logging.getLogger("opentelemetry.sdk.trace").warning("refused: password=%s", "hunter2-Correct-Horse")
    assert capfd.readouterr().err.startswith("otelkit: opentelemetry.sdk.trace: refused: password=[redacted:")


def test_clients_are_silent_about_our_traffic_only(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    failures.listen()
    client = logging.getLogger("urllib3.connectionpool")
    with caplog.at_level(logging.DEBUG), failures.own_traffic():
        client.debug("ours")
    with caplog.at_level(logging.DEBUG):
        client.debug("the application's")
    assert [record.message for record in caplog.records] == ["the application's"]


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


def test_a_missing_package_costs_its_signal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    pipeline = Pipeline(Settings(environ={"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}))
    assert pipeline.span_processors() == []
    assert 'pip install "otelkit[grpc]"' in capfd.readouterr().err
    assert len(pipeline.log_processors()) == 1
    pipeline.close(Deadline.after(1))


def test_a_missing_package_that_code_asks_for_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
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
    pipeline.close(Deadline.after(1))
