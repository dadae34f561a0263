"""The only place for Celery's tasks: the span of each publish and each run, and what joins them across processes.

A publish is timed round `Celery.send_task`, the one public method through which every message goes that asks for a task
(`delay`, `apply_async`, signatures, retries, beat), so that a failed one ends its span too (E-25). A run is what lies
between Celery's `task_prerun` and `task_postrun`, which it sends in any case. Between them travels what
`before_task_publish` lets a program add to the headers of a message: arguments and signatures are never touched.

What a worker counts, its main process counts (`_celery_worker`); who measures queues: `_celery_queues`; what stays
unseen: `_celery_quiet`; what Celery's own lines say: `_celery_lines`; how children of a pool end:
`_celery_pool`; what keeps gRPC alive beside Celery's way to fork: `_celery_descriptors`.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from time import time
from typing import TYPE_CHECKING, Any

import structlog
import wrapt
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkit import _catalog, _exceptions, _propagation
from otelkit._sanitise import type_name
from otelkit.errors import SettingsError
from otelkit.integrations import Verdict, _celery_descriptors, _celery_lines, _celery_quiet, _celery_worker
from otelkit.integrations._celery_queues import Queues
from otelkit.integrations._celery_worker import SENT, destination
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token

    from opentelemetry.metrics import Counter
    from opentelemetry.trace import Span, Tracer

    from otelkit.integrations import Wiring

_log = logging.getLogger("otelkit")

_OLDEST = (5, 4)
_SYSTEM = "celery"
_FIRST_TRY = "otelkit-first-try"
"""Header of a retry: where the first try ran, as a `traceparent`."""
_RUN = "_otelkit_run"
_ERROR = Status(
    StatusCode.ERROR
)  # no description: an exception's message may quote arguments; the log has it, redacted
_QUIET_STATES = frozenset({"SUCCESS", "RETRY", "IGNORED"})
"""States in which a run did what its author meant it to do."""
_told_of_tasks = TraceContextTextMapPropagator()


@dataclass(frozen=True, kw_only=True)
class CeleryOptions:
    """Choices about Celery.

    Args:
        propagate: Send trace context and baggage along with tasks. Turned off, the spans of a run begin a trace of
            their own: for a broker whose consumers must not see either.
        queue_depth: Ask the broker how many messages wait in the queues that this process uses, once per interval of
            the metrics, over a connection of its own.
    """

    propagate: bool = True
    queue_depth: bool = True


class CeleryIntegration:
    """Celery by otelkit."""

    name = "celery"
    replaces = frozenset({"celery"})

    def __init__(self) -> None:
        self._hooks: _Hooks | None = None

    def install(self, wiring: Wiring, options: object | None) -> Verdict:
        """Instrument Celery now, or when the program imports it.

        Args:
            wiring: Providers and settings.
            options: `CeleryOptions`; None leaves the options as they are, at first at their defaults.

        Raises:
            SettingsError: `options` is something else.
        """
        if options is not None and not isinstance(options, CeleryOptions):
            message = f"integrations['celery'] must be CeleryOptions or a bool, not {type(options).__name__}"
            raise SettingsError([message])
        try:
            installed = version("celery")
        except PackageNotFoundError:
            return Verdict(integration=self.name, choice="skipped", reason="not installed", wanted=False)
        if _release(installed) < _OLDEST:
            reason = f"Celery {installed} is older than 5.4"
            return Verdict(integration=self.name, choice="skipped", reason=reason, version=installed)
        if self._hooks is None:
            self._hooks = _Hooks(wiring)
            wrapt.register_post_import_hook(self._hooks.attach, "celery.app.base")
            self._hooks.queues.attach_to_beat()
        self._hooks.active = self._hooks.queues.active = True
        _celery_worker.install(wiring.meter_provider)
        _celery_quiet.install()
        _celery_lines.install()
        _celery_descriptors.install()
        if options is not None:
            self._hooks.propagate, self._hooks.queues.measures = options.propagate, options.queue_depth
        reason = f"Celery {installed} by its signals and headers"
        return Verdict(integration=self.name, choice="ours", reason=reason, version=installed)

    def uninstall(self) -> None:
        """Leave Celery alone from now on; a task that is running still ends its span."""
        if self._hooks is not None:
            self._hooks.active = self._hooks.queues.active = False
        _celery_worker.uninstall()
        _celery_quiet.uninstall()
        _celery_lines.uninstall()


def _release(text: str) -> tuple[int, ...]:
    """Return major and minor of a version."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:2])


@dataclass(slots=True, kw_only=True)
class _Publish:
    """One message that is being sent.

    Args:
        span: From before it is routed until the broker has it.
        context: Has that span.
        token: Takes the context back.
        labels: What it is counted by.
    """

    span: Span
    context: Context
    token: Token[Context]
    labels: dict[str, str]


