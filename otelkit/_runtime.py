"""The only process-global state: what `configure()` did, and the hooks that end it.

Two roads lead here, `otelkit.configure()` and the launcher (`otelkit.distro`); both run `_set_up`, so that the
telemetry is the same.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from otelkit import _capturing, _environment
from otelkit._stderr import say
from otelkit.errors import SettingsError
from otelkit.redact import Redaction, Redactor
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import TracerProvider

    from otelkit.integrations import Integration, Verdict
    from otelkit.logs import Roads
    from otelkit.pipeline import Pipeline, SignalStats


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What only code can give: objects, never strings (those are `Settings`)."""

    resource: Mapping[str, Any] | None = None
    sampler: Sampler | None = None
    span_processors: Sequence[SpanProcessor] = ()
    log_processors: Sequence[LogRecordProcessor] = ()
    metric_readers: Sequence[MetricReader] = ()
    views: Sequence[View] = ()
    redaction: Redaction | None = None
    integrations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Telemetry:
    """What `configure()` did in this process.

    Args:
        settings: The resolved settings, with the origin of each value.
        resource: Attributes of the resource that all signals carry; empty when the SDK is disabled.
        providers: For "traces", "metrics", "logs": "ours", "adopted" (an SDK provider existed and keeps its resource),
            "foreign" (another product's provider, left alone) or "disabled".
        verdicts: One per library: native, contrib, ours or skipped, and why.
    """

    settings: Settings
    resource: Mapping[str, Any] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider
    verdicts: tuple[Verdict, ...] = ()
    _pipeline: Pipeline | None = field(default=None, repr=False)
    _own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _readers: list[Any] = field(default_factory=list, repr=False)
    _redactor: Redactor | None = field(default=None, repr=False)
    _closed: bool = field(default=False, repr=False)
    _captured: bool = field(default=False, repr=False)

    def verdict(self, integration: str) -> Verdict | None:
        """Return the verdict of one library, None where none was given."""
        return next((verdict for verdict in self.verdicts if verdict.integration == integration), None)

    def force_flush(self, timeout: float | None = None) -> bool:
        """Send everything that was emitted before the call.

        Args:
            timeout: Seconds for all signals together; None takes `settings.shutdown_timeout`.

        Returns:
            True when every signal was handed over in time. Never raises.
        """
        from otelkit.pipeline import Deadline, run_against  # noqa: PLC0415  loads the SDK

        pipeline = self._pipeline
        if pipeline is None or self._closed:
            return True
        deadline = Deadline.after(self.settings.shutdown_timeout if timeout is None else timeout)
        # The providers too: users may have added processors of their own. A meter provider would collect once more.
        theirs = [self._own[signal] for signal in ("traces", "logs") if signal in self._own] + self._readers
        flushes = [partial(part.force_flush, int(deadline.remaining * 1000)) for part in theirs]
        return run_against(deadline, [partial(pipeline.flush, deadline), *flushes])

    def shutdown(self, timeout: float | None = None) -> bool:
        """Send everything and stop. Idempotent; also runs at interpreter exit.

        Args:
            timeout: Seconds for all signals together, never one after the other; None takes
                `settings.shutdown_timeout`. Cut short when nobody listens at any endpoint.

        Returns:
            True when every signal was handed over in time. Never raises.
        """
        from otelkit.pipeline import Deadline, run_against  # noqa: PLC0415  loads the SDK

        pipeline = self._pipeline
        if pipeline is None or self._closed:
            return True
        self._closed = True
        deadline = Deadline.after(pipeline.grace(self.settings.shutdown_timeout if timeout is None else timeout))

        def close() -> bool:
            delivered = pipeline.close(deadline)
            if "metrics" in self._own:  # after the last collection, which would find the reader closed
                self._own["metrics"].shutdown()
            return delivered

        others = [self._own[signal].shutdown for signal in ("traces", "logs") if signal in self._own]
        done = run_against(deadline, [close, *others])
        pipeline.give_up()  # where the time was over before it came to that
        return done

    def stats(self) -> Mapping[str, SignalStats]:
        """Tell what became of every span, log record and metric point of this process.

        Returns:
            For each signal that goes out by OTLP: emitted = delivered + dropped (by reason) + pending, at any moment.
        """
        if self._pipeline is None:
            return {}
        stats = dict(self._pipeline.stats())
        if "metrics" in stats and "metrics" in self._own:
            stats["metrics"] = replace(stats["metrics"], overflowed=self._own["metrics"].overflowed)
        return stats


