"""The only place that stands between what an application hands to the API and the SDK that would raise at it.

The providers here are the SDK's own. What they hand out is the SDK's own too, except that no call on it raises into the
application, whatever it is given: a value that OTLP cannot carry is made one that it can (`otelkit._sanitise`), a call
that still fails costs what it wanted to record, and an exception that passes through a span stays the one it was. A
processor that raises costs itself; the others see the span or the record.

How: a tracer, a meter, a logger and a span become an instance of a subclass after the SDK has made them, so that no
constructor of the SDK is written a second time. Instruments keep their class, by which the SDK looks up how to
aggregate; their one method is replaced on the instance.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import operator
import sys
import time
import traceback
from collections.abc import Generator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeVar

from opentelemetry import metrics, trace
from opentelemetry._logs import NoOpLogger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from otelkit._sanitise import clean, head_and_tail, shown, text, type_name
from otelkit._stderr import say_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType, TracebackType

    from opentelemetry._logs import LogRecord
    from opentelemetry.metrics import CallbackOptions

_Call = TypeVar("_Call", bound="Callable[..., Any]")

_PLAIN: frozenset[type] = frozenset({str, bool, int, float, bytes, type(None)})
# Not float: no NaN equals another, each would open a series of its own.
_PLAIN_LABELS = _PLAIN - {float}
# What a value may hold at most to be taken as it is; the rest is cut down by `clean`.
_DEPTH_LIMIT = 16
_NODE_LIMIT = 10_000
_LIST_LIMIT = 1_000  # links, callbacks or boundaries read from one call
_LONG = 2**63  # what OTLP's integers end at
_ERROR_LIMIT = 200  # characters of an error in a line on stderr

_NOWHERE = metrics.NoOpMeter("otelkit.nowhere")
# The code that runs inside `with use_span(...)` and `with tracer.start_as_current_span(...)`, wherever it was imported.
_USE_SPAN = getattr(getattr(trace.use_span, "__wrapped__", None), "__code__", None)


def _note(what: str, error: BaseException) -> None:
    """Say once what was not recorded and why."""
    say_once(f"guard:{what}", f"not recorded: {what} ({text(clean(error), _ERROR_LIMIT)}). Said once.")


def _never_raises(method: _Call) -> _Call:
    """Make a method return None where it would raise."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except RecursionError:
            return None  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            _note(method.__qualname__.lstrip("_"), error)
            return None

    return call  # type: ignore[return-value]  # the same signature, by functools.wraps


def _line(value: Any) -> Any:
    """Return a name, a unit or a description as text that UTF-8 can encode; None stays None."""
    if value is None or (type(value) is str and value.isascii()):
        return value
    # Not isinstance(): an object may claim any class.
    return text(str.__str__(value) if issubclass(type(value), str) else shown(value), None)


def _instant(value: Any) -> int | None:
    """Return nanoseconds since the epoch; None, for "now", where the value is no such time; never raises."""
    if value is None or type(value) is int:
        return value
    try:
        return int(value) if issubclass(type(value), float) else operator.index(value)
    except Exception as error:  # noqa: BLE001  any code of the application may run in there
        _note("a time", error)
        return None


