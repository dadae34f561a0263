"""The only place where a test looks at the telemetry of the code under test: nothing is sent, everything is kept.

With pytest, by the fixture `captel`, which comes with the package:

    def test_an_order_is_one_trace(captel, client):
        client.post("/orders")
        assert captel.assert_one_trace().roots[0].name == "POST /orders"
        captel.assert_no_secret("4111 1111 1111 1111")

Without pytest, by `captured`. Spans, records and metrics take the way that they take in production, to the last step.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from otelkit import _capturing, _runtime, metrics
from otelkit.testing._budget import LIMITS, check_limits, exceeded
from otelkit.testing._captel import Captel, Trace
from otelkit.testing._captured import Captured, Sink, opened, stay_open, without_guests
from otelkit.testing._readings import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LIMITS", "Captel", "Reading", "Trace", "capture_only", "captured", "check_limits", "exceeded"]

_entered: list[Captured] = []


def capture_only() -> None:
    """Let this process send nothing from now on: an application's `configure()` joins the captured providers.

    The pytest plugin does it when it starts. Elsewhere it has to be called before the application configures telemetry.
    """
    _capturing.make_pipeline = Captured


@contextmanager
def captured() -> Iterator[Captel]:
    """Capture what this process emits meanwhile; for `unittest`, scripts and whatever has no fixtures.

        with otelkit.testing.captured() as captel:
            place_order()
        assert captel.span("place_order").status == "OK"

    What was captured can be asked for afterwards, too. May be nested; each has all that is emitted while it lasts.
    Meanwhile a declared metric raises `otelkit.MeasurementError` for what it does not declare.

    Raises:
        RuntimeError: This process sends its telemetry already, or `OTEL_SDK_DISABLED` switches it off.
    """
    if _capturing.make_pipeline is None:
        capture_only()
    sink = Sink()
    with ExitStack() as stack:
        if _entered:
            pipeline = _entered[-1]
        else:
            with _unseen_pytest():
                telemetry = stack.enter_context(_runtime.captured())
            pipeline = cast("Captured", telemetry._pipeline)  # noqa: SLF001  made by this package
            stay_open(telemetry)
            stack.enter_context(without_guests(telemetry))
            stack.enter_context(metrics.strict())
        _entered.append(pipeline)
        stack.callback(_entered.pop)
        pipeline.collect()  # what was measured before belongs to whoever listened then
        stack.enter_context(opened(sink))
        stack.callback(pipeline.collect)
        yield Captel(sink, pipeline)


@contextmanager
def _unseen_pytest() -> Iterator[None]:
    """Hide the handlers that pytest puts on the root logger: they are no sign that somebody has set logging up."""
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [handler for handler in handlers if not type(handler).__module__.startswith("_pytest.")]
    try:
        yield
    finally:
        root.handlers = handlers
