"""Probes of real databases and brokers: they see them die, and leave no telemetry but their results."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celery
import pytest
import redis
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from otelkit import Health
from otelkit.health import celery_probe, http_probe, redis_probe, sqlalchemy_probe
from otelkit.otlp.receiver import Receiver
from support import lanes, postgres, rabbitmq, redis_server
from support.processes import HOST, PYTHON, free_port, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from otelkit.health import Result

APPS = Path(__file__).parent / "apps"
CHECKED = "otelkit.health.check.status"
SECRET = "probe-canary-password"


async def results(health: Health, condition: Callable[[Result], bool], what: str) -> dict[str, Result]:
    """Wait until the results of all checks are as they should be, and return them."""
    deadline = time.monotonic() + 30
    while True:
        found = {name: result for name, result in health.results().items() if result is not None}
        if len(found) == len(health.results()) and all(map(condition, found.values())):
            return found
        assert time.monotonic() < deadline, f"not within 30 s: {what}: {found}"
        await asyncio.sleep(0.01)


async def see_it_die(health: Health, server: AbstractContextManager[Any]) -> dict[str, Result]:
    """Let all checks pass while a server runs, end it, and return their failures."""
    health.start()
    try:
        await results(health, lambda result: result.passed, "all pass")
        await asyncio.to_thread(server.__exit__, None, None, None)
        return await results(health, lambda result: not result.passed, "all fail")
    finally:
        health.stop()


@pytest.fixture
def _lane(request: pytest.FixtureRequest) -> Iterator[None]:
    missing = {"PostgreSQL": postgres, "Redis": redis_server, "RabbitMQ": rabbitmq}[request.param].missing()
    lane = f"health-{request.param.lower()}"
    if missing is not None:
        lanes.skipped(lane, missing)
        pytest.skip(missing)
    yield
    lanes.ran(lane)


@pytest.mark.parametrize("_lane", ["PostgreSQL"], indirect=True)
@pytest.mark.usefixtures("_lane")
def test_database_that_dies_fails_its_checks() -> None:
    running = postgres.server()
    server = running.__enter__()
    engine = sa.create_engine(server.url("psycopg"))

    async def main() -> dict[str, Result]:
        engines = [create_async_engine(server.url(driver)) for driver in ("asyncpg", "psycopg")]
        health = Health(refresh=0.1)
        health.add("sync", sqlalchemy_probe(engine), timeout=10)
        for driven in engines:
            health.add(driven.driver, sqlalchemy_probe(driven), timeout=10)
        try:
            return await see_it_die(health, running)
        finally:
            for driven in engines:
                await driven.dispose()

    failed = asyncio.run(main())
    engine.dispose()
    assert set(failed) == {"sync", "asyncpg", "psycopg"}
    assert not any(postgres.PASSWORD in result.reason for result in failed.values())
    assert all(result.reason for result in failed.values())


@pytest.mark.parametrize("_lane", ["Redis"], indirect=True)
@pytest.mark.usefixtures("_lane")
def test_redis_and_broker_that_die_fail_their_checks() -> None:
    running = redis_server.server(password=SECRET)
    server = running.__enter__()
    address: dict[str, Any] = {"host": server.host, "port": server.port, "password": SECRET}
    client = redis.Redis(**address)
    tasks = celery.Celery(broker=f"redis://:{SECRET}@{server.host}:{server.port}/0")

    async def main() -> dict[str, Result]:
        health = Health(refresh=0.1)
        async with redis.asyncio.Redis(**address) as asynchronous:
            health.add("sync", redis_probe(client), timeout=10)
            health.add("asyncio", redis_probe(asynchronous), timeout=10)
            health.add("broker", celery_probe(tasks), timeout=10)
            return await see_it_die(health, running)

    failed = asyncio.run(main())
    client.close()
    tasks.close()
    assert set(failed) == {"sync", "asyncio", "broker"}
    assert all(result.reason and SECRET not in result.reason for result in failed.values())


@pytest.mark.parametrize("_lane", ["RabbitMQ"], indirect=True)
@pytest.mark.usefixtures("_lane")
def test_broker_of_rabbitmq_that_dies_fails_its_check() -> None:
    running = rabbitmq.server()
    tasks = celery.Celery(broker=running.__enter__().url)
    health = Health(refresh=0.1)
    health.add("broker", celery_probe(tasks), timeout=10)
    failed = asyncio.run(see_it_die(health, running))
    tasks.close()
    assert failed["broker"].reason


@pytest.mark.parametrize("_lane", ["Redis"], indirect=True)
@pytest.mark.usefixtures("_lane")
def test_probes_leave_no_spans_and_no_measurements_but_their_results(tmp_path: Path) -> None:
    with redis_server.server() as server, answering(204) as url, Receiver() as receiver:
        redis.Redis(host=server.host, port=server.port).set("mine", "1")
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "PROBES_REDIS": server.url(),
            "PROBES_HTTP": url,
        }
        ended = run([PYTHON, APPS / "healthy_probes.py"], folder=tmp_path, env=settings)
        assert ended.returncode == 0, ended.tail()
        assert "'fail'" not in ended.stdout
        # Those of the calls outside of probes: the integrations were at work.
        assert sorted(span.name for span in receiver.spans()) == ["GET", "GET", "SELECT"]
        measured = {
            (point.metric, point.attributes.get("db.operation.name")): point.count
            for point in receiver.points()
            if point.metric in {"db.client.operation.duration", "http.client.request.duration"}
        }
        assert measured == {
            ("db.client.operation.duration", "SELECT"): 1,
            ("db.client.operation.duration", "GET"): 1,
            ("http.client.request.duration", None): 1,
        }
        checks = {p.attributes["otelkit.health.check"] for p in receiver.points() if p.metric == CHECKED}
        assert checks == {"engine", "async engine", "redis", "async redis", "broker", "http", "own"}


@pytest.mark.parametrize("_lane", ["Redis"], indirect=True)
@pytest.mark.usefixtures("_lane")
def test_redis_that_refuses_the_password_fails() -> None:
    with redis_server.server(password=SECRET) as server:
        wrong = redis.Redis(host=server.host, port=server.port, password="another")
        right = redis.Redis(host=server.host, port=server.port, password=SECRET)
        with wrong, right:
            call(redis_probe(right))
            with pytest.raises(redis.AuthenticationError):
                call(redis_probe(wrong))


def call(probe: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Run a probe that is no coroutine function."""
    assert probe() is None


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Serve one status for every path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.headers["x-probe"] else 400)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/health?token={SECRET}"
        finally:
            server.shutdown()
            thread.join()


def test_http_probe_takes_errors_and_silence_for_failures() -> None:
    async def main(probe: Any, passes: bool) -> str:
        health = Health(refresh=0.1)
        health.add("service", probe, timeout=10)
        health.start()
        try:
            found = await results(health, lambda result: result.passed is passes, "as it answers")
            return found["service"].reason
        finally:
            health.stop()

    with answering(204) as url:
        assert asyncio.run(main(http_probe(url, headers={"X-Probe": "yes"}), passes=True)) == ""
        assert "400" in asyncio.run(main(http_probe(url), passes=False))
    with answering(503) as url:
        reason = asyncio.run(main(http_probe(url, headers={"X-Probe": "yes"}), passes=False))
        assert "503" in reason
        assert SECRET not in reason
    nobody = http_probe(f"http://user:{SECRET}@{HOST}:{free_port()}/")
    assert SECRET not in asyncio.run(main(nobody, passes=False))
