"""The list of bad settings under the launchers, one process each: the same as in a program that calls `configure()`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support import settled
from support.bad_settings import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.bad_settings import Case


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(grpc_port=0) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_setting(case: Case, receiver: Receiver) -> None:
    launches = ("launcher", "otelkit-run")
    with ThreadPoolExecutor(len(launches)) as pool:
        list(pool.map(lambda launch: settled.check(case, receiver, launch=launch), launches))
