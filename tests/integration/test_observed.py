"""`otelkit render --observed` against a real Prometheus that holds an hour whose values are known."""

from __future__ import annotations

import shutil
import subprocess
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from otelkit.ops import observed
from otelkit.ops.cli import main
from otelkit.ops.mixin.groups import GROUPS
from otelkit.ops.mixin.parameters import Parameters, Service
from otelkit.ops.query.lgtm import Lgtm
from support import lanes, stack
from support.processes import HOST, Process, free_port, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANE = "observed"
HOUR = 3600
ERRORS = "service:http_server_errors:ratio_rate5m"


def _lines(now: int) -> Iterator[str]:
    """Write an hour and some minutes in OpenMetrics: one service that fails for its last ten minutes, one quiet."""
    yield f"# TYPE {ERRORS} gauge"
    for name, namespace, late in (("shop", "stores", 0.2), ("quiet", "", 0.0)):
        labels = f'service_name="{name}"' + (f',service_namespace="{namespace}"' if namespace else "")
        for at in range(now - HOUR - 300, now + 1, 15):
            yield f"{ERRORS}{{{labels}}} {late if at > now - 600 else 0.0} {at}"
    yield "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program, tool = stack.find("prometheus"), shutil.which("promtool")
    if program is None or tool is None:
        lanes.skipped(LANE, "not on PATH: prometheus, promtool")
        pytest.skip(f"{LANE}: not on PATH: prometheus, promtool")
    lanes.ran(LANE)
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "hour.txt").write_text("\n".join(_lines(int(time.time()))), encoding="utf-8")
    (folder / "prometheus.yaml").write_text("", encoding="utf-8")
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", folder / "hour.txt", folder / "data"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    argv = [
        program,
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={HOST}:{port}",
    ]
    with Process(argv, folder=folder, name="prometheus") as process:
        url = f"http://{HOST}:{port}"
        process.wait_http(url)
        wait_until(lambda: http_get(f"{url}/-/ready").status == HTTPStatus.OK, within=30, what="Prometheus ready")
        yield url


def test_quantiles_and_what_would_have_fired_are_those_of_the_series(prometheus: str) -> None:
    query = Lgtm.at(prometheus=prometheus, tempo=prometheus, loki=prometheus).prometheus
    parameters = Parameters(
        thresholds={"error_warn": 0.1}, services={"quiet": Service(thresholds={"error_warn": 0.02})}
    )
    found = list(observed.observe(query, GROUPS, parameters, over=HOUR))
    seen = {(each.threshold.name, each.labels.get("service_name", "")): each for each in found}
    shop, quiet = seen["error_warn", "shop"], seen["error_warn", "quiet"]
    assert shop.quantiles == (0.0, 0.2, 0.2, 0.2)
    assert quiet.quantiles == (0.0, 0.0, 0.0, 0.0)
    assert (shop.in_force, quiet.in_force) == (0.1, 0.02)
    assert shop.beyond == pytest.approx(600 / HOUR, abs=0.02)
    assert (shop.fired, quiet.fired) == (True, False)
    assert seen["error_crit", "shop"].fired
    # Every query that a threshold has is one that Prometheus understands; of most it has nothing.
    wanted = {each.name for group in GROUPS for alert in group.alerts for each in alert.thresholds if each.observed}
    assert {name for name, _ in seen} == wanted
    assert seen["p95_crit", ""].quantiles is None


def test_the_table_has_a_line_for_each_service(
    prometheus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", "--observed", "--prometheus", prometheus, "--over", "1h"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "threshold of p50 p95 p99 max fires beyond it" in lines
    (shop,) = [line for line in lines if line.startswith("error_warn stores/shop 0 % 20 % 20 % 20 % > 1 %")]
    assert shop.endswith(" FIRED")
    assert "error_warn quiet 0 % 0 % 0 % 0 % > 1 % 0 %" in lines
    assert "p95_crit nothing seen - - - - > 2 s" in lines
    assert list(tmp_path.iterdir()) == []


def test_a_prometheus_that_does_not_answer_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", "--observed", "--prometheus", f"http://{HOST}:{free_port()}"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--prometheus names another one" in told
