"""The shop's API: products, orders, users, and whether it is healthy.

Start it with `uvicorn shop.api:app --port 8000`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

import otelkit
from shop import db, faults, orders, products, stores, tasks, telemetry, users

telemetry.start("api")

# Without Redis or the broker the shop sells on, which is why they do not decide about readiness.
health = otelkit.Health(drain=float(os.environ.get("SHOP_DRAIN_SECONDS", "0")))
health.add("database", otelkit.health.sqlalchemy_probe(stores.engine))
health.add("redis", otelkit.health.redis_probe(stores.redis), critical=False)
health.add("broker", otelkit.health.celery_probe(tasks.app), critical=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Prepare the database, and keep one HTTP client for all calls to the payment service."""
    await db.create(stores.engine)
    async with httpx.AsyncClient(base_url=os.environ.get("PAYMENT_URL", "http://127.0.0.1:8001")) as client:
        app.state.payment = client
        yield
    await stores.redis.aclose()
    await stores.engine.dispose()


app = FastAPI(title="shop", lifespan=lifespan, dependencies=faults.of_api(stores.engine))
app.include_router(products.router)
app.include_router(orders.router)
app.include_router(users.router)
app.add_middleware(otelkit.HealthMiddleware, health=health)
