"""A Celery application whose tasks make one log record each; what runs and counts them is the kit's to tell."""

from __future__ import annotations

import os

from faults.apps import kit

kit.configure()

import logging

from celery import Celery

app = Celery("faults", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
log = logging.getLogger("shop")


@app.task(name="work")
def work(number: int) -> int:
    log.info("worked on %d", number)
    return number


def give(count: int) -> None:
    """Ask for so many tasks, and wait for the last result."""
    for asked in [work.delay(number) for number in range(count)]:
        asked.get(timeout=500)
