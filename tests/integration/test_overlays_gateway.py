"""The Collector's overlays `gateway` and `agent`: what is sampled, what is counted, and what a killed gateway costs."""

from __future__ import annotations

import contextlib
import random
import signal
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from otelkit.otlp.receiver import Receiver
from support import overlays
from support.processes import HOST, free_port, wait_until
from support.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.trace import Tracer

SECOND = 1_000_000_000
ORDINARY = 500
SENT = "otelcol_exporter_sent_metric_points_total"
DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"


class SameIds(IdGenerator):
    """The same ids in each run: which of them belong to the share is then no matter of luck."""

    def __init__(self) -> None:
        self._random = random.Random(8)  # noqa: S311  ids, no secrets

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1


@contextlib.contextmanager
def tracer(endpoint: str) -> Iterator[Tracer]:
    """Send what is traced at the end of the block, in batches."""
    provider = TracerProvider(
        resource=Resource({"service.name": "shop"}), id_generator=SameIds(), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=8192))
    try:
        yield provider.get_tracer("tests")
    finally:
        provider.shutdown()


def request(tracer: Tracer, name: str, *, seconds: float = 0.02, failed: bool = False) -> int:
    """Trace one request with one statement, and return its trace id."""
    begun = 1_700_000_000 * SECOND
    ended = begun + int(seconds * SECOND)
    server = tracer.start_span(name, kind=SpanKind.SERVER, start_time=begun)
    within = trace.set_span_in_context(server)
    statement = tracer.start_span("SELECT", within, SpanKind.CLIENT, start_time=begun)
    if failed:  # deep inside: the policies look at all spans of a trace
        statement.set_status(StatusCode.ERROR)
    statement.end(ended)
    server.end(ended)
    return server.get_span_context().trace_id


def traces(store: Receiver) -> dict[int, int]:
    """Return how many spans of each trace arrived."""
    found: dict[int, int] = {}
    for span in store.spans():
        found[int(span.trace_id, 16)] = found.get(int(span.trace_id, 16), 0) + 1
    return found


def calls(store: Receiver) -> dict[str, float]:
    """Return the newest calls that span metrics count, by span name; each of several Collectors would add its own."""
    newest: dict[tuple[tuple[str, str], ...], tuple[str, float]] = {}
    for point in store.points():
        if point.metric == "traces.span.metrics.calls":
            key = tuple(sorted((name, str(value)) for name, value in {**point.resource, **point.attributes}.items()))
            newest[key] = (point.attributes["span.name"], point.value or 0)
    counted: dict[str, float] = {}
    for name, value in newest.values():
        counted[name] = counted.get(name, 0) + value
    return counted


