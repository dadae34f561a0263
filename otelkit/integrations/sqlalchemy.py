"""The only place for SQLAlchemy: one span per DBAPI call, and the metrics of statements, failed connects and pools.

SQLAlchemy's own event API carries it, listening on the `Engine` class: that reaches every engine, made before or after,
behind an `AsyncEngine` or not, once. No event tells of a wait for a connection, a time-out or a failed connect, so the
one public method through which every engine gets its connections, `Engine.raw_connection()`, is timed as well.

A span is not made current: nothing of the application runs below it, and greenlets change the context as they please.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, Status, StatusCode

from otelkit import _catalog, _serving, _sql
from otelkit.errors import SettingsError
from otelkit.integrations import Verdict, _request
from otelkit.integrations._engines import Engines
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from sqlalchemy import Connection, Dialect, Engine
    from sqlalchemy.engine import ExceptionContext, ExecutionContext
    from sqlalchemy.pool import PoolProxiedConnection

    from otelkit.integrations import Wiring
    from otelkit.integrations._engines import EngineFacts

_log = logging.getLogger("otelkit")

_OLDEST = (2, 0)
_GROUP = "opentelemetry_instrumentor"
# Contrib instrumentors that would trace the same calls once more (E-54).
_DRIVERS = frozenset(
    {"aiopg", "aiosqlite", "asyncpg", "mysql", "mysqlclient", "psycopg", "psycopg2", "pymssql", "pymysql", "sqlite3"}
)
_CALL = "_otelkit_call"
_ERROR = Status(StatusCode.ERROR)  # no description: a driver's message quotes the values it was given


@dataclass(frozen=True, kw_only=True)
class SQLAlchemyOptions:
    """Choices about SQLAlchemy.

    Args:
        background_spans: Make spans also for statements that belong to no request or task of a process that serves
            some (migrations at start, polling loops). They are always in the metrics; in a plain script they are
            always spans.
    """

    background_spans: bool = False


class SQLAlchemyIntegration:
    """SQLAlchemy 2.0 and newer by otelkit, older ones by the contrib instrumentor."""

    name = "sqlalchemy"
    replaces = _DRIVERS | {"sqlalchemy"}

    def __init__(self) -> None:
        self._hooks: _Hooks | None = None
        self._contrib: _Contrib | None = None

    def install(self, wiring: Wiring, options: object | None) -> Verdict:
        """Instrument SQLAlchemy now, or when the program imports it.

        Args:
            wiring: Providers and settings.
            options: `SQLAlchemyOptions`; None leaves the options as they are, at first at their defaults.

        Raises:
            SettingsError: `options` is something else.
        """
        if options is not None and not isinstance(options, SQLAlchemyOptions):
            message = f"integrations['sqlalchemy'] must be SQLAlchemyOptions or a bool, not {type(options).__name__}"
            raise SettingsError([message])
        try:
            installed = version("sqlalchemy")
        except PackageNotFoundError:
            return Verdict(integration=self.name, choice="skipped", reason="not installed", wanted=False)
        if _release(installed) < _OLDEST:
            return self._install_contrib(wiring, installed)
        if self._hooks is None:
            self._hooks = _Hooks(wiring.tracer_provider, wiring.meter_provider)
            wrapt.register_post_import_hook(self._hooks.attach, "sqlalchemy")
        self._hooks.activate()
        if options is not None:
            self._hooks.background_spans = options.background_spans
        doubles = sorted(_DRIVERS & entry_points(group=_GROUP).names)
        without = f"; left out, since they would trace the same calls: {', '.join(doubles)}" if doubles else ""
        return Verdict(
            integration=self.name,
            choice="ours",
            reason=f"SQLAlchemy {installed} by its event API{without}",
            version=installed,
        )

    def uninstall(self) -> None:
        """Leave SQLAlchemy alone from now on; a statement that is running still ends its span."""
        if self._hooks is not None:
            self._hooks.deactivate()
        if self._contrib is not None:
            self._contrib.deactivate()

    def _install_contrib(self, wiring: Wiring, installed: str) -> Verdict:
        """Use the contrib instrumentor: our hooks need what SQLAlchemy 2.0 brought."""
        old = f"SQLAlchemy {installed} is older than 2.0"
        found = next(iter(entry_points(group=_GROUP, name="sqlalchemy")), None)
        if found is None:
            failure: str | None = "opentelemetry-instrumentation-sqlalchemy is missing"
        else:
            if self._contrib is None:
                self._contrib = _Contrib(found, wiring)
                wrapt.register_post_import_hook(self._contrib.attach, "sqlalchemy")
            self._contrib.activate()
            failure = self._contrib.failure
        if failure is not None:
            reason = f"{old}, and {failure}"
            return Verdict(integration=self.name, choice="skipped", reason=reason, version=installed)
        reason = f"{old}: by opentelemetry-instrumentation-sqlalchemy"
        return Verdict(integration=self.name, choice="contrib", reason=reason, version=installed)


class _Contrib:
    """The contrib instrumentor of an old SQLAlchemy; it waits for the program's own import (docs/decisions/0002)."""

    def __init__(self, entry_point: EntryPoint, wiring: Wiring) -> None:
        self.failure: str | None = None
        self._entry_point = entry_point
        self._wiring = wiring
        self._imported = False
        self._instrumentor: Any = None
        self._wanted = False

    def attach(self, _: object) -> None:
        """Note that SQLAlchemy is there."""
        self._imported = True
        if self._wanted:
            self.activate()

    def activate(self) -> None:
        """Instrument, or do so at the import."""
        self._wanted = True
        if not self._imported or self._instrumentor is not None:
            return
        try:
            instrumentor = self._entry_point.load()()
            instrumentor.instrument(
                tracer_provider=self._wiring.tracer_provider, meter_provider=self._wiring.meter_provider
            )
            self._instrumentor = instrumentor
        except Exception as error:  # noqa: BLE001  may run inside the application's `import sqlalchemy`
            self.failure = f"contrib failed: {type(error).__name__}: {error}"
            _log.warning("sqlalchemy is not instrumented: %s", self.failure)

    def deactivate(self) -> None:
        """Undo it."""
        self._wanted = False
        if self._instrumentor is not None:
            self._instrumentor.uninstrument()
            self._instrumentor = None


