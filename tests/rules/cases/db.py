"""Cases of the alerts on databases."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_EXPORTER = 'job="postgresql", service_name="postgresql", instance="db:9187", service_instance_id="db:9187"'
_SERVER = f'{_EXPORTER}, server="db:5432"'
_OF_SERVER = {"service_name": "postgresql", "server": "db:5432"}
_UP = f"pg_up{{{_EXPORTER}}}"
_DOWN = {"service_name": "postgresql", "instance": "db:9187"}


def _connections(active: str, idle: str, most: str = "50x60") -> dict[str, str]:
    """Return a server's sessions in two states, and how many it takes."""
    count = f'pg_stat_activity_count{{{_SERVER}, datname="shop", state='
    return {f'{count}"active"}}': active, f'{count}"idle"}}': idle, f"pg_settings_max_connections{{{_SERVER}}}": most}


def _deadlocks(values: str, datname: str = 'datname="shop"') -> dict[str, str]:
    return {f'pg_stat_database_deadlocks_total{{{_SERVER}, datid="5", {datname}}}': values}


_POOL_NAME = "shop@db:5432"


def _pool(used: str, *, idle: str = "0x80", most: str = "20x80", labels: str = 'service_name="api"') -> dict[str, str]:
    """Return what one process tells of its pool."""
    pool = f'{labels}, db_client_connection_pool_name="{_POOL_NAME}"'
    return {
        f'db_client_connection_count{{{pool}, db_client_connection_state="used"}}': used,
        f'db_client_connection_count{{{pool}, db_client_connection_state="idle"}}': idle,
        f"db_client_connection_max{{{pool}}}": most,
    }


def _of_pool(name: str, values: str) -> dict[str, str]:
    return {f'{name}{{service_name="api", db_client_connection_pool_name="{_POOL_NAME}"}}': values}


_API_POOL = {"service_name": "api", "db_client_connection_pool_name": _POOL_NAME}


def _statements(count: str, seconds: str, *, operation: str = "SELECT", service: str = "api") -> dict[str, str]:
    """Return how many statements of a kind there were, and how long all took."""
    labels = (
        f'service_name="{service}", db_system_name="postgresql", db_operation_name="{operation}", '
        'db_collection_name="orders", server_address="db"'
    )
    name = "db_client_operation_duration_seconds"
    return {f"{name}_count{{{labels}}}": count, f"{name}_sum{{{labels}}}": seconds}


def _orders(operation: str = "SELECT", service: str = "api") -> dict[str, str]:
    return {
        "service_name": service,
        "db_system_name": "postgresql",
        "db_operation_name": operation,
        "db_collection_name": "orders",
    }


def _operations(ok: str, failed: str, *, operation: str = "SELECT", service: str = "api") -> dict[str, str]:
    """Return operations that work, and some that fail."""
    labels = f'service_name="{service}", db_system_name="postgresql", db_operation_name='
    name = "db_client_operation_duration_seconds_count"
    return {
        f'{name}{{{labels}"SELECT"}}': ok,
        f'{name}{{{labels}"{operation}", error_type="psycopg.OperationalError"}}': failed,
    }


_API_DB = {"service_name": "api", "db_system_name": "postgresql"}

