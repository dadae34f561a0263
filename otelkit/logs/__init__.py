"""One road for structlog and stdlib logging: a line on stdout and one OTLP record per event, with the same fields.

    log = get_logger()
    log.info("order.placed", order_id=42)

The only place for what of that is public. Each event carries timestamp, level, service, event, logger, the ids of the
current trace, the request id and other context variables bound by structlog, its own fields, and `exception.*` where
there is one.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from otelkit._sanitise import clean
from otelkit.logs import _stdlib, _structlog
from otelkit.logs._roads import Active, OtlpRoad, StdoutRoad
from otelkit.logs._structlog import OtlpProcessor

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from structlog.typing import FilteringBoundLogger

    from otelkit.redact import Redactor
    from otelkit.settings import Settings

__all__ = ["OtlpProcessor", "Roads", "clean", "get_logger", "install", "roads", "uninstall"]

_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Roads:
    """Where events go.

    Args:
        stdout: Whether we write lines to stdout for whatever has no line there yet.
        otlp: Whether events are exported.
        reason: For a person: what is written to stdout, or why nothing is.
    """

    stdout: bool
    otlp: bool
    reason: str


def get_logger(name: str | None = None, **initial_values: Any) -> FilteringBoundLogger:
    """Return a structlog logger whose events go to stdout and to OTLP with the current trace's id.

    It may be made and used before `otelkit.configure()`; until then events go to stdout only. Log calls never raise:
    one that is malformed becomes an event that says so.

    Args:
        name: The logger's name; None takes the calling module's. Levels set on the stdlib logger of that name count.
        initial_values: Fields for every event of this logger.
    """
    return cast("FilteringBoundLogger", _structlog.get_logger(name, initial_values))


def roads(settings: Settings) -> tuple[bool, bool]:
    """Tell which roads are wanted, stdout and OTLP, by `OTEL_LOGS_EXPORTER`: both unless it says otherwise.

    `otlp` means OTLP only, `console` stdout only; `none` turns the export off, and stdout stays.
    """
    requested = settings.logs_exporter_requested
    if requested is None:
        return True, True
    return "console" in requested or "otlp" not in requested, "otlp" in requested


def install(
    settings: Settings,
    logger_provider: LoggerProvider | None,
    redactor: Redactor | None = None,
    *,
    user_handlers: bool = False,
) -> Roads:
    """Open the roads for every logger of this process; a second call replaces what the first one opened.

    Handlers, levels and structlog configurations that exist stay; those that come later neither lose nor double events.

    Args:
        settings: `logs_exporter_requested`, `log_level`, `log_format` and `service_name` apply.
        logger_provider: Where records go; None exports nothing.
        redactor: Knows what is secret; None tells everything.
        user_handlers: Whether handlers of the application get redacted records too.

    Returns:
        What was opened, as far as it is known now: who writes to stdout is decided event by event.
    """
    wants_stdout, wants_otlp = roads(settings)
    people = settings.log_format == "console" or (settings.log_format == "auto" and _is_terminal())
    stdout = StdoutRoad(_service(settings, logger_provider), people=people, colors=people and _is_terminal())
    exported = logger_provider if wants_otlp else None
    otlp = None if exported is None else OtlpRoad(exported, redacted=redactor is not None)
    active = Active(
        stdout=stdout if wants_stdout else None,
        otlp=otlp,
        level=settings.log_level,
        redactor=redactor,
        user_handlers=user_handlers,
    )
    with _lock:
        taken = _stdlib.root_console()
        _structlog.install(active)
        _stdlib.install(active, _structlog.read)
    if not wants_stdout:
        reason = "nothing: OTEL_LOGS_EXPORTER asks for OTLP only"
    elif taken is not None:
        reason = f"nothing of stdlib logging: the root logger writes to {taken} already"
    else:
        reason = stdout.format
    # A handler that exports by itself, of a hand-wired SDK, goes on doing so; the records would arrive twice.
    exports = active.otlp is not None and not _stdlib.root_bridge()
    return Roads(stdout=wants_stdout and taken is None, otlp=exports, reason=reason)


def uninstall() -> None:
    """Close the roads: handlers, levels and structlog are as the application has them."""
    with _lock:
        _stdlib.uninstall()
        _structlog.uninstall()


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # no stdout, or a closed one
        return False


def _service(settings: Settings, provider: LoggerProvider | None) -> str:
    """Name the service as the records do: by the provider's resource, which an adopted provider brings along."""
    resource: Any = getattr(provider, "resource", None)
    named = resource.attributes.get("service.name") if resource is not None else None
    return str(named or settings.service_name or "unknown_service")