def _release(text: str) -> tuple[int, ...]:
    """Return major and minor of a version."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:2])


class _Call:
    """One DBAPI call that has begun.

    It is kept by SQLAlchemy's execution context alone. Where no event ends the call (a statement that opts out of error
    events; below 2.1 another listener that raises before the call), it dies with that context, and its span ends from
    `lost` at the next statement or collection: not here, since the garbage collector may run in the middle of anything.
    How long such a call took, nobody knows: it is not in the histogram.
    """

    __slots__ = ("labels", "lost", "span", "start")

    def __init__(self, labels: dict[str, str | int], lost: deque[tuple[Span, int]]) -> None:
        self.labels = labels
        self.lost = lost
        self.span: Span | None = None
        self.start = perf_counter()

    def __del__(self) -> None:
        if self.span is not None:
            self.lost.append((self.span, time_ns()))


class _Hooks:
    """Everything that runs inside SQLAlchemy. Whatever goes wrong here stays here (E-58, E-59)."""

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.background_spans = False
        self._tracer: Tracer = tracer_provider.get_tracer(__name__)
        meter = meter_provider.get_meter(__name__)
        self._duration: Histogram = create(meter, _catalog.metric("db.client.operation.duration"))
        self._lost: deque[tuple[Span, int]] = deque()
        self._engines = Engines(meter, self._end_lost)
        self._attached = False
        self._failed = False

    def activate(self) -> None:
        """Let the hooks act."""
        self._engines.active = True

    def deactivate(self) -> None:
        """Let the hooks do nothing. They stay where they are: engines at work would not expect them to go."""
        self._engines.active = False

    def attach(self, _: object) -> None:
        """Listen on all engines; called once SQLAlchemy is imported."""
        if self._attached:
            return
        self._attached = True
        try:
            from sqlalchemy import Dialect, Engine, event  # noqa: PLC0415  only a program that uses it imports it

            # `retval` saves a wrapper of SQLAlchemy's own; the hook returns what it was given.
            event.listen(Engine, "before_cursor_execute", self.before, retval=True)
            event.listen(Engine, "after_cursor_execute", self.after)
            # First, since SQLAlchemy asks no further listener once one of them raised.
            event.listen(Engine, "handle_error", self.failed, insert=True)
            event.listen(Engine, "engine_disposed", self.disposed)
            replaced: Any = Engine  # no event tells of waits and time-outs, nor of new engines
            replaced.raw_connection = _timed(Engine.raw_connection, self)
            replaced = Dialect
            replaced.engine_created = _told(Dialect.engine_created, self)
        except Exception:  # noqa: BLE001  runs inside the application's `import sqlalchemy`
            self._note()

    # Events: SQLAlchemy fixes their arguments.

    def before(  # noqa: PLR0917  the event's signature
        self,
        connection: Connection,
        cursor: object,  # noqa: ARG002  the event's signature
        statement: str,
        parameters: Any,
        context: ExecutionContext | None,
        executemany: bool,
    ) -> tuple[str, Any]:
        """Begin a call."""
        try:
            if self._engines.active and is_instrumentation_enabled():
                self._begin(connection, statement, context, _batch_size(parameters) if executemany else 0)
        except Exception:  # noqa: BLE001  never into execute()
            self._note()
        return statement, parameters

    def after(  # noqa: PLR0917  the event's signature
        self,
        connection: Connection,
        cursor: object,  # noqa: ARG002  the event's signature
        statement: str,  # noqa: ARG002  the event's signature
        parameters: Any,  # noqa: ARG002  the event's signature
        context: ExecutionContext | None,
        executemany: bool,  # noqa: ARG002  the event's signature
    ) -> None:
        """End a call that went well."""
        try:
            call = _taken(connection if context is None else context)
            if call is not None:
                self._end(call)
        except Exception:  # noqa: BLE001  never into execute()
            self._note()

    def failed(self, event: ExceptionContext) -> None:
        """End a call that raised; errors outside of calls (commit, fetch) are none of ours."""
        try:
            holder = event.connection if event.execution_context is None else event.execution_context
            call = None if holder is None else _taken(holder)
            if call is not None:
                error = event.original_exception
                if call.span is not None:
                    code = _response_code(error)
                    if code is not None:
                        call.span.set_attribute("db.response.status_code", code)
                self._end(call, _error_type(error))
        except Exception:  # noqa: BLE001  never into execute()
            self._note()

    def disposed(self, engine: Engine) -> None:
        """Follow the engine to its new pool."""
        try:
            self._engines.of(engine).look_at(engine.pool)
        except Exception:  # noqa: BLE001  never into dispose()
            self._note()

    # What is called instead of an event.

    def created(self, engine: Engine) -> None:
        """Know an engine from the start: the order in which a program makes its engines is always the same."""
        try:
            if self._engines.active:
                self._engines.of(engine)
        except Exception:  # noqa: BLE001  never into create_engine()
            self._note()

    def connecting(self, engine: Engine) -> _Wait | None:
        """Begin to wait for a connection; None where nobody counts."""
        try:
            if self._engines.active and is_instrumentation_enabled():
                facts = self._engines.of(engine)
                facts.look_at(engine.pool)
                return _Wait(facts)
        except Exception:  # noqa: BLE001  never into connect()
            self._note()
        return None

    def connected(self, wait: _Wait, connection: PoolProxiedConnection) -> None:
        """End a wait with a connection."""
        try:
            self._engines.waited(wait.facts, wait.over())
            wait.facts.lent(connection)
        except Exception:  # noqa: BLE001  never into connect()
            self._note()

    def not_connected(self, wait: _Wait, error: BaseException) -> None:
        """End a wait without one: the pool had none to give, or the database could not be reached."""
        try:
            from sqlalchemy.exc import TimeoutError as PoolTimeoutError  # noqa: PLC0415  it is imported by now

            seconds = wait.over()
            if isinstance(error, PoolTimeoutError):
                self._engines.waited(wait.facts, seconds, gave_up=True)
            else:
                labels = wait.facts.labels("connect", None) | {"error.type": _error_type(error)}
                self._duration.record(seconds, labels)
        except Exception:  # noqa: BLE001  never into connect()
            self._note()

    # Ours.

    def _begin(self, connection: Connection, statement: str, context: ExecutionContext | None, batch: int) -> None:
        if self._lost:
            self._end_lost()
        facts = self._engines.of(connection.engine)
        what = _sql.read(statement, facts.grammar)
        operation = what.operation
        if batch > 1:
            operation = "BATCH" if operation is None else f"BATCH {operation}"
        request = _request.current()
        if request is not None:
            request.statements += 1
        call = _Call(facts.labels(operation, what.collection), self._lost)
        # Before its span begins: what cannot be kept is never begun.
        vars(connection if context is None else context)[_CALL] = call
        if self._wants_span():
            call.span = self._span(facts, what, operation, batch)

    def _wants_span(self) -> bool:
        """Tell whether the call belongs to a trace, or to a program in which everything does (docs/decisions/0009)."""
        return (
            trace.get_current_span().get_span_context().is_valid or self.background_spans or not _serving.is_serving()
        )

    def _span(self, facts: EngineFacts, what: _sql.Statement, operation: str | None, batch: int) -> Span:
        attributes = facts.attributes | {"db.query.text": what.text}
        name = operation or str(facts.attributes["db.system.name"])
        if operation is not None:
            attributes["db.operation.name"] = operation
        if what.collection is not None:
            attributes["db.collection.name"] = what.collection
            name = f"{name} {what.collection}"
        if batch > 1:
            attributes["db.operation.batch.size"] = batch
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def _end(self, call: _Call, error: str | None = None) -> None:
        seconds = perf_counter() - call.start
        span, call.span = call.span, None
        labels = call.labels if error is None else call.labels | {"error.type": error}
        if span is None:
            self._duration.record(seconds, labels)
        else:
            _close(span, error)
            # The span is not current: its context makes it the exemplar.
            self._duration.record(seconds, labels, trace.set_span_in_context(span))

    def _end_lost(self) -> None:
        while self._lost:
            span, end_ns = self._lost.popleft()
            _close(span, "_OTHER", end_ns)

    def _note(self) -> None:
        """Say once that a hook failed, where a developer may look; called from an `except` clause."""
        if not self._failed:
            self._failed = True
            _log.debug("a hook of the sqlalchemy integration failed; further failures are not logged", exc_info=True)


class _Wait:
    """One request for a connection that is under way."""

    __slots__ = ("facts", "start")

    def __init__(self, facts: EngineFacts) -> None:
        self.facts = facts
        self.start = perf_counter()
        facts.waiting.add(self)

    def over(self) -> float:
        """Stop waiting; return how long it was, in seconds."""
        self.facts.waiting.discard(self)
        return perf_counter() - self.start


def _timed(
    original: Callable[[Engine], PoolProxiedConnection], hooks: _Hooks
) -> Callable[[Engine], PoolProxiedConnection]:
    @functools.wraps(original)
    def raw_connection(self: Engine) -> PoolProxiedConnection:
        wait = hooks.connecting(self)
        if wait is None:
            return original(self)
        try:
            connection = original(self)
        except BaseException as error:
            hooks.not_connected(wait, error)
            raise
        hooks.connected(wait, connection)
        return connection

    return raw_connection


def _told(original: Any, hooks: _Hooks) -> Any:
    """Wrap the class method that SQLAlchemy calls for every new engine; where a dialect has its own, we learn later."""
    function = original.__func__

    @functools.wraps(function)
    def engine_created(cls: type[Dialect], engine: Engine) -> None:
        hooks.created(engine)
        function(cls, engine)

    return classmethod(engine_created)


def _close(span: Span, error: str | None, end_ns: int | None = None) -> None:
    """End a span; with the type of the error, if there was one, and nothing of its text."""
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(_ERROR)
    span.end(end_ns)


def _taken(holder: object) -> _Call | None:
    """Return the open call of an execution context, which has none afterwards."""
    call: _Call | None = vars(holder).pop(_CALL, None)
    return call


def _batch_size(parameters: Any) -> int:
    """Return how many sets of parameters a call has; 0 if it is one statement.

    The rows that SQLAlchemy writes into one INSERT ("insertmanyvalues") come flattened into a single set.
    """
    many = isinstance(parameters, list | tuple) and bool(parameters) and isinstance(parameters[0], list | tuple | dict)
    return len(parameters) if many else 0


def _error_type(error: BaseException) -> str:
    """Name the exception of the driver: SQLAlchemy's asyncio adapters raise one of their own in its place."""
    kind = type(error)
    if kind.__module__.startswith("sqlalchemy.") and error.__cause__ is not None:
        kind = type(error.__cause__)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _response_code(error: BaseException) -> str | None:
    """Return the database's own code for an error: SQLSTATE, the name of SQLite's code, MySQL's number."""
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, attribute, None)
        if isinstance(code, str) and code:
            return code
    number = error.args[0] if error.args else None
    # Other drivers put other things there; a MySQL error is a number of four digits (client and server errors).
    return str(number) if isinstance(number, int) and type(error).__module__.partition(".")[0] in _MYSQL else None


_MYSQL = frozenset({"MySQLdb", "aiomysql", "asyncmy", "mariadb", "mysql", "pymysql"})
