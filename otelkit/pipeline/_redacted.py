"""The only place that redacts what processors of the application's own get to see: a copy of a span, a record itself.

Where there are no such processors, nothing is copied: `otelkit.otlp.encode` redacts while it writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk._logs import ReadWriteLogRecord

    from otelkit.redact import Redactor


class RedactedSpan(ReadableSpan):
    """An ended span without what is secret in it.

    Args:
        span: The span, ended.
        redactor: Knows what is secret.
    """

    def __init__(self, span: ReadableSpan, redactor: Redactor) -> None:
        super().__init__(
            name=redactor.text(str(span.name)),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=_attributes(span.attributes, redactor),
            events=[
                Event(redactor.text(e.name), _attributes(e.attributes, redactor), e.timestamp) for e in span.events
            ],
            links=[Link(link.context, _attributes(link.attributes, redactor)) for link in span.links],
            kind=span.kind,
            status=_status(span.status, redactor),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._left_out = (span.dropped_attributes, span.dropped_events, span.dropped_links)

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the span had beyond its limit."""
        return self._left_out[0]

    @property
    def dropped_events(self) -> int:
        """How many events the span had beyond its limit."""
        return self._left_out[1]

    @property
    def dropped_links(self) -> int:
        """How many links the span had beyond its limit."""
        return self._left_out[2]


def redact_record(record: ReadWriteLogRecord, redactor: Redactor) -> None:
    """Redact a log record where it stands: the specification lets its processors change it."""
    told = record.log_record
    told.body = redactor.plain("", told.body)
    if told.event_name:
        told.event_name = redactor.text(told.event_name)
    attributes: Any = told.attributes
    for key, value in dict(attributes or {}).items():
        shown = redactor.plain(key, value)
        name = redactor.text(key)
        if name is not key:
            del attributes[key]
            attributes[name] = shown
        elif shown is not value:
            attributes[key] = shown


def _event(event: Event, redactor: Redactor) -> Event:
    return Event(redactor.text(event.name), _attributes(event.attributes, redactor), event.timestamp)


def _status(status: Status, redactor: Redactor) -> Status:
    description = status.description
    if description is None:
        return status
    return Status(status.status_code, redactor.value("otel.status_description", description))


def _attributes(attributes: Mapping[str, Any] | None, redactor: Redactor) -> dict[str, Any]:
    return {redactor.text(key): redactor.plain(key, value) for key, value in dict(attributes or {}).items()}
