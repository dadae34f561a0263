"""Bad settings, one process each: the program runs on, other signals arrive, one line says what is wrong (G13).

`tests/settings` is the slow lane: every variable with every sort of value, and these cases under the launchers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from otelkit.otlp.receiver import Receiver
from support import settled
from support.bad_settings import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bad_settings import Case


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(grpc_port=0) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_setting(case: Case, receiver: Receiver) -> None:
    settled.check(case, receiver, launch="explicit")


@pytest.mark.parametrize("launch", ["explicit", "otelkit-run"])
def test_wrong_propagators(receiver: Receiver, launch: str) -> None:
    outcome = settled.run(receiver, {"OTEL_PROPAGATORS": "foo"}, launch=launch)
    outcome.assert_unharmed()
    (line,) = outcome.said
    assert line.startswith('otelkit: OTEL_PROPAGATORS: "foo" is not tracecontext, baggage')
    assert line.endswith("tracecontext, baggage is used.")
    assert outcome.arrived == settled.SIGNALS


def test_wrong_propagators_end_the_plain_launcher_before_any_distro_is_loaded(receiver: Receiver) -> None:
    """Nobody but OpenTelemetry's API can help it (docs/explanation/limits.md); the line is its own."""
    outcome = settled.run(receiver, {"OTEL_PROPAGATORS": "foo"}, launch="launcher")
    assert outcome.returncode != 0
    assert "Propagator foo not found" in outcome.stderr
    assert outcome.arrived == frozenset()


def test_a_wrong_context_is_told_by_the_api_itself(receiver: Receiver) -> None:
    outcome = settled.run(receiver, {"OTEL_PYTHON_CONTEXT": "foo"})
    assert (outcome.returncode, outcome.printed) == (0, "done\n")
    assert "foo" in outcome.stderr.splitlines()[0]
    assert outcome.arrived == settled.SIGNALS


@pytest.mark.parametrize("raised", ["ModuleNotFoundError", "ImportError", "RuntimeError"])
def test_grpc_that_cannot_be_imported_costs_the_signals_that_use_it(
    receiver: Receiver, tmp_path: Path, raised: str
) -> None:
    package = tmp_path / "grpc" / "__init__.py"
    package.parent.mkdir()
    package.write_text(f"raise {raised}('it is broken')\n", encoding="utf-8")
    variables = {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc", **settled.with_first_on_path(tmp_path)}
    outcome = settled.run(receiver, variables)
    outcome.assert_unharmed()
    (line,) = outcome.said
    assert re.search(r"logs by grpc: .*it is broken.*; logs are not exported that way", line)
    assert outcome.arrived == {"traces", "metrics"}


def test_an_endpoint_where_nobody_is_is_named_once(receiver: Receiver) -> None:
    """By the probe or by the first attempt, whichever comes first; the places of the others are not in it."""
    variables = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:9/v1/logs", "OTELKIT_SHUTDOWN_TIMEOUT": "1.5"}
    outcome = settled.run(receiver, variables)
    outcome.assert_unharmed()
    (line,) = outcome.said
    assert "http://127.0.0.1:9/v1/logs" in line
    assert urlsplit(receiver.http_url).netloc not in line
    assert outcome.arrived == {"traces", "metrics"}
