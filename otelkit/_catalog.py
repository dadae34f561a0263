"""The only place for the metrics that any service emits through otelkit, as data; dashboards and rules select these.

Names are those of the semantic conventions where there is one (`stable`, else `development` as of the pinned version),
else otelkit's own. Prometheus makes its series names from them (`Metric.series`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from otelkit.metrics import DURATIONS, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.metrics import Kind, Values

CONVENTIONS: Final = "1.43.0"
"""Version of the semantic conventions that names marked `development` are taken from."""

RESOURCE_LABELS: Final = (
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
    "host.name",
    "container.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.node.name",
    "k8s.pod.name",
)
"""Attributes of the resource that become labels of every series, pushed or scraped."""

STREAM_LABELS: Final = (
    "service.name",
    "service.namespace",
    "deployment.environment.name",
    "container.name",
    "k8s.namespace.name",
    "k8s.cluster.name",
)
"""Attributes of the resource that become labels of a stream of logs. Each combination of their values is a stream, so
that there are few of them and none tells two processes of a service apart."""

SPAN_DIMENSIONS: Final = (
    "service.namespace",
    "deployment.environment.name",
    "http.route",
    "http.request.method",
    "http.response.status_code",
    "db.system.name",
    "messaging.destination.name",
)
"""Attributes of spans and of their resource that become labels of the metrics made of spans, beside the name of the
service and name, kind and status of the span."""

RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "db.client.": {"db.system": "db.system.name"},
    "redis.client.": {"db.system": "db.system.name"},
}
"""By the beginning of an instrument's name: attributes that libraries (redis-py 8, where it measures itself) still call
as the conventions did before they were stable, and what they are called."""

_BYTES: Final = (0.0, 128.0, 512.0, 2048.0, 8192.0, 32768.0, 131072.0, 524288.0, 2097152.0, 8388608.0, 33554432.0)
_CALLS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # semantic conventions, as are DURATIONS
_WAITS: Final = (*_CALLS, 30.0)  # where SQLAlchemy gives up by default
_LOOKUPS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_TASKS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0)
_EXPORTS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAGS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Origin = Literal["stable", "development", "otelkit"]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A metric that otelkit or a library emits.

    Args:
        metric: Its declaration. Closed sets are what is known to occur; integrations measure without a check.
        origin: Who named it: stable or unstable semantic conventions, or otelkit.
        only_on: What it needs beyond Python; empty where every process has it.
    """

    metric: Metric
    origin: Origin
    only_on: str = ""


def _stock(  # noqa: PLR0917  a table reads better without six keywords a row
    origin: Origin,
    kind: Kind,
    name: str,
    unit: str,
    description: str,
    attributes: Mapping[str, Values] | None = None,
    **more: Any,
) -> Stock:
    only_on = more.pop("only_on", "")
    metric = Metric(name=name, kind=kind, unit=unit, description=description, attributes=dict(attributes or {}), **more)
    return Stock(metric=metric, origin=origin, only_on=only_on)


_REQUEST: Final[Mapping[str, Values]] = {
    "http.request.method": str,
    "http.response.status_code": int,
    "http.route": str,
    "url.scheme": str,
    "network.protocol.version": str,
    "error.type": str,
}
_POOL: Final[Mapping[str, Values]] = {"db.client.connection.pool.name": str}
_GENERATION: Final[Mapping[str, Values]] = {"cpython.gc.generation": (0, 1, 2)}
_SIGNAL: Final[Mapping[str, Values]] = {"otelkit.signal": ("traces", "metrics", "logs")}
_QUEUE: Final[Mapping[str, Values]] = {"messaging.destination.name": str}
_TASK: Final[Mapping[str, Values]] = {"celery.task.name": str, **_QUEUE}
_RUN: Final[Mapping[str, Values]] = {
    **_TASK,
    "celery.task.state": ("success", "failure", "retry", "revoked", "rejected", "ignored"),
}
_CACHE: Final[Mapping[str, Values]] = {
    "cache.name": str,
    "cache.operation": ("get", "set", "delete"),
    "cache.result": ("hit", "miss", "ok", "error"),
}
_CHECK: Final[Mapping[str, Values]] = {"otelkit.health.check": str}

