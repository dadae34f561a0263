"""The only place that tests the demo: it tells the truth, names the first broken hop, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from _demo import hops
from _demo.customers import KINDS, visits
from _demo.hops import Evidence
from _demo.services import APPS, ServiceError, Services
from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelkit.otlp.model import Span

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
ARRIVAL = 60.0
STARTS = 90.0
RUN, REMIND = "run/shop.tasks.confirm", "run/shop.tasks.remind"
WEBHOOK = "POST /webhooks/order-confirmed"
VISITS = sum(kind.times for kind in KINDS)


def environment(folder: Path, **extra: str) -> dict[str, str | None]:
    """Keep the demo's files inside the test's folder, and its lines at a width of 80."""
    return {"TMPDIR": str(folder), "COLUMNS": None, "PYTHONUTF8": "1", **extra}


def demo_folders(folder: Path) -> list[Path]:
    return list(folder.glob("otelkit-demo-*"))


def ports(printed: str) -> list[int]:
    """Return the ports that the demo said it uses: of the receiver, Redis, the API and payment."""
    places = r"^  (?:receiver|redis|api|payment) +(?:http|redis)://[\d.]+:(\d+) "
    found = [int(port) for port in re.findall(places, printed, re.MULTILINE)]
    assert len(found) == 4, printed
    return found


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def processes_of(folder: Path) -> list[int]:
    """Return the processes that were given a file in the test's folder: all that the demo starts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"={folder}/otelkit-demo-".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def assert_nothing_is_left(process: Process, folder: Path) -> None:
    assert [port for port in ports(process.stdout) if listening(port)] == []
    assert processes_of(folder) == []
    assert demo_folders(folder) == []
    assert process.stderr == ""


def test_every_hop_is_right(tmp_path: Path) -> None:
    demo = run([PYTHON, DEMO, "--once"], folder=tmp_path, env=environment(tmp_path), within=STARTS + ARRIVAL)
    assert demo.returncode == 0, demo.stdout
    assert "All of it arrived, once, and in its place." in demo.stdout
    assert demo.stdout.count(" ✓ ") == len(KINDS) + len(hops.HOPS)
    assert "✗ customer" not in demo.stdout
    # Both stories: spans of every process below one request, log lines in their places, the stack of the failure.
    crossed, failed = demo.stdout.split("One order that failed")
    for told in ("POST /orders  201", "POST /charges  201", "INSERT orders", "stock.reserved", "charge.accepted"):
        assert told in crossed
    for told in ("apply_async/shop.tasks.confirm", "charge.bank_busy", "linked to run/shop.tasks", "order.confirmed"):
        assert told in crossed
    for counted in ("cache.requests", "celery.task.executions, retry", "otelkit.health.check.status", "shop.revenue"):
        assert re.search(rf" {counted} .*[1-9]\d* +✓$", failed, re.MULTILINE), counted
    for told in ("✗ POST /orders  502", "✗ POST /charges  500", "KeyError", "order.failed"):
        assert told in failed
    assert [line for line in demo.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in demo.stdout
    assert_nothing_is_left(demo, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "hop"),
    [
        ("OTEL_LOGS_EXPORTER", "console", "log line -> receiver"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "httpx", "api -> payment"),
    ],
)
def test_a_broken_hop_is_named(tmp_path: Path, variable: str, value: str, hop: str) -> None:
    demo = run([PYTHON, DEMO, "--once"], folder=tmp_path, env=environment(tmp_path, **{variable: value}), within=180)
    assert demo.returncode == 1, demo.stdout
    assert f"First broken hop: {hop}\n" in demo.stdout
    assert "All of it arrived" not in demo.stdout
    assert_nothing_is_left(demo, tmp_path)


