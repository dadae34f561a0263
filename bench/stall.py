"""The only place that measures how long an export in a background thread holds the event loop up.

An asyncio loop sends a byte through a socketpair and waits for its echo, again and again, while a thread does what the
exporting thread does with 512 spans of 8 attributes: encode what is not encoded yet, and send it to another process.
What counts is the slowest round trip: a request that waits for it is that much later. Variants take turns, so that the
machine's noise hits all of them alike; where doing nothing takes as long as the gate, nothing can be judged.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

import discard
from otelkit.otlp import encode
from otelkit.pipeline._transport import open_transport
from otelkit.settings import Settings
from spans import ended_spans

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 30
GATE_MS = 1.0
_TRIPS = 5  # at least, however soon the work is done


def measure(repeats: int = REPEATS) -> dict[str, Any]:
    """Return the figures of each variant, and whether otelkit's are good enough."""
    with discard.running() as endpoint:
        return _measure(endpoint, repeats)


def _measure(endpoint: str, repeats: int) -> dict[str, Any]:
    transport = open_transport("traces", Settings(endpoint=endpoint, environ={}).traces)
    vanilla = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    spans = ended_spans(512)
    resource, scope = spans[0].resource, spans[0].instrumentation_scope
    items = list(map(encode.Encoder().span, spans))  # where the spans end: in the application's time, see `encoding`
    works: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "vanilla": lambda: vanilla.export(spans),
        "otelkit": lambda: transport.send(encode.request([(resource, scope, items)]), 10),
    }
    worst: dict[str, list[float]] = {name: [] for name in works}
    late: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(-2, repeats):
        for name, work in works.items():
            trips = asyncio.run(_round_trips(work))
            if repeat >= 0:  # the first ones fill caches
                worst[name].append(max(trips) * 1000)
                late[name].append(sum(trip for trip in trips if trip > GATE_MS / 1000) * 1000)
    figures: dict[str, dict[str, Any]] = {
        name: {
            "worst_ms": round(median(worst[name]), 3),
            "ms_in_trips_above_1_ms": round(median(late[name]), 3),
            "rounds": [round(value, 3) for value in worst[name]],
        }
        for name in works
    }
    judged = figures["none"]["worst_ms"] < GATE_MS
    passed = judged and figures["otelkit"]["worst_ms"] <= GATE_MS
    return {"variants": figures, "gate_ms": GATE_MS, "judged": judged, "passed": passed}


async def _round_trips(work: Callable[[], Any]) -> list[float]:
    """Return the seconds of every round trip from when the work begins until it has ended."""
    here, there = socket.socketpair()
    for end in (here, there):
        end.settimeout(0)
    loop = asyncio.get_running_loop()

    async def echo() -> None:
        while data := await loop.sock_recv(there, 1):
            await loop.sock_sendall(there, data)

    begin, done = threading.Event(), threading.Event()

    def run() -> None:
        begin.wait()
        work()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    echoing = loop.create_task(echo())
    trips: list[float] = []
    try:
        for _ in range(100):  # the first ones are slower
            await _round_trip(loop, here)
        begin.set()
        while not done.is_set() or len(trips) < _TRIPS:
            trips.append(await _round_trip(loop, here))
    finally:
        begin.set()
        here.close()
        await echoing
        there.close()
        thread.join()
    return trips


async def _round_trip(loop: asyncio.AbstractEventLoop, here: socket.socket) -> float:
    started = time.perf_counter()
    await loop.sock_sendall(here, b"x")
    await loop.sock_recv(here, 1)
    return time.perf_counter() - started
