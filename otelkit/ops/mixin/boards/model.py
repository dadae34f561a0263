"""The only place that says what a board, a panel and a query consist of, and what Grafana would put into a query.

They are data: `otelkit.ops.mixin.boards` holds one file for each board, `_json` writes them as Grafana reads them,
`page` as people do, and `queries` is what a test asks the stores.

Every query works with `service.namespace` and `deployment.environment.name` unset, as they are by default: what stands
for "All" matches a label that is not there, and only the service's must not be empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.ops.mixin.model import Threshold

Kind = Literal[
    "timeseries",
    "bars",
    "stat",
    "gauge",
    "bargauge",
    "heatmap",
    "pie",
    "states",
    "table",
    "graph",
    "logs",
    "searched",
    "trace",
    "alerts",
]
"""How a panel looks. `states` is a timeline, `graph` the map of services, `searched` a list of traces, `trace` one;
`alerts` lists those of its data source's rules, and asks nothing."""

Source = Literal["prometheus", "loki", "tempo"]
"""The uids of deploy/grafana/provisioning/datasources/stack.yaml, which equal their types."""

MOST_QUERIES: Final = 24
"""More on one board are slow, and nobody reads them."""

MOST_POINTS: Final = 300
"""Of a line: one each 15 s of an hour, one each 5 min of a day. More cost as much as they say little."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One query of a panel.

    Args:
        query: PromQL, LogQL or TraceQL, with Grafana's variables in it; of a map of services, matchers of its edges.
        legend: How its series are called, may name labels: {{http_route}}. In a table: the heading of its values.
        exemplar: Whether the traces behind its values are shown.
        instant: Whether it is asked for one moment, not for a stretch of time.
        unit: Grafana's name of the unit of its values in a table, where it is not the panel's.
    """

    query: str
    legend: str = ""
    exemplar: bool = False
    instant: bool = False
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a panel leads to.

    Args:
        title: What it says.
        board: A board's name; else Explore shows what `query` finds.
        source: Whom Explore asks.
        query: LogQL or TraceQL; variables as ${svc:percentencode}.
    """

    title: str
    board: str = ""
    source: Literal["loki", "tempo"] = "tempo"
    query: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is done with a column of a table.

    Args:
        title: Its heading, where it is not the label's name.
        unit: Grafana's name of the unit.
        board: The board that its values lead to, as `var`.
        var: The variable of that board that becomes the value.
        links: What the values lead to besides, by title: addresses that may name ${__value.raw}.
        width: In pixels; 0 leaves it to Grafana.
    """

    title: str = ""
    unit: str = ""
    board: str = ""
    var: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    width: int = 0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Args:
        title: Unique on the board.
        about: What it shows, and what to make of it: the text behind its "i".
        unit: Grafana's name of the unit.
        targets: What is asked, of one data source.
        link: Where to go on.
        source: The data source's uid.
        kind: How it looks.
        width: Of the board's 24 columns.
        warn: From which value on it is yellow: an alert's.
        bad: From which value on it is red: an alert's.
        low: Whether less is worse.
        most: The highest value there can be; 0 for none.
        columns: Of a table, by the label's name or the target's legend.
        sort: The column that a table is sorted by, the highest first.
        colours: Of a timeline: what a value is called, and its colour.
        may_be_empty: Why it can have no data on a busy shop; empty where it must have some.
        negative: Whether it can be below zero.
    """

    title: str
    about: str
    unit: str
    targets: tuple[Target, ...]
    link: Link
    source: Source = "prometheus"
    kind: Kind = "timeseries"
    width: int = 8
    warn: Threshold | None = None
    bad: Threshold | None = None
    low: bool = False
    most: float = 0.0
    columns: Mapping[str, Column] = field(default_factory=dict)
    sort: str = ""
    colours: Mapping[float, tuple[str, str]] = field(default_factory=dict)
    may_be_empty: str = ""
    negative: bool = False


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What people choose at the top of a board.

    Args:
        name: As queries name it.
        label: As people read it.
        query: `label_values(selector, label)`; empty for a text that is typed, or for a choice of `options`.
        every: What "All" stands for, or what the text is to begin with.
        options: What can be chosen, by what people read; the first is chosen to begin with.
    """

    name: str
    label: str
    query: str = ""
    every: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Args:
        name: Its file's; the uid is `otelkit-<name>`.
        title: Unique.
        question: What it answers, in a sentence.
        rows: Panels by the title of their row, from what users notice to what is behind it.
        variables: Those that its queries name, in this order.
        range: How far back it looks to begin with.
        unproven: Why nothing that it shows can exist in the tests; empty where it does.
    """

    name: str
    title: str
    question: str
    rows: Mapping[str, tuple[Panel, ...]]
    variables: tuple[Variable, ...] = ()
    range: str = "now-1h"
    unproven: str = ""

    @property
    def uid(self) -> str:
        """What links name it by."""
        return uid(self.name)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in the order of the board."""
        return tuple(panel for row in self.rows.values() for panel in row)


def uid(board: str) -> str:
    """Return what links name a board by."""
    return f"otelkit-{board}"


@dataclass(frozen=True, kw_only=True)
class Query:
    """What Grafana would send for one target.

    Args:
        board: The board's name.
        panel: The panel that shows the answer.
        target: As it was declared.
        source: The store that is asked. For the map of services Tempo's data source asks Prometheus.
        text: With every variable filled in.
    """

    board: str
    panel: Panel
    target: Target
    source: Source
    text: str


MACROS: Final[Mapping[str, str]] = {
    "__rate_interval": "1m",  # four of the 15 s that services export at: the shortest that Grafana takes
    "__range": "10m",
    "__auto": "1m",
}
"""What Grafana fills in by itself, for the last ten minutes."""

EDGES: Final = "traces_service_graph_request_total"
"""What Tempo's data source asks Prometheus for to draw the map of services, with the panel's query behind it."""

_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


def queries(
    board: Board, chosen: Mapping[str, str] | None = None, macros: Mapping[str, str] = MACROS
) -> Iterator[Query]:
    """Yield every query of a board as Grafana would send it.

    Args:
        board: The board.
        chosen: Values of its variables; "All", or what it begins with, where there is none.
        macros: What Grafana fills in by itself, without the dollar.

    Raises:
        KeyError: A query names a variable that the board does not have.
    """
    values = {variable.name: _first(variable) for variable in board.variables}
    values |= {**(chosen or {}), **macros}
    for panel in board.panels:
        for target in panel.targets:
            asked = _VARIABLE.sub(lambda found: values[found[1] or found[2]], target.query)
            source = panel.source
            if panel.kind == "graph":
                source, asked = "prometheus", f"{EDGES}{asked}"
            yield Query(board=board.name, panel=panel, target=target, source=source, text=asked)


def named(text: str) -> set[str]:
    """Return the variables that a query or an address names."""
    return {found[1] or found[2] for found in _VARIABLE.finditer(text)}


def _first(variable: Variable) -> str:
    return next(iter(variable.options.values()), variable.every)
