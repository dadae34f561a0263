"""What happens after an order: payment is told that it may keep the money, as often as it takes."""

import os
from datetime import UTC, datetime, timedelta

import httpx
from celery import Celery, signals
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import sessionmaker

import otelkit
from shop import db, faults
from shop.db import Order
from shop.metrics import DELIVERIES, REVENUE

log = otelkit.get_logger()

OVERDUE = timedelta(seconds=60)
"""After that time a placed order should be confirmed."""

app = Celery("shop", broker=os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/1"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,  # a task whose worker was killed is delivered again; each may therefore run twice
    broker_connection_retry_on_startup=True,
    beat_schedule={
        "remind": {"task": "shop.tasks.remind", "schedule": float(os.environ.get("SHOP_REMIND_SECONDS", "30"))}
    },
)


@signals.setup_logging.connect
def leave_logging(**_: object) -> None:
    """Keep Celery from setting up logging, which it does unless somebody receives this: it is set up already."""


# Made before the worker forks, used in its children only: no connection is shared.
open_session = sessionmaker(create_engine(db.DATABASE), expire_on_commit=False)
payment = httpx.Client(base_url=os.environ.get("PAYMENT_URL", "http://127.0.0.1:8001"))


@app.task(autoretry_for=(httpx.HTTPError,), retry_backoff=True, max_retries=5)
def confirm(order_id: int) -> None:
    """Tell payment that an order is on its way. Run twice, it does no harm: payment books once, and so do we."""
    faults.of_task()
    with open_session() as session:
        order = session.get_one(Order, order_id)
    if order.status != "placed":
        log.info("order.confirmed_before", order_id=order_id)
        return
    deliver(order)
    with open_session.begin() as session:
        confirmed = session.scalar(
            update(Order)
            .where(Order.id == order_id, Order.status == "placed")
            .values(status="confirmed")
            .returning(Order.id)
        )
    if confirmed:
        REVENUE.add(order.amount / 100)
        log.info("order.confirmed", order_id=order_id, amount=order.amount)


def deliver(order: Order) -> None:
    """Call payment's webhook, and count what came of it."""
    try:
        payment.post("/webhooks/order-confirmed", json={"order_id": order.id}).raise_for_status()
    except httpx.HTTPError:
        DELIVERIES.add(1, {"app.webhook.outcome": "failure"})
        raise
    DELIVERIES.add(1, {"app.webhook.outcome": "success"})


@app.task
def remind() -> None:
    """Hand overdue orders to a worker again: the broker was away when they were placed, or payment for too long."""
    faults.of_task()
    with open_session() as session:
        overdue = session.scalars(
            select(Order.id)
            .where(Order.status == "placed", Order.created < datetime.now(UTC) - OVERDUE)
            .order_by(Order.id)
            .limit(100)
        ).all()
    for order_id in overdue:
        confirm.delay(order_id)
    log.info("orders.reminded", number=len(overdue))
