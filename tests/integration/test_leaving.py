"""However a process ends, what it emitted before has arrived: real processes, counted by unique ids."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, free_port, http_get, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
LAUNCHER = str(BIN / "opentelemetry-instrument")
PROTOCOLS = ("http/protobuf", "grpc")

REQUESTS = int(os.environ.get("LEAVING_REQUESTS", "100"))
"""What each server answers before it is told to end; the guarantee is measured with 3000 too."""

UVICORN_WORKER = (
    "uvicorn.workers.UvicornWorker" if importlib.util.find_spec("uvicorn.workers") else "uvicorn_worker.UvicornWorker"
)
BIND = ("--bind", f"{HOST}:{{port}}")
SERVERS = {
    "uvicorn": ("uvicorn", "{app}", "--port", "{port}"),
    "uvicorn without lifespan": ("uvicorn", "{app}", "--port", "{port}", "--lifespan", "off"),
    "uvicorn workers": ("uvicorn", "{app}", "--port", "{port}", "--workers", "2"),
    "gunicorn asgi": ("gunicorn", "{app}", "-w", "2", "-k", "asgi", *BIND),
    "gunicorn asgi preload": ("gunicorn", "{app}", "-w", "2", "-k", "asgi", "--preload", *BIND),
    "gunicorn uvicorn": ("gunicorn", "{app}", "-w", "2", "-k", UVICORN_WORKER, *BIND),
    "gunicorn uvicorn preload": ("gunicorn", "{app}", "-w", "2", "-k", UVICORN_WORKER, "--preload", *BIND),
}
ALL = [(server, launched, protocol) for server in SERVERS for launched in (True, False) for protocol in PROTOCOLS]
FEW = [
    ("uvicorn", True, "http/protobuf"),
    ("uvicorn", False, "grpc"),
    ("uvicorn without lifespan", False, "http/protobuf"),
    ("uvicorn workers", True, "grpc"),
    ("gunicorn asgi", False, "http/protobuf"),
    ("gunicorn asgi preload", True, "grpc"),
    ("gunicorn uvicorn", False, "http/protobuf"),
    ("gunicorn uvicorn preload", True, "grpc"),
    ("gunicorn uvicorn preload", False, "http/protobuf"),
]
CELLS = ALL if os.environ.get("LEAVING_CELLS") == "all" else FEW
"""Servers, whether they run under the launcher, protocols."""

DIES_BY_SIGNAL = {"uvicorn", "uvicorn without lifespan"}
"""They raise SIGTERM again when they have stopped; the masters of the others return."""


def environment(receiver: Receiver, protocol: str = "http/protobuf", **extra: str) -> Mapping[str, str]:
    """Return settings under which nothing leaves before the end by itself."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint if protocol == "grpc" else receiver.http_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(grpc_port=0) as running:
        yield running


# -- counting


