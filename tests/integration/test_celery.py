"""Celery with a real broker: every task leaves one run span, its logs and one count, however its worker ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support import lanes
from support.processes import PYTHON, Process, run, wait_until
from support.redis_server import missing, server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otelkit.otlp.model import LogRecord, Span
    from support.redis_server import RedisServer

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
LANE = "celery-redis"
LAUNCHER = str(BIN / "opentelemetry-instrument")
TASKS = int(os.environ.get("CELERY_TASKS", "200"))
STARTS = 40.0  # seconds that a worker may take to start, and to end, on a loaded machine


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How a worker runs.

    Args:
        pool: Celery's pool.
        launched: Under the launcher; else by `otelkit.configure()` in its module.
        protocol: OTLP's.
        per_child: Tasks after which a child is replaced; 0 for never.
        tasks: How many it is given.
    """

    pool: str = "prefork"
    launched: bool = True
    protocol: str = "http/protobuf"
    per_child: int = 0
    tasks: int = TASKS

    def __str__(self) -> str:
        """Return what a test's name shows."""
        launch = "launcher" if self.launched else "configure"
        return f"{self.pool}-{launch}-{self.protocol.partition('/')[0]}-per-child-{self.per_child}-{self.tasks}"


ALL = [
    Cell(pool=pool, launched=launched, protocol=protocol, per_child=per_child)
    for pool, children in (("prefork", (0, 20, 1)), ("threads", (0,)), ("solo", (0,)))
    for per_child in children
    for launched in (True, False)
    for protocol in ("http/protobuf", "grpc")
]
FEW = [
    Cell(),
    Cell(launched=False, protocol="grpc", per_child=20),
    Cell(per_child=1, tasks=6),
    Cell(pool="threads", launched=False),
    Cell(pool="solo", protocol="grpc"),
]
CELLS = ALL if os.environ.get("CELERY_CELLS") == "all" else FEW


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if (why := missing()) is not None:
        lanes.skipped(LANE, why)
        pytest.skip(why)
    lanes.ran(LANE)
    with server() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(grpc_port=0) as running:
        yield running


def quiet_until_the_end(redis: RedisServer, receiver: Receiver, databases: tuple[int, int]) -> dict[str, str]:
    """Return settings under which nothing leaves before the end by itself, and an empty broker."""
    with socket.create_connection((redis.host, redis.port), timeout=STARTS) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16).startswith(b"+OK")
    broker, results = databases
    return {
        "BROKER": redis.url(broker),
        "BACKEND": redis.url(results),
        "OTEL_SERVICE_NAME": "tasks",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "OTEL_METRIC_EXPORT_INTERVAL": "60000",
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def environment(redis: RedisServer, receiver: Receiver) -> dict[str, str]:
    return quiet_until_the_end(redis, receiver, databases=(0, 1))


class Worker:
    """Context manager: a Celery worker that is ready for tasks.

    Args:
        environment: Broker, receiver and settings.
        folder: Of the test.
        cell: How it runs.
        options: More of Celery's own.
    """

    def __init__(
        self, environment: dict[str, str], folder: Path, cell: Cell | None = None, options: Sequence[str] = ()
    ) -> None:
        cell = cell or Cell()
        module = "tasks" if cell.launched else "tasks_explicit"
        command = [str(BIN / "celery"), "-A", module, "worker", "-c", "2", "-P", cell.pool, "-l", "INFO", *options]
        self.process = Process(
            [LAUNCHER, *command] if cell.launched else command,
            folder=folder,
            env={**environment, "TASKS_PER_CHILD": str(cell.per_child)},
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
    program = f"import {module}\nfrom tasks import *\n{code}"
    command = [PYTHON, "-c", program]
    return run(
        [LAUNCHER, *command] if launched else command,
        folder=folder,
        env={**environment, "OTEL_LOGS_EXPORTER": "none"},
        within=within,
        name="publisher",
    ).stdout


def unique(receiver: Receiver) -> list[Span]:
    return list({(span.trace_id, span.span_id): span for span in receiver.spans()}.values())


def named(receiver: Receiver, name: str) -> list[Span]:
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
    return sum(value for instance in series(receiver, metric).values() for value in instance.values())


def states(receiver: Receiver) -> Counter[tuple[str, str]]:
    """Count executions by task and state."""
    last: dict[tuple[str, str, str], float] = {}
    for point in receiver.points():
        if point.metric == "celery.task.executions":
            task, state = point.attributes["celery.task.name"], point.attributes["celery.task.state"]
            last[str(point.resource["service.instance.id"]), task, state] = point.value or 0
    found: Counter[tuple[str, str]] = Counter()
    for (_, task, state), value in last.items():
        found[task, state] += int(value)
    return found


def stop(worker: Process) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait(within=STARTS) == 0


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_task_leaves_one_run_its_logs_and_one_count_when_the_worker_is_told_to_end(
    cell: Cell, environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    if cell.protocol == "grpc":
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with Worker(environment, tmp_path, cell) as worker:
        publish(
            f"sent = [work.delay(number) for number in range({cell.tasks})]\nfor one in sent: one.get(timeout=280)",
            environment,
            tmp_path,
            launched=cell.launched,
            within=300,
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
    for metric in ("celery.task.executions", "celery.task.duration", "celery.task.wait_time"):
        assert len(series(receiver, metric)) == 1, f"{metric} is counted by the worker's main process alone"


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


@pytest.fixture(scope="module")
def story(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Run one worker that is given one of everything."""
    folder = tmp_path_factory.mktemp("story")
    with Receiver() as receiver:
        settings = quiet_until_the_end(redis, receiver, databases=(2, 3)) | {"BEAT": "0.5"}
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


def test_a_queue_is_seen_to_grow_while_no_worker_lives(
    environment: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    def depth() -> float:
        seen = [point for point in receiver.points() if point.metric == "celery.queue.depth"]
        assert {point.attributes["messaging.destination.name"] for point in seen} <= {"celery"}
        return max((point.value or 0 for point in seen), default=0)

    with Process(
        [LAUNCHER, PYTHON, "-c", "import tasks, time\nwhile True: tasks.work.delay(1); time.sleep(0.2)"],
        folder=tmp_path,
        env=environment | {"OTEL_METRIC_EXPORT_INTERVAL": "100"},
        name="publisher",
    ):
        wait_until(lambda: depth() >= 3, within=STARTS, what="a queue of three")
        grown = depth()
        wait_until(lambda: depth() > grown, within=STARTS, what="a longer queue")


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
