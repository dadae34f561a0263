"""The only place that keeps gRPC alive in processes of Celery that close every descriptor that they inherited.

The beat of `celery worker -B`, and a worker or beat that becomes a daemon, closes all but the terminal and log files.
With them went gRPC's own event descriptors, which it has for the life of a process: its threads then say so on stderr,
without a pause, and nothing is sent any more. Connections are closed as Celery wants it; they are made anew.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger("otelkit")

_DESCRIPTORS = Path("/proc/self/fd")
_hooked: list[str] = []


def install() -> None:
    """Keep them, now or once Celery is imported; where gRPC is not in use nothing changes."""
    if not _hooked:
        _hooked.append("celery.platforms")
        wrapt.register_post_import_hook(_hook, "celery.platforms")


def _hook(module: Any) -> None:
    try:
        wrapt.wrap_function_wrapper(module, "close_open_fds", _close)
    except Exception:  # noqa: BLE001  runs inside the application's import
        _log.debug("event descriptors of gRPC will be closed", exc_info=True)


def _close(wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if "grpc" not in sys.modules:
        return wrapped(*args, **kwargs)
    keep = (args[0] if args else kwargs.get("keep")) or ()
    return wrapped([*keep, *_events()])


def _events() -> Iterator[int]:
    """Give the event descriptors of this process; none where the system does not tell."""
    for entry in list(_DESCRIPTORS.iterdir()) if _DESCRIPTORS.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:  # the one that listed the others
            continue
        if target.startswith("anon_inode:[event"):
            yield int(entry.name)
