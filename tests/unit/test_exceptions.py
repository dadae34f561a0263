"""The only place that proves fingerprints of exceptions by themselves: what makes them, and what counts."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  FastAPI evaluates annotations
from starlette.responses import Response
from starlette.routing import Route

import otelkit
from otelkit import _exceptions, _guard
from otelkit._exceptions import FINGERPRINT, told
from otelkit.integrations import Wiring
from otelkit.integrations.asgi import TelemetryMiddleware
from otelkit.integrations.fastapi import FastAPIIntegration, FastAPIOptions
from otelkit.redact import Redactor
from otelkit.settings import Settings
from support import poison
from support.calls import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otelkit.testing import Captel

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LIBRARY = "/usr/lib/python3/site-packages/library/core.py"
OTHER = 'def call(function, *given):\n    "Call what is given, as a framework does."\n    return function(*given)\n'


def module(source: str, *, name: str = "shop.orders", file: str = "/srv/shop/orders.py") -> dict[str, Any]:
    """Run a module's source as if it stood in a file."""
    namespace: dict[str, Any] = {"__name__": name, "__file__": file}
    exec(compile(source, file, "exec"), namespace)  # noqa: S102  the test's own text
    return namespace


call: Callable[..., Any] = module(OTHER, name="library.core", file=LIBRARY)["call"]


def fails(function: Callable[..., Any], *given_: Any) -> BaseException:
    """Return what a function raises when a framework calls it, so that nothing of the test is in the fingerprint."""
    try:
        call(function, *given_)
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError("it did not fail")


def of(error: BaseException) -> str:
    """Return the fingerprint of an exception."""
    return told(error)[FINGERPRINT]


ORDERS = """
class Declined(Exception): pass

def charge(text="no funds", kind=ValueError):
    raise kind(text)

def place(*given):
    charge(*given)

def cancel(*given):
    charge(*given)

def wrap(cause, text="declined"):
    try:
        charge(text, cause)
    except cause as error:
        raise Declined(text) from error

def twice(first, text="declined"):
    try:
        charge(text, first)
    except first:
        raise Declined(text)

def parse(depth, text="x"):
    return parse(depth - 1, text) if depth else charge(text)

def even(depth):
    return odd(depth - 1) if depth else charge()

def odd(depth):
    return even(depth - 1) if depth else charge()

def several(*kinds):
    found = []
    for kind in kinds:
        try:
            charge("each", kind)
        except kind as error:
            found.append(error)
    raise ExceptionGroup("several", found)

def every(items):
    return [charge(item) for item in items]
"""


@pytest.fixture(scope="module")
def orders() -> dict[str, Any]:
    return module(ORDERS)


# -- what makes a fingerprint ------------------------------------------------------------------------------------------


def test_a_fingerprint_is_twelve_digits_that_redaction_leaves_alone(orders: dict[str, Any]) -> None:
    fingerprint = of(fails(orders["place"]))
    assert re.fullmatch("[0-9a-f]{12}", fingerprint)
    assert Redactor().plain(FINGERPRINT, fingerprint) == fingerprint


@patient
@given(st.text("0123456789", min_size=12, max_size=12))
def test_no_fingerprint_reads_as_a_number_of_something(fingerprint: str) -> None:
    assert Redactor().plain(FINGERPRINT, fingerprint) == fingerprint


def test_neither_text_nor_lines_nor_the_machine_are_in_it(orders: dict[str, Any]) -> None:
    edited = module("# a comment\n\n\n" + ORDERS.replace("    raise kind", "    text = text * 2\n    raise kind"))
    elsewhere = module(ORDERS, file="C:\\Users\\ann\\shop\\orders.py")
    assert {of(fails(orders["place"], "card 4111")), of(fails(edited["place"])), of(fails(elsewhere["place"]))} == {
        of(fails(orders["place"]))
    }


def test_type_and_functions_of_the_application_are(orders: dict[str, Any]) -> None:
    renamed = module(ORDERS.replace("charge", "pay"))
    moved = module(ORDERS, name="shop.checkout")
    found = [
        fails(orders["place"]),
        fails(orders["place"], "x", KeyError),
        fails(orders["cancel"]),
        fails(renamed["place"]),
        fails(moved["place"]),
    ]
    assert len({of(error) for error in found}) == len(found)


