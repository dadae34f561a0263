"""Starts the example's services as a user would, and stops them whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
EXAMPLES = Path(__file__).resolve().parents[1]
APPS = {"shop": "shop.api:app", "payment": "shop.payment:app"}

_START = 45.0  # seconds that the services together may take until they listen; the first start compiles everything
_STOP = 10.0  # seconds they get to end by themselves; otelkit's own exit takes 5 at most
_POLL = 0.05


class ServiceError(Exception):
    """A service ended, or did not start; the message has the last lines it printed."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One running service, and the files it writes to."""

    name: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

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

    def errors(self) -> str:
        """What the service has printed on stderr."""
        return _text(self.stderr).strip()

    def last_words(self) -> str:
        """Return the end of what the service printed, for an error message."""
        printed = _text(self.stdout).splitlines()[-5:] + _text(self.stderr).splitlines()[-15:]
        return "\n".join(printed) or "(it printed nothing)"

    def environment(self, endpoint: str, payment: str) -> dict[str, str]:
        """Make the variables for the service: the user's own, except where telemetry is sent and how soon.

        Args:
            endpoint: Base URL for OTLP/HTTP.
            payment: URL of the payment service.
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
            "PAYMENT_URL": payment,
            f"{self.name.upper()}_DATABASE_URL": f"sqlite+aiosqlite:///{self._file('db')}",
            "DEMO_APP": APPS[self.name],
            "DEMO_COUNTS": str(self._file("counts")),
        }

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"


class Services:
    """Context manager: both services, listening on entry, gone on exit.

    Args:
        folder: An empty folder for databases and logs.
        endpoint: Base URL for OTLP/HTTP.

    Raises:
        ServiceError: On entry, when one does not start.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        ports = _free_ports(len(APPS))
        self.all = {name: Service(name=name, port=port, folder=folder) for name, port in zip(APPS, ports, strict=True)}
        self._endpoint = endpoint
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start both at once, then wait for both."""
        try:
            for service in self.all.values():
                self._start(service)
            deadline = time.monotonic() + _START
            for service in self.all.values():
                self._await(service, deadline)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop both, after an error and after Ctrl-C too."""
        self.stop()

    def check(self) -> None:
        """Raise ServiceError when one has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                message = f"{name} ended with {process.returncode}:\n{self.all[name].last_words()}"
                raise ServiceError(message)

    def stop(self) -> None:
        """End both with SIGTERM, and with SIGKILL what then still runs. Idempotent."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + _STOP
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        self._files.close()

    def _start(self, service: Service) -> None:
        def file(path: Path) -> IO[bytes]:
            return self._files.enter_context(path.open("wb"))

        program = [sys.executable, "-m", "uvicorn", "_demo.witness:app", "--app-dir", str(EXAMPLES)]
        process = subprocess.Popen(  # noqa: S603  our own interpreter, our own arguments
            [*program, "--host", HOST, "--port", str(service.port)],
            env=service.environment(self._endpoint, self.all["payment"].url),
            stdin=subprocess.PIPE,  # its end is the service's end
            stdout=file(service.stdout),
            stderr=file(service.stderr),
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the services in order
        )
        if process.stdin is not None:
            self._files.enter_context(contextlib.closing(process.stdin))
        self._running[service.name] = process

    def _await(self, service: Service, deadline: float) -> None:
        """Wait until the port answers; no request is made, so that the counts are the orders' alone."""
        while True:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection((HOST, service.port), timeout=1.0):
                return
            if time.monotonic() > deadline:
                message = f"{service.name} does not listen after {_START:.0f} s:\n{service.last_words()}"
                raise ServiceError(message)
            time.sleep(_POLL)


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
