"""The only place for what a metric's declaration is, and what can be wrong with one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, Literal, get_args

from otelkit.metrics import _units
from otelkit.metrics._alerts import problems_of_alerts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.metrics._alerts import MetricAlert

Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]
ObservedKind = Literal["counter", "up_down_counter", "gauge"]
Value = str | int | bool
Values = tuple[Value, ...] | type[str] | type[int] | type[bool]
"""What an attribute may be: one of a closed set, or anything of a type."""

DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of a histogram in seconds that declares none: those of the semantic conventions for requests."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*(?:\.[a-z][a-z0-9]*(?:_[a-z0-9]+)*)*")
_NAME_LIMIT: Final = 255  # the specification, metrics/api.md, "Instrument name syntax"
_ADDED: Final = frozenset(
    {"total", "bucket", "sum", "ratio", "percent", "seconds", "milliseconds", "microseconds", "nanoseconds", "bytes"}
)
"""Last words that Prometheus adds, or that say a unit, which has a place of its own."""
_TAKEN: Final = frozenset({"job", "instance", "le", "quantile"})
"""Labels that are Prometheus' own."""
_SETS_LIMIT: Final = 1_000
_BUCKETS_LIMIT: Final = 60
_PARTS: Final = ("bucket", "count", "sum")
_TYPES: Final = (str, int, bool)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A declared metric: what the instrument, the reference and the dashboard row are made from.

    Args:
        name: As emitted, with dots.
        kind: What measures it.
        unit: UCUM, or a currency of ISO 4217.
        description: One sentence.
        attributes: What it is told apart by, and which values each may have.
        buckets: Upper bounds of a histogram's buckets, in its unit.
        observed: Whether it is asked for its value at each collection.
        alerts: What is watched of it.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: Mapping[str, Values] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    observed: bool = False
    alerts: tuple[MetricAlert, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names that it has in Prometheus."""
        name = _units.prometheus_name(self.name, self.unit, gauge=self.kind == "gauge", counter=self.kind == "counter")
        return tuple(f"{name}_{part}" for part in _PARTS) if self.kind == "histogram" else (name,)

    def closed_sets(self) -> Iterator[dict[str, Value]]:
        """Walk through all combinations of the values that are known beforehand."""
        closed = {key: values for key, values in self.attributes.items() if isinstance(values, tuple)}
        for values in product(*closed.values()) if closed else ():
            yield dict(zip(closed, values, strict=True))

    def problems(self) -> list[str]:
        """List what is wrong with the declaration, one sentence each."""
        found = [
            *_of_name(self.name),
            *([f"unit {self.unit!r} {wrong}"] if (wrong := _units.problem(self.unit)) else []),
            *_of_attributes(self.attributes),
        ]
        if self.observed and self.kind not in get_args(ObservedKind):
            found.append(f"cannot observe a {self.kind}")
        if self.unit == "1" and self.kind in ("counter", "up_down_counter"):
            found.append("unit '1' is for ratios; say what is counted, for example {order}")
        if type(self.description) is not str or not self.description.strip():
            found.append("needs a description")
        if self.kind == "histogram":
            found += _of_buckets(self.buckets, self.unit)
        found += problems_of_alerts(self)
        return [f"{self.name}: {problem}" for problem in found]


def plain(values: Values) -> Values:
    """Return a closed set with the texts and numbers of an enumeration, where it has its members."""
    return tuple(map(_plain, values)) if isinstance(values, tuple) else values


def _plain(value: Value) -> Value:
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def label(name: str) -> str:
    """Return a name as Prometheus writes it."""
    return re.sub(r"[^a-zA-Z0-9]+", "_", name)


def _of_name(name: object) -> list[str]:
    if type(name) is not str or len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        return ["a name is lower-case words, joined by '_' and grouped by '.', for example shop.orders"]
    found = []
    if "." not in name:
        found.append(f"needs a group in front, for example shop.{name}")
    if name.startswith("otel."):
        found.append("'otel.' is reserved for OpenTelemetry")
    last = re.split(r"[._]", name)[-1]
    if last in _ADDED:
        found.append(f"must not end in '{last}': the unit and Prometheus say it")
    return found


def _of_attributes(attributes: Mapping[str, Values]) -> list[str]:
    found = []
    labels: dict[str, str] = {}
    sets = 1
    for key, values in attributes.items():
        if type(key) is not str or not _NAME.fullmatch(key) or key.startswith("otel."):
            found.append(f"attribute {key!r}: a key is lower-case words, joined by '_' and grouped by '.'")
            continue
        if key in _TAKEN:
            found.append(f"attribute {key!r} is a label of Prometheus' own")
        if (other := labels.setdefault(label(key), key)) != key:
            found.append(f"attributes {other!r} and {key!r} are one label in Prometheus")
        if wrong := _of_values(values):
            found.append(f"attribute {key!r}: {wrong}")
        elif isinstance(values, tuple):
            sets *= len(values)
    if sets > _SETS_LIMIT:
        found.append(f"its closed attributes make {sets} series, more than {_SETS_LIMIT}")
    return found


def _of_values(values: object) -> str:
    if values in _TYPES:
        return ""
    if not isinstance(values, tuple) or not values:
        return "a tuple of the values that it may have, or one of the types str, int, bool"
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds.issubset(_TYPES):
        return "its values are of one type, str, int or bool"
    if len(set(values)) != len(values):
        return "a value stands there twice"
    return "an empty text is no value: Prometheus cannot tell it from none" if "" in values else ""


def _of_buckets(buckets: tuple[float, ...], unit: str) -> list[str]:
    if not buckets:
        return [f"needs buckets: no bounds fit {unit} by themselves"]
    if len(buckets) > _BUCKETS_LIMIT:
        return [f"has {len(buckets)} buckets, more than {_BUCKETS_LIMIT}"]
    numbers = all(type(bound) in (int, float) and math.isfinite(bound) for bound in buckets)
    if not numbers or any(low >= high for low, high in pairwise(buckets)):
        return ["buckets are finite numbers, each greater than the one before"]
    return []
