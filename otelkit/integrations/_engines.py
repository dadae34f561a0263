"""The only place that knows what telemetry says about a SQLAlchemy engine and its pool, worked out once per engine.

An engine is known by its dialect: `engine.execution_options()` makes further engines, `engine.dispose()` makes further
pools, the dialect stays the same one. Nothing here keeps an engine or a pool alive.
"""

from __future__ import annotations

import ntpath
import os
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otelkit import _catalog, _sql
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, Meter
    from sqlalchemy import URL, Dialect, Engine
    from sqlalchemy.pool import Pool, PoolProxiedConnection

_SYSTEMS = {
    "bigquery": "gcp.bigquery",
    "clickhouse": "clickhouse",
    "cockroachdb": "cockroachdb",
    "db2": "ibm.db2",
    "firebird": "firebirdsql",
    "hana": "sap.hana",
    "hive": "hive",
    "ibm_db_sa": "ibm.db2",
    "informix": "ibm.informix",
    "mariadb": "mariadb",
    "mssql": "microsoft.sql_server",
    "mysql": "mysql",
    "netezza": "ibm.netezza",
    "oracle": "oracle.db",
    "postgresql": "postgresql",
    "redshift": "aws.redshift",
    "spanner": "gcp.spanner",
    "sqlite": "sqlite",
    "teradata": "teradata",
    "teradatasql": "teradata",
    "trino": "trino",
}

_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
_LABELS_LIMIT = 500  # pairs of operation and table that one engine may bring into metrics; above it, no table
_TWINS_LIMIT = 16  # living engines of one URL that are told apart; above it, they share the last name


class EngineFacts:
    """What is fixed about an engine, and what is going on in its pool.

    Args:
        engine: The engine; only its dialect, URL and pool are looked at, and only the pool is kept, weakly.
        plain_name: The pool's name as far as the engine's URL gives one.
        name: The pool's name in telemetry, which tells engines of one URL apart.
    """

    def __init__(self, engine: Engine, *, plain_name: str, name: str) -> None:
        self.plain_name = plain_name
        self.name = name
        self.grammar = _sql.grammar(engine.dialect.name)
        self.attributes, self._base = _attributes(engine)
        self.pool_labels = {_POOL: name}
        self.waiting: set[object] = set()
        self._labels: dict[tuple[str | None, str | None], dict[str, str | int]] = {}
        self._connections: weakref.WeakSet[PoolProxiedConnection] = weakref.WeakSet()
        self._pool: Callable[[], Pool | None] = weakref.ref(engine.pool)

    @property
    def pool(self) -> Pool | None:
        """The engine's pool; None once it is gone."""
        return self._pool()

    def look_at(self, pool: Pool) -> None:
        """Take this for the engine's pool from now on."""
        if self._pool() is not pool:
            self._pool = weakref.ref(pool)

    def labels(self, operation: str | None, collection: str | None) -> dict[str, str | int]:
        """Return the attributes of `db.client.operation.duration`; bounded, whatever tables a program invents."""
        key = (operation, collection)
        labels = self._labels.get(key)
        if labels is None:
            if len(self._labels) >= _LABELS_LIMIT and collection is not None:
                return self.labels(operation, None)
            labels = dict(self._base)
            if operation is not None:
                labels["db.operation.name"] = operation
            if collection is not None:
                labels["db.collection.name"] = collection
            self._labels[key] = labels
        return labels

    def lent(self, connection: PoolProxiedConnection) -> None:
        """Note a connection that was taken from a pool that does not count them itself."""
        if not hasattr(self.pool, "checkedout"):
            self._connections.add(connection)

    def count(self) -> Iterator[tuple[str, int]]:
        """Return how many connections are used and, where the pool keeps any, idle."""
        pool: Any = self.pool
        if hasattr(pool, "checkedout"):
            yield "used", pool.checkedout()
            yield "idle", pool.checkedin()
        else:
            # Several may share one connection of the database (StaticPool).
            lent = {id(connection.dbapi_connection) for connection in list(self._connections) if connection.is_valid}
            yield "used", len(lent)

    def limit(self) -> int | None:
        """Return how many connections the pool may open; None where there is no limit.

        SQLAlchemy has no public name for the permitted overflow: no attribute, no series.
        """
        pool: Any = self.pool
        overflow = getattr(pool, "_max_overflow", None)
        return pool.size() + overflow if isinstance(overflow, int) and overflow >= 0 else None


