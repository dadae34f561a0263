"""The only place that learns which route template a request took, through every mount.

Starlette and FastAPI hand a request to the chosen route by `route.handle(scope, receive, send)`, once per level. The
hook notes the template there, while the application routes: nothing is matched a second time, and nothing is guessed
from the path. It hands on the coroutine of the original and so adds no frame to a traceback. Flask, which may be
mounted through a WSGI bridge, tells its rule by a signal; of other foreign applications only the mount is known.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import wrapt

from otelkit.integrations import _request

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

EXCHANGE = "otelkit.exchange"
"""Scope key: who wants to know the route, an object with `routed`."""

_REST = "/{path}"
"""What ends the template of a mount: everything below it."""

_MOUNTS = "otelkit.mounts"
"""Scope key: the templates of the mounts passed so far."""


class Routed(Protocol):
    """What a server integration leaves in the scope."""

    def routed(self, template: str) -> None:
        """Take note of the route so far; the last call names the whole template."""


def install() -> None:
    """Hook the routing of Starlette, FastAPI and Flask, now or when they are imported."""
    if not _hooked:
        _hooked.append("starlette.routing")
        wrapt.register_post_import_hook(_hook_starlette, "starlette.routing")
        wrapt.register_post_import_hook(_hook_fastapi, "fastapi.routing")
        wrapt.register_post_import_hook(_hook_flask, "flask")


def mounts(scope: MutableMapping[str, Any]) -> str:
    """Return the template of the mounts that a request has passed."""
    passed: str = scope.get(_MOUNTS, "")
    return passed


def below(outer: str, template: str, scope: MutableMapping[str, Any]) -> str:
    """Complete a template that a framework told without knowing the mounts around it.

    Args:
        outer: The template of those mounts.
        template: What the framework told, root path included.
        scope: The request's scope.
    """
    root = _root(scope)
    return f"{root}{outer}{template.removeprefix(root)}"


def forget(scope: MutableMapping[str, Any]) -> None:
    """Remove what the hooks left in a scope."""
    scope.pop(_MOUNTS, None)


_hooked: list[str] = []


def _hook_starlette(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "Mount.handle", _mounted)
    wrapt.wrap_function_wrapper(module, "Route.handle", _routed)
    wrapt.wrap_function_wrapper(module, "WebSocketRoute.handle", _routed)


def _hook_fastapi(module: Any) -> None:
    # Older versions inherit the method, which is hooked already.
    if "handle" in vars(module.APIRoute):
        wrapt.wrap_function_wrapper(module, "APIRoute.handle", _routed)


def _hook_flask(module: Any) -> None:
    def matched(*_: Any, **__: Any) -> None:
        with suppress(Exception):  # the request goes on, with the mount's template
            _note_rule(module.request.url_rule)

    module.request_started.connect(matched, weak=False)


def _mounted(wrapped: Callable[..., Any], mount: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with suppress(Exception):  # the request goes on, without its route
        _note_mount(mount, args[0] if args else kwargs["scope"])
    return wrapped(*args, **kwargs)


def _routed(wrapped: Callable[..., Any], route: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with suppress(Exception):  # the request goes on, without its route
        _note_route(route, args[0] if args else kwargs["scope"])
    return wrapped(*args, **kwargs)


def _note_mount(mount: Any, scope: MutableMapping[str, Any]) -> None:
    scope[_MOUNTS] = scope.get(_MOUNTS, "") + mount.path_format.removesuffix(_REST)
    _tell(scope, _REST)


def _note_route(route: Any, scope: MutableMapping[str, Any]) -> None:
    # An included router may keep its routes as they were written, the full path in a context beside (FastAPI >= 0.137).
    included = scope.get("fastapi", {}).get("effective_route_context")
    _tell(scope, (included if getattr(included, "original_route", None) is route else route).path_format)


def _note_rule(rule: Any) -> None:
    exchange: Any = _request.current()  # the bridge runs Flask in a thread of the request, away from its scope
    if rule is not None and exchange.route.endswith(_REST):
        exchange.routed(exchange.route.removesuffix(_REST) + rule.rule)


def _tell(scope: MutableMapping[str, Any], rest: str) -> None:
    exchange: Routed | None = scope.get(EXCHANGE)
    if exchange is not None:
        exchange.routed(_root(scope) + mounts(scope) + rest)


def _root(scope: MutableMapping[str, Any]) -> str:
    """Return the root path that the server gave; a mount keeps it beside the one that it extends."""
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root.rstrip("/")
