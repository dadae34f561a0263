"""The only place for the board of databases: pools and statements as services see them, and what the server says."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import (
    CHOICE,
    CHOSEN,
    DB,
    HTTP,
    RATE,
    SERVED,
    STATEMENTS,
    quantile,
    rate,
    threshold,
    to,
    traces,
)
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target

_POOL = "service_name, db_client_connection_pool_name"
_NAMED = "{{service_name}} {{db_client_connection_pool_name}}"
_USED = f'db_client_connection_count{{{CHOSEN}, db_client_connection_state="used"}}'
_KIND = "db_operation_name, db_collection_name"
_FAILED = f'{STATEMENTS}, error_type!=""'
_DATABASES = 'datname!~"template.*"'
_STATEMENTS = traces("span.db.query.text!=nil", "Statements")
_SLOW = traces("span.db.query.text!=nil && duration>500ms", "Slow statements")
_OVER = "1|1.0"  # as pushed and as scraped series write the bound


def _server(metric: str, by: str = "datname") -> str:
    return f"sum by ({by}) (rate({metric}{RATE}))"


_SYMPTOMS = (
    Panel(
        title="Statement p95 and p99",
        about="How long a statement took, seen from the service: network and locks included. The line is "
        "where the mean of a statement alerts.",
        unit="s",
        targets=(
            Target(
                query=quantile(0.95, DB, STATEMENTS, by=_KIND),
                legend="p95 {{db_operation_name}} {{db_collection_name}}",
                exemplar=True,
            ),
            Target(query=quantile(0.99, DB, STATEMENTS), legend="p99 of all"),
        ),
        link=_SLOW,
        warn=threshold("slow_query"),
    ),
    Panel(
        title="Pool use",
        about="Share of a pool's connections that are lent out. At 100 % the next request waits. A pool without a "
        "limit is not here.",
        unit="percentunit",
        targets=(
            Target(
                query=f"sum by ({_POOL}) ({_USED}) / sum by ({_POOL}) (db_client_connection_max{{{CHOSEN}}})",
                legend=_NAMED,
            ),
        ),
        link=to("red", "Requests"),
        warn=threshold("pool_warn"),
    ),
    Panel(
        title="Failed statements",
        about="Share of statements that failed, by service and error: a lost connection, a conflict, a broken query.",
        unit="percentunit",
        targets=(
            Target(
                query=f"({rate('service_name, error_type', f'{DB}_count', _FAILED)} or "
                f"{rate('service_name', f'{DB}_count', STATEMENTS)} * 0) / on (service_name) group_left () "
                f"({rate('service_name', f'{DB}_count', STATEMENTS)} > 0)",
                legend="{{service_name}} {{error_type}}",
            ),
        ),
        link=traces("span.db.system.name!=nil && status=error", "Failed statements"),
        warn=threshold("db_err"),
    ),
)

_TRAFFIC = (
    Panel(
        title="Statements",
        about="Statements sent each second, by operation and table. One that rises alone is a new query, or a loop.",
        unit="ops",
        targets=(
            Target(query=rate(_KIND, f"{DB}_count", STATEMENTS), legend="{{db_operation_name}} {{db_collection_name}}"),
        ),
        link=_STATEMENTS,
    ),
    Panel(
        title="Statements per request",
        about="How many statements a request takes. One that grows with the data is a query in a loop (N+1).",
        unit="short",
        targets=(
            Target(
                query=f"{rate('service_name', f'{DB}_count', STATEMENTS)} / "
                f"({rate('service_name', f'{HTTP}_count', SERVED)} > 0)",
                legend="{{service_name}}",
            ),
        ),
        link=traces("kind=server && span.otelkit.db.statements>10", "Requests with many"),
    ),
    Panel(
        title="Over one second",
        about="Statements that took longer than a second, by table. None is what to aim at.",
        unit="short",
        targets=(
            Target(
                query=f"sum by (db_collection_name) (increase({DB}_count{{{STATEMENTS}}}{RATE})) - "
                f'sum by (db_collection_name) (increase({DB}_bucket{{{STATEMENTS}, le=~"{_OVER}"}}{RATE}))',
                legend="{{db_collection_name}}",
            ),
        ),
        link=traces("span.db.query.text!=nil && duration>1s", "Slow statements"),
    ),
    Panel(
        title="Wait for a connection p95",
        about="How long a request waited until the pool had a connection for it. It should be next to nothing.",
        unit="s",
        targets=(Target(query=quantile(0.95, "db_client_connection_wait_time_seconds", by=_POOL), legend=_NAMED),),
        link=to("red", "Requests"),
        width=12,
    ),
    Panel(
        title="Waiting for a connection",
        about="Requests that wait for a connection right now, and those that gave up. Every one is a user who waits.",
        unit="short",
        targets=(
            Target(
                query=f"sum by ({_POOL}) (db_client_connection_pending_requests{{{CHOSEN}}})", legend=f"waits {_NAMED}"
            ),
            Target(
                query=f"sum by ({_POOL}) (increase(db_client_connection_timeouts_total{{{CHOSEN}}}{RATE}))",
                legend=f"gave up {_NAMED}",
            ),
        ),
        link=to("red", "Requests"),
        width=12,
    ),
    Panel(
        title="Where the time goes",
        about="Seconds spent in each kind of statement in the time shown: where it pays to be faster.",
        unit="s",
        targets=(
            Target(
                query="topk(10, sum by (service_name, span_name) (increase(traces_span_metrics_duration_seconds_sum"
                f'{{{STATEMENTS}, db_system_name!=""}}[$__range])))',
                legend="Time spent",
                instant=True,
            ),
        ),
        link=_STATEMENTS,
        kind="table",
        width=24,
        columns={
            "service_name": Column(title="Service", board="red", var="svc"),
            "span_name": Column(title="Statement"),
        },
        sort="Time spent",
    ),
)

_SERVER = (
    Panel(
        title="Connections of the server",
        about="Connections by state, as PostgreSQL counts them. Many `idle in transaction` hold locks.",
        unit="short",
        targets=(Target(query="sum by (server, state) (pg_stat_activity_count)", legend="{{server}} {{state}}"),),
        link=to("alerts", "Alerts"),
    ),
    Panel(
        title="Connections of what is allowed",
        about="Share of `max_connections` that is taken. Pools of all processes together must stay below it.",
        unit="percentunit",
        targets=(
            Target(
                query="sum by (server) (pg_stat_activity_count) / on (server) pg_settings_max_connections",
                legend="{{server}}",
            ),
        ),
        link=to("alerts", "Alerts"),
        warn=threshold("db_conn"),
    ),
    Panel(
        title="Commits and rollbacks",
        about="Transactions each second. Rollbacks that rise with requests are failures that nobody sees.",
        unit="ops",
        targets=(
            Target(query=_server('pg_stat_database_xact_commit_total{datname!=""}'), legend="commits {{datname}}"),
            Target(query=_server('pg_stat_database_xact_rollback_total{datname!=""}'), legend="rollbacks {{datname}}"),
        ),
        link=_STATEMENTS,
    ),
    Panel(
        title="Rows",
        about="Rows written, and rows read to find those asked for. Many more read than found is a missing index.",
        unit="ops",
        targets=(
            Target(query=_server("pg_stat_database_tup_fetched_total", "server"), legend="found {{server}}"),
            Target(query=_server("pg_stat_database_tup_returned_total", "server"), legend="read {{server}}"),
            Target(
                query=" + ".join(
                    _server(f"pg_stat_database_tup_{what}_total", "server")
                    for what in ("inserted", "updated", "deleted")
                ),
                legend="written {{server}}",
            ),
        ),
        link=_STATEMENTS,
    ),
    Panel(
        title="Buffer hits",
        about="Share of blocks that PostgreSQL had in memory. Below 99 % it reads from disk: more memory, or an index.",
        unit="percentunit",
        targets=(
            Target(
                query=f"{_server('pg_stat_database_blks_hit_total', 'server')} / "
                f"({_server('pg_stat_database_blks_hit_total', 'server')} + "
                f"{_server('pg_stat_database_blks_read_total', 'server')})",
                legend="{{server}}",
            ),
        ),
        link=to("host", "Hosts"),
        most=1.0,
    ),
    Panel(
        title="Locks and deadlocks",
        about="Locks by mode. Exclusive ones that stay keep others waiting; a deadlock is a failed transaction.",
        unit="short",
        targets=(
            Target(query="sum by (mode) (pg_locks_count)", legend="{{mode}}"),
            Target(
                query=f'sum by (datname) (increase(pg_stat_database_deadlocks_total{{datname!=""}}{RATE}))',
                legend="deadlocks {{datname}}",
            ),
        ),
        link=traces("span.db.system.name!=nil && status=error", "Failed statements"),
    ),
)

_RESOURCES = (
    Panel(
        title="Size",
        about="What each database takes on disk.",
        unit="bytes",
        targets=(Target(query=f"pg_database_size_bytes{{{_DATABASES}}}", legend="{{datname}}"),),
        link=to("host", "Hosts"),
        width=12,
    ),
    Panel(
        title="Growth a day",
        about="What each database would grow in a day if it went on as in the time shown. Compare with what is free.",
        unit="bytes",
        targets=(
            Target(query=f"deriv(pg_database_size_bytes{{{_DATABASES}}}[$__range]) * 86400", legend="{{datname}}"),
        ),
        link=to("host", "Hosts"),
        kind="stat",
        width=12,
    ),
)

BOARD: Final = Board(
    name="database",
    title="Database",
    question="Is it the database: the pool, a statement, or the server?",
    rows={
        "Symptoms": _SYMPTOMS,
        "Traffic": _TRAFFIC,
        "The server": _SERVER,
        "Resources": _RESOURCES,
    },
    variables=CHOICE,
)
