"""The only place that follows the links between stores as Grafana would, without a Grafana.

`follow` reads the provisioned data source file, takes one stored trace, and for each link does what a click does: fills
the template in, sends the query to the store that the link names, and looks whether the answer belongs to the trace.

What Grafana does was read at 13.2 and is not run here: `pkg/services/provisioning/values/values.go` (dollars in the
file), `public/app/features/explore/TraceView/createSpanLink.tsx` (links of a span), the Loki data source's derived
fields, the Prometheus data source's exemplars, and the Tempo data source's service map.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from otelkit.errors import QueryError
from otelkit.ops._words import some
from otelkit.ops.query import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from otelkit.ops.query import Trace
    from otelkit.ops.query.lgtm import Lgtm
    from otelkit.otlp.model import Span

EXEMPLAR_TO_TRACE = "exemplar to trace"
TRACE_TO_LOGS = "trace to logs"
LOG_TO_TRACE = "log to trace"
TRACE_TO_METRICS = "trace to metrics"
SERVICE_GRAPH = "service graph"

_MILLISECOND = 1_000_000
_MICROSECOND = 1_000
_MINUTE = 60_000_000_000
_STEP = 15.0
_SHOWN = 200
# What Grafana takes where a Tempo data source maps no tags, and no shift for metrics.
_DEFAULT_TAGS = ("cluster", "hostname", "namespace", "pod", "service.name", "service.namespace")
_METRICS_SHIFT_MS = 120_000
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

_PROVISIONED = re.compile(r"\$(?:__env)?\{([^}]+)\}|\$(\w+)")
_TEMPLATE = re.compile(r"\$(?P<bare>\w+)|\$\{(?P<name>\w+)(?:\.(?P<path>[^:}]+))?\}")
_STEPS = re.compile(r"\[\"([^\"]+)\"\]|\['([^']+)'\]|([^.\[\]]+)")
_SHIFT = re.compile(r"(-?\d+(?:\.\d+)?)(ms|[smhdw])")

# What makes a call one to a database, as deploy/tempo/tempo.yaml has it (`database_name_attributes`), and what Tempo
# rather calls its node by: modules/generator/processor/servicegraphs/servicegraphs.go, `upsertDatabaseRequest`.
_DATABASES = ("db.namespace", "db.name", "db.system.name", "db.system")
_PEERS = ("peer.service", "server.address")
_CACHES = frozenset({"redis", "memcached", "valkey"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data source of the file.

    Args:
        uid: What links name it by.
        name: What people call it.
        type: Grafana's plugin, for example "tempo".
        data: Its `jsonData`, variables expanded.
    """

    uid: str
    name: str
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link, followed.

    Args:
        name: One of this module's names; where there are several of a kind, with which one in parentheses.
        source: The data source where one clicks.
        target: The data source where one arrives; empty where the file names none that exists.
        query: What is sent there, filled in; empty where it does not come to that.
        found: Whether the answer belongs to the trace.
        detail: What was found, or why it was not, in one sentence without a full stop.
    """

    name: str
    source: str
    target: str
    query: str
    found: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An arrow that the service graph must have.

    Args:
        kind: "request", "database", "cache" or "messaging".
        client: The calling service.
        server: The service that answers, or how Tempo calls a database: by its address, else by its name.
    """

    kind: str
    client: str
    server: str

    def __str__(self) -> str:
        """Draw it."""
        return f"{self.client} -> {self.server}"


def follow(
    datasources: Path,
    query: Lgtm,
    *,
    trace: Trace,
    exemplar_metric: str,
    exemplar_labels: Mapping[str, str] | None = None,
) -> tuple[Link, ...]:
    """Follow every link of the file once, from and to one trace, and tell of each what became of it.

    Nothing waits: telemetry that is still on its way is not found, so ask again until all are, or a deadline passes.
    Links of a span start at the trace's first span. Of the service graph there is one link per kind of edge that the
    trace must have made.

    Args:
        datasources: The provisioned file, `deploy/grafana/provisioning/datasources/stack.yaml`.
        query: The stores behind the data sources.
        trace: As stored, with at least one span.
        exemplar_metric: A metric that was measured in the trace, for example
            `http_server_request_duration_seconds_bucket`.
        exemplar_labels: Labels that its series must have.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a list of data sources, or the trace has no span.
    """
    if not trace.spans:
        raise ValueError(f"trace {trace.trace_id} has no span to start from")
    sources = load(datasources)
    return (
        *at_once(sources, query, trace, exemplar_metric=exemplar_metric, exemplar_labels=exemplar_labels),
        *in_time(sources, query, trace),
    )