def test_a_service_that_does_not_start_is_named_and_the_others_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(APPS, "payment", "shop.absent:app")
    services = Services(tmp_path, f"http://{HOST}:1")
    with pytest.raises(ServiceError, match=r"payment ended with 1:\n[\s\S]*No module named 'shop.absent'"), services:
        pass
    assert not any(
        listening(port) for port in (services.redis, *(each.port for each in services.all.values() if each.port))
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_it_runs_on_and_leaves_nothing_behind(tmp_path: Path, number: int, code: int) -> None:
    with Process([PYTHON, DEMO], folder=tmp_path, env=environment(tmp_path)) as demo:
        demo.wait_output("Your turn", within=STARTS + ARRIVAL)
        order = urllib.request.Request(
            f"http://{HOST}:{ports(demo.stdout)[2]}/orders",
            data=json.dumps({"sku": "teapot"}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(order, timeout=10) as answer:
            trace_id = answer.headers["traceresponse"].split("-")[1]
        demo.wait_output(f"Trace {trace_id}")
        demo.signal(number)
        assert demo.wait() == code
        # Killed, it can clean up nothing itself; its processes end because it is gone.
        wait_until(lambda: not any(map(listening, ports(demo.stdout))), within=30, what="nothing listens any more")
        wait_until(lambda: not processes_of(tmp_path), within=30, what="no process of it runs any more")
        if number != signal.SIGKILL:
            assert_nothing_is_left(demo, tmp_path)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """One real run; each test then looks at it with one thing wrong."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        folder = tmp_path_factory.mktemp("demo")
        services = stack.enter_context(Services(folder, receiver.http_url))
        made = list(visits(services.all["api"].url))
        gathered: list[Evidence] = []

        def complete() -> bool:
            gathered.append(Evidence.gather(made, services.all, receiver))
            return hops.first_broken(gathered[-1]) is None

        receiver.wait_for(complete, ARRIVAL)
        assert {name: each.errors() for name, each in services.all.items() if name != "worker"} == {
            "api": "",
            "payment": "",
            "beat": "",
        }
        yield gathered[-1]


def test_nothing_is_wrong_by_itself(evidence: Evidence) -> None:
    assert hops.first_broken(evidence) is None
    assert len(evidence.visits) == VISITS
    counts = [*hops.table(evidence), *hops.business(evidence)]
    assert all(count.right for count in counts)
    # Each row of the tables has something in it.
    rows: Counter[str] = Counter()
    for count in counts:
        rows[f"{count.sent_as}: {count.arrived_as}"] += int(count.sent)
    assert [row for row, sent in rows.items() if not sent] == []
    assert {service: counted["request"] for service, counted in evidence.counts.items()} == {
        "api": VISITS,
        "payment": sum(kind.times * (kind.charged + kind.deliveries) for kind in KINDS),
        "worker": 0,
        "beat": 0,
    }


def is_statement(span: Span) -> bool:
    return span.attributes.get("db.system.name") == "sqlite"


def is_command(span: Span) -> bool:
    return span.attributes.get("db.system.name") == "redis"


@pytest.mark.parametrize(
    ("hop", "damage"),
    [
        ("customer -> services", lambda it: with_first_visit(it, status=500)),
        ("customer -> services", lambda it: replace(it, counts=it.counts | {"payment": Counter()})),
        ("api -> customer", lambda it: with_first_visit(it, trace_id="")),
        ("api -> customer", lambda it: replace(it, visits=(it.visits[1], *it.visits[1:]))),
        ("request -> server span", lambda it: without_span(it, lambda span: span.name == "POST /orders")),
        ("request -> server span", lambda it: twice(it, lambda span: span.name == "POST /orders")),
        ("request -> server span", lambda it: twice(it, lambda span: span.name == "POST /charges", new_trace=True)),
        ("api -> payment", lambda it: without_span(it, lambda span: (span.service, span.name) == ("api", "POST"))),
        ("api -> payment", lambda it: orphaned(it, lambda span: (span.service, span.name) == ("api", "POST"))),
        ("api -> payment", lambda it: orphaned(it, lambda span: span.name == "POST /charges")),
        ("api -> worker", lambda it: without_span(it, lambda span: span.name == RUN)),
        ("api -> worker", lambda it: orphaned(it, lambda span: span.name == RUN)),
        ("api -> worker", lambda it: orphaned(it, lambda span: (span.service, span.kind) == ("api", "PRODUCER"))),
        ("api -> worker", lambda it: twice(it, lambda span: span.kind == "PRODUCER", new_trace=True)),
        ("retry -> first try", lambda it: changed(it, lambda span: bool(span.links), links=())),
        ("worker -> payment", lambda it: orphaned(it, lambda span: span.name == WEBHOOK)),
        ("worker -> payment", lambda it: orphaned(it, lambda span: (span.service, span.name) == ("worker", "POST"))),
        ("beat -> worker", lambda it: orphaned(it, lambda span: span.name == REMIND)),
        ("statement -> span", lambda it: without_span(it, is_statement)),
        ("statement -> span", lambda it: twice(it, is_statement)),
        ("statement -> span", lambda it: orphaned(it, is_statement)),
        ("Redis command -> span", lambda it: without_span(it, is_command)),
        ("Redis command -> span", lambda it: orphaned(it, is_command)),
        ("log line -> stdout", lambda it: replace(it, lines=it.lines | {"payment": []})),
        ("log line -> stdout", lambda it: replace(it, lines=it.lines | {"worker": []})),
        ("log line -> receiver", lambda it: replace(it, logs=it.logs[:-1])),
        ("log line -> receiver", lambda it: replace(it, logs=[*it.logs, it.logs[-1]])),
        ("failure -> stack", lambda it: replace(it, logs=[stackless(record) for record in it.logs])),
        ("request -> duration metric", lambda it: without_metric(it, hops.REQUEST_DURATION)),
        ("database, Redis -> metrics", lambda it: without_metric(it, hops.CALL_DURATION)),
        ("cache -> metric", lambda it: without_metric(it, hops.CACHE_REQUESTS)),
        ("task -> metrics", lambda it: without_metric(it, hops.MESSAGES)),
        ("task -> metrics", lambda it: without_metric(it, hops.EXECUTIONS)),
        ("business -> metrics", lambda it: without_metric(it, "shop.orders")),
        ("business -> metrics", lambda it: without_metric(it, hops.REVENUE)),
        ("health -> metrics", lambda it: without_metric(it, hops.HEALTH)),
        ("health -> metrics", lambda it: replace(it, health=it.health | {"api": {"database": False}})),
    ],
)
def test_one_wrong_thing_is_found_where_it_is(
    evidence: Evidence, hop: str, damage: Callable[[Evidence], Evidence]
) -> None:
    broken = hops.first_broken(damage(evidence))
    assert broken is not None
    assert broken[0].name == hop, broken


def with_first_visit(evidence: Evidence, **changes: Any) -> Evidence:
    first, *rest = evidence.visits
    return replace(evidence, visits=(replace(first, **changes), *rest))


def picked(evidence: Evidence, which: Callable[[Span], bool]) -> int:
    return next(index for index, span in enumerate(evidence.spans) if which(span))


def without_span(evidence: Evidence, which: Callable[[Span], bool]) -> Evidence:
    at = picked(evidence, which)
    return replace(evidence, spans=evidence.spans[:at] + evidence.spans[at + 1 :])


def twice(evidence: Evidence, which: Callable[[Span], bool], *, new_trace: bool = False) -> Evidence:
    span = evidence.spans[picked(evidence, which)]
    copy = replace(span, trace_id="f" * 32) if new_trace else span
    return replace(evidence, spans=[*evidence.spans, copy])


def changed(evidence: Evidence, which: Callable[[Span], bool], **changes: Any) -> Evidence:
    at = picked(evidence, which)
    return replace(
        evidence, spans=[*evidence.spans[:at], replace(evidence.spans[at], **changes), *evidence.spans[at + 1 :]]
    )


def orphaned(evidence: Evidence, which: Callable[[Span], bool]) -> Evidence:
    return changed(evidence, which, parent_span_id="f" * 16)


def stackless(record: Any) -> Any:
    kept = {key: value for key, value in record.attributes.items() if key != "exception.stacktrace"}
    return replace(record, attributes=kept)


def without_metric(evidence: Evidence, metric: str) -> Evidence:
    return replace(evidence, points=[point for point in evidence.points if point.metric != metric])
