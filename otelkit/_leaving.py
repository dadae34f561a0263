"""The only place that knows how a process ends, and sees to it that its telemetry has left by then.

The ways out, and what each does here:

- The interpreter's own (end of the script, `sys.exit`, an exception, a server that returns): `atexit` closes.
- SIGTERM that nobody handles: flush, then die by it as before, with the exit code that a signal gives. SIGTERM that
  somebody handles: a flush begins in the background, and their handler does what it always did. Nothing stops here:
  a server goes on for as long as it drains, and its last requests are still told.
- A server that restores the default and raises the signal again (uvicorn): flush just before (`before_signal`).
- A forked child starts anew, and ends like any process; one of `multiprocessing` ends by `os._exit`, past `atexit`:
  flush when it runs its own finalizers.

`os._exit`, SIGKILL and a loss of power leave no moment to act in. All waits share one `Budget`.

Python runs signal handlers in the main thread, between two of its instructions. So SIGTERM is heard only where the main
thread configured, and while that is deep in a library's C code, it dies when the code returns and not before.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import wrapt

from otelkit.pipeline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], Any] | int | None

_PATIENCE: Final = 0.25
"""Seconds that the signal handler first waits. See `Leaving._leave`."""

_SHARE: Final = 0.9
"""Of the time that the end may take, what waiting may; the rest is for what the interpreter and the program do."""

_PAUSE: Final = 0.01
"""Seconds between two looks of a coroutine at a flush that runs in a thread."""

_LAST: Final = -1_000_000
"""Priority of our finalizer in a child of `multiprocessing`: after those of its queues and pools, and the user's."""

_INIT: Final = 1
"""The process id to which the kernel delivers no signal that it does not handle: `docker run IMAGE python ...`."""


class Budget:
    """The seconds that a process waits in all for its last telemetry, however many hooks wait.

    It takes no lock: a signal handler may spend from it while the code that it interrupted does.

    Args:
        seconds: Tells how many there are; fewer, once nobody is known to listen.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._spent = 0.0
        self._since: float | None = None

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._seconds() - self._spent - self._running)

    @property
    def _running(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def deadline(self) -> Deadline:
        """Return the moment at which it is used up, if waiting begins now."""
        return Deadline.after(self.left)

    def start(self) -> None:
        """Let it run down from now on, waiting or not: the process is to be gone when it has."""
        if self._since is None:
            self._since = time.monotonic()

    def tried(self) -> None:
        """Note that a receiver had all this time already, beside a program that went on."""
        self._spent = self._seconds()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Deadline]:
        """Spend what the block takes, and tell it how long it may take.

        A wait within a wait, of a signal handler, costs nothing more: it is the same time.
        """
        inner = self._since is not None
        self.start()
        try:
            yield self.deadline()
        finally:
            if not inner:
                self._spent, self._since = self._spent + self._running, None


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What the end of a process asks of its telemetry. None of them raises, each may be called from any thread.

    Args:
        flush: Send what was emitted; False when that took longer than the deadline.
        close: The same, then stop.
        end_open_spans: End the spans that are still open, flagged.
        renew: Start anew in a forked child.
    """

    flush: Callable[[Deadline], object]
    close: Callable[[Deadline], object]
    end_open_spans: Callable[[], object]
    renew: Callable[[], None]


class _Work:
    """Something under way in a daemon thread. `over` may be read anywhere, also in a signal handler.

    Args:
        work: What to do.
        after: Called in the thread when it is done, if anybody set `wanted` by then.
    """

    def __init__(self, work: Callable[[], object], after: Callable[[], None]) -> None:
        self.over = False
        self.wanted = False
        self._ended = threading.Event()
        self._work, self._after = work, after
        try:
            threading.Thread(target=self._run, name="otelkit-leaving", daemon=True).start()
        except RuntimeError:  # no threads to be had: Python 3.12 and later start none at exit
            self._finish()

    def wait(self, seconds: float) -> None:
        """Wait for the end, but no longer than that."""
        self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._finish()

    def _finish(self) -> None:
        self.over = True
        self._ended.set()
        if self.wanted:
            self._after()