@dataclass
class _State:
    """What this process has configured; `zero_code` until the first explicit call was merged.

    `vacant` where a test captures and no application has configured anything: the next one that does joins.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    telemetry: Telemetry | None = None
    zero_code: bool = False
    vacant: bool = False
    integrations: list[Integration] = field(default_factory=list)


_state = _State()


def configure(settings: Settings | None, objects: Objects, *, zero_code: bool = False) -> Telemetry:
    """Set up telemetry once per process; later calls return the first result (see `otelkit.configure`)."""
    with _state.lock:
        wanted = settings if settings is not None else Settings()
        if _state.telemetry is None:
            _check(objects)
            if (report := _environment.report_asked()) is not None:
                tell_the_doctor(report, wanted, objects, road="zero-code" if zero_code else "configure()")
            _state.telemetry = _set_up(wanted, objects)
            _state.zero_code = zero_code
            return _state.telemetry
        if _state.vacant:
            _state.telemetry, _state.vacant = _join(_state.telemetry, wanted, objects), False
        elif not zero_code:
            _again(_state.telemetry, settings, objects)
        return _state.telemetry


@contextlib.contextmanager
def captured() -> Iterator[Telemetry]:
    """Capture for a test: the first application that calls `configure()` meanwhile joins, and has left afterwards.

    One that configured before, as its module was imported, stays as it is.

    Raises:
        RuntimeError: What this process emits is sent, or switched off.
    """
    with _state.lock:
        telemetry, vacant = _state.telemetry, _state.vacant
        if telemetry is None:
            # Lines on stdout are for an application to ask for, which has not spoken yet.
            telemetry, vacant = _set_up(Settings(logs_exporter="otlp"), Objects(), vacant=True), True
        if not telemetry._captured:  # noqa: SLF001  made by this module
            raise RuntimeError(_why_not(telemetry))
        _state.telemetry, _state.vacant = telemetry, vacant
        described = telemetry._pipeline.resource if telemetry._pipeline is not None else None  # noqa: SLF001  the same
        if vacant:
            _as_before(telemetry, described)
    try:
        yield telemetry
    finally:
        if vacant:
            from otelkit import logs  # noqa: PLC0415  loaded by now

            with _state.lock:
                joined = not _state.vacant
                _state.telemetry, _state.vacant = telemetry, True
                if joined:
                    _as_before(telemetry, described)
                logs.uninstall()


def current() -> Telemetry | None:
    """Return what this process configured, None before that."""
    return _state.telemetry


# -- the first call
# -----------------------------------------------------------------------------------------------------


def _set_up(settings: Settings, objects: Objects, *, vacant: bool = False) -> Telemetry:
    """Set everything up.

    Args:
        settings: Strings and numbers.
        objects: The rest.
        vacant: Nobody asked for it but a test: libraries stay as they are until an application does.
    """
    for problem in settings.problems:
        say(problem)
    if settings.disabled:
        return _disabled(settings, objects)
    if not vacant:
        _environment.opt_into_stable_conventions(settings)
    _environment.make_packages_importable(settings)

    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415  after the environment is right

    # While imported, the SDK reads OTEL_RESOURCE_ATTRIBUTES and prints a wrong pair whole; ours has named it by now.
    with _unheard("opentelemetry.sdk.resources"):
        from otelkit import _providers  # noqa: PLC0415  loads the SDK, only once telemetry is wanted
        from otelkit.pipeline import Pipeline  # noqa: PLC0415  the same
    from otelkit import _exceptions  # noqa: PLC0415  keeps the import of otelkit light
    from otelkit.integrations import _request  # noqa: PLC0415  the same
    from otelkit.metrics import publish_zeros  # noqa: PLC0415  the same

    existing = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
    inherited = _inherited(existing)
    redaction = _redaction(settings, objects.redaction)
    redactors = {signal: Redactor(redaction) for signal in ("traces", "metrics", "logs")}
    described = inherited or _providers.resource(
        settings,
        {**_providers.detected(settings.resource_detectors), **(objects.resource or {})},
        Redactor(redaction),
    )
    make_pipeline = _capturing.make_pipeline or Pipeline
    pipeline = make_pipeline(settings, described if inherited is None else None, redactors)
    spine = (
        _Provision(
            signal="traces",
            existing=existing[0],
            add="add_span_processor",
            parts=lambda: [*objects.span_processors, *pipeline.span_processors()],
            build=lambda parts: _providers.tracer_provider(
                settings, described, objects.sampler, parts, redactors["traces"]
            ),
            publish=trace.set_tracer_provider,
        ),
        _Provision(
            signal="metrics",
            existing=existing[1],
            add="add_metric_reader",
            parts=lambda: [*objects.metric_readers, *pipeline.metric_readers()],
            build=lambda parts: _providers.meter_provider(
                settings, described, parts, objects.views, redactor=redactors["metrics"]
            ),
            publish=metrics.set_meter_provider,
        ),
        _Provision(
            signal="logs",
            existing=existing[2],
            add="add_log_record_processor",
            parts=lambda: [*objects.log_processors, *pipeline.log_processors()],
            build=lambda parts: _providers.logger_provider(settings, described, parts, redactors["logs"]),
            publish=_logs.set_logger_provider,
        ),
    )
    kinds = {provision.signal: provision.kind for provision in spine}
    own = {provision.signal: provider for provision in spine if (provider := provision.provide()) is not None}

    for line in _cannot_apply(kinds, objects):
        say(line)
    roads = _open_roads(settings, kinds["logs"], redactors["logs"])
    telemetry = Telemetry(
        settings=settings,
        resource=dict(described.attributes),
        providers=kinds,
        tracer_provider=trace.get_tracer_provider(),
        meter_provider=metrics.get_meter_provider(),
        logger_provider=_logs.get_logger_provider(),
        _pipeline=pipeline,
        _own=own,
        _readers=list(objects.metric_readers),
        _redactor=redactors["logs"],
        _captured=_capturing.make_pipeline is not None,
    )
    pipeline.publish(telemetry.meter_provider.get_meter("otelkit", version("otelkit")))
    publish_zeros()
    _exceptions.install(telemetry.meter_provider, _request.current_route)
    _propagate(settings)
    if not vacant:
        telemetry.verdicts = tuple(_instrument(telemetry, objects.integrations))
    if telemetry._captured:  # noqa: SLF001  made here: nothing is sent, so there is nothing to tell and to flush
        return telemetry
    _report_verdicts(telemetry)
    _leave_well(telemetry, pipeline)
    _announce(telemetry, roads)
    pipeline.probe()
    return telemetry


def _open_roads(settings: Settings, kind: str, redactor: Redactor) -> Roads:
    """Open the roads of logs, or open them anew by other rules."""
    from opentelemetry import _logs  # noqa: PLC0415  after the environment is right

    from otelkit import logs  # noqa: PLC0415  keeps the import of otelkit light

    provider = _logs.get_logger_provider() if kind not in ("foreign", "disabled") else None
    return logs.install(settings, provider, redactor, user_handlers=redactor.redaction.user_handlers)


def _redaction(settings: Settings, given: Redaction | None) -> Redaction:
    """Join what code and what variables say about secrets."""
    redaction = given or Redaction()
    return replace(redaction, url_query_allow=redaction.url_query_allow | set(settings.url_query_allow))


@contextlib.contextmanager
def _unheard(name: str) -> Iterator[None]:
    """Keep a logger silent for a moment."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@dataclass(frozen=True, kw_only=True)
