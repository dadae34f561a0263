"""The only place for what a Celery worker counts: executions by state, how long tasks ran and waited, how busy it is.

Its main process counts, whichever pool runs the tasks: it is told of each end, also of a task whose child was killed,
and it lives as long as the worker. So there is one series per task and state, however many children came and went.
"""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry.context import Context
from opentelemetry.metrics import Observation

from otelkit import _catalog, _propagation, _serving
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

_log = logging.getLogger("otelkit")

SENT = "otelkit-sent"
"""Header of a message: when it was published, in seconds since 1970."""
_OWN = "_otelkit_counted"
_MOST_BEGUN: Final = 50
"""Tasks that begin at zero when the worker is ready, of all that it knows; others do with their first run."""


def destination(app: Any, delivery_info: Any) -> str | None:
    """Name the queue that a message came from, as its publisher names it.

    Args:
        app: The application; it knows its queues.
        delivery_info: By which exchange and routing key the broker delivered.
    """
    if not isinstance(delivery_info, dict):
        return None
    exchange, key = delivery_info.get("exchange") or "", delivery_info.get("routing_key") or ""
    for queue in list(app.amqp.queues.values()):
        if queue.name == key or (queue.routing_key == key and queue.exchange.name == exchange):
            return str(queue.name)
    return str(key or exchange) or None


