"""Users: they sign up, log in, and are known by a token for an hour."""

import asyncio
import hashlib
import hmac
import secrets
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

import otelkit
from shop.db import User
from shop.metrics import LOG_INS, SIGN_UPS
from shop.stores import Session, redis

log = otelkit.get_logger()
router = APIRouter(prefix="/users")

SALT_BYTES = 16
SECONDS = 3600
"""How long a token is good."""


class Credentials(BaseModel):
    """What a user signs up and logs in with."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    password: SecretStr = Field(min_length=8, max_length=128)


class UserReply(BaseModel):
    """Who somebody is."""

    id: int


class TokenReply(BaseModel):
    """What a user is known by from now on: `Authorization: Bearer <token>`."""

    token: str


def scrambled(password: SecretStr, salt: bytes) -> bytes:
    """Return what is stored of a password. It takes a while on purpose: call it in a thread."""
    return salt + hashlib.scrypt(password.get_secret_value().encode(), salt=salt, n=2**14, r=8, p=1)


@router.post("", status_code=HTTPStatus.CREATED)
async def sign_up(wanted: Credentials, session: Session) -> UserReply:
    """Become a user: 201, or 409 where the address has one."""
    stored = await asyncio.to_thread(scrambled, wanted.password, secrets.token_bytes(SALT_BYTES))
    user = User(email=wanted.email, password=stored)
    session.add(user)
    try:
        await session.commit()
    except IntegrityError:
        raise HTTPException(HTTPStatus.CONFLICT, "there is a user with this address") from None
    SIGN_UPS.add()
    log.info("user.signed_up", user_id=user.id)
    return UserReply(id=user.id)


@router.post("/log-in")
async def log_in(given: Credentials, session: Session) -> TokenReply:
    """Get a token: 200, or 401, which does not tell whether the address or the password was wrong."""
    user = await session.scalar(select(User).where(User.email == given.email))
    # Nobody's password is as much work as somebody's: the time it takes must not tell either.
    stored = user.password if user else bytes(SALT_BYTES)
    matches = hmac.compare_digest(await asyncio.to_thread(scrambled, given.password, stored[:SALT_BYTES]), stored)
    if user is None or not matches:
        LOG_INS.add(1, {"app.auth.outcome": "failure"})
        log.warning("user.log_in_refused")
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "wrong address or password")
    token = secrets.token_urlsafe()
    await redis.set(f"token:{token}", user.id, ex=SECONDS)
    LOG_INS.add(1, {"app.auth.outcome": "success"})
    log.info("user.logged_in", user_id=user.id)
    return TokenReply(token=token)


@router.get("/me")
async def who_am_i(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> UserReply:
    """Tell who a token belongs to: 200, or 401."""
    user_id = await redis.get(f"token:{bearer.credentials}")
    if user_id is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "log in first")
    return UserReply(id=int(user_id))
