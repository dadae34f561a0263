"""The only place for the application that is measured: one process, requests made in it, no server and no network.

    python worker.py VARIANT DATABASE

`GET /items/{id}` writes two structlog lines, reads one row by SQLAlchemy and answers JSON. Variants differ in what is
set up before anything is imported, and in nothing else:

    bare          structlog through stdlib logging, as most applications have it; what `vanilla` is compared with
    bare_native   structlog's own logger, writing bytes; what `otelkit` is compared with
    vanilla       `bare`, started by `opentelemetry-instrument` in an environment without otelkit
    otelkit       `otelkit.configure()` and its logger
    unredacted    `otelkit` without a single rule for secrets
    sampled_out   `otelkit`, with a rule by which no trace is kept; server spans are recorded for the case of a failure
    dropped       `otelkit`, with a rule by which nothing of a trace is even recorded

It obeys one command a line: `run N` makes N requests and sends all telemetry, `collect` collects garbage. Each is
answered by one line of JSON with the CPU seconds it took, of all threads. Log lines go to /dev/null.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS = [
    (b"host", b"shop.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) bench"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"x-request-id", b"0af7651916cd43dd8448eb211c80319c"),
]
RULES = {"sampled_out": ("0! server",), "dropped": ("drop! server",)}
"""Rules that hold although the requests name a caller that has kept its trace."""


def set_up(variant: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Set telemetry and logging up; return what makes a logger, and what sends everything there is."""
    if variant in ("otelkit", "unredacted", *RULES):
        import otelkit  # noqa: PLC0415  the other variants run where it is not installed

        redaction = otelkit.Redaction(rules=()) if variant == "unredacted" else None
        settings = otelkit.Settings(service_name="bench", sampling_rules=RULES.get(variant, ()))
        telemetry = otelkit.configure(settings, redaction=redaction)
        return otelkit.get_logger, telemetry.force_flush

    import structlog  # noqa: PLC0415  otelkit sets it up by itself

    if variant == "bare_native":
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=lambda *a, **k: json.dumps(*a, **k).encode()),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
            cache_logger_on_first_use=True,
        )
    else:
        root = logging.getLogger()
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.filter_by_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
    return structlog.get_logger, flush_providers if variant == "vanilla" else lambda: True


def flush_providers() -> None:
    """Send what the SDK's own providers hold."""
    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415  the bare variants load no OpenTelemetry

    providers: list[Any] = [trace.get_tracer_provider(), _logs.get_logger_provider(), metrics.get_meter_provider()]
    for provider in providers:
        provider.force_flush()


def application(get_logger: Callable[[], Any], database: str) -> Any:
    """Build the application; imported late, as telemetry is set up before."""
    import fastapi  # noqa: PLC0415  after telemetry, for every variant alike
    import sqlalchemy as sa  # noqa: PLC0415  the same
    from sqlalchemy import orm  # noqa: PLC0415  the same

    base: Any = orm.declarative_base()

    class Item(base):  # type: ignore[misc]  # made at run time
        __tablename__ = "items"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)

    engine = sa.create_engine(f"sqlite:///{database}")
    base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.merge(Item(id=1, name="one"))
        session.commit()

    app = fastapi.FastAPI()
    log = get_logger()

    @app.get("/items/{item_id}")
    async def read_item(item_id: int) -> dict[str, Any]:
        log.info("item.asked", item_id=item_id, cart="c-1")
        with orm.Session(engine) as session:
            item = session.execute(sa.select(Item).where(Item.id == item_id)).scalar_one()
        log.info("item.found", item_id=item_id, name=item.name)
        return {"id": item.id, "name": item.name}

    return app


async def requests(app: Any, count: int) -> None:
    """Make requests one after the other, as a server would, without the server.

    Raises:
        RuntimeError: One was not answered by 200.
    """
    for _ in range(count):
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/items/1",
            "raw_path": b"/items/1",
            "query_string": b"full=1",
            "root_path": "",
            "headers": HEADERS,
            "client": ("10.0.0.7", 51234),
            "server": ("shop.example.com", 80),
            "state": {},
        }
        await app(scope, receive, send)
        if sent[0]["status"] != 200:  # noqa: PLR2004  it is the only status the application has
            raise RuntimeError(f"answered {sent[0]['status']}")


def main() -> None:
    """Set up, say that it is ready, and obey."""
    variant, database = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    get_logger, flush = set_up(variant)
    app = application(get_logger, database)
    loop = asyncio.new_event_loop()

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    answer(ready=variant, setup_cpu=time.process_time(), pid=os.getpid())
    for line in sys.stdin:
        command, _, argument = line.partition(" ")
        started = time.process_time()
        if command == "run":
            loop.run_until_complete(requests(app, int(argument)))
            flush()
        else:
            gc.collect()
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer(cpu=time.process_time() - started, rss_mb=rss, threads=threading.active_count())
    loop.close()


if __name__ == "__main__":
    main()
