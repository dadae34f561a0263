"""The only place where the SDK's delta points become cumulative ones.

A forked child inherits whatever sums the SDK keeps and would report the parent's counts a second time. So the SDK keeps
none: synchronous instruments are read as deltas, and the sums stand here, where a child empties them. Observable
instruments need no sums, their callbacks return absolute values; gauges have none.

A sum costs one point per series: about 0.6 kB for a counter, 1 to 2 kB for a histogram, on top of the 1.3 to 3 kB that
the SDK keeps for the series itself. There are as many as the SDK has series. Two streams with one name, unit, kind and
attribute set, which the SDK warns of, become one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from opentelemetry.sdk.metrics.export import DataPointT, Metric, ResourceMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

# Buckets per sign of an exponential histogram: the specification's default (metrics/sdk.md), or what a view has more.
_MAX_BUCKETS = 160


def inner_temporality(preference: str) -> dict[type, AggregationTemporality]:
    """Map each instrument kind to the temporality it is read with inside the SDK.

    Args:
        preference: "cumulative", "delta" or "lowmemory" (metrics/sdk_exporters/otlp.md of the specification).
    """
    delta, cumulative = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
    return {
        Counter: delta,
        UpDownCounter: delta,
        Histogram: delta,
        ObservableCounter: delta if preference == "delta" else cumulative,
        ObservableUpDownCounter: cumulative,
        ObservableGauge: cumulative,
    }


@dataclass
class _Stream:
    """One metric: as it was last described, and the sum of each of its series since their start."""

    metric: Metric
    points: dict[Hashable, DataPointT] = field(default_factory=dict)

    def add(self, metric: Metric) -> None:
        """Add one collection's delta points."""
        self.metric = metric
        for delta in metric.data.data_points:
            key = frozen(delta.attributes or {})
            before = self.points.get(key)
            self.points[key] = delta if before is None else summed(before, delta)

    def read(self, now: int) -> Metric:
        """Return every series as of now; one without new measurements is repeated, without exemplars.

        Args:
            now: Time of the collection, nanoseconds since the epoch: new points carry it already.
        """
        for key, point in self.points.items():
            if point.time_unix_nano != now:
                self.points[key] = replace(point, time_unix_nano=now, exemplars=[])
        data: Any = self.metric.data
        points = list(self.points.values())
        cumulative = AggregationTemporality.CUMULATIVE
        return replace(self.metric, data=replace(data, data_points=points, aggregation_temporality=cumulative))


class Cumulative:
    """The sums of one reader. Not safe to use from several threads at a time.

    Args:
        preference: "cumulative", "delta" or "lowmemory". Under the last two only what goes up and down is summed:
            rates are for the backend to add up, but an up-down counter is its sum.
    """

    def __init__(self, preference: str) -> None:
        self._everything = preference == "cumulative"
        self._streams: dict[InstrumentationScope, dict[Hashable, _Stream]] = {}
        self._latest: ResourceMetrics | None = None

    def forget(self) -> None:
        """Start anew: the next delta of each series is its first, and carries its start time."""
        self._streams, self._latest = {}, None

    def add(self, data: MetricsData | None) -> MetricsData | None:
        """Add one collection of a reader with `inner_temporality`, and return what is to be reported.

        Args:
            data: What the SDK collected; None where no instrument had anything new.
        """
        now = time.time_ns()
        passing: dict[InstrumentationScope, list[Metric]] = {}
        if data is not None:
            (group,) = data.resource_metrics  # a provider has one resource
            self._latest = replace(group, scope_metrics=[])
            for collected in group.scope_metrics:
                passing[collected.scope] = list(self._take(collected))
                # All points of one collection carry one time.
                now = next((p.time_unix_nano for metric in collected.metrics for p in metric.data.data_points), now)
        scopes = []
        for scope in {**self._streams, **passing}:
            summed = [stream.read(now) for stream in self._streams.get(scope, {}).values()]
            metrics = [*summed, *passing.get(scope, ())]
            if metrics:
                scopes.append(ScopeMetrics(scope=scope, metrics=metrics, schema_url=scope.schema_url or ""))
        if self._latest is None or not scopes:
            return None
        return MetricsData(resource_metrics=[replace(self._latest, scope_metrics=scopes)])

    def _take(self, scope: ScopeMetrics) -> Iterable[Metric]:
        """Add what is to be summed of one scope, and return the rest."""
        for metric in scope.metrics:
            data = metric.data
            rate = not isinstance(data, Sum) or data.is_monotonic
            if getattr(data, "aggregation_temporality", None) is not AggregationTemporality.DELTA or (
                rate and not self._everything
            ):
                yield metric
                continue
            streams = self._streams.setdefault(scope.scope, {})
            identity = (metric.name, metric.unit, metric.description, type(data), rate)
            if identity not in streams:
                streams[identity] = _Stream(metric)
            streams[identity].add(metric)


