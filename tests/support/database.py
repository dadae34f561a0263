"""The only place where tests catch what an integration of databases emits, without a pipeline and in this process.

Hooks in a library stay for the life of a process, so there is one capture per process and library, emptied per test.
Sums and histograms are deltas: each look at the points shows what happened since the last one.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otelkit.integrations import Wiring
from otelkit.integrations.sqlalchemy import SQLAlchemyIntegration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from otelkit.integrations import Integration

DURATION = "db.client.operation.duration"


class _Recorder(SpanProcessor):
    def __init__(self) -> None:
        self.started: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: object = None) -> None:  # noqa: ARG002  the SDK's signature
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Captured:
    """What the integration emitted, and the integration itself."""

    def __init__(self, integration: Integration) -> None:
        self._recorder = _Recorder()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self._recorder)
        delta = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
        self._reader = InMemoryMetricReader(preferred_temporality=cast("Any", delta))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("test")
        self.integration: Any = integration  # tests of one library look into what is its own
        # No such integration reads settings.
        self.wiring = Wiring(
            settings=cast("Any", None), tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """The client spans that ended, in that order; fails if any was left open."""
        ours = [span for span in self._recorder.started if span.kind.name == "CLIENT"]
        still_open = [span.name for span in ours if span.end_time is None]
        assert not still_open, f"left open: {still_open}"
        ended = [span for span in self._recorder.ended if span.kind.name == "CLIENT"]
        assert len(ended) == len(ours)
        return ended

    @property
    def names(self) -> list[str]:
        """The names of the client spans."""
        return [span.name for span in self.spans]

    def points(self) -> dict[str, list[Any]]:
        """Return the data points by metric; of counters and histograms those since the last call."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found

    def clear(self) -> None:
        """Forget spans and points."""
        self._recorder.started.clear()
        self._recorder.ended.clear()
        self.points()


def value(points: list[Any], **attributes: str) -> Any:
    """Return the value (or the count) of the one point that has these attributes, dots written as two underscores."""
    wanted = {key.replace("__", "."): text for key, text in attributes.items()}
    matching = [point for point in points if wanted.items() <= dict(point.attributes).items()]
    assert len(matching) == 1, f"{wanted} in {[dict(point.attributes) for point in points]}"
    return getattr(matching[0], "value", None) if hasattr(matching[0], "value") else matching[0].count


@functools.cache
def _captured(kind: Callable[[], Integration]) -> Captured:
    return Captured(kind())


@contextmanager
def capture(kind: Callable[[], Integration] = SQLAlchemyIntegration) -> Iterator[Captured]:
    """Instrument SQLAlchemy, or another library, for the time of the `with` block."""
    captured = _captured(kind)
    captured.integration.install(captured.wiring, None)
    captured.clear()
    try:
        yield captured
    finally:
        captured.integration.uninstall()
