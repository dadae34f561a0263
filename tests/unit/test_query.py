"""The only place that tests how stores are asked and their answers are read, against a local server with real answers.

The answers in `recorded/` were given by Prometheus 3.14.0, Tempo 3.0.3 and Loki 3.7.6.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest

from otelkit.errors import QueryError
from otelkit.ops.query import Trace, Window, wait_for
from otelkit.ops.query._http import Backend
from otelkit.ops.query.lgtm import Lgtm, Loki, Prometheus
from support.processes import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDED = Path(__file__).parent / "recorded"
WINDOW = Window(start_ns=1_000_000_000_000_000_001, end_ns=1_000_000_010_000_000_002)


class Store:
    """What a pretended store answers, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.drip = 0.0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: dict[str, str] = {}
        self.url = ""

    def answer(self, name: str) -> None:
        """Answer with a recorded file from now on."""
        self.body = (RECORDED / name).read_bytes()

    @property
    def parameters(self) -> dict[str, str]:
        """The last question's query string."""
        return self.asked[-1][1]


@pytest.fixture
def store() -> Iterator[Store]:
    with _serving(Store()) as store:
        yield store


@pytest.fixture
def query(store: Store) -> Lgtm:
    return Lgtm.at(prometheus=store.url, tempo=store.url, loki=store.url, timeout=5.0)


def test_samples(store: Store, query: Lgtm) -> None:
    store.answer("prometheus_vector.json")
    samples = query.samples("http_server_request_duration_seconds_bucket", {"service_name": 'a "shop"', "le": "+Inf"})
    assert store.asked == [
        (
            "/api/v1/query",
            {"query": r'http_server_request_duration_seconds_bucket{service_name="a \"shop\"",le="+Inf"}'},
        )
    ]
    assert {sample.labels["le"]: sample.value for sample in samples} == {"0.01": 0, "0.1": 1, "1": 1, "+Inf": 1}
    assert samples[0].labels["service_name"] == "shop"
    assert samples[0].time_ns % 1_000_000 == 0


def test_a_scalar_is_a_sample_without_labels(store: Store, query: Lgtm) -> None:
    store.answer("prometheus_scalar.json")
    (sample,) = query.prometheus.query("scalar(x)")
    assert (sample.labels, sample.value) == ({}, 1.0)


def test_values_that_are_no_plain_numbers(store: Store, query: Lgtm) -> None:
    rows = [{"metric": {}, "value": [1.5, text]} for text in ("+Inf", "-Inf", "NaN")]
    store.body = json.dumps({"data": {"resultType": "vector", "result": rows}}).encode()
    assert [repr(sample.value) for sample in query.prometheus.query("x")] == ["inf", "-inf", "nan"]


def test_an_exemplar_that_tempo_made_has_its_leading_zeros_again(store: Store, query: Lgtm) -> None:
    labels = {"trace_id": "5f253600cc805b453c52e6142e1429", "span_id": "1f"}
    made = {"labels": labels, "value": "1", "timestamp": 1.0}
    nobody = {"labels": {}, "value": "1", "timestamp": 2.0}
    answer = {"status": "success", "data": [{"seriesLabels": {}, "exemplars": [made, nobody]}]}
    store.body = json.dumps(answer).encode()
    found = query.exemplars("traces_service_graph_request_server_seconds_bucket", window=WINDOW)
    assert [each.trace_id for each in found] == ["005f253600cc805b453c52e6142e1429", ""]
    assert [each.span_id for each in found] == ["000000000000001f", ""]


def test_exemplars_are_in_order_of_time(store: Store, query: Lgtm) -> None:
    store.answer("prometheus_exemplars.json")
    exemplars = query.exemplars("http_server_request_duration_seconds_bucket", window=WINDOW)
    assert store.parameters == {
        "query": "http_server_request_duration_seconds_bucket{}",
        "start": "1000000000.000000001",
        "end": "1000000010.000000002",
    }
    assert len(exemplars) == 3
    assert [each.time_ns for each in exemplars] == sorted(each.time_ns for each in exemplars)
    assert {len(each.trace_id) for each in exemplars} == {32}
    assert {len(each.span_id) for each in exemplars} == {16}
    assert exemplars[0].labels == {}
    assert exemplars[0].series["service_name"] == "shop"


