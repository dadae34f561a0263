"""Ten thousand requests of strangers who invent whatever they can: series and span names stay as many as are stated."""

from __future__ import annotations

import asyncio
import os
import random
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, http_get

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from otelkit.otlp.model import Point

APPS = Path(__file__).parent / "apps"
CONNECTIONS = 8
WITHIN = 120.0  # seconds for the whole load; a guard, no promise

KNOWN = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
METHODS = len(KNOWN) + 1
"""By name what is known, and `_OTHER`."""

PLACES = 6
"""/orders/{order}, /orders, /files/{path}, /inner/things/{thing}, what is not found below the mount, and nowhere."""

ENDINGS = 5
"""POST /orders answers 200, 402, 409, 503, or 500 for an exception; at any other place one method has one status."""

ENDED = METHODS * PLACES + ENDINGS - 1
SERIES = {
    "http.server.active_requests": METHODS,
    "http.server.request.body.size": ENDINGS,  # nothing else reads a body
    "http.server.request.duration": ENDED,
    "http.server.response.body.size": ENDED,
}
SPAN_NAMES = METHODS * PLACES

ERRORS = ("pay", "clash", "busy")
LIMIT, VALUES = 2000, 5000


class Stranger:
    """Makes requests up, the same ones in every run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  to be repeatable, not secret

    def word(self, letters: str = string.ascii_letters + string.digits + "._~-") -> str:
        return "".join(self._random.choices(letters, k=self._random.randint(3, 24)))

    def method(self) -> str:
        return self._random.choice((*KNOWN, "GET", "POST", self.word(string.ascii_uppercase), self.word()))

    def target(self) -> str:
        word, query = self.word(), f"?{self.word()}={self.word()}"
        places = (f"/{word}", f"/{word}/{self.word()}", f"/orders/{word}", "/orders", f"/files/{word}/{self.word()}")
        deeper = (f"/inner/things/{word}", f"/inner/{word}", f"//{word}", f"/%00{word}", f"/{word}.php")
        return self._random.choice((*places, *deeper)) + self._random.choice(("", query))

    def headers(self) -> dict[str, str]:
        hosts = (f"{self.word(string.ascii_lowercase)}.example", f"{self.word()}:{self._random.randint(1, 65535)}")
        return {
            "Host": self._random.choice((*hosts, f"user@{self.word()}", "[::1")),
            "User-Agent": self.word(),
            f"X-{self.word(string.ascii_letters)}": self.word(),
            "X-Request-Id": self.word(),
            "X-Forwarded-For": self.word(),
            "X-HTTP-Method-Override": self.word(),
            "Forwarded": f"host={self.word()};proto={self.word()}",
            "traceparent": f"00-{self._random.getrandbits(128):032x}-{self._random.getrandbits(64):016x}-01",
            "tracestate": f"{self.word(string.ascii_lowercase)}={self.word()}",
            "baggage": f"{self.word()}={self.word()}",
        }

    def body(self) -> str:
        words = (*ERRORS, "", self.word(), "raise" if self._random.random() < 0.2 else "")
        return self._random.choice(words)

    def request(self) -> bytes:
        """Return one request as it goes over the wire."""
        body = self.body()
        lines = [f"{self.method()} {self.target()} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers().items()]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def directed() -> list[bytes]:
    """Return each kind of request once, so that what is counted does not hang on chance."""
    targets = ("/orders/1", "/orders", "/files/a/b", "/inner/things/1", "/inner/x", "/nowhere")
    calls = [(method, target, "") for method in (*KNOWN, "INVENTED") for target in targets]
    calls += [("POST", "/orders", body) for body in ("well", *ERRORS, "raise")]
    return [
        f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        for method, target, body in calls
    ]


async def send(port: int, requests: Sequence[bytes]) -> int:
    """Send requests over several connections that stay open; return how many were answered."""

    async def connection(own: Iterable[bytes]) -> int:
        reader, writer = await asyncio.open_connection(HOST, port)
        answered = 0
        for request in own:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            answered += 1
            # Where the application raised, uvicorn closes without a word, once the answer of Starlette is out.
            if b"connection: close" in head or head.startswith(b"http/1.1 500"):
                writer.close()
                reader, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return answered

    async with asyncio.timeout(WITHIN):
        return sum(await asyncio.gather(*(connection(requests[n::CONNECTIONS]) for n in range(CONNECTIONS))))


class Service:
    """A shape of the service under load, and what it exported."""

    def __init__(self, folder: Path, shape: str, **variables: str) -> None:
        self.port = free_port()
        self.receiver = Receiver()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.http_url,
            "OTEL_METRIC_EXPORT_INTERVAL": "900000",
            "OTEL_BSP_MAX_QUEUE_SIZE": "50000",
            "OTEL_LOGS_EXPORTER": "none",
            "PYTHONPATH": os.pathsep.join([str(APPS), *sys.path]),
            **variables,
        }
        # h11 takes methods that nobody ever heard of; what a trusted proxy says is none of a stranger's business.
        server = [PYTHON, "-m", "uvicorn", "--factory", f"crowded:{shape}", "--port", str(self.port), "--http", "h11"]
        self.process = Process([*server, "--no-proxy-headers"], folder=folder, env=environment)

    def __enter__(self) -> Self:
        """Start it."""
        self.process.__enter__().wait_http(f"http://{HOST}:{self.port}/flush", within=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.process.__exit__(kind, error, traceback)
        self.receiver.close()

    def load(self, requests: Sequence[bytes]) -> None:
        """Send requests, and have everything exported."""
        assert asyncio.run(send(self.port, requests)) == len(requests)
        assert http_get(f"http://{HOST}:{self.port}/flush", timeout=60).status == 200

    def points(self, prefix: str) -> dict[tuple[str, frozenset[Any]], Point]:
        """Return the last point of each series whose name begins so, without those of the flush itself."""
        return {
            (point.metric, frozenset(point.attributes.items())): point
            for point in self.receiver.points()
            if point.metric.startswith(prefix) and point.attributes.get("http.route") != "/flush"
        }

    def names(self) -> set[str]:
        """Return the names of all server spans but the flush's."""
        spans = [span.name for span in self.receiver.spans() if span.kind == "SERVER"]
        return {name for name in spans if not name.endswith("/flush")}


