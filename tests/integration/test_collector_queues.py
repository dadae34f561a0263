"""What the real Collector has accepted is on disk: an outage, a full queue, and SIGKILL, with nothing lost of it."""

from __future__ import annotations

import signal
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otelkit.otlp.receiver import Receiver
from support import collector
from support.processes import HOST, free_port, http_get

if TYPE_CHECKING:
    from pathlib import Path

    from support.collector import Running

WITHIN = 40.0  # seconds
BYTES = 1_200_000  # of the queue: a batch must fit
SPANS = 50  # in a request


def spans(number: int) -> bytes:
    """Write a request with spans that no other one has."""
    message = ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="shop")))
    # As a service that redacts itself: what is tested here is not how fast the Collector does.
    sent.resource.attributes.append(KeyValue(key="telemetry.distro.name", value=AnyValue(string_value="otelkit")))
    within = sent.scope_spans.add().spans
    for place in range(SPANS):
        span = within.add(trace_id=b"\1" * 16, span_id=(number * SPANS + place + 1).to_bytes(8, "big"), name="GET")
        span.attributes.append(KeyValue(key="note", value=AnyValue(string_value="x" * 1000)))
    return bytes(message.SerializeToString())


def counted(store: Receiver) -> float:
    """Return how many spans the metrics made of them tell."""
    values = [point.value or 0 for point in store.points() if point.metric == "traces.span.metrics.calls"]
    return max(values, default=0)


def own(running: Running, metric: str) -> float:
    """Return a metric of the Collector's own, about spans."""
    lines = http_get(running.metrics).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{metric}{{") and "tempo" in line)


def test_a_dead_store_delays_its_own_signal_only_and_nothing_accepted_is_lost_by_a_crash(tmp_path: Path) -> None:
    log, metric = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    log.resource_logs.add().scope_logs.add().log_records.add(body=AnyValue(string_value="hello"), time_unix_nano=1)
    made = metric.resource_metrics.add().scope_metrics.add().metrics.add(name="depth")
    made.gauge.data_points.add(as_int=1, time_unix_nano=1)
    port = free_port()
    variables = {"STACK_COLLECTOR_QUEUE_BYTES": str(BYTES)}
    with Receiver(grpc_port=0) as store:
        with collector.running(tmp_path, store, tempo=f"http://{HOST}:{port}", variables=variables) as running:
            # Up to its bound the queue takes everything, and each span is counted once.
            accepted = 0
            while collector.post(running.otlp_http, "traces", spans(accepted)) == HTTPStatus.OK:
                accepted += 1
            assert 0.9 * BYTES < accepted * len(spans(0)) <= BYTES
            # The one that was refused was counted as well: the limit that the README states, and where it begins.
            assert store.wait_for(lambda: counted(store) == (accepted + 1) * SPANS, WITHIN)
            # A sender that comes again meets the same answer, retryable, and loses nothing by it.
            assert collector.post(running.otlp_http, "traces", spans(accepted)) == HTTPStatus.SERVICE_UNAVAILABLE
            assert own(running, "otelcol_exporter_enqueue_failed_spans_total") == 2 * SPANS
            # The other signals do not notice.
            assert collector.post(running.otlp_http, "logs", log.SerializeToString()) == HTTPStatus.OK
            assert collector.post(running.otlp_http, "metrics", metric.SerializeToString()) == HTTPStatus.OK
            assert store.wait_for(store.logs, WITHIN)
            assert store.wait_for(lambda: any(point.metric == "depth" for point in store.points()), WITHIN)
            assert store.spans() == []
            running.process.signal(signal.SIGKILL)
            running.process.wait()
        with (
            Receiver(grpc_port=port) as tempo,
            collector.running(tmp_path, store, tempo=tempo.grpc_endpoint, variables=variables) as running,
        ):
            assert tempo.wait_for(lambda: len(tempo.spans()) >= accepted * SPANS, WITHIN)
            # There is room again.
            assert collector.post(running.otlp_http, "traces", spans(accepted)) == HTTPStatus.OK
            accepted += 1
            assert tempo.wait_for(lambda: len(tempo.spans()) >= accepted * SPANS, WITHIN)
            found = Counter(int(span.span_id, 16) for span in tempo.spans())
            assert sorted(found) == list(range(1, accepted * SPANS + 1))
            assert max(found.values()) == 1
