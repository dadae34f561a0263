"""How waits are shared, what happens to signal handlers, and in what order the last telemetry is sent."""

from __future__ import annotations

import asyncio
import importlib
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from otelkit._leaving import Budget, Leaving, Ways
from otelkit.integrations import servers
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.pipeline import Deadline

ENOUGH = 60.0  # seconds that no test uses up


def pass_time(seconds: float) -> None:
    threading.Event().wait(seconds)


@dataclass
class Telemetry:
    """Stands where the pipeline does: keeps what it was asked for, and is as slow as the test wants.

    Args:
        asked: What was called, in order.
        slow: Set it to let flushes end.
    """

    asked: list[str] = field(default_factory=list)
    slow: threading.Event | None = None

    def ways(self) -> Ways:
        return Ways(
            flush=self._flush,
            close=lambda _: self.asked.append("close"),
            end_open_spans=lambda: self.asked.append("end spans"),
            renew=lambda: self.asked.append("renew"),
        )

    def _flush(self, deadline: Deadline) -> None:
        self.asked.append("flush")
        if self.slow is not None:
            self.slow.wait(deadline.remaining)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def leaving(telemetry: Telemetry) -> Iterator[Leaving]:
    """Make the hooks, installed by the test itself, and take them back."""
    made = Leaving(telemetry.ways(), lambda: ENOUGH)
    yield made
    made.uninstall()


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# -- the budget


def test_waits_one_after_the_other_share_the_budget() -> None:
    budget = Budget(lambda: ENOUGH)
    for _ in range(2):
        with budget.waiting() as deadline:
            assert deadline.remaining <= budget.left + 0.01
            pass_time(0.05)
    assert ENOUGH - 1 < budget.left <= ENOUGH - 0.1


def test_time_between_two_waits_costs_nothing() -> None:
    budget = Budget(lambda: ENOUGH)
    with budget.waiting():
        pass
    left = budget.left
    pass_time(0.05)
    assert budget.left == left


def test_wait_within_a_wait_is_counted_once() -> None:
    budget = Budget(lambda: ENOUGH)
    began = time.monotonic()
    with budget.waiting():
        pass_time(0.05)
        with budget.waiting() as inner:
            assert inner.remaining <= ENOUGH - 0.05
            pass_time(0.05)
    assert budget.left >= ENOUGH - (time.monotonic() - began)


def test_started_budget_runs_down_without_waiting() -> None:
    budget = Budget(lambda: 0.05)
    budget.start()
    wait_until(lambda: not budget.left, within=5, what="the budget used up")
    with budget.waiting() as deadline:
        assert deadline.remaining == 0


def test_budget_shrinks_when_nobody_listens_any_more() -> None:
    total = [ENOUGH]
    budget = Budget(lambda: total[0])
    with budget.waiting():
        pass_time(0.05)
        total[0] = 0.1
        assert 0 < budget.left < 0.06
    assert 0 < budget.left < 0.06


# -- signal handlers


@pytest.mark.usefixtures("sigterm")
def test_default_handler_is_replaced_and_given_back(leaving: Leaving) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    leaving.install()
    assert callable(signal.getsignal(signal.SIGTERM))
    leaving.uninstall()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("sigterm")
def test_ignored_signal_stays_ignored(leaving: Leaving) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leaving.install()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("sigterm")
def test_handler_that_was_there_is_called_each_time_beside_a_flush(leaving: Leaving, telemetry: Telemetry) -> None:
    calls: list[tuple[int, bool]] = []
    signal.signal(signal.SIGTERM, lambda number, frame: calls.append((number, frame is not None)))
    leaving.install()
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    assert calls == [(signal.SIGTERM, True)] * 2
    wait_until(lambda: telemetry.asked == ["flush"] * 2, within=5, what="two flushes")


@pytest.mark.usefixtures("sigterm")
def test_a_receiver_that_had_all_the_time_beside_the_program_gets_no_more(telemetry: Telemetry) -> None:
    telemetry.slow = threading.Event()
    leaving = Leaving(telemetry.ways(), lambda: 0.2)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        leaving.install()
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: leaving._now.budget.left == 0, within=5, what="an empty budget")
    finally:
        leaving.uninstall()
        signal.signal(signal.SIGTERM, before)


def test_handler_that_was_there_waits_for_no_flush(leaving: Leaving, telemetry: Telemetry) -> None:
    telemetry.slow = threading.Event()
    calls: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    leaving.install()
    signal.raise_signal(signal.SIGTERM)
    assert calls == [signal.SIGTERM]
    telemetry.slow.set()


@pytest.mark.usefixtures("sigterm")
def test_handler_that_the_program_sets_later_is_not_taken_from_it(leaving: Leaving) -> None:
    leaving.install()

    def later(number: int, frame: object) -> None:
        """Do nothing."""

    signal.signal(signal.SIGTERM, later)
    leaving.uninstall()
    assert signal.getsignal(signal.SIGTERM) is later


