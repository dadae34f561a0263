"""What a process tells about itself, and what declared metrics do in real processes: before telemetry, after a fork."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, http_get, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from otelkit.otlp.model import Point

WITHIN = 20.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def environment(receiver: Receiver, **extra: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, "OTEL_METRIC_EXPORT_INTERVAL": "200", **extra}


def run_script(folder: Path, receiver: Receiver, code: str, **extra: str) -> Process:
    script = folder / "script.py"
    script.write_text(code)
    process = run([PYTHON, "-W", "error", script], folder=folder, env=environment(receiver, **extra))
    assert process.returncode == 0, process.tail()
    return process


def last(receiver: Receiver, prefix: str) -> dict[str, dict[str, Point]]:
    """Return the last point of each series, by instance, then by name and attribute values."""
    found: dict[str, dict[str, Point]] = {}
    for point in receiver.points():
        if point.metric.startswith(prefix):
            key = "/".join([point.metric, *(str(value) for _, value in sorted(point.attributes.items()))])
            found.setdefault(str(point.resource["service.instance.id"]), {})[key] = point
    return found


def values(points: Mapping[str, Point]) -> dict[str, Any]:
    return {key: point.count if point.kind == "histogram" else point.value for key, point in points.items()}


# -- the process -------------------------------------------------------------------------------------------------------

BUSY = """
import gc, json, os, threading, otelkit
telemetry = otelkit.configure(service_name="busy")
files = [open(os.devnull) for _ in range(20)]
held = bytearray(50_000_000)
release = threading.Event()
threads = [threading.Thread(target=release.wait) for _ in range(7)]
for thread in threads:
    thread.start()
while os.times().user < 0.3:
    sum(range(10_000))
gc.collect()
telemetry.force_flush()
release.set()
"""
ALL = {
    "process.cpu.time/user",
    "process.cpu.time/system",
    "process.memory.usage",
    "process.memory.virtual",
    "process.thread.count",
    "process.unix.file_descriptor.count",
    *(
        f"cpython.gc.{name}/{n}"
        for name in ("collections", "collected_objects", "uncollectable_objects")
        for n in range(3)
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory, threads and files are read from /proc")
def test_a_process_tells_what_it_uses_in_one_series_per_fact(tmp_path: Path, receiver: Receiver) -> None:
    run_script(tmp_path, receiver, BUSY)
    (series,) = (
        {**a, **b}
        for a, b in zip(last(receiver, "process.").values(), last(receiver, "cpython.").values(), strict=True)
    )
    assert set(series) == ALL
    told = values(series)
    assert told["process.cpu.time/user"] >= 0.3
    assert series["process.cpu.time/user"].monotonic
    assert 50_000_000 < told["process.memory.usage"] < told["process.memory.virtual"]
    threads = [point.value or 0 for point in receiver.points() if point.metric == "process.thread.count"]
    assert max(threads) >= 8
    assert 20 < told["process.unix.file_descriptor.count"] < 200
    assert told["cpython.gc.collections/2"] >= 1
    units = {point.metric: point.unit for point in series.values()}
    assert units["process.cpu.time"] == "s"
    assert units["process.memory.usage"] == "By"


@pytest.mark.parametrize(
    ("argument", "variable"), [("integrations={'process': False}", ""), ("", "process")], ids=["argument", "variable"]
)
def test_it_can_be_switched_off(tmp_path: Path, receiver: Receiver, argument: str, variable: str) -> None:
    code = f"import otelkit\ntelemetry = otelkit.configure({argument})\ntelemetry.force_flush()\n"
    run_script(tmp_path, receiver, code, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=variable)
    assert last(receiver, "otelkit.") != {}
    assert last(receiver, "process.") == last(receiver, "cpython.") == {}


REPLACING = """
import subprocess, sys
worker = "import otelkit; otelkit.configure(service_name='api').force_flush()"
for _ in range(2):
    subprocess.run([sys.executable, "-W", "error", "-c", worker], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="when a program was started is read from /proc")
def test_workers_that_are_replaced_tell_one_start_and_a_program_that_is_restarted_another(
    tmp_path: Path, receiver: Receiver
) -> None:
    before = time.time()
    for _ in range(2):
        run_script(tmp_path, receiver, REPLACING)
    found = last(receiver, "otelkit.program.start.time").values()
    started = [point.value or 0 for series in found for point in series.values()]
    assert len(started) == 4
    assert len(set(started)) == 2
    assert before - 2 < min(started) < max(started) < time.time() + 2  # the kernel tells of the boot in whole seconds


