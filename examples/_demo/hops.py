"""Compares what was sent with what arrived: the counts of the table, and each hop on the way of an order.

Sent is what the customers, the witness in each process and the processes' stdout say; arrived is what the receiver
decoded. Neither side knows a number of the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _demo.customers import Visit
    from _demo.services import Service
    from otelkit.otlp.model import LogRecord, Point, Span
    from otelkit.otlp.receiver import Receiver

REQUEST_DURATION = "http.server.request.duration"
CALL_DURATION = "db.client.operation.duration"
CACHE_REQUESTS = "cache.requests"
MESSAGES = "messaging.client.sent.messages"
EXECUTIONS = "celery.task.executions"
DELIVERIES = "app.webhook.deliveries"
REVENUE = "shop.revenue"
HEALTH = "otelkit.health.check.status"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything known about the visits on both sides, at one moment.

    Args:
        visits: What the customers did.
        counts: By service, what the witness in it counted.
        lines: By service, the JSON lines on its stdout.
        health: By service that has health, what `/health/detailed` says of each check: whether it passes.
        spans: What the receiver got; likewise points and logs.
    """

    visits: tuple[Visit, ...]
    counts: Mapping[str, Counter[str]]
    lines: Mapping[str, list[dict[str, Any]]]
    health: Mapping[str, Mapping[str, bool]]
    spans: list[Span]
    points: list[Point]
    logs: list[LogRecord]

    @classmethod
    def gather(cls, visits: Iterable[Visit], services: Mapping[str, Service], receiver: Receiver) -> Evidence:
        """Look at both sides now."""
        return cls(
            visits=tuple(visits),
            health={name: service.health() for name, service in services.items() if service.port},
            counts={name: service.counts() for name, service in services.items()},
            lines={name: service.lines() for name, service in services.items()},
            spans=receiver.spans(),
            points=receiver.points(),
            logs=receiver.logs(),
        )

    def of_kind(self, service: str, *kinds: str) -> list[Span]:
        """Spans of a service, of these kinds."""
        return [span for span in self.spans if span.service == service and span.kind in kinds]

    def server_spans(self, service: str, trace_id: str | None = None) -> list[Span]:
        """Spans of requests that the service answered; of one trace, or of all."""
        return [span for span in self.of_kind(service, "SERVER") if trace_id in (None, span.trace_id)]

    def statement_spans(self, service: str) -> list[Span]:
        """Spans of statements that the service executed."""
        return [span for span in self.of_kind(service, "CLIENT") if _is_statement(span.attributes)]

    def command_spans(self, service: str) -> list[Span]:
        """Spans of commands that the service sent to Redis."""
        return [span for span in self.of_kind(service, "CLIENT") if _is_command(span.attributes)]

    def runs(self, trace_id: str) -> list[Span]:
        """Spans of the tasks that ran in a trace, in their order."""
        found = [span for span in self.of_kind("worker", "CONSUMER") if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.start_ns)

    def records(self, service: str) -> list[LogRecord]:
        """Log records that the service sent."""
        return [record for record in self.logs if record.service == service]

    def latest(self, service: str, metric: str) -> list[Point]:
        """The last point of each series of a metric; a process has an instance id of its own."""
        latest: dict[tuple[object, ...], Point] = {}
        for point in self.points:
            if point.service == service and point.metric == metric:
                series = (point.resource.get("service.instance.id"), *sorted(map(str, point.attributes.items())))
                if series not in latest or point.time_ns > latest[series].time_ns:
                    latest[series] = point
        return list(latest.values())

    def measured(self, service: str, metric: str, fits: Callable[[Mapping[str, Any]], bool] | None = None) -> float:
        """Return how much a counter has counted, or how often a histogram measured, over all series that fit."""
        points = [point for point in self.latest(service, metric) if fits is None or fits(point.attributes)]
        return sum(point.count if point.kind == "histogram" else point.value or 0 for point in points)


def _is_statement(attributes: Mapping[str, Any]) -> bool:
    return "db.system.name" in attributes and not _is_command(attributes)


def _is_command(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes.get("db.system.name") == "redis")


@dataclass(frozen=True, kw_only=True)
class Count:
    """What one service sent, and what of it arrived.

    Args:
        sent_as: What was counted without telemetry.
        arrived_as: What was counted at the receiver.
        service: Whose it is.
        sent: How many there were.
        arrived: How many the receiver got.
    """

    sent_as: str
    arrived_as: str
    service: str
    sent: float
    arrived: float

    @property
    def right(self) -> bool:
        """Whether everything arrived, and nothing twice."""
        return self.sent == self.arrived


