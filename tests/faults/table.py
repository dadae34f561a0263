"""The only place that lists which guarantees are proven, under which faults, with which kits: one table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from faults import cells
from faults.bench import GRPC, HTTP, KITS, OTELKIT, SERVERS
from faults.secrets import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults.bench import Bench

PROTOCOLS = (HTTP, GRPC)
EXPLICIT, LAUNCHER = (("explicit",), ("launcher",))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of the table.

    Args:
        guarantee: What it proves, for example "G1".
        name: What is done, in the words of the page.
        run: Does it, and leaves figures in the bench's verdict.
        quick: The kits that also run at the quick level.
        kits: All kits that it makes sense for.
        beside: How many cells may run at the same time as this one without changing its figures.
    """

    guarantee: str
    name: str
    run: Callable[[Bench], None]
    quick: Sequence[str] = ()
    kits: Sequence[str] = KITS
    beside: int = 2


def _sigterm() -> Iterator[Cell]:
    # At the quick level each server meets one protocol and one way of setting up; together they meet all.
    quick = {
        ("uvicorn", HTTP, 100): OTELKIT,
        ("uvicorn", GRPC, 3000): EXPLICIT,
        ("uvicorn --workers 2", GRPC, 100): LAUNCHER,
        ("gunicorn asgi", HTTP, 100): EXPLICIT,
        ("gunicorn asgi --preload", GRPC, 100): LAUNCHER,
        ("gunicorn uvicorn worker", GRPC, 100): EXPLICIT,
        ("gunicorn uvicorn worker --preload", HTTP, 100): LAUNCHER,
    }
    for key in ((server, protocol, count) for server in SERVERS for protocol in PROTOCOLS for count in (100, 3000)):
        server, protocol, count = key
        yield Cell(
            guarantee="G1",
            name=f"{server}, {protocol}, {count} requests",
            run=partial(cells.sigterm, server=server, protocol=protocol, count=count),
            quick=quick.get(key, ()),
        )


def _tasks() -> Iterator[Cell]:
    quick = {(0, HTTP): EXPLICIT, (20, GRPC): LAUNCHER}
    ends = {0: "SIGTERM at once", 20: "a child for 20 tasks", 1: "a child for each task"}
    for per_child, protocol in ((per_child, protocol) for per_child in ends for protocol in PROTOCOLS):
        yield Cell(
            guarantee="G2",
            name=f"{ends[per_child]}, {protocol}",
            run=partial(cells.tasks, per_child=per_child, protocol=protocol),
            quick=quick.get((per_child, protocol), ()),
            beside=4,
        )


def _children() -> Iterator[Cell]:
    quick = {("os.fork", "raise", GRPC), ("fork", "exit", GRPC)}
    methods = {name: name for name in ("os.fork", "fork", "spawn", "forkserver")} | {"early": "os.fork before set-up"}
    for method, shown in methods.items():
        for end in ("return", "raise", "exit"):
            for protocol in PROTOCOLS:
                sampled = (end, protocol) == ("return", HTTP) or (method, end, protocol) in quick
                yield Cell(
                    guarantee="G3",
                    name=f"{shown}, {end}, {protocol}",
                    run=partial(cells.children, method=method, end=end, protocol=protocol),
                    # A launcher has set the parent up before it can fork.
                    kits=EXPLICIT if method == "early" else KITS,
                    quick=EXPLICIT if sampled else (),
                )


def _outages() -> Iterator[Cell]:
    quick = {("down", HTTP), ("503", GRPC), ("429:1", HTTP), ("hang", GRPC)}
    quick_overflow = {("down", GRPC), ("503", HTTP)}
    for fault, protocol in ((fault, protocol) for fault in ("down", "503", "429:1", "hang") for protocol in PROTOCOLS):
        yield Cell(
            guarantee="G4",
            name=f"{fault}, {protocol}",
            run=partial(cells.outage, fault=fault, protocol=protocol),
            quick=EXPLICIT if (fault, protocol) in quick else (),
            beside=4,
        )
        yield Cell(
            guarantee="G4",
            name=f"{fault}, {protocol}, above the bound",
            run=partial(cells.overflow, fault=fault, protocol=protocol),
            quick=EXPLICIT if (fault, protocol) in quick_overflow else (),
            beside=4,
        )
    for protocol in PROTOCOLS:
        yield Cell(
            guarantee="G4",
            name=f"the Collector killed, {protocol}",
            run=partial(cells.collector_killed, protocol=protocol),
            quick=EXPLICIT if protocol == HTTP else (),
            beside=4,
        )
        for below in (True, False):
            yield Cell(
                guarantee="G4",
                name=f"the Collector's memory limiter refuses, {protocol}{'' if below else ', above the bound'}",
                run=partial(cells.collector_refuses, protocol=protocol, below=below),
                quick=EXPLICIT if protocol == GRPC else (),
                beside=4,
            )


