"""The only place for redis-py: one span per command or pipeline, and the metrics of commands and pools.

Carried by the few methods through which every client sends, sync and asyncio, of one server, of Sentinel and of a
cluster: wrapped on their classes, so that clients made before are reached as well. What redis-py sends by itself (AUTH,
HELLO, CLIENT, health checks, the search for a master, pub/sub's reads) does not pass through them.

A span is not made current: nothing of the application runs below it. No key, no value and no text of an error is told.
"""

from __future__ import annotations

import functools
import logging
import re
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, Status, StatusCode

from otelkit import _catalog, _serving
from otelkit.errors import SettingsError
from otelkit.integrations import Verdict, _redis_commands
from otelkit.integrations._redis_pools import Pools
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from otelkit.integrations import Wiring
    from otelkit.integrations._redis_pools import PoolFacts

_log = logging.getLogger("otelkit")

_OLDEST = (5, 0)
_ERROR = Status(StatusCode.ERROR)  # no description: the server quotes the arguments of a command that it does not know
_DELIMITERS = re.compile(r"([:/.|{}]+)")
_KEY_LENGTH = 200  # characters of a key that are looked at
_SEGMENTS = 12

# What runs inside redis-py's own methods belongs to the command that the application sent.
_inside: ContextVar[bool] = ContextVar("otelkit_redis_inside", default=False)


@dataclass(frozen=True, kw_only=True)
class RedisOptions:
    """Choices about Redis.

    Args:
        background_spans: Make spans also for commands that belong to no request or task of a process that serves some.
            They are always in the metrics; in a plain script they are always spans.
        key_words: The fixed words of your keys. With `{"user", "cart"}` the span of `GET user:4711:cart` has
            `db.query.text` "GET user:?:cart". Without any there is no such attribute.
    """

    background_spans: bool = False
    key_words: frozenset[str] = frozenset()


class RedisIntegration:
    """redis-py 5.0 and newer by otelkit."""

    name = "redis"
    replaces = frozenset({"redis"})

    def __init__(self) -> None:
        self._hooks: _Hooks | None = None

    def install(self, wiring: Wiring, options: object | None) -> Verdict:
        """Instrument redis-py now, or when the program imports it.

        Args:
            wiring: Providers and settings.
            options: `RedisOptions`; None leaves the options as they are, at first at their defaults.

        Raises:
            SettingsError: `options` is something else.
        """
        if options is not None and not isinstance(options, RedisOptions):
            message = f"integrations['redis'] must be RedisOptions or a bool, not {type(options).__name__}"
            raise SettingsError([message])
        try:
            installed = version("redis")
        except PackageNotFoundError:
            return Verdict(integration=self.name, choice="skipped", reason="not installed", wanted=False)
        if _release(installed) < _OLDEST:
            reason = f"redis-py {installed} is older than 5.0"
            return Verdict(integration=self.name, choice="skipped", reason=reason, version=installed)
        if self._hooks is None:
            self._hooks = _Hooks(wiring.tracer_provider, wiring.meter_provider)
            wrapt.register_post_import_hook(self._hooks.attach, "redis")
        self._hooks.activate()
        if options is not None:
            self._hooks.options = options
        reason = f"redis-py {installed} by its clients' methods"
        return Verdict(integration=self.name, choice="ours", reason=reason, version=installed)

    def uninstall(self) -> None:
        """Leave redis-py alone from now on; a command that is running still ends its span."""
        if self._hooks is not None:
            self._hooks.deactivate()


