"""What is written of alerts reads well, and names what is read from series, whatever they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otelkit.metrics import Metric
from otelkit.ops.mixin._metrics_page import query, render_metrics
from otelkit.ops.mixin._selected import selected
from otelkit.ops.mixin.boards.model import Board, Link, Panel, Target
from otelkit.ops.mixin.groups import http
from otelkit.ops.mixin.model import Group, Recording
from otelkit.ops.mixin.pages import render_pages
from otelkit.ops.mixin.parameters import Parameters, Service

if TYPE_CHECKING:
    from otelkit.metrics import Kind
    from otelkit.ops.mixin.model import Unit

RUNBOOK = "docs/runbooks/HighErrorRate.md"
REFERENCE = "docs/reference/alerts.md"
OWN_NUMBERS = Parameters(
    thresholds={"error_crit": 0.1},
    services={"api": Service(thresholds={"error_crit": 0.02}, routes={"/report": {"error_crit": 0.5}})},
)


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ('sum by ($S) (rate(a_b:c{x="y} z"}[5m])) / on ($S) group_left () (d > 0)', {"a_b:c", "d"}),
        ("time() - max_over_time(e[1h:15s]) > ${stall}", {"e"}),
        ("histogram_quantile (0.95, sum by (le) (x_bucket)) > 1e3 unless y offset 5m", {"x_bucket", "y"}),
        ('absent(up{job="x"}) or vector(1)', {"up"}),
        ('{__name__="named", a="b"} and {__name__=~"any.*"}', {"named"}),
        ("pg_up{instance='<instance>'} == bool 0 or -Inf", {"pg_up"}),
        ('label_replace(a{$service}, "b", "$$1", "c", "(.+)") * ignoring (d) e', {"a", "e"}),
    ],
)
def test_the_series_that_an_expression_reads_are_found(expr: str, names: set[str]) -> None:
    assert selected(expr) == names


def test_a_runbook_shows_the_numbers_in_force_and_the_rules_of_services_and_routes() -> None:
    text = render_pages((http.GROUP,), OWN_NUMBERS)[RUNBOOK]
    assert "| `error_crit` | 10 %, by default 5 % |" in text
    assert 'For `service_name="api"`:' in text
    assert 'For `service_name="api"`, `http_route="/report"`:' in text
    assert [number for number in ("0.1", "0.02", "0.5") if f"> {number}\n" in text] == ["0.1", "0.02", "0.5"]


def test_an_alert_that_is_off_says_so_and_shows_what_it_would_be() -> None:
    for parameters, said in (
        (Parameters(disable=frozenset({"HighErrorRate"})), "It is switched off in the parameters."),
        (Parameters(), 'It is off, until `enable = ["HighRequestRate"]`'),
    ):
        pages = render_pages((http.GROUP,), parameters)
        text = pages[RUNBOOK if parameters.disable else "docs/runbooks/HighRequestRate.md"]
        assert said in text
        assert "```promql\nsum by" in text


def test_alerts_of_one_name_share_a_page_that_tells_them_apart() -> None:
    tiers = tuple(replace(http.HIGH_ERROR_RATE, labels={"window": each}, drill=each) for each in ("1h", "6h"))
    pages = render_pages((Group(name="http", about="Requests.", alerts=tiers),), Parameters())
    assert 'Critical, `window="1h"`: when this has been true for 30 s' in pages[RUNBOOK]
    assert "By `otelkit drill 1h`, which breaks what it watches. By `otelkit drill 6h`" in pages[RUNBOOK]
    assert "| alerts | 1 |" in pages[REFERENCE]
    assert "| rules that make them, before a service has numbers of its own | 2 |" in pages[REFERENCE]


def test_an_alert_that_a_text_names_is_a_link_to_its_runbook_but_not_within_code() -> None:
    note = "See ElevatedErrorRate, `HighLatency` and `amtool alert query HighLatency`; not HighErrorRate, nor HighTide."
    runbook = replace(http.HIGH_ERROR_RATE.runbook, note=note)
    alerts = (replace(http.HIGH_ERROR_RATE, runbook=runbook), http.ELEVATED_ERROR_RATE, http.HIGH_LATENCY)
    text = render_pages((Group(name="http", about="Requests.", alerts=alerts),), Parameters())[RUNBOOK]
    assert (
        "See [ElevatedErrorRate](ElevatedErrorRate.md), [HighLatency](HighLatency.md) and "
        "`amtool alert query HighLatency`; not HighErrorRate, nor HighTide." in text
    )


def test_a_summary_names_labels_too_that_are_only_sometimes_there() -> None:
    summary = "{{ with $labels.pod }}pod {{ . }}{{ else }}container {{ $labels.name }}{{ end }} uses {{ $value }}"
    alert = replace(http.HIGH_ERROR_RATE, summary=summary)
    text = render_pages((replace(http.GROUP, alerts=(alert,)),), Parameters())[RUNBOOK]
    assert "\n> pod `<pod>` or container `<name>` uses `<value>`\n" in text


def test_links_lead_to_the_addresses_that_were_chosen() -> None:
    chosen = Parameters(grafana="https://g.example", alertmanager="https://a.example")
    text = render_pages((http.GROUP,), chosen)[RUNBOOK]
    assert "[Board](https://g.example/d/otelkit-red)" in text
    assert "amtool --alertmanager.url=https://a.example silence add alertname=HighErrorRate" in text


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.05, "ratio", "5 %"),
        (0.005, "ratio", "0.5 %"),
        (0.25, "seconds", "250 ms"),
        (2.5, "seconds", "2.5 s"),
        (60, "seconds", "1 min"),
        (90, "seconds", "90 s"),
        (14 * 86400, "seconds", "14 d"),
        (1_000_000_000, "bytes", "1 GB"),
        (1_500, "bytes", "1.5 kB"),
        (0.1, "per_second", "0.1 a second"),
        (500_000, "number", "500 000"),
    ],
)
def test_a_number_is_written_as_people_read_it(value: float, unit: Unit, shown: str) -> None:
    threshold = replace(http.ERROR_CRIT, default=value, unit=unit)
    alert = replace(http.HIGH_ERROR_RATE, thresholds=(threshold,))
    pages = render_pages((Group(name="http", about="Requests.", alerts=(alert,)),), Parameters())
    assert f"| `error_crit` | {shown} |" in pages[RUNBOOK]


def _metric(kind: Kind, name: str, unit: str, *attributes: str) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        description="It.",
        attributes=dict.fromkeys(attributes, str),
        buckets=(1.0,) if kind == "histogram" else (),
    )


@pytest.mark.parametrize(
    ("metric", "asked"),
    [
        (
            _metric("counter", "shop.orders", "{order}", "shop.order.status"),
            "sum by (service_name, shop_order_status) (rate(shop_orders_total[5m]))",
        ),
        (
            _metric("histogram", "shop.wait", "s", "shop.place"),
            "histogram_quantile(0.95, sum by (service_name, le) (rate(shop_wait_seconds_bucket[5m])))",
        ),
        (_metric("gauge", "shop.age", "s"), "max by (service_name) (shop_age_seconds)"),
        (
            _metric("up_down_counter", "shop.stock", "{item}", "a", "b", "c", "d"),
            "sum by (service_name, a, b, c) (shop_stock)",
        ),
    ],
)
def test_a_metric_is_asked_for_as_its_kind_wants_it(metric: Metric, asked: str) -> None:
    assert query(metric) == asked


def test_a_metric_is_read_by_an_alert_that_reads_what_is_recorded_of_it() -> None:
    orders = _metric("counter", "shop.orders", "{order}")
    recordings = (
        Recording(name="service:orders:rate5m", expr="sum by ($S) (rate(shop_orders_total[5m]))"),
        Recording(name="service:orders:mean", expr="service:orders:rate5m / 2"),
    )
    alert = replace(http.HIGH_ERROR_RATE, expr="service:orders:mean > $error_crit")
    panel = Panel(
        title="Orders", about="", unit="", targets=(Target(query="service:orders:rate5m"),), link=Link(title="")
    )
    board = Board(name="business", title="Business", question="", rows={"": (panel,)})
    group = Group(name="http", about="", recordings=recordings, alerts=(alert,))
    text = render_metrics((group,), (board,), (orders,))
    assert "| `shop.orders` | `sum by (service_name) (rate(shop_orders_total[5m]))` |" in text
    assert "| [HighErrorRate](alerts.md#higherrorrate) | Business |" in text