SERVER_SPANS = "server spans"
STATEMENT_SPANS = "statement spans"
COMMAND_SPANS = "command spans"
PUBLISH_SPANS = "publish spans"
RUN_SPANS = "run spans"
RETRIES = f"{EXECUTIONS}, retry"
LOG_RECORDS = "log records"


def table(evidence: Evidence) -> list[Count]:
    """Count both sides of what each process does."""
    counts: list[Count] = []
    for service, counted in evidence.counts.items():
        requests, statements, commands = counted["request"], counted["statement"], counted["command"]
        # Those that belong to no request, here the creation of the tables, are measured but make no spans.
        with_startup = statements + counted["background"]
        measured = partial(evidence.measured, service)
        rows = (
            ("requests", SERVER_SPANS, requests, len(evidence.server_spans(service))),
            ("requests", REQUEST_DURATION, requests, measured(REQUEST_DURATION)),
            ("statements", STATEMENT_SPANS, statements, len(evidence.statement_spans(service))),
            ("+ start-up", CALL_DURATION, with_startup, measured(CALL_DURATION, _is_statement)),
            ("commands", COMMAND_SPANS, commands, len(evidence.command_spans(service))),
            ("commands", CALL_DURATION, commands, measured(CALL_DURATION, _is_command)),
            ("cache use", CACHE_REQUESTS, counted["cache"], measured(CACHE_REQUESTS)),
            ("messages", PUBLISH_SPANS, counted["publish"], len(evidence.of_kind(service, "PRODUCER"))),
            ("messages", MESSAGES, counted["publish"], measured(MESSAGES)),
            ("tasks", RUN_SPANS, counted["run"], len(evidence.of_kind(service, "CONSUMER"))),
            ("tasks", EXECUTIONS, counted["run"], measured(EXECUTIONS)),
            ("retries", RETRIES, counted["retry"], measured(EXECUTIONS, _is_retry)),
            ("log lines", LOG_RECORDS, len(evidence.lines[service]), len(evidence.records(service))),
            ("checks", HEALTH, len(evidence.health.get(service, {})), len(evidence.latest(service, HEALTH))),
        )
        counts += [
            Count(service=service, sent_as=sent_as, arrived_as=arrived_as, sent=sent, arrived=arrived)
            for sent_as, arrived_as, sent, arrived in rows
        ]
    return counts


def _is_retry(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes.get("celery.task.state") == "retry")


def business(evidence: Evidence) -> list[Count]:
    """Count both sides of what the shop itself counts: what its customers know, and its declared metrics."""
    known: Counter[tuple[str, str, str]] = Counter()
    for visit in evidence.visits:
        if visit.kind.counted is not None:
            metric, attributes = visit.kind.counted
            known["api", metric, "".join(attributes.values())] += visit.status == visit.kind.status
        if visit.kind.deliveries:
            known["worker", DELIVERIES, "failure"] += visit.kind.deliveries - 1
            known["worker", DELIVERIES, "success"] += 1
            known["worker", REVENUE, ""] += visit.answer.get("amount", 0) // 100
    return [
        Count(
            service=service,
            sent_as=value or "all",
            arrived_as=metric,
            sent=sent,
            arrived=evidence.measured(service, metric, partial(_has, value)),
        )
        for (service, metric, value), sent in sorted(known.items())
    ]


def _has(value: str, attributes: Mapping[str, Any]) -> bool:
    return not value or value in attributes.values()


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
    for visit in evidence.visits:
        if visit.status != visit.kind.status:
            yield f"{visit}: answered {visit.status} instead of {visit.kind.status.value}"
    made, reached = len(evidence.visits), evidence.counts["api"]["request"]
    if made != reached:
        yield f"{made} visits were made, {reached} requests reached the API"
    wanted = sum(visit.kind.charged + visit.kind.deliveries for visit in evidence.visits)
    reached = evidence.counts["payment"]["request"]
    if wanted != reached:
        yield f"{wanted} charges and confirmations should have been asked for, {reached} requests reached payment"


def _trace_ids(evidence: Evidence) -> Iterator[str]:
    seen = Counter(visit.trace_id for visit in evidence.visits)
    for visit in evidence.visits:
        if not visit.trace_id:
            yield f"{visit}: the answer names no trace (header traceresponse)"
        elif seen[visit.trace_id] > 1:
            yield f"{visit}: another visit has the same trace {visit.trace_id}"


