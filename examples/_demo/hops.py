"""Compares what was sent with what arrived: the counts of the table, and each hop on the way of an order.

Sent is what the driver, the witness in each service and the services' stdout say; arrived is what the receiver decoded.
Neither side knows a number of the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _demo.orders import Order
    from _demo.services import Service
    from otelkit.otlp.model import LogRecord, Point, Span
    from otelkit.otlp.receiver import Receiver

REQUEST_DURATION = "http.server.request.duration"
STATEMENT_DURATION = "db.client.operation.duration"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything known about the orders on both sides, at one moment.

    Args:
        orders: What the driver placed.
        counts: By service, what the witness in it counted.
        lines: By service, the JSON lines on its stdout.
        spans: What the receiver got; likewise points and logs.
    """

    orders: tuple[Order, ...]
    counts: Mapping[str, Counter[str]]
    lines: Mapping[str, list[dict[str, Any]]]
    spans: list[Span]
    points: list[Point]
    logs: list[LogRecord]

    @classmethod
    def gather(cls, orders: Iterable[Order], services: Mapping[str, Service], receiver: Receiver) -> Evidence:
        """Look at both sides now."""
        return cls(
            orders=tuple(orders),
            counts={name: service.counts() for name, service in services.items()},
            lines={name: service.lines() for name, service in services.items()},
            spans=receiver.spans(),
            points=receiver.points(),
            logs=receiver.logs(),
        )

    def server_spans(self, service: str, trace_id: str | None = None) -> list[Span]:
        """Spans of requests that the service answered; of one trace, or of all."""
        return [
            span
            for span in self.spans
            if span.service == service and span.kind == "SERVER" and trace_id in (None, span.trace_id)
        ]

    def statement_spans(self, service: str) -> list[Span]:
        """Spans of statements that the service executed."""
        return [span for span in self.spans if span.service == service and "db.system.name" in span.attributes]

    def records(self, service: str) -> list[LogRecord]:
        """Log records that the service sent."""
        return [record for record in self.logs if record.service == service]

    def measured(self, service: str, metric: str) -> int:
        """How many measurements a histogram of the service has, over all its series."""
        latest: dict[tuple[object, ...], Point] = {}
        for point in self.points:
            if point.service == service and point.metric == metric:
                series = (point.resource.get("service.instance.id"), *sorted(map(str, point.attributes.items())))
                if series not in latest or point.time_ns > latest[series].time_ns:
                    latest[series] = point
        return sum(point.count for point in latest.values())


@dataclass(frozen=True, kw_only=True)
class Count:
    """What one service sent, and what of it arrived.

    Args:
        sent_as: What was counted in the service.
        arrived_as: What was counted at the receiver.
        service: Whose it is.
        sent: How many the service had.
        arrived: How many the receiver got.
    """

    sent_as: str
    arrived_as: str
    service: str
    sent: int
    arrived: int

    @property
    def right(self) -> bool:
        """Whether everything arrived, and nothing twice."""
        return self.sent == self.arrived


SERVER_SPANS = "server spans"
STATEMENT_SPANS = "statement spans"
LOG_RECORDS = "log records"


