"""The shop: takes an order, reserves the stock, lets the payment service charge for it.

Start it with `uvicorn shop.api:app --port 8000`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field
from sqlalchemy import update

import otelkit
from shop import db, telemetry
from shop.db import Order, Product, Session

telemetry.start("shop")
log = otelkit.get_logger()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Prepare the database, and keep one HTTP client for all calls to the payment service."""
    await db.create()
    async with httpx.AsyncClient(base_url=os.environ.get("PAYMENT_URL", "http://127.0.0.1:8001")) as client:
        app.state.payment = client
        yield
    await db.engine.dispose()


app = FastAPI(title="shop", lifespan=lifespan)


def _payment(request: Request) -> httpx.AsyncClient:
    client: httpx.AsyncClient = request.app.state.payment
    return client


Payment = Annotated[httpx.AsyncClient, Depends(_payment)]


class OrderRequest(BaseModel):
    """What a customer sends."""

    sku: str
    quantity: int = Field(default=1, gt=0)
    card: str = "visa"


class OrderReply(BaseModel):
    """What a customer gets; the amount is in cents."""

    id: int
    status: str
    amount: int


@app.post("/orders", status_code=HTTPStatus.CREATED)
async def place_order(wanted: OrderRequest, session: Session, payment: Payment) -> OrderReply:
    """Sell something: 201, or 402 when the charge is declined, 404, 409 when sold out, 502 when payment is broken."""
    order = await reserve(session, wanted)
    charge = {"order_id": order.id, "amount": order.amount, "card": wanted.card}
    try:
        reply = await payment.post("/charges", json=charge)
        if reply.status_code != HTTPStatus.PAYMENT_REQUIRED:
            reply.raise_for_status()
    except httpx.HTTPError as error:
        await release(session, order, "failed")
        log.exception("order.failed", order_id=order.id)
        raise HTTPException(HTTPStatus.BAD_GATEWAY, "payment is out of order") from error
    if reply.status_code == HTTPStatus.PAYMENT_REQUIRED:
        await release(session, order, "declined")
        log.warning("order.declined", order_id=order.id, reason=reply.json()["detail"])
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, reply.json()["detail"])
    order.status = "placed"
    await session.commit()
    log.info("order.placed", order_id=order.id, amount=order.amount)
    return OrderReply(id=order.id, status=order.status, amount=order.amount)


@app.get("/orders/{order_id}")
async def read_order(order_id: int, session: Session) -> OrderReply:
    """Tell what became of an order."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such order")
    return OrderReply(id=order.id, status=order.status, amount=order.amount)


async def reserve(session: Session, wanted: OrderRequest) -> Order:
    """Take the goods out of the stock, in one transaction with the new order."""
    product = await session.get(Product, wanted.sku)
    if product is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such product")
    # Checked and taken in one statement: two orders cannot both get the last one.
    taken = await session.scalar(
        update(Product)
        .where(Product.sku == wanted.sku, Product.stock >= wanted.quantity)
        .values(stock=Product.stock - wanted.quantity)
        .returning(Product.stock)
    )
    if taken is None:
        log.warning("order.declined", sku=wanted.sku, reason="sold out")
        raise HTTPException(HTTPStatus.CONFLICT, "sold out")
    order = Order(sku=wanted.sku, quantity=wanted.quantity, amount=product.price * wanted.quantity)
    session.add(order)
    await session.commit()
    log.info("stock.reserved", sku=order.sku, quantity=order.quantity, left=taken)
    return order


async def release(session: Session, order: Order, status: str) -> None:
    """Put the goods back, and remember why."""
    await session.execute(update(Product).where(Product.sku == order.sku).values(stock=Product.stock + order.quantity))
    order.status = status
    await session.commit()
