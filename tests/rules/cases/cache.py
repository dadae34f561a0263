"""Cases of the alerts on caches and on Redis."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_EXPORTER = 'job="redis", service_name="redis", instance="redis:9121", service_instance_id="redis:9121"'
_REDIS = {"service_name": "redis", "instance": "redis:9121"}


def _redis(**values: str) -> dict[str, str]:
    """Return series of the exporter: `up` is `redis_up`."""
    return {f"redis_{name}{{{_EXPORTER}}}": each for name, each in values.items()}


def _cache(hit: str, miss: str, stored: str = "0x120", *, service: str = "api") -> dict[str, str]:
    """Return what is asked of a cache: gets that hit and miss, and sets."""
    name = f'cache_requests_total{{service_name="{service}", cache_name="products", cache_operation='
    return {
        f'{name}"get", cache_result="hit"}}': hit,
        f'{name}"get", cache_result="miss"}}': miss,
        f'{name}"set", cache_result="ok"}}': stored,
    }


_PRODUCTS = {"service_name": "api", "cache_name": "products"}
# Gets each 15 s: 16 of 22.5 hit, 71 %, at 1.5 each second.
_POOR = _cache("0+16x120", "0+6.5x120")

CASES = (
    Case(alert="RedisDown", says="the server takes connections", series=_redis(up="1x40"), at="5m"),
    Case(alert="RedisDown", says="away for 15 s", series=_redis(up="1x8 0x20"), at="2m30s"),
    Case(
        alert="RedisDown",
        says="away for 30 s",
        series=_redis(up="1x8 0x20"),
        at="2m45s",
        fires=(_REDIS,),
        summary="Redis, as redis:9121 sees it, takes no connections",
    ),
    Case(
        alert="RedisDown",
        says="one of two servers, in an environment",
        series={
            'redis_up{instance="a:9121", deployment_environment_name="production"}': "0x20",
            'redis_up{instance="b:9121", deployment_environment_name="production"}': "1x20",
        },
        at="2m",
        fires=({"instance": "a:9121", "deployment_environment_name": "production"},),
    ),
    # -- memory
    Case(
        alert="RedisMemoryHigh",
        says="92 % of its memory",
        series=_redis(memory_used_bytes="92e6x40", memory_max_bytes="100e6x40"),
        at="6m",
        fires=(_REDIS,),
        summary="Redis at redis:9121 uses 92% of its memory",
    ),
    Case(
        alert="RedisMemoryHigh",
        says="88 %",
        series=_redis(memory_used_bytes="88e6x40", memory_max_bytes="100e6x40"),
        at="6m",
    ),
    Case(
        alert="RedisMemoryHigh",
        says="92 %, for not yet five minutes",
        series=_redis(memory_used_bytes="92e6x40", memory_max_bytes="100e6x40"),
        at="4m45s",
    ),
    Case(
        alert="RedisMemoryHigh",
        says="much, and no limit",
        series=_redis(memory_used_bytes="92e9x40", memory_max_bytes="0x40"),
        at="6m",
    ),
    # -- connections and eviction
    Case(
        alert="RedisRejectingConnections",
        says="four refused a minute ago",
        series=_redis(rejected_connections_total="0x18 4x40"),
        at="5m30s",
        fires=(_REDIS,),
    ),
    Case(
        alert="RedisRejectingConnections",
        says="some refused all the time",
        series=_redis(rejected_connections_total="0+1x80"),
        at="10m",
        fires=(_REDIS,),
        summary="Redis at redis:9121 refused 20 connections in 5 minutes: `maxclients` is reached",
    ),
    Case(
        alert="RedisRejectingConnections",
        says="seven refused, long ago",
        series=_redis(rejected_connections_total="7x80"),
        at="10m",
    ),
    Case(
        alert="RedisEvicting",
        says="five keys each 15 s, for a quarter of an hour",
        series=_redis(evicted_keys_total="0+5x100"),
        at="16m",
        fires=(_REDIS,),
        summary="Redis at redis:9121 throws 333.3m keys out each second to make room",
    ),
    Case(
        alert="RedisEvicting",
        says="for not yet a quarter of an hour",
        series=_redis(evicted_keys_total="0+5x100"),
        at="14m",
    ),
    Case(alert="RedisEvicting", says="none for a while", series=_redis(evicted_keys_total="5000x100"), at="20m"),
    # -- hits
    Case(
        alert="CacheHitRateLow",
        says="71 % hit, at 1.5 gets a second",
        series=_POOR,
        at="14m",
        fires=(_PRODUCTS,),
        summary="The cache products of api has only 71.11% of what it is asked for",
    ),
    Case(alert="CacheHitRateLow", says="for not yet ten minutes", series=_POOR, at="13m15s"),
    Case(alert="CacheHitRateLow", says="84 % hit", series=_cache("0+19x120", "0+3.5x120"), at="14m"),
    Case(
        alert="CacheHitRateLow",
        says="71 % hit, at less than a get a second, while much is stored",
        series=_cache("0+8x120", "0+3.25x120", "0+30x120"),
        at="14m",
    ),
    Case(
        alert="CacheHitRateLow",
        says="84 % hit, while as much is stored",
        series=_cache("0+19x120", "0+3.5x120", "0+22.5x120"),
        at="14m",
    ),
    Case(alert="CacheHitRateLow", says="nobody asks", series=_cache("800x120", "800x120"), at="14m"),
    Case(
        alert="CacheHitRateLow",
        says="71 % in a service that is content with 60 %",
        series=_POOR,
        at="14m",
        parameters=Parameters(services={"api": Service(thresholds={"hit": 0.6})}),
    ),
    Case(
        alert="CacheHitRateLow",
        says="nothing at all hits",
        series=_cache("0x120", "0+30x120"),
        at="14m",
        fires=(_PRODUCTS,),
    ),
)
