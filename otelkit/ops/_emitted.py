"""The only place for the spans, log events and attributes that otelkit emits, as data; metrics: `otelkit._catalog`.

No application imports it: the reference is made from it, and `tests/integration/test_telemetry.py` holds it against
what real programs send, both ways. Where a library has attributes of its own beside these, they are its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from otelkit._sanitise import ITEM_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit._catalog import Origin

Type = Literal["text", "texts", "number", "flag", "table"]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """What a key means, wherever it stands: on spans, metrics, log records or the resource.

    Args:
        type: What its value is.
        origin: Who named it: stable or unstable semantic conventions, or otelkit.
        meaning: What it says, without a full stop.
    """

    type: Type
    origin: Origin
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """A kind of span.

    Args:
        about: What it lasts from and to.
        kinds: As OpenTelemetry has them.
        scopes: Instrumentation scopes that make it.
        names: Patterns of its name; its attributes fill one of them.
        always: Keys that every one has.
        sometimes: Keys that some have, and when.
        links: What it links to, and the keys of that link.
    """

    about: str
    kinds: tuple[str, ...]
    scopes: tuple[str, ...]
    names: tuple[str, ...]
    always: tuple[str, ...]
    sometimes: Mapping[str, str]
    links: str = ""
    link_keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Event:
    """A log record of otelkit's own.

    Args:
        name: The event; the body of its record, and its `event_name`.
        logger: Of stdlib logging; the record's scope.
        levels: Which it has.
        about: When it is written.
        always: Keys that every one has.
        sometimes: Keys that some have, and when.
    """

    name: str
    logger: str
    levels: tuple[str, ...]
    about: str
    always: tuple[str, ...]
    sometimes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What belongs together for whoever looks something up.

    Args:
        title: A heading.
        about: What it covers.
        scopes: Instrumentation scopes, each of which makes all of its metrics.
        metrics: Names in the stock catalogue.
        spans: Kinds of spans.
        events: Log events.
    """

    title: str
    about: str
    scopes: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    events: tuple[Event, ...] = ()


