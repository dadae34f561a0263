"""The queue: bounds, order, what is shed first, and an account that holds at every moment."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelkit.pipeline._queue import REASONS, Item, Queue
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.pipeline._queue import Batch

RESOURCE, SCOPE = object(), object()
HUGE = 2**40


def queue(
    *, items: int = 100, size: int = HUGE, batch: int = 10, batch_bytes: int = HUGE, delay: float = 60.0
) -> Queue:
    return Queue(max_items=items, max_bytes=size, batch_items=batch, batch_bytes=batch_bytes, delay=delay)


def item(name: str, number: int = 1) -> Item:
    return Item(name.encode(), number, RESOURCE, SCOPE)


def names(batch: Batch | None) -> list[str]:
    assert batch is not None
    return [item.data.decode() for item in batch.items]


def taken(waiting: Queue) -> list[str]:
    """Everything that is here, in the order in which it goes out."""
    found: list[str] = []
    while (batch := waiting.take(wait=False)) is not None:
        found += names(batch)
    return found


def assert_exact(waiting: Queue) -> None:
    stats = waiting.stats()
    assert stats.emitted == stats.delivered + sum(stats.dropped.values()) + stats.pending
    assert set(stats.dropped) == set(REASONS)


class TestBounds:
    def test_the_oldest_is_shed_and_counted(self) -> None:
        waiting = queue(items=3)
        for name in "abcde":
            waiting.put(item(name))
        assert waiting.stats().dropped["queue_full"] == 2
        assert taken(waiting) == ["c", "d", "e"]

    def test_bytes_bound_it_as_well(self) -> None:
        waiting = queue(size=3 * 1200)
        for name in "abcde":
            waiting.put(item(name * 1000))
        assert [name[0] for name in taken(waiting)] == ["c", "d", "e"]

    def test_an_item_beyond_the_bound_alone_is_dropped_at_once(self) -> None:
        waiting = queue(size=1000)
        waiting.put(item("x" * 2000))
        assert waiting.stats().dropped["queue_full"] == 1
        assert waiting.pending == 0

    def test_errors_are_kept_longest(self) -> None:
        waiting = queue(items=3)
        waiting.put(item("error"), error=True)
        for name in "abcde":
            waiting.put(item(name))
        assert taken(waiting) == ["error", "d", "e"]

    def test_among_errors_alone_the_oldest_goes(self) -> None:
        waiting = queue(items=2)
        for name in "abc":
            waiting.put(item(name), error=True)
        waiting.put(item("plain"))
        assert taken(waiting) == ["b", "c"]
        assert waiting.stats().dropped["queue_full"] == 2

    def test_what_is_on_its_way_is_not_shed_but_takes_its_room(self) -> None:
        waiting = queue(items=3, batch=2)
        for name in "ab":
            waiting.put(item(name))
        on_its_way = waiting.take()
        for name in "cde":
            waiting.put(item(name))
        assert waiting.stats().dropped["queue_full"] == 2
        assert taken(waiting) == ["e"]
        assert names(on_its_way) == ["a", "b"]


class TestBatches:
    def test_errors_go_out_in_their_place(self) -> None:
        waiting = queue()
        for name in "abcd":
            waiting.put(item(name), error=name in "bd")
        assert taken(waiting) == ["a", "b", "c", "d"]

    def test_a_batch_is_split_by_number_and_by_bytes(self) -> None:
        waiting = queue(batch=3, batch_bytes=25)
        for name in ("a" * 10, "b" * 10, "c" * 10, "d" * 40, "e"):
            waiting.put(item(name))
        found = []
        while (batch := waiting.take(wait=False)) is not None:
            found.append([name[0] for name in names(batch)])
        assert found == [["a", "b"], ["c"], ["d"], ["e"]]

    def test_it_is_due_when_it_is_full(self) -> None:
        waiting = queue(batch=2)
        taker = Taker(waiting.take)
        waiting.put(item("a"))
        waiting.put(item("b"))
        assert names(taker.result()) == ["a", "b"]

    def test_it_is_due_after_the_delay(self) -> None:
        waiting = queue(delay=0.05)
        started = time.monotonic()
        waiting.put(item("a"))
        assert names(waiting.take()) == ["a"]
        assert time.monotonic() - started >= 0.05

    def test_a_flush_makes_it_due(self) -> None:
        waiting = queue()
        waiting.put(item("a"))
        taker = Taker(waiting.take)
        waiting.hurry()
        assert names(taker.result()) == ["a"]

    def test_groups_keep_resources_and_scopes_apart(self) -> None:
        waiting = queue()
        other = object()
        for name, resource, scope in (("a", RESOURCE, SCOPE), ("b", other, SCOPE), ("c", RESOURCE, other)):
            waiting.put(Item(name.encode(), 1, resource, scope))
        waiting.put(item("d"))
        batch = waiting.take(wait=False)
        assert batch is not None
        assert list(batch.groups()) == [
            (RESOURCE, SCOPE, [b"a", b"d"]),
            (RESOURCE, other, [b"c"]),
            (other, SCOPE, [b"b"]),
        ]


class Taker:
    """Calls something that waits, in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._answers: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(call()), daemon=True)
        self._thread.start()

    def result(self) -> Any:
        self._thread.join(5)
        assert self._answers, "it still waits"
        return self._answers[0]