class _Provision:
    """How one signal gets its provider: built and published where there is none, added to where there is one."""

    signal: str
    existing: object
    add: str
    parts: Callable[[], Sequence[Any]]
    build: Callable[[Sequence[Any]], Any]
    publish: Callable[[Any], None]

    @property
    def kind(self) -> str:
        from otelkit import _providers  # noqa: PLC0415  loaded by now

        return _providers.kind(self.existing)

    def provide(self) -> Any | None:
        """Do it; return the provider where it is ours."""
        if self.kind == "foreign":
            return None
        if self.kind == "adopted":
            for part in self.parts():
                getattr(self.existing, self.add)(part)
            return None
        provider = self.build(self.parts())
        self.publish(provider)
        return provider


def _leave_well(telemetry: Telemetry, pipeline: Pipeline) -> None:
    """Hook into the ends of this process and of its forked children."""
    from otelkit._leaving import Leaving, Ways  # noqa: PLC0415  loads the SDK
    from otelkit.integrations import _celery_pool, servers  # noqa: PLC0415  loaded by now

    def renew() -> None:
        from otelkit.metrics import publish_zeros  # noqa: PLC0415  loaded by now

        pipeline.after_fork_in_child()
        if pipeline.resource is not None:
            telemetry.resource = dict(pipeline.resource.attributes)
        publish_zeros()

    ways = Ways(
        flush=lambda deadline: telemetry.force_flush(deadline.remaining),
        close=lambda deadline: telemetry.shutdown(deadline.remaining),
        end_open_spans=pipeline.end_open_spans,
        renew=renew,
    )
    leaving = Leaving(ways, lambda: pipeline.grace(telemetry.settings.shutdown_timeout))
    leaving.install()
    servers.flush_before_signals(leaving)
    _celery_pool.follow_children(adopt=pipeline.adopt_children, join=pipeline.join_parent, leave=leaving.at_exit)


