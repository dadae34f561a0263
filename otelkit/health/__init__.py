"""Health of a service, asked by Kubernetes and load balancers, and told as telemetry; the only place for its names.

health = otelkit.Health(drain=10)
health.add("database", otelkit.health.sqlalchemy_probe(engine), timeout=0.5)
app.add_middleware(otelkit.HealthMiddleware, health=health)
"""

from __future__ import annotations

from otelkit.health._checks import Health, Result
from otelkit.health._middleware import HealthMiddleware
from otelkit.health._probes import celery_probe, disk_probe, http_probe, redis_probe, sqlalchemy_probe

__all__ = [
    "Health",
    "HealthMiddleware",
    "Result",
    "celery_probe",
    "disk_probe",
    "http_probe",
    "redis_probe",
    "sqlalchemy_probe",
]
