"""The only place that measures the process itself: processor, memory, threads, files, garbage, event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from contextvars import Context
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otelkit import _catalog
from otelkit._stderr import say_once
from otelkit.errors import SettingsError
from otelkit.integrations import Verdict
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Histogram

    from otelkit.integrations import Wiring

_PERIOD = 0.25  # seconds between two looks at an event loop
_PROC = Path("/proc/self")
_MACHINE = Path("/proc")
_START_TIME = 22 - 3  # of proc(5)'s numbered fields, what stands behind the command in brackets begins at the third
_CONTRIB = "system_metrics"


class ProcessIntegration:
    """What a process tells about itself, from the standard library and /proc."""

    name = "process"
    replaces = frozenset({_CONTRIB})

    def __init__(self) -> None:
        self._active = False
        self._loops: Loops | None = None

    def install(self, wiring: Wiring, options: object | None) -> Verdict:
        """Measure from now on.

        Args:
            wiring: Providers and settings.
            options: None: there are none.

        Raises:
            SettingsError: `options` is something.
        """
        if options is not None:
            raise SettingsError([f"integrations['process'] must be a bool, not {type(options).__name__}"])
        if self._loops is None:
            self._loops = self._create(wiring)
        self._active = True
        _loops[:] = [self._loops]
        reason = "by the standard library and /proc"
        if not _PROC.exists():
            reason = "by the standard library; there is no /proc, so no memory, threads and files"
        if entry_points(group="opentelemetry_instrumentor", name=_CONTRIB):
            reason += f"; left out, since it would measure the same: {_CONTRIB}"
        return Verdict(integration=self.name, choice="ours", reason=reason)

    def uninstall(self) -> None:
        """Measure nothing any more."""
        self._active = False
        if self._loops is not None:
            self._loops.leave()
        _loops.clear()

    def _create(self, wiring: Wiring) -> Loops:
        meter = wiring.meter_provider.get_meter("otelkit.integrations.process")
        for name, read in _READ.items():
            create(meter, _catalog.metric(name), [partial(self._observe, name, read)])
        return Loops(create(meter, _catalog.metric("python.eventloop.lag")))

    def _observe(
        self, name: str, read: Callable[[], Iterable[Observation]], _: CallbackOptions
    ) -> Iterable[Observation]:
        try:
            return list(read()) if self._active else []
        except Exception as error:  # noqa: BLE001  a system may refuse any of these, and costs one metric
            say_once(f"process:{name}", f"{name} is not measured: {type(error).__name__}: {error}")
            return []


def _processor() -> Iterable[Observation]:
    used = os.times()
    yield Observation(used.user, {"cpu.mode": "user"})
    yield Observation(used.system, {"cpu.mode": "system"})


def _pages(column: int) -> Iterable[Observation]:
    """Read one of the sizes that the kernel counts in pages: virtual memory first, then what is resident."""
    if (statm := _PROC / "statm").exists():
        yield Observation(int(statm.read_text(encoding="ascii").split()[column]) * os.sysconf("SC_PAGE_SIZE"))


def _entries(folder: str, own: int) -> Iterable[Observation]:
    """Count what the kernel lists, but for what looking there has opened itself."""
    if (entries := _PROC / folder).exists():
        yield Observation(len(list(entries.iterdir())) - own)


def _program() -> Iterable[Observation]:
    if _PROC.exists():
        yield Observation(_program_started())


@cache
def _program_started() -> float:
    """Tell when the leader of the process group was started: what a shell, an init or a container starts leads one.

    Read once: it cannot change, and a clock that is set would move it.
    """
    about = _MACHINE / str(os.getpgrp()) / "stat"  # a leader may have ended, or be outside of the container
    text = (about if about.exists() else _PROC / "stat").read_text(encoding="utf-8", errors="replace")
    ticks = int(text.rpartition(")")[2].split()[_START_TIME])
    lines = (_MACHINE / "stat").read_text(encoding="ascii").splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def _collector(part: str) -> Iterable[Observation]:
    if hasattr(gc, "get_stats"):
        for generation, stats in enumerate(gc.get_stats()):
            yield Observation(stats[part], {"cpython.gc.generation": generation})


_READ: dict[str, Callable[[], Iterable[Observation]]] = {
    "process.cpu.time": _processor,
    "process.memory.usage": partial(_pages, 1),
    "process.memory.virtual": partial(_pages, 0),
    "process.thread.count": partial(_entries, "task", 0),
    "process.unix.file_descriptor.count": partial(_entries, "fd", 1),
    "otelkit.program.start.time": _program,
    "cpython.gc.collections": partial(_collector, "collections"),
    "cpython.gc.collected_objects": partial(_collector, "collected"),
    "cpython.gc.uncollectable_objects": partial(_collector, "uncollectable"),
}


# -- event loops -------------------------------------------------------------------------------------------------------


class Loops:
    """Event loops that are looked at four times a second: a timer that runs late waited for something that blocked.

    A timer, not a task: it ends with its loop, and nobody is told of it.

    Args:
        lag: Where it is recorded how late one was.
    """

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._known: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._last: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None

    def look_at(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at a loop from now on; cheap where that is done already."""
        if self._last() is loop:
            return
        self._last = weakref.ref(loop)
        if loop not in self._known:
            self._known.add(loop)
            self._wait(loop)

    def leave(self) -> None:
        """Look at no loop any more."""
        self._known.clear()
        self._last = lambda: None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        # In an empty context: the timer lives as long as its loop, and what a request has bound must not.
        loop.call_later(_PERIOD, self._look, loop, perf_counter() + _PERIOD, context=Context())

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if loop in self._known:
            self._lag.record(max(0.0, perf_counter() - due))
            self._wait(loop)


_loops: list[Loops] = []


def look_at_running_loop() -> None:
    """Measure how late the event loop is that this request runs in, where that is wanted. Never raises."""
    if _loops:
        loop: Any = asyncio._get_running_loop()  # noqa: SLF001  the form that does not raise under trio
        if loop is not None:
            try:
                _loops[0].look_at(loop)
            except Exception as error:  # noqa: BLE001  telemetry never raises into the application
                say_once("process:loop", f"python.eventloop.lag is not measured: {type(error).__name__}: {error}")