def _attribute(origin: Origin, kind: Type, meaning: str) -> Attribute:
    return Attribute(type=kind, origin=origin, meaning=meaning)


ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "cache.name": _attribute("otelkit", "text", "What the application calls the cache"),
    "cache.operation": _attribute("otelkit", "text", "What was asked of the cache"),
    "cache.result": _attribute("otelkit", "text", "What came of it; `ok` for what finds nothing"),
    "celery.group.id": _attribute("otelkit", "text", "The group or chord that the task is a part of"),
    "celery.link": _attribute("otelkit", "text", "What a link leads to: `first_try` of a task that is tried again"),
    "celery.task.eta": _attribute("otelkit", "text", "Before when the task must not run, in ISO 8601"),
    "celery.task.id": _attribute("otelkit", "text", "The task's id"),
    "celery.task.name": _attribute("otelkit", "text", "The task's name, as it is registered"),
    "celery.task.retries": _attribute("otelkit", "number", "How many times it was tried before"),
    "celery.task.state": _attribute("otelkit", "text", "How the run ended"),
    "code.stacktrace": _attribute("stable", "text", "Where the log call stands, as `stack_info=True` asks"),
    "container.id": _attribute("stable", "text", "The container's id"),
    "cpu.mode": _attribute("development", "text", "On whose behalf the processor ran"),
    "cpython.gc.generation": _attribute("development", "number", "Generation of the garbage collector"),
    "db.client.connection.pool.name": _attribute(
        "development", "text", "The pool: the name given to it, else database and host; the same after every start"
    ),
    "db.client.connection.state": _attribute("development", "text", "What a connection of the pool does"),
    "db.collection.name": _attribute("stable", "text", "The table, where a statement is about one"),
    "db.namespace": _attribute("stable", "text", "The database: its name, its number in Redis, a file without folder"),
    "db.operation.batch.size": _attribute("stable", "number", "How many statements or commands went together"),
    "db.operation.name": _attribute("stable", "text", "The verb of a statement, or the command of Redis"),
    "db.query.text": _attribute("stable", "text", "The statement, with a `?` for each value"),
    "db.response.status_code": _attribute("stable", "text", "The database's own code for the error"),
    "db.system.name": _attribute("stable", "text", "Which database it is"),
    "duration": _attribute("otelkit", "number", "Seconds from the request's arrival to the end of its response"),
    "endpoints": _attribute("otelkit", "table", "Where each signal goes, or `off`"),
    "error.type": _attribute("stable", "text", "The exception's class, or the status code"),
    "exception.escaped": _attribute("stable", "text", "Of OpenTelemetry's own event; deprecated there"),
    "exception.fingerprint": _attribute("otelkit", "text", "The same for the same failure, wherever it is told"),
    "exception.message": _attribute("stable", "text", "What the exception says, redacted"),
    "exception.stacktrace": _attribute("stable", "text", "Stack and causes, redacted, without local variables"),
    "exception.type": _attribute("stable", "text", "The exception's class"),
    "fastapi.validation.error_count": _attribute("otelkit", "number", "How many problems the request had"),
    "host.arch": _attribute("development", "text", "The processor's architecture"),
    "host.name": _attribute("development", "text", "The host's name"),
    "http.request.body.size": _attribute("development", "number", "Bytes of the request's body"),
    "http.request.method": _attribute("stable", "text", "The method; `_OTHER` for one that is not known"),
    "http.request.method_original": _attribute("stable", "text", "The method as it came"),
    "http.response.body.size": _attribute("development", "number", "Bytes of the response's body"),
    "http.response.status_code": _attribute("stable", "number", "The status code"),
    "http.route": _attribute("stable", "text", "The route's template, mounts included"),
    "k8s.namespace.name": _attribute("stable", "text", "The pod's namespace"),
    "k8s.pod.name": _attribute("stable", "text", "The pod's name"),
    "messaging.destination.name": _attribute("development", "text", "The queue"),
    "messaging.message.conversation_id": _attribute("development", "text", "Id of the task that a workflow began with"),
    "messaging.message.id": _attribute("development", "text", "The task's id"),
    "messaging.operation.name": _attribute("development", "text", "What was done, in Celery's words"),
    "messaging.operation.type": _attribute("development", "text", "The same in those of the conventions"),
    "messaging.system": _attribute("development", "text", "Always `celery`"),
    "network.protocol.name": _attribute("stable", "text", "`websocket`, where it is one"),
    "network.protocol.version": _attribute("stable", "text", "The version of HTTP"),
    "os.type": _attribute("development", "text", "The operating system"),
    "otel.component.type": _attribute("development", "text", "The exporter: protocol and signal"),
    "otelkit.db.statements": _attribute("otelkit", "number", "How many statements the request sent to databases"),
    "otelkit.fields.left_out": _attribute("otelkit", "number", "How many fields the record had beyond the limit"),
    "otelkit.health.check": _attribute("otelkit", "text", "The check's name"),
    "otelkit.health.critical": _attribute(
        "otelkit", "flag", "Whether the check decides about readiness; a text on metrics"
    ),
    "otelkit.health.drain": _attribute("otelkit", "number", "Seconds that the server serves on"),
    "otelkit.health.from": _attribute("otelkit", "text", "`unknown`, `pass` or `fail` before"),
    "otelkit.health.reason": _attribute("otelkit", "text", "Why the check failed, redacted"),
    "otelkit.health.to": _attribute("otelkit", "text", "`pass` or `fail` since"),
    "otelkit.integration": _attribute("otelkit", "text", "The library"),
    "otelkit.log.arguments": _attribute("otelkit", "texts", "What did not fit into the message"),
    "otelkit.log.malformed": _attribute("otelkit", "text", "Why a message could not be put together"),
    "otelkit.reason": _attribute("otelkit", "text", "Why items were lost"),
    "otelkit.sampling.forced": _attribute("otelkit", "flag", "Sent because it failed, although nobody sampled it"),
    "otelkit.signal": _attribute("otelkit", "text", "The signal"),
    "otelkit.span.unfinished": _attribute("otelkit", "flag", "Nobody ended it: the end of the process did"),
    "otelkit.verdict": _attribute("otelkit", "text", "How the library is instrumented"),
    "otelkit.version": _attribute("otelkit", "text", "otelkit's version"),
    "process.executable.name": _attribute("development", "text", "The interpreter's file"),
    "process.pid": _attribute("development", "number", "The process"),
    "process.runtime.name": _attribute("development", "text", "The Python implementation"),
    "process.runtime.version": _attribute("development", "text", "Python's version"),
    "providers": _attribute("otelkit", "table", "For each signal, whose provider it is"),
    "request_id": _attribute("otelkit", "text", "The caller's `x-request-id`, or a new one; in the response, too"),
    "server.address": _attribute("stable", "text", "The host as it was addressed"),
    "server.port": _attribute("stable", "number", "Its port"),
    "service.instance.id": _attribute("stable", "text", "One process: a random id, or as set"),
    "service.name": _attribute("stable", "text", "The service, as set; `unknown_service:python` otherwise"),
    "stdout": _attribute("otelkit", "text", "What lines on stdout look like, and why"),
    "telemetry.distro.name": _attribute("stable", "text", "`otelkit`"),
    "telemetry.distro.version": _attribute("stable", "text", "Its version"),
    "telemetry.sdk.language": _attribute("stable", "text", "`python`"),
    "telemetry.sdk.name": _attribute("stable", "text", "`opentelemetry`"),
    "telemetry.sdk.version": _attribute("stable", "text", "The SDK's version"),
    "url.path": _attribute("stable", "text", "The path, without query"),
    "url.query": _attribute("stable", "text", "The query: keys stay, values are redacted"),
    "url.scheme": _attribute("stable", "text", "`http`, `https`, `ws` or `wss`"),
    "verdicts": _attribute("otelkit", "table", "For each library, how it is instrumented, or why not"),
}
"""Every key, but those that the application itself brings."""

