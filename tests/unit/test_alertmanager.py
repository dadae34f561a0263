"""Alertmanager's file as it is generated, and what is said of secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
import yaml

from otelkit.ops.mixin import alertmanager
from otelkit.ops.mixin.alertmanager import ALL, CONFIGURATION, RECEIVERS, doubts, found, render_alertmanager
from otelkit.ops.mixin.groups import GROUPS
from otelkit.ops.mixin.model import Group
from otelkit.ops.mixin.parameters import Notify, Parameters
from otelkit.ops.mixin.rules import rules

ROOT = Path(__file__).resolve().parents[2]
MAIL = Notify(
    channel="#alerts",
    smarthost="smtp.example.org:587",
    sender="alerts@example.org",
    to="team@example.org",
    user="alerts",
    pagerduty="https://events.eu.pagerduty.com/v2/enqueue",
)


def document(notify: Notify = MAIL, receivers: frozenset[str] = frozenset(ALL)) -> dict[str, Any]:
    text = render_alertmanager(Parameters(notify=notify), GROUPS, receivers)[CONFIGURATION]
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def on(made: dict[str, Any]) -> set[str]:
    return {each["name"] for each in made["receivers"] if len(each) > 1}


def test_what_is_committed_tells_nobody_and_names_no_secret() -> None:
    made = yaml.safe_load((ROOT / CONFIGURATION).read_text())
    assert [each for each in made["receivers"] if len(each) > 1] == []
    assert list(alertmanager.secrets(made)) == []
    assert yaml.safe_load((ROOT / RECEIVERS).read_text()).keys() == ALL.keys() - {"mail"}


def test_secrets_are_only_ever_named_as_files_in_their_folder() -> None:
    made = document()
    assert set(alertmanager.secrets(made["receivers"])) == {f"secrets/{channel.file}" for channel in ALL.values()}
    keys = set(chain.from_iterable(_keys(made)))
    assert not {key for key in keys if key in {"api_url", "routing_key", "auth_password", "password"}}


def _keys(part: Any) -> list[list[str]]:
    if isinstance(part, dict):
        return [list(part), *chain.from_iterable(map(_keys, part.values()))]
    return list(chain.from_iterable(map(_keys, part))) if isinstance(part, list) else []


def test_what_was_chosen_reaches_its_receiver() -> None:
    receivers = {each["name"]: each for each in document()["receivers"]}
    (mail,) = receivers["mail"]["email_configs"]
    assert (mail["smarthost"], mail["from"], mail["to"]) == ("smtp.example.org:587", MAIL.sender, MAIL.to)
    assert (mail["auth_username"], mail["require_tls"]) == ("alerts", True)
    assert receivers["chat"]["slack_configs"][0]["channel"] == "#alerts"
    assert receivers["pager"]["pagerduty_configs"][0]["url"] == MAIL.pagerduty


@pytest.mark.parametrize(
    ("receivers", "expected"),
    [
        (set(), set()),
        ({"pager"}, {"pager"}),
        ({"chat"}, {"chat", "mail"}),
        ({"mail"}, {"chat", "mail"}),
        ({"webhook", "deadman"}, {"webhook", "deadman"}),
        (set(ALL), set(ALL)),
    ],
)
def test_receivers_are_on_by_their_secrets_and_chat_and_mail_stand_in_for_each_other(
    receivers: set[str], expected: set[str]
) -> None:
    assert on(document(receivers=frozenset(receivers))) == expected


@pytest.mark.parametrize(
    "lacking",
    [replace(MAIL, smarthost=""), replace(MAIL, sender=""), replace(MAIL, to="")],
    ids=("server", "sender", "to"),
)
def test_mail_without_a_server_a_sender_or_somebody_to_get_it_is_off(lacking: Notify) -> None:
    assert on(document(lacking, frozenset({"mail"}))) == set()


def test_the_same_choices_give_the_same_bytes() -> None:
    first, second = (render_alertmanager(Parameters(notify=MAIL), GROUPS, ALL) for _ in range(2))
    assert first == second


def test_what_follows_from_missing_data_is_hidden_by_a_collector_that_is_down() -> None:
    (alert, *_) = (each for group in GROUPS for each in group.alerts if not each.absence)
    absent = [replace(alert, name=name, absence=True) for name in ("Zero", "Absent")]
    group = Group(name="test", about="", alerts=(alert, *absent))
    text = render_alertmanager(Parameters(), (group,), ())[CONFIGURATION]
    hidden = [
        rule["target_matchers"]
        for rule in yaml.safe_load(text)["inhibit_rules"]
        if rule["source_matchers"] == ['alertname="CollectorDown"']
    ]
    assert hidden == [['alertname=~"Absent|Zero"']]
    text = render_alertmanager(Parameters(), (), ())[CONFIGURATION]
    assert "CollectorDown" not in text  # a matcher without a name in it would be every alert's


class TestSecrets:
    """What is found in their folder."""

    def test_a_file_is_a_secret_unless_it_is_empty(self, tmp_path: Path) -> None:
        assert found(tmp_path / "nowhere") == set()
        (tmp_path / "slack-webhook-url").write_text("https://hooks.example.org/a\n")
        (tmp_path / "deadman-url").write_text(" \n")
        (tmp_path / "smtp-password").mkdir()
        assert found(tmp_path) == {"chat"}

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("deadman-url", "", "is empty: nobody is told by it"),
            ("deadman-url", "hunter2", "holds no http:// or https:// address"),
            ("slack-webhook-url", "https://a.example/hunter2\nhttps://b.example", "holds more than one word"),
            ("slack-webhook", "https://a.example/hunter2", "is nobody's secret: known are pagerduty-routing-key, "),
        ],
    )
    def test_what_cannot_work_is_said_without_the_secret(
        self, name: str, content: str, said: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
        (line,) = doubts(tmp_path)
        assert line.startswith(f"{tmp_path / name} {said}")
        assert "hunter2" not in line

    @pytest.mark.parametrize(("mode", "open_"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
    def test_one_that_others_can_read_is_said(self, mode: int, open_: bool, tmp_path: Path) -> None:
        file = tmp_path / "pagerduty-routing-key"
        file.write_text("hunter2\n")
        file.chmod(mode)
        assert list(doubts(tmp_path)) == ([f"{file} can be read by others: chmod 600 {file}"] if open_ else [])
        assert found(tmp_path) == {"pager"}


def test_every_alert_of_services_leads_to_its_traces() -> None:
    asked = {}
    for rule in rules(GROUPS, Parameters(grafana="https://grafana.example.org"), "promql"):
        url = rule["annotations"].get("traces_url", "")
        assert bool(url) == ("var-svc" in rule["annotations"]["dashboard_url"]), rule["alert"]
        if url:
            asked[rule["alert"]] = url
    url = asked["HighErrorRate"]
    assert url.startswith("https://grafana.example.org/explore?")
    # As Prometheus fills it in for a service that has no namespace.
    url = url.replace("{{ with $labels.service_name }}", "").replace("{{ . | urlquery }}", "api+1", 1)
    url = url.replace("{{ end }}", "", 1)
    start = url.index("{{ with $labels.service_namespace")
    end = url.rindex("{{ end }}") + len("{{ end }}")
    (panes,) = parse_qs(urlsplit(url[:start] + url[end:]).query)["panes"]
    (query,) = json.loads(panes)["otelkit"]["queries"]
    assert (query["datasource"]["uid"], query["query"]) == ("tempo", '{resource.service.name="api 1"}')
    rest = unquote_plus(url[start:end])
    assert rest.startswith('{{ with $labels.service_namespace }} && resource.service.namespace=\\"{{ . | urlquery }}')
    assert 'environment_name }} && resource.deployment.environment.name=\\"' in rest
