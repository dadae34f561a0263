"""The order service of the end-to-end tests: asks the stock service, stores the order; no word of telemetry."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

engine = create_async_engine(os.environ["DATABASE_URL"])
log = logging.getLogger("front")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Prepare the table, and keep one HTTP client."""
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (item TEXT, amount INTEGER)"))
    async with httpx.AsyncClient(base_url=os.environ["BACK_URL"]) as client:
        app.state.back = client
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{item}")
async def order(item: str) -> dict[str, int]:
    """Order all there is."""
    answer = await app.state.back.get(f"/stock/{item}")
    amount: int = answer.raise_for_status().json()["amount"]
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO orders VALUES (:item, :amount)"), {"item": item, "amount": amount})
    log.warning("order stored", extra={"amount": amount})
    return {"amount": amount}
