"""Real programs emit what the reference says, and nothing else: spans, metrics, log events and attributes, both ways.

One run of a FastAPI service under uvicorn, a Celery worker and beat, all started by the launcher, is compared with
`otelkit._catalog` and `otelkit.ops._emitted`. A name that is renamed, added or dropped in the code alone fails here.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from otelkit import _catalog
from otelkit.integrations.fastapi import NATIVE
from otelkit.ops import _emitted
from otelkit.otlp.receiver import Receiver
from support import lanes
from support.processes import HOST, PYTHON, Process, free_port
from support.redis_server import missing, server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelkit.ops._emitted import Event, Span
    from otelkit.otlp import model
    from support.redis_server import RedisServer

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
LAUNCHER = str(BIN / "opentelemetry-instrument")
LANE = "telemetry-redis"
STARTS = 60.0  # seconds that a program may take to start, and to end, on a loaded machine
OWN_KEY = re.compile(r"number(_\d+)?")
"""Fields that the applications of this test log themselves."""
STOCK = {stock.metric.name: stock.metric for stock in _catalog.STOCK}
IS_NATIVE = tuple(map(int, version("fastapi").split(".")[:2])) >= NATIVE
NATIVE_ONLY = frozenset() if IS_NATIVE else frozenset({"fastapi", "fastapi.validation"})
"""Scopes of FastAPI's own telemetry, where it has none: the names are the same, made by otelkit."""
SPANS = [span for subject in _emitted.SUBJECTS for span in subject.spans]
EVENTS = {
    event.name: event for subject in _emitted.SUBJECTS for event in subject.events if event.logger not in NATIVE_ONLY
}
ELSEWHERE = {
    "otel.sdk.exporter.operation.duration error.type": "no export fails here: tests/unit/test_pipeline.py",
    "{db.operation.name} {db.collection.name}: server.address": "a file is no server: test_sqlalchemy_postgres.py",
    "{db.operation.name} {db.collection.name}: server.port": "the same",
    "resource container.id": "no container: tests/unit/test_providers.py",
    "resource k8s.namespace.name": "no pod: the same",
    "resource k8s.pod.name": "the same",
}
"""What is emitted under circumstances that these programs do not make."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """All that arrived of one run."""

    spans: list[model.Span]
    points: list[model.Point]
    logs: list[model.LogRecord]


def environment(redis: RedisServer, receiver: Receiver, service: str) -> dict[str, str]:
    return {
        "BROKER": redis.url(0),
        "BACKEND": redis.url(1),
        "BEAT": "0.5",
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
    }


def call(port: int) -> None:
    """Ask the service for everything."""
    limits = httpx.Limits(max_keepalive_connections=0)  # after a failure uvicorn closes the connection
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=STARTS, limits=limits) as client:
        client.post("/orders/1?token=x", content=b"x" * 10)
        client.post("/orders/x")
        client.request("PROPFIND", "/orders/1")
        client.request("PROPFIND", "/nowhere")
        client.get("/nowhere")
        client.get("/fail", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})  # its caller did not sample it
        for path in ("/fail", "/caught", "/database", "/redis", "/tasks", "/plain"):
            client.get(path)
    for word in ("well", "fail"):
        with connect(f"ws://{HOST}:{port}/ws") as socket:
            socket.send(word)
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=STARTS)


def is_complete(receiver: Receiver) -> bool:
    """Tell whether tasks of every sort ran, and each metric was exported."""
    runs = [span for span in receiver.spans() if span.name.startswith("run/") and span.kind == "CONSUMER"]
    states = {(span.name, span.attributes["celery.task.state"]) for span in runs}
    wanted = {("run/flaky", "retry"), ("run/flaky", "success"), ("run/broken", "failure"), ("run/double", "success")}
    keys = {key for span in runs for key in span.attributes}
    return (
        wanted <= states
        and {"celery.task.eta", "celery.group.id"} <= keys
        and STOCK.keys() <= {point.metric for point in receiver.points()}
    )


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Received]:
    if (why := missing()) is not None:
        lanes.skipped(LANE, why)
        pytest.skip(why)
    lanes.ran(LANE)
    folder, port = tmp_path_factory.mktemp("everything"), free_port()
    celery = [LAUNCHER, str(BIN / "celery"), "-A", "tasks"]
    programs = {
        "worker": [*celery, "worker", "-c", "2", "-l", "INFO"],
        "beat": [*celery, "beat", "-l", "INFO"],
        "web": [LAUNCHER, PYTHON, "-m", "uvicorn", "everything:app", "--port", str(port)],
    }
    with server() as redis, Receiver() as receiver:
        worker, beat, web = (
            Process(command, folder=folder, env=environment(redis, receiver, name), name=name, stop_within=STARTS)
            for name, command in programs.items()
        )
        with worker, beat, web:
            worker.wait_output(" ready.", within=STARTS)
            web.wait_http(f"http://{HOST}:{port}/health", within=STARTS)
            call(port)
            receiver.wait_for(lambda: is_complete(receiver), timeout=STARTS)  # what is missing, the tests name
        yield Received(spans=receiver.spans(), points=receiver.points(), logs=receiver.logs())


# -- metrics -----------------------------------------------------------------------------------------------------------


def own_points(received: Received) -> list[model.Point]:
    return [point for point in received.points if point.scope.name != "shop"]


def shape(point: model.Point) -> str:
    """Name a point's kind as the catalogue does."""
    return point.kind if point.kind != "sum" else "counter" if point.monotonic else "up_down_counter"


