"""The only module of the example that says how its processes are observed; what the shop counts stands in `metrics`."""

import logging

import otelkit


def start(service: str) -> None:
    """Send traces, metrics and logs of this process to OTEL_EXPORTER_OTLP_ENDPOINT, by default http://localhost:4318."""
    otelkit.configure(otelkit.Settings(service_name=service, service_namespace="shop"))
    # It logs a line for each call; the span of the call says the same, and when, and below which request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
