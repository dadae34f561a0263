"""Strangers at real servers: what they can cost, what they can hide, and what an operator can do about it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.otlp.model import LogRecord, Span
    from support.processes import Answer

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
WITHIN = 30.0
MOST = 1024  # bytes of telemetry that one header may cause

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
FORCED = "otelkit.sampling.forced"

UVICORN = ("uvicorn", "{app}", "--port", "{port}", "--http", "httptools")
EXPLICIT, LAUNCHER = UVICORN, ("opentelemetry-instrument", *UVICORN)
MODES = {"configure": (EXPLICIT, "explicit_untrusted:app"), "launcher": (LAUNCHER, "untrusted:app")}
GRPC = pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="grpcio is not installed")


@dataclass
class Service:
    """A running service, and what it exported."""

    process: Process
    receiver: Receiver
    port: int

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Make a request."""
        return http_get(f"http://{HOST}:{self.port}{path}", headers=headers, timeout=WITHIN)

    def server_spans(self, path: str) -> list[Span]:
        """Return the server spans of a path."""
        spans = [span for span in self.receiver.spans() if span.kind == "SERVER"]
        return [span for span in spans if span.attributes.get("url.path") == path]

    def flush(self) -> None:
        """Have everything sent that was emitted before."""
        assert self.get("/flush").status == 200

    def finish(self) -> None:
        """Stop it, which sends what is left: the last word about every series."""
        self.process.stop()

    def counted(self) -> dict[tuple[Any, Any], int]:
        """Return how many requests the metric has, by route and status."""
        return {
            (point.attributes.get("http.route"), point.attributes["http.response.status_code"]): point.count or 0
            for point in self.receiver.points()
            if point.metric == "http.server.request.duration"
        }

    def records(self, body: str) -> list[LogRecord]:
        """Return the records with a body."""
        return [record for record in self.receiver.logs() if record.body == body]


@contextlib.contextmanager
def serving(
    folder: Path, mode: tuple[tuple[str, ...], str], *, protocol: str = "http/protobuf", **variables: str
) -> Iterator[Service]:
    """Run the service; it sends when it is told to."""
    (program, *arguments), app = mode
    port = free_port()
    with Receiver(grpc_port=0 if protocol == "grpc" else None, keep_raw=True) as receiver:
        environment = {
            "OTEL_SERVICE_NAME": "untrusted",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint if protocol == "grpc" else receiver.http_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "900000",
            "OTEL_BLRP_SCHEDULE_DELAY": "900000",
            "OTEL_METRIC_EXPORT_INTERVAL": "900000",
            "PYTHONPATH": str(APPS),
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
            **variables,
        }
        command = [str(BIN / program), *(part.format(app=app, port=port) for part in arguments)]
        with Process(command, folder=folder, env=environment) as process:
            process.wait_http(f"http://{HOST}:{port}/ok/ready", within=60)
            yield Service(process, receiver, port)


HEADERS = {
    "user-agent": "secret" * 10_000,
    "host": "secret" * 10_000,
    "x-request-id": "secret" * 10_000,
    "x-request-id that is kept": "s" * 128,
    "x-forwarded-for": "secret" * 10_000,
    "forwarded": "for=" + "secret" * 10_000,
    "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01-" + "secret" * 10_000,
    "tracestate": ",".join(f"secret{number}={'v' * 240}" for number in range(32)),
    "tracestate that is none": "secret" * 10_000,
    "baggage of 60 kB": "tenant=" + "secret" * 10_000,
    "baggage of 180 members": ",".join(f"secret{number}={'x' * 290}" for number in range(180)),
    "baggage of 8000 members": ",".join(f"s{number}=1" for number in range(7000)),
    "baggage that is none": "secret," * 1000 + "tenant",
    "baggage": "tenant=" + "secret" * 1000,
    "referer": "http://secret/" + "secret" * 10_000,
    "cookie": "a=" + "secret" * 10_000,
    "accept": "secret/" + "secret" * 10_000,
    "accept-language": "secret" * 10_000,
    "accept-encoding": "secret" * 10_000,
    "authorization": "Bearer " + "secret" * 10_000,
    "x-anything": "secret" * 10_000,
}


def cost(service: Service, headers: dict[str, str]) -> int:
    """Return the bytes of traces and logs that a request leads to, when everything is sent after it."""
    service.flush()
    service.receiver.clear()
    assert service.get("/ok/measured", headers).status == 200
    service.flush()
    assert service.server_spans("/ok/measured")
    return sum(len(request.body) for request in service.receiver.raw() if "metrics" not in request.path.lower())


def series(service: Service) -> set[str]:
    """Return what series are told by, those of otelkit's own account of itself left out."""
    points = [point for point in service.receiver.points() if point.scope.name != "otelkit"]
    return {f"{point.metric} {sorted(point.attributes.items())}" for point in points}


