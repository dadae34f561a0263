"""The only place that holds SIGTERM back, so that a server serves on while load balancers take note.

A server closes its sockets the moment it hears SIGTERM. Whoever routes to it learns of that by a refused connection, or
by readiness, if somebody is still there to answer 503. So our handler goes in front of the server's when the server is
up: it hears SIGTERM, lets the event loop run on, and raises the signal again when the time is over, with everything in
place as it was found. What the server's handler then does, and the deadline for the last telemetry that begins with it
(`otelkit._leaving`), is later by that time and not otherwise changed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType


class Drain:
    """Holds the first SIGTERM back for some seconds; further ones change nothing meanwhile.

    A service manager may send it to a worker that its parent sends it to as well. SIGINT and SIGQUIT stay with the
    server, for those who do not want to wait.

    Args:
        seconds: How long; 0 leaves signals alone.
        begun: Called in the event loop when it begins.
    """

    def __init__(self, seconds: float, begun: Callable[[], object]) -> None:
        self.seconds = seconds
        self.active = False
        """Whether SIGTERM came: what asks for readiness must hear no from now on."""
        self._begun = begun
        self._handler = self._on_sigterm  # one object, so that it can be recognised
        self._previous: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wakeup: _Wakeup | None = None
        self._over = False

    def arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go in front of the handler that is in force. Once only, and only where signals are heard: the main thread.

        Args:
            loop: The server's, running in this thread.
        """
        if not self.seconds or self._loop is not None or threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        # Ignored: the parent wants it so. None: a handler of a C library, which cannot be called from here.
        if previous in (signal.SIG_IGN, None):
            return
        self._loop, self._pid, self._previous = loop, os.getpid(), previous
        signal.signal(signal.SIGTERM, self._handler)
        self._wakeup = _Wakeup.take(loop)

    def disarm(self) -> None:
        """Put everything back as it was found, as far as it is still ours to put back."""
        if self._timer is not None:
            self._timer.cancel()
        if self._wakeup is not None:
            self._wakeup.give_back()
            self._wakeup = None
        if self._loop is not None and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, self._previous)
        self._loop = None

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._pid != os.getpid():  # a child that was forked meanwhile, and serves nothing
            signal.signal(number, self._previous)
            signal.raise_signal(number)
            return
        if self._over or self._loop is None:  # called by a handler that was put in front of ours
            if callable(self._previous):
                self._previous(number, frame)
            return
        if self.active:
            return
        self.active = True
        try:
            # Not in the context of the request that the signal interrupted.
            self._loop.call_soon_threadsafe(self._start, context=Context())
        except RuntimeError:  # the loop is closed: nobody serves
            self._finish()

    def _start(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(self.seconds, self._finish)
            self._begun()

    def _finish(self) -> None:
        self._over = True
        self.disarm()
        signal.raise_signal(signal.SIGTERM)


class _Wakeup:
    """Stands between signals and an event loop with signal handlers of its own (gunicorn's ASGI worker, hypercorn).

    The interpreter writes the number of each signal to a descriptor from which such a loop learns of it, whatever
    handler is in force. Here all numbers go on to it but that of SIGTERM.

    Args:
        loop: The loop.
        ours: What the interpreter writes to.
        reader: Its other end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ours: socket.socket, reader: socket.socket) -> None:
        self._loop, self._ours, self._reader = loop, ours, reader
        self.theirs = -1

    @classmethod
    def take(cls, loop: asyncio.AbstractEventLoop) -> _Wakeup | None:
        """Stand there; None where the loop has no such descriptor."""
        reader, ours = socket.socketpair()
        for end in (reader, ours):
            end.settimeout(0)
        between = cls(loop, ours, reader)
        try:
            loop.add_reader(reader, between.pass_on)
        except NotImplementedError:  # no loop of POSIX
            between._close()
            return None
        between.theirs = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        if between.theirs == -1:
            between.give_back()
            return None
        return between

    def pass_on(self) -> None:
        """Tell the loop what came."""
        with contextlib.suppress(OSError):  # nothing to read after all, or nobody to tell
            numbers = self._reader.recv(4096).replace(bytes([signal.SIGTERM]), b"")
            if numbers and self.theirs != -1:
                os.write(self.theirs, numbers)

    def give_back(self) -> None:
        """Let the loop hear signals itself again, unless it or somebody else has taken that back already."""
        found = signal.set_wakeup_fd(-1)
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            signal.set_wakeup_fd(self.theirs if found == self._ours.fileno() else found)
        self._loop.remove_reader(self._reader)
        self.pass_on()
        self._close()

    def _close(self) -> None:
        self._ours.close()
        self._reader.close()
