"""Probes of everything once, then one call of each library outside of a probe: a program that ends by itself."""

from __future__ import annotations

import asyncio
import os

import otelkit

telemetry = otelkit.configure()

import celery  # noqa: E402  configured first, as a user does
import httpx  # noqa: E402  the same
import redis.asyncio  # noqa: E402  the same
import sqlalchemy as sa  # noqa: E402  the same
from sqlalchemy.ext.asyncio import create_async_engine  # noqa: E402  the same

REDIS, HTTP = os.environ["PROBES_REDIS"], os.environ["PROBES_HTTP"]
ASKING = {"X-Probe": "yes"}
engine = sa.create_engine("sqlite:///probes.db")
client = redis.Redis.from_url(REDIS)


async def main() -> None:
    driven = create_async_engine("sqlite+aiosqlite:///probes.db")
    async with (
        redis.asyncio.Redis.from_url(REDIS) as asynchronous,
        httpx.AsyncClient(trust_env=False, headers=ASKING) as http,
    ):

        async def own() -> None:
            (await http.get(HTTP)).raise_for_status()

        health = otelkit.Health(refresh=60)
        for name, probe in {
            "engine": otelkit.health.sqlalchemy_probe(engine),
            "async engine": otelkit.health.sqlalchemy_probe(driven),
            "redis": otelkit.health.redis_probe(client),
            "async redis": otelkit.health.redis_probe(asynchronous),
            "broker": otelkit.health.celery_probe(celery.Celery(broker=REDIS)),
            "http": otelkit.health.http_probe(HTTP, headers=ASKING),
            "own": own,
        }.items():
            health.add(name, probe, timeout=60)
        health.start()
        while None in health.results().values():  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.01)
        print(health.report())  # noqa: T201  the test reads it
        telemetry.force_flush()  # while its results are exported
        health.stop()
        await http.get(HTTP)
    await driven.dispose()


asyncio.run(main())
with engine.connect() as connection:
    connection.execute(sa.text("SELECT 1 AS mine"))
client.get("mine")