class _Worker:
    """What one process counts. Whatever goes wrong here stays here."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        self.active = False
        meter = meter_provider.get_meter("otelkit.integrations.celery")
        executions = _catalog.metric("celery.task.executions")
        self._executions = create(meter, executions)
        self._states = list(executions.closed_sets())
        self._begun: set[tuple[str, ...]] = set()
        self._duration = create(meter, _catalog.metric("celery.task.duration"))
        self._wait_time = create(meter, _catalog.metric("celery.task.wait_time"))
        create(meter, _catalog.metric("celery.task.active"), [self._observe_active])
        create(meter, _catalog.metric("celery.worker.concurrency"), [self._observe_concurrency])
        self._worker: Any = None
        self._pid: int | None = None
        self._failed = False
        self._attached: set[str] = set()

    def attach(self) -> None:
        """Listen, once Celery's worker is imported."""
        for module, hook in (("celery.worker.strategy", self._hook_requests), ("celery.signals", self._hook_signals)):
            if module not in self._attached:
                self._attached.add(module)
                wrapt.register_post_import_hook(hook, module)

    def _hook_requests(self, module: Any) -> None:
        try:
            wrapt.wrap_function_wrapper(module, "create_request_cls", self._create_request_cls)
        except Exception:  # noqa: BLE001  runs inside the application's import
            self._note()

    def _hook_signals(self, module: Any) -> None:
        try:
            module.worker_init.connect(self._begin, weak=False)
            module.worker_ready.connect(self._ready, weak=False)
            module.worker_process_init.connect(self._in_child, weak=False)
            module.task_revoked.connect(self._revoked, weak=False)
        except Exception:  # noqa: BLE001  the same
            self._note()

    def _begin(self, sender: Any = None, **_: Any) -> None:
        """Know the worker of this process: Celery's `worker_init`."""
        self._worker, self._pid = sender, os.getpid()
        _serving.mark()

    def _in_child(self, **_: Any) -> None:
        """Forget it in a child of its pool: Celery's `worker_process_init`."""
        if self.forked:
            self._worker = None

    @property
    def forked(self) -> bool:
        """Whether this is not the process that began as a worker, where a solo pool sends `worker_process_init` too."""
        return self._pid != os.getpid()

    # -- zeros: a series that begins at 1 hides its first failure from `increase()`

    def _ready(self, sender: Any = None, **_: Any) -> None:
        """Begin the series of tasks that this worker will be given: Celery's `worker_ready`."""
        try:
            amqp, tasks = sender.app.amqp, [name for name in sender.app.tasks if not name.startswith("celery.")]
            # A router of our own: that of the application adds a queue that it misses, and the worker would consume it.
            router = amqp.Router(dict(amqp.queues.consume_from))
        except Exception:  # noqa: BLE001  never into a worker
            self._note()
            return
        for name in tasks[:_MOST_BEGUN]:
            with contextlib.suppress(Exception):  # it goes to queues of others, or its router asks for arguments
                self._begin_at_zero(name, _queue(str(router.route({}, name)["queue"].name)))

    def _begin_at_zero(self, task: str, queue: dict[str, str]) -> None:
        series = task, *queue.values()
        if self.active and series not in self._begun:
            self._begun.add(series)
            for state in self._states:
                self._executions.add(0, {"celery.task.name": task} | state | queue)

    # -- gauges

    def _observe_active(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._worker is not None and self.active:
            from celery.worker import state  # noqa: PLC0415  it is imported by now

            yield Observation(len(state.active_requests))

    def _observe_concurrency(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._worker is not None and self.active:
            pool = getattr(self._worker, "pool", None)
            yield Observation(int(getattr(pool, "num_processes", 0) or getattr(self._worker, "concurrency", 0) or 0))

    # -- requests

    def _create_request_cls(
        self, wrapped: Callable[..., type], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> type:
        """Make the class of a task's requests, with hooks where the pool reports what became of one."""
        made = wrapped(*args, **kwargs)
        worker = self

        class Request(made):  # type: ignore[valid-type,misc]  # made by Celery for this task
            def on_accepted(self, *args: Any, **kwargs: Any) -> Any:
                result = super().on_accepted(*args, **kwargs)
                worker.accepted(self)
                return result

            def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any:
                # Counted before Celery's own steps: these may raise, and the task has run all the same.
                worker.succeeded(self, failed__retval__runtime)
                return super().on_success(failed__retval__runtime, **kwargs)

            def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
                worker.failed(self, exc_info)
                return super().on_failure(exc_info, *args, **kwargs)

            def on_timeout(self, soft: Any, timeout: Any) -> Any:
                if not soft:
                    worker.timed_out(self)
                return super().on_timeout(soft, timeout)

        return Request

    def accepted(self, request: Any) -> None:
        """Count how long a task waited: a pool began to run it."""
        try:
            if not self.active:
                return
            labels = _destination_label(request)
            self._begin_at_zero(request.name, labels)
            headers = request.request_dict
            due = headers.get(SENT)
            eta = headers.get("eta")
            if isinstance(eta, str):
                due = max(due or 0.0, _seconds(eta))
            if isinstance(due, int | float) and due:
                self._wait_time.record(max(0.0, request.time_start - due), labels, _context(request))
        except Exception:  # noqa: BLE001  never into a worker
            self._note()

    def succeeded(self, request: Any, outcome: tuple[Any, Any, Any]) -> None:
        """Count a task that returned; one that did not is told by `failed`."""
        try:
            did_fail, _, runtime = outcome
            if not did_fail:
                self._count(request, "success", runtime)
        except Exception:  # noqa: BLE001  the same
            self._note()

    def failed(self, request: Any, exc_info: Any) -> None:
        """Count a task that raised, or whose child is gone."""
        try:
            from billiard.exceptions import Terminated  # noqa: PLC0415  they are imported by now
            from celery.exceptions import Ignore, Reject, Retry  # noqa: PLC0415  the same

            error = exc_info.exception
            error = getattr(error, "exc", error) if type(error).__name__ == "ExceptionWithTraceback" else error
            gone = getattr(request, "_already_revoked", False) or getattr(request, "_already_cancelled", False)
            if isinstance(error, Terminated) or gone:
                return  # told by `task_revoked`, or not over: it will be delivered again
            if isinstance(error, Retry):
                state = "retry"
            elif isinstance(error, Reject):
                state = "rejected"
            elif isinstance(error, Ignore):
                state = "ignored"
            else:
                state = "failure"
            self._count(request, state, None)
        except Exception:  # noqa: BLE001  the same
            self._note()

    def timed_out(self, request: Any) -> None:
        """Count a task whose child was killed at its hard time limit."""
        try:
            self._count(request, "failure", None)
        except Exception:  # noqa: BLE001  the same
            self._note()

    def _revoked(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """Count a task that was revoked, before it ran or while it did: Celery's `task_revoked`."""
        try:
            if self.active:
                labels = {"celery.task.name": str(sender.name), "celery.task.state": "revoked"}
                self._executions.add(1, labels | _queue(destination(sender.app, request.delivery_info)))
        except Exception:  # noqa: BLE001  the same
            self._note()

    def _count(self, request: Any, state: str, seconds: float | None) -> None:
        """Count an end, once: Celery reports a hard time limit as a failure too."""
        if not self.active or vars(request).get(_OWN):
            return
        vars(request)[_OWN] = True
        if seconds is None and request.time_start:
            seconds = time() - request.time_start
        labels = {"celery.task.name": request.name, "celery.task.state": state} | _destination_label(request)
        context = _context(request)
        self._executions.add(1, labels, context)
        if seconds is not None:
            self._duration.record(max(0.0, seconds), labels, context)

    def _note(self) -> None:
        """Say once that a hook failed, where a developer may look; called from an `except` clause."""
        if not self._failed:
            self._failed = True
            _log.debug("a hook of the celery integration failed; further failures are not logged", exc_info=True)


def _destination_label(request: Any) -> dict[str, str]:
    return _queue(destination(request.task.app, request.delivery_info))


def _queue(name: str | None) -> dict[str, str]:
    return {} if name is None else {"messaging.destination.name": name}


def _context(request: Any) -> Context:
    """Return the context that came with the message: its trace is that of the run, which makes it the exemplar."""
    return _propagation.keep().extract(
        {key: value for key, value in request.request_dict.items() if isinstance(value, str)}, Context()
    )


@lru_cache(maxsize=1024)
def _seconds(moment: str) -> float:
    """Read a moment as Celery writes it, in seconds since 1970; without a zone it is UTC."""
    read = datetime.fromisoformat(moment)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


_workers: list[_Worker] = []


def install(meter_provider: MeterProvider) -> None:
    """Count what workers of this process do, from now on or once Celery is imported."""
    if not _workers:
        _workers.append(_Worker(meter_provider))
        _workers[0].attach()
    _workers[0].active = True


def is_child() -> bool:
    """Tell, where Celery sends `worker_process_init`, whether it is a child of a pool, and not the worker itself."""
    return all(worker.forked for worker in _workers)


def uninstall() -> None:
    """Count nothing any more."""
    for worker in _workers:
        worker.active = False