def _fits(value: Any, depth: int, left: list[int]) -> bool:
    """Tell whether a value is made of plain types only, not too deep and not too large."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    left[0] -= len(value) if kind in {list, tuple, dict} else 0
    if not depth or left[0] < 0:
        return False
    if kind is list or kind is tuple:
        return all(_fits(item, depth - 1, left) for item in value)
    if kind is dict:
        return all(type(key) is str and _fits(item, depth - 1, left) for key, item in value.items())
    return False


def _carried(value: Any) -> Any:
    """Return a value as it is where OTLP can carry it, and cleaned where not; never raises."""
    try:
        # Not str(value) and the like: an enum's text is its name, and the application's code would run.
        for kind, plain in ((str, str.__str__), (int, int.__int__), (float, float.__float__), (bytes, bytes.__bytes__)):
            if issubclass(type(value), kind):
                return value if type(value) in _PLAIN else plain(value)
        if issubclass(type(value), bytearray):
            return bytes(value)
        if _fits(value, _DEPTH_LIMIT, [_NODE_LIMIT]):
            return value
    except Exception:  # noqa: BLE001, S110  what it is not, `clean` will make of it
        pass
    return clean(value)


def _label(value: Any) -> Any:
    """Return a value by which a series can be told from others, so a hashable one; never raises."""
    value = _carried(value)
    if type(value) is float:
        return math.nan if math.isnan(value) else value
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple) and all(type(item) in _PLAIN for item in value):
        return tuple(value)
    # SDKs before 1.45 lose a whole collection to one mapping among the attributes of an observation.
    return json.dumps(clean(value), ensure_ascii=False)


def _attributes(given: Any, plain: frozenset[type] = _PLAIN, carried: Callable[[Any], Any] = _carried) -> Any:
    """Return attributes that the SDK takes: the very same where they are plain; never raises."""
    if given is None:
        return None
    try:
        if type(given) is dict:
            for key, value in given.items():
                if type(value) not in plain or type(key) is not str or not key:
                    break
            else:
                return given
        if not isinstance(given, Mapping):
            raise TypeError(f"{type_name(type(given))} is no mapping")  # noqa: TRY301  one way out for all of them
        # Copied first: another thread may change it, and a mapping of the application's own may never end.
        items = list(given.items() if type(given) is dict else islice(given.items(), _NODE_LIMIT))
        return {name: carried(value) for key, value in items if (name := _line(key))}
    except Exception as error:  # noqa: BLE001  any code of the application may run in there
        _note("attributes", error)
        return None


@_never_raises
def _links(given: Any) -> Sequence[Link]:
    """Return the links among what was given."""
    return [
        Link(link.context, _attributes(link.attributes))
        for link in islice(given, _LIST_LIMIT)
        if isinstance(link, Link) and isinstance(link.context, SpanContext)
    ]


def _exception_attributes(exception: Any) -> dict[str, Any]:
    """Describe an exception that does not describe itself."""
    attributes = {"exception.type": type_name(type(exception)), "exception.message": text(shown(exception), None)}
    if isinstance(exception, BaseException):
        try:
            attributes["exception.stacktrace"] = head_and_tail("".join(traceback.format_exception(exception)))
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            _note("a stack trace", error)
    return attributes


def _readable(exception: Any) -> bool:
    """Tell whether an exception's text can be made, as the SDK makes it."""
    try:
        f"{exception}"
    except Exception:  # noqa: BLE001  any code of the application may run in there
        return False
    return isinstance(exception, BaseException)


class _Span(sdk_trace.Span):
    """The SDK's span; calls on it never raise."""

    @_never_raises
    def set_attributes(self, attributes: Any) -> None:
        if known := _attributes(attributes):
            super().set_attributes(known)

    def set_attribute(self, key: Any, value: Any) -> None:
        try:  # not @_never_raises: the call made most often
            # Before the SDK has the value: it makes texts of objects while it holds the span's lock.
            super().set_attribute(_line(key) or "", value if type(value) in _PLAIN else _carried(value))
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            _note("Span.set_attribute", error)

    @_never_raises
    def add_event(self, name: Any, attributes: Any = None, timestamp: Any = None) -> None:
        super().add_event(_line(name), _attributes(attributes), _instant(timestamp))

    @_never_raises
    def add_link(self, context: Any, attributes: Any = None) -> None:
        if not isinstance(context, SpanContext):
            raise TypeError(f"{type_name(type(context))} is no span context")
        super().add_link(context, _attributes(attributes))

    @_never_raises
    def update_name(self, name: Any) -> None:
        super().update_name(_line(name))

    @_never_raises
    def set_status(self, status: Any, description: Any = None) -> None:
        if isinstance(status, Status) and (known := _line(status.description)) is not status.description:
            status = Status(status.status_code, known)
        super().set_status(status, _line(description))

    @_never_raises
    def record_exception(
        self, exception: Any, attributes: Any = None, timestamp: Any = None, escaped: bool = False
    ) -> None:
        if _readable(exception):
            super().record_exception(exception, _attributes(attributes), _instant(timestamp), escaped)
        else:
            described = {**_exception_attributes(exception), "exception.escaped": str(bool(escaped))}
            self.add_event("exception", {**described, **(_attributes(attributes) or {})}, timestamp)

    @_never_raises
    def end(self, end_time: Any = None) -> None:
        super().end(_instant(end_time))

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

    @_never_raises
    def _took_unreadable(self, caller: FrameType) -> bool:
        exception = sys.exception()
        if exception is None or _readable(exception):
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