BLOCKING = """
import asyncio, time
import otelkit
from otelkit.integrations.asgi import TelemetryMiddleware
otelkit.configure(service_name="api")
async def answer(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/block":
        time.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
app = TelemetryMiddleware(answer)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_call_that_blocks_the_event_loop_is_seen_in_its_lag(tmp_path: Path, receiver: Receiver, loop: str) -> None:
    (tmp_path / "api.py").write_text(BLOCKING)
    port = free_port()

    def lags() -> list[Point]:
        return list(last(receiver, "python.eventloop.lag").get(instance(), {}).values())

    def instance() -> str:
        return next((str(point.resource["service.instance.id"]) for point in receiver.points()), "")

    argv = [PYTHON, "-m", "uvicorn", "--port", str(port), "--loop", loop, "--log-level", "warning", "api:app"]
    with Process(argv, folder=tmp_path, env=environment(receiver)) as server:
        server.wait_http(f"http://{HOST}:{port}/")
        assert receiver.wait_for(lambda: [point for point in lags() if point.count >= 2], WITHIN)
        assert http_get(f"http://{HOST}:{port}/block", timeout=WITHIN).status == 200
        assert receiver.wait_for(lambda: [point for point in lags() if (point.max or 0) > 1], WITHIN)
    (point,) = lags()
    assert 0.25 in point.bounds
    assert (point.unit, point.attributes) == ("s", {})
    assert sum(point.buckets[point.bounds.index(1.0) + 1 :]) >= 1


# -- declared metrics --------------------------------------------------------------------------------------------------

DECLARED = """
import os
import otelkit
catalog = otelkit.Catalog("shop")
ORDERS = catalog.counter(
    "shop.orders", unit="{order}", description="x", attributes={"shop.order.status": ("placed", "declined")}
)
CHARGE = catalog.histogram("shop.charge.duration", unit="s", description="x")
catalog.observe("shop.stock", lambda: 3, unit="{item}", description="x")
ORDERS.add(1)  # nobody listens yet
telemetry = otelkit.configure(service_name="shop")
LATE = catalog.gauge("shop.oven", unit="Cel", description="x")
"""


def test_what_was_declared_before_telemetry_works_once_it_is_there(tmp_path: Path, receiver: Receiver) -> None:
    run_script(
        tmp_path,
        receiver,
        DECLARED + "ORDERS.add(2, {'shop.order.status': 'placed'})\nCHARGE.record(0.1)\nLATE.set(180)\n",
    )
    (series,) = last(receiver, "shop.").values()
    assert values(series) == {
        "shop.orders/placed": 2,
        "shop.orders/declined": 0,
        "shop.charge.duration": 1,
        "shop.stock": 3,
        "shop.oven": 180,
    }
    assert {(point.scope.name, point.scope.version) for point in series.values()} == {("shop", "")}


def test_a_forked_child_counts_from_zero_in_series_of_its_own(tmp_path: Path, receiver: Receiver) -> None:
    code = """
ORDERS.add(5, {"shop.order.status": "placed"})
if not (child := os.fork()):
    ORDERS.add(1, {"shop.order.status": "placed"})
    telemetry.force_flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    run_script(tmp_path, receiver, DECLARED + code)
    counted = [
        {key: value for key, value in values(series).items() if key.startswith("shop.orders")}
        for series in last(receiver, "shop.").values()
    ]
    assert sorted(counted, key=lambda each: each["shop.orders/placed"]) == [
        {"shop.orders/placed": 1, "shop.orders/declined": 0},
        {"shop.orders/placed": 5, "shop.orders/declined": 0},
    ]


def test_without_telemetry_a_catalog_costs_and_says_nothing(tmp_path: Path, receiver: Receiver) -> None:
    code = "import sys\nprint([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\n"
    before = DECLARED.split("telemetry =", maxsplit=1)[0]
    process = run_script(tmp_path, receiver, before + "with CHARGE.time():\n    pass\n" + code)
    assert (process.stdout, process.stderr) == ("[]\n", "")
    assert receiver.points() == []
