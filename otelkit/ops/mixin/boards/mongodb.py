"""The only place for the board of MongoDB. The names are those of the metadata of the receiver `mongodb`."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, DB, RATE, quantile, rate, to, traces
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_CALLS: Final = f'{CHOSEN}, db_system_name="mongodb"'
_OPERATIONS: Final = traces('span.db.system.name="mongodb"', "Operations")
_HOSTS: Final = to("host", "Hosts")

BOARD: Final = Board(
    name="mongodb",
    title="MongoDB",
    question="Is it MongoDB: too many connections, slow operations, or its size?",
    rows={
        "Symptoms": (
            Panel(
                title="Operation p95",
                about="How long an operation took, seen from the service, by collection: a slow one lacks an index.",
                unit="s",
                targets=(
                    Target(
                        query=quantile(0.95, DB, _CALLS, by="db_operation_name, db_collection_name"),
                        legend="{{db_operation_name}} {{db_collection_name}}",
                        exemplar=True,
                    ),
                ),
                link=_OPERATIONS,
                width=12,
            ),
            Panel(
                title="Failed operations",
                about="Operations that failed each second, by error.",
                unit="ops",
                targets=(
                    Target(
                        query=rate("service_name, error_type", f"{DB}_count", f'{_CALLS}, error_type!=""'),
                        legend="{{service_name}} {{error_type}}",
                    ),
                ),
                link=_OPERATIONS,
                width=12,
            ),
        ),
        "The server": (
            Panel(
                title="Connections",
                about="Connections by state. When none is available, the next service cannot connect.",
                unit="short",
                targets=(Target(query="sum by (type) (mongodb_connection_count)", legend="{{type}}"),),
                link=_HOSTS,
            ),
            Panel(
                title="Operations",
                about="Operations of the server each second, by kind.",
                unit="ops",
                targets=(
                    Target(
                        query=f"sum by (operation) (rate(mongodb_operation_count_total{RATE}))",
                        legend="{{operation}}",
                    ),
                ),
                link=_OPERATIONS,
            ),
            Panel(
                title="Time for operations",
                about="Milliseconds that the server spends on each kind of operation each second.",
                unit="ms",
                targets=(
                    Target(
                        query=f"sum by (operation) (rate(mongodb_operation_time_milliseconds_total{RATE}))",
                        legend="{{operation}}",
                    ),
                ),
                link=_OPERATIONS,
            ),
            Panel(
                title="Cache",
                about="Look-ups in its cache each second, by what came of them. Many misses: too little memory.",
                unit="ops",
                targets=(
                    Target(
                        query=f"sum by (type) (rate(mongodb_cache_operations_total{RATE}))",
                        legend="{{type}}",
                    ),
                ),
                link=_HOSTS,
            ),
            Panel(
                title="Memory",
                about="Memory that the server uses, by kind.",
                unit="bytes",
                targets=(Target(query="sum by (type) (mongodb_memory_usage_bytes)", legend="{{type}}"),),
                link=_HOSTS,
            ),
            Panel(
                title="Size",
                about="Bytes of documents, of what they take on disk, and of indexes.",
                unit="bytes",
                targets=(
                    Target(query="sum(mongodb_data_size_bytes)", legend="documents"),
                    Target(query="sum(mongodb_storage_size_bytes)", legend="on disk"),
                    Target(query="sum(mongodb_index_size_bytes)", legend="indexes"),
                ),
                link=_HOSTS,
            ),
        ),
    },
    variables=CHOICE,
    unproven="no machine of the tests runs MongoDB; names are those of the receiver's metadata",
)
