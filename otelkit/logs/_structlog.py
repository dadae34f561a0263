"""The only place that listens to structlog, whoever configured it and whenever.

A chain of processors is listened to while it runs: `BoundLoggerBase._processors` is a property, and what it returns
runs with our tap before its renderer, and is the chain in every other respect. The application's own list stays
untouched, so loggers that were bound or cached before, chains given to `wrap_logger`, tuples, and
`structlog.configure()` after ours are listened to alike, and `structlog.get_config()` and `capture_logs()` see what
they always saw (docs/decisions/0010).

An event that goes on into stdlib logging is delivered there, when its record has passed that side's levels and filters.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import _logs
from structlog._config import _BUILTIN_DEFAULT_PROCESSORS as _STOCK  # the chain nobody configured; no public name

from otelkit.logs import _event, _printed, _roads, _stdlib
from otelkit.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

    from otelkit.logs._event import Event, ExcInfo
    from otelkit.logs._roads import Active

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "err": logging.ERROR,
    "failure": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_HOOKED = "_processors"
_STOCK_FILE = structlog.PrintLogger()._file  # noqa: SLF001  tells a logger that prints to stdout from one with a file
_handed_on = threading.local()
_listening: list[Active] = []
_unheard = _roads.Active(
    stdout=_roads.StdoutRoad("unknown_service"), otlp=None, level=logging.INFO, redactor=Redactor()
)


def install(active: Active) -> None:
    """Start listening to every chain, or go on with other roads."""
    _listening[:] = [active]
    setattr(structlog.BoundLoggerBase, _HOOKED, property(_shown, _given))


def uninstall() -> None:
    """Stop listening; bound loggers have kept their chains."""
    _listening.clear()
    if _HOOKED in vars(structlog.BoundLoggerBase):
        delattr(structlog.BoundLoggerBase, _HOOKED)


def _shown(self: structlog.BoundLoggerBase) -> Any:
    try:
        chain = vars(self)[_HOOKED]
    except KeyError:
        raise AttributeError(_HOOKED) from None
    return _View(chain, vars(self).get("_logger"))


def _given(self: structlog.BoundLoggerBase, chain: Any) -> None:
    vars(self)[_HOOKED] = chain.chain if isinstance(chain, _View) else chain


class _View:
    """A chain of processors that runs with a tap in it, and in every other respect is the chain.

    Args:
        chain: The chain as configured.
        logger: The wrapped logger that its result goes to.
    """

    __slots__ = ("_logger", "chain")

    def __init__(self, chain: Any, logger: WrappedLogger) -> None:
        self.chain = chain
        self._logger = logger

    def __iter__(self) -> Iterator[Processor]:
        steps = list(self.chain)
        if steps == _STOCK and _prints_to_stdout(self._logger):
            return iter((_instead_of_print,))
        tap = _Tap(exported=any(map(_exports, steps)))
        return iter((tap.start, *steps[:-1], tap.before_renderer, *steps[-1:], tap.after_renderer))

    def __eq__(self, other: object) -> bool:
        return bool(self.chain == (other.chain if isinstance(other, _View) else other))

    __hash__ = None  # type: ignore[assignment]  # like the list it stands for

    def __repr__(self) -> str:
        return repr(self.chain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def __len__(self) -> int:
        return len(self.chain)

    def __getitem__(self, index: Any) -> Any:
        return self.chain[index]


class _Tap:
    """Listens to one event on its way through a chain; changes nothing, unless that is asked for, and never raises.

    Args:
        exported: Whether the chain exports its events by itself.
    """

    def __init__(self, *, exported: bool) -> None:
        self._exported = exported
        self._found: ExcInfo | None = None
        self._event_dict: Mapping[str, Any] | None = None

    def start(self, _: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        """Catch the exception while it is one: processors render it, and some show local variables (E-28)."""
        with contextlib.suppress(Exception):
            self._found = _event.exc_info(event_dict.get("exc_info", method == "exception"))
        return event_dict

    def before_renderer(self, logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        """Take the fields while they are fields; deliver them, unless stdlib logging will tell when they are due."""
        try:
            if isinstance(logger, logging.Logger | logging.LoggerAdapter):
                if logger.isEnabledFor(_LEVELS.get(method, logging.CRITICAL)):
                    self._event_dict = dict(event_dict)
            else:
                self._event_dict = dict(event_dict)
                if not self._exported:
                    _export(logger, method, self._event_dict, self._found)
                    self._exported = True
                self._found = None  # lest the next event is waited for with all the frames of a stack
        except Exception:  # noqa: BLE001  the application's chain goes on
            _roads.note("log.listen.failed")
        return _shown_to_others(event_dict)

    def after_renderer(self, _: WrappedLogger, __: str, rendered: Any) -> Any:
        """Remember the message that stands for this event: a record that carries it is the same event, not another."""
        with contextlib.suppress(Exception):
            if self._event_dict is None:
                return rendered
            message = rendered
            if isinstance(rendered, tuple):
                message = rendered[0][0] if rendered[0] else rendered[1].get("msg")
            elif isinstance(rendered, dict):
                message = rendered.get("msg")
            _handed_on.latest = (message, self)
        return rendered

    def read(self, record: logging.LogRecord) -> tuple[Event, bool]:
        """Make the event of the record that this one became, and tell whether it was exported."""
        found = self._found or _event.exc_info(record.exc_info)
        fields = self._event_dict or {}
        event = _event.from_event_dict(record.name, record.levelno, fields, found, _event.created_ns(record))
        event.add_stack(record.stack_info)
        return event, self._exported


def read(record: logging.LogRecord) -> tuple[Event, bool]:
    """Make the event of a record, with structlog's fields where it was its event; tell whether it was exported."""
    message, tap = getattr(_handed_on, "latest", (None, None))
    if tap is not None and record.msg is message:
        _handed_on.latest = (None, None)
        known: tuple[Event, bool] = tap.read(record)
        return known
    return _event.from_record(record), False


