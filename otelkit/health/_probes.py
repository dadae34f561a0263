"""The only place for the probes that come with otelkit: one function per kind of dependency.

A probe raises where its dependency does not work, and returns where it does. Those here ask for as little as proves
that the service could do its work, over the very engine or client that the service uses: that its pool has a connection
to spare is part of the answer. Each imports its library when it is made, not before.
"""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from otelkit.errors import SettingsError

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping

    Probe = Callable[[], object] | Callable[[], Awaitable[object]]


def sqlalchemy_probe(engine: Any) -> Probe:
    """Ask a database for one row, over a connection of the engine's pool.

    Args:
        engine: An `Engine`, or an `AsyncEngine` that the application uses in the event loop that serves.

    Raises:
        SettingsError: It is something else.
    """
    from sqlalchemy import Engine, select  # noqa: PLC0415  loaded by whoever has an engine
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415  the same

    one = select(1)

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(one)

    async def ask_async() -> None:
        async with engine.connect() as connection:
            await connection.execute(one)

    if isinstance(engine, AsyncEngine):
        return ask_async
    if isinstance(engine, Engine):
        return ask
    raise SettingsError([f"sqlalchemy_probe(engine): an Engine or AsyncEngine, not {_kind(engine)}"])


def redis_probe(client: Any) -> Probe:
    """Send PING.

    Args:
        client: A client of redis-py, cluster and sentinel's `master_for` included; of `redis.asyncio`, one that the
            application uses in the event loop that serves.

    Raises:
        SettingsError: It is something else.
    """
    import redis  # noqa: PLC0415  loaded by whoever has a client
    import redis.asyncio  # noqa: PLC0415  the same

    def ask() -> None:
        client.ping()

    async def ask_async() -> None:
        await client.ping()

    if isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
        return ask_async
    if isinstance(client, redis.Redis | redis.RedisCluster):
        return ask
    raise SettingsError([f"redis_probe(client): a client of redis-py, not {_kind(client)}"])


def celery_probe(app: Any) -> Probe:
    """Connect to the broker that tasks are published to. Whether workers run, the queue's depth tells, not this.

    Args:
        app: The Celery application.

    Raises:
        SettingsError: It is something else.
    """
    import celery  # noqa: PLC0415  loaded by whoever has an application

    if not isinstance(app, celery.Celery):
        raise SettingsError([f"celery_probe(app): a Celery application, not {_kind(app)}"])

    def ask() -> None:
        with app.connection_for_write() as connection:
            # Kombu counts the first attempt: once more after a connection that was just lost, without a pause.
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)

    return ask


def http_probe(url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0) -> Probe:
    """Fetch a URL; a status of 400 and above is a failure, redirects are followed.

    Ask another service whether it lives, not whether it is ready: else one that is not ready takes all its callers out.

    Args:
        url: With http or https.
        headers: Further headers of the request.
        timeout: Seconds without an answer after which the thread that waits gives up; the check's own timeout decides
            about health.

    Raises:
        SettingsError: The URL has another scheme, or no host.
    """
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        # Not the URL itself: it may hold a password.
        raise SettingsError(["http_probe(url): an http or https URL with a host"])
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  the scheme was checked

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310  the scheme was checked
                pass
        except HTTPError as answer:
            answer.close()
            raise ConnectionError(f"HTTP {answer.code}") from None

    return ask


def disk_probe(path: str | os.PathLike[str], *, free: int) -> Probe:
    """Look at the free space of a file system.

    Args:
        path: A file or folder on it.
        free: Bytes that must be left.

    Raises:
        SettingsError: `free` is no positive number.
    """
    if isinstance(free, bool) or not isinstance(free, int) or free <= 0:
        raise SettingsError([f"disk_probe(free): bytes, a positive number, not {free!r}"])
    folder = Path(path)

    def ask() -> None:
        left = shutil.disk_usage(folder).free
        if left < free:
            raise OSError(f"{left} bytes are free, fewer than {free}")

    return ask


def _kind(value: object) -> str:
    return type(value).__name__
