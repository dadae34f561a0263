"""How what was seen is held against a threshold: which side counts, and for how long."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest

from otelkit.ops import observed
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.model import SERVICE, Alert, Group, Runbook, Threshold
from otelkit.ops.mixin.parameters import Parameters
from otelkit.ops.query import Series
from otelkit.ops.query.lgtm import Prometheus
from shop import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelkit.ops.mixin.model import Unit

STEP = 15


def alert(crossed: Literal["above", "below", "guard"], *, lasting: str = "30s") -> Alert:
    threshold = Threshold(
        name="limit", default=0.5, unit="ratio", about="what is planted", observed="planted", crossed=crossed
    )
    return Alert(
        name="Planted",
        group="http",
        severity="info",
        expr="x > $limit",
        feels="",
        summary="",
        runbook=Runbook(looks=(), causes=(), tell=""),
        lasting=lasting,
        thresholds=(threshold,),
        undrilled="planted",
    )


def seen(monkeypatch: pytest.MonkeyPatch, one: Alert, values: Sequence[float]) -> observed.Observed:
    points = tuple((at * STEP * 1_000_000_000, value) for at, value in enumerate(values))
    series = Series(labels={"service_name": "shop"}, points=points)
    monkeypatch.setattr(Prometheus, "range", lambda *_: (series,))
    group = Group(name="http", about="", alerts=(one,))
    (found,) = observed.observe(Prometheus(backend=None), [group], Parameters(), over=3600)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("values", "fired"),
    [
        ([0.1, 0.6, 0.6, 0.6, 0.1], True),
        ([0.1, 0.6, 0.6, 0.1, 0.6], False),
        ([0.5, 0.5, 0.5, 0.5], False),
        ([float("nan"), 0.6, 0.6, float("nan"), 0.6], False),
    ],
)
def test_what_is_beyond_it_for_as_long_as_the_alert_asks_for_fired(
    values: list[float], *, fired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seen(monkeypatch, alert("above"), values).fired is fired


def test_of_a_lower_limit_the_low_end_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(monkeypatch, alert("below", lasting="0s"), [*[0.9] * 98, 0.6, 0.4])
    assert found.quantiles == (0.9, 0.9, 0.6, 0.4)
    assert found.fired
    assert found.beyond == 0.01


def test_a_guard_fires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(monkeypatch, alert("guard", lasting="0s"), [0.9] * 4)
    assert (found.fired, found.beyond) == (False, 0.0)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05, "ratio", "5 %"),
        (0.25, "seconds", "0.25 s"),
        (1209600, "seconds", "14 d"),
        (5400, "seconds", "1.5 h"),
        (400, "seconds", "400 s"),
        (4.5e8, "bytes", "450 MB"),
        (2e15, "bytes", "2e+03 TB"),
        (0.1, "per_second", "0.1/s"),
        (500000, "number", "500000"),
    ],
)
def test_values_are_written_with_their_unit(value: float, unit: Unit, text: str) -> None:
    assert observed.shown(value, unit) == text


def test_a_service_is_written_with_what_it_has() -> None:
    labels = dict(zip(SERVICE, ("stores", "shop", "production"), strict=True))
    assert observed.named(labels) == "stores/shop (production)"
    assert observed.named({"service_name": "shop", "instance": "a:1", "job": "j", "target": "a:1"}) == "shop a:1"
    assert observed.named({}) == "all"


def test_every_threshold_says_on_which_side_of_it_its_alerts_fire() -> None:
    alerts = [one for group in groups(Parameters(), metrics.catalog.metrics) for one in group.alerts]
    for one in alerts:
        for each in one.thresholds:
            signs = set(re.findall(rf"([<>])=?\s*\(?\s*\${each.name}\b", one.expr))
            if each.crossed != "guard" and signs:
                assert signs == {"<" if each.crossed == "below" else ">"}, each.name