def _export(logger: WrappedLogger, method: str, event_dict: Mapping[str, Any], found: ExcInfo | None) -> None:
    """Deliver an event whose own chain writes it wherever it should be seen."""
    active = _listening[0] if _listening else _unheard
    event = _event.from_event_dict(_name(logger), _LEVELS.get(method, logging.INFO), event_dict, found)
    active.deliver(event, stdout=False, otlp=True)


def _shown_to_others(event_dict: EventDict) -> EventDict:
    """Return what the application's renderer gets: the very same, unless it shall be redacted for all handlers."""
    active = _listening[0] if _listening else _unheard
    if active.redactor is None or not active.user_handlers:
        return event_dict
    try:
        return _printed.redacted_event_dict(event_dict, active.redactor)
    except Exception:  # noqa: BLE001  what cannot be redacted is not told
        _roads.note("log.redaction.failed")
        return {"event": "log.redaction.failed"}


def _name(logger: WrappedLogger) -> str:
    """Name a logger that may have no name by the module that logs."""
    name = getattr(logger, "name", None)
    return name if isinstance(name, str) else str(_event.caller().f_globals.get("__name__", "structlog"))


def _exports(processor: Any) -> bool:
    return isinstance(processor, OtlpProcessor) or type(processor).__module__.startswith("opentelemetry.")


def _prints_to_stdout(logger: WrappedLogger) -> bool:
    printed = logger._file if isinstance(logger, structlog.PrintLogger) else None  # noqa: SLF001  as above
    return printed is not None and printed in (_STOCK_FILE, sys.stdout, sys.__stdout__)


