"""A process that is configured again and again, and counts what it has before and after: threads, handlers.

python again.py TIMES
"""

from __future__ import annotations

from faults.apps import kit

kit.configure()

import asyncio
import json
import logging
import sys
import threading
from typing import Any

from faults.apps import shop


def have() -> dict[str, int]:
    """Count what a second set-up could double."""
    return {"threads": threading.active_count(), "handlers": len(logging.getLogger().handlers)}


def request(number: int) -> None:
    """Call the application as a server does."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/work/{number}",
        "raw_path": f"/work/{number}".encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"shop")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    asyncio.run(shop.app(scope, receive, send))


request(0)
kit.flush()
before = have()
for _ in range(int(sys.argv[1]) - 1):
    kit.configure_again()
for number in range(1, 11):
    request(number)
kit.flush()
print("counted", json.dumps({"before": before, "after": have()}), flush=True)
