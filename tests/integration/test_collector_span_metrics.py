"""What the real Collector counts of spans: right under sampling, and one series however many processes made them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from otelkit import _sampling
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Pipeline
from otelkit.settings import Settings
from support import collector
from support.celery_workers import APPS, STARTS, Cell, Worker, on_redis, publish, redis_broker, stop
from support.processes import PYTHON, Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otelkit.otlp.model import Point, Span
    from support.collector import Running

WITHIN = 40.0  # seconds
RATIO = 0.1
REQUESTS = 20_000  # of each process
LENGTHS = (0.02, 0.02, 0.02, 0.02, 0.02, 0.2, 0.2, 0.2, 2.0, 2.0)  # seconds; the application takes one after the other
PROCESSES = 2
SIGMAS = 5.5  # standard deviations: of seven numbers one is further off in 3 of 10 million runs


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Collector for all of these tests."""
    with Receiver(grpc_port=0) as store, collector.running(tmp_path_factory.mktemp("collector"), store) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_thread_left() -> None:
    """Take the place of the check that no thread is left: the Collector's connections to what tests share stay open."""


def last(store: Receiver, metric: str, service: str) -> list[Point]:
    """Return the last point of each series that the Collector made of a service's spans."""
    points = [
        point
        for point in store.points()
        if point.metric == f"traces.span.metrics.{metric}" and point.attributes["service.name"] == service
    ]
    series = {(repr(sorted(point.attributes.items())), repr(sorted(point.resource.items()))): point for point in points}
    return list(series.values())


def calls(store: Receiver, service: str) -> float:
    """Return how many calls the Collector counted."""
    return sum(point.value or 0 for point in last(store, "calls", service))


def off(expected: float, weight: float = 1.0) -> float:
    """Return how far a sum may be from what is expected of it.

    Args:
        expected: How many requests there were.
        weight: What each of them adds.
    """
    return SIGMAS * weight * math.sqrt(expected * (1 - RATIO) / RATIO)


def test_a_tenth_of_the_traces_tells_all_requests_errors_and_durations_and_every_failure_is_stored(
    running: Running, tmp_path: Path
) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
        "OTEL_SERVICE_NAME": "sampled",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(RATIO),
        "OTELKIT_TRACES_FORCED_PER_SECOND": "10000",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        "OTEL_METRICS_EXPORTER": "none",
    }
    with ExitStack() as stack:
        processes = []
        for number in range(PROCESSES):
            folder = tmp_path / str(number)
            folder.mkdir()
            command = [PYTHON, str(APPS / "many_requests.py"), str(REQUESTS), *map(str, LENGTHS)]
            processes.append(stack.enter_context(Process(command, folder=folder, env=environment)))
        for process in processes:
            assert process.wait(within=2 * WITHIN) == 0
    total = REQUESTS * PROCESSES

    def stored() -> list[Span]:
        return [span for span in running.store.spans() if span.service == "sampled"]

    def failures() -> int:
        return len({span.span_id for span in stored() if span.status == "ERROR"})

    assert running.store.wait_for(lambda: failures() >= total / 10, WITHIN)
    assert failures() == total / 10
    kept = [span for span in stored() if _sampling.FORCED not in span.attributes]
    assert running.store.wait_for(lambda: calls(running.store, "sampled") > (len(kept) - 1) / RATIO, WITHIN)

    by_status = {str(point.attributes["status.code"]): point for point in last(running.store, "calls", "sampled")}
    assert sorted(by_status) == ["STATUS_CODE_ERROR", "STATUS_CODE_UNSET"]
    assert calls(running.store, "sampled") == pytest.approx(total, abs=off(total))
    errors = by_status["STATUS_CODE_ERROR"].value
    assert errors == pytest.approx(total / 10, abs=off(total / 10))

    durations = last(running.store, "duration", "sampled")
    for length in sorted(set(LENGTHS)):
        expected = total * LENGTHS.count(length) / len(LENGTHS)
        found = sum(
            point.buckets[next(place for place, bound in enumerate(point.bounds) if length <= bound)]
            for point in durations
        )
        assert found == pytest.approx(expected, abs=off(expected)), length
    seconds = total * sum(LENGTHS) / len(LENGTHS)
    square = math.sqrt(sum(length**2 for length in LENGTHS) / len(LENGTHS))
    assert sum(point.sum or 0 for point in durations) == pytest.approx(seconds, abs=off(total, square))


def test_children_that_are_replaced_after_each_task_are_one_series(running: Running, tmp_path: Path) -> None:
    tasks = 4
    with redis_broker() as redis:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
            "PYTHONPATH": str(APPS),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **on_redis(redis),
        }
        worker = Worker(environment | {"OTEL_SERVICE_NAME": "recycled"}, tmp_path, Cell(per_child=1))
        with worker as process:
            publisher = environment | {"OTEL_SERVICE_NAME": "publisher"}
            publish(f"for number in range({tasks}): work.delay(number).get(timeout=60)", publisher, tmp_path)
            stop(process)

    def runs() -> list[Point]:
        points = last(running.store, "calls", "recycled")
        return [point for point in points if point.attributes["span.kind"] == "SPAN_KIND_CONSUMER"]

    assert running.store.wait_for(lambda: sum(point.value or 0 for point in runs()) >= tasks, STARTS)
    spans = [span for span in running.store.spans() if span.service == "recycled" and span.kind == "CONSUMER"]
    assert len({span.resource["service.instance.id"] for span in spans}) == tasks
    (point,) = runs()
    assert point.value == tasks
    assert point.attributes["messaging.destination.name"] == "celery"
    assert "service.instance.id" not in point.resource


def test_what_is_forced_is_stored_and_not_counted(running: Running) -> None:
    chosen = Settings(
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http},
        service_name="forced",
        sampler="parentbased_traceidratio",
        sampler_arg=0.5,
        resource_attributes={"telemetry.distro.name": "otelkit"},
    )
    provider = TracerProvider(sampler=_sampling.of(chosen), shutdown_on_exit=False)
    for processor in Pipeline(chosen).span_processors():
        provider.add_span_processor(processor)
    tracer, kept = provider.get_tracer("shop"), 0
    while kept < 20:
        span = tracer.start_span("GET", kind=SpanKind.SERVER)
        kept += span.get_span_context().trace_flags.sampled
        span.end()
    unsampled = NonRecordingSpan(SpanContext(7, 7, is_remote=True, trace_flags=TraceFlags(0)))
    for _ in range(2):
        span = tracer.start_span("failing", trace.set_span_in_context(unsampled), SpanKind.SERVER)
        span.set_status(StatusCode.ERROR)
        span.end()
    assert provider.force_flush()
    provider.shutdown()
    names = ("GET", "failing")

    def stored() -> list[str]:
        return [span.name for span in running.store.spans() if span.scope.name == "shop" and span.name in names]

    assert running.store.wait_for(lambda: len(stored()) == kept + 2, WITHIN)
    service = next(span.service for span in running.store.spans() if span.name == "failing")
    assert running.store.wait_for(lambda: calls(running.store, service) >= 2 * kept, WITHIN)
    (point,) = last(running.store, "calls", service)
    assert (point.attributes["span.name"], point.value) == ("GET", 2 * kept)
