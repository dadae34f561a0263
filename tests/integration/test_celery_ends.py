"""Celery where something ends badly: workers gone, brokers away, children killed, children that are not forked."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support.celery_workers import (
    LAUNCHER,
    STARTS,
    Worker,
    named,
    on_rabbitmq,
    on_redis,
    publish,
    quiet_until_the_end,
    rabbitmq_broker,
    redis_broker,
    series,
    states,
    stop,
    total,
)
from support.processes import PYTHON, Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.rabbitmq import RabbitMQ
    from support.redis_server import RedisServer


# It ends when twenty tasks have ended and both children run one that goes on.
BUSY = """
for one in [work.delay(number) for number in range(20)]: one.get(timeout=60)
for _ in range(2): slow.delay(60)
while sum(map(len, (app.control.inspect().active() or {}).values())) < 2: pass
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_broker() as running:
        yield running


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    with rabbitmq_broker() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def environment(redis: RedisServer, receiver: Receiver) -> dict[str, str]:
    return quiet_until_the_end(receiver) | on_redis(redis)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_queue_is_seen_to_grow_while_no_worker_lives(
    broker: str, receiver: Receiver, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(broker)
    settings = on_redis(server) if broker == "redis" else on_rabbitmq(server, "celery")

    def depth() -> float:
        seen = [point for point in receiver.points() if point.metric == "celery.queue.depth"]
        assert {point.attributes["messaging.destination.name"] for point in seen} <= {"celery"}
        return max((point.value or 0 for point in seen), default=0)

    with Process(
        [LAUNCHER, PYTHON, "-c", "import tasks, time\nwhile True: tasks.work.delay(1); time.sleep(0.2)"],
        folder=tmp_path,
        env=quiet_until_the_end(receiver) | settings | {"OTEL_METRIC_EXPORT_INTERVAL": "100"},
        name="publisher",
    ):
        wait_until(lambda: depth() >= 3, within=STARTS, what="a queue of three")
        grown = depth()
        wait_until(lambda: depth() > grown, within=STARTS, what="a longer queue")
    assert {span.kind for span in receiver.spans()} <= {"PRODUCER"}, "asking the broker makes no span"


def test_a_publish_that_fails_ends_its_span_and_shows_its_error(
    environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    said = publish(
        "from opentelemetry import trace\n"
        "try: work.delay(1)\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(trace.get_current_span().get_span_context().is_valid)",
        environment | {"BROKER": "redis://127.0.0.1:1/0"},
        tmp_path,
    )
    assert said.splitlines()[-2:] == ["OperationalError", "False"]
    (failed,) = named(receiver, "apply_async/work")
    assert (failed.status, failed.attributes["error.type"]) == ("ERROR", "kombu.exceptions.OperationalError")
    (counted,) = {repr(p.attributes) for p in receiver.points() if p.metric == "messaging.client.sent.messages"}
    assert "OperationalError" in counted


def test_children_that_the_kernel_kills_are_counted_and_what_was_told_before_stays(
    environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    environment |= {"OTEL_BSP_SCHEDULE_DELAY": "300", "OTEL_BLRP_SCHEDULE_DELAY": "300"}
    with Worker(environment, tmp_path) as worker:
        publish(BUSY, environment, tmp_path)
        # Spans leave a child within the delay, measurements too: nothing of these waits for the child's end.
        wait_until(lambda: len(named(receiver, "run/work")) == 20, within=STARTS, what="the runs of what has ended")
        for child in children_of(worker.pid):
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: worker.stderr.count("WorkerLostError") >= 2, within=STARTS, what="two lost children")
        publish("work.delay(21).get(timeout=60)", environment, tmp_path)
        stop(worker)
    assert states(receiver) == {("work", "success"): 21, ("slow", "failure"): 2}
    assert total(receiver, "shop.done") == 21
    assert len(series(receiver, "shop.done")) == 1
    assert len(named(receiver, "run/work")) == 21


def test_a_cold_shutdown_keeps_what_has_ended(environment: dict[str, str], receiver: Receiver, tmp_path: Path) -> None:
    with Worker(environment, tmp_path) as worker:
        publish(BUSY, environment, tmp_path)
        worker.signal(signal.SIGQUIT)
        worker.wait(within=STARTS)
    assert len(named(receiver, "run/work")) == 20
    assert states(receiver)["work", "success"] == 20
    assert total(receiver, "shop.done") == 20


def test_children_that_are_started_and_not_forked_tell_their_own(
    environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    environment |= {"START_METHOD": "spawn"}
    with Worker(environment, tmp_path) as worker:
        publish("for one in [work.delay(number) for number in range(5)]: one.get(timeout=60)", environment, tmp_path)
        stop(worker)
    assert len(named(receiver, "run/work")) == 5
    assert len([record for record in receiver.logs() if "task logger" in str(record.body)]) == 5
    assert states(receiver) == {("work", "success"): 5}
    assert total(receiver, "shop.done") == 5


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
