"""The only place for what callers send along with a request: trace context and baggage, checked before anyone reads it.

`configure()` puts `Bounded` around the global propagator, whatever `OTEL_PROPAGATORS` names. What passes it cannot
provoke one of the API's own warnings, which write the whole header; what does not is refused, and said once without it.
At a public endpoint the request's own headers are not read at all: an `Edge` stands between.

OpenTelemetry's `propagate` is imported late in here: for a wrong `OTEL_PROPAGATORS` its import fails until
`configure()` has put the variable right, and loggers, which need baggage, exist before that.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage, trace
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import Getter, TextMapPropagator, default_getter, default_setter
from opentelemetry.trace import Link

from otelkit._sanitise import shown, text
from otelkit._stderr import say_once

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.propagators.textmap import Setter
    from opentelemetry.trace import SpanContext

MOST_BYTES = 8192
"""Bytes of one propagation header, repeated ones together: what W3C Baggage 3.3.2 asks everyone to pass on."""
MOST_MEMBERS = 180
"""Members of baggage: where OpenTelemetry's own propagator stops."""
LONGEST_MEMBER = 4096
"""Characters of a member: the same."""
MOST_ENTRIES = 32
"""Entries of `tracestate` (W3C Trace Context 3.3.1.3.1)."""
VALUE_LIMIT = 256
"""Characters of a value of baggage that is copied to a span or a log record."""

_KEY = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r"[!#-+\--:<-\[\]-~]*"
_OWS = r"[ \t]*"
# No wider than what the API takes, which writes the others to its log.
_MEMBER = re.compile(f"({_KEY}){_OWS}={_OWS}({_VALUE}(?:;{_OWS}{_KEY}{_OWS}(?:={_OWS}{_VALUE}{_OWS})?)*)")
_ENTRY = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_CALLER = create_key("otelkit.caller")
_NOTHING: dict[str, str] = {}


@dataclass(slots=True)
class _Chosen:
    """What `configure()` was told.

    Args:
        baggage_keys: Keys of baggage that spans and log records get.
        public_endpoint: Whether HTTP servers stand at an edge.
    """

    baggage_keys: tuple[str, ...] = ()
    public_endpoint: bool = False


_chosen = _Chosen()


def install(*, baggage_keys: tuple[str, ...], public_endpoint: bool) -> None:
    """Bound what the global propagator reads, and take note of what was chosen.

    Args:
        baggage_keys: Keys of baggage that spans and log records get.
        public_endpoint: Whether HTTP servers stand at an edge, where nobody says otherwise.
    """
    _chosen.baggage_keys, _chosen.public_endpoint = baggage_keys, public_endpoint
    keep()


def keep() -> Bounded:
    """Bound the global propagator, also one that the application has set since."""
    from opentelemetry import propagate  # noqa: PLC0415  see above

    current = propagate.get_global_textmap()
    if type(current) is Bounded:
        return current
    bounded = Bounded(current)
    propagate.set_global_textmap(bounded)
    return bounded


def public_endpoint() -> bool:
    """Tell whether `configure()` was told that HTTP servers stand at an edge."""
    return _chosen.public_endpoint


def listed(context: Context | None) -> Mapping[str, str]:
    """Return the baggage of a context that spans and log records get: listed keys only, bounded values.

    Args:
        context: None for the current one.
    """
    keys = _chosen.baggage_keys
    if not keys:
        return _NOTHING
    given = baggage.get_all(context)
    return {key: text(shown(given[key]), VALUE_LIMIT) for key in keys if key in given}


# -- what may be read --------------------------------------------------------------------------------------------------


class Bounded(TextMapPropagator):
    """A propagator that gets to see bounded, well-formed headers only. It never raises.

    Args:
        inner: The propagator that reads and writes.
    """

    def __init__(self, inner: TextMapPropagator) -> None:
        self.inner = inner

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Read a carrier; what came with the request of a public endpoint itself is left unread."""
        try:
            edge = _edge.get()
            if edge is _UNKNOWN:
                edge = Edge(self, carrier, getter) if _chosen.public_endpoint and _is_request(carrier) else None
            if edge is not None and edge.is_origin_of(carrier, getter):
                return set_value(_CALLER, edge.caller, Context() if context is None else context)
            return self.inner.extract(carrier, context, _Checked(getter))
        except Exception as error:  # noqa: BLE001  a propagator of somebody else's, or its carrier
            _refused(f"could not be read ({type(error).__name__})")
            return Context() if context is None else context

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Write to a carrier."""
        try:
            self.inner.inject(carrier, context, setter)
        except Exception as error:  # noqa: BLE001  the same
            say_once("propagation.inject", f"trace context was not sent along ({type(error).__name__})")

    @property
    def fields(self) -> set[str]:
        """The headers that it writes."""
        return self.inner.fields


