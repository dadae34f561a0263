"""One span per DBAPI call, none left open, the right parent, and never a word into the application."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import event, orm, pool
from sqlalchemy.ext.asyncio import create_async_engine

from otelkit import _serving
from otelkit.errors import SettingsError
from otelkit.integrations import _request
from otelkit.integrations import sqlalchemy as ours
from otelkit.integrations.sqlalchemy import SQLAlchemyIntegration, SQLAlchemyOptions
from support.database import DURATION, capture, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider
    from sqlalchemy.ext.asyncio import AsyncConnection

    from support.database import Captured

SECRET = "canary-value"

metadata = sa.MetaData()
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, unique=True),
)


@pytest.fixture
def seen() -> Iterator[Captured]:
    with capture() as captured:
        yield captured


@pytest.fixture
def connection(seen: Captured) -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as opened:
        metadata.create_all(opened)
        opened.commit()
        seen.clear()
        yield opened
    engine.dispose()


@pytest.fixture
def noted() -> Iterator[list[Any]]:
    """What hooks failed with: quiet for the application, not for its tests."""
    notes: list[Any] = []
    original = ours._Hooks._note

    def note(self: Any) -> None:
        notes.append(sys.exc_info()[1])
        original(self)

    ours._Hooks._note = note  # type: ignore[method-assign]
    yield notes
    ours._Hooks._note = original  # type: ignore[method-assign]


class TestSpans:
    """What a span says."""

    def test_a_statement_is_one_client_span_named_by_operation_and_table(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        connection.execute(sa.select(items.c.id).where(items.c.name == SECRET))
        (span,) = seen.spans
        assert span.name == "SELECT items"
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert dict(span.attributes or {}) == {
            "db.system.name": "sqlite",
            "db.namespace": ":memory:",
            "db.operation.name": "SELECT",
            "db.collection.name": "items",
            "db.query.text": "SELECT items.id FROM items WHERE items.name = ?",
        }

    def test_text_without_a_known_operation_is_named_by_the_system(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        with pytest.raises(sa.exc.OperationalError):
            connection.exec_driver_sql(f"frobnicate '{SECRET}'")
        (span,) = seen.spans
        assert span.name == "sqlite"
        assert SECRET not in span.to_json()

    def test_literals_never_leave(self, seen: Captured, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT '{SECRET}', 4111111111111111 -- {SECRET}")
        (span,) = seen.spans
        assert SECRET not in span.to_json()
        assert "4111" not in span.to_json()

    def test_executemany_is_one_batch(self, seen: Captured, connection: sa.Connection) -> None:
        connection.execute(items.insert(), [{"name": "a"}, {"name": "b"}, {"name": "c"}])
        (span,) = seen.spans
        assert span.name == "BATCH INSERT items"
        assert (span.attributes or {})["db.operation.batch.size"] == 3

    def test_executemany_of_one_is_no_batch(self, seen: Captured, connection: sa.Connection) -> None:
        connection.exec_driver_sql("INSERT INTO items (name) VALUES (?)", [("a",)])
        (span,) = seen.spans
        assert span.name == "INSERT items"
        assert "db.operation.batch.size" not in (span.attributes or {})

    def test_each_batch_of_insertmanyvalues_is_one_span(self, seen: Captured, connection: sa.Connection) -> None:
        paged = connection.execution_options(insertmanyvalues_page_size=2)
        paged.execute(items.insert().returning(items.c.id), [{"name": str(n)} for n in range(5)])
        assert seen.names == ["INSERT items"] * 3

    def test_savepoints(self, seen: Captured, connection: sa.Connection) -> None:
        with connection.begin_nested():
            connection.execute(sa.select(items))
        assert seen.names == ["SAVEPOINT", "SELECT items", "RELEASE"]

    def test_autocommit_and_options_engines(self, seen: Captured) -> None:
        engine = sa.create_engine("sqlite://", poolclass=pool.StaticPool)
        for optioned in (engine.execution_options(isolation_level="AUTOCOMMIT"), engine.execution_options(a=1)):
            with optioned.connect() as opened:
                opened.execute(sa.text("SELECT 1"))
        assert seen.names == ["SELECT", "SELECT"]
        engine.dispose()

    def test_a_streamed_result_is_one_span(self, seen: Captured, connection: sa.Connection) -> None:
        connection.execute(items.insert(), [{"name": str(n)} for n in range(20)])
        seen.clear()
        streamed = connection.execution_options(yield_per=3).execute(sa.select(items))
        assert len(streamed.fetchall()) == 20
        assert seen.names == ["SELECT items"]

    def test_the_orm_goes_the_same_way(self, seen: Captured) -> None:
        class Base(orm.DeclarativeBase):
            pass

        class Item(Base):
            __tablename__ = "things"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

        engine = sa.create_engine("sqlite://")
        Base.metadata.create_all(engine)
        seen.clear()
        with orm.Session(engine) as session:
            session.add(Item())
            session.commit()
            assert session.scalars(sa.select(Item)).one().id == 1
        assert seen.names == ["INSERT things", "SELECT things"]
        engine.dispose()

    def test_neither_initialisation_nor_pre_ping_is_a_span(self, seen: Captured, tmp_path: Any) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db", pool_pre_ping=True)
        for _ in range(3):
            with engine.connect():
                pass
        assert seen.spans == []
        engine.dispose()

    def test_a_database_file_is_named_without_its_folder(self, seen: Captured, tmp_path: Any) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
        with engine.connect() as opened:
            opened.execute(sa.text("SELECT 1"))
        (span,) = seen.spans
        assert (span.attributes or {})["db.namespace"] == "shop.db"
        assert str(tmp_path) not in span.to_json()
        engine.dispose()

    def test_an_exemplar_names_the_statement_not_its_parent(self, seen: Captured, connection: sa.Connection) -> None:
        with seen.tracer.start_as_current_span("parent"):
            connection.execute(sa.select(items))
        (span,) = seen.spans
        (point,) = seen.points()[DURATION]
        assert [exemplar.span_id for exemplar in point.exemplars] == [span.context.span_id]


class TestParents:
    """Whose child a span is."""

    def test_the_parent_is_what_is_current_when_execute_is_called(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        with seen.tracer.start_as_current_span("parent") as parent:
            connection.execute(sa.select(items))
            assert trace.get_current_span() is parent
        (span,) = seen.spans
        assert span.parent is not None
        assert span.parent.span_id == parent.get_span_context().span_id

    async def _ask(self, seen: Captured, opened: AsyncConnection, number: int) -> int:
        with seen.tracer.start_as_current_span(f"task {number}") as parent:
            await asyncio.sleep(0)
            await opened.execute(sa.text("SELECT 1"))
            assert trace.get_current_span() is parent
            return parent.get_span_context().span_id

    def test_parents_are_right_across_greenlets_of_many_tasks(self, seen: Captured, tmp_path: Any) -> None:
        async def main() -> set[int]:
            engine = create_async_engine(
                f"sqlite+aiosqlite:///{tmp_path}/a.db", poolclass=pool.AsyncAdaptedQueuePool, pool_size=8
            )

            async def one(number: int) -> set[int]:
                async with engine.connect() as opened:
                    return {await self._ask(seen, opened, number * 100 + n) for n in range(5)}

            parents = set().union(*await asyncio.gather(*(one(n) for n in range(8))))
            await engine.dispose()
            return parents

        parents = asyncio.run(main())
        assert len(parents) == 40
        found = [span.parent.span_id for span in seen.spans if span.parent is not None]
        assert sorted(found) == sorted(parents)

    def test_an_async_engine_is_traced_once(self, seen: Captured) -> None:
        async def main() -> None:
            engine = create_async_engine("sqlite+aiosqlite://")
            async with engine.begin() as opened:
                await opened.run_sync(metadata.create_all)
                seen.clear()
                await opened.execute(items.insert(), {"name": "a"})
                assert [row.name async for row in await opened.stream(sa.select(items))] == ["a"]
            await engine.dispose()

        asyncio.run(main())
        assert seen.names == ["INSERT items", "SELECT items"]


class TestErrors:
    """However a call ends, its span does."""

    def test_an_error_sets_status_type_and_code_and_says_no_value(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        connection.execute(items.insert(), {"name": SECRET})
        seen.clear()
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(items.insert(), {"name": SECRET})
        (span,) = seen.spans
        attributes = dict(span.attributes or {})
        assert span.status.status_code is StatusCode.ERROR
        assert attributes["error.type"] == "sqlite3.IntegrityError"
        assert attributes["db.response.status_code"] == "SQLITE_CONSTRAINT_UNIQUE"
        assert SECRET not in span.to_json()
        points = seen.points()[DURATION]
        assert value(points, error__type="sqlite3.IntegrityError", db__operation__name="INSERT") == 1

    def test_a_cancelled_statement_ends_its_span(self, seen: Captured) -> None:
        async def main() -> None:
            engine = create_async_engine("sqlite+aiosqlite://")
            async with engine.connect() as opened:
                driver = (await opened.get_raw_connection()).driver_connection
                assert driver is not None
                await driver.create_function("slow", 0, lambda: time.sleep(0.3))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await opened.execute(sa.text("SELECT slow()"))
            await engine.dispose()

        asyncio.run(main())
        (span,) = seen.spans
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"

    def test_an_error_outside_of_a_call_is_none_of_ours(self, seen: Captured, connection: sa.Connection) -> None:
        result = connection.execute(sa.select(items))
        result.close()
        with pytest.raises(sa.exc.ResourceClosedError):
            result.fetchall()
        assert [span.status.status_code for span in seen.spans] == [StatusCode.UNSET]

    def test_a_listener_that_refuses_the_statement_later_leaves_nothing_open(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("no")

        event.listen(connection.engine, "before_cursor_execute", refuse)
        with pytest.raises(RuntimeError):
            connection.execute(sa.select(items))
        gc.collect()
        seen.points()
        (span,) = seen.spans
        # Below 2.1 no event tells of it.
        assert (span.attributes or {})["error.type"] == ("RuntimeError" if sa.__version__ >= "2.1" else "_OTHER")

    def test_a_handler_of_errors_that_raises_leaves_nothing_open(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        def replace(_: object) -> None:
            raise RuntimeError("replaced")

        event.listen(connection.engine, "handle_error", replace)
        with pytest.raises(RuntimeError, match="replaced"):
            connection.exec_driver_sql("SELECT nothing FROM nowhere")
        (span,) = seen.spans
        assert (span.attributes or {})["error.type"] == "sqlite3.OperationalError"

    def test_a_call_that_no_event_ends_is_ended_with_the_next(self, seen: Captured, connection: sa.Connection) -> None:
        quiet = connection.execution_options(skip_user_error_events=True)
        with pytest.raises(sa.exc.OperationalError):
            quiet.exec_driver_sql("SELECT nothing FROM nowhere")
        gc.collect()  # the exception's traceback holds the call
        quiet.exec_driver_sql("SELECT 1")
        lost, span = sorted(seen.spans, key=lambda span: span.start_time or 0)
        assert (lost.attributes or {})["error.type"] == "_OTHER"
        assert (lost.end_time or 0) <= (span.start_time or 0)


class TestTransparency:
    """The application notices nothing."""

    def test_a_failing_hook_changes_nothing(
        self, seen: Captured, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch, noted: list[Any]
    ) -> None:
        hooks: Any = seen.integration._hooks

        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(hooks, "_begin", fail)
        monkeypatch.setattr(hooks, "_end", fail)
        monkeypatch.setattr(hooks._engines, "of", fail)
        connection.execute(items.insert(), {"name": "a"})
        assert connection.execute(sa.select(items.c.name)).scalars().all() == ["a"]
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(items.insert(), {"name": "a"})
        other = sa.create_engine("sqlite://")
        with other.connect():
            pass
        other.dispose()
        assert {type(note) for note in noted} == {ZeroDivisionError}

    def test_no_hook_fails_in_ordinary_use(self, seen: Captured, connection: sa.Connection, noted: list[Any]) -> None:
        with pytest.raises(sa.exc.OperationalError):
            connection.exec_driver_sql("SELECT nothing FROM nowhere")
        connection.execute(items.insert(), [{"name": "a"}, {"name": "b"}])
        connection.rollback()
        seen.points()
        assert noted == []

    def test_mock_engines_work(self, seen: Captured) -> None:
        said: list[str] = []

        def dump(statement: Any, *_: object, **__: object) -> None:
            said.append(str(statement.compile(dialect=engine.dialect)))

        engine = sa.create_mock_engine("postgresql+psycopg://", dump)
        metadata.create_all(engine, checkfirst=False)
        assert "CREATE TABLE items" in said[0]
        assert seen.spans == []

    def test_a_dialect_that_is_no_dialect_works(self, seen: Captured) -> None:
        class Stub:
            __slots__ = ("name",)

        class StubEngine:
            dialect = Stub()
            url = None

        hooks: Any = seen.integration._hooks
        hooks.created(StubEngine())
        hooks.disposed(StubEngine())
        assert hooks.connecting(StubEngine()) is None
        assert hooks.before(StubEngine(), None, "SELECT 1", (), None, executemany=False) == ("SELECT 1", ())
        assert seen.spans == []

    def test_failures_keep_their_traceback(self, connection: sa.Connection) -> None:
        with pytest.raises(sa.exc.OperationalError) as caught:
            connection.exec_driver_sql("SELECT nothing FROM nowhere")
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert not [frame for frame in frames if "otelkit/" in frame.filename and "/tests/" not in frame.filename]

    def test_statement_and_parameters_reach_other_listeners_unchanged(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        got: list[Any] = []
        event.listen(connection, "before_cursor_execute", lambda *args: got.append(args[2:4]))
        connection.exec_driver_sql("SELECT ?", ("a",))
        assert got == [("SELECT ?", ("a",))]
        assert len(seen.spans) == 1

    def test_suppressed_instrumentation_is_silent(self, seen: Captured, connection: sa.Connection) -> None:
        seen.points()
        with suppress_instrumentation():
            connection.execute(sa.select(items))
        assert seen.spans == []
        assert DURATION not in seen.points()

    def test_tracer_and_instruments_are_made_once(self) -> None:
        script = """
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.trace import TracerProvider
            from otelkit.integrations import Wiring
            from otelkit.integrations.sqlalchemy import SQLAlchemyIntegration
            asked = []
            class Tracers(TracerProvider):
                def get_tracer(self, *args, **kwargs):
                    asked.append("tracer")
                    return super().get_tracer(*args, **kwargs)
            class Meters(MeterProvider):
                def get_meter(self, *args, **kwargs):
                    asked.append("meter")
                    return super().get_meter(*args, **kwargs)
            integration = SQLAlchemyIntegration()
            wiring = Wiring(settings=None, tracer_provider=Tracers(), meter_provider=Meters())
            integration.install(wiring, None)
            integration.install(wiring, None)
            import sqlalchemy
            for _ in range(3):
                with sqlalchemy.create_engine("sqlite://").connect() as connection:
                    connection.exec_driver_sql("SELECT 1")
            print(asked)
        """
        assert run(textwrap.dedent(script)) == "['tracer', 'meter']"


class TestBackground:
    """Calls that belong to no request of a serving process."""

    @pytest.fixture(autouse=True)
    def _serving_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_serving, "is_serving", lambda: True)

    def test_a_call_of_no_request_is_counted_but_no_span(self, seen: Captured, connection: sa.Connection) -> None:
        connection.execute(sa.select(items))
        assert seen.spans == []
        assert value(seen.points()[DURATION], db__operation__name="SELECT", db__collection__name="items") == 1

    def test_a_call_of_a_request_is_a_span(self, seen: Captured, connection: sa.Connection) -> None:
        with seen.tracer.start_as_current_span("request"):
            connection.execute(sa.select(items))
        assert seen.names == ["SELECT items"]

    def test_the_option_turns_them_on(self, seen: Captured, connection: sa.Connection) -> None:
        seen.integration.install(seen.wiring, SQLAlchemyOptions(background_spans=True))
        try:
            connection.execute(sa.select(items))
        finally:
            seen.integration.install(seen.wiring, SQLAlchemyOptions())
        connection.execute(sa.select(items))
        assert seen.names == ["SELECT items"]


class TestStatementsPerRequest:
    """What makes N+1 visible."""

    def test_they_are_counted_in_the_request_and_in_its_threads_and_tasks(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        assert _request.current() is None

        async def request() -> _request.RequestState:
            _request.begin(state := _request.RequestState())
            connection.execute(sa.select(items))
            engine = create_async_engine("sqlite+aiosqlite://")
            async with engine.connect() as opened:
                await opened.execute(sa.text("SELECT 1"))

                async def nested() -> None:
                    await opened.execute(sa.text("SELECT 1"))

                await asyncio.create_task(nested())
            await engine.dispose()
            return state

        state = asyncio.run(request())
        assert state.statements == 3
        assert _request.current() is None
        assert len(seen.spans) == 3

    def test_requests_do_not_count_for_each_other(self, seen: Captured) -> None:
        counts: list[int] = []
        engine = sa.create_engine("sqlite://")

        def request(statements: int) -> None:
            _request.begin(state := _request.RequestState())
            with engine.connect() as opened:
                for _ in range(statements):
                    opened.execute(sa.text("SELECT 1"))
            counts.append(state.statements)

        threads = [threading.Thread(target=request, args=(n,)) for n in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(counts) == [1, 2, 3]
        assert len(seen.spans) == 6
        engine.dispose()


def run(script: str) -> str:
    """Run a script in a process of its own; return what it printed, fail if it said anything else."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


