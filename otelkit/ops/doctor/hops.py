"""The only place that follows a canary: where it has to come by, and what is wrong where it does not.

The hops are in the order of the way, so that the first broken one is the cause of what follows: what left the process,
who answered, what the Collector took and handed on, what each store has, and whether Grafana's links find it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from otelkit import _catalog
from otelkit.errors import QueryError
from otelkit.ops import correlation
from otelkit.ops._words import listed, some
from otelkit.ops.doctor import canary, collector
from otelkit.ops.doctor.findings import refusal
from otelkit.ops.query import wait_for
from otelkit.ops.query._http import Backend
from otelkit.ops.query.lgtm import Lgtm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otelkit.ops.correlation import Link
    from otelkit.ops.doctor.canary import Sent
    from otelkit.ops.doctor.collector import Log, Look
    from otelkit.ops.endpoints import Endpoints
    from otelkit.ops.query import Sample, Trace
    from otelkit.otlp.model import LogRecord

State = Literal["ok", "broken", "unseen", "skipped"]

HOPS: dict[str, str] = {
    "exports": "the process sends traces, metrics and logs by OTLP",
    "endpoint": "each endpoint takes an empty request",
    "acknowledged": "each item was acknowledged, none refused",
    "accepted": "the Collector counts at least as many as were acknowledged",
    "sent traces": "each exporter of traces in the Collector sent some since the canary began",
    "sent metrics": "the same for metrics",
    "sent logs": "the same for logs",
    "trace": "Tempo has the trace by its id, with all of its spans",
    "series": "Prometheus has the series of the histogram",
    "labels": "the series has the labels that dashboards and alerts select by",
    "exemplar": "its exemplar names the trace",
    "record": "Loki has the record by the trace's id, under the service's name",
    correlation.EXEMPLAR_TO_TRACE: "the link of an exemplar, followed as Grafana does, opens the trace",
    correlation.TRACE_TO_LOGS: "the query of the link finds the trace's records, and no others",
    correlation.LOG_TO_TRACE: "the derived field of a record opens the trace",
    correlation.TRACE_TO_METRICS: "each query of the link has a value; once for each query",
    correlation.SERVICE_GRAPH: "the service graph has an edge for the canary's call to itself",
    "grafana": "Grafana answers, and reaches its data sources by their health checks",
}
"""Every hop, and what makes it `ok`; in the order of the way."""

_SIGNALS = ("traces", "metrics", "logs")
_ITEMS = {"traces": "span", "metrics": "point", "logs": "record"}
_STORES = {"traces": "Tempo", "metrics": "Prometheus", "logs": "Loki"}
_SENDING = 10.0  # seconds that the canary's process may take to hand everything over
_PAUSE = 0.2
_PATIENCE = 5.0  # seconds in which an exporter that failed may come round, where its store answers


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where to look; an empty address leaves its hops out.

    Args:
        collector_metrics: Base URL of the Collector's own metrics.
        prometheus: Base URL.
        tempo: Base URL.
        loki: Base URL.
        grafana: Base URL; user and password in it are sent, never shown.
        collector_log: The Collector's log, where it is a file of this machine.
        datasources: The file with Grafana's data sources, whose links are followed.
    """

    collector_metrics: str
    prometheus: str
    tempo: str
    loki: str
    grafana: str
    collector_log: Path | None
    datasources: Path


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One place on the way.

    Args:
        id: What it is called.
        state: "ok"; "broken"; "unseen": nobody answers who could tell; "skipped": what it needs is broken before it.
        what: What was seen there, or was looked for, in a line.
        seconds: From the start of the canary until it was seen; None where it was not.
        cause: Why it is broken, or cannot be seen, as far as possible in the words of the program concerned.
        fix: What to do about it.
    """

    id: str
    state: State
    what: str
    seconds: float | None = None
    cause: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of a canary.

    Args:
        trace_id: Its trace; "" where it did not even start.
        instance: Its `service.instance.id`.
        hops: In the order of the way.
    """

    trace_id: str
    instance: str
    hops: tuple[Hop, ...]

    @property
    def broken(self) -> Hop | None:
        """The first broken hop."""
        return next((hop for hop in self.hops if hop.state == "broken"), None)


