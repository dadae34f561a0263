"""The stock service of the end-to-end tests: one statement per request, one log line, and no word of telemetry."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

engine = create_async_engine(os.environ["DATABASE_URL"])
log = logging.getLogger("back")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Prepare the table."""
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE stock (item TEXT PRIMARY KEY, amount INTEGER)"))
        await connection.execute(text("INSERT INTO stock VALUES ('teapot', 7)"))
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/stock/{item}")
async def stock(item: str) -> dict[str, int]:
    """Tell how many are left."""
    async with engine.connect() as connection:
        query = text("SELECT amount FROM stock WHERE item = :item")
        amount = (await connection.execute(query, {"item": item})).scalar_one()
    log.warning("stock read")
    return {"amount": amount}