_ERRORS: Final = {"error.type": "it failed"}
_BATCH: Final = "several went together"
_REQUEST: Final = {"http.route": "a route matched", "http.response.status_code": "a response was begun"}
_TASK: Final = {
    "messaging.message.conversation_id": "Celery knows it",
    "messaging.destination.name": "the queue is known",
    "messaging.message.id": "the task was addressed",
    "celery.task.retries": "it was tried before",
    "celery.task.eta": "it has an ETA or a countdown",
    "celery.group.id": "it is a part of a group or chord",
    **_ERRORS,
}
_MESSAGE: Final = ("messaging.system", "messaging.operation.name", "messaging.operation.type", "celery.task.name")
_EXCEPTION: Final = ("exception.type", "exception.message", "exception.stacktrace")

SUBJECTS: Final = (
    Subject(
        title="HTTP servers",
        about="FastAPI, and any ASGI application in `TelemetryMiddleware`. Duration and active requests are "
        "FastAPI's own from 0.142 on, under the same names and the scope `fastapi`.",
        scopes=("otelkit.integrations.asgi",),
        metrics=(
            "http.server.request.duration",
            "http.server.active_requests",
            "http.server.request.body.size",
            "http.server.response.body.size",
        ),
        spans=(
            Span(
                about="A request, from its arrival to the last piece of the response",
                kinds=("SERVER",),
                scopes=("fastapi", "otelkit.integrations.asgi"),
                names=(
                    "{http.request.method} {http.route}",
                    "{http.request.method}",
                    "HTTP {http.route}",
                    "HTTP",
                ),
                always=("http.request.method", "url.path", "url.scheme", "network.protocol.version"),
                sometimes={
                    **_REQUEST,
                    "server.address": "the Host header can be read",
                    "server.port": "the same",
                    "url.query": "there is one",
                    "http.request.method_original": "the method is `_OTHER`: the name begins with `HTTP` then",
                    "otelkit.db.statements": "it sent statements to a database",
                    "otelkit.sampling.forced": "its caller did not sample it, and it failed",
                    "exception.fingerprint": "the exception was recorded on it",
                    "error.type": "an exception left the application, or the status is 5xx",
                },
                links="At a public endpoint: the caller's span",
            ),
            Span(
                about="A WebSocket connection, from the handshake to its end",
                kinds=("SERVER",),
                scopes=("fastapi", "otelkit.integrations.asgi"),
                names=("WS {http.route}", "WS"),
                always=("url.scheme", "network.protocol.name"),
                sometimes={
                    "http.route": "a route matched",
                    "server.address": "the Host header can be read",
                    "server.port": "the same",
                    "otelkit.db.statements": "it sent statements to a database",
                    "exception.fingerprint": "the exception was recorded on it",
                    "error.type": "an exception left the application",
                },
                links="At a public endpoint: the caller's span",
            ),
        ),
        events=(
            Event(
                name="http.request.completed",
                logger="otelkit.access",
                levels=("INFO",),
                about="Each request has ended; in the place of the server's access line",
                always=(
                    "url.path",
                    "http.request.method",
                    "http.request.body.size",
                    "http.response.body.size",
                    "duration",
                    "request_id",
                ),
                sometimes={**_REQUEST, "error.type": "an exception left the application, or the status is 5xx"},
            ),
            Event(
                name="http.request.failed",
                logger="otelkit.exceptions",
                levels=("ERROR",),
                about="An exception left the application",
                always=(*_EXCEPTION, "url.path", "http.request.method", "request_id"),
                sometimes={"http.route": "a route matched"},
            ),
            Event(
                name="websocket.connection.completed",
                logger="otelkit.access",
                levels=("INFO",),
                about="A connection has ended",
                always=("url.path", "duration", "request_id"),
                sometimes={"http.route": "a route matched", "error.type": "an exception left the application"},
            ),
            Event(
                name="websocket.connection.failed",
                logger="otelkit.exceptions",
                levels=("ERROR",),
                about="An exception left the application; to go away is none",
                always=(*_EXCEPTION, "url.path", "request_id"),
                sometimes={"http.route": "a route matched"},
            ),
            Event(
                name="fastapi.validation.failed",
                logger="fastapi.validation",
                levels=("WARNING",),
                about="FastAPI 0.142 and newer refused a request",
                always=("fastapi.validation.error_count", "request_id"),
                sometimes={"http.route": "a route matched"},
            ),
        ),
    ),
    Subject(
        title="Databases and Redis",
        about="SQLAlchemy 2.0 and newer, sync and async; redis-py 5.0 and newer, sync and asyncio. Names of pools are "
        "the same after every start. Calls outside of a request or task are measured and make no span in a process "
        "that serves.",
        scopes=("otelkit.integrations.sqlalchemy", "otelkit.integrations.redis"),
        metrics=(
            "db.client.operation.duration",
            "db.client.connection.count",
            "db.client.connection.max",
            "db.client.connection.pending_requests",
            "db.client.connection.timeouts",
            "db.client.connection.wait_time",
        ),
        spans=(
            Span(
                about="A statement, or one call with many parameters (`BATCH`), by SQLAlchemy",
                kinds=("CLIENT",),
                scopes=("otelkit.integrations.sqlalchemy",),
                names=("{db.operation.name} {db.collection.name}", "{db.operation.name}", "{db.system.name}"),
                always=("db.system.name", "db.query.text"),
                sometimes={
                    "db.operation.name": "the statement can be read",
                    "db.collection.name": "it is about one table",
                    "db.namespace": "the database has a name",
                    "server.address": "it is asked over a network",
                    "server.port": "the URL names it",
                    "db.operation.batch.size": _BATCH,
                    "db.response.status_code": "the driver tells the database's code",
                    **_ERRORS,
                },
            ),
            Span(
                about="A command, or a pipeline (`PIPELINE`, `MULTI`), by redis-py",
                kinds=("CLIENT",),
                scopes=("otelkit.integrations.redis",),
                names=("{db.operation.name}", "{db.system.name}"),
                always=("db.system.name",),
                sometimes={
                    "db.operation.name": "Redis knows the command",
                    "db.namespace": "it goes to one server",
                    "server.address": "it goes to one server over a network",
                    "server.port": "the same",
                    "db.query.text": "`RedisOptions(key_words=...)` names the fixed words of keys",
                    "db.operation.batch.size": _BATCH,
                    "db.response.status_code": "the server answered with an error",
                    **_ERRORS,
                },
            ),
        ),
    ),
    Subject(
        title="Celery",
        about="Celery 5.4 and newer. A worker's main process counts, whichever pool runs the tasks. The depth of a "
        "queue is told by every process that publishes to it or consumes from it: take the maximum.",
        scopes=("otelkit.integrations.celery",),
        metrics=(
            "celery.task.executions",
            "celery.task.duration",
            "celery.task.wait_time",
            "celery.queue.depth",
            "celery.task.active",
            "celery.worker.concurrency",
            "celery.beat.last_tick.time",
            "messaging.client.sent.messages",
        ),
        spans=(
            Span(
                about="A publish, until the broker has the message",
                kinds=("PRODUCER",),
                scopes=("otelkit.integrations.celery",),
                names=("apply_async/{celery.task.name}",),
                always=_MESSAGE,
                sometimes=_TASK,
            ),
            Span(
                about="A run, from before the task's function until its result is stored; `INTERNAL` for an eager one",
                kinds=("CONSUMER", "INTERNAL"),
                scopes=("otelkit.integrations.celery",),
                names=("run/{celery.task.name}",),
                always=(*_MESSAGE, "celery.task.state"),
                sometimes=_TASK,
                links="A retry: the run of the first try",
                link_keys=("celery.link",),
            ),
        ),
    ),
    Subject(
        title="Caches",
        about="Those that the application counts by `otelkit.Cache`.",
        scopes=("otelkit.cache",),
        metrics=("cache.requests", "cache.operation.duration"),
    ),
    Subject(
        title="Health",
        about="Checks of `otelkit.Health`. Requests for health leave no span, no metric and no access event.",
        scopes=("otelkit.health",),
        metrics=("otelkit.health.check.status", "otelkit.health.check.duration"),
        events=(
            Event(
                name="health.changed",
                logger="otelkit.health",
                levels=("INFO", "WARNING", "ERROR"),
                about="A check fails (`ERROR` where it is critical), or works again",
                always=(
                    "otelkit.health.check",
                    "otelkit.health.critical",
                    "otelkit.health.from",
                    "otelkit.health.to",
                ),
                sometimes={"otelkit.health.reason": "it fails"},
            ),
            Event(
                name="health.draining",
                logger="otelkit.health",
                levels=("INFO",),
                about="SIGTERM has come: the server serves on, unready",
                always=("otelkit.health.drain",),
            ),
        ),
    ),
    Subject(
        title="Exceptions",
        about="Counted once for each trace, by what they are and where the application raised them.",
        scopes=("otelkit",),
        metrics=("otelkit.exceptions",),
    ),
    Subject(
        title="The process",
        about="From the standard library and /proc; the event loop's lag where an ASGI application is served.",
        scopes=("otelkit.integrations.process",),
        metrics=(
            "process.cpu.time",
            "process.memory.usage",
            "process.memory.virtual",
            "process.thread.count",
            "process.unix.file_descriptor.count",
            "cpython.gc.collections",
            "cpython.gc.collected_objects",
            "cpython.gc.uncollectable_objects",
            "otelkit.program.start.time",
            "python.eventloop.lag",
        ),
    ),
    Subject(
        title="otelkit itself",
        about="What was done about each library, and what became of each span, record and point.",
        scopes=("otelkit",),
        metrics=(
            "otelkit.integration.status",
            "otelkit.telemetry.emitted",
            "otelkit.telemetry.delivered",
            "otelkit.telemetry.dropped",
            "otelkit.telemetry.pending",
            "otel.sdk.exporter.operation.duration",
        ),
        events=(
            Event(
                name="otelkit.started",
                logger="otelkit",
                levels=("INFO",),
                about="Telemetry is set up",
                always=("service.name", "otelkit.version", "endpoints", "providers", "verdicts", "stdout"),
            ),
        ),
    ),
)
"""What is emitted, by what it is about."""

