"""The only place for the routes that Kubernetes and load balancers ask, in front of any ASGI application.

Answers are `application/json`. The words "pass", "warn" and "fail" are those of the draft "Health Check Response Format
for HTTP APIs" (draft-inadarei-api-health-check), whose media type `application/health+json` was never registered and
whose draft has expired: browsers and many tools take it for a file to be saved.
"""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from otelkit import _serving
from otelkit.errors import SettingsError
from otelkit.health._checks import Health
from otelkit.integrations import _silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.integrations._exchange import ASGIApp, Message, Receive, Scope, Send

_OK: Final = 200
_NOT_ALLOWED: Final = 405
_UNAVAILABLE: Final = 503

_ALIVE: Final = frozenset({"/health", "/livez"})
_READY: Final = frozenset({"/health/ready", "/readyz"})
_DETAILED: Final = "/health/detailed"

_ACCESS_LOGS: Final = ("uvicorn.access", "gunicorn.access", "hypercorn.access")

_answering: ContextVar[bool] = ContextVar("otelkit_health_answering", default=False)
"""Whether what runs is a request for health. Servers write their access line while the response is sent, or in the same
context after the application has returned; so it holds until the next request says otherwise."""


class HealthMiddleware:
    """Answers for health in front of an application; every other request passes as it came.

    - `/health`, `/livez`: the event loop runs; nothing is touched.
    - `/health/ready`, `/readyz`: 200, or 503 with the reason, from the last results.
    - `/health/detailed`: the last result of each check; 503 where the service is not ready.

    Paths are exact, behind the root path: no slash at the end, no redirect. A request for one of them leaves no span,
    no metric point and no access event, whether this stands around otelkit's own middleware or inside of it.

    Args:
        app: The ASGI application.
        health: What is asked. It is started when the application has started up, or with the first request where there
            is no lifespan, and stopped when the application is about to shut down.
        detailed: False leaves `/health/detailed` to the application: for a service that strangers reach. An endpoint of
            your own can return `health.report()`.

    Raises:
        SettingsError: `health` is no `Health`.
    """

    def __init__(self, app: ASGIApp, *, health: Health, detailed: bool = True) -> None:
        if not isinstance(health, Health):
            raise SettingsError([f"HealthMiddleware(health): an otelkit.Health, not {type(health).__name__}"])
        self.app = app
        self._health = health
        self.otelkit_options = {"detailed": detailed}
        for name in _ACCESS_LOGS:
            logging.getLogger(name).addFilter(_keep_access_line)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if scope["type"] == "lifespan":
            await self.app(scope, self._before_shutdown(receive), self._after_startup(send))
            return
        _serving.mark()
        if not self._health.started:
            self._health.start()
        path = _silent.own_path(scope) if scope["type"] == "http" else ""
        ours = self.otelkit_silent(path, **self.otelkit_options)
        _answering.set(ours)
        if ours:
            await self._answer(path, scope["method"], send)
        else:
            await self.app(scope, receive, send)

    @staticmethod
    def otelkit_silent(path: str, *, detailed: bool = True, **_: object) -> bool:
        """Tell whether it answers for a path; asked by otelkit, see `otelkit.integrations._silent`."""
        return path in _ALIVE or path in _READY or (detailed and path == _DETAILED)

    async def _answer(self, path: str, method: str, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if method in {"GET", "HEAD"}:
            status, told = self._look(path)
        else:
            status, told = _NOT_ALLOWED, {"status": "fail", "reason": "method not allowed"}
            headers.append((b"allow", b"GET, HEAD"))
        body = json.dumps(told).encode()
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _look(self, path: str) -> tuple[int, Mapping[str, Any]]:
        if path in _ALIVE:
            return _OK, {"status": "pass"}
        if path in _READY:
            reason = self._health.unready
            return (_UNAVAILABLE, {"status": "fail", "reason": reason}) if reason else (_OK, {"status": "pass"})
        report = self._health.report()
        return (_UNAVAILABLE if report["status"] == "fail" else _OK), report

    def _after_startup(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._health.start()
            await send(message)

        return sent

    def _before_shutdown(self, receive: Receive) -> Receive:
        async def received() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._health.stop()
            return message

        return received


def _keep_access_line(_: logging.LogRecord) -> bool:
    """Keep what servers write about other requests."""
    return not _answering.get()


_silent.announce((*_ALIVE, *_READY, _DETAILED))
