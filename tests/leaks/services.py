"""The only place that runs a service and sends it everything, and sees that all of it was there to be found."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

from leaks import plants, search, traffic
from leaks.cells import environment, launcher, used
from otelkit.otlp.receiver import Receiver
from support.processes import HOST, Process, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from leaks.cells import Cell, Outcome, Surroundings
    from leaks.traffic import Sent

_RAW = 40
"""How many plants a handler of the application must show where it gets records as they are."""
_SERVERS = {
    "uvicorn": ("uvicorn", "leaks.apps.service:app", "--port", "{port}"),
    "gunicorn": (
        *("gunicorn", "leaks.apps.service:app", "--bind", "127.0.0.1:{port}", "-w", "1", "-k", "asgi"),
        *("--access-logfile", "-"),
    ),
}


def fill(outcome: Outcome, cell: Cell, folder: Path, surroundings: Surroundings) -> None:
    """Run the service, send everything, and search what left it."""
    databases = tuple(
        name for name in plants.DATABASES if surroundings.database is not None or name not in plants.POSTGRES
    )
    redis = plants.REDIS_CLIENTS if surroundings.redis else ()
    with Receiver(grpc_port=0, keep_raw=True) as receiver:
        port = free_port()
        with _service(cell, folder, port, receiver, surroundings) as process:
            process.wait_http(f"http://{HOST}:{port}/ready", within=60)
            sent = [traffic.send(port, request) for request in traffic.requests(databases, redis)]
            traffic.ask(port, "/flush")
            process.signal(signal.SIGTERM)
            process.wait()
        channels = search.exported(receiver) | search.printed(process)
        found = search.hits(channels, receiver, plants.SERVICE)
        was_used = used(folder)
        _check_use(outcome, sent, was_used, databases, redis)
        if cell.kit != "vanilla":
            _check_arrival(outcome, sent, receiver)
    outcome.judge(cell.logs, found, _RAW)
    search.note(folder, found)
    outcome.figures = f"{len(sent)} requests, {len(was_used)} plants used, {search.sizes(channels)}"


def _service(cell: Cell, folder: Path, port: int, receiver: Receiver, surroundings: Surroundings) -> Process:
    """Make the process of the service."""
    variables = environment(cell, folder, receiver, surroundings) | {
        "LEAKS_PORT": str(port),
        "LEAKS_POSTGRES": surroundings.database or "",
        "LEAKS_REDIS": (surroundings.redis or "").replace("DATABASE", "0"),
        "LEAKS_CLUSTER": surroundings.cluster or "",
    }
    arguments = [part.format(port=port) for part in _SERVERS[cell.server]]
    programs = surroundings.bins[cell.kit]
    command: list[str | Path] = [*launcher(cell.kit, surroundings), programs / "python", "-m", *arguments]
    return Process(command, folder=folder, env=variables)


def _check_use(
    outcome: Outcome, sent: list[Sent], was_used: set[str], databases: tuple[str, ...], redis: tuple[str, ...]
) -> None:
    """See that each request was answered as it should be, and that each plant was in its place."""
    odd = [f"{each.request.target[:40]}: {each.status}" for each in sent if each.status != each.request.status]
    if odd:
        outcome.wrong.append(f"{len(odd)} requests were answered otherwise: {'; '.join(odd[:5])}")
    without = tuple(f"sql, {name}:" for name in plants.DATABASES if name not in databases)
    without += () if redis else ("redis, ", "redis: ")
    unused = [place for place in plants.SERVICE if place not in was_used and not place.startswith(without)]
    if unused:
        outcome.wrong.append(f"{len(unused)} plants were not used: {'; '.join(unused[:5])}")


def _check_arrival(outcome: Outcome, sent: list[Sent], receiver: Receiver) -> None:
    """See that what was searched holds what each request left: its spans, its records, and the metrics."""
    spans = Counter(span.trace_id for span in receiver.spans())
    records = Counter(record.trace_id for record in receiver.logs())
    missing = [f"{each.request.target[:40]}: no span" for each in sent if not spans[each.trace_id]]
    missing += [
        f"{each.request.target[:40]}: no record" for each in sent if each.request.logs and not records[each.trace_id]
    ]
    clients = Counter(span.trace_id for span in receiver.spans() if span.attributes.get("db.system.name") == "redis")
    missing += [
        f"{each.request.target[:40]}: no span of Redis"
        for each in sent
        if each.request.target.startswith("/redis") and not clients[each.trace_id]
    ]
    names = {point.metric for point in receiver.points()}
    missing += [f"no metric {name}" for name in ("shop.paid", "shop.amount", "shop.open") if name not in names]
    if missing:
        outcome.wrong.append(f"{len(missing)} did not arrive: {'; '.join(missing[:5])}")
