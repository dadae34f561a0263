"""The only place where metric points of a test become one reading for each series: what was measured in that test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otelkit.testing._story import measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otelkit.otlp.model import Exemplar, Point

_HISTOGRAMS = ("histogram", "exponential_histogram")


@dataclass(frozen=True, kw_only=True, repr=False)
class Reading:
    """What a test measured: of one series, or of all that fit a question, together.

    Args:
        name: The metric's name.
        kind: "sum", "gauge", "histogram" or "exponential_histogram"; "" where nothing fits.
        unit: The metric's unit.
        attributes: Those of the series, or those that were asked for.
        points: The points of the test, in order.
        captured: What there was beside, for whoever reads why a test failed.
    """

    name: str
    kind: str = ""
    unit: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    captured: tuple[Reading, ...] = ()

    @property
    def value(self) -> int | float:
        """What was added in this test; of a gauge the last value. 0 where nothing fits.

        Raises:
            AssertionError: A histogram has none, and several gauges have no sum.
        """
        if self.kind in _HISTOGRAMS:
            raise AssertionError(f"{self.name} is a histogram: ask for its .count and .sum\n{self!r}")
        if self.kind != "gauge":
            return sum(point.value or 0 for point in self.points)
        if self.several:
            raise AssertionError(f"{self.name} is a gauge of several series: ask for one\n{self!r}")
        return self.points[-1].value or 0

    @property
    def count(self) -> int:
        """How many values a histogram got in this test; 0 where nothing fits."""
        self._be_histogram("count")
        return sum(point.count for point in self.points)

    @property
    def sum(self) -> float:
        """The sum of the values that a histogram got in this test; 0 where nothing fits."""
        self._be_histogram("sum")
        return sum(point.sum or 0.0 for point in self.points)

    @property
    def exemplars(self) -> tuple[Exemplar, ...]:
        """Measurements of this test that point to their span."""
        return tuple(exemplar for point in self.points for exemplar in point.exemplars)

    @property
    def several(self) -> bool:
        """Whether these are several gauges, which have no sum."""
        return self.kind == "gauge" and len({_frozen(point.attributes) for point in self.points}) > 1

    @property
    def moved(self) -> bool:
        """Whether anything was measured: observed counters are there without, too."""
        return self.kind == "gauge" or (self.count if self.kind in _HISTOGRAMS else self.value) != 0

    def _be_histogram(self, wanted: str) -> None:
        if self.kind and self.kind not in _HISTOGRAMS:
            raise AssertionError(f"{self.name} is no histogram and has no .{wanted}: ask for its .value\n{self!r}")

    def __repr__(self) -> str:
        """Show the reading, and beside it what else was measured under this name or, without any, at all."""
        same = [other for other in self.captured if other.name == self.name]
        beside = ", ".join(map(measured, same or self.captured)) or "no metric"
        return f"<{measured(self)}>" if not self.captured and self.points else f"<{measured(self)}; captured: {beside}>"


def readings(points: Iterable[Point]) -> list[Reading]:
    """Put the points of a test together, one reading for each series."""
    series: dict[Any, list[Point]] = {}
    for point in points:
        series.setdefault((point.metric, point.kind, point.scope.name, _frozen(point.attributes)), []).append(point)
    return [
        Reading(
            name=found[0].metric,
            kind=found[0].kind,
            unit=found[0].unit,
            attributes=found[0].attributes,
            points=tuple(found),
        )
        for found in series.values()
    ]


def together(name: str, asked: Mapping[str, Any], found: list[Reading], captured: list[Reading]) -> Reading:
    """Make one reading of those that fit."""
    return Reading(
        name=name,
        kind=found[0].kind if found else "",
        unit=found[0].unit if found else "",
        attributes=dict(asked),
        points=tuple(point for reading in found for point in reading.points),
        captured=tuple(captured),
    )


def _frozen(attributes: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((key, repr(value)) for key, value in attributes.items())
