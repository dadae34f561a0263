"""A Celery application without a line about telemetry; `tasks_explicit` is the one that configures itself."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import redis
import structlog
from celery import Celery, chain, chord
from celery.exceptions import Reject
from celery.utils.log import get_task_logger
from opentelemetry import metrics, trace

if TYPE_CHECKING:
    from celery import Task

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_max_tasks_per_child=int(os.environ.get("TASKS_PER_CHILD", "0")) or None,
    task_publish_retry=False,
)

if os.environ.get("HIJACK") == "no":
    app.conf.worker_hijack_root_logger = False
    logging.basicConfig(level=logging.INFO)

if "START_METHOD" in os.environ:
    app.conf.worker_pool_start_method = os.environ["START_METHOD"]

if "QUEUE" in os.environ:
    app.conf.task_default_queue = os.environ["QUEUE"]

if "BEAT" in os.environ:
    app.conf.beat_schedule = {"sum up": {"task": "total", "schedule": float(os.environ["BEAT"]), "args": ([1],)}}

_stdlib = logging.getLogger("shop.stdlib")
_structlog = structlog.get_logger("shop.structlog")
_tasks = get_task_logger("shop.task")
_done = metrics.get_meter("shop").create_counter("shop.done")


@app.task(name="work")
def work(number: int) -> int:
    _stdlib.info("stdlib %d", number)
    _structlog.info("structlog", number=number)
    _tasks.info("task logger %d", number)
    _done.add(1)
    with trace.get_tracer("shop").start_as_current_span(f"inside {number}"):
        return number


@app.task(name="flaky", bind=True, max_retries=5, default_retry_delay=0)
def flaky(self: Task, fails: int) -> str:
    if self.request.retries < fails:
        raise self.retry(exc=ConnectionError("password=hunter2"), countdown=0)
    return "well"


@app.task(name="broken")
def broken(secret: str) -> None:
    raise ValueError(f"password={secret}")


@app.task(name="refused", acks_late=True)
def refused() -> None:
    raise Reject("no", requeue=False)


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="double")
def double(number: int) -> int:
    return 2 * number


@app.task(name="orchestrate")
def orchestrate() -> None:
    chain(double.s(2), double.s())()
    chord([double.s(1), double.s(2)], total.s())()


@app.task(name="slow")
def slow(seconds: float) -> None:
    time.sleep(seconds)


@app.task(name="echo")
def echo(value: str, *, word: str) -> str:
    return value + word


@app.task(name="say")
def say(word: str) -> None:
    print(f"printed {word}")  # noqa: T201  Celery redirects it
    structlog.wrap_logger(structlog.PrintLogger(), processors=[structlog.dev.ConsoleRenderer(colors=False)]).info(
        f"rendered {word}"
    )


@app.task(name="cached")
def cached(key: str) -> Any:
    with redis.Redis.from_url(os.environ["BACKEND"]) as client:
        return client.get(key)