def _release(text: str) -> tuple[int, ...]:
    """Return major and minor of a version."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:2])


class _Call:
    """One command or pipeline that has begun."""

    __slots__ = ("counted", "labels", "span", "start")

    def __init__(self, labels: dict[str, str | int], span: Span | None, *, counted: bool) -> None:
        self.labels = labels
        self.span = span
        self.counted = counted
        self.start = perf_counter()


class _Wait:
    """One request for a connection that is under way."""

    __slots__ = ("facts", "start")

    def __init__(self, facts: PoolFacts) -> None:
        self.facts = facts
        self.start = perf_counter()
        facts.waiting.add(self)


class _Hooks:
    """Everything that runs inside redis-py. Whatever goes wrong here stays here (E-58, E-59)."""

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.options = RedisOptions()
        self._tracer: Tracer = tracer_provider.get_tracer(__name__)
        meter = meter_provider.get_meter(__name__)
        self._duration: Histogram = create(meter, _catalog.metric("db.client.operation.duration"))
        self._native = _Native()
        self._pools = Pools(meter, self._native.measures)
        self._attached = False
        self._failed = False

    def activate(self) -> None:
        """Let the hooks act."""
        self._pools.active = True

    def deactivate(self) -> None:
        """Let the hooks do nothing. They stay where they are: somebody may have wrapped them once more."""
        self._pools.active = False

    def attach(self, _: object) -> None:
        """Wrap the methods that send; called once redis-py is imported."""
        if self._attached:
            return
        self._attached = True
        try:
            # Only a program that uses it imports it; by now it has imported all of these.
            import redis.asyncio  # noqa: PLC0415  as said above
            import redis.asyncio.client  # noqa: PLC0415  the same
            import redis.asyncio.cluster  # noqa: PLC0415  the same
            import redis.asyncio.connection  # noqa: PLC0415  the same
            import redis.client  # noqa: PLC0415  the same
            import redis.cluster  # noqa: PLC0415  the same
            import redis.connection  # noqa: PLC0415  the same

            self._native.find()
            for client, cluster, connection, wrap in (
                (redis.client, redis.cluster, redis.connection, _wrapped),
                (redis.asyncio.client, redis.asyncio.cluster, redis.asyncio.connection, _wrapped_async),
            ):
                modules: tuple[Any, Any, Any] = (client, cluster, connection)
                self._wrap(modules, wrap)
        except Exception:  # noqa: BLE001  runs inside the application's `import redis`
            self._note()

    def _wrap(self, modules: tuple[Any, Any, Any], wrap: Callable[..., Any]) -> None:
        client, cluster, connection = modules
        for owner, method, begin, end in (
            (client.Redis, "execute_command", self.command, self.done),
            (client.Pipeline, "immediate_execute_command", self.command, self.done),
            (client.Pipeline, "execute", self.pipeline, self.done),
            (cluster.RedisCluster, "execute_command", self.command, self.done),
            (cluster.ClusterPipeline, "execute", self.pipeline, self.done),
            (connection.ConnectionPool, "get_connection", self.connecting, self.connected),
            (connection.BlockingConnectionPool, "get_connection", self.connecting, self.connected),
        ):
            setattr(owner, method, wrap(vars(owner)[method], begin, end))

    # What the wrapped methods tell.

    def command(self, client: object, arguments: Sequence[Any]) -> _Call | None:
        """Begin a command; None where nobody counts."""
        try:
            if not self._wants():
                return None
            operation = _redis_commands.known(arguments)
            facts = self._pools.of(getattr(client, "connection_pool", None))
            span = None
            if self._wants_span():
                attributes = facts.labels(operation)
                if self.options.key_words and operation is not None and len(arguments) > 1:
                    text = f"{operation} {_pattern(arguments[1], self.options.key_words)}"
                    attributes = attributes | {"db.query.text": text}
                span = self._tracer.start_span(operation or "redis", kind=SpanKind.CLIENT, attributes=attributes)
            counted = not _redis_commands.blocks(operation, arguments)
            return self._begun(_Call(facts.labels(operation), span, counted=counted))
        except Exception:  # noqa: BLE001  never into execute_command()
            self._note()
        return None

    def pipeline(self, pipeline: object, _: Sequence[Any]) -> _Call | None:
        """Begin a pipeline; None where nobody counts, or nothing is sent."""
        try:
            if not self._wants():
                return None
            names = [_redis_commands.known(arguments) for arguments in _queued(pipeline)]
            if not names:
                return None
            operation = _joint(names, "MULTI" if _is_transaction(pipeline) else "PIPELINE")
            facts = self._pools.of(getattr(pipeline, "connection_pool", None))
            span = None
            if self._wants_span():
                attributes = facts.labels(operation)
                if len(names) > 1:  # semantic conventions: one operation is no batch
                    attributes = attributes | {"db.operation.batch.size": len(names)}
                span = self._tracer.start_span(operation or "redis", kind=SpanKind.CLIENT, attributes=attributes)
            return self._begun(_Call(facts.labels(operation), span, counted=True))
        except Exception:  # noqa: BLE001  never into execute()
            self._note()
        return None

    def done(self, call: _Call, error: BaseException | None) -> None:
        """End a command or a pipeline."""
        try:
            _inside.set(False)
            seconds = perf_counter() - call.start
            labels = call.labels
            if error is not None and not _lost_a_race(error):
                kind = _error_type(error)
                labels = labels | {"error.type": kind}
                if call.span is not None:
                    code = _redis_commands.code(error)
                    if code is not None:
                        call.span.set_attribute("db.response.status_code", code)
                    call.span.set_attribute("error.type", kind)
                    call.span.set_status(_ERROR)
                self._record(seconds, labels, call.span)
            elif call.counted:
                self._record(seconds, labels, call.span)
            if call.span is not None:
                call.span.end()
        except Exception:  # noqa: BLE001  never into execute()
            self._note()

    def connecting(self, pool: object, _: Sequence[Any]) -> _Wait | None:
        """Begin to wait for a connection; None where nobody counts."""
        try:
            if self._pools.active and is_instrumentation_enabled():
                return _Wait(self._pools.of(pool))
        except Exception:  # noqa: BLE001  never into get_connection()
            self._note()
        return None

    def connected(self, wait: _Wait, error: BaseException | None) -> None:
        """End a wait."""
        try:
            wait.facts.waiting.discard(wait)
            self._pools.waited(wait.facts, perf_counter() - wait.start, error)
        except Exception:  # noqa: BLE001  never into get_connection()
            self._note()

    # Ours.

    def _wants(self) -> bool:
        return self._pools.active and not _inside.get() and is_instrumentation_enabled()

    def _wants_span(self) -> bool:
        """Tell whether the call belongs to a trace, or to a program in which everything does (docs/decisions/0009)."""
        return (
            trace.get_current_span().get_span_context().is_valid
            or self.options.background_spans
            or not _serving.is_serving()
        )

    @staticmethod
    def _begun(call: _Call) -> _Call:
        _inside.set(True)
        return call

    def _record(self, seconds: float, labels: dict[str, str | int], span: Span | None) -> None:
        if self._native.measures("command"):
            return
        # The span is not current: its context makes it the exemplar.
        self._duration.record(seconds, labels, None if span is None else trace.set_span_in_context(span))

    def _note(self) -> None:
        """Say once that a hook failed, where a developer may look; called from an `except` clause."""
        if not self._failed:
            self._failed = True
            _log.debug("a hook of the redis integration failed; further failures are not logged", exc_info=True)


class _Native:
    """redis-py's own metrics, which the application may have switched on: the same names are not counted twice.

    otelkit does not switch them on: they leave out every command that failed (docs/decisions/0019).
    """

    def __init__(self) -> None:
        self._instance: Callable[[], Any] | None = None
        self._groups: dict[str, Any] = {}

    def find(self) -> None:
        """Look for them; redis-py has them from 7.2 on."""
        try:
            from redis.observability import MetricGroup, get_observability_instance  # noqa: PLC0415  not in every one
        except ImportError:
            return
        self._groups = {
            "basic": MetricGroup.CONNECTION_BASIC,
            "advanced": MetricGroup.CONNECTION_ADVANCED,
            "command": MetricGroup.COMMAND,
        }
        self._instance = get_observability_instance

    def measures(self, group: str) -> bool:
        """Tell whether redis-py measures this by itself."""
        if self._instance is None:
            return False
        manager = self._instance().get_provider_manager()
        return manager is not None and bool(self._groups[group] & manager.config.metric_groups)


def _wrapped(original: Any, begin: Callable[..., Any], end: Callable[..., None]) -> Any:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        begun = begin(self, args)
        if begun is None:
            return original(self, *args, **kwargs)
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            end(begun, error)
            raise
        end(begun, None)
        return result

    return method


def _wrapped_async(original: Any, begin: Callable[..., Any], end: Callable[..., None]) -> Any:
    @functools.wraps(original)
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        begun = begin(self, args)
        if begun is None:
            return await original(self, *args, **kwargs)
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            end(begun, error)
            raise
        end(begun, None)
        return result

    return method


def _queued(pipeline: Any) -> list[Sequence[Any]]:
    """Return the arguments of the commands that a pipeline holds."""
    strategy = getattr(pipeline, "_execution_strategy", None)  # of a cluster, from redis-py 6 on
    for owner, name in ((strategy, "_command_queue"), (pipeline, "command_stack"), (pipeline, "_command_stack")):
        stack = getattr(owner, name, None)
        if stack is not None:
            return [command[0] if isinstance(command, tuple) else command.args for command in stack]
    return []


def _is_transaction(pipeline: Any) -> bool:
    """Tell whether the commands run as one."""
    strategy = getattr(pipeline, "_execution_strategy", None)
    if strategy is not None:
        return type(strategy).__name__ == "TransactionStrategy"
    return bool(getattr(pipeline, "explicit_transaction", False) or _flag(pipeline, "transaction", "is_transaction"))


def _flag(pipeline: Any, *names: str) -> bool:
    """Return an attribute that the asyncio clients call otherwise, and that a class may have as a method."""
    return any(vars(pipeline).get(name) is True for name in names)


def _joint(names: list[str | None], kind: str) -> str | None:
    """Name a pipeline: semantic conventions for Redis, `PIPELINE GET` where all commands are the same."""
    if len(names) == 1:
        return names[0]
    common = names[0] if len(set(names)) == 1 else None
    return kind if common is None else f"{kind} {common}"


def _pattern(key: object, words: frozenset[str]) -> str:
    """Return a key with everything but the known words replaced."""
    text = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) if isinstance(key, str) else ""
    parts = _DELIMITERS.split(text[:_KEY_LENGTH])[: 2 * _SEGMENTS - 1]
    return "".join(part if at % 2 or part in words else "?" for at, part in enumerate(parts))


def _lost_a_race(error: BaseException) -> bool:
    """Tell whether a watched key was changed by somebody else: the answer to WATCH that the application asked for."""
    return type(error).__name__ == "WatchError"


def _error_type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
