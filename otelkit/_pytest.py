"""The only place for the pytest plugin: the fixture `captel`, the marker `telemetry_budget`, a run that sends nothing.

It loads nothing of OpenTelemetry until a test uses it or the application configures telemetry; `-p no:otelkit` leaves
it out altogether.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otelkit import _capturing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from otelkit.testing import Captel

_MARKER = "telemetry_budget"
_HELP = (
    "telemetry_budget(spans, statements, logs, log_bytes, metric_points): "
    "fail the test where what it emits is more than that"
)


def _make_pipeline(*arguments: Any) -> Any:
    from otelkit.testing._captured import Captured  # noqa: PLC0415  loads the SDK, once it is needed

    return Captured(*arguments)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Begin before any module of the application is imported: many call `configure()` there."""
    if _capturing.make_pipeline is None:
        _capturing.make_pipeline = _make_pipeline


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _HELP)


def pytest_unconfigure() -> None:
    """Leave a process that goes on after its tests as it was."""
    if _capturing.make_pipeline is _make_pipeline:
        _capturing.make_pipeline = None


@pytest.fixture
def captel() -> Iterator[Captel]:
    """What this test emits: spans, log records and metrics, redacted as in production; nothing is sent."""
    from otelkit import testing  # noqa: PLC0415  loads the SDK, once it is needed

    with testing.captured() as captured:
        yield captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Hold a test to its budget; what its fixtures emit before and after is not counted."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None:
        return (yield)
    from otelkit import testing  # noqa: PLC0415  loads the SDK, once it is needed

    if marker.args:
        pytest.fail(f"telemetry_budget takes names: {', '.join(testing.LIMITS)}", pytrace=False)
    with testing.captured() as during:
        outcome = yield
    try:
        text = testing.exceeded(during, marker.kwargs)
    except ValueError as error:
        text = str(error)
    if text:
        pytest.fail(text, pytrace=False)
    return outcome
