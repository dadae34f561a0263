"""The only place that proves the alerts on logs, on both sides of their numbers: Loki evaluates them, promtool cannot.

The rules are the rendered ones, in a copy that differs in three things: it is for the services of this test, without
`for`, so that one evaluation tells, and looked at every second. All records are pushed at once, and the ruler is asked
once: what does not fire then does not fire.
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops.mixin.groups import logs
from otelkit.ops.mixin.parameters import Parameters, Service
from otelkit.ops.mixin.rules import render_rules
from support.processes import http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stack import Stack

DEADLINE = 60.0
INFO, WARN4, ERROR, FATAL = 9, 16, 17, 21

# How many records of which level each service has. LogErrorBurst: 1 a second over two minutes are 120, 0.5 are 60.
# LogVolumeSpike: 0.5 a second over five minutes are 150; the default of 1000 a second would be 300,000.
RECORDS = {
    "bursting": {ERROR: 130},
    "fatal": {FATAL: 130},
    "calm": {ERROR: 110, WARN4: 130},
    "strict": {ERROR: 66},
    "strict-calm": {ERROR: 54},
    "spared": {ERROR: 130},
    "talking": {INFO: 160},
    "terse": {INFO: 140},
}
CHOSEN = {
    "strict": Service(thresholds={"log_errors": 0.5}),
    "strict-calm": Service(thresholds={"log_errors": 0.5}),
    "spared": Service(disable=frozenset({"LogErrorBurst"})),
    "talking": Service(thresholds={"log_rate": 0.5}, namespace="tests", environment="e2e"),
    "terse": Service(thresholds={"log_rate": 0.5}),
    "silent": Service(namespace="tests"),
    "elsewhere": Service(namespace="another"),
    "optional": Service(expected=False),
    "unwatched": Service(disable=frozenset({"LogsAbsent"})),
}
PLACED = {"talking": {"service.namespace": "tests", "deployment.environment.name": "e2e"}}
IN_PLACE = {"service_namespace": "tests", "service_name": "talking", "deployment_environment_name": "e2e"}
# By alert: the labels of what fires, `service_name` without the part that is of this test only, and the summary's rest.
FIRES: dict[str, list[tuple[dict[str, str], str]]] = {
    "LogErrorBurst": [
        ({"service_name": "bursting"}, "logs 1.083 errors a second"),
        ({"service_name": "fatal"}, "logs 1.083 errors a second"),
        ({"service_name": "strict"}, "logs 550m errors a second"),
    ],
    "LogVolumeSpike": [(IN_PLACE, "logs 533.3m records a second")],
    "LogsAbsent": [
        ({"service_namespace": "another", "service_name": "elsewhere"}, "logs nothing"),
        ({"service_namespace": "tests", "service_name": "silent"}, "logs nothing"),
    ],
}


@dataclass(frozen=True)
class Ruler:
    """What Loki makes of the rules of this test.

    Args:
        running: The stack.
        group: What the group of the rules, and each service of this test, begins with.
    """

    running: Stack
    group: str

    def asked(self, path: str) -> Any:
        return json.loads(http_get(f"{self.running.loki}{path}").body)["data"]

    def rules(self) -> list[dict[str, Any]]:
        groups = self.asked("/prometheus/api/v1/rules")["groups"]
        return [{**rule, "group": group["name"]} for group in groups for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Return those of the copy; the rules that the stack came with see the same records."""
        return [alert for rule in self.rules() if rule["group"] == self.group for alert in rule["alerts"]]


@pytest.fixture(scope="module")
def ruler(running: Stack) -> Iterator[Ruler]:
    """Loki, with the records of all services and the rules of this test, each of them evaluated."""
    unique = f"logs-{uuid.uuid4().hex[:8]}-"
    ruler = Ruler(running, unique)
    rules = running.place / f"deploy/loki/rules/fake/{unique}.yaml"
    _push(running, unique)
    wanted = sum(count for levels in RECORDS.values() for count in levels.values())
    wait_until(lambda: _stored(ruler) == wanted, within=DEADLINE, what="all records are stored")
    rules.write_text(_copy(unique))
    try:
        wait_until(lambda: _evaluated(ruler), within=DEADLINE, what="every rule of the test is evaluated")
        yield ruler
    finally:
        rules.unlink()


