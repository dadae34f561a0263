"""Faults on purpose, for drills: none, unless `SHOP_FAULTS` names a file. It may change while the shop runs.

A line of the file is a fault and its value, `failing-requests 0.4`, or the fault alone; without lines, or without the
file, all is well.
Nothing here is part of an honest service: leave it out, with the lines that call it, where you start from this example.
"""

import asyncio
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from celery import signals
from fastapi import Depends, HTTPException
from fastapi.params import Depends as Dependency
from sqlalchemy import Engine, event, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import otelkit
from shop.db import Product

log = otelkit.get_logger()


class Fault(NamedTuple):
    """A fault.

    Args:
        usual: Its value where a line says none.
        about: What the value is.
        most: The highest value.
    """

    usual: float
    about: str
    most: float = math.inf


FAULTS = {
    "failing-requests": Fault(0.4, "share of the API's requests that end in an exception", 1),
    "slow-requests": Fault(2.6, "seconds that each request of the API takes longer"),
    "blocked-event-loop": Fault(0.5, "seconds for which each request of the API lets no other go on"),
    "pool-exhausted": Fault(15, "connections that the API takes out of its pool and keeps: all of them"),
    "slow-queries": Fault(1.5, "seconds that each statement of the API takes longer"),
    "database-deadlock": Fault(0.2, "share of the API's requests that PostgreSQL ends as a deadlock's victim", 1),
    "failing-tasks": Fault(0.6, "share of the tasks that fail", 1),
    "beat-halted": Fault(1, "beat asks for nothing, and looks at its schedule no more", 1),
    "upstream-failing": Fault(0.5, "share of payment's requests that it answers with 503", 1),
    "upstream-slow": Fault(3, "seconds that payment takes longer"),
    "refused-logs": Fault(40, "fields of 16 kB in a log record that each request of the API writes: Loki refuses it"),
}
"""Every fault that there is."""

_LOOK = 0.2  # seconds
_LONG = 16_000


class Switches:
    """The faults that are on.

    Args:
        file: What `SHOP_FAULTS` names; "" where nobody asked for faults.

    Raises:
        ValueError: A line of the file is no fault with its value.
    """

    def __init__(self, file: str) -> None:
        self.asked_for = bool(file)
        self._file = Path(file)
        self._text = ""
        self._values: dict[str, float] = {}
        self._owed: dict[str, float] = {}
        if file:
            self._read()

    def __getitem__(self, name: str) -> float:
        """Return the value of a fault, 0 where it is off. A file that is wrong by now changes nothing, and says so."""
        try:
            self._read()
        except ValueError as error:
            log.error("faults.refused", reason=str(error))  # noqa: TRY400  the message says it all
        return self._values.get(name, 0.0)

    def strikes(self, name: str) -> bool:
        """Tell whether a fault with a share is due: of 0.4, twice in five times."""
        owed = self._owed.get(name, 0.0) + self[name]
        self._owed[name] = owed % 1
        return owed >= 1

    def _read(self) -> None:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        if text != self._text:
            self._text = text
            lines = enumerate(text.splitlines(), 1)
            self._values = dict(_fault(f"{self._file}, line {number}", line) for number, line in lines if line.strip())


def _fault(place: str, line: str) -> tuple[str, float]:
    name, _, value = line.strip().partition(" ")
    if name not in FAULTS:
        raise ValueError(f"{place}: there is no fault {name!r}; there are {', '.join(FAULTS)}")
    fault = FAULTS[name]
    try:
        number = float(value or fault.usual)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= fault.most:
        raise ValueError(f"{place}: {name} is not {value.strip()!r}: {fault.about}")
    return name, number


def _switches() -> Switches:
    try:
        return Switches(os.environ.get("SHOP_FAULTS", ""))
    except ValueError as error:
        raise SystemExit(f"SHOP_FAULTS: {error}") from None


SWITCHES = _switches()


def of_api(engine: AsyncEngine) -> Sequence[Dependency]:
    """Return what each request of the API depends on: nothing, unless faults were asked for."""
    if not SWITCHES.asked_for:
        return ()
    _slow_down(engine.sync_engine)
    pool = _Pool(engine)

    async def request() -> None:
        await pool.exhaust()
        await asyncio.sleep(SWITCHES["slow-requests"])
        time.sleep(SWITCHES["blocked-event-loop"])  # noqa: ASYNC251  that is the fault
        if fields := int(SWITCHES["refused-logs"]):
            log.info("fault.refused_logs", **{f"field_{number}": "x" * _LONG for number in range(fields)})
        if SWITCHES.strikes("database-deadlock"):
            await _deadlock(engine)
        if SWITCHES.strikes("failing-requests"):
            raise RuntimeError("failing-requests: this one fails on purpose")

    return [Depends(request)]


def of_payment() -> Sequence[Dependency]:
    """Return what each request of payment depends on: nothing, unless faults were asked for."""
    if not SWITCHES.asked_for:
        return ()

    async def request() -> None:
        await asyncio.sleep(SWITCHES["upstream-slow"])
        if SWITCHES.strikes("upstream-failing"):
            raise HTTPException(503, "upstream-failing: this one fails on purpose")

    return [Depends(request)]


def of_task() -> None:
    """Fail a task where it is due; it is not tried again."""
    if SWITCHES.asked_for and SWITCHES.strikes("failing-tasks"):
        raise RuntimeError("failing-tasks: this one fails on purpose")


def of_beat() -> None:
    """Hold beat where it is about to ask for a task: as if its scheduler hung, while the process lives on."""

    def hold(**_: object) -> None:
        while SWITCHES["beat-halted"]:
            time.sleep(_LOOK)

    if SWITCHES.asked_for:
        signals.before_task_publish.connect(hold, weak=False)


class _Pool:
    """The connections that `pool-exhausted` keeps."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._kept: list[AsyncConnection] = []
        self._changing = asyncio.Lock()

    async def exhaust(self) -> None:
        """Take, or give back, until as many are kept as the fault says; one request does it, the others go on."""
        if self._changing.locked():
            return
        async with self._changing:
            wanted = int(SWITCHES["pool-exhausted"])
            while len(self._kept) > wanted:
                await self._kept.pop().close()
            while len(self._kept) < wanted:
                self._kept.append(await self._engine.connect())


async def _deadlock(engine: AsyncEngine) -> None:
    """Let two transactions take two products, each the one first that the other takes last."""

    async def take(connection: AsyncConnection, sku: str) -> None:
        await connection.execute(select(Product.sku).where(Product.sku == sku).with_for_update())

    async with engine.connect() as one, engine.connect() as other:
        await take(one, "teapot")
        await take(other, "samovar")
        ends = await asyncio.gather(take(one, "samovar"), take(other, "teapot"), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


def _slow_down(engine: Engine) -> None:
    def sleep(_: object, cursor: object, *__: object) -> None:
        if seconds := SWITCHES["slow-queries"]:
            cursor.execute(f"SELECT pg_sleep({seconds})")  # type: ignore[attr-defined]  # any driver's cursor

    event.listen(engine, "before_cursor_execute", sleep)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda own, _: own.create_function("pg_sleep", 1, time.sleep))
