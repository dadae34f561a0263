"""The only place for what forked children measured and hand to the process that forked them, which tells it as its own.

Children that come and go, as those of a pool do that replaces each after so many tasks, would be new series each time,
most of them too short for a rate. So their measurements are added to those of a process that stays:

- counters, up-down counters and histograms, by what they grew since they were last told;
- what is observed and only grows (CPU time), likewise: the part of a child that is gone stays;
- what is observed and goes up and down (memory, connections), as the sum over the children that live;
- of gauges the last value that a child told, unless the process has the same series itself.

They travel over a datagram socket: a message arrives whole or not at all, so a child that is killed in the middle of
one spoils nothing of the others'.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelkit._stderr import say_once
from otelkit.pipeline._cumulative import frozen, summed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from opentelemetry.sdk.metrics.export import DataPointT

_POINTS: Final = 40
"""Data points in one message: some 20 kB of histograms, far below what a socket takes at once."""
_MOST: Final = 1 << 20
"""Bytes of the largest message that is read."""
_PATIENCE: Final = 2.0
"""Seconds that a child waits in all for room in the socket, each time that it tells something."""
_MOST_WAITING: Final = 1_000
"""Pieces that a child keeps for later where there was no room."""
_OVERFLOW: Final = {"otel.metric.overflow": True}  # metrics/sdk.md of the specification, "Cardinality limits"

_Piece = tuple[tuple[Any, ...], Metric]
"""What identifies a scope, and some points of one of its metrics."""


class Children:
    """What the children of this process measured, for its own reader.

    Args:
        limit: Attribute sets of one instrument that are told apart, all children together.
        within: Seconds after which a child hands a measurement over at the latest: it may be killed.
        lost: Told, in a child, of points that could not be handed over.
    """

    def __init__(self, limit: int, *, within: float, lost: Callable[[int], object]) -> None:
        self.within = within
        self._limit = limit
        self._lost = lost
        self._incoming, self._outgoing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._incoming.settimeout(0)
        self._awake, self._waker = socket.socketpair()  # what is sent here is never read: the thread ends
        with contextlib.suppress(OSError):
            self._outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        self._lock = threading.Lock()
        self._scopes: dict[InstrumentationScope, dict[Hashable, _Shared]] = {}
        self._thread = threading.Thread(target=self._run, name="otelkit-children", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread to be had: each collection reads what has come
            self._thread.start()

    def parent(self) -> Parent:
        """Return, in a child, the way to the process that forked it."""
        self._incoming.close()  # so that a child whose parent is gone is told so, and does not wait
        return Parent(self._outgoing, self._lost)

    def merged(self, data: MetricsData | None, *, final: bool) -> MetricsData | None:
        """Add what children told to one collection of the process itself, as of the same time.

        Args:
            data: What the SDK collected in this process; None where no instrument had anything new.
            final: It is the last: children that tell something later are refused, and tell it themselves.
        """
        with self._lock:
            if final:
                with contextlib.suppress(OSError):
                    self._incoming.shutdown(socket.SHUT_RD)
            self._read()
            own = data.resource_metrics[0] if data is not None else None
            now = next((point.time_unix_nano for point in _points(own)), time.time_ns())
            collected = {each.scope: each for each in (own.scope_metrics if own is not None else ())}
            scopes = []
            for scope in {**collected, **self._scopes}:
                shared = self._scopes.get(scope, {})
                metrics = {
                    _identity(metric): metric for metric in (collected[scope].metrics if scope in collected else ())
                }
                told = [
                    shared[each].joined(metrics.get(each), now) if each in shared else metrics[each]
                    for each in {**metrics, **shared}
                ]
                if present := [metric for metric in told if metric is not None]:
                    scopes.append(ScopeMetrics(scope=scope, metrics=present, schema_url=scope.schema_url or ""))
        if not scopes:
            return data
        resource = own.resource if own is not None else Resource.get_empty()
        return MetricsData(
            resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=scopes, schema_url=resource.schema_url)]
        )

    def close(self) -> None:
        """Listen no more. What has come by now, `merged` has read."""
        with contextlib.suppress(OSError):
            self._waker.send(b".")
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)
        with self._lock:
            for end in (self._incoming, self._outgoing, self._awake, self._waker):
                end.close()

    def _run(self) -> None:
        waits = select.poll()  # `select` knows no descriptor beyond 1024
        for end in (self._incoming, self._awake):
            waits.register(end, select.POLLIN)
        last = self._awake.fileno()
        while last not in dict(waits.poll()):
            with self._lock:
                self._read()

    def _read(self) -> None:
        """Take in every message that has come."""
        while True:
            try:
                message = self._incoming.recv(_MOST)
            except OSError:
                return
            if not message:
                return
            try:
                # Only our own forked children have the other end: it is as trustworthy as this process.
                pid, pieces, final = pickle.loads(message)  # noqa: S301  see above
                self._take(pid, pieces, final=final)
            except Exception as error:  # noqa: BLE001  one message costs itself
                say_once("metrics:children", f"metrics of a child are lost: {type(error).__name__}: {error}")

    def _take(self, pid: int, pieces: Iterable[_Piece], *, final: bool) -> None:
        for scope, metric in pieces:
            metrics = self._scopes.setdefault(InstrumentationScope(*scope), {})
            identity = _identity(metric)
            if identity not in metrics:
                metrics[identity] = _Shared(metric)
            metrics[identity].add(pid, metric, self._limit)
        if final:
            for metrics in self._scopes.values():
                for shared in metrics.values():
                    shared.sources.pop(pid, None)


class Parent:
    """The way from a child to the process that forked it.

    Args:
        outgoing: Its socket.
        lost: Told of points that could not be handed over.
    """

    def __init__(self, outgoing: socket.socket, lost: Callable[[int], object]) -> None:
        self._outgoing = outgoing
        self._identity = _identity_of(outgoing)
        self._lost = lost
        self._waiting: list[_Piece] = []
        self._gone = False

    def tell(self, data: MetricsData | None, *, final: bool) -> bool:
        """Hand one collection over; waits for a moment at most.

        Args:
            data: With the temporalities of `inner_temporality`.
            final: It is the last.

        Returns:
            False where the parent has ended and took nothing of it: the child has to tell it by itself.
        """
        deadline = time.monotonic() + _PATIENCE
        waiting = [*self._waiting, *_pieces(data)]
        before = len(waiting)
        while waiting:
            batch = _batch(waiting)
            if not self._send(batch, deadline, final=final and len(batch) == len(waiting)):
                break
            del waiting[: len(batch)]
        if self._gone and len(waiting) == before:
            self._lose(self._waiting)
            return False
        # What grew since cannot be told by anybody else: it is kept for the next time.
        self._waiting = [] if final else waiting[-_MOST_WAITING:]
        self._lose(waiting[: len(waiting) - len(self._waiting)])
        return True

    def _send(self, batch: list[_Piece], deadline: float, *, final: bool) -> bool:
        """Send some pieces as one message; False where nobody takes it in time."""
        if self._gone:
            return False
        if _identity_of(self._outgoing) != self._identity:
            # A child that becomes a daemon closes what it inherited. By now the number may be that of another socket,
            # the broker's say: nothing is to be sent there, nor is it to be closed.
            self._gone = True
            self._outgoing.detach()
            return False
        try:
            message = pickle.dumps((os.getpid(), batch, final), pickle.HIGHEST_PROTOCOL)
            self._outgoing.settimeout(max(0.001, deadline - time.monotonic()))
            self._outgoing.send(message)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                self._gone = not isinstance(error, TimeoutError)
                return False
            self._lose(batch)
        except Exception:  # noqa: BLE001  something of a point that does not travel; it costs its message
            self._lose(batch)
        return True

    def _lose(self, pieces: Iterable[_Piece]) -> None:
        points = sum(len(metric.data.data_points) for _, metric in pieces)
        if points:
            self._lost(points)


@dataclass
class _Shared:
    """One metric of all children: as it was last described, and what is to be told of it.

    Args:
        metric: The description.
        points: By attributes; of deltas since they were last told, of gauges the last, else what grew in all.
        sources: What living children observed last, by process id.
        known: Attribute sets that were ever told.
    """

    metric: Metric
    points: dict[Hashable, DataPointT] = field(default_factory=dict)
    sources: dict[int, dict[Hashable, DataPointT]] = field(default_factory=dict)
    known: set[Hashable] = field(default_factory=set)

    def add(self, pid: int, metric: Metric, limit: int) -> None:
        """Add what a child told."""
        self.metric = metric
        for point in metric.data.data_points:
            key = frozen(point.attributes or {})
            if key not in self.known:
                if len(self.known) < limit:
                    self.known.add(key)
                else:
                    key, point = frozen(_OVERFLOW), replace(point, attributes=_OVERFLOW)  # noqa: PLW2901  as counted
            if isinstance(metric.data, Gauge):
                self.points[key] = point
            elif _is_delta(metric):
                self._grow(key, point)
            else:
                seen = self.sources.setdefault(pid, {})
                before: Any = seen.get(key)
                seen[key] = point
                if _only_grows(metric):
                    value: Any = point
                    grown = value.value - (0 if before is None else before.value)
                    self._grow(key, replace(value, value=max(0, grown)))

    def _grow(self, key: Hashable, point: DataPointT) -> None:
        before = self.points.get(key)
        self.points[key] = point if before is None else summed(before, point)

    def joined(self, own: Metric | None, now: int) -> Metric | None:
        """Return it with what the process measured itself; None where there is nothing to tell.

        Args:
            own: Of the process itself.
            now: Time of the collection, nanoseconds since the epoch.
        """
        points = {frozen(point.attributes or {}): point for point in (own.data.data_points if own is not None else ())}
        for key, point in self._told():
            mine = points.get(key)
            if mine is None:
                points[key] = point
            elif not isinstance(self.metric.data, Gauge):
                points[key] = summed(mine, point)
        if not points:
            return None
        told: Any = (own or self.metric).data
        as_of = [replace(point, time_unix_nano=max(now, point.start_time_unix_nano or 0)) for point in points.values()]
        return replace(own or self.metric, data=replace(told, data_points=as_of))

    def _told(self) -> Iterator[tuple[Hashable, DataPointT]]:
        """Walk through what children add to the next collection; deltas are told once."""
        told: Mapping[Hashable, DataPointT] = self.points
        if _is_delta(self.metric):
            self.points = {}
        elif not isinstance(self.metric.data, Gauge):
            self.sources = {pid: seen for pid, seen in self.sources.items() if _lives(pid)}
            if not _only_grows(self.metric):
                levels: dict[Hashable, DataPointT] = {}
                for seen in self.sources.values():
                    for key, point in seen.items():
                        levels[key] = summed(levels[key], point) if key in levels else point
                told = levels
        yield from told.items()


def _identity_of(socket_: socket.socket) -> tuple[int, int] | None:
    """Return what a socket's descriptor is now; None where it is closed."""
    try:
        found = os.fstat(socket_.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_delta(metric: Metric) -> bool:
    return getattr(metric.data, "aggregation_temporality", None) is AggregationTemporality.DELTA


def _only_grows(metric: Metric) -> bool:
    return bool(getattr(metric.data, "is_monotonic", False))


def _identity(metric: Metric) -> Hashable:
    kind = (type(metric.data), _only_grows(metric), _is_delta(metric))
    return metric.name, metric.unit, metric.description, kind


def _points(group: ResourceMetrics | None) -> Iterator[Any]:
    for scope in group.scope_metrics if group is not None else ():
        for metric in scope.metrics:
            yield from metric.data.data_points


def _pieces(data: MetricsData | None) -> Iterator[_Piece]:
    """Cut a collection into pieces of a few points, without what cannot travel between processes (locks)."""
    for group in data.resource_metrics if data is not None else ():
        for scope in group.scope_metrics:
            of = scope.scope
            told = (of.name, of.version, of.schema_url, dict(of.attributes or {}))
            for metric in scope.metrics:
                points = [replace(point, attributes=dict(point.attributes or {})) for point in metric.data.data_points]
                for at in range(0, len(points), _POINTS):
                    part: Any = metric.data
                    yield told, replace(metric, data=replace(part, data_points=points[at : at + _POINTS]))


def _batch(pieces: list[_Piece]) -> list[_Piece]:
    """Return the first pieces that fit into one message."""
    number, points = 0, 0
    for _, metric in pieces:
        points += len(metric.data.data_points)
        if number and points > _POINTS:
            break
        number += 1
    return pieces[:number]
