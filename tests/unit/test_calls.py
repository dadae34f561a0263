"""A fork waits for calls that are under way, for a moment, and calls wait for a fork."""

from __future__ import annotations

import os
import threading

from otelkit.pipeline._calls import Calls
from support.processes import wait_until

WITHIN = 20.0


def fork() -> int:
    """Fork a child that ends at once; return its exit code."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_waits_for_a_call_to_end() -> None:
    calls, begun, order = Calls(), threading.Event(), list[str]()

    def work() -> None:
        with calls.call():
            begun.set()
            wait_until(lambda: calls._forking, within=WITHIN, what="a fork")
            order.append("call")

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(WITHIN)
    assert fork() == 7
    order.append("fork")
    thread.join(WITHIN)
    assert order == ["call", "fork"]


def test_a_fork_does_not_wait_for_a_call_that_hangs() -> None:
    calls = Calls()
    with calls.call():
        assert fork() == 7
    assert (calls._running, calls._forking) == (0, 0)


def test_a_call_waits_for_a_fork() -> None:
    calls, over = Calls(), list[str]()

    def work() -> None:
        with calls.call():
            over.append("call")

    calls._hold()
    thread = threading.Thread(target=work)
    thread.start()
    assert over == []
    calls._release()
    thread.join(WITHIN)
    assert over == ["call"]


def test_a_child_has_no_calls_under_way() -> None:
    calls = Calls()
    with calls.call():
        pid = os.fork()
        if pid == 0:
            os._exit(calls._running)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
