"""The service of the soak: the shop, whose workers write their accounts to a file when they end."""

from __future__ import annotations

import atexit
import os

from faults.apps import kit


def write() -> None:
    """Append one line, in one write."""
    file = os.open(os.environ["FAULTS_ACCOUNTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, kit.accounts().encode() + b"\n")
    os.close(file)


atexit.register(write)  # before anything else, so that it runs after everything else

from faults.apps.shop import app

__all__ = ["app"]