@pytest.mark.parametrize(
    ("mode", "protocol"),
    [
        (MODES["configure"], "http/protobuf"),
        pytest.param(MODES["launcher"], "grpc", marks=GRPC),
        ((EXPLICIT, "explicit_untrusted:ours"), "http/protobuf"),
        ((EXPLICIT, "explicit_untrusted:contrib"), "http/protobuf"),
    ],
    ids=["native", "launcher", "ours", "contrib"],
)
def test_no_header_causes_more_than_a_kilobyte(mode: Any, protocol: str, tmp_path: Path) -> None:
    with serving(tmp_path, mode, protocol=protocol) as service:
        plain = [cost(service, {}) for _ in range(4)][-1]
        caused = {name: cost(service, {name.partition(" ")[0]: value}) - plain for name, value in HEADERS.items()}
        wait_until(lambda: series(service), within=WITHIN, what="metrics")
        before = series(service)
        service.finish()
        new = series(service) - before
        printed = service.process.stdout + service.process.stderr
    assert {name: size for name, size in caused.items() if size > MOST} == {}
    # Cumulative metrics are sent again and again, whoever calls: of them only what was not there before counts.
    assert sum(map(len, new)) <= MOST
    assert "secretsecretsecret" not in service.process.stderr
    assert printed.count("from a caller") == 1


def test_no_path_or_query_is_told_beyond_what_a_person_reads(tmp_path: Path) -> None:
    with serving(tmp_path, MODES["configure"]) as service:
        service.get("/ok/" + "p" * 20_000 + "?" + "q=1&" * 5000)
        service.flush()
        (span,) = [span for span in service.receiver.spans() if "/ok/pp" in span.attributes.get("url.path", "")]
    assert len(span.attributes["url.path"]) < 2100
    assert len(span.attributes["url.query"]) < 2100
    assert span.name == "GET /ok/{name}"


@pytest.mark.parametrize("mode", MODES)
def test_a_failing_request_is_told_although_its_caller_said_no(mode: str, tmp_path: Path) -> None:
    with serving(tmp_path, MODES[mode]) as service:
        assert service.get("/broken/one", UNSAMPLED | {"tracestate": "ot=th:8,vendor=1"}).status == 500
        assert service.get("/unavailable", UNSAMPLED).status == 503
        assert service.get("/ok/two", UNSAMPLED).status == 200
        onward = json.loads(service.get("/forward", UNSAMPLED | {"tracestate": "vendor=1"}).body)["onward"]
        service.finish()
        (broken,), (unavailable,) = service.server_spans("/broken/one"), service.server_spans("/unavailable")
        spans = service.receiver.spans()
        told = service.records("failing one") + service.records("answered two")
        counted = service.counted()
        exemplars = {
            exemplar.trace_id
            for point in service.receiver.points()
            for exemplar in point.exemplars
            if point.metric.startswith("http.server.")
        }
    for span in (broken, unavailable):
        assert (span.trace_id, span.parent_span_id, span.status) == (TRACE_ID, SPAN_ID, "ERROR")
        assert span.attributes[FORCED] is True
    assert broken.trace_state == "vendor=1"
    assert {span.span_id for span in spans if span.trace_id == TRACE_ID} == {broken.span_id, unavailable.span_id}
    assert [record.trace_id for record in told] == [TRACE_ID, TRACE_ID]
    assert all(record.span_id for record in told)
    assert counted["/broken/{name}", 500] == counted["/unavailable", 503] == 1
    assert counted["/ok/{name}", 200] == 2  # and the one that waited for the service
    assert TRACE_ID not in exemplars
    assert onward["traceparent"].startswith(f"00-{TRACE_ID}-")
    assert onward["traceparent"].endswith("-00")
    assert onward["tracestate"] == "vendor=1"


@pytest.mark.parametrize("mode", MODES)
def test_traces_begin_at_a_public_endpoint(mode: str, tmp_path: Path) -> None:
    sent = SAMPLED | {"baggage": "tenant=acme", "tracestate": "vendor=1"}
    variables = {"OTELKIT_HTTP_PUBLIC_ENDPOINT": "true", "OTELKIT_BAGGAGE_KEYS": "tenant"}
    with serving(tmp_path, MODES[mode], **variables) as service:
        found = json.loads(service.get("/forward", sent).body)
        service.get("/ok/alone")
        service.flush()
        (span,), (alone,) = service.server_spans("/forward"), service.server_spans("/ok/alone")
    assert (span.parent_span_id, span.trace_id == TRACE_ID, span.trace_state) == ("", False, "")
    assert [(link.trace_id, link.span_id) for link in span.links] == [(TRACE_ID, SPAN_ID)]
    assert alone.links == ()
    assert "tenant" not in span.attributes
    assert found["baggage"] == {}
    assert {name: found["came"][name] for name in sent} == sent
    assert found["onward"].keys() == {"traceparent"}
    assert found["onward"]["traceparent"].startswith(f"00-{span.trace_id}-{span.span_id}-")


