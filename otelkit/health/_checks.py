"""The only place that runs probes, and that knows from their last results whether the service is ready.

Probes run beside the requests, each on its own timer in the event loop that serves: a coroutine function as a task of
that loop (a pool of connections belongs to one loop), any other callable in a daemon thread of its own, so that one
that hangs keeps nobody waiting, neither a request nor the exit. Nothing here runs before the server does: a process
that forks workers (`gunicorn --preload`) runs no probe, each worker runs its own.

Calls of a probe belong to no request, and are no work either: they make neither spans nor measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import threading
from contextvars import Context
from dataclasses import dataclass, replace
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from opentelemetry import metrics
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import Observation

from otelkit import _catalog, _runtime
from otelkit._sanitise import shown
from otelkit.errors import SettingsError
from otelkit.health._drain import Drain
from otelkit.metrics import create
from otelkit.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions

    from otelkit.health._probes import Probe

_log = logging.getLogger("otelkit.health")

_STALE: Final = 3
"""Refreshes after which a result says nothing any more."""

_LATE: Final = 0.05
"""Seconds by which a timer may be late in an event loop that nothing blocks."""

_REASON: Final = 300
"""Characters of a reason that are told."""

_TEXT: Final = 4_000
"""Characters of an exception's text that are looked at: redacted first, then cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the last run of a probe said.

    Args:
        passed: Whether the dependency works.
        duration: Seconds that the probe took, or was waited for.
        at: When it was over, by `time.monotonic()`.
        reason: Why it failed, redacted; empty where it passed.
    """

    passed: bool
    duration: float
    at: float
    reason: str = ""


@dataclass(kw_only=True, eq=False)
class _Check:
    """One dependency.

    Args:
        name: The label of its metrics.
        probe: What was given to `add`.
        timeout: Seconds after which it counts as failed.
        critical: Whether it decides about readiness.
        in_loop: Whether the probe is a coroutine function.
        result: The last one, None before the first.
        busy: Since when a run is under way, by `time.monotonic()`; None while there is none.
    """

    name: str
    probe: Callable[[], Any]
    timeout: float
    critical: bool
    in_loop: bool
    result: Result | None = None
    busy: float | None = None


class Health:
    """Whether this process can do its work: probes of what it depends on, and whether it is about to leave.

    Give it to `HealthMiddleware`, which starts it with the server and stops it when the server shuts down.

    Results are exported as the gauges `otelkit.health.check.status` (1 or 0) and `otelkit.health.check.duration`
    (seconds), and each change as the event `health.changed` on the logger "otelkit.health".

    Args:
        refresh: Seconds from one run of a probe to its next. A result older than three of them counts as failed.
        drain: Seconds that the server serves on after SIGTERM, unready; 0 leaves SIGTERM to the server.

    Raises:
        SettingsError: An argument is no number of seconds; all problems at once.
    """

    def __init__(self, *, refresh: float = 5.0, drain: float = 0.0) -> None:
        problems = []
        if not _is_number(refresh) or refresh <= 0:
            problems.append(f"Health(refresh): seconds, more than 0, not {refresh!r}")
        if not _is_number(drain) or drain < 0:
            problems.append(f"Health(drain): seconds, 0 for none, not {drain!r}")
        if problems:
            raise SettingsError(problems)
        self._refresh = float(refresh)
        self._drain = Drain(float(drain), self._draining)
        self._checks: dict[str, _Check] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._stopped = False

    def add(self, name: str, probe: Probe, *, timeout: float = 1.0, critical: bool = True) -> None:
        """Watch one more dependency, from the start of the server on or from now.

        Args:
            name: Its name in metrics, events and `/health/detailed`; each only once.
            probe: A callable, or a coroutine function, without arguments: it raises, or returns False, where the
                dependency does not work. A callable runs in a thread, a coroutine function in the event loop.
            timeout: Seconds after which it counts as failed, fewer than two refreshes: a result is not kept longer
                than three. A thread cannot be stopped: a probe that hangs is not started again before it has returned.
            critical: Whether the service is not ready while this fails; one that it can do without is only told.

        Raises:
            SettingsError: An argument cannot work; all problems at once.
        """
        given: dict[str, Any] = {"probe": probe, "critical": critical}  # whatever types say, anything may come
        problems = []
        if not isinstance(name, str) or not name:
            problems.append(f"Health.add(name): a text, not {name!r}")
        elif name in self._checks:
            problems.append(f"Health.add(name): there is a check {name!r} already")
        if not callable(given["probe"]):
            problems.append(f"Health.add(probe): a callable or a coroutine function, not {type(probe).__name__}")
        if not _is_number(timeout) or timeout <= 0:
            problems.append(f"Health.add(timeout): seconds, more than 0, not {timeout!r}")
        if not isinstance(given["critical"], bool):
            problems.append(f"Health.add(critical): True or False, not {critical!r}")
        if problems:
            raise SettingsError(problems)
        in_loop = inspect.iscoroutinefunction(probe) or inspect.iscoroutinefunction(type(probe).__call__)
        check = _Check(name=name, probe=probe, timeout=float(timeout), critical=critical, in_loop=in_loop)
        self._checks = {**self._checks, name: check}  # never changed in place: other threads go through it
        if self.started and self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch_all)

    @property
    def unready(self) -> str:
        """Why the service is not ready: "starting", "draining", "stopping" or "checks"; empty where it is ready."""
        if self._drain.active:
            return "draining"
        if self._stopped:
            return "stopping"
        results = [self._current(check) for check in self._checks.values() if check.critical]
        if not self.started or any(result is None for result in results):
            return "starting"
        return "" if all(result is not None and result.passed for result in results) else "checks"

    def results(self) -> Mapping[str, Result | None]:
        """Return the last result by name, None where there is none yet; one that is too old has become a failure."""
        return {check.name: self._current(check) for check in self._checks.values()}

    def report(self) -> dict[str, Any]:
        """Tell everything, as `/health/detailed` does: for an endpoint of your own, behind your own authentication."""
        now = monotonic()
        checks = {}
        failing = False
        for check in self._checks.values():
            result = self._current(check)
            told: dict[str, Any] = {"status": "unknown", "critical": check.critical}
            if result is not None:
                told["status"] = "pass" if result.passed else "fail"
                told |= {"duration": round(result.duration, 6), "age": round(now - result.at, 3)}
                failing = failing or not result.passed
                if result.reason:
                    told["reason"] = result.reason
            checks[check.name] = told
        unready = self.unready
        status = "fail" if unready else "warn" if failing else "pass"
        return {"status": status, **({"reason": unready} if unready else {}), "checks": checks}

    # -- what the middleware calls

    def start(self) -> None:
        """Run the probes in the running event loop from now on, unless they do already."""
        if self.started and not self._stopped:
            return
        forked = self._pid != os.getpid()
        self._loop, self._pid, self._stopped = asyncio.get_running_loop(), os.getpid(), False
        self._timers = {}  # those of a loop that is gone went with it
        for check in self._checks.values():
            check.result = None
            if check.in_loop or forked:  # a thread may hang still
                check.busy = None
        _publish(self)
        self._drain.arm(self._loop)
        self._watch_all()

    def stop(self) -> None:
        """Run no more probes, and be unready: what they ask is about to be closed."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._drain.disarm()

    @property
    def started(self) -> bool:
        """Whether it was started in this process, and in an event loop that still runs; also if it was stopped."""
        return self._loop is not None and self._loop.is_running() and self._pid == os.getpid()

    # -- running

    def _watch_all(self) -> None:
        if self._stopped or self._loop is None:
            return
        for check in self._checks.values():
            if check.name not in self._timers:
                # A context of its own: the server may have called us in that of its first request.
                self._timers[check.name] = self._loop.create_task(self._watch(check), context=Context())

    async def _watch(self, check: _Check) -> None:
        while True:
            began = monotonic()
            hanging = check.busy
            try:
                reason = await self._ask(check, began) if hanging is None else _hangs(began - hanging)
            except Exception as error:  # noqa: BLE001  whatever went wrong, readiness must not stay as it was
                reason = _told(error)
            self._settle(check, began if hanging is None else hanging, reason)
            await asyncio.sleep(max(0.0, began + self._refresh - monotonic()))

    async def _ask(self, check: _Check, began: float) -> str | None:
        """Run a probe; return why it failed, None where it passed."""
        loop = asyncio.get_running_loop()
        check.busy = began
        run = loop.create_task(_in_loop(check), context=Context()) if check.in_loop else _in_thread(loop, check)
        await asyncio.wait({run}, timeout=check.timeout)
        if not run.done() and (late := monotonic() - began - check.timeout) > _LATE:
            # Something kept the loop from running, and with it the probe: not its dependency's fault.
            await asyncio.wait({run}, timeout=min(late, check.timeout))
        if not run.done():
            if check.in_loop:
                run.cancel()
            return f"no answer within {check.timeout:g} s"
        error = asyncio.CancelledError() if run.cancelled() else run.result()
        return None if error is None else _told(error)

    def _settle(self, check: _Check, since: float, reason: str | None) -> None:
        before = check.result
        now = monotonic()
        check.result = Result(passed=reason is None, duration=now - since, at=now, reason=reason or "")
        was = "unknown" if before is None else "pass" if before.passed else "fail"
        became = "pass" if reason is None else "fail"
        if was == became or (was, became) == ("unknown", "pass"):
            return
        level = logging.INFO if reason is None else logging.ERROR if check.critical else logging.WARNING
        told = {"otelkit.health.check": check.name, "otelkit.health.critical": check.critical}
        told |= {"otelkit.health.from": was, "otelkit.health.to": became}
        _log.log(level, "health.changed", extra=told | ({"otelkit.health.reason": reason} if reason else {}))

    def _current(self, check: _Check) -> Result | None:
        result = check.result if self._pid == os.getpid() else None
        if result is not None and result.passed and monotonic() - result.at > _STALE * self._refresh:
            return replace(result, passed=False, reason=f"no result for {_STALE} refreshes")
        return result

    def _draining(self) -> None:
        _log.info("health.draining", extra={"otelkit.health.drain": self._drain.seconds})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