class TestFlush:
    def test_true_when_all_was_acknowledged(self) -> None:
        waiting = queue()
        waiting.put(item("a"))
        waiting.hurry()
        mark = waiting.mark()
        waiter = Taker(lambda: waiting.wait(mark, time.monotonic() + 5))
        batch = waiting.take()
        assert batch is not None
        waiting.settle(batch)
        assert waiter.result() is True

    @pytest.mark.parametrize("reason", REASONS)
    def test_false_when_something_was_dropped_meanwhile(self, reason: str) -> None:
        waiting = queue()
        waiting.put(item("a"))
        waiting.hurry()
        mark = waiting.mark()
        batch = waiting.take()
        assert batch is not None
        waiting.settle(batch, reason=reason)
        assert waiting.wait(mark, time.monotonic() + 5) is False

    def test_false_at_the_deadline(self) -> None:
        waiting = queue()
        waiting.put(item("a"))
        assert waiting.wait(waiting.mark(), time.monotonic() + 0.02) is False

    def test_what_comes_later_is_not_waited_for(self) -> None:
        waiting = queue()
        waiting.put(item("a"))
        waiting.hurry()
        mark = waiting.mark()
        batch = waiting.take()
        waiting.put(item("later"))
        assert batch is not None
        waiting.settle(batch)
        assert waiting.wait(mark, time.monotonic() + 5) is True


class TestPause:
    def test_it_ends_early_for_a_flush(self) -> None:
        waiting = queue()
        pausing = Taker(lambda: waiting.pause(60))
        wait_until(lambda: waiting._changed._waiters, within=5, what="the pause")  # type: ignore[attr-defined]  # a Condition's own list
        waiting.hurry()
        assert pausing.result() is True

    def test_one_that_the_receiver_asked_for_does_not(self) -> None:
        waiting = queue()
        started = time.monotonic()
        waiting.hurry()
        assert waiting.pause(0.05, obeyed=True) is True
        assert time.monotonic() - started >= 0.05

    def test_closing_leaves_time_for_further_attempts(self) -> None:
        waiting = queue()
        waiting.close(time.monotonic() + 60)
        assert waiting.pause(0.01) is True

    @pytest.mark.parametrize("obeyed", [True, False])
    def test_closing_gives_up_what_comes_too_late(self, *, obeyed: bool) -> None:
        waiting = queue()
        waiting.close(time.monotonic() + 0.05)
        started = time.monotonic()
        assert waiting.pause(60, obeyed=obeyed) is False
        assert time.monotonic() - started < 5


