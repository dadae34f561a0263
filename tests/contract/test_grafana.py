"""The only place that holds what Grafana is given against what Grafana 13.2 reads, without running it.

Grafana ignores a key that it does not know, so that a slip of the pen is a link that silently is not there.
`KNOWN` has the keys of the data sources as their source says: upsertDataSourceFromConfigV1
(pkg/services/provisioning/datasources/types.go), PromOptions, LokiOptions, TempoJsonData and
AlertManagerDataSourceJsonData of the plugins that Grafana 13.2 brings along.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelkit.ops import correlation

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
