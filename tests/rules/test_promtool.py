"""A case that is wrong is told, and an alert that is spoilt is noticed: else all the others prove nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otelkit.ops.mixin.model import Alert, Runbook, Threshold
from otelkit.ops.mixin.parameters import Parameters, Service, Slo
from rules import lane, mutation, promtool, when
from rules.case import Case

_FAILING = 'http_server_request_duration_seconds_count{service_name="api", http_route="/", http_response_status_code='
FIRES = Case(
    alert="HighErrorRate",
    says="6 % fail",
    series={f'{_FAILING}"200"}}': "0+94x40", f'{_FAILING}"500"}}': "0+6x40"},
    at="5m",
    fires=({"service_name": "api"},),
    summary="api answers 6% of its requests with 5xx",
)
SAMPLE = Alert(
    name="Sample",
    group="http",
    severity="warning",
    lasting="1h30m",
    expr='rate(a_total{b="1 > 0", $service, $route}[5m]) * 60 > $most\nunless on ($S) '
    '(c{d!="", e=~"f{2}"} offset 1h > 1e3)',
    feels="",
    summary="",
    runbook=Runbook(looks=(), causes=(), tell=""),
    thresholds=(Threshold(name="most", default=5, unit="number", about=""),),
)


def _verdicts(*cases: Case) -> list[str]:
    lane.promtool()
    return [verdict for verdicts in promtool.run(promtool.jobs(cases)) for verdict in verdicts]


def test_a_case_as_it_is_has_no_verdict() -> None:
    assert _verdicts(FIRES) == [""]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(FIRES, fires=(), summary=""),
        replace(FIRES, fires=({"service_name": "payment"},)),
        replace(FIRES, fires=({"service_name": "api", "http_route": "/"},)),
        replace(FIRES, summary="api answers 7% of its requests with 5xx"),
        replace(FIRES, at="15s"),
        replace(FIRES, parameters=Parameters(thresholds={"error_crit": 0.07})),
    ],
    ids=["silent", "another service", "one label more", "another summary", "too early", "another number"],
)
def test_a_case_that_is_wrong_is_told(wrong: Case) -> None:
    (verdict,) = _verdicts(wrong)
    assert "HighErrorRate" in verdict


def test_a_case_that_cannot_be_read_is_told_and_others_are_judged() -> None:
    unreadable = replace(FIRES, series={"up": "1 +"})
    first, second = _verdicts(unreadable, FIRES)
    assert first.startswith(promtool.UNREADABLE)
    assert second == ""


def test_an_alert_that_does_not_exist_is_refused() -> None:
    with pytest.raises(promtool.CaseError, match="no rule of this name"):
        promtool.jobs([replace(FIRES, alert="HighTide")])


def test_only_the_recordings_are_loaded_that_the_alert_reads() -> None:
    (rate, alert) = promtool.needed(FIRES)
    assert rate["record"] == "service_route_status:http_server_requests:rate2m"
    assert alert["alert"] == "HighErrorRate"


def test_a_service_with_a_number_of_its_own_is_judged_by_its_own_rule() -> None:
    own = Parameters(services={"api": Service(thresholds={"error_crit": 0.02})})
    (expected,) = promtool.expected(FIRES, promtool.needed(replace(FIRES, parameters=own)))
    assert expected["exp_labels"] == {"service_name": "api", "severity": "critical", "group": "http"}


@pytest.mark.parametrize(("environment", "severity"), [("production", "critical"), ("staging", "warning")])
def test_an_environment_that_nobody_pages_for_is_warned_of(environment: str, severity: str) -> None:
    series = {
        name.replace("{", f'{{deployment_environment_name="{environment}", '): it for name, it in FIRES.series.items()
    }
    labels = {"service_name": "api", "deployment_environment_name": environment}
    case = replace(FIRES, series=series, fires=(labels,), parameters=Parameters(page_environments=("production",)))
    (expected,) = promtool.expected(case, promtool.needed(case))
    assert expected["exp_labels"]["severity"] == severity
    assert _verdicts(case) == [""]


def test_two_rules_that_could_have_made_an_alert_are_refused() -> None:
    rule = {"alert": "HighErrorRate", "labels": {"severity": "warning", "group": "http"}, "annotations": {}}
    with pytest.raises(promtool.CaseError, match="several rules add these labels"):
        promtool.expected(FIRES, [rule, {**rule, "expr": "other"}])


def test_a_template_that_nothing_here_can_fill_in_is_refused() -> None:
    labels = {"severity": "critical", "group": "http"}
    rule = {"alert": "HighErrorRate", "labels": labels, "annotations": {"more": "{{ $labels.pod | title }}"}}
    with pytest.raises(promtool.CaseError, match="template of more"):
        promtool.expected(FIRES, [rule])


def test_each_part_of_an_expression_is_spoilt_once_and_texts_and_windows_are_left_alone() -> None:
    assert [mutant.name for mutant in mutation.mutants(SAMPLE)] == [
        "never",
        "60 x2",
        "60 /2",
        "> turned <",
        "unless turned or",
        "> turned < #2",
        "1e3 x2",
        "1e3 /2",
        'without b="1 > 0"',
        'without d!=""',
        'without e=~"f{2}"',
        "most x2",
        "most /2",
        "probes counted",
        "no for",
        "for x10",
        "severity critical",
    ]


def test_a_mutant_that_no_case_notices_survives() -> None:
    lane.promtool()
    outcome = mutation.spoil([FIRES])
    assert "HighErrorRate: error_crit x2" not in outcome.left
    assert {"HighErrorRate: error_crit /2", "HighErrorRate: no for"} < set(outcome.left)
    assert outcome.count > len(outcome.left)
    assert outcome.broken == []


def test_a_case_that_fails_as_it_is_notices_nothing() -> None:
    lane.promtool()
    outcome = mutation.spoil([replace(FIRES, fires=(), summary="")])
    assert outcome.broken == [str(FIRES)]
    assert outcome.count == 0


def test_a_recording_that_an_alert_reads_is_spoilt_with_it() -> None:
    lane.promtool()
    case = Case(alert="DatabaseDown", says="it is up", series={"pg_up": "1x40"}, at="5m")
    recording = promtool.Job(
        rules=[{"record": "a:b:c", "expr": 'a{b="c"} * 2'}, *promtool.needed(case)],
        cases=(case,),
    )
    assert [name for name, _ in mutation._spoilt(recording) if name.startswith("a:b:c")] == [
        "a:b:c: 2 x2",
        "a:b:c: 2 /2",
        'a:b:c: without b="c"',
    ]


def test_what_was_chosen_for_one_makes_no_mutant_of_its_own_and_is_told_from_thresholds() -> None:
    objective = Slo(name="most", service="beat", objective=0.999)
    alike = mutation._alike(Parameters(services={"beat": Service()}, slos=(objective,)))
    assert alike('a:b:c (slo=most): without service_name="beat"') == 'a:b:c (slo=SLO): without service_name="SERVICE"'
    assert alike("a:b:c: 0.999 x2") == "a:b:c: OBJECTIVE x2"
    for name in ("CeleryBeatStalled: beat x2", "Sample: most /2", "a:b:c: 10.999 x2"):
        assert alike(name) == name


def test_it_is_told_when_an_alert_is_true_and_when_it_fires() -> None:
    lane.promtool()
    assert when.spells(FIRES, firing=False, until=60) == [(15, 60)]
    assert when.spells(FIRES, firing=True, until=60) == [(45, 60)]