def test_each_metric_is_in_the_catalogue_as_it_is(received: Received) -> None:
    found = {(point.metric, shape(point), point.unit, point.bounds) for point in own_points(received)}
    said = {(name, metric.kind, metric.unit, metric.buckets) for name, metric in STOCK.items()}
    assert found == said


def test_each_library_makes_all_metrics_of_its_subject(received: Received) -> None:
    found = {(point.scope.name, point.metric) for point in received.points}
    said = {(scope, name) for subject in _emitted.SUBJECTS for scope in subject.scopes for name in subject.metrics}
    assert sorted(said - found) == []
    assert {scope for scope, _ in found - said} <= {"fastapi", "shop"}


def test_otelkits_own_metrics_are_described_as_in_the_catalogue(received: Received) -> None:
    ours = [point for point in own_points(received) if point.scope.name.startswith("otelkit")]
    assert {(p.metric, p.description) for p in ours if p.description != STOCK[p.metric].description} == set()


def test_each_metric_has_the_attributes_that_the_catalogue_tells(received: Received) -> None:
    found = {f"{point.metric} {key}" for point in own_points(received) for key in point.attributes}
    said = {f"{name} {key}" for name, metric in STOCK.items() for key in metric.attributes}
    assert (sorted(found - said), sorted(said - found - ELSEWHERE.keys())) == ([], [])


def test_no_value_is_outside_of_a_closed_set(received: Received) -> None:
    outside = {
        (point.metric, key, value)
        for point in own_points(received)
        for key, value in point.attributes.items()
        if isinstance(values := STOCK[point.metric].attributes[key], tuple)
        if value not in values or type(value) is not type(values[0])
    }
    assert outside == set()


# -- spans -------------------------------------------------------------------------------------------------------------


def own_spans(received: Received) -> list[model.Span]:
    scopes = {scope for span in SPANS for scope in span.scopes}
    return [span for span in received.spans if span.scope.name in scopes]


def filled(pattern: str, attributes: dict[str, Any]) -> str | None:
    """Return the name that a pattern makes of attributes; None where it needs others."""
    keys = re.findall(r"{([^}]+)}", pattern)
    if not attributes.keys() >= {*keys}:
        return None
    return re.sub(r"{([^}]+)}", lambda found: str(attributes[found[1]]), pattern)


def patterns(kind: Span, span: model.Span) -> list[str]:
    """Return the patterns that make a span's name; none where it is not of this kind."""
    if span.scope.name not in kind.scopes or span.kind not in kind.kinds:
        return []
    return [name for name in kind.names if filled(name, span.attributes) == span.name]


def kinds_of(span: model.Span) -> list[Span]:
    return [kind for kind in SPANS if patterns(kind, span)]


def test_each_span_is_of_one_kind_and_each_kind_and_name_is_made(received: Received) -> None:
    unknown = {(s.scope.name, s.kind, s.name, *s.attributes) for s in own_spans(received) if len(kinds_of(s)) != 1}
    assert unknown == set()
    said = {
        (kind.about, *way)
        for kind in SPANS
        for way in (
            *((n,) for n in kind.names),
            *((s,) for s in kind.scopes if s not in NATIVE_ONLY),
            *((k,) for k in kind.kinds),
        )
    }
    found = {
        (kind.about, *way)
        for span in own_spans(received)
        for kind in kinds_of(span)
        for way in ((patterns(kind, span)[0],), (span.scope.name,), (span.kind,))
    }
    assert sorted(said - found) == []


