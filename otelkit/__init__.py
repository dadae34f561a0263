"""OpenTelemetry for Python back ends in one call; the only place for the public names.

import otelkit

otelkit.configure(service_name="shop")
log = otelkit.get_logger()
log.info("order.placed", order_id=42)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelkit.errors import MeasurementError, OtelkitError, SettingsError
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler

    from otelkit import health as health
    from otelkit._runtime import Telemetry
    from otelkit.cache import Cache
    from otelkit.health import Health, HealthMiddleware
    from otelkit.integrations import Verdict
    from otelkit.integrations.celery import CeleryOptions
    from otelkit.integrations.fastapi import FastAPIOptions
    from otelkit.integrations.redis import RedisOptions
    from otelkit.integrations.sqlalchemy import SQLAlchemyOptions
    from otelkit.metrics import Catalog
    from otelkit.redact import Redaction, Rule

__all__ = [
    "Cache",
    "Catalog",
    "CeleryOptions",
    "FastAPIOptions",
    "Health",
    "HealthMiddleware",
    "MeasurementError",
    "OtelkitError",
    "Redaction",
    "RedisOptions",
    "Rule",
    "SQLAlchemyOptions",
    "Settings",
    "SettingsError",
    "Telemetry",
    "Verdict",
    "configure",
    "get_logger",
    "health",
]

__version__ = "0.1.0"

_LAZY = {
    "Cache": "otelkit.cache",
    "Catalog": "otelkit.metrics",
    "CeleryOptions": "otelkit.integrations.celery",
    "FastAPIOptions": "otelkit.integrations.fastapi",
    "Health": "otelkit.health",
    "HealthMiddleware": "otelkit.health",
    "Redaction": "otelkit.redact",
    "RedisOptions": "otelkit.integrations.redis",
    "Rule": "otelkit.redact",
    "SQLAlchemyOptions": "otelkit.integrations.sqlalchemy",
    "Telemetry": "otelkit._runtime",
    "Verdict": "otelkit.integrations",
    "health": "otelkit.health",
}


def __getattr__(name: str) -> Any:
    """Load names that few modules of a program need, on first use: importing otelkit stays cheap."""
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415  only they need it

        module = import_module(_LAZY[name])
        return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def configure(
    settings: Settings | None = None,
    *,
    service_name: str | None = None,
    resource: Resource | Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    span_processors: Sequence[SpanProcessor] = (),
    log_processors: Sequence[LogRecordProcessor] = (),
    metric_readers: Sequence[MetricReader] = (),
    views: Sequence[View] = (),
    redaction: Redaction | None = None,
    integrations: Mapping[str, Any] | None = None,
) -> Telemetry:
    """Wire traces, metrics and logs of this process to OTLP, and instrument the libraries it uses.

    Call it once, as early as you like: before or after FastAPI, SQLAlchemy and others were imported or used. A second
    call returns the first result and names on stderr what differs. Under `opentelemetry-instrument` the first explicit
    call is merged into what the launcher set up: processors, readers and integration options apply, the rest is named.

    Args:
        settings: Strings and numbers; what it leaves out comes from `OTEL_*` variables, then from defaults.
        service_name: Short for `Settings(service_name=...)`.
        resource: Attributes for the resource; they win over settings and detection.
        sampler: Replaces the one that `OTEL_TRACES_SAMPLER` names.
        span_processors: Run beside otelkit's own, before it.
        log_processors: Run beside otelkit's own, before it.
        metric_readers: Read beside otelkit's own.
        views: Views of the meter provider.
        redaction: What counts as secret; None for the rules of docs/reference/redaction.md.
        integrations: By name: False leaves a library alone, True insists, an options object sets options.

    Returns:
        What was done, with a verdict per library.

    Raises:
        SettingsError: An argument cannot work; all problems at once. Variables never raise.
    """
    from otelkit import _runtime  # noqa: PLC0415  `import otelkit` stays light

    if service_name is not None:
        if settings is not None:
            problem = "service_name: give it to Settings(...) or to configure(...), not beside a Settings object"
            raise SettingsError([problem])
        settings = Settings(service_name=service_name)
    given: Any = resource
    attributes: Mapping[str, Any] | None = getattr(given, "attributes", given)
    return _runtime.configure(
        settings,
        _runtime.Objects(
            resource=attributes,
            sampler=sampler,
            span_processors=tuple(span_processors),
            log_processors=tuple(log_processors),
            metric_readers=tuple(metric_readers),
            views=tuple(views),
            redaction=redaction,
            integrations=dict(integrations or {}),
        ),
    )


def get_logger(name: str | None = None, **initial_values: Any) -> Any:
    """Return a structlog logger whose events go to stdout and to OTLP with the current trace's id.

    Args:
        name: The logger's name; None takes the calling module's.
        initial_values: Fields for every event of this logger.
    """
    from otelkit import logs  # noqa: PLC0415  `import otelkit` stays light

    return logs.get_logger(name, **initial_values)
