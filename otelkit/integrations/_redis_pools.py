"""The only place that knows what telemetry says about a connection pool of redis-py, worked out once per pool.

Pools of one database are told as one: a program makes as many as it likes, one per client, and a name for each would be
new series at each start. Nothing here keeps a pool alive.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otelkit import _catalog
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, Meter

_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
_NO_LIMIT = 2**31  # what redis-py below 8 writes for none
# redis-py has one class for these and for what goes wrong with a connection.
_GAVE_UP = frozenset({"No connection available.", "Too many connections"})
_SYSTEM = {"db.system.name": "redis"}


class PoolFacts:
    """What is fixed about a pool, and who waits for a connection of it.

    Args:
        where: `connection_kwargs` of the pool; None for a client that has no pool of its own (a cluster's).
        service: The name that Sentinel knows the server by, if it is asked.
    """

    def __init__(self, where: dict[str, Any] | None, service: str | None = None) -> None:
        self.attributes: dict[str, str | int] = dict(_SYSTEM)
        place = "redis"
        if where is not None:
            namespace = str(where.get("db") or 0)
            self.attributes["db.namespace"] = namespace
            host, port = where.get("host", "localhost"), where.get("port", 6379)
            if service is not None:
                place = f"{service}/{namespace}"
            elif "path" in where:
                place = f"socket/{namespace}"
            elif isinstance(host, str):
                self.attributes["server.address"] = host
                place = f"{host}/{namespace}"
                if isinstance(port, int) or (isinstance(port, str) and port.isdecimal()):
                    self.attributes["server.port"] = int(port)
                    place = f"{host}:{port}/{namespace}"
        self.pool_labels = {_POOL: place}
        self.waiting: set[object] = set()
        self._labels: dict[str | None, dict[str, str | int]] = {}

    def labels(self, operation: str | None) -> dict[str, str | int]:
        """Return the attributes of `db.client.operation.duration`; operations are a closed set."""
        labels = self._labels.get(operation)
        if labels is None:
            labels = dict(self.attributes) if operation is None else self.attributes | {"db.operation.name": operation}
            self._labels[operation] = labels
        return labels


class Pools:
    """The pools in use, and their metrics.

    Args:
        meter: Makes the instruments, once.
        measured: Tells whether redis-py itself measures connections ("basic"), or waits for them ("advanced").
    """

    def __init__(self, meter: Meter, measured: Callable[[str], bool]) -> None:
        self._facts: weakref.WeakKeyDictionary[Any, PoolFacts] = weakref.WeakKeyDictionary()
        self._anywhere = PoolFacts(None)
        self._measured = measured
        self._process = os.getpid()
        self.active = True
        self._timeouts = create(meter, _catalog.metric("db.client.connection.timeouts"))
        self._wait_time = create(meter, _catalog.metric("db.client.connection.wait_time"))
        for name, measure in (("count", _count), ("max", _limit), ("pending_requests", _waiting)):
            create(meter, _catalog.metric(f"db.client.connection.{name}"), [self._observe(measure)])

    def of(self, pool: Any) -> PoolFacts:
        """Return what is known about the pool; found out at its first use."""
        where = getattr(pool, "connection_kwargs", None)
        if not isinstance(where, dict):
            return self._anywhere
        facts = self._facts.get(pool)
        if facts is None:
            facts = self._facts.setdefault(pool, PoolFacts(where, getattr(pool, "service_name", None)))
            if not self._measured("advanced"):
                self._timeouts.add(0, facts.pool_labels)
        return facts

    def waited(self, facts: PoolFacts, seconds: float, error: BaseException | None) -> None:
        """Record how long it took to get a connection, or to give up; a connection that failed is no wait."""
        gave_up = error is not None and bool(error.args) and error.args[0] in _GAVE_UP
        if (error is not None and not gave_up) or self._measured("advanced"):
            return
        self._wait_time.record(seconds, facts.pool_labels)
        if gave_up:
            self._timeouts.add(1, facts.pool_labels)

    def _observe(
        self, measure: Callable[[Any, PoolFacts], Iterable[tuple[dict[str, str], int]]]
    ) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            if not self.active or self._measured("basic"):
                return []
            self._notice_fork()
            sums: dict[tuple[tuple[str, str], ...], int] = {}
            for pool, facts in list(self._facts.items()):
                for labels, value in measure(pool, facts):
                    key = tuple((facts.pool_labels | labels).items())
                    sums[key] = sums.get(key, 0) + value
            return [Observation(value, dict(key)) for key, value in sums.items()]

        return observe

    def _notice_fork(self) -> None:
        """Forget who was waiting in the parent process: nobody in this one will ever be served for them."""
        if self._process != os.getpid():
            self._process = os.getpid()
            for facts in list(self._facts.values()):
                facts.waiting.clear()


def _count(pool: Any, _: PoolFacts) -> Iterator[tuple[dict[str, str], int]]:
    """Count connections that are used and, kept open for the next command, idle.

    redis-py below 8 has no public name for them, and its blocking pools have names of their own: no attribute, no
    series. A pool that was made in the parent process of a fork has none here; it notices at its next use.
    """
    if getattr(pool, "pid", os.getpid()) != os.getpid():
        return
    used = getattr(pool, "_in_use_connections", None)
    idle = getattr(pool, "_available_connections", None)
    kept, queue = getattr(pool, "_connections", None), getattr(pool, "pool", None)
    if kept is not None and hasattr(queue, "qsize"):
        held = getattr(queue, "queue", getattr(queue, "_queue", ()))  # asyncio's has no public name for them
        free = sum(connection is not None for connection in list(held))
        yield {_STATE: "used"}, max(len(kept) - free, 0)
        yield {_STATE: "idle"}, free
    elif used is not None and idle is not None:
        yield {_STATE: "used"}, len(used)
        yield {_STATE: "idle"}, len(idle)


def _limit(pool: Any, _: PoolFacts) -> Iterator[tuple[dict[str, str], int]]:
    limit = getattr(pool, "max_connections", None)
    if isinstance(limit, int) and limit < _NO_LIMIT:
        yield {}, limit


def _waiting(_: Any, facts: PoolFacts) -> Iterator[tuple[dict[str, str], int]]:
    yield {}, len(facts.waiting)
