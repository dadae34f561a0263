"""A service with health, configured by its own code or by the launcher; its probes do what files of the test say."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import otelkit

if "HEALTHY_ZERO_CODE" not in os.environ:
    otelkit.configure()

from fastapi import FastAPI

FOLDER = Path(os.environ["HEALTHY_FOLDER"])
log = logging.getLogger("healthy")

health = otelkit.Health(refresh=0.2, drain=float(os.environ.get("HEALTHY_DRAIN", "0")))


def backend() -> None:
    """Hang while one file is there, fail while another is."""
    (FOLDER / f"probed-by-{os.getpid()}").touch()
    while (FOLDER / "hang").exists():
        time.sleep(0.02)
    if (FOLDER / "fail").exists():
        raise ConnectionError("no route to postgresql://shop:hunter2-canary@db/shop")


async def extra() -> None:
    if (FOLDER / "fail-extra").exists():
        raise OSError("the extra is away")


health.add("backend", backend, timeout=0.5)
health.add("extra", extra, critical=False)


def service() -> FastAPI:
    """Return the application, without health."""
    made = FastAPI()

    @made.get("/work/{number}")
    async def work(number: int) -> int:
        log.warning("worked on %d", number)
        return number

    return made


inside = service()
inside.add_middleware(otelkit.HealthMiddleware, health=health)

outside = otelkit.HealthMiddleware(service(), health=health)
