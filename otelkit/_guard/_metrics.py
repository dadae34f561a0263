"""The only place for meters and instruments that never raise."""

from __future__ import annotations

import functools
import math
from collections.abc import Generator
from itertools import islice
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeVar

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.sdk import metrics as sdk_metrics

from otelkit._guard._series import LIMIT, Bounds, Series
from otelkit._guard._values import (
    LIST_LIMIT,
    LONG,
    NODE_LIMIT,
    attributes_of,
    line,
    never_raises,
    note,
)
from otelkit._sanitise import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.sdk.metrics.view import View

    from otelkit.redact import Redactor

T = TypeVar("T")

_NOWHERE = metrics.NoOpMeter("otelkit.nowhere")


def _amount(value: Any) -> int | float:
    """Return a measured value as the kind of number that every later one can be added to.

    Raises:
        TypeError: It is no number.
        ValueError: It is NaN or infinite, which would spoil the sum of its series for good.
    """
    kind = type(value)
    if (kind is int and -LONG <= value < LONG) or (kind is float and math.isfinite(value)):
        return value  # type: ignore[no-any-return]  # mypy does not follow `kind`
    if not isinstance(value, SupportsFloat):
        raise TypeError(f"{type_name(type(value))} is no number")
    number = int(value) if isinstance(value, int) and -LONG <= value < LONG else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no amount")
    return number


def _measuring(plain: Callable[..., None], series: Series) -> Callable[..., None]:
    """Make the guarded form of an instrument's `add`, `record` or `set`."""
    of = series.of

    def measure(amount: Any, attributes: Any = None, context: Any = None) -> None:
        try:  # not @never_raises: the call made most often
            plain(
                amount if type(amount) is float and math.isfinite(amount) else _amount(amount),
                of(attributes),
                None if context is None or not isinstance(context, Context) else context,
            )
        except RecursionError:
            return  # where the stack is used up, nothing more can be called
        except Exception as error:  # noqa: BLE001  any code of the application may run in there
            note(plain.__qualname__, error)

    return functools.wraps(plain)(measure)


@never_raises
def _boundaries(given: Any) -> Sequence[float] | None:
    """Return boundaries of a histogram's buckets; None, for the SDK's own, where these are none."""
    if given is not None and (not isinstance(given, list | tuple) or len(given) > LIST_LIMIT):
        raise TypeError(f"{type_name(type(given))} is no list of boundaries")
    return given


def _observing(callback: Any, series: Series) -> Callable[[CallbackOptions], Iterable[metrics.Observation]]:
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
                made for given in islice(ask(options), NODE_LIMIT) if (made := _observation(given, series)) is not None
            )
        except StopIteration:
            pass  # a generator that has said all it had to say
        except Exception as error:  # noqa: BLE001  the application's code
            note("a callback's observation", error)
        return observations

    return observe


@never_raises
def _observation(given: Any, series: Series) -> metrics.Observation:
    return metrics.Observation(
        _amount(given.value),
        series.of(given.attributes),
        given.context if isinstance(given.context, Context) else None,
    )


def _made(bounds: Bounds, create: Callable[..., T], name: Any, unit: Any, description: Any, **options: Any) -> T:
    """Create an instrument and guard it; one that records nothing where the SDK refuses it."""
    try:
        series = Series(str(line(name)).lower(), bounds)  # by the name that the SDK gives it
        if "callbacks" in options:
            callbacks = islice(options["callbacks"] or (), LIST_LIMIT)
            options["callbacks"] = [_observing(callback, series) for callback in callbacks]
        instrument = create(line(name), unit=line(unit) or "", description=line(description) or "", **options)
        series.look_through(instrument)
        for method in ("add", "record", "set"):
            if plain := getattr(type(instrument), method, None):
                # The first one stays: who asks for the same instrument again gets the same, with the same series.
                vars(instrument).setdefault(method, _measuring(plain.__get__(instrument), series))
    except Exception as error:  # noqa: BLE001  values that the application made
        note("an instrument", error)
        nothing: T = getattr(_NOWHERE, create.__name__)("otelkit.nowhere")
        return nothing
    return instrument


class _Meter(sdk_metrics.Meter):
    """The SDK's meter; neither creating an instrument nor using it raises, and no instrument has too many series."""

    bounds: Bounds

    def create_counter(self, name: Any, unit: Any = "", description: Any = "") -> metrics.Counter:
        return _made(self.bounds, super().create_counter, name, unit, description)

    def create_up_down_counter(self, name: Any, unit: Any = "", description: Any = "") -> metrics.UpDownCounter:
        return _made(self.bounds, super().create_up_down_counter, name, unit, description)

    def create_histogram(
        self, name: Any, unit: Any = "", description: Any = "", *, explicit_bucket_boundaries_advisory: Any = None
    ) -> metrics.Histogram:
        create = super().create_histogram
        boundaries = _boundaries(explicit_bucket_boundaries_advisory)
        return _made(self.bounds, create, name, unit, description, explicit_bucket_boundaries_advisory=boundaries)

    def create_gauge(self, name: Any, unit: Any = "", description: Any = "") -> Any:
        return _made(self.bounds, super().create_gauge, name, unit, description)

    def create_observable_counter(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableCounter:
        create = super().create_observable_counter
        return _made(self.bounds, create, name, unit, description, callbacks=callbacks)

    def create_observable_up_down_counter(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableUpDownCounter:
        create = super().create_observable_up_down_counter
        return _made(self.bounds, create, name, unit, description, callbacks=callbacks)

    def create_observable_gauge(
        self, name: Any, callbacks: Any = None, unit: Any = "", description: Any = ""
    ) -> metrics.ObservableGauge:
        create = super().create_observable_gauge
        return _made(self.bounds, create, name, unit, description, callbacks=callbacks)


class MeterProvider(sdk_metrics.MeterProvider):
    """The SDK's meter provider; what it hands out never raises into the application, and has bounded series.

    Args:
        cardinality_limit: Attribute sets of one instrument; what is beyond them counts under `otel.metric.overflow`.
        redactor: Applied to attributes before they make a series.
        views: As the SDK takes them.
        options: What else the SDK takes.
    """

    def __init__(
        self,
        *,
        cardinality_limit: int = LIMIT,
        redactor: Redactor | None = None,
        views: Sequence[View] = (),
        **options: Any,
    ) -> None:
        super().__init__(views=views, **options)
        self._bounds = Bounds(cardinality_limit, redactor, views)

    def forget_labels(self) -> None:
        """Look at all labels anew, as the redactor has other rules now."""
        self._bounds.forget_labels()

    @property
    def overflowed(self) -> Mapping[str, int]:
        """Measurements that count under `otel.metric.overflow`, by the name of their instrument; in this process."""
        return self._bounds.overflowed

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> metrics.Meter:
        """Return the meter of an instrumentation scope."""
        try:
            meter = super().get_meter(line(name), line(version), line(schema_url), attributes_of(attributes))
        except Exception as error:  # noqa: BLE001  values that the application made
            note("get_meter", error)
            return metrics.NoOpMeter("")
        if type(meter) is sdk_metrics.Meter:
            meter.__class__ = _Meter
            vars(meter)["bounds"] = self._bounds
        return meter
