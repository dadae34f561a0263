"""The only place that lists what is tested: every way to run the service, and every way to run a worker of tasks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from leaks import plants
from leaks.search import THEIRS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaks.search import Hit
    from otelkit.otlp.receiver import Receiver

TESTS = Path(__file__).resolve().parents[1]
OTELKIT = ("explicit", "launcher")
KITS = (*OTELKIT, "unredacted", "vanilla")
"""otelkit by `configure()` and by `opentelemetry-instrument`, otelkit without a rule, that launcher's own distro."""
PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run the service.

    Args:
        kit: One of `KITS`.
        protocol: "http" or "grpc".
        sqlalchemy: "2.1", which is the newest, or "2.0".
        server: "uvicorn" or "gunicorn".
        logs: Who writes the log to the terminal. "ours": nobody has set logging up. "user": a handler of the
            application does, and gets records as they are; beside it the server's own handlers print, and their lines
            are searched. "all": the same with `Redaction(user_handlers=True)`, and all is searched.
        quick: Whether it belongs to the quick level.
    """

    kit: str
    protocol: str = "http"
    sqlalchemy: str = "2.1"
    server: str = "uvicorn"
    logs: str = "ours"
    quick: bool = False

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.kit}, {self.protocol}, SQLAlchemy {self.sqlalchemy}, {self.server}, logs {self.logs}"


@dataclass(frozen=True, kw_only=True)
class TaskCell:
    """One way to run a Celery worker, with who publishes for it.

    Args:
        kit: One of `KITS`.
        broker: "redis" or "rabbitmq".
        protocol: "http" or "grpc".
        pool: "prefork" or "threads".
        logs: Who writes the log to the terminal. "ours": whoever does it by default, which is Celery in a worker.
            "user" and "all": as for the service, in both processes.
        quick: Whether it belongs to the quick level.
    """

    kit: str
    broker: str = "redis"
    protocol: str = "http"
    pool: str = "prefork"
    logs: str = "ours"
    quick: bool = False

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.kit}, {self.protocol}, celery, {self.broker}, {self.pool}, logs {self.logs}"


CELLS = (
    Cell(kit="explicit", quick=True),
    Cell(kit="launcher", protocol="grpc", sqlalchemy="2.0", server="gunicorn", quick=True),
    Cell(kit="explicit", logs="user", quick=True),
    Cell(kit="explicit", logs="all", quick=True),
    Cell(kit="explicit", server="gunicorn"),
    Cell(kit="explicit", server="gunicorn", logs="user"),
    Cell(kit="explicit", server="gunicorn", logs="all"),
    *(
        Cell(kit=kit, protocol=protocol, sqlalchemy=version)
        for kit, protocol, version in product(OTELKIT, PROTOCOLS, ("2.1", "2.0"))
        if (kit, protocol, version) != ("explicit", "http", "2.1")
    ),
    Cell(kit="unredacted", quick=True),
    *(Cell(kit="vanilla", protocol=protocol, sqlalchemy="2.0", quick=True) for protocol in PROTOCOLS),
)

TASK_CELLS = (
    TaskCell(kit="explicit", quick=True),
    TaskCell(kit="launcher", broker="rabbitmq", protocol="grpc", pool="threads", quick=True),
    *(
        TaskCell(kit=kit, broker=broker, pool=pool)
        for kit, broker, pool in product(OTELKIT, ("redis", "rabbitmq"), ("prefork", "threads"))
        if (kit, broker, pool) != ("explicit", "redis", "prefork")
    ),
    TaskCell(kit="explicit", broker="rabbitmq", protocol="grpc"),
    TaskCell(kit="explicit", logs="user"),
    TaskCell(kit="explicit", logs="all"),
    TaskCell(kit="explicit", pool="threads", logs="all"),
    TaskCell(kit="unredacted", quick=True),
    *(TaskCell(kit="vanilla", broker=broker, quick=True) for broker in ("redis", "rabbitmq")),
)


@dataclass
class Outcome:
    """What became of a cell.

    Args:
        hits: The plants that were found.
        wrong: Why the cell proves nothing, each in a sentence.
        figures: What was looked at.
        seconds: How long it took.
    """

    hits: list[Hit] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    figures: str = ""
    seconds: float = 0.0

    def judge(self, logs: str, found: Sequence[Hit], raw_due: int) -> None:
        """Keep what was found; not what a handler of the application printed of its own records, which must be raw.

        Args:
            logs: Who wrote the log of the cell.
            found: All of it.
            raw_due: How many raw secrets that handler must have printed.
        """
        self.hits = [hit for hit in found if logs != "user" or hit.channel != THEIRS]
        raw = sum(hit.channel == THEIRS for hit in found)
        if logs == "user" and raw < raw_due:
            self.wrong.append(f"the application's own handler printed {raw} secrets: its records were changed")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all cells share.

    Args:
        work: A folder for what the programs leave.
        bins: The folder of programs by kit.
        older: The folder that holds SQLAlchemy 2.0; None where the installed one is to be taken.
        database: URL of PostgreSQL with DRIVER in the place of the driver; None where there is none.
        redis: URL of a Redis server with DATABASE in the place of the number; None where there is none.
        cluster: URL of a cluster of Redis; None where there is none.
        rabbitmq: URL of a RabbitMQ server; None where there is none.
    """

    work: Path
    bins: dict[str, Path]
    older: Path | None
    database: str | None
    redis: str | None
    cluster: str | None
    rabbitmq: str | None


def launcher(kit: str, surroundings: Surroundings) -> list[Path]:
    """Return what stands before a command."""
    return [surroundings.bins[kit] / "opentelemetry-instrument"] if kit in ("launcher", "vanilla") else []


def environment(cell: Cell | TaskCell, folder: Path, receiver: Receiver, surroundings: Surroundings) -> dict[str, str]:
    """Return the variables of a cell's programs."""
    older = [str(surroundings.older)] if surroundings.older and getattr(cell, "sqlalchemy", "") == "2.0" else []
    return {
        "LEAKS_KIT": cell.kit,
        "LEAKS_LOGS": cell.logs,
        "LEAKS_USED": str(folder / "used"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url if cell.protocol == "http" else receiver.grpc_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": PROTOCOLS[cell.protocol],
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{plants.secret('environment: headers of the exporter')}",
        "OTEL_SERVICE_NAME": "leaks",
        "PYTHONPATH": os.pathsep.join([*older, str(TESTS)]),
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{surroundings.bins[cell.kit]}{os.pathsep}{os.environ['PATH']}",
    }


def used(folder: Path) -> set[str]:
    """Return the places whose secret was really there, as the programs have noted."""
    notes = folder / "used"
    return set(notes.read_text(encoding="utf-8").splitlines()) if notes.exists() else set()
