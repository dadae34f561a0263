"""The payment service: charges a card once per order, up to a limit, and books the charge when the order is confirmed.

It logs with the standard library, to show that its lines are no worse. Start it with
`uvicorn shop.payment:app --port 8001`.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import otelkit
from shop import faults, telemetry

telemetry.start("payment")
log = logging.getLogger(__name__)

LIMIT = 1_000_00
"""The highest amount that a card is charged, in cents."""

FEES = {"visa": 0.012, "mastercard": 0.014, "amex": 0.025}
"""Our share of the amount, by card. Nobody noticed that one is missing: order with the card "diners" to see."""

SLOW = {"amex": 0.3}
"""Seconds that a card's bank thinks about a charge."""

BUSY = {"mastercard": 1}
"""How often a card's bank has to be asked in vain until it books a charge."""

engine = create_async_engine(os.environ.get("PAYMENT_DATABASE_URL", "sqlite+aiosqlite:///payment.db"))
open_session = async_sessionmaker(engine, expire_on_commit=False)
health = otelkit.Health()
health.add("database", otelkit.health.sqlalchemy_probe(engine))


class Base(DeclarativeBase):
    """Base of the payment service's table."""


class Charge(Base):
    """Money taken for an order, and how often we asked for it to be booked; amounts are in cents."""

    __tablename__ = "charges"

    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int]
    fee: Mapped[int]
    card: Mapped[str]
    asked: Mapped[int] = mapped_column(default=0)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Prepare the database."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(title="payment", lifespan=lifespan, dependencies=faults.of_payment())
app.add_middleware(otelkit.HealthMiddleware, health=health)


class ChargeRequest(BaseModel):
    """What the shop sends; the amount is in cents."""

    order_id: int
    amount: int = Field(gt=0)
    card: str


class ChargeReply(BaseModel, from_attributes=True):
    """What the shop gets; amounts are in cents."""

    order_id: int
    amount: int
    fee: int


class OrderConfirmed(BaseModel):
    """What the shop sends when an order is on its way."""

    order_id: int


@app.post("/charges", status_code=HTTPStatus.CREATED)
async def create_charge(wanted: ChargeRequest) -> ChargeReply:
    """Charge a card: 201, or 402 above the limit. Asked twice for one order, charges once."""
    if wanted.amount > LIMIT:
        log.warning("charge.declined", extra={"order_id": wanted.order_id, "amount": wanted.amount, "limit": LIMIT})
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, "over the card's limit")
    fee = round(wanted.amount * FEES[wanted.card])
    await asyncio.sleep(SLOW.get(wanted.card, 0.0))
    charge = Charge(order_id=wanted.order_id, amount=wanted.amount, fee=fee, card=wanted.card)
    try:
        async with open_session.begin() as session:
            session.add(charge)
    except IntegrityError:
        async with open_session() as session:
            charge = await session.get_one(Charge, wanted.order_id)
    log.info("charge.accepted", extra={"order_id": charge.order_id, "amount": charge.amount, "fee": charge.fee})
    return ChargeReply.model_validate(charge)


@app.get("/charges")
async def list_charges() -> list[ChargeReply]:
    """List everything charged, latest first."""
    async with open_session() as session:
        charges = await session.scalars(select(Charge).order_by(Charge.order_id.desc()).limit(100))
        return [ChargeReply.model_validate(charge) for charge in charges]


@app.post("/webhooks/order-confirmed", status_code=HTTPStatus.NO_CONTENT)
async def order_confirmed(event: OrderConfirmed) -> None:
    """Book the charge of an order: 204, or 404, or 503 while the bank is busy. Told twice, books once."""
    async with open_session.begin() as session:
        asked = await session.execute(
            update(Charge)
            .where(Charge.order_id == event.order_id)
            .values(asked=Charge.asked + 1)
            .returning(Charge.asked, Charge.card)
        )
        row = asked.one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such charge")
    if row.asked <= BUSY.get(row.card, 0):
        log.warning("charge.bank_busy", extra={"order_id": event.order_id, "asked": row.asked})
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the bank is busy, try again")
    log.info("charge.booked", extra={"order_id": event.order_id})
