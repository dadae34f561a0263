"""The only place that serves metrics for scraping, the alternative to pushing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader


def serve(host: str, port: int) -> MetricReader:
    """Serve `/metrics`; for single-process applications (docs/explanation/limits.md).

    Args:
        host: Address to listen on.
        port: TCP port to listen on.

    Raises:
        ImportError: The extra `prometheus` is not installed.
        OSError: The port is taken.
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