class _BrokenError(Exception):
    """A hop is broken.

    Args:
        what: What was looked for.
        cause: Why it is not there.
        fix: What to do.
        signals: Of which nothing will arrive further on.
    """

    def __init__(self, what: str, cause: str, fix: str, *signals: str) -> None:
        super().__init__(cause)
        self.what, self.cause, self.fix, self.signals = what, " ".join(cause.split()), fix, signals


class _UnseenError(Exception):
    """A hop cannot be seen; the message says what was looked for, the second argument why, the third what helps."""


def prove(
    where: Where, *, stack: Endpoints | None = None, timeout: float, tell: Callable[[Hop], object] = lambda _: None
) -> Proof:
    """Send a canary, and follow it.

    Args:
        where: Where to look.
        stack: Where to send if no variable says that.
        timeout: Seconds, from when it was sent, until it must have come by everywhere.
        tell: Called with each hop once it is decided.
    """
    walk = _Walk(where=where, stack=stack, log=collector.Log.now(where.collector_log))
    hops = []
    for hop in walk.hops(timeout):
        tell(hop)
        hops.append(hop)
    sent = walk.sent
    return Proof(trace_id=sent.trace_id if sent else "", instance=sent.instance if sent else "", hops=tuple(hops))


@dataclass(kw_only=True)
class _Walk:
    """What is known of the way so far."""

    where: Where
    stack: Endpoints | None
    log: Log | None
    began: float = field(default_factory=time.monotonic)
    deadline: float = 0.0
    sent: Sent | None = None
    before: Look | None = None
    blind: str = ""
    lost: set[str] = field(default_factory=set)  # signals that are broken before here
    missing: set[str] = field(default_factory=set)  # ids of hops that are not ok
    trace: Trace | None = None

    def hops(self, timeout: float) -> Iterator[Hop]:
        """Decide them one after the other."""
        self.before = self._look()
        self.began = time.monotonic()
        try:
            self.sent = sent = canary.send(timeout=min(_SENDING, timeout), stack=self.stack)
        except RuntimeError as error:
            fix = "run `otelkit doctor`: it tells what keeps a program of this shell from configuring telemetry"
            yield Hop(id="exports", state="broken", what="a canary that emits", cause=str(error), fix=fix)
            return
        self.deadline = time.monotonic() + timeout
        yield self._decide("exports", _SIGNALS, lambda: self._exports(sent))
        yield self._decide("endpoint", _SIGNALS, lambda: self._endpoint(sent))
        yield self._decide("acknowledged", _SIGNALS, lambda: self._acknowledged(sent))
        yield self._decide("accepted", _SIGNALS, lambda: self._accepted(sent))
        for signal in _SIGNALS:
            yield self._decide(f"sent {signal}", (signal,), partial(self._handed_on, signal))
        query = _query(self.where)
        yield self._decide("trace", ("traces",), lambda: self._stored_trace(query, sent))
        yield self._decide("series", ("metrics",), lambda: self._series(query, sent))
        yield self._decide("labels", ("metrics",), lambda: self._labels(query, sent), needs=("series",))
        yield self._decide("exemplar", ("metrics",), lambda: self._exemplar(query, sent), needs=("series",))
        yield self._decide("record", ("logs",), lambda: self._record(query, sent))
        yield from self._links(query)
        yield self._decide("grafana", (), self._grafana)

    def _decide(self, id_: str, signals: Sequence[str], ask: Callable[[], str], needs: Sequence[str] = ()) -> Hop:
        """Ask about one hop, unless what it needs is broken before it."""
        live = [signal for signal in signals if signal not in self.lost]
        hop: Hop
        if (signals and not live) or self.missing & set(needs):
            hop = Hop(id=id_, state="skipped", what="broken before it")
        else:
            try:
                what = ask()
                hop = Hop(id=id_, state="ok", what=what, seconds=round(time.monotonic() - self.began, 2))
            except _BrokenError as error:
                self.lost |= set(error.signals)
                hop = Hop(id=id_, state="broken", what=error.what, cause=error.cause, fix=error.fix)
            except _UnseenError as error:
                what, cause, fix = error.args
                hop = Hop(id=id_, state="unseen", what=what, cause=cause, fix=fix)
            except QueryError as error:  # refused, or gone since it answered
                fix = f"look into the log of {error.backend}"
                hop = Hop(id=id_, state="broken", what=HOPS[id_], cause=str(error), fix=fix)
        if hop.state != "ok":
            self.missing.add(id_)
        return hop

    def _live(self) -> list[str]:
        return [signal for signal in _SIGNALS if signal not in self.lost]

    def _remaining(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    # -- the process

    def _exports(self, sent: Sent) -> str:
        silent = [signal for signal in _SIGNALS if signal not in sent.counted]
        if silent == ["metrics"] and "prometheus" in sent.settings["metrics.exporters"].value:
            self.lost.add("metrics")
            return "traces and logs go out by OTLP; metrics are served, and no canary lives until it is scraped"
        if not silent:
            return "traces, metrics and logs go out by OTLP"
        first = sent.settings.get(f"{silent[0]}.degraded")
        exporters = sent.settings[f"{silent[0]}.exporters"]
        by = "OTEL_SDK_DISABLED" if sent.settings["disabled"].value else exporters.origin
        cause = str(first.value) if first else f"{by} says {', '.join(exporters.value)}"
        if sent.settings["disabled"].value:
            cause = "OTEL_SDK_DISABLED switches all telemetry off"
        raise _BrokenError(f"{listed(silent)} do not go out by OTLP", cause, f"correct {by}, or unset it", *silent)

    def _endpoint(self, sent: Sent) -> str:
        broken = [(answer, *refusal(answer)) for answer in sent.answers if refusal(answer)[0]]
        if broken:
            first, _, why, fix = broken[0]
            signals = [answer.signal for answer, _, again, _ in broken if again == why]
            what = f"{first.endpoint} does not take {listed(signals)}"
            raise _BrokenError(what, why, fix, *(answer.signal for answer, *_ in broken))
        slowest = max(answer.seconds for answer in sent.answers)
        places = dict.fromkeys(re.sub(r"/v1/\w+$", "", answer.endpoint) for answer in sent.answers)
        return f"{', '.join(places)} answers within {slowest * 1000:.0f} ms"

    def _acknowledged(self, sent: Sent) -> str:
        short = [name for name in self._live() if sent.counted[name].delivered < sent.counted[name].emitted]
        if not short:
            return ", ".join(some(sent.counted[name].delivered, _ITEMS[name]) for name in self._live())
        counted = sent.counted[short[0]]
        what = f"{counted.delivered} of {some(counted.emitted, _ITEMS[short[0]])} were acknowledged"
        said = next((line for line in reversed(sent.said) if short[0] in line), "the receiver took a part only")
        refused = self.log.refusal() if self.log else ""
        if refused or self._more("otelcol_processor_memory_limiter_refused_", short) > 0:
            fix = "give the Collector more memory (COLLECTOR_MEMORY_MIB in deploy/.env), or send it less"
            raise _BrokenError(what, f"memory_limiter: {refused or 'it refuses data'} ({said})", fix, *short)
        raise _BrokenError(what, said, "look into the receiver's log, and at its limits", *short)

    # -- the Collector

    def _look(self) -> Look | None:
        if not self.where.collector_metrics:
            self.blind = "no address of its metrics was given"
            return None
        try:
            return collector.look(self.where.collector_metrics)
        except QueryError as error:
            self.blind = str(error)
            return None

    def _more(self, prefix: str, signals: Sequence[str], **labels: str) -> float:
        """How much counters have grown since before the canary, over signals."""
        now = self._look()
        if now is None or self.before is None:
            return 0
        names = [prefix + collector.ITEMS[signal] for signal in signals]
        return sum(now.total(name, **labels) - self.before.total(name, **labels) for name in names)

    def _see(self, what: str) -> Look:
        """Look at the Collector now.

        Raises:
            _UnseenError: It tells nothing.
        """
        now = self._look()
        if now is None or self.before is None:
            raise _UnseenError(what, self.blind, "name the Collector's own metrics: --collector-metrics URL")
        return now

    def _accepted(self, sent: Sent) -> str:
        what = "the Collector counts what it accepted"
        self._see(what)
        wanted = {signal: sent.counted[signal].delivered for signal in self._live()}
        short = {
            signal: more
            for signal, count in wanted.items()
            if (more := self._more("otelcol_receiver_accepted_", [signal])) < count
        }
        if short:
            told = ", ".join(f"{more:g} of {wanted[signal]} {signal}" for signal, more in short.items())
            cause = f"it accepted {told}: what was acknowledged went to another receiver"
            raise _UnseenError(what, cause, "name the metrics of the one at the endpoint: --collector-metrics URL")
        return ", ".join(f"{count} {signal}" for signal, count in wanted.items()) + " at least"

    def _handed_on(self, signal: str) -> str:
        what = f"the Collector sends {signal} on"
        began = time.monotonic()
        while True:
            names = self._see(what).exporters(signal)
            open_ = [name for name in names if not self._taken(signal, name)]
            if names and not open_:
                return f"by {listed(names)}"
            hopeless = time.monotonic() - began > min(_PATIENCE, self._remaining())
            broken = self._stuck(signal, open_[0] if open_ else "", hopeless=hopeless)
            if broken is not None:
                raise _BrokenError(what, *broken, signal)
            if not self._remaining():
                fix = "look into the Collector's log"
                raise _BrokenError(what, f"{listed(open_) or 'no exporter'} sent nothing", fix, signal)
            time.sleep(_PAUSE)

    def _taken(self, signal: str, exporter: str) -> bool:
        """Tell whether an exporter's store had something of it since the canary began."""
        if self._more("otelcol_exporter_sent_", [signal], exporter=exporter):
            return True
        # Prometheus refuses a canary of deltas; whether others' points went with it is chance, and `series` knows why.
        return signal == "metrics" and self._deltas() and self._refused(signal, exporter) > 0

    def _refused(self, signal: str, exporter: str) -> float:
        return self._more("otelcol_exporter_send_failed_", [signal], exporter=exporter)

    def _deltas(self) -> bool:
        return self.sent is not None and self.sent.settings["temporality"].value != "cumulative"

    def _stuck(self, signal: str, exporter: str, *, hopeless: bool) -> tuple[str, str] | None:
        """Say why an exporter cannot send, and what to do; None while it may still come round.

        Args:
            signal: What it exports.
            exporter: Its name; "" where there is none.
            hopeless: Whether it had time to try again.
        """
        error = self.log.error(signal) if self.log else ""
        refused = self._refused(signal, exporter)
        full = self._more("otelcol_exporter_enqueue_failed_", [signal], exporter=exporter)
        now = self._look()
        waiting = now.total("otelcol_exporter_queue_size", exporter=exporter) if now else 0
        silent = _silence(self._store(signal))
        if full:
            fix = f"see why {_STORES[signal]} takes nothing, or give the queue more room (STACK_COLLECTOR_QUEUE_BYTES)"
            return f"{exporter}: its queue is full, {full:g} {signal} were refused. {error}", fix
        if refused or (error and (silent or hopeless)):
            cause = f"{exporter}: {error}" if error else f"{exporter} gave {some(round(refused), _ITEMS[signal])} up"
            return cause, self._mend(signal, exporter, error, silent)
        if waiting and silent and (hopeless or self.log is None):  # its log soon has the words of the exporter
            return f"{exporter}: {waiting:g} bytes or requests wait. {silent}", self._mend(signal, exporter, "", silent)
        return None

    def _store(self, signal: str) -> Backend | None:
        url = {"traces": self.where.tempo, "metrics": self.where.prometheus, "logs": self.where.loki}[signal]
        return Backend(name=_STORES[signal], url=url, timeout=3.0) if url else None

    def _mend(self, signal: str, exporter: str, error: str, silent: str) -> str:
        """Say what helps an exporter that cannot send."""
        store, backend = _STORES[signal], self._store(signal)
        for pattern, fix in _MENDS:
            if re.search(pattern, error, re.IGNORECASE):
                return fix.format(store=store, exporter=exporter)
        if silent or backend is None:
            return f"start {store}, or correct the endpoint of {exporter}; its log tells why it does not answer"
        where = f"{store} answers at {backend.shown_url}"
        return f"{where}: correct the endpoint of {exporter}, unless {store} was started just now"

    # -- the stores

    def _ask(
        self,
        name: str,
        what: str,
        ask: Callable[[], Any],
        until: Callable[[Any], object],
        *,
        patience: float | None = None,
    ) -> Any:
        """Ask a store until its answer will do; None where it does not in time.

        Raises:
            _BrokenError: It does not answer, or refuses the question.
        """
        signal = next(signal for signal, store in _STORES.items() if store == name)
        silent = _silence(self._store(signal))
        if silent:
            raise _BrokenError(what, silent, f"start {name}, or name its address: --{name.lower()} URL", signal)
        try:
            return wait_for(ask, until, self._remaining() if patience is None else patience, interval=_PAUSE)
        except TimeoutError:
            return None
        except QueryError as error:
            raise _BrokenError(what, str(error), f"look into the log of {name}", signal) from error

    def _stored_trace(self, query: Lgtm, sent: Sent) -> str:
        what = f"Tempo has trace {sent.trace_id}"
        _named(self.where.tempo, what, "--tempo")
        seen: list[Trace] = []

        def ask() -> Trace | None:
            found = query.trace(sent.trace_id)
            seen.extend([found] if found else [])
            return found

        self.trace = self._ask("Tempo", what, ask, lambda found: found and len(found.spans) >= sent.spans)
        if self.trace is not None:
            return f"Tempo has it, {some(len(self.trace.spans), 'span')}"
        if seen:
            cause = f"Tempo has {len(seen[-1].spans)} of its {sent.spans} spans"
        else:
            cause = "Tempo answers, and does not have it"
        fix = "look for a sampler or a filter in the Collector (tail_sampling drops what is not to be kept)"
        raise _BrokenError(what, cause, fix, "traces")

    def _series(self, query: Lgtm, sent: Sent) -> str:
        what = f"Prometheus has {canary.METRIC}"
        _named(self.where.prometheus, what, "--prometheus")
        temporality = sent.settings["temporality"]
        deltas = self._deltas()
        patience = _PATIENCE if deltas else self._remaining()
        samples = self._ask("Prometheus", what, lambda: self._samples(query, sent), bool, patience=patience)
        if samples:
            return f"Prometheus has it, {some(len(samples), 'series')}"
        if deltas:
            fix = f"unset {temporality.origin}, or start Prometheus with --enable-feature=otlp-deltatocumulative"
            cause = f"{temporality.origin} is {temporality.value}; Prometheus drops that"
            raise _BrokenError(what, cause, fix, "metrics")
        fix = "look for a filter in the Collector's pipeline of metrics, and into the log of Prometheus"
        raise _BrokenError(what, "Prometheus answers, and does not have it", fix, "metrics")

    def _samples(self, query: Lgtm, sent: Sent) -> tuple[Sample, ...]:
        # `instance` is service.instance.id for everything that comes by OTLP, whatever is promoted.
        return query.prometheus.query(f'{{__name__=~"{canary.METRIC}(_count)?", instance="{sent.instance}"}}')

    def _labels(self, query: Lgtm, sent: Sent) -> str:
        (sample, *_) = self._samples(query, sent)
        wanted = {
            name: name.replace(".", "_") for name in _catalog.RESOURCE_LABELS if sent.resource.get(name) is not None
        }
        absent = [name for name, label in wanted.items() if sample.labels.get(label) != sent.resource[name]]
        if absent:
            raise _BrokenError(
                f"its labels are {listed(list(wanted.values()))}",
                f"the series has no label {listed([wanted[name] for name in absent])}",
                f"promote {listed(absent)}: otlp.promote_resource_attributes in prometheus.yaml",
            )
        return listed(list(wanted.values()))

    def _exemplar(self, query: Lgtm, sent: Sent) -> str:
        what = "its exemplar names the trace"
        labels = {"instance": sent.instance}

        def ask() -> list[str]:
            found = query.exemplars(f"{canary.METRIC}_bucket", labels) or query.exemplars(canary.METRIC, labels)
            return [exemplar.trace_id for exemplar in found]

        chosen = sent.settings["exemplar_filter"]
        if chosen.value == "always_off":
            raise _BrokenError(what, f"{chosen.origin} is always_off", f"unset {chosen.origin}")
        if "exemplar-storage" not in _features(query):
            cause = "Prometheus runs without the feature exemplar-storage"
            raise _BrokenError(what, cause, "start Prometheus with --enable-feature=exemplar-storage")
        found = self._ask("Prometheus", what, ask, lambda traces: sent.trace_id in traces)
        if found is None:
            cause = "the series is there, its exemplar is not"
            raise _BrokenError(what, cause, "look at storage.exemplars.max_exemplars in prometheus.yaml")
        return "its exemplar names the trace"

    def _record(self, query: Lgtm, sent: Sent) -> str:
        what = "Loki has the record, with its trace id"
        _named(self.where.loki, what, "--loki")
        hidden: list[bool] = []

        def ask() -> tuple[LogRecord, ...]:
            direct = query.logs(trace_id=sent.trace_id)
            hidden.append(not direct and _elsewhere(query, sent))
            return direct

        found = self._ask("Loki", what, ask, lambda records: records or hidden[-2:] == [True, True])
        if found is None:
            fix = "look for a filter in the Collector's pipeline of logs, and into the log of Loki"
            raise _BrokenError(what, "Loki answers, and does not have it", fix, "logs")
        if not found:
            cause = "Loki has the record, and service.name is no index label there"
            fix = "add service.name to limits_config.otlp_config.resource_attributes in loki.yaml, action index_label"
            raise _BrokenError(what, cause, fix)
        return f"Loki has {some(len(found), 'record')} of the trace"

    # -- the links

    def _links(self, query: Lgtm) -> Iterator[Hop]:
        """Follow every link of the data source file; those that need more samples wait for them."""
        needed = {"trace", "series", "exemplar", "record"} & self.missing
        if self.trace is None or needed:
            reason = f"needs {listed(sorted(needed or {'trace'}))}"
            yield Hop(id="links", state="skipped", what=reason)
            return
        assert self.sent is not None  # noqa: S101  the trace is its
        try:
            sources = correlation.load(self.where.datasources)
        except (OSError, ValueError) as error:
            fix = "name the file that Grafana is provisioned with: --datasources FILE"
            yield Hop(id="links", state="broken", what="the data sources of Grafana", cause=str(error), fix=fix)
            return
        metric, labels = f"{canary.METRIC}_bucket", {"instance": self.sent.instance}
        for link in correlation.at_once(sources, query, self.trace, exemplar_metric=metric, exemplar_labels=labels):
            yield self._link(link)
        told: set[str] = set()
        while True:
            last = not self._remaining()
            links = correlation.in_time(sources, query, self.trace)
            for link in links:
                if link.name not in told and (link.found or last):
                    told.add(link.name)
                    yield self._link(link)
            if last or len(told) == len(links):
                return
            time.sleep(_PAUSE)

    def _link(self, link: Link) -> Hop:
        if link.found:
            seconds = round(time.monotonic() - self.began, 2)
            return Hop(id=link.name, state="ok", what=f"{link.source} to {link.target}: {link.detail}", seconds=seconds)
        self.missing.add(link.name)
        fix = next(fix for name, fix in _LINKS.items() if link.name.startswith(name))
        return Hop(
            id=link.name,
            state="broken",
            what=f"{link.source} to {link.target or 'nowhere'}: {link.query or 'no query'}",
            cause=link.detail,
            fix=fix.format(file=self.where.datasources.name),
        )

    def _grafana(self) -> str:
        what = "Grafana reaches its data sources"
        _named(self.where.grafana, what, "--grafana")
        backend = Backend(name="Grafana", url=self.where.grafana, timeout=5.0)
        fix = "start Grafana, or name it: --grafana http://USER:PASSWORD@HOST:PORT"
        try:
            backend.ask("/api/health", {}, dict)
            sources = correlation.load(self.where.datasources)
        except (QueryError, OSError, ValueError) as error:
            raise _UnseenError(what, str(error), fix) from error
        try:
            for uid in sources:
                backend.ask(f"/api/datasources/uid/{uid}/health", {}, dict)
        except QueryError as error:
            if error.status in (401, 403):
                raise _UnseenError(what, str(error), fix) from error
            raise _BrokenError(what, str(error), "look at the addresses that Grafana was started with") from error
        return f"Grafana reaches {listed([source.name for source in sources.values()])}"


_MENDS = (
    (r"otlp.*receiver needs to be enabled|api/v1/otlp.*404", "start Prometheus with --web.enable-otlp-receiver"),
    (r"\b40[13]\b|unauth|permission.?denied", "give {exporter} the credentials that {store} wants"),
    (r"x509|certificate|tls:", "correct `tls` of {exporter}: the authority's file, or plain text"),
    (
        r"at least one label pair",
        "give Loki an index label: service.name in limits_config.otlp_config.resource_attributes of loki.yaml",
    ),
    (
        r"limit|exceed|too (?:long|large|many|old|far)|maximum|larger than|\b413\b|\b429\b",
        "raise the limit that {store} names, in its configuration; or send it less",
    ),
    (r"\b404\b|unimplemented", "correct the path of {exporter}'s endpoint: {store} answers, and has no receiver there"),
    (r"\b400\b|invalid", "{store} refuses it for good: its words say which part, the Collector can change that"),
)
"""What a store's, or a connection's, error in the Collector's log calls for; the first that fits."""

_LINKS = {
    correlation.EXEMPLAR_TO_TRACE: "correct exemplarTraceIdDestinations of Prometheus in {file}: name, uid of Tempo",
    correlation.TRACE_TO_LOGS: "correct tracesToLogsV2 of Tempo in {file}: its query, its tags, Loki's uid",
    correlation.LOG_TO_TRACE: "correct derivedFields of Loki in {file}: matcherType label, matcherRegex, Tempo's uid",
    correlation.TRACE_TO_METRICS: "correct tracesToMetrics of Tempo in {file}, or let the Collector make span_metrics",
    correlation.SERVICE_GRAPH: "let Tempo make service-graphs and write them to a Prometheus that runs with "
    "--web.enable-remote-write-receiver; or correct serviceMap in {file}",
}
"""What a link that leads nowhere calls for."""


def _query(where: Where) -> Lgtm:
    nobody = "http://localhost:9"  # never asked: its hops are left out
    return Lgtm.at(prometheus=where.prometheus or nobody, tempo=where.tempo or nobody, loki=where.loki or nobody)


def _features(query: Lgtm) -> str:
    """What Prometheus was started with; a store that is like it, and does not tell, is given credit."""
    try:
        told = query.prometheus.backend.ask("/api/v1/status/flags", {}, lambda answer: answer["data"]["enable-feature"])
    except QueryError:
        return "exemplar-storage"
    return str(told)


def _elsewhere(query: Lgtm, sent: Sent) -> bool:
    """Tell whether Loki has the record under other labels than `service_name`, which is what everybody selects by."""
    labels = query.loki.backend.ask("/loki/api/v1/labels", {}, lambda answer: list(answer.get("data") or ()))
    selectors = (f'{{{label}=~".+"}} | trace_id="{sent.trace_id}"' for label in labels if not label.startswith("__"))
    return any(query.loki.query(selector) for selector in selectors)


def _named(url: str, what: str, option: str) -> None:
    if not url:
        raise _UnseenError(what, "it was left out", f"name it: {option} URL")


def _silence(store: Backend | None) -> str:
    """Say that a store does not answer at all, in one line; "" where it does, whatever it says."""
    if store is None:
        return ""
    try:
        store.text("/ready")
    except QueryError as error:
        return str(error) if error.status is None else ""
    return ""
