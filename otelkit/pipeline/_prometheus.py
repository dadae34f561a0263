"""The only place that serves metrics for scraping, the alternative to pushing them.

What is scraped has the names and labels that Prometheus makes of the same metrics when they are pushed over OTLP: one
query finds both. What differs is what Prometheus itself adds, `job` and `instance`, and how `le` spells whole numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import Gauge, Sum

from otelkit._catalog import RESOURCE_LABELS
from otelkit.metrics import prometheus_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.metrics.export import Metric, MetricReader, MetricsData


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
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415  extra `prometheus`

    # Not the client's global one: it measures processor, memory and garbage too, under other names.
    registry = CollectorRegistry()
    server, _ = start_http_server(port=port, addr=host, registry=registry)

    class Served(PrometheusMetricReader):
        def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
            if metrics_data is not None:
                metrics_data = as_pushed(metrics_data)
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            super().shutdown(timeout_millis, **kwargs)
            server.shutdown()
            server.server_close()

    # Scopes are no labels of pushed series: Prometheus promotes them only where it is told to.
    return Served(scope_info_enabled=False, registry=registry)


def as_pushed(data: MetricsData) -> MetricsData:
    """Rename metrics and label their points so that the exporter ends where Prometheus' own translation does."""
    resources = []
    for of_resource in data.resource_metrics:
        attributes = of_resource.resource.attributes
        labels = {key: attributes[key] for key in RESOURCE_LABELS if key in attributes}
        scopes = [
            replace(scope, metrics=[_metric(metric, labels) for metric in scope.metrics])
            for scope in of_resource.scope_metrics
        ]
        resources.append(replace(of_resource, scope_metrics=scopes))
    return replace(data, resource_metrics=resources)


def _metric(metric: Metric, labels: Mapping[str, Any]) -> Metric:
    points: list[Any] = [
        replace(point, attributes={**labels, **(point.attributes or {})}) for point in metric.data.data_points
    ]
    counter = isinstance(metric.data, Sum) and metric.data.is_monotonic
    name = prometheus_name(metric.name, metric.unit or "", gauge=isinstance(metric.data, Gauge), counter=counter)
    if counter:
        name = name.removesuffix("_total")  # which the exporter adds
    data: Any = metric.data  # of four kinds, each with points of its own
    return replace(metric, name=name, unit="", data=replace(data, data_points=points))
