"""The only place for FastAPI: one server span per request, whichever way it is made, and what no other way gives.

From 0.142 on FastAPI has telemetry of its own ("native"): it makes the server span, the duration and the validation
events, and this module only tells it what to leave out. Below that the span is ours, equal in names, attributes and
moments; contrib cannot be made equal by its hooks (docs/decisions/0007). Either way it hangs on `FastAPI.__call__`,
the class's method, so that neither the order of imports nor the moment an application is created matters (E-07).
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry import _logs, metrics, trace

from otelkit import _serving
from otelkit.errors import SettingsError
from otelkit.integrations import Verdict, _request, _routes, _silent, servers
from otelkit.integrations._exchange import Exchange, was_recorded
from otelkit.integrations.asgi import Exclusion, ForeignSpan, Instruments, Recorder, concerns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import Span

    from otelkit.integrations import Wiring
    from otelkit.integrations._exchange import ASGIApp, Receive, Scope, Send, SpanSource
    from otelkit.settings import Settings

__all__ = ["FastAPIIntegration", "FastAPIOptions"]

FLOOR: Final = (0, 110)
NATIVE: Final = (0, 142)

_validation_log = logging.getLogger("fastapi.validation")

_NATIVE_KEY = "fastapi.telemetry"
"""Where FastAPI's own telemetry keeps what it knows of a request; None where it shall leave a request alone."""

_VALIDATION = "fastapi.validation.failed"
_EXCEPTIONS = frozenset({"http.server.request.exception", "fastapi.websocket.exception"})


@dataclass(frozen=True, kw_only=True)
class FastAPIOptions:
    """What can be chosen for FastAPI.

    Args:
        exclude: Regular expressions for paths, for example "/probe" or "/internal/.*"; one must match the whole path,
            root path taken off. An excluded request leaves no spans, nor does anything it calls, no metrics, no access
            event and no exception event; its log lines still have a request id. `OTEL_PYTHON_FASTAPI_EXCLUDED_URLS` and
            `OTEL_PYTHON_EXCLUDED_URLS` exclude further ones, by a search in `scheme://host/path`; so does
            `FastAPI(telemetry={"exclude": ...})`.
        operation_spans: FastAPI's own spans for dependencies, endpoint, serialization and background tasks, in every
            application that does not switch them off itself; needs FastAPI's own telemetry. An application that was
            given a tracer provider of its own keeps its own choice.
        access_event: One event per request on the logger "otelkit.access", in place of uvicorn's access line. False
            leaves uvicorn's line as it is.

    Raises:
        SettingsError: `exclude` is not a list of regular expressions.
    """

    exclude: Sequence[str] = ()
    operation_spans: bool = False
    access_event: bool = True

    def __post_init__(self) -> None:
        """Refuse what could only fail later, at a request."""
        if isinstance(self.exclude, str):
            raise SettingsError([f"FastAPIOptions.exclude: a list of regular expressions, not {self.exclude!r}"])
        problems = []
        for pattern in self.exclude:
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                problems.append(f"FastAPIOptions.exclude: {pattern!r} is no regular expression: {error}")
        if problems:
            raise SettingsError(problems)


class FastAPIIntegration:
    """FastAPI, and the server it runs in; see `otelkit.integrations.Integration`."""

    name = "fastapi"
    replaces = frozenset({"fastapi"})

    def install(self, wiring: Wiring, options: Any | None) -> Verdict:
        """Instrument every FastAPI application of the process, existing and future.

        Raises:
            SettingsError: `options` is not a `FastAPIOptions`.
        """
        if options is not None and not isinstance(options, FastAPIOptions):
            problem = f"integrations['fastapi']: a FastAPIOptions, True or False, not {type(options).__name__}"
            raise SettingsError([problem])
        try:
            installed = version("fastapi")
        except PackageNotFoundError:
            return Verdict(integration="fastapi", choice="skipped", reason="not installed", wanted=False)
        if _parsed(installed) < FLOOR:
            reason = f"FastAPI {installed} is older than 0.110"
            return Verdict(integration="fastapi", choice="skipped", reason=reason, version=installed)
        _install(wiring, options)
        return _verdict(installed, wiring)

    def uninstall(self) -> None:
        """Leave FastAPI and its server alone from now on."""
        global _active  # noqa: PLW0603  one hook on one class, one state
        _active = None
        servers.uninstall()


