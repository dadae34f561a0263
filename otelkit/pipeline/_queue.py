"""The only place where encoded telemetry waits, and where every item of it is counted.

One queue per signal, bounded by bytes as well as by items. What enters is counted as emitted; it leaves acknowledged
(delivered) or for a stated reason (dropped), and until then it is pending, also while it is on its way. The counts
change under one lock together with what they count: emitted = delivered + dropped + pending holds at any moment.

Under pressure the oldest goes first, and what tells of an error goes last.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["REASONS", "Batch", "Item", "Queue", "SignalStats"]

REASONS: Final = ("queue_full", "rejected", "too_large", "shutdown", "invalid")
"""Why an item is dropped: the bound of the queue; the receiver refused it, whole or in part; the receiver takes no item
of its size; it was not acknowledged when the process left; no bytes could be made of it."""

_OVERHEAD = 200
"""Bytes that an item takes beside its own: the tuple, its numbers, the header of the bytes object, the queue's slot."""


class Item(NamedTuple):
    """Something encoded.

    Args:
        data: The bytes as they stand in a request.
        number: How many spans, records or metric points these are.
        resource: What it belongs to; told apart by identity.
        scope: Who made it; likewise.
    """

    data: bytes
    number: int
    resource: Any
    scope: Any


@dataclass(frozen=True, kw_only=True)
class SignalStats:
    """What became of one signal's items in this process: spans, log records or metric points.

    Args:
        emitted: All that were handed over.
        delivered: Acknowledged by the receiver.
        dropped: Lost, by reason.
        pending: Waiting, or on their way.
        resent: Sent again after an attempt that failed or whose outcome is unknown; not part of the sum.
        redacted: Secrets that were replaced, by the rule that found them; those of lines on stdout are with the logs.
        overflowed: Measurements that share one series, as their instrument had too many; by instrument, metrics only.
    """

    emitted: int
    delivered: int
    dropped: Mapping[str, int]
    pending: int
    resent: int
    redacted: Mapping[str, int] = field(default_factory=dict)
    overflowed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Items that go out together, in the order in which they were emitted."""

    items: tuple[Item, ...]

    @property
    def count(self) -> int:
        """How many spans, records or points these are."""
        return sum(item.number for item in self.items)

    def groups(self) -> Iterator[tuple[Any, Any, list[bytes]]]:
        """The items by resource and scope, as `otelkit.otlp.encode.request` takes them."""
        found: dict[int, dict[int, tuple[Any, Any, list[bytes]]]] = {}
        for item in self.items:
            scopes = found.setdefault(id(item.resource), {})
            scopes.setdefault(id(item.scope), (item.resource, item.scope, []))[2].append(item.data)
        for scopes in found.values():
            yield from scopes.values()

    def halves(self) -> tuple[Batch, Batch]:
        """The same items in two batches."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


_Waiting = tuple[int, Item]
"""An item with its place among all items of its queue."""


def _first_order(waiting: deque[_Waiting]) -> int:
    return waiting[0][0]