def _shutdown(processors: Iterable[Any]) -> None:
    for processor in processors:
        try:
            processor.shutdown()
        except Exception as error:  # noqa: BLE001  a processor of the application's own
            _note(f"shutdown() of {type_name(type(processor))}", error)


def _flushed(processors: Iterable[Any], timeout_millis: int) -> bool:
    deadline = time.monotonic() + timeout_millis / 1000
    flushed = True
    for processor in processors:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            flushed &= processor.force_flush(int(left * 1000)) is not False
        except Exception as error:  # noqa: BLE001  a processor of the application's own
            _note(f"force_flush() of {type_name(type(processor))}", error)
            flushed = False
    return flushed


class _SpanProcessors(sdk_trace.SynchronousMultiSpanProcessor):
    """Tells each processor in turn, and goes on with the next when one raises."""

    def on_start(self, span: sdk_trace.Span, parent_context: Context | None = None) -> None:
        span.__class__ = _Span
        for processor in self._span_processors:
            try:
                processor.on_start(span, parent_context=parent_context)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                _note(f"on_start() of {type_name(type(processor))}", error)

    def _on_ending(self, span: sdk_trace.Span) -> None:
        for processor in self._span_processors:
            try:
                processor._on_ending(span)  # noqa: SLF001  the SDK's own name for what processors may override
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                _note(f"_on_ending() of {type_name(type(processor))}", error)

    def on_end(self, span: sdk_trace.ReadableSpan) -> None:
        for processor in self._span_processors:
            try:
                processor.on_end(span)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                _note(f"on_end() of {type_name(type(processor))}", error)

    def shutdown(self) -> None:
        _shutdown(self._span_processors)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return _flushed(self._span_processors, timeout_millis)


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
                _note("the kind of a span", TypeError(type_name(type(kind))))
                kind = SpanKind.INTERNAL
            return super().start_span(
                _line(name),
                context if isinstance(context, Context) else None,
                kind,
                _attributes(attributes),
                _links(links) if type(links) is not tuple or links else (),
                _instant(start_time),
                record_exception,
                set_status_on_exception,
            )
        except RecursionError:
            return trace.INVALID_SPAN  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  a sampler, or values that the application made
            _note("start_span", error)
        try:
            return super().start_span(_line(name))
        except Exception:  # noqa: BLE001  the same
            return NonRecordingSpan(trace.get_current_span().get_span_context())


class TracerProvider(sdk_trace.TracerProvider):
    """The SDK's tracer provider; what it hands out never raises into the application.

    Args:
        options: Those of the SDK's provider, but for `active_span_processor`.
    """

    def __init__(self, **options: Any) -> None:
        processors: Any = _SpanProcessors()  # type: ignore[no-untyped-call]  # the base class has no types
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
                _line(instrumenting_module_name),
                _line(instrumenting_library_version),
                _line(schema_url),
                _attributes(attributes),
            )
        except Exception as error:  # noqa: BLE001  values that the application made
            _note("get_tracer", error)
            return trace.NoOpTracer()
        if type(tracer) is sdk_trace.Tracer:
            tracer.__class__ = _Tracer
        return tracer


def _amount(value: Any) -> int | float:
    """Return a measured value as the kind of number that every later one can be added to.

    Raises:
        TypeError: It is no number.
        ValueError: It is NaN or infinite, which would spoil the sum of its series for good.
    """
    kind = type(value)
    if (kind is int and -_LONG <= value < _LONG) or (kind is float and math.isfinite(value)):
        return value  # type: ignore[no-any-return]  # mypy does not follow `kind`
    if not isinstance(value, SupportsFloat):
        raise TypeError(f"{type_name(type(value))} is no number")
    number = int(value) if isinstance(value, int) and -_LONG <= value < _LONG else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no amount")
    return number


def _measuring(plain: Callable[..., None]) -> Callable[..., None]:
    """Make the guarded form of an instrument's `add`, `record` or `set`."""

    def measure(amount: Any, attributes: Any = None, context: Any = None) -> None:
        try:  # not @_never_raises: the call made most often
            plain(
                _amount(amount),
                None if attributes is None else _attributes(attributes, _PLAIN_LABELS, _label),
                context if isinstance(context, Context) else None,
            )
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            _note(plain.__qualname__, error)

    return functools.wraps(plain)(measure)


