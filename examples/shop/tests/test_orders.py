"""What an order leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from otelkit.testing import Captel
    from shop.tests.conftest import Answers

TEAPOTS = {"sku": "teapot", "quantity": 2}


@pytest.mark.usefixtures("redis")
def test_an_order_is_one_trace(captel: Captel, shop: TestClient, payment_answers: Answers) -> None:
    payment_answers(201, 204)
    captel.clear()  # what starting up did is not the question

    order = shop.post("/orders", json=TEAPOTS).json()

    assert order["status"] == "placed"
    (root,) = captel.assert_one_trace().roots
    assert (root.name, root.status) == ("POST /orders", "UNSET")
    run = captel.span("run/shop.tasks.confirm", celery_task_state="success")
    assert captel.log("order.placed", order_id=order["id"], amount=78_00).trace_id == root.trace_id
    assert captel.log("order.confirmed", celery_task_name="shop.tasks.confirm").span_id == run.span_id
    assert captel.metric("shop.revenue").value == 78


@pytest.mark.usefixtures("redis")
@pytest.mark.telemetry_budget(spans=12, statements=8, log_bytes=4000)
def test_an_order_stays_within_its_budget(shop: TestClient, payment_answers: Answers) -> None:
    payment_answers(201, 204)
    shop.post("/orders", json=TEAPOTS)


@pytest.mark.parametrize(
    ("body", "payment", "status", "counted"),
    [
        (TEAPOTS, [201, 204], 201, "placed"),
        (TEAPOTS, [402], 402, "declined"),
        (TEAPOTS, [500], 502, "failed"),
        ({"sku": "grail"}, [], 409, "sold_out"),
    ],
)
def test_every_order_is_counted_once(  # noqa: PLR0917  pytest gives what the parameters name
    captel: Captel,
    shop: TestClient,
    payment_answers: Answers,
    body: dict[str, object],
    payment: list[int],
    status: int,
    counted: str,
) -> None:
    asked = payment_answers(*payment)

    assert shop.post("/orders", json=body).status_code == status

    assert len(asked) == len(payment)
    assert captel.metric("shop.orders").value == 1
    assert captel.metric("shop.orders", shop_order_status=counted).value == 1


def test_a_failed_order_is_told_with_its_stack(captel: Captel, shop: TestClient, payment_answers: Answers) -> None:
    payment_answers(500)

    shop.post("/orders", json=TEAPOTS)

    failed = captel.log("order.failed", level="ERROR", exception_type="httpx.HTTPStatusError")
    assert "place_order" in failed.attributes["exception.stacktrace"]
    assert captel.span("POST /orders", http_response_status_code=502).status == "ERROR"


def test_a_confirmation_is_tried_again_and_revenue_is_counted_once(
    captel: Captel, shop: TestClient, payment_answers: Answers
) -> None:
    payment_answers(201, 503, 503, 204)

    order = shop.post("/orders", json=TEAPOTS).json()

    assert shop.get(f"/orders/{order['id']}").json()["status"] == "confirmed"
    assert captel.metric("app.webhook.deliveries", app_webhook_outcome="failure").value == 2
    assert captel.metric("app.webhook.deliveries", app_webhook_outcome="success").value == 1
    assert captel.metric("shop.revenue").value == 78