class TestEnd:
    def test_it_takes_nothing_more_and_says_so(self) -> None:
        waiting = queue()
        waiting.put(item("a"))
        waiting.close(time.monotonic() + 5)
        waiting.put(item("late"))
        assert waiting.stats().dropped["shutdown"] == 1
        assert names(waiting.take()) == ["a"]
        assert waiting.take() is None

    def test_what_is_abandoned_is_lost_once_whatever_comes_back(self) -> None:
        waiting = queue()
        waiting.put(item("a", 3))
        waiting.put(item("b"))
        batch = waiting.take(wait=False)
        assert waiting.abandon() == 4
        assert batch is not None
        waiting.settle(batch)
        stats = waiting.stats()
        assert (stats.emitted, stats.delivered, stats.dropped["shutdown"], stats.pending) == (4, 0, 4, 0)

    def test_a_forked_child_begins_with_nothing(self) -> None:
        waiting = queue()
        waiting.put(item("the parent's"))
        waiting.renew()
        assert waiting.take(wait=False) is None
        assert waiting.stats().emitted == 0
        waiting.put(item("a"))
        assert taken(waiting) == ["a"]

    def test_an_emission_inside_of_another_does_not_deadlock(self) -> None:
        waiting = queue()

        class Emits(bytes):
            def __len__(self) -> int:
                waiting.put(item("inner"))
                return 5

        def put() -> bool:
            waiting.put(Item(Emits(b"outer"), 1, RESOURCE, SCOPE))
            return True

        assert Taker(put).result()
        assert_exact(waiting)


ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 50), st.integers(1, 400), st.booleans()),
    st.tuples(st.just("lost"), st.integers(1, 5)),
    st.tuples(st.just("take")),
    st.tuples(st.just("settle"), st.sampled_from([None, *REASONS]), st.integers(0, 60)),
    st.tuples(st.just("halves"), st.sampled_from([None, *REASONS])),
    st.tuples(st.just("close")),
    st.tuples(st.just("abandon")),
)


def act(waiting: Queue, on_their_way: list[Batch], name: str, arguments: list[Any]) -> None:
    match name:
        case "put":
            number, length, error = arguments
            waiting.put(Item(b"x" * length, number, RESOURCE, SCOPE), error=error)
        case "lost":
            waiting.lost(arguments[0], "invalid")
        case "take":
            on_their_way += filter(None, [waiting.take(wait=False)])
        case "settle" if on_their_way:
            waiting.settle(on_their_way.pop(), reason=arguments[0], rejected=arguments[1])
        case "halves" if on_their_way:
            for half in on_their_way.pop().halves():
                waiting.settle(half, reason=arguments[0])
        case "close":
            waiting.close(time.monotonic() + 60)
        case "abandon":
            waiting.abandon()


@given(
    actions=st.lists(ACTIONS, max_size=60),
    items=st.integers(1, 20),
    size=st.integers(200, 5_000),
    batch=st.integers(1, 8),
)
def test_the_account_is_exact_after_every_step(actions: list[Any], items: int, size: int, batch: int) -> None:
    waiting = queue(items=items, size=size, batch=batch)
    on_their_way: list[Batch] = []
    for name, *arguments in actions:
        act(waiting, on_their_way, name, arguments)
        assert_exact(waiting)
        stats = waiting.stats()
        assert min(stats.delivered, stats.pending, *stats.dropped.values()) >= 0


def test_many_threads_and_an_exact_account() -> None:
    waiting = queue(items=50, batch=7, delay=0)
    over = threading.Event()

    def emit() -> None:
        for _ in range(500):
            waiting.put(item("x"))

    def deliver() -> None:
        while (batch := waiting.take()) is not None:
            waiting.settle(batch)
        over.set()

    threads = [threading.Thread(target=emit) for _ in range(4)]
    threading.Thread(target=deliver, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    waiting.close(time.monotonic() + 10)
    assert over.wait(10)
    stats = waiting.stats()
    assert stats.emitted == 2000 == stats.delivered + stats.dropped["queue_full"]
    assert stats.pending == 0
