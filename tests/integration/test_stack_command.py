"""`otelkit stack` with the real programs: up, looked at, broken, repaired, interrupted, and down without a trace."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from otelkit.ops.stack import _processes, _state
from support import lanes, stack
from support.processes import PYTHON, Process, http_get, run, wait_until
from support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

LANE = "stack"
FEW = ("prometheus", "alertmanager")
"""What starts in a second; for what does not depend on which programs they are."""

# How often `up` is interrupted; more by hand: CONTRIBUTING.md.
INTERRUPTS = int(os.environ.get("STACK_INTERRUPTS", "3"))
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="module", autouse=True)
def _lane() -> None:
    if absent := stack.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"{LANE}: {absent}")
    lanes.ran(LANE)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


class Few:
    """A user who has some of the programs only, in a folder that is his PATH.

    Args:
        folder: A folder of the test.
        offset: What to add to the ports.
    """

    def __init__(self, folder: Path, offset: int) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.add(*FEW)
        self.offset = ["--port-offset", str(offset)]
        self.place = folder / "state/otelkit/stack/default"

    def add(self, *programs: str) -> None:
        for name in programs:
            found = stack.find(name)
            assert found
            (self.bin / Path(found).name).symlink_to(found)

    def argv(self, action: str, *arguments: str) -> list[str]:
        own = ["--engine", "native", *self.offset] if action == "up" else []
        return [PYTHON, "-m", "otelkit.ops.cli", "stack", action, *own, *arguments]

    @property
    def env(self) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(self.folder / "state"), "PATH": str(self.bin)}

    def __call__(self, action: str, *arguments: str, within: float = 60.0) -> Process:
        return run(self.argv(action, *arguments), folder=self.folder, env=self.env, within=within, name=action)

    def runs(self) -> list[str]:
        return sorted(_processes.running(self.place))

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return told


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Few]:
    with stack.offset() as offset:
        user = Few(tmp_path, offset)
        yield user
        assert user("down").returncode == 0
        assert user.runs() == []


def test_every_program_is_ready_and_told_as_such(running: Stack) -> None:
    status = running.command("status", "--json")
    assert status.returncode == 0
    programs = json.loads(status.stdout)["programs"]
    assert {name for name, seen in programs.items() if seen["state"] == "ready"} >= set(stack.NAMES)
    assert all(http_get(programs[name]["url"]).status == 200 for name in stack.NAMES)
    table = running.command("status").stdout
    assert all(f"{name} " in table for name in stack.NAMES)
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={running.otlp_http}" in table


def test_what_runs_is_a_stamped_copy_of_what_is_shipped(running: Stack) -> None:
    for name in ("collector", "deploy"):
        for file in (stack.ROOT / name).rglob("*.*"):
            copied = running.place / file.relative_to(stack.ROOT)
            if file.is_file() and file.parent.name != "targets":
                assert copied.read_bytes() == file.read_bytes(), file
    assert (running.place / "otelkit-version").read_text().strip() == json.loads(
        (running.place / "state.json").read_text()
    )["otelkit"]


def test_prometheus_finds_the_programs_and_whom_to_notify(running: Stack) -> None:
    def up() -> dict[str, str]:
        answer = json.loads(http_get(f"{running.prometheus}/api/v1/query?query=up").body)
        return {each["metric"]["job"]: each["value"][1] for each in answer["data"]["result"]}

    expected = {"prometheus", "alertmanager", "otelcol", "loki", "tempo"}
    wait_until(lambda: expected <= {job for job, value in up().items() if value == "1"}, within=60, what="all scraped")

    def notified() -> list[str]:
        told = json.loads(http_get(f"{running.prometheus}/api/v1/alertmanagers").body)
        return [each["url"] for each in told["data"]["activeAlertmanagers"]]

    wait_until(lambda: notified() == [f"{running.alertmanager}/api/v2/alerts"], within=60, what="one to notify")


def test_a_second_up_changes_nothing_and_tells_what_it_would(running: Stack) -> None:
    before = {name: running.pid(name) for name in stack.NAMES}
    noted = (running.place / "state.json").read_text()
    up = running.command("up", "--overlay", "debug", "--port-offset", "1")
    assert up.returncode == 0
    assert {name: running.pid(name) for name in stack.NAMES} == before
    assert json.loads((running.place / "state.json").read_text())["programs"] == json.loads(noted)["programs"]
    for words in ("stays as it is", "overlays: none, not debug", "OTLP_GRPC_PORT is", "otelkit stack down"):
        assert words in up.stdout


def test_ports_that_are_taken_are_named_all_at_once_with_who_holds_them(running: Stack) -> None:
    noted = json.loads((running.place / "state.json").read_text())
    offset = noted["ports"]["LOKI_PORT"] - 3100
    up = running.command("up", "--engine", "native", "--name", "other", "--port-offset", str(offset))
    assert up.returncode == 1
    for variable, program in (("LOKI_PORT", "loki"), ("TEMPO_PORT", "tempo"), ("OTLP_HTTP_PORT", "collector")):
        line = next(line for line in up.stderr.splitlines() if f"({variable})" in line)
        assert str(noted["ports"][variable]) in line
        assert f"(pid {running.pid(program)}) of another otelkit stack, default" in line
    assert _processes.running(running.place.parent / "other") == {}
    assert running.command("status", "--name", "other").returncode == 3


def test_a_crash_shows_and_the_next_up_repairs_it_alone(running: Stack) -> None:
    before = {name: running.pid(name) for name in stack.NAMES}
    running.stop("loki", kill=True)
    status = running.command("status")
    assert status.returncode == 1
    assert "loki: it ended; its log's last lines:" in status.stdout
    assert running.command("up").returncode == 0
    after = {name: running.pid(name) for name in stack.NAMES}
    assert after.pop("loki") not in (None, before.pop("loki"))
    assert after == before
    assert running.command("status").returncode == 0


def test_logs_show_what_was_printed_last_and_follow_what_comes(running: Stack) -> None:
    shown = running.command("logs", "--lines", "1").stdout.splitlines()
    assert [line.split(" | ")[0].strip() for line in shown] == list(stack.NAMES)
    argv = [PYTHON, "-m", "otelkit.ops.cli", "stack", "logs", "alertmanager", "--lines", "0", "--follow"]
    with Process(argv, folder=running.place, env=running.environment, name="logs") as follow:
        # Each start prints its configuration's; the follower has to be there before.
        wait_until(
            lambda: any(file.path.endswith("alertmanager.log") for file in _files(follow.pid)),
            within=30,
            what="the log is open",
        )
        assert follow.stdout == ""
        running.stop("alertmanager")
        running.start("alertmanager")
        follow.wait_output("Starting Alertmanager", within=30)
        running.wait_ready()
        follow.signal(signal.SIGINT)
        assert follow.wait() == 128 + signal.SIGINT
        assert "Traceback" not in follow.stderr


def test_a_program_that_is_not_there_is_named_and_the_rest_starts(few: Few) -> None:
    real = (few.bin / "alertmanager").resolve()
    (few.bin / "alertmanager").unlink()
    (few.bin / "alertmanager").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "alertmanager, version 0.1.2" && exit\nexec {real} "$@"\n'
    )
    (few.bin / "alertmanager").chmod(0o755)
    up = few("up")
    assert up.returncode == 0
    assert "loki 3.7.6 was not found (loki): no logs are kept" in up.stdout
    assert "https://github.com/grafana/loki/releases/tag/v3.7.6" in up.stdout
    assert "alertmanager is 0.1.2, proven is 0.31.1" in up.stdout
    assert few.runs() == sorted(FEW)
    told = few.status()
    assert told["exit_code"] == 0
    assert {name for name, seen in told["programs"].items() if seen["state"] == "missing"} >= {"loki", "tempo"}
    targets = (few.place / "deploy/prometheus/targets").glob("*.yaml")
    assert {file.stem for file in targets if file.read_text().strip() != "[]"} == set(FEW)


def test_a_program_of_another_kind_of_machine_is_named(few: Few) -> None:
    (few.bin / "alertmanager").unlink()
    (few.bin / "alertmanager").write_bytes(b"\x7fELF of something else")
    (few.bin / "alertmanager").chmod(0o755)
    up = few("up")
    assert up.returncode == 1
    assert f"{few.bin / 'alertmanager'} cannot be started" in up.stderr
    assert few.runs() == []


def test_who_is_paged_by_no_one_is_told_by_up_and_by_the_doctor_until_a_secret_is_there(few: Few) -> None:
    nobody = "nobody is told of any alert"
    assert f"ALERTS: {nobody}; put pagerduty-routing-key" in few("up").stdout
    assert f"ALERTS: {nobody}" in few("up").stdout  # again, of one that runs

    def warned() -> list[str]:
        asked = run([PYTHON, "-m", "otelkit.ops.cli", "doctor", "--json"], folder=few.folder, env=few.env)
        return [each["what"] for each in json.loads(asked.stdout)["findings"] if each["id"] == "nobody-paged"]

    assert warned() == [nobody]
    secrets = few.folder / "secrets"
    secrets.mkdir()
    (secrets / "pagerduty-routing-key").write_text("hunter2\n")
    (secrets / "pagerduty-routing-key").chmod(0o640)
    again = few("up", "--secrets", str(secrets))
    assert f"its secrets are those of the configuration, not of {secrets}" in again.stdout
    assert few("down").returncode == 0
    assert warned() == []  # nothing runs that could
    up = few("up", "--secrets", str(secrets))
    assert up.returncode == 0, up.tail()
    assert "ALERTS" not in up.stdout
    assert f"pagerduty-routing-key can be read by others: chmod 600 {secrets}" in up.stdout
    assert "hunter2" not in up.stdout + (few.place / "state.json").read_text()
    assert warned() == []
    told = json.loads(http_get(f"{few.status()['endpoints']['alertmanager']}/api/v2/status").body)
    assert "routing_key_file: " in told["config"]["original"]


def test_without_any_program_nothing_starts(few: Few) -> None:
    shutil.rmtree(few.bin)
    up = few("up")
    assert up.returncode == 1
    assert "none of the programs was found" in up.stderr
    assert few("status").returncode == 3


def test_an_ejected_configuration_runs_with_programs_of_a_folder_and_why_one_ended_is_told(few: Few) -> None:
    own = few.folder / "own"
    assert few("eject", str(own)).returncode == 0
    again = few("eject", str(own))
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    prometheus = own / "deploy/prometheus/prometheus.yaml"
    prometheus.write_text(prometheus.read_text().replace("scrape_interval: 15s", "scrape_interval: 7s"))
    alertmanager = own / "deploy/alertmanager/alertmanager.yaml"
    alertmanager.write_text(alertmanager.read_text() + "\nno_such_key: true\n")
    elsewhere = few.bin.rename(few.folder / "elsewhere")
    up = few("up", "--config", str(own), "--programs", str(elsewhere))
    assert up.returncode == 1
    assert "no_such_key" in up.stdout
    told = few.status()
    assert told["exit_code"] == 1
    assert told["programs"]["alertmanager"]["state"] == "ended"
    runs = json.loads(http_get(f"{told['endpoints']['prometheus']}/api/v1/status/config").body)["data"]["yaml"]
    assert "scrape_interval: 7s" in runs


def test_data_outlives_down_and_up_until_fresh(few: Few) -> None:
    strange = few("up", "--data", str(few.bin))
    assert strange.returncode == 1
    assert "holds no stack's data" in strange.stderr
    data = ("--data", str(few.folder / "data"))
    assert few("up", *data).returncode == 0
    shared = few("up", "--name", "other", *data)
    assert shared.returncode == 1
    assert "holds the data of stack default, whose alertmanager, prometheus runs" in shared.stderr
    url = few.status()["endpoints"]["prometheus"]
    now = time.time()
    point = {"asDouble": 42, "timeUnixNano": str(int(now * 1e9))}
    metric = {"name": "kept", "gauge": {"dataPoints": [point]}}
    sent = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    _post(f"{url}/api/v1/otlp/v1/metrics", sent)
    assert _value(url, "kept", now) == ["42"]
    assert few("down").returncode == 0
    assert few.runs() == []
    assert few("up", *data).returncode == 0
    assert _value(url, "kept", now) == ["42"]
    refused = few("up", "--fresh", *data)
    assert refused.returncode == 1
    assert _value(url, "kept", now) == ["42"]
    assert few("down").returncode == 0
    assert few("up", "--fresh", *data).returncode == 0
    assert _value(url, "kept", now) == []


def test_two_ups_at_once_start_one_stack(few: Few) -> None:
    with ExitStack() as ups:
        with _state.lock(few.place, within=10, waits=pytest.fail, check=lambda: None):
            one, two = (
                ups.enter_context(Process(few.argv("up"), folder=few.folder, env=few.env, name=name))
                for name in ("one", "two")
            )
            for each in (one, two):
                each.wait_output("waiting for it", within=30)
        assert (one.wait(within=60), two.wait(within=60)) == (0, 0)
    assert few.runs() == sorted(FEW)
    first, second = sorted((one.stdout, two.stdout), key=len)
    assert " is ready after " in second
    assert " is ready after " not in first


@pytest.mark.parametrize("then", ["down", "up"])
def test_what_an_up_that_was_killed_left_is_found(few: Few, then: str) -> None:
    with Process(few.argv("up"), folder=few.folder, env=few.env, name="killed") as up:
        wait_until(few.runs, within=30, what="a program runs")
        up.signal(signal.SIGKILL)
        up.wait()
    assert few.runs()
    assert few(then).returncode == 0
    if then == "down":
        assert few.runs() == []
    else:
        told = few.status()["programs"]
        assert {name for name, seen in told.items() if seen["state"] == "ready"} == set(FEW)


def test_an_up_that_is_interrupted_at_any_moment_leaves_nothing_running(few: Few) -> None:
    few.add("collector")
    began = time.monotonic()
    assert few("up").returncode == 0
    takes = time.monotonic() - began
    assert few("down").returncode == 0
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)  # noqa: S311  moments, not secrets
    for number in range(INTERRUPTS):
        with Process(few.argv("up"), folder=few.folder, env=few.env, name=f"up-{number}") as up:
            if number:
                time.sleep(moments.uniform(0, takes))
            else:
                wait_until(few.runs, within=30, what="a program runs")
            sent = moments.choice(SIGNALS)
            up.signal(sent)
            code = up.wait(within=60)
        what = f"seed {seed}, number {number}: {sent.name}, exit code {code}\n{up.tail()}"
        if code == 0:  # it had finished: a signal then is too late
            assert few("status").returncode == 0, what
            assert few("down").returncode == 0, what
        assert few.runs() == [], what
        assert not (few.place / "state.json").exists(), what


def _files(pid: int) -> list[Any]:
    import psutil

    return list(psutil.Process(pid).open_files())


def _post(url: str, document: Any) -> None:
    import urllib.request

    body = json.dumps(document).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310  loopback
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert answer.status == 200


def _value(url: str, query: str, at: float) -> list[str]:
    answer = json.loads(http_get(f"{url}/api/v1/query?query={quote(query)}&time={at + 1}").body)
    return [each["value"][1] for each in answer["data"]["result"]]