def test_a_trace_has_its_ids_in_hex_and_its_spans_in_order(store: Store, query: Lgtm) -> None:
    store.answer("tempo_trace.json")
    trace = query.trace("DE3CFE8B2AAA2675307FDA1BC8E9703B")
    assert store.asked == [("/api/v2/traces/de3cfe8b2aaa2675307fda1bc8e9703b", {})]
    assert trace is not None
    server, statement = trace.spans
    assert (trace.trace_id, trace.incomplete) == ("de3cfe8b2aaa2675307fda1bc8e9703b", "")
    assert (server.trace_id, server.kind, server.name) == (trace.trace_id, "SERVER", "GET /orders/{order_id}")
    assert statement.parent_span_id == server.span_id == "c7ca643b2301cf74"
    assert server.start_ns <= statement.start_ns <= statement.end_ns <= server.end_ns
    assert statement.resource["service.name"] == "shop"


def test_ids_of_links_are_hex_too(store: Store, query: Lgtm) -> None:
    document = json.loads((RECORDED / "tempo_trace.json").read_bytes())
    span = document["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["links"] = [{"traceId": "AAAAAAAAAAAAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAI="}]
    store.body = json.dumps(document).encode()
    trace = query.trace("1")
    assert trace is not None
    (link,) = [link for span in trace.spans for link in span.links]
    assert (link.trace_id, link.span_id) == ("0" * 31 + "1", "0" * 15 + "2")


def test_no_trace(store: Store, query: Lgtm) -> None:
    store.answer("tempo_no_trace.json")
    assert query.trace("abc") is None
    assert store.asked == [("/api/v2/traces/" + "0" * 29 + "abc", {})]


def test_a_trace_that_tempo_cut_says_so(store: Store, query: Lgtm) -> None:
    store.body = b'{"trace": {}, "status": "PARTIAL", "message": "trace too large"}'
    assert query.trace("1") == Trace(trace_id="0" * 31 + "1", spans=(), incomplete="trace too large")


@pytest.mark.parametrize("wrong", ["", "xyz", "1" * 33, "1/../../status", "1\n"])
def test_what_is_no_trace_id_is_not_asked_for(store: Store, query: Lgtm, wrong: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        query.trace(wrong)
    assert store.asked == []


def test_search(store: Store, query: Lgtm) -> None:
    store.answer("tempo_search.json")
    (found,) = query.traces(service="shop", window=WINDOW, limit=5)
    assert store.asked[0] == (
        "/api/search",
        {
            "q": '{resource.service.name="shop"} with (most_recent=true)',
            "start": "1000000000",
            "end": "1000000011",
            "limit": "5",
        },
    )
    assert (found.trace_id, found.root_service) == ("de3cfe8b2aaa2675307fda1bc8e9703b", "shop")
    assert (found.root_name, found.duration_ns) == ("GET /orders/{order_id}", 19_000_000)
    query.traces()
    assert store.parameters["q"] == "{} with (most_recent=true)"
    query.traces(service='a "shop"', kind="SERVER")
    assert store.parameters["q"] == r'{resource.service.name="a \"shop\"" && kind=server} with (most_recent=true)'


def test_numbers_over_time(store: Store, query: Lgtm) -> None:
    rows = [{"metric": {"le": "1"}, "values": [[1.5, "2"], [16.5, "NaN"]]}]
    store.body = json.dumps({"data": {"resultType": "matrix", "result": rows}}).encode()
    for ask, path in (
        (query.prometheus.range, "/api/v1/query_range"),
        (query.loki.range, "/loki/api/v1/query_range"),
    ):
        (series,) = ask("x", WINDOW, 15.0)
        assert series.labels == {"le": "1"}
        assert [(time, repr(value)) for time, value in series.points] == [
            (1_500_000_000, "2.0"),
            (16_500_000_000, "nan"),
        ]
        asked = {"query": "x", "start": "1000000000.000000001", "end": "1000000010.000000002", "step": "15"}
        assert store.asked[-1] == (path, asked)


def test_a_moment_is_no_stretch_of_time(store: Store, query: Lgtm) -> None:
    store.answer("prometheus_vector.json")
    with pytest.raises(QueryError, match="numbers over time were expected, not vector"):
        query.prometheus.range("x")


def test_values_of_a_label(store: Store, query: Lgtm) -> None:
    store.body = json.dumps({"data": ["api", "worker"]}).encode()
    assert query.prometheus.label_values("service_name", 'up{job="x"}', WINDOW) == ("api", "worker")
    times = {"start": "1000000000.000000001", "end": "1000000010.000000002"}
    assert store.asked[-1] == ("/api/v1/label/service_name/values", {**times, "match[]": 'up{job="x"}'})
    query.prometheus.label_values("a/b")
    assert store.asked[-1][0] == "/api/v1/label/a%2Fb/values"


def test_lines_keep_the_names_that_loki_gave_them(store: Store, query: Lgtm) -> None:
    store.answer("loki_streams.json")
    lines = query.loki.lines('{service_name="shop"}', WINDOW)
    assert [line.time_ns for line in lines] == sorted(line.time_ns for line in lines)
    assert {"service_name", "trace_id"} <= set(lines[0].labels)
    assert lines[0].text == query.loki.query('{service_name="shop"}', WINDOW)[0].body


def test_log_records(store: Store, query: Lgtm) -> None:
    store.answer("loki_streams.json")
    (record,) = query.logs(trace_id="de3c", service="shop", window=WINDOW, limit=7)
    assert store.asked[0] == (
        "/loki/api/v1/query_range",
        {
            "query": '{service_name="shop"} | trace_id="de3c"',
            "start": "1000000000000000001",
            "end": "1000000010000000002",
            "limit": "7",
            "direction": "forward",
        },
    )
    assert (record.body, record.time_ns, record.severity_number) == ("order.read", 1795239942799352169, 9)
    assert (record.trace_id, record.span_id) == ("de3cfe8b2aaa2675307fda1bc8e9703b", "c7ca643b2301cf74")
    assert record.attributes == {"order_id": "7"}
    assert record.resource == {
        "service.name": "shop",
        "service.namespace": "demo",
        "service.instance.id": "74ed5b81ec8445e19dfcaf67f852aeef",
    }
    query.logs()
    assert store.parameters["query"] == '{service_name=~".+"}'


def test_the_window_is_the_last_hour_unless_said(store: Store, query: Lgtm) -> None:
    store.answer("loki_streams.json")
    query.logs()
    start, end = int(store.parameters["start"]), int(store.parameters["end"])
    assert end - start == 3600 * 10**9
    assert abs(end - time.time_ns()) < 10 * 10**9


@pytest.mark.parametrize(
    ("status", "body", "reason", "passing"),
    [
        (400, b'{"status":"error","error":"1:5: parse error"}', "1:5: parse error", False),
        (404, b"404 page not found\n", "404 page not found", False),
        (429, b"too many outstanding requests", "too many outstanding requests", True),
        (503, b"Ingester not ready:\n  waiting", "Ingester not ready: waiting", True),
        (200, b"<html>a proxy</html>", "unexpected answer (JSONDecodeError", False),
        (200, b'{"data": []}', "unexpected answer (TypeError", False),
        (200, b'{"data": {"resultType": "matrix"}}', "not a matrix", False),
        (301, b"", "", False),
    ],
)
def test_an_error_names_store_url_status_and_reason(
    store: Store, query: Lgtm, *, status: int, body: bytes, reason: str, passing: bool
) -> None:
    store.status, store.body = status, body
    with pytest.raises(QueryError) as refused:
        query.samples("up")
    error = refused.value
    assert str(error).startswith(f"Prometheus: HTTP {status} from {store.url}/api/v1/query?query=up%7B%7D: ")
    assert reason in error.reason
    assert (error.backend, error.status, error.passing) == ("Prometheus", status, passing)
    assert "\n" not in str(error)


def test_nobody_answers() -> None:
    backend = Backend(name="Loki", url=f"http://{HOST}:{free_port()}", timeout=1.0)
    with pytest.raises(QueryError, match=r"Loki: no answer from http://.*: ConnectionRefusedError") as refused:
        Loki(backend=backend).query("{}")
    assert refused.value.passing


def test_an_answer_that_drips_is_cut_at_the_time_out(store: Store) -> None:
    store.drip, store.body = 0.05, b" " * 1000
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"no answer .*TimeoutError"):
        Prometheus(backend=Backend(name="Prometheus", url=store.url, timeout=0.3)).query("up")
    assert time.monotonic() - began < 2.0


def test_password_and_headers_are_sent_but_never_shown(store: Store) -> None:
    url = store.url.replace("http://", "http://me:s%40cret@") + "/prefix/"
    backend = Backend(name="Loki", url=url, headers={"X-Scope-OrgID": "tenant-1"})
    store.status = 403
    with pytest.raises(QueryError) as refused:
        Loki(backend=backend).query("{}")
    assert store.headers["Authorization"] == "Basic bWU6c0BjcmV0"
    assert store.headers["X-Scope-OrgID"] == "tenant-1"
    assert store.asked[0][0] == "/prefix/loki/api/v1/query_range"
    for text in (repr(backend), str(refused.value)):
        assert "cret" not in text
        assert "tenant-1" not in text


@pytest.mark.parametrize("url", ["", "localhost:3200", "ftp://localhost", "http://", "http://user:secret@"])
def test_a_backend_needs_an_http_url(url: str) -> None:
    with pytest.raises(ValueError, match="Tempo: an http:// or https:// URL is needed") as refused:
        Backend(name="Tempo", url=url)
    assert "secret" not in str(refused.value)


def test_waiting_ends_with_the_answer_wanted() -> None:
    answers = iter([1, 2, 3])

    def ask() -> int:
        answer = next(answers)
        return answer if answer > 1 else _passing()

    assert wait_for(ask, lambda answer: answer == 3, 5.0, interval=0.0) == 3


def test_waiting_in_vain_tells_the_last_answer() -> None:
    with pytest.raises(TimeoutError, match=r"within 0.05 s; the last one: \('nothing',\)"):
        wait_for(lambda: ("nothing",), lambda _: False, 0.05, interval=0.01)
    with pytest.raises(TimeoutError, match=r"the last one: Tempo: no answer from http://tempo: refused"):
        wait_for(_passing, bool, 0.0)


def test_a_refused_question_is_not_asked_again() -> None:
    asked = []

    def ask() -> bool:
        asked.append(1)
        raise QueryError(backend="Loki", url="http://loki", status=400, reason="parse error")

    with pytest.raises(QueryError, match="parse error"):
        wait_for(ask, bool, 5.0)
    assert asked == [1]


def _passing() -> NoReturn:
    raise QueryError(backend="Tempo", url="http://tempo", status=None, reason="refused")


@contextmanager
def _serving(store: Store) -> Iterator[Store]:
    server = ThreadingHTTPServer((HOST, 0), _handler(store))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    store.url = f"http://{HOST}:{server.server_address[1]}"
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(store: Store) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            fields = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            store.asked.append((parts.path, fields))
            store.headers = dict(self.headers)
            self.send_response(store.status)
            self.send_header("Content-Length", str(len(store.body)))
            self.end_headers()
            if store.drip:
                self._drip()
            else:
                self.wfile.write(store.body)

        def _drip(self) -> None:
            for byte in store.body:
                time.sleep(store.drip)
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:  # the client has had enough
                    return

        def log_message(self, *_: object) -> None:
            pass

    return Handler