def _disabled(settings: Settings, objects: Objects) -> Telemetry:
    """`OTEL_SDK_DISABLED`: no provider, no instrumentation, no thread; JSON logs still go to stdout."""
    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415  the API alone

    redactor = Redactor(_redaction(settings, objects.redaction))
    _open_roads(settings, "disabled", redactor)
    return Telemetry(
        settings=settings,
        providers=dict.fromkeys(("traces", "metrics", "logs"), "disabled"),
        tracer_provider=trace.get_tracer_provider(),
        meter_provider=metrics.get_meter_provider(),
        logger_provider=_logs.get_logger_provider(),
        _redactor=redactor,
    )


def _inherited(existing: Iterable[object]) -> Resource | None:
    """Take the resource of an adopted provider, so that all signals of the process name the same service."""
    from otelkit import _providers  # noqa: PLC0415  loaded by now

    for provider in existing:
        # A meter provider keeps its resource to itself.
        if _providers.kind(provider) == "adopted" and hasattr(provider, "resource"):
            resource: Resource = provider.resource
            return resource
    return None


def _cannot_apply(kinds: Mapping[str, str], objects: Objects) -> list[str]:
    """Name the arguments that have no effect because a provider existed before `configure()`."""
    given = {
        "sampler": ("traces", objects.sampler),
        "span_processors": ("traces", objects.span_processors),
        "views": ("metrics", objects.views),
        "metric_readers": ("metrics", objects.metric_readers),
        "log_processors": ("logs", objects.log_processors),
        "resource": ("traces", objects.resource),
    }
    fixed = {"sampler", "views", "resource"}
    lines = []
    for name, (signal, value) in given.items():
        kind = kinds[signal]
        if value and (kind == "foreign" or (kind == "adopted" and name in fixed)):
            lines.append(f"configure({name}=...) has no effect: the {signal} provider existed before ({kind})")
    return lines


def _propagate(settings: Settings) -> None:
    """Set the propagators that code asked for, those of the variable are already there; bound what they read."""
    from otelkit import _propagation  # noqa: PLC0415  keeps the import of otelkit light

    if settings.origin("propagators") == "argument":
        from importlib.metadata import entry_points  # noqa: PLC0415  rarely needed

        from opentelemetry import propagate  # noqa: PLC0415  the same
        from opentelemetry.propagators.composite import CompositePropagator  # noqa: PLC0415  the same

        chosen = [
            entry_point.load()()
            for name in settings.propagators
            for entry_point in list(entry_points(group="opentelemetry_propagator", name=name))[:1]
        ]
        propagate.set_global_textmap(CompositePropagator(chosen))
    _propagation.install(baggage_keys=settings.baggage_keys, public_endpoint=settings.http_public_endpoint)


