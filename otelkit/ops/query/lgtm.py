"""The only place that knows the HTTP APIs of Prometheus, Tempo and Loki.

`Prometheus`, `Tempo` and `Loki` take their own query languages; `Lgtm` is the `Query` over the three.
API: prometheus.io/docs/prometheus/latest/querying/api, grafana.com/docs/tempo/latest/api_docs,
grafana.com/docs/loki/latest/reference/loki-http-api.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from otelkit.ops.query import Exemplar, Query, Sample, Series, Trace, TraceSummary, Window
from otelkit.ops.query._http import Backend
from otelkit.otlp.decode import decode_traces
from otelkit.otlp.model import LogRecord, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.otlp.model import SpanKind

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_HOUR = 3600.0
_TRACE_ID = re.compile("[0-9a-fA-F]{1,32}")

# Loki writes dots as underscores, which cannot be undone in general: these are the names that a reader of our own
# records looks for, and those of the resource, which are the same on every record.
RESTORED = {
    name.replace(".", "_"): name
    for name in (
        "container.id",
        "container.name",
        "deployment.environment.name",
        "exception.message",
        "exception.stacktrace",
        "exception.type",
        "host.arch",
        "host.id",
        "host.name",
        "host.type",
        "http.request.body.size",
        "http.request.method",
        "http.response.body.size",
        "http.response.status_code",
        "http.route",
        "k8s.cluster.name",
        "k8s.namespace.name",
        "os.type",
        "os.version",
        "process.command",
        "process.command_args",
        "process.executable.name",
        "process.executable.path",
        "process.owner",
        "process.pid",
        "process.runtime.description",
        "process.runtime.name",
        "process.runtime.version",
        "service.instance.id",
        "service.name",
        "service.namespace",
        "service.version",
        "telemetry.distro.name",
        "telemetry.distro.version",
        "telemetry.sdk.language",
        "telemetry.sdk.name",
        "telemetry.sdk.version",
        "url.path",
    )
}
_RESOURCE = ("container.", "deployment.", "host.", "k8s.", "os.", "process.", "service.", "telemetry.")


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """Metrics, by PromQL."""

    backend: Backend

    def query(self, promql: str) -> tuple[Sample, ...]:
        """Return the value of an instant vector, or of a scalar, now.

        Raises:
            QueryError: The expression is wrong, or is of another type; or Prometheus gave no answer.
        """
        return self.backend.ask("/api/v1/query", {"query": promql}, _samples)

    def range(self, promql: str, window: Window | None = None, step: float = 15.0) -> tuple[Series, ...]:
        """Return the values of an instant vector, or of a scalar, over a window; None is the last hour.

        Args:
            promql: The expression.
            window: From when to when.
            step: Seconds between two values.

        Raises:
            QueryError: The expression is wrong, or is of another type; or Prometheus gave no answer.
        """
        return self.backend.ask("/api/v1/query_range", _range(promql, window, step), _series)

    def label_values(self, label: str, selector: str = "", window: Window | None = None) -> tuple[str, ...]:
        """Return the values that a label has in the series that the selector names, or in all; None is the last hour.

        Raises:
            QueryError: Label or selector is wrong, or Prometheus gave no answer.
        """
        window = window or Window.last(_HOUR)
        parameters = {"start": _seconds(window.start_ns), "end": _seconds(window.end_ns)}
        if selector:
            parameters["match[]"] = selector
        location = f"/api/v1/label/{quote(label, safe='')}/values"
        return self.backend.ask(location, parameters, lambda answer: tuple(map(str, answer["data"])))

    def exemplars(self, promql: str, window: Window | None = None) -> tuple[Exemplar, ...]:
        """Return the exemplars of all series that the expression names, oldest first; None is the last hour.

        Raises:
            QueryError: The expression is wrong, or Prometheus gave no answer.
        """
        window = window or Window.last(_HOUR)
        parameters = {"query": promql, "start": _seconds(window.start_ns), "end": _seconds(window.end_ns)}
        return self.backend.ask("/api/v1/query_exemplars", parameters, _exemplars)


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """Traces, by id and by TraceQL."""

    backend: Backend

    def trace(self, trace_id: str) -> Trace | None:
        """Return a trace, or None while nothing of it is stored.

        Raises:
            QueryError: Tempo gave no answer.
            ValueError: The id is not 1 to 32 hex digits.
        """
        if not _TRACE_ID.fullmatch(trace_id):
            raise ValueError(f"a trace id is 1 to 32 hex digits, not {trace_id!r}")
        trace_id = trace_id.lower().rjust(32, "0")
        trace = self.backend.ask(f"/api/v2/traces/{trace_id}", {}, lambda answer: _trace(trace_id, answer))
        return trace if trace.spans or trace.incomplete else None

    def search(self, traceql: str, window: Window | None = None, limit: int = 20) -> tuple[TraceSummary, ...]:
        """Return the traces with a span that the query matches, newest first; None is the last hour.

        Raises:
            QueryError: The query is wrong, or Tempo gave no answer.
        """
        window = window or Window.last(_HOUR)
        # Tempo takes whole seconds, the end being exclusive.
        start, end = str(window.start_ns // _SECOND), str(window.end_ns // _SECOND + 1)
        parameters = {"q": traceql, "start": start, "end": end, "limit": str(limit)}
        return self.backend.ask("/api/search", parameters, _summaries)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line as Loki has it.

    Args:
        labels: Of its stream, and its structured metadata.
        time_ns: Nanoseconds since the epoch.
        text: The line itself.
    """

    labels: Mapping[str, str]
    time_ns: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Loki:
    """Logs, by LogQL."""

    backend: Backend

    def query(self, logql: str, window: Window | None = None, limit: int = 1000) -> tuple[LogRecord, ...]:
        """Return the records that the query selects, oldest first, at most `limit`; None is the last hour.

        Attribute values are text, and names have underscores for dots, save for those that otelkit itself reads.

        Raises:
            QueryError: The query is wrong or is not for lines; or Loki gave no answer.
        """
        return tuple(_record(line) for line in self.lines(logql, window, limit))

    def lines(self, logql: str, window: Window | None = None, limit: int = 1000) -> tuple[Line, ...]:
        """Return the same as `query`, as Loki has it: labels under their own names, none of them interpreted.

        Raises:
            QueryError: The query is wrong or is not for lines; or Loki gave no answer.
        """
        window = window or Window.last(_HOUR)
        parameters = {
            "query": logql,
            "start": str(window.start_ns),
            "end": str(window.end_ns),
            "limit": str(limit),
            "direction": "forward",
        }
        return self.backend.ask("/loki/api/v1/query_range", parameters, _lines)

    def range(self, logql: str, window: Window | None = None, step: float = 15.0) -> tuple[Series, ...]:
        """Return what a query that counts lines or bytes says over a window; None is the last hour.

        Args:
            logql: The expression.
            window: From when to when.
            step: Seconds between two values.

        Raises:
            QueryError: The query is wrong or is not for numbers; or Loki gave no answer.
        """
        return self.backend.ask("/loki/api/v1/query_range", _range(logql, window, step), _series)