ON_ANY_SPAN: Final[Mapping[str, str]] = {
    "exception.fingerprint": "an exception was recorded on it",
    "otelkit.span.unfinished": "it was open at the end of the process",
}
"""Keys that otelkit adds to spans of anybody, and when; listed keys of baggage come on top."""

SPAN_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "exception": (*_EXCEPTION, "exception.escaped", "exception.fingerprint"),
}
"""Events of spans: what `record_exception` writes, with otelkit's part in it."""

ON_ANY_RECORD: Final[Mapping[str, str]] = {
    "request_id": "it was written in a request",
    "celery.task.name": "it was written in a task",
    "celery.task.id": "the same",
    **dict.fromkeys(_EXCEPTION, "it tells of an exception"),
    "exception.fingerprint": "the same",
    "code.stacktrace": "`stack_info=True`",
    "otelkit.log.malformed": "arguments do not fit the message",
    "otelkit.log.arguments": "the same",
    "otelkit.fields.left_out": f"there are more than {ITEM_LIMIT} fields",
}
"""Keys that otelkit adds to log records of anybody, and when."""

RESOURCE: Final[Mapping[str, str]] = {
    "service.name": "",
    "service.instance.id": "",
    "host.name": "",
    "host.arch": "",
    "os.type": "",
    "process.pid": "",
    "process.executable.name": "",
    "process.runtime.name": "",
    "process.runtime.version": "",
    "telemetry.sdk.language": "",
    "telemetry.sdk.name": "",
    "telemetry.sdk.version": "",
    "telemetry.distro.name": "",
    "telemetry.distro.version": "",
    "container.id": "in a container",
    "k8s.namespace.name": "in a pod with a service account",
    "k8s.pod.name": "the same",
}
"""Attributes of the resource, and where; `OTEL_RESOURCE_ATTRIBUTES` and `configure(resource=...)` add to them."""
