"""The only place for what otelkit changes in ASGI servers: the context a request starts from, and what they print.

Context: a server may start a request in the context of the one before on the same connection, because it goes on
reading, or takes the next pipelined request, inside of it (https://github.com/python/cpython/issues/140947). That one's
span, request id and other context variables are then inherited (E-49). Here each request starts in the context its
connection was accepted in, with whatever was set at start-up. uvicorn's own `--reset-contextvars` starts requests in an
empty context, which hides what was set at start-up, and only recent versions have it: not used, harmless beside this.

Printing: the access line that our event replaces, and the traceback of an exception that ours recorded already.

Leaving: uvicorn restores the signal handlers it found, then raises the signal it was stopped by. Where it found the
system's own, the process is gone with what nobody sent, past `atexit`. It starts so, or under gunicorn, whose uvicorn
worker restores the system's own; or uvicorn imports the module that configures while its own handlers are in force, so
that it never finds ours. Here the last is sent before.
"""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import wrapt
from opentelemetry import context as otel_context

from otelkit.integrations._exchange import access_replaced, was_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

    from otelkit._leaving import Leaving

    _Serve = Callable[..., Coroutine[Any, Any, Any]]

_BOUNDARIES = {
    "uvicorn.protocols.http.h11_impl": "RequestResponseCycle.run_asgi",
    "uvicorn.protocols.http.httptools_impl": "RequestResponseCycle.run_asgi",
    "uvicorn.protocols.http.zttp_impl": "RequestResponseCycle.run_asgi",
    "uvicorn.protocols.http.zttp_h2_impl": "RequestResponseCycle.run_asgi",
    "uvicorn.protocols.websockets.websockets_impl": "WebSocketProtocol.run_asgi",
    "uvicorn.protocols.websockets.websockets_sansio_impl": "WebSocketsSansIOProtocol.run_asgi",
    "uvicorn.protocols.websockets.wsproto_impl": "WSProtocol.run_asgi",
    # Up to gunicorn 26 the requests of a connection run one after the other in one task. hypercorn needs nothing.
    "gunicorn.asgi.protocol": "ASGIProtocol._handle_http_request",
}
"""The coroutine method that runs the application for one request, by module. All are private to their servers: one that
a version does not have is passed over, and requests still have no parent but that of their own headers."""

_ERROR_LOGS = ("uvicorn.error", "gunicorn.error", "hypercorn.error")

_origin: ContextVar[Context] = ContextVar("otelkit_origin")
"""The context that the first request of a connection started from; set in every context that derives from a request."""

_hooked: list[str] = []
_on: list[bool] = []

_ENDS = ("Server.startup", "Server.shutdown")
"""The public coroutine methods of `uvicorn.server` after which it may raise its signal. It looks them up when it calls
them, so that they can be wrapped while it serves."""

_SUPERVISORS = {"gunicorn.arbiter": "Arbiter.stop", "uvicorn.supervisors.multiprocess": "Multiprocess.terminate_all"}
"""The methods by which the parent of worker processes has them stop. It waits for them, and then for its own telemetry:
begun here, the two waits for a receiver that is gone are one."""

_found: WeakKeyDictionary[Any, dict[int, Any]] = WeakKeyDictionary()
"""The signal handlers that a uvicorn server found and will restore."""

_FOUND_LONG_AGO = {signal.SIGTERM: signal.SIG_DFL}
"""Those of a server that was serving when it was hooked: it imports the module that configures."""

_leaving: list[Leaving] = []


def install() -> None:
    """Hook the servers, now or when they are imported."""
    if not _on:
        _on.append(True)
        logging.getLogger("uvicorn.access").addFilter(_keep_access_line)
        for name in _ERROR_LOGS:
            logging.getLogger(name).addFilter(_keep_error)
    for module in _BOUNDARIES:
        if module not in _hooked:
            _hooked.append(module)
            wrapt.register_post_import_hook(_hook, module)


def uninstall() -> None:
    """Leave servers alone from now on."""
    _on.clear()
    logging.getLogger("uvicorn.access").removeFilter(_keep_access_line)
    for name in _ERROR_LOGS:
        logging.getLogger(name).removeFilter(_keep_error)


def _keep_access_line(_: logging.LogRecord) -> bool:
    return not access_replaced()


def _keep_error(record: logging.LogRecord) -> bool:
    return not (record.exc_info and was_recorded(record.exc_info[1]))


def _hook(module: Any) -> None:
    owner, _, method = _BOUNDARIES[module.__name__].partition(".")
    if hasattr(getattr(module, owner, None), method):
        wrapt.wrap_function_wrapper(module, f"{owner}.{method}", _bounded)


def _bounded(wrapped: _Serve, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    return _fresh(wrapped, args, kwargs) if _on else wrapped(*args, **kwargs)


async def _fresh(serve: _Serve, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Serve one request from the context that its connection was accepted in."""
    origin = _origin.get(None)
    if origin is None:
        # The first request of a connection: nothing was set since the server accepted it.
        _origin.set(copy_context())
        otel_context.attach(otel_context.Context())
        return await serve(*args, **kwargs)
    own = origin.copy()
    own.run(_origin.set, origin)
    own.run(otel_context.attach, otel_context.Context())
    return await _Within(own, serve(*args, **kwargs))


class _Within:
    """Drives a coroutine in another context than its task's, without a task of its own.

    A task would be cancelled, awaited and named in another way than the server expects.

    Args:
        context: The context; nobody else may run in it meanwhile.
        coroutine: What to await.
    """

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        argument: Any = None
        while True:
            try:
                awaited = self._context.run(step, argument)
            except StopIteration as stop:
                return stop.value
            try:
                argument = yield awaited
            except GeneratorExit:
                self._context.run(self._coroutine.close)
                raise
            except BaseException as exception:  # noqa: BLE001  handed on into the coroutine, as `await` does
                step, argument = self._coroutine.throw, exception
            else:
                step = self._coroutine.send


# -- leaving


def flush_before_signals(leaving: Leaving) -> None:
    """Have servers send the last telemetry before they raise a signal that ends the process.

    Args:
        leaving: Sends it; replaces the one given before.
    """
    _leaving[:] = [leaving]
    if "uvicorn.server" not in _hooked:
        _hooked.append("uvicorn.server")
        wrapt.register_post_import_hook(_hook_ends, "uvicorn.server")
        for name in _SUPERVISORS:
            wrapt.register_post_import_hook(_hook_supervisor, name)


def _hook_ends(module: Any) -> None:
    server = getattr(module, "Server", None)
    # Up to 0.28 it raises no signal.
    if hasattr(server, "capture_signals"):
        wrapt.wrap_function_wrapper(module, "Server.capture_signals", _capturing)
        for method in _ENDS:
            wrapt.wrap_function_wrapper(module, method, _ended)


def _hook_supervisor(module: Any) -> None:
    with suppress(AttributeError):  # a version in which it is called otherwise
        wrapt.wrap_function_wrapper(module, _SUPERVISORS[module.__name__], _stopping)


def _stopping(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for leaving in _leaving:
        leaving.flush_beside()
    return wrapped(*args, **kwargs)


def _capturing(wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _found[server] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return wrapped(*args, **kwargs)


async def _ended(wrapped: _Serve, server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = await wrapped(*args, **kwargs)
    found = _found.get(server, _FOUND_LONG_AGO)
    # It ends a start-up early and otherwise goes on to serve, with nothing captured.
    if _leaving and any(found.get(number) is signal.SIG_DFL for number in getattr(server, "_captured_signals", ())):
        await _leaving[0].before_signal(lambda: bool(server.force_exit))
    return result
