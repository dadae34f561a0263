"""The only place that reads back from the stores what a flow sent, item by item, and counts what came twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from otelkit.errors import QueryError
from otelkit.ops.query import Window
from otelkit.ops.query.lgtm import Lgtm
from outages.flow import METRIC
from support.processes import http_get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outages.flow import Flow, Request
    from support.stack import Stack

SERIES = METRIC.replace(".", "_") + "_total"
_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_LINES = 5000  # what Loki gives in one answer at most
_PAUSE = 0.5


class Stored:
    """What the stores of a stack have.

    Args:
        stack: Its addresses stay the same, whatever is restarted.
    """

    def __init__(self, stack: Stack) -> None:
        self._prometheus = stack.prometheus
        self._query = Lgtm.at(prometheus=stack.prometheus, tempo=stack.tempo, loki=stack.loki)

    def has(self, flow: Flow, request: Request) -> bool:
        """Tell whether the last item of a request is there; False as well while the store does not answer."""
        wanted = request.ids[-1]
        try:
            match flow.signal:
                case "traces":
                    trace = self._query.trace(request.trace_id)
                    return trace is not None and wanted in {span.span_id for span in trace.spans}
                case "logs":
                    window = Window(start_ns=request.time_ns, end_ns=request.time_ns + _SECOND)
                    found = self._query.loki.query(f'{{service_name="{flow.service}"}} |= `{wanted}`', window)
                    return wanted in {record.body for record in found}
                case _:
                    samples = self._query.samples(SERIES, {"service_name": flow.service})
                    return any(sample.value >= request.number + 1 for sample in samples)
        except QueryError:
            return False

    def wait(self, flow: Flow, wanted: set[str], *, within: float) -> Counter[str]:
        """Return how often each item of a flow is there, once all that are wanted are, or the time is over.

        Args:
            flow: It has stopped.
            wanted: Ids of items.
            within: Seconds.

        Raises:
            QueryError: The store does not answer.
        """
        deadline = time.monotonic() + within
        while True:
            found = Counter(self._items(flow))
            if wanted <= found.keys() or time.monotonic() > deadline:
                return found
            time.sleep(_PAUSE)

    def _items(self, flow: Flow) -> Iterator[str]:
        """Give the id of everything that the store has of a flow."""
        requests = [*flow.accepted, *flow.refused]
        match flow.signal:
            case "traces":
                for trace_id in dict.fromkeys(request.trace_id for request in requests):
                    trace = self._query.trace(trace_id)
                    yield from (span.span_id for span in trace.spans) if trace else ()
            case "logs":
                yield from self._records(flow, requests)
            case _:
                yield from self._samples(flow)

    def _records(self, flow: Flow, requests: list[Request]) -> Iterator[str]:
        times = [request.time_ns for request in requests]
        # A quarter of what one answer holds: who was held up catches up.
        step = _LINES // 4 // flow.each * _SECOND // flow.rate
        for start in range(min(times), max(times) + _SECOND, step):
            window = Window(start_ns=start, end_ns=start + step)
            for record in self._query.loki.query(f'{{service_name="{flow.service}"}}', window, _LINES):
                yield str(record.body)

    def _samples(self, flow: Flow) -> Iterator[str]:
        asked = urlencode({"query": f'{SERIES}{{service_name="{flow.service}"}}[1h]'})
        answer = json.loads(http_get(f"{self._prometheus}/api/v1/query?{asked}").body)
        for series in answer["data"]["result"]:
            for moment, _ in series["values"]:
                yield str(round(float(moment) * 1000))