def by_name(series: Iterable[tuple[str, frozenset[Any]]]) -> dict[str, int]:
    names = [name for name, _ in series]
    return {name: names.count(name) for name in sorted(set(names))}


def check_crowded(service: Service) -> None:
    """Check the service's own instruments: as many series as allowed, and sums as if there were no limit."""
    added = service.points("crowded.adds")
    assert len(added) == LIMIT + 1
    assert sum(point.value or 0 for point in added.values()) == 2 * VALUES
    (overflow,) = [point.value for (_, labels), point in added.items() if labels == {("otel.metric.overflow", True)}]
    assert overflow == 2 * (VALUES - LIMIT)
    assert len(service.points("crowded.gauge")) == LIMIT + 1
    observed = service.points("crowded.observed")
    assert len(observed) == LIMIT + 1
    assert sum(point.value or 0 for point in observed.values()) == VALUES
    said = [line for line in service.process.stderr.splitlines() if "attribute sets" in line]
    assert sorted(line.split()[1] for line in said) == ["crowded.adds:", "crowded.gauge:", "crowded.observed:"]


def own(series: Iterable[tuple[str, frozenset[Any]]]) -> set[tuple[str, frozenset[Any]]]:
    """Leave out what otelkit tells of itself: for example a queue that was full makes a series of its own."""
    return {key for key in series if not key[0].startswith("otelkit.")}


@pytest.mark.parametrize(("shape", "count"), [("fastapi", 10_000), ("plain", 2000)])
def test_strangers_find_the_stated_series_and_names_and_add_none(shape: str, count: int, tmp_path: Path) -> None:
    stranger = Stranger(6)
    with Service(tmp_path, shape) as service:
        service.load(directed())
        stated = service.points("")
        service.load([stranger.request() for _ in range(count)])
        series = service.points("")
        names = service.names()
        check_crowded(service)
    assert by_name(key for key in series if key[0].startswith("http.")) == SERIES
    assert own(series) == own(stated)
    assert len(names) == SPAN_NAMES
    durations = [point.count for (name, _), point in series.items() if name == "http.server.request.duration"]
    assert sum(durations) == count + len(directed())


@pytest.mark.parametrize("conventions", ["http", "http/dup"])
def test_contribs_middleware_has_no_series_of_a_strangers_host(conventions: str, tmp_path: Path) -> None:
    stranger = Stranger(7)
    with Service(tmp_path, "contrib", OTEL_SEMCONV_STABILITY_OPT_IN=conventions) as service:
        service.load(directed())
        stated = service.points("")
        service.load([stranger.request() for _ in range(500)])
        series = service.points("")
    names = {name for name, _ in series if name.startswith("http.")}
    assert ("http.server.duration" in names) == (conventions == "http/dup")
    assert {"http.server.request.duration", "http.server.active_requests"} <= names
    assert own(series) == own(stated)
