"""Health in one process: what decides about readiness, what a probe may be, what is refused, and no telemetry left."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
import warnings
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import CallbackOptions
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import otelkit
from otelkit import Health, HealthMiddleware
from otelkit.errors import SettingsError
from otelkit.health import _checks, _drain, disk_probe, http_probe
from otelkit.integrations.asgi import TelemetryMiddleware
from otelkit.integrations.fastapi import FastAPIIntegration, FastAPIOptions
from support.calls import Telemetry, request, websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from support.calls import Reply

PATHS = ("/health", "/health/ready", "/health/detailed", "/livez", "/readyz")


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop run until the condition is true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def started(health: Health) -> AsyncIterator[Health]:
    health.start()
    try:
        yield health
    finally:
        health.stop()


def works() -> None: ...


def fails() -> None:
    raise OSError("it is away")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request by its path, and lifespan as it should be."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def never() -> Any:
    """Receive nothing."""
    raise AssertionError("nothing is to be received")


def said(reply: Reply) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(reply.body)
    return told


# -- readiness ---------------------------------------------------------------------------------------------------------


def test_it_is_ready_once_every_critical_check_has_passed() -> None:
    async def main() -> None:
        health = Health(refresh=0.05)
        health.add("one", works)
        health.add("two", fails, critical=False)
        assert health.unready == "starting"
        async with started(health):
            assert health.unready == "starting"  # no probe has answered yet
            await until(lambda: not health.unready, "ready")
            await until(lambda: health.report()["status"] == "warn", "the other check is told")
        assert health.unready == "stopping"

    asyncio.run(main())


def test_without_checks_it_is_ready_as_soon_as_it_serves() -> None:
    async def main() -> None:
        async with started(Health()) as health:
            assert health.unready == ""
            assert health.report() == {"status": "pass", "checks": {}}

    asyncio.run(main())


def test_check_that_is_added_later_is_watched_too() -> None:
    async def main() -> None:
        async with started(Health(refresh=0.05)) as health:
            health.add("late", fails)
            assert health.unready == "starting"
            await until(lambda: health.unready == "checks", "it decides")

    asyncio.run(main())


def test_result_older_than_three_refreshes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        health = Health(refresh=100)
        health.add("one", works)
        async with started(health):
            await until(lambda: not health.unready, "ready")
            at = health._checks["one"].result
            assert at is not None
            monkeypatch.setattr(_checks, "monotonic", lambda: at.at + 300)
            assert health.unready == ""
            monkeypatch.setattr(_checks, "monotonic", lambda: at.at + 300.1)
            assert health.unready == "checks"
            assert health.report()["checks"]["one"]["reason"] == "no result for 3 refreshes"

    asyncio.run(main())


def test_probes_run_again_in_the_loop_of_the_next_server() -> None:
    health = Health(refresh=0.05)
    health.add("one", works)

    async def main() -> None:
        assert health.unready
        async with started(health):
            assert health.unready == "starting"
            await until(lambda: not health.unready, "ready")

    asyncio.run(main())
    asyncio.run(main())


# -- probes ------------------------------------------------------------------------------------------------------------


class Asynchronous:
    def __init__(self) -> None:
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def __call__(self) -> None:
        self.loops.add(asyncio.get_running_loop())


def test_coroutine_function_runs_in_the_loop_that_serves_and_a_callable_in_a_thread() -> None:
    async def main() -> None:
        seen: dict[str, object] = {}

        async def coroutine(name: str) -> None:
            seen[name] = asyncio.get_running_loop()

        def callable_(name: str) -> None:
            seen[name] = threading.current_thread()

        instance = Asynchronous()
        health = Health(refresh=0.05)
        health.add("coroutine", partial(coroutine, "coroutine"))
        health.add("callable", partial(callable_, "callable"))
        health.add("instance", instance)
        async with started(health):
            await until(lambda: not health.unready, "ready")
        assert seen["coroutine"] is asyncio.get_running_loop()
        assert instance.loops == {asyncio.get_running_loop()}
        thread = seen["callable"]
        assert isinstance(thread, threading.Thread)
        assert thread.daemon
        assert thread is not threading.current_thread()

    asyncio.run(main())


def test_probe_that_hangs_never_runs_twice_at_a_time() -> None:
    released = threading.Event()
    running: list[int] = []
    most: list[int] = []

    def hangs() -> None:
        running.append(1)
        most.append(len(running))
        released.wait(30)
        running.pop()

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("thread", hangs, timeout=0.01)
        async with started(health):
            await until(lambda: health.unready == "checks", "it fails")
            await until(lambda: "hangs" in health.report()["checks"]["thread"]["reason"], "further refreshes")
            released.set()
            await until(lambda: len(most) > 3, "it runs again")

    asyncio.run(main())
    assert set(most) == {1}


def test_coroutine_that_will_not_be_cancelled_never_runs_twice_at_a_time() -> None:
    begun: list[int] = []

    async def main() -> None:
        released = asyncio.Event()

        async def stubborn() -> None:
            begun.append(1)
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue

        health = Health(refresh=0.01)
        health.add("stubborn", stubborn, timeout=0.01)
        async with started(health):
            await until(lambda: "hangs" in health.report()["checks"]["stubborn"].get("reason", ""), "it hangs")
            assert len(begun) == 1
            released.set()
            await until(lambda: len(begun) > 1, "it runs again")
            await until(lambda: not health.unready, "ready")

    asyncio.run(main())


def test_coroutine_that_takes_too_long_is_cancelled() -> None:
    cancelled: list[int] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("slow", slow, timeout=0.01)
        async with started(health):
            await until(lambda: len(cancelled) > 1, "it began anew, and was cancelled each time")
            assert health.report()["checks"]["slow"]["reason"] == "no answer within 0.01 s"

    asyncio.run(main())


class Odd(BaseException):
    """No `Exception`, and nobody can read it."""

    def __str__(self) -> str:  # noqa: D105  the test's
        raise ValueError("not to be read")


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), Odd(), ValueError("no")])
def test_whatever_a_coroutine_raises_is_a_failure_and_the_loop_goes_on(error: BaseException) -> None:
    async def raises() -> None:
        raise error

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("raises", raises)
        async with started(health):
            for _ in range(2):  # also the run after it
                await until(lambda: health.unready == "checks", "it fails")
                assert type(error).__name__ in health.report()["checks"]["raises"]["reason"]
                health._checks["raises"].result = None

    asyncio.run(main())


async def no() -> bool:
    return False


@pytest.mark.parametrize("probe", [no, lambda: False])
def test_probe_that_returns_false_fails(probe: Callable[[], object]) -> None:
    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("false", probe)
        async with started(health):
            await until(lambda: health.unready == "checks", "it fails")
            assert "returned False" in health.report()["checks"]["false"]["reason"]

    asyncio.run(main())


@pytest.mark.parametrize("answer", [None, 0, "", [], True])
def test_probe_that_returns_anything_else_passes(answer: object) -> None:
    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("returns", lambda: answer)
        async with started(health):
            await until(lambda: not health.unready, "ready")

    asyncio.run(main())


def test_coroutine_is_not_blamed_for_a_loop_that_was_blocked() -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def quick() -> None:
            begun.set()
            for _ in range(5):
                await asyncio.sleep(0.001)

        health = Health(refresh=600)
        health.add("quick", quick, timeout=0.1)
        async with started(health):
            await begun.wait()
            time.sleep(0.5)  # noqa: ASYNC251  what must not be, and is
            await until(lambda: health.results()["quick"], "a result")
            assert not health.unready

    asyncio.run(main())


def test_run_that_hangs_counts_from_its_beginning() -> None:
    released = threading.Event()

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("hangs", lambda: released.wait(30), timeout=0.01)
        async with started(health):
            await until(lambda: (found := health.results()["hangs"]) and found.duration > 0.1, "it is told how long")
            released.set()

    asyncio.run(main())


def test_reason_is_redacted_before_it_is_cut() -> None:
    reason = _checks._told(OSError("x" * 280 + " postgresql://shop:hunter2-canary@db"))
    assert len(reason) <= 300
    assert "hunter2" not in reason
    assert "hunter2" not in _checks._told(OSError(" " * 3_976 + "postgresql://shop:hunter2-canary@db"))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), Odd()])
def test_whatever_a_probe_raises_in_its_thread_is_a_failure(error: BaseException) -> None:
    def raises() -> None:
        raise error

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("raises", raises)
        async with started(health):
            await until(lambda: health.unready == "checks", "it fails")
            assert type(error).__name__ in health.report()["checks"]["raises"]["reason"]

    asyncio.run(main())


def test_callable_that_returns_a_coroutine_is_told_what_to_do() -> None:
    async def probe() -> None: ...

    async def main() -> None:
        health = Health(refresh=0.01)
        health.add("wrapped", lambda: probe())  # noqa: PLW0108  what a user may write
        async with started(health):
            await until(lambda: health.unready == "checks", "it fails")
            assert "give Health.add the coroutine function itself" in health.report()["checks"]["wrapped"]["reason"]

    asyncio.run(main())


def test_probe_runs_in_a_context_of_its_own_in_which_libraries_make_no_spans() -> None:
    seen: list[bool] = []

    async def coroutine() -> None:
        seen.append(is_instrumentation_enabled())

    def callable_() -> None:
        seen.append(is_instrumentation_enabled())

    async def main() -> None:
        health = Health(refresh=60)
        health.add("coroutine", coroutine)
        health.add("callable", callable_)
        async with started(health):
            await until(lambda: not health.unready, "ready")
        assert is_instrumentation_enabled()

    asyncio.run(main())
    assert seen == [False, False]


def test_disk_probe_tells_how_much_is_free(tmp_path: Path) -> None:
    probe = disk_probe(tmp_path, free=1)
    probe()
    with pytest.raises(OSError, match="bytes are free, fewer than"):
        disk_probe(tmp_path, free=10**20)()
    with pytest.raises(FileNotFoundError):
        disk_probe(tmp_path / "nothing", free=1)()


def observed() -> dict[str, float]:
    """Return what the gauge of results tells now, by check."""
    found = _checks._statuses(CallbackOptions())
    return {str((each.attributes or {})["otelkit.health.check"]): each.value for each in found}


def test_results_of_several_are_told_while_they_run() -> None:
    async def main() -> None:
        first, second = Health(refresh=0.05), Health(refresh=0.05)
        first.add("several-1", works)
        second.add("several-2", fails)
        async with started(first):
            async with started(second):
                await until(lambda: observed() == {"several-1": 1, "several-2": 0}, "both are told")
            assert observed() == {"several-1": 1}  # the other one says nothing that could be true
        assert observed() == {}

    asyncio.run(main())


def test_child_that_is_forked_meanwhile_knows_no_results() -> None:
    async def main() -> None:
        health = Health(refresh=0.05)
        health.add("mine", works)
        async with started(health):
            await until(lambda: not health.unready, "ready")
            child = os.fork()
            if child == 0:
                os._exit(0 if observed() == {} and health.unready == "starting" else 1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0

    asyncio.run(main())


# -- what is refused ---------------------------------------------------------------------------------------------------


def twice(name: str) -> None:
    health = Health()
    health.add(name, works)
    health.add(name, works)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Health(refresh=0, drain=-1), ("Health(refresh)", "Health(drain)")),
        (lambda: Health(refresh=float("nan"), drain=float("inf")), ("Health(refresh)", "Health(drain)")),
        (lambda: Health(refresh="5"), ("Health(refresh)",)),  # type: ignore[arg-type]  # a user may
        (
            lambda: Health().add("", "no", timeout=True, critical=1),  # type: ignore[arg-type]  # the same
            ("Health.add(name)", "Health.add(probe)", "Health.add(timeout)", "Health.add(critical)"),
        ),
        (lambda: twice("one"), ("there is a check 'one' already",)),
        (lambda: HealthMiddleware(hello, health=None), ("HealthMiddleware(health)",)),  # type: ignore[arg-type]  # the same
        (lambda: disk_probe("/", free=0), ("disk_probe(free)",)),
        (lambda: http_probe("ftp://host/"), ("http_probe(url)",)),
        (lambda: http_probe("https:///path"), ("http_probe(url)",)),
        (lambda: otelkit.health.sqlalchemy_probe("sqlite://"), ("sqlalchemy_probe(engine)",)),
        (lambda: otelkit.health.redis_probe("redis://"), ("redis_probe(client)",)),
        (lambda: otelkit.health.celery_probe("shop"), ("celery_probe(app)",)),
    ],
)
def test_wrong_argument_is_named(make: Callable[[], object], named: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as raised:
        make()
    assert len(raised.value.problems) == len(named)
    for name in named:
        assert name in str(raised.value)


# -- routes ------------------------------------------------------------------------------------------------------------


def ask(app: Any, path: str, **arguments: Any) -> Reply:
    """Ask once a started server would have results."""

    async def main() -> Reply:
        reply = await request(app, path, **arguments)
        deadline = time.monotonic() + 20
        while b'"starting"' in reply.body and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
            reply = await request(app, path, **arguments)
        return reply

    return asyncio.run(main())


def test_answers_are_json_that_nobody_keeps() -> None:
    app = HealthMiddleware(hello, health=Health())
    for path in PATHS:
        reply = ask(app, path)
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["content-length"] == str(len(reply.body))
        assert said(reply)["status"] == "pass"


def test_head_is_answered_without_a_body_and_other_methods_are_not_allowed() -> None:
    app = HealthMiddleware(hello, health=Health())
    head = ask(app, "/health/ready", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(ask(app, "/health/ready").body))
    for method in ("POST", "OPTIONS", "DELETE"):
        refused = ask(app, "/health", method=method)
        assert refused.status == 405
        assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/health/", "/healthcare", "/health/ready/", "/", "/livez/x", "//health"])
def test_every_other_path_is_the_applications(path: str) -> None:
    reply = ask(HealthMiddleware(hello, health=Health()), path)
    assert (reply.status, reply.body) == (200, path.encode())


def test_paths_are_behind_the_root_path() -> None:
    app = HealthMiddleware(hello, health=Health())
    assert said(ask(app, "/api/health", root_path="/api"))["status"] == "pass"
    assert said(ask(app, "/api/health", root_path="/api/"))["status"] == "pass"
    assert ask(app, "/api/health").body == b"/api/health"


def test_websocket_of_such_a_path_is_the_applications() -> None:
    async def accepts(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    assert asyncio.run(websocket(HealthMiddleware(accepts, health=Health()), "/health")) == [
        {"type": "websocket.accept"}
    ]


def test_details_can_be_left_to_the_application() -> None:
    app = HealthMiddleware(hello, health=Health(), detailed=False)
    assert ask(app, "/health/detailed").body == b"/health/detailed"
    assert ask(app, "/health/ready").status == 200


def test_failure_is_told_by_status_and_details_by_component() -> None:
    health = Health()
    health.add("database", fails)
    app = HealthMiddleware(hello, health=health)
    ready = ask(app, "/health/ready")
    assert (ready.status, said(ready)) == (503, {"status": "fail", "reason": "checks"})
    detailed = ask(app, "/health/detailed")
    assert detailed.status == 503
    database = said(detailed)["checks"]["database"]
    assert database["status"] == "fail"
    assert database["critical"] is True
    assert database["reason"] == "OSError: it is away"
    assert set(database) == {"status", "critical", "reason", "duration", "age"}
    assert ask(app, "/health").status == 200


def test_lifespan_starts_probes_and_stops_them_before_the_application_closes_what_they_ask() -> None:
    health = Health(refresh=0.01)
    health.add("one", works)
    app = HealthMiddleware(hello, health=health)

    async def main() -> None:
        incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        server = asyncio.create_task(app({"type": "lifespan"}, incoming.get, sent.put))
        await incoming.put({"type": "lifespan.startup"})
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        await until(lambda: not health.unready, "ready without a request")
        await incoming.put({"type": "lifespan.shutdown"})
        assert (await sent.get())["type"] == "lifespan.shutdown.complete"
        assert health.unready == "stopping"
        assert (await request(app, "/health/ready")).status == 503
        await server
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())


# -- no telemetry ------------------------------------------------------------------------------------------------------


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with Telemetry() as listening:
        yield listening


def left_by(telemetry: Telemetry) -> list[Any]:
    """Return the paths and routes of everything that requests left."""
    metrics = telemetry.metrics()
    return [
        *(span.attributes.get("url.path") for span in telemetry.spans if span.attributes is not None),
        *(record.fields.get("url.path") for record in telemetry.records),
        *(
            dict(p.attributes)
            for name in metrics
            if name.startswith("http.server.")
            for p in metrics[name]
            if p.attributes
        ),
    ]


def starlette(health: Health) -> Starlette:
    return Starlette(
        routes=[Route("/work", lambda _: PlainTextResponse("done"))],
        middleware=[Middleware(HealthMiddleware, health=health)],
    )


@pytest.mark.parametrize(
    "arrange",
    [
        lambda around, health: around(HealthMiddleware(hello, health=health)),
        lambda around, health: HealthMiddleware(around(hello), health=health),
        lambda around, health: around(starlette(health)),
    ],
    ids=["inside", "outside", "inside Starlette"],
)
def test_no_telemetry_with_our_middleware_around_or_inside(
    arrange: Callable[[Any, Health], Any], telemetry: Telemetry
) -> None:
    def around(app: Any) -> TelemetryMiddleware:
        return TelemetryMiddleware(
            app, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )

    app = arrange(around, Health())
    for path in PATHS:
        assert ask(app, path).status == 200
    assert left_by(telemetry) == []
    assert ask(app, "/work").status == 200
    assert [span.name for span in telemetry.spans]


@pytest.mark.parametrize("root_path", ["", "/api"])
def test_no_telemetry_inside_fastapi(root_path: str, telemetry: Telemetry) -> None:
    integration = FastAPIIntegration()
    integration.install(telemetry.wiring(), FastAPIOptions())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # recent versions want the root path from the server, and take it still
            app = FastAPI(root_path=root_path)
        app.add_middleware(HealthMiddleware, health=Health())
        for path in PATHS:
            assert ask(app, root_path + path).status == 200
        assert left_by(telemetry) == []
        assert ask(app, root_path + "/health/").status == 404
        assert len(telemetry.server_spans) == 1
    finally:
        integration.uninstall()


def test_details_that_are_the_applications_leave_telemetry(telemetry: Telemetry) -> None:
    app = TelemetryMiddleware(
        HealthMiddleware(hello, health=Health(), detailed=False),
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
    )
    assert ask(app, "/health/detailed").body == b"/health/detailed"
    assert len(telemetry.server_spans) == 1


def test_health_of_a_mounted_application_is_a_request_of_the_outer_one(telemetry: Telemetry) -> None:
    inner = HealthMiddleware(hello, health=Health())
    app = TelemetryMiddleware(
        Starlette(routes=[Mount("/inner", inner)]),
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
    )
    assert said(ask(app, "/inner/health"))["status"] == "pass"
    assert [span.name for span in telemetry.server_spans] == ["GET /inner/{path}"]


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "hypercorn"])
def test_server_writes_no_access_line_for_health_and_those_of_others(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    access = logging.getLogger(f"{server}.access")

    async def main() -> None:
        app = HealthMiddleware(hello, health=Health())

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                access.info("%s began", path)

        for path in ("/health", "/work", "/readyz", "/health/"):
            await app({"type": "http", "method": "GET", "path": path, "headers": []}, never, send)
            access.info("%s ended", path)

    with caplog.at_level(logging.INFO, logger=access.name):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        *("/work began", "/work ended"),
        *("/health/ began", "/health/ ended"),
    ]


# -- drain -------------------------------------------------------------------------------------------------------------


def test_drain_of_nothing_leaves_sigterm_alone() -> None:
    async def main() -> None:
        before = signal.getsignal(signal.SIGTERM)
        async with started(Health()):
            assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(main())


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Handle SIGTERM as a server does, and tell how often it came."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


def test_drain_puts_everything_back_where_no_signal_came(heard: list[int]) -> None:
    async def main() -> None:
        found = signal.getsignal(signal.SIGTERM)
        async with started(Health(drain=60)):
            assert signal.getsignal(signal.SIGTERM) is not found
        assert signal.getsignal(signal.SIGTERM) is found
        signal.raise_signal(signal.SIGTERM)

    asyncio.run(main())
    assert heard == [signal.SIGTERM]


def test_drain_hands_the_signal_on_once_to_the_handler_that_it_found(heard: list[int]) -> None:
    async def main() -> None:
        found = signal.getsignal(signal.SIGTERM)
        async with started(Health(drain=0.05)) as health:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert health.unready == "draining"
            assert heard == []
            await until(lambda: heard, "handed on")
            assert signal.getsignal(signal.SIGTERM) is found
            assert health.unready == "draining"

    asyncio.run(main())
    assert heard == [signal.SIGTERM]


def test_drain_hands_on_to_a_handler_that_was_put_in_front_of_it(heard: list[int]) -> None:
    chained: list[int] = []

    async def main() -> None:
        async with started(Health(drain=0.05)):
            ours: Any = signal.getsignal(signal.SIGTERM)

            def in_front(number: int, frame: Any) -> None:
                chained.append(number)
                ours(number, frame)

            signal.signal(signal.SIGTERM, in_front)
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
            await until(lambda: heard, "handed on")

    asyncio.run(main())
    assert (len(chained), len(heard)) == (2, 1)


def test_drain_holds_sigterm_back_from_a_loop_with_handlers_of_its_own_and_no_other_signal() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came: list[str] = []
        loop.add_signal_handler(signal.SIGTERM, came.append, "term")
        loop.add_signal_handler(signal.SIGUSR1, came.append, "usr1")
        async with started(Health(drain=0.2)) as health:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
            await until(lambda: "usr1" in came, "the loop hears of the other one")
            assert health.unready == "draining"
            await until(lambda: "term" in came, "handed on")
        assert came == ["usr1", "term"]
        signal.raise_signal(signal.SIGUSR1)
        await until(lambda: came.count("usr1") == 2, "the loop hears again by itself")

    before = signal.getsignal(signal.SIGTERM)
    asyncio.run(main())
    signal.signal(signal.SIGTERM, before)


def test_forked_child_dies_by_sigterm_whatever_its_parent_drains(heard: list[int]) -> None:
    async def main() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        async with started(Health(drain=60)):
            child = os.fork()
            if child == 0:
                signal.raise_signal(signal.SIGTERM)
                os._exit(1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM

    asyncio.run(main())
    assert heard == []


def test_drain_is_not_armed_where_signals_are_not_heard(heard: list[int]) -> None:
    found = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        async with started(Health(drain=60)):
            assert signal.getsignal(signal.SIGTERM) is found

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert heard == []


def test_drain_leaves_a_signal_ignored() -> None:
    async def main() -> None:
        drain = _drain.Drain(60, works)
        drain.arm(asyncio.get_running_loop())
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        drain.disarm()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)
