"""The only place that starts a RabbitMQ server for tests: a real one, on a port of this machine's loopback.

No Python package has the server: it is Debian's `rabbitmq-server`. Erlang's port mapper, which the server would leave
running as a daemon, is started beside it and ends with it.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import HOST, Process, ProcessError, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITHIN = 60.0  # seconds until a server answers on a loaded machine
_TRIES = 3  # another program may take a free port before the server does
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH wants to be root, and becomes another user


@dataclass(frozen=True, kw_only=True)
class RabbitMQ:
    """A running server.

    Args:
        port: Its port on 127.0.0.1.
        password: Of the account that a new server has.
    """

    port: int
    password: str
    host: str = HOST

    @property
    def url(self) -> str:
        """Its URL with that account, as Celery takes it."""
        return f"amqp://guest:{self.password}@{self.host}:{self.port}//"


def missing() -> str | None:
    """Say what a machine lacks to run a server; None if nothing."""
    if _SERVER.exists() and shutil.which("epmd"):
        return None
    return f"there is no RabbitMQ server at {_SERVER}: `apt-get install rabbitmq-server` brings it"


@contextmanager
def server(password: str = "guest") -> Iterator[RabbitMQ]:  # noqa: S107  a server for the time of a test
    """Run an empty server for the time of the `with` block; its data are gone afterwards.

    Args:
        password: What clients must say.

    Raises:
        ProcessError: It does not start; the message ends in what it printed.
    """
    for left in reversed(range(_TRIES)):
        folder = Path(tempfile.mkdtemp(prefix="otelkit-rabbitmq-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            port, mapper = free_port(), free_port()
            names = {"ERL_EPMD_PORT": str(mapper), "ERL_EPMD_ADDRESS": HOST}
            stack.enter_context(Process(["epmd"], folder=folder, env=names, name="epmd"))
            process = stack.enter_context(_started(folder, port, password, names))
            wait_until(partial(_settled, process, port), within=_WITHIN, what=f"a server on port {port}")
            if process.returncode is None:
                yield RabbitMQ(port=port, password=password)
                return
            if not left:
                raise ProcessError(f"{process} ended at once\n{process.tail()}")


def _started(folder: Path, port: int, password: str, names: dict[str, str]) -> Process:
    (folder / "plugins").write_text("[].", encoding="utf-8")
    (folder / "rabbitmq.conf").write_text(f"default_pass = {password}\n", encoding="utf-8")
    settings = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"otelkit-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    return Process([str(_SERVER)], folder=folder, env={**names, **settings}, name="rabbitmq")


def _settled(process: Process, port: int) -> bool:
    """Tell whether the server has ended or speaks."""
    return process.returncode is not None or _answers(port)


def _answers(port: int) -> bool:
    """Tell whether a server speaks AMQP: to a header that it does not know it answers with the one that it does."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(b"AMQP\0\0\0\0")
            return connection.recv(4) == b"AMQP"
    except OSError:
        return False