def at_once(
    sources: Mapping[str, Source],
    query: Lgtm,
    trace: Trace,
    *,
    exemplar_metric: str,
    exemplar_labels: Mapping[str, str] | None = None,
) -> tuple[Link, ...]:
    """Follow the links that have nothing to wait for once the stores have trace, exemplar and record; see `follow`."""
    return (
        exemplar_to_trace(sources, query, trace, exemplar_metric, exemplar_labels),
        trace_to_logs(sources, query, trace.spans[0]),
        log_to_trace(sources, query, trace),
    )


def in_time(sources: Mapping[str, Source], query: Lgtm, trace: Trace) -> tuple[Link, ...]:
    """Follow the links to what is computed from spans, some while after they are stored; see `follow`."""
    return (*trace_to_metrics(sources, query, trace.spans[0]), *service_graph(sources, query, edges(trace)))


def load(path: Path, environment: Mapping[str, str] | None = None) -> dict[str, Source]:
    """Read a provisioned file as Grafana does: data sources by uid, variables expanded, doubled dollars made single.

    Args:
        path: The file.
        environment: Grafana's own; a variable that it lacks is empty.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a list of data sources.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            source["uid"]: Source(
                uid=source["uid"],
                name=source["name"],
                type=source["type"],
                data=_interpolated(source.get("jsonData", {}), environment or {}),
            )
            for source in document["datasources"]
        }
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a list of data sources ({type(error).__name__}: {error})") from error


def exemplar_to_trace(
    sources: Mapping[str, Source], query: Lgtm, trace: Trace, metric: str, labels: Mapping[str, str] | None = None
) -> Link:
    """Follow the diamond in a graph: an exemplar of the trace, by the label that the file names."""

    def walk(click: _Click) -> str:
        destination = click.first("exemplarTraceIdDestinations")
        click.go(destination.get("datasourceUid"), "tempo")
        kept = query.exemplars(metric, labels, window=_around(trace.spans))
        ours = [exemplar for exemplar in kept if exemplar.trace_id == trace.trace_id]
        if not ours:
            raise _BrokenError(f"Prometheus keeps {some(len(kept), 'exemplar')} of {metric}, none of this trace")
        exemplar = ours[-1]
        carried = {**exemplar.labels, "trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
        name = destination.get("name")
        if name not in carried:
            raise _BrokenError(f"an exemplar has no label {name!r}, only {', '.join(sorted(carried))}")
        return _open_trace(click, query, carried[name], trace.trace_id, exemplar.span_id)

    return _walked(EXEMPLAR_TO_TRACE, sources, "prometheus", walk)


def trace_to_logs(sources: Mapping[str, Source], query: Lgtm, span: Span) -> Link:
    """Follow "Logs for this span": what its service logged in the same trace."""

    def walk(click: _Click) -> str:
        options = click.options("tracesToLogsV2")
        click.go(options.get("datasourceUid"), "loki")
        tags = _tags(span, options.get("tags"))
        custom = options.get("query") if options.get("customQuery") else None
        if not custom and not tags:
            raise _BrokenError("Grafana shows no link: the span has none of the tags")
        filled, unknown = _filled(custom or _own_logql(options), _variables(span, tags))
        if unknown:
            raise _BrokenError(f"Grafana shows no link: it knows no {', '.join(unknown)}")
        click.query = filled
        records = query.loki.query(filled, _shifted(span, options, default_ms=0))
        others = sum(record.trace_id != span.trace_id for record in records)
        if others:
            raise _BrokenError(f"{others} of {some(len(records), 'record')} are not of this trace")
        if not records:
            raise _BrokenError("Loki has no record of it")
        return f"{some(len(records), 'record')}, all of this trace"

    return _walked(TRACE_TO_LOGS, sources, "tempo", walk)


def log_to_trace(sources: Mapping[str, Source], query: Lgtm, trace: Trace) -> Link:
    """Follow the link of a log record: the derived field's value, taken for a trace id."""

    def walk(click: _Click) -> str:
        derived = click.first("derivedFields")
        click.go(derived.get("datasourceUid"), "tempo")
        lines = query.loki.lines(f'{{service_name=~".+"}} | trace_id="{trace.trace_id}"', _around(trace.spans))
        if not lines:
            raise _BrokenError("Loki has no record of this trace to start from")
        line = lines[0]
        value = _derived(derived, line.labels, line.text)
        if value is None:
            raise _BrokenError(f"{derived.get('matcherType', 'regex')} {derived.get('matcherRegex')!r} finds nothing")
        filled, _ = _filled(str(derived.get("url", "")), {"__value": {"raw": value, "text": value}})
        return _open_trace(click, query, filled, trace.trace_id, line.labels.get("span_id", ""))

    return _walked(LOG_TO_TRACE, sources, "loki", walk)