class Engines:
    """The engines in use, and the pool metrics.

    Args:
        meter: Makes the instruments, once.
        tidy: Called at each collection, for what must not wait for the next statement.
    """

    def __init__(self, meter: Meter, tidy: Callable[[], None]) -> None:
        self._tidy = tidy
        self._facts: weakref.WeakKeyDictionary[Dialect, EngineFacts] = weakref.WeakKeyDictionary()
        self._process = os.getpid()
        self.active = True
        self._timeouts = create(meter, _catalog.metric("db.client.connection.timeouts"))
        self._wait_time = create(meter, _catalog.metric("db.client.connection.wait_time"))
        for name, measure in (("count", _count), ("max", _limit), ("pending_requests", _waiting)):
            create(meter, _catalog.metric(f"db.client.connection.{name}"), [self._observe(measure)])

    def of(self, engine: Engine) -> EngineFacts:
        """Return what is known about the engine; found out at its first use."""
        facts = self._facts.get(engine.dialect)
        if facts is None:
            plain = _pool_name(engine)
            taken = {other.name for other in self._living() if other.plain_name == plain}
            names = [plain, *(f"{plain}#{twin}" for twin in range(2, _TWINS_LIMIT + 1))]
            name = next((name for name in names if name not in taken), names[-1])
            # Another thread may have been first.
            facts = self._facts.setdefault(engine.dialect, EngineFacts(engine, plain_name=plain, name=name))
            self._timeouts.add(0, facts.pool_labels)
        return facts

    def waited(self, facts: EngineFacts, seconds: float, *, gave_up: bool = False) -> None:
        """Record how long it took to get a connection, or to give up."""
        self._wait_time.record(seconds, facts.pool_labels)
        if gave_up:
            self._timeouts.add(1, facts.pool_labels)

    def _living(self) -> list[EngineFacts]:
        return [facts for facts in list(self._facts.values()) if facts.pool is not None]

    def _observe(
        self, measure: Callable[[EngineFacts], Iterable[tuple[dict[str, str], int]]]
    ) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            if not self.active:
                return []
            self._notice_fork()
            self._tidy()
            sums: dict[tuple[tuple[str, str], ...], int] = {}
            for facts in self._living():
                for labels, value in measure(facts):
                    key = tuple((facts.pool_labels | labels).items())
                    sums[key] = sums.get(key, 0) + value
            return [Observation(value, dict(key)) for key, value in sums.items()]

        return observe

    def _notice_fork(self) -> None:
        """Forget who was waiting in the parent process: nobody in this one will ever be served for them."""
        if self._process != os.getpid():
            self._process = os.getpid()
            for facts in self._living():
                facts.waiting.clear()


def _count(facts: EngineFacts) -> Iterator[tuple[dict[str, str], int]]:
    return (({_STATE: state}, value) for state, value in facts.count())


def _limit(facts: EngineFacts) -> Iterator[tuple[dict[str, str], int]]:
    limit = facts.limit()
    if limit is not None:
        yield {}, limit


def _waiting(facts: EngineFacts) -> Iterator[tuple[dict[str, str], int]]:
    yield {}, len(facts.waiting)


def _attributes(engine: Engine) -> tuple[dict[str, str | int], dict[str, str | int]]:
    """Return what every span and what every metric point of the engine carries.

    A file's name stays off the metrics: programs make such files by the thousand, servers have few databases.
    """
    database, host, port = _place(engine.url)
    where: dict[str, str | int] = {"db.system.name": _system(engine.dialect)}
    if database:
        where["db.namespace"] = database
    if not host:
        return where, {"db.system.name": where["db.system.name"]}
    where["server.address"] = host
    if port:
        where["server.port"] = port
    return where, where


def _system(dialect: Dialect) -> str:
    return "mariadb" if getattr(dialect, "is_mariadb", False) is True else _SYSTEMS.get(dialect.name, "other_sql")


def _pool_name(engine: Engine) -> str:
    """Return a name that is the same after every start and holds no user and no password.

    The one the user gave (`pool_logging_name` or `logging_name` of `create_engine()`), else where the database is.
    """
    for named in (engine.pool, engine):
        name = getattr(named, "logging_name", None)
        if isinstance(name, str) and name:
            return name
    database, host, port = _place(engine.url)
    if not host:
        return f"{engine.dialect.name}:{database.strip(':')}" if database else engine.dialect.name
    return f"{database}@{host}" + (f":{port}" if port else "")


def _place(url: URL) -> tuple[str, str, int | None]:
    """Return database, host and port as the URL names them; of a database file only its name, never its folder."""
    query = url.query
    host = url.host or query.get("host")
    port = url.port or query.get("port")
    database = url.database or query.get("dbname") or (":memory:" if url.get_backend_name() == "sqlite" else "")
    if not isinstance(host, str) or any(mark in host for mark in "/,@"):
        host = ""  # a socket's path, or several hosts
    if isinstance(port, str):
        port = int(port) if port.isascii() and port.isdigit() else None
    if not isinstance(database, str):
        database = ""
    if not host:
        database = ntpath.basename(database.removeprefix("file:").partition("?")[0])
    return database, host, port if isinstance(port, int) else None
