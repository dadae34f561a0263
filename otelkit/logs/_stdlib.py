"""The only place that listens to stdlib logging, and that decides who writes a record to the terminal.

The listener is no handler but stands where `logging.Logger` filters: the last step before the handlers, which every
record of every logger passes once, whatever handlers it has and wherever it propagates to. So there is nothing that
`dictConfig`, `fileConfig`, `basicConfig(force=True)`, a server's own configuration or Celery's (E-21) could remove,
`basicConfig()` still finds an empty root logger, and no frame of ours is on the stack while the application's handlers
run (E-59).
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otelkit.logs import _event, _printed, _roads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelkit.logs._event import Event
    from otelkit.logs._roads import Active
    from otelkit.redact import Redactor

_filter = logging.Logger.filter  # inherited from Filterer: the class has none of its own
_OWN = ("otelkit", "otelkit.access", "otelkit.exceptions")
_DEVICES = {
    "/dev/stdout": "stdout",
    "/dev/fd/1": "stdout",
    "/proc/self/fd/1": "stdout",
    "/dev/stderr": "stderr",
    "/dev/fd/2": "stderr",
    "/proc/self/fd/2": "stderr",
}
"""What containers give to `FileHandler` to have a log on their output."""
_NESTING = 3
_CELERYS = ("celery.utils.log", "celery.app.log")
"""Where the formatters are that Celery gives to its own handlers; one that a person configured has another."""


@dataclass
class _Listener:
    """What this process listens with.

    Args:
        active: The open roads; None while not installed.
        read: Reads a record that another road may know more about.
        lowered: The level we gave the root logger; told from the application's own by identity.
        owned: Whether the `otelkit` logger has its level from us.
        last_resort: What we put in the place of `logging.lastResort`.
    """

    active: Active | None = None
    read: Callable[[logging.LogRecord], tuple[Event, bool]] | None = None
    lowered: int | None = None
    owned: bool = False
    last_resort: _LastResort | None = None


class _LastResort(logging.Handler):
    """Stands in for `logging.lastResort`, which prints warnings that have no handler: they have their line already.

    Args:
        before: What it stands in for; still prints what is not ours to tell.
    """

    def __init__(self, before: logging.Handler | None) -> None:
        super().__init__(logging.WARNING)
        self.before = before

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record that does not go our way."""
        if self.before is not None and _is_opentelemetrys(record.name):
            redactor = _redactor()
            self.before.handle(record if redactor is None else _printed.redacted(record, redactor))


