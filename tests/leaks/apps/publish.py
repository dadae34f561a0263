"""The program that publishes tasks with secrets and messages that no worker understands, and waits for their ends."""

from __future__ import annotations

import logging
import os
import pickle
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import kombu.exceptions
from celery import Celery, chain, chord, group

from leaks.apps import kit, tasks
from leaks.apps.kit import arrived, use
from leaks.plants import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITHIN = 60  # seconds for what one task becomes
_log = logging.getLogger("shop")
_log.setLevel(logging.INFO)
take = tasks.take


def understood() -> Iterator[Any]:
    """Publish what tasks are given, in every way that Celery has."""
    yield take.apply_async(
        (secret("tasks: positional argument"),),
        {"word": secret("tasks: keyword argument")},
        headers={"tenant": secret("tasks: header")},
    )
    yield take.apply_async((secret("tasks: argument of a later task"),), countdown=0.3)
    yield chain(take.s(secret("tasks: argument of a chain")), take.s(word=secret("tasks: argument of a later link")))()
    yield group([take.s(secret("tasks: argument of a group")), take.s(1)])()
    body = take.s(word=secret("tasks: argument of a chord's body"))
    yield chord([take.s(secret("tasks: argument of a chord")), take.s(1)], body)()
    yield chord([tasks.raising.s("failure in a chord"), take.s(1)], take.s())()
    errback = take.si(word=secret("tasks: argument of an errback"))
    yield tasks.fail.apply_async((secret("tasks: argument of a failing task"),), link_error=errback)
    yield tasks.encode.delay()
    for what in ("e-mail", "cause"):
        yield tasks.raising.delay(f"exception, {what}")
    for what in ("is expected", "cannot be pickled"):
        yield tasks.raising.delay(f"exception that {what}")
    yield tasks.retry.delay()
    yield tasks.give_up.delay(secret("tasks: argument of a task that gives up"))
    tasks.reject.delay()
    yield tasks.log.delay(secret("tasks: log of the request"))
    late = use("tasks: argument of an expired task")
    yield take.apply_async((late,), countdown=1.5, expires=1.0)


def stopped() -> Iterator[Any]:
    """Publish what is ended from outside."""
    tenant = use("tasks: stamp")
    tasks.app.control.revoke_by_stamped_headers({"tenant": [tenant]}, reply=True, limit=1, timeout=10)
    stamped = take.s(use("tasks: argument of a revoked task"))
    stamped.stamp(tenant=tenant)
    yield stamped.apply_async()
    if os.environ["LEAKS_POOL"] == "prefork":
        killed = tasks.wait.apply_async((secret("tasks: argument of a killed task"),), time_limit=1)
        yield tasks.wait.apply_async((secret("tasks: argument of a task out of time"),), soft_time_limit=1)
        yield killed
        place = "tasks: argument of a stopped task"
        begun = tasks.wait.delay(secret(place))
        while place not in kit.used():
            time.sleep(0.05)
        begun.revoke(terminate=True)
        yield begun


def not_understood() -> Iterator[Any]:
    """Publish what no worker can run."""
    yield tasks.app.send_task(f"mail to {use('tasks: name of an unknown task')}")
    yield tasks.app.send_task(
        "shop.gone",
        (use("tasks: argument of an unknown task"),),
        {"word": use("tasks: keyword argument of an unknown task")},
        headers={"tenant": use("tasks: header of an unknown task")},
    )
    tenant = {"tenant": use("tasks: header of an unknown message")}
    _send({"order": use("tasks: body of an unknown message")}, headers=tenant)
    broken = {"content_type": "application/json", "content_encoding": "utf-8"}
    _send(use("tasks: body that cannot be decoded").encode() + b"\xff", **broken)
    body = use("tasks: body of a task that cannot be decoded").encode() + b"\xff"
    _send(body, headers=_headers(), **broken)
    pickled = pickle.dumps(((use("tasks: body of a pickled task"),), {}, {}))
    _send(pickled, headers=_headers(), content_type="application/x-python-serialize", content_encoding="binary")
    invalid = {"args": [use("tasks: body of an invalid task")], "kwargs": ["wrong"]}
    _send({"task": "shop.take", "id": str(uuid4()), **invalid})
    late = [[use("tasks: argument of a task with a wrong time")], {}, {}]
    _send(late, headers={**_headers(), "eta": "0001-01-01T00:00:00+10:00"})


def _headers() -> dict[str, Any]:
    """Return the least that makes a message a task's."""
    return {"lang": "py", "task": "shop.take", "id": str(uuid4())}


def _send(body: Any, **options: Any) -> None:
    """Send a message past Celery."""
    with tasks.app.connection_for_write() as connection:
        connection.Producer().publish(body, exchange="", routing_key=tasks.QUEUE, **options)


def brokers() -> None:
    """Log where the broker is, and look for one where there is none."""
    url = tasks.app.conf.broker_url
    arrived("tasks: password of the broker", url)
    _log.info("broker is %s", url)
    _log.info("broker is %r", tasks.app.connection())
    _log.info("broker is %s", f"amqps://shop:{use('tasks: url of the broker that is logged')}@mq.internal:5671//shop")
    gone = f"{url.partition(':')[0]}://shop:{use('tasks: password of a broker that is gone')}@127.0.0.1:1//"
    other = Celery("gone", broker=gone, set_as_current=False)
    other.conf.task_publish_retry = False
    try:
        other.send_task("shop.take", (use("tasks: argument of a failed publish"),))
    except kombu.exceptions.OperationalError:
        _log.exception("cannot publish to %s", gone)


def main() -> None:
    """Publish everything; what is understood, and what is sent last, has become something in the end."""
    brokers()
    for one in [*not_understood(), *understood()]:
        one.get(timeout=_WITHIN, propagate=False)
    # A child that is killed takes with it what it has not sent yet: none is while others work.
    for one in stopped():
        one.get(timeout=_WITHIN, propagate=False)
    take.delay().get(timeout=_WITHIN)
    kit.flush()


if __name__ == "__main__":
    main()
