"""The only place that knows the SDK's OTLP exporters and what each `Signal` means for their constructors.

Each exporter is built by the thread that first exports, once per process: a forked child never uses a connection or
gRPC channel of its parent.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from otelkit.pipeline._failures import Failures
    from otelkit.settings import Signal

# What the exporters import when they are built or first used.
_LATE_IMPORTS = {"http": ("requests", "netrc"), "grpc": ("grpc",)}

_CLASSES = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


def _exporter_class(signal_name: str, signal: Signal) -> Any:
    """Import the SDK's exporter, in the thread that configures.

    A background thread that imported it could be caught by a fork: the child would have half of a module for ever.
    """
    transport = "grpc" if signal.protocol == "grpc" else "http"
    for module in _LATE_IMPORTS[transport]:
        import_module(module)
    module, name = _CLASSES[signal_name]
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{transport}.{module}"), name)


def _http(signal: Signal) -> dict[str, Any]:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415  loads requests

    return {
        "endpoint": signal.endpoint,
        "headers": dict(signal.headers),
        "timeout": signal.timeout,
        "compression": Compression(signal.compression),
        "certificate_file": signal.certificate,
        "client_key_file": signal.client_key,
        "client_certificate_file": signal.client_certificate,
    }


def _grpc(signal: Signal) -> dict[str, Any]:
    import grpc  # type: ignore[import-untyped]  # noqa: PLC0415  without types; only where the protocol is gRPC

    insecure = signal.insecure if signal.insecure is not None else not signal.endpoint.startswith("https")
    compression = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
    arguments: dict[str, Any] = {
        "endpoint": signal.endpoint,
        "insecure": insecure,
        "headers": tuple(signal.headers.items()),
        "timeout": signal.timeout,
        "compression": compression.get(signal.compression, grpc.Compression.NoCompression),
    }
    if not insecure:
        # Read here: the SDK's own loader falls back to the system's roots when the file is missing (S-02).
        arguments["credentials"] = grpc.ssl_channel_credentials(
            root_certificates=_content(signal.certificate),
            private_key=_content(signal.client_key),
            certificate_chain=_content(signal.client_certificate),
        )
    return arguments


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:  # noqa: PTH123  one read of a path the user gave
        return file.read()


class _PerProcess:
    """The inner exporter of one signal, built on first use in each process."""

    def __init__(self, signal_name: str, signal: Signal, failures: Failures, **extra: Any) -> None:
        self._signal_name, self._signal, self._failures, self._extra = signal_name, signal, failures, extra
        self._class = _exporter_class(signal_name, signal)
        self._inner: tuple[int, Any] | None = None
        self._closed = False

    def call(self, export: Callable[[Any], Any], success: Any, failure: Any) -> Any:
        """Run `export(inner)`; any exception is a failed export, named once."""
        if self._closed:
            return failure
        with self._failures.exporting(self._signal_name, self._signal):
            try:
                result = export(self._get())
            except Exception as error:  # noqa: BLE001  a bad certificate file or client must cost this batch only
                self._failures.refused(self._signal_name, self._signal, f"{type(error).__name__}: {error}")
                return failure
        if result is success:
            self._failures.delivered(self._signal)
        return result

    def _get(self) -> Any:
        pid = os.getpid()
        if self._inner is None or self._inner[0] != pid:
            # Everything is passed, so that it reads no variable itself.
            arguments = _grpc(self._signal) if self._signal.protocol == "grpc" else _http(self._signal)
            self._inner = (pid, self._class(**arguments, **self._extra))
        return self._inner[1]

    def shutdown(self) -> None:
        """Close the inner exporter, interrupting a retry that is under way."""
        self._closed = True
        if self._inner is not None and self._inner[0] == os.getpid():
            with self._failures.exporting(self._signal_name, self._signal):
                self._inner[1].shutdown()


class _Spans(SpanExporter):
    def __init__(self, inner: _PerProcess) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result: SpanExportResult = self._inner.call(
            lambda exporter: exporter.export(spans), SpanExportResult.SUCCESS, SpanExportResult.FAILURE
        )
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  nothing is buffered here
        return True


class _Logs(LogRecordExporter):
    def __init__(self, inner: _PerProcess) -> None:
        self._inner = inner

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result: LogRecordExportResult = self._inner.call(
            lambda exporter: exporter.export(batch), LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE
        )
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  nothing is buffered here
        return True


class _Metrics(MetricExporter):
    def __init__(
        self, inner: _PerProcess, temporality: dict[type, AggregationTemporality], aggregation: dict[type, Any]
    ) -> None:
        super().__init__(preferred_temporality=temporality, preferred_aggregation=aggregation)
        self._inner = inner

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,  # noqa: ARG002  part of the SDK's interface
    ) -> MetricExportResult:
        result: MetricExportResult = self._inner.call(
            lambda exporter: exporter.export(metrics_data, timeout_millis=timeout_millis),
            MetricExportResult.SUCCESS,
            MetricExportResult.FAILURE,
        )
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002  nothing is buffered here
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002  the SDK's interface
        self._inner.shutdown()


def spans(signal: Signal, failures: Failures) -> SpanExporter:
    """Build the exporter of traces."""
    return _Spans(_PerProcess("traces", signal, failures))


def logs(signal: Signal, failures: Failures) -> LogRecordExporter:
    """Build the exporter of logs."""
    return _Logs(_PerProcess("logs", signal, failures))


def metrics(signal: Signal, temporality: str, histogram_aggregation: str, failures: Failures) -> MetricExporter:
    """Build the exporter of metrics.

    Args:
        signal: Where metrics go.
        temporality: "cumulative", "delta" or "lowmemory" (metrics/sdk_exporters/otlp.md of the specification).
        histogram_aggregation: "explicit_bucket_histogram" or "base2_exponential_bucket_histogram".
        failures: What is told about failing exports.
    """
    preferred = preferred_temporality(temporality)
    exponential = histogram_aggregation == "base2_exponential_bucket_histogram"
    aggregation: Any = ExponentialBucketHistogramAggregation() if exponential else ExplicitBucketHistogramAggregation()
    inner = _PerProcess("metrics", signal, failures, preferred_temporality=preferred)
    return _Metrics(inner, preferred, {Histogram: aggregation})


def preferred_temporality(preference: str) -> dict[type, AggregationTemporality]:
    """Map each instrument kind to its temporality under one of the specification's three preferences."""
    delta, cumulative = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
    changing = {"cumulative": (), "delta": (Counter, Histogram, ObservableCounter), "lowmemory": (Counter, Histogram)}
    kinds = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge)
    return {kind: delta if kind in changing[preference] else cumulative for kind in kinds}


def prometheus(host: str, port: int) -> MetricReader:
    """Serve metrics for scraping; for single-process applications (docs/explanation/limits.md).

    Args:
        host: Address to listen on.
        port: TCP port to listen on.
    """
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415  extra `prometheus`
    from prometheus_client import start_http_server  # noqa: PLC0415  extra `prometheus`

    server, _ = start_http_server(port=port, addr=host)

    class Served(PrometheusMetricReader):
        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            super().shutdown(timeout_millis, **kwargs)
            server.shutdown()
            server.server_close()

    return Served()
