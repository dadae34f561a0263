"""redis-py against a real server, sync and asyncio: one span per command, whatever happens to it, and no key in it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from otelkit import _serving
from otelkit.integrations.redis import RedisIntegration, RedisOptions
from support import lanes, redis_server
from support.database import DURATION, capture, value
from support.processes import HOST, PYTHON, free_port, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otelkit.testing import Captel
    from support.database import Captured

LANE = "redis"
SECRET = "canary-value"
PASSWORD = "canary-password"
KINDS = ["sync", "asyncio"]


@pytest.fixture(scope="module")
def server() -> Iterator[redis_server.RedisServer]:
    missing = redis_server.missing()
    if missing is not None:
        lanes.skipped(LANE, missing)
        pytest.skip(missing)
    with redis_server.server(password=PASSWORD) as running:
        yield running
    lanes.ran(LANE)


@pytest.fixture
def seen(server: redis_server.RedisServer) -> Iterator[Captured]:  # noqa: ARG001  skips where there is none
    gc.collect()  # pools of other tests
    with capture(RedisIntegration) as captured:
        captured.integration.install(captured.wiring, RedisOptions())
        yield captured


class Client:
    """A client of either kind, called the same way."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        made: Any = redis.Redis if self._runner is None else redis.asyncio.Redis
        self.plain = made.from_url(url, **options)

    def __call__(self, method: str, *arguments: Any, on: Any = None, **options: Any) -> Any:
        """Call a method of the client, or of another object of its kind, and return what it answers."""
        called = getattr(self.plain if on is None else on, method)

        async def awaited() -> Any:
            answer = called(*arguments, **options)
            return await answer if inspect.isawaitable(answer) else answer

        return (
            called(*arguments, **options)
            if self._runner is None
            else self._runner.run(awaited(), context=copy_context())
        )

    def close(self) -> None:
        if self._runner is None:
            self.plain.close()
        else:
            self("aclose" if hasattr(self.plain, "aclose") else "close")
            self("disconnect", on=self.plain.connection_pool)
            self._runner.close()


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: redis_server.RedisServer, seen: Captured) -> Iterator[Client]:
    made = Client(request.param, server.url())
    made("flushdb")
    seen.clear()
    yield made
    made.close()


def place(server: redis_server.RedisServer) -> dict[str, Any]:
    return {
        "db.system.name": "redis",
        "db.namespace": "0",
        "server.address": HOST,
        "server.port": server.port,
    }


def everything(seen: Captured) -> str:
    """Return all that was emitted as one text."""
    spans = [span.to_json() for span in seen.spans]
    return repr(spans) + repr(seen.points())


def operations(seen: Captured) -> dict[str, int]:
    """Return how often each operation was counted."""
    return {point.attributes.get("db.operation.name", ""): point.count for point in seen.points().get(DURATION, [])}


# -- commands


def test_a_command_is_one_span_and_one_point_without_its_arguments(
    client: Client, seen: Captured, server: redis_server.RedisServer
) -> None:
    assert client("set", f"user:{SECRET}", SECRET) is True
    assert client("get", f"user:{SECRET}") == SECRET.encode()

    assert seen.names == ["SET", "GET"]
    assert dict(seen.spans[0].attributes or {}) == place(server) | {"db.operation.name": "SET"}
    points = seen.points()
    assert value(points[DURATION], db__operation__name="SET") == 1
    assert [dict(point.attributes) for point in points[DURATION]] == [
        place(server) | {"db.operation.name": name} for name in ("SET", "GET")
    ]
    assert SECRET not in everything(seen)


def test_the_span_belongs_to_the_span_of_the_caller_and_is_the_exemplar(client: Client, seen: Captured) -> None:
    with seen.tracer.start_as_current_span("request") as request:
        client("get", "a")
    [span] = seen.spans
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    [point] = seen.points()[DURATION]
    [exemplar] = point.exemplars
    context = span.get_span_context()
    assert context is not None
    assert exemplar.span_id == context.span_id