# -- runs of a probe


async def _in_loop(check: _Check) -> BaseException | None:
    try:
        with suppress_instrumentation():
            return _refusal(await check.probe())
    except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
        raise  # of the loop's own
    except BaseException as error:  # noqa: BLE001  also of a probe that exits: the server must not end by it
        return error
    finally:
        check.busy = None


def _refusal(answer: object) -> BaseException | None:
    """Return what to make of a probe that raised nothing."""
    if inspect.iscoroutine(answer):
        answer.close()
        return TypeError("the probe returned a coroutine; give Health.add the coroutine function itself")
    return ValueError("the probe returned False") if answer is False else None


def _in_thread(loop: asyncio.AbstractEventLoop, check: _Check) -> asyncio.Future[BaseException | None]:
    """Run a probe in a daemon thread: not in the loop's pool, for whose threads the end of the process waits."""
    future: asyncio.Future[BaseException | None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not future.done():
            future.set_result(error)

    def work() -> None:
        error: BaseException | None
        try:
            with suppress_instrumentation():
                error = _refusal(check.probe())
        except BaseException as raised:  # noqa: BLE001  also a probe that exits: it is what was asked for
            error = raised
        check.busy = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(tell, error)

    try:
        threading.Thread(target=work, name=f"otelkit-health-{check.name}", daemon=True).start()
    except RuntimeError as error:  # no thread to be had
        check.busy = None
        future.set_result(error)
    return future


def _hangs(seconds: float) -> str:
    return f"a run that began {seconds:.1f} s ago still hangs"


def _told(error: BaseException) -> str:
    """Return what may be told of an exception, to whoever may ask for `/health/detailed`."""
    text = shown(error)
    words = text[:_TEXT].split()
    if len(text) > _TEXT:
        words = words[:-1]  # it may be half of a secret, which no rule knows
    telemetry = _runtime.current()
    redactor = telemetry._redactor if telemetry is not None else None  # noqa: SLF001  of our own
    return (redactor or Redactor()).text(f"{type(error).__name__}: {' '.join(words)}".rstrip(": "))[:_REASON]


# -- the metrics

_published: WeakSet[Health] = WeakSet()
_instruments: list[object] = []


def _publish(health: Health) -> None:
    """Export the results of one more `Health`; the instruments are made once, an SDK warns about a second time."""
    _published.add(health)
    if _instruments:
        return
    meter = metrics.get_meter("otelkit.health")
    _instruments.append(create(meter, _catalog.metric("otelkit.health.check.status"), [_statuses]))
    _instruments.append(create(meter, _catalog.metric("otelkit.health.check.duration"), [_durations]))


def _observed() -> Iterator[tuple[_Check, Result]]:
    for health in list(_published):
        for name, result in ({} if health._stopped else health.results()).items():  # noqa: SLF001  one module, one thing
            if result is not None:
                yield health._checks[name], result  # noqa: SLF001  the same


def _statuses(_: CallbackOptions) -> Iterable[Observation]:
    for check, result in _observed():
        # A text: Python's own /metrics spells a boolean label "True", everybody else "true".
        critical = "true" if check.critical else "false"
        labels = {"otelkit.health.check": check.name, "otelkit.health.critical": critical}
        yield Observation(int(result.passed), labels)


def _durations(_: CallbackOptions) -> Iterable[Observation]:
    for check, result in _observed():
        yield Observation(result.duration, {"otelkit.health.check": check.name})
