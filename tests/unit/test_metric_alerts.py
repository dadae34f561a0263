"""The only place that proves alerts on declared metrics: what may be declared, and which rules are made of it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import pytest

from otelkit import SettingsError, metrics
from otelkit.metrics import Below, Catalog, Ratio, Stopped
from otelkit.ops.mixin._variants import variants
from otelkit.ops.mixin.groups import business, groups
from otelkit.ops.mixin.parameters import Parameters

if TYPE_CHECKING:
    from otelkit.metrics import MetricAlert

RUNBOOK = "Ask the bank."


class Status(enum.StrEnum):
    PLACED = "placed"
    FAILED = "failed"


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr(metrics, "_known", {})
    return Catalog("shop")


def declare(catalog: Catalog, alert: MetricAlert | tuple[MetricAlert, ...], name: str = "shop.orders") -> None:
    catalog.counter(
        name,
        unit="{order}",
        description="Orders by outcome.",
        attributes={"shop.order.status": tuple(Status), "shop.gift": (True, False), "shop.campaign": str},
        alert=alert,
    )


def expressions(catalog: Catalog) -> dict[str, str]:
    return {alert.name: alert.expr for alert in business.group(Parameters(), catalog.metrics).alerts}


@pytest.mark.parametrize(
    ("alert", "part"),
    [
        (Ratio(bad={"shop.order.status": "failed"}, over=0.3), "alert ShopOrdersFailing: needs a `runbook`"),
        (Ratio(bad={"shop.order.status": "failed"}, over=0.3, runbook=" "), "needs a `runbook`"),
        (Ratio(bad={}, over=0.3, runbook=RUNBOOK), "needs `bad`"),
        (Ratio(bad={"shop.status": "failed"}, over=0.3, runbook=RUNBOOK), "'shop.status' is not declared"),
        (Ratio(bad={"shop.campaign": "x"}, over=0.3, runbook=RUNBOOK), "'shop.campaign' is open"),
        (
            Ratio(bad={"shop.order.status": "lost"}, over=0.3, runbook=RUNBOOK),
            "is never 'lost': its values are 'placed', 'failed'",
        ),
        (Ratio(bad={"shop.gift": 1}, over=0.3, runbook=RUNBOOK), "is never 1"),
        (Ratio(bad={"shop.order.status": ()}, over=0.3, runbook=RUNBOOK), "no value is chosen"),
        (
            Ratio(bad={"shop.order.status": ("placed", "failed")}, over=0.3, runbook=RUNBOOK),
            "all values of 'shop.order.status' are bad",
        ),
        (Ratio(bad={"shop.order.status": "failed"}, over=30, runbook=RUNBOOK), "over 30 is no share"),
        (Ratio(bad={"shop.order.status": "failed"}, over=0.3, at_least=0, runbook=RUNBOOK), "at_least 0"),
        (Ratio(bad={"shop.order.status": "failed"}, over=0.3, for_="5", runbook=RUNBOOK), "for_ '5' is no duration"),
        (Stopped(for_="1m", runbook=RUNBOOK), "for_ '1m' is no duration from 2m to 1h"),
        (Stopped(for_="5m", where={"shop.status": "x"}, runbook=RUNBOOK), "'shop.status' is not declared"),
        (Below(per="8d", value=1, runbook=RUNBOOK), "per '8d' is no duration from 2m to 7d"),
        (Below(per="1d", value=0, runbook=RUNBOOK), "value 0 is no number above 0"),
        (Stopped(for_="5m", name="orders stopped", runbook=RUNBOOK), "a name is one word"),
        (Stopped(for_="5m", severity="loud", runbook=RUNBOOK), "severity 'loud' is none of critical, warning, info"),  # type: ignore[arg-type]
        (Stopped(for_="5m", where="placed", runbook=RUNBOOK), "where is no mapping"),  # type: ignore[arg-type]
        ("stopped", "an alert is a Ratio, Stopped or Below of otelkit.metrics"),
        (
            (Stopped(for_="5m", runbook=RUNBOOK), Stopped(for_="1h", runbook=RUNBOOK)),
            "a second alert of this name needs a `name`",
        ),
    ],
)
def test_an_alert_that_cannot_work_is_refused_with_the_declaration(catalog: Catalog, alert: Any, part: str) -> None:
    with pytest.raises(SettingsError) as raised:
        declare(catalog, alert)
    (problem,) = raised.value.problems
    assert problem.startswith("shop.orders: ")
    assert part in problem
    assert catalog.metrics == ()


def test_every_problem_of_metric_and_alerts_is_told_at_once(catalog: Catalog) -> None:
    with pytest.raises(SettingsError) as raised:
        declare(catalog, (Below(per="1d", value=-1), Ratio(bad={"shop.campaign": "x"}, over=2)), name="orders")
    assert len(raised.value.problems) == 6


def test_a_name_is_that_of_one_alert_of_all_metrics(catalog: Catalog) -> None:
    alert = Stopped(for_="5m", name="NothingSold", runbook=RUNBOOK)
    declare(catalog, alert)
    declare(catalog, alert)  # the same declaration again is no second one
    with pytest.raises(SettingsError, match=r"alert NothingSold: shop\.orders has one of this name"):
        declare(catalog, alert, name="shop.sales")


def test_an_alert_is_named_after_its_metric(catalog: Catalog) -> None:
    declare(
        catalog,
        (
            Ratio(bad={"shop.order.status": "failed"}, over=0.3, runbook=RUNBOOK),
            Stopped(for_="5m", runbook=RUNBOOK),
            Below(per="1d", value=1, runbook=RUNBOOK),
        ),
    )
    assert list(expressions(catalog)) == ["ShopOrdersFailing", "ShopOrdersStopped", "ShopOrdersLow"]


def test_what_it_is_about_is_chosen_as_prometheus_writes_it(catalog: Catalog) -> None:
    bad: dict[str, Any] = {"shop.order.status": Status.FAILED, "shop.gift": (True, False)}
    declare(catalog, Ratio(bad=bad, over=0.3, runbook=RUNBOOK))
    wanted = 'shop_orders_total{shop_order_status="failed", shop_gift=~"true|false", $service}[5m]'
    assert wanted in expressions(catalog)["ShopOrdersFailing"]


def test_a_value_may_hold_anything(catalog: Catalog) -> None:
    odd = 'a"b$c'
    catalog.counter(
        "shop.odd",
        unit="{thing}",
        description="Odd things.",
        attributes={"shop.kind": (odd, "plain")},
        alert=Stopped(for_="5m", where={"shop.kind": odd}, runbook=RUNBOOK),
    )
    (alert,) = business.group(Parameters(), catalog.metrics).alerts
    (variant,) = variants(alert, Parameters())
    assert 'shop_odd_total{shop_kind="a\\"b$c", service_name!=""}' in variant.expr


def test_its_numbers_are_thresholds_and_its_words_the_runbook(catalog: Catalog) -> None:
    declare(catalog, Ratio(bad={"shop.order.status": "failed"}, over=0.3, runbook="Ask\n   the bank."))
    (alert,) = business.group(Parameters(), catalog.metrics).alerts
    assert [(each.name, each.default) for each in alert.thresholds] == [("shop_orders_failing_over", 0.3)]
    assert alert.runbook.note == "Ask the bank."


def test_a_catalogue_without_alerts_makes_no_rules(catalog: Catalog) -> None:
    declare(catalog, ())
    group = business.group(Parameters(), catalog.metrics)
    assert (group.alerts, bool(group.waits_for)) == ((), True)


def test_it_must_not_have_the_name_of_one_that_any_service_has(catalog: Catalog) -> None:
    declare(catalog, Stopped(for_="5m", name="TrafficStopped", runbook=RUNBOOK))
    with pytest.raises(SettingsError, match="TrafficStopped: otelkit has an alert of this name"):
        groups(Parameters(), catalog.metrics)
