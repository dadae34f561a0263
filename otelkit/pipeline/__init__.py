"""The only place for the way from an ended span, record or metric point to the wire.

`Pipeline` is the narrow interface the rest of otelkit sees: it hands the providers one processor or reader per signal,
is flushed and closed against a deadline, and names a dead endpoint once. What it takes are SDK objects; what is behind
it (queue, encoding, delivery) can be replaced without touching a provider.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

from otelkit._stderr import say
from otelkit.errors import SettingsError
from otelkit.pipeline import _exporters
from otelkit.pipeline._failures import Failures
from otelkit.pipeline._reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from otelkit.settings import Settings, Signal

__all__ = ["Deadline", "Pipeline", "run_against"]

# With nothing listening, waiting longer than this at exit only slows reloads down: the data has nowhere to go.
_UNREACHABLE_GRACE = 0.5


@dataclass(frozen=True)
class Deadline:
    """A point in time that several waits share, so that they never add up.

    Args:
        at: `time.monotonic()` seconds.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Make the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())


def run_against(deadline: Deadline, jobs: Iterable[Callable[[], Any]]) -> bool:
    """Run `jobs` side by side and wait for all of them, but never past the deadline.

    A job that is late goes on in its daemon thread and is not waited for. Exceptions count as failures.

    Returns:
        True when every job returned in time without raising and without returning False.
    """
    results: list[bool] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            results.append(job() is not False)
        except Exception:  # noqa: BLE001  a failing exporter or a user's processor must not break shutdown
            results.append(False)

    threads = []
    expected = 0
    for job in jobs:
        expected += 1
        thread = threading.Thread(target=run, args=(job,), name="otelkit-flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 and later start no thread at exit: one after the other, while there is time
            if deadline.remaining:
                run(job)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join(deadline.remaining)
    return len(results) == expected and all(results)


@dataclass
class Pipeline:
    """Builds, flushes and closes the way out for all three signals.

    Args:
        settings: Where each signal goes, and how often.
    """

    settings: Settings
    _failures: Failures = field(init=False)
    _parts: dict[str, list[Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Start listening to what the exporters report."""
        self._failures = Failures(self.settings.diagnostics_level)
        self._failures.listen()

    def span_processors(self) -> Sequence[SpanProcessor]:
        """Build the processors that carry spans out; empty when traces go nowhere."""
        settings = self.settings

        def otlp() -> SpanProcessor:
            return BatchSpanProcessor(
                _exporters.spans(settings.traces, self._failures),
                max_queue_size=settings.span_queue_size,
                schedule_delay_millis=settings.span_delay * 1000,
                max_export_batch_size=settings.span_batch_size,
                export_timeout_millis=settings.span_export_timeout * 1000,
            )

        console = partial(SimpleSpanProcessor, ConsoleSpanExporter())
        return self._build("traces", settings.traces, {"otlp": otlp, "console": console})

    def log_processors(self) -> Sequence[LogRecordProcessor]:
        """Build the processors that carry log records out; empty when records go to stdout only."""
        settings = self.settings

        def otlp() -> LogRecordProcessor:
            return BatchLogRecordProcessor(
                _exporters.logs(settings.logs, self._failures),
                schedule_delay_millis=settings.log_delay * 1000,
                max_export_batch_size=settings.log_batch_size,
                export_timeout_millis=settings.log_export_timeout * 1000,
                max_queue_size=settings.log_queue_size,
            )

        return self._build("logs", settings.logs, {"otlp": otlp})

    def metric_readers(self) -> Sequence[MetricReader]:
        """Build the readers that carry metrics out; empty when metrics go nowhere."""
        settings = self.settings

        def periodic(exporter: MetricExporter) -> MetricReader:
            return Reader(
                exporter,
                export_interval_millis=settings.metric_interval * 1000,
                export_timeout_millis=settings.metric_timeout * 1000,
            )

        def otlp() -> MetricReader:
            preferences = (settings.temporality, settings.histogram_aggregation)
            return periodic(_exporters.metrics(settings.metrics, *preferences, self._failures))

        builders = {
            "otlp": otlp,
            "console": lambda: periodic(ConsoleMetricExporter()),
            "prometheus": lambda: _exporters.prometheus(settings.prometheus_host, settings.prometheus_port),
        }
        return self._build("metrics", settings.metrics, builders)

    def _build(self, name: str, signal: Signal, builders: Mapping[str, Callable[[], Any]]) -> list[Any]:
        """Build what one signal asks for; what is not installed, or whose port is taken, costs that road only.

        Raises:
            SettingsError: It was asked for in code, and its package is not installed.
        """
        parts = []
        for exporter in signal.exporters:
            if exporter not in builders:
                continue
            try:
                parts.append(builders[exporter]())
            except ImportError as error:
                extra = "grpc" if exporter == "otlp" else exporter
                problem = f'{name} by {extra}: needs `pip install "otelkit[{extra}]"` ({error})'
                if self.settings.origin(f"{name}.{'protocol' if exporter == 'otlp' else 'exporters'}") == "argument":
                    raise SettingsError([problem]) from error
                say(f"{problem}; {name} are not exported that way")
            except OSError as error:
                say(f"{name} by {exporter}: {error}; {name} are not exported that way")
        self._parts[name] = parts
        return parts

    def probe(self) -> None:
        """Look, in the background, whether somebody listens at each endpoint, and say once where nobody does."""
        self._failures.probe((self.settings.traces, self.settings.metrics, self.settings.logs))

    def grace(self, timeout: float) -> float:
        """Shorten a wait at exit where it cannot help: every endpoint is known to have nobody listening.

        Args:
            timeout: Seconds the caller would wait.
        """
        return min(timeout, _UNREACHABLE_GRACE) if self._failures.unreachable() else timeout

    def force_flush(self, signal: str) -> bool:
        """Send what is buffered of one signal; blocks until the exporter is done with it."""
        flushed = [part.force_flush() is not False for part in self._parts.get(signal, ())]
        return all(flushed)

    def close(self, signal: str) -> None:
        """Send what is buffered of one signal and stop; blocks likewise."""
        for part in self._parts.pop(signal, ()):
            part.shutdown()
