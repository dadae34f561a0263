"""The only place that writes a board as Grafana's classic JSON.

Typed by `grafana-foundation-sdk`, which is generated from Grafana's own schema: no option here is one that Grafana does
not know. Five megabytes of classes, so only `otelkit render` imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, logs, loki, prometheus, table, tempo, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from otelkit.ops import _board, _explore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery

    from otelkit.ops._board import Panel, Target

    _Built: TypeAlias = timeseries.Panel | logs.Panel | table.Panel

_TALL, _TALLER = 8, 12


def render_service_board() -> str:
    """Render `deploy/grafana/dashboards/service.json`."""
    board = (
        dashboard.Dashboard(_board.TITLE)
        .uid(_board.UID)
        .description(_board.ABOUT)
        .tags(["otelkit"])
        .refresh(_board.REFRESH)
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_other_boards())
    )
    for name, (label, everything, query) in _board.VARIABLES.items():
        board.with_variable(_variable(name, label, everything, query))
    number = 0
    for title, row in _board.ROWS.items():
        number += 1
        board.with_row(dashboard.Row(title).id(number))
        for panel in row:
            number += 1
            board.with_panel(_panel(panel, number))
    return JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(board.build()) + "\n"


def _other_boards() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Boards").type(DashboardLinkType.DASHBOARDS).tags(["otelkit"])
    return link.as_dropdown(True).include_vars(True).keep_time(True)  # noqa: FBT003  the SDK's signature


def _variable(name: str, label: str, everything: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_source("prometheus"))
        # As text: Grafana takes it for what its editor would write, whatever that is in its version.
        .query(query)
        .definition(query)
        .include_all(True)  # noqa: FBT003  the SDK's signature
        .all_value(everything)
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def _source(uid: str) -> DataSourceRef:
    return DataSourceRef(type_val=uid, uid=uid)


def _panel(panel: Panel, number: int) -> _Built:
    built = _BUILDERS[panel.kind]()
    built.id(number).title(panel.title).description(panel.about).unit(panel.unit)
    built.datasource(_source(panel.source)).links([_link(panel)])
    built.span(panel.width).height(_TALLER if panel.kind == "logs" else _TALL)
    for letter, target in zip("ABC", panel.targets, strict=False):
        built.with_target(_target(panel, target, letter))
    if panel.warn is not None and panel.bad is not None:
        built.thresholds(_thresholds(panel.warn, panel.bad))
    return built


def _timeseries() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003  the SDK's signature
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    dashed = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    return timeseries.Panel().legend(legend).tooltip(tooltip).min(0).fill_opacity(10).thresholds_style(dashed)


def _bars() -> timeseries.Panel:
    stacked = common.StackingConfig().mode(StackingMode.NORMAL)
    return _timeseries().draw_style(GraphDrawStyle.BARS).fill_opacity(80).stacking(stacked)


def _logs() -> logs.Panel:
    return (
        logs.Panel()
        .show_time(True)  # noqa: FBT003  the SDK's signature
        .wrap_log_message(True)  # noqa: FBT003  the same
        .enable_log_details(True)  # noqa: FBT003  the same
        .sort_order(LogsSortOrder.DESCENDING)
    )


_BUILDERS: Mapping[str, Callable[[], _Built]] = {
    "timeseries": _timeseries,
    "bars": _bars,
    "logs": _logs,
    "table": table.Panel,
    "traces": table.Panel,
}


def _target(panel: Panel, target: Target, letter: str) -> Builder[Dataquery]:
    source = _source(panel.source)
    if panel.source == "loki":
        query = loki.Dataquery().datasource(source).ref_id(letter).expr(target.query).query_type("range")
        return query.legend_format(target.legend) if target.legend else query
    if panel.source == "tempo":
        search = tempo.Dataquery().datasource(source).ref_id(letter).query_type("traceql").query(target.query)
        return search.limit(20).table_type(SearchTableType.TRACES)
    metric = prometheus.Dataquery().datasource(source).ref_id(letter).expr(target.query)
    if target.instant:
        return metric.instant().format(PromQueryFormat.TABLE)
    return metric.range().legend_format(target.legend).exemplar(target.exemplar)


def _link(panel: Panel) -> dashboard.DashboardLink:
    times = {"start": "${__from}", "end": "${__to}"}
    title, url = ("Traces", _explore.tempo(panel.traces, **times)) if panel.traces else ("Logs", _logs_url(times))
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def _logs_url(times: Mapping[str, str]) -> str:
    return _explore.loki(_board.LOGS, **times)


def _thresholds(warn: float, bad: float) -> dashboard.ThresholdsConfig:
    steps: Sequence[Threshold] = (
        Threshold(value=None, color="green"),
        Threshold(value=warn, color="yellow"),
        Threshold(value=bad, color="red"),
    )
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(steps))