@dataclass(frozen=True, kw_only=True)
class Lgtm(Query):
    """The `Query` over a Prometheus, a Tempo and a Loki."""

    prometheus: Prometheus
    tempo: Tempo
    loki: Loki

    @classmethod
    def at(cls, *, prometheus: str, tempo: str, loki: str, timeout: float = 10.0) -> Lgtm:
        """Return the query over the stores at these base URLs; a user and password in one are sent, never shown.

        Raises:
            ValueError: One is not an http or https URL with a host.
        """
        return cls(
            prometheus=Prometheus(backend=Backend(name="Prometheus", url=prometheus, timeout=timeout)),
            tempo=Tempo(backend=Backend(name="Tempo", url=tempo, timeout=timeout)),
            loki=Loki(backend=Backend(name="Loki", url=loki, timeout=timeout)),
        )

    def trace(self, trace_id: str) -> Trace | None:
        """See `Query.trace`."""
        return self.tempo.trace(trace_id)

    def traces(
        self, *, service: str = "", kind: SpanKind | None = None, window: Window | None = None, limit: int = 20
    ) -> tuple[TraceSummary, ...]:
        """See `Query.traces`."""
        wanted = [f"resource.service.name={_quoted(service)}"] if service else []
        wanted += [f"kind={kind.lower()}"] if kind else []
        # Of more traces than `limit` Tempo returns whichever it comes upon first, unless it is told.
        return self.tempo.search(f"{{{' && '.join(wanted)}}} with (most_recent=true)", window, limit)

    def logs(
        self, *, trace_id: str = "", service: str = "", window: Window | None = None, limit: int = 1000
    ) -> tuple[LogRecord, ...]:
        """See `Query.logs`."""
        # Loki wants one matcher that cannot match an empty value.
        stream = f"{{service_name={_quoted(service)}}}" if service else '{service_name=~".+"}'
        of_trace = f" | trace_id={_quoted(trace_id)}" if trace_id else ""
        return self.loki.query(stream + of_trace, window, limit)

    def samples(self, metric: str, labels: Mapping[str, str] | None = None) -> tuple[Sample, ...]:
        """See `Query.samples`."""
        return self.prometheus.query(_selector(metric, labels))

    def exemplars(
        self, metric: str, labels: Mapping[str, str] | None = None, *, window: Window | None = None
    ) -> tuple[Exemplar, ...]:
        """See `Query.exemplars`."""
        return self.prometheus.exemplars(_selector(metric, labels), window)


def _quoted(text: str) -> str:
    """Return a string literal of PromQL, LogQL and TraceQL, all of which read Go's escapes."""
    return json.dumps(text, ensure_ascii=False)


def _selector(metric: str, labels: Mapping[str, str] | None) -> str:
    matchers = (f"{name}={_quoted(value)}" for name, value in (labels or {}).items())
    return f"{metric}{{{','.join(matchers)}}}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // _SECOND}.{nanoseconds % _SECOND:09d}"


