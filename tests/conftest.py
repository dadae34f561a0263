"""The only place for what every test lane shares: a clean environment, the built wheel, and the counts of the run."""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import thread as pool
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import otelkit
from otelkit import _serving, _stderr
from support import closing, lanes
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("support.query_contract")  # tests that several modules share

ROOT = Path(__file__).resolve().parents[1]
OWN = {lanes.VARIABLE, closing.COUNTS, closing.REQUIRED}


def telemetry_variables() -> dict[str, str]:
    """Return the variables that would change what the code under test does."""
    return {k: v for k, v in os.environ.items() if k.startswith(("OTEL_", "OTELKIT_")) and k not in OWN}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the task runner insist on the built wheel."""
    parser.addoption(
        "--installed", action="store_true", help="fail unless otelkit is imported from outside the checkout"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test something else than what the user would run."""
    if leaked := telemetry_variables():
        raise pytest.UsageError(f"unset these variables, tests set their own: {', '.join(sorted(leaked))}")
    if config.getoption("--installed") and Path(otelkit.__file__).is_relative_to(ROOT / "otelkit"):
        raise pytest.UsageError(f"otelkit is imported from the checkout ({otelkit.__file__}), not from the built wheel")


def pytest_report_header() -> str:
    """Say which otelkit is tested."""
    return f"otelkit {otelkit.__version__} from {Path(otelkit.__file__).parent}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lanes that noted themselves, and leave the counts for the closing line of the whole run."""
    if hasattr(terminalreporter.config, "workerinput"):
        return  # a worker of xdist: its tests are counted by the process that started it
    if path := os.environ.get(closing.COUNTS):
        closing.note_counts(Path(path), closing.Counts.of(terminalreporter.stats))
    for lane in lanes.read(Path(os.environ.get(lanes.VARIABLE, os.devnull))):
        terminalreporter.write_line(str(lane))


@pytest.fixture(autouse=True)
def _serving_nobody() -> Iterator[None]:
    """Begin each test in a process that serves no requests, whatever application an earlier one called."""
    # Not the test's own `monkeypatch`: it is to be undone before `_unchanged_environment` looks.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_serving, "_marked", False)
        yield


def acts(thread: threading.Thread) -> bool:
    """Tell whether a thread may still do something by itself; an idle worker of a pool does not."""
    frame = sys._current_frames().get(thread.ident or 0)
    return thread.is_alive() and (frame is None or frame.f_code.co_filename != pool.__file__)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind: what it does later, it would do to another test."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    wait_until(lambda: not any(map(acts, left)), within=5, what=f"{left} ended")


@pytest.fixture(autouse=True)
def _unchanged_environment() -> Iterator[None]:
    """Fail a test that leaves a variable behind for those after it."""
    before = telemetry_variables()
    yield
    assert telemetry_variables() == before


@pytest.fixture(autouse=True)
def _unchanged_reports() -> Iterator[None]:
    """Give the `opentelemetry` logger back: where one does not propagate as a test begins, pytest listens to it."""
    logger = logging.getLogger("opentelemetry")
    before = (list(logger.handlers), logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before


@pytest.fixture
def fresh_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests said on stderr."""
    monkeypatch.setattr(_stderr, "_said", {})