def test_functions_of_libraries_are_not(orders: dict[str, Any]) -> None:
    def through(*library: str) -> BaseException:
        way = orders["charge"]
        for each in library:
            way = functools.partial(module(OTHER, name=each, file=LIBRARY.replace("core", each))["call"], way)
        return fails(orders["place"].__class__(orders["place"].__code__, {**orders, "charge": way}))

    newer = through("one", "two")
    assert of(newer) == of(through("one")) != of(through())
    deep = module("import json\ndef read(text): return json.loads(text)\n")["read"]
    assert of(fails(deep, "{")) == of(fails(deep, "[1, 2"))


def test_without_a_function_of_the_application_those_of_the_library_are() -> None:
    broken = module("def get(): raise OSError\ndef put(): raise OSError\n", name="library.core", file=LIBRARY)
    with ThreadPoolExecutor(1) as pool:
        get, again, put = [pool.submit(broken[name]).exception() or ValueError() for name in ("get", "get", "put")]
    assert of(get) == of(again) != of(put)


def test_the_cause_is_in_it_and_what_was_handled_meanwhile_is_not(orders: dict[str, Any]) -> None:
    assert of(fails(orders["wrap"], KeyError)) == of(fails(orders["wrap"], KeyError, "y"))
    assert of(fails(orders["wrap"], KeyError)) != of(fails(orders["wrap"], OSError))
    assert of(fails(orders["twice"], KeyError)) == of(fails(orders["twice"], OSError))


def test_how_deep_a_recursion_was_is_not_in_it(orders: dict[str, Any]) -> None:
    assert of(fails(orders["parse"], 1)) == of(fails(orders["parse"], 300))
    endless = module("def even(n): return odd(n)\ndef odd(n): return even(n)\n")
    assert of(fails(endless["even"], 1)) == of(fails(endless["odd"], 1))
    assert isinstance(fails(endless["odd"], 1), RecursionError)


def test_a_group_is_its_sorts_of_members_however_many_and_in_whatever_order(orders: dict[str, Any]) -> None:
    several = orders["several"]
    found = of(fails(several, KeyError, OSError))
    assert found == of(fails(several, OSError, KeyError, KeyError))
    assert found not in {of(fails(several, OSError)), of(fails(several, KeyError, ValueError))}


def test_comprehensions_are_no_functions_in_any_version(orders: dict[str, Any]) -> None:
    loop = module(ORDERS.replace("return [charge(item) for item in items]", "\n    for item in items: charge(item)"))
    assert of(fails(orders["every"], ["x"])) == of(fails(loop["every"], ["x"]))
    assert _exceptions._INLINED.sub("", "every.<locals>.<listcomp>.<locals>.<lambda>") == "every.<locals>.<lambda>"


def test_one_that_was_never_raised_is_told_apart_by_who_tells_of_it() -> None:
    source = "def one(told): return told(ValueError('x'))\ndef two(told): return told(ValueError('x'))\n"
    tells = module(source)
    assert call(tells["one"], told) == call(tells["one"], told) != call(tells["two"], told)


