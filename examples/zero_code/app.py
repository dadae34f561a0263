"""A shop that knows nothing of telemetry: no import of otelkit, not even of OpenTelemetry.

    opentelemetry-instrument uvicorn app:app

It reserves stock in a database, asks a payment service to charge (itself, unless PAYMENT_URL names another one), and
has a worker pack what was sold (see packing.py).
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
import packing
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import create_async_engine

log = logging.getLogger("shop")

engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///zero_code.db"))
metadata = MetaData()
products = Table(
    "products", metadata, Column("sku", String, primary_key=True), Column("stock", Integer, nullable=False)
)

PAYMENT_URL = os.environ.get("PAYMENT_URL", "http://127.0.0.1:8000")
LIMIT = 100


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Create the table, and something to sell."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        if await connection.scalar(select(products.c.sku)) is None:
            await connection.execute(insert(products).values(sku="teapot", stock=1000))
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """What a customer sends."""

    sku: str = "teapot"
    quantity: int = 1


@app.post("/orders", status_code=HTTPStatus.CREATED)
async def place_order(order: Order) -> Order:
    """Reserve and charge: 201, or 402 when the charge is declined, 409 when there is not enough."""
    if not await take(order.sku, order.quantity):
        raise HTTPException(HTTPStatus.CONFLICT, "not enough of it")
    async with httpx.AsyncClient(base_url=PAYMENT_URL) as payment:
        charge = await payment.post("/charges", json={"amount": order.quantity})
    if charge.is_error:
        await take(order.sku, -order.quantity)
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, "declined")
    log.info("sold %s of %s", order.quantity, order.sku)
    await asyncio.to_thread(packing.pack.delay, order.sku, order.quantity)
    return order


async def take(sku: str, quantity: int) -> bool:
    """Take goods out of the stock, or put them back when the quantity is negative; tell whether there were enough."""
    async with engine.begin() as connection:
        taken = await connection.execute(
            update(products)
            .where(products.c.sku == sku, products.c.stock >= quantity)
            .values(stock=products.c.stock - quantity)
        )
    return taken.rowcount == 1


class Charge(BaseModel):
    """What the payment service gets."""

    amount: int


@app.post("/charges", status_code=HTTPStatus.CREATED)
async def create_charge(charge: Charge) -> Charge:
    """Charge: 201, or 402 above the limit."""
    if charge.amount > LIMIT:
        log.warning("declined a charge of %s", charge.amount)
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, "over the limit")
    return charge
