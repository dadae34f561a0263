"""The faults that the shop has on purpose: off unless asked for, flipped while it runs, refused where misspelt."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from fastapi.testclient import TestClient

from otelkit.testing import Captel
from shop import payment, stores
from shop.faults import FAULTS, Switches
from shop.tests.conftest import Answers, Faults

EXAMPLES = Path(__file__).resolve().parents[2]


def started(module: str, variable: str | None, folder: Path) -> subprocess.CompletedProcess[str]:
    """Import a module of the shop in a process of its own, and say how many faults its application depends on."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(EXAMPLES),
        "OTEL_SDK_DISABLED": "true",
        "SHOP_FAULTS": variable or "",
    }
    if variable is None:
        del environment["SHOP_FAULTS"]
    asked = f"from shop import {module}; print(len({module}.app.router.dependencies))"
    command = [sys.executable, "-c", asked]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  this very Python


@pytest.mark.parametrize("module", ["api", "payment"])
def test_nobody_depends_on_faults_that_nobody_asked_for(module: str, tmp_path: Path) -> None:
    assert started(module, None, tmp_path).stdout == "0\n"
    assert started(module, str(tmp_path / "none-yet"), tmp_path).stdout == "1\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("failing-request 0.4", "there is no fault 'failing-request'; there are failing-requests, slow-requests,"),
        ("failing-requests 4", "failing-requests is not '4': share of the API's requests"),
        ("slow-requests -1", "slow-requests is not '-1': seconds"),
        ("slow-requests soon", "slow-requests is not 'soon': seconds"),
    ],
)
def test_a_misspelt_fault_is_refused_by_one_line(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "faults"
    file.write_text(f"upstream-slow\n{line}\n", encoding="utf-8")

    refused = started("api", str(file), tmp_path)

    assert refused.returncode == 1
    (said,) = refused.stderr.splitlines()
    assert said.startswith(f"SHOP_FAULTS: {file}, line 2: {told}")


def test_a_file_that_is_misspelt_later_changes_nothing_and_is_told_once(captel: Captel, tmp_path: Path) -> None:
    file = tmp_path / "faults"
    file.write_text("slow-requests 2\n", encoding="utf-8")
    switches = Switches(str(file))
    file.write_text("slow-requests two\n", encoding="utf-8")

    assert (switches["slow-requests"], switches["slow-requests"]) == (2.0, 2.0)

    captel.log("faults.refused", level="ERROR")
    file.unlink()
    assert switches["slow-requests"] == 0.0


def test_a_fault_alone_has_its_usual_value(tmp_path: Path) -> None:
    file = tmp_path / "faults"
    file.write_text("\n".join(FAULTS), encoding="utf-8")
    switches = Switches(str(file))
    assert {name: switches[name] for name in FAULTS} == {name: fault.usual for name, fault in FAULTS.items()}


def test_a_share_strikes_as_often_as_it_says(tmp_path: Path) -> None:
    file = tmp_path / "faults"
    file.write_text("failing-tasks 0.4", encoding="utf-8")
    switches = Switches(str(file))
    assert [switches.strikes("failing-tasks") for _ in range(10)] == [False, False, True, False, True] * 2


@pytest.mark.usefixtures("redis")
def test_failing_requests_fail_where_their_route_is_known(captel: Captel, shop: TestClient, faults: Faults) -> None:
    faults("failing-requests 0.5")

    answered = [shop.get("/products/teapot").status_code for _ in range(4)]
    faults("")

    assert answered == [200, 500, 200, 500]
    assert shop.get("/products/teapot").status_code == 200
    failed = captel.metric("http.server.request.duration", http_route="/products/{sku}", http_response_status_code=500)
    assert failed.count == 2
    assert captel.metric("otelkit.exceptions", http_route="/products/{sku}").value == 2


@pytest.mark.parametrize("fault", ["slow-requests", "blocked-event-loop", "slow-queries"])
def test_a_slow_shop_takes_its_time(shop: TestClient, faults: Faults, fault: str) -> None:
    faults(f"{fault} 0.3")

    begun = monotonic()
    assert shop.get("/orders/0").status_code == 404

    assert monotonic() - begun >= 0.3


def test_the_time_of_a_slow_statement_is_told(captel: Captel, shop: TestClient, faults: Faults) -> None:
    faults("slow-queries 0.3")

    shop.get("/orders/0")

    told = captel.metric("db.client.operation.duration", db_operation_name="SELECT", db_collection_name="orders")
    assert told.sum >= 0.3


def test_a_pool_is_held_and_given_back(captel: Captel, shop: TestClient, faults: Faults) -> None:
    faults("pool-exhausted 4")
    shop.get("/orders/0")
    held = captel.metric("db.client.connection.count", db_client_connection_state="used").value
    faults("")
    shop.get("/orders/0")

    assert held == 4
    assert stores.engine.sync_engine.pool.status().endswith("Current Checked out connections: 0")


def test_payment_fails_and_is_slow_where_asked_for(faults: Faults) -> None:
    with TestClient(payment.app) as customer:
        faults("upstream-failing 1\nupstream-slow 0.2")
        begun = monotonic()
        assert customer.get("/charges").status_code == 503
        assert monotonic() - begun >= 0.2
        faults("")
        assert customer.get("/charges").status_code == 200


def test_a_failing_task_is_not_tried_again(
    captel: Captel, shop: TestClient, payment_answers: Answers, faults: Faults
) -> None:
    payment_answers(201)
    faults("failing-tasks 1")

    assert shop.post("/orders", json={"sku": "teapot"}).status_code == 201

    captel.span("run/shop.tasks.confirm", status="ERROR")


def test_a_record_that_is_too_large_is_written(captel: Captel, shop: TestClient, faults: Faults) -> None:
    faults("refused-logs 3")

    shop.get("/orders/0")

    assert [len(captel.log("fault.refused_logs").attributes[f"field_{number}"]) for number in range(3)] == [16_000] * 3