class _Replaced(logging.Filter):
    """Keeps a server's own handler from printing a record that has our line."""

    def __init__(self) -> None:
        super().__init__()
        self._current = threading.local()

    def mark(self, record: logging.LogRecord) -> None:
        """Say that a record, which is about to reach its handlers in this thread, has our line."""
        self._current.record = weakref.ref(record)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every other record pass."""
        current = getattr(self._current, "record", None)
        return current is None or current() is not record


_listener = _Listener()
_replaced = _Replaced()


class _Lowered(int):
    """A level like any other, that can be recognised as ours."""


class _OwnLogger(logging.Logger):
    """A logger that `disable_existing_loggers`, on by default in `dictConfig`, does not silence."""

    disabled = property(lambda _: False, lambda _, __: None)


def install(active: Active, read: Callable[[logging.LogRecord], tuple[Event, bool]]) -> None:
    """Start listening, or go on with other roads.

    Args:
        active: The open roads.
        read: Makes the event of a record, and tells whether it was exported already.
    """
    _listener.active, _listener.read = active, read
    for name in _OWN:
        logging.getLogger(name).__class__ = _OwnLogger
    _set_levels(active.level)
    if _listener.last_resort is None:
        _listener.last_resort = _LastResort(logging.lastResort)
    logging.lastResort = _listener.last_resort
    logging.Logger.filter = _listen  # type: ignore[method-assign,assignment]  # the one hook


def uninstall() -> None:
    """Stop listening, and give levels back."""
    _listener.active = _listener.read = None
    root, own = logging.getLogger(), logging.getLogger("otelkit")
    if root.level is _listener.lowered:
        root.setLevel(logging.WARNING)
    if _listener.owned:
        own.setLevel(logging.NOTSET)
    if _listener.last_resort is not None and logging.lastResort is _listener.last_resort:
        logging.lastResort = _listener.last_resort.before
    _listener.lowered, _listener.owned, _listener.last_resort = None, False, None
    if vars(logging.Logger).get("filter") is _listen:
        del logging.Logger.filter


def _set_levels(level: int) -> None:
    """Open the levels that nobody set.

    The root logger gets ours while it has no handler and Python's default level, INFO at least: DEBUG would turn on
    what every third party has to say. Handlers that come later still see what they would have seen (`_is_extra`).
    """
    root, own = logging.getLogger(), logging.getLogger("otelkit")
    if root.level is _listener.lowered or (root.level == logging.WARNING and not root.handlers):
        _listener.lowered = _Lowered(max(level, logging.INFO))
        root.setLevel(_listener.lowered)
    if _listener.owned or own.level == logging.NOTSET:
        _listener.owned = True
        own.setLevel(level)


def _listen(self: logging.Logger, record: logging.LogRecord) -> Any:
    """Stand in for `Logger.filter`: a record that passes is delivered, then goes on to the handlers it has.

    Where handlers of the application shall not see it as it is, they are called from here with another one: before
    Python 3.12 a filter could not replace a record.
    """
    passed = _filter(self, record)
    active = _listener.active
    if not passed or active is None:
        return passed
    logged = passed if isinstance(passed, logging.LogRecord) else record
    redactor = active.redactor if active.user_handlers and needs_record(Audience.of(self)) else None
    shown = logged if redactor is None else _printed.redacted(logged, redactor)
    if not _is_opentelemetrys(self.name):
        try:
            if not _take(active, self, logged, shown):
                return False
        except Exception:  # noqa: BLE001  the record still reaches the application's own handlers
            _roads.note("log.listen.failed")
    if shown is logged:
        return passed
    self.callHandlers(shown)
    return False


def _take(active: Active, logger: logging.Logger, record: logging.LogRecord, shown: logging.LogRecord) -> bool:
    """Deliver a record; False if its handlers should not see it.

    Args:
        active: The open roads.
        logger: Where it was logged.
        record: As it was logged.
        shown: As its handlers will see it.
    """
    assert _listener.read is not None  # noqa: S101  set together with `active`
    event, exported = _listener.read(record)
    audience = Audience.of(logger)
    ours = audience.needs_line(active)
    active.deliver(event, stdout=ours, otlp=not exported and not audience.bridge)
    if audience.servers:
        if ours:
            _replaced.mark(shown)
        for handler in audience.servers:
            handler.addFilter(_replaced)  # once, however often it is added
    for handler in (*audience.servers, *audience.celerys):
        _printed.Lines.redact(handler, _redactor)
    return not _is_extra(logger, record.levelno)


def _redactor() -> Redactor | None:
    """Return what knows the secrets of this process; None while not installed."""
    active = _listener.active
    return None if active is None else active.redactor


def _is_opentelemetrys(logger: str) -> bool:
    """Tell whether the API or the SDK reports about itself: the pipeline tells that, once and on stderr."""
    return logger.partition(".")[0] == "opentelemetry"


def _is_extra(logger: logging.Logger, level: int) -> bool:
    """Tell whether a record exists only because we lowered the root logger's level: no news for handlers of others."""
    if level >= logging.WARNING:
        return False
    decides = next((node for node in _ancestry(logger) if node.level), None)
    return decides is not None and decides.level is _listener.lowered


def _ancestry(logger: logging.Logger) -> Iterable[logging.Logger]:
    node: logging.Logger | None = logger
    while node is not None:
        yield node
        node = node.parent


def is_enabled(logger: logging.Logger, level: int, active: Active) -> bool:
    """Tell whether one of our own loggers says something of this level.

    A level that the application gave the logger or one above it counts. The root logger's does not: it is WARNING
    unless somebody thought of it, and an event of our own logger should arrive without further ado.
    """
    if logger.manager.disable >= level:
        return False
    node = logger
    while node.parent is not None:
        if node.level:
            return level >= node.level
        node = node.parent
    return level >= active.level


def hand_over(logger: logging.Logger, event: Event, found: _event.ExcInfo | None) -> None:
    """Show an event of one of our own loggers to the handlers of stdlib logging, as a record."""
    frame = _event.caller()
    shown = [f"{key}={value}" for key, value in event.fields.items() if not key.startswith(("exception.", "code."))]
    record = logger.makeRecord(
        logger.name,
        event.level,
        frame.f_code.co_filename,
        frame.f_lineno,
        " ".join([event.body, *shown]),
        (),
        found,
        frame.f_code.co_name,
    )
    for key, value in event.fields.items():
        vars(record).setdefault(key, value)
    passed = _filter(logger, record)
    if not passed:
        return
    made = passed if isinstance(passed, logging.LogRecord) else record
    active = _listener.active
    if active is not None and active.redactor is not None and active.user_handlers:
        made = _printed.redacted(made, active.redactor)
    logger.callHandlers(made)


