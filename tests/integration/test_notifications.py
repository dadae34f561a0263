"""What a running Alertmanager makes of its generated file: what hides what, and what arrives where people are told.

One Alertmanager for all, with the file as it is generated for everybody but for its times: groups wait a second and are
looked at every second, so that the tests need no minutes. What the times are is read from the file itself.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import yaml

from otelkit.ops.drill.receiver import Receiver
from otelkit.ops.mixin import alertmanager
from otelkit.ops.mixin.groups import GROUPS
from otelkit.ops.mixin.parameters import Parameters
from otelkit.ops.stack import _programs
from support import lanes
from support.processes import HOST, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
LANE = "notifications"
SOON = 60.0  # seconds; a busy machine takes them
ADDRESS = "https://ops.example.org/alertmanager"
QUICK = {"group_wait": "1s", "group_interval": "1s"}
REPEATS = "1s"  # at the look after the next: telling takes time, as the file itself says

SHARED = {"CollectorDown", "DatabaseDown", "RedisDown"}
"""Alerts that hide others, whose ever they are."""

SERVICE = {"service_namespace": "shop", "service_name": "api", "deployment_environment_name": "production"}
OTHER = {**SERVICE, "service_name": "payment"}
ELSEWHERE = {**SERVICE, "deployment_environment_name": "test"}
BARE = {"service_name": "api"}
HERE = {"deployment_environment_name": "production"}
QUEUE = {"service_namespace": "shop", "messaging_destination_name": "mail", **HERE}
ANNOTATIONS = {
    "summary": 'orders <fail> & "more"',
    "description": "Pages fail.",
    "runbook_url": "https://example.org/runbooks/HighErrorRate.md",
    "dashboard_url": "https://grafana.example.org/d/otelkit-red?var-svc=api",
    "traces_url": "https://grafana.example.org/explore?panes=%7B%7D&orgId=1",
}


@dataclass(frozen=True, kw_only=True)
class Running:
    """Alertmanager, and everybody who is told."""

    url: str
    receiver: Receiver
    text: str

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(http_get(f"{self.url}/api/v2/alerts").body)
        return found

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        request = urllib.request.Request(  # noqa: S310  a loopback URL
            f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    @contextmanager
    def firing(self, *alerts: Mapping[str, Any]) -> Iterator[None]:
        """Let the alerts fire in the block, and be resolved after it."""
        self.post(alerts)
        try:
            yield
        finally:
            over = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:01Z"}
            self.post([{**alert, **over} for alert in alerts])


def alert(name: str, severity: str, group: str, labels: Mapping[str, str] | None = None, **more: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "group": group, **(labels or {}), **more},
        "annotations": ANNOTATIONS,
        "generatorURL": "https://prometheus.example.org/graph",
    }


def quick(text: str) -> str:
    """Return the file with the times of the tests: nothing else is another."""
    document = yaml.safe_load(text)
    for route in (document["route"], *document["route"]["routes"]):
        route.update({name: value for name, value in QUICK.items() if name in route})
        if route["receiver"] == "deadman":
            route["repeat_interval"] = REPEATS
    return yaml.safe_dump(document)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    program = _programs.find(_programs.KINDS["alertmanager"], None)
    if program is None:
        lanes.skipped(LANE, missing := "not on PATH: alertmanager")
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    folder = tmp_path_factory.mktemp("alertmanager")
    shutil.copy(ROOT / "deploy/alertmanager/otelkit.tmpl", folder)
    port = free_port()
    with Receiver.listening() as receiver:
        receiver.write_secrets(folder / "secrets")
        for file in (folder / "secrets").iterdir():
            file.write_text(f"{file.read_text()}\n")  # as editors and `echo` leave it
        parameters = Parameters(notify=receiver.notify())
        text = alertmanager.render_alertmanager(parameters, GROUPS, alertmanager.found(folder / "secrets"))
        (folder / "alertmanager.yaml").write_text(quick(text[alertmanager.CONFIGURATION]))
        words = ["--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="]
        words += [f"--web.listen-address={HOST}:{port}", f"--web.external-url={ADDRESS}", "--web.route-prefix=/"]
        with Process([program, *words], folder=folder, cwd=folder) as process:
            url = f"http://{HOST}:{port}"
            process.wait_http(f"{url}/-/ready", within=SOON)
            yield Running(url=url, receiver=receiver, text=text[alertmanager.CONFIGURATION])
        # What Alertmanager could not tell somebody is an error in its log, and so is a template that fails.
        assert not re.search(r"level=(WARN|ERROR)", process.stderr), process.tail()
        assert receiver.refused == []


class TestInhibition:
    """Every rule with what it hides and with what is nearest to it and stays, posted at once and read back."""

    @pytest.mark.parametrize(
        ("source", "hidden", "told"),
        [
            pytest.param(
                alert("HighErrorRate", "critical", "http", SERVICE),
                [
                    alert("ElevatedErrorRate", "warning", "http", SERVICE),
                    alert("HighRequestRate", "info", "http", SERVICE, http_route="/"),
                ],
                [
                    alert("ElevatedErrorRate", "warning", "http", OTHER),
                    alert("ElevatedErrorRate", "warning", "http", ELSEWHERE),
                    alert("ElevatedErrorRate", "warning", "http", BARE),
                    alert("CacheHitRateLow", "warning", "cache", SERVICE),
                    alert("HighLatency", "critical", "http", SERVICE),
                    alert("ServiceRestarting", "warning", "", SERVICE),
                    alert("Unthought", "unheard_of", "http", SERVICE),
                ],
                id="the louder alert of one board and one service",
            ),
            pytest.param(
                alert("HighErrorRate", "critical", "http", BARE),
                [alert("ElevatedErrorRate", "warning", "http", BARE)],
                [alert("ElevatedErrorRate", "warning", "http", SERVICE)],
                id="a service without namespace and environment is one too",
            ),
            pytest.param(
                alert("SLOBudgetBurn", "critical", "slo", SERVICE, slo="availability", window="1h"),
                [alert("SLOBudgetBurn", "warning", "slo", SERVICE, slo="availability", window="3d")],
                [alert("SLOBudgetBurn", "warning", "slo", SERVICE, slo="latency", window="3d")],
                id="of an SLO, the louder one of the same SLO",
            ),
            pytest.param(
                alert("CeleryStalled", "critical", "celery", QUEUE),
                [alert("CeleryQueueBacklog", "warning", "celery", QUEUE)],
                [
                    alert("CeleryQueueBacklog", "warning", "celery", {**QUEUE, "messaging_destination_name": "slow"}),
                    alert("CeleryQueueBacklog", "warning", "celery", {**QUEUE, **HERE, "service_namespace": "crm"}),
                    alert("CeleryQueueBacklog", "warning", "celery", {"messaging_destination_name": "mail"}),
                    alert("CeleryQueueBacklog", "warning", "celery", {**QUEUE, "deployment_environment_name": "test"}),
                    alert("CeleryQueueWaitHigh", "warning", "celery", {**QUEUE, **SERVICE}),
                    alert("LokiDiscarding", "warning", "stack", {"service_namespace": "shop", **HERE}),
                ],
                id="of a queue, which has no service, the louder one of the same queue",
            ),
            pytest.param(
                alert("PublishFailing", "critical", "celery", {**QUEUE, **SERVICE}),
                [alert("CeleryRetryStorm", "warning", "celery", SERVICE)],
                [alert("CeleryQueueBacklog", "warning", "celery", QUEUE)],
                id="who cannot publish says nothing about the queue",
            ),
            pytest.param(
                alert("PrometheusRulesFailing", "critical", "stack"),
                [],
                [
                    alert("LokiDiscarding", "warning", "stack"),
                    alert("BackendNotAccepting", "warning", "collector"),
                    alert("TargetDown", "warning", ""),
                    alert("ElevatedErrorRate", "warning", "http", SERVICE),
                    alert("Watchdog", "none", "watchdog"),
                ],
                id="a critical alert of the stack hides no warning at all",
            ),
            pytest.param(
                alert("DiskFull", "critical", "", SERVICE),
                [],
                [alert("TargetSlow", "warning", "", SERVICE)],
                id="nor does one without a board",
            ),
            pytest.param(
                alert("ServiceDown", "critical", "service", SERVICE),
                [
                    *(
                        alert(f"Any{group}", "critical", group, SERVICE)
                        for group in ("http", "slo", "business", "cache", "db", "celery")
                    ),
                    alert("ServiceRestarting", "warning", "service", SERVICE),
                ],
                [
                    alert("HighErrorRate", "critical", "http", OTHER),
                    alert("HighErrorRate", "critical", "http", ELSEWHERE),
                    alert("HighErrorRate", "critical", "http", BARE),
                    alert("HealthCheckFailing", "critical", "service", SERVICE),
                    alert("TelemetryDropped", "warning", "telemetry", SERVICE),
                    alert("ErrorFingerprintNew", "warning", "errors", SERVICE),
                    alert("DatabaseDown", "critical", "db"),
                ],
                id="a service that is gone",
            ),
            pytest.param(
                alert("DatabaseDown", "critical", "db", HERE),
                [
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="postgresql"),
                    alert("DbPoolExhausted", "critical", "db", OTHER),
                    alert("SlowQueries", "warning", "db", SERVICE, db_system_name="postgresql"),
                ],
                [
                    alert("DbErrors", "warning", "db", ELSEWHERE, db_system_name="postgresql"),
                    alert("DbErrors", "warning", "db", BARE, db_system_name="postgresql"),
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="redis"),
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="mysql"),
                    alert("HighErrorRate", "critical", "http", SERVICE),
                    alert("DatabaseConnectionsHigh", "warning", "db", HERE),
                ],
                id="a database, for the services of its environment",
            ),
            pytest.param(
                alert("DatabaseDown", "critical", "db"),
                [
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="postgresql"),
                    alert("DbPoolHigh", "warning", "db", ELSEWHERE),
                    alert("DbPoolExhausted", "critical", "db", {"service_name": "payment"}),
                ],
                [
                    alert("DbErrors", "warning", "db", BARE, db_system_name="redis"),
                    alert("HighLatency", "critical", "http", BARE),
                    alert("DatabaseDeadlocks", "warning", "db"),
                ],
                id="a database whose exporter knows no environment, for the services of all",
            ),
            pytest.param(
                alert("RedisDown", "critical", "cache", HERE),
                [
                    alert("CacheHitRateLow", "warning", "cache", SERVICE),
                    alert("PublishFailing", "critical", "celery", OTHER),
                    alert("CeleryStalled", "critical", "celery", QUEUE),
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="redis"),
                ],
                [
                    alert("CacheHitRateLow", "warning", "cache", ELSEWHERE),
                    alert("CeleryStalled", "critical", "celery", {"messaging_destination_name": "mail"}),
                    alert("DbErrors", "warning", "db", SERVICE, db_system_name="postgresql"),
                    alert("DbPoolHigh", "warning", "db", SERVICE),
                    alert("HighErrorRate", "critical", "http", SERVICE),
                    alert("RedisMemoryHigh", "warning", "cache", HERE),
                ],
                id="Redis, for what uses it in its environment",
            ),
            pytest.param(
                alert("RedisDown", "critical", "cache"),
                [
                    alert("CacheHitRateLow", "warning", "cache", BARE),
                    alert("CeleryTasksFailing", "warning", "celery", SERVICE),
                    alert("CeleryQueueBacklog", "warning", "celery", QUEUE),
                    alert("SlowQueries", "warning", "db", ELSEWHERE, db_system_name="redis"),
                ],
                [
                    alert("SlowQueries", "warning", "db", BARE, db_system_name="postgresql"),
                    alert("HealthCheckFailing", "critical", "service", BARE),
                    alert("RedisEvicting", "info", "cache"),
                ],
                id="Redis whose exporter knows no environment, for the services of all",
            ),
        ],
    )
    def test_an_alert_hides_what_it_explains_and_no_more(
        self,
        source: Mapping[str, Any],
        hidden: Sequence[Mapping[str, Any]],
        told: Sequence[Mapping[str, Any]],
        running: Running,
        request: pytest.FixtureRequest,
    ) -> None:
        hides(running, request.node.callspec.id, source, hidden, told)

    def test_what_follows_from_missing_data_is_hidden_by_a_collector_that_is_down(
        self, running: Running, request: pytest.FixtureRequest
    ) -> None:
        absent = [each for group in GROUPS for each in group.alerts if each.absence]
        assert {"ServiceDown", "TrafficStopped", "SLODataMissing", "CeleryStalled", "LogsAbsent"} <= {
            each.name for each in absent
        }
        others = [each for group in GROUPS for each in group.alerts if not each.absence]
        hides(
            running,
            request.node.name,
            alert("CollectorDown", "critical", "collector", job="otelcol"),
            [alert(each.name, each.severity, each.group, SERVICE) for each in absent],
            [alert(each.name, each.severity, each.group, OTHER) for each in others if each.name not in SHARED],
            apart=True,
        )

    def test_every_rule_of_the_file_hides_something_in_these_tests(self, running: Running) -> None:
        sources = {each for rule in yaml.safe_load(running.text)["inhibit_rules"] for each in rule["source_matchers"]}
        named = {found for each in sources for found in re.findall(r'alertname="(\w+)"', each)}
        assert named == {"ServiceDown", "CollectorDown", "DatabaseDown", "RedisDown"}


def hides(
    running: Running,
    case: str,
    source: Mapping[str, Any],
    hidden: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    *,
    apart: bool = False,
) -> None:
    """Assert what the source hides; `apart` gives each alert a service of its own, so that nothing else hides any."""
    # A pair that is known to hide tells when Alertmanager has looked at all of them.
    known = {"service_name": "known", "case": case}
    pair = [alert("Loud", "critical", "http", known), alert("Quiet", "warning", "http", known)]
    numbered = [
        {**each, "labels": {**each["labels"], "case": case, "number": str(number)}}
        for number, each in enumerate((source, *hidden, *told))
    ]
    if apart:
        for each in numbered[1:]:
            each["labels"]["service_name"] += each["labels"]["number"]
    with running.firing(*pair, *numbered):

        def inhibited() -> dict[str, bool]:
            mine = [each for each in running.alerts() if each["labels"].get("case") == case]
            return {
                each["labels"].get("number", each["labels"]["alertname"]): bool(each["status"]["inhibitedBy"])
                for each in mine
            }

        wait_until(lambda: inhibited().get("Quiet"), within=SOON, what="the known pair is told apart")
        found = inhibited()
        assert len(found) == len(pair) + len(numbered)
        names = [f"{each['labels']['alertname']} {each['labels'].get('service_name', '')}" for each in numbered]
        silent = [names[int(number)] for number, is_hidden in found.items() if is_hidden and number.isdecimal()]
        assert sorted(silent) == sorted(names[1 : 1 + len(hidden)])


class TestArriving:
    """What people, and programs, are told."""

    def heard(self, running: Running, kind: str, name: str, status: str = "firing") -> Any:
        def found() -> list[Any]:
            return [each for each in running.receiver.heard(kind, name) if each.status == status]

        wait_until(found, within=SOON, what=f"{kind} is told that {name} is {status}")
        return found()[-1]

    def test_each_severity_arrives_at_those_who_are_to_hear_of_it_and_at_nobody_else(self, running: Running) -> None:
        severities = ("critical", "warning", "info", "none", "unknown")
        with running.firing(*(alert(f"To{each}", each, f"to-{each}", SERVICE) for each in severities)):
            wanted = {
                *itertools.product(("pager", "chat", "webhook"), ["Tocritical"]),
                *itertools.product(("chat", "webhook"), ["Towarning"]),
                *itertools.product(("chat", "webhook"), ["Tounknown"]),
                *itertools.product(("mail", "webhook"), ["Toinfo"]),
                ("deadman", "Tonone"),
            }

            def told() -> set[tuple[str, str]]:
                heard = running.receiver.heard()
                return {(each.kind, f"To{name}") for each in heard for name in severities if f"To{name}" in each.body}

            wait_until(lambda: told() >= wanted, within=SOON, what="everybody is told")
            assert told() == wanted

    def test_a_page_says_what_is_wrong_where_and_where_to_look(self, running: Running) -> None:
        alerts = [alert("Paged", "critical", "http", SERVICE, http_route=route) for route in ("/a", "/b c")]
        with running.firing(*alerts):
            body = json.loads(self.heard(running, "pager", "Paged").body)
        payload = body["payload"]
        assert payload["summary"] == "[FIRING 2] critical Paged api (production)"
        assert (payload["severity"], payload["source"], payload["class"]) == ("critical", "api", "Paged")
        assert body["event_action"] == "trigger"
        lines = payload["custom_details"]["firing"]
        assert len(lines) == 2
        assert all(line.startswith(f"{ANNOTATIONS['summary']} (since ") for line in lines)
        links = {link["text"]: link["href"] for link in body["links"]}
        assert links.keys() == {"Runbook", "Dashboard", "Traces", "Silence"}
        for name in ("runbook", "dashboard", "traces"):
            assert links[name.title()] == ANNOTATIONS[f"{name}_url"]
        # Of what both have in common: the label that tells them apart is not in it.
        assert silenced(links["Silence"]) == {"alertname": "Paged", "severity": "critical", "group": "http", **SERVICE}
        # Who is paged is told when it is over, by the same key.
        over = json.loads(self.heard(running, "pager", "Paged", "resolved").body)
        assert (over["event_action"], over["dedup_key"]) == ("resolve", body["dedup_key"])

    def test_links_that_an_alert_does_not_have_are_not_in_its_page(self, running: Running) -> None:
        bare = {**alert("Bare", "critical", "stack"), "annotations": {}}
        with running.firing(bare):
            page = json.loads(self.heard(running, "pager", "Bare").body)
            chat = self.heard(running, "chat", "Bare")
        assert [link["text"] for link in page["links"] if link["href"]] == ["Silence"]
        assert page["payload"]["summary"] == "[FIRING 1] critical Bare"
        assert chat.text.startswith("• Bare (since ")
        assert "<|" not in chat.text

    def test_the_chat_says_it_in_slacks_own_marks(self, running: Running) -> None:
        with running.firing(alert("Chatted", "warning", "http", SERVICE)):
            heard = self.heard(running, "chat", "Chatted")
        (attachment,) = json.loads(heard.body)["attachments"]
        assert attachment["title"] == "[FIRING 1] warning Chatted api (production)"
        assert attachment["title_link"].startswith(f"{ADDRESS}/#/alerts?filter=")
        first, links = attachment["text"].splitlines()
        assert first.startswith('• orders &lt;fail&gt; &amp; "more" (since ')
        named = dict(reversed(link.split("|")) for link in re.findall(r"<([^>]+)>", links))
        assert {name: named[name] for name in ("Runbook", "Dashboard", "Traces")} == {
            name.title(): ANNOTATIONS[f"{name}_url"] for name in ("runbook", "dashboard", "traces")
        }
        assert silenced(named["Silence"])["alertname"] == "Chatted"
        over = self.heard(running, "chat", "Chatted", "resolved")
        assert over.title == "[RESOLVED] warning Chatted api (production)"
        assert over.text.startswith("• resolved ")

    def test_the_mail_of_the_day_has_all_of_it_each_with_its_links(self, running: Running) -> None:
        other = {**alert("MailedToo", "info", "host"), "annotations": {"summary": "a disk fills", "runbook_url": "r"}}
        with running.firing(alert("Mailed", "info", "http", SERVICE), other):
            wait_until(
                lambda: any({"Mailed", "MailedToo"} <= each.alerts for each in running.receiver.heard("mail")),
                within=SOON,
                what="one mail has both",
            )
            heard = running.receiver.heard("mail", "MailedToo")[-1]
        assert re.fullmatch(r"\[FIRING \d+\] info several alerts", heard.title)
        assert 'Mailed: orders <fail> & "more" (since ' in heard.text
        assert f"  Runbook: {ANNOTATIONS['runbook_url']}\n  Dashboard: {ANNOTATIONS['dashboard_url']}" in heard.text
        assert "MailedToo: a disk fills (since " in heard.text
        assert "\n  Runbook: r\n" in heard.text
        assert f"Silence: {ADDRESS}/#/silences/new?filter=" in heard.text
        assert "text/html" not in heard.body

    def test_a_webhook_gets_everything_as_data(self, running: Running) -> None:
        with running.firing(alert("Hooked", "warning", "http", SERVICE)):
            body = json.loads(self.heard(running, "webhook", "Hooked").body)
        (hooked,) = body["alerts"]
        assert hooked["labels"] == {"alertname": "Hooked", "severity": "warning", "group": "http", **SERVICE}
        assert hooked["annotations"] == ANNOTATIONS
        assert body["externalURL"] == ADDRESS

    def test_no_secret_is_told_to_anybody_but_the_key_that_pagerduty_asks_for(self, running: Running) -> None:
        with running.firing(alert("Secret", "critical", "http", SERVICE)):
            self.heard(running, "webhook", "Secret")
        secrets = running.receiver.secrets
        assert {each.kind for each in running.receiver.heard()} >= {"webhook"}
        for heard in running.receiver.heard():
            shown = {name for name, secret in secrets.items() if secret in heard.body}
            assert shown == ({"pager"} if heard.kind == "pager" else set())
        told = http_get(f"{running.url}/api/v2/status").body.decode()
        assert [name for name, secret in secrets.items() if secret in told or secret in running.text] == []


class TestDeadMansSwitch:
    """The Watchdog reaches somebody outside all the time, so that its silence can be noticed."""

    def test_it_hears_the_watchdog_again_and_again_and_then_no_more(self, running: Running) -> None:
        began = time.monotonic()

        def beats() -> int:
            return sum(each.at >= began for each in running.receiver.heard("deadman", "Watchdog"))

        with running.firing(alert("Watchdog", "none", "watchdog")):
            wait_until(lambda: beats() >= 3, within=SOON, what="the Watchdog was heard three times")
        # It is over, which nobody outside is told: they notice. Longer than it takes to hear three.
        heard = running.receiver.silent_for
        wait_until(lambda: heard() > 4 * float(REPEATS[:-1]), within=SOON, what="nothing is heard any more")

    def test_each_minute_it_is_heard_once(self, running: Running) -> None:
        """A repeat is due at the first look after it: one that equals the interval would wait for the next."""
        root = yaml.safe_load(running.text)["route"]
        (route,) = (each for each in root["routes"] if each["receiver"] == "deadman")
        interval, repeat = (int(route[name].removesuffix("s")) for name in ("group_interval", "repeat_interval"))
        looks = next(number for number in itertools.count(1) if number * interval > repeat)
        assert looks * interval == 60
        assert interval <= repeat  # Alertmanager warns of one that is longer
        assert route["group_wait"] == "0s"


def silenced(link: str) -> dict[str, str]:
    """Return the labels that a link makes a silence for."""
    address, _, query = link.partition("/#/silences/new?filter=")
    assert address == ADDRESS
    return dict(re.findall(r'(\w+)="([^"]*)"', unquote(query)))
