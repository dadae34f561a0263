"""What the rest of the API leaves behind: products, users, health."""

from time import monotonic

import pytest
from fastapi.testclient import TestClient

from otelkit.testing import Captel

ADA = {"email": "ada@example.org", "password": "correct horse"}


@pytest.mark.usefixtures("redis")
def test_a_product_is_looked_up_once(captel: Captel, shop: TestClient) -> None:
    for _ in range(3):
        assert shop.get("/products/teapot").json() == {"sku": "teapot", "price": 39_00}

    assert captel.metric("cache.requests", cache_name="products", cache_result="miss").value == 1
    assert captel.metric("cache.requests", cache_name="products", cache_result="hit").value == 2
    assert len(captel.spans("SELECT products", kind="CLIENT")) == 1


def test_without_redis_products_come_from_the_database(captel: Captel, shop: TestClient) -> None:
    assert shop.get("/products/teapot").json() == {"sku": "teapot", "price": 39_00}

    assert captel.metric("cache.requests", cache_operation="get", cache_result="error").value == 1
    captel.span("SELECT products", kind="CLIENT")


@pytest.mark.usefixtures("redis")
def test_users_are_counted_and_what_they_type_is_not_told(captel: Captel, shop: TestClient) -> None:
    user = shop.post("/users", json=ADA).json()
    token = shop.post("/users/log-in", json=ADA).json()["token"]
    refused = shop.post("/users/log-in", json=ADA | {"password": "incorrect horse"})

    assert refused.status_code == 401
    assert shop.get("/users/me", headers={"authorization": f"Bearer {token}"}).json() == user
    assert shop.post("/users", json=ADA).is_client_error
    assert captel.metric("app.user.signups").value == 1
    assert captel.metric("app.auth.attempts", app_auth_outcome="success").value == 1
    assert captel.metric("app.auth.attempts", app_auth_outcome="failure").value == 1
    captel.assert_no_secret(ADA["email"], ADA["password"], "incorrect horse", token)


@pytest.mark.usefixtures("redis")
def test_health_is_asked_without_a_trace(captel: Captel, shop: TestClient) -> None:
    end = monotonic() + 10.0
    while shop.get("/health/ready").json() != {"status": "pass"}:  # until the first results are in
        assert monotonic() < end

    assert captel.spans(kind="SERVER") == []
    assert captel.metric("otelkit.health.check.status", otelkit_health_check="database").value == 1