def _built_in() -> list[Integration]:
    from otelkit.integrations._process import ProcessIntegration  # noqa: PLC0415  keeps the import of otelkit light
    from otelkit.integrations.celery import CeleryIntegration  # noqa: PLC0415  the same
    from otelkit.integrations.fastapi import FastAPIIntegration  # noqa: PLC0415  the same
    from otelkit.integrations.redis import RedisIntegration  # noqa: PLC0415  the same
    from otelkit.integrations.sqlalchemy import SQLAlchemyIntegration  # noqa: PLC0415  the same

    return [
        FastAPIIntegration(),
        SQLAlchemyIntegration(),
        RedisIntegration(),
        CeleryIntegration(),
        ProcessIntegration(),
    ]


def _instrument(telemetry: Telemetry, asked: Mapping[str, Any]) -> list[Verdict]:
    from otelkit.integrations import Verdict, Wiring, _contrib  # noqa: PLC0415  keeps the import of otelkit light

    settings = telemetry.settings
    wiring = Wiring(
        settings=settings, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
    )
    _state.integrations = _state.integrations or _built_in()
    verdicts, replaced = [], dict[str, str]()
    for integration in _state.integrations:
        choice = asked.get(integration.name)
        if choice is False:
            off = "switched off by configure(integrations=...)"
        elif choice is None and ({integration.name, "*"} & settings.disabled_instrumentations):
            off = "switched off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
        else:
            off = ""
        if off:
            verdict = Verdict(integration=integration.name, choice="skipped", reason=off, wanted=False)
        else:
            verdict = integration.install(wiring, None if choice in (None, True) else choice)
        verdicts.append(verdict)
        if verdict.works:
            replaced |= dict.fromkeys(integration.replaces, integration.name)
        replaced.setdefault(integration.name, integration.name)

    def failed(verdict: Verdict) -> None:
        others = (given for given in telemetry.verdicts if given.integration != verdict.integration)
        telemetry.verdicts = (*others, verdict)
        say(f"{verdict.integration} is not instrumented: {verdict.reason}")

    return verdicts + _contrib.load(asked, settings.disabled_instrumentations, replaced, failed)


def _report_verdicts(telemetry: Telemetry) -> None:
    """Export one series per wanted library: 1 works, 0 refused."""
    from opentelemetry.metrics import Observation  # noqa: PLC0415  keeps the import of otelkit light

    from otelkit import _catalog  # noqa: PLC0415  the same
    from otelkit.metrics import create  # noqa: PLC0415  the same

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for verdict in telemetry.verdicts:
            if verdict.works or verdict.wanted:
                labels = {"otelkit.integration": verdict.integration, "otelkit.verdict": verdict.choice}
                yield Observation(int(verdict.works), labels)

    meter = telemetry.meter_provider.get_meter("otelkit", version("otelkit"))
    create(meter, _catalog.metric("otelkit.integration.status"), [observe])


def _announce(telemetry: Telemetry, roads: Any) -> None:
    """Write the one start-up event: who, where to, and what was done about each library."""
    settings = telemetry.settings
    signals = {"traces": settings.traces, "metrics": settings.metrics, "logs": settings.logs}
    logging.getLogger("otelkit").info(
        "otelkit.started",
        extra={
            "service.name": telemetry.resource.get("service.name"),
            "otelkit.version": version("otelkit"),
            "endpoints": {
                name: signal.shown_endpoint if "otlp" in signal.exporters else "off" for name, signal in signals.items()
            },
            "providers": {name: _provided(name, kind) for name, kind in telemetry.providers.items()},
            "verdicts": {verdict.integration: _brief(verdict) for verdict in telemetry.verdicts if _matters(verdict)},
            "stdout": roads.reason,
        },
    )


