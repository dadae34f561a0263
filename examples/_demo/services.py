"""Starts the example's processes as a user would, and stops them whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
EXAMPLES = Path(__file__).resolve().parents[1]
APPS = {"api": "shop.api:app", "payment": "shop.payment:app", "worker": "shop.worker:app", "beat": "shop.beat:app"}
CELERY = {
    "worker": ["worker", "--concurrency", "2", "--loglevel", "INFO", "--without-mingle", "--without-gossip"],
    "beat": ["beat", "--loglevel", "INFO"],
}
REMIND = 5.0
"""Seconds between two tasks that beat asks for."""

_START = 60.0  # seconds that all together may take until they are ready; the first start compiles everything
_STOP = 10.0  # seconds they get to end by themselves; otelkit's own exit takes 5 at most
_ANSWER = 5.0
_POLL = 0.05
_DIRECTLY = build_opener(ProxyHandler({}))


class ServiceError(Exception):
    """A process ended, or did not start; the message has the last lines it printed."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One running process, and the files it writes to.

    Args:
        name: Its `service.name`.
        port: Where it listens; 0 for one that does not.
        folder: Where its files are.
    """

    name: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens, empty for one that does not."""
        return f"http://{HOST}:{self.port}" if self.port else ""

    @property
    def command(self) -> str:
        """What a user would start it by."""
        module, _, _ = APPS[self.name].partition(":")
        return f"celery -A {module} {self.name}" if self.name in CELERY else f"uvicorn {APPS[self.name]}"

    def argv(self) -> list[str]:
        """Return the command that starts it, with the witness in it."""
        if self.name not in CELERY:
            arguments = ["uvicorn", "_demo.witness:app", "--host", HOST, "--port", str(self.port)]
        else:
            arguments = ["celery", "-A", "_demo.witness:app", *CELERY[self.name]]
        if self.name == "beat":
            arguments += ["--schedule", str(self._file("schedule")), "--pidfile="]
        return [sys.executable, "-m", *arguments]

    @property
    def stdout(self) -> Path:
        """Its log, one JSON object per line."""
        return self.folder / f"{self.name}.log"

    @property
    def stderr(self) -> Path:
        """What else it printed."""
        return self.folder / f"{self.name}.err"

    def counts(self) -> Counter[str]:
        """What the witness in the service counted: see `_demo.witness`."""
        return Counter(_text(self._file("counts")).split())

    def lines(self) -> list[dict[str, Any]]:
        """Every JSON object that the service has printed on stdout."""
        found = []
        for line in _text(self.stdout).split("\n"):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
        return found

    def health(self) -> dict[str, bool]:
        """Ask for its health: by check, whether it passes; empty where it does not answer."""
        try:
            with _DIRECTLY.open(f"{self.url}/health/detailed", timeout=_ANSWER) as answer:
                told = json.load(answer)
        except HTTPError as answer:
            with answer:
                told = json.load(answer)
        except OSError:
            return {}
        return {name: check["status"] == "pass" for name, check in told["checks"].items()}

    def errors(self) -> str:
        """What the service has printed on stderr."""
        return _text(self.stderr).strip()

    def last_words(self) -> str:
        """Return the end of what the service printed, for an error message."""
        printed = _text(self.stdout).splitlines()[-5:] + _text(self.stderr).splitlines()[-15:]
        return "\n".join(printed) or "(it printed nothing)"

    def environment(self, endpoint: str, payment: str, redis: int) -> dict[str, str]:
        """Make the variables for the process: the user's own, except where telemetry is sent and how soon.

        Args:
            endpoint: Base URL for OTLP/HTTP.
            payment: URL of the payment service.
            redis: Port of the Redis server.
        """
        # Left in, these would send some signal past the demo, to a real backend.
        mine = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_EXPORTER_OTLP_")}
        return mine | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTELKIT_LOG_FORMAT": "json",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PAYMENT_URL": payment,
            "REDIS_URL": f"redis://{HOST}:{redis}/0",
            "BROKER_URL": f"redis://{HOST}:{redis}/1",
            "SHOP_DATABASE_URL": f"sqlite:///{self.folder / 'shop.db'}",
            "PAYMENT_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder / 'payment.db'}",
            "SHOP_REMIND_SECONDS": str(REMIND),
            "DEMO_APP": APPS.get(self.name, ""),
            "DEMO_COUNTS": str(self._file("counts")),
        }

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"


class Services:
    """Context manager: every process, ready on entry, gone on exit.

    Args:
        folder: An empty folder for databases and logs.
        endpoint: Base URL for OTLP/HTTP.

    Raises:
        ServiceError: On entry, when one does not start.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.redis, *ports = _free_ports(1 + len(APPS) - len(CELERY))
        free = iter(ports)
        self.all = {name: Service(name=name, port=0 if name in CELERY else next(free), folder=folder) for name in APPS}
        self._store = Service(name="redis", port=self.redis, folder=folder)
        self._endpoint = endpoint
        self._running: dict[Service, subprocess.Popen[bytes]] = {}
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start what others need first: Redis; the services and the worker; the tables are there when beat asks."""
        deadline = time.monotonic() + _START
        clock = self.all["beat"]
        try:
            for together in ([self._store], [each for each in self.all.values() if each is not clock], [clock]):
                for service in together:
                    self._start(service)
                for service in together:
                    self._await(service, deadline)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop all, after an error and after Ctrl-C too."""
        self.stop()

    def check(self) -> None:
        """Raise ServiceError when one has ended."""
        for service, process in self._running.items():
            if process.poll() is not None:
                message = f"{service.name} ended with {process.returncode}:\n{service.last_words()}"
                raise ServiceError(message)

    def stop(self) -> None:
        """End all with SIGTERM, Redis last, and with SIGKILL what then still runs. Idempotent."""
        deadline = time.monotonic() + _STOP
        store = {self._store: self._running.pop(self._store)} if self._store in self._running else {}
        for together in (self._running, store):
            for process in together.values():
                process.terminate()
            for process in together.values():
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self._running.clear()
        self._files.close()

    def _start(self, service: Service) -> None:
        def file(path: Path) -> IO[bytes]:
            return self._files.enter_context(path.open("wb"))

        redis = [sys.executable, "-m", "_demo.redis_server", str(service.port), str(service.folder)]
        process = subprocess.Popen(  # noqa: S603  our own interpreter, our own arguments
            redis if service is self._store else service.argv(),
            env=service.environment(self._endpoint, self.all["payment"].url, self.redis),
            stdin=subprocess.PIPE,  # its end is the process's end
            stdout=file(service.stdout),
            stderr=file(service.stderr),
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the processes in order
        )
        if process.stdin is not None:
            self._files.enter_context(contextlib.closing(process.stdin))
        self._running[service] = process

    def _await(self, service: Service, deadline: float) -> None:
        """Wait until it is ready; no request is made, so that the counts are the customers' alone."""
        while not _listens(service.port) if service.port else not service.counts()["ready"]:
            self.check()
            if time.monotonic() > deadline:
                message = f"{service.name} is not ready after {_START:.0f} s:\n{service.last_words()}"
                raise ServiceError(message)
            time.sleep(_POLL)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False


def _text(path: Path) -> str:
    """Return what a file has by now; a service makes some of them only when it has come so far."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
