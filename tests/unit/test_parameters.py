"""What people choose: how it is read, what is wrong with it line by line, and the file that offers everything."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelkit.errors import ParametersError
from otelkit.ops import mixin, render
from otelkit.ops.mixin import _units, reading
from otelkit.ops.mixin.groups import GROUPS
from otelkit.ops.mixin.model import Alert, Group, Runbook, Threshold, Unit
from otelkit.ops.mixin.parameters import Notify, Parameters, Service, Slo
from otelkit.ops.mixin.reading import read

ROOT = Path(__file__).resolve().parents[2]
DAY = 86400.0

patient = settings(deadline=None)  # machines that run tests are busy


def alert(name: str, expr: str, *thresholds: Threshold) -> Alert:
    nothing = Runbook(looks=(), causes=(), tell="")
    return Alert(
        name=name,
        group="http",
        severity="info",
        expr=expr,
        feels="",
        summary="",
        runbook=nothing,
        thresholds=thresholds,
        undrilled="planted",
    )


def threshold(name: str, unit: Unit, quantile_of: str = "") -> Threshold:
    return Threshold(name=name, default=0.5, unit=unit, about="what is planted", quantile_of=quantile_of)


PLANTED = Group(
    name="http",
    about="Planted.",
    alerts=(
        alert("RouteSlow", "x{$service, $route} > $slow", threshold("slow", "seconds", "http.server.request.duration")),
        alert("ServiceLarge", "x{$service} > $large", threshold("large", "bytes")),
        alert("DiskFull", "x > $disk", threshold("disk", "ratio")),
    ),
)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts that stay as they are, whatever becomes of the real ones."""
    monkeypatch.setattr(reading, "groups", lambda _parameters, _catalog: (PLANTED,))


def problems(text: str, **more: Any) -> list[str]:
    with pytest.raises(ParametersError) as raised:
        read(text, name="p.toml", **more)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return list(raised.value.problems)


def refused(text: str) -> tuple[str, ...]:
    """Return what is wrong with a text; nothing where it is read."""
    try:
        read(text)
    except ParametersError as error:
        return error.problems
    return ()


def test_nothing_chosen_is_the_default() -> None:
    assert read("") == Parameters()


@pytest.mark.usefixtures("planted")
def test_everything_that_can_be_chosen_is_read() -> None:
    text = """
        disable = ["DiskFull"]
        enable = ["RouteSlow"]
        page_environments = ["production"]
        [links]
        grafana = "https://grafana.example.org/"
        runbooks = "https://example.org/runbooks"
        alertmanager = "http://alerts.example.org:9093"
        [notify]
        channel = "#alerts"
        smarthost = "smtp.example.org:587"
        from = "Alerts <alerts@example.org>"
        to = ["one@example.org", "two@example.org"]
        user = "alerts"
        tls = false
        pagerduty = "https://events.eu.pagerduty.com/v2/enqueue"
        [thresholds]
        disk = "5%"
        slow = "250ms"
        [service.shop]
        expected = false
        namespace = "stores"
        environment = "production"
        disable = ["ServiceLarge"]
        large = "1GB"
        [service.shop.route."/orders/{id}"]
        slow = 2
        [[slo]]
        name = "available"
        service = "shop"
        objective = "99.9%"
        [[slo]]
        name = "quick"
        service = "other"
        objective = 0.99
        namespace = "n"
        environment = "e"
        under = "500ms"
        route = "/orders/{id}"
        period = "7d"
    """
    assert read(text, retention=15 * DAY) == Parameters(
        thresholds={"disk": 0.05, "slow": 0.25},
        disable=frozenset({"DiskFull"}),
        enable=frozenset({"RouteSlow"}),
        page_environments=("production",),
        services={
            "shop": Service(
                expected=False,
                namespace="stores",
                environment="production",
                disable=frozenset({"ServiceLarge"}),
                thresholds={"large": 1e9},
                routes={"/orders/{id}": {"slow": 2.0}},
            )
        },
        slos=(
            Slo(name="available", service="shop", objective=0.999, namespace="stores", environment="production"),
            Slo(
                name="quick",
                service="other",
                objective=0.99,
                kind="latency",
                namespace="n",
                environment="e",
                under=0.5,
                route="/orders/{id}",
                period=7,
            ),
        ),
        notify=Notify(
            channel="#alerts",
            smarthost="smtp.example.org:587",
            sender="Alerts <alerts@example.org>",
            to="one@example.org, two@example.org",
            user="alerts",
            tls=False,
            pagerduty="https://events.eu.pagerduty.com/v2/enqueue",
        ),
        grafana="https://grafana.example.org",
        runbooks="https://example.org/runbooks",
        alertmanager="http://alerts.example.org:9093",
    )


