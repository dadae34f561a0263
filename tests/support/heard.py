"""The only place where tests open otelkit's log roads inside their own process, and see what goes along them.

pytest keeps handlers of its own at the root logger; in here the root logger is as Python starts with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otelkit import Settings, logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.redact import Redactor


@dataclass(kw_only=True)
class Heard:
    """What was heard so far."""

    roads: logs.Roads
    out: io.StringIO
    err: io.StringIO
    exporter: InMemoryLogRecordExporter

    @property
    def text(self) -> str:
        """All of stdout."""
        return self.out.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        """The only line."""
        (line,) = self.lines
        return line

    @property
    def records(self) -> list[Any]:
        """The OTLP records."""
        return [entry.log_record for entry in self.exporter.get_finished_logs()]

    @property
    def record(self) -> Any:
        """The only record."""
        (record,) = self.records
        return record

    @property
    def scopes(self) -> list[str]:
        """The scope of each record."""
        return [
            entry.instrumentation_scope.name
            for entry in self.exporter.get_finished_logs()
            if entry.instrumentation_scope
        ]

    @property
    def events(self) -> list[str]:
        """What the lines are about."""
        return [line["event"] for line in self.lines]

    @property
    def bodies(self) -> list[Any]:
        """What the records are about."""
        return [record.body for record in self.records]


def in_memory() -> InMemoryLogRecordExporter:
    """An exporter that keeps what it gets."""
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK left its types out


def provider(exporter: InMemoryLogRecordExporter) -> LoggerProvider:
    """A provider that exports each record at once."""
    made = LoggerProvider(resource=Resource({"service.name": "shop"}))
    made.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return made


@contextlib.contextmanager
def untouched_root(stdout: io.StringIO, stderr: io.StringIO) -> Iterator[None]:
    """Run as in a fresh process: root logger, structlog, context variables, stdout and stderr."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.stdout, sys.stderr
    root.handlers[:], sys.stdout, sys.stderr = [], stdout, stderr
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:], level, sys.stdout, sys.stderr = before
        root.setLevel(level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


@contextlib.contextmanager
def hearing(
    variables: Mapping[str, str] | None = None,
    *,
    exporting: bool = True,
    before: Any = None,
    redactor: Redactor | None = None,
    user_handlers: bool = False,
) -> Iterator[Heard]:
    """Open the roads, and close them again.

    Args:
        variables: Environment variables of the settings; JSON lines unless they say otherwise.
        exporting: Whether there is a logger provider.
        before: Called before the roads are opened.
        redactor: Knows what is secret.
        user_handlers: Whether handlers of the application get redacted records.
    """
    out, err, exporter = io.StringIO(), io.StringIO(), in_memory()
    settings = Settings(environ={"OTELKIT_LOG_FORMAT": "json", **(variables or {})})
    with untouched_root(out, err):
        if before is not None:
            before()
        given = provider(exporter) if exporting else None
        opened = logs.install(settings, given, redactor, user_handlers=user_handlers)
        try:
            yield Heard(roads=opened, out=out, err=err, exporter=exporter)
        finally:
            logs.uninstall()


@contextlib.contextmanager
def own_handlers(name: str, *handlers: logging.Handler, **attributes: Any) -> Iterator[logging.Logger]:
    """Give a logger handlers and attributes for a while."""
    logger = logging.getLogger(name)
    before = {key: getattr(logger, key) for key in attributes}
    for handler in handlers:
        logger.addHandler(handler)
    for key, value in attributes.items():
        setattr(logger, key, value)
    logger.manager._clear_cache()  # type: ignore[attr-defined]  # levels were set behind setLevel's back
    try:
        yield logger
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        for key, value in before.items():
            setattr(logger, key, value)
        logger.manager._clear_cache()  # type: ignore[attr-defined]  # the same
