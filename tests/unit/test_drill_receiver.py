"""The receivers of drills take what Alertmanager sends, and nothing else; a real one tells them elsewhere."""

from __future__ import annotations

import json
import smtplib
import stat
import urllib.error
import urllib.request
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.ops.drill.receiver import Receiver
from otelkit.ops.mixin.alertmanager import ALL, doubts, found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOOK = {"status": "resolved", "alerts": [{"labels": {"alertname": "One"}}, {"labels": {"alertname": "Two"}}]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver.listening() as listening:
        yield listening


def post(url: str, document: Any) -> int:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})  # noqa: S310  a loopback URL
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def secret(receiver: Receiver, folder: Path, name: str) -> str:
    receiver.write_secrets(folder)
    return (folder / ALL[name].file).read_text()


def test_its_secrets_switch_everybody_on_and_are_their_owners_only(receiver: Receiver, tmp_path: Path) -> None:
    receiver.write_secrets(tmp_path / "secrets")
    assert found(tmp_path / "secrets") == ALL.keys()
    assert list(doubts(tmp_path / "secrets")) == []
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()}
    assert modes == {0o600}


def test_a_webhook_is_understood_and_remembered_with_its_time(receiver: Receiver, tmp_path: Path) -> None:
    assert receiver.silent_for("webhook") == float("inf")
    url = secret(receiver, tmp_path, "webhook")
    assert post(url, HOOK) == 200
    (heard,) = receiver.heard("webhook", "Two")
    assert heard.status == "resolved"
    assert heard.alerts == {"One", "Two"}
    assert receiver.heard("deadman") == receiver.heard(alert="Three") == ()
    assert 0 <= receiver.silent_for("webhook") < float("inf")


def test_a_page_is_answered_as_pagerduty_does(receiver: Receiver) -> None:
    page = {
        "routing_key": receiver.secrets["pager"],
        "payload": {"summary": "[FIRING 2] critical One api (production)"},
    }
    assert post(receiver.notify().pagerduty, page) == 202
    (heard,) = receiver.heard("pager")
    assert heard.status == "firing"
    assert heard.alerts == {"One"}


def test_a_wrong_secret_and_what_is_no_notification_are_turned_away(receiver: Receiver, tmp_path: Path) -> None:
    url = secret(receiver, tmp_path, "webhook")
    assert post(f"{url}x", HOOK) == 403
    assert post(url, {"hello": "there"}) == 403
    assert post(url.replace("/webhook/", "/elsewhere/"), HOOK) == 403
    assert post(receiver.notify().pagerduty, ["no", "page"]) == 403
    assert receiver.refused[0] == "webhook: a wrong secret"
    assert receiver.heard() == ()


@pytest.mark.parametrize("right", [True, False])
def test_mail_is_taken_of_whoever_knows_the_password(right: bool, receiver: Receiver) -> None:
    chosen = receiver.notify()
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "[FIRING 1] info One api", chosen.sender, chosen.to
    message.set_content("- orders fail\n.hidden\n")
    with smtplib.SMTP(chosen.smarthost, timeout=10) as server:
        server.login(chosen.user, receiver.secrets["mail"] if right else "wrong")
        if right:
            server.send_message(message)
        else:
            with pytest.raises(smtplib.SMTPDataError):
                server.send_message(message)
    told = [(set(each.alerts), each.text) for each in receiver.heard("mail")]
    assert told == ([({"One"}, "- orders fail\n.hidden\n")] if right else [])