def total(receiver: Receiver, metric: str, **attributes: str) -> float:
    """Add up the last cumulative value of each process: a histogram's count, a counter's value."""
    last: dict[tuple[str, str], float] = {}
    for point in receiver.points():
        if point.metric != metric or any(point.attributes.get(key) != value for key, value in attributes.items()):
            continue
        key = (str(point.resource["service.instance.id"]), repr(sorted(point.attributes.items())))
        last[key] = max(last.get(key, 0), point.count if point.kind == "histogram" else point.value or 0)
    return sum(last.values())


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What arrived of work that was done: server spans, spans inside of them, records, requests in the metric."""

    spans: int
    inside: int
    logs: int
    counted: float

    @classmethod
    def at(cls, receiver: Receiver) -> Arrived:
        """Count by unique ids."""
        spans = {(span.trace_id, span.span_id): span for span in receiver.spans()}.values()
        return cls(
            spans=len(
                {span.attributes["url.path"] for span in spans if "/work/" in span.attributes.get("url.path", "")}
            ),
            inside=len({span.name for span in spans if span.name.startswith("inside ")}),
            logs=len({record.body for record in receiver.logs() if str(record.body).startswith("worked on ")}),
            counted=total(receiver, "http.server.request.duration", **{"http.route": "/work/{number}"}),
        )

    @classmethod
    def whole(cls, number: int) -> Arrived:
        """What should arrive of that many requests."""
        return cls(spans=number, inside=number, logs=number, counted=number)


def emitted(receiver: Receiver) -> tuple[int, int, float]:
    """Count what scripts emitted: spans, records and the counter of the same."""
    spans = {(span.trace_id, span.span_id) for span in receiver.spans() if span.scope.name == "leaving"}
    logs = {record.body for record in receiver.logs() if str(record.body).startswith("done ")}
    return len(spans), len(logs), total(receiver, "leaving.done")


# -- servers


class Service:
    """Context manager: a server with the app that configures itself, or under the launcher; every worker serves.

    Args:
        server: One of `SERVERS`.
        folder: A folder of the test.
        environment: Its settings.
        launched: Whether it runs under the launcher.
    """

    def __init__(self, server: str, folder: Path, environment: Mapping[str, str], *, launched: bool) -> None:
        port = free_port()
        app = "leaving_app:app" if launched else "leaving_explicit:app"
        program, *arguments = [part.format(app=app, port=port) for part in SERVERS[server]]
        launcher = (LAUNCHER,) if launched else ()
        self._url = f"http://{HOST}:{port}"
        self._workers = 2 if {"-w", "--workers"} & set(arguments) else 1
        # A worker that is still booting may miss a SIGTERM (gunicorn -k asgi does, whatever it serves).
        self._serves = "ASGI server listening" if "asgi" in arguments else "Started server process"
        self.process = Process([*launcher, BIN / program, *arguments], folder=folder, env=environment)

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        self.process.__enter__()
        self.process.wait_http(f"{self._url}/ready", within=60)
        wait_until(
            lambda: (self.process.stdout + self.process.stderr).count(self._serves) >= self._workers,
            within=60,
            what=f"{self._workers} workers that serve",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.process.__exit__(kind, error, traceback)

    def get(self, path: str) -> int:
        """Return the status."""
        return http_get(self._url + path, timeout=30).status

    def answer(self, number: int) -> int:
        """Make requests side by side, each of its own; return how many were answered."""
        with ThreadPoolExecutor(4) as clients:
            return sum(status == 200 for status in clients.map(self.get, (f"/work/{n}" for n in range(number))))

    def end(self, *, within: float) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.signal(signal.SIGTERM)
        return self.process.wait(within=within)


@pytest.mark.parametrize(("server", "launched", "protocol"), CELLS)
def test_sigterm_loses_nothing_of_a_server(
    server: str, launched: bool, protocol: str, receiver: Receiver, tmp_path: Path
) -> None:
    with Service(server, tmp_path, environment(receiver, protocol), launched=launched) as service:
        assert service.answer(REQUESTS) == REQUESTS
        code = service.end(within=30)
    assert Arrived.at(receiver) == Arrived.whole(REQUESTS)
    assert code == (-signal.SIGTERM if server in DIES_BY_SIGNAL else 0)


@pytest.mark.parametrize("launched", [True, False], ids=["launcher", "explicit"])
def test_request_that_a_server_finishes_after_sigterm_keeps_its_span(
    launched: bool, receiver: Receiver, tmp_path: Path
) -> None:
    with (
        ThreadPoolExecutor(1) as client,
        Service("uvicorn", tmp_path, environment(receiver), launched=launched) as service,
    ):
        assert service.get("/open") == 200
        answer = client.submit(service.get, "/slow/1")
        service.process.wait_output("begun 1")
        assert service.end(within=20) == -signal.SIGTERM
        assert answer.result(timeout=5) == 200
    spans = {span.name: span for span in receiver.spans()}
    (slow,) = [span for span in receiver.spans() if span.name == "GET /slow/{number}"]
    late = spans["late 1"]
    assert slow.attributes["http.response.status_code"] == 200
    assert slow.end_ns - slow.start_ns > 1e9
    assert late.parent_span_id == slow.span_id
    assert "worked on 1" in {record.body for record in receiver.logs()}
    unfinished = {span.name for span in spans.values() if span.attributes.get("otelkit.span.unfinished")}
    assert unfinished == {"task that never ends"}


# -- scripts

ENDS = {
    "return": ("return", 0),
    "exit": ("exit", 7),
    "unhandled exception": ("raise", 1),
    "SIGTERM": ("wait", -signal.SIGTERM),
    "SIGTERM with a handler": ("handler", 3),
    "SIGTERM raised by itself": ("raise-signal", -signal.SIGTERM),
    "a thread goes on": ("thread", 0),
}


def script(end: str, *, launched: bool = False, number: int = REQUESTS) -> list[str]:
    command = [PYTHON, str(APPS / "leaving_script.py"), *(["--launched"] if launched else []), end, str(number)]
    return [LAUNCHER, *command] if launched else command


@pytest.mark.parametrize(
    ("launched", "protocol"), [(True, PROTOCOLS[1]), (False, PROTOCOLS[0])], ids=["launcher-grpc", "explicit-http"]
)
@pytest.mark.parametrize("end", ENDS)
def test_script_loses_nothing(end: str, launched: bool, protocol: str, receiver: Receiver, tmp_path: Path) -> None:
    argument, expected = ENDS[end]
    with Process(script(argument, launched=launched), folder=tmp_path, env=environment(receiver, protocol)) as process:
        process.wait_output("main done", within=30)
        if argument in {"wait", "handler"}:
            process.signal(signal.SIGTERM)
        assert process.wait(within=20) == expected
    number = REQUESTS + (argument in {"handler", "thread"})  # one more, emitted after main was done
    assert emitted(receiver) == (number, number, number)
    assert ("handled" in process.stdout) == (argument == "handler")


def test_sigterm_in_the_middle_of_an_instrument_loses_no_metric(receiver: Receiver, tmp_path: Path) -> None:
    with Process(script("busy"), folder=tmp_path, env=environment(receiver)) as process:
        process.wait_output("main done")
        process.signal(signal.SIGTERM)
        assert process.wait(within=4) == -signal.SIGTERM
    spans, logs, counted = emitted(receiver)
    assert (spans, logs) == (REQUESTS, REQUESTS)
    assert counted > REQUESTS


def test_sigterm_under_a_lock_that_a_callback_needs_loses_no_metric(receiver: Receiver, tmp_path: Path) -> None:
    with Process(script("under-lock"), folder=tmp_path, env=environment(receiver)) as process:
        process.wait_output("main done")
        process.signal(signal.SIGTERM)
        assert process.wait(within=4) == -signal.SIGTERM
    assert emitted(receiver) == (REQUESTS, REQUESTS, REQUESTS)
    assert total(receiver, "leaving.observed") == 1


def test_span_that_is_open_at_the_end_is_ended_and_flagged(receiver: Receiver, tmp_path: Path) -> None:
    with Process(script("open"), folder=tmp_path, env=environment(receiver)) as process:
        process.wait_output("main done")
        process.signal(signal.SIGTERM)
        assert process.wait(within=20) == -signal.SIGTERM
    flagged = [span for span in receiver.spans() if span.attributes.get("otelkit.span.unfinished")]
    assert [(span.name, span.attributes["kept"]) for span in flagged] == [("never ended", True)]


# -- children


@pytest.mark.parametrize(
    ("method", "configures", "end", "codes"),
    [
        ("os.fork", "parent", "return", [0] * 4),
        ("os.fork", "parent", "raise", [1] * 4),
        ("os.fork", "parent", "exit", [7] * 4),
        ("os.fork", "child", "return", [0] * 4),
        ("fork", "parent", "return", [0] * 4),
        ("fork", "parent", "raise", [1] * 4),
        ("fork", "parent", "exit", [7] * 4),
        ("fork", "parent", "wait", [-signal.SIGTERM] * 4),
        ("fork", "parent", "thread", [0] * 4),
        ("fork", "child", "return", [0] * 4),
        ("fork", "launcher", "return", [0] * 4),
        ("daemon", "parent", "wait", []),
        ("pool", "parent", "return", []),
        ("spawn", "launcher", "return", [0] * 4),
        ("spawn", "module", "raise", [1] * 4),
        ("spawn", "child", "wait", [-signal.SIGTERM] * 4),
        ("forkserver", "launcher", "exit", [7] * 4),
        ("forkserver", "module", "return", [0] * 4),
        ("forkserver", "child", "wait", [-signal.SIGTERM] * 4),
    ],
)
def test_children_lose_nothing(  # noqa: PLR0917  pytest names them
    method: str, configures: str, end: str, codes: list[int], receiver: Receiver, tmp_path: Path
) -> None:
    number = 25
    command = [PYTHON, str(APPS / "leaving_children.py"), method, configures, end, str(number)]
    process = run(
        [LAUNCHER, *command] if configures == "launcher" else command, folder=tmp_path, env=environment(receiver)
    )
    whole = number * (4 if configures == "child" else 5)
    assert emitted(receiver) == (whole, whole, whole), process.tail()
    assert process.returncode == 0
    assert f"codes {[int(code) for code in codes]}" in process.stdout
    told = {span.resource["service.instance.id"]: span.resource["process.pid"] for span in receiver.spans()}
    named = {int(span.name.split()[1]) for span in receiver.spans() if span.name.startswith("item ")}
    assert set(told.values()) == named
    assert len(told) == len(named)


# -- receivers that do not help


class Silent:
    """Context manager: accepts connections, reads, and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._accepted:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                self._accepted.append(self._listener.accept()[0])
            except OSError:
                return