@_never_raises
def _boundaries(given: Any) -> Sequence[float] | None:
    """Return boundaries of a histogram's buckets; None, for the SDK's own, where these are none."""
    if given is not None and (not isinstance(given, list | tuple) or len(given) > _LIST_LIMIT):
        raise TypeError(f"{type_name(type(given))} is no list of boundaries")
    return given


def _observing(callback: Any) -> Callable[[CallbackOptions], Iterable[metrics.Observation]]:
    """Make the guarded form of a callback: one that raises, and one hostile observation, cost themselves only."""
    if isinstance(callback, Generator):
        next(callback)  # the API's contract: up to the first yield, which then receives the options
        ask: Callable[[CallbackOptions], Iterable[Any]] = callback.send
    else:
        ask = callback

    def observe(options: CallbackOptions) -> Iterable[metrics.Observation]:
        observations: list[metrics.Observation] = []
        try:
            # Extended, not built: where the callback raises half-way, what it observed before stays.
            observations.extend(
                made for given in islice(ask(options), _NODE_LIMIT) if (made := _observation(given)) is not None
            )
        except StopIteration:
            pass  # a generator that has said all it had to say
        except Exception as error:  # noqa: BLE001  the application's code
            _note("a callback's observation", error)
        return observations

    return observe


@_never_raises
def _observation(given: Any) -> metrics.Observation:
    return metrics.Observation(
        _amount(given.value),
        _attributes(given.attributes, _PLAIN_LABELS, _label),
        given.context if isinstance(given.context, Context) else None,
    )


def _made(create: Callable[..., Any], name: Any, unit: Any, description: Any, **options: Any) -> Any:
    """Create an instrument and guard it; one that records nothing where the SDK refuses it."""
    try:
        if "callbacks" in options:
            callbacks = islice(options["callbacks"] or (), _LIST_LIMIT)
            options["callbacks"] = [_observing(callback) for callback in callbacks]
        instrument = create(_line(name), unit=_line(unit) or "", description=_line(description) or "", **options)
        for method in ("add", "record", "set"):
            if plain := getattr(type(instrument), method, None):
                vars(instrument)[method] = _measuring(plain.__get__(instrument))
    except Exception as error:  # noqa: BLE001  values that the application made
        _note("an instrument", error)
        return getattr(_NOWHERE, create.__name__)("otelkit.nowhere")
    return instrument