SLO = '[[slo]]\nname = "a"\nservice = "s"\nobjective = 0.99\n'


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("page_enviroments = []", 1, "unknown key page_enviroments: did you mean page_environments?"),
        ("disk = 1", 1, "unknown key disk: a threshold stands below [thresholds], or in the table of a service"),
        (SLO + "disk = 1", 5, "unknown key disk in [slo]: a threshold stands below [thresholds]"),
        ("[thresholds]\n\ndisc = 1", 3, "unknown key disc in [thresholds]: did you mean disk?"),
        ("[service.a]\nexpect = true", 2, "unknown key expect in [service.a]: did you mean expected?"),
        ('[service."a b".route."/x"]\nslo = 1', 2, 'in [service."a b".route."/x"]: did you mean slow?'),
        ("[slo]\nname = 'a'", 1, "objectives are written as [[slo]]"),
        ("[links]\ngrafana = 'http://[::1'", 2, "is no address, as https://grafana.example.org"),
        ("[links]\ngrafana = 'example.org'", 2, "is no address, as https://grafana.example.org"),
        ('disable = [\n"DiskFull",\n"DiscFull"]', 3, "unknown alert DiscFull: did you mean DiskFull?"),
        ("disable = 'DiskFull'", 1, '"DiskFull" is no list of names'),
        ("disable = ['DiskFull']\nenable = ['DiskFull']", 2, "DiskFull is switched off in `disable`"),
        ("[service.a]\ndisable = ['DiskFull']", 2, "DiskFull is no alert of services"),
        ("[service.a]\ndisk = 0.1", 2, "disk is no threshold of a service: it stands in [thresholds]"),
        ("[service.a.route.'/x']\ndisk = 0.1", 2, "disk is no threshold of a service: it stands in [thresholds]"),
        ("[service.a.route.'/x']\nlarge = 1", 2, "large is no threshold of a route: it stands in [service.a]"),
        ("[service]\na = 1", 2, "[service.a] is a table"),
        ("[service.a]\nexpected = 'no'", 2, '"no" is neither true nor false'),
        ("[service.a]\nnamespace = 1", 2, "1 is no text of one line"),
        ("service = 1", 1, "[service] is a table"),
        ("links = 1", 1, "[links] is a table"),
        ("notify = []", 1, "[notify] is a table"),
        ("[service.a]\nroute = 1", 2, "[service.a.route] is a table"),
        ("[service.'']", 1, '"" cannot be the name of anything here'),
        ("[service.a.route.'/{{x}}']", 1, '"/{{x}}" cannot be the name of anything here'),
        ("page_environments = ['']", 1, '"" cannot be the name of anything here'),
        (SLO.replace('"a"', '""'), 1, "an objective needs `name`"),
        ("thresholds = 1", 1, "[thresholds] is a table"),
        ("[thresholds]\ndisk = 5", 2, 'disk is 5, not a share from 0 to 1, as 0.05 or "5%"'),
        ("[thresholds]\ndisk = '500ms'", 2, 'disk is "500ms", not a share'),
        ("[thresholds]\nslow = '5%'", 2, 'slow is "5%", not a time above 0'),
        ("[thresholds]\nslow = 0", 2, "slow is 0, not a time above 0"),
        ("[thresholds]\nslow = -1", 2, "slow is -1, not a time above 0"),
        ("[thresholds]\nslow = inf", 2, "slow is inf, not a time above 0"),
        ("[thresholds]\nslow = true", 2, "slow is true, not a time above 0"),
        ("[thresholds]\nlarge = '1gb'", 2, 'large is "1gb", not a size above 0'),
        (
            "[thresholds]\nslow = 10",
            2,
            "slow can never be exceeded: the last bound of http.server.request.duration is 10,",
        ),
        ("[[slo]]\nname = 'a'\nobjective = 0.9", 1, "an objective needs `service`"),
        (SLO + SLO, 2, "2 objectives are named a"),
        (SLO + SLO, 6, "2 objectives are named a"),
        (SLO.replace("0.99", "99.9"), 4, '99.9 is no objective: a share below 1, as 0.999 or "99.9%"'),
        (SLO.replace("0.99", "1"), 4, "1 is no objective"),
        (SLO.replace("0.99", "0.5"), 4, "0.5 over 14 days could never page"),
        (SLO + "period = '2d'", 4, "a period of 2 days is too short"),
        (
            SLO + "under = '300ms'",
            5,
            "requests are not counted at 0.3 s: the bounds of http.server.request.duration are",
        ),
        (SLO + "kind = 'latency'", 1, 'an objective of latency needs `under`, as "500ms"'),
        (SLO + "kind = 'availability'\nunder = 0.5", 6, "a bound of time is of objectives whose `kind` is latency"),
        (SLO + "kind = 'latent'\nunder = 0.5", 5, "unknown kind of objective latent: did you mean latency?"),
        (SLO + "period = inf", 5, "inf is no period: whole days"),
        (SLO + "period = 0", 5, '0 is no period: whole days, as 14 or "14d"'),
        (SLO + "period = '36h'", 5, '"36h" is no period'),
        (SLO + "period = 15", 5, "a period of 15 days needs PROMETHEUS_RETENTION=16d in deploy/.env, which is 15d"),
        ("[notify]\nsmarthost = 'smtp.example.org'", 2, "is no mail server: host:port"),
        ("[notify]\nsmarthost = 'smtp.example.org:25'\nfrom = 'a@example.org'", 2, "mail needs `to`"),
        ("[notify]\nto = ['a@example.org', 'nobody']", 2, "is no e-mail address"),
        ("[thresholds]\nslow = 1\nslow = 2", 3, "Cannot overwrite a value"),
        ("[thresholds\n", 1, "Expected ']'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, says: str) -> None:
    told = problems(text, retention=15 * DAY)
    assert any(each.startswith(f"p.toml:{line}: ") and says in each for each in told), told


@pytest.mark.usefixtures("planted")
def test_all_problems_are_told_at_once_in_the_order_of_lines() -> None:
    told = problems("[thresholds]\ndisk = 2\nslow = 0\n[servise.a]\n[service.b]\nx = 1\ny = 2\n")
    assert [each.split(" ", 1)[0] for each in told] == [f"p.toml:{line}:" for line in (2, 3, 4, 6, 7)]


def test_an_unknown_retention_refuses_no_period() -> None:
    assert read(SLO + "period = 90").slos[0].period == 90


@patient
@given(text=st.text(max_size=40) | st.builds("[thresholds]\nerror_crit = {}".format, st.text(max_size=9)))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    assert all(re.match(r"parameters\.toml:\d+: ", problem) for problem in refused(text))


VALUES = st.recursive(
    st.none()
    | st.sampled_from(
        ["x", "", "5%", "\\n", "http://[", float("inf"), float("nan"), 1, 10**400, -1, 0.5, True, "2020-01-01"]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["route", "a", "name", "period", "grafana", "smarthost"]), inner)
    ),
    max_leaves=3,
)
TOP = ("disable", "enable", "page_environments", "thresholds", "service", "slo", "links", "notify")


def toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool() | None:
            return str(bool(value)).lower()
        case str():
            return f'"{value}"'
        case _:
            return str(value)


@patient
@given(
    said=st.dictionaries(st.sampled_from(TOP), VALUES),
    slo=st.dictionaries(st.sampled_from(["name", "service", "objective", "under", "period", "kind", "x"]), VALUES),
)
def test_values_of_any_type_in_any_place_are_refused_not_stumbled_over(
    said: dict[str, Any], slo: dict[str, Any]
) -> None:
    text = "".join(f"{key} = {toml(value)}\n" for key, value in said.items())
    text += "" if "slo" in said else "[[slo]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in slo.items())
    tomllib.loads(text)
    assert all(re.match(r"parameters\.toml:\d+: ", problem) for problem in refused(text))


@patient
@given(unit=st.sampled_from(get_args(Unit)), value=st.floats(0.001, 1e15) | st.integers(1, 10**15).map(float))
def test_what_is_written_for_people_is_read_as_the_same_number(unit: Unit, value: float) -> None:
    value = value / 1e15 if unit == "ratio" else value
    shown: object = tomllib.loads(f"x = {_units.written(value, unit)}")["x"]
    assert _units.number(shown, unit) == value


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("ratio", "7%", 0.07),
        ("ratio", "0.1 %", 0.001),
        ("seconds", "500ms", 0.5),
        ("seconds", "14d", 14 * DAY),
        ("bytes", "1GB", 1e9),
        ("bytes", "1.5GiB", 1.5 * 2**30),
        ("per_second", "0.1/s", 0.1),
        ("ratio", "7", None),
        ("seconds", "5M", None),
        ("number", "5%", None),
    ],
)
def test_units_are_those_of_the_threshold(unit: Unit, text: str, value: float | None) -> None:
    assert _units.number(text, unit) == value


def uncommented(text: str, mark: str) -> str:
    return re.sub(rf"(?m)^{mark}", "", text)


def test_the_file_that_offers_everything_chooses_nothing_as_it_is_and_uncommented() -> None:
    text = mixin.render(mixin.Inputs())[render.PARAMETERS]
    assert not render.is_chosen(text)
    chosen = read(uncommented(text, r"#(?=\S)"))
    defaults = {each.name: each.default for group in GROUPS for alert in group.alerts for each in alert.thresholds}
    assert chosen == Parameters(thresholds=defaults)
    as_it_is = mixin.render(mixin.Inputs())
    assert mixin.render(mixin.Inputs(parameters=chosen)) == as_it_is


def test_the_examples_in_the_file_can_be_taken_as_they_are() -> None:
    text = mixin.render(mixin.Inputs())[render.PARAMETERS]
    chosen = read(uncommented(text, "#   "), retention=15 * DAY)
    assert chosen.services
    assert {slo.kind for slo in chosen.slos} == {"availability", "latency"}
    assert chosen.notify != Notify()


def test_no_threshold_is_called_as_a_setting_and_all_defaults_can_be_chosen() -> None:
    thresholds = {each.name: each for group in GROUPS for alert in group.alerts for each in alert.thresholds}
    assert set(thresholds).isdisjoint({"expected", "namespace", "environment", "disable", "route"})
    for each in thresholds.values():
        read(f"[thresholds]\n{each.name} = {_units.written(each.default, each.unit)}")
