"""The only place that tells which ports are taken, and by whom."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from otelkit.errors import StackError
from otelkit.ops.stack import _processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def taken(addresses: Mapping[str, tuple[str, int]]) -> list[str]:
    """Return a sentence for each port that nobody can listen on now.

    Args:
        addresses: The address to listen on and the port, by name of the variable that sets it.

    Raises:
        StackError: An address is none of this machine.
    """
    refused = {variable: port for variable, (host, port) in addresses.items() if not _is_free(host, port)}
    if not refused:
        return []
    holders = _holders(set(refused.values()))
    return [f"port {port} ({variable}) is taken by {_told(holders.get(port))}" for variable, port in refused.items()]


def _is_free(host: str, port: int) -> bool:
    try:
        addresses = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise StackError(
            f"{host!r} is to be listened on: an IPv4 address or a name of one is needed ({error})"
        ) from error
    with socket.socket() as probe:
        # As the programs do: what an ended connection leaves behind for a minute is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(addresses[0][4])
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StackError(f"{host!r} is to be listened on, and is no address of this machine") from error
            return False
        return True


def _holders(ports: set[int]) -> dict[int, psutil.Process | None]:
    """Return who listens on which of the ports; None where the system does not show whose process it is."""
    try:
        found = _listening(psutil.net_connections("tcp"))
    except psutil.AccessDenied:  # macOS shows a user only what his own processes listen on, one by one
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                found |= {(port, process.pid) for port, _ in _listening(process.net_connections("tcp"))}
    holders: dict[int, psutil.Process | None] = {}
    for port, pid in found:
        if port in ports:
            with contextlib.suppress(psutil.Error):
                holders[port] = None if pid is None else psutil.Process(pid)
    return holders


def _listening(connections: Iterable[Any]) -> set[tuple[int, int | None]]:
    """Return port and pid of those that listen; the types of psutil know no address that has a port for certain."""
    return {(each.laddr.port, getattr(each, "pid", None)) for each in connections if each.status == psutil.CONN_LISTEN}


def _told(process: psutil.Process | None) -> str:
    if process is None:
        return "a process of another user, or a container"
    try:
        told = f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"
    if (owner := _processes.stack_of(process)) is not None:
        told += f" of another otelkit stack, {Path(owner[0]).name}"
    return told