class _Meter(sdk_metrics.Meter):
    """The SDK's meter; neither creating an instrument nor using it raises."""

    def create_counter(self, name: Any, unit: Any = "", description: Any = "") -> metrics.Counter:
        return _made(super().create_counter, name, unit, description)  # type: ignore[no-any-return]

    def create_up_down_counter(self, name: Any, unit: Any = "", description: Any = "") -> metrics.UpDownCounter:
        return _made(super().create_up_down_counter, name, unit, description)  # type: ignore[no-any-return]

    def create_histogram(
        self, name: Any, unit: Any = "", description: Any = "", *, explicit_bucket_boundaries_advisory: Any = None
    ) -> metrics.Histogram:
        create = super().create_histogram
        boundaries = _boundaries(explicit_bucket_boundaries_advisory)
        return _made(  # type: ignore[no-any-return]
            create, name, unit, description, explicit_bucket_boundaries_advisory=boundaries
        )

    def create_gauge(self, name: Any, unit: Any = "", description: Any = "") -> Any:
        return _made(super().create_gauge, name, unit, description)

    def create_observable_counter(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableCounter:
        create = super().create_observable_counter
        return _made(create, name, unit, description, callbacks=callbacks)  # type: ignore[no-any-return]

    def create_observable_up_down_counter(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableUpDownCounter:
        create = super().create_observable_up_down_counter
        return _made(create, name, unit, description, callbacks=callbacks)  # type: ignore[no-any-return]

    def create_observable_gauge(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableGauge:
        create = super().create_observable_gauge
        return _made(create, name, unit, description, callbacks=callbacks)  # type: ignore[no-any-return]


class MeterProvider(sdk_metrics.MeterProvider):
    """The SDK's meter provider; what it hands out never raises into the application."""

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> metrics.Meter:
        """Return the meter of an instrumentation scope."""
        try:
            meter = super().get_meter(_line(name), _line(version), _line(schema_url), _attributes(attributes))
        except Exception as error:  # noqa: BLE001  values that the application made
            _note("get_meter", error)
            return metrics.NoOpMeter("")
        if type(meter) is sdk_metrics.Meter:
            meter.__class__ = _Meter
        return meter


class _LogRecordProcessors(sdk_logs.LogRecordProcessor):
    """Tells each processor in turn, and goes on with the next when one raises.

    Not a subclass of the SDK's own: that one is public from 1.45 on only.
    """

    def __init__(self) -> None:
        self._log_record_processors: tuple[sdk_logs.LogRecordProcessor, ...] = ()

    def add_log_record_processor(self, processor: sdk_logs.LogRecordProcessor) -> None:
        self._log_record_processors += (processor,)

    def on_emit(self, log_record: sdk_logs.ReadWriteLogRecord) -> None:
        for processor in self._log_record_processors:
            try:
                processor.on_emit(log_record)
            except Exception as error:  # noqa: BLE001  a processor of the application's own
                _note(f"on_emit() of {type_name(type(processor))}", error)

    def enabled(self, **asked: Any) -> bool:
        return any(_enabled(processor, asked) for processor in self._log_record_processors)

    def shutdown(self) -> None:
        _shutdown(self._log_record_processors)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return _flushed(self._log_record_processors, timeout_millis)


def _enabled(processor: Any, asked: Mapping[str, Any]) -> bool:
    try:
        return bool(processor.enabled(**asked))
    except Exception as error:  # noqa: BLE001  a processor of the application's own
        _note(f"enabled() of {type_name(type(processor))}", error)
        return True


def _severity(value: Any) -> SeverityNumber | None:
    """Return a severity; numbers are taken for one too."""
    if value is None or type(value) is SeverityNumber:
        return value
    try:
        return SeverityNumber(value)
    except Exception as error:  # noqa: BLE001  looking it up runs the value's own comparison
        _note("a severity", error)
        return None


def _body(value: Any) -> Any:
    """Return what a record may have as its body."""
    if type(value) is str:
        return value if value.isascii() else text(value, None)
    return _carried(value)


class _Logger(sdk_logs.Logger):
    """The SDK's logger; emitting never raises."""

    @_never_raises
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
        if exception is not None and not _readable(exception):
            attributes = {**_exception_attributes(exception), **(_attributes(attributes) or {})}
            exception = None
        try:
            super().emit(
                timestamp=_instant(timestamp),
                observed_timestamp=_instant(observed_timestamp),
                context=context if isinstance(context, Context) else None,
                severity_number=_severity(severity_number),
                severity_text=_line(severity_text),
                body=_body(body),
                attributes=_attributes(attributes),
                event_name=_line(event_name),
                exception=exception,
            )
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  also a warning about too many attributes that was made an error
            _note("attributes of a log record", error)
            super().emit(timestamp=_instant(timestamp), severity_number=_severity(severity_number), body=_body(body))


def _plain_record(record: Any) -> Any:
    """Return a record of the application's, or a copy of it that the SDK can take."""
    if isinstance(record, sdk_logs.ReadWriteLogRecord):
        return record  # the SDK made it, and took its attributes already
    plain = copy.copy(record)
    plain.timestamp, plain.observed_timestamp = _instant(record.timestamp), _instant(record.observed_timestamp)
    plain.severity_number, plain.severity_text = _severity(record.severity_number), _line(record.severity_text)
    plain.body, plain.attributes = _body(record.body), _attributes(record.attributes)
    plain.event_name = _line(record.event_name)
    if plain.exception is not None and not _readable(plain.exception):
        plain.attributes = {**_exception_attributes(plain.exception), **(plain.attributes or {})}
        plain.exception = None
    return plain


class LoggerProvider(sdk_logs.LoggerProvider):
    """The SDK's logger provider; what it hands out never raises into the application.

    Args:
        options: Those of the SDK's provider, but for `multi_log_record_processor`.
    """

    def __init__(self, **options: Any) -> None:
        processors: Any = _LogRecordProcessors()
        super().__init__(multi_log_record_processor=processors, **options)

    def get_logger(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Any:
        """Return the logger of an instrumentation scope."""
        try:
            logger: Any = super().get_logger(_line(name), _line(version), _line(schema_url), _attributes(attributes))
        except Exception as error:  # noqa: BLE001  values that the application made
            _note("get_logger", error)
            return NoOpLogger("")
        if type(logger) is sdk_logs.Logger:
            logger.__class__ = _Logger
        return logger