def _parsed(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _verdict(installed: str, wiring: Wiring) -> Verdict:
    if _parsed(installed) < NATIVE:
        reason = f"FastAPI {installed} has no telemetry of its own; same names as where it has"
        return Verdict(integration="fastapi", choice="ours", reason=reason, version=installed)
    reason = f"FastAPI {installed} has telemetry of its own"
    if _has_own_exporters(wiring.settings):
        reason += "; FASTAPI_OTEL_AUTO_CONFIGURE is not honoured, its exporters would send everything twice"
    return Verdict(integration="fastapi", choice="native", reason=reason, version=installed)


def _has_own_exporters(settings: Settings) -> bool:
    return any("FASTAPI_OTEL_AUTO_CONFIGURE" in problem for problem in settings.problems)


# -- the state, and the hook that reads it -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Active:
    """What is in force until `uninstall`, or until the next `install` changes the options.

    Args:
        wiring: Providers and settings.
        options: What the user chose.
        instruments: Made from the providers, once.
        recorder: Instruments, and the rules that follow from settings and options.
        is_global: Whether native finds the providers by itself.
        declines_exporters: Whether FASTAPI_OTEL_AUTO_CONFIGURE is set: native would send everything a second time.
    """

    wiring: Wiring
    options: FastAPIOptions
    instruments: Instruments
    recorder: Recorder
    is_global: bool
    declines_exporters: bool


_active: _Active | None = None
_hooked: list[str] = []


def _install(wiring: Wiring, options: FastAPIOptions | None) -> None:
    global _active  # noqa: PLW0603  one hook on one class, one state
    before = _active
    chosen = options or (before.options if before is not None else FastAPIOptions())
    same = before is not None and before.wiring == wiring
    instruments = before.instruments if before and same else Instruments(wiring.tracer_provider, wiring.meter_provider)
    recorder = Recorder(
        instruments,
        exclude=Exclusion(paths=chosen.exclude, urls=wiring.settings.fastapi_excluded_urls),
        known_methods=frozenset(wiring.settings.known_http_methods),
        access_event=chosen.access_event,
        route=_native_route,
        public_endpoint=wiring.settings.http_public_endpoint,
    )
    _active = _Active(
        wiring=wiring,
        options=chosen,
        instruments=instruments,
        recorder=recorder,
        is_global=wiring.tracer_provider is trace.get_tracer_provider()
        and wiring.meter_provider is metrics.get_meter_provider(),
        declines_exporters=_has_own_exporters(wiring.settings),
    )
    servers.install()
    _routes.install()
    if not _hooked:
        _hooked.append("fastapi")
        wrapt.register_post_import_hook(_hook, "fastapi")


def _hook(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "FastAPI.__call__", _called)


def _called(wrapped: ASGIApp, app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stand in for `FastAPI.__call__`; hands on a coroutine, so that other calls have no frame of ours."""
    return _serve(wrapped, app, *args, **kwargs)


def _serve(wrapped: ASGIApp, app: Any, scope: Scope, receive: Receive, send: Send) -> Any:
    active = _active
    if active is None or scope["type"] not in ("http", "websocket", "lifespan"):
        _unwire(app)
        return wrapped(scope, receive, send)
    _serving.mark()
    config = _native_config(app)
    if config is not None:
        with suppress(Exception):  # an option of a shape that we do not know stays as it is
            _wire(config, active)
    if not concerns(scope) or _silent.answered_within(app, scope):
        if config is not None and scope["type"] != "lifespan":
            scope.setdefault(_NATIVE_KEY, None)  # native takes the request for its own otherwise: a second server span
        return wrapped(scope, receive, send)
    source = _span_source(app)
    wants_metrics = config is None or bool(config.get("metrics", True))
    application = _observed(app, wrapped) if source is None else wrapped
    return active.recorder.serve(application, scope, receive, send, source=source, metrics=wants_metrics)


def _span_source(app: Any) -> SpanSource | None:
    """Tell what makes an application's server spans; None leaves it to us."""
    if getattr(app, "_is_instrumented_by_opentelemetry", False) is True:
        return _FOREIGN  # contrib, applied by hand: native stands back for it, and so do we
    if _native_config(app) is not None:
        return _NATIVE
    return _FOREIGN if hasattr(app, "_native_telemetry") else None  # native in a shape that we do not know


# -- FastAPI's own telemetry -------------------------------------------------------------------------------------------


def _native_config(app: Any) -> dict[str, Any] | None:
    """Return the options that an application's own telemetry reads at every request; None below FastAPI 0.142."""
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return config if isinstance(config, dict) else None


def _native_route(scope: Scope) -> str | None:
    """Return the route that native knows: also that of a redirect to the path with or without its last slash."""
    route = getattr(scope.get(_NATIVE_KEY), "route", None)
    return route if isinstance(route, str) else None


class _NativeSpan:
    """FastAPI's own server span. It keeps itself in the scope, and reads `route` from there when the request ends."""

    within = True

    def span(self, scope: Scope) -> Span | None:
        return getattr(scope.get(_NATIVE_KEY), "span", None)

    def routed(self, scope: Scope, template: str) -> None:
        """Complete the template: native knows neither the mounts around FastAPI nor the routes of what it mounts."""
        telemetry: Any = scope.get(_NATIVE_KEY)
        if telemetry is None or telemetry.route == template:
            return
        telemetry.route = template
        if telemetry.span is not None:
            telemetry.span.set_attribute("http.route", template)
            telemetry.span.update_name(f"{telemetry.span_method} {template}")


_NATIVE = _NativeSpan()
_FOREIGN = ForeignSpan(within=True)


def _wire(config: dict[str, Any], active: _Active) -> None:
    """Tell an application's own telemetry what to leave out: once per application and set of options."""
    events = config.get("logger_provider")
    if isinstance(events, _Events):
        if events.active is active:
            return
        given = events.given
    else:
        given = dict(config)
    config.update(given)
    config["logger_provider"] = _Events(given, active)
    config["exclude"] = _exclude(given.get("exclude"))
    if active.declines_exporters:
        config["auto_configure"] = False
    if given.get("tracer_provider") is None:  # who brings a provider has chosen what to send there
        config["operation_spans"] = bool(given.get("operation_spans", True)) and active.options.operation_spans
    if not active.is_global:
        config["tracer_provider"] = given.get("tracer_provider") or active.wiring.tracer_provider
        config["meter_provider"] = given.get("meter_provider") or active.wiring.meter_provider


def _unwire(app: Any) -> None:
    """Give an application back what `_wire` changed."""
    config = _native_config(app)
    events = config.get("logger_provider") if config is not None else None
    if config is not None and isinstance(events, _Events):
        config.update(events.given)


def _exclude(given: Callable[[Scope], object] | None) -> Callable[[Scope], bool]:
    """Join the user's own exclusion and ours into the one function that native takes."""

    def excluded(scope: Scope) -> bool:
        exchange: Exchange | None = scope.get(_routes.EXCHANGE)
        if exchange is not None and exchange.excluded:
            return True
        if given is None or not given(scope):
            return False
        return exchange is None or exchange.exclude()

    return excluded


class _Events(_logs.LoggerProvider):
    """Takes the events of FastAPI's own telemetry on otelkit's road, so that each is on each log road once.

    Args:
        given: The application's options as they were.
        active: What was in force when they were changed.
    """

    def __init__(self, given: Mapping[str, Any], active: _Active) -> None:
        self.given = given
        self.active = active
        self._logger: _EventLogger | None = None

    def get_logger(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> _logs.Logger:
        """Return the one logger of FastAPI's telemetry."""
        if self._logger is None:
            own: _logs.LoggerProvider | None = self.given.get("logger_provider")
            self._logger = _EventLogger(own, name, version, schema_url, attributes)
        return self._logger


class _EventLogger(_logs.Logger):
    """Sends exceptions and validation failures our way, anything else where it was going.

    Args:
        own: The provider that the user gave the application; it gets every event beside our road.
        scope: Name, version, schema URL and attributes of the instrumentation scope.
    """

    def __init__(self, own: _logs.LoggerProvider | None, *scope: Any) -> None:
        super().__init__(*scope)
        self._own = own
        self._scope = scope

    def emit(self, record: Any = None, **fields: Any) -> None:
        """Emit one event."""
        everywhere = _logs.get_logger_provider()
        if _take(fields) and self._own in (None, everywhere):
            return
        logger = (self._own or everywhere).get_logger(*self._scope)
        if record is None:
            logger.emit(**fields)
        else:
            logger.emit(record)

    def enabled(self, **_: Any) -> bool:
        """Tell that events are wanted."""
        return True


def _take(fields: Mapping[str, Any]) -> bool:
    """Take an event of FastAPI's telemetry on our road; False if it is none that we know."""
    name, exchange = fields.get("event_name"), _request.current()
    if name == _VALIDATION:
        _validation_log.warning(_VALIDATION, extra=dict(fields.get("attributes") or {}))
        return True
    if name in _EXCEPTIONS and isinstance(exchange, Exchange):
        exception = fields.get("exception")
        if isinstance(exception, BaseException):
            exchange.failed(exception)
        return was_recorded(exception)
    return False


# -- below FastAPI's own telemetry -------------------------------------------------------------------------------------


class _Observer:
    """Sees an exception before an error handler answers it, so that the span that ends with the answer knows it.

    FastAPI's own telemetry has a middleware at the same place.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as exception:
            exchange: Exchange | None = scope.get(_routes.EXCHANGE)
            if exchange is not None:
                exchange.failed(exception)
            raise


def _observed(app: Any, wrapped: ASGIApp) -> ASGIApp:
    """Call an application with an observer in its middleware stack, which is built at the first request."""

    def application(scope: Scope, receive: Receive, send: Send) -> Any:
        if app.middleware_stack is None:
            app.middleware_stack = app.build_middleware_stack()
        _observe(app.middleware_stack)
        return wrapped(scope, receive, send)

    return application


def _observe(stack: Any) -> None:
    """Put an observer right inside the layer that answers unhandled exceptions."""
    while stack is not None:
        if type(stack).__name__ == "ServerErrorMiddleware":
            if not isinstance(stack.app, _Observer):
                stack.app = _Observer(stack.app)
            return
        stack = getattr(stack, "app", None)
