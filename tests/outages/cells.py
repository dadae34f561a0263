"""The only place that does what the cells of the outage tests do, and says what is asked for; `table` lists them."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from faults.bench import SkippedError
from outages.bench import RATES, STORES, TEMPO_HOLDS, Probe, flows, queued
from outages.flow import Flow
from outages.stored import Stored
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outages.bench import Bench
    from support.stack import Stack

GATEWAY = Path(__file__).resolve().parents[2] / "collector" / "overlays" / "gateway.yaml"
# Seconds before, during and after an outage, at the full size and at the quick level.
STEADY, AWAY = {True: 10.0, False: 2.0}, {True: 60.0, False: 8.0}
PROBES = {True: 20, False: 3}
"""So many items of every other signal must be found while a store is away."""


# -- A store is away
# -------------------------------------------------------------------------------------------


def store_killed(bench: Bench, signal: str) -> None:
    """One store is killed and comes back; the other signals do not notice."""
    verdict = bench.verdict
    with bench.stack() as running, flows(running) as sent:
        time.sleep(STEADY[bench.full])
        running.stop(STORES[signal], kill=True)
        killed = time.monotonic()
        with ExitStack() as probing:
            others = {each: sent[each] for each in STORES if each != signal}
            probes = {each: probing.enter_context(Probe(running, flow)) for each, flow in others.items()}
            time.sleep(AWAY[bench.full])
        for each, probe in probes.items():
            verdict.within(f"{each} looked for and found meanwhile", len(probe.delays), 1000, least=PROBES[bench.full])
            verdict.note(f"{each} found within", f"{max(probe.delays, default=0):.2f} s")
        verdict.note("queue", f"{queued(running)[signal]:.2f} MB")
        running.start(STORES[signal])
        running.wait_ready()
        time.sleep(STEADY[bench.full])
        for flow in sent.values():
            flow.stop()
        for each, flow in sent.items():
            # What Tempo took and had not written down goes with it: the Collector has no part in that.
            of_tempo = each == signal == "traces"
            loss = bench.check(running, flow, since=killed if of_tempo else 0.0)
            if of_tempo:
                verdict.note("lost in Tempo", loss.items)
                verdict.within("taken before the kill", loss.oldest, TEMPO_HOLDS, " s")


# -- The Collector is killed
# -----------------------------------------------------------------------------------


def collector_killed(bench: Bench) -> None:
    """All stores are away, the queues fill; the Collector is killed and started again before the stores are.

    They are away before anything is sent: what Tempo takes while it stops, and loses, is no part of this.
    """
    verdict = bench.verdict
    with ExitStack() as stack:
        running = stack.enter_context(bench.stack())
        running.stop(*STORES.values())
        sent = stack.enter_context(flows(running))
        time.sleep(AWAY[bench.full])
        for signal, size in queued(running).items():
            verdict.within(f"{signal} in the queue", size, 1000, " MB", least=0.001)
        running.stop("collector", kill=True)
        running.start("collector")
        running.wait_ready()
        time.sleep(STEADY[bench.full])
        running.start(*STORES.values())
        running.wait_ready()
        time.sleep(STEADY[bench.full])
        for flow in sent.values():
            flow.stop()
        for flow in sent.values():
            bench.check(running, flow)


def gateway_killed(bench: Bench) -> None:
    """The Collector waits with every trace for its decision; what it waits with is lost with it, and no more."""
    wait = 10 if bench.full else 3
    verdict = bench.verdict
    with bench.stack({"STACK_GATEWAY_WAIT": f"{wait}s"}, overlays=[GATEWAY]) as running:
        with Flow("traces", running.otlp_http, rate=RATES["traces"], failing=True) as flow:
            time.sleep(2 * wait)
            running.stop("collector", kill=True)
            killed = time.monotonic()
            running.start("collector")
            running.wait_ready()
            time.sleep(STEADY[bench.full])
        loss = bench.check(running, flow, since=killed)
        verdict.note("lost in the Collector", loss.items)
        verdict.note("decision_wait", f"{wait} s")
        # It looks once a second which traces are due, and a trace of these flows has spans for a second.
        verdict.within("taken before the kill", loss.oldest, wait + 5, " s")


# -- The queue has an end
# --------------------------------------------------------------------------------------


def queue_full(bench: Bench, signal: str) -> None:
    """More than the queue holds while a store is away: the rest is refused and not taken; what was taken arrives."""
    with bench.stack({"STACK_COLLECTOR_QUEUE_BYTES": "1500000"}) as running:
        overfilled(bench, running, signal)


def disk_full(bench: Bench) -> None:
    """More than the disk of the queue holds, likewise."""
    with bench.stack() as running:
        running.stop("collector")
        with small_disk(running.place / "data" / "collector"):
            running.start("collector")
            running.wait_ready()
            overfilled(bench, running, "logs")
            running.stop("collector")


def overfilled(bench: Bench, running: Stack, signal: str) -> None:
    """Send for as long as it takes until requests are refused, and some more; who sends gives up what was refused."""
    verdict = bench.verdict
    with Flow(signal, running.otlp_http, rate=20, text=4000, patient=False) as flow:
        time.sleep(1.0)
        running.stop(STORES[signal])
        wait_until(lambda: len(flow.refused) >= 20, within=60, what="requests are refused")
        verdict.note("queue", f"{queued(running)[signal]:.2f} MB")
        refused = len(flow.refused)
        running.start(STORES[signal])
        running.wait_ready()
        accepted = len(flow.accepted)
        wait_until(lambda: len(flow.accepted) > accepted + 20, within=60, what="requests are accepted again")
    bench.check(running, flow)
    verdict.note("refused", f"{len(flow.refused) * flow.each}, answered {'; '.join(sorted(flow.refusals))}")
    verdict.within("refused requests", refused, 10_000, least=20)
    found = Stored(running).wait(flow, set(), within=0)
    given_up = {each for request in flow.refused for each in request.ids}
    verdict.note("refused, and stored all the same", len(given_up & found.keys()))


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of a few MB over a folder."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        raise SkippedError(f"no small disk could be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


# -- Programs are started again
# --------------------------------------------------------------------------------


def restarted(bench: Bench, *, kill: bool) -> None:
    """Every program is stopped and started again, one after the other; what it had stored is there as before."""
    with bench.stack() as running:
        with flows(running) as sent:
            time.sleep(STEADY[bench.full])
        for flow in sent.values():
            bench.check(running, flow)
        silences(running, create="restarts")
        for program in ("collector", "alertmanager", *STORES.values()):
            running.stop(program, kill=kill)
            running.start(program)
            running.wait_ready()
        for flow in sent.values():
            found = Stored(running).wait(flow, flow.ids, within=30)
            bench.verdict.equal(f"{flow.signal} afterwards", len(flow.ids & found.keys()), len(flow.ids))
        # Alertmanager writes silences down every minute, and when it is told to end.
        if kill:
            bench.verdict.note("silences afterwards", f"{len(silences(running))}/1")
        else:
            bench.verdict.equal("silences afterwards", len(silences(running)), 1)


def silences(running: Stack, *, create: str = "") -> list[str]:
    """Return the comments of Alertmanager's silences; before that, create one with this comment."""
    url = f"{running.alertmanager}/api/v2/silences"
    if create:
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "alertname", "value": create, "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "tests",
            "comment": create,
        }
        httpx.post(url, json=silence, trust_env=False).raise_for_status()
    return [str(each["comment"]) for each in httpx.get(url, trust_env=False).raise_for_status().json()]