def test_errors_slow_traces_and_a_share_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    variables = {
        "STACK_GATEWAY_WAIT": "2s",
        "STACK_GATEWAY_SHARE": "20",
        "STACK_GATEWAY_SLOW_MS": "300",
        "STACK_SPAN_METRICS_INTERVAL": "500ms",
    }
    with (
        Receiver(grpc_port=0) as store,
        overlays.collector(tmp_path, "gateway", variables=variables, store=store) as gateway,
    ):
        with tracer(gateway.http) as tracing:
            ordinary = {request(tracing, "ordinary") for _ in range(ORDINARY)}
            errors = {request(tracing, "failing", failed=True) for _ in range(20)}
            slow = {request(tracing, "slow", seconds=0.4) for _ in range(20)}
        counted = {"ordinary": ORDINARY, "failing": 20, "slow": 20, "SELECT": ORDINARY + 40}
        wait_until(lambda: calls(store) == counted, within=30, what="span metrics of all spans")
        wait_until(lambda: gateway.total(DECIDED) == ORDINARY + 40, within=30, what="a decision on every trace")
        wait_until(lambda: errors | slow <= set(traces(store)), within=30, what="errors and slow traces")
        kept = traces(store)
        assert len(ordinary & set(kept)) == pytest.approx(0.2 * ORDINARY, rel=0.4)
        assert set(kept.values()) == {2}, "traces are kept whole"

        # What comes after the decision follows it.
        late = {"kept": min(errors), "left": min(ordinary - set(kept))}
        with tracer(gateway.http) as tracing:
            for name, number in late.items():
                above = SpanContext(number, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
                tracing.start_span(f"late {name}", trace.set_span_in_context(NonRecordingSpan(above))).end()
        counted |= {"late kept": 1, "late left": 1}
        wait_until(lambda: calls(store) == counted, within=30, what="both are counted")
        wait_until(lambda: traces(store)[late["kept"]] == 3, within=30, what="the late span of a kept trace")
        assert late["left"] not in traces(store)


def test_a_gateway_that_is_stopped_decides_first(tmp_path: Path) -> None:
    """What it keeps is then in the store, or in the queue on disk, and sent at the next start."""
    with Receiver(grpc_port=0) as store:
        variables = {"STACK_GATEWAY_WAIT": "1h", "STACK_GATEWAY_SHARE": "0"}
        with overlays.collector(tmp_path, "gateway", variables=variables, store=store) as gateway:
            with tracer(gateway.http) as tracing:
                request(tracing, "ordinary")
                error = request(tracing, "failing", failed=True)
            assert store.spans() == []
            gateway.process.signal(signal.SIGTERM)
            assert gateway.process.wait(within=30) == 0
        with overlays.collector(tmp_path, "gateway", variables=variables, store=store):
            wait_until(store.spans, within=30, what="what was kept")
        assert traces(store) == {error: 2}


def test_a_gateway_behind_an_agent_counts_once(tmp_path: Path) -> None:
    variables = {"STACK_SPAN_METRICS_INTERVAL": "200ms"}
    with (
        Receiver(grpc_port=0) as store,
        overlays.collector(tmp_path, variables=variables, store=store, name="gateway") as gateway,
    ):
        forwarding = {**variables, "STACK_GATEWAY_URL": gateway.grpc}
        with overlays.collector(tmp_path, "agent", variables=forwarding, name="agent") as agent:
            with tracer(agent.http) as tracing:
                sent = {request(tracing, "ordinary") for _ in range(50)}
            wait_until(lambda: traces(store) == dict.fromkeys(sent, 2), within=30, what="every span, once")
            wait_until(
                lambda: calls(store) == {"ordinary": 50, "SELECT": 50}, within=30, what="every span counted once"
            )
            assert gateway.total(SENT) > 0
            assert agent.total(SENT) == 0


def test_two_gateways_write_series_of_their_own(tmp_path: Path) -> None:
    """Else their counts would be taken for resets of one counter."""
    variables = {"STACK_SPAN_METRICS_INTERVAL": "200ms"}
    with Receiver(grpc_port=0) as store, contextlib.ExitStack() as running:
        for name, number in (("one", 10), ("other", 20)):
            started = overlays.collector(tmp_path, "gateway", variables=variables, store=store, name=name)
            with tracer(running.enter_context(started).http) as tracing:
                for _ in range(number):
                    request(tracing, "ordinary")
        wait_until(lambda: calls(store).get("ordinary") == 30, within=30, what="the sum of both")


def test_what_an_agent_took_outlives_a_killed_gateway(tmp_path: Path) -> None:
    """Spans and records are counted by name: an agent sends again what a killed gateway may have had."""
    port = str(free_port())
    with Receiver(grpc_port=0) as store:

        def arrived() -> set[str]:
            return {span.name for span in store.spans()} | {str(record.body) for record in store.logs()}

        def sent(numbers: range) -> set[str]:
            return {f"{kind} {number}" for number in numbers for kind in ("span", "record")}

        def send(sender: Sender, numbers: range) -> None:
            for number in numbers:
                with sender.span(f"span {number}"):
                    sender.log(f"record {number}", {})

        def gateway() -> contextlib.AbstractContextManager[overlays.Collector]:
            return overlays.collector(tmp_path, variables={"STACK_OTLP_GRPC_PORT": port}, store=store, name="gateway")

        forwarding = {"STACK_GATEWAY_URL": f"http://{HOST}:{port}"}
        with contextlib.ExitStack() as running:
            first = running.enter_context(gateway())
            agent = running.enter_context(overlays.collector(tmp_path, "agent", variables=forwarding, name="agent"))
            sender = running.enter_context(Sender(agent.http, service="shop"))
            send(sender, range(100))  # the gateway has some of them in its queue, some in its hands, some not yet
            first.process.signal(signal.SIGKILL)
            first.process.wait()
            send(sender, range(100, 200))
            wait_until(lambda: agent.total("otelcol_exporter_queue_size") > 0, within=30, what="the agent keeps them")
            running.enter_context(gateway())
            send(sender, range(200, 220))
            sender.flush()
            wait_until(lambda: sent(range(220)) <= arrived(), within=90, what="every span and record, by name")
        assert arrived() == sent(range(220))