def test_contrib_s_server_spans_begin_at_a_public_endpoint_too(tmp_path: Path) -> None:
    mode = (EXPLICIT, "explicit_untrusted:contrib")
    with serving(tmp_path, mode, OTELKIT_HTTP_PUBLIC_ENDPOINT="true", OTELKIT_BAGGAGE_KEYS="tenant") as service:
        service.get("/ok/it", SAMPLED | {"baggage": "tenant=acme"})
        service.flush()
        (span,) = service.server_spans("/ok/it")
    assert (span.parent_span_id, span.trace_id == TRACE_ID) == ("", False)
    assert [(link.trace_id, link.span_id) for link in span.links] == [(TRACE_ID, SPAN_ID)]
    assert "tenant" not in span.attributes


@pytest.mark.parametrize("mode", MODES)
def test_a_foreign_tracestate_is_passed_on_in_full_and_listed_baggage_is_copied(mode: str, tmp_path: Path) -> None:
    state = ",".join(f"vendor{number}={'v' * 100}" for number in range(32))
    sent = SAMPLED | {"tracestate": state, "baggage": "tenant=acme,other=secret"}
    with serving(tmp_path, MODES[mode], OTELKIT_BAGGAGE_KEYS="tenant") as service:
        onward = json.loads(service.get("/forward", sent).body)["onward"]
        service.get("/ok/one", sent)
        service.flush()
        spans = [span for span in service.receiver.spans() if span.trace_id == TRACE_ID]
        (record,) = service.records("answered one")
        raw = b"".join(request.body for request in service.receiver.raw())
    assert onward["tracestate"] == state
    assert onward["baggage"] == "tenant=acme,other=secret"
    assert {span.name for span in spans} == {"GET /forward", "GET /ok/{name}", "inside"}
    assert {span.attributes["tenant"] for span in spans} == {record.attributes["tenant"]} == {"acme"}
    assert b"other" not in raw
    assert {span.name for span in spans if span.trace_state} == {"GET /forward", "GET /ok/{name}"}


@pytest.mark.parametrize("mode", MODES)
def test_ratio_and_rules_decide_what_begins_here(mode: str, tmp_path: Path) -> None:
    variables = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "OTELKIT_TRACES_SAMPLER_RULES": "drop server /health*; 0.5 server /ok/half*; always server /forward; sometimes",
    }
    with serving(tmp_path, MODES[mode], **variables) as service:
        for path in ("/health", "/ok/none", "/broken/it", "/forward"):
            service.get(path)
        service.get("/ok/joined", SAMPLED)
        for _ in range(60):
            service.get("/ok/half")
        service.finish()
        spans, counted = service.receiver.spans(), sum(service.counted().values())
        assert "OTELKIT_TRACES_SAMPLER_RULES: rule 4: " in service.process.stderr
    kept = [span for span in spans if span.attributes.get("url.path") == "/ok/half"]
    others = {span.attributes["url.path"]: span for span in spans if span.kind == "SERVER" and span not in kept}
    assert others.keys() == {"/broken/it", "/forward", "/ok/joined"}
    assert (others["/broken/it"].attributes[FORCED], others["/broken/it"].trace_state) == (True, "")
    assert (others["/forward"].trace_state, others["/ok/joined"].trace_state) == ("ot=th:0", "")
    assert FORCED not in others["/ok/joined"].attributes
    # 60 coins: fewer than 8 or more than 52 heads come up once in a thousand million runs.
    assert 8 <= len(kept) <= 52
    assert {span.trace_state for span in kept} == {"ot=th:8"}
    assert len([span for span in spans if span.name == "inside"]) == len(kept) + 1
    assert counted == 1 + 4 + 1 + 60  # every request, with the one that waited for the service


def test_the_sampler_of_a_user_decides_all(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import otelkit\n"
        "from opentelemetry.sdk.trace.sampling import ALWAYS_OFF\n"
        "otelkit.configure(sampler=ALWAYS_OFF)\n"
        "from untrusted import app\n"
    )
    with serving(tmp_path, (EXPLICIT, "own:app"), OTELKIT_TRACES_SAMPLER_RULES="always") as service:
        service.get("/broken/it")
        service.get("/ok/joined", SAMPLED)
        service.flush()
        wait_until(lambda: service.records("answered joined"), within=WITHIN, what="the records")
        assert service.receiver.spans() == []
