"""Every board is one that Grafana opens, and every panel asks for what exists, says what it shows and where to go on.

The boards are looked at as Grafana reads them, made for the example shop, whose catalogue brings one of its own. That
their queries have data is for the tests on a live stack.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from otelkit._catalog import STOCK
from otelkit.metrics import Metric
from otelkit.ops.mixin._selected import selected
from otelkit.ops.mixin.boards import boards, business, render_boards
from otelkit.ops.mixin.boards.model import MACROS, MOST_QUERIES, named, queries
from otelkit.ops.mixin.boards.page import PATH as PAGE
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.model import GROUPS, HEALTH
from otelkit.ops.mixin.parameters import Parameters, Slo
from shop import metrics as shop

if TYPE_CHECKING:
    from otelkit.ops.mixin.boards.model import Query

ROOT = Path(__file__).resolve().parents[2]
DATASOURCES = ROOT / "deploy/grafana/provisioning/datasources/stack.yaml"
CATALOG = shop.catalog.metrics
PARAMETERS = Parameters(slos=(Slo(name="availability", service="api", objective=0.999),))
BOARDS = {board.name: board for board in boards(CATALOG, PARAMETERS)}
FILES = render_boards(boards(CATALOG, PARAMETERS), PARAMETERS)
WRITTEN: dict[str, dict[str, Any]] = {
    Path(path).stem: json.loads(text) for path, text in FILES.items() if path.endswith(".json")
}
ALERTS = [alert for group in groups(PARAMETERS, CATALOG) for alert in group.alerts]
QUERIES = [query for board in BOARDS.values() for query in queries(board)]
PROMQL = [query for query in QUERIES if query.source == "prometheus"]
LOGQL = [query for query in QUERIES if query.source == "loki"]
# What Grafana fills in by itself, in queries and in addresses.
# Of a label that may be missing, "All" is what matches one that is not there; Loki refuses that for all of a selector.
ALL = {"ns": ".*", "env": ".*", "svc": ".+", "old": ".*", "new": ".*"}
FILLED = {*MACROS, "__from", "__to", "__url_time_range", "__value"}
CELLS = {"__value.raw"}
SERVED = re.compile(r"(?:http_server_request_duration_seconds\w*)\{(.*?)\}(?:\[|\))")
MEASURED_IN_SPANS = (
    "http_server_request_duration_seconds",
    "http_client_request_duration_seconds",
    "db_client_operation_duration_seconds",
    "celery_task_duration_seconds",
)
"""Histograms whose values have a trace behind them."""


def shown(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is no heading; a list of alerts asks nothing."""
    return [{"targets": [], **panel} for panel in panels if panel["type"] != "row"]


every_board = pytest.mark.parametrize("name", BOARDS)


def test_every_group_of_alerts_has_its_board() -> None:
    assert set(GROUPS.values()) <= set(BOARDS)
    assert list(WRITTEN) == list(BOARDS)


def test_an_alert_of_services_leads_to_a_board_that_can_be_about_one() -> None:
    of_services = {GROUPS[alert.group] for alert in ALERTS if "$service" in alert.expr}
    assert of_services >= {"red", "database", "worker", "slo", "pipeline", "issues"}
    for name in of_services:
        assert [variable.name for variable in BOARDS[name].variables][:3] == ["ns", "env", "svc"], name


def test_what_links_and_people_call_a_board_is_its_own() -> None:
    assert len({board["uid"] for board in WRITTEN.values()}) == len(WRITTEN)
    assert len({board["title"] for board in WRITTEN.values()}) == len(WRITTEN)
    assert all(board["uid"] == f"otelkit-{name}" for name, board in WRITTEN.items())


def test_the_same_bytes_twice() -> None:
    assert render_boards(boards(CATALOG, PARAMETERS), PARAMETERS) == FILES