def table(evidence: Evidence) -> list[Count]:
    """Count both sides: requests, statements and log lines of each service."""
    counts: list[Count] = []
    for service, counted in evidence.counts.items():
        requests, statements = counted["request"], counted["statement"]
        # Those that belong to no request, here the creation of the tables, are measured but make no spans.
        with_startup = statements + counted["background"]
        counts += [
            Count(service=service, sent_as=sent_as, arrived_as=arrived_as, sent=sent, arrived=arrived)
            for sent_as, arrived_as, sent, arrived in (
                ("requests", SERVER_SPANS, requests, len(evidence.server_spans(service))),
                ("requests", REQUEST_DURATION, requests, evidence.measured(service, REQUEST_DURATION)),
                ("statements", STATEMENT_SPANS, statements, len(evidence.statement_spans(service))),
                ("+ start-up", STATEMENT_DURATION, with_startup, evidence.measured(service, STATEMENT_DURATION)),
                ("log lines", LOG_RECORDS, len(evidence.lines[service]), len(evidence.records(service))),
            )
        ]
    return counts


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One step on the way of an order, and how to see what is wrong with it.

    Args:
        name: From where to where.
        right: What holds when nothing is wrong.
        problems: Finds what is wrong, a sentence each.
    """

    name: str
    right: str
    problems: Callable[[Evidence], Iterator[str]]


def first_broken(evidence: Evidence) -> tuple[Hop, list[str]] | None:
    """Return the first hop that is not right, with its problems; None when every one is."""
    for hop in HOPS:
        if problems := list(hop.problems(evidence)):
            return hop, problems
    return None


def _answers(evidence: Evidence) -> Iterator[str]:
    for order in evidence.orders:
        if order.status != order.kind.status:
            yield f"{order}: answered {order.status} instead of {order.kind.status.value}"
    placed, reached = len(evidence.orders), evidence.counts["shop"]["request"]
    if placed != reached:
        yield f"{placed} orders were placed, {reached} requests reached the shop"
    charged, reached = sum(order.kind.charged for order in evidence.orders), evidence.counts["payment"]["request"]
    if charged != reached:
        yield f"{charged} orders should have been charged, {reached} requests reached payment"


def _trace_ids(evidence: Evidence) -> Iterator[str]:
    seen = Counter(order.trace_id for order in evidence.orders)
    for order in evidence.orders:
        if not order.trace_id:
            yield f"{order}: the answer names no trace (header traceresponse)"
        elif seen[order.trace_id] > 1:
            yield f"{order}: another order has the same trace {order.trace_id}"


def _server_spans(evidence: Evidence) -> Iterator[str]:
    for order in evidence.orders:
        spans = evidence.server_spans("shop", order.trace_id)
        if [(span.span_id, span.name) for span in spans] != [(order.span_id, "POST /orders")]:
            found = ", ".join(f"{span.name!r} {span.span_id}" for span in spans) or "none"
            yield f"{order}: expected one server span 'POST /orders' {order.span_id} in shop, found {found}"
    yield from _differing(evidence, SERVER_SPANS)


def _calls(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    for order in evidence.orders:
        charges = evidence.server_spans("payment", order.trace_id)
        if len(charges) != order.kind.charged:
            yield f"{order}: {len(charges)} server spans of payment in its trace instead of {int(order.kind.charged)}"
        for charge in charges:
            call = ids.get((charge.trace_id, charge.parent_span_id))
            if call is None or (call.service, call.kind) != ("shop", "CLIENT"):
                parent = (
                    "nobody's child" if call is None else f"a child of {call.service}'s {call.kind} span {call.name!r}"
                )
                yield f"{order}: payment's server span is {parent}, and not of shop's call"
            elif not _under(call, order.span_id, ids):
                yield f"{order}: shop's call is not below its own server span"


def _statements(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    for service in evidence.counts:
        servers = {(span.trace_id, span.span_id) for span in evidence.server_spans(service)}
        for span in evidence.statement_spans(service):
            if not any((span.trace_id, above) in servers for above in _ancestors(span, ids)):
                yield f"{service}: the span {span.name!r} is not below a request of {service}"
    yield from _differing(evidence, STATEMENT_SPANS)


def _failures(evidence: Evidence) -> Iterator[str]:
    for order in evidence.orders:
        for service in ("shop", "payment"):
            told = [
                record
                for record in evidence.logs
                if record.trace_id == order.trace_id
                and record.service == service
                and record.attributes.get("exception.stacktrace")
            ]
            errors = [span for span in evidence.server_spans(service, order.trace_id) if span.status == "ERROR"]
            if len(told) != _is_failure(order):
                yield f"{order}: {len(told)} log records of {service} with a stack instead of {_is_failure(order)}"
            if len(errors) != _is_failure(order):
                yield f"{order}: {len(errors)} failed server spans of {service} instead of {_is_failure(order)}"


def _is_failure(order: Order) -> int:
    return int(order.kind.outcome == "failed")


def _stdout(evidence: Evidence) -> Iterator[str]:
    for order in evidence.orders:
        for service in ("shop", "payment") if order.kind.charged else ("shop",):
            if not any(line.get("trace_id") == order.trace_id for line in evidence.lines[service]):
                yield f"{order}: no line on the stdout of {service} has its trace id"


def _log_records(evidence: Evidence) -> Iterator[str]:
    for service in evidence.counts:
        printed = Counter(_key(line) for line in evidence.lines[service])
        arrived = Counter((str(record.body), record.trace_id, record.span_id) for record in evidence.records(service))
        for (event, trace_id, _), times in (printed - arrived).items():
            yield f"{service}: printed but did not arrive, {times} x {event!r}{_of_trace(trace_id)}"
        for (event, trace_id, _), times in (arrived - printed).items():
            yield f"{service}: arrived but was not printed, {times} x {event!r}{_of_trace(trace_id)}"


def _request_durations(evidence: Evidence) -> Iterator[str]:
    return _differing(evidence, REQUEST_DURATION)


def _statement_durations(evidence: Evidence) -> Iterator[str]:
    return _differing(evidence, STATEMENT_DURATION)


HOPS = (
    Hop(name="customer -> services", right="every order got the answer it should", problems=_answers),
    Hop(name="shop -> customer", right="every answer names a trace of its own", problems=_trace_ids),
    Hop(name="request -> server span", right="one each, and it is the one named", problems=_server_spans),
    Hop(name="shop -> payment", right="each charge is a child of the shop's call", problems=_calls),
    Hop(name="statement -> span", right="one each, below its own request", problems=_statements),
    Hop(name="log line -> stdout", right="every order has lines with its trace id", problems=_stdout),
    Hop(name="log line -> receiver", right="the same lines, and the same ids", problems=_log_records),
    Hop(name="failure -> stack", right="in both services, told once each", problems=_failures),
    Hop(name="request -> duration metric", right="each counted once", problems=_request_durations),
    Hop(name="statement -> duration metric", right="each counted once", problems=_statement_durations),
)


def _differing(evidence: Evidence, arrived_as: str) -> Iterator[str]:
    for count in table(evidence):
        if count.arrived_as == arrived_as and not count.right:
            yield f"{count.service}: {count.sent} {count.sent_as}, {count.arrived} in {arrived_as}"


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(line.get("event")), str(line.get("trace_id", "")), str(line.get("span_id", ""))


def _of_trace(trace_id: str) -> str:
    return f" of trace {trace_id}" if trace_id else ""


def _by_id(evidence: Evidence) -> dict[tuple[str, str], Span]:
    return {(span.trace_id, span.span_id): span for span in evidence.spans}


def _ancestors(span: Span, ids: Mapping[tuple[str, str], Span]) -> Iterator[str]:
    """Ids of the spans above, the parent first."""
    above: Span | None = span
    while above is not None and above.parent_span_id:
        yield above.parent_span_id
        above = ids.get((above.trace_id, above.parent_span_id))


def _under(span: Span, span_id: str, ids: Mapping[tuple[str, str], Span]) -> bool:
    return span_id in _ancestors(span, ids)
