"""Who is told of alerts by a stack: what is switched on in its copy, and what is said where nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.mixin import alertmanager
from otelkit.ops.mixin.parameters import Notify, Parameters
from otelkit.ops.stack import Wanted, _choice, _files, _receivers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in _assets.pins():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "place"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


def put(folder: Path, name: str, content: str = "https://example.org/hunter2\n") -> Path:
    file = folder / name
    file.write_text(content)
    file.chmod(0o600)
    return file


def copied(
    place: Path, *, secrets: Path | None = None, source: Path | None = None, rendered: Path | None = None
) -> list[str]:
    place.mkdir(exist_ok=True)
    state = _choice.choose(Wanted(secrets=secrets, config=source, rendered=rendered), "native")
    return _files.copy(place, state, source or _assets.root())


def on(place: Path) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((place / alertmanager.CONFIGURATION).read_text())
    return {each["name"]: each for each in document["receivers"] if len(each) > 1}


def ejected(tmp_path: Path, notify: Notify) -> Path:
    """A configuration of somebody's own, rendered with what he chose."""
    source = tmp_path / "own"
    for name in _assets.FOLDERS:
        (source / name).mkdir(parents=True)
    for file in ("collector/config.yaml", "deploy/.env", "deploy/alertmanager/otelkit.tmpl"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text((_assets.root() / file).read_text())
    for path, text in alertmanager.render_alertmanager(Parameters(notify=notify), (), ()).items():
        (source / path).write_text(text)
    return source


def test_as_it_comes_nobody_is_told_and_that_is_said(place: Path) -> None:
    assert copied(place) == []
    assert on(place) == {}
    said = _receivers.nobody(place)
    assert said
    assert said[0] == "nobody is told of any alert"
    assert "put pagerduty-routing-key or webhook-url into a folder" in said[1]


@pytest.mark.parametrize(("secret", "names"), [("pagerduty-routing-key", {"pager"}), ("webhook-url", {"webhook"})])
def test_a_secret_switches_its_receiver_on_and_is_in_no_configuration(
    secret: str, names: set[str], place: Path, secrets: Path
) -> None:
    put(secrets, secret)
    assert copied(place, secrets=secrets) == []
    assert on(place).keys() == names
    assert _receivers.nobody(place) is None
    assert "hunter2" not in (place / alertmanager.CONFIGURATION).read_text()
    assert (place / alertmanager.SECRETS / secret).read_text() == "https://example.org/hunter2\n"
    assert list(alertmanager.secrets(list(on(place).values()))) == [f"secrets/{secret}"]


def test_the_chat_hears_what_the_mail_would_and_wakes_nobody(place: Path, secrets: Path) -> None:
    put(secrets, "slack-webhook-url")
    copied(place, secrets=secrets)
    assert on(place).keys() == {"chat", "mail"}
    assert "slack_configs" in on(place)["mail"]
    said = _receivers.nobody(place)
    assert said
    assert said[0] == "nobody is paged: critical alerts go where warnings go"


def test_mail_needs_to_be_told_where_it_goes_and_stands_in_for_the_chat(
    place: Path, secrets: Path, tmp_path: Path
) -> None:
    put(secrets, "smtp-password")
    (said,) = copied(place, secrets=secrets)
    assert said.startswith("smtp-password is there, and nothing says how it is used: set [notify]")
    assert on(place) == {}
    notify = Notify(smarthost="smtp.example.org:587", sender="a@example.org", to="b@example.org", user="me")
    assert copied(place, secrets=secrets, source=ejected(tmp_path, notify)) == []
    assert on(place).keys() == {"chat", "mail"}
    (mail,) = on(place)["chat"]["email_configs"]
    assert (mail["smarthost"], mail["auth_password_file"]) == ("smtp.example.org:587", "secrets/smtp-password")
    assert mail["require_tls"] is True


def test_a_mail_server_that_asks_for_no_password_needs_no_secret(place: Path, tmp_path: Path) -> None:
    notify = Notify(smarthost="smtp.example.org:25", sender="a@example.org", to="b@example.org", tls=False)
    assert copied(place, source=ejected(tmp_path, notify)) == []
    (mail,) = on(place)["mail"]["email_configs"]
    assert "auth_username" not in mail
    assert mail["require_tls"] is False


def test_secrets_beside_an_own_configuration_are_found_and_what_it_says_itself_stays(
    place: Path, tmp_path: Path
) -> None:
    source = ejected(tmp_path, Notify(channel="#alerts"))
    (source / alertmanager.SECRETS).mkdir()
    put(source / alertmanager.SECRETS, "slack-webhook-url")
    put(source / alertmanager.SECRETS, "deadman-url")
    file = source / alertmanager.CONFIGURATION
    document = yaml.safe_load(file.read_text())
    own = {"name": "deadman", "webhook_configs": [{"url_file": "secrets/another"}]}
    document["receivers"] = [own if each["name"] == "deadman" else each for each in document["receivers"]]
    document["route"]["group_wait"] = "1s"
    file.write_text(yaml.safe_dump(document))
    assert copied(place, source=source) == ["secrets/another is named in alertmanager.yaml, and is not there"]
    assert on(place)["deadman"] == own
    assert on(place)["chat"]["slack_configs"][0]["channel"] == "#alerts"
    assert yaml.safe_load((place / alertmanager.CONFIGURATION).read_text())["route"]["group_wait"] == "1s"


def test_secrets_beside_what_was_rendered_are_found(place: Path, tmp_path: Path) -> None:
    rendered = ejected(tmp_path, Notify(channel="#alerts"))
    (rendered / alertmanager.SECRETS).mkdir()
    file = put(rendered / alertmanager.SECRETS, "slack-webhook-url")
    file.chmod(0o604)
    assert copied(place, rendered=rendered) == [f"{file} can be read by others: chmod 600 {file}"]
    assert on(place)["chat"]["slack_configs"][0]["channel"] == "#alerts"


@pytest.mark.parametrize("text", ["receivers: {", "receivers: 1\n", "", "receivers:\n- name: mine\n"])
def test_a_tree_that_is_not_otelkits_is_left_alone_and_not_judged(text: str, place: Path, tmp_path: Path) -> None:
    source = ejected(tmp_path, Notify())
    (source / alertmanager.CONFIGURATION).write_text(text)
    assert copied(place, source=source) == []
    assert (place / alertmanager.CONFIGURATION).read_text() == text
    assert _receivers.nobody(place) is None


def test_a_folder_of_secrets_that_is_none_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is no folder of secrets"):
        copied(place, secrets=tmp_path / "nowhere")
