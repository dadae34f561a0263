"""The only place that tells where the programs of a stack answer: named addresses, or the usual ports."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from otelkit.ops import _assets

if TYPE_CHECKING:
    from collections.abc import Mapping

PORTS = {
    "otlp_http": "OTLP_HTTP_PORT",
    "otlp_grpc": "OTLP_GRPC_PORT",
    "collector_health": "COLLECTOR_HEALTH_PORT",
    "collector_metrics": "COLLECTOR_METRICS_PORT",
    "prometheus": "PROMETHEUS_PORT",
    "alertmanager": "ALERTMANAGER_PORT",
    "loki": "LOKI_PORT",
    "tempo": "TEMPO_PORT",
    "grafana": "GRAFANA_PORT",
}
"""The variable of `deploy/.env` that sets each one's port."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Base URLs of one stack, without a slash at the end. `collector_metrics` answers at `/metrics`."""

    otlp_http: str
    otlp_grpc: str
    collector_health: str
    collector_metrics: str
    prometheus: str
    alertmanager: str
    loki: str
    tempo: str
    grafana: str

    @classmethod
    def at(cls, host: str = "127.0.0.1", *, pins: Mapping[str, str] | None = None, offset: int = 0) -> Self:
        """Return those of a stack on one host.

        Args:
            host: Name or address.
            pins: The variables of `deploy/.env` (`_assets.pins()`); None means otelkit's own.
            offset: What `--port-offset` added to each port.
        """
        found = _assets.pins() if pins is None else pins
        return cls(**{name: f"http://{host}:{int(found[port]) + offset}" for name, port in PORTS.items()})

    def but(self, **urls: str | None) -> Self:
        """Return these with some replaced; None leaves one as it is."""
        given: dict[str, Any] = {name: url.rstrip("/") for name, url in urls.items() if url is not None}
        return replace(self, **given)

    def as_dict(self) -> dict[str, str]:
        """Return name and URL of each."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