def trace_to_metrics(sources: Mapping[str, Source], query: Lgtm, span: Span) -> tuple[Link, ...]:
    """Follow each "Metrics for this span": the metrics of its service and operation around its time."""
    tempo = next((source for source in sources.values() if source.type == "tempo"), None)
    options = (tempo.data.get("tracesToMetrics") if tempo else None) or {}
    queries = options.get("queries") or [{}]
    nobody = replace(span, name="nobody", resource=_nobody(span.resource), attributes=_nobody(span.attributes))

    def filled(template: str, clicked: Span) -> str:
        # Grafana shows this link whether or not it knows every variable: what is left is Prometheus' to refuse.
        return _filled(template, _variables(clicked, _tags(clicked, options.get("tags"))))[0]

    def walk(click: _Click, template: str) -> str:
        click.go(options.get("datasourceUid"), "prometheus")
        click.query = filled(template, span)
        if not click.query:
            raise _BrokenError("it has no query")
        if query.prometheus.query(filled(template, nobody)):
            raise _BrokenError("it has an answer for a span of nobody as well: it does not select the span")
        series = query.prometheus.range(click.query, _shifted(span, options, default_ms=_METRICS_SHIFT_MS), _STEP)
        values = [value for one in series for _, value in one.points]
        if not values:
            raise _BrokenError("Prometheus has no value for it")
        numbers = [value for value in values if math.isfinite(value)]
        # A quantile of what was counted once is not a number; the link is sound, its graph empty until the next time.
        highest = f"at most {max(numbers):.4g}" if numbers else "none of them a number yet"
        return f"{some(len(values), 'value')}, {highest}"

    return tuple(
        _walked(
            f"{TRACE_TO_METRICS} ({one.get('name', '')})",
            sources,
            "tempo",
            partial(walk, template=one.get("query", "")),
        )
        for one in queries
    )


def service_graph(sources: Mapping[str, Source], query: Lgtm, wanted: Iterable[Edge]) -> tuple[Link, ...]:
    """Open the service graph and look for the edges; one link per kind of edge."""
    by_kind: dict[str, list[Edge]] = {}
    for edge in wanted:
        by_kind.setdefault(edge.kind, []).append(edge)

    def walk(click: _Click, several: Sequence[Edge]) -> str:
        click.go(click.options("serviceMap").get("datasourceUid"), "prometheus")
        # $__range of the last hour, which is what Explore opens with.
        click.query = "sum by (client, server) (rate(traces_service_graph_request_total[3600s]))"
        labels = [sample.labels for sample in query.prometheus.query(click.query)]
        drawn = {(one.get("client"), one.get("server")) for one in labels}
        absent = [edge for edge in several if (edge.client, edge.server) not in drawn]
        if absent:
            raise _BrokenError(f"of {some(len(drawn), 'edge')} none is {', '.join(map(str, absent))}")
        return ", ".join(map(str, several))

    return tuple(
        _walked(f"{SERVICE_GRAPH} ({kind})", sources, "tempo", partial(walk, several=several))
        for kind, several in by_kind.items()
    )


