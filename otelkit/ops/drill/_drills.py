"""The only place that lists the drills: what each breaks, and how it is mended.

Which alerts a drill proves is said where they are declared (`Alert.drill`). The one that it is about has to fire, to be
told and to resolve. The others are followed as far as they come in that time: some last longer than a drill.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.ops.drill.bench import Bench

    Act = Callable[[Bench], object]

_EXPORT: Final = 20.0  # seconds in which a process has told its metrics once


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One fault, and the alert that has to tell of it.

    Args:
        name: As on the command line, and in the declarations of alerts.
        about: The fault, in a few words.
        alert: Which alert has to fire, to be told and to resolve; "Watchdog" where nobody is left to tell: the dead
            man's switch hears it no more, and then again.
        acts: Injects the fault, and removes it.
        shop: Whether it needs the example shop; else the stack and a small service of the drill's own are enough.
        within: Seconds from the fault until it has to be told; None: what the alert promises, its budget or two
            minutes.
        back: Seconds from the fault's end until that has to be told.
        lingers: Whether the alert looks back for minutes, and hides no other: the next drill does not wait for it.
    """

    name: str
    about: str
    alert: str
    acts: tuple[Act, Act]
    shop: bool = False
    within: float | None = None
    back: float = 300.0
    lingers: bool = False


def _killed(program: str) -> tuple[Act, Act]:
    return lambda bench: bench.kill(program), lambda bench: bench.start(program)


def _stopped(program: str) -> tuple[Act, Act]:
    return lambda bench: bench.stop(program), lambda bench: bench.start(program)


def _switched(fault: str, value: str = "on") -> tuple[Act, Act]:
    return lambda bench: bench.fault(fault, value), lambda bench: bench.mend(fault)


def _passing(breaks: Act) -> tuple[Act, Act]:
    """Return a fault that is over as soon as it happened."""
    return breaks, lambda _: None


def _restarted(program: str, times: int) -> Act:
    def breaks(bench: Bench) -> None:
        for _ in range(times):
            time.sleep(_EXPORT)  # who is killed before has told nobody that it was there
            bench.kill(program)
            bench.start(program)

    return breaks


DRILLS: Final = (
    Drill(name="service-stopped", about="the API is stopped", alert="ServiceDown", acts=_stopped("api"), shop=True),
    Drill(
        name="restarts",
        about="payment is killed and started anew, three times within a minute",
        alert="ServiceRestarting",
        acts=_passing(_restarted("payment", 3)),
        shop=True,
        within=240.0,
        back=1_200.0,
        lingers=True,
    ),
    Drill(
        name="failing-requests",
        about="two of five requests of the API end in an exception",
        alert="HighErrorRate",
        acts=_switched("failing-requests"),
        shop=True,
    ),
    Drill(
        name="slow-requests",
        about="each request of the API takes 2.6 s longer",
        alert="HighLatency",
        acts=_switched("slow-requests"),
        shop=True,
    ),
    Drill(
        name="blocked-event-loop",
        about="each request of the API holds its event loop up for half a second",
        alert="EventLoopBlocked",
        acts=_switched("blocked-event-loop"),
        shop=True,
        within=360.0,
    ),
    Drill(
        name="upstream-failing",
        about="payment answers every other request with 503",
        alert="UpstreamFailing",
        acts=_switched("upstream-failing"),
        shop=True,
        within=540.0,
        back=480.0,
        lingers=True,
    ),
    Drill(
        name="database-down",
        about="PostgreSQL is killed",
        alert="DatabaseDown",
        acts=_killed("postgres"),
        shop=True,
    ),
    Drill(
        name="database-deadlock",
        about="a fifth of the API's requests are the victims of deadlocks",
        alert="DatabaseDeadlocks",
        acts=_switched("database-deadlock"),
        shop=True,
        back=840.0,
        lingers=True,
    ),
    Drill(
        name="pool-exhausted",
        about="all connections of the API's pool are taken and kept",
        alert="DbPoolExhausted",
        acts=_switched("pool-exhausted"),
        shop=True,
    ),
    Drill(
        name="slow-queries",
        about="each statement of the API takes 1.5 s longer",
        alert="SlowQueries",
        acts=_switched("slow-queries"),
        shop=True,
        within=540.0,
        back=480.0,
        lingers=True,
    ),
    Drill(name="redis-down", about="Redis is killed", alert="RedisDown", acts=_killed("redis"), shop=True),
    Drill(
        name="redis-full",
        about="Redis may use no more memory than it does",
        alert="RedisMemoryHigh",
        acts=(lambda bench: bench.set_redis("maxmemory", "1mb"), lambda bench: bench.set_redis("maxmemory", "0")),
        shop=True,
        within=540.0,
        back=480.0,
    ),
    Drill(
        name="worker-stopped",
        about="the Celery worker is stopped",
        alert="CeleryStalled",
        acts=_stopped("worker"),
        shop=True,
    ),
    Drill(
        name="failing-tasks",
        about="three of five tasks fail",
        alert="CeleryTasksFailing",
        acts=_switched("failing-tasks"),
        shop=True,
        within=420.0,
        back=840.0,
        lingers=True,
    ),
    Drill(
        name="beat-halted",
        about="Celery's beat hangs",
        alert="CeleryBeatStalled",
        acts=_switched("beat-halted"),
        shop=True,
        within=600.0,
    ),
    Drill(
        name="refused-logs",
        about="the API logs records that Loki refuses",
        alert="CollectorDropping",
        acts=_switched("refused-logs"),
        shop=True,
        back=480.0,
        lingers=True,
    ),
    Drill(
        name="collector-down",
        about="the Collector is killed",
        alert="CollectorDown",
        acts=_killed("collector"),
    ),
    Drill(name="tempo-down", about="Tempo is killed", alert="BackendNotAccepting", acts=_killed("tempo"), within=300.0),
    Drill(name="loki-down", about="Loki is killed", alert="BackendNotAccepting", acts=_killed("loki"), within=300.0),
    Drill(
        name="dropped-telemetry",
        about="a service ends more spans at once than its queue holds",
        alert="TelemetryDropped",
        acts=_passing(lambda bench: bench.burst()),
        back=480.0,
        lingers=True,
    ),
    Drill(
        name="notifications-failing",
        about="the dead man's switch refuses what it is told",
        alert="NotificationsFailing",
        acts=(lambda bench: bench.refuse("deadman"), lambda bench: bench.accept("deadman")),
        back=480.0,
        lingers=True,
    ),
    Drill(
        name="certificate-expires",
        about="the certificate of a page is good for two days more",
        alert="CertificateExpiresNow",
        acts=(lambda bench: bench.certify(2), lambda bench: bench.certify()),
    ),
    Drill(
        name="prometheus-down",
        about="Prometheus is killed",
        alert="Watchdog",
        acts=_killed("prometheus"),
        within=420.0,
    ),
    Drill(
        name="alertmanager-down",
        about="Alertmanager is killed",
        alert="Watchdog",
        acts=_killed("alertmanager"),
        within=420.0,
    ),
)
"""In the order in which they are run: those of services, then those of the stack."""
