"""The only place that has the children of a Celery pool send their last telemetry before they are gone.

billiard ends them by `os._exit`, past `atexit` (E-22), at a warm shutdown as at the end of `--max-tasks-per-child`. The
last that Celery calls in them is the pool's destructor, which sends `worker_process_shutdown`: what its receivers say
is still told.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit._leaving import Leaving

_log = logging.getLogger("otelkit")

_leaving: list[Leaving] = []
_hooked: list[str] = []


def flush_at_end_of_children(leaving: Leaving) -> None:
    """Have each child of a pool send the last before it ends.

    Args:
        leaving: Sends it; replaces the one given before.
    """
    _leaving[:] = [leaving]
    if not _hooked:
        _hooked.append("celery.concurrency.prefork")
        wrapt.register_post_import_hook(_hook, "celery.concurrency.prefork")


def _hook(module: Any) -> None:
    try:
        wrapt.wrap_function_wrapper(module, "process_destructor", _ending)
    except Exception:  # noqa: BLE001  runs inside Celery's import
        _log.debug("children of Celery pools cannot be followed to their end", exc_info=True)


def _ending(wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return wrapped(*args, **kwargs)
    finally:
        for leaving in _leaving:
            leaving.at_exit()
