"""The only place for tracers and spans that never raise."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from otelkit._exceptions import told
from otelkit._guard._values import (
    LIST_LIMIT,
    PLAIN,
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
from otelkit._sanitise import shown, type_name
from otelkit.pipeline import RedactedSpan, Spans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

    from otelkit.redact import Redactor

# The code that runs inside `with use_span(...)` and `with tracer.start_as_current_span(...)`, wherever it was imported.
_USE_SPAN = getattr(getattr(trace.use_span, "__wrapped__", None), "__code__", None)


@never_raises
def _links(given: Any) -> Sequence[Link]:
    """Return the links among what was given."""
    return [
        Link(link.context, attributes_of(link.attributes))
        for link in islice(given, LIST_LIMIT)
        if isinstance(link, Link) and isinstance(link.context, SpanContext)
    ]


class _Span(sdk_trace.Span):
    """The SDK's span; calls on it never raise."""

    @never_raises
    def set_attributes(self, attributes: Any) -> None:
        if known := attributes_of(attributes):
            super().set_attributes(known)

    def set_attribute(self, key: Any, value: Any) -> None:
        try:  # not @never_raises: the call made most often
            # Before the SDK has the value: it makes texts of objects while it holds the span's lock.
            super().set_attribute(line(key) or "", value if type(value) in PLAIN else carried(value))
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            note("Span.set_attribute", error)

    @never_raises
    def add_event(self, name: Any, attributes: Any = None, timestamp: Any = None) -> None:
        super().add_event(line(name), attributes_of(attributes), instant(timestamp))

    @never_raises
    def add_link(self, context: Any, attributes: Any = None) -> None:
        if not isinstance(context, SpanContext):
            raise TypeError(f"{type_name(type(context))} is no span context")
        super().add_link(context, attributes_of(attributes))

    @never_raises
    def update_name(self, name: Any) -> None:
        super().update_name(line(name))

    @never_raises
    def set_status(self, status: Any, description: Any = None) -> None:
        if isinstance(status, Status) and (known := line(status.description)) is not status.description:
            status = Status(status.status_code, known)
        super().set_status(status, line(description))

    @never_raises
    def record_exception(
        self, exception: Any, attributes: Any = None, timestamp: Any = None, escaped: bool = False
    ) -> None:
        given = attributes_of(attributes)
        if super().is_recording() and (found := told(exception, self)):
            super().set_attributes(found)
            given = {**found, **(given or {})}
        if is_readable(exception):
            super().record_exception(exception, given, instant(timestamp), escaped)
        else:
            described = {**exception_attributes(exception), "exception.escaped": str(bool(escaped))}
            self.add_event("exception", {**described, **(given or {})}, timestamp)

    @never_raises
    def end(self, end_time: Any = None) -> None:
        super().end(instant(end_time))

    def is_recording(self) -> bool:
        """Tell whether calls still have an effect.

        `use_span` asks this when an exception passes through, right before it makes that exception's text, where one
        that cannot be made would take the exception's place. Such an exception is recorded here, and the answer spares
        `use_span` the rest.
        """
        recording = super().is_recording()
        if recording and (caller := sys._getframe(1)).f_code is _USE_SPAN:  # noqa: SLF001  documented, the only way
            return not self._took_unreadable(caller)
        return recording

    @never_raises
    def _took_unreadable(self, caller: FrameType) -> bool:
        exception = sys.exception()
        if exception is None or is_readable(exception):
            return False
        arguments = caller.f_locals
        if arguments.get("record_exception", True):
            self.record_exception(exception)
        if arguments.get("set_status_on_exception", True):
            self._fail(exception)
        return True

    def _fail(self, exception: BaseException) -> None:
        self.set_status(Status(StatusCode.ERROR, f"{type(exception).__name__}: {shown(exception)}"))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """End the span, and leave the exception that passes as it is."""
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        except Exception:  # noqa: BLE001  the SDK asked for a status, and could not make the exception's text
            if exc_val is not None:
                self._fail(exc_val)
            self.end()