@every_board
def test_grafana_opens_it_and_keeps_it_fresh(name: str) -> None:
    board = WRITTEN[name]
    assert board["schemaVersion"] >= 41, "older ones are rewritten at each start"
    assert "id" not in board, "Grafana's own number for it"
    assert (board["refresh"], board["graphTooltip"], board["tags"]) == ("30s", 1, ["otelkit"])
    assert board["time"]["from"] in {"now-1h", "now-24h"}
    assert board["description"].endswith("?")
    (others,) = board["links"]
    assert (others["tags"], others["includeVars"], others["keepTime"]) == (["otelkit"], True, True)


@every_board
def test_a_panel_says_what_it_shows_in_which_unit_and_where_to_go_on(name: str) -> None:
    panels = shown(WRITTEN[name]["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in WRITTEN[name]["panels"]}) == len(WRITTEN[name]["panels"])
    for panel in panels:
        title, about = panel["title"], panel["description"]
        assert about.endswith("."), title
        assert len(about.split()) > len(title.split()) + 3, f"{title}: the title again"
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert len(panel["links"]) == 1, title


@every_board
def test_a_link_leads_to_a_board_or_asks_a_store_with_variables_that_there_are(name: str) -> None:
    uids = {board["uid"]: board for board in WRITTEN.values()}
    known = {variable.name for variable in BOARDS[name].variables} | FILLED | CELLS
    for url in addresses(WRITTEN[name]):
        assert set(re.findall(r"\$\{([\w.]+)", url)) <= known, url
        address = urlsplit(url)
        if address.path.startswith("/d/"):
            target = uids[address.path.removeprefix("/d/")]
            set_there = set(re.findall(r"var-(\w+)=", url))
            assert set_there <= {variable["name"] for variable in target["templating"].get("list", [])}, url
        elif address.path == "/explore":
            (pane,) = json.loads(parse_qs(address.query)["panes"][0]).values()
            assert pane["datasource"] in sources()
        else:
            assert url.startswith(PARAMETERS.runbooks)


@every_board
def test_it_asks_known_data_sources_in_the_classic_form_and_few_questions(name: str) -> None:
    panels = shown(WRITTEN[name]["panels"])
    assert sum(len(panel["targets"]) for panel in panels) <= MOST_QUERIES
    for panel in panels:
        uids = {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])}
        assert len(uids) == 1, panel["title"]
        assert uids <= sources()
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            assert "kind" not in target, "of the second version of boards"
            assert target.get("expr") or target.get("query") or target.get("serviceMapQuery"), panel["title"]
        assert panel["targets"] or panel["type"] == "alertlist"


@every_board
def test_it_has_the_variables_that_it_names_and_no_others(name: str) -> None:
    board = BOARDS[name]
    used = {word for panel in board.panels for target in panel.targets for word in named(target.query)}
    # The namespace only narrows the choice of others.
    used |= {word for variable in board.variables for word in named(variable.query)}
    assert used - MACROS.keys() == {variable.name for variable in board.variables}
    offered = WRITTEN[name]["templating"].get("list", [])
    assert [variable["name"] for variable in offered] == [variable.name for variable in board.variables]
    assert all(each["allValue"] == ALL[each["name"]] for each in offered if each["type"] == "query")


