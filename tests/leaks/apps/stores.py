"""The only place that uses Redis as services do: each route gives a client some secrets, or makes it fail."""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from fastapi import APIRouter

from leaks.apps.kit import arrived, use

if TYPE_CHECKING:
    from collections.abc import Callable

router = APIRouter()
_log = logging.getLogger("shop.stores")
_log.setLevel(logging.INFO)
_URL = os.environ["LEAKS_REDIS"]
_MADE: dict[str, Callable[[], Any]] = {
    "sync": lambda: redis.Redis.from_url(_URL),
    "asyncio": lambda: redis.asyncio.Redis.from_url(_URL),
    "cluster": lambda: redis.RedisCluster.from_url(os.environ["LEAKS_CLUSTER"]),
}
_SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]) return '{}'"


async def _done(answer: Any) -> Any:
    """Return the answer of either kind of client."""
    return await answer if inspect.isawaitable(answer) else answer


async def _known(client: Any, at: Callable[[str], str]) -> None:
    await _done(client.set(at("key"), at("value")))
    await _done(client.get(f"user:{at('key with known words')}:cart"))
    await _done(client.hset("{a}hash", at("field of a hash"), 1))


async def _several(client: Any, at: Callable[[str], str]) -> None:
    for what, transaction in (("value of a pipeline", False), ("value of a transaction", True)):
        pipeline = client.pipeline(transaction=transaction)
        pipeline.set("{a}1", at(what))
        pipeline.get("{a}1")
        await _done(pipeline.execute())


async def _subscribed(client: Any, at: Callable[[str], str]) -> None:
    channel, message = at("channel"), at("message")
    listener = client.pubsub()
    await _done(listener.subscribe(channel))
    await _done(client.publish(channel, message))
    while not (heard := await _done(listener.get_message(ignore_subscribe_messages=True, timeout=5))):
        pass
    assert heard["data"].decode() == message
    await _done(listener.aclose() if hasattr(listener, "aclose") else listener.close())


async def _script(client: Any, at: Callable[[str], str]) -> None:
    script = _SCRIPT.format(at("script"))
    await _done(client.eval(script, 1, at("key of a script"), at("argument of a script")))


async def _script_error(client: Any, at: Callable[[str], str]) -> None:
    script = "return redis.error_reply('ERR no account of ' .. ARGV[1])"
    await _done(client.eval(script, 1, "{a}1", at("error of a script")))


async def _failing(client: Any, at: Callable[[str], str]) -> None:
    await _done(client.set("{a}text", at("argument of a failing command")))
    await _done(client.lpush("{a}text", at("argument of a failing command")))


async def _failing_pipeline(client: Any, at: Callable[[str], str]) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.set("{a}text", 1)
    pipeline.lpush("{a}text", at("argument of a failing pipeline"))
    await _done(pipeline.execute())


async def _failing_transaction(client: Any, at: Callable[[str], str]) -> None:
    pipeline = client.pipeline(transaction=True)
    pipeline.set("{a}text", 1)
    pipeline.lpush("{a}text", at("argument of a failing transaction"))
    await _done(pipeline.execute())


async def _unknown_name(client: Any, at: Callable[[str], str]) -> None:
    await _done(client.execute_command(f"GETuser:{at('name of an unknown command')}"))


async def _unknown(client: Any, at: Callable[[str], str]) -> None:
    await _done(client.execute_command("GETX", "{a}1", at("argument of an unknown command")))


async def _subcommand(client: Any, at: Callable[[str], str]) -> None:
    await _done(client.execute_command("CONFIG", at("unknown subcommand")))


CALLS = {
    "known": _known,
    "several": _several,
    "subscribed": _subscribed,
    "script": _script,
    "script-error": _script_error,
    "failing": _failing,
    "failing-pipeline": _failing_pipeline,
    "failing-transaction": _failing_transaction,
    "unknown-name": _unknown_name,
    "unknown": _unknown,
    "subcommand": _subcommand,
}


@router.get("/redis/{kind}/{call}")
async def told(kind: str, call: str) -> str:
    """Tell Redis something; where that fails, log it, and fail the request."""

    def at(what: str) -> str:
        return use(f"redis, {kind}: {what}")

    client = _MADE[kind]()
    try:
        await CALLS[call](client, at)
    except Exception:
        _log.exception("redis failed")
        raise
    finally:
        await _done(client.aclose() if hasattr(client, "aclose") else client.close())
    return "told"


@router.get("/redis-servers")
async def servers() -> str:
    """Log where Redis is, and look for it where it is not, or with the wrong password."""
    arrived("redis: password of the server", _URL)
    host = _URL.rpartition("@")[2]
    _log.info("cache is %s", f"redis://:{use('redis: url that is logged')}@{host}")
    _log.info("cache is %r", redis.Redis.from_url(_URL))
    wrong = f"redis://:{use('redis: wrong password')}@{host}"
    gone = f"redis://shop:{use('redis: password in the url of a server that is gone')}@127.0.0.1:1/0"
    for url in (wrong, gone):
        for made in (redis.Redis, redis.asyncio.Redis):
            client: Any = made.from_url(url)
            try:
                await _done(client.get("a"))
            except redis.RedisError:
                _log.exception("no cache at %s", url)
    raise LookupError(f"no cache at {wrong}")