@dataclass
class _Now:
    """What goes on in this process; a forked child begins with a new one.

    Args:
        budget: The waiting that is left.
        patience: Seconds that the signal handler waits when it is called next.
        handling: The handler is at work further down the stack.
        again: It was called once more meanwhile.
        killed: By SIGTERM, and alive only until the last telemetry has left.
        closing: The last wait has begun.
        closed: It is over.
        last: The flush that `killed` waits for.
    """

    budget: Budget
    patience: float = _PATIENCE
    handling: bool = False
    again: bool = False
    killed: bool = False
    closing: bool = False
    closed: bool = False
    last: _Work | None = field(default=None, repr=False)


class Leaving:
    """The hooks into the ends of one process and its forked children.

    Args:
        ways: What they call.
        seconds: Tells what the end of the process may take, with everything that they wait for.
    """

    def __init__(self, ways: Ways, seconds: Callable[[], float]) -> None:
        self._ways = ways
        self._seconds: Callable[[], float] = lambda: seconds() * _SHARE
        self._now = _Now(Budget(self._seconds))
        self._handler = self._on_sigterm  # one object, so that it can be recognised
        self._previous: _Handler = None

    def install(self) -> None:
        """Hook into every end that this thread can hook into; a signal handler needs the main thread."""
        atexit.register(self.at_exit)
        _renew_in_children(weakref.ref(self))
        wrapt.register_post_import_hook(self._hook_multiprocessing, "multiprocessing.util")
        previous = signal.getsignal(signal.SIGTERM)
        # Ignored: the parent wants it so (nohup). None: a handler of a C library, which cannot be called from here.
        if previous in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
            return
        self._previous = previous
        with contextlib.suppress(ValueError):  # a subinterpreter has no signals
            signal.signal(signal.SIGTERM, self._handler)

    def uninstall(self) -> None:
        """Take the hooks back, as far as they are still ours to take."""
        atexit.unregister(self.at_exit)
        self._restore()

    def at_exit(self) -> None:
        """Send the last and close: nothing of the program runs any more. Once only."""
        now = self._now
        if now.closing:
            return
        now.closing = True
        # Ctrl-C: somebody does not want to wait.
        with contextlib.suppress(KeyboardInterrupt), now.budget.waiting() as deadline:
            self._ways.end_open_spans()
            self._ways.close(deadline)
        now.closed = True
        if now.killed:
            self._die()
        self._restore()

    async def before_signal(self, hurried: Callable[[], bool]) -> None:
        """Flush where a server, after its graceful stop, is about to raise the signal that ends the process.

        Args:
            hurried: Tells whether the server shall stop waiting for anything.
        """
        with self._now.budget.waiting() as deadline:
            # Most of it while the loop runs, which may have other work than the server.
            flush = self._flush(deadline)
            while not flush.over and deadline.remaining and not hurried():  # noqa: ASYNC110  it ends in a thread
                await asyncio.sleep(_PAUSE)
            # Then what came meanwhile, while it stands still: from here to the signal nothing runs in between.
            if not hurried():
                self._flush(deadline, ending=True).wait(deadline.remaining)

    def _flush(self, deadline: Deadline, *, ending: bool = False) -> _Work:
        """Begin to send what was emitted so far, in a thread.

        Args:
            deadline: When to give up.
            ending: Whether spans that are open now have no other end to come.
        """

        def work() -> None:
            if ending:
                self._ways.end_open_spans()
            self._ways.flush(deadline)

        return _Work(work, self._signal_main_thread)

    def flush_beside(self) -> None:
        """Begin to send what was emitted so far while the program goes on, and learn whether waiting later helps.

        Else a master that stops after its workers would wait for a dead receiver once more: their time, and its own.
        """
        budget, deadline = self._now.budget, Deadline.after(self._seconds())

        def work() -> None:
            self._ways.flush(deadline)
            if not deadline.remaining:
                budget.tried()

        _Work(work, self._signal_main_thread)

    # -- SIGTERM

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        now = self._now
        if callable(self._previous):
            self.flush_beside()
            self._previous(number, frame)
        elif os.getpid() == _INIT:
            self.flush_beside()
        elif now.closing and not now.closed:
            now.killed = True
        elif now.handling:
            now.again = True
        else:
            self._handle(now)

    def _handle(self, now: _Now) -> None:
        again = True
        while again:
            now.again, now.handling = False, True
            try:
                self._leave(now)
            finally:
                now.handling = False
            again = now.again

    def _leave(self, now: _Now) -> None:
        """Send the last, then die; or go back to the program for a moment, and be called again.

        The main thread may have been interrupted while it held a lock that the flush needs (of an instrument, of a
        logging handler, of a callback of the user's). It lets go of it only when this returns, so this waits for a
        moment only. If the flush is not through by then, the program runs on until it is, and the signal is sent again:
        then there is little left to send. Each time the wait is twice as long, for receivers that are slow to answer.
        """
        now.killed = True
        now.budget.start()
        if now.last is None or now.last.over:
            now.last = self._flush(now.budget.deadline(), ending=True)
        patience, now.patience = now.patience, now.patience * 2
        now.last.wait(min(patience, now.budget.left))
        if not now.last.over and now.budget.left:
            now.last.wanted = True
            if not now.last.over:  # it may have ended between the two looks, and then sent no signal
                return
        self._die()

    def _die(self) -> None:
        """End by SIGTERM, as if nobody had ever handled it."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        else:
            self._signal_main_thread()

    def _signal_main_thread(self) -> None:
        """Send SIGTERM to ourselves again, where it still comes to us; it also wakes the main thread from a wait."""
        main = threading.main_thread().ident
        if main is not None and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.pthread_kill(main, signal.SIGTERM)

    def _restore(self) -> None:
        if signal.getsignal(signal.SIGTERM) is self._handler:
            with contextlib.suppress(ValueError):  # only the main thread may; it is the handler's own thread
                signal.signal(signal.SIGTERM, self._previous)

    # -- children

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self._now = _Now(Budget(self._seconds))
        self._ways.renew()

    def _hook_multiprocessing(self, util: Any) -> None:
        import multiprocessing  # noqa: PLC0415  a program that never uses it does not pay for it

        # Called in each child, once it has dropped the finalizers of its parent.
        util.register_after_fork(self, Leaving._hook_child)
        if multiprocessing.parent_process() is not None:  # configured by the child itself
            self._hook_child()

    def _hook_child(self) -> None:
        from multiprocessing.util import Finalize  # noqa: PLC0415  loaded by now

        Finalize(None, self._end_of_child, exitpriority=_LAST)

    def _end_of_child(self) -> None:
        """Close, unless the child goes on: `multiprocessing` waits for its threads after its finalizers."""
        import multiprocessing  # noqa: PLC0415  loaded by now

        if multiprocessing.get_start_method() == "spawn":  # a new interpreter, which ends through atexit
            return
        if _busy_threads():
            threading.Thread(target=self._end_after_threads, name="otelkit-leaving", daemon=False).start()
        else:
            self.at_exit()

    def _end_after_threads(self) -> None:
        while threads := _busy_threads():
            threads[0].join()
        self.at_exit()


def _busy_threads() -> list[threading.Thread]:
    """Return the threads that Python waits for before it ends, except for the one that asks."""
    asking = (threading.main_thread(), threading.current_thread())
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in asking]


def _renew_in_children(reference: weakref.ref[Leaving]) -> None:
    """Renew it in each forked child, as long as it exists: such a hook cannot be taken back."""

    def in_child() -> None:
        leaving = reference()
        if leaving is not None:
            leaving.renew()

    os.register_at_fork(after_in_child=in_child)
