"""The only place that keeps forks out of gRPC's calls.

gRPC remembers in the process which thread polls its sockets. A child that is forked at that moment inherits the
memory without the thread, and its own first call may find it and abort the process (gRPC 1.85, `ev_epoll1_linux.cc`,
"Check failed: g_active_poller"). So a fork waits for calls to end, and calls wait for a fork; both for a moment only:
a receiver that hangs must not hold up a program that forks.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE: Final = 0.25
"""Seconds that a fork waits for calls."""
_FORK: Final = 5.0
"""Seconds that a call waits for a fork."""


class Calls:
    """How many calls of this process are under way, and whether it forks."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._renew)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._forking = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Make a call in the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, _FORK)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _hold(self) -> None:
        with self._changed:
            self._forking += 1
            self._changed.wait_for(lambda: not self._running, _PATIENCE)

    def _release(self) -> None:
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()


calls: Final = Calls()