PROCESS: Final = (
    _stock(
        "development",
        "counter",
        "process.cpu.time",
        "s",
        "Processor time that the process used.",
        {"cpu.mode": ("user", "system")},
        observed=True,
    ),
    _stock(
        "development",
        "up_down_counter",
        "process.memory.usage",
        "By",
        "Physical memory that the process uses.",
        observed=True,
        only_on="Linux",
    ),
    _stock(
        "development",
        "up_down_counter",
        "process.memory.virtual",
        "By",
        "Virtual memory that the process asked for.",
        observed=True,
        only_on="Linux",
    ),
    _stock(
        "development",
        "up_down_counter",
        "process.thread.count",
        "{thread}",
        "Threads of the process, those of extension modules included.",
        observed=True,
        only_on="Linux",
    ),
    _stock(
        "development",
        "up_down_counter",
        "process.unix.file_descriptor.count",
        "{file_descriptor}",
        "File descriptors that the process has open.",
        observed=True,
        only_on="Linux",
    ),
    _stock(
        "development",
        "counter",
        "cpython.gc.collections",
        "{collection}",
        "Runs of the garbage collector since the interpreter started.",
        _GENERATION,
        observed=True,
        only_on="CPython",
    ),
    _stock(
        "development",
        "counter",
        "cpython.gc.collected_objects",
        "{object}",
        "Objects that the garbage collector freed since the interpreter started.",
        _GENERATION,
        observed=True,
        only_on="CPython",
    ),
    _stock(
        "development",
        "counter",
        "cpython.gc.uncollectable_objects",
        "{object}",
        "Objects that the garbage collector could not free since the interpreter started.",
        _GENERATION,
        observed=True,
        only_on="CPython",
    ),
    _stock(
        "otelkit",
        "gauge",
        "otelkit.program.start.time",
        "s",
        "When the program was started, in seconds since 1970: workers that a server forks or replaces share it.",
        observed=True,
        only_on="Linux",
    ),
    _stock(
        "otelkit",
        "histogram",
        "python.eventloop.lag",
        "s",
        "How much later than due an event loop ran a timer, looked at four times a second.",
        buckets=_LAGS,
        only_on="ASGI applications",
    ),
)
"""What every process tells about itself (`integrations/_process.py`)."""