def _leaving() -> Iterator[Cell]:
    for number, fault in enumerate(("ok", "down", "hang", "blackhole", "503", "429", "400")):
        for protocol in PROTOCOLS:
            yield Cell(
                guarantee="G5",
                name=f"{fault}, {protocol}",
                run=partial(cells.leaving, fault=fault, protocol=protocol),
                quick=EXPLICIT if fault == "ok" or PROTOCOLS[number % 2] == protocol else (),
            )
    for server in ("uvicorn", "gunicorn asgi"):
        for fault in ("hang", "down"):
            yield Cell(
                guarantee="G5",
                name=f"{server} at SIGTERM, {fault}, {HTTP}",
                run=partial(cells.leaving_server, server=server, fault=fault, protocol=HTTP),
                quick=LAUNCHER if (server, fault) == ("uvicorn", "hang") else (),
                beside=4,
            )


def _unnoticed() -> Iterator[Cell]:
    for protocol in PROTOCOLS:
        yield Cell(
            guarantee="G6",
            name=f"nobody listens, {protocol}",
            run=partial(cells.growth, protocol=protocol),
            quick=EXPLICIT if protocol == HTTP else (),
        )
        yield Cell(
            guarantee="G6",
            name=f"a healthy and a hanging receiver in turns, {protocol}",
            run=partial(cells.slowed, protocol=protocol),
            quick=EXPLICIT if protocol == HTTP else (),
            beside=1,
        )


def _accounts() -> Iterator[Cell]:
    for protocol in PROTOCOLS:
        yield Cell(
            guarantee="G7",
            name=f"2000 spans and records a second, a batch a second is taken, {protocol}",
            run=partial(cells.flood, protocol=protocol),
            quick=EXPLICIT,
        )
    never = 60.0  # the script has ended before
    faults: dict[str, dict[str, Any]] = {
        "down": {"loss": False},
        "503": {"loss": False},
        "429:1": {"loss": False},
        "hang": {"loss": False},
        "blackhole": {"loss": False},
        "reset": {"loss": False},
        "slow:1": {"loss": False},
        "400": {"loss": True},
        "partial:7": {"loss": True, "healed": never},
        "too_large:20000": {"loss": False, "healed": never, "size": 3000},
        "too_large:2000": {"loss": True, "healed": never, "size": 3000},
    }
    for number, (fault, more) in enumerate(faults.items()):
        for protocol in PROTOCOLS:
            yield Cell(
                guarantee="G7",
                name=f"{fault}, {protocol}",
                run=partial(cells.accounted, fault=fault, protocol=protocol, **more),
                quick=LAUNCHER if PROTOCOLS[number % 2] == protocol else (),
                beside=4,
            )


def _hostile() -> Iterator[Cell]:
    for protocol in PROTOCOLS:
        for kind in ("spans", "logs", "metrics"):
            yield Cell(
                guarantee="G8",
                name=f"hostile values in {kind}, {protocol}",
                run=partial(cells.poisoned, kind=kind, protocol=protocol),
                quick=EXPLICIT if (kind == "metrics") == (protocol == GRPC) else (),
            )
        yield Cell(
            guarantee="G8",
            name=f"400 spans of 20 kB, {protocol}",
            run=partial(cells.large, protocol=protocol),
            quick=LAUNCHER if protocol == GRPC else (),
        )
        yield Cell(
            guarantee="G9",
            name=f"a malformed log call in a route, {protocol}",
            run=partial(cells.malformed, protocol=protocol),
            quick=OTELKIT if protocol == HTTP else (),
        )


def _strangers() -> Iterator[Cell]:
    for protocol in PROTOCOLS:
        yield Cell(
            guarantee="G10",
            name=f"secrets in {len(SECRETS)} places, {protocol}",
            run=partial(cells.secrets, protocol=protocol),
            quick=LAUNCHER if protocol == HTTP else EXPLICIT,
        )
        yield Cell(
            guarantee="G11",
            name=f"invented hosts, paths and methods, 5000 labels, {protocol}",
            run=partial(cells.bounded, protocol=protocol),
            quick=EXPLICIT if protocol == HTTP else LAUNCHER,
        )
        yield Cell(
            guarantee="G12",
            name=f"headers of 60 kB, a failing request that asks not to be traced, {protocol}",
            run=partial(cells.strangers, protocol=protocol),
            quick=LAUNCHER if protocol == GRPC else EXPLICIT,
        )


def _again() -> Iterator[Cell]:
    for times, protocol in ((times, protocol) for times in (2, 5) for protocol in PROTOCOLS):
        yield Cell(
            guarantee="G14",
            name=f"set up {times} times, {protocol}",
            run=partial(cells.again, times=times, protocol=protocol),
            quick=OTELKIT if (times, protocol) in {(2, HTTP), (5, GRPC)} else (),
        )


CELLS = [
    *_sigterm(),
    *_tasks(),
    *_children(),
    *_outages(),
    *_leaving(),
    *_unnoticed(),
    *_accounts(),
    *_hostile(),
    *_strangers(),
    *_again(),
]