@dataclass(slots=True, kw_only=True)
class _Run:
    """One task that is running.

    Args:
        span: From before its arguments are looked at until its result is stored.
        parent: The context that came with the message; the same one goes with a retry.
        first: Where the first try ran, as a `traceparent`.
        token: Takes the run's own context back.
        bound: Takes the fields of its log events back.
        before: Takes back that this is the run of its context; another one may be going on round it.
        task_id: Of the request.
        retries: Of the request.
    """

    span: Span
    parent: Context
    first: str
    token: Token[Context]
    bound: Mapping[str, Token[Any]]
    task_id: str
    retries: int
    before: Token[_Run | None] | None = None


_publishing: ContextVar[_Publish | None] = ContextVar("otelkit_celery_publish", default=None)
_running: ContextVar[_Run | None] = ContextVar("otelkit_celery_run", default=None)


class _Hooks:
    """Everything that runs inside Celery. Whatever goes wrong here stays here."""

    def __init__(self, wiring: Wiring) -> None:
        self.active = False
        self.propagate = True
        self.queues = Queues(wiring.meter_provider, wiring.settings.metric_interval)
        self._tracer: Tracer = wiring.tracer_provider.get_tracer(__name__)
        meter = wiring.meter_provider.get_meter(__name__)
        self._sent: Counter = create(meter, _catalog.metric("messaging.client.sent.messages"))
        self._attached = False
        self._failed = False

    def attach(self, module: Any) -> None:
        """Listen; called once Celery's application class is imported."""
        if self._attached:
            return
        self._attached = True
        try:
            from celery import signals  # noqa: PLC0415  only a program that uses it imports it

            wrapt.wrap_function_wrapper(module, "Celery.send_task", self._send_task)
            signals.before_task_publish.connect(self.addressed, weak=False)
            signals.task_prerun.connect(self.started, weak=False)
            signals.task_postrun.connect(self.ended, weak=False)
            signals.task_failure.connect(self.raised, weak=False)
            signals.worker_ready.connect(self.worker_is_ready, weak=False)
            signals.worker_process_init.connect(self.child_begins, weak=False)
        except Exception:  # noqa: BLE001  runs inside the application's `import celery`
            self._note()

    def worker_is_ready(self, sender: Any = None, **_: Any) -> None:
        """Measure its queues: Celery's `worker_ready`, once its pool is forked and all that a broker needs imported."""
        try:
            self.queues.consumes(sender.app)
        except Exception:  # noqa: BLE001  never into a worker
            self._note()

    def child_begins(self, **_: Any) -> None:
        """Leave the queues to the worker in a child of its pool: Celery's `worker_process_init`."""
        if _celery_worker.is_child():
            self.queues.leave_to_parent()

    # -- publishing

    def _send_task(self, wrapped: Callable[..., Any], app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        publish = self._begin_publish(args[0] if args else kwargs.get("name"))
        if publish is None:
            return wrapped(*args, **kwargs)
        before = _publishing.set(publish)
        error: BaseException | None = None
        try:
            return wrapped(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _publishing.reset(before)
            self._end_publish(publish, app, error)

    def _begin_publish(self, name: object) -> _Publish | None:
        try:
            if not self.active:
                return None
            task = str(name)
            span = self._tracer.start_span(
                f"apply_async/{task}",
                kind=SpanKind.PRODUCER,
                attributes={
                    "messaging.system": _SYSTEM,
                    "messaging.operation.name": "apply_async",
                    "messaging.operation.type": "send",
                    "celery.task.name": task,
                },
            )
            context = trace.set_span_in_context(span)
            return _Publish(
                span=span, context=context, token=otel_context.attach(context), labels={"celery.task.name": task}
            )
        except Exception:  # noqa: BLE001  never into apply_async()
            self._note()
            return None

    def addressed(self, headers: Any = None, declare: Any = None, routing_key: Any = None, **_: Any) -> None:
        """Add what travels along to a message that is about to leave: Celery's `before_task_publish`."""
        try:
            if not self.active or not isinstance(headers, dict):
                return
            publish, run = _publishing.get(), _running.get()
            queue = getattr(declare[0], "name", None) if declare else None
            if publish is not None:
                self._describe(publish, headers, str(queue or routing_key or ""))
            headers[SENT] = time()
            if not self.propagate:
                return
            context = None if publish is None else publish.context
            if run is not None and headers.get("id") == run.task_id and headers.get("retries", 0) > run.retries:
                # All tries stand side by side below the publish that asked for the task, however many there are.
                context = run.parent
                headers[_FIRST_TRY] = run.first
            _propagation.keep().inject(headers, context)
        except Exception:  # noqa: BLE001  never into apply_async()
            self._note()

    def _describe(self, publish: _Publish, headers: Mapping[str, Any], queue: str) -> None:
        publish.labels["messaging.destination.name"] = queue
        told = {
            "messaging.destination.name": queue,
            "messaging.message.id": headers.get("id"),
            "messaging.message.conversation_id": headers.get("root_id"),
            "celery.task.retries": headers.get("retries") or None,
            "celery.task.eta": headers.get("eta"),
            "celery.group.id": headers.get("group"),
        }
        publish.span.set_attributes({key: value for key, value in told.items() if value is not None})

    def _end_publish(self, publish: _Publish, app: Any, error: BaseException | None) -> None:
        try:
            otel_context.detach(publish.token)
            labels = publish.labels
            if error is not None:
                labels = labels | {"error.type": type_name(type(error))}
                publish.span.set_attribute("error.type", labels["error.type"])
                publish.span.set_status(_ERROR)
            else:
                self.queues.published(app, labels.get("messaging.destination.name", ""))
            self._sent.add(1, labels, publish.context)
        except Exception:  # noqa: BLE001  never into apply_async()
            self._note()
        finally:
            publish.span.end()

    # -- running

    def started(self, task: Any = None, task_id: Any = None, **_: Any) -> None:
        """Begin a run: Celery's `task_prerun`."""
        try:
            if self.active:
                vars(task.request)[_RUN] = self._begin_run(task, str(task_id))
        except Exception:  # noqa: BLE001  never into a worker
            self._note()

    def _begin_run(self, task: Any, task_id: str) -> _Run:
        request = task.request
        eager = bool(request.is_eager)
        # From the message alone: what the worker's own context holds belongs to something else (E-49).
        parent = otel_context.get_current() if eager else Context()
        if not eager and self.propagate:
            parent = _propagation.keep().extract(request, parent, _HEADERS)
        first = None if eager else _header(request, _FIRST_TRY)
        told = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": "run",
            "messaging.operation.type": "process",
            "messaging.destination.name": destination(task.app, request.delivery_info),
            "messaging.message.id": task_id,
            "messaging.message.conversation_id": request.root_id,
            "celery.task.name": task.name,
            "celery.task.retries": request.retries or None,
            "celery.task.eta": request.eta,
            "celery.group.id": request.group,
        }
        span = self._tracer.start_span(
            f"run/{task.name}",
            context=parent,
            kind=SpanKind.INTERNAL if eager else SpanKind.CONSUMER,
            attributes={key: value for key, value in told.items() if value is not None},
            links=_links(first),
        )
        context = trace.set_span_in_context(span, parent)
        run = _Run(
            span=span,
            parent=parent,
            first=first or _traceparent(context),
            token=otel_context.attach(context),
            bound=structlog.contextvars.bind_contextvars(**{"celery.task.name": task.name, "celery.task.id": task_id}),
            task_id=task_id,
            retries=request.retries or 0,
        )
        run.before = _running.set(run)
        return run

    def ended(self, task: Any = None, retval: Any = None, state: str | None = None, **_: Any) -> None:
        """End a run: Celery's `task_postrun`, which it sends whatever became of the task."""
        try:
            run: _Run | None = vars(task.request).pop(_RUN, None)
            if run is None:
                return
            try:
                self._describe_end(run.span, task, retval, state)
            finally:
                if run.before is not None:
                    _running.reset(run.before)
                structlog.contextvars.reset_contextvars(**run.bound)
                otel_context.detach(run.token)
                run.span.end()
        except Exception:  # noqa: BLE001  never into a worker
            self._note()

    def raised(self, exception: Any = None, **_: Any) -> None:
        """Know an exception again that Celery is about to log: Celery's `task_failure`.

        Of one that cannot be pickled that is a copy of another type.
        """
        if self.active:
            _exceptions.stands_for(exception, sys.exception())

    def _describe_end(self, span: Span, task: Any, retval: Any, state: str | None) -> None:
        # Celery names no state where a task left by what is no `Exception` (SystemExit, a soft kill).
        span.set_attribute("celery.task.state", (state or "FAILURE").lower())
        if state in _QUIET_STATES:
            return
        span.set_attribute("error.type", type_name(type(retval)) if isinstance(retval, BaseException) else "_OTHER")
        expected = getattr(task, "throws", ()) or ()
        if not isinstance(retval, tuple(expected) if isinstance(expected, list | tuple) else expected):
            span.set_status(_ERROR)
            span.set_attributes(_exceptions.told(retval, span))

    def _note(self) -> None:
        """Say once that a hook failed, where a developer may look; called from an `except` clause."""
        if not self._failed:
            self._failed = True
            _log.debug("a hook of the celery integration failed; further failures are not logged", exc_info=True)


# -- headers


def _header(request: Any, name: str) -> str | None:
    """Return a header of the message that a request came with.

    By protocol 2 they are the request's attributes; by protocol 1 it has them as `headers`.
    """
    value = vars(request).get(name)
    if value is None and isinstance(getattr(request, "headers", None), dict):
        value = request.headers.get(name)
    return value if isinstance(value, str) else None


class _Headers(Getter[Any]):
    """Reads the headers of a task's message."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        value = _header(carrier, key)
        return None if value is None else [value]

    def keys(self, carrier: Any) -> list[str]:
        return [key for key, value in vars(carrier).items() if isinstance(value, str)]


_HEADERS = _Headers()


def _traceparent(context: Context) -> str:
    carrier: dict[str, str] = {}
    _told_of_tasks.inject(carrier, context)
    return carrier.get("traceparent", "")


def _links(traceparent: str | None) -> tuple[Link, ...]:
    """Link to the span that a header of ours names."""
    if not traceparent:
        return ()
    found = _told_of_tasks.extract({"traceparent": traceparent}, Context())
    span = trace.get_current_span(found).get_span_context()
    return (Link(span, {"celery.link": "first_try"}),) if span.is_valid else ()