_OF_OTHERS = {
    "traces": "its sampler stays, and its other processors see spans unredacted",
    "metrics": "its instruments have no bound on series",
    "logs": "its other processors see records unredacted",
}
"""What otelkit does with a provider of its own, and cannot do with one that existed before."""


def _provided(signal: str, kind: str) -> str:
    return f"{kind}: {_OF_OTHERS[signal]}" if kind == "adopted" else kind


def _matters(verdict: Verdict) -> bool:
    return verdict.works or verdict.wanted


def _brief(verdict: Verdict) -> str:
    return verdict.choice if verdict.works else f"{verdict.choice}: {verdict.reason}"


def tell_the_doctor(report: str, settings: Settings, objects: Objects, *, road: str) -> NoReturn:
    """Write what setting up would do, and end this process: `otelkit doctor` started it to ask (`otelkit._telling`).

    Args:
        report: The file to write.
        settings: Strings and numbers.
        objects: The rest.
        road: What led here.
    """
    if not settings.disabled:
        _environment.opt_into_stable_conventions(settings)
        _environment.make_packages_importable(settings)

    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415  after the environment is right

    from otelkit import _providers, _telling  # noqa: PLC0415  loads the SDK

    existing = {
        "traces": trace.get_tracer_provider(),
        "metrics": metrics.get_meter_provider(),
        "logs": _logs.get_logger_provider(),
    }
    telemetry = Telemetry(
        settings=settings,
        tracer_provider=trace.get_tracer_provider(),
        meter_provider=metrics.get_meter_provider(),
        logger_provider=_logs.get_logger_provider(),
    )
    # Into this process, whose calls nobody will make: an integration is asked by letting it work.
    verdicts = () if settings.disabled else tuple(_instrument(telemetry, objects.integrations))
    working = {verdict.integration for verdict in verdicts if verdict.works}
    _telling.tell(
        report,
        settings=settings,
        service=str((objects.resource or {}).get("service.name") or settings.service_name or ""),
        road=road,
        providers={
            name: "disabled" if settings.disabled else _providers.kind(provider) for name, provider in existing.items()
        },
        verdicts=verdicts,
        replaced=frozenset().union(*(each.replaces for each in _state.integrations if each.name in working)),
        redactor=Redactor(_redaction(settings, objects.redaction)),
    )


# -- later calls
# --------------------------------------------------------------------------------------------------------


def _check(objects: Objects) -> None:
    """Raise for integrations that do not exist: a misspelt name would silently leave a library as it is."""
    from otelkit.integrations import _contrib  # noqa: PLC0415  keeps the import of otelkit light

    if not objects.integrations:
        return
    _state.integrations = _state.integrations or _built_in()
    known = {integration.name for integration in _state.integrations} | set(_contrib.available())
    unknown = sorted(set(objects.integrations) - known)
    if unknown:
        names = ", ".join(sorted(known))
        problems = [f"integrations: there is no integration {name!r}; known here: {names}" for name in unknown]
        raise SettingsError(problems)


def _again(telemetry: Telemetry, settings: Settings | None, objects: Objects) -> None:
    """Answer a second call: merge the first explicit one after the launcher, else warn about what differs."""
    merging, _state.zero_code = _state.zero_code, False
    ignored = telemetry.settings.differences(settings) if settings is not None else []
    given = {
        "resource": objects.resource,
        "sampler": objects.sampler,
        "views": objects.views,
    }
    ignored += [name for name, value in given.items() if value]
    late = {
        "span_processors": objects.span_processors,
        "log_processors": objects.log_processors,
        "metric_readers": objects.metric_readers,
        "integrations": objects.integrations,
        "redaction": objects.redaction,
    }
    if merging and telemetry.providers.get("traces") != "disabled":
        _check(objects)
        _merge(telemetry, objects)
    else:
        ignored += [name for name, value in late.items() if value]
    if ignored:
        first = "the launcher" if merging else "an earlier configure()"
        say(f"configure(): {first} has configured this process already; ignored here: {', '.join(ignored)}")


