"""The payment service: charges a card once per order, up to a limit.

Start it with `uvicorn shop.payment:app --port 8001`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import otelkit
from shop import telemetry

telemetry.start("payment")
log = otelkit.get_logger()

LIMIT = 1_000_00
"""The highest amount that a card is charged, in cents."""

FEES = {"visa": 0.012, "mastercard": 0.014}
"""Our share of the amount, by card. Nobody noticed that one is missing: order with the card "diners" to see."""

engine = create_async_engine(os.environ.get("PAYMENT_DATABASE_URL", "sqlite+aiosqlite:///payment.db"))
open_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """Base of the payment service's table."""


class Charge(Base):
    """Money taken for an order; amounts are in cents."""

    __tablename__ = "charges"

    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int]
    fee: Mapped[int]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Prepare the database."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(title="payment", lifespan=lifespan)


class ChargeRequest(BaseModel):
    """What the shop sends; the amount is in cents."""

    order_id: int
    amount: int = Field(gt=0)
    card: str


class ChargeReply(BaseModel):
    """What the shop gets; amounts are in cents."""

    order_id: int
    amount: int
    fee: int


@app.post("/charges", status_code=HTTPStatus.CREATED)
async def create_charge(wanted: ChargeRequest) -> ChargeReply:
    """Charge a card: 201, or 402 above the limit. Asked twice for one order, charges once."""
    async with open_session() as session, session.begin():
        charge = await session.get(Charge, wanted.order_id)
        if charge is None:
            if wanted.amount > LIMIT:
                log.warning("charge.declined", order_id=wanted.order_id, amount=wanted.amount, limit=LIMIT)
                raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, "over the card's limit")
            fee = round(wanted.amount * FEES[wanted.card])
            charge = Charge(order_id=wanted.order_id, amount=wanted.amount, fee=fee)
            session.add(charge)
    log.info("charge.accepted", order_id=charge.order_id, amount=charge.amount, fee=charge.fee)
    return ChargeReply(order_id=charge.order_id, amount=charge.amount, fee=charge.fee)


@app.get("/charges")
async def list_charges() -> list[ChargeReply]:
    """List everything charged, latest first."""
    async with open_session() as session:
        charges = await session.scalars(select(Charge).order_by(Charge.order_id.desc()).limit(100))
        return [ChargeReply(order_id=charge.order_id, amount=charge.amount, fee=charge.fee) for charge in charges]
