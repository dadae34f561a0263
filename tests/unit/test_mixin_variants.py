"""Rules are for the services that they are to be for: all, all but some, one, in PromQL and in LogQL."""

from __future__ import annotations

import pytest

from otelkit.ops.mixin._variants import variants
from otelkit.ops.mixin.model import Alert, Cause, Look, Runbook, Threshold
from otelkit.ops.mixin.parameters import Parameters, Service

_QUIET = Threshold(name="quiet", default=600, unit="seconds", about="seconds without a record")
_RUNBOOK = Runbook(looks=(Look(says="x", query="up"),), causes=(Cause(what="x.", sign="x.", fix="x."),), tell="Nobody.")


def alert(expr: str, *, language: str = "promql", named: bool = False) -> Alert:
    return Alert(
        name="Quiet",
        group="logs",
        severity="warning",
        expr=expr,
        feels="Nothing.",
        summary="{{ $labels.service_name }}",
        runbook=_RUNBOOK,
        thresholds=(_QUIET,),
        language=language,  # type: ignore[arg-type]
        named=named,
    )


def rendered(declared: Alert, **services: Service) -> list[str]:
    return [each.expr for each in variants(declared, Parameters(services=services))]


@pytest.mark.parametrize(
    ("language", "anybody"), [("promql", 'service_name!=""'), ("logql", 'service_name=~".+"')], ids=["promql", "logql"]
)
def test_a_rule_for_all_asks_for_a_name_as_its_language_takes_it(language: str, anybody: str) -> None:
    declared = alert("x{$service} > $quiet", language=language)
    assert rendered(declared) == [f"x{{{anybody}}} > 600"]
    assert rendered(declared, api=Service(thresholds={"quiet": 60})) == [
        f'x{{{anybody}, service_name!~"api"}} > 600',
        'x{service_name="api"} > 60',
    ]
    assert rendered(declared, api=Service(disable=frozenset({"Quiet"}))) == [
        f'x{{{anybody}, service_name!~"api"}} > 600'
    ]


def test_an_alert_of_named_services_has_a_rule_for_each_and_none_for_all() -> None:
    declared = alert("absent_over_time({$service} [${quiet}s])", language="logql", named=True)
    assert rendered(declared) == []
    assert rendered(
        declared,
        api=Service(environment="production"),
        cron=Service(expected=False),
        loud=Service(disable=frozenset({"Quiet"})),
        worker=Service(thresholds={"quiet": 3600}),
    ) == [
        'absent_over_time({service_name="api", deployment_environment_name="production"} [600s])',
        'absent_over_time({service_name="worker"} [3600s])',
    ]


def test_the_rule_of_a_named_service_adds_the_labels_of_its_place() -> None:
    declared = alert("absent_over_time({$service} [${quiet}s])", language="logql", named=True)
    (rule,) = variants(declared, Parameters(services={"api": Service(namespace="shop")}))
    assert rule.labels == {"service_namespace": "shop", "service_name": "api"}


def test_an_alert_that_is_switched_off_has_no_rule_for_a_named_service() -> None:
    declared = alert("absent_over_time({$service} [${quiet}s])", language="logql", named=True)
    parameters = Parameters(services={"api": Service()}, disable=frozenset({"Quiet"}))
    assert list(variants(declared, parameters)) == []