# -- who is listening already -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Audience:
    """The handlers that a record of a logger reaches.

    Args:
        handlers: All of them.
        console: Whether one of them writes to stdout or stderr for the application.
        servers: Those by which a server writes its own lines to stdout or stderr.
        celerys: Those that Celery set up by itself, whose lines stay.
        bridge: Whether one of them exports records through OpenTelemetry by itself.
    """

    handlers: list[logging.Handler] = field(default_factory=list)
    console: bool = False
    servers: list[logging.Handler] = field(default_factory=list)
    celerys: list[logging.Handler] = field(default_factory=list)
    bridge: bool = False

    @classmethod
    def of(cls, logger: logging.Logger) -> Audience:
        """Look at the handlers of a logger and of those it propagates to."""
        found = _NOBODY
        node: logging.Logger | None = logger
        while node is not None:
            if node.handlers:
                found = cls() if found is _NOBODY else found
                for handler in node.handlers:
                    found.add(node, handler)
            node = node.parent if node.propagate else None
        return found

    def add(self, logger: logging.Logger, handler: logging.Handler) -> None:
        """Add a handler of one of the loggers that a record passes."""
        self.handlers.append(handler)
        if type(handler.formatter).__module__ in _CELERYS:
            self.celerys.append(handler)
        if _is_bridge(handler):
            self.bridge = True
        elif console(handler) is None:
            return
        elif _is_servers(logger, handler):
            self.servers.append(handler)
        else:
            self.console = True

    def needs_line(self, active: Active) -> bool:
        """Tell whether our line on stdout would be the only one of its kind.

        A server's own lines are replaced by ours, unless the application writes its own log to the terminal anyway.
        """
        if active.stdout is None or self.console:
            return False
        return not self.servers or root_console() is None


_NOBODY = Audience()


def needs_record(audience: Audience) -> bool:
    """Tell whether anybody waits for records: a handler, or a product that replaced `Logger.callHandlers` (Sentry)."""
    return bool(audience.handlers) or logging.Logger.callHandlers.__globals__ is not vars(logging)


def root_console() -> str | None:
    """Name the stream that the root logger writes to, "stdout" or "stderr"; None if it writes to neither."""
    return next(filter(None, map(console, logging.getLogger().handlers)), None)


def root_bridge() -> bool:
    """Tell whether a handler of the root logger exports its records through OpenTelemetry."""
    return any(map(_is_bridge, logging.getLogger().handlers))


def console(handler: logging.Handler, nesting: int = _NESTING) -> str | None:
    """Name the stream that a handler writes to, "stdout" or "stderr", be it through a queue, a buffer or rich."""
    if isinstance(handler, logging.FileHandler):
        return _DEVICES.get(handler.baseFilename)
    if isinstance(handler, logging.StreamHandler):
        return _stream_name(handler.stream)
    rich = getattr(getattr(handler, "console", None), "file", None)
    if rich is not None:
        return _stream_name(rich)
    behind = [getattr(handler, "target", None), *(getattr(getattr(handler, "listener", None), "handlers", None) or ())]
    inner = [one for one in behind if isinstance(one, logging.Handler)] if nesting else []
    return next(filter(None, (console(one, nesting - 1) for one in inner)), None)


def _stream_name(stream: Any) -> str | None:
    if stream in (sys.stdout, sys.__stdout__):
        return "stdout"
    if stream in (sys.stderr, sys.__stderr__):
        return "stderr"
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):  # no file, or closed
        return None
    return {1: "stdout", 2: "stderr"}.get(number)


def _is_bridge(handler: logging.Handler) -> bool:
    kind = type(handler)
    return kind.__name__ == "LoggingHandler" and kind.__module__.partition(".")[0] == "opentelemetry"


def _is_servers(logger: logging.Logger, handler: logging.Handler) -> bool:
    """Tell whether a server set a handler up by itself, in its own format; one that a person configured stays."""
    server = logger.name.partition(".")[0]
    if server in ("gunicorn", "uvicorn") and getattr(handler, "_gunicorn", False) is True:
        return True  # gunicorn gives its own handlers to uvicorn's loggers too
    if server == "uvicorn":
        return type(handler.formatter).__module__ == "uvicorn.logging"
    return server == "hypercorn" and type(handler) is logging.StreamHandler
