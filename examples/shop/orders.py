"""Orders: the stock is reserved, payment charges, and a task confirms."""

import asyncio
from http import HTTPStatus
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, HTTPException, Request
from kombu.exceptions import OperationalError
from pydantic import BaseModel, Field
from sqlalchemy import update

import otelkit
from shop import products, tasks
from shop.db import Order, Product
from shop.metrics import ORDERS
from shop.stores import Session

log = otelkit.get_logger()
router = APIRouter()


def payment_client(request: Request) -> httpx.AsyncClient:
    """Return the one client of the application."""
    client: httpx.AsyncClient = request.app.state.payment
    return client


Payment = Annotated[httpx.AsyncClient, Depends(payment_client)]


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


@router.post("/orders", status_code=HTTPStatus.CREATED)
async def place_order(wanted: OrderRequest, session: Session, payment: Payment) -> OrderReply:
    """Sell something: 201, or 402 when the charge is declined, 404, 409 when sold out, 502 when payment is broken."""
    order = await reserve(session, wanted)
    charge = {"order_id": order.id, "amount": order.amount, "card": wanted.card}
    try:
        reply = await payment.post("/charges", json=charge)
        if reply.status_code != HTTPStatus.PAYMENT_REQUIRED:
            reply.raise_for_status()
    except httpx.HTTPError as error:
        # It may have been charged all the same: payment books a charge only when the order is confirmed.
        await release(session, order, "failed")
        log.exception("order.failed", order_id=order.id)
        raise HTTPException(HTTPStatus.BAD_GATEWAY, "payment is out of order") from error
    if reply.status_code == HTTPStatus.PAYMENT_REQUIRED:
        await release(session, order, "declined")
        log.warning("order.declined", order_id=order.id, reason=reply.json()["detail"])
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, reply.json()["detail"])
    order.status = "placed"
    await session.commit()
    ORDERS.add(1, {"shop.order.status": "placed"})
    log.info("order.placed", order_id=order.id, amount=order.amount)
    await confirm_later(order)
    return OrderReply(id=order.id, status=order.status, amount=order.amount)


@router.get("/orders/{order_id}")
async def read_order(order_id: int, session: Session) -> OrderReply:
    """Tell what became of an order."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such order")
    return OrderReply(id=order.id, status=order.status, amount=order.amount)


async def reserve(session: Session, wanted: OrderRequest) -> Order:
    """Take the goods out of the stock, in one transaction with the new order."""
    if await products.find(session, wanted.sku) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such product")
    # Checked and taken in one statement: two orders cannot both get the last one. The cached price may be old.
    taken = await session.execute(
        update(Product)
        .where(Product.sku == wanted.sku, Product.stock >= wanted.quantity)
        .values(stock=Product.stock - wanted.quantity)
        .returning(Product.price, Product.stock)
    )
    row = taken.one_or_none()
    if row is None:
        ORDERS.add(1, {"shop.order.status": "sold_out"})
        log.warning("order.declined", sku=wanted.sku, reason="sold out")
        raise HTTPException(HTTPStatus.CONFLICT, "sold out")
    order = Order(sku=wanted.sku, quantity=wanted.quantity, amount=row.price * wanted.quantity)
    session.add(order)
    await session.commit()
    log.info("stock.reserved", sku=order.sku, quantity=order.quantity, left=row.stock)
    return order


async def release(session: Session, order: Order, status: str) -> None:
    """Put the goods back, and remember why."""
    await session.execute(update(Product).where(Product.sku == order.sku).values(stock=Product.stock + order.quantity))
    order.status = status
    await session.commit()
    ORDERS.add(1, {"shop.order.status": status})


async def confirm_later(order: Order) -> None:
    """Hand the order to a worker. The customer has paid: without a broker, `tasks.remind` will find it."""
    try:
        # Celery knows no asyncio: in a thread, so that other requests go on meanwhile.
        await asyncio.to_thread(tasks.confirm.delay, order.id)
    except OperationalError:
        log.exception("order.not_handed_over", order_id=order.id)