class _Checked(Getter[Any]):
    """A getter that finds what is bounded and well-formed.

    Args:
        getter: Knows the carrier.
    """

    def __init__(self, getter: Getter[Any]) -> None:
        self._getter = getter

    def get(self, carrier: Any, key: str) -> list[str] | None:
        values = self._getter.get(carrier, key)
        if not values or not all(isinstance(value, str) for value in values):
            return values
        size = sum(map(len, values)) + len(values) - 1
        if size > MOST_BYTES:
            _refused(f"{_name(key)} of {size} bytes was refused, {MOST_BYTES} is the most")
            return None
        match key.lower():
            case "baggage":
                return _members(values)
            case "tracestate":
                return _entries(values)
        return values

    def keys(self, carrier: Any) -> list[str]:
        return self._getter.keys(carrier)


def _members(values: list[str]) -> list[str] | None:
    """Join well-formed members to one header: the API reads the first header only, and before 1.44 no spaces."""
    given = _listed(values)
    found = (_MEMBER.fullmatch(member) for member in given if len(member) <= LONGEST_MEMBER)
    good = [f"{member[1]}={member[2]}" for member in found if member][:MOST_MEMBERS]
    if len(good) < len(given):
        left_out = len(given) - len(good)
        _refused(f"{left_out} members of baggage were left out, malformed or beyond {MOST_MEMBERS}")
    return [",".join(good)] if good else None


def _entries(values: list[str]) -> list[str] | None:
    """Pass all of `tracestate` on, or refuse all of it (W3C Trace Context 3.3.1.6)."""
    given = _listed(values)
    keys = [found[1] for entry in given if (found := _ENTRY.fullmatch(entry))]
    if len(set(keys)) == len(given) <= MOST_ENTRIES:
        return [",".join(given)] if given else None
    _refused("a tracestate was refused, it is malformed")
    return None


def _listed(values: list[str]) -> list[str]:
    """Take a list apart that came in one header or in several (RFC 9110, 5.3 and 5.6.1)."""
    return [part for value in values for each in value.split(",") if (part := each.strip(" \t"))]


def _name(key: str) -> str:
    """Name a header: those that every propagator of OpenTelemetry has by name, any other may be the caller's words."""
    return f"a {key.lower()}" if key.lower() in ("baggage", "traceparent", "tracestate") else "a propagation header"


def _refused(what: str) -> None:
    say_once("propagation.extract", f"from a caller, {what}; this is said once")


# -- a public endpoint -------------------------------------------------------------------------------------------------


class Edge:
    """A request at a public endpoint: what its headers tell is known, and not continued.

    The application's own use of a propagator in the same request, on a message that it received, say, goes on working:
    only a carrier that holds the request's own propagation headers is left unread.

    Args:
        propagator: Reads it.
        carrier: The request.
        getter: Knows its headers.
    """

    __slots__ = ("_fields", "_told", "caller")

    def __init__(self, propagator: Bounded, carrier: Any, getter: Getter[Any]) -> None:
        self._fields = sorted(propagator.fields)
        self._told = self._read(carrier, getter)
        context = propagator.inner.extract(carrier, Context(), _Checked(getter))
        span = trace.get_current_span(context).get_span_context()
        self.caller: SpanContext | None = span if span.is_valid else None

    def is_origin_of(self, carrier: Any, getter: Getter[Any]) -> bool:
        """Tell whether a carrier holds what came with this request."""
        return self._read(carrier, getter) == self._told

    def _read(self, carrier: Any, getter: Getter[Any]) -> list[bytes]:
        # Getters decode in different ways; what is not ASCII is nothing that a propagator takes.
        return [
            ",".join(map(str, getter.get(carrier, key) or ())).encode("ascii", "ignore").strip() for key in self._fields
        ]


def _is_request(carrier: Any) -> bool:
    """Tell whether a carrier is what an HTTP server hands an application, read by an instrumentation of contrib's."""
    return isinstance(carrier, dict) and (
        "wsgi.version" in carrier or ("asgi" in carrier and carrier.get("type") in ("http", "websocket"))
    )


_UNKNOWN = Edge(Bounded(CompositePropagator([])), {}, default_getter)
"""Stands where no exchange of ours has said what kind of request this is."""
_edge: ContextVar[Edge | None] = ContextVar("otelkit_edge", default=_UNKNOWN)


def begin_request(carrier: Any, getter: Getter[Any], *, public: bool) -> Token[Edge | None]:
    """Say what kind of request this context, and those copied from it, belong to.

    Args:
        carrier: The request.
        getter: Knows its headers.
        public: Whether its headers are left unread.
    """
    return _edge.set(Edge(keep(), carrier, getter) if public else None)


def end_request(token: Token[Edge | None]) -> None:
    """Read headers again as before; takes what `begin_request` returned, in the same context."""
    _edge.reset(token)


def caller(context: Context | None) -> SpanContext | None:
    """Return the span at the other side of the edge that a context begins at; None where there is none."""
    found: SpanContext | None = get_value(_CALLER, context)  # type: ignore[assignment]  # nobody else has the key
    return found


def links(context: Context) -> tuple[Link, ...]:
    """Return the link that a server span at an edge keeps to its caller."""
    found = caller(context)
    return (Link(found),) if found is not None else ()
