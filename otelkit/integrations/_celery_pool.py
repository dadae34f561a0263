"""The only place for the children of a Celery prefork pool: whose metrics they are, and how they send their last.

Their metrics are told by their worker's main process as its own: a pool replaces its children, and each would be new
series. Spans and records they send themselves, and billiard ends them by `os._exit`, past `atexit` (E-22), at a warm
shutdown as at the end of `--max-tasks-per-child`. The last that Celery calls in them is the pool's destructor, which
sends `worker_process_shutdown`: what its receivers say is still told.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("otelkit")


class _Ties(NamedTuple):
    adopt: Callable[[], object]
    join: Callable[[], object]
    leave: Callable[[], object]


_ties: list[_Ties] = []
_hooked: list[str] = []


def follow_children(*, adopt: Callable[[], object], join: Callable[[], object], leave: Callable[[], object]) -> None:
    """Follow the children of pools; replaces what was given before. None may raise.

    Args:
        adopt: Called in the main process, before it forks any: tell their metrics.
        join: Called in a child as it begins: hand its metrics over. Other children are left alone: embedded beat closes
            all descriptors that it inherits.
        leave: Called in a child as it ends: send the last.
    """
    _ties[:] = [_Ties(adopt, join, leave)]
    if not _hooked:
        _hooked.append("celery.concurrency.prefork")
        wrapt.register_post_import_hook(_hook, "celery.concurrency.prefork")


def _hook(module: Any) -> None:
    try:
        wrapt.wrap_function_wrapper(module, "TaskPool.on_start", _starting)
        module.process_initializer = _beginning(module.process_initializer)
        module.process_destructor = _ending(module.process_destructor)
    except Exception:  # noqa: BLE001  runs inside Celery's import
        _log.debug("children of Celery pools cannot be followed", exc_info=True)


def _starting(wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for ties in _ties:
        ties.adopt()
    return wrapped(*args, **kwargs)


def _beginning(original: Callable[..., Any]) -> Callable[..., Any]:
    """Join before the initializer: by a plain function of its name, which children that are not forked look up.

    What `worker_pool_start_method="spawn"` hands to them is pickled, and an object of wrapt is not to be pickled.
    """

    @functools.wraps(original)
    def initializer(*args: Any, **kwargs: Any) -> Any:
        for ties in _ties:
            ties.join()
        return original(*args, **kwargs)

    return initializer


def _ending(original: Callable[..., Any]) -> Callable[..., Any]:
    """Send the last after the destructor, by such a function as well."""

    @functools.wraps(original)
    def destructor(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            for ties in _ties:
                ties.leave()

    return destructor
