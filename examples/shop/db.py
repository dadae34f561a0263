"""The shop's database: products with their stock, and orders."""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import ForeignKey, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ.get("SHOP_DATABASE_URL", "sqlite+aiosqlite:///shop.db"))
open_session = async_sessionmaker(engine, expire_on_commit=False)


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


async def _session() -> AsyncIterator[AsyncSession]:
    async with open_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]


async def create() -> None:
    """Create the tables, and something to sell."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        if not await connection.scalar(select(func.count()).select_from(Product)):
            await connection.execute(
                insert(Product),
                [
                    {"sku": "teapot", "price": 39_00, "stock": 1000},
                    {"sku": "samovar", "price": 640_00, "stock": 1000},
                    {"sku": "grail", "price": 1_00, "stock": 0},
                ],
            )
