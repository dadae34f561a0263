"""Celery with real brokers: every task leaves one run span, its logs and one count; and what a worker tells besides."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support.celery_workers import (
    STARTS,
    Cell,
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
    unique,
)
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otelkit.otlp.model import LogRecord, Span
    from support.rabbitmq import RabbitMQ
    from support.redis_server import RedisServer

ALL = [
    Cell(pool=pool, launched=launched, broker=broker, per_child=per_child, protocol=protocol)
    for pool, children in (("prefork", (0, 20, 1)), ("threads", (0,)), ("solo", (0,)))
    for per_child in children
    for launched, protocol in ((True, "http/protobuf"), (False, "grpc"))
    for broker in ("redis", "rabbitmq")
] + [Cell(hijack=False), Cell(pool="threads", hijack=False)]
FEW = [
    Cell(),
    Cell(launched=False, protocol="grpc", per_child=20),
    Cell(per_child=1, tasks=6),
    Cell(broker="rabbitmq", per_child=20, protocol="grpc"),
    Cell(pool="threads", launched=False, broker="rabbitmq"),
    Cell(pool="solo", hijack=False),
]
IN_FULL = os.environ.get("CELERY_CELLS") == "all"
CELLS = ALL if IN_FULL else FEW
BROKERS = ("redis", "rabbitmq") if IN_FULL else ("redis",)


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
    with Receiver(grpc_port=0) as running:
        yield running


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_task_leaves_one_run_its_logs_and_one_count_when_the_worker_is_told_to_end(
    cell: Cell, receiver: Receiver, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(cell.broker)
    environment = quiet_until_the_end(receiver)
    environment |= on_redis(server) if cell.broker == "redis" else on_rabbitmq(server, str(cell))
    if cell.protocol == "grpc":
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with Worker(environment, tmp_path, cell) as worker:
        publish(
            f"sent = [work.delay(number) for number in range({cell.tasks})]\nfor one in sent: one.get(timeout=500)",
            environment,
            tmp_path,
            launched=cell.launched,
            within=550,
        )
        stop(worker)
    runs, sent = named(receiver, "run/work"), named(receiver, "apply_async/work")
    assert len(runs) == len(sent) == cell.tasks
    joined = {(span.trace_id, span.span_id) for span in sent}
    assert {(span.trace_id, span.parent_span_id) for span in runs} == joined
    assert {(span.kind, span.status) for span in runs} == {("CONSUMER", "UNSET")}
    assert len([span for span in receiver.spans() if span.name.startswith("inside ")]) == cell.tasks
    places = {(span.trace_id, span.span_id): span.attributes["messaging.message.id"] for span in runs}
    for logger, said in (("shop.stdlib", "stdlib"), ("tasks", "structlog"), ("shop.task", "task logger")):
        records = [record for record in receiver.logs() if record.scope.name == logger and said in str(record.body)]
        assert len(records) == cell.tasks, logger
        assert all(told_of(record, places) for record in records), logger
    assert states(receiver) == {("work", "success"): cell.tasks}
    for metric in ("celery.task.duration", "celery.task.wait_time", "messaging.client.sent.messages", "shop.done"):
        assert total(receiver, metric) == cell.tasks, metric
    counted = (
        "celery.task.executions",
        "celery.task.duration",
        "celery.task.wait_time",
        "shop.done",
        "process.cpu.time",
    )
    (publisher,) = series(receiver, "messaging.client.sent.messages")
    (worker_id,) = series(receiver, "celery.task.executions")
    for metric in counted:
        assert series(receiver, metric).keys() - {publisher} == {worker_id}, f"{metric} is the worker's, not a child's"


def told_of(record: LogRecord, places: dict[tuple[str, str], str]) -> bool:
    """Tell whether a record of a task names its task, and stands in its run."""
    run_of_it = places.get((record.trace_id, record.span_id))
    told = (record.attributes.get("celery.task.name"), record.attributes.get("celery.task.id"))
    return run_of_it is not None and told == ("work", run_of_it)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What one worker with beat and one program told, and what the worker printed."""

    receiver: Receiver
    lines: tuple[str, ...]


PUBLISHED = """
def wait(one):
    try: one.get(timeout=60)
    except Exception: pass
for one in (
    work.delay(7),
    say.delay("hello"),
    flaky.delay(3),
    chain(double.s(2), double.s())(),
    chord([double.s(1), double.s(2)], total.s())(),
    double.apply_async((4,), countdown=0.3),
    orchestrate.delay(),
    cached.delay("key"),
    echo.delay("plantedArgument", word="plantedKeyword"),
    broken.delay("plantedSecret"),
    slow.apply_async((60,), time_limit=1),
): wait(one)
refused.delay()
wait(work.apply_async((1,), expires=-1))
begun = slow.delay(60)
while not any((app.control.inspect().active() or {}).values()): pass
begun.revoke(terminate=True)
wait(work.delay(2))
"""


