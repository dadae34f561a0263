"""The only place that measures how many messages wait in Celery's queues, and when beat last looked at its schedule.

Whoever publishes measures too, not the workers alone: the depth must go on rising where every worker is gone. Each
process reports what it saw of the same queue, so that the depth is the maximum over them, never their sum.

The broker is asked in a thread of its own, over a connection of its own: an export does not wait for a broker.
"""

from __future__ import annotations

import logging
import os
import threading
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import Observation

from otelkit import _catalog
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

_log = logging.getLogger("otelkit")

_MOST_QUEUES = 100
"""Queues that one process measures: names may be made up by routing keys."""
_STALE = 3
"""Intervals after which what was measured is told no more."""
_CONNECT_SECONDS = 3.0


class Queues:
    """The queues that this process uses, and their last known depths.

    Args:
        meter_provider: Where the depth and beat's tick are reported.
        interval: Seconds between two looks.
    """

    def __init__(self, meter_provider: MeterProvider, interval: float) -> None:
        self.active = False
        self.measures = True
        self._interval = min(interval, threading.TIMEOUT_MAX)
        self._used: dict[str, None] = {}
        self._depths: dict[str, tuple[int, float]] = {}
        self._worker_app: Any = None
        self._app: Any = None
        self._pid: int | None = None
        self._last_tick: float | None = None
        meter = meter_provider.get_meter("otelkit.integrations.celery")
        create(meter, _catalog.metric("celery.queue.depth"), [self._observe_depths])
        create(meter, _catalog.metric("celery.beat.last_tick.time"), [self._observe_tick])

    def published(self, app: Any, queue: str) -> None:
        """Measure a queue from now on, as this process sends to it."""
        if queue and queue not in self._used and len(self._used) < _MOST_QUEUES:
            self._used[queue] = None
        self._watch(app)

    def consumes(self, app: Any) -> None:
        """Measure the queues that the worker of this process consumes from."""
        self._worker_app = app
        self._watch(app)

    def leave_to_parent(self) -> None:
        """Measure nothing in a child of a pool: its worker does."""
        self.measures = False

    def _watch(self, app: Any) -> None:
        if self._pid == os.getpid() or not (self.active and self.measures):
            return
        self._pid, self._app = os.getpid(), app
        self._depths = {}
        # Where none can be started the depth is not known, and the application goes on.
        try:
            threading.Thread(target=self._run, name="otelkit-celery-queues", daemon=True).start()
        except RuntimeError:
            _log.debug("no thread measures the depth of Celery's queues", exc_info=True)

    def _run(self) -> None:
        never = threading.Event()  # `sleep` refuses the longest intervals, a wait takes them
        while True:
            if self.active and self.measures:
                try:
                    with (
                        suppress_instrumentation(),
                        self._app.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection,
                    ):
                        self._measure_until_lost(connection, never)
                except Exception:  # noqa: BLE001  a broker that is away: it is asked again
                    _log.debug("the depth of Celery's queues could not be measured", exc_info=True)
            never.wait(self._interval)

    def _measure_until_lost(self, connection: Any, never: threading.Event) -> None:
        channel = connection.channel()
        while self.active and self.measures:
            for queue in self._names():
                try:
                    depth = int(channel.queue_declare(queue=queue, passive=True).message_count)
                except connection.channel_errors:
                    depth = 0  # Redis keeps no empty queue, and a broker that has none has none waiting
                    if not getattr(channel, "is_open", not getattr(channel, "closed", False)):
                        channel = connection.channel()
                self._depths[queue] = (depth, monotonic())
            never.wait(self._interval)

    def _names(self) -> list[str]:
        names = dict(self._used)
        if self._worker_app is not None:
            names |= dict.fromkeys(self._worker_app.amqp.queues.consume_from)
        return list(names)[:_MOST_QUEUES]

    def _observe_depths(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.active and self._pid == os.getpid():
            oldest = monotonic() - _STALE * max(self._interval, 1.0)
            for queue, (depth, at) in list(self._depths.items()):
                if at >= oldest:
                    yield Observation(depth, {"messaging.destination.name": queue})

    # -- beat

    def attach_to_beat(self) -> None:
        """Follow beat's scheduler, once it is imported."""
        wrapt.register_post_import_hook(self._hook_beat, "celery.beat")

    def _hook_beat(self, module: Any) -> None:
        try:
            wrapt.wrap_function_wrapper(module, "Scheduler.tick", self._tick)
        except Exception:  # noqa: BLE001  runs inside the application's import
            _log.debug("beat cannot be followed", exc_info=True)

    def _tick(self, wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        self._last_tick = time()
        return result

    def _observe_tick(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.active and self._last_tick is not None:
            yield Observation(self._last_tick)
