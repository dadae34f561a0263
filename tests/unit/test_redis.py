"""What the Redis integration takes from a command, a key and an error, and what the cache helper counts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelkit
from otelkit.errors import SettingsError
from otelkit.integrations import _redis_commands
from otelkit.integrations._redis_pools import PoolFacts
from otelkit.integrations.redis import RedisIntegration, RedisOptions
from support.database import capture

if TYPE_CHECKING:
    from otelkit.testing import Captel

# -- commands


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("GET", "a"), "GET"),
        (("get", "a"), "GET"),
        ((b"GET", "a"), "GET"),
        (("CONFIG GET", "*"), "CONFIG"),
        (("SET key value",), "SET"),
        (("JSON.GET", "a"), "JSON.GET"),
        (("FT.SEARCH", "index", "words"), "FT.SEARCH"),
        (("VSIM", "a"), "VSIM"),
        (("NOSUCHCOMMAND", "a"), None),
        (("key value",), None),
        (("",), None),
        ((" ",), None),
        ((b"\xff",), None),
        ((7,), None),
        ((), None),
    ],
)
def test_a_command_s_name_is_one_that_redis_knows(arguments: tuple[Any, ...], name: str | None) -> None:
    assert _redis_commands.known(arguments) == name


@pytest.mark.parametrize(
    ("arguments", "blocks"),
    [
        (("BLPOP", "a", 0), True),
        (("XREAD", b"BLOCK", b"100", b"STREAMS", "s", "$"), True),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "block", 5, "STREAMS", "s", ">"), True),
        (("XREAD", b"STREAMS", "s", "0"), False),
        (("GET", "BLOCK"), False),
        (("NOSUCHCOMMAND",), False),
    ],
)
def test_a_command_that_waits_for_a_writer_is_known(arguments: tuple[Any, ...], blocks: bool) -> None:
    assert _redis_commands.blocks(_redis_commands.known(arguments), arguments) is blocks


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (redis.ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE"),
        (redis.ResponseError("SECRET text of a script"), None),
        (redis.ResponseError(""), None),
        (redis.ResponseError(), None),
        (redis.ConnectionError(111, "refused"), None),
        (RuntimeError("READONLY"), "READONLY"),
    ],
)
def test_a_code_of_an_error_is_one_that_redis_knows(error: Exception, code: str | None) -> None:
    assert _redis_commands.code(error) == code


# -- places


@pytest.mark.parametrize(
    ("where", "name", "address", "port"),
    [
        ({}, "localhost:6379/0", "localhost", 6379),
        ({"host": "cache", "port": "7000", "db": 3, "password": "canary"}, "cache:7000/3", "cache", 7000),
        ({"host": "::1", "port": 6379, "db": None}, "::1:6379/0", "::1", 6379),
        ({"path": "/run/canary/redis.sock", "db": 1}, "socket/1", None, None),
        ({"host": None}, "redis", None, None),
    ],
)
def test_a_pool_is_named_by_its_place(where: dict[str, Any], name: str, address: str | None, port: int | None) -> None:
    facts = PoolFacts(where)
    assert facts.pool_labels == {"db.client.connection.pool.name": name}
    assert facts.attributes.get("server.address") == address
    assert facts.attributes.get("server.port") == port
    assert "canary" not in str(facts.attributes)


# -- the verdict


def test_the_verdict_says_ours() -> None:
    with capture(RedisIntegration) as seen:
        verdict = seen.integration.install(seen.wiring, None)
    assert (verdict.choice, verdict.version) == ("ours", redis.__version__)
    assert seen.integration.replaces == {"redis"}


def test_options_of_another_kind_are_refused() -> None:
    with capture(RedisIntegration) as seen, pytest.raises(SettingsError, match="RedisOptions"):
        seen.integration.install(seen.wiring, {"key_words": ["user"]})


@pytest.mark.parametrize("version", ["4.6.0", "3.5.3"])
def test_an_older_redis_py_is_left_alone_and_named(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otelkit.integrations.redis.version", lambda _: version)
    with capture(RedisIntegration) as seen:
        verdict = seen.integration.install(seen.wiring, RedisOptions())
    assert (verdict.choice, verdict.wanted) == ("skipped", True)
    assert version in verdict.reason


def test_installing_imports_no_redis() -> None:
    code = """
import sys
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider
from otelkit.integrations import Wiring
from otelkit.integrations.redis import RedisIntegration
wiring = Wiring(settings=None, tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
RedisIntegration().install(wiring, None)
print("redis" in sys.modules)
import redis
print(hasattr(redis.Redis.execute_command, "__wrapped__"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# -- the cache helper


@pytest.fixture
def cache() -> otelkit.Cache:
    return otelkit.Cache("products")


def test_look_ups_are_counted_by_what_was_found(cache: otelkit.Cache, captel: Captel) -> None:
    held = {"a": 1}
    for key in ("a", "b", "a"):
        with cache.lookup() as lookup:
            if key in held:
                lookup.hit()
    seen = {reading.attributes["cache.result"]: reading.value for reading in captel.metrics("cache.requests")}
    assert seen == {"hit": 2, "miss": 1, "error": 0}
    assert captel.metric("cache.requests", cache_name="products", cache_operation="get").value == 3
    assert captel.metric("cache.operation.duration", cache_operation="get", cache_result="hit").count == 2


def test_a_look_up_that_fails_is_an_error_and_the_exception_passes(cache: otelkit.Cache, captel: Captel) -> None:
    def look_up() -> None:
        with cache.lookup() as lookup:
            lookup.hit()
            raise LookupError

    with pytest.raises(LookupError):
        look_up()
    assert captel.metric("cache.requests", cache_result="error").value == 1
    assert captel.metric("cache.requests", cache_result="hit").value == 0


def test_writes_and_deletions_are_counted_apart(cache: otelkit.Cache, captel: Captel) -> None:
    with cache.store():
        pass
    with cache.drop() as dropped:
        dropped.hit()  # means nothing here
    assert captel.metric("cache.requests", cache_operation="set", cache_result="ok").value == 1
    assert captel.metric("cache.requests", cache_operation="delete", cache_result="ok").value == 1
    assert {reading.attributes["cache.result"] for reading in captel.metrics("cache.requests")} == {"ok", "error"}


def test_a_meter_provider_of_its_own_gets_it_all(captel: Captel) -> None:
    reader = InMemoryMetricReader()
    with otelkit.Cache("own", meter_provider=MeterProvider([reader], shutdown_on_exit=False)).store():
        pass
    assert reader.get_metrics_data() is not None
    assert captel.metrics("cache.requests") == []