def edges(trace: Trace) -> tuple[Edge, ...]:
    """Tell which edges of the service graph a trace makes: calls and messages between services, databases, caches."""
    by_id = {span.span_id: span for span in trace.spans}
    found: dict[Edge, None] = {}  # ordered, without doubles
    answered = set()
    for span in trace.spans:
        caller = by_id.get(span.parent_span_id)
        if caller and (caller.kind, span.kind) in (("CLIENT", "SERVER"), ("PRODUCER", "CONSUMER")):
            answered.add(caller.span_id)
            kind = "messaging" if span.kind == "CONSUMER" else "request"
            found[Edge(kind=kind, client=caller.service, server=span.service)] = None
    for span in trace.spans:
        database = _first(span, _DATABASES)
        if span.kind == "CLIENT" and database and span.span_id not in answered:
            systems = {span.attributes.get(name) for name in _DATABASES}
            kind = "cache" if systems & _CACHES else "database"
            server = _first(span, _PEERS) or _address(span) or database
            found[Edge(kind=kind, client=span.service, server=server)] = None
    return tuple(found)


def _address(span: Span) -> str:
    host, port = (_first(span, (f"network.peer.{part}",)) for part in ("address", "port"))
    return f"{host}:{port}" if host and port else host


def _first(span: Span, names: Sequence[str]) -> str:
    """Return the first that there is, of the span or of its resource."""
    known = {**span.attributes, **span.resource}
    return next((str(known[name]) for name in names if known.get(name)), "")


class _BrokenError(Exception):
    """A link leads nowhere, for the reason that the message gives."""


@dataclass(kw_only=True)
class _Click:
    """How far one has come on a link."""

    sources: Mapping[str, Source]
    data: Mapping[str, Any]
    target: str = ""
    query: str = ""

    def options(self, key: str) -> Mapping[str, Any]:
        """Return what the data source has under a key."""
        options = self.data.get(key)
        if not isinstance(options, dict):
            raise _BrokenError(f"it has no {key}")
        return options

    def first(self, key: str) -> Mapping[str, Any]:
        """Return the first of what the data source has under a key."""
        several = self.data.get(key)
        if not isinstance(several, list) or not several:
            raise _BrokenError(f"it has no {key}")
        first: Mapping[str, Any] = several[0]
        return first

    def go(self, uid: Any, kind: str) -> None:
        """Set out for a data source, which must be there and of the kind."""
        source = self.sources.get(uid)
        if source is None:
            raise _BrokenError(f"there is no data source {uid!r}")
        self.target = source.name
        if source.type != kind:
            raise _BrokenError(f"{source.name} is of type {source.type}, not {kind}")


def _walked(name: str, sources: Mapping[str, Source], source: str, walk: Callable[[_Click], str]) -> Link:
    """Walk a link that starts at the first data source of a type; what a store refuses breaks it too."""
    start = next((one for one in sources.values() if one.type == source), Source(uid="", name=source, type=source))
    click = _Click(sources=sources, data=start.data)
    found = False
    try:
        detail = walk(click)
        found = True
    except (_BrokenError, QueryError, ValueError, re.error) as error:
        detail = str(error)
    except (LookupError, TypeError, AttributeError) as error:
        detail = f"the file is not as Grafana wants it ({type(error).__name__}: {error})"
    shown = " ".join(detail.split())[:_SHOWN]
    return Link(name=name, source=start.name, target=click.target, query=click.query, found=found, detail=shown)


def _open_trace(click: _Click, query: Lgtm, text: str, trace_id: str, span_id: str) -> str:
    """Arrive in Tempo with what the link carries, which has to be an id."""
    click.query = text
    found = query.tempo.trace(text)
    if found is None:
        raise _BrokenError("Tempo has no such trace")
    if found.trace_id != trace_id:
        raise _BrokenError(f"it leads to trace {found.trace_id}")
    if span_id and span_id not in {span.span_id for span in found.spans}:
        raise _BrokenError(f"the trace lacks span {span_id}")
    return some(len(found.spans), "span")


