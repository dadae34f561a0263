"""The only place that proves rules, boards, links and runbooks on what a live shop really sends: one bench for all.

Names that select nothing never alert, and draw nothing. So Prometheus itself parses each rule, and each selector in it
has to select something; each query of each board has to have data; each link has to lead somewhere.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from otelkit.errors import QueryError
from otelkit.ops import drill, observed
from otelkit.ops.mixin.boards import boards
from otelkit.ops.mixin.boards.model import queries
from otelkit.ops.mixin.groups import groups
from otelkit.ops.query import Window, wait_for
from otelkit.ops.query._http import Backend
from otelkit.ops.query.lgtm import Lgtm
from support import lanes, live_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otelkit.ops.drill.bench import Bench
    from otelkit.ops.mixin.boards.model import Board, Query
    from otelkit.ops.mixin.model import Alert, Look
    from otelkit.ops.query import Exemplar

LANE = "operations"
PRINTED_LAST = "printed last"
INPUTS = live_shop.inputs()
GROUPS = {group.name: group for group in groups(INPUTS.parameters, INPUTS.catalog)}
ALERTS = {alert.name: alert for group in GROUPS.values() for alert in group.alerts}
BOARDS = {board.name: board for board in boards(INPUTS.catalog)}
LATE = {name for alert in ALERTS.values() for name in alert.late}
SETTLES = 150.0  # seconds: rates want several samples, and rules made of rules one evaluation each
FOLLOWED = 40
RIGHTLY = {
    "Watchdog": "always",
    "ErrorFingerprintNew": "one customer had trouble",
    **dict.fromkeys(
        ("ErrorFingerprintSpike", "UpstreamFailing", "CeleryRetryStorm", "WebhookDeliveryFailing"),
        "the same, and few others came yet",
    ),
    **dict.fromkeys(
        ("HighLatency", "ElevatedLatency", "EventLoopBlocked", "EndpointSlow", "UpstreamSlow", "HealthCheckSlow"),
        "a machine that has other work to do is slow",
    ),
}
"""What may fire, and why."""
OF_THE_MACHINE = {"host"}
WHAT_THERE_IS = {
    "service_name": "api",
    "service_namespace": "shop",
    "deployment_environment_name": "drill",
    "http_route": "/orders",
    "slo": "api-availability",
}
"""What stands for a label in a query of a runbook; the others are taken from series that have them."""

UNSEEN = {
    "container_mem": "there are no containers here",
    "orders_stopped_expected": "it looks back for an hour",
    "redis_mem": "a Redis without a bound",
    "stack_errors": "no store refused a request",
}
"""Thresholds of whose alerts nothing is seen while all is well, and why."""

every_group = pytest.mark.parametrize("name", GROUPS)
every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@dataclass(frozen=True)
class Live:
    """The bench with its stores, and how to ask them what `Lgtm` does not."""

    bench: Bench
    query: Lgtm
    since: float

    def ask(self, path: str, parameters: Mapping[str, str] | None = None, store: str = "prometheus") -> Any:
        """Return what an API of a store answers."""
        backend = Backend(name=store, url=getattr(self.bench.endpoints, store), timeout=20.0)
        return backend.ask(path, parameters or {}, lambda answer: answer["data"])

    @property
    def left(self) -> float:
        """Seconds until everything has to have settled; asking once is always allowed."""
        return max(1.0, self.since + SETTLES - time.monotonic())

    def names(self) -> list[str]:
        """Every series' name that there is."""
        return list(self.query.prometheus.label_values("__name__"))

    def rules(self, store: str = "prometheus") -> list[dict[str, Any]]:
        """Return every rule as a store evaluates it, with the group that it is of."""
        path = "/api/v1/rules" if store == "prometheus" else "/prometheus/api/v1/rules"
        found = self.ask(path, store=store)["groups"]
        return [{**rule, "group": group["name"]} for group in found for rule in group["rules"]]

    def parsed(self, promql: str) -> Any:
        """Return what Prometheus makes of an expression."""
        return self.ask("/api/v1/parse_query", {"query": promql})

    def exists(self, selector: str) -> bool:
        """Tell whether a selector selects a series, or did within the last minutes."""
        return bool(self.query.prometheus.query(f"count(last_over_time({selector}[10m]))"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The shop with its stack, exporters and customers; without their programs each test says what is missing."""
    if absent := live_shop.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"{LANE}: {absent}")
    lanes.ran(LANE)
    with live_shop.live_shop(tmp_path_factory.mktemp("live")) as bench:
        at = bench.endpoints
        query = Lgtm.at(prometheus=at.prometheus, tempo=at.tempo, loki=at.loki, timeout=20.0)
        yield Live(bench, query, time.monotonic())


def selectors(tree: Any) -> Iterator[str]:
    """Yield each selector of what Prometheus parsed, as text."""
    if isinstance(tree, list):
        for each in tree:
            yield from selectors(each)
    elif isinstance(tree, dict):
        if tree.get("type") in {"vectorSelector", "matrixSelector"}:
            matchers = (f"{each['name']}{each['type']}{json.dumps(each['value'])}" for each in tree["matchers"])
            yield "{" + ", ".join(matchers) + "}"
        else:
            for each in tree.values():
                yield from selectors(each)


def named(selector: str) -> str:
    """Return the name of the series that a selector names, or nothing."""
    found = re.search(r'__name__="([\w:]+)"', selector)
    return found[1] if found else ""


def excused(rule: dict[str, Any], selector: str) -> bool:
    """Tell whether nothing need be selected: nothing of it can exist here, or it is born with the first fault."""
    if named(selector) == "ALERTS":  # what Prometheus writes of an alert that fires: there is such an alert
        return any(f'alertname="{name}"' in selector for name in ALERTS)
    alert = ALERTS.get(rule["name"])
    unproven = bool(alert and alert.unproven) or rule["group"] in UNPROVEN
    return unproven or any(is_late(each, selector) for each in LATE)


def is_late(late: str, selector: str) -> bool:
    """Tell whether a selector selects only what is declared as late: a name, matchers, or both."""
    name, _, matchers = late.removesuffix("}").partition("{")
    pattern = re.search(r'__name__=~"([^"]+)"', selector)
    same = not name or name == named(selector) or bool(pattern and re.fullmatch(pattern[1], name))
    return same and all(matcher in selector for matcher in matchers.split(", ") if matcher)


UNPROVEN = {name for name, group in GROUPS.items() if group.alerts and all(alert.unproven for alert in group.alerts)}
"""Groups of which nothing can exist here, their recordings neither."""


def missing(live: Live, rules: Iterable[dict[str, Any]]) -> list[str]:
    """Return what selects nothing in these rules, each with what there is of a similar name."""
    found = []
    for rule in rules:
        for selector in dict.fromkeys(selectors(live.parsed(rule["query"]))):
            if not excused(rule, selector) and not live.exists(selector):
                near = difflib.get_close_matches(named(selector), live.names(), n=3, cutoff=0.5)
                found.append(
                    f"{rule['name']}: {selector} selects nothing; there are {', '.join(near) or 'none like it'}"
                )
    return found


def settled(live: Live, ask: Any) -> None:
    """Ask until nothing is found wrong, and fail with all that still is when the time is over."""
    deadline = time.monotonic() + live.left
    while wrong := ask():
        if time.monotonic() > deadline:
            pytest.fail("\n".join(wrong), pytrace=False)
        time.sleep(2.0)


@every_group
def test_every_selector_of_a_rule_selects_something(live: Live, name: str) -> None:
    settled(live, lambda: missing(live, [rule for rule in live.rules() if rule["group"] == name]))


def test_a_selector_that_selects_nothing_is_told_with_what_there_is(live: Live) -> None:
    """A name that the Collector had once, without its type's suffix, in a window; a label's value that nobody has."""
    queries = (
        "max_over_time(rate(otelcol_exporter_sent_spans[5m])[10m:1m]) > 0 unless on () vector(1)",
        'sum(up{job="otelcol"}) + sum(up{job="collector"})',
    )
    told = missing(live, [{"name": "Wrong", "group": "none", "query": query} for query in queries])
    assert [line.partition(";")[0] for line in told] == [
        'Wrong: {__name__="otelcol_exporter_sent_spans"} selects nothing',
        'Wrong: {job="collector", __name__="up"} selects nothing',
    ]
    assert "otelcol_exporter_sent_spans_total" in told[0]


@pytest.mark.parametrize("language", ["promql", "logql"])
def test_every_rule_is_evaluated_and_healthy(
    live: Live, language: str, record_property: Callable[[str, object], None]
) -> None:
    store = "prometheus" if language == "promql" else "loki"
    declared = {alert.name for alert in ALERTS.values() if alert.language == language}

    def wrong() -> list[str]:
        rules = live.rules(store)
        sick = [
            f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"
        ]
        absent = declared - {rule["name"] for rule in rules} - {name for name in declared if ALERTS[name].named}
        return [*sick, *(f"{name}: not there" for name in sorted(absent))]

    settled(live, wrong)
    rules = live.rules(store)
    took = sum(rule["evaluationTime"] for rule in rules)
    record_property(PRINTED_LAST, f"{store}: {len(rules)} rules, evaluated in {took * 1000:.0f} ms")


def values(live: Live, asked: Query) -> list[float]:
    """Return the numbers that a panel would draw, or one per line or trace that it would list."""
    window = Window.last(600)
    query = live.query
    if asked.source == "tempo":
        if asked.panel.kind == "trace":
            return [1.0] if query.trace(asked.text) else []
        return [1.0 for _ in query.tempo.search(asked.text, window)]
    if asked.source == "loki":
        if asked.panel.kind == "logs":
            return [1.0 for _ in query.loki.lines(asked.text, window, 100)]
        return [value for each in query.loki.range(asked.text, window, 15.0) for _, value in each.points]
    if asked.target.instant:
        return [sample.value for sample in query.prometheus.query(asked.text)]
    return [value for each in query.prometheus.range(asked.text, window, 15.0) for _, value in each.points]


def chosen(live: Live, board: Board) -> dict[str, str]:
    """Choose what a person would have to type or to pick."""
    found = {}
    for variable in board.variables:
        if variable.name == "trace_id":
            found["trace_id"] = wait_for(lambda: exemplars(live), bool, live.left)[0].trace_id
        elif variable.name in {"old", "new"}:
            found[variable.name] = "1.0.0"
    return found


@every_board
def test_every_query_of_a_board_has_data(live: Live, board: Board) -> None:
    if board.unproven:
        pytest.skip(board.unproven)

    def wrong() -> list[str]:
        found = []
        for asked in queries(board, chosen(live, board)):
            try:
                drawn = values(live, asked)
            except QueryError as error:
                found.append(f"{asked.panel.title}: {asked.text}: {error}")
                continue
            if drawn and not any(math.isfinite(value) for value in drawn):
                found.append(f"{asked.panel.title}: {asked.text}: only NaN")
            elif not drawn and not asked.panel.may_be_empty:
                found.append(f"{asked.panel.title}: {asked.text}: nothing")
        return found

    settled(live, wrong)


def test_panels_that_may_be_empty_say_why(record_property: Callable[[str, object], None]) -> None:
    proven = [panel for board in BOARDS.values() if not board.unproven for panel in board.panels]
    excuses = [panel.may_be_empty for panel in proven if panel.may_be_empty]
    assert all(len(excuse) > len("none") for excuse in excuses)
    record_property(PRINTED_LAST, f"boards: {len(proven)} panels, {len(excuses)} of them may be empty")


@every_board
def test_the_variables_of_a_board_offer_what_there_is(live: Live, board: Board) -> None:
    values = {variable.name: variable.every for variable in board.variables}

    def wrong() -> list[str]:
        found = []
        for variable in board.variables:
            if not variable.query:
                continue
            match = re.fullmatch(r"label_values\((?:(?P<selector>.+), )?(?P<label>\w+)\)", variable.query)
            assert match, variable.query
            selector = re.sub(r"\$(\w+)", lambda name: values[name[1]], match["selector"] or "")
            if not live.query.prometheus.label_values(match["label"], selector):
                found.append(f"{variable.name}: {selector} has no {match['label']}")
        return found

    if not board.unproven:
        settled(live, wrong)


@every_board
def test_the_links_of_a_board_lead_somewhere(live: Live, board: Board) -> None:
    """What Explore would find need not be there: not every service has a request slower than half a second."""
    values = {variable.name: variable.every for variable in board.variables} | chosen(live, board)
    document = json.loads((live.bench.rendered / f"deploy/grafana/dashboards/{board.name}.json").read_text())
    wrong = []
    for address in sorted(addresses(document)):
        for pane in panes(address):
            for query in pane["queries"]:
                text = query.get("query") or query["expr"]
                question = re.sub(r"\$\{(\w+):percentencode\}", lambda name: values[name[1]], text)
                try:
                    search(live, pane["datasource"], question)
                except QueryError as error:
                    wrong.append(f"{question}: {error}")
        if address.startswith("/d/"):
            wrong += no_board(address)
    assert not wrong, "\n".join(wrong)


def addresses(document: Any) -> set[str]:
    """Return every address that a board links to, as Grafana has it before it fills in what is chosen."""
    if isinstance(document, list):
        return {address for each in document for address in addresses(each)}
    if isinstance(document, dict):
        own = {document["url"]} if isinstance(document.get("url"), str) else set()
        return own | {address for each in document.values() for address in addresses(each)}
    return set()


def panes(address: str) -> list[Any]:
    """Return what an address of Explore would ask; nothing of any other address."""
    parts = urlsplit(address)
    return list(json.loads(parse_qs(parts.query)["panes"][0]).values()) if parts.path == "/explore" else []


def no_board(address: str) -> list[str]:
    """Say what is wrong with an address of a board, or with the variables that it sets."""
    parts = urlsplit(address)
    board = BOARDS.get(parts.path.removeprefix("/d/otelkit-").partition("/")[0])
    if board is None:
        return [f"there is no board {parts.path}"]
    known = {variable.name for variable in board.variables}
    # What is handed on as it was chosen (`${ns:queryparam}`) may mean nothing there; what is set has to.
    return [
        f"{board.name} has no variable {name}" for name in re.findall(r"\bvar-(\w+)=", parts.query) if name not in known
    ]


def search(live: Live, source: str, query: str) -> int:
    """Ask what Explore would, and count what it finds."""
    if source == "tempo":
        return len(live.query.tempo.search(query))
    if source == "loki":
        return len(live.query.loki.lines(query) if query.startswith("{") else live.query.loki.range(query))
    return len(live.query.prometheus.query(query))


def test_the_links_of_alerts_lead_somewhere(live: Live) -> None:
    wrong = []
    for rule in (rule for store in ("prometheus", "loki") for rule in live.rules(store) if rule["type"] == "alerting"):
        for name, template in rule["annotations"].items():
            if name.endswith("_url"):
                address = expanded(template, {**WHAT_THERE_IS, **rule["labels"]})
                wrong += [f"{rule['name']}, {name}: {problem}" for problem in leads_nowhere(live, address)]
    assert not wrong, "\n".join(wrong)


def expanded(template: str, labels: Mapping[str, str]) -> str:
    """Fill in what Prometheus would of the labels of an alert."""
    either = r"\{\{ with \$labels\.(\w+) \}\}(.*?)(?:\{\{ else \}\}(.*?))?\{\{ end \}\}"
    text = re.sub(either, lambda found: found[2] if labels.get(found[1]) else found[3] or "", template)
    text = re.sub(r"\{\{ \. \|[^}]*\}\}", "api", text)
    text = re.sub(r"\{\{ \$labels\.(\w+)[^}]*\}\}", lambda found: labels.get(found[1], ""), text)
    assert "{{" not in text, template
    return text


def leads_nowhere(live: Live, address: str) -> list[str]:
    """Say what is wrong with an address of an annotation: a board, Explore, or a runbook."""
    parts = urlsplit(address)
    if parts.path.endswith(".md"):
        page = live.bench.rendered / "docs/runbooks" / parts.path.rpartition("/")[2]
        return [] if page.is_file() else [f"there is no {page.name}"]
    if parts.path.startswith("/d/"):
        return no_board(address)
    if parts.path == "/explore":
        for pane in panes(address):
            for query in pane["queries"]:
                search(live, pane["datasource"], query.get("query") or query["expr"])
        return []
    return [f"nobody knows what {address} is"]


def exemplars(live: Live) -> list[Exemplar]:
    """Return exemplars of all histograms, of as many as there are, none of a trace that may still be on its way."""
    now = time.time_ns()
    kept = live.query.prometheus.exemplars('{__name__=~".+_bucket"}', Window.last(600))
    by_series: dict[str, list[Exemplar]] = {}
    for exemplar in kept:
        if exemplar.trace_id and now - exemplar.time_ns > 20e9:
            by_series.setdefault(json.dumps(dict(exemplar.series), sort_keys=True), []).append(exemplar)
    newest = [each[-1] for each in by_series.values()]
    return list({exemplar.trace_id: exemplar for exemplar in newest}.values())[:FOLLOWED]


def test_exemplars_lead_to_their_traces_and_logs(live: Live) -> None:
    found = wait_for(lambda: exemplars(live), lambda found: len(found) == FOLLOWED, live.left + 60)
    assert len({exemplar.series["__name__"] for exemplar in found}) > 1

    def wrong() -> list[str]:
        lost = []
        for exemplar in found:
            series = f"{exemplar.series['__name__']} of {exemplar.series.get('service_name')}"
            if not live.query.trace(exemplar.trace_id):
                lost.append(f"{series}: no trace {exemplar.trace_id}")
            if not live.query.logs(trace_id=exemplar.trace_id):
                lost.append(f"{series}: no logs of {exemplar.trace_id}")
        return lost

    settled(live, wrong)


def labels(live: Live, alert: Alert) -> dict[str, str]:
    """Return labels that an alert could have: those of series that it looks at, the API's if it is among them."""
    found: dict[str, str] = {}
    for rule in live.rules():
        if rule["name"] == alert.name:
            for selector in selectors(live.parsed(rule["query"])):
                series = live.ask("/api/v1/series", {"match[]": selector, "limit": "100"})
                series.sort(key=lambda each: each.get("service_name") != "api")
                found = {**(series[0] if series else {}), **found}
    return {**WHAT_THERE_IS, **found}


def asked(look: Look, known: Mapping[str, str]) -> str:
    """Put labels into a runbook's query, as the one who reads it does."""
    return re.sub(r"<(\w+)>", lambda found: known.get(found[1], "none"), look.query)


def test_every_query_of_a_runbook_can_be_asked(live: Live, record_property: Callable[[str, object], None]) -> None:
    """Not every first look finds something while all is well; a drill proves that it does when its alert fires."""
    wrong, found = [], 0
    for alert in ALERTS.values():
        known = labels(live, alert)
        for number, look in enumerate(alert.runbook.looks):
            question = asked(look, known)
            try:
                found += bool(search(live, look.source, question)) and number == 0
            except QueryError as error:
                wrong.append(f"{alert.name}: {question}: {error}")
    assert not wrong, "\n".join(wrong)
    record_property(PRINTED_LAST, f"runbooks: {len(ALERTS)}, {found} have data at their first look while all is well")


def test_what_thresholds_are_compared_with_was_seen(live: Live) -> None:
    """Where its query selects nothing, `otelkit render --observed` has nothing to choose a threshold by."""

    def unseen() -> list[str]:
        found = observed.observe(live.query.prometheus, GROUPS.values(), INPUTS.parameters, over=600.0)
        empty = [each.threshold for each in found if each.quantiles is None]
        return [f"{each.name}: nothing seen of {each.observed}" for each in empty if each.name not in UNSEEN]

    settled(live, unseen)


def test_nothing_is_wrong_with_a_healthy_shop(live: Live) -> None:
    """The last of all: by now every rule was evaluated many times. What is pending counts as well."""

    def wrong() -> list[str]:
        return [
            f"{alert['labels']['alertname']} is {alert['state']}: {alert['labels']}"
            for store, path in (("prometheus", "/api/v1/alerts"), ("loki", "/prometheus/api/v1/alerts"))
            for alert in live.ask(path, store=store)["alerts"]
            if alert["labels"]["alertname"] not in RIGHTLY and alert["labels"]["group"] not in OF_THE_MACHINE
        ]

    settled(live, wrong)
    assert any(alert["labels"]["alertname"] == "Watchdog" for alert in live.ask("/api/v1/alerts")["alerts"])


def test_two_faults_are_told_and_end(live: Live, record_property: Callable[[str, object], None]) -> None:
    """The very last: without the Collector nobody sees anything, and without a database there is no healthy shop."""
    known = {each.name: each for each in drill.DRILLS}
    timeline: list[str] = []
    wanted = [replace(known["collector-down"], lingers=True), known["database-down"]]
    outcomes = drill.run(wanted, live.bench, tell=timeline.append, ended=lambda _: None)
    for outcome in outcomes:
        told = outcome.followed[outcome.drill.alert]
        assert outcome.problems == [], "\n".join(timeline)
        assert outcome.runbook, "\n".join(timeline)
        assert {"pager", "chat"} <= set(told.by), "\n".join(timeline)
        seconds = ", ".join(f"{stage} {at:.0f} s" for stage, at in told.seconds.items())
        record_property(PRINTED_LAST, f"drill {outcome.drill.name}: {outcome.drill.alert} {seconds}")