def _server_spans(evidence: Evidence) -> Iterator[str]:
    for visit in evidence.visits:
        spans = evidence.server_spans("api", visit.trace_id)
        if [(span.span_id, span.name) for span in spans] != [(visit.span_id, visit.kind.span)]:
            found = ", ".join(f"{span.name!r} {span.span_id}" for span in spans) or "none"
            yield f"{visit}: expected one server span {visit.kind.span!r} {visit.span_id} in api, found {found}"
    yield from _differing(evidence, SERVER_SPANS)


def _calls(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    for visit in evidence.visits:
        charges = _named(evidence.server_spans("payment", visit.trace_id), "POST /charges")
        if len(charges) != visit.kind.charged:
            yield f"{visit}: {len(charges)} charges of payment in its trace instead of {int(visit.kind.charged)}"
        for charge in charges:
            yield from _not_called_by("api", visit, charge, ids)


def _not_called_by(service: str, visit: Visit, span: Span, ids: Mapping[tuple[str, str], Span]) -> Iterator[str]:
    """Say why a server span of payment is not that of a call which a service made for a visit."""
    call = ids.get((span.trace_id, span.parent_span_id))
    if call is None or (call.service, call.kind) != (service, "CLIENT"):
        parent = "nobody's child" if call is None else f"a child of {call.service}'s {call.kind} span {call.name!r}"
        yield f"{visit}: payment's server span {span.name!r} is {parent}, and not of a call of {service}"
    elif visit.span_id not in _ancestors(call, ids):
        yield f"{visit}: the call of {service} is not below the visit's server span"


def _below_work(evidence: Evidence, what: Callable[[str], list[Span]], arrived_as: str) -> Iterator[str]:
    """Say which spans of a service are below none of its requests and tasks."""
    ids = _by_id(evidence)
    for service in evidence.counts:
        works = {(span.trace_id, span.span_id) for span in evidence.of_kind(service, "SERVER", "CONSUMER")}
        for span in what(service):
            if not any((span.trace_id, above) in works for above in _ancestors(span, ids)):
                yield f"{service}: the span {span.name!r} is below no request and no task of {service}"
    yield from _differing(evidence, arrived_as)


def _statements(evidence: Evidence) -> Iterator[str]:
    yield from _below_work(evidence, evidence.statement_spans, STATEMENT_SPANS)


def _commands(evidence: Evidence) -> Iterator[str]:
    yield from _below_work(evidence, evidence.command_spans, COMMAND_SPANS)


def _tasks(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    for visit in evidence.visits:
        runs = evidence.runs(visit.trace_id)
        if len(runs) != visit.kind.deliveries:
            yield f"{visit}: {len(runs)} spans of tasks in its trace instead of {visit.kind.deliveries}"
        for run in runs:
            publish = ids.get((run.trace_id, run.parent_span_id))
            if publish is None or (publish.service, publish.kind) != ("api", "PRODUCER"):
                yield f"{visit}: its task is not below the message by which the API asked for it"
            elif publish.parent_span_id != visit.span_id:
                yield f"{visit}: the message for its task is not below its server span"
    yield from _differing(evidence, PUBLISH_SPANS)
    yield from _differing(evidence, RUN_SPANS)


def _retries(evidence: Evidence) -> Iterator[str]:
    for visit in evidence.visits:
        runs = evidence.runs(visit.trace_id)
        for run in runs[1:]:
            if runs[0].span_id not in [link.span_id for link in run.links]:
                yield f"{visit}: a later try of its task does not name the first one"


def _webhooks(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    for visit in evidence.visits:
        told = _named(evidence.server_spans("payment", visit.trace_id), "POST /webhooks/order-confirmed")
        if len(told) != visit.kind.deliveries:
            yield f"{visit}: {len(told)} webhooks of payment in its trace instead of {visit.kind.deliveries}"
        for span in told:
            yield from _not_called_by("worker", visit, span, ids)


def _schedule(evidence: Evidence) -> Iterator[str]:
    ids = _by_id(evidence)
    visited = {visit.trace_id for visit in evidence.visits}
    runs = [span for span in evidence.of_kind("worker", "CONSUMER") if span.trace_id not in visited]
    if not runs:
        yield "no task has run that beat asked for"
    for run in runs:
        publish = ids.get((run.trace_id, run.parent_span_id))
        if publish is None or publish.service != "beat":
            yield f"the span {run.name!r} is not below a message of beat"


def _failures(evidence: Evidence) -> Iterator[str]:
    for visit in evidence.visits:
        for service, name in (("api", visit.kind.span), ("payment", "POST /charges")):
            told = [
                record
                for record in evidence.records(service)
                if record.trace_id == visit.trace_id and record.attributes.get("exception.stacktrace")
            ]
            failed = [
                span for span in _named(evidence.server_spans(service, visit.trace_id), name) if span.status == "ERROR"
            ]
            if len(told) != _is_failure(visit):
                yield f"{visit}: {len(told)} log records of {service} with a stack instead of {_is_failure(visit)}"
            if len(failed) != _is_failure(visit):
                yield f"{visit}: {len(failed)} failed server spans of {service} instead of {_is_failure(visit)}"


def _is_failure(visit: Visit) -> int:
    return int(visit.kind.outcome == "failed")


def _stdout(evidence: Evidence) -> Iterator[str]:
    for visit in evidence.visits:
        took_part = {"api": True, "payment": visit.kind.charged, "worker": visit.kind.deliveries}
        for service in (name for name, took in took_part.items() if took):
            if not any(line.get("trace_id") == visit.trace_id for line in evidence.lines[service]):
                yield f"{visit}: no line on the stdout of {service} has its trace id"


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


def _call_durations(evidence: Evidence) -> Iterator[str]:
    return _differing(evidence, CALL_DURATION)


def _cache(evidence: Evidence) -> Iterator[str]:
    return _differing(evidence, CACHE_REQUESTS)


def _task_metrics(evidence: Evidence) -> Iterator[str]:
    return _differing(evidence, MESSAGES, EXECUTIONS, RETRIES)


def _business(evidence: Evidence) -> Iterator[str]:
    for count in business(evidence):
        if not count.right:
            yield f"{count.service}: {count.sent:g} {count.sent_as}, {count.arrived:g} in {count.arrived_as}"


def _health(evidence: Evidence) -> Iterator[str]:
    for service, told in evidence.health.items():
        if not told:
            yield f"{service}: /health/detailed does not answer"
        points = evidence.latest(service, HEALTH)
        measured = {str(point.attributes.get("otelkit.health.check")): bool(point.value) for point in points}
        for name in sorted(told.keys() | measured.keys()):
            if told.get(name) != measured.get(name):
                yield f"{service}: {name} passes {told.get(name)} at /health/detailed, {measured.get(name)} in {HEALTH}"
        for span in evidence.server_spans(service):
            if str(span.attributes.get("url.path")).startswith("/health"):
                yield f"{service}: a question about health made the span {span.name!r}"


HOPS = (
    Hop(name="customer -> services", right="every visit got the answer it should", problems=_answers),
    Hop(name="api -> customer", right="every answer names a trace of its own", problems=_trace_ids),
    Hop(name="request -> server span", right="one each, and it is the one named", problems=_server_spans),
    Hop(name="api -> payment", right="each charge is a child of the API's call", problems=_calls),
    Hop(name="api -> worker", right="each task is below its order", problems=_tasks),
    Hop(name="retry -> first try", right="side by side, and linked", problems=_retries),
    Hop(name="worker -> payment", right="each webhook is a child of its task's call", problems=_webhooks),
    Hop(name="beat -> worker", right="each task is below beat's message", problems=_schedule),
    Hop(name="statement -> span", right="one each, below its own request or task", problems=_statements),
    Hop(name="Redis command -> span", right="one each, below its own request", problems=_commands),
    Hop(name="log line -> stdout", right="every visit has lines with its trace id", problems=_stdout),
    Hop(name="log line -> receiver", right="the same lines, and the same ids", problems=_log_records),
    Hop(name="failure -> stack", right="in both services, told once each", problems=_failures),
    Hop(name="request -> duration metric", right="each counted once", problems=_request_durations),
    Hop(name="database, Redis -> metrics", right="each counted once", problems=_call_durations),
    Hop(name="cache -> metric", right="each hit, miss and write counted once", problems=_cache),
    Hop(name="task -> metrics", right="each message, run and retry counted once", problems=_task_metrics),
    Hop(name="business -> metrics", right="they say what the customers know", problems=_business),
    Hop(name="health -> metrics", right="the same checks, and no span of a probe", problems=_health),
)


def _differing(evidence: Evidence, *arrived_as: str) -> Iterator[str]:
    for count in table(evidence):
        if count.arrived_as in arrived_as and not count.right:
            yield f"{count.service}: {count.sent:g} {count.sent_as}, {count.arrived:g} in {count.arrived_as}"


def _named(spans: Iterable[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


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