def _interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        parts = value.split("$$")
        return "$".join(_PROVISIONED.sub(lambda name: environment.get(name[1] or name[2], ""), part) for part in parts)
    if isinstance(value, dict):
        return {key: _interpolated(item, environment) for key, item in value.items()}
    return [_interpolated(item, environment) for item in value] if isinstance(value, list) else value


def _filled(template: str, variables: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Fill a template in; return it, and the variables that nobody knows, which stay as they are."""
    unknown = []

    def value(found: re.Match[str]) -> str:
        at: Any = variables.get(found["bare"] or found["name"])
        for step in _STEPS.finditer(found["path"] or ""):
            at = at.get(step[1] or step[2] or step[3]) if isinstance(at, dict) else None
        if at is None:
            unknown.append(found[0])
            return found[0]
        return str(at)

    return _TEMPLATE.sub(value, template), unknown


def _variables(span: Span, tags: str) -> dict[str, Any]:
    about = {"traceId": span.trace_id, "duration": span.duration_ns // _MICROSECOND, "name": span.name}
    known = {**span.resource, **span.attributes}
    return {"__tags": tags, "__trace": about, "__span": {**about, "spanId": span.span_id, "tags": known}}


def _tags(span: Span, mapped: Any) -> str:
    """Write the span's tags that the file maps as label matchers."""
    wanted = {tag["key"]: tag.get("value") or tag["key"] for tag in mapped or ()}
    wanted = wanted or {key: key.replace(".", "_", 1) for key in _DEFAULT_TAGS}
    intrinsic = {
        "spanId": span.span_id,
        "traceId": span.trace_id,
        "name": span.name,
        "duration": span.duration_ns // _MICROSECOND,
    }
    carried: Iterator[tuple[str, Any]] = (
        pair for tags in (span.resource, span.attributes, intrinsic) for pair in tags.items()
    )
    return ", ".join(f'{wanted[key]}="{value}"' for key, value in carried if key in wanted)


def _nobody(tags: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(tags, "nobody")


def _own_logql(options: Mapping[str, Any]) -> str:
    """Return the query that Grafana makes where the file has none of its own."""
    logql = "{${__tags}}"
    for option, name, label in (
        ("filterByTraceID", "traceId", "trace_id"),
        ("filterBySpanID", "spanId", "span_id"),
    ):
        if options.get(option):
            logql += (
                f' | label_format log_line_contains_{label}=`{{{{ contains "${{__span.{name}}}" __line__  }}}}`'
                f' | log_line_contains_{label}="true" OR {label}="${{__span.{name}}}"'
            )
    return logql


def _derived(options: Mapping[str, Any], labels: Mapping[str, str], line: str) -> str | None:
    pattern = re.compile(str(options.get("matcherRegex", "")))
    if options.get("matcherType") == "label":
        return next((value for name, value in labels.items() if pattern.search(name)), None)
    found = pattern.search(line)
    return found[1] if found and found.re.groups else None


def _shifted(span: Span, options: Mapping[str, Any], *, default_ms: int) -> Window:
    """Return the time that Explore opens with, in the whole milliseconds of its URL."""
    start = span.start_ns // _MILLISECOND + _shift(options.get("spanStartTimeShift"), -default_ms)
    end = span.end_ns // _MILLISECOND + _shift(options.get("spanEndTimeShift"), default_ms)
    return Window(start_ns=start * _MILLISECOND, end_ns=max(end, start + 1) * _MILLISECOND)


def _shift(text: Any, default_ms: int) -> int:
    if not text:
        return default_ms
    found = _SHIFT.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no stretch of time, such as -5m")
    return round(float(found[1]) * _UNITS_MS[found[2]])


def _around(spans: Sequence[Span]) -> Window:
    start, end = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    return Window(start_ns=start - 5 * _MINUTE, end_ns=end + 5 * _MINUTE)
