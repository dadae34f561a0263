"""The only place for the board of caches and Redis: whether they help, and what the server says."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, DB, RATE, quantile, rate, threshold, to, traces
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_GETS = f'{CHOSEN}, cache_operation="get"'
_HITS = f'{_GETS}, cache_result="hit"'
_REDIS = f'{CHOSEN}, db_system_name="redis"'
_COMMANDS = traces('span.db.system.name="redis"', "Commands")


def _server(metric: str) -> str:
    return f"sum by (instance) (rate({metric}{RATE}))"


_SYMPTOMS = (
    Panel(
        title="Hit ratio",
        about="Share of look-ups that the cache could answer. Yellow: it helps too little, and the database pays.",
        unit="percentunit",
        targets=(
            Target(
                query=f"{rate('cache_name', 'cache_requests_total', _HITS)} / "
                f"({rate('cache_name', 'cache_requests_total', _GETS)} > 0)",
                legend="{{cache_name}}",
            ),
        ),
        link=to("database", "Database"),
        kind="gauge",
        width=8,
        most=1.0,
        warn=threshold("hit"),
        low=True,
    ),
    Panel(
        title="Command p95",
        about="How long a command took, seen from the service. All slow: the server or the network; one slow: "
        "a big key.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, DB, _REDIS, by="db_operation_name"), legend="{{db_operation_name}}", exemplar=True
            ),
        ),
        link=_COMMANDS,
    ),
    Panel(
        title="Failed commands",
        about="Commands that failed each second, by error. None is normal: whoever asked got an exception.",
        unit="ops",
        targets=(
            Target(
                query=rate("service_name, error_type", f"{DB}_count", f'{_REDIS}, error_type!=""'),
                legend="{{service_name}} {{error_type}}",
            ),
        ),
        link=traces('span.db.system.name="redis" && status=error', "Failed commands"),
        may_be_empty="no command failed",
    ),
)

_TRAFFIC = (
    Panel(
        title="Operations",
        about="What services asked their caches for, and what came of it.",
        unit="ops",
        targets=(
            Target(
                query=rate("cache_name, cache_operation, cache_result", "cache_requests_total"),
                legend="{{cache_name}} {{cache_operation}} {{cache_result}}",
            ),
        ),
        link=_COMMANDS,
        width=12,
    ),
    Panel(
        title="Operation p95",
        about="How long a look-up took, with all that the application does around it.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, "cache_operation_duration_seconds", by="cache_name, cache_operation"),
                legend="{{cache_name}} {{cache_operation}}",
            ),
        ),
        link=_COMMANDS,
        width=12,
    ),
)

_SERVER = (
    Panel(
        title="Commands of the server",
        about="The eight commands that the server runs most.",
        unit="ops",
        targets=(Target(query=f"topk(8, sum by (cmd) (rate(redis_commands_total{RATE})))", legend="{{cmd}}"),),
        link=_COMMANDS,
    ),
    Panel(
        title="Keys found",
        about="Share of the keys asked for that were there, whoever asked. The gauge above counts what caches ask.",
        unit="percentunit",
        targets=(
            Target(
                query=f"{_server('redis_keyspace_hits_total')} / "
                f"({_server('redis_keyspace_hits_total')} + {_server('redis_keyspace_misses_total')} > 0)",
                legend="{{instance}}",
            ),
        ),
        link=to("database", "Database"),
        most=1.0,
    ),
    Panel(
        title="Clients",
        about="Connections to the server, and those that wait for an answer. It refuses more than `maxclients`.",
        unit="short",
        targets=(
            Target(query="redis_connected_clients", legend="connected {{instance}}"),
            Target(query="redis_blocked_clients", legend="waiting {{instance}}"),
        ),
        link=to("worker", "Workers"),
    ),
)

_RESOURCES = (
    Panel(
        title="Memory",
        about="What the server uses, and its limit: 0 is none. At the limit it evicts keys, or refuses writes.",
        unit="bytes",
        targets=(
            Target(query="redis_memory_used_bytes", legend="used {{instance}}"),
            Target(query="redis_memory_max_bytes", legend="limit {{instance}}"),
        ),
        link=to("host", "Hosts"),
    ),
    Panel(
        title="Memory of the limit",
        about="Share of the limit that is used. At all of it Redis evicts keys, or refuses writes.",
        unit="percentunit",
        targets=(Target(query="redis_memory_used_bytes / (redis_memory_max_bytes > 0)", legend="{{instance}}"),),
        link=to("host", "Hosts"),
        may_be_empty="a server without a limit has no share of it",
        warn=threshold("redis_mem"),
    ),
    Panel(
        title="Evicted and expired",
        about="Keys that went each second: expired is normal, evicted is a lack of memory.",
        unit="ops",
        targets=(
            Target(query=f"rate(redis_evicted_keys_total{RATE})", legend="evicted {{instance}}"),
            Target(query=f"rate(redis_expired_keys_total{RATE})", legend="expired {{instance}}"),
        ),
        link=to("host", "Hosts"),
    ),
)

BOARD: Final = Board(
    name="cache",
    title="Cache",
    question="Does the cache help, and is Redis well?",
    rows={
        "Symptoms": _SYMPTOMS,
        "Traffic": _TRAFFIC,
        "The server": _SERVER,
        "Resources": _RESOURCES,
    },
    variables=CHOICE,
)