def test_the_started_module_is_named_as_others_import_it(tmp_path: Path) -> None:
    worker = tmp_path / "shop" / "worker.py"
    worker.parent.mkdir()
    code = """
import json
from otelkit._exceptions import told
class Declined(Exception): pass
def place(_):
    try:
        raise Declined
    except Declined as error:
        print(told(error))
def run():
    json.loads("{}", object_hook=place)  # a library between this function and who calls it
if __name__ == "__main__":
    run()
"""
    worker.write_text(code, encoding="utf-8")
    started, imported, alone = [
        subprocess.run([sys.executable, *how], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for how in (["-m", "shop.worker"], ["-c", "import shop.worker; shop.worker.run()"], ["shop/worker.py"])
    ]
    assert started == imported != alone
    assert FINGERPRINT in alone


INSTALLED = {
    "index": {},
    "directory": {"direct_url.json": '{"dir_info": {}, "url": "file:///build"}', "INSTALLER": "pip\n"},
    "repository": {"direct_url.json": '{"vcs_info": {"vcs": "git"}, "url": "https://example.org"}'},
    "conda": {"direct_url.json": '{"dir_info": {}, "url": "file:///feedstock"}', "INSTALLER": "conda\n"},
}


@pytest.mark.parametrize("origin", INSTALLED)
def test_a_package_that_came_from_no_index_is_the_applications(tmp_path: Path, origin: str) -> None:
    packages = tmp_path / "site-packages"
    metadata = packages / "acme_shop-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-shop\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "RECORD").write_text("shop/__init__.py,,\nshop/orders.py,,\n", encoding="utf-8")
    for name, text in INSTALLED[origin].items():
        (metadata / name).write_text(text, encoding="utf-8")
    installed = module(ORDERS, file=str(packages / "shop" / "orders.py"))
    is_own = of(fails(installed["place"])) == of(fails(module(ORDERS)["place"]))
    assert is_own is (origin in ("directory", "repository"))
    assert _exceptions._is_library(str(packages / "fastapi" / "routing.py"))


# -- who tells of it ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def looking(heard: list[str]) -> Iterator[None]:
    """Look on as `start_as_current_span` does."""
    try:
        yield
    except Exception as error:
        heard.append(of(error))
        raise


def way(owners: Sequence[bool], looks: int, heard: list[str], message: str, machine: str) -> Callable[[], Any]:
    """Make functions that call each other, the last of which raises; one of them looks on.

    Args:
        owners: Whether each is the application's.
        looks: Which one looks on.
        heard: What it hears.
        message: Of the exception.
        machine: Where the application lies.
    """

    def last() -> Any:
        raise LookupError(message)

    function: Callable[[], Any] = last
    for number in reversed(range(len(owners))):
        place = "shop" if owners[number] else "library"
        file = f"{machine}/{place}.py" if owners[number] else LIBRARY
        source = f"{len(message) * chr(10)}def step{number}():\n with looking(heard): function()\n"
        if number != looks:
            source = f"{len(machine) * chr(10)}def step{number}():\n function()\n"
        made = module(source, name=f"{place}.m{number % 2}", file=file)
        made.update(looking=looking, heard=heard, function=function)
        function = made[f"step{number}"]
    return function


@patient
@given(
    st.lists(st.booleans(), min_size=1, max_size=8),
    st.lists(st.text(max_size=20), min_size=2, max_size=2),
    st.lists(st.from_regex(r"/[a-z]{1,9}", fullmatch=True), min_size=2, max_size=2),
)
def test_whoever_tells_of_a_failure_tells_the_same(
    owners: list[bool], messages: list[str], machines: list[str]
) -> None:
    heard: list[str] = []
    for looks in range(len(owners)):
        for message, machine in zip(messages, machines, strict=True):
            error = fails(way(owners, looks, heard, message, machine))
            heard.append(of(error))  # this one was told of, deep inside
            error = fails(way(owners, -1, heard, message, machine))
            heard.append(of(error))  # and this one only here
    assert len(set(heard)) == 1


def test_a_thread_or_task_of_a_library_does_not_matter(orders: dict[str, Any]) -> None:
    heard: list[str] = []

    def inside() -> None:
        with looking(heard):
            orders["place"]()

    def outside() -> None:
        orders["place"]()

    inside.__code__ = inside.__code__.replace(co_qualname="work")
    outside.__code__ = outside.__code__.replace(co_qualname="work")
    for work in (inside, outside):
        error = fails(lambda work=work: asyncio.run(asyncio.to_thread(work)))
        heard.append(of(error))
    assert len(heard) == 3
    assert len(set(heard)) == 1


def test_it_is_made_once_and_goes_with_the_exception(orders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    error = fails(orders["place"])
    fingerprint = of(error)
    monkeypatch.setattr(_exceptions, "_fingerprint", lambda _: pytest.fail("made again"))
    with contextlib.suppress(ValueError):
        raise error
    assert [of(each) for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error)))] == [fingerprint] * 3  # noqa: S301  our own


