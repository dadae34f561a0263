"""The only place for the board that follows one request: its trace, its log records, and where to find one."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, HTTP, SERVED, quantile, records, threshold, to, traces
from otelkit.ops.mixin.boards.model import Board, Panel, Target, Variable

_TRACE: Final = Variable(name="trace_id", label="Trace id", every="00000000000000000000000000000000")
_UNCHOSEN: Final = "no trace is chosen to begin with"

BOARD: Final = Board(
    name="follow",
    title="Follow a request",
    question="What happened to this one request, in every service that had a part in it?",
    rows={
        "The request": (
            Panel(
                title="Trace",
                about="Every service that had a part in it, and how long each step took. A span leads to its logs.",
                unit="short",
                source="tempo",
                targets=(Target(query="$trace_id"),),
                link=traces("status=error", "Failed traces"),
                kind="trace",
                width=24,
                may_be_empty=_UNCHOSEN,
            ),
            Panel(
                title="Log of the trace",
                about="What every service logged about the request, in one place.",
                unit="short",
                source="loki",
                targets=(Target(query='{service_name=~".+"} | trace_id="$trace_id"'),),
                link=records(),
                kind="logs",
                width=24,
                may_be_empty=_UNCHOSEN,
            ),
        ),
        "Find one": (
            Panel(
                title="Duration p95",
                about="How long answering took. A diamond is one request: a click leads to its trace.",
                unit="s",
                targets=(
                    Target(
                        query=quantile(0.95, HTTP, SERVED, by="service_name"), legend="{{service_name}}", exemplar=True
                    ),
                ),
                link=to("red", "Requests"),
                warn=threshold("p95_warn"),
                bad=threshold("p95_crit"),
            ),
            Panel(
                title="Slow or failed",
                about="The newest traces that failed, or took longer than half a second. A click opens the trace.",
                unit="short",
                source="tempo",
                targets=(Target(query='{resource.service.name=~"$svc" && (status=error || duration>500ms)}'),),
                link=traces("(status=error || duration>500ms)", "All of them"),
                kind="searched",
            ),
            Panel(
                title="Runs of tasks",
                about="The newest runs of tasks, with the request that asked for them and the time they waited.",
                unit="short",
                source="tempo",
                targets=(Target(query='{resource.service.name=~"$svc" && name=~"run/.*"}'),),
                link=to("worker", "Workers"),
                kind="searched",
            ),
        ),
    },
    variables=(*CHOICE, _TRACE),
)
