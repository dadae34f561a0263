"""The only place for loggers that never raise."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import NoOpLogger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk import _logs as sdk_logs

from otelkit._exceptions import told
from otelkit._guard._values import (
    attributes_of,
    carried,
    exception_attributes,
    flushed,
    instant,
    is_readable,
    line,
    never_raises,
    note,
    shut_down,
)
from otelkit._passing import passing
from otelkit._sanitise import text, type_name
from otelkit.pipeline import Records, redact_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry._logs import LogRecord

    from otelkit.redact import Redactor


class _LogRecordProcessors(sdk_logs.LogRecordProcessor):
    """Tells each processor in turn, and goes on with the next when one raises.

    Not a subclass of the SDK's own: that one is public from 1.45 on only.

    Args:
        redactor: Knows what is secret; None where nothing is to be redacted.
    """

    def __init__(self, redactor: Redactor | None) -> None:
        self.redactor = redactor
        self._log_record_processors: tuple[sdk_logs.LogRecordProcessor, ...] = ()

    def add_log_record_processor(self, processor: sdk_logs.LogRecordProcessor) -> None:
        self._log_record_processors += (processor,)

    def on_emit(self, log_record: sdk_logs.ReadWriteLogRecord) -> None:
        if passing.redacted or all(type(processor) is Records for processor in self._log_record_processors):
            self._tell(log_record)
            return
        try:
            if self.redactor is not None:
                redact_record(log_record, self.redactor)
        except Exception as error:  # noqa: BLE001  what cannot be redacted is not shown; ours redacts it itself
            note("a log record before processors of the application", error)
            self._tell(log_record, Records)
            return
        passing.redacted = True
        try:
            self._tell(log_record)
        finally:
            passing.redacted = False

    def _tell(self, log_record: sdk_logs.ReadWriteLogRecord, kind: type = object) -> None:
        for processor in self._log_record_processors:
            if not isinstance(processor, kind):
                continue
            try:
                processor.on_emit(log_record)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                note(f"on_emit() of {type_name(type(processor))}", error)

    def enabled(self, **asked: Any) -> bool:
        return any(_enabled(processor, asked) for processor in self._log_record_processors)

    def shutdown(self) -> None:
        shut_down(self._log_record_processors)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return flushed(self._log_record_processors, timeout_millis)


def _enabled(processor: Any, asked: Mapping[str, Any]) -> bool:
    try:
        return bool(processor.enabled(**asked))
    except Exception as error:  # noqa: BLE001  a processor of the application's own
        note(f"enabled() of {type_name(type(processor))}", error)
        return True


def _severity(value: Any) -> SeverityNumber | None:
    """Return a severity; numbers are taken for one too."""
    if value is None or type(value) is SeverityNumber:
        return value
    try:
        return SeverityNumber(value)
    except Exception as error:  # noqa: BLE001  looking it up runs the value's own comparison
        note("a severity", error)
        return None


def _body(value: Any) -> Any:
    """Return what a record may have as its body."""
    if type(value) is str:
        return value if value.isascii() else text(value, None)
    return carried(value)


class _Logger(sdk_logs.Logger):
    """The SDK's logger; emitting never raises."""

    @never_raises
    def emit(
        self,
        record: LogRecord | None = None,
        *,
        timestamp: Any = None,
        observed_timestamp: Any = None,
        context: Any = None,
        severity_number: Any = None,
        severity_text: Any = None,
        body: Any = None,
        attributes: Any = None,
        event_name: Any = None,
        exception: Any = None,
    ) -> None:
        if record is not None:
            super().emit(_plain_record(record))
            return
        if exception is not None:
            attributes, exception = _with_exception(attributes_of(attributes), exception)
        try:
            super().emit(
                timestamp=instant(timestamp),
                observed_timestamp=instant(observed_timestamp),
                context=context if isinstance(context, Context) else None,
                severity_number=_severity(severity_number),
                severity_text=line(severity_text),
                body=_body(body),
                attributes=attributes_of(attributes),
                event_name=line(event_name),
                exception=exception,
            )
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  also a warning about too many attributes that was made an error
            note("attributes of a log record", error)
            super().emit(timestamp=instant(timestamp), severity_number=_severity(severity_number), body=_body(body))


def _plain_record(record: Any) -> Any:
    """Return a record of the application's, or a copy of it that the SDK can take."""
    if isinstance(record, sdk_logs.ReadWriteLogRecord):
        return record  # the SDK made it, and took its attributes already
    plain = copy.copy(record)
    plain.timestamp, plain.observed_timestamp = instant(record.timestamp), instant(record.observed_timestamp)
    plain.severity_number, plain.severity_text = _severity(record.severity_number), line(record.severity_text)
    plain.body, plain.attributes = _body(record.body), attributes_of(record.attributes)
    plain.event_name = line(record.event_name)
    if plain.exception is not None:
        plain.attributes, plain.exception = _with_exception(plain.attributes, plain.exception)
    return plain


def _with_exception(attributes: Any, exception: Any) -> tuple[dict[str, Any], Any]:
    """Return attributes with what is told of an exception, and the exception if the SDK can read it."""
    described = {**told(exception), **(attributes or {})}
    if is_readable(exception):
        return described, exception
    return {**exception_attributes(exception), **described}, None


class LoggerProvider(sdk_logs.LoggerProvider):
    """The SDK's logger provider; what it hands out never raises into the application.

    Args:
        redactor: Knows what processors of the application's own must not see; None to show them everything.
        options: Those of the SDK's provider, but for `multi_log_record_processor`.
    """

    def __init__(self, *, redactor: Redactor | None = None, **options: Any) -> None:
        processors: Any = _LogRecordProcessors(redactor)
        super().__init__(multi_log_record_processor=processors, **options)

    def get_logger(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Any:
        """Return the logger of an instrumentation scope."""
        try:
            logger: Any = super().get_logger(line(name), line(version), line(schema_url), attributes_of(attributes))
        except Exception as error:  # noqa: BLE001  values that the application made
            note("get_logger", error)
            return NoOpLogger("")
        if type(logger) is sdk_logs.Logger:
            logger.__class__ = _Logger
        return logger
