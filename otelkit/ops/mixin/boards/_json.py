"""The only place that writes a board as Grafana's classic JSON.

Typed by `grafana-foundation-sdk`, which is generated from Grafana's own schema: no option here is one that Grafana does
not know. Five megabytes of classes, so only what renders imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    heatmap,
    logs,
    loki,
    nodegraph,
    piechart,
    prometheus,
    stat,
    statetimeline,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.piechart import PieChartLegendValues
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from otelkit.ops import _explore
from otelkit.ops.mixin.boards.model import MOST_POINTS, uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery

    from otelkit.ops.mixin.boards.model import Board, Column, Link, Panel, Target, Variable
    from otelkit.ops.mixin.model import Threshold as Tuned
    from otelkit.ops.mixin.parameters import Parameters

    _Built: TypeAlias = (
        bargauge.Panel
        | dashboard.Panel
        | gauge.Panel
        | heatmap.Panel
        | logs.Panel
        | nodegraph.Panel
        | piechart.Panel
        | stat.Panel
        | statetimeline.Panel
        | table.Panel
        | timeseries.Panel
    )

REFRESH = "30s"
_HEIGHTS = {"logs": 12, "trace": 16, "graph": 12, "stat": 5, "gauge": 5}
_HEIGHT = 8
_COLUMNS = 24
_TIMES = {"start": "${__from}", "end": "${__to}"}
_YES = True  # where the SDK wants a flag by its place


def render_board(board: Board, parameters: Parameters) -> str:
    """Write a board; the same bytes for the same board and parameters."""
    document = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.question)
        .tags(["otelkit"])
        .refresh(REFRESH)
        .time(board.range, "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_other_boards())
    )
    for variable in board.variables:
        document.with_variable(_variable(variable))
    chosen = [variable.name for variable in board.variables]
    number = 0
    for title, row in board.rows.items():
        number += 1
        document.with_row(dashboard.Row(title).id(number))
        for line in _lines(row):
            height = max(_HEIGHTS.get(panel.kind, _HEIGHT) for panel in line)
            for panel in line:
                number += 1
                document.with_panel(_panel(panel, number, chosen, parameters).height(height))
    return JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(document.build()) + "\n"


def _lines(row: tuple[Panel, ...]) -> Iterator[list[Panel]]:
    """Yield the panels that stand beside each other, as Grafana places them: they are as high as the highest."""
    line: list[Panel] = []
    for panel in row:
        if sum(each.width for each in line) + panel.width > _COLUMNS:
            yield line
            line = []
        line.append(panel)
    yield line


def _other_boards() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Boards").type(DashboardLinkType.DASHBOARDS).tags(["otelkit"])
    return link.as_dropdown(_YES).include_vars(_YES).keep_time(_YES)


def _variable(variable: Variable) -> Builder[Any]:
    if variable.options:
        options = [
            VariableOption(selected=not number, text=text, value=value)
            for number, (text, value) in enumerate(variable.options.items())
        ]
        written = ", ".join(f"{text} : {value}" for text, value in variable.options.items())
        choice = dashboard.CustomVariable(variable.name).label(variable.label)
        return choice.values(written).options(options).current(options[0])
    if not variable.query:
        typed = VariableOption(selected=True, text=variable.every, value=variable.every)
        box = dashboard.TextBoxVariable(variable.name).label(variable.label).default_value(variable.every)
        return box.current(typed).options([typed])
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(_source("prometheus"))
        # As text: Grafana takes it for what its editor would write, whatever that is in its version.
        .query(variable.query)
        .definition(variable.query)
        .include_all(_YES)
        .all_value(variable.every)
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def _source(name: str) -> DataSourceRef:
    return DataSourceRef(type_val=name, uid=name)


def _panel(panel: Panel, number: int, chosen: list[str], parameters: Parameters) -> _Built:
    built = _BUILDERS[panel.kind](panel)
    built.id(number).title(panel.title).description(panel.about).unit(panel.unit)
    built.datasource(_source(panel.source)).links([_link(panel.link, chosen)])
    built.max_data_points(MOST_POINTS).span(panel.width)
    for letter, target in zip("ABCDEFGH", panel.targets, strict=False):
        built.with_target(_target(panel, target, letter))
    if panel.most:
        built.max(panel.most)
    if panel.colours:
        shown = {
            f"{value:g}": ValueMappingResult(text=text, color=colour) for value, (text, colour) in panel.colours.items()
        }
        built.mappings([ValueMap(options=shown)])
    built.thresholds(_thresholds(panel, parameters))
    if panel.kind == "table":
        _tabled(built, panel, chosen)
    return built


def _timeseries(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(_YES)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    built = timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(10)
    if panel.warn or panel.bad:
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return built if panel.negative else built.min(0)


def _bars(panel: Panel) -> timeseries.Panel:
    stacked = common.StackingConfig().mode(StackingMode.NORMAL)
    return _timeseries(panel).draw_style(GraphDrawStyle.BARS).fill_opacity(80).stacking(stacked)


def _logs(_: Panel) -> logs.Panel:
    built = logs.Panel().show_time(_YES).wrap_log_message(_YES).enable_log_details(_YES)
    return built.sort_order(LogsSortOrder.DESCENDING)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _stat(panel: Panel) -> stat.Panel:
    built = stat.Panel().reduce_options(_last()).graph_mode(BigValueGraphMode.AREA)
    return built.color_mode(BigValueColorMode.VALUE if panel.warn or panel.bad else BigValueColorMode.NONE)


def _gauge(_: Panel) -> gauge.Panel:
    return gauge.Panel().reduce_options(_last()).min(0).show_threshold_markers(_YES)


def _bargauge(_: Panel) -> bargauge.Panel:
    return bargauge.Panel().reduce_options(_last()).min(0).orientation(VizOrientation.HORIZONTAL)


def _heatmap(panel: Panel) -> heatmap.Panel:
    # Buckets as they come, one row each; what a cell holds is a count.
    rows = heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.AUTO)
    axis = heatmap.YAxisConfig().unit(panel.unit).axis_placement(AxisPlacement.LEFT)
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return heatmap.Panel().calculate(calculate=False).rows_frame(rows).y_axis(axis).color(colours)


def _pie(_: Panel) -> piechart.Panel:
    legend = piechart.PieChartLegendOptions().show_legend(_YES).display_mode(LegendDisplayMode.TABLE)
    legend.placement(LegendPlacement.RIGHT).values([PieChartLegendValues.VALUE, PieChartLegendValues.PERCENT])
    return piechart.Panel().reduce_options(_last()).legend(legend)


def _states(_: Panel) -> statetimeline.Panel:
    return statetimeline.Panel().show_value(VisibilityMode.NEVER).merge_values(_YES)


def _graph(panel: Panel) -> nodegraph.Panel:
    return nodegraph.Panel().edges(nodegraph.EdgeOptions().main_stat_unit(panel.unit))


def _alerts(panel: Panel) -> dashboard.Panel:
    states = {"firing": True, "pending": False, "noData": False, "normal": False, "error": True}
    options = {"viewMode": "list", "groupMode": "default", "groupBy": [], "maxItems": 20, "sortOrder": 3}
    source = {"datasource": panel.source.capitalize(), "stateFilter": states, "dashboardAlerts": False}
    # The SDK has no class for this kind: Grafana writes no schema of it.
    return dashboard.Panel().type("alertlist").options({**options, **source})


_BUILDERS: Mapping[str, Callable[[Panel], _Built]] = {
    "timeseries": _timeseries,
    "bars": _bars,
    "stat": _stat,
    "gauge": _gauge,
    "bargauge": _bargauge,
    "heatmap": _heatmap,
    "pie": _pie,
    "states": _states,
    "table": lambda _: table.Panel(),
    "graph": _graph,
    "logs": _logs,
    "searched": lambda _: table.Panel(),
    "trace": lambda _: dashboard.Panel().type("traces"),
    "alerts": _alerts,
}


def _target(panel: Panel, target: Target, letter: str) -> Builder[Dataquery]:
    source = _source(panel.source)
    if panel.source == "loki":
        query = loki.Dataquery().datasource(source).ref_id(letter).expr(target.query)
        query.query_type("instant" if target.instant else "range")
        return query.legend_format(target.legend) if target.legend else query
    if panel.source == "tempo":
        search = tempo.Dataquery().datasource(source).ref_id(letter)
        if panel.kind == "graph":
            return search.query_type("serviceMap").service_map_query(target.query)
        return search.query_type("traceql").query(target.query).limit(20).table_type(SearchTableType.TRACES)
    metric = prometheus.Dataquery().datasource(source).ref_id(letter).expr(target.query)
    metric.instant() if target.instant else metric.range().exemplar(target.exemplar)
    if form := _FORMATS.get(panel.kind):
        metric.format(form)
    return metric.legend_format(_BUCKET if panel.kind == "heatmap" else target.legend)


_FORMATS = {"table": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}
_BUCKET = "{{le}}"


def _link(link: Link, chosen: list[str]) -> dashboard.DashboardLink:
    if link.board:
        url = _board_url(link.board, chosen)
    else:
        url = (_explore.tempo if link.source == "tempo" else _explore.loki)(link.query, **_TIMES)
    return dashboard.DashboardLink(link.title).type(DashboardLinkType.LINK).url(url)


def _board_url(board: str, chosen: list[str], **cell: str) -> str:
    """Lead to a board with what was chosen here, but for what the cell says."""
    values = {name: f"${{{name}:queryparam}}" for name in chosen if name in ("ns", "env", "svc")}
    values |= {name: f"var-{name}={value}" for name, value in cell.items()}
    return f"/d/{uid(board)}?" + "&".join((*values.values(), "${__url_time_range}"))


def _thresholds(panel: Panel, parameters: Parameters) -> dashboard.ThresholdsConfig:
    """Colour as the alerts judge: at their numbers, from what people chose."""
    bounds = [
        (_number(each, parameters), colour) for each, colour in ((panel.warn, "yellow"), (panel.bad, "red")) if each
    ]
    steps = [Threshold(value=None, color="green")]
    if panel.low:
        # From the worst upwards: each colour ends where the next, better one begins.
        bounds.sort()
        colours = [colour for _, colour in bounds] + ["green"]
        steps = [Threshold(value=None, color=colours[0])]
        steps += [Threshold(value=value, color=colour) for (value, _), colour in zip(bounds, colours[1:], strict=True)]
    else:
        steps += [Threshold(value=value, color=colour) for value, colour in bounds]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _number(threshold: Tuned, parameters: Parameters) -> float:
    return float(parameters.in_force(threshold))  # 2 and 2.0 are the same bytes


def _tabled(built: _Built, panel: Panel, chosen: list[str]) -> None:
    """Make one table of the answers to all targets: one row for each set of labels, a column for each value."""
    values = ["Value"] if len(panel.targets) == 1 else [f"Value #{letter}" for letter in "ABCDEFGH"]
    titles = dict(zip(values, (target.legend for target in panel.targets), strict=False))
    if panel.source == "loki":
        # Loki answers with one table for each set of labels. The label `column` says which value it is.
        built.with_transformation(
            DataTransformerConfig(id_val="labelsToFields", options={"mode": "columns", "valueLabel": "column"})
        )
    built.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    renamed = titles | {name: column.title for name, column in panel.columns.items() if column.title}
    built.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": renamed},
        )
    )
    if panel.sort:
        options = {"sort": [{"field": panel.sort, "desc": True}]}
        built.with_transformation(DataTransformerConfig(id_val="sortBy", options=options))
    for target in panel.targets:
        if target.unit:
            built.override_by_name(target.legend, [DynamicConfigValue(id_val="unit", value=target.unit)])
    for name, column in panel.columns.items():
        if properties := list(_properties(column, chosen)):
            built.override_by_name(column.title or name, properties)


def _properties(column: Column, chosen: list[str]) -> Iterator[DynamicConfigValue]:
    if column.unit:
        yield DynamicConfigValue(id_val="unit", value=column.unit)
    if column.width:
        yield DynamicConfigValue(id_val="custom.width", value=column.width)
    links = []
    if column.board:
        url = _board_url(column.board, chosen, **{column.var: "${__value.raw:percentencode}"})
        links.append({"title": f"Open the board {column.board}", "url": url})
    links += [{"title": title, "url": url} for title, url in column.links.items()]
    if links:
        yield DynamicConfigValue(id_val="links", value=links)