def test_what_fires_is_what_is_beyond_its_number(ruler: Ruler) -> None:
    told = sorted((each["labels"]["alertname"], _labels(ruler, each)["service_name"]) for each in ruler.alerts())
    assert told == [(name, labels["service_name"]) for name, each in FIRES.items() for labels, _ in each]
    assert {each["state"] for each in ruler.alerts()} == {"firing"}


def test_an_alert_has_the_labels_and_the_words_that_it_is_declared_with(ruler: Ruler) -> None:
    declared = {alert.name: alert for alert in logs.GROUP.alerts}
    found = {(each["labels"]["alertname"], _labels(ruler, each)["service_name"]): each for each in ruler.alerts()}
    for name, expected in FIRES.items():
        for labels, said in expected:
            alert = found[name, labels["service_name"]]
            added = {"alertname": name, "group": "logs", "severity": declared[name].severity}
            assert _labels(ruler, alert) == {**labels, **added}
            service = f"{ruler.group}{labels['service_name']}"
            annotations = alert["annotations"]
            assert annotations["summary"] == f"{service} {said}"
            assert annotations["description"] == declared[name].feels
            assert annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
            namespace = labels.get("service_namespace", "$__all")
            assert f"/d/otelkit-logs?var-ns={namespace}&var-svc={service}&var-env=" in annotations["dashboard_url"]


def test_every_rule_in_the_ruler_is_healthy(ruler: Ruler) -> None:
    """Those that the stack came with too."""

    def sick() -> list[str]:
        return [
            f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in ruler.rules() if _sick(rule)
        ]

    wait_until(lambda: not sick(), within=DEADLINE, what=f"every rule is healthy: {sick()}")


def test_alertmanager_is_told(ruler: Ruler) -> None:
    def told() -> set[tuple[str, str]]:
        alerts = json.loads(http_get(f"{ruler.running.alertmanager}/api/v2/alerts").body)
        named = [each for each in alerts if "service_name" in each["labels"]]
        return {(each["labels"]["alertname"], _labels(ruler, each)["service_name"]) for each in named}

    expected = {(name, labels["service_name"]) for name, each in FIRES.items() for labels, _ in each}
    wait_until(lambda: told() >= expected, within=DEADLINE, what="Alertmanager has heard of all that fire")


def _copy(unique: str) -> str:
    """Return the rendered rules for the services of this test, without `for`."""
    parameters = Parameters(services={f"{unique}{name}": chosen for name, chosen in CHOSEN.items()})
    rendered = render_rules(logs.GROUP, parameters, "logql").replace(
        'service_name=~".+"', f'service_name=~"{unique}.+"'
    )
    document = yaml.safe_load(rendered)
    (group,) = document["groups"]
    group |= {"name": unique, "interval": "1s"}
    for rule in group["rules"]:
        rule.pop("for")
        rule.pop("keep_firing_for", None)
    return yaml.safe_dump(document)


def _evaluated(ruler: Ruler) -> bool:
    rules = [rule for rule in ruler.rules() if rule["group"] == ruler.group]
    return bool(rules) and not any(map(_sick, rules))


def _sick(rule: dict[str, Any]) -> bool:
    return bool(rule["health"] != "ok")  # "unknown" until it was evaluated


def _labels(ruler: Ruler, alert: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = alert["labels"]
    return {**labels, "service_name": labels["service_name"].removeprefix(ruler.group)}


def _stored(ruler: Ruler) -> int:
    query = f"sum(count_over_time(%7Bservice_name=~%22{ruler.group}.%2B%22%7D%5B10m%5D))"
    return sum(int(each["value"][1]) for each in ruler.asked(f"/loki/api/v1/query?query={query}")["result"])


def _push(running: Stack, unique: str) -> None:
    """Send the records of all services to the Collector, in one request."""
    now = str(time.time_ns())
    resources = [
        {
            "resource": {"attributes": _attributes({"service.name": f"{unique}{service}", **PLACED.get(service, {})})},
            "scopeLogs": [
                {
                    "logRecords": [
                        {"timeUnixNano": now, "severityNumber": level, "body": {"stringValue": f"record {number}"}}
                        for level, count in levels.items()
                        for number in range(count)
                    ]
                }
            ],
        }
        for service, levels in RECORDS.items()
    ]
    request = urllib.request.Request(  # noqa: S310  loopback URLs of the tests
        f"{running.otlp_http}/v1/logs",
        json.dumps({"resourceLogs": resources}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in values.items()]
