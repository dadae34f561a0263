"""The worker, which runs the tasks: `celery -A shop.worker worker`."""

from shop import telemetry
from shop.tasks import app

telemetry.start("worker")

__all__ = ["app"]
