"""The only place that puts load on a service: every request has a number of its own, so that counts are exact."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CLIENTS = 8


@dataclass
class Load:
    """What became of the requests.

    Args:
        seconds: How long each request took that was answered 200.
        failed: What happened to the others.
    """

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many requests were answered 200."""
        return len(self.seconds)

    def percentile(self, share: float) -> float:
        """Return the time in seconds that this share of the requests stayed below."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * share))]


def closed(port: int, numbers: Iterable[int], *, path: str = "/work/{}", clients: int = CLIENTS) -> Load:
    """Send the numbered requests as fast as the answers come, each client one at a time."""
    return _run(port, numbers, path, clients, lambda _: None)


def paced(port: int, numbers: Iterable[int], *, rate: float, path: str = "/work/{}") -> Load:
    """Send so many requests per second by one client."""
    begin = time.monotonic()
    return _run(port, numbers, path, 1, lambda sent: time.sleep(max(0.0, begin + sent / rate - time.monotonic())))


def each(port: int, requests: Iterable[tuple[str, str, Mapping[str, str]]]) -> None:
    """Send requests one after the other, each a method, a path and headers; whatever answers them will do."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    for method, path, headers in requests:
        connection.request(method, path, headers=dict(headers))
        connection.getresponse().read()
    connection.close()


def _run(port: int, numbers: Iterable[int], path: str, clients: int, pause: Callable[[int], None]) -> Load:
    load, lock = Load(), threading.Lock()
    waiting = enumerate(numbers)

    def take() -> tuple[int, int] | None:
        with lock:
            return next(waiting, None)

    def client() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        for sent, number in iter(take, None):
            pause(sent)
            begin = time.perf_counter()
            try:
                connection.request("GET", path.format(number))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                load.failed.append(repr(error))
            else:
                if answer.status == http.HTTPStatus.OK:
                    load.seconds.append(time.perf_counter() - begin)
                else:
                    load.failed.append(str(answer.status))
        connection.close()

    threads = [threading.Thread(target=client, name="load") for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load