STOCK: Final = (
    _stock(
        "stable",
        "histogram",
        "http.server.request.duration",
        "s",
        "Duration of HTTP server requests.",
        _REQUEST,
        buckets=DURATIONS,
    ),
    _stock(
        "development",
        "up_down_counter",
        "http.server.active_requests",
        "{request}",
        "Number of active HTTP server requests.",
        {"http.request.method": str, "url.scheme": str},
    ),
    _stock(
        "development",
        "histogram",
        "http.server.request.body.size",
        "By",
        "Size of HTTP server request bodies.",
        _REQUEST,
        buckets=_BYTES,
    ),
    _stock(
        "development",
        "histogram",
        "http.server.response.body.size",
        "By",
        "Size of HTTP server response bodies.",
        _REQUEST,
        buckets=_BYTES,
    ),
    _stock(
        "stable",
        "histogram",
        "db.client.operation.duration",
        "s",
        "Duration of database client operations.",
        {
            "db.system.name": str,
            "db.operation.name": str,
            "db.collection.name": str,
            "db.namespace": str,
            "server.address": str,
            "server.port": int,
            "error.type": str,
        },
        buckets=_CALLS,
    ),
    _stock(
        "development",
        "up_down_counter",
        "db.client.connection.count",
        "{connection}",
        "Connections of the pool by state.",
        {**_POOL, "db.client.connection.state": ("idle", "used")},
        observed=True,
    ),
    _stock(
        "development",
        "up_down_counter",
        "db.client.connection.max",
        "{connection}",
        "Connections the pool may open; absent where there is no limit.",
        _POOL,
        observed=True,
    ),
    _stock(
        "development",
        "up_down_counter",
        "db.client.connection.pending_requests",
        "{request}",
        "Requests that are waiting for a connection.",
        _POOL,
        observed=True,
    ),
    _stock(
        "development",
        "counter",
        "db.client.connection.timeouts",
        "{timeout}",
        "Requests for a pooled connection that gave up waiting.",
        _POOL,
    ),
    _stock(
        "development",
        "histogram",
        "db.client.connection.wait_time",
        "s",
        "Time it took to get a connection from the pool, or to give up.",
        _POOL,
        buckets=_WAITS,
    ),
    _stock(
        "otelkit",
        "counter",
        "celery.task.executions",
        "{task}",
        "Number of times a task was run, by how it ended.",
        _RUN,
    ),
    _stock("otelkit", "histogram", "celery.task.duration", "s", "How long tasks ran.", _RUN, buckets=_TASKS),
    _stock(
        "otelkit",
        "histogram",
        "celery.task.wait_time",
        "s",
        "How long tasks waited, from when they were published or due until they ran.",
        _QUEUE,
        buckets=_TASKS,
    ),
    _stock(
        "otelkit",
        "gauge",
        "celery.queue.depth",
        "{message}",
        "Number of messages that wait in a queue, as this process sees it: take the maximum.",
        _QUEUE,
        observed=True,
    ),
    _stock(
        "otelkit",
        "gauge",
        "celery.task.active",
        "{task}",
        "Number of tasks that the worker runs at this moment.",
        observed=True,
    ),
    _stock(
        "otelkit",
        "gauge",
        "celery.worker.concurrency",
        "{task}",
        "Number of tasks that the worker can run at a time.",
        observed=True,
    ),
    _stock(
        "otelkit",
        "gauge",
        "celery.beat.last_tick.time",
        "s",
        "When beat last looked at its schedule, in seconds since 1970.",
        observed=True,
    ),
    _stock(
        "development",
        "counter",
        "messaging.client.sent.messages",
        "{message}",
        "Number of messages that asked for a task, sent or not.",
        {**_TASK, "error.type": str},
    ),
    _stock(
        "otelkit",
        "counter",
        "otelkit.exceptions",
        "{exception}",
        "Exceptions that a span or a log told of, each once.",
        {"exception.fingerprint": str, "http.route": str},
    ),
    _stock("otelkit", "counter", "cache.requests", "{request}", "Requests to a cache by operation and result.", _CACHE),
    _stock(
        "otelkit",
        "histogram",
        "cache.operation.duration",
        "s",
        "Duration of cache operations.",
        _CACHE,
        buckets=_LOOKUPS,
    ),
    _stock(
        "otelkit",
        "gauge",
        "otelkit.health.check.status",
        "{check}",
        "1 where a dependency works, 0 where it does not.",
        {**_CHECK, "otelkit.health.critical": ("true", "false")},
        observed=True,
    ),
    _stock(
        "otelkit",
        "gauge",
        "otelkit.health.check.duration",
        "s",
        "Duration of the last probe of a dependency.",
        _CHECK,
        observed=True,
    ),
    _stock(
        "otelkit",
        "gauge",
        "otelkit.integration.status",
        "{integration}",
        "1 where a library is instrumented, 0 where it should be and is not.",
        {"otelkit.integration": str, "otelkit.verdict": ("native", "contrib", "ours", "skipped")},
        observed=True,
    ),
    _stock(
        "otelkit",
        "counter",
        "otelkit.telemetry.emitted",
        "{item}",
        "Spans, log records and metric points that were handed over for export.",
        _SIGNAL,
        observed=True,
    ),
    _stock(
        "otelkit",
        "counter",
        "otelkit.telemetry.delivered",
        "{item}",
        "Those that the receiver acknowledged.",
        _SIGNAL,
        observed=True,
    ),
    _stock(
        "otelkit",
        "counter",
        "otelkit.telemetry.dropped",
        "{item}",
        "Those that were lost, and why.",
        {**_SIGNAL, "otelkit.reason": str},
        observed=True,
    ),
    _stock(
        "otelkit",
        "up_down_counter",
        "otelkit.telemetry.pending",
        "{item}",
        "Those that wait or are on their way.",
        _SIGNAL,
        observed=True,
    ),
    _stock(
        "development",
        "histogram",
        "otel.sdk.exporter.operation.duration",
        "s",
        "The duration of one attempt to export.",
        {"otel.component.type": str, "error.type": str},
        buckets=_EXPORTS,
    ),
    *PROCESS,
)
"""All of them, as `otelkit.metrics.create` makes their instruments."""


def metric(name: str) -> Metric:
    """Return the declaration of a stock metric.

    Raises:
        KeyError: There is none of that name.
    """
    return _BY_NAME[name]


_BY_NAME: Final = {stock.metric.name: stock.metric for stock in STOCK}
