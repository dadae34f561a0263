"""The only place where tests start the example shop with all its processes, and visit it as a customer would."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from support.processes import HOST, PYTHON, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
APPS = ROOT / "tests/e2e/apps"
LAUNCHER = Path(sys.executable).parent / "opentelemetry-instrument"
START = 60.0  # a busy machine takes that long to import a framework
DEADLINE = 30.0  # a retry pauses for a second, beat asks every two, metrics are sent every second
MODES = ("explicit", "launched")
PROCESSES = {
    "payment": ["uvicorn"],
    "api": ["uvicorn"],
    "worker": ["celery", "-A", "{app}", "worker", "--concurrency", "1", "--without-mingle", "--without-gossip"],
    "beat": ["celery", "-A", "{app}", "beat", "--schedule", "schedule", "--pidfile="],
}


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The running shop, after some visits.

    Args:
        namespace: Its `service.namespace`, which nobody else uses.
        order: The trace of the order that went well.
        api: Base URL of the service that customers talk to.
    """

    namespace: str
    order: str
    api: str


@contextmanager
def running_shop(
    mode: str, *, otlp: str, redis: RedisServer, folder: Path, namespace: str, variables: dict[str, str] | None = None
) -> Iterator[Shop]:
    """Start all processes, visit them, and let them run on while their telemetry is looked at.

    Args:
        mode: One of `MODES`: whether the shop configures otelkit itself, or is launched with it.
        otlp: Base URL of the OTLP/HTTP receiver that they send to.
        redis: Cache and broker; each mode has two databases of its own.
        folder: Where they keep their databases.
        namespace: Their `service.namespace`; where the shop configures itself, it says "shop" whatever is given.
        variables: Further variables of their environment.
    """
    ports = {"payment": free_port(), "api": free_port()}
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(EXAMPLES), str(APPS)]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={namespace}",
        "SHOP_DATABASE_URL": f"sqlite:///{folder / 'shop.db'}",
        "PAYMENT_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'payment.db'}",
        "PAYMENT_URL": f"http://{HOST}:{ports['payment']}",
        "REDIS_URL": redis.url(2 * MODES.index(mode)),
        "BROKER_URL": redis.url(2 * MODES.index(mode) + 1),
        "SHOP_REMIND_SECONDS": "2",
        **(variables or {}),
    }

    def launched(service: str) -> Process:
        app = f"shop.{service}:app"
        own = {**environment, "SHOP_APP": app}
        command = PROCESSES[service]
        if command == ["uvicorn"]:
            command = ["uvicorn", "{app}", "--host", HOST, "--port", str(ports[service])]
        program: list[str | Path] = [PYTHON, "-m"]
        if mode == "launched":
            app = "launched:app"
            own["OTEL_SERVICE_NAME"] = service
            program = [LAUNCHER, PYTHON, "-m"]
        return Process([*program, *(part.format(app=app) for part in command)], folder=folder, env=own, name=service)

    with ExitStack() as stack:
        processes = {service: stack.enter_context(launched(service)) for service in ("payment", "api", "worker")}
        for service, port in ports.items():
            processes[service].wait_http(f"http://{HOST}:{port}/health/ready", within=START)
        stack.enter_context(launched("beat"))  # the tables are there
        api = f"http://{HOST}:{ports['api']}"
        with httpx.Client(base_url=api, trust_env=False, timeout=DEADLINE) as customer:
            order = visit(customer)
        yield Shop(namespace=namespace, order=order, api=api)


def visit(customer: httpx.Client) -> str:
    """Order twice, look at a product, sign up and log in; return the trace id of the order that went well."""
    failed = customer.post("/orders", json={"sku": "teapot", "card": "diners"})
    assert failed.status_code == httpx.codes.BAD_GATEWAY
    ordered = customer.post("/orders", json={"sku": "teapot", "quantity": 2, "card": "mastercard"})
    assert ordered.status_code == httpx.codes.CREATED, ordered.text
    assert customer.get("/products/teapot").json() == {"sku": "teapot", "price": 39_00}
    ada: dict[str, Any] = {"email": "ada@example.org", "password": "correct horse"}
    assert customer.post("/users", json=ada).status_code == httpx.codes.CREATED
    assert customer.post("/users/log-in", json=ada).status_code == httpx.codes.OK
    wrong = customer.post("/users/log-in", json=ada | {"password": "incorrect horse"})
    assert wrong.status_code == httpx.codes.UNAUTHORIZED
    return str(ordered.headers["traceresponse"]).split("-")[1]