class Queue:
    """Takes items from any thread without ever waiting, and hands them out in batches to one thread.

    Args:
        max_items: Items that may be here, those on their way included.
        max_bytes: Bytes that may be here, likewise.
        batch_items: Items of a batch.
        batch_bytes: Bytes of a batch; a single item may be larger.
        delay: Seconds that items wait for their batch to fill.
    """

    def __init__(self, *, max_items: int, max_bytes: int, batch_items: int, batch_bytes: int, delay: float) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._batch_items, self._batch_bytes, self._delay = batch_items, batch_bytes, delay
        self.renew()

    def renew(self) -> None:
        """Begin with nothing, not even the locks: in a forked child, what waits is the parent's to deliver."""
        # Reentrant: a signal handler or a finalizer may emit while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._plain: deque[_Waiting] = deque()
        self._errors: deque[_Waiting] = deque()
        self._order = 0
        self._held = 0  # items here, those on their way included
        self._bytes = 0
        self._due_at = 0.0
        self._flushing = 0
        self._nudges = 0
        self._closing: float | None = None
        self._done = self._abandoned = False
        self._emitted = self._delivered = self._pending = self._resent = 0
        self._dropped = dict.fromkeys(REASONS, 0)

    # -- the side that emits

    def put(self, item: Item, *, error: bool = False) -> None:
        """Take one item.

        Args:
            item: What was encoded.
            error: Whether it tells of an error, and is kept longest.
        """
        with self._changed:
            self._enter(item, self._errors if error else self._plain)

    def put_all(self, items: Iterable[Item]) -> None:
        """Take several items at once: they are not torn apart by a batch that is taken in between."""
        with self._changed:
            for item in items:
                self._enter(item, self._plain)

    def lost(self, count: int, reason: str) -> None:
        """Count items of which no bytes could be made."""
        with self._changed:
            self._emitted += count
            self._dropped[reason] += count

    def _enter(self, item: Item, waiting: deque[_Waiting]) -> None:
        self._emitted += item.number
        if self._closing is not None:
            self._dropped["shutdown"] += item.number
            return
        first = not self._plain and not self._errors
        self._order += 1
        waiting.append((self._order, item))
        self._pending += item.number
        self._held += 1
        self._bytes += len(item.data) + _OVERHEAD
        while (self._held > self._max_items or self._bytes > self._max_bytes) and (self._plain or self._errors):
            self._leave((self._plain or self._errors).popleft()[1], "queue_full")
        if first:
            self._due_at = time.monotonic() + self._delay
        if first or self._is_full():
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._plain) + len(self._errors) >= self._batch_items or self._bytes >= self._batch_bytes

    def _leave(self, item: Item, reason: str | None) -> None:
        self._held -= 1
        self._bytes -= len(item.data) + _OVERHEAD
        self._pending -= item.number
        if reason is None:
            self._delivered += item.number
        else:
            self._dropped[reason] += item.number

    # -- the side that delivers

    def take(self, *, wait: bool = True) -> Batch | None:
        """Hand out a batch, once one is due; None where the queue is closed and empty.

        Args:
            wait: False to take what is here at once; None then where there is nothing.
        """
        with self._changed:
            while True:
                anything = bool(self._plain or self._errors)
                if anything and (not wait or self._is_due()):
                    return self._taken()
                if not anything and (not wait or self._closing is not None):
                    return None
                self._changed.wait(self._due_at - time.monotonic() if anything else None)

    def _is_due(self) -> bool:
        hurried = self._flushing or self._closing is not None
        return bool(hurried) or self._is_full() or time.monotonic() >= self._due_at

    def _taken(self) -> Batch:
        taken: list[Item] = []
        size = 0
        while len(taken) < self._batch_items and (self._plain or self._errors):
            waiting = self._older()
            size += len(waiting[0][1].data)
            if taken and size > self._batch_bytes:
                break
            taken.append(waiting.popleft()[1])
        self._due_at = time.monotonic() + self._delay
        return Batch(tuple(taken))

    def _older(self) -> deque[_Waiting]:
        if self._plain and self._errors:
            return min(self._plain, self._errors, key=_first_order)
        return self._plain or self._errors

    def settle(self, batch: Batch, *, reason: str | None = None, rejected: int = 0) -> None:
        """Count a batch, or a part of one, as done.

        Args:
            batch: What was sent.
            reason: Why all of it is dropped; None where it was acknowledged.
            rejected: How many of the acknowledged the receiver said it did not take.
        """
        with self._changed:
            if self._abandoned:
                return  # counted as lost when the process left, and it is too late to say otherwise
            for item in batch.items:
                self._leave(item, reason)
            refused = min(rejected, batch.count) if reason is None else 0
            self._delivered -= refused
            self._dropped["rejected"] += refused
            self._changed.notify_all()

    def count_resent(self, batch: Batch) -> None:
        """Count a batch that is sent once more."""
        with self._changed:
            self._resent += batch.count

    def pause(self, seconds: float, *, obeyed: bool = False) -> bool:
        """Wait before another attempt; False where the queue is closing and leaves no time for one.

        Args:
            seconds: How long. A flush, or the closing, ends the wait early.
            obeyed: Whether the receiver asked for it: then neither does, and a closing that comes before gives up.
        """
        until = time.monotonic() + seconds
        with self._changed:
            nudges = self._nudges
            while (now := time.monotonic()) < until:
                if self._closing is not None and (now >= self._closing or (obeyed and until > self._closing)):
                    return False
                if self._nudges > nudges and not obeyed:
                    return True
                self._changed.wait(until - now if self._closing is None else min(until, self._closing) - now)
            return self._closing is None or until < self._closing

    # -- both sides

    @property
    def closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing is not None

    @property
    def pending(self) -> int:
        """How many spans, records or points are here, those on their way included."""
        return self._pending

    def hurry(self) -> None:
        """Have everything go out at once until `calm()`."""
        with self._changed:
            self._flushing += 1
            self._nudges += 1
            self._changed.notify_all()

    def calm(self) -> None:
        """End what `hurry` began."""
        with self._changed:
            self._flushing -= 1

    def mark(self, since: tuple[int, int] | None = None) -> tuple[int, int]:
        """Remember what was emitted and lost until now, for `wait`.

        Args:
            since: An earlier mark: what was lost after that one is not forgiven.
        """
        with self._changed:
            return self._emitted, sum(self._dropped.values()) if since is None else since[1]

    def wait(self, mark: tuple[int, int], at: float) -> bool:
        """Wait until all that was emitted before a mark is settled, or nobody delivers any more.

        Args:
            mark: What `mark` returned.
            at: `time.monotonic()` seconds at which to give up.

        Returns:
            True where all of it was acknowledged, and nothing was lost since.
        """
        emitted, lost = mark
        with self._changed:
            while self._emitted - self._pending < emitted:
                left = at - time.monotonic()
                if left <= 0 or self._done:
                    return False
                self._changed.wait(left)
            return sum(self._dropped.values()) == lost

    def close(self, at: float) -> None:
        """Take nothing more; what is here goes out until `at`, in `time.monotonic()` seconds."""
        with self._changed:
            if self._closing is None or at < self._closing:
                self._closing = at
            self._nudges += 1
            self._changed.notify_all()

    def done(self) -> None:
        """Say that nobody delivers any more: what is still pending stays so."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Count what is still here as lost, and tell how much that was; the last thing that happens to a queue."""
        with self._changed:
            left = self._pending
            self._dropped["shutdown"] += left
            self._pending = self._held = self._bytes = 0
            self._plain.clear()
            self._errors.clear()
            self._abandoned = True
            self._changed.notify_all()
            return left

    def stats(self) -> SignalStats:
        """What became of everything so far."""
        with self._changed:
            return SignalStats(
                emitted=self._emitted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                pending=self._pending,
                resent=self._resent,
            )
