"""The only place that knows which requests a layer of ours inside of an application will answer without telemetry.

A server span begins before the layers of an application are called, and a span that has begun cannot be taken back. So
whoever begins one asks here first, and the application is looked at from outside: what it wraps, and the middleware
that it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

MARK = "otelkit_silent"
"""Name of the static method of a middleware class: `(path, **options)`, the options that the middleware was given; true
for a path whose requests it answers without telemetry."""

OPTIONS = "otelkit_options"
"""Name of the attribute of a middleware that holds those options."""

_DEPTH = 32  # layers that are looked through

_paths: set[str] = set()


def announce(paths: Iterable[str]) -> None:
    """Tell which paths such a middleware may answer: no other request is looked at more closely."""
    _paths.update(paths)


def own_path(scope: Mapping[str, Any], app: object = None) -> str:
    """Return the path of a request behind the root path: the application's own, else the server's."""
    path: str = scope["path"]
    root: str = getattr(app, "root_path", "") or scope.get("root_path", "")
    return path.removeprefix(root.rstrip("/"))


def answered_within(app: Any, scope: MutableMapping[str, Any]) -> bool:
    """Tell whether a layer of the application answers a request without telemetry.

    Args:
        app: The application, as far as it is known from outside.
        scope: The request's scope.
    """
    if scope["type"] != "http":
        return False
    path = own_path(scope, app)
    if path not in _paths:
        return False
    for _ in range(_DEPTH):
        if app is None:
            return False
        if hasattr(type(app), MARK) and getattr(app, MARK)(path, **getattr(app, OPTIONS)):
            return True
        for layer in getattr(app, "user_middleware", ()):  # of Starlette and FastAPI, where `add_middleware` leaves it
            given = getattr(layer, "kwargs", None) or getattr(layer, "options", None) or {}
            if hasattr(layer.cls, MARK) and getattr(layer.cls, MARK)(path, **given):
                return True
        app = getattr(app, "app", None)
    return False