def _join(base: Telemetry, settings: Settings, objects: Objects) -> Telemetry:
    """Configure anew what a test captures, as an application asks for it.

    Sampler, views and limits are the providers', of which a process has one set: they are as they were.
    """
    from otelkit import _providers  # noqa: PLC0415  loaded by now

    _check(objects)
    for problem in settings.problems:
        say(problem)
    if settings.disabled:
        return _disabled(settings, objects)
    _environment.opt_into_stable_conventions(settings)
    telemetry = replace(base, settings=settings, _closed=False, _readers=[])
    redaction = _redaction(settings, objects.redaction)
    attributes = {**_providers.detected(settings.resource_detectors), **(objects.resource or {})}
    _describe(telemetry, _providers.resource(settings, attributes, Redactor(redaction)))
    _redact(telemetry, redaction)
    _propagate(settings)
    for name in ("sampler", "views"):
        if getattr(objects, name):
            say(f"configure({name}=...) has no effect: a test captures already; call configure() in conftest.py")
    _merge(telemetry, replace(objects, redaction=None))
    if not objects.integrations:
        telemetry.verdicts = tuple(_instrument(telemetry, {}))
    return telemetry


def _describe(telemetry: Telemetry, described: Resource | None) -> None:
    """Say anew what telemetry belongs to, unless the providers are another's and keep their resource."""
    pipeline = telemetry._pipeline  # noqa: SLF001  made by this module
    if pipeline is None or pipeline.resource is None or described is None:
        return
    pipeline.describe(described)
    telemetry.resource = dict(described.attributes)
    for signal in {"traces", "logs"} & telemetry._own.keys():  # noqa: SLF001  the same
        vars(telemetry._own[signal])["_resource"] = described  # noqa: SLF001  whoever asks a provider hears the same


def _as_before(base: Telemetry, described: Resource | None) -> None:
    """Describe, redact, log and propagate as before an application joined."""
    _describe(base, described)
    _propagate(base.settings)
    _redact(base, _redaction(base.settings, None))


def _why_not(telemetry: Telemetry) -> str:
    if telemetry.providers.get("traces") == "disabled":
        return f"nothing can be captured: {telemetry.settings.origin('disabled')} switches telemetry off"
    return (
        "nothing can be captured: configure(), or the launcher, set this process up before, to send what it emits. "
        "Call otelkit.testing.capture_only() before that, as the pytest plugin does when it starts"
    )


def _redact(telemetry: Telemetry, redaction: Redaction) -> None:
    """Redact by other rules, wherever that is done."""
    assert telemetry._redactor is not None  # noqa: S101, SLF001  made and kept by this module
    if telemetry._pipeline is not None:  # noqa: SLF001  the same
        telemetry._pipeline.redact(redaction)  # noqa: SLF001  the same
    if "metrics" in telemetry._own:  # noqa: SLF001  the same
        telemetry._own["metrics"].forget_labels()  # noqa: SLF001  the same
    _open_roads(telemetry.settings, telemetry.providers["logs"], telemetry._redactor)  # noqa: SLF001  the same


def _merge(telemetry: Telemetry, objects: Objects) -> None:
    """Apply what still can be after the launcher: processors, readers, integration options."""
    late: tuple[tuple[str, Any, str, Sequence[Any]], ...] = (
        ("traces", telemetry.tracer_provider, "add_span_processor", objects.span_processors),
        ("metrics", telemetry.meter_provider, "add_metric_reader", objects.metric_readers),
        ("logs", telemetry.logger_provider, "add_log_record_processor", objects.log_processors),
    )
    telemetry._readers.extend(objects.metric_readers)  # noqa: SLF001  made and kept by this module
    for signal, provider, add, parts in late:
        for part in parts if telemetry.providers[signal] != "foreign" else ():
            getattr(provider, add)(part)
    for line in _cannot_apply(telemetry.providers, objects):
        say(line)
    if objects.redaction is not None:
        _redact(telemetry, _redaction(telemetry.settings, objects.redaction))
    if objects.integrations:
        for integration in _state.integrations:
            if objects.integrations.get(integration.name) is False:
                integration.uninstall()
        telemetry.verdicts = tuple(_instrument(telemetry, objects.integrations))
