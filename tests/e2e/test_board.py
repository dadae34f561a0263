"""The only place that runs every query of the board on the real stores, with the data of a shop that has customers.

Grafana is not run here: what it would substitute is substituted, and what it would send is sent. A panel without data
fails, and so does one whose only values are no numbers.
"""

from __future__ import annotations

import json
import math
import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from otelkit.ops import _assets, _board
from otelkit.ops.query import Window, wait_for
from support import lanes, redis_server
from support.shop_services import DEADLINE, running_shop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.ops.query.lgtm import Lgtm
    from support.shop_services import Shop
    from support.stack import Stack

FILE = _assets.root() / "deploy/grafana/dashboards/service.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}
TARGETS = {
    f"{title}, {target['refId']}": (panel, target) for title, panel in PANELS.items() for target in panel["targets"]
}
ALL = {variable["name"]: variable["allValue"] for variable in BOARD["templating"]["list"]}
NAMESPACE = "shop-board"
# What is chosen on top: everything, or one service of one namespace. The environment is unset, as it is by default.
CHOICES = {"all": ALL, "one": ALL | {"ns": NAMESPACE}}
MACROS = {"$__rate_interval": "60s", "$__range": "600s", "$__auto": "60s"}
PAUSE = 0.5  # seconds between two customers


@pytest.fixture(scope="module")
def busy(running: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of this module alone, whose customers keep coming: a rate needs more than one visit."""
    if absent := redis_server.missing():
        lanes.skipped("e2e", absent)
        pytest.skip(f"e2e: {absent}")
    folder = tmp_path_factory.mktemp("board")
    with (
        redis_server.server() as redis,
        running_shop("launched", otlp=running.otlp_http, redis=redis, folder=folder, namespace=NAMESPACE) as shop,
    ):
        closing = threading.Event()
        customers = threading.Thread(target=shopping, args=(shop, closing))
        customers.start()
        try:
            yield shop
        finally:
            closing.set()
            customers.join()


def shopping(shop: Shop, closing: threading.Event) -> None:
    """Order, fail to order, and look at a product, again and again."""
    with httpx.Client(base_url=shop.api, trust_env=False, timeout=DEADLINE) as customer:
        while not closing.wait(PAUSE):
            customer.post("/orders", json={"sku": "teapot", "card": "diners"})
            customer.post("/orders", json={"sku": "teapot", "quantity": 1, "card": "mastercard"})
            customer.get("/products/teapot")


def substituted(query: str, choice: Mapping[str, str]) -> str:
    """Put in what Grafana would."""
    for macro, value in MACROS.items():
        query = query.replace(macro, value)
    query = re.sub(r"\$(\w+)", lambda name: choice[name[1]], query)
    assert "$" not in query
    return query


def values(query: Lgtm, panel: dict[str, Any], target: dict[str, Any], choice: Mapping[str, str]) -> list[float]:
    """Return the numbers that a panel would draw, or one per line or trace that it would list."""
    window = Window.last(600)
    match panel["datasource"]["uid"]:
        case "tempo":
            return [1.0 for _ in query.tempo.search(substituted(target["query"], choice), window)]
        case "loki" if panel["type"] == "logs":
            return [1.0 for _ in query.loki.lines(substituted(target["expr"], choice), window, 100)]
        case "loki":
            series = query.loki.range(substituted(target["expr"], choice), window, 15.0)
        case _ if target["instant"]:
            return [sample.value for sample in query.prometheus.query(substituted(target["expr"], choice))]
        case _:
            series = query.prometheus.range(substituted(target["expr"], choice), window, 15.0)
    return [value for one in series for _, value in one.points]


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize(("panel", "target"), TARGETS.values(), ids=TARGETS)
def test_a_panel_has_data(
    query: Lgtm, panel: dict[str, Any], target: dict[str, Any], choice: Mapping[str, str]
) -> None:
    wait_for(
        lambda: values(query, panel, target, choice),
        lambda found: any(math.isfinite(value) for value in found),
        DEADLINE,
    )


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    ("panel", "target"),
    [row for row in TARGETS.values() if row[1].get("exemplar")],
    ids=lambda row: row.get("title", ""),
)
def test_a_graph_with_exemplars_leads_to_traces(query: Lgtm, panel: dict[str, Any], target: dict[str, Any]) -> None:
    assert panel["type"] == "timeseries"
    promql = substituted(target["expr"], CHOICES["one"])

    def stored() -> list[str]:
        kept = query.prometheus.exemplars(promql, Window.last(600))
        return [exemplar.trace_id for exemplar in kept[-3:] if query.trace(exemplar.trace_id)]

    wait_for(stored, bool, DEADLINE)


@pytest.mark.usefixtures("busy")
def test_the_variables_offer_what_there_is(query: Lgtm) -> None:
    asked = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")

    def offered() -> dict[str, set[str]]:
        found = {}
        for variable in BOARD["templating"]["list"]:
            question = asked.fullmatch(variable["query"])
            assert question is not None
            selector = substituted(question["selector"], CHOICES["one"])
            found[variable["name"]] = set(query.prometheus.label_values(question["label"], selector))
        return found

    services = {"api", "payment", "worker", "beat"}
    found = wait_for(offered, lambda found: found["svc"] >= services, DEADLINE)
    assert found["svc"] == services, "programs of the stack are none"
    assert NAMESPACE in found["ns"]
    assert found["env"] == set(), "unset, as it is by default"


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("title", PANELS)
def test_the_link_of_a_panel_asks_what_the_store_understands(query: Lgtm, title: str) -> None:
    """It need not find anything: not every service has a request slower than half a second."""
    (link,) = PANELS[title]["links"]
    (pane,) = json.loads(parse_qs(urlsplit(link["url"]).query)["panes"][0]).values()
    assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
    (asked,) = pane["queries"]
    question = re.sub(r"\$\{(\w+):percentencode\}", lambda name: ALL[name[1]], asked.get("query") or asked["expr"])
    if pane["datasource"] == "tempo":
        query.tempo.search(question)
    else:
        assert query.loki.lines(question)


@pytest.mark.usefixtures("busy")
def test_probes_are_left_out(query: Lgtm) -> None:
    """The board's rate by route knows no route of a probe, though they are asked for at the start."""
    panel = PANELS["Rate"]
    promql = substituted(panel["targets"][0]["expr"], ALL)
    routes = {sample.labels["http_route"] for sample in query.prometheus.query(promql)}
    assert "/orders" in routes
    assert [route for route in routes if re.fullmatch(_board.HEALTH, route)] == []
