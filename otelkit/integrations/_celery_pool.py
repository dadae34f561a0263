"""The only place for the children of a Celery prefork pool: whose metrics they are, and how they send their last.

Their metrics are told by their worker's main process as its own: a pool replaces its children, and each would be new
series. Spans and records they send themselves, and billiard ends them by `os._exit`, past `atexit` (E-22), at a warm
shutdown as at the end of `--max-tasks-per-child`. The last that Celery calls in them is the pool's destructor, which
sends `worker_process_shutdown`: what its receivers say is still told.

What Celery hands to its children is replaced by plain functions of the same name: children that are started and not
forked (`worker_pool_start_method="spawn"`) are given names, and find there what they would have found without us. They
tell their own metrics.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("otelkit")


@dataclass(frozen=True, kw_only=True)
class Ties:
    """What a process does about the children of its pool. None of it raises.

    Args:
        adopt: In the main process, before it forks any: tell their metrics.
        join: In a child, as it begins: hand its metrics over.
        leave: In a child, as it ends: send the last.
    """

    adopt: Callable[[], object]
    join: Callable[[], object]
    leave: Callable[[], object]


_ties: list[Ties] = []
_hooked: list[str] = []


def tie(ties: Ties) -> None:
    """Follow the children of pools.

    Args:
        ties: What is done about them; replaces those given before.
    """
    _ties[:] = [ties]
    if not _hooked:
        _hooked.append("celery.concurrency.prefork")
        wrapt.register_post_import_hook(_hook, "celery.concurrency.prefork")


def _hook(module: Any) -> None:
    try:
        wrapt.wrap_function_wrapper(module, "TaskPool.on_start", _starting)
        module.process_initializer = _followed(module.process_initializer, _joining)
        module.process_destructor = _followed(module.process_destructor, _leaving)
    except Exception:  # noqa: BLE001  runs inside Celery's import
        _log.debug("children of Celery pools cannot be followed", exc_info=True)


def _starting(wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for ties in _ties:
        ties.adopt()
    return wrapped(*args, **kwargs)


def _followed(original: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            then()

    return function


def _joining() -> None:
    for ties in _ties:
        ties.join()


def _leaving() -> None:
    for ties in _ties:
        ties.leave()
