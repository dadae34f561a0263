"""Pool metrics: right for every kind of pool, gone with the engine, under names that say where and never who."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

from support.database import DURATION, capture, value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from support.database import Captured

COUNT = "db.client.connection.count"
MAX = "db.client.connection.max"
PENDING = "db.client.connection.pending_requests"
TIMEOUTS = "db.client.connection.timeouts"
WAIT = "db.client.connection.wait_time"
POOL = "db.client.connection.pool.name"


@pytest.fixture
def seen() -> Iterator[Captured]:
    gc.collect()  # engines of other tests
    with capture() as captured:
        yield captured


@pytest.fixture
def file_url(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path}/pooled.db"


def pools(points: dict[str, list[Any]], metric: str) -> set[str]:
    """Return the names of the pools that a metric has points of."""
    return {point.attributes[POOL] for point in points.get(metric, [])}


def count(points: dict[str, list[Any]], name: str) -> dict[str, int]:
    """Return connections by state."""
    return {
        point.attributes["db.client.connection.state"]: point.value
        for point in points.get(COUNT, [])
        if point.attributes[POOL] == name
    }


class TestCounts:
    """Used, idle and the most there may be."""

    def test_a_queue_pool(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url, pool_size=2, max_overflow=3)
        name = "sqlite:pooled.db"
        with engine.connect():
            with engine.connect():
                pass
            points = seen.points()
        assert count(points, name) == {"used": 1, "idle": 1}
        assert value(points[MAX], db__client__connection__pool__name=name) == 5
        assert value(points[PENDING], db__client__connection__pool__name=name) == 0
        assert value(points[WAIT], db__client__connection__pool__name=name) == 2
        assert value(points[TIMEOUTS], db__client__connection__pool__name=name) == 0
        assert count(seen.points(), name) == {"used": 0, "idle": 2}
        engine.dispose()

    @pytest.mark.parametrize("options", [{"max_overflow": -1}, {"pool_size": 0}])
    def test_no_maximum_where_overflow_is_unlimited(
        self, seen: Captured, file_url: str, options: dict[str, int]
    ) -> None:
        engine = sa.create_engine(file_url, **options)
        with engine.connect():
            points = seen.points()
        assert count(points, "sqlite:pooled.db")["used"] == 1
        assert "sqlite:pooled.db" not in pools(points, MAX)
        engine.dispose()

    @pytest.mark.parametrize("kind", [pool.NullPool, pool.StaticPool, pool.SingletonThreadPool, pool.AssertionPool])
    def test_pools_that_do_not_count_themselves(self, seen: Captured, file_url: str, kind: type[pool.Pool]) -> None:
        engine = sa.create_engine(file_url, poolclass=kind)
        with engine.connect():
            points = seen.points()
        assert count(points, "sqlite:pooled.db") == {"used": 1}
        assert "sqlite:pooled.db" not in pools(points, MAX)
        assert count(seen.points(), "sqlite:pooled.db") == {"used": 0}
        engine.dispose()

    def test_two_that_share_a_connection_use_one(self, seen: Captured) -> None:
        engine = sa.create_engine("sqlite://", poolclass=pool.StaticPool)
        with engine.connect(), engine.connect():
            assert count(seen.points(), "sqlite:memory") == {"used": 1}
        engine.dispose()

    async def _use(self, seen: Captured, url: str) -> dict[str, list[Any]]:
        engine = create_async_engine(url, poolclass=pool.AsyncAdaptedQueuePool, pool_size=1, max_overflow=1)
        async with engine.connect():
            points = seen.points()
        await engine.dispose()
        return points

    def test_an_async_pool(self, seen: Captured, file_url: str) -> None:
        points = asyncio.run(self._use(seen, file_url.replace("sqlite:", "sqlite+aiosqlite:")))
        assert count(points, "sqlite:pooled.db") == {"used": 1, "idle": 0}
        assert value(points[MAX], db__client__connection__pool__name="sqlite:pooled.db") == 2


class TestLife:
    """From the creation of an engine to its end."""

    def test_a_pool_is_known_from_the_creation_of_its_engine(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url)
        assert count(seen.points(), "sqlite:pooled.db") == {"used": 0, "idle": 0}
        engine.dispose()

    def test_dispose_is_followed_to_the_new_pool(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url, pool_size=2)
        with engine.connect():
            pass
        engine.dispose()
        assert count(seen.points(), "sqlite:pooled.db") == {"used": 0, "idle": 0}
        with engine.connect():
            points = seen.points()
        assert count(points, "sqlite:pooled.db") == {"used": 1, "idle": 0}
        assert value(points[WAIT], db__client__connection__pool__name="sqlite:pooled.db") == 1
        engine.dispose()

    def test_a_collected_engine_takes_its_series_with_it(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url)
        with engine.connect():
            assert "sqlite:pooled.db" in pools(seen.points(), COUNT)
        engine.dispose()
        del engine
        gc.collect()
        points = seen.points()
        for metric in (COUNT, MAX, PENDING):
            assert "sqlite:pooled.db" not in pools(points, metric)

    def test_the_integration_keeps_no_engine_alive(self, seen: Captured) -> None:
        engine = sa.create_engine("sqlite://", poolclass=pool.StaticPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        engine.dispose()
        kept = [weakref.ref(thing) for thing in (engine, engine.pool, engine.dialect)]
        del engine, connection
        gc.collect()
        assert [ref() for ref in kept] == [None, None, None]
        assert len(seen.spans) == 1

    def test_who_waited_before_a_fork_waits_no_more_in_the_child(
        self, seen: Captured, file_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = sa.create_engine(file_url)
        hooks: Any = seen.integration._hooks
        wait = hooks.connecting(engine)
        assert value(seen.points()[PENDING], db__client__connection__pool__name="sqlite:pooled.db") == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert value(seen.points()[PENDING], db__client__connection__pool__name="sqlite:pooled.db") == 0
        assert wait.over() >= 0
        engine.dispose()


class TestWaits:
    """What no event tells."""

    def test_a_wait_and_a_time_out(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url, pool_size=1, max_overflow=0, pool_timeout=0.2)
        with engine.connect(), pytest.raises(sa.exc.TimeoutError):
            engine.connect()
        points = seen.points()
        (waits,) = points[WAIT]
        assert waits.count == 2
        assert waits.max >= 0.2
        assert value(points[TIMEOUTS], db__client__connection__pool__name="sqlite:pooled.db") == 1
        assert DURATION not in points  # the database is not to blame
        engine.dispose()

    def test_pending_requests(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url, pool_size=1, max_overflow=0, pool_timeout=10)
        held = engine.connect()
        waiting = threading.Thread(target=lambda: engine.connect().close())
        waiting.start()
        hooks: Any = seen.integration._hooks
        while not hooks._engines.of(engine).waiting:
            pass
        assert value(seen.points()[PENDING], db__client__connection__pool__name="sqlite:pooled.db") == 1
        held.close()
        waiting.join()
        assert value(seen.points()[PENDING], db__client__connection__pool__name="sqlite:pooled.db") == 0
        engine.dispose()

    def test_a_failed_connect_is_in_the_duration_histogram(self, seen: Captured, tmp_path: Any) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/missing/shop.db")
        for _ in range(2):
            with pytest.raises(sa.exc.OperationalError):
                engine.connect()
        points = seen.points()
        failed = {"db__operation__name": "connect", "error__type": "sqlite3.OperationalError"}
        assert value(points[DURATION], db__system__name="sqlite", **failed) == 2
        assert WAIT not in points
        assert seen.spans == []
        assert value(points[PENDING], db__client__connection__pool__name="sqlite:shop.db") == 0

    def test_a_creator_that_raises_anything_is_too(self, seen: Captured) -> None:
        def creator() -> sqlite3.Connection:
            raise ConnectionRefusedError

        engine = sa.create_engine("sqlite://", creator=creator)
        with pytest.raises(ConnectionRefusedError):
            engine.connect()
        assert value(seen.points()[DURATION], error__type="ConnectionRefusedError") == 1


class TestNames:
    """How a pool is called."""

    def _name(self, seen: Captured, url: str, **options: Any) -> str:
        """Return the name under which the engine of this URL is seen; nothing is connected."""
        engine = sa.create_engine(url, **options)
        hooks: Any = seen.integration._hooks
        name: str = hooks._engines.of(engine).name
        return name

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("postgresql+psycopg://app:canary@db.example:5432/shop", "shop@db.example:5432"),
            ("postgresql+psycopg://app:canary@db.example/shop", "shop@db.example"),
            ("postgresql+psycopg://app:canary@[::1]:5432/shop", "shop@::1:5432"),
            ("postgresql+psycopg:///shop?host=db.example&port=6432&password=canary", "shop@db.example:6432"),
            ("postgresql+psycopg:///shop?host=/var/run/canary", "postgresql:shop"),
            ("postgresql+psycopg://app:canary@/shop?host=a:1&host=b:2", "postgresql:shop"),
            ("sqlite:///file:/tmp/canary/shop.db?mode=ro&uri=true", "sqlite:shop.db"),
            ("sqlite:////var/canary/shop.db", "sqlite:shop.db"),
            ("sqlite://", "sqlite:memory"),
        ],
    )
    def test_they_say_where_and_neither_who_nor_the_folder(self, seen: Captured, url: str, name: str) -> None:
        assert self._name(seen, url) == name

    def test_the_users_own_name_wins(self, seen: Captured) -> None:
        assert self._name(seen, "sqlite://", pool_logging_name="reports") == "reports"
        assert self._name(seen, "sqlite://", logging_name="billing") == "billing"

    def test_twins_are_told_apart_by_order_of_creation_and_names_are_used_again(self, seen: Captured) -> None:
        url = "postgresql+psycopg://app:canary@db.example/twins"
        hooks: Any = seen.integration._hooks
        first, second = sa.create_engine(url), sa.create_engine(url)
        used_first = [hooks._engines.of(engine).name for engine in (second, first)]
        assert used_first == ["twins@db.example#2", "twins@db.example"]
        del first
        gc.collect()
        assert self._name(seen, url) == "twins@db.example"

    def test_many_twins_share_the_last_name_and_are_added_up(self, seen: Captured) -> None:
        engines = [sa.create_engine("sqlite:///crowd.db", pool_size=1, max_overflow=0) for _ in range(20)]
        points = seen.points()
        crowd = {name for name in pools(points, MAX) if name.startswith("sqlite:crowd.db")}
        assert len(crowd) == 16
        assert value(points[MAX], db__client__connection__pool__name="sqlite:crowd.db#16") == 5
        assert len(engines) == 20

    def test_an_engine_with_options_is_the_same_pool(self, seen: Captured, file_url: str) -> None:
        engine = sa.create_engine(file_url)
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect():
            points = seen.points()
        assert pools(points, COUNT) == {"sqlite:pooled.db"}
        engine.dispose()

    def test_tables_beyond_count_do_not_become_series(self, seen: Captured) -> None:
        engine = sa.create_engine("sqlite://")
        hooks: Any = seen.integration._hooks
        facts = hooks._engines.of(engine)
        labels = [facts.labels("SELECT", f"table_{number}") for number in range(2_000)]
        assert len({tuple(found.items()) for found in labels}) <= 501
        assert labels[-1] == {"db.system.name": "sqlite", "db.operation.name": "SELECT"}
