"""The clock, which asks for tasks by the schedule: `celery -A shop.beat beat`."""

from shop import faults, telemetry
from shop.tasks import app

telemetry.start("beat")
faults.of_beat()

__all__ = ["app"]