class _SpanProcessors(sdk_trace.SynchronousMultiSpanProcessor):
    """Tells each processor in turn, and goes on with the next when one raises.

    Processors of others see an ended span redacted, as ours sends it.

    Args:
        redactor: Knows what is secret; None where nothing is to be redacted.
    """

    def __init__(self, redactor: Redactor | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the base class has no types
        self.redactor = redactor

    def on_start(self, span: sdk_trace.Span, parent_context: Context | None = None) -> None:
        span.__class__ = _Span
        for processor in self._span_processors:
            try:
                processor.on_start(span, parent_context=parent_context)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                note(f"on_start() of {type_name(type(processor))}", error)

    def _on_ending(self, span: sdk_trace.Span) -> None:
        for processor in self._span_processors:
            try:
                processor._on_ending(span)  # noqa: SLF001  the SDK's own name for what processors may override
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                note(f"_on_ending() of {type_name(type(processor))}", error)

    def on_end(self, span: sdk_trace.ReadableSpan) -> None:
        processors: Sequence[sdk_trace.SpanProcessor] = self._span_processors
        if self.redactor is not None and any(type(processor) is not Spans for processor in processors):
            try:
                span = RedactedSpan(span, self.redactor)
            except Exception as error:  # noqa: BLE001  what cannot be redacted is not shown; ours redacts it itself
                note("a span before processors of the application", error)
                processors = [processor for processor in processors if type(processor) is Spans]
        for processor in processors:
            try:
                processor.on_end(span)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                note(f"on_end() of {type_name(type(processor))}", error)

    def shutdown(self) -> None:
        shut_down(self._span_processors)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return flushed(self._span_processors, timeout_millis)


class _Tracer(sdk_trace.Tracer):
    """The SDK's tracer; starting a span never raises."""

    def start_span(  # noqa: PLR0917  the API's own signature
        self,
        name: Any,
        context: Any = None,
        kind: Any = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: Any = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """Start a span.

        Returns:
            Where the SDK refuses what was given, a span with the name alone; where it refuses that too, one that
            records nothing and carries the current trace on.
        """
        try:
            if type(kind) is not SpanKind:
                note("the kind of a span", TypeError(type_name(type(kind))))
                kind = SpanKind.INTERNAL
            return super().start_span(
                line(name),
                context if isinstance(context, Context) else None,
                kind,
                attributes_of(attributes),
                _links(links) if type(links) is not tuple or links else (),
                instant(start_time),
                record_exception,
                set_status_on_exception,
            )
        except RecursionError:
            return trace.INVALID_SPAN  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  a sampler, or values that the application made
            note("start_span", error)
        try:
            return super().start_span(line(name))
        except Exception:  # noqa: BLE001  the same
            return NonRecordingSpan(trace.get_current_span().get_span_context())


class TracerProvider(sdk_trace.TracerProvider):
    """The SDK's tracer provider; what it hands out never raises into the application.

    Args:
        redactor: Knows what processors of the application's own must not see; None to show them everything.
        options: Those of the SDK's provider, but for `active_span_processor`.
    """

    def __init__(self, *, redactor: Redactor | None = None, **options: Any) -> None:
        processors: Any = _SpanProcessors(redactor)
        super().__init__(active_span_processor=processors, **options)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> trace.Tracer:
        """Return the tracer of an instrumentation scope."""
        try:
            tracer = super().get_tracer(
                line(instrumenting_module_name),
                line(instrumenting_library_version),
                line(schema_url),
                attributes_of(attributes),
            )
        except Exception as error:  # noqa: BLE001  values that the application made
            note("get_tracer", error)
            return trace.NoOpTracer()
        if type(tracer) is sdk_trace.Tracer:
            tracer.__class__ = _Tracer
        return tracer
