"""The only place for what is recorded of databases, and for the alerts on them: servers, pools, statements, errors.

What the servers say comes from PostgreSQL's exporter (`collector/overlays/infra.yaml`), what their clients notice from
the services themselves. A dead server fails in `connect`: that is an operation with an `error_type` too.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_EXPORTER: Final = "PostgreSQL's exporter and the Collector's overlay `infra`"
_Q = "db_client_operation_duration_seconds"
_POOL_NAME = "db_client_connection_pool_name"
_BY_OPERATION = "service_db_op:db_client_operations:rate5m"
_POOL = "service_pool:db_client_connection_utilization:max"

RECORDINGS: Final = (
    Recording(
        name=_BY_OPERATION,
        expr="sum by ($S, db_system_name, db_operation_name, db_collection_name, error_type) "
        f'(rate({_Q}_count{{service_name!=""}}[5m]))',
    ),
    Recording(
        name=f"service_db_le:{_Q}_bucket:rate5m",
        expr=f'sum by ($S, db_system_name, le) (rate({_Q}_bucket{{service_name!=""}}[5m]))',
    ),
    # The fullest process of a service: where one has none left, its requests wait, however many others have.
    Recording(
        name=_POOL,
        expr=f"max by ($S, {_POOL_NAME}) (sum without (db_client_connection_state) "
        '(db_client_connection_count{service_name!="", db_client_connection_state="used"}) / db_client_connection_max)',
    ),
)

DATABASE_DOWN = Alert(
    name="DatabaseDown",
    group="db",
    severity="critical",
    lasting="30s",
    expr="min by ($S, instance) (pg_up) == 0",
    feels="All that reads or stores something fails: pages with errors, lost orders.",
    summary="PostgreSQL, as {{ $labels.instance }} sees it, takes no connections",
    runbook=Runbook(
        looks=(
            Look(says="since when: 0 is down", query='pg_up{instance="<instance>"}'),
            Look(
                says="which services notice, and what they get",
                query="sum by (service_name, server_address, error_type) (rate("
                f'{_Q}_count{{db_system_name="postgresql", error_type!=""}}[5m])) > 0',
            ),
            Look(
                says="whether its disk is full",
                query='node_filesystem_avail_bytes{fstype!~"tmpfs|overlay"} / node_filesystem_size_bytes',
            ),
        ),
        causes=(
            Cause(
                what="The server crashed, or was killed for its memory.",
                sign="`pg_isready -h HOST` says `no response`; `journalctl -u postgresql -n 100` ends in the reason.",
                fix="`systemctl restart postgresql`, and follow the log until it says `ready to accept connections`.",
            ),
            Cause(
                what="Its disk is full: it stops itself.",
                sign="The log says `No space left on device`; the third look is near 0.",
                fix="Free space outside of its data folder, then restart. Delete nothing in `pg_wal`.",
            ),
            Cause(
                what="All connections are taken: the exporter is refused like everybody.",
                sign="The log says `too many clients already`; `pg_isready` still says `accepting connections`.",
                fix="Stop the service that holds most, or end idle sessions by `pg_terminate_backend()`.",
            ),
            Cause(
                what="Its machine or the way to it is gone.",
                sign="`pg_isready` runs into its time-out from every machine.",
                fix="Bring the machine back, or fail over to the standby: `pg_ctl promote` there.",
            ),
        ),
        tell="The owners of the database at once, and whoever speaks to customers: all services that use it fail.",
        note="DbErrors, DbPoolHigh, DbPoolExhausted and SlowQueries of the same environment are held back meanwhile. "
        "An exporter that is itself gone, or waits for a server that hangs, is TargetDown. One exporter with several "
        "servers says 0 only where it reaches none of them.",
    ),
    drill="database-down",
    needs=_EXPORTER,
)

DATABASE_CONNECTIONS_HIGH = Alert(
    name="DatabaseConnectionsHigh",
    group="db",
    severity="warning",
    lasting="5m",
    expr="sum by ($S, server) (pg_stat_activity_count) / max by ($S, server) (pg_settings_max_connections) > $db_conn",
    thresholds=(
        Threshold(
            name="db_conn",
            default=0.8,
            unit="ratio",
            about="share of the connections that PostgreSQL accepts which are open",
            observed="sum by ($S, server) (pg_stat_activity_count) / max by ($S, server) (pg_settings_max_connections)",
        ),
    ),
    feels="Nothing yet. With the last connection gone every new one is refused, and requests fail.",
    summary="{{ $value | humanizePercentage }} of the connections of PostgreSQL at {{ $labels.server }} are taken",
    runbook=Runbook(
        looks=(
            Look(
                says="which database they belong to, and what they do: `idle in transaction` is a leak",
                query='sum by (datname, state) (pg_stat_activity_count{server="<server>"}) > 0',
            ),
            Look(
                says="which services hold them, and how many processes these have",
                query='sum by (service_name) (db_client_connection_count{service_name!=""})',
            ),
        ),
        causes=(
            Cause(
                what="Pools times processes are more than the server takes.",
                sign="A service was scaled out, or its pool made larger, when the first look began to rise.",
                fix="Fewer processes or smaller pools (`pool_size`, `max_overflow`), or PgBouncer in between.",
            ),
            Cause(
                what="Sessions are left open in a transaction.",
                sign="`idle in transaction` grows and never falls.",
                fix="End them: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in "
                "transaction' AND state_change < now() - interval '5 min';` then find the code that does not commit.",
            ),
            Cause(
                what="Statements take longer, so that more of them run at a time.",
                sign="`active` grows; SlowQueries fires, or the board Database shows it.",
                fix="See the runbook of SlowQueries.",
            ),
        ),
        tell="The owners of the database, and of the service that holds most.",
    ),
    undrilled="needs dozens of connections of a server that other drills use",
    needs=_EXPORTER,
)

_DEADLOCKS = "pg_stat_database_deadlocks_total"

DATABASE_DEADLOCKS = Alert(
    name="DatabaseDeadlocks",
    group="db",
    severity="warning",
    expr=f'sum by ($S, server, datname) (increase({_DEADLOCKS}{{datname!=""}}[10m])) > 0',
    feels="Single orders or edits fail, at random; trying again helps.",
    summary='PostgreSQL at {{ $labels.server }} ended {{ $value | printf "%.0f" }} transactions of '
    "{{ $labels.datname }} as deadlocks in 10 minutes",
    runbook=Runbook(
        looks=(
            Look(
                says="how many, and since when",
                query=f'increase({_DEADLOCKS}{{server="<server>", datname="<datname>"}}[10m])',
            ),
            Look(
                says="the statements that lost, by service and table",
                query="sum by (service_name, db_operation_name, db_collection_name, error_type) "
                f'(increase({_Q}_count{{error_type=~".*(Deadlock|OperationalError|DBAPIError).*"}}[10m])) > 0',
            ),
            Look(
                says="the requests that failed with it",
                query='{service_name=~".+"} |~ "(?i)deadlock"',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="Two pieces of code lock the same rows in another order.",
                sign="The server's log has both statements below `deadlock detected`.",
                fix="Lock in one order everywhere: sort by primary key before you update.",
            ),
            Cause(
                what="A migration or a batch works on a table in use.",
                sign="It began with a deploy or at a fixed time of the day.",
                fix="Smaller batches, `lock_timeout` for the migration; run it when it is quiet.",
            ),
        ),
        tell="The owners of the services in the second look, in the morning.",
        note="The database has solved it already: one of the two transactions went through. The code has to change, or "
        "to try again.",
    ),
    drill="database-deadlock",
    needs=_EXPORTER,
)

DB_POOL_HIGH = Alert(
    name="DbPoolHigh",
    group="db",
    severity="warning",
    lasting="5m",
    expr=f"{_POOL}{{$service}} > $pool_warn",
    thresholds=(
        Threshold(
            name="pool_warn",
            default=0.8,
            unit="ratio",
            about="share of a pool's connections that are in use",
            observed=f"max by ($S) ({_POOL})",
        ),
    ),
    feels="Nothing yet, or single slow requests: soon they wait for each other.",
    summary="{{ $value | humanizePercentage }} of the pool {{ $labels.db_client_connection_pool_name }} of "
    "{{ $labels.service_name }} are in use",
    runbook=Runbook(
        looks=(
            Look(
                says="how full each pool is, and since when",
                query=f'{_POOL}{{service_name="<service_name>"}}',
            ),
            Look(
                says="which statements keep connections busy: seconds of database time in each second",
                query="topk(5, sum by (db_operation_name, db_collection_name) "
                f'(rate({_Q}_sum{{service_name="<service_name>"}}[5m])))',
            ),
            Look(
                says="requests that took long",
                query='{resource.service.name="<service_name>" && kind=server && duration>1s}',
                source="tempo",
            ),
        ),
        causes=(
            Cause(
                what="Statements became slow.",
                sign="The second look names one that grew; SlowQueries may fire as well.",
                fix="See the runbook of SlowQueries.",
            ),
            Cause(
                what="Connections are held while the code does something else: a call to another service, a template.",
                sign="Traces show long gaps between the statements of a request.",
                fix="Commit or close the session before the call.",
            ),
            Cause(
                what="More traffic than the pool is made for.",
                sign="The rate of requests grew in step with the pool.",
                fix="More processes, or a larger `pool_size`; look at `max_connections` of the server first.",
            ),
        ),
        tell="The owners of the service.",
    ),
    drill="pool-exhausted",
)

DB_POOL_EXHAUSTED = Alert(
    name="DbPoolExhausted",
    group="db",
    severity="critical",
    # A waiting request alone is no fault, nor is a full pool: both together, for a minute, are.
    expr=f"sum by ($S, {_POOL_NAME}) (increase(db_client_connection_timeouts_total{{$service}}[2m])) > 0\n"
    f"or ({_POOL}{{$service}} >= 1 and on ($S, {_POOL_NAME}) "
    f"sum by ($S, {_POOL_NAME}) (min_over_time(db_client_connection_pending_requests{{$service}}[1m])) > 0)",
    feels="Requests hang, then fail: there is no connection left for them.",
    summary="{{ $labels.service_name }} has no connection left in its pool "
    "{{ $labels.db_client_connection_pool_name }}: requests wait, or gave up",
    runbook=Runbook(
        looks=(
            Look(
                says="how many requests wait for a connection, and in which process",
                query="sum by (db_client_connection_pool_name, service_instance_id) "
                '(db_client_connection_pending_requests{service_name="<service_name>"})',
            ),
            Look(
                says="how many gave up",
                query="sum by (db_client_connection_pool_name) "
                '(increase(db_client_connection_timeouts_total{service_name="<service_name>"}[5m]))',
            ),
            Look(
                says="which statements hold the connections",
                query="topk(5, sum by (db_operation_name, db_collection_name) "
                f'(rate({_Q}_sum{{service_name="<service_name>"}}[5m])))',
            ),
            Look(
                says="what each session of the server does",
                query="sum by (datname, state) (pg_stat_activity_count) > 0",
            ),
        ),
        causes=(
            Cause(
                what="A statement hangs or is slow, behind a lock or without an index.",
                sign="The third look has one far ahead. In the database: `SELECT pid, now() - query_start, query FROM "
                "pg_stat_activity WHERE state = 'active' ORDER BY 2 DESC LIMIT 5;`",
                fix="`SELECT pg_cancel_backend(PID);` for the one at the head of the locks.",
            ),
            Cause(
                what="Connections leak: sessions are not closed.",
                sign="Used connections rise with every request and never fall, also without traffic.",
                fix="Restart the service now. Then close sessions in a `with` block or a dependency.",
            ),
            Cause(
                what="One request needs several connections, or hundreds of statements.",
                sign="Traces show it: many small statements in a row, or a second session inside.",
                fix="Restart or roll back; then load rows together (`selectinload`).",
            ),
        ),
        tell="The owners of the service; the database's, if the server itself is slow.",
        note="HighLatency and HighErrorRate of the service follow within a minute: this is their cause.",
    ),
    drill="pool-exhausted",
)

_BY_STATEMENT = "$S, db_system_name, db_operation_name, db_collection_name"
# A connect that fails slowly is an error, and no query.
_MEAN = (
    f'sum by ({_BY_STATEMENT}) (rate({_Q}_sum{{db_operation_name!="connect", $service}}[5m]))\n'
    f"/ sum by ({_BY_STATEMENT}) (rate({_Q}_count{{$service}}[5m]))"
)

SLOW_QUERIES = Alert(
    name="SlowQueries",
    group="db",
    severity="warning",
    lasting="5m",
    expr=f"{_MEAN} > $slow_query",
    thresholds=(
        Threshold(
            name="slow_query",
            default=1,
            unit="seconds",
            about="mean duration of one kind of statement",
            observed=f"max by ($S) ({_MEAN})",
        ),
    ),
    feels="Pages that need this statement are slow.",
    summary="{{ $labels.db_operation_name }}{{ with $labels.db_collection_name }} {{ . }}{{ end }} of "
    "{{ $labels.service_name }} takes {{ $value | humanizeDuration }} on average",
    runbook=Runbook(
        looks=(
            Look(
                says="the mean of each kind of statement, the slowest first",
                query="topk(5, sum by (db_operation_name, db_collection_name) "
                f'(rate({_Q}_sum{{service_name="<service_name>"}}[5m])) / '
                "sum by (db_operation_name, db_collection_name) "
                f'(rate({_Q}_count{{service_name="<service_name>"}}[5m])))',
            ),
            Look(
                says="traces with such a statement; its text is `db.query.text`",
                query='{resource.service.name="<service_name>" && span.db.operation.name="<db_operation_name>" && '
                "duration>1s}",
                source="tempo",
            ),
            Look(
                says="whether sessions wait for locks",
                query="sum by (datname, mode) (pg_locks_count) > 0",
            ),
        ),
        causes=(
            Cause(
                what="No index fits, or the planner left it: the table grew, its statistics are old.",
                sign="`EXPLAIN (ANALYZE, BUFFERS)` of the statement says `Seq Scan` on a large table.",
                fix="`ANALYZE table;` at once; `CREATE INDEX CONCURRENTLY` if there is none.",
            ),
            Cause(
                what="It waits for a lock of another session.",
                sign="`SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock';`",
                fix="`SELECT pg_cancel_backend(PID);` for the blocking one, when you know what it is.",
            ),
            Cause(
                what="The server is busy: a backup, a batch, a neighbour.",
                sign="All statements are slow at the same time; the board Host shows CPU or disk.",
                fix="Stop or move the batch.",
            ),
        ),
        tell="The owners of the service. The database's, if all services are slow.",
        note="A statement that never ends is not counted: look for it in `pg_stat_activity`. A report that may take "
        "longer gets a `slow_query` of its service.",
    ),
    drill="slow-queries",
)

_ERRORS = f'sum by ($S, db_system_name) ({_BY_OPERATION}{{error_type!="", $service}})'
_OPERATIONS = f"sum by ($S, db_system_name) ({_BY_OPERATION}{{$service}})"

DB_ERRORS = Alert(
    name="DbErrors",
    group="db",
    severity="warning",
    lasting="5m",
    expr=f"{_ERRORS} / ({_OPERATIONS} > 0) > $db_err",
    thresholds=(
        Threshold(
            name="db_err",
            default=0.01,
            unit="ratio",
            about="share of statements, commands and connects that fail",
            observed=f'sum by ($S) ({_BY_OPERATION}{{error_type!=""}}) / (sum by ($S) ({_BY_OPERATION}) > 0)',
        ),
    ),
    feels="Some of what users do fails.",
    summary="{{ $value | humanizePercentage }} of what {{ $labels.service_name }} asks of {{ $labels.db_system_name }} "
    "fails",
    runbook=Runbook(
        looks=(
            Look(
                says="which operation fails, and with which exception; `connect` is a server that is not reached",
                query="sum by (db_operation_name, db_collection_name, error_type) "
                f'({_BY_OPERATION}{{service_name="<service_name>", error_type!=""}}) > 0',
            ),
            Look(
                says="what the service logged about it",
                query='{service_name="<service_name>"} | severity_number >= 17',
                source="loki",
            ),
            Look(
                says="traces of it",
                query='{resource.service.name="<service_name>" && span.db.system.name="<db_system_name>" && '
                "status=error}",
                source="tempo",
            ),
        ),
        causes=(
            Cause(
                what="A migration is missing, or was undone.",
                sign="`UndefinedTable`, `UndefinedColumn` since a deploy.",
                fix="Run the migration, or roll back.",
            ),
            Cause(
                what="The server is not reached, or refuses.",
                sign="`connect` fails. Is the address right, the password new, DatabaseDown or RedisDown firing?",
                fix="Set right what changed; restart the service if its pool keeps dead connections.",
            ),
            Cause(
                what="The application breaks a rule of the schema.",
                sign="`IntegrityError`, `UniqueViolation`, `ForeignKeyViolation`.",
                fix="Some are expected (two sign-ups with one name): give the service a `db_err`. Else a bug.",
            ),
            Cause(
                what="Redis is full.",
                sign="`OutOfMemoryError` of `redis`; RedisMemoryHigh fires.",
                fix="See the runbook of RedisMemoryHigh.",
            ),
        ),
        tell="The owners of the service.",
    ),
    drill="database-down",
    late=(f'{_BY_OPERATION}{{error_type!=""}}',),
)

GROUP = Group(
    name="db",
    about="Databases and the pools of their clients.",
    recordings=RECORDINGS,
    alerts=(
        DATABASE_DOWN,
        DATABASE_CONNECTIONS_HIGH,
        DATABASE_DEADLOCKS,
        DB_POOL_HIGH,
        DB_POOL_EXHAUSTED,
        SLOW_QUERIES,
        DB_ERRORS,
    ),
)