@pytest.mark.usefixtures("sigterm")
def test_another_thread_than_the_main_one_leaves_signals_alone(leaving: Leaving) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=leaving.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_signal_that_comes_while_the_handler_returns_is_handled_after_it(
    leaving: Leaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth: list[bool] = []

    def leave(_: object) -> None:
        depth.append(leaving._now.handling)
        if len(depth) == 1:
            leaving._on_sigterm(signal.SIGTERM, None)  # as the flush sends it, in the very last moment

    monkeypatch.setattr(leaving, "_leave", leave)
    leaving._on_sigterm(signal.SIGTERM, None)
    assert depth == [True, True]
    assert not leaving._now.handling


def test_handler_gives_the_program_a_moment_and_ends_it_once_the_flush_is_through(
    leaving: Leaving, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry.slow = threading.Event()
    died: list[bool] = []
    monkeypatch.setattr(leaving, "_die", lambda: died.append(True))
    leaving._on_sigterm(signal.SIGTERM, None)
    assert not died
    telemetry.slow.set()
    wait_until(lambda: leaving._now.last is not None and leaving._now.last.over, within=5, what="the flush")
    leaving._on_sigterm(signal.SIGTERM, None)  # which the flush sends where the handler is installed
    assert died == [True]
    assert telemetry.asked == ["end spans", "flush"] * 2


def test_first_process_of_a_container_is_not_ended(
    leaving: Leaving, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[bool] = []
    monkeypatch.setattr(leaving, "_die", lambda: died.append(True))
    monkeypatch.setattr("os.getpid", lambda: 1)  # the kernel keeps from it every signal that it does not handle
    leaving._on_sigterm(signal.SIGTERM, None)
    wait_until(lambda: telemetry.asked == ["flush"], within=5, what="the flush")
    assert not died


def test_waits_leave_a_part_of_the_time_to_the_interpreter(telemetry: Telemetry) -> None:
    leaving = Leaving(telemetry.ways(), lambda: 5.0)
    assert 4.4 < leaving._now.budget.left < 4.6


def test_signal_during_the_last_wait_is_died_of_after_it(
    leaving: Leaving, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[list[str]] = []
    monkeypatch.setattr(leaving, "_die", lambda: died.append(list(telemetry.asked)))
    ways = leaving._ways

    def close(deadline: Deadline) -> None:
        leaving._on_sigterm(signal.SIGTERM, None)
        ways.close(deadline)

    monkeypatch.setattr(
        leaving, "_ways", Ways(flush=ways.flush, close=close, end_open_spans=ways.end_open_spans, renew=ways.renew)
    )
    leaving.at_exit()
    assert died == [["end spans", "close"]]


# -- the end


def test_end_comes_once(leaving: Leaving, telemetry: Telemetry) -> None:
    leaving.at_exit()
    leaving.at_exit()
    assert telemetry.asked == ["end spans", "close"]


def test_child_begins_anew(leaving: Leaving, telemetry: Telemetry) -> None:
    leaving.at_exit()
    leaving.renew()
    leaving.at_exit()
    assert telemetry.asked == ["end spans", "close", "renew", "end spans", "close"]


def test_loop_goes_on_while_a_server_waits_for_the_flush(leaving: Leaving, telemetry: Telemetry) -> None:
    telemetry.slow = slow = threading.Event()

    async def other() -> None:
        slow.set()  # a loop that stood still would never come here

    async def serve() -> None:
        task = asyncio.create_task(other())
        await leaving.before_signal(lambda: False)
        await task

    began = time.monotonic()
    asyncio.run(serve())
    assert time.monotonic() - began < ENOUGH / 10
    assert telemetry.asked == ["flush", "end spans", "flush"]


def test_server_in_a_hurry_waits_for_nothing(leaving: Leaving, telemetry: Telemetry) -> None:
    telemetry.slow = threading.Event()
    began = time.monotonic()
    asyncio.run(leaving.before_signal(lambda: True))
    assert time.monotonic() - began < ENOUGH / 10
    assert "end spans" not in telemetry.asked
    telemetry.slow.set()


# -- uvicorn's server


@dataclass(eq=False)
class Server:
    """What the hook sees of `uvicorn.Server`."""

    _captured_signals: list[int]
    force_exit: bool = False


def stop(server: Server, found: dict[int, Any] | None) -> None:
    """Run the hook as when the server has stopped."""

    async def stopped() -> str:
        return "stopped"

    if found is not None:
        servers._found[server] = found
    assert asyncio.run(servers._ended(stopped, server, (), {})) == "stopped"


@pytest.mark.parametrize(
    ("captured", "found", "flushes"),
    [
        ([signal.SIGTERM], {signal.SIGTERM: signal.SIG_DFL}, True),
        ([signal.SIGTERM], None, True),  # it served before it was hooked
        ([signal.SIGINT], {signal.SIGINT: signal.SIG_DFL}, True),
        ([signal.SIGINT], None, False),  # KeyboardInterrupt, then atexit
        ([signal.SIGTERM], {signal.SIGTERM: print}, False),  # somebody's handler, or ours
        ([signal.SIGTERM], {signal.SIGTERM: signal.SIG_IGN}, False),
        ([], {signal.SIGTERM: signal.SIG_DFL}, False),
    ],
)
def test_server_flushes_only_before_a_signal_that_ends_the_process(  # noqa: PLR0917  pytest names them
    captured: list[int],
    found: dict[int, Any] | None,
    flushes: bool,
    leaving: Leaving,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "_leaving", [leaving])
    stop(Server(captured), found)
    assert telemetry.asked == (["flush", "end spans", "flush"] if flushes else [])


@pytest.mark.parametrize("name", servers._SUPERVISORS)
def test_parent_of_workers_begins_its_flush_while_it_waits_for_them(
    name: str, leaving: Leaving, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(name)
    kind, method = servers._SUPERVISORS[name].split(".")
    told: list[object] = []

    def stop_workers(parent: object) -> None:
        told.append(parent)

    monkeypatch.setattr(getattr(module, kind), method, stop_workers)
    monkeypatch.setattr(servers, "_leaving", [leaving])
    servers._hook_supervisor(module)
    parent = object()
    getattr(module, kind).__dict__[method].__get__(parent)()
    wait_until(lambda: telemetry.asked == ["flush"], within=5, what="a flush")
    assert told == [parent]
