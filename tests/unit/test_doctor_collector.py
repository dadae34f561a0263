"""`otelkit doctor --prove`: what it reads of a Collector's own metrics and of its log, whatever stands there."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.errors import QueryError
from otelkit.ops.doctor.collector import Log, look
from support.processes import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METRICS = """\
# HELP otelcol_exporter_sent_spans_total Number of spans.
# TYPE otelcol_exporter_sent_spans_total counter
otelcol_exporter_sent_spans_total{exporter="otlp_grpc/tempo",server_address="a b"} 3
otelcol_exporter_sent_spans_total{exporter="otlp_grpc/tempo",server_address="c"} 4
otelcol_exporter_sent_spans_total{exporter="debug"} 7
otelcol_exporter_queue_size{data_type="traces",exporter="otlp_http/vendor"} 1.5e+03
otelcol_exporter_send_failed_metric_points{exporter="otlp_http/prometheus"} 2
otelcol_process_uptime_seconds_total 0.8
this is no series
"""


@contextmanager
def serving(text: str, status: int = 200) -> Iterator[str]:
    """Answer every GET alike; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_counters_are_summed_by_their_labels_with_or_without_the_suffix() -> None:
    with serving(METRICS) as url:
        seen = look(url)
    assert seen.total("otelcol_exporter_sent_spans", exporter="otlp_grpc/tempo") == 7
    assert seen.total("otelcol_exporter_send_failed_metric_points") == 2
    assert seen.total("otelcol_exporter_queue_size", exporter="otlp_http/vendor") == 1500
    assert seen.total("otelcol_exporter_sent_log_records") == 0


def test_exporters_of_a_signal_are_those_that_count_or_queue_it_and_hand_it_on() -> None:
    with serving(METRICS) as url:
        seen = look(url)
    assert seen.exporters("traces") == ["otlp_grpc/tempo", "otlp_http/vendor"]
    assert seen.exporters("metrics") == ["otlp_http/prometheus"]
    assert seen.exporters("logs") == []


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [("go_goroutines 7\n", 200, "not a Collector's"), ("<html>", 200, "not a Collector's"), ("", 404, "HTTP 404")],
)
def test_metrics_of_something_else_are_refused(text: str, status: int, reason: str) -> None:
    with serving(text, status) as url, pytest.raises(QueryError, match=reason):
        look(url)


def test_nobody_there_is_an_answer_too() -> None:
    with pytest.raises(QueryError, match=r"Collector: no answer from .*refused"):
        look(f"http://{HOST}:{free_port()}")


def line(message: str, **fields: Any) -> str:
    return f"2026-11-21T17:52:17.713Z\tinfo\tinternal/retry_sender.go:133\t{message}\t{json.dumps(fields)}\n"


def failing(signal: str, error: str) -> str:
    return line("Exporting failed. Will retry.", **{"otelcol.signal": signal, "error": error})


def test_the_last_error_of_a_signal_since_the_beginning_is_told(tmp_path: Path) -> None:
    path = tmp_path / "collector.log"
    path.write_text(failing("logs", "before"))
    log = Log.now(path)
    assert log is not None
    assert log.error("logs") == ""
    with path.open("a") as file:
        file.write("panic: something that is no line of a log\n\n")
        file.write(failing("logs", "first") + failing("traces", "another signal's") + failing("logs", "last\n  one"))
        file.write("2026-11-21T17:52:17.713Z\tinfo\tcut in the mid")
    assert log.error("logs") == "last one"
    assert log.error("metrics") == ""


def test_a_refusal_that_was_said_long_ago_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "collector.log"
    path.write_text(line("Memory usage is above soft limit. Refusing data.", cur_mem_mib=700))
    log = Log.now(path)
    assert log is not None
    assert log.refusal() == "Memory usage is above soft limit. Refusing data."
    with path.open("a") as file:
        file.write(line("Memory usage is above hard limit. Forcing a GC.", cur_mem_mib=900))
    assert log.refusal() == "Memory usage is above soft limit. Refusing data."
    with path.open("a") as file:
        file.write(line("Memory usage back within limits. Resuming normal operation.", cur_mem_mib=90))
    assert log.refusal() == ""


def test_a_log_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert Log.now(None) is None
    assert Log.now(tmp_path / "nothing.log") is None