def _range(expression: str, window: Window | None, step: float) -> dict[str, str]:
    window = window or Window.last(_HOUR)
    start, end = _seconds(window.start_ns), _seconds(window.end_ns)
    return {"query": expression, "start": start, "end": end, "step": f"{step:g}"}


def _series(answer: Any) -> tuple[Series, ...]:
    data = answer["data"]
    if data["resultType"] != "matrix":
        raise ValueError(f"numbers over time were expected, not {data['resultType']}")
    return tuple(
        Series(
            labels=row["metric"],
            points=tuple((round(float(time) * _SECOND), float(value)) for time, value in row.get("values", ())),
        )
        for row in data["result"]
    )


def _samples(answer: Any) -> tuple[Sample, ...]:
    data = answer["data"]
    match data["resultType"]:
        case "vector":
            rows = [(row["metric"], row["value"]) for row in data["result"]]
        case "scalar":
            rows = [({}, data["result"])]
        case other:
            raise ValueError(f"a vector or a scalar was expected, not a {other}")
    return tuple(
        Sample(labels=labels, value=float(value), time_ns=round(float(time) * _SECOND))
        for labels, (time, value) in rows
    )


def _exemplars(answer: Any) -> tuple[Exemplar, ...]:
    found = [_exemplar(series["seriesLabels"], each) for series in answer["data"] for each in series["exemplars"]]
    return tuple(sorted(found, key=lambda exemplar: exemplar.time_ns))


def _exemplar(series: Mapping[str, str], exemplar: Mapping[str, Any]) -> Exemplar:
    labels = dict(exemplar["labels"])
    return Exemplar(
        series=series,
        value=float(exemplar["value"]),
        time_ns=round(float(exemplar["timestamp"]) * _SECOND),
        # Tempo leaves leading zeros out in the exemplars that it makes.
        trace_id=_padded(labels.pop("trace_id", ""), 32),
        span_id=_padded(labels.pop("span_id", ""), 16),
        labels=labels,
    )


def _padded(hexadecimal: str, digits: int) -> str:
    return hexadecimal.zfill(digits) if hexadecimal else ""


def _trace(trace_id: str, answer: Any) -> Trace:
    trace = answer["trace"]
    for span in _raw_spans(trace):
        _ids_to_hex(span)
        for link in span.get("links", ()):
            _ids_to_hex(link)
    spans = sorted(decode_traces(json.dumps(trace).encode(), json=True), key=lambda span: span.start_ns)
    partial = answer.get("message", "partial") if answer.get("status") == "PARTIAL" else ""
    return Trace(trace_id=trace_id, spans=tuple(spans), incomplete=partial)


def _raw_spans(trace: Any) -> Iterator[dict[str, Any]]:
    for resource in trace.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def _ids_to_hex(item: dict[str, Any]) -> None:
    """Spell ids as OTLP/JSON does; Tempo writes them as proto3's JSON mapping does, in base64."""
    for name in ("traceId", "spanId", "parentSpanId"):
        if name in item:
            item[name] = base64.b64decode(item[name]).hex()


def _summaries(answer: Any) -> tuple[TraceSummary, ...]:
    found = [
        TraceSummary(
            trace_id=hit["traceID"].rjust(32, "0"),
            root_service=hit.get("rootServiceName", ""),
            root_name=hit.get("rootTraceName", ""),
            start_ns=int(hit["startTimeUnixNano"]),
            duration_ns=int(hit.get("durationMs", 0)) * _MILLISECOND,
        )
        for hit in answer["traces"]
    ]
    return tuple(sorted(found, key=lambda hit: hit.start_ns, reverse=True))


def _lines(answer: Any) -> tuple[Line, ...]:
    data = answer["data"]
    if data["resultType"] != "streams":
        raise ValueError(f"lines were expected, not a {data['resultType']}")
    found = [
        Line(labels=stream["stream"], time_ns=int(time), text=text)
        for stream in data["result"]
        for time, text, *_ in stream["values"]
    ]
    return tuple(sorted(found, key=lambda line: line.time_ns))


def _record(line: Line) -> LogRecord:
    fields = {RESTORED.get(name, name): value for name, value in line.labels.items()}
    fields.pop("detected_level", None)  # Loki's guess; the record says its severity itself
    resource = {name: fields.pop(name) for name in tuple(fields) if _of_resource(name)}
    return LogRecord(
        body=line.text,
        time_ns=line.time_ns,
        observed_ns=int(fields.pop("observed_timestamp", 0)),
        severity_number=int(fields.pop("severity_number", 0)),
        severity_text=fields.pop("severity_text", ""),
        trace_id=fields.pop("trace_id", ""),
        span_id=fields.pop("span_id", ""),
        flags=int(fields.pop("flags", 0)),
        scope=Scope(name=fields.pop("scope_name", ""), version=fields.pop("scope_version", "")),
        resource=resource,
        attributes=fields,
    )


def _of_resource(name: str) -> bool:
    return name.startswith(_RESOURCE)
