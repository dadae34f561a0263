"""The only place for instruments that know their declaration: they count what fits it, and never raise but in tests."""

from __future__ import annotations

import contextlib
import inspect
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from opentelemetry.metrics import Observation

from otelkit._stderr import say_once
from otelkit.errors import MeasurementError
from otelkit.metrics import _units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from opentelemetry.metrics import CallbackOptions, Meter

    from otelkit.metrics._declared import Metric, Value

    Attributes = Mapping[str, Value]
    Observed = float | Iterable[tuple[float, Attributes]]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SHOWN = 10  # declared values that a message names
_strict: list[None] = []
"""Holds something while misuse raises."""


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Raise `MeasurementError` within, where production drops and says so once; the pytest plugin's doing."""
    _strict.append(None)
    try:
        yield
    finally:
        _strict.pop()


def create(meter: Meter, metric: Metric, callbacks: Sequence[Callable[[CallbackOptions], Any]] = ()) -> Any:
    """Make the OpenTelemetry instrument of a declaration.

    Args:
        meter: Makes it.
        metric: The declaration.
        callbacks: What is asked at each collection, where the metric is observed.
    """
    about = {"unit": metric.unit, "description": metric.description}
    if metric.observed:
        return getattr(meter, f"create_observable_{metric.kind}")(metric.name, callbacks=callbacks, **about)
    if metric.kind == "histogram":
        return meter.create_histogram(
            metric.name, **about, explicit_bucket_boundaries_advisory=list(metric.buckets) or None
        )
    return getattr(meter, f"create_{metric.kind}")(metric.name, **about)


class _Instrument:
    """What all instruments share: their declaration, and the labels of a measurement by it."""

    def __init__(self, meter: Meter, metric: Metric) -> None:
        self.metric = metric
        self._plain = create(meter, metric)

    def __repr__(self) -> str:
        """Return the name, as a message needs it."""
        return f"<{self.metric.kind} {self.metric.name}>"

    def _measure(self, method: Callable[..., None], amount: float, attributes: Attributes | None) -> None:
        try:
            method(amount, labels(self.metric, attributes) if attributes else None)
        except MeasurementError:
            raise
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  another product's instruments, and values of any kind
            _misused(self.metric, "measurement", f"{type(error).__name__} while measuring; not measured")


class Counter(_Instrument):
    """Counts what only grows. Made by `Catalog.counter`."""

    def __init__(self, meter: Meter, metric: Metric) -> None:
        super().__init__(meter, metric)
        self.publish_zeros()

    def add(self, amount: float = 1, attributes: Attributes | None = None) -> None:
        """Count.

        Args:
            amount: How many, in the declared unit; not negative.
            attributes: As declared.

        Raises:
            MeasurementError: It does not fit the declaration; in tests only.
        """
        if _strict and not amount >= 0:
            raise MeasurementError(f"{self.metric.name}: a counter cannot count {amount!r}")
        self._measure(self._plain.add, amount, attributes)

    def publish_zeros(self) -> None:
        """Add nothing to each series that is known beforehand: a series that begins at 1 hides its first event."""
        sets = list(self.metric.closed_sets())
        if not self.metric.attributes:
            sets = [{}]
        for each in sets:
            self._measure(self._plain.add, 0, each)


class UpDownCounter(Counter):
    """Counts what grows and shrinks. Made by `Catalog.up_down_counter`."""

    def add(self, amount: float = 1, attributes: Attributes | None = None) -> None:
        """Count.

        Args:
            amount: How many more, in the declared unit; negative for fewer.
            attributes: As declared.

        Raises:
            MeasurementError: It does not fit the declaration; in tests only.
        """
        self._measure(self._plain.add, amount, attributes)


class Gauge(_Instrument):
    """Tells how much there is now. Made by `Catalog.gauge`."""

    def set(self, amount: float, attributes: Attributes | None = None) -> None:
        """Tell.

        Args:
            amount: How much, in the declared unit.
            attributes: As declared.

        Raises:
            MeasurementError: It does not fit the declaration; in tests only.
        """
        self._measure(self._plain.set, amount, attributes)


