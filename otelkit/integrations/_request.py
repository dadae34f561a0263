"""The only place that knows which request the running code belongs to, for integrations that add to its server span.

A context variable, not the current span: a statement runs below the caller's own spans, and what is counted is counted
per request, not per span.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.trace import Span

STATEMENTS = "otelkit.db.statements"
"""Attribute of a server span: how many database statements its request ran. A high number is an N+1."""


@dataclass(slots=True, kw_only=True, eq=False)
class RequestState:
    """What integrations count for one request, written to its span by the server integration when the request ends.

    Args:
        span: The request's server span; None as long as the framework that makes it did not tell.
        route: The full template of its route; None as long as it is not known.
        statements: Database statements so far; threads of one request share it, so it is close, not exact, where they
            run statements at the same moment.
    """

    span: Span | None = None
    route: str | None = None
    statements: int = 0

    def template(self) -> str | None:
        """Return the template of the request's route, as far as it can be known by now."""
        return self.route


_current: ContextVar[RequestState | None] = ContextVar("otelkit_request", default=None)


def begin(state: RequestState | None) -> Token[RequestState | None]:
    """Count for this request from now on, in this context and those copied from it; None counts for no request."""
    return _current.set(state)


def end(token: Token[RequestState | None]) -> None:
    """Count for the request before again; takes what `begin` returned, in the same context."""
    _current.reset(token)


def current_route() -> str | None:
    """Return the route template of the request that the running code belongs to; None outside of requests."""
    state = _current.get()
    return None if state is None else state.template()


def current() -> RequestState | None:
    """Return the state of the request that the running code belongs to; None outside of requests."""
    return _current.get()