# -- bounds ------------------------------------------------------------------------------------------------------------


def endless_cause() -> BaseException:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    return first


def long_cause() -> BaseException:
    error: BaseException = ValueError()
    for _ in range(5_000):
        outer = KeyError()
        outer.__cause__ = error
        error = outer
    return error


def wide_and_deep() -> BaseException:
    group: ExceptionGroup[Any] = ExceptionGroup("a", [ValueError(number) for number in range(10_000)])
    for _ in range(50):
        group = ExceptionGroup("b", [group, group, *[KeyError()] * 50])
    return group


@pytest.mark.parametrize("make", [endless_cause, long_cause, wide_and_deep])
def test_what_is_looked_at_is_bounded(make: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[BaseException] = []
    raised = _exceptions._raised

    def look(error: BaseException) -> Any:
        looked.append(error)
        return raised(error)

    monkeypatch.setattr(_exceptions, "_raised", look)
    assert FINGERPRINT in told(make())
    assert len(looked) <= 30


class NoDictionaryError(Exception):
    __dict__ = property(lambda _: 1 / 0)


class LyingGroup(ExceptionGroup[Exception]):
    exceptions = property(lambda _: iter(()))


class LyingModuleError(Exception):
    pass


LyingModuleError.__module__ = poison.Refusing()  # type: ignore[assignment]  # hostile


@pytest.mark.parametrize(
    "error",
    [
        NoDictionaryError(),
        LyingGroup("a", [ValueError()]),
        LyingModuleError(),
        poison.Refusing(),
        None,
        "text",
        ValueError,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.usefixtures("fresh_reports")
def test_nothing_is_raised_and_nothing_told_of_what_cannot_be_read(error: Any) -> None:
    assert told(error) == {}


@pytest.mark.parametrize("name", sorted(poison.EXCEPTIONS))
@pytest.mark.usefixtures("fresh_reports")
def test_hostile_exceptions_are_told_or_left_out(name: str) -> None:
    assert told(poison.EXCEPTIONS[name]()).keys() <= {FINGERPRINT}


# -- the count ---------------------------------------------------------------------------------------------------------


class Counted:
    """What was counted, read back from a provider of our own."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = _guard.MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False, cardinality_limit=4)
        self.route: str | None = None

    def read(self) -> dict[tuple[Any, ...], float]:
        data: Any = self.reader.get_metrics_data()
        return {
            tuple(value for _, value in sorted(point.attributes.items())): point.value
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "otelkit.exceptions"
            for point in metric.data.data_points
        }


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, fresh_reports: None) -> Iterator[Counted]:  # noqa: ARG001  forgets
    monkeypatch.setattr(_exceptions, "_counter", [])
    counted = Counted()
    _exceptions.install(counted.provider, lambda: counted.route)
    yield counted
    counted.provider.shutdown()


def in_trace(number: int) -> contextlib.AbstractContextManager[Any]:
    """Be in a trace."""
    context = trace.SpanContext(number, 1, is_remote=False, trace_flags=trace.TraceFlags(0))
    return trace.use_span(trace.NonRecordingSpan(context))


def test_an_exception_counts_once_however_often_it_is_told(counted: Counted, orders: dict[str, Any]) -> None:
    error = fails(orders["place"])
    told(error)
    with in_trace(1):
        told(error)
        told(error)
    told(error)
    assert counted.read() == {(of(error),): 1}


def test_the_same_object_counts_anew_in_another_trace(counted: Counted, orders: dict[str, Any]) -> None:
    error = fails(orders["place"])
    for number in (0x10, 0x1, 0x10):  # two requests at the same time wait for the one that fails
        with in_trace(number):
            told(error)
            told(error)
    assert counted.read() == {(of(error),): 2}
    for number in range(100, 200):
        with in_trace(number):
            told(error)
    assert counted.read() == {(of(error),): 102}
    assert len(vars(error)[_exceptions._MARK]) < 300


def test_it_does_not_count_again_where_it_was_sent_to(counted: Counted, orders: dict[str, Any]) -> None:
    error = fails(orders["place"])
    with in_trace(1):
        told(error)
        told(pickle.loads(pickle.dumps(error)))  # noqa: S301  our own
    assert counted.read() == {(of(error),): 1}


def test_it_counts_under_the_route_of_its_request(counted: Counted, orders: dict[str, Any]) -> None:
    counted.route = "/orders/{id}"
    first = of(fails(orders["place"]))
    of(fails(orders["place"]))
    counted.route = None
    of(fails(orders["place"]))
    assert counted.read() == {(first, "/orders/{id}"): 2, (first,): 1}


def test_many_fingerprints_are_capped_and_the_overflow_is_seen(
    counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10):
        told(type(f"Made{number}", (Exception,), {})())
    values = counted.read()
    assert len(values) == 5
    assert values[True,] == 6
    assert "otelkit.exceptions: more than 4 attribute sets" in capsys.readouterr().err


def test_who_interrupts_a_count_leaves_its_own_to_it(counted: Counted, orders: dict[str, Any]) -> None:
    (counter, route) = _exceptions._counter[0]
    inside: list[bool] = []

    class Interrupted:
        def add(self, amount: int, labels: dict[str, str]) -> None:
            assert not inside, "the SDK's lock is held"
            inside.append(True)
            if len(interruptions) < 3:
                interruptions.append(told(fails(orders["cancel"])))
            inside.clear()
            counter.add(amount, labels)

    interruptions: list[dict[str, str]] = []
    _exceptions._counter[:] = [(Interrupted(), route)]  # type: ignore[list-item]  # a counter that a signal interrupts
    told(fails(orders["place"]))
    assert sorted(counted.read().values()) == [1, 3]


def test_threads_count_side_by_side(counted: Counted, orders: dict[str, Any]) -> None:
    def many() -> None:
        for _ in range(50):
            told(fails(orders["place"]))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counted.read().values()) == [200]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_its_parent_counts_goes_on_counting() -> None:
    code = """
import os
from otelkit import _exceptions
class Counter:
    def add(self, amount, labels):
        global seen
        if not forked:
            forked.append(os.fork())
            if not forked[0]:
                _exceptions.told(KeyError())
                os._exit(seen)
        seen += 1
forked, seen = [], 0
_exceptions._counter[:] = [(Counter(), lambda: None)]
_exceptions.told(ValueError())
print(os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]), seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "1"]


# -- where it is told --------------------------------------------------------------------------------------------------


tracer = trace.get_tracer("shop")


def pay(text: str) -> None:
    with tracer.start_as_current_span("pay"):
        raise ValueError(text)


def shop() -> FastAPI:
    app = FastAPI()

    @app.get("/orders/{number}")
    def read(number: int) -> int:
        return number

    @app.post("/orders/{number}/payment")
    def settle(number: int) -> None:
        pay(f"card of {number}")

    @app.post("/orders/{number}/refund")
    async def refund(number: int) -> None:
        try:
            pay(f"card of {number}")
        except ValueError:
            logging.getLogger("shop").exception("refund failed")

    return app


def starlette_shop() -> Starlette:
    def settle(_: Request) -> None:
        pay("card")

    return Starlette(routes=[Route("/orders/{number}/payment", settle, methods=["POST"])])


def answering_shop() -> FastAPI:
    app = shop()

    @app.exception_handler(ValueError)
    def answer(_: Request, __: Exception) -> Response:
        return Response(status_code=503)

    return app


@pytest.fixture
def fastapi(captel: Captel) -> Iterator[None]:  # noqa: ARG001  its providers are the global ones
    """Instrument FastAPI for a test."""
    integration = FastAPIIntegration()
    wiring = Wiring(
        settings=Settings(environ={}),
        tracer_provider=trace.get_tracer_provider(),
        meter_provider=metrics.get_meter_provider(),
    )
    integration.install(wiring, FastAPIOptions())
    yield
    integration.uninstall()


@pytest.mark.usefixtures("fastapi")
@pytest.mark.parametrize("app", [shop(), TelemetryMiddleware(starlette_shop())], ids=["FastAPI", "TelemetryMiddleware"])
def test_spans_and_log_of_an_unhandled_exception_have_one_fingerprint_and_count_once(captel: Captel, app: Any) -> None:
    fetch(app, "/orders/7/payment", method="POST")
    inner, server = captel.span("pay"), captel.span(kind="SERVER")
    fingerprint = inner.attributes[FINGERPRINT]
    assert inner.events[0].attributes[FINGERPRINT] == fingerprint
    assert server.attributes[FINGERPRINT] == fingerprint
    assert captel.log(logger="otelkit.exceptions").attributes[FINGERPRINT] == fingerprint
    (counted,) = captel.metrics("otelkit.exceptions")
    assert counted.value == 1
    assert counted.attributes == {FINGERPRINT: fingerprint, "http.route": "/orders/{number}/payment"}


@pytest.mark.usefixtures("fastapi")
def test_the_same_failure_has_the_same_fingerprint_again_and_a_handled_one_counts_too(captel: Captel) -> None:
    app = shop()
    for number in (1, 2):
        fetch(app, f"/orders/{number}/payment", method="POST")
    fetch(app, "/orders/3/refund", method="POST")
    settled, refunded = [
        captel.metric("otelkit.exceptions", http_route=f"/orders/{{number}}/{way}") for way in ("payment", "refund")
    ]
    assert (settled.value, refunded.value) == (2, 1)
    assert len(captel.metrics("otelkit.exceptions")) == 2
    logged = captel.log("refund failed").attributes[FINGERPRINT]
    assert logged == captel.spans("pay")[-1].attributes[FINGERPRINT]
    assert FINGERPRINT not in captel.spans(kind="SERVER")[-1].attributes  # the request was answered well


@pytest.mark.usefixtures("fastapi")
def test_the_exception_that_is_answered_with_a_failure_is_on_the_server_span(captel: Captel) -> None:
    assert fetch(answering_shop(), "/orders/7/payment", method="POST").status == 503
    fingerprint = captel.span("pay").attributes[FINGERPRINT]
    assert captel.span(kind="SERVER").attributes[FINGERPRINT] == fingerprint
    assert captel.metric("otelkit.exceptions").value == 1


@pytest.mark.usefixtures("fastapi")
def test_a_request_without_an_exception_tells_nothing_of_any(captel: Captel) -> None:
    fetch(shop(), "/orders/7")
    assert captel.metrics("otelkit.exceptions") == []
    assert FINGERPRINT not in captel.span(kind="SERVER").attributes


@pytest.mark.parametrize("logger", [logging.getLogger("shop"), structlog.get_logger(), otelkit.get_logger("shop")])
def test_every_logger_tells_it(captel: Captel, orders: dict[str, Any], logger: Any) -> None:
    error = fails(orders["place"], "secret-text")
    logger.error("order.failed", exc_info=error)
    record = captel.log("order.failed")
    assert record.attributes[FINGERPRINT] == of(error)
    assert captel.metric("otelkit.exceptions").value == 1


def test_the_logs_api_and_spans_tell_it_too(captel: Captel, orders: dict[str, Any]) -> None:
    error = fails(orders["place"])
    emitter = _logs.get_logger("shop")
    emitter.emit(body="by argument", exception=error)
    emitter.emit(_logs.LogRecord(body="by record", exception=error))
    with tracer.start_as_current_span("work") as span:
        span.record_exception(error, {"attempt": 2})
    span.record_exception(error)  # ended: says nothing, counts nothing
    (event,) = captel.span("work").events
    told_of = [record.attributes for record in captel.logs()] + [captel.span("work").attributes, event.attributes]
    assert [each[FINGERPRINT] for each in told_of] == [of(error)] * 4
    assert event.attributes["attempt"] == 2
    assert captel.metric("otelkit.exceptions").value == 1


def test_no_secret_of_an_exception_is_in_its_fingerprint(captel: Captel) -> None:
    with contextlib.suppress(ValueError):
        pay("password=tr0ub4dor&3")
    assert captel.metric("otelkit.exceptions").value == 1
    captel.assert_no_secret("tr0ub4dor&3")
