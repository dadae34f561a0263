"""SQLAlchemy on a real PostgreSQL server, by every driver: one span per call, whatever happens to it."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from opentelemetry.trace import StatusCode
from sqlalchemy.ext.asyncio import create_async_engine

from support import lanes, postgres
from support.database import DURATION, capture, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from support.database import Captured

LANE = "postgresql"
SECRET = "canary-value"
ASYNC_DRIVERS = ["asyncpg", "psycopg"]
UNIQUE_VIOLATION = {
    "asyncpg": "asyncpg.exceptions.UniqueViolationError",
    "psycopg": "psycopg.errors.UniqueViolation",
}

metadata = sa.MetaData()
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, unique=True),
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    missing = postgres.missing()
    if missing is not None:
        lanes.skipped(LANE, missing)
        pytest.skip(missing)
    with postgres.server() as running:
        _make_tables(running)
        yield running
    lanes.ran(LANE)


def _make_tables(running: postgres.Postgres) -> None:
    engine = sa.create_engine(running.url("psycopg"))
    metadata.create_all(engine)
    engine.dispose()


@pytest.fixture
def seen() -> Iterator[Captured]:
    gc.collect()  # engines of other tests
    with capture() as captured:
        yield captured


@pytest.fixture
def engine(server: postgres.Postgres, seen: Captured) -> Iterator[sa.Engine]:
    made = sa.create_engine(server.url("psycopg"), pool_size=1, max_overflow=0, pool_timeout=0.2)
    with made.begin() as connection:
        connection.execute(items.delete())
    seen.clear()
    yield made
    made.dispose()


@asynccontextmanager
async def opened(server: postgres.Postgres, seen: Captured, driver: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    """Make an asynchronous engine on an empty table."""
    made = create_async_engine(server.url(driver), **options)
    async with made.begin() as connection:
        await connection.execute(items.delete())
    seen.clear()
    try:
        yield made
    finally:
        await made.dispose()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_statement(server: postgres.Postgres, engine: sa.Engine, seen: Captured) -> None:
    with engine.connect() as connection:
        connection.execute(sa.select(items.c.id).where(items.c.name == SECRET))
    (span,) = seen.spans
    assert span.name == "SELECT items"
    assert attributes(span) == {
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "db.operation.name": "SELECT",
        "db.collection.name": "items",
        "db.query.text": "SELECT items.id FROM items WHERE items.name = %(name_1)s::VARCHAR",
    }
    points = seen.points()
    (point,) = points[DURATION]
    assert dict(point.attributes) == {
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "db.operation.name": "SELECT",
        "db.collection.name": "items",
    }
    assert tuple(point.explicit_bounds) == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
    name = f"postgres@127.0.0.1:{server.port}"
    assert value(points["db.client.connection.max"], db__client__connection__pool__name=name) == 1


def test_executemany_insertmanyvalues_and_streams(engine: sa.Engine, seen: Captured) -> None:
    with engine.connect() as connection:
        connection.execute(items.insert(), [{"id": n, "name": str(n)} for n in range(10)])
        paged = connection.execution_options(insertmanyvalues_page_size=4)
        returned = paged.execute(
            items.insert().returning(items.c.id), [{"id": 20 + n, "name": f"b{n}"} for n in range(10)]
        )
        assert len(returned.all()) == 10
        with connection.execute(sa.select(items).execution_options(stream_results=True, max_row_buffer=2)) as result:
            assert len(result.all()) == 20
        with connection.begin_nested():
            pass
    assert seen.names == [
        "BATCH INSERT items",
        *["INSERT items"] * 3,
        "SELECT items",
        "SAVEPOINT",
        "RELEASE",
    ]
    assert attributes(seen.spans[0])["db.operation.batch.size"] == 10


def test_a_time_out_of_the_pool(engine: sa.Engine, seen: Captured) -> None:
    with engine.connect(), pytest.raises(sa.exc.TimeoutError):
        engine.connect()
    points = seen.points()
    (timeouts,) = [point for point in points["db.client.connection.timeouts"] if point.value]
    assert timeouts.value == 1
    assert DURATION not in points


def test_a_connection_that_the_server_ended(engine: sa.Engine, seen: Captured, server: postgres.Postgres) -> None:
    other = sa.create_engine(server.url("psycopg"))
    with engine.connect() as connection:
        process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with other.connect() as killer:
            killer.exec_driver_sql(f"SELECT pg_terminate_backend({process})")
        seen.clear()
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.select(items))
        connection.rollback()
        connection.execute(sa.select(items))
    failed, again = seen.spans
    assert attributes(failed)["error.type"] == "psycopg.errors.AdminShutdown"
    assert attributes(failed)["db.response.status_code"] == "57P01"
    assert again.status.status_code is StatusCode.UNSET
    other.dispose()


def test_initialisation_and_pre_ping_are_no_spans(server: postgres.Postgres, seen: Captured) -> None:
    made = sa.create_engine(server.url("psycopg"), pool_pre_ping=True)
    for _ in range(3):
        with made.connect():
            pass
    assert seen.spans == []
    made.dispose()


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
class TestAsync:
    """The drivers that run in greenlets."""

    def _run(
        self, server: postgres.Postgres, seen: Captured, driver: str, ask: Callable[[AsyncConnection], Awaitable[None]]
    ) -> None:
        async def main() -> None:
            async with opened(server, seen, driver) as engine, engine.connect() as connection:
                await ask(connection)

        asyncio.run(main())

    def test_each_call_is_one_span(self, server: postgres.Postgres, seen: Captured, driver: str) -> None:
        async def ask(connection: AsyncConnection) -> None:
            await connection.execute(items.insert(), [{"id": n, "name": str(n)} for n in range(10)])
            assert len([row async for row in await connection.stream(sa.select(items))]) == 10
            async with connection.begin_nested():
                await connection.exec_driver_sql("SELECT 'canary', 42")

        self._run(server, seen, driver, ask)
        assert seen.names == ["BATCH INSERT items", "SELECT items", "SAVEPOINT", "SELECT", "RELEASE"]
        assert attributes(seen.spans[3])["db.query.text"] == "SELECT ?, ?"

    def test_an_error(self, server: postgres.Postgres, seen: Captured, driver: str) -> None:
        async def ask(connection: AsyncConnection) -> None:
            await connection.execute(items.insert(), {"id": 1, "name": SECRET})
            with pytest.raises(sa.exc.IntegrityError):
                await connection.execute(items.insert(), {"id": 2, "name": SECRET})

        self._run(server, seen, driver, ask)
        _, span = seen.spans
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == UNIQUE_VIOLATION[driver]
        assert attributes(span)["db.response.status_code"] == "23505"
        assert SECRET not in span.to_json()

    def test_a_cancelled_statement(self, server: postgres.Postgres, seen: Captured, driver: str) -> None:
        async def main() -> None:
            async with opened(server, seen, driver) as engine:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1), engine.connect() as connection:
                        await connection.exec_driver_sql("SELECT pg_sleep(10)")
                async with engine.connect() as connection:
                    await connection.exec_driver_sql("SELECT 1")

        asyncio.run(main())
        cancelled, after = seen.spans
        assert attributes(cancelled)["error.type"] == "asyncio.exceptions.CancelledError"
        assert (cancelled.end_time or 0) - (cancelled.start_time or 0) < 5e9
        assert after.status.status_code is StatusCode.UNSET

    def test_parents_of_many_tasks(self, server: postgres.Postgres, seen: Captured, driver: str) -> None:
        async def main() -> dict[int, int]:
            parents: dict[int, int] = {}
            async with opened(server, seen, driver, pool_size=3, max_overflow=0) as engine:

                async def one(number: int) -> None:
                    with seen.tracer.start_as_current_span(f"task {number}") as parent:
                        async with engine.connect() as connection:
                            await connection.exec_driver_sql("SELECT pg_sleep(0.01)")
                            await connection.exec_driver_sql("SELECT 1")
                        parents[parent.get_span_context().span_id] = 2

                await asyncio.gather(*(one(number) for number in range(12)))
            return parents

        expected = asyncio.run(main())
        found: dict[int, int] = {}
        for span in seen.spans:
            assert span.parent is not None
            found[span.parent.span_id] = found.get(span.parent.span_id, 0) + 1
        assert found == expected

    def test_a_wait_and_a_time_out_of_the_pool(self, server: postgres.Postgres, seen: Captured, driver: str) -> None:
        async def main() -> None:
            options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
            async with opened(server, seen, driver, **options) as engine, engine.connect():
                with pytest.raises(sa.exc.TimeoutError):
                    await engine.connect()
                points = seen.points()
                (timeouts,) = [point for point in points["db.client.connection.timeouts"] if point.value]
                (waits,) = points["db.client.connection.wait_time"]
                assert (timeouts.value, waits.count) == (1, 2)
                assert waits.max >= 0.2

        asyncio.run(main())

    def test_a_database_that_is_down(self, seen: Captured, driver: str) -> None:
        """No event fires for it: asyncpg's error is none of the DBAPI, and the engine was never connected."""

        async def main(port: int) -> None:
            engine = create_async_engine(f"postgresql+{driver}://app:{SECRET}@127.0.0.1:{port}/shop")
            with pytest.raises((OSError, sa.exc.OperationalError)):
                await engine.connect()
            await engine.dispose()

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, nobody listens: the port refuses
            asyncio.run(main(taken.getsockname()[1]))
        (point,) = seen.points()[DURATION]
        kind = {"asyncpg": "ConnectionRefusedError", "psycopg": "psycopg.OperationalError"}[driver]
        assert point.attributes["error.type"] == kind
        assert point.attributes["db.operation.name"] == "connect"
        assert point.attributes["db.namespace"] == "shop"
        assert SECRET not in str(dict(point.attributes))
