"""A worker that knows nothing of telemetry either.

    BROKER_URL=redis://127.0.0.1:6379/0 opentelemetry-instrument celery -A packing worker

Without BROKER_URL there is no worker: the service runs its tasks itself.
"""

import os

from celery import Celery
from celery.utils.log import get_task_logger

log = get_task_logger(__name__)

app = Celery("zero_code", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.update(
    task_always_eager="BROKER_URL" not in os.environ,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task
def pack(sku: str, quantity: int) -> None:
    """Put what was sold into a box."""
    log.info("packed %s of %s", quantity, sku)
