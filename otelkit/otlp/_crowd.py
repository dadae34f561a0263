"""The only place that decides which client of the receiver must go when there are too many of them.

A client that keeps the receiver waiting (idle, or slow with its request) goes for one that has just come: whoever holds
connections open, or sends most of a large body and stops, keeps nobody else out. A client that is being served stays.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_PATIENCE = 1.0  # seconds in which nobody has to go for the bytes of another one: Retry-After says as much
_SMALL = 65_536  # bytes of a request for which there is always room


@dataclass(eq=False)
class Seat:
    """A connection that was let in.

    Args:
        connection: Its socket.
        since: When it began to keep the receiver waiting (monotonic seconds); None while it is being served.
        size: Bytes of its request in memory.
        gone: Whether it was closed for another one.
    """

    connection: socket.socket
    since: float | None
    size: int = 0
    gone: bool = False


class Crowd:
    """The connections of one server, bounded in number and in the bytes of their requests.

    All methods may be called from any thread.

    Args:
        seats: Connections at once.
        size: Bytes of requests at once, of all connections together.
    """

    def __init__(self, *, seats: int, size: int) -> None:
        self._free, self._left = seats, size
        self._seats: dict[Seat, None] = {}
        self._lock = threading.Lock()

    def admit(self, connection: socket.socket) -> Seat | None:
        """Let a connection in, if need be for the one that waits longest; None where no seat is left and none waits."""
        with self._lock:
            if self._free == 0 and not self._evict(lambda _: True):
                return None
            seat = Seat(connection, time.monotonic())
            self._seats[seat] = None
            self._free -= 1
            return seat

    def leave(self, seat: Seat) -> None:
        """Give a seat and its bytes back."""
        with self._lock:
            self._remove(seat)

    def waits(self, seat: Seat) -> None:
        """Note that the client's turn begins: the next request, or reading the answer."""
        with self._lock:
            self._left += seat.size
            seat.size, seat.since = 0, time.monotonic()

    def serves(self, seat: Seat) -> bool:
        """Note that the request is complete; False if the client had to go before."""
        with self._lock:
            seat.since = None
            return not seat.gone

    def takes(self, seat: Seat, size: int) -> bool:
        """Count further bytes of a request, in place of those of others that wait; False if there is no room."""
        with self._lock:
            fits = seat.size + size <= _SMALL
            latest = time.monotonic() - _PATIENCE
            while not fits and self._left < size and self._evict(lambda other: _holds(other, since=latest)):
                pass
            if seat.gone or not (fits or self._left >= size):
                return False
            self._left -= size
            seat.size += size
            return True

    def connections(self) -> list[socket.socket]:
        """The connections that are in."""
        with self._lock:
            return [seat.connection for seat in self._seats]

    def _evict(self, which: Callable[[Seat], bool]) -> bool:
        """Close the connection that waits longest among some; False if none of them waits."""
        waiting = [(seat.since, seat) for seat in self._seats if seat.since is not None and which(seat)]
        if not waiting:
            return False
        _, seat = min(waiting, key=lambda pair: pair[0])
        seat.gone = True
        shut(seat.connection)
        self._remove(seat)
        return True

    def _remove(self, seat: Seat) -> None:
        if seat in self._seats:
            del self._seats[seat]
            self._free += 1
            self._left += seat.size
            seat.size = 0


def _holds(seat: Seat, *, since: float) -> bool:
    return seat.size > _SMALL and seat.since is not None and seat.since < since


def shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """End a connection, whichever thread waits for it."""
    with contextlib.suppress(OSError):  # closed already, by its own thread or by the client
        connection.shutdown(how)
