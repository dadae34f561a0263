"""The clock, which asks for tasks by the schedule: `celery -A shop.beat beat`."""

from shop import telemetry
from shop.tasks import app

telemetry.start("beat")

__all__ = ["app"]
