"""The only place that runs a worker of tasks and who publishes for it, and sees that all was there to be found."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from leaks import plants, search
from leaks.cells import TASK_CELLS, environment, launcher, used
from otelkit.otlp.receiver import Receiver
from support.processes import Process, run

if TYPE_CHECKING:
    from pathlib import Path

    from leaks.cells import Outcome, Surroundings, TaskCell

_STARTS = 60.0  # seconds for a worker to start, and to end
_PUBLISHED = 200.0  # seconds for all tasks
_RAW = 10
"""How many plants a handler of the application must show where it gets records as they are."""
_SAID = (
    *("Received unregistered task", "Received and deleted unknown message", "Received invalid task message"),
    *("Can't decode message body", "Couldn't convert ETA", "Discarding revoked task", "raised unexpected", " retry: "),
    *("succeeded in", "TaskPool: Apply", "Current schedule:", "pidbox received method", "Connected to"),
)
"""What Celery's lines say that quote something."""
_KILLED = ("Hard time limit", "Soft time limit", "Terminating ")


def fill(outcome: Outcome, cell: TaskCell, folder: Path, surroundings: Surroundings) -> None:
    """Run the worker, publish everything, and search what left both."""
    with Receiver(grpc_port=0, keep_raw=True) as receiver:
        variables = environment(cell, folder, receiver, surroundings) | _places(cell, surroundings)
        programs = surroundings.bins[cell.kit]
        before = launcher(cell.kit, surroundings)
        options = ["-l", "DEBUG", "-P", cell.pool, "-c", "3", "--without-mingle", "-B", "-s", str(folder / "schedule")]
        worker = Process(
            [*before, programs / "celery", "-A", "leaks.apps.tasks", "worker", *options],
            folder=folder,
            env=variables,
            name="worker",
            stop_within=_STARTS,
        )
        with worker:
            worker.wait_output(" ready.", within=_STARTS)
            publisher = run(
                [*before, programs / "python", "-m", "leaks.apps.publish"],
                folder=folder,
                env=variables,
                within=_PUBLISHED,
                name="publisher",
            )
            worker.signal(signal.SIGTERM)
            worker.wait(within=_STARTS)
        channels = search.exported(receiver) | search.printed(worker, publisher)
        found = search.hits(channels, receiver, plants.TASKS)
        was_used = used(folder)
        if publisher.returncode:
            outcome.wrong.append(f"the publisher ended with {publisher.returncode}")
        _check_use(outcome, cell, was_used)
        if cell.kit != "vanilla":
            _check_arrival(outcome, cell, receiver)
    outcome.judge(cell.logs, found, _RAW)
    search.note(folder, found)
    outcome.figures = f"{len(was_used)} plants used, {search.sizes(channels)}"


def _places(cell: TaskCell, surroundings: Surroundings) -> dict[str, str]:
    """Return where messages and results go: each cell has databases of Redis, or a queue, of its own."""
    number = TASK_CELLS.index(cell)
    redis = surroundings.redis or ""
    return {
        "LEAKS_BROKER": redis.replace("DATABASE", str(2 * number + 1))
        if cell.broker == "redis"
        else surroundings.rabbitmq or "",
        "LEAKS_RESULTS": redis.replace("DATABASE", str(2 * number + 2)),
        "LEAKS_QUEUE": f"leaks-{number}",
        "LEAKS_POOL": cell.pool,
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # a child that is killed takes with it what it has not sent
    }


def _check_use(outcome: Outcome, cell: TaskCell, was_used: set[str]) -> None:
    """See that each plant was in its place."""
    without: tuple[str, ...] = plants.PREFORK_ONLY if cell.pool != "prefork" else ()
    without += () if cell.logs == "ours" else (plants.PRINTED,)
    unused = [place for place in plants.TASKS if place not in was_used and place not in without]
    if unused:
        outcome.wrong.append(f"{len(unused)} plants were not used: {'; '.join(unused[:5])}")


def _check_arrival(outcome: Outcome, cell: TaskCell, receiver: Receiver) -> None:
    """See that what was searched holds the spans of the tasks, the lines that quote them, and the metrics."""
    names = {span.name for span in receiver.spans()}
    tasks = ("take", "encode", "fail", "raise", "retry", "give_up", "reject", "log")
    due = [f"{what}/shop.{task}" for what in ("apply_async", "run") for task in tasks]
    missing = [f"no span {name}" for name in due if name not in names]
    bodies = "\n".join(str(record.body) for record in receiver.logs())
    said = _SAID + (_KILLED if cell.pool == "prefork" else ())
    missing += [f"no record {words!r}" for words in said if words not in bodies]
    metrics = {point.metric for point in receiver.points()}
    missing += [f"no metric {name}" for name in ("celery.task.executions",) if name not in metrics]
    if missing:
        outcome.wrong.append(f"{len(missing)} did not arrive: {'; '.join(missing[:5])}")
