"""The only place that runs the contract of `Query` on the real Tempo, Loki and Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.query_contract import *  # noqa: F403  the tests themselves

if TYPE_CHECKING:
    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack


@pytest.fixture
def stored(query: Lgtm) -> Lgtm:
    """What is tested."""
    return query


@pytest.fixture
def otlp_http(running: Stack) -> str:
    """Where telemetry is sent."""
    return running.otlp_http
