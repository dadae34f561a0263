"""The only place for what Celery does on its own account and nobody asked to see.

Its broker and result backend speak Redis, a dozen commands a task, which would be as many spans and most of them traces
of their own (E-23). Their clients come from one method each, and suppress instrumentation while they work; clients of
the application are others.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry.instrumentation.utils import suppress_instrumentation

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("otelkit")

_CLIENTS = {"kombu.transport.redis": "Channel._get_client", "celery.backends.redis": "RedisBackend._get_client"}
"""The methods that name the class of a client, by module."""

_on: list[bool] = []
_hooked: list[str] = []


def install() -> None:
    """Keep it quiet, now or when it is imported."""
    _on[:] = [True]
    for module in _CLIENTS:
        if module not in _hooked:
            _hooked.append(module)
            wrapt.register_post_import_hook(_hook, module)


def uninstall() -> None:
    """Leave it alone from now on."""
    _on.clear()


def _hook(module: Any) -> None:
    try:
        wrapt.wrap_function_wrapper(module, _CLIENTS[module.__name__], _get_client)
    except Exception:  # noqa: BLE001  runs inside the application's import
        _log.debug("%s will not be quiet", module.__name__, exc_info=True)


def _get_client(wrapped: Callable[..., type], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> type:
    return _quiet_client(wrapped(*args, **kwargs))


@lru_cache(maxsize=64)
def _quiet_client(client: type) -> type:
    """Make a class of clients that work unseen."""

    class Quiet(client):  # type: ignore[misc]  # what the transport or the backend would have used
        def execute_command(self, *args: Any, **kwargs: Any) -> Any:
            if not _on:
                return super().execute_command(*args, **kwargs)
            with suppress_instrumentation():
                return super().execute_command(*args, **kwargs)

        def pipeline(self, *args: Any, **kwargs: Any) -> Any:
            made: Any = super().pipeline(*args, **kwargs)
            kind: type = type(made)
            made.__class__ = _quiet_pipeline(kind)
            return made

    Quiet.__name__, Quiet.__qualname__, Quiet.__module__ = client.__name__, client.__qualname__, client.__module__
    return Quiet


@lru_cache(maxsize=64)
def _quiet_pipeline(pipeline: type) -> type:
    """Make a class of pipelines that work unseen."""

    class Quiet(pipeline):  # type: ignore[misc]  # the same
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            if not _on:
                return super().execute(*args, **kwargs)
            with suppress_instrumentation():
                return super().execute(*args, **kwargs)

        def immediate_execute_command(self, *args: Any, **kwargs: Any) -> Any:
            if not _on:
                return super().immediate_execute_command(*args, **kwargs)
            with suppress_instrumentation():
                return super().immediate_execute_command(*args, **kwargs)

    Quiet.__name__, Quiet.__qualname__, Quiet.__module__ = pipeline.__name__, pipeline.__qualname__, pipeline.__module__
    return Quiet