class Histogram(_Instrument):
    """Tells how measurements are spread. Made by `Catalog.histogram`."""

    def record(self, amount: float, attributes: Attributes | None = None) -> None:
        """Record a measurement.

        Args:
            amount: How much, in the declared unit; not negative.
            attributes: As declared.

        Raises:
            MeasurementError: It does not fit the declaration; in tests only.
        """
        if _strict and not amount >= 0:
            raise MeasurementError(f"{self.metric.name}: a histogram cannot record {amount!r}")
        self._measure(self._plain.record, amount, attributes)

    def time(self, attributes: Attributes | None = None, *, outcome: str | None = None) -> Timer:
        """Time a block (`with`) or each call of a function, a coroutine function too, as a decorator.

        What the block raises passes through. Where the metric declares `error.type`, a failure carries the type of its
        exception, as the semantic conventions have it.

        Args:
            attributes: As declared.
            outcome: Key of an attribute that becomes "success" or "failure".

        Raises:
            MeasurementError: The metric is not declared in a unit of time; in tests only.
        """
        if self.metric.unit not in _units.SECONDS:
            _misused(self.metric, "time", f"its unit {self.metric.unit} is none of time; nothing is timed")
        return Timer(self, attributes, outcome)


class Timer:
    """One use of `Histogram.time`. A `with` block gets the attributes as a dictionary of its own, to add to."""

    def __init__(self, histogram: Histogram, attributes: Attributes | None, outcome: str | None) -> None:
        self._histogram, self._outcome = histogram, outcome
        self._given = dict(attributes or {})
        self._started: list[tuple[float, dict[str, Value]]] = []

    def __enter__(self) -> dict[str, Value]:
        """Start."""
        given = self._given.copy()
        self._started.append((perf_counter(), given))
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record how long it took."""
        started, given = self._started.pop()
        histogram = self._histogram
        metric = histogram.metric
        if metric.unit not in _units.SECONDS:
            return
        if self._outcome is not None:
            given[self._outcome] = "success" if kind is None else "failure"
        if kind is not None and "error.type" in metric.attributes:
            plain = kind.__module__ == "builtins"
            given.setdefault("error.type", kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}")
        took = max(0.0, perf_counter() - started) * _units.SECONDS[metric.unit]
        # A block that failed keeps its own exception, also in a test.
        with contextlib.suppress(MeasurementError) if kind is not None else contextlib.nullcontext():
            histogram.record(took, given)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Time each call of a function.

        Raises:
            TypeError: The function is a generator: its call ends before its work begins.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: time what uses it, in a `with` block")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with Timer(self._histogram, self._given, self._outcome):
                    return await function(*args, **kwargs)

            return cast("Callable[_P, _R]", awaited)

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with Timer(self._histogram, self._given, self._outcome):
                return function(*args, **kwargs)

        return called


class Observer:
    """A metric that is asked for its value at each collection. Made by `Catalog.observe`."""

    def __init__(self, meter: Meter, metric: Metric, callback: Callable[[], Observed]) -> None:
        self.metric = metric
        self.callback = callback
        self._plain = create(meter, metric, [self._observe])

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        found = self.callback()
        for amount, attributes in [(found, {})] if isinstance(found, int | float) else found:
            try:
                yield Observation(amount, labels(self.metric, attributes))
            except MeasurementError as error:  # in a collection, which nobody could catch it from
                say_once(f"observed:{error}", str(error))


def labels(metric: Metric, attributes: Attributes) -> dict[str, Value]:
    """Return the attributes of a measurement that its declaration knows.

    The others are left out and said once, without their values, which may be anybody's: the measurement itself counts
    on, so that totals stay right.

    Raises:
        MeasurementError: There are others; in tests only.
    """
    fitting: dict[str, Value] = {}
    for key, value in attributes.items():
        declared = metric.attributes.get(key)
        if declared is None:
            _misused(metric, f"key:{key}", f"attribute {key!r} is not declared; left out")
        elif isinstance(declared, tuple):
            if _is_a(type(declared[0]), value) and value in declared:
                fitting[key] = declared[declared.index(value)]  # the plain value, where an enum's member was given
            else:
                one_of = ", ".join(map(repr, declared[:_SHOWN]))
                _misused(metric, f"value:{key}", f"attribute {key!r} is none of {one_of}; left out", value)
        elif _is_a(declared, value):
            fitting[key] = value
        else:
            kinds = f"{type(value).__name__}, not {declared.__name__}"
            _misused(metric, f"type:{key}", f"attribute {key!r} is of type {kinds}; left out", value)
    return fitting


def _is_a(kind: type, value: object) -> bool:
    """Tell whether a value is of a type; True is no number."""
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _misused(metric: Metric, key: str, what: str, *values: object) -> None:
    """Raise in a test, with the values; say it once in production, without them: they may be a stranger's."""
    if _strict:
        raise MeasurementError(": ".join([metric.name, what, *map(repr, values)]))
    say_once(f"metric:{metric.name}:{key}", f"{metric.name}: {what}. Said once.")