def test_each_span_has_the_attributes_that_its_kind_tells(received: Received) -> None:
    found = {f"{kinds_of(span)[0].names[0]}: {key}" for span in own_spans(received) for key in span.attributes}
    said = {f"{kind.names[0]}: {key}" for kind in SPANS for key in (*kind.always, *kind.sometimes)}
    added = {f"{kind.names[0]}: {key}" for kind in SPANS for key in _emitted.ON_ANY_SPAN}
    assert (sorted(found - said - added), sorted(said - found - ELSEWHERE.keys())) == ([], [])


def test_what_a_span_always_has_it_always_has(received: Received) -> None:
    without = {
        (span.name, key)
        for span in own_spans(received)
        for key in kinds_of(span)[0].always
        if key not in span.attributes
    }
    assert without == set()


def test_links_have_the_attributes_that_are_told(received: Received) -> None:
    found = {(kinds_of(s)[0].about, key) for s in own_spans(received) for link in s.links for key in link.attributes}
    assert found == {(kind.about, key) for kind in SPANS for key in kind.link_keys}


def test_what_is_added_to_spans_of_anybody_and_their_events_is_told(received: Received) -> None:
    others = [span for span in received.spans if span.scope.name == "shop"]
    assert {key for span in others for key in span.attributes} == _emitted.ON_ANY_SPAN.keys()
    events: dict[str, set[str]] = {}
    for span in received.spans:
        for event in span.events:
            events.setdefault(event.name, set()).update(event.attributes)
    assert events == {name: {*keys} for name, keys in _emitted.SPAN_EVENTS.items()}


# -- log records -------------------------------------------------------------------------------------------------------


def is_own(record: model.LogRecord) -> bool:
    return record.scope.name.partition(".")[0] == "otelkit" or record.scope.name == "fastapi.validation"


def said_by(event: Event, added: Iterable[str] = ()) -> set[str]:
    return {*event.always, *event.sometimes, *added}


def test_each_event_is_told_with_its_logger_and_levels(received: Received) -> None:
    found = {(r.event_name, r.body, r.scope.name, r.severity_text) for r in received.logs if is_own(r)}
    said = {(e.name, e.name, e.logger, level) for e in EVENTS.values() for level in e.levels}
    assert (sorted(found - said), sorted(said - found)) == ([], [])


def test_each_event_has_the_fields_that_are_told(received: Received) -> None:
    own = [record for record in received.logs if is_own(record)]
    found = {(record.event_name, key) for record in own for key in record.attributes}
    said = {(event.name, key) for event in EVENTS.values() for key in said_by(event)}
    added = {(name, key) for name, key in found if key in _emitted.ON_ANY_RECORD}
    assert (sorted(found - said - added), sorted(said - found)) == ([], [])
    without = {(r.event_name, key) for r in own for key in EVENTS[r.event_name].always if key not in r.attributes}
    assert without == set()


def test_what_is_added_to_log_records_of_anybody_is_told(received: Received) -> None:
    others = [record for record in received.logs if not is_own(record)]
    found = {key for record in others for key in record.attributes if not OWN_KEY.fullmatch(key)}
    assert found == _emitted.ON_ANY_RECORD.keys()


# -- the resource ------------------------------------------------------------------------------------------------------


def test_the_resource_has_the_attributes_that_are_told(received: Received) -> None:
    items = [*received.spans, *received.points, *received.logs]
    found = {key for item in items for key in item.resource}
    assert found | {key for key in _emitted.RESOURCE if f"resource {key}" in ELSEWHERE} == _emitted.RESOURCE.keys()
    always = [key for key, where in _emitted.RESOURCE.items() if not where]
    assert {key for item in items for key in always if key not in item.resource} == set()


def test_what_these_programs_cannot_show_is_still_told() -> None:
    told = {f"{name} {key}" for name, metric in STOCK.items() for key in metric.attributes}
    told |= {f"{kind.names[0]}: {key}" for kind in SPANS for key in (*kind.always, *kind.sometimes)}
    assert ELSEWHERE.keys() <= told | {f"resource {key}" for key in _emitted.RESOURCE}
