"""The only place that holds what Grafana is given against what Grafana 13.2 reads, without running it.

Grafana ignores a key that it does not know, so that a slip of the pen is a link that silently is not there.
`KNOWN` has the keys of the data sources as their source says: upsertDataSourceFromConfigV1
(pkg/services/provisioning/datasources/types.go), PromOptions, LokiOptions, TempoJsonData and
AlertManagerDataSourceJsonData of the plugins that Grafana 13.2 brings along.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelkit.ops import _board, correlation

ROOT = Path(__file__).resolve().parents[2]
PROVISIONING = ROOT / "deploy/grafana/provisioning"
DATASOURCES = PROVISIONING / "datasources/stack.yaml"
PROVIDERS = PROVISIONING / "dashboards/stack.yaml"

FILE = {"apiVersion", "prune", "deleteDatasources", "datasources"}
SOURCE = {"name", "uid", "type", "access", "url", "isDefault", "editable", "orgId", "version", "jsonData"}
EVERY = {"manageAlerts", "alertmanagerUid", "timeout", "tlsSkipVerify", "keepCookies"}
TAG = {"key": None, "value": None}
SHIFTS = {"spanStartTimeShift": None, "spanEndTimeShift": None}
LINK = {"name": None, "datasourceUid": None, "url": None, "urlDisplayLabel": None}
# Each key with those below it; None where it has a plain value.
KNOWN: dict[str, dict[str, Any]] = {
    "prometheus": {
        **dict.fromkeys(EVERY),
        **dict.fromkeys(("httpMethod", "prometheusType", "prometheusVersion", "timeInterval", "queryTimeout")),
        "exemplarTraceIdDestinations": LINK,
    },
    "loki": {
        **dict.fromkeys(EVERY),
        "maxLines": None,
        "derivedFields": {**LINK, "matcherType": None, "matcherRegex": None, "targetBlank": None},
    },
    "tempo": {
        **dict.fromkeys(EVERY),
        "tracesToLogsV2": {
            **SHIFTS,
            "datasourceUid": None,
            "tags": TAG,
            "customQuery": None,
            "query": None,
            "filterByTraceID": None,
            "filterBySpanID": None,
        },
        "tracesToMetrics": {
            **SHIFTS,
            "datasourceUid": None,
            "tags": TAG,
            "queries": {"name": None, "query": None},
        },
        "serviceMap": {"datasourceUid": None},
        "nodeGraph": {"enabled": None},
        "search": {"hide": None},
        "spanBar": {"type": None, "tag": None},
        "traceQuery": {**SHIFTS, "timeShiftEnabled": None},
        "streamingEnabled": {"search": None, "metrics": None},
    },
    "alertmanager": {**dict.fromkeys(EVERY), "implementation": None, "handleGrafanaManagedAlerts": None},
}
PROVIDER = {
    *("name", "type", "orgId", "folder", "folderUid", "disableDeletion", "updateIntervalSeconds"),
    *("allowUiUpdates", "options"),
}
# What links of ours, rules and dashboards call them: a change breaks what others have saved.
UIDS = {"Prometheus": "prometheus", "Tempo": "tempo", "Loki": "loki", "Alertmanager": "alertmanager"}
URLS = {f"$STACK_{name.upper()}_URL" for name in UIDS}


@pytest.fixture(scope="module")
def sources() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(DATASOURCES.read_text())["datasources"]
    return found


def unknown(value: Any, known: dict[str, Any] | None, path: str = "") -> list[str]:
    """Name the keys that Grafana would pass over in silence."""
    if isinstance(value, list):
        return [name for item in value for name in unknown(item, known, path)]
    if not isinstance(value, dict):
        return []
    found = []
    for key, below in value.items():
        at = f"{path}.{key}"
        found += unknown(below, known[key], at) if known and key in known else [at]
    return found


def test_every_key_is_one_that_grafana_reads(sources: list[dict[str, Any]]) -> None:
    assert set(yaml.safe_load(DATASOURCES.read_text())) <= FILE
    assert [key for source in sources for key in source if key not in SOURCE] == []
    assert [name for source in sources for name in unknown(source["jsonData"], KNOWN[source["type"]])] == []


def test_a_key_that_nothing_reads_is_named() -> None:
    slip = {"serviceMap": {"datasourceUID": "prometheus"}, "tracesToLogsV2": {"tags": [{"name": "service.name"}]}}
    assert unknown(slip, KNOWN["tempo"]) == [".serviceMap.datasourceUID", ".tracesToLogsV2.tags.name"]


def test_names_uids_and_addresses_are_the_ones_that_everybody_relies_on(sources: list[dict[str, Any]]) -> None:
    assert {source["name"]: source["uid"] for source in sources} == UIDS
    assert {source["url"] for source in sources} == URLS
    assert [source["name"] for source in sources if source.get("isDefault")] == ["Prometheus"]
    assert {source["access"] for source in sources} == {"proxy"}


def test_every_data_source_that_is_named_is_there(sources: list[dict[str, Any]]) -> None:
    named = set(re.findall(r"(?:datasourceUid|alertmanagerUid): (\S+)", DATASOURCES.read_text()))
    assert named == {"tempo", "loki", "prometheus", "alertmanager"}
    assert named <= {source["uid"] for source in sources}


def test_only_addresses_come_from_variables_and_what_grafana_fills_in_later_survives() -> None:
    """A dollar that is not doubled is taken for a variable of the environment, and vanishes."""
    text = "\n".join(line for line in DATASOURCES.read_text().splitlines() if not line.lstrip().startswith("#"))
    single = re.findall(r"(?<!\$)\$(?!\$)\w+", text)
    assert set(single) == URLS
    tempo, loki = (correlation.load(DATASOURCES)[uid].data for uid in ("tempo", "loki"))
    assert tempo["tracesToLogsV2"]["query"] == '{${__tags}} | trace_id = "${__trace.traceId}"'
    assert all("{$__tags" in query["query"] for query in tempo["tracesToMetrics"]["queries"])
    assert loki["derivedFields"][0]["url"] == "${__value.raw}"
    assert loki["derivedFields"][0]["matcherRegex"] == "^trace_id$"


def test_the_interval_is_the_one_that_applications_push_at(sources: list[dict[str, Any]]) -> None:
    prometheus = next(source for source in sources if source["uid"] == "prometheus")
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scraped


def test_the_boards_are_found_beside_the_provisioning_in_a_container_and_natively() -> None:
    document = yaml.safe_load(PROVIDERS.read_text())
    assert set(document) == {"apiVersion", "providers"}
    (provider,) = document["providers"]
    assert set(provider) <= PROVIDER
    assert (provider["type"], provider["folder"]) == ("file", "otelkit")
    path = provider["options"]["path"].replace("$GF_PATHS_PROVISIONING", str(PROVISIONING))
    assert Path(path).resolve() == ROOT / "deploy/grafana/dashboards"


BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/service.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
ASKED = [target.get("expr", target.get("query")) for target in TARGETS]
# What Grafana fills in by itself, beside the board's own variables.
MACROS = {"__rate_interval", "__range", "__auto", "__from", "__to"}
MOST_QUERIES = 24


def test_the_board_is_one_that_grafana_opens_and_keeps_fresh() -> None:
    assert (BOARD["uid"], BOARD["title"], BOARD["refresh"]) == ("otelkit-service", "Service", "30s")
    assert BOARD["schemaVersion"] >= 41, "older ones are rewritten at each start"
    assert "id" not in BOARD, "Grafana's own number for it"
    assert (BOARD["time"]["from"], BOARD["tags"]) == ("now-1h", ["otelkit"])
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["ns", "env", "svc"]


def test_every_panel_says_what_it_shows_in_which_unit_and_where_to_go_on() -> None:
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        (link,) = panel["links"]
        assert link["url"].startswith("/explore?schemaVersion=1&panes=%7B"), panel["title"]
        assert set(re.findall(r"\$\{(\w+)", link["url"])) <= {"ns", "env", "svc", *MACROS}


def test_queries_name_known_data_sources_and_variables_and_are_few() -> None:
    assert len(TARGETS) <= MOST_QUERIES
    for panel in PANELS:
        uids = {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])}
        assert len(uids) == 1
        assert uids <= set(UIDS.values())
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    used = {name for query in ASKED for name in re.findall(r"\$(\w+)", query)}
    assert used <= {"ns", "env", "svc", *MACROS}


def test_every_query_is_about_the_service_that_was_chosen_and_works_without_a_namespace() -> None:
    """`.*` matches a label that is not there; a query of Loki needs one matcher that does not."""
    assert [query for query in ASKED if '=~"$svc"' not in query] == []
    assert {variable["name"]: variable["allValue"] for variable in BOARD["templating"]["list"]} == {
        "ns": ".*",
        "env": ".*",
        "svc": ".+",
    }


def test_probes_are_in_no_rate_error_or_duration_of_requests() -> None:
    of_requests = [query for query in ASKED if "http_server_request_duration" in query]
    assert len(of_requests) > 6
    for query in of_requests:
        selectors = re.findall(r"http_server_request_duration_seconds_\w+\{(.*?)\}(?:\[|\))", query)
        assert selectors
        assert all(f'http_route!~"{_board.HEALTH}"' in selector for selector in selectors)
    for route, probe in (("/health", True), ("/health/ready", True), ("/livez", True), ("/healthcare", False)):
        assert bool(re.fullmatch(_board.HEALTH, route)) is probe


def test_exemplars_are_asked_for_where_a_graph_of_durations_can_show_them() -> None:
    asked = [(panel, target) for panel in PANELS for target in panel["targets"] if target.get("exemplar")]
    assert {panel["title"] for panel, _ in asked} >= {"Duration", "Statement p95", "Run p95"}
    for panel, target in asked:
        assert panel["type"] == "timeseries"
        assert target["range"]
        assert "_bucket{" in target["expr"]


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
