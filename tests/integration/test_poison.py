"""Hostile values in real processes: the application does not notice, and every innocent item arrives."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from otelkit.otlp.receiver import Receiver
from support import poison
from support.processes import HOST, PYTHON, Process, free_port, http_get, run

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
TESTS = Path(__file__).parents[1]
REQUESTS = 50
WITHIN = 30.0

GRPC = pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="grpcio is not installed")
PROTOCOLS = ["http/protobuf", pytest.param("grpc", marks=GRPC)]
SIGNALS = {
    "span": [place for place in poison.PLACES if place.startswith("span ")],
    "on span": [
        place
        for place in poison.PLACES
        if place.startswith(
            ("set_", "event", "link", "add_link", "update", "status", "record_", "exception", "current")
        )
    ],
    "metric": [
        place
        for place in poison.PLACES
        if place.startswith(("counter", "up-down", "histogram", "gauge", "instrument", "callbacks", "observation"))
    ],
    "log": [place for place in poison.PLACES if place.startswith("log ")],
}


def environment(receiver: Receiver, protocol: str = "http/protobuf") -> dict[str, str]:
    return {
        "OTEL_SERVICE_NAME": "poisoned",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint if protocol == "grpc" else receiver.http_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "PYTHONPATH": os.pathsep.join([str(APPS), str(TESTS)]),
    }


class TestTheApplication:
    """It answers as it would without telemetry."""

    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        with Receiver() as receiver:
            yield receiver

    @pytest.fixture
    def url(self, receiver: Receiver, tmp_path: Path) -> Iterator[str]:
        port = free_port()
        command = [PYTHON, "-m", "uvicorn", "poisoned:app", "--port", str(port)]
        with Process(command, folder=tmp_path, env=environment(receiver)) as process:
            process.wait_http(f"http://{HOST}:{port}/ready", within=60)
            yield f"http://{HOST}:{port}"

    def test_fifty_requests_with_malformed_log_calls_are_fifty_answers(self, url: str, receiver: Receiver) -> None:
        answers = [http_get(f"{url}/logs/{number}", timeout=WITHIN) for number in range(REQUESTS)]
        assert [answer.status for answer in answers] == [200] * REQUESTS
        assert [int(answer.body) for answer in answers] == list(range(REQUESTS))
        expected = {f"innocent {number}" for number in range(REQUESTS)}
        receiver.wait_for(lambda: expected <= {record.body for record in receiver.logs()}, timeout=WITHIN)
        assert expected <= {record.body for record in receiver.logs()}

    def test_a_malformed_log_call_arrives_and_says_what_it_is(self, url: str, receiver: Receiver) -> None:
        number = list(poison.LOG_CALLS).index("wrong type")
        http_get(f"{url}/logs/{number}", timeout=WITHIN)
        receiver.wait_for(lambda: any("user %d" in str(record.body) for record in receiver.logs()), timeout=WITHIN)
        assert any("user %d" in str(record.body) for record in receiver.logs())

    def test_each_hostile_value_at_each_call_is_answered(self, url: str) -> None:
        answers = [http_get(f"{url}/values/{number}", timeout=WITHIN) for number in range(REQUESTS)]
        assert [(answer.status, int(answer.body)) for answer in answers] == [(200, n) for n in range(REQUESTS)]

    def test_an_exception_comes_out_of_a_span_as_itself(self, url: str) -> None:
        found = {
            name: http_get(f"{url}/raises/{quote(name)}", timeout=WITHIN).body.decode() for name in poison.EXCEPTIONS
        }
        assert found == {name: f'"{type(make()).__name__}, the same: True"' for name, make in poison.EXCEPTIONS.items()}

    def test_an_unreadable_exception_reaches_its_handler(self, url: str) -> None:
        answer = http_get(f"{url}/unreadable", timeout=WITHIN)
        assert (answer.status, answer.body) == (418, b'{"raised":"UnreadableError"}')


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_innocent_item_arrives(signal: str, protocol: str, tmp_path: Path) -> None:
    places = SIGNALS[signal]
    with Receiver(grpc_port=0 if protocol == "grpc" else None) as receiver:
        done = run(
            [PYTHON, "poisoned_script.py", *places],
            folder=tmp_path,
            env=environment(receiver, protocol),
            cwd=APPS,
            within=120,
        )
        assert done.returncode == 0, done.stderr
        made = int(done.stdout.split()[-1])
        expected = {f"innocent {number}" for number in range(made)}
        assert {span.name for span in receiver.spans() if span.scope.name == "innocent"} == expected
        assert {record.body for record in receiver.logs() if record.scope.name == "innocent"} == expected
        counted = [point.value for point in receiver.points() if point.metric == "innocent"]
        hostile = [span for span in receiver.spans() if span.scope.name == "hostile"]
        records = [record for record in receiver.logs() if record.scope.name == "hostile"]
    assert max(value for value in counted if value is not None) == made == len(places) * (100 + len(poison.VALUES))
    if signal in {"span", "on span"}:
        assert len(hostile) == len(places) * len(poison.VALUES)
    if signal == "log":
        assert len(records) == len(places) * len(poison.VALUES)


LARGE = """
import otelkit
from opentelemetry import trace
telemetry = otelkit.configure()
tracer = trace.get_tracer("large")
for number in range(400):
    tracer.start_span(f"span {number}", attributes={"text": "x" * 20_000}).end()
with tracer.start_as_current_span("many events") as span:
    for _ in range(100_000):
        span.add_event("event")
tracer.start_span("many attributes", attributes={f"key.{number}": number for number in range(10_000)}).end()
assert telemetry.force_flush(30)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_batches_arrive_whole_and_quietly(protocol: str, tmp_path: Path) -> None:
    with Receiver(grpc_port=0 if protocol == "grpc" else None) as receiver:
        done = run([PYTHON, "-c", LARGE], folder=tmp_path, env=environment(receiver, protocol))
        assert done.returncode == 0, done.stderr
        names = {span.name for span in receiver.spans() if span.scope.name == "large"}
        many = next(span for span in receiver.spans() if span.name == "many attributes")
        bodies = [str(record.body) for record in receiver.logs()]
    assert names == {*(f"span {number}" for number in range(400)), "many events", "many attributes"}
    assert (len(many.attributes), many.dropped_attributes) == (128, 10_000 - 128)
    assert len(bodies) == 1  # otelkit.started: no warning of the SDK's became a record
    assert len(done.stderr.splitlines()) <= 1


def test_all_calls_are_in_one_group() -> None:
    assert sorted(place for places in SIGNALS.values() for place in places) == sorted(poison.PLACES)
