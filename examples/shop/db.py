"""The shop's tables, and the URL of their database: the API asks it with asyncio, the worker without."""

import os
from datetime import UTC, datetime

from sqlalchemy import URL, DateTime, ForeignKey, func, insert, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATABASE = make_url(os.environ.get("SHOP_DATABASE_URL", "sqlite:///shop.db"))
"""SQLite, or PostgreSQL as `postgresql+psycopg://`, whose driver does both."""


def asyncio_url() -> URL:
    """Return the URL of the same database for asyncio."""
    return DATABASE.set(drivername="sqlite+aiosqlite") if DATABASE.drivername == "sqlite" else DATABASE


class Base(DeclarativeBase):
    """Base of the shop's tables."""


class Product(Base):
    """Something to sell; prices are in cents."""

    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    price: Mapped[int]
    stock: Mapped[int]


class Order(Base):
    """What a customer wanted, and what became of it; the amount is in cents."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    quantity: Mapped[int]
    amount: Mapped[int]
    status: Mapped[str] = mapped_column(default="reserved")
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


class User(Base):
    """Somebody who signed up; of the password, only what `users.scrambled` makes of it."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password: Mapped[bytes]


async def create(engine: AsyncEngine) -> None:
    """Create the tables, and something to sell."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        if not await connection.scalar(select(func.count()).select_from(Product)):
            await connection.execute(
                insert(Product),
                [
                    {"sku": "teapot", "price": 39_00, "stock": 100_000},
                    {"sku": "samovar", "price": 640_00, "stock": 100_000},
                    {"sku": "grail", "price": 1_00, "stock": 0},
                ],
            )
