"""A service as people write them, without otelkit: FastAPI, async SQLAlchemy, stdlib logging and structlog."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

engine = create_async_engine("sqlite+aiosqlite://")
stdlib = logging.getLogger("orders")
log = structlog.get_logger()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER)"))
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/orders/{amount}")
async def place(amount: int) -> dict[str, int]:
    if amount > 1000:
        raise HTTPException(status_code=402)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO orders (amount) VALUES (:amount)"), {"amount": amount})
        count = (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one()
    stdlib.warning("order stored", extra={"amount": amount})
    log.info("order.placed", amount=amount)
    return {"orders": count}


@app.get("/broken")
async def broken() -> None:
    message = "the shelf fell down"
    raise RuntimeError(message)
