"""The only place that spells addresses of Grafana's Explore, for the terminal and for the boards.

The shape is that of Grafana 11 to 13: `/explore?schemaVersion=1&panes=<JSON>&orgId=1`. Data sources are named by the
uids of `deploy/grafana/provisioning/datasources/stack.yaml`, which equal their types.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"%24%7B([A-Za-z_.]+)(?:%3A([a-z]+))?%7D")


def tempo(text: str, *, base: str = "", start: str = "now-1h", end: str = "now") -> str:
    """Return the address that shows a trace, or the result of a search.

    Args:
        text: A trace id, or TraceQL.
        base: Grafana's address without a slash at the end; empty for a link inside of Grafana.
        start: Milliseconds since the epoch, or what Grafana takes for a time.
        end: Likewise.
    """
    return _url(base, "tempo", {"queryType": "traceql", "query": text}, start, end)


def loki(logql: str, *, base: str = "", start: str = "now-1h", end: str = "now") -> str:
    """Return the address that shows log records; arguments as for `tempo`."""
    return _url(base, "loki", {"expr": logql}, start, end)


def _url(base: str, uid: str, query: Mapping[str, str], start: str, end: str) -> str:
    asked = {"refId": "A", "datasource": {"type": uid, "uid": uid}, **query}
    pane = {"datasource": uid, "queries": [asked], "range": {"from": start, "to": end}}
    panes = quote(json.dumps({"otelkit": pane}, separators=(",", ":"), ensure_ascii=False), safe="")
    # A board's own variables, ${svc} or ${svc:percentencode}, and a cell's ${__value.raw} are filled in only where they
    # stand as they are.
    panes = _PLACEHOLDER.sub(lambda found: f"${{{found[1]}{':' + found[2] if found[2] else ''}}}", panes)
    return f"{base}/explore?schemaVersion=1&panes={panes}&orgId=1"