WAIT = 2.0
"""Seconds that the process may wait for its last telemetry; 5 by default."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", ["return", "wait"])
@pytest.mark.parametrize("sink", ["silent", "down"])
def test_script_leaves_in_time_whatever_the_receiver_does(
    sink: str, end: str, protocol: str, receiver: Receiver, tmp_path: Path
) -> None:
    with Silent() as silent:
        endpoint = silent.url if sink == "silent" else f"http://{HOST}:{free_port()}"
        settings = environment(
            receiver, protocol, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTELKIT_SHUTDOWN_TIMEOUT=str(WAIT)
        )
        with Process(script(end, number=1500), folder=tmp_path, env=settings) as process:
            process.wait_output("main done", within=30)
            if end == "wait":
                process.signal(signal.SIGTERM)
            begun = time.monotonic()
            code = process.wait(within=20)
            took = time.monotonic() - begun
    assert took < WAIT + 1
    assert code == (0 if end == "return" else -signal.SIGTERM)


@pytest.mark.parametrize("launched", [True, False], ids=["launcher", "explicit"])
def test_server_waits_only_once_for_a_silent_receiver(launched: bool, receiver: Receiver, tmp_path: Path) -> None:
    with Silent() as silent:
        settings = environment(receiver, OTEL_EXPORTER_OTLP_ENDPOINT=silent.url, OTELKIT_SHUTDOWN_TIMEOUT=str(WAIT))
        with Service("uvicorn", tmp_path, settings, launched=launched) as service:
            assert service.answer(REQUESTS) == REQUESTS
            begun = time.monotonic()
            assert service.end(within=30) == -signal.SIGTERM
            took = time.monotonic() - begun
    assert took < 2 * WAIT  # uvicorn takes half a second of its own


def test_ctrl_c_ends_the_last_wait(receiver: Receiver, tmp_path: Path) -> None:
    with Silent() as silent:
        settings = environment(receiver, OTEL_EXPORTER_OTLP_ENDPOINT=silent.url, OTELKIT_SHUTDOWN_TIMEOUT="30")
        with Process(script("farewell"), folder=tmp_path, env=settings) as process:
            process.wait_output("farewell", within=30)

            def ended() -> bool:
                process.signal(signal.SIGINT)
                return process.returncode is not None

            wait_until(ended, within=10, what="the end")
            assert "Traceback" not in process.stderr


def test_signals_of_a_user_that_come_again_are_all_handled(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text(
        "import signal, time\n"
        "calls = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))\n"
        "import otelkit\n"
        "otelkit.configure()\n"
        "print('ready', flush=True)\n"
        "while len(calls) < 3:\n"
        "    time.sleep(0.01)\n"
        "    print(len(calls), flush=True)\n"
    )
    with Process([PYTHON, "again.py"], folder=tmp_path, env=environment(receiver)) as process:
        process.wait_output("ready")
        for seen in ("0\n", "1\n", "2\n"):
            process.wait_output(seen)
            process.signal(signal.SIGTERM)
        assert process.wait(within=10) == 0