def test_an_error_of_the_server_reaches_the_caller_and_is_told_by_its_code(client: Client, seen: Captured) -> None:
    client("set", "a", "text")
    seen.clear()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client("lpush", "a", SECRET)

    [span] = seen.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert not span.events
    attributes = span.attributes or {}
    assert attributes["db.response.status_code"] == "WRONGTYPE"
    assert attributes["error.type"] == "redis.exceptions.ResponseError"
    points = seen.points()[DURATION]
    assert value(points, db__operation__name="LPUSH", error__type="redis.exceptions.ResponseError") == 1


@pytest.mark.parametrize(
    "command",
    [
        (SECRET.upper(), "a"),
        ("NOSUCHCOMMAND", SECRET),
        (f"SET {SECRET} {SECRET}",),
        ("EVAL", f"return redis.error_reply('{SECRET.upper()} happened')", 1, SECRET),
        ("AUTH", SECRET),
        ("CONFIG", "SET", SECRET, SECRET),
    ],
    ids=["unknown command", "argument of one", "a whole line", "error of a script", "password", "setting"],
)
def test_nothing_of_what_is_sent_is_told(client: Client, seen: Captured, command: tuple[Any, ...]) -> None:
    try:
        client("execute_command", *command)
    except redis.RedisError:
        pass
    else:
        assert command[0].startswith("SET ")
    assert len(seen.spans) == 1
    assert SECRET not in everything(seen).lower()