@every_board
def test_no_panel_lies_on_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in WRITTEN[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    # Nor is there a hole between two: what stands beside each other is as high, and as wide as the board.
    deepest = max(y for _, y in taken) + 1
    rows = [panel["gridPos"]["y"] for panel in WRITTEN[name]["panels"] if panel["type"] == "row"]
    assert taken >= {(x, y) for x in range(24) for y in range(deepest) if y not in rows}


@every_board
def test_nothing_is_left_that_grafana_would_have_to_fill_in(name: str) -> None:
    assert [query for query in asked_by(name) if "$" in query.text] == []


@every_board
def test_what_it_selects_exists(name: str) -> None:
    there = known()
    for query in asked_by(name, "prometheus"):
        assert selected(query.text) - there == set(), query.panel.title


def test_no_foreign_series_is_listed_that_no_board_selects() -> None:
    asked = {name for query in PROMQL for name in selected(query.text)}
    assert listed("board_series.txt") - asked == set()
    assert listed("board_series.txt") & listed("foreign_series.txt") == set()


@every_board
def test_probes_are_in_no_rate_error_or_duration_of_requests(name: str) -> None:
    for query in asked_by(name, "prometheus"):
        matchers = SERVED.findall(query.text)
        assert all(f'http_route!~"{HEALTH}"' in each for each in matchers), query.panel.title


def test_probes_are_looked_for_where_requests_are_counted() -> None:
    assert len([query for query in PROMQL if SERVED.search(query.text)]) > 30
    for route, probe in (("/health", True), ("/health/ready", True), ("/livez", True), ("/healthcare", False)):
        assert bool(re.fullmatch(HEALTH, route)) is probe


def test_a_bound_is_matched_as_pushed_and_as_scraped_series_write_it() -> None:
    found = [each for query in PROMQL for each in re.findall(r'\ble(=~?)"([^"]*)"', query.text)]
    assert found
    for operator, bound in found:
        assert operator == "=~"
        assert all(f"{one}.0" in bound.split("|") for one in bound.split("|") if "." not in one)


def test_loki_is_asked_for_streams_that_need_neither_namespace_nor_environment() -> None:
    selectors = [each for query in LOGQL for each in re.findall(r"\{([^}]*)\}", query.text)]
    assert len(selectors) >= len(LOGQL) > 10
    for selector in selectors:
        matchers = dict(re.findall(r'(\w+)=~"([^"]*)"', selector))
        assert matchers.pop("service_name") == ".+"
        assert set(matchers.values()) <= {".*"}


@every_board
def test_durations_have_exemplars_where_a_graph_can_show_them(name: str) -> None:
    for panel in BOARDS[name].panels:
        asked = [target for target in panel.targets if re.search(r"\b(?:0\.95)\b", target.query)]
        measured = [each for each in asked if any(f"{metric}_bucket" in each.query for metric in MEASURED_IN_SPANS)]
        if panel.kind == "timeseries" and measured and name != "release":
            assert any(target.exemplar for target in panel.targets), panel.title
        if any(target.exemplar for target in panel.targets):
            assert panel.kind in ("timeseries", "heatmap"), panel.title
            assert all("_bucket" in target.query for target in panel.targets if target.exemplar)


def test_what_is_drawn_is_what_alerts_compare_with() -> None:
    """By name: whoever changes the number in parameters moves the line."""
    tuned = {
        each.name: each.default for group in groups(PARAMETERS) for alert in group.alerts for each in alert.thresholds
    }
    drawn = {each for board in BOARDS.values() for panel in board.panels for each in (panel.warn, panel.bad) if each}
    assert len(drawn) > 15
    assert {each.name: each.default for each in drawn}.items() <= tuned.items()
    steps = thresholds(render_boards(boards(), Parameters(thresholds={"error_crit": 0.42})), "red", "Error ratio")
    assert steps == [("green", None), ("yellow", 0.01), ("red", 0.42)]
    assert thresholds(render_boards(boards(), PARAMETERS), "cache", "Hit ratio") == [("yellow", None), ("green", 0.8)]


def test_the_public_sees_no_name_and_no_id() -> None:
    board = BOARDS["status"]
    assert board.variables == ()
    for panel in board.panels:
        assert not any("{{" in target.legend for target in panel.targets), panel.title
        assert panel.source == "prometheus"
        assert not any(re.search(r"\bby\b", target.query) for target in panel.targets), panel.title


def test_a_name_in_a_table_of_services_leads_to_its_requests() -> None:
    found = [
        panel
        for board in BOARDS.values()
        for panel in board.panels
        if panel.kind == "table" and re.search(r"\bby \([^)]*\bservice_name\b", panel.targets[0].query)
    ]
    assert len(found) > 8
    for panel in found:
        assert (panel.columns["service_name"].board, panel.columns["service_name"].var) == ("red", "svc"), panel.title


def test_an_alert_leads_to_its_runbook() -> None:
    chosen = Parameters(runbooks="https://runbooks.example/shop")
    board = json.loads(render_boards(boards((), chosen), chosen)["deploy/grafana/dashboards/alerts.json"])
    assert "https://runbooks.example/shop/${__value.raw:percentencode}.md" in addresses(board)


def test_boards_of_what_the_tests_cannot_run_say_so() -> None:
    assert {name for name, board in BOARDS.items() if board.unproven} == {"containers", "mongodb"}


def test_a_service_that_declares_nothing_has_no_board_of_its_own() -> None:
    assert {board.name for board in boards(CATALOG)} - {board.name for board in boards()} == {"business"}


def test_a_declared_metric_is_shown_by_its_closed_attributes() -> None:
    made = business.board(
        (
            Metric(
                name="deals.created",
                kind="counter",
                unit="{deal}",
                description="Deals.",
                attributes={"deal.status": ("open", "closed"), "deal.dealer": str},
            ),
            Metric(name="deals.price", kind="histogram", unit="EUR", description="Prices", buckets=(1.0, 10.0)),
            Metric(name="deals.open", kind="gauge", unit="{deal}", description="Open deals."),
        )
    )
    assert made is not None
    asked = {panel.title: panel for panel in made.panels}
    assert "sum by (deal_status) (rate(deals_created_total{" in asked["Deals created each second"].targets[0].query
    assert asked["Deals created, shares"].kind == "pie"
    assert [target.legend for target in asked["Deals price"].targets] == ["p50", "p95", "p99"]
    assert all("rate(deals_price_EUR_bucket{" in target.query for target in asked["Deals price"].targets)
    assert asked["Deals price"].unit == "currency:EUR"
    assert asked["Deals open"].targets[0].query.startswith("sum by (service_name) (deals_open{")


def test_a_large_catalogue_is_cut_off_where_a_board_is_full() -> None:
    many = tuple(Metric(name=f"shop.number_{n}", kind="histogram", unit="s", description="One.") for n in range(20))
    made = business.board(many)
    assert made is not None
    assert MOST_QUERIES - 3 < len(list(queries(made))) <= MOST_QUERIES
    assert made.panels[0].title == "Shop number 0"


def test_the_reference_has_every_panel_with_its_queries_and_counts_them() -> None:
    text = FILES[PAGE]
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == anchors
    assert len(anchors) == len(BOARDS)
    for board in BOARDS.values():
        for panel in board.panels:
            assert f"| {panel.title} |" in text
            assert all(f"\n{target.query}\n" in text for target in panel.targets)
    said = re.search(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert said is not None
    every, panels, asked, must, may, unproven = map(int, said.groups())
    assert (every, asked) == (len(BOARDS), len(QUERIES))
    assert must + may + unproven == panels
    assert must > 100


def asked_by(board: str, source: str = "") -> list[Query]:
    return [query for query in QUERIES if query.board == board and (not source or query.source == source)]


def addresses(board: dict[str, Any]) -> list[str]:
    """Return where a board's panels and the cells of its tables lead to."""
    found = []
    for panel in shown(board["panels"]):
        found += [link["url"] for link in panel["links"]]
        properties = [each for rule in panel["fieldConfig"]["overrides"] for each in rule["properties"]]
        found += [link["url"] for each in properties if each["id"] == "links" for link in each["value"]]
    return found


def thresholds(written: dict[str, str], board: str, title: str) -> list[tuple[str, float | None]]:
    panels = json.loads(written[f"deploy/grafana/dashboards/{board}.json"])["panels"]
    (steps,) = (each["fieldConfig"]["defaults"]["thresholds"]["steps"] for each in panels if each["title"] == title)
    return [(step["color"], step["value"]) for step in steps]


def sources() -> set[str]:
    return {each["uid"] for each in yaml.safe_load(DATASOURCES.read_text(encoding="utf-8"))["datasources"]}


def known() -> set[str]:
    """Return every series that a board can select."""
    metrics = [*(stock.metric for stock in STOCK), *CATALOG]
    recorded = {rule.name for group in groups(PARAMETERS, CATALOG) for rule in group.recordings}
    foreign = listed("foreign_series.txt") | listed("board_series.txt")
    return {name for metric in metrics for name in metric.series} | recorded | foreign | {"ALERTS", "ALERTS_FOR_STATE"}


def listed(file: str) -> set[str]:
    lines = Path(__file__).with_name(file).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}