_PROLOGUE = """
    import sys
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from otelkit.integrations import Wiring
    from otelkit.integrations.sqlalchemy import SQLAlchemyIntegration
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    def install():
        integration = SQLAlchemyIntegration()
        integration.install(Wiring(settings=None, tracer_provider=provider, meter_provider=MeterProvider()), None)
        return integration
"""


class TestInstall:
    """Before or after, on or off, and what the verdict says."""

    def test_before_sqlalchemy_is_imported(self) -> None:
        script = """
            install()
            assert "sqlalchemy" not in sys.modules
            import sqlalchemy
            engine = sqlalchemy.create_engine("sqlite://")
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1 FROM sqlite_master")
            print([span.name for span in spans.get_finished_spans()])
        """
        assert run(textwrap.dedent(_PROLOGUE) + textwrap.dedent(script)) == "['SELECT sqlite_master']"

    def test_after_engines_and_connections_were_made_and_used(self) -> None:
        script = """
            import asyncio, sqlalchemy
            from sqlalchemy.ext.asyncio import create_async_engine
            engines = [sqlalchemy.create_engine("sqlite://") for _ in range(3)]
            opened = [engine.connect() for engine in engines]
            optioned = engines[0].execution_options(a=1).connect()
            for connection in opened:
                connection.exec_driver_sql("SELECT 0")
            async def main():
                engine = create_async_engine("sqlite+aiosqlite://")
                async with engine.connect() as connection:
                    await connection.exec_driver_sql("SELECT 0")
                    install()
                    await connection.exec_driver_sql("SELECT 1")
                await engine.dispose()
            asyncio.run(main())
            for connection in [*opened, optioned]:
                connection.exec_driver_sql("SELECT 1")
            print(len(spans.get_finished_spans()))
        """
        assert run(textwrap.dedent(_PROLOGUE) + textwrap.dedent(script)) == "5"

    def test_nothing_acts_after_uninstall_until_installed_again(
        self, seen: Captured, connection: sa.Connection
    ) -> None:
        seen.integration.uninstall()
        seen.points()
        connection.execute(sa.select(items))
        assert seen.spans == []
        assert seen.points() == {}
        seen.integration.install(seen.wiring, None)
        connection.execute(sa.select(items))
        assert seen.names == ["SELECT items"]

    def test_the_verdict(self, seen: Captured) -> None:
        verdict = seen.integration.install(seen.wiring, None)
        assert (verdict.choice, verdict.version, verdict.works) == ("ours", sa.__version__, True)

    def test_the_verdict_names_the_drivers_that_are_left_out(
        self, seen: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = EntryPoints(EntryPoint(name, "x:y", "g") for name in ("sqlite3", "psycopg", "redis"))
        monkeypatch.setattr(ours, "entry_points", lambda **_: installed)
        assert seen.integration.install(seen.wiring, None).reason.endswith(": psycopg, sqlite3")
        assert {"sqlalchemy", "sqlite3", "psycopg", "psycopg2", "asyncpg", "pymysql"} <= seen.integration.replaces

    def test_wrong_options_are_named(self, seen: Captured) -> None:
        with pytest.raises(SettingsError, match="SQLAlchemyOptions"):
            SQLAlchemyIntegration().install(seen.wiring, {"background_spans": True})

    def test_not_installed_is_nobodys_problem(self, seen: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> str:
            raise PackageNotFoundError

        monkeypatch.setattr(ours, "version", missing)
        verdict = SQLAlchemyIntegration().install(seen.wiring, None)
        assert (verdict.choice, verdict.wanted) == ("skipped", False)

    def test_an_old_version_without_contrib_is_refused_with_the_reason(
        self, seen: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ours, "version", lambda _: "1.4.54")
        monkeypatch.setattr(ours, "entry_points", lambda **_: EntryPoints())
        verdict = SQLAlchemyIntegration().install(seen.wiring, None)
        assert (verdict.choice, verdict.wanted) == ("skipped", True)
        assert "1.4.54" in verdict.reason
        assert "opentelemetry-instrumentation-sqlalchemy" in verdict.reason

    def test_an_old_version_with_contrib_is_left_to_it(self, seen: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        entry_point = EntryPoint("sqlalchemy", f"{__name__}:OldInstrumentor", "g")
        monkeypatch.setitem(sys.modules, __name__, sys.modules[type(self).__module__])
        monkeypatch.setattr(ours, "version", lambda _: "1.4.54")
        monkeypatch.setattr(ours, "entry_points", lambda **_: EntryPoints([entry_point]))
        integration = SQLAlchemyIntegration()
        verdict = integration.install(seen.wiring, None)
        integration.install(seen.wiring, None)
        assert verdict.choice == "contrib"
        assert OldInstrumentor.providers == [seen.tracer_provider]
        integration.uninstall()
        assert OldInstrumentor.providers == []
        integration.install(seen.wiring, None)
        assert OldInstrumentor.providers == [seen.tracer_provider]
        integration.uninstall()

    def test_contrib_that_fails_is_refused_with_its_reason(
        self, seen: Captured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        entry_point = EntryPoint("sqlalchemy", "otelkit_has_no_such_module:Thing", "g")
        monkeypatch.setattr(ours, "version", lambda _: "1.4.54")
        monkeypatch.setattr(ours, "entry_points", lambda **_: EntryPoints([entry_point]))
        verdict = SQLAlchemyIntegration().install(seen.wiring, None)
        assert (verdict.choice, verdict.wanted) == ("skipped", True)
        assert "ModuleNotFoundError" in verdict.reason
        assert "not instrumented" in caplog.text


class OldInstrumentor:
    """Stands for the contrib instrumentor: it cannot run beside a SQLAlchemy that it refuses."""

    providers: list[TracerProvider] = []  # noqa: RUF012  one per process, as there

    def instrument(self, *, tracer_provider: TracerProvider, meter_provider: object) -> None:
        assert meter_provider is not None
        self.providers.append(tracer_provider)

    def uninstrument(self) -> None:
        self.providers.clear()
