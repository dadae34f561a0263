"""The only place that runs `otelkit trace` on the real stores, as a user does beside a running stack."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from otelkit.ops.query import wait_for
from support.processes import HOST, PYTHON, free_port, run
from support.shop_services import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelkit.ops.query.lgtm import Lgtm
    from support.processes import Process
    from support.shop_services import Shop
    from support.stack import Stack

pytestmark = [pytest.mark.parametrize("shop", ["explicit"], indirect=True), pytest.mark.usefixtures("shop")]

PROCESSED = 2  # the order's task runs once in vain, and once more


@dataclass(frozen=True, kw_only=True)
class Pane:
    """What Grafana's Explore is asked by a link."""

    datasource: str
    query: dict[str, Any]
    start: str
    end: str


def pane(url: str) -> Pane:
    """Read a link as Grafana does."""
    fields = parse_qs(urlsplit(url).query)
    assert (fields["schemaVersion"], fields["orgId"]) == (["1"], ["1"])
    (opened,) = json.loads(fields["panes"][0]).values()
    (query,) = opened["queries"]
    assert query["datasource"]["uid"] == opened["datasource"]
    return Pane(datasource=opened["datasource"], query=query, start=opened["range"]["from"], end=opened["range"]["to"])


@pytest.fixture
def trace(running: Stack, tmp_path: Path) -> Callable[..., Process]:
    """Run `otelkit trace` where the stack's state is found, and nothing else is said."""

    def command(*arguments: str) -> Process:
        environment = {**running.environment, "COLUMNS": "100", "NO_COLOR": "1"}
        return run([PYTHON, "-m", "otelkit.ops.cli", "trace", *arguments], folder=tmp_path, env=environment)

    return command


@pytest.fixture
def order(shop: Shop, query: Lgtm) -> str:
    """The order's trace id, once its task has ended."""

    def runs() -> int:
        trace = query.trace(shop.order)
        return sum(span.kind == "CONSUMER" for span in trace.spans) if trace else 0

    wait_for(runs, lambda count: count == PROCESSED, DEADLINE)
    return shop.order


def test_the_order_is_told_through_every_process(trace: Callable[..., Process], order: str) -> None:
    told = trace(order)
    assert (told.returncode, told.stderr) == (0, ""), told.tail()
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"Trace {order} ")
    assert lines[1].startswith("api · payment · worker · ")
    for part in ("POST /orders  201", "INSERT orders", "└╴run/shop.tasks.confirm", "order.placed", "✗"):
        assert part in told.stdout
    assert "host_name" not in told.stdout, "what belongs to the resource is told by no record"


def test_links_open_the_trace_and_its_records_in_grafana(
    trace: Callable[..., Process], order: str, running: Stack, query: Lgtm
) -> None:
    told = trace(order, "--grafana", "https://grafana.example/sub/")
    links = dict(line.split(maxsplit=1) for line in told.stdout.splitlines()[-2:])
    assert all(url.startswith("https://grafana.example/sub/explore?") for url in links.values())
    spans, records = pane(links["trace"]), pane(links["logs"])
    assert (spans.datasource, spans.query["query"], spans.query["queryType"]) == ("tempo", order, "traceql")
    assert records.datasource == "loki"
    assert {record.trace_id for record in query.loki.query(records.query["expr"])} == {order}
    assert int(records.start) < int(records.end)
    assert running.endpoints.grafana in trace(order).stdout


def test_json_has_what_is_told(trace: Callable[..., Process], order: str, query: Lgtm) -> None:
    document = json.loads(trace(order.upper(), "--json").stdout)
    assert set(document) == {"trace_id", "missing", "incomplete", "spans", "logs", "links"}
    assert (document["trace_id"], document["missing"], document["incomplete"]) == (order, [], "")
    stored = query.trace(order)
    assert stored is not None
    assert [span["span_id"] for span in document["spans"]] == [span.span_id for span in stored.spans]
    assert {record["resource"]["service.name"] for record in document["logs"]} == {"api", "payment", "worker"}
    assert all(record["trace_id"] == order for record in document["logs"])
    assert set(document["links"]) == {"trace", "logs"}


def test_the_last_is_the_newest_request_once_it_is_stored(trace: Callable[..., Process], shop: Shop) -> None:
    """Timers go on meanwhile: beat publishes every two seconds."""
    answer = httpx.get(f"{shop.api}/nowhere", trust_env=False)
    last = answer.headers["traceresponse"].split("-")[1]

    def told() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(trace("--last", "--json").stdout)
        return document

    document = wait_for(told, lambda document: document["trace_id"] == last, DEADLINE)
    assert [span["kind"] for span in document["spans"]] == ["SERVER"]
    assert document["logs"], "they are waited for too"


def test_the_last_of_a_service_without_requests_is_a_trace_of_several_spans(trace: Callable[..., Process]) -> None:
    document = json.loads(trace("--last", "--service", "beat", "--json").stdout)
    assert len(document["spans"]) > 1
    assert "beat" in {span["resource"]["service.name"] for span in document["spans"]}


def test_where_there_is_none_one_line_says_so(trace: Callable[..., Process], running: Stack) -> None:
    nobody = uuid.uuid4().hex
    for arguments, line in (
        ((nobody,), f"neither Tempo nor Loki has anything of {nobody}"),
        (("--last", "--service", nobody), f"Tempo at {running.tempo} has no trace of service '{nobody}'"),
    ):
        told = trace(*arguments, "--wait", "0")
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.startswith(f"otelkit: trace: {line}")
        assert told.stderr.count("\n") == 1


@pytest.mark.parametrize(("option", "store"), [("--tempo", "Tempo"), ("--loki", "Loki")])
def test_a_store_that_does_not_answer_is_named(
    trace: Callable[..., Process], order: str, option: str, store: str
) -> None:
    url = f"http://{HOST}:{free_port()}"
    told = trace(order, option, url)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"otelkit: trace: {store}: no answer from {url}/")
    assert "`otelkit stack up`" in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give the id of a trace, or --last"),
        (["abc", "--last"], "give the id of a trace, or --last"),
        (["abc", "--service", "api"], "give the id of a trace, or --last"),
        (["xyz"], "a trace id is 1 to 32 hex digits, not 'xyz'"),
        (["abc", "--tempo", "tempo:3200"], "Tempo: an http:// or https:// URL is needed"),
        (["abc", "--name", "other"], "no stack 'other' runs; `otelkit stack up --name other` starts it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_from_a_trace_that_is_not_there(
    trace: Callable[..., Process], arguments: list[str], line: str
) -> None:
    told = trace(*arguments)
    assert told.returncode == 2
    assert line in told.stderr
