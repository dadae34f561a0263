"""The Collector makes right metrics of sampled spans."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from otelkit import _sampling
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Pipeline
from otelkit.settings import Settings
from support import lanes
from support.processes import HOST, Process, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
LANE = "collector"


def calls(receiver: Receiver) -> dict[str, float]:
    """Return the calls that the Collector counted, by span name."""
    return {
        point.attributes["span.name"]: point.value or 0
        for point in receiver.points()
        if point.metric == "traces.span.metrics.calls"
    }


def test_span_metrics_count_what_sampled_spans_stand_for_and_no_forced_ones(tmp_path: Path) -> None:
    program = shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if program is None:
        lanes.skipped(LANE, "not on PATH: otelcol-contrib or otelcol")
        pytest.skip("otelcol-contrib or otelcol is not on PATH")
    lanes.ran(LANE)
    port = free_port()
    with Receiver(grpc_port=0) as receiver:
        here: dict[str, Any] = {
            "exporters": {
                "otlp_grpc/tempo": {"endpoint": receiver.grpc_endpoint},
                "otlp_http/prometheus": {"endpoint": receiver.http_url},
            }
        }
        (tmp_path / "here.yaml").write_text(yaml.safe_dump(here))
        configurations = [ROOT / "collector/config.yaml", ROOT / "collector/redaction.yaml", tmp_path / "here.yaml"]
        environment = {
            "STACK_OTLP_GRPC_PORT": str(free_port()),
            "STACK_OTLP_HTTP_PORT": str(port),
            "STACK_COLLECTOR_HEALTH_PORT": str(free_port()),
            "STACK_COLLECTOR_METRICS_PORT": str(free_port()),
            "STACK_COLLECTOR_DATA": str(tmp_path),
            "STACK_SPAN_METRICS_INTERVAL": "200ms",
        }
        command = [program, *(f"--config={path}" for path in configurations)]
        with Process(command, folder=tmp_path, env=environment) as collector:
            collector.wait_output("Everything is ready", within=30)
            kept = _send(f"http://{HOST}:{port}")
            wait_until(lambda: len(receiver.spans()) == kept + 2, within=30, what="all spans in the store")
            wait_until(lambda: calls(receiver).get("GET", 0) >= 2 * kept, within=30, what="span metrics")
        counted = calls(receiver)
    assert counted == {"GET": 2 * kept}
    assert len([span for span in receiver.spans() if _sampling.FORCED in span.attributes]) == 2


def _send(endpoint: str) -> int:
    """Send what an application does that keeps one trace in two, and two failing requests whose caller said no."""
    chosen = Settings(
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        service_name="shop",
        sampler="parentbased_traceidratio",
        sampler_arg=0.5,
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
    return kept
