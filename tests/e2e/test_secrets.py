"""The only place that plants secrets in a service without otelkit, and looks for them in the real stores.

What the Collector makes of each text is compared with the SDK in `tests/integration/test_collector_redaction.py`; here
the stores are asked, and their answers searched.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode

from otelkit.ops.query import wait_for
from support.planted import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry import trace

    from otelkit.ops.query.lgtm import Lgtm
    from otelkit.otlp.model import Span
    from support.stack import Stack

DEADLINE = 60.0
NEVER = 3_600_000.0  # milliseconds: what is measured leaves on a flush only
NOTE = "note"
OF_THE_RESOURCE = "hunter2OfAResource"

SHOWN: dict[str, str] = {}
"""Secrets that the rules see in the SDK and not in the Collector, and why: a change of either is seen here."""

UNREACHED = {
    "attribute of a link": "the transformation language has no place for links",
    "attribute of a scope": "what a library is called comes from its code; the rules do not run there",
    "text in a list": "the language has no loop over the values of a list, unless its key names a secret",
}
"""Places of a span that no rule of the Collector reaches, and why."""


class Service(NamedTuple):
    """What the service without otelkit sent.

    Args:
        name: Its `service.name`.
        trace_id: The trace that all its spans are in.
    """

    name: str
    trace_id: str


def unreached(place: str) -> str:
    """Return the secret that is planted in a place that no rule reaches."""
    return f"hunter2{place.title().replace(' ', '')}"


@pytest.fixture(scope="module")
def service(running: Stack) -> Iterator[Service]:
    """Plant each secret in a span, in its name, status and event, in a record, its body, and in a label."""
    name = f"plain-{uuid.uuid4().hex[:8]}"
    about = Resource({"service.name": name, "service.instance.id": name, NOTE: f"password={OF_THE_RESOURCE}"})
    spans = TracerProvider(resource=about, shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{running.otlp_http}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{running.otlp_http}/v1/metrics"), NEVER)
    metrics = MeterProvider([reader], resource=about, shutdown_on_exit=False)
    logs = LoggerProvider(resource=about, shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{running.otlp_http}/v1/logs")))
    tracer, logger = spans.get_tracer("plain"), logs.get_logger("plain")
    counter = metrics.get_meter("plain").create_counter("planted")
    try:
        with tracer.start_as_current_span("root") as root:
            for row, planted in enumerate(SECRETS):
                there: dict[str, str | int] = {"row": row, planted.key or NOTE: planted.text}
                # Some texts are secrets under their key only.
                text = "item" if planted.key else planted.text
                with tracer.start_as_current_span(text, attributes=there) as span:
                    span.set_status(Status(StatusCode.ERROR, text))
                    span.add_event("event", {"message": text, **there})
                    counter.add(1, there)
                    logger.emit(record(text, there))
            elsewhere(spans, root)
        for provider in (spans, logs, metrics):
            assert provider.force_flush()
        yield Service(name, f"{root.get_span_context().trace_id:032x}")
    finally:
        for closing in (spans, logs, metrics):
            closing.shutdown()


def record(body: str, attributes: Mapping[str, Any]) -> LogRecord:
    """Make a log record."""
    now = time.time_ns()
    return LogRecord(
        timestamp=now, observed_timestamp=now, severity_number=SeverityNumber.INFO, body=body, attributes=attributes
    )


def elsewhere(spans: TracerProvider, root: trace.Span) -> None:
    """Plant secrets where no rule reaches."""
    link, scope, listed = (f"password={unreached(place)}" for place in UNREACHED)
    links = [Link(root.get_span_context(), {NOTE: link})]
    spans.get_tracer("scoped", attributes={NOTE: scope}).start_span(
        "elsewhere", links=links, attributes={NOTE: [listed]}
    ).end()


def exposed(told: Mapping[int, str]) -> set[str]:
    """Return the planted texts whose secret stands in what a store tells of their rows."""
    assert set(told) == set(range(len(SECRETS)))
    return {planted.text for row, planted in enumerate(SECRETS) if planted.secret in told[row]}


def under(values: Mapping[str, Any], row: int) -> str:
    """Return what stands under the key of a row; Loki and Prometheus write other characters as underscores."""
    key = SECRETS[row].key or NOTE
    return str({name: value for name, value in values.items() if name in (key, re.sub(r"\W", "_", key))}.values())


def spans_of(query: Lgtm, service: Service) -> tuple[Span, ...]:
    """Return all spans, once they are there."""
    wanted = len(SECRETS) + 2
    found = wait_for(lambda: query.trace(service.trace_id), lambda it: it and len(it.spans) == wanted, DEADLINE)
    assert found is not None
    return found.spans


def test_tempo_has_no_secret_but_the_named_ones(query: Lgtm, service: Service) -> None:
    spans = spans_of(query, service)
    told = {}
    for span in spans:
        if "row" in span.attributes:
            row = int(str(span.attributes["row"]))
            events = [under(event.attributes, row) + str(event.attributes["message"]) for event in span.events]
            told[row] = "\n".join([span.name, span.status_message, under(span.attributes, row), *events])
    assert exposed(told) == set(SHOWN)
    everything = str(spans)
    assert {place for place in UNREACHED if unreached(place) in everything} == set(UNREACHED)
    assert OF_THE_RESOURCE not in everything


def test_loki_has_no_secret_but_the_named_ones(query: Lgtm, service: Service) -> None:
    found = wait_for(lambda: query.logs(service=service.name), lambda records: len(records) == len(SECRETS), DEADLINE)
    by_row = {int(str(record.attributes["row"])): record for record in found}
    told = {row: f"{record.body}\n{under(record.attributes, row)}" for row, record in by_row.items()}
    assert exposed(told) == set(SHOWN)
    assert OF_THE_RESOURCE not in str(found)


def test_prometheus_has_no_secret_but_the_named_ones(query: Lgtm, service: Service) -> None:
    mine = {"service_name": service.name}
    found = wait_for(lambda: query.samples("planted_total", mine), lambda some: len(some) == len(SECRETS), DEADLINE)
    told = {int(sample.labels["row"]): under(sample.labels, int(sample.labels["row"])) for sample in found}
    assert exposed(told) == set(SHOWN)
    assert OF_THE_RESOURCE not in str(query.samples("target_info", mine))


def test_metrics_of_spans_have_no_other_names_than_the_spans(query: Lgtm, service: Service) -> None:
    names = {span.name for span in spans_of(query, service)}
    calls = wait_for(
        lambda: query.samples("traces_span_metrics_calls_total", {"service_name": service.name}),
        lambda found: {sample.labels["span_name"] for sample in found} == names,
        DEADLINE,
    )
    assert OF_THE_RESOURCE not in str(calls)


def test_the_named_ones_are_planted() -> None:
    assert set(SHOWN) <= {planted.text for planted in SECRETS}
