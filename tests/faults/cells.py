"""The only place that does what the cells of the fault tests do, and says what is asked for; `table` lists them.

Each function works with a `Bench`, and leaves its figures in the bench's verdict.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from faults import load
from faults.bench import (
    GRPC,
    HTTP,
    SkippedError,
    check_work,
    complete,
    main_done,
    resident,
    timed_wait,
    worked,
)
from faults.received import instance, port, reserve
from faults.secrets import SECRETS
from support import redis_server
from support.overlays import NO_RULES
from support.processes import HOST, Process, ProcessError, wait_http

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

    from faults.bench import Bench
    from faults.received import Received, Sink

ROOT = Path(__file__).resolve().parents[2]
SETTLING = 3.0
"""Seconds in which what a process sent before it ended must show; the sink may be busy with it."""


# -- G1: SIGTERM
# -----------------------------------------------------------------------------------------------------


def sigterm(bench: Bench, server: str, protocol: str, count: int) -> None:
    """SIGTERM the moment the last request was answered."""
    with bench.sink() as sink:
        with bench.service(server, sink.endpoint(protocol), protocol) as (process, port):
            requests = load.closed(port, range(count))
            process.signal(signal.SIGTERM)
            sent = time.monotonic()
            took = timed_wait(process, within=90) - sent
        bench.verdict.equal("answered", requests.answered, count)
        check_work(bench.verdict, sink.wait(complete(count), within=SETTLING), count)
    bench.verdict.note("exit", f"{took:.2f} s")
    bench.verdict.equal("code", process.returncode, -signal.SIGTERM if server == "uvicorn" else 0)


# -- G2: tasks
# --------------------------------------------------------------------------------------------------------

# Contrib's metric of tasks, and ours.
TASKS = ("flower.task.runtime.seconds", "celery.task.duration")


def tasks(bench: Bench, per_child: int, protocol: str) -> None:
    """SIGTERM a prefork worker the moment the last of its tasks has a result."""
    if (why := redis_server.missing()) is not None:
        raise SkippedError(why)
    count = 200
    pool = ["-c", "2", "-l", "INFO", *(["--max-tasks-per-child", str(per_child)] if per_child else [])]
    with redis_server.server() as redis, bench.sink() as sink:
        endpoint, broker = sink.endpoint(protocol), {"BROKER": redis.url()}
        worker = ["-m", "celery", "-A", "faults.apps.tasks", "worker", *pool]
        with bench.start(worker, endpoint, protocol, **broker) as process:
            process.wait_output(" ready.", within=60)
            give = ["-c", f"from faults.apps import tasks; tasks.give({count})"]
            # The same for every kit: whoever asks has no telemetry.
            with bench.start(give, endpoint, protocol, OTEL_SDK_DISABLED="true", **broker) as asking:
                bench.verdict.equal("asked", asking.wait(within=600), 0)
            process.signal(signal.SIGTERM)
            sent = time.monotonic()
            took = timed_wait(process, within=90) - sent
        received = sink.wait(lambda received: len(_runs(received)) >= count, within=SETTLING)
    verdict = bench.verdict
    verdict.equal("runs", len(_runs(received)), count)
    verdict.equal("logs", len(received.bodies("worked on ")), count)
    verdict.equal("metric", received.total(TASKS), count)
    verdict.equal("duplicates", received.duplicates("worked on "), 0)
    verdict.note("exit", f"{took:.2f} s")
    verdict.equal("code", process.returncode, 0)


def _runs(received: Received) -> list[Any]:
    return [span for span in received.spans if span.name == "run/work"]


# -- G3: children
# ----------------------------------------------------------------------------------------------------


def children(bench: Bench, method: str, end: str, protocol: str) -> None:
    """Four children of 50 spans, records and counts each; the parent exported 600 spans and 1 count before."""
    with bench.sink() as sink:
        with bench.script("family", method, end, endpoint=sink.endpoint(protocol), protocol=protocol) as process:
            process.wait(within=120)
        received = sink.wait(_whole_family, within=SETTLING)
    verdict = bench.verdict
    verdict.equal("child spans", sum(span.name == "child" for span in received.spans), 200)
    verdict.equal("child logs", len(received.bodies("child ")), 200)
    verdict.equal("parent spans", sum(span.name == "parent" for span in received.spans), 600)
    verdict.equal("counter", received.total(["adds"]), 201)
    # Of ours only: the process that forkserver forks from is one more, and may have things of its own to tell.
    verdict.equal("instances", len({instance(span) for span in received.spans if span.name in {"child", "parent"}}), 5)
    verdict.equal("duplicates", received.duplicates("child "), 0)
    codes = process.stdout.rpartition("codes ")[2].split()
    verdict.equal("codes", " ".join(codes), " ".join([{"return": "0", "raise": "1", "exit": "3"}[end]] * 4))


def _whole_family(received: Received) -> bool:
    spans = sum(span.name == "child" for span in received.spans)
    return spans >= 200 and len(received.bodies("child ")) >= 200 and received.total(["adds"]) >= 201


# -- G4: outages
# -----------------------------------------------------------------------------------------------------

BATCH = 512  # items of a request, the default of the specification
RATE = 40
GRACE = 10.0
# Seconds when a fault begins, when it ends, and when the load ends. The SDK's exporters give a batch up after 10 s, so
# that less than 15 s would not tell a kit that keeps it from one that does not.
OUTAGE = {True: (12, 42, 60), False: (4, 20, 26)}
# An outage may cut off the answers to one batch of each signal, which then come again.
TWICE = 2 * BATCH


def outage(bench: Bench, fault: str, protocol: str) -> None:
    """A service at a steady rate; the receiver is bad for half of the time, and well again for the end."""
    begin, end, seconds = OUTAGE[bench.full]
    count = RATE * seconds
    with bench.sink() as sink, bench.service("uvicorn", sink.endpoint(protocol), protocol) as (process, port):
        before = resident(process.pid)
        with Timetable((begin, partial(sink.switch, fault)), (end, partial(sink.switch, "ok"))):
            requests = load.paced(port, range(count), rate=RATE)
        received = sink.wait(complete(count), within=GRACE)
        bench.verdict.equal("answered", requests.answered, count)
        check_work(bench.verdict, received, count, metric=False, duplicates=TWICE)
        bench.verdict.note("memory", f"{resident(process.pid) - before:+.1f} MB")
        bench.verdict.note("p99", f"{requests.percentile(0.99) * 1000:.0f} ms")


SMALL = {"OTEL_BSP_MAX_QUEUE_SIZE": "600", "OTEL_BLRP_MAX_QUEUE_SIZE": "600"}


def overflow(bench: Bench, fault: str, protocol: str) -> None:
    """More than the queue holds while the receiver is bad: what is missing is what the kit says it dropped."""
    with bench.sink(fault) as sink:
        with emitting(bench, sink.endpoint(protocol), protocol, 4000, 500, 0, **SMALL) as process:
            healed_after(6.0, process, partial(sink.switch, "ok"))
        check_accounts(bench, process, sink, dropping=True)


def healed_after(seconds: float, script: Process, heal: Callable[[], Any]) -> None:
    """Do something so many seconds after a script began to emit, and wait for its end."""
    script.wait_output("main begins", within=60)
    with Timetable((seconds, heal)):
        script.wait(within=120)


class Timetable:
    """Context manager: does things at given seconds after it was entered, and nothing any more once it is left."""

    def __init__(self, *entries: tuple[float, Callable[[], Any]]) -> None:
        self._timers = [threading.Timer(seconds, action) for seconds, action in entries]

    def __enter__(self) -> None:
        """Begin to count."""
        for timer in self._timers:
            timer.start()

    def __exit__(self, *error: object) -> None:
        """Forget what did not happen yet, and wait for what is happening."""
        for timer in self._timers:
            timer.cancel()
            timer.join()


# -- G5: leaving
# -----------------------------------------------------------------------------------------------------

# Seconds. The quick level tells a bound that is kept from none at all, on a machine that may do much else besides.
LEAVING = {True: 5.0, False: 7.0}


def leaving(bench: Bench, fault: str, protocol: str) -> None:
    """A script ends with 1500 spans, 1500 records and a counter that nobody took yet."""
    with bench.sink(fault) as sink:
        with bench.script("emit", 1500, 0, 0, "end", endpoint=sink.endpoint(protocol), protocol=protocol) as process:
            ended = timed_wait(process, within=120)
        received = sink.read()
    bench.verdict.within("exit", ended - main_done(process), LEAVING[bench.full], " s")
    bench.verdict.equal("code", process.returncode, 0)
    if fault == "ok":
        check_items(bench, received, 1500)


def leaving_server(bench: Bench, server: str, fault: str, protocol: str) -> None:
    """A server is told to leave while nobody takes what it has."""
    with bench.sink(fault) as sink, bench.service(server, sink.endpoint(protocol), protocol) as (process, port):
        load.closed(port, range(500))
        sent = time.monotonic()
        process.signal(signal.SIGTERM)
        # What the server itself takes, with no kit at all: up to two seconds for gunicorn.
        bench.verdict.within("exit", timed_wait(process, within=120) - sent, LEAVING[bench.full] + 2, " s")


def check_items(bench: Bench, received: Received, count: int) -> None:
    """Ask for everything that `emit.py` leaves behind."""
    bench.verdict.equal("spans", sum(span.name == "item" for span in received.spans), count)
    bench.verdict.equal("records", len(received.bodies("item ")), count)
    bench.verdict.equal("metric", received.total(["items"]), count)


# -- G6: the application does not notice
# -----------------------------------------------------------------------------------------------------


def growth(bench: Bench, protocol: str) -> None:
    """100,000 requests with nobody listening; at the quick level a tenth of them, with ten times the telemetry each."""
    count, path = (100_000, "/work/{}") if bench.full else (10_000, "/work/{}?times=10")
    with bench.sink("down") as sink, bench.service("uvicorn", sink.endpoint(protocol), protocol) as (process, port):
        load.closed(port, range(200))
        before = resident(process.pid)
        requests = load.closed(port, range(count), path=path)
        bench.verdict.equal("answered", requests.answered, count)
        bench.verdict.within("growth", resident(process.pid) - before, 32, " MB", least=-math.inf)


def slowed(bench: Bench, protocol: str) -> None:
    """Two equal services, the receiver of one hangs; they get their load in turns. A ratio only: machines are noisy."""
    turns, each = (20, 500) if bench.full else (6, 200)
    with (
        bench.sink("ok") as well,
        bench.sink("hang") as ill,
        bench.service("uvicorn", well.endpoint(protocol), protocol) as (_, well_port),
        bench.service("uvicorn", ill.endpoint(protocol), protocol) as (_, ill_port),
    ):
        loads = {number: load.Load() for number in (well_port, ill_port)}
        for number in loads:
            load.closed(number, range(each), clients=4)
        for turn in range(turns):
            for number in (well_port, ill_port) if turn % 2 else (ill_port, well_port):
                loads[number].seconds += load.closed(number, range(each), clients=4).seconds
    healthy, hanging = (loads[number].percentile(0.99) for number in (well_port, ill_port))
    bench.verdict.note("p99 ratio", f"{hanging / healthy:.2f}")
    bench.verdict.note("p99", f"{healthy * 1000:.1f} and {hanging * 1000:.1f} ms")


# -- G7: accounts
# ----------------------------------------------------------------------------------------------------


def emitting(bench: Bench, endpoint: str, protocol: str, *arguments: int, **variables: str) -> Process:
    """Make the process of a script that emits, and then prints its accounts: count, rate, and bytes of a span."""
    return bench.script("emit", *arguments, "leave", endpoint=endpoint, protocol=protocol, **variables)


def flood(bench: Bench, protocol: str) -> None:
    """Far more items than a receiver takes that needs a second for each batch."""
    count = 20_000 if bench.full else 4000
    with bench.sink("slow:1") as sink:
        began = time.monotonic()
        with emitting(bench, sink.endpoint(protocol), protocol, count, 2000, 0) as process:
            process.wait(within=180)
        lasted = time.monotonic() - began
        check_accounts(bench, process, sink)
    at_most = math.ceil(lasted / 60) + 1  # one a minute, and one that tells what was left at the end
    bench.verdict.within("lines", lines_about(process, sink.endpoint(protocol)), at_most, least=1)


def accounted(bench: Bench, fault: str, protocol: str, *, loss: bool, size: int = 0, healed: float = 3.0) -> None:
    """1000 spans and records at a receiver with a fault, which ends after some seconds, long before the script does."""
    often = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
    with bench.sink(fault) as sink:
        with emitting(bench, sink.endpoint(protocol), protocol, 1000, 200, size, **often) as process:
            healed_after(healed, process, partial(sink.switch, "ok"))
        received = check_accounts(bench, process, sink, dropping=loss)
        if not loss:
            check_items(bench, received, 1000)


def check_accounts(
    bench: Bench,
    process: Process,
    sink: Sink,
    *,
    dropping: bool | None = None,
    signals: Sequence[str] = ("traces", "logs", "metrics"),
) -> Received:
    """Ask that emitted = delivered + dropped + pending, and that delivered is what the receiver took."""
    received = sink.wait(lambda _: False, within=0.3)
    verdict = bench.verdict
    text = process.stdout.rpartition("accounts ")[2].partition("\n")[0] if "accounts " in process.stdout else "{}"
    accounts: dict[str, Any] = json.loads(text)
    taken: dict[str, list[Any]] = {"traces": received.spans, "metrics": received.points, "logs": received.logs}
    for name in signals:
        if name not in accounts:
            verdict.true(name, holds=False, otherwise=f"{len(taken[name])} received, no account")
            continue
        account = accounts[name]
        dropped = sum(account["dropped"].values())
        reasons = "".join(f" ({reason} {count})" for reason, count in account["dropped"].items() if count)
        verdict.figures[name] = (
            f"{account['emitted']} = {account['delivered']} delivered + {dropped} dropped{reasons}"
            f" + {account['pending']} pending; {len(taken[name])} received"
        )
        balanced = account["emitted"] == account["delivered"] + dropped + account["pending"]
        # What was on its way when the script printed its accounts, or left, may have arrived after that: one batch.
        on_its_way = min(BATCH, account["pending"] + account["dropped"].get("shutdown", 0))
        if not balanced or not 0 <= len(taken[name]) - account["delivered"] <= on_its_way:
            verdict.wrong.append(name)
    if dropping is not None:
        dropped = sum(sum(account["dropped"].values()) for account in accounts.values())
        verdict.within("dropped", dropped, math.inf if dropping else 0, least=1 if dropping else 0)
    verdict.note("duplicates", received.duplicates("item "))
    return received


def lines_about(process: Process, endpoint: str) -> int:
    """Count the lines on stderr that name the endpoint."""
    return sum(endpoint.removeprefix("http://") in line for line in process.stderr.splitlines())


# -- G8: poison
# ------------------------------------------------------------------------------------------------------


def poisoned(bench: Bench, kind: str, protocol: str) -> None:
    """Each hostile value between 50 and 50 innocent items; all that is innocent arrives, and nothing raises."""
    verdict = bench.verdict
    with bench.sink() as sink:
        with bench.script("poison", kind, endpoint=sink.endpoint(protocol), protocol=protocol) as process:
            with contextlib.suppress(ProcessError):  # a kit may try for very long to send what nobody takes
                process.wait(within=240)
            verdict.equal("code", process.returncode, 0)
        received = sink.wait(lambda _: False, within=0.3)
    cases = int(process.stdout.rpartition("cases ")[2].split()[0])
    raised = json.loads(process.stdout.partition("\nraised ")[2] or '["the script did not end"]')
    (bench.folder / "raised").write_text("\n".join(raised), encoding="utf-8")
    verdict.note("cases", cases)
    verdict.equal("raised", len(raised), 0)
    match kind:
        case "spans":
            mine = [span for span in received.spans if span.scope.name == "poison"]
            innocent = sum(span.name == "innocent" for span in mine)
            verdict.equal("hostile", len(mine) - innocent, cases)
        case "logs":
            innocent = len(received.bodies("innocent "))
        case _:
            innocent = received.total(["innocents"])
    verdict.equal("innocent", innocent, cases * 100)
    verdict.within("largest message", received.largest / 2**20, 4, " MiB")


def large(bench: Bench, protocol: str) -> None:
    """400 spans of 20 kB, all at once."""
    with bench.sink() as sink:
        with bench.script(
            "emit", 400, 0, 20_000, "end", endpoint=sink.endpoint(protocol), protocol=protocol
        ) as process:
            process.wait(within=120)
        check_items(bench, sink.wait(lambda _: False, within=0.3), 400)
        bench.verdict.within("largest message", sink.read().largest / 2**20, 4, " MiB")


# -- G9: a malformed log call
# ----------------------------------------------------------------------------------------------------


def malformed(bench: Bench, protocol: str) -> None:
    """A route whose log call has a wrong argument: the application goes on, and the record says so."""
    with bench.sink() as sink:
        with bench.service("uvicorn", sink.endpoint(protocol), protocol) as (process, port):
            requests = load.closed(port, range(50), path="/malformed/{}")
            process.signal(signal.SIGTERM)
            process.wait(within=60)
        received = sink.wait(lambda received: _malformed(received) >= 50, within=SETTLING)
    bench.verdict.equal("answered 200", requests.answered, 50)
    bench.verdict.equal("logs", _malformed(received), 50)


def _malformed(received: Received) -> int:
    return sum(str(record.body).startswith("user") for record in received.logs)


# -- G14: again
# ------------------------------------------------------------------------------------------------------


def again(bench: Bench, times: int, protocol: str) -> None:
    """Set up several times in one process."""
    with bench.sink() as sink:
        with bench.script("again", times, endpoint=sink.endpoint(protocol), protocol=protocol) as process:
            process.wait(within=60)
        received = sink.wait(lambda _: False, within=0.3)
    counted = json.loads(process.stdout.rpartition("counted ")[2])
    for name, before in counted["before"].items():
        bench.verdict.equal(name, counted["after"][name], before)
    found = worked(received)
    bench.verdict.equal("spans", len(found["spans"]), 11)
    bench.verdict.equal("logs", len(found["logs"]), 11)
    bench.verdict.equal("duplicates", received.duplicates("worked on "), 0)


# -- G10, G12: secrets, and strangers
# ------------------------------------------------------------------------------------------------------

# h11 takes methods that do not exist, and headers of any size it is told to.
H11 = (
    "uvicorn",
    "{app}",
    "--port",
    "{port}",
    "--no-access-log",
    "--http",
    "h11",
    "--h11-max-incomplete-event-size",
    "262144",
)
PRIVATE = "faults.apps.private:app"


def secrets(bench: Bench, protocol: str) -> None:
    """A service handles secrets in 18 places; what leaves it is searched for them."""
    headers = {
        "Authorization": f"Bearer {SECRETS['authorization']}",
        "Cookie": f"session={SECRETS['cookie']}",
        "X-Api-Key": SECRETS["api key"],
        "Baggage": f"user={SECRETS['baggage']}",
        "User-Agent": f"robot {SECRETS['user agent']}",
    }
    query = f"/login?password={SECRETS['query']}&token={SECRETS['query, token']}"
    with (
        bench.sink() as sink,
        bench.serve(H11, sink.endpoint(protocol), protocol, PRIVATE) as (process, port),
    ):
        for request in (("GET", query, headers), ("GET", "/fail", {}), ("GET", "/flush", {})):
            load.each(port, [request])  # the server hangs up on who made it fail
        received = sink.wait(lambda received: len(received.bodies("log-in")) >= 2, within=SETTLING)
    told = {"OTLP": str(received.items), "stdout": process.stdout, "stderr": process.stderr}
    places = [place for place, secret in SECRETS.items() if secret in told["OTLP"]]
    verdict = bench.verdict
    (bench.folder / "found").write_text("\n".join(places), encoding="utf-8")
    verdict.equal("records", len(received.bodies("log-in")), 2)
    verdict.within("found", len(places), 0)
    # Without a kit the server prints the exception's text itself: a plain SDK is not asked for more than it does.
    printed = [name for name in ("stdout", "stderr") if any(secret in told[name] for secret in SECRETS.values())]
    if bench.kit != "vanilla":
        verdict.within("printed", len(printed), 0)


_CALLERS: dict[str, dict[str, str]] = {
    "baggage": {"Baggage": "a=" + "x" * 60_000},
    "baggage of 180": {"Baggage": ",".join(f"key{number}={'x' * 300}" for number in range(180))},
    "traceparent": {"Traceparent": "00-" + "a" * 60_000},
    "tracestate": {
        "Traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
        "Tracestate": ",".join(f"v{number}={'x' * 240}" for number in range(32)),
    },
    "user agent": {"User-Agent": "x" * 60_000},
}


def strangers(bench: Bench, protocol: str) -> None:
    """Callers send headers of up to 60 kB, and ask for their failing request not to be traced."""
    unsampled = {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}
    with (
        bench.sink() as sink,
        bench.serve(H11, sink.endpoint(protocol), protocol, PRIVATE) as (_, port),
    ):

        def told(headers: Mapping[str, str]) -> int:
            """Return the size of the spans and records that one request causes, in characters of their text."""
            before, size = _told(sink.read())
            load.each(port, [("GET", "/known", headers), ("GET", "/flush", {})])
            return _told(sink.wait(lambda received: _told(received)[0] > before, within=SETTLING))[1] - size

        load.each(port, [("GET", "/known", {}), ("GET", "/flush", {})])
        plain = told({"User-Agent": ""})
        most = {name: told(headers) - plain for name, headers in _CALLERS.items()}
        for request in (("GET", "/fail", unsampled), ("GET", "/flush", {})):
            load.each(port, [request])  # the server hangs up on who made it fail
        received = sink.wait(_has_failed, within=SETTLING)
    for name, size in most.items():
        bench.verdict.within(name, max(0, size) / 1000, 1, " kB")
    bench.verdict.true("failing request", holds=_has_failed(received), otherwise="not told")


def _told(received: Received) -> tuple[int, int]:
    spans = [span for span in received.spans if "flush" not in span.name]
    logs = [record for record in received.logs if "flush" not in str(record)]
    return len(spans), len(str(spans)) + len(str(logs))


def _has_failed(received: Received) -> bool:
    return any(span.kind == "SERVER" and span.trace_id == "a" * 32 for span in received.spans)


# -- G11: names
# ------------------------------------------------------------------------------------------------------

LABELS, LIMIT = 5000, 2000


def bounded(bench: Bench, protocol: str) -> None:
    """Strangers invent hosts, paths and methods, and the application has far too many labels."""
    kinds: dict[str, Callable[[int], tuple[str, str, dict[str, str]]]] = {
        "hosts": lambda number: ("GET", "/known", {"Host": f"host-{number}.example"}),
        "paths": lambda number: ("GET", f"/unknown-{number}", {}),
        "methods": lambda number: (f"INVENTED{number}", "/known", {}),
    }
    counts = {"hosts": 50, "paths": 300, "methods": 50}
    with (
        bench.sink() as sink,
        bench.serve(H11, sink.endpoint(protocol), protocol, "faults.apps.crowd:app") as (_, port),
    ):

        def names() -> tuple[Counter[str], set[str]]:
            load.each(port, [("GET", "/flush", {})])
            received = sink.wait(lambda _: False, within=0.3)
            spans = {span.name for span in received.spans if span.kind == "SERVER"}
            return received.series("http.server."), spans

        # Twice: the first flush is a request that only the second one tells of.
        load.each(port, [("GET", "/known", {}), ("GET", "/flush", {})])
        series, spans = names()
        for kind, make in kinds.items():
            load.each(port, [make(number) for number in range(counts[kind])])
            before, before_spans = series, spans
            series, spans = names()
            more = max((series - before).values(), default=0)
            bench.verdict.within(kind, more, 1)
            bench.verdict.within(f"span names of {kind}", len(spans - before_spans), 1)
        load.each(port, [("GET", f"/labels/{LABELS}", {}), ("GET", "/flush", {})])
        received = sink.wait(lambda received: received.total(["crowd.adds"]) >= LABELS, within=SETTLING)
    bench.verdict.within("labels", received.series("crowd.")["crowd.adds"], LIMIT + 1, least=1)
    bench.verdict.equal("sum", received.total(["crowd.adds"]), LABELS)


# -- the Collector
# ---------------------------------------------------------------------------------------------------


class Collector:
    """Context manager: the real Collector with the project's own file; the sink stands for all its stores.

    Args:
        bench: The cell's.
        sink: Where everything it takes arrives.
        overlay: A further configuration, on top of the project's, until it is started again.
    """

    def __init__(self, bench: Bench, sink: Sink, overlay: str = "") -> None:
        self._program = next((path for name in ("otelcol-contrib", "otelcol") if (path := shutil.which(name))), None)
        if self._program is None:
            raise SkippedError("not on PATH: otelcol-contrib or otelcol")
        self._folder = bench.folder
        self._no_rules = bench.folder / "no-rules.yaml"
        self._no_rules.write_text(json.dumps(NO_RULES), encoding="utf-8")  # which is YAML, too
        self._overlay = bench.folder / "overlay.yaml"
        self._overlay.write_text(overlay, encoding="utf-8")
        self._reserved = {
            name: reserve() for name in ("OTLP_GRPC", "OTLP_HTTP", "COLLECTOR_HEALTH", "COLLECTOR_METRICS")
        }
        self._ports = {name: port(reserved) for name, reserved in self._reserved.items()}
        self._variables = {f"STACK_{name}_PORT": str(port) for name, port in self._ports.items()} | {
            "STACK_COLLECTOR_DATA": str(bench.folder / "collector"),
            "STACK_TEMPO_OTLP_URL": sink.endpoint(GRPC),
            "STACK_PROMETHEUS_URL": sink.endpoint(HTTP),
            "STACK_LOKI_URL": sink.endpoint(HTTP),
        }
        self._process: Process | None = None

    def __enter__(self) -> Self:
        """Start it with the overlay."""
        self.start(self._overlay)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.kill()
        for reserved in self._reserved.values():
            reserved.close()

    def endpoint(self, protocol: str) -> str:
        """Return where it takes OTLP."""
        return f"http://{HOST}:{self._ports['OTLP_GRPC' if protocol == GRPC else 'OTLP_HTTP']}"

    def start(self, *overlays: Path) -> None:
        """Start it, and wait until it is ready."""
        files = [ROOT / "collector/config.yaml", ROOT / "collector/redaction.yaml", self._no_rules, *overlays]
        arguments = [part for file in files for part in ("--config", str(file))]
        self._process = Process(
            [str(self._program), *arguments], folder=self._folder, env=self._variables, name="collector"
        ).__enter__()
        wait_http(f"http://{HOST}:{self._ports['COLLECTOR_HEALTH']}/", process=self._process, within=30)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.stop()
            self._process = None


TINY = "processors:\n  memory_limiter: {check_interval: 100ms, limit_mib: 2, spike_limit_mib: 1}\n"


def collector_killed(bench: Bench, protocol: str) -> None:
    """The Collector is killed in the middle of the load, and started again."""
    begin, end, seconds = OUTAGE[bench.full]
    count = RATE * seconds
    with (
        bench.sink() as sink,
        Collector(bench, sink) as collector,
        bench.service("uvicorn", collector.endpoint(protocol), protocol) as (_, number),
    ):
        with Timetable((begin, collector.kill), (end, collector.start)):
            requests = load.paced(number, range(count), rate=RATE)
        received = sink.wait(complete(count), within=GRACE)
    bench.verdict.equal("answered", requests.answered, count)
    check_work(bench.verdict, received, count, metric=False, duplicates=TWICE)


def collector_refuses(bench: Bench, protocol: str, *, below: bool) -> None:
    """The Collector's memory limiter refuses everything, until one with a sensible limit takes its place."""
    count, rate, bounds = (1000, 125, {}) if below else (4000, 500, SMALL)
    with bench.sink() as sink, Collector(bench, sink, TINY) as collector:

        def heal() -> None:
            collector.kill()
            collector.start()

        with emitting(bench, collector.endpoint(protocol), protocol, count, rate, 0, **bounds) as process:
            healed_after(5.0, process, heal)
        # The Collector has queues of its own, and what it derives from spans is not ours to account for.
        sink.wait(lambda received: len(received.bodies("item ")) >= count, within=3)
        received = check_accounts(bench, process, sink, dropping=not below, signals=("traces", "logs"))
        if below:
            check_items(bench, received, count)
