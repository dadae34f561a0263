"""A service that logs on each of its requests, once by stdlib logging and once by structlog, and configures neither."""

from __future__ import annotations

import logging
from typing import Any

import structlog

stdlib = logging.getLogger("speaking")
log = structlog.get_logger("speaking")


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    stdlib.info("stdlib said %s", scope["path"])
    log.info("structlog.said", path=scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