CASES = (
    Case(alert="DatabaseDown", says="the server takes connections", series={_UP: "1x40"}, at="5m"),
    Case(alert="DatabaseDown", says="away for 15 s", series={_UP: "1x8 0x20"}, at="2m30s"),
    Case(
        alert="DatabaseDown",
        says="away for 30 s",
        series={_UP: "1x8 0x20"},
        at="2m45s",
        fires=(_DOWN,),
        summary="PostgreSQL, as db:9187 sees it, takes no connections",
    ),
    Case(alert="DatabaseDown", says="still away an hour later", series={_UP: "1x8 0x300"}, at="1h", fires=(_DOWN,)),
    Case(
        alert="DatabaseDown",
        says="an exporter with an environment",
        series={'pg_up{instance="db:9187", deployment_environment_name="production"}': "0x20"},
        at="2m",
        fires=({"instance": "db:9187", "deployment_environment_name": "production"},),
    ),
    # -- connections of the server
    Case(
        alert="DatabaseConnectionsHigh",
        says="41 of 50 are taken",
        series=_connections("30x60", "11x60"),
        at="6m",
        fires=(_OF_SERVER,),
        summary="82% of the connections of PostgreSQL at db:5432 are taken",
    ),
    Case(alert="DatabaseConnectionsHigh", says="39 of 50", series=_connections("30x60", "9x60"), at="6m"),
    Case(
        alert="DatabaseConnectionsHigh",
        says="41 of 50, for not yet five minutes",
        series=_connections("30x60", "11x60"),
        at="4m45s",
    ),
    # -- deadlocks
    Case(
        alert="DatabaseDeadlocks",
        says="one in the last ten minutes",
        series=_deadlocks("0x8 1x60"),
        at="5m",
        fires=({**_OF_SERVER, "datname": "shop"},),
        summary="PostgreSQL at db:5432 ended 1 transactions of shop as deadlocks in 10 minutes",
    ),
    Case(alert="DatabaseDeadlocks", says="three, long ago", series=_deadlocks("3x60"), at="12m"),
    Case(alert="DatabaseDeadlocks", says="one, more than ten minutes ago", series=_deadlocks("0x8 1x60"), at="13m"),
    Case(
        alert="DatabaseDeadlocks",
        says="of no database: the sum over shared objects",
        series=_deadlocks("0x8 1x60", 'wal=""'),
        at="5m",
    ),
    # -- pools
    Case(
        alert="DbPoolHigh",
        says="17 of 20 in use",
        series=_pool("17x80"),
        at="6m",
        fires=(_API_POOL,),
        summary="85% of the pool shop@db:5432 of api are in use",
    ),
    Case(alert="DbPoolHigh", says="15 of 20", series=_pool("15x80", idle="5x80"), at="6m"),
    Case(alert="DbPoolHigh", says="17 of 20, for not yet five minutes", series=_pool("17x80"), at="4m45s"),
    Case(
        alert="DbPoolHigh",
        says="one process of two has 17 of 20 in use",
        series=_pool("17x80", labels='service_name="api", service_instance_id="1"')
        | _pool("0x80", labels='service_name="api", service_instance_id="2"'),
        at="6m",
        fires=(_API_POOL,),
    ),
    Case(
        alert="DbPoolHigh",
        says="15 of 20 where the service warns at 70 %",
        series=_pool("15x80"),
        at="6m",
        fires=(_API_POOL,),
        parameters=Parameters(services={"api": Service(thresholds={"pool_warn": 0.7})}),
    ),
    Case(
        alert="DbPoolExhausted",
        says="a request gave up waiting",
        series=_of_pool("db_client_connection_timeouts_total", "0x8 1x40"),
        at="3m",
        fires=(_API_POOL,),
        summary="api has no connection left in its pool shop@db:5432: requests wait, or gave up",
    ),
    Case(
        alert="DbPoolExhausted",
        says="requests gave up, more than two minutes ago",
        series=_of_pool("db_client_connection_timeouts_total", "0x8 5x40"),
        at="5m",
    ),
    Case(
        alert="DbPoolExhausted",
        says="the pool is empty, and requests wait",
        series=_pool("20x80") | _of_pool("db_client_connection_pending_requests", "2x80"),
        at="5m",
        fires=(_API_POOL,),
    ),
    Case(
        alert="DbPoolExhausted",
        says="the pool is empty, and nobody waits",
        series=_pool("20x80") | _of_pool("db_client_connection_pending_requests", "0x80"),
        at="5m",
    ),
    Case(
        alert="DbPoolExhausted",
        says="the pool is empty, and one request waited for a moment",
        series=_pool("20x80") | _of_pool("db_client_connection_pending_requests", "0x18 3 0x60"),
        at="4m45s",
    ),
    Case(
        alert="DbPoolExhausted",
        says="requests wait for a connection that is being opened: 12 of 20 in use",
        series=_pool("12x80") | _of_pool("db_client_connection_pending_requests", "2x80"),
        at="5m",
    ),
    # -- statements
    Case(
        alert="SlowQueries",
        says="a kind of statement takes 1.2 s",
        series=_statements("0+10x80", "0+12x80") | _statements("0+1000x80", "0+5x80", operation="INSERT"),
        at="6m",
        fires=(_orders(),),
        summary="SELECT orders of api takes 1.2s on average",
    ),
    Case(alert="SlowQueries", says="0.8 s", series=_statements("0+10x80", "0+8x80"), at="6m"),
    Case(
        alert="SlowQueries",
        says="1.2 s, for not yet five minutes",
        series=_statements("0+10x80", "0+12x80"),
        at="5m",
    ),
    Case(
        alert="SlowQueries",
        says="one slow statement in the night",
        series=_statements("0x20 1x80", "0x20 30x80"),
        at="10m15s",
    ),
    Case(
        alert="SlowQueries",
        says="connects to a server that does not answer, 3 s each",
        series=_statements("0+10x80", "0+30x80", operation="connect"),
        at="6m",
    ),
    Case(
        alert="SlowQueries",
        says="2 s in a service whose reports may take 3",
        series=_statements("0+10x80", "0+20x80", service="reports"),
        at="6m",
        parameters=Parameters(services={"reports": Service(thresholds={"slow_query": 3})}),
    ),
    Case(
        alert="SlowQueries",
        says="4 s in a service whose reports may take 3",
        series=_statements("0+10x80", "0+40x80", service="reports"),
        at="6m",
        fires=(_orders(service="reports"),),
        parameters=Parameters(services={"reports": Service(thresholds={"slow_query": 3})}),
    ),
    # -- errors
    Case(
        alert="DbErrors",
        says="1.5 % fail",
        series=_operations("0+985x80", "0+15x80"),
        at="6m",
        fires=(_API_DB,),
        summary="1.5% of what api asks of postgresql fails",
    ),
    Case(alert="DbErrors", says="0.8 % fail", series=_operations("0+992x80", "0+8x80"), at="6m"),
    Case(
        alert="DbErrors",
        says="1.5 % fail, for not yet five minutes",
        series=_operations("0+985x80", "0+15x80"),
        at="5m",
    ),
    Case(
        alert="DbErrors",
        says="the server is gone: only connects are tried, and all fail",
        series=_operations("500x80", "_x8 1+2x80", operation="connect"),
        at="8m",
        fires=(_API_DB,),
    ),
    Case(alert="DbErrors", says="nothing is asked any more", series=_operations("500x80", "20x80"), at="8m"),
    Case(
        alert="DbErrors",
        says="4 % fail in a service that allows 5 %",
        series=_operations("0+96x80", "0+4x80"),
        at="6m",
        parameters=Parameters(services={"api": Service(thresholds={"db_err": 0.05})}),
    ),
)