@pytest.fixture(scope="module", params=BROKERS)
def story(
    request: pytest.FixtureRequest, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """Run one worker that is given one of everything; chords want results that are kept, so those are Redis' always."""
    folder = tmp_path_factory.mktemp("story")
    with Receiver() as receiver:
        settings = quiet_until_the_end(receiver) | on_redis(redis, databases=(2, 3)) | {"BEAT": "0.5"}
        if request.param == "rabbitmq":
            settings["BROKER"] = request.getfixturevalue("rabbitmq").url
        with Worker(settings, folder, options=["-B", "-s", str(folder / "schedule")]) as worker:
            publish(PUBLISHED, settings, folder)
            wait_until(lambda: "Terminating" in worker.stderr, within=STARTS, what="the terminated task")
            wait_until(lambda: worker.stderr.count("Task total[") > 8, within=STARTS, what="what beat sent")
            stop(worker)
        yield Story(receiver=receiver, lines=tuple((worker.stdout + worker.stderr).splitlines()))


def test_no_line_is_printed_or_exported_twice(story: Story) -> None:
    for said in ("stdlib 7", "number=7", "task logger 7", "printed hello", "rendered hello"):
        assert len([line for line in story.lines if said in line]) == 1, said
    bodies = Counter(str(record.body) for record in story.receiver.logs())
    for said in ("stdlib 7", "task logger 7", "printed hello", "rendered hello"):
        assert bodies[said] == 1, said


def test_tries_of_a_task_stand_side_by_side_and_link_to_the_first(story: Story) -> None:
    tries = named(story.receiver, "run/flaky")
    first_publish, *others = named(story.receiver, "apply_async/flaky")
    assert {span.parent_span_id for span in tries} == {first_publish.span_id}
    assert [span.attributes["celery.task.state"] for span in tries] == ["retry"] * 3 + ["success"]
    assert [span.attributes.get("celery.task.retries", 0) for span in tries] == [0, 1, 2, 3]
    assert [[link.span_id for link in span.links] for span in tries] == [[]] + [[tries[0].span_id]] * 3
    assert [span.parent_span_id for span in others] == [span.span_id for span in tries[:3]]
    assert {span.status for span in tries} == {"UNSET"}


def test_a_workflow_is_one_trace(story: Story) -> None:
    (orchestrate,) = named(story.receiver, "run/orchestrate")
    inside = [span for span in unique(story.receiver) if span.trace_id == orchestrate.trace_id]
    assert Counter(span.name for span in inside if span.name.startswith("run/")) == {
        "run/orchestrate": 1,
        "run/double": 4,
        "run/total": 1,
    }
    by_id = {span.span_id: span for span in unique(story.receiver)}

    def asked_by(span: Span) -> str:
        asked = by_id[span.parent_span_id].parent_span_id
        return by_id[asked].name if asked else "the program"

    # Two chains of two, two chords of two, and the one that waited for its time.
    asked = Counter(map(asked_by, named(story.receiver, "run/double")))
    assert asked == {"the program": 4, "run/double": 2, "run/orchestrate": 3}
    bodies = Counter(map(asked_by, named(story.receiver, "run/total")))
    assert bodies["run/double"] == 2, "the last task of a header publishes the body"


def test_ends_that_are_no_success_are_told_with_their_error(story: Story) -> None:
    (broken,) = named(story.receiver, "run/broken")
    assert (broken.status, broken.attributes["error.type"]) == ("ERROR", "ValueError")
    counted = {key: value for key, value in states(story.receiver).items() if key[1] != "success"}
    assert counted == {
        ("broken", "failure"): 1,
        ("flaky", "retry"): 3,
        ("refused", "rejected"): 1,
        ("slow", "failure"): 1,  # its child was killed at the time limit
        ("slow", "revoked"): 1,
        ("work", "revoked"): 1,
    }


def test_each_end_of_a_task_begins_at_zero(story: Story) -> None:
    told = {
        (point.attributes["celery.task.state"], point.attributes["messaging.destination.name"]): point.value
        for point in story.receiver.points()
        if point.metric == "celery.task.executions" and point.attributes["celery.task.name"] == "total"
    }
    assert {key for key, value in told.items() if not value} == {
        (state, "celery") for state in ("failure", "retry", "revoked", "rejected", "ignored")
    }


def test_beat_and_eta_tasks_join_what_asked_for_them(story: Story) -> None:
    (eta,) = [span for span in named(story.receiver, "run/double") if "celery.task.eta" in span.attributes]
    (sent,) = [span for span in named(story.receiver, "apply_async/double") if "celery.task.eta" in span.attributes]
    assert eta.parent_span_id == sent.span_id
    beats = {span.span_id for span in named(story.receiver, "apply_async/total") if not span.parent_span_id}
    assert len([span for span in named(story.receiver, "run/total") if span.parent_span_id in beats]) > 2
    ticks = [point.value or 0 for point in story.receiver.points() if point.metric == "celery.beat.last_tick.time"]
    assert max(ticks) >= sent.start_ns / 1e9 - 600


def test_broker_and_results_make_no_spans_while_redis_of_the_application_does(story: Story) -> None:
    clients = [span for span in unique(story.receiver) if span.kind == "CLIENT"]
    (run_of_it,) = named(story.receiver, "run/cached")
    assert [span.parent_span_id for span in clients] == [run_of_it.span_id]


def test_neither_arguments_nor_results_are_told(story: Story) -> None:
    assert named(story.receiver, "run/echo")
    told = repr((story.receiver.spans(), story.receiver.logs(), story.receiver.points()))
    for secret in ("plantedArgument", "plantedKeyword", "plantedSecret", "hunter2"):
        assert secret not in told, secret


def test_a_worker_tells_how_busy_it_can_be(story: Story) -> None:
    told = {point.metric: point.value for point in story.receiver.points() if point.metric.startswith("celery.")}
    assert told["celery.worker.concurrency"] == 2
    assert told["celery.task.active"] == 0