def test_a_command_that_nobody_knows_has_no_name(client: Client, seen: Captured) -> None:
    with pytest.raises(redis.ResponseError):
        client("execute_command", "NOSUCHCOMMAND")
    assert seen.names == ["redis"]
    assert operations(seen) == {"": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_not_there_is_an_error_of_each_command(seen: Captured, kind: str) -> None:
    retry: Any = Retry(NoBackoff(), 0) if kind == "sync" else AsyncRetry(NoBackoff(), 0)
    client = Client(kind, f"redis://{HOST}:{free_port()}/0", retry=retry)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client("get", SECRET)
    client.close()
    assert [span.status.status_code for span in seen.spans] == [StatusCode.ERROR] * 2
    points = seen.points()
    assert value(points[DURATION], db__operation__name="GET", error__type="redis.exceptions.ConnectionError") == 2
    # A connection that failed is no wait for one.
    assert "db.client.connection.wait_time" not in points or not points["db.client.connection.wait_time"]


def test_a_command_that_is_cancelled_ends_its_span(server: redis_server.RedisServer, seen: Captured) -> None:
    async def main() -> None:
        client = redis.asyncio.Redis.from_url(server.url())
        await client.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.blpop(["nothing"], timeout=30), timeout=0.05)
        await client.connection_pool.disconnect()

    asyncio.run(main())
    *_, span = seen.spans
    assert (span.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"


def test_what_the_client_sends_by_itself_makes_no_span(server: redis_server.RedisServer, seen: Captured) -> None:
    # AUTH, HELLO, CLIENT and SELECT open the connection; a PING keeps it.
    client = redis.Redis.from_url(server.url(3), client_name="shop", health_check_interval=1)
    client.get("a")
    client.close()
    assert seen.names == ["GET"]


def test_many_threads_make_as_many_spans_as_commands(server: redis_server.RedisServer, seen: Captured) -> None:
    client = redis.Redis.from_url(server.url())

    def work() -> None:
        for _ in range(50):
            client.incrby("counter", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert seen.names == ["INCRBY"] * 200
    assert operations(seen) == {"INCRBY": 200}


def test_concurrent_commands_of_one_loop_make_a_span_each(server: redis_server.RedisServer, seen: Captured) -> None:
    async def main() -> None:
        client = redis.asyncio.Redis.from_url(server.url())
        await asyncio.gather(*(client.incrby("counter", 1) for _ in range(50)))
        await client.connection_pool.disconnect()

    asyncio.run(main())
    assert operations(seen) == {"INCRBY": 50}
    assert len(seen.spans) == 50


# -- pipelines, scripts, pub/sub, commands that wait


@pytest.mark.parametrize(
    ("commands", "transaction", "name"),
    [
        ([("set", "a", SECRET), ("get", "a")], True, "MULTI"),
        ([("set", "a", SECRET), ("get", "a")], False, "PIPELINE"),
        ([("get", SECRET), ("get", SECRET)], True, "MULTI GET"),
        ([("get", SECRET)] * 300, False, "PIPELINE GET"),
        ([("get", SECRET)], False, "GET"),
    ],
)
def test_a_pipeline_is_one_span(
    client: Client, seen: Captured, commands: list[tuple[str, ...]], transaction: bool, name: str
) -> None:
    pipeline = client.plain.pipeline(transaction=transaction)
    for method, *arguments in commands:
        getattr(pipeline, method)(*arguments)
    assert len(client("execute", on=pipeline)) == len(commands)

    [span] = seen.spans
    assert span.name == name
    size = (span.attributes or {}).get("db.operation.batch.size")
    assert size == (len(commands) if len(commands) > 1 else None)
    assert SECRET not in everything(seen)


def test_an_empty_pipeline_is_nothing(client: Client, seen: Captured) -> None:
    assert client("execute", on=client.plain.pipeline()) == []
    assert seen.spans == []
    assert operations(seen) == {}


def test_a_lost_race_for_a_watched_key_is_no_error(client: Client, seen: Captured) -> None:
    pipeline = client.plain.pipeline()
    client("watch", "a", on=pipeline)
    client("set", "a", 1)
    pipeline.multi()
    pipeline.set("a", 2)
    pipeline.get("a")
    with pytest.raises(redis.WatchError):
        client("execute", on=pipeline)
    assert seen.names == ["WATCH", "SET", "MULTI"]
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


def test_a_script_is_told_by_the_commands_that_run_it(client: Client, seen: Captured) -> None:
    client("script_flush")
    seen.clear()
    script = client.plain.register_script("return ARGV[1]")
    assert client("__call__", [SECRET], [SECRET], on=script) == SECRET.encode()
    assert seen.names == ["EVALSHA", "SCRIPT", "EVALSHA"]
    assert SECRET not in everything(seen)


def test_reading_what_was_published_makes_no_span(client: Client, seen: Captured) -> None:
    subscriber = client.plain.pubsub()
    client("subscribe", "news", on=subscriber)
    client("publish", "news", SECRET)
    for _ in range(3):
        client("get_message", timeout=0.05, on=subscriber)
    client("aclose" if hasattr(subscriber, "aclose") else "close", on=subscriber)
    assert seen.names == ["PUBLISH"]
    assert SECRET not in everything(seen)


def test_commands_that_wait_on_purpose_are_spans_and_no_latency(client: Client, seen: Captured) -> None:
    assert client("blpop", ["nothing"], timeout=0.01) is None
    assert not client("xread", {"stream": "0"}, block=1)
    assert not client("xread", {"stream": "0"})
    assert seen.names == ["BLPOP", "XREAD", "XREAD"]
    assert operations(seen) == {"XREAD": 1}


# -- what is not traced


def test_suppressed_commands_make_nothing(client: Client, seen: Captured) -> None:
    pipeline = client.plain.pipeline()
    pipeline.get("a")
    with suppress_instrumentation():
        client("get", "a")
        client("execute", on=pipeline)
    assert seen.spans == []
    assert operations(seen) == {}


def test_outside_of_requests_of_a_serving_process_commands_are_counted_only(client: Client, seen: Captured) -> None:
    _serving.mark()
    client("get", "a")
    assert seen.spans == []
    with seen.tracer.start_as_current_span("request"):
        client("get", "a")
    assert seen.names == ["GET"]
    seen.integration.install(seen.wiring, RedisOptions(background_spans=True))
    client("get", "a")
    assert seen.names == ["GET", "GET"]
    assert operations(seen) == {"GET": 3}


def test_uninstalled_it_does_nothing(client: Client, seen: Captured) -> None:
    seen.integration.uninstall()
    client("get", "a")
    assert seen.spans == []
    assert seen.points() == {}


def test_of_a_key_only_the_words_that_the_application_named_are_told(client: Client, seen: Captured) -> None:
    seen.integration.install(seen.wiring, RedisOptions(key_words=frozenset({"user", "cart"})))
    client("get", f"user:{SECRET}:cart")
    assert (seen.spans[0].attributes or {})["db.query.text"] == "GET user:?:cart"


def test_where_redis_py_measures_by_itself_nothing_is_counted_twice(client: Client, seen: Captured) -> None:
    observability = pytest.importorskip("redis.observability")
    observability.get_observability_instance().init(
        observability.OTelConfig(metric_groups=[observability.MetricGroup.COMMAND])
    )
    try:
        client("get", "a")
        assert seen.names == ["GET"]
        assert operations(seen) == {}
    finally:
        observability.reset_observability_instance()


def test_what_redis_py_measures_by_itself_has_the_names_of_the_conventions(
    server: redis_server.RedisServer, captel: Captel
) -> None:
    observability = pytest.importorskip("redis.observability")
    observability.get_observability_instance().init(
        observability.OTelConfig(metric_groups=[observability.MetricGroup.COMMAND])
    )
    try:
        with redis.Redis.from_url(server.url()) as plain:
            plain.get("a")
        named = captel.metric("db.client.operation.duration", db_operation_name="GET", db_system_name="redis")
        assert named.count == 1
        assert [reading for reading in captel.metrics() if "db.system" in reading.attributes] == []
    finally:
        observability.reset_observability_instance()


# -- pools


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_tells_its_connections_and_who_gave_up_waiting(
    kind: str, server: redis_server.RedisServer, seen: Captured
) -> None:
    module: Any = redis if kind == "sync" else redis.asyncio
    pool = module.BlockingConnectionPool(
        host=HOST, port=server.port, password=PASSWORD, max_connections=2, timeout=0.05
    )
    name = f"{HOST}:{server.port}/0"
    client = Client(kind, server.url())
    client.plain = module.Redis(connection_pool=pool)
    held = [client("get_connection", *_command_name(pool), on=pool) for _ in range(2)]
    with pytest.raises(redis.ConnectionError):
        client("get", "a")
    points = seen.points()
    counts = points["db.client.connection.count"]
    assert value(counts, db__client__connection__pool__name=name, db__client__connection__state="used") == 2
    assert value(counts, db__client__connection__pool__name=name, db__client__connection__state="idle") == 0
    assert value(points["db.client.connection.max"], db__client__connection__pool__name=name) == 2
    assert value(points["db.client.connection.timeouts"], db__client__connection__pool__name=name) == 1
    assert value(points["db.client.connection.wait_time"], db__client__connection__pool__name=name) == 3
    assert value(points["db.client.connection.pending_requests"], db__client__connection__pool__name=name) == 0

    for connection in held:
        client("release", connection, on=pool)
    counts = seen.points()["db.client.connection.count"]
    assert value(counts, db__client__connection__pool__name=name, db__client__connection__state="used") == 0
    assert value(counts, db__client__connection__pool__name=name, db__client__connection__state="idle") == 2
    client.close()


def _command_name(pool: Any) -> tuple[str, ...]:
    """Return what `get_connection` has to be given: below redis-py 5.3 the name of a command, above it nothing."""
    parameter = inspect.signature(pool.get_connection).parameters["command_name"]
    return ("GET",) if parameter.default is inspect.Parameter.empty else ()


def test_pools_of_one_database_are_told_as_one(server: redis_server.RedisServer, seen: Captured) -> None:
    clients = [redis.Redis.from_url(server.url()) for _ in range(3)]
    for client in clients:
        client.ping()
    counts = seen.points()["db.client.connection.count"]
    assert value(counts, db__client__connection__state="idle") == 3
    for client in clients:
        client.close()


def test_a_thread_that_waits_for_a_connection_is_pending(server: redis_server.RedisServer, seen: Captured) -> None:
    made: Any = redis.BlockingConnectionPool
    pool = made(host=HOST, port=server.port, password=PASSWORD, max_connections=1, timeout=20)
    client = redis.Redis(connection_pool=pool)
    held = pool.get_connection(*_command_name(pool))
    thread = threading.Thread(target=client.ping)
    thread.start()
    try:
        wait_until(
            lambda: value(seen.points()["db.client.connection.pending_requests"]) == 1, within=10, what="one waits"
        )
    finally:
        pool.release(held)
        thread.join()
    assert value(seen.points()["db.client.connection.pending_requests"]) == 0
    pool.disconnect()


# -- other clients


def test_behind_sentinel_a_command_is_one_span(
    server: redis_server.RedisServer, seen: Captured, tmp_path: Path
) -> None:
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor shop {HOST} {server.port} 1\nsentinel auth-pass shop {PASSWORD}\n", encoding="utf-8"
    )
    with redis_server.server(str(configuration), "--sentinel") as sentinel:
        made: Any = Sentinel
        watched = made([(HOST, sentinel.port)], password=PASSWORD)
        master = watched.master_for("shop")
        assert master.set("a", "b") is True
        assert seen.names == ["SET"]  # and nothing of the search for the master
        counts = seen.points()["db.client.connection.count"]
        names = {point.attributes["db.client.connection.pool.name"] for point in counts}
        assert "shop/0" in names
        master.close()
        for client in watched.sentinels:
            client.close()


@pytest.fixture(scope="module")
def cluster(server: redis_server.RedisServer) -> Iterator[redis_server.RedisServer]:  # noqa: ARG001  skips where there is none
    with redis_server.server("--cluster-enabled", "yes") as node:
        with redis.Redis(host=HOST, port=node.port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_until(
                lambda: client.cluster("INFO")["cluster_state"] == "ok", within=20, what="the cluster has its slots"
            )
        yield node


def test_a_cluster_s_commands_and_pipelines_are_one_span_each(
    cluster: redis_server.RedisServer, seen: Captured
) -> None:
    client: Any = redis.RedisCluster(host=HOST, port=cluster.port)
    seen.clear()
    assert client.set("a", SECRET) is True
    pipeline = client.pipeline()
    pipeline.get("a")
    pipeline.get("b")
    assert pipeline.execute() == [SECRET.encode(), None]
    with pytest.raises(redis.ResponseError):
        client.lpush("a", 1)
    client.close()
    assert seen.names == ["SET", "PIPELINE GET", "LPUSH"]
    assert operations(seen) == {"SET": 1, "PIPELINE GET": 1, "LPUSH": 1}
    assert SECRET not in everything(seen)


def test_an_asyncio_cluster_s_commands_and_pipelines_are_one_span_each(
    cluster: redis_server.RedisServer, seen: Captured
) -> None:
    async def main() -> None:
        client: Any = redis.asyncio.RedisCluster(host=HOST, port=cluster.port)
        await client.set("a", SECRET)
        pipeline = client.pipeline()
        pipeline.get("a")
        pipeline.get("b")
        assert await pipeline.execute() == [SECRET.encode(), None]
        await (client.aclose() if hasattr(client, "aclose") else client.close())

    asyncio.run(main())
    assert seen.names == ["SET", "PIPELINE GET"]
    assert operations(seen) == {"SET": 1, "PIPELINE GET": 1}


# -- the library is what it was


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (redis.Redis, "execute_command"),
        (redis.client.Pipeline, "execute"),
        (redis.RedisCluster, "execute_command"),
        (redis.ConnectionPool, "get_connection"),
        (redis.asyncio.Redis, "execute_command"),
        (redis.asyncio.client.Pipeline, "execute"),
        (redis.asyncio.RedisCluster, "execute_command"),
        (redis.asyncio.BlockingConnectionPool, "get_connection"),
    ],
)
def test_methods_keep_name_signature_and_kind(owner: type, method: str, seen: Captured) -> None:
    wrapped = getattr(owner, method)
    original = inspect.unwrap(wrapped)
    assert seen.integration.name == "redis"  # installed
    assert wrapped.__name__ == method
    assert inspect.signature(wrapped) == inspect.signature(original)
    assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(original)


AGE = """
import sys
import redis
client = redis.Redis.from_url(sys.argv[1])
pipeline = client.pipeline()
client.ping()

import otelkit
telemetry = otelkit.configure(service_name="shop")
client.get("a")
pipeline.get("a")
pipeline.execute()
print(telemetry.verdict("redis").choice, telemetry.force_flush(), telemetry.stats()["traces"].emitted)
"""


def test_clients_made_before_configure_are_traced(server: redis_server.RedisServer, tmp_path: Path) -> None:
    script = tmp_path / "age.py"
    script.write_text(AGE, encoding="utf-8")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{free_port()}", "OTELKIT_SHUTDOWN_TIMEOUT": "0.1"}
    program = run([PYTHON, script, server.url()], folder=tmp_path, env=environment)
    assert program.returncode == 0, program.stderr
    last = program.stdout.splitlines()[-1].split()
    assert (last[0], last[-1]) == ("ours", "2")
