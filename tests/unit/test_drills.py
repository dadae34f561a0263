"""What is said of drills: each proves alerts that name it, and the command line refuses what it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from otelkit.ops import cli, drill
from otelkit.ops.drill import DRILLS, Followed, Outcome
from otelkit.ops.drill.bench import chosen
from otelkit.ops.mixin.groups import groups

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
INPUTS = chosen(EXAMPLES)
ALERTS = {alert.name: alert for group in groups(INPUTS.parameters, INPUTS.catalog) for alert in group.alerts}
WITHIN = 120  # seconds from fault to notification, of critical alerts that state no budget


def test_there_are_enough_drills_and_each_has_a_name_of_its_own() -> None:
    assert len({each.name for each in DRILLS}) == len(DRILLS) >= 15


@pytest.mark.parametrize("each", DRILLS, ids=lambda each: each.name)
def test_a_drill_is_about_an_alert_that_names_it(each: drill.Drill) -> None:
    if each.alert == "Watchdog":
        assert each.name in {"prometheus-down", "alertmanager-down"}
    elif each.name != "loki-down":  # proves the alert of tempo-down with the other store
        assert ALERTS[each.alert].drill == each.name


def test_every_drill_that_an_alert_names_is_there() -> None:
    assert {alert.drill for alert in ALERTS.values() if alert.drill} <= {each.name for each in DRILLS}


@pytest.mark.parametrize("each", DRILLS, ids=lambda each: each.name)
def test_a_drill_gives_a_critical_alert_no_more_time_than_it_has(each: drill.Drill) -> None:
    alert = ALERTS[each.alert]
    if alert.severity == "critical":
        assert drill.within(each) <= (alert.budget[0] if alert.budget else WITHIN)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-drill"], "there is no no-such-drill; `otelkit drill --list` names them"),
        ([], "name one, or --all; `otelkit drill --list` names them"),
        (["database-down"], "database-down: needs the shop of otelkit's repository: --shop examples"),
        (["database-down", "--shop", "."], "--shop .: holds no shop; name the folder examples of otelkit's repository"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_starts_nothing(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["drill", *arguments]) == 2
    assert capsys.readouterr().err == f"otelkit: drill: {said}\n"


def test_the_programs_that_are_missing_are_all_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["drill", "collector-down"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("not found on PATH: ")
    assert all(name in said for name in ("otelcol", "prometheus", "alertmanager", "tempo", "loki"))


def test_the_list_names_each_drill_with_what_it_needs_and_its_alerts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["drill", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [each.name for each in DRILLS]
    assert all(("needs --shop" in line) is each.shop for line, each in zip(lines, DRILLS, strict=True))
    assert all(each.alert in line for line, each in zip(lines, DRILLS, strict=True))


def test_the_page_has_a_row_for_each_alert_that_was_seen_and_tells_what_failed() -> None:
    told = Followed(seconds={"pending": 10.2, "firing": 40.4, "told": 50.6, "resolved": 64.6}, by=["pager", "chat"])
    known = {each.name: each for each in DRILLS}
    silence = Outcome(drill=known["prometheus-down"], silent=210.4, heard_again=20.2)
    failed = Outcome(drill=known["redis-down"], followed={"RedisDown": Followed()}, problems=["nobody was told"])
    proved = Outcome(drill=known["database-down"], followed={"DatabaseDown": told, "DbErrors": Followed()})
    page = drill.page([proved, silence, failed])
    link = "[DatabaseDown](../runbooks/DatabaseDown.md)"
    assert f"| `database-down` | PostgreSQL is killed. | {link} | 10 | 40 | 51 | 65 |  | pager, chat |" in page
    assert "| `prometheus-down` | Prometheus is killed. | Watchdog |  |  | 210 |  | 20 | silence |" in page
    assert "DbErrors" not in page
    assert "- `redis-down`: nobody was told" in page
