"""The only place that runs Celery for tests: workers and publishers as real processes, real brokers, what was told.

Nothing leaves a process of these tests before its end by itself, unless a test asks for it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import lanes, rabbitmq, redis_server
from support.processes import PYTHON, Process, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otelkit.otlp.model import Span
    from otelkit.otlp.receiver import Receiver
    from support.rabbitmq import RabbitMQ
    from support.redis_server import RedisServer

APPS = Path(__file__).parents[1] / "integration" / "apps"
BIN = Path(sys.executable).parent
LAUNCHER = str(BIN / "opentelemetry-instrument")
STARTS = 40.0  # seconds that a worker may take to start, and to end, on a loaded machine
TASKS = int(os.environ.get("CELERY_TASKS", "200"))


@contextmanager
def redis_broker() -> Iterator[RedisServer]:
    """Run a Redis server, or skip and say so."""
    if (why := redis_server.missing()) is not None:
        lanes.skipped("celery-redis", why)
        pytest.skip(why)
    lanes.ran("celery-redis")
    with redis_server.server() as running:
        yield running


@contextmanager
def rabbitmq_broker() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ server, or skip and say so."""
    if (why := rabbitmq.missing()) is not None:
        lanes.skipped("celery-rabbitmq", why)
        pytest.skip(why)
    lanes.ran("celery-rabbitmq")
    with rabbitmq.server() as running:
        yield running


def on_redis(redis: RedisServer, databases: tuple[int, int] = (0, 1)) -> dict[str, str]:
    """Return the settings of an emptied broker, and of results."""
    with socket.create_connection((redis.host, redis.port), timeout=STARTS) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16).startswith(b"+OK")
    broker, results = databases
    return {"BROKER": redis.url(broker), "BACKEND": redis.url(results)}


def on_rabbitmq(server: RabbitMQ, queue: str) -> dict[str, str]:
    """Return the settings of a queue of its own; results come over the broker as well."""
    return {"BROKER": server.url, "BACKEND": "rpc://", "QUEUE": queue}


def quiet_until_the_end(receiver: Receiver) -> dict[str, str]:
    """Return settings under which nothing leaves before the end by itself."""
    return {
        "OTEL_SERVICE_NAME": "tasks",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "OTEL_METRIC_EXPORT_INTERVAL": "60000",
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How a worker runs.

    Args:
        pool: Celery's pool.
        launched: Under the launcher; else by `otelkit.configure()` in its module.
        broker: "redis" or "rabbitmq".
        protocol: OTLP's.
        per_child: Tasks after which a child is replaced; 0 for never.
        tasks: How many it is given.
        hijack: Celery replaces the handlers of the root logger, as it does by default.
    """

    pool: str = "prefork"
    launched: bool = True
    broker: str = "redis"
    protocol: str = "http/protobuf"
    per_child: int = 0
    tasks: int = TASKS
    hijack: bool = True

    def __str__(self) -> str:
        """Return what a test's name shows."""
        launch = "launcher" if self.launched else "configure"
        protocol = self.protocol.partition("/")[0]
        logs = "" if self.hijack else "-own-logging"
        return f"{self.pool}-{launch}-{self.broker}-{protocol}-per-child-{self.per_child}-{self.tasks}{logs}"


class Worker:
    """Context manager: a Celery worker that is ready for tasks.

    Args:
        environment: Broker, receiver and settings.
        folder: Of the test.
        cell: How it runs.
        options: More of Celery's own.
        children: Processes or threads of its pool.
    """

    def __init__(
        self,
        environment: dict[str, str],
        folder: Path,
        cell: Cell | None = None,
        options: Sequence[str] = (),
        children: int = 2,
    ) -> None:
        cell = cell or Cell()
        module = "tasks" if cell.launched else "tasks_explicit"
        pool = ["-c", str(children), "-P", cell.pool]
        command = [str(BIN / "celery"), "-A", module, "worker", *pool, "-l", "INFO", *options]
        self.process = Process(
            [LAUNCHER, *command] if cell.launched else command,
            folder=folder,
            env={**environment, "TASKS_PER_CHILD": str(cell.per_child), "HIJACK": "yes" if cell.hijack else "no"},
            name="worker",
            stop_within=STARTS,
        )

    def __enter__(self) -> Process:
        """Start it, and wait until it is ready."""
        self.process.__enter__()
        try:
            self.process.wait_output(" ready.", within=STARTS)
        except BaseException:
            self.process.__exit__(None, None, None)
            raise
        return self.process

    def __exit__(self, *error: object) -> None:
        """Stop it, if it still runs."""
        self.process.__exit__(*error)  # type: ignore[arg-type]  # handed through


def publish(code: str, environment: dict[str, str], folder: Path, *, launched: bool = True, within: float = 90) -> str:
    """Run a program that publishes, and return what it printed."""
    module = "tasks" if launched else "tasks_explicit"
    command = [PYTHON, "-c", f"import {module}\nfrom tasks import *\n{code}"]
    return run(
        [LAUNCHER, *command] if launched else command,
        folder=folder,
        env={**environment, "OTEL_LOGS_EXPORTER": "none"},
        within=within,
        name="publisher",
    ).stdout


def stop(worker: Process) -> None:
    """Have a worker finish what it does, and end: a warm shutdown."""
    worker.signal(signal.SIGTERM)
    assert worker.wait(within=STARTS) == 0


# -- what was told


def unique(receiver: Receiver) -> list[Span]:
    """Return each span once, however often it was sent."""
    return list({(span.trace_id, span.span_id): span for span in receiver.spans()}.values())


def named(receiver: Receiver, name: str) -> list[Span]:
    """Return the spans of a name in the order of their beginnings."""
    return sorted((span for span in unique(receiver) if span.name == name), key=lambda span: span.start_ns)


def series(receiver: Receiver, metric: str) -> dict[str, dict[str, float]]:
    """Return the last value of each series of a metric (a histogram's count), by instance and attributes."""
    last: dict[str, dict[str, float]] = {}
    for point in receiver.points():
        if point.metric == metric:
            value = point.count if point.kind == "histogram" else point.value or 0
            instance = last.setdefault(str(point.resource["service.instance.id"]), {})
            instance[repr(sorted(point.attributes.items()))] = value
    return last


def total(receiver: Receiver, metric: str) -> float:
    """Return the sum of a metric's series."""
    return sum(value for instance in series(receiver, metric).values() for value in instance.values())


def states(receiver: Receiver) -> Counter[tuple[str, str]]:
    """Count executions by task and state, zeros left out."""
    last: dict[tuple[str, str, str], float] = {}
    for point in receiver.points():
        if point.metric == "celery.task.executions":
            task, state = point.attributes["celery.task.name"], point.attributes["celery.task.state"]
            last[str(point.resource["service.instance.id"]), task, state] = point.value or 0
    found: Counter[tuple[str, str]] = Counter()
    for (_, task, state), value in last.items():
        found[task, state] += int(value)
    return +found
