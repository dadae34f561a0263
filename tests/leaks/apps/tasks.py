"""A Celery application that handles secrets as tasks do: they are given, returned, raised, logged and passed on."""

from __future__ import annotations

from leaks.apps import kit

kit.configure()

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, signals
from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from leaks import plants
from leaks.apps.kit import arrived, use

if TYPE_CHECKING:
    from celery import Task

QUEUE = os.environ["LEAKS_QUEUE"]
app = Celery("leaks", broker=os.environ["LEAKS_BROKER"], backend=os.environ["LEAKS_RESULTS"])
app.conf.update(
    task_default_queue=QUEUE,
    control_exchange=f"{QUEUE}.control",
    event_exchange=f"{QUEUE}.events",
    broker_connection_retry_on_startup=True,
    task_publish_retry=False,
    beat_schedule={
        "stock": {
            "task": "shop.take",
            "schedule": 1.0,
            "args": (plants.secret("tasks: argument of a scheduled task"),),
        }
    },
)
if kit.LOGS != "ours":  # whoever listens sets logging up, and Celery does not
    signals.setup_logging.connect(lambda **_: logging.getLogger().setLevel("DEBUG"), weak=False)
_tasks = get_task_logger("shop.tasks")
_log = logging.getLogger("shop")


def _noted(request: Any) -> None:
    """Note whatever came with a message."""
    everything = repr(vars(request))
    for place in plants.TASKS:
        arrived(place, everything)


@app.task(name="shop.take", bind=True)
def take(self: Task, given: Any = None, *, word: str = "") -> dict[str, str]:
    """Take what is given, and give back something."""
    _noted(self.request)
    return {"receipt": use("tasks: result"), "of": f"{len(str(given))} and {len(word)}"}


@app.task(name="shop.encode")
def encode() -> object:
    """Give back what no message can hold."""
    return {("receipt", use("tasks: result that cannot be encoded")): {1}}


@app.task(name="shop.fail", bind=True)
def fail(self: Task, given: str) -> None:
    """Fail with a secret in the frame."""
    _noted(self.request)
    local = use("tasks: local variable of a failing task")
    raise ValueError(f"order failed with password={use('tasks: exception')}, {len(given + local)} characters")


class DeclinedError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, secret: str, reason: str) -> None:
        super().__init__(f"{reason} with password={secret}")


@app.task(name="shop.raise", throws=(PermissionError,))
def raising(what: str) -> None:
    """Fail in one of several ways."""
    secret = use(f"tasks: {what}")
    match what:
        case "exception, e-mail":
            raise LookupError(f"no account of {secret}")
        case "exception, cause":
            raise RuntimeError("order failed") from ValueError(f"password={secret}")
        case "exception that is expected":
            raise PermissionError(f"no account of {secret}")
        case "exception that cannot be pickled":
            raise DeclinedError(secret, "declined")
        case _:
            raise ValueError(f"password={secret}")


@app.task(name="shop.retry", bind=True)
def retry(self: Task, *, word: str = "") -> int:
    """Fail, and succeed with other arguments."""
    _noted(self.request)
    if not word:
        error = ConnectionError(f"cannot log in with password={use('tasks: reason of a retry')}")
        raise self.retry(exc=error, countdown=0, kwargs={"word": plants.secret("tasks: argument of a retry")})
    return len(word)


@app.task(name="shop.give_up", bind=True)
def give_up(self: Task, given: str) -> None:
    """Ask for one try too many: the error says with which arguments."""
    _noted(self.request)
    raise self.retry(countdown=0, max_retries=0, args=(given,))


@app.task(name="shop.reject", acks_late=True)
def reject() -> None:
    """Refuse."""
    raise Reject(f"password={use('tasks: reason of a rejection')}", requeue=False)


@app.task(name="shop.wait", bind=True)
def wait(self: Task, given: str) -> None:
    """Take longer than anybody waits."""
    _noted(self.request)
    time.sleep(120 + len(given))


@app.task(name="shop.log", bind=True)
def log(self: Task, given: str) -> None:
    """Log in every way that a task has."""
    _noted(self.request)
    _tasks.info("log-in with password: %s", use("tasks: log of the task logger"))
    _tasks.info("request: %r, %d characters", self.request, len(given))
    try:
        raise ValueError(f"card {use('tasks: log of the task logger, exception')}")  # noqa: TRY301  as people do
    except ValueError:
        _tasks.exception("order failed")
    _log.warning("password=%s", use("tasks: log of stdlib logging"))
    structlog.get_logger("shop").info("called", args=[use("tasks: log of structlog, args")])
    if kit.LOGS == "ours":  # Celery makes log records of it; elsewhere it is what `print()` is
        print(f"password={use(plants.PRINTED)}")  # noqa: T201  as people do