def _instead_of_print(_: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """Stand in for a chain that nobody configured: the event goes our way, instead of to structlog's printer."""
    fields = dict(event_dict)
    name = fields.pop("event", None)
    if method == "exception":
        fields.setdefault("exc_info", True)
    say(logging.getLogger(_name(None)), _LEVELS.get(method, logging.INFO), name, (), fields)
    raise structlog.DropEvent


class OtlpProcessor:
    """A structlog processor that emits each event as an OTLP record; put it right before the renderer.

    For a chain that is otherwise left alone: `otelkit.configure()` finds chains by itself, and exports nothing twice
    where one has this processor. The event dictionary is passed on unchanged; nothing is raised.

    Args:
        logger_provider: Where to emit; None for the roads that `otelkit.configure()` opened, or the global provider.
    """

    def __init__(self, logger_provider: _logs.LoggerProvider | None = None) -> None:
        self._given = logger_provider
        self._road: _roads.OtlpRoad | None = None

    def __call__(self, logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        """Emit the event and pass it on."""
        try:
            active = _listening[0] if _listening else None
            if self._given is not None or active is None:
                self._road = self._road or _roads.OtlpRoad(self._given or _logs.get_logger_provider())
                redactor = None if active is None else active.redactor
                active = _roads.Active(stdout=None, otlp=self._road, level=logging.NOTSET, redactor=redactor)
            found = _event.exc_info(event_dict.get("exc_info", method == "exception"))
            event = _event.from_event_dict(_name(logger), _LEVELS.get(method, logging.INFO), event_dict, found)
            active.deliver(event, stdout=False, otlp=True)
        except Exception:  # noqa: BLE001  the application's chain goes on
            _roads.note("log.export.failed")
        return event_dict


# -- our own loggers --------------------------------------------------------------------------------------------------


def say(logger: logging.Logger, level: int, name: object, args: tuple[Any, ...], fields: Mapping[str, Any]) -> None:
    """Deliver one event of our own loggers. Never raises."""
    active = _listening[0] if _listening else _unheard
    try:
        if not _stdlib.is_enabled(logger, level, active):
            return
        event = _event.from_call(logger.name, level, name, args, fields)
        audience = _stdlib.Audience.of(logger)
        active.deliver(event, stdout=audience.needs_line(active), otlp=not audience.bridge)
        if _stdlib.needs_record(audience):
            _stdlib.hand_over(logger, event, _event.exc_info(fields.get("exc_info")))
    except Exception:  # noqa: BLE001  the application must not see that its event could not be told
        _roads.note("log.failed")


def _is_configured() -> bool:
    """Tell whether the application has a chain of its own."""
    return structlog.is_configured() and structlog.get_config()["processors"] != _STOCK


def _method(method: str, level: int | None = None) -> Callable[..., None]:
    exception = method == "exception"

    def log(self: BoundLogger, event: object = None, /, *args: Any, **fields: Any) -> None:
        if exception:
            fields.setdefault("exc_info", True)
        self._say(method, level or _LEVELS[method], event, args, fields)

    log.__name__ = method
    log.__doc__ = f"Log an event at level {logging.getLevelName(level or _LEVELS[method])}."
    return log


def _async_method(method: str) -> Callable[..., Any]:
    async def log(self: BoundLogger, event: object = None, /, *args: Any, **fields: Any) -> None:
        getattr(self, method)(event, *args, **fields)

    log.__name__ = f"a{method}"
    log.__doc__ = f"Do as `{method}`; it takes microseconds, so it runs at once and in place."
    return log


class BoundLogger(structlog.BoundLoggerBase):
    """A structlog logger on otelkit's roads: no chain to run, no record to make unless somebody waits for one.

    It has the methods of structlog's filtering loggers. Where the application has configured structlog, events go
    through that chain, so that all of its output looks alike.
    """

    _logger: logging.Logger

    debug = _method("debug")
    info = msg = _method("info")
    warning = warn = _method("warning")
    error = _method("error")
    critical = fatal = _method("critical")
    exception = _method("exception")
    adebug = _async_method("debug")
    ainfo = amsg = _async_method("info")
    awarning = awarn = _async_method("warning")
    aerror = _async_method("error")
    acritical = afatal = _async_method("critical")
    aexception = _async_method("exception")

    def log(self, level: int, event: object = None, /, *args: Any, **fields: Any) -> None:
        """Log an event at a level of `logging`."""
        self._say(logging.getLevelName(level).lower(), level, event, args, fields)

    async def alog(self, level: int, event: object = None, /, *args: Any, **fields: Any) -> None:
        """Do as `log`; it takes microseconds, so it runs at once and in place."""
        self.log(level, event, *args, **fields)

    def is_enabled_for(self, level: int) -> bool:
        """Tell whether an event of this level is told."""
        return _stdlib.is_enabled(self._logger, level, _listening[0] if _listening else _unheard)

    def get_effective_level(self) -> int:
        """Return the least severe level that is told."""
        levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
        return next(filter(self.is_enabled_for, levels), logging.CRITICAL + 1)

    def _say(self, method: str, level: int, event: object, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        if _is_configured() and method in _LEVELS and self._pass_on(method, event, args, fields):
            return
        say(self._logger, level, event, args, {**self._context, **fields} if self._context else fields)

    def _pass_on(self, method: str, event: object, args: tuple[Any, ...], fields: Mapping[str, Any]) -> bool:
        """Log through the application's own configuration of structlog; False if it takes no such logger."""
        try:
            bound = structlog.get_logger(self._logger.name).bind(**self._context)
            bound = getattr(bound, "sync_bl", bound)  # AsyncBoundLogger's methods would have to be awaited
            body, error = _event.interpolated(event, args)
        except Exception:  # noqa: BLE001  a logger factory that wants other arguments, for example
            return False
        extra = {} if error is None else {"otelkit.log.malformed": _event.told(error)}
        try:
            getattr(bound, method)(body, **{**fields, **extra})
        except Exception:  # noqa: BLE001  a processor failed; our own loggers do not raise
            _roads.note("log.failed")
        return True


def get_logger(name: str | None, initial_values: Mapping[str, Any]) -> BoundLogger:
    """Make a logger; named by the module that asks, if it has no name."""
    named = name if name is not None else str(_event.caller().f_globals.get("__name__", "root"))
    return BoundLogger(logging.getLogger(named), (), dict(initial_values))
