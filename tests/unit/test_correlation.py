"""The only place that tests how a link's template is filled, as Grafana fills it, and which edges a trace makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otelkit.ops import correlation
from otelkit.ops.correlation import Edge
from otelkit.ops.query import Trace
from otelkit.otlp.model import Span

if TYPE_CHECKING:
    from pathlib import Path

    from otelkit.otlp.model import SpanKind

SPAN = Span(
    trace_id="ab" * 16,
    span_id="cd" * 8,
    name="GET /x",
    start_ns=1_000_000_999_999,
    end_ns=1_002_000_000_000,
    resource={"service.name": "api"},
    attributes={"http.route": "/x"},
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("$STACK_URL", "http://tempo"),
        ("${STACK_URL}/x", "http://tempo/x"),
        ("$__env{STACK_URL}", "http://tempo"),
        ("$UNSET.", "."),
        ("$${__tags}", "${__tags}"),
        ("${__tags}", ""),
        ("{$$__tags}[$$__rate_interval]", "{$__tags}[$__rate_interval]"),
        ("^trace_id$$", "^trace_id$"),
        (7, 7),
    ],
)
def test_dollars_of_the_file_are_read_as_grafana_does(tmp_path: Path, written: object, read: object) -> None:
    file = tmp_path / "stack.yaml"
    value = f'"{written}"' if isinstance(written, str) else written
    file.write_text(f"datasources: [{{name: T, uid: t, type: tempo, jsonData: {{a: [{{b: {value}}}]}}}}]")
    assert correlation.load(file, {"STACK_URL": "http://tempo"})["t"].data == {"a": [{"b": read}]}


@pytest.mark.parametrize("text", ["", "- a", "datasources:", "datasources: [{name: T}]", "datasources: [", "a: {}"])
def test_a_file_without_data_sources_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "stack.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"stack.yaml is not a list of data sources"):
        correlation.load(file)


@pytest.mark.parametrize(
    ("template", "filled", "unknown"),
    [
        ("{${__tags}}", '{service_name="api"}', []),
        ("{$__tags}", '{service_name="api"}', []),
        ("${__trace.traceId}", "ab" * 16, []),
        ("${__span.spanId} ${__span.name}", "cd" * 8 + " GET /x", []),
        ('${__span.tags["http.route"]}', "/x", []),
        ("${__span.tags.http.route}", "${__span.tags.http.route}", ["${__span.tags.http.route}"]),
        ("${__trace.traceID}", "${__trace.traceID}", ["${__trace.traceID}"]),
        ("rate(x[$__range])", "rate(x[$__range])", ["$__range"]),
    ],
)
def test_a_template_is_filled_in_and_what_nobody_knows_stays(template: str, filled: str, unknown: list[str]) -> None:
    tags = correlation._tags(SPAN, [{"key": "service.name", "value": "service_name"}, {"key": "absent"}])
    assert correlation._filled(template, correlation._variables(SPAN, tags)) == (filled, unknown)


def test_tags_are_those_of_the_resource_then_of_the_span_then_what_grafana_adds() -> None:
    mapped = [{"key": "name", "value": "span_name"}, {"key": "http.route", "value": "route"}, {"key": "service.name"}]
    assert correlation._tags(SPAN, mapped) == 'service.name="api", route="/x", span_name="GET /x"'
    assert correlation._tags(SPAN, None) == 'service_name="api"', "what Grafana maps where nothing is mapped"


def test_the_time_of_a_link_is_the_spans_in_whole_milliseconds_and_shifted() -> None:
    window = correlation._shifted(SPAN, {"spanStartTimeShift": "-5m", "spanEndTimeShift": "1.5s"}, default_ms=0)
    assert (window.start_ns, window.end_ns) == (700_000_000_000, 1_003_500_000_000)
    narrow = correlation._shifted(SPAN, {"spanEndTimeShift": "-2s"}, default_ms=0)
    assert narrow.end_ns - narrow.start_ns == 1_000_000, "never empty"
    with pytest.raises(ValueError, match="'5 minutes' is no stretch of time"):
        correlation._shifted(SPAN, {"spanEndTimeShift": "5 minutes"}, default_ms=0)


def test_edges_are_calls_and_messages_between_services_and_to_databases() -> None:
    def span(name: str, service: str, kind: SpanKind, parent: str = "", **attributes: str) -> Span:
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        return Span(
            trace_id="1",
            span_id=name,
            name=name,
            kind=kind,
            parent_span_id=parent,
            resource={"service.name": service},
            attributes=named,
        )

    spans = (
        span("order", "api", "SERVER"),
        span("charge", "api", "CLIENT", "order"),
        span("charged", "payment", "SERVER", "charge"),
        span("elsewhere", "api", "CLIENT", "order", server__address="example.org"),
        span("insert", "api", "CLIENT", "order", db__system__name="sqlite", db__namespace="shop.db"),
        span("select", "payment", "CLIENT", "charged", db__system__name="postgresql", server__address="pg"),
        span(
            "get",
            "api",
            "CLIENT",
            "order",
            db__system__name="redis",
            network__peer__address="r",
            network__peer__port="6",
        ),
        span("publish", "api", "PRODUCER", "order"),
        span("run", "worker", "CONSUMER", "publish"),
    )
    assert {(edge.kind, str(edge)) for edge in correlation.edges(Trace(trace_id="1", spans=spans))} == {
        ("request", "api -> payment"),
        ("messaging", "api -> worker"),
        ("database", "api -> shop.db"),
        ("database", "payment -> pg"),
        ("cache", "api -> r:6"),
    }
    assert (
        correlation.edges(Trace(trace_id="1", spans=spans * 2)).count(
            Edge(kind="request", client="api", server="payment")
        )
        == 1
    )
