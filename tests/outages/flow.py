"""The only place that sends items with ids of their own at a steady rate, and knows of each whether it was accepted.

One request at a time and signal, over HTTP. An answer of 200 is the Collector's word; what got none is sent again, as
the specification wants it (opentelemetry.io/docs/specs/otlp, "Retryable Response Codes"), so that it may come twice.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from google.rpc import status_pb2  # type: ignore[import-untyped]  # it has no types
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

METRIC = "outages.items"
_AGAIN = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_EVERYTHING = (b"", b"\n\x00")  # no partial success, or an empty one; what was rejected would stand in it
_PAUSE = 0.1  # seconds between two tries
_TIMEOUT = 10.0
_NANOSECONDS = 1_000_000_000
_MILLISECOND = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one request carried.

    Args:
        number: Counts from 0 in its flow.
        ids: Span ids, bodies of records, or the millisecond of the sample: as the store tells them.
        trace_id: The trace of its spans; empty for other signals.
        time_ns: The time of its items, nanoseconds since the epoch.
        answered: When it was accepted or given up, by the monotonic clock.
    """

    number: int
    ids: tuple[str, ...]
    trace_id: str = ""
    time_ns: int
    answered: float


@dataclass
class Flow:
    """Context manager: one signal of one service, sent by a thread until the block ends.

    Args:
        signal: "traces", "logs" or "metrics".
        endpoint: Base URL of an OTLP/HTTP receiver.
        rate: Requests in a second.
        each: Items in a request; a request for metrics carries one sample.
        text: Length of a text that each item carries beside its id.
        patient: Send again what was refused, until it is accepted; else give it up.
        failing: Spans tell of errors.
    """

    signal: str
    endpoint: str
    rate: int = 10
    each: int = 20
    text: int = 0
    patient: bool = True
    failing: bool = False
    service: str = field(default_factory=lambda: f"outages-{uuid.uuid4().hex[:8]}")
    accepted: list[Request] = field(default_factory=list)
    refused: list[Request] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)
    """How requests were refused that may be sent again."""
    doubtful: int = 0
    """Requests that were sent and got no answer: the Collector may have taken them."""
    wrong: list[str] = field(default_factory=list)
    """Answers that there should not be."""

    def __post_init__(self) -> None:
        """Prepare the thread."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"flow of {self.signal}")
        self._begin_ns = time.time_ns()

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop sending."""
        self.stop()

    def stop(self) -> None:
        """Stop sending; what is being tried gets its answer before, or its last try."""
        self._stop.set()
        self._thread.join()

    @property
    def ids(self) -> set[str]:
        """The ids of all items that were accepted."""
        return {each for request in self.accepted for each in request.ids}

    def _run(self) -> None:
        parts = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
        begin, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, begin + number / self.rate - time.monotonic())):
            time_ns = time.time_ns()
            ids, trace_id, body = _MADE[self.signal](self, number, time_ns)
            accepted = self._deliver(connection, body)
            request = Request(number=number, ids=ids, trace_id=trace_id, time_ns=time_ns, answered=time.monotonic())
            (self.accepted if accepted else self.refused).append(request)
            number += 1
        connection.close()

    def _deliver(self, connection: http.client.HTTPConnection, body: bytes) -> bool:
        """Send a request until it is accepted, or once; False is given up."""
        while True:
            try:
                connection.request(
                    "POST", f"/v1/{self.signal}", body=body, headers={"Content-Type": "application/x-protobuf"}
                )
            except OSError:
                connection.close()  # nobody listened
            else:
                try:
                    answer = connection.getresponse()
                    text = answer.read()
                except (OSError, http.client.HTTPException):
                    connection.close()
                    self.doubtful += 1
                else:
                    if answer.status == HTTPStatus.OK and text in _EVERYTHING:
                        return True
                    if answer.status not in _AGAIN:
                        self.wrong.append(f"{answer.status} {text[:200]!r}")
                        return False
                    self.refusals.add(f"{answer.status} {_reason(text)}")
            if not self.patient or self._stop.wait(_PAUSE):
                return False

    def about(self) -> Resource:
        """Return the resource of its items."""
        return Resource(attributes=[_attribute("service.name", self.service)])

    def spans(self, number: int, time_ns: int) -> tuple[tuple[str, ...], str, bytes]:
        """Make a request of spans; those of a second share a trace, so that few questions read them back."""
        trace_id = hashlib.md5(f"{self.service}{number // self.rate}".encode(), usedforsecurity=False).digest()
        ids = tuple(f"{number + 1:08x}{index:08x}" for index in range(self.each))
        spans = [
            Span(
                trace_id=trace_id,
                span_id=bytes.fromhex(each),
                name="item",
                kind=Span.SPAN_KIND_SERVER,
                start_time_unix_nano=time_ns,
                end_time_unix_nano=time_ns + _MILLISECOND,
                attributes=self._text(),
                status=Status(code=Status.STATUS_CODE_ERROR if self.failing else Status.STATUS_CODE_UNSET),
            )
            for each in ids
        ]
        resource = ResourceSpans(resource=self.about(), scope_spans=[ScopeSpans(spans=spans)])
        message = trace_service_pb2.ExportTraceServiceRequest(resource_spans=[resource])
        return ids, trace_id.hex(), message.SerializeToString()

    def records(self, number: int, time_ns: int) -> tuple[tuple[str, ...], str, bytes]:
        """Make a request of log records."""
        ids = tuple(f"item {number}.{index}" for index in range(self.each))
        records = [
            LogRecord(
                time_unix_nano=time_ns + index,
                observed_time_unix_nano=time_ns + index,
                severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
                body=AnyValue(string_value=each),
                attributes=self._text(),
            )
            for index, each in enumerate(ids)
        ]
        resource = ResourceLogs(resource=self.about(), scope_logs=[ScopeLogs(log_records=records)])
        return ids, "", logs_service_pb2.ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString()

    def sample(self, number: int, time_ns: int) -> tuple[tuple[str, ...], str, bytes]:
        """Make a request with the counter's value so far, which is how many samples there were."""
        point = metrics_pb2.NumberDataPoint(
            start_time_unix_nano=self._begin_ns, time_unix_nano=time_ns, as_int=number + 1
        )
        total = metrics_pb2.Sum(
            data_points=[point],
            is_monotonic=True,
            aggregation_temporality=metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE,
        )
        scope = metrics_pb2.ScopeMetrics(metrics=[metrics_pb2.Metric(name=METRIC, sum=total)])
        resource = metrics_pb2.ResourceMetrics(resource=self.about(), scope_metrics=[scope])
        message = metrics_service_pb2.ExportMetricsServiceRequest(resource_metrics=[resource])
        return (str(time_ns // _MILLISECOND),), "", message.SerializeToString()

    def _text(self) -> Sequence[KeyValue]:
        return [_attribute("text", "x" * self.text)] if self.text else []


def _reason(text: bytes) -> str:
    """Return the words of a refusal, which is a `google.rpc.Status`; without the folders of a file that it names."""
    status = status_pb2.Status()
    status.ParseFromString(text)
    return re.sub(r"/\S*/", "", status.message)


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


_MADE: dict[str, Any] = {"traces": Flow.spans, "logs": Flow.records, "metrics": Flow.sample}
