"""The only place for what is recorded of caches, and for the alerts on them and on the Redis server behind them.

The server's alerts are of this group, since what hides them is what hides a cache: without its Redis no hit rate means
anything. Celery's queues may live in the same server; RedisDown hides their alerts too.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_EXPORTER: Final = "Redis' exporter and the Collector's overlay `infra`"
_GETS = 'cache_requests_total{cache_operation="get", service_name!=""}'
_GETS_OF = 'cache_requests_total{cache_operation="get", $service}'
_HITS = "service_cache:cache_hits:ratio_rate5m"
_COMMANDS = "db_client_operation_duration_seconds_count"

RECORDINGS: Final = (
    Recording(
        name=_HITS,
        expr='sum by ($S, cache_name) (rate(cache_requests_total{cache_result="hit", service_name!=""}[5m]))\n'
        f"/ (sum by ($S, cache_name) (rate({_GETS}[5m])) > 0)",
    ),
)

REDIS_DOWN = Alert(
    name="RedisDown",
    group="cache",
    severity="critical",
    lasting="30s",
    expr="min by ($S, instance) (redis_up) == 0",
    feels="Pages are slow without their cache, people are logged out, no background job begins.",
    summary="Redis, as {{ $labels.instance }} sees it, takes no connections",
    runbook=Runbook(
        looks=(
            Look(says="since when: 0 is down", query='redis_up{instance="<instance>"}'),
            Look(
                says="which services notice, and what they get",
                query="sum by (service_name, server_address, error_type) "
                f'(rate({_COMMANDS}{{db_system_name="redis", error_type!=""}}[5m])) > 0',
            ),
            Look(
                says="whether the machine ended a process for its memory",
                query="increase(node_vmstat_oom_kill[30m])",
            ),
        ),
        causes=(
            Cause(
                what="The server was killed for its memory, or crashed.",
                sign="`journalctl -k | grep -i oom`; the last lines of its own log.",
                fix="`systemctl restart redis-server`. Then set `maxmemory` below what the machine has.",
            ),
            Cause(
                what="It hangs: a slow script, `KEYS`, a save on a slow disk.",
                sign="`redis-cli ping` does not answer, its process uses one core.",
                fix="`redis-cli script kill`; if that hangs too, restart.",
            ),
            Cause(
                what="All its connections are taken: the exporter is refused like everybody.",
                sign="The exporter's log, and those of services, say `max number of clients reached`.",
                fix="Restart the service that holds most; see the runbook of RedisRejectingConnections.",
            ),
            Cause(
                what="Its password, address or certificate changed.",
                sign="`redis-cli ping` works on its machine; the exporter's log says `NOAUTH` or `WRONGPASS`.",
                fix="Set REDIS_ADDR and REDIS_PASSWORD of the exporter; look whether services have the same problem.",
            ),
        ),
        tell="The owners of Redis at once; those of every service in the second look.",
        note="Alerts on caches and on Celery of the same environment are held back meanwhile. Messages that were in "
        "queues come back only where Redis persists them (`appendonly yes`). An exporter that is itself gone is "
        "TargetDown.",
    ),
    drill="redis-down",
    needs=_EXPORTER,
)

REDIS_MEMORY_HIGH = Alert(
    name="RedisMemoryHigh",
    group="cache",
    severity="warning",
    lasting="5m",
    expr="max by ($S, instance) (redis_memory_used_bytes / (redis_memory_max_bytes > 0)) > $redis_mem",
    thresholds=(
        Threshold(
            name="redis_mem",
            default=0.9,
            unit="ratio",
            about="share of `maxmemory` that Redis uses",
            observed="max by ($S, instance) (redis_memory_used_bytes / (redis_memory_max_bytes > 0))",
        ),
    ),
    feels="Nothing yet. When it is full, writes are refused, or keys vanish.",
    summary="Redis at {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its memory",
    runbook=Runbook(
        looks=(
            Look(
                says="how fast it grows",
                query='redis_memory_used_bytes{instance="<instance>"}',
            ),
            Look(
                says="keys, and how many of them expire at all",
                query='redis_db_keys{instance="<instance>"} > 0 or redis_db_keys_expiring{instance="<instance>"} > 0',
            ),
            Look(
                says="whether a queue of Celery is what grows",
                query="namespace_queue:celery_queue_depth:max",
            ),
        ),
        causes=(
            Cause(
                what="Keys are written without an expiry.",
                sign="Keys grow, expiring ones do not. `redis-cli --bigkeys` names the largest.",
                fix="Give them a TTL; `redis-cli --scan --pattern 'PREFIX*' | xargs -L 500 redis-cli unlink`.",
            ),
            Cause(
                what="A queue is not worked off.",
                sign="The third look grows; CeleryStalled or CeleryQueueBacklog fires.",
                fix="See their runbooks.",
            ),
            Cause(
                what="The data simply outgrew the limit.",
                sign="Growth over weeks.",
                fix="`redis-cli config set maxmemory 2gb`, where the machine has it; then in the configuration file.",
            ),
        ),
        tell="The owners of Redis. What happens when it is full, `redis-cli config get maxmemory-policy` says: "
        "`noeviction` refuses writes, and breaks brokers.",
        note="A server without `maxmemory` has no limit to come near to: HostMemoryHigh watches its machine.",
    ),
    drill="redis-full",
    needs=_EXPORTER,
)

REDIS_REJECTING_CONNECTIONS = Alert(
    name="RedisRejectingConnections",
    group="cache",
    severity="critical",
    expr="sum by ($S, instance) (increase(redis_rejected_connections_total[5m])) > 0",
    feels="Some requests fail or do without their cache, at random.",
    summary='Redis at {{ $labels.instance }} refused {{ $value | printf "%.0f" }} connections in 5 minutes: '
    "`maxclients` is reached",
    runbook=Runbook(
        looks=(
            Look(
                says="how many are refused",
                query='increase(redis_rejected_connections_total{instance="<instance>"}[5m])',
            ),
            Look(
                says="clients, of how many it takes",
                query='redis_connected_clients{instance="<instance>"} / redis_config_maxclients',
            ),
            Look(
                says="which services hold connections",
                query="sum by (service_name, db_client_connection_pool_name) (db_client_connection_count)",
            ),
        ),
        causes=(
            Cause(
                what="A client leaks connections, or makes a pool for every request.",
                sign="`redis-cli client list | grep -o ' addr=[^:]*' | sort | uniq -c` names the machine.",
                fix="Restart that service; make its client once, at start.",
            ),
            Cause(
                what="More processes than before: a scale-out, workers with high concurrency.",
                sign="Clients rose in step with a deploy.",
                fix="`redis-cli config set maxclients 20000`; mind the open files of its process.",
            ),
        ),
        tell="The owners of the service that holds most.",
        note="While not one connection is left, the exporter gets none either: that is RedisDown, and this follows.",
    ),
    undrilled="would take the connections of what drills; its cases cover both sides",
    needs=_EXPORTER,
)

REDIS_EVICTING = Alert(
    name="RedisEvicting",
    group="cache",
    severity="info",
    lasting="15m",
    expr="sum by ($S, instance) (rate(redis_evicted_keys_total[5m])) > 0",
    feels="The cache hits less; where Redis also holds sessions or queues, these get lost.",
    summary="Redis at {{ $labels.instance }} throws {{ $value | humanize }} keys out each second to make room",
    runbook=Runbook(
        looks=(
            Look(says="how many", query='rate(redis_evicted_keys_total{instance="<instance>"}[5m])'),
            Look(
                says="whether the caches suffer",
                query=_HITS,
            ),
        ),
        causes=(
            Cause(
                what="The cache is smaller than what it is to hold.",
                sign="The share of hits fell since.",
                fix="More `maxmemory`, shorter TTLs, or smaller values.",
            ),
            Cause(
                what="A cache and something that must not be lost share a server.",
                sign="`redis-cli info keyspace` shows several databases; eviction makes no difference between them.",
                fix="Give queues and sessions a server of their own with `maxmemory-policy noeviction`.",
            ),
        ),
        tell="The owners of the services that use it, by day.",
        note="For a server that is a cache and nothing else this is normal: switch the alert off.",
    ),
    drill="redis-full",
    needs=_EXPORTER,
)

CACHE_HIT_RATE_LOW = Alert(
    name="CacheHitRateLow",
    group="cache",
    severity="warning",
    lasting="10m",
    expr=f"{_HITS}{{$service}} < $hit\n"
    f"and on ($S, cache_name) sum by ($S, cache_name) (rate({_GETS_OF}[5m])) > $hit_rps",
    thresholds=(
        Threshold(
            name="hit",
            default=0.8,
            unit="ratio",
            about="share of gets that a cache has to answer",
            observed=f"min by ($S) ({_HITS})",
            crossed="below",
        ),
        Threshold(
            name="hit_rps",
            default=1,
            unit="per_second",
            about="gets a second below which the share of hits tells nothing",
            observed=f"max by ($S) (sum by ($S, cache_name) (rate({_GETS}[5m])))",
            crossed="guard",
        ),
    ),
    feels="Pages are slower, and the database gets what the cache does not answer.",
    summary="The cache {{ $labels.cache_name }} of {{ $labels.service_name }} has only "
    "{{ $value | humanizePercentage }} of what it is asked for",
    runbook=Runbook(
        looks=(
            Look(
                says="the share of hits, and since when it fell",
                query=f'{_HITS}{{service_name="<service_name>", cache_name="<cache_name>"}}',
            ),
            Look(
                says="what becomes of requests: `error` is a server that fails, `miss` without `set` is code that does "
                "not fill it",
                query="sum by (cache_operation, cache_result) "
                '(rate(cache_requests_total{service_name="<service_name>", cache_name="<cache_name>"}[5m]))',
            ),
            Look(
                says="whether Redis throws keys out",
                query="rate(redis_evicted_keys_total[5m])",
            ),
            Look(
                says="what the database gets in addition",
                query="sum by (db_system_name) "
                '(service_db_op:db_client_operations:rate5m{service_name="<service_name>"})',
            ),
        ),
        causes=(
            Cause(
                what="The keys changed with a deploy: all that is cached has another name.",
                sign="A sudden fall, then a slow rise.",
                fix="Wait, if it rises; roll back, if keys now hold something that changes with every request.",
            ),
            Cause(
                what="Keys expire or are thrown out before they are asked for again.",
                sign="The third look is above 0, or the TTL was shortened.",
                fix="Longer TTL, more memory.",
            ),
            Cause(
                what="Somebody asks for what nobody else asks for: a crawler, a scan.",
                sign="Requests rose, on one route, from few clients.",
                fix="Limit the client.",
            ),
        ),
        tell="The owners of the service; those of the database if the fourth look doubled.",
    ),
    undrilled="takes ten minutes of misses; its cases cover both sides",
)

GROUP = Group(
    name="cache",
    about="Caches, and the Redis behind them.",
    recordings=RECORDINGS,
    alerts=(REDIS_DOWN, REDIS_MEMORY_HIGH, REDIS_REJECTING_CONNECTIONS, REDIS_EVICTING, CACHE_HIT_RATE_LOW),
)
