"""Products, looked up in the cache first."""

from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from redis.exceptions import RedisError

import otelkit
from shop.db import Product
from shop.stores import Session, redis

CACHE = otelkit.Cache("products")
SECONDS = 60
"""How long a product is remembered; what changes with each order, its stock, is not."""

router = APIRouter()


class ProductReply(BaseModel):
    """What a customer gets to see; the price is in cents."""

    sku: str
    price: int


async def find(session: Session, sku: str) -> ProductReply | None:
    """Return a product, or None. Without Redis the shop goes on, with the database alone."""
    with suppress(RedisError), CACHE.lookup() as lookup:
        if cached := await redis.get(f"product:{sku}"):
            lookup.hit()
            return ProductReply.model_validate_json(cached)
    product = await session.get(Product, sku)
    if product is None:
        return None
    found = ProductReply(sku=product.sku, price=product.price)
    with suppress(RedisError), CACHE.store():
        await redis.set(f"product:{sku}", found.model_dump_json(), ex=SECONDS)
    return found


@router.get("/products/{sku}")
async def read_product(sku: str, session: Session) -> ProductReply:
    """Tell what a product costs: 200, or 404."""
    product = await find(session, sku)
    if product is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such product")
    return product
