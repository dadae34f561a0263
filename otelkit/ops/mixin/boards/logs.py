"""The only place for the board of log records: how many, of whom, and the records themselves."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, LINES, records, to, traces
from otelkit.ops.mixin.boards.model import Board, Panel, Target, Variable

_LEVEL = Variable(
    name="level",
    label="Level from",
    options={"everything": "0", "info": "9", "warning": "13", "error": "17", "fatal": "21"},
)
_SEARCHED = Variable(name="text", label="With the text")

BOARD: Final = Board(
    name="logs",
    title="Logs",
    question="What did the services say, how much of it, and about which request?",
    rows={
        "Symptoms": (
            Panel(
                title="Records by level",
                about="Log records by level. A band of errors that begins at a deployment is that deployment's.",
                unit="short",
                source="loki",
                targets=(
                    Target(
                        query=f"sum by (severity_text) (count_over_time({LINES} [$__auto]))",
                        legend="{{severity_text}}",
                    ),
                ),
                link=to("issues", "Issues"),
                kind="bars",
                width=12,
            ),
            Panel(
                title="Errors by service",
                about="Records of errors, by service. A service that is not here logged none.",
                unit="short",
                source="loki",
                targets=(
                    Target(
                        query=f"sum by (service_name) (count_over_time({LINES} | severity_number >= 17 [$__auto]))",
                        legend="{{service_name}}",
                    ),
                ),
                link=to("issues", "Issues"),
                kind="bars",
                width=12,
            ),
        ),
        "Traffic": (
            Panel(
                title="Bytes by service",
                about="Bytes logged each second. One that stands out has a debug level switched on, or logs in a loop.",
                unit="Bps",
                source="loki",
                targets=(
                    Target(query=f"sum by (service_name) (bytes_rate({LINES} [$__auto]))", legend="{{service_name}}"),
                ),
                link=to("cost", "Cost"),
                width=12,
            ),
            Panel(
                title="Slow requests",
                about="Requests that took longer than half a second, from the log of requests: which path, which one.",
                unit="short",
                source="loki",
                targets=(Target(query=f"{LINES} | duration > 0.5"),),
                link=traces("kind=server && duration>500ms", "Slow traces"),
                kind="logs",
                width=12,
                may_be_empty="no request was slow",
            ),
        ),
        "Records": (
            Panel(
                title="Records",
                about="All from the level on that holds the text. Open a record: its trace id leads to the trace.",
                unit="short",
                source="loki",
                targets=(Target(query=f'{LINES} | severity_number >= $level |~ "(?i)$text"'),),
                link=records("Explore"),
                kind="logs",
                width=24,
            ),
        ),
    },
    variables=(*CHOICE, _LEVEL, _SEARCHED),
)
