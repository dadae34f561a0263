"""What the API keeps its data in: one pool of connections to the database, and one to Redis."""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from shop import db

engine = create_async_engine(db.asyncio_url())
open_session = async_sessionmaker(engine, expire_on_commit=False)

# A cache that is away must not cost a request more than it saves: no pauses, and one more try, for a lost connection.
redis: Redis = Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    decode_responses=True,
    socket_timeout=0.5,
    socket_connect_timeout=0.5,
    retry=Retry(NoBackoff(), 1),
)


async def _session() -> AsyncIterator[AsyncSession]:
    async with open_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]