def frozen(value: object) -> Hashable:
    """Return a key for attributes; with types, as True, 1 and 1.0 are three values that Python calls equal."""
    if isinstance(value, Mapping):
        return tuple(part for name in sorted(value, key=str) for part in (name, type(value[name]), frozen(value[name])))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(part for item in value for part in (type(item), frozen(item)))
    return value


def summed(before: DataPointT, delta: DataPointT) -> DataPointT:
    """Add a delta to the sum of its series; where they do not fit together the series starts anew."""
    start = before.start_time_unix_nano
    if isinstance(before, NumberDataPoint) and isinstance(delta, NumberDataPoint):
        return replace(delta, start_time_unix_nano=start, value=before.value + delta.value)
    if isinstance(before, HistogramDataPoint) and isinstance(delta, HistogramDataPoint):
        if tuple(before.explicit_bounds) != tuple(delta.explicit_bounds):
            return delta
        counts = tuple(map(sum, zip(before.bucket_counts, delta.bucket_counts, strict=True)))
        return replace(delta, start_time_unix_nano=start, bucket_counts=counts, **_common(before, delta))
    if isinstance(before, ExponentialHistogramDataPoint) and isinstance(delta, ExponentialHistogramDataPoint):
        return replace(
            delta,
            start_time_unix_nano=start,
            zero_count=before.zero_count + delta.zero_count,
            **_common(before, delta),
            **_merged(before, delta),
        )
    return delta


def _common(
    before: HistogramDataPoint | ExponentialHistogramDataPoint,
    delta: HistogramDataPoint | ExponentialHistogramDataPoint,
) -> dict[str, Any]:
    """Add what both kinds of histogram have."""
    return {
        "count": before.count + delta.count,
        "sum": before.sum + delta.sum,
        "min": min(before.min, delta.min),
        "max": max(before.max, delta.max),
    }


def _merged(before: ExponentialHistogramDataPoint, delta: ExponentialHistogramDataPoint) -> dict[str, Any]:
    """Merge the buckets of two exponential histograms, at the finest scale that fits.

    One scale down halves the resolution: bucket `i` becomes bucket `i >> 1`, on both sides of zero.
    """
    sides = {
        "positive": [(point.scale, _counts(point.positive)) for point in (before, delta)],
        "negative": [(point.scale, _counts(point.negative)) for point in (before, delta)],
    }
    filled = [part for parts in sides.values() for part in parts if part[1]]
    # A point of zeros only has no buckets, and its scale says nothing.
    scale = min((own_scale for own_scale, _ in filled), default=before.scale)
    limit = max((_span(counts) for _, counts in filled), default=0)
    while True:
        merged = {name: _added(parts, scale) for name, parts in sides.items()}
        if max(map(_span, merged.values())) <= max(limit, _MAX_BUCKETS):
            return {"scale": scale, **{name: _buckets(counts) for name, counts in merged.items()}}
        scale -= 1


def _counts(buckets: Buckets) -> dict[int, int]:
    return {buckets.offset + place: count for place, count in enumerate(buckets.bucket_counts) if count}


def _added(parts: Iterable[tuple[int, Mapping[int, int]]], scale: int) -> dict[int, int]:
    total: dict[int, int] = {}
    for own_scale, counts in parts:
        for index, count in counts.items():
            coarser = index >> (own_scale - scale)
            total[coarser] = total.get(coarser, 0) + count
    return total


def _span(counts: Mapping[int, int]) -> int:
    return max(counts) - min(counts) + 1 if counts else 0


def _buckets(counts: Mapping[int, int]) -> Buckets:
    low = min(counts, default=0)
    return Buckets(offset=low, bucket_counts=tuple(counts.get(low + place, 0) for place in range(_span(counts))))
