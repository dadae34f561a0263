"""The only place that proves declared metrics by themselves: what may be declared, and what a measurement may say."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import importlib.util
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import _internal
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelkit
from otelkit import MeasurementError, SettingsError, _guard, metrics
from otelkit._catalog import STOCK
from otelkit.metrics import Catalog, _declared, _units
from support import poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STATUS = {"shop.order.status": ("placed", "declined")}


class Shop:
    """A catalog whose measurements can be read back."""

    def __init__(self, limit: int = 5) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = _guard.MeterProvider(
            metric_readers=[self.reader], shutdown_on_exit=False, cardinality_limit=limit
        )

    @classmethod
    @contextlib.contextmanager
    def replacing(cls, patch: pytest.MonkeyPatch, limit: int = 5) -> Iterator[Shop]:
        """Stand in for the process's provider, and for what it has declared."""
        shop = cls(limit)
        patch.setattr(_internal, "_METER_PROVIDER", shop.provider)
        patch.setattr(metrics, "_known", {})
        yield shop
        shop.provider.shutdown()

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """Return values by what their attributes say, in the order of their keys."""
        return {tuple(v for _, v in sorted(point.attributes.items())): point.value for point in self.points(name)}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, fresh_reports: None) -> Iterator[Shop]:  # noqa: ARG001  said once is said anew
    """A process that has declared nothing, with a provider of its own."""
    with Shop.replacing(monkeypatch) as shop:
        yield shop


@pytest.fixture
def catalog(shop: Shop) -> Catalog:  # noqa: ARG001  its provider is the global one
    return otelkit.Catalog("shop", version="1.2")


def orders(catalog: Catalog, **changes: Any) -> metrics.Counter:
    """Declare the metric that most tests count in."""
    declaration = {"unit": "{order}", "description": "Orders by outcome.", "attributes": STATUS} | changes
    return catalog.counter("shop.orders", **declaration)


# -- declarations ------------------------------------------------------------------------------------------------------


def test_every_problem_of_a_declaration_is_told_at_once(catalog: Catalog) -> None:
    attributes: Any = {"le": str, "a.b": (1, 2.0), "a_b": str, "Status": ("x",), "ok": ["x"]}
    with pytest.raises(SettingsError) as caught:
        catalog.histogram("Shop Orders", unit="EURO", description=" ", attributes=attributes, buckets=[2, 1])
    told = str(caught.value)
    for part in (
        "lower-case words",
        "'EURO'",
        "'le' is a label",
        "'a.b': its values are of one type",
        "'a.b' and 'a_b' are one label",
        "'Status': a key is",
        "'ok': a tuple",
        "description",
        "greater than the one before",
    ):
        assert part in told
    assert len(caught.value.problems) == 9
    assert catalog.metrics == ()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("orders", "for example shop.orders"),
        ("shop.orders_total", "must not end in 'total'"),
        ("shop.charge.seconds", "must not end in 'seconds'"),
        ("otel.orders", "reserved"),
        ("shop..orders", "lower-case words"),
        ("shop.Orders", "lower-case words"),
        ("shop.größe", "lower-case words"),
        ("shop." + "x" * 251, "lower-case words"),
        (7, "lower-case words"),
    ],
)
def test_a_name_that_reads_badly_in_a_back_end_is_refused(catalog: Catalog, name: Any, part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        catalog.gauge(name, unit="Cel", description="x")


@pytest.mark.parametrize("unit", ["s", "ms", "By", "1", "%", "{order}", "By/s", "{order}/s", "EUR", "JPY", "1/s"])
def test_units_that_services_count_in_are_taken(unit: str) -> None:
    assert _units.problem(unit) == ""


@pytest.mark.parametrize(
    ("unit", "part"),
    [
        ("", "needs a unit"),
        (None, "needs a unit"),
        ("seconds", "is no unit"),
        ("sec", "is no unit"),
        ("bytes", "is no unit"),
        ("order", "is no unit"),
        ("{Order}", "is no unit"),
        ("{}", "is no unit"),
        ("EURO", "is no unit"),
        ("eur", "is no unit"),
        ("XXX", "is no unit"),
        ("{EUR}", "write EUR"),
        ("{eur}", "write EUR"),
        ("EUR/h", "is no unit"),
        ("s/EUR", "cannot be divided by EUR"),
        ("/s", "is no unit"),
        ("s/", "is no unit"),
    ],
)
def test_other_units_are_refused_with_a_hint(unit: Any, part: str) -> None:
    assert part in _units.problem(unit)


def test_a_counter_says_what_it_counts(catalog: Catalog) -> None:
    with pytest.raises(SettingsError, match="'1' is for ratios"):
        orders(catalog, unit="1")


def test_a_histogram_needs_bounds_unless_it_is_in_seconds(catalog: Catalog) -> None:
    with pytest.raises(SettingsError, match="no bounds fit By"):
        catalog.histogram("shop.upload.size", unit="By", description="x")
    duration = catalog.histogram("shop.charge.duration", unit="s", description="x")
    duration.record(0.3)
    assert duration.metric.buckets == _declared.DURATIONS


def test_closed_sets_that_multiply_to_too_many_series_are_refused(catalog: Catalog) -> None:
    wide = {key: tuple(range(11)) for key in ("a", "b", "c")}
    with pytest.raises(SettingsError, match="make 1331 series, more than 1000"):
        orders(catalog, attributes=wide)


def test_the_same_declaration_gives_the_same_instrument_in_any_catalog(catalog: Catalog) -> None:
    again = Catalog("shop")
    assert orders(catalog) is orders(catalog) is orders(again)
    assert [metric.name for metric in again.metrics] == ["shop.orders"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"unit": "{item}"}, "another unit"),
        ({"description": "y"}, "another description"),
        ({"attributes": None}, "another attributes"),
    ],
)
def test_another_declaration_of_the_same_name_raises(catalog: Catalog, changes: dict[str, Any], part: str) -> None:
    orders(catalog)
    with pytest.raises(SettingsError, match=f"declared before as shop.orders with {part}"):
        orders(catalog, **changes)


def test_two_names_that_are_one_in_prometheus_raise(catalog: Catalog) -> None:
    catalog.counter("shop.orders_late", unit="{order}", description="x")
    with pytest.raises(SettingsError, match=r"declared before as shop\.orders_late with another name"):
        catalog.counter("shop.orders.late", unit="{order}", description="x")


def test_threads_that_declare_at_once_get_one_instrument(catalog: Catalog) -> None:
    made: list[object] = []
    start = threading.Barrier(8)

    def declare() -> None:
        start.wait()
        made.append(orders(catalog))

    threads = [threading.Thread(target=declare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(map(id, made))) == 1


def test_a_module_that_is_imported_twice_declares_once(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "shop_telemetry.py"
    file.write_text(
        "import otelkit\n"
        "catalog = otelkit.Catalog('shop')\n"
        "ORDERS = catalog.counter('shop.orders', unit='{order}', description='x')\n"
        "STOCK = catalog.observe('shop.stock', lambda: 1, unit='{item}', description='x')\n"
    )
    spec = importlib.util.spec_from_file_location("shop_telemetry", file)
    assert spec is not None
    assert spec.loader is not None
    modules = [importlib.util.module_from_spec(spec) for _ in range(2)]
    for module in modules:
        spec.loader.exec_module(module)
        module.ORDERS.add(1)
    assert shop.values("shop.orders") == {(): 2}
    assert shop.values("shop.stock") == {(): 1}


# -- measurements ------------------------------------------------------------------------------------------------------


def test_closed_values_are_zero_from_the_start(shop: Shop, catalog: Catalog) -> None:
    attributes = STATUS | {"shop.express": (True, False), "shop.campaign": str}
    orders(catalog, attributes=attributes)
    assert shop.values("shop.orders") == dict.fromkeys(
        [(True, "placed"), (True, "declined"), (False, "placed"), (False, "declined")], 0
    )


def test_a_metric_without_attributes_is_zero_from_the_start(shop: Shop, catalog: Catalog) -> None:
    orders(catalog, attributes=None)
    catalog.up_down_counter("shop.carts", unit="{cart}", description="x")
    assert shop.values("shop.orders") == shop.values("shop.carts") == {(): 0}


def test_open_values_have_no_series_before_they_occur(shop: Shop, catalog: Catalog) -> None:
    orders(catalog, attributes={"shop.campaign": str})
    assert shop.points("shop.orders") == []


def test_measurements_count_under_their_attributes(shop: Shop, catalog: Catalog) -> None:
    counter = orders(catalog, attributes=STATUS | {"shop.campaign": str, "shop.size": int, "shop.gift": bool})
    counter.add(2, {"shop.order.status": "placed", "shop.campaign": "spring", "shop.size": 3, "shop.gift": False})
    counter.add(attributes={"shop.order.status": "placed"})
    assert shop.values("shop.orders") == {("placed",): 1, ("declined",): 0, ("spring", False, "placed", 3): 2}
    carts = catalog.up_down_counter("shop.carts", unit="{cart}", description="x")
    carts.add(3)
    carts.add(-1)
    assert shop.values("shop.carts") == {(): 2}
    heat = catalog.gauge("shop.oven", unit="Cel", description="x", attributes={"shop.oven.id": (1, 2)})
    heat.set(180, {"shop.oven.id": 2})
    assert shop.values("shop.oven") == {(2,): 180}


def test_members_of_an_enumeration_are_its_values(shop: Shop, catalog: Catalog) -> None:
    class Status(enum.StrEnum):
        PLACED = "placed"
        DECLINED = "declined"

    counter = orders(catalog, attributes={"shop.order.status": tuple(Status)})
    assert counter is orders(catalog)  # which has the texts
    counter.add(1, {"shop.order.status": Status.PLACED})
    (placed,) = [point for point in shop.points("shop.orders") if point.value]
    assert [type(value) for value in placed.attributes.values()] == [str]
    assert placed.attributes == {"shop.order.status": "placed"}


WRONG: list[dict[str, Any]] = [
    {"shop.order.status": "plced"},
    {"shop.order.status": None},
    {"shop.order.status": ["placed"]},
    {"shop.customer": "secret-7"},
    {"shop.campaign": 7},
    {"shop.size": "7"},
    {"shop.size": True},
    {"shop.gift": 1},
]


def declare_wide(catalog: Catalog) -> metrics.Counter:
    return orders(catalog, attributes=STATUS | {"shop.campaign": str, "shop.size": int, "shop.gift": bool})


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_not_declared_raises_in_a_test(shop: Shop, catalog: Catalog, wrong: Mapping[str, Any]) -> None:
    counter = declare_wide(catalog)
    ((key, value),) = wrong.items()
    with metrics.strict(), pytest.raises(MeasurementError, match=key) as caught:
        counter.add(1, wrong)
    assert ("not declared" in str(caught.value)) or repr(value) in str(caught.value)
    assert sum(shop.values("shop.orders").values()) == 0


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_not_declared_is_left_out_in_production_and_said_once(
    shop: Shop, catalog: Catalog, capsys: pytest.CaptureFixture[str], wrong: Mapping[str, Any]
) -> None:
    counter = declare_wide(catalog)
    for _ in range(3):
        counter.add(1, {**wrong})
    assert shop.values("shop.orders") == {("placed",): 0, ("declined",): 0, (): 3}
    ((key, value),) = wrong.items()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"shop.orders: attribute {key!r}" in line
    assert "secret" not in line
    assert f": {value!r}" not in line


@pytest.mark.parametrize("amount", [-1, float("nan")])
def test_amounts_that_only_shrink_or_are_none_raise_in_a_test(catalog: Catalog, amount: float) -> None:
    counter = orders(catalog)
    spread = catalog.histogram("shop.charge.duration", unit="s", description="x")
    with metrics.strict():
        with pytest.raises(MeasurementError, match="cannot count"):
            counter.add(amount)
        with pytest.raises(MeasurementError, match="cannot record"):
            spread.record(amount)


@pytest.mark.parametrize(
    "attributes",
    [poison.Refusing(), poison.RefusingMapping({"a": 1}), ["a"], {"shop.order.status": poison.RefusingText("placed")}],
    ids=lambda value: type(value).__name__,
)
def test_hostile_attributes_never_raise_in_production(catalog: Catalog, attributes: Any) -> None:
    counter = orders(catalog)
    counter.add(1, attributes)
    catalog.gauge("shop.oven", unit="Cel", description="x").set(poison.Refusing(), attributes)  # type: ignore[arg-type]  # hostile


def test_an_open_set_is_capped_by_an_overflow_series(
    shop: Shop, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    counter = orders(catalog, attributes={"shop.campaign": str})
    for number in range(20):
        counter.add(1, {"shop.campaign": f"c{number}"})
    values = shop.values("shop.orders")
    assert len(values) == 6
    assert values[True,] == 15
    assert "shop.orders: more than 5 attribute sets" in capsys.readouterr().err


# -- durations ---------------------------------------------------------------------------------------------------------


CHARGE: dict[str, Any] = {"shop.outcome": ("success", "failure"), "error.type": str, "shop.card": str}


def timed(catalog: Catalog, unit: str = "s") -> metrics.Histogram:
    return catalog.histogram("shop.charge.duration", unit=unit, description="x", attributes=CHARGE, buckets=[1, 2])


def outcomes(shop: Shop) -> list[tuple[dict[str, Any], int]]:
    return [(dict(point.attributes), point.count) for point in shop.points("shop.charge.duration")]


def test_a_block_is_timed_with_what_it_found_out(shop: Shop, catalog: Catalog) -> None:
    with timed(catalog).time({"shop.card": "visa"}, outcome="shop.outcome") as found:
        found["shop.card"] = "master"
    assert outcomes(shop) == [({"shop.card": "master", "shop.outcome": "success"}, 1)]


def test_a_failed_block_keeps_its_exception_and_tells_its_type(shop: Shop, catalog: Catalog) -> None:
    with metrics.strict(), pytest.raises(KeyError), timed(catalog).time(outcome="shop.outcome"):
        raise KeyError
    with metrics.strict(), pytest.raises(MeasurementError), timed(catalog).time():
        raise MeasurementError
    assert outcomes(shop) == [
        ({"shop.outcome": "failure", "error.type": "KeyError"}, 1),
        ({"error.type": "otelkit.errors.MeasurementError"}, 1),
    ]


def test_an_undeclared_outcome_raises_in_a_test_and_hides_no_exception(catalog: Catalog) -> None:
    undeclared = timed(catalog).time(outcome="shop.result")
    with metrics.strict(), pytest.raises(MeasurementError, match=r"'shop\.result' is not declared"), undeclared:
        pass
    with metrics.strict(), pytest.raises(KeyError), undeclared:
        raise KeyError


def test_functions_are_timed_at_each_call_and_stay_what_they_are(shop: Shop, catalog: Catalog) -> None:
    @timed(catalog).time(outcome="shop.outcome")
    def double(number: int) -> int:
        """Double it."""
        return number * 2 if number else double(1)

    assert double(0) == 2  # one call inside the other
    assert (double.__name__, double.__doc__) == ("double", "Double it.")
    assert outcomes(shop) == [({"shop.outcome": "success"}, 2)]


def test_coroutine_functions_are_timed_until_they_end(shop: Shop, catalog: Catalog) -> None:
    begun = asyncio.Event()

    @timed(catalog, "ms").time(outcome="shop.outcome")
    async def charge(wait: asyncio.Event) -> str:
        begun.set()
        await wait.wait()
        return "done"

    async def both() -> None:
        wait = asyncio.Event()
        task = asyncio.create_task(charge(wait))
        cancelled = asyncio.create_task(charge(asyncio.Event()))
        await begun.wait()
        assert outcomes(shop) == []
        wait.set()
        cancelled.cancel()
        assert await task == "done"
        await asyncio.gather(cancelled, return_exceptions=True)

    assert asyncio.iscoroutinefunction(charge)
    asyncio.run(both())
    assert outcomes(shop) == [
        ({"shop.outcome": "success"}, 1),
        ({"shop.outcome": "failure", "error.type": "asyncio.exceptions.CancelledError"}, 1),
    ]


def test_the_declared_unit_is_what_is_recorded(shop: Shop, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25])
    monkeypatch.setattr("otelkit.metrics._instruments.perf_counter", lambda: next(clock))
    with timed(catalog, "ms").time():
        pass
    assert [point.sum for point in shop.points("shop.charge.duration")] == [250.0]


def test_a_generator_cannot_be_timed_as_a_function(catalog: Catalog) -> None:
    def pages() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="pages is a generator"):
        timed(catalog).time()(pages)


def test_a_unit_that_is_no_time_times_nothing(shop: Shop, catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    size = catalog.histogram("shop.upload.size", unit="By", description="x", buckets=[1])
    with size.time():
        pass
    assert shop.points("shop.upload.size") == []
    assert "its unit By is none of time" in capsys.readouterr().err
    with metrics.strict(), pytest.raises(MeasurementError, match="none of time"):
        size.time()


# -- observed ----------------------------------------------------------------------------------------------------------


def observe(catalog: Catalog, callback: Callable[[], Any], **changes: Any) -> metrics.Observer:
    declaration: dict[str, Any] = {"unit": "{item}", "description": "x", "attributes": {"shop.shelf": ("a", "b")}}
    return catalog.observe("shop.stock", callback, **declaration | changes)


def test_an_observed_metric_is_asked_at_each_collection(shop: Shop, catalog: Catalog) -> None:
    stock = [5]
    observe(catalog, lambda: stock[0])
    assert shop.values("shop.stock") == {(): 5}
    stock[0] = 6
    assert shop.values("shop.stock") == {(): 6}
    observe(catalog, lambda: [(1, {"shop.shelf": "a"}), (2.5, {"shop.shelf": "b"})])
    assert shop.values("shop.stock") == {("a",): 1, ("b",): 2.5}


def test_an_observation_that_does_not_fit_costs_itself_only(
    shop: Shop, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    observe(catalog, lambda: [(1, {"shop.shelf": "a"}), (2, {"shop.shelf": "z"}), (3, {"shop.shelf": "b"})])
    with metrics.strict():
        assert shop.values("shop.stock") == {("a",): 1, ("b",): 3}
    assert "'shop.shelf' is none of 'a', 'b'" in capsys.readouterr().err
    assert shop.values("shop.stock") == {("a",): 1, (): 2, ("b",): 3}


def test_a_callback_that_raises_costs_its_metric_only(shop: Shop, catalog: Catalog) -> None:
    orders(catalog).add(1)
    observe(catalog, lambda: 1 / 0)
    assert shop.points("shop.stock") == []
    assert shop.values("shop.orders")[()] == 1


def test_totals_can_be_observed_and_histograms_cannot(shop: Shop, catalog: Catalog) -> None:
    observe(catalog, lambda: 7, kind="counter")
    assert shop.values("shop.stock") == {(): 7}
    with pytest.raises(SettingsError, match="cannot observe a histogram"):
        catalog.observe("shop.x", lambda: 1, unit="s", description="x", kind="histogram")  # type: ignore[arg-type]  # wrong on purpose


# -- the stock catalogue -----------------------------------------------------------------------------------------------


def test_every_stock_metric_is_a_declaration_that_users_could_make() -> None:
    own = [stock.metric for stock in STOCK if not stock.metric.name.startswith("otel.")]  # OpenTelemetry's own
    assert [problem for metric in own for problem in metric.problems()] == []
    series = [name for metric in own for name in metric.series]
    assert len(series) == len(set(series))


# -- rules that hold for whatever is declared and measured -------------------------------------------------------------


WORDS = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
NAMES = st.lists(WORDS, min_size=2, max_size=4).map(".".join)
UNITS = st.sampled_from(sorted({*_units._NAMES, *_units._PLAIN, *_units._CURRENCIES, "{order}", "1"})) | st.builds(
    "{}/{}".format, st.sampled_from(["By", "{order}", "m"]), st.sampled_from(sorted(_units._PERIODS))
)
CLOSED = st.dictionaries(NAMES, st.lists(WORDS, min_size=1, max_size=3, unique=True).map(tuple), max_size=3)
VALUES = st.text(max_size=5) | st.integers() | st.booleans() | st.none() | st.floats() | st.binary(max_size=3)


@patient
@given(NAMES, st.sampled_from(["counter", "up_down_counter", "gauge", "histogram"]), UNITS)
def test_what_can_be_declared_has_names_that_prometheus_takes_and_says_its_unit_once(
    name: str, kind: Any, unit: str
) -> None:
    metric = _declared.Metric(name=name, kind=kind, unit=unit, description="x", buckets=(1.0,))
    if metric.problems():
        return
    for series in metric.series:
        assert re.fullmatch(r"[a-z][a-zA-Z0-9_]*", series)
        words = series.split("_")
        said = _units._NAMES.get(unit, unit if unit.isalpha() else "")
        assert not said or words.count(said) >= 1
        assert (series.endswith("_total")) is (kind == "counter")


@patient
@given(st.text(max_size=12) | VALUES)
def test_a_unit_is_taken_or_refused_with_a_reason(unit: Any) -> None:
    assert isinstance(_units.problem(unit), str)
    if isinstance(unit, str):
        assert re.fullmatch(r"[a-zA-Z0-9_:]*", metrics.prometheus_name("shop.orders", unit))


@patient
@given(CLOSED)
def test_zeros_are_there_for_each_combination_of_closed_values(closed: dict[str, tuple[str, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch, Shop.replacing(patch, limit=100) as shop:
        counter = otelkit.Catalog("shop").counter("shop.orders", unit="{order}", description="x", attributes=closed)
        sets = {tuple(sorted(point.attributes.items())) for point in shop.points("shop.orders")}
        every = {tuple(sorted(each.items())) for each in counter.metric.closed_sets()}
        assert sets == (every or {()})
        assert {point.value for point in shop.points("shop.orders")} == {0}


@patient
@given(
    st.lists(st.dictionaries(st.sampled_from([*STATUS, "shop.campaign", "shop.other"]), VALUES, max_size=3), max_size=8)
)
def test_every_measurement_counts_once_and_no_label_is_undeclared(measured: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch, Shop.replacing(patch, limit=5) as shop:
        declared = STATUS | {"shop.campaign": str}
        counter = otelkit.Catalog("shop").counter("shop.orders", unit="{order}", description="x", attributes=declared)
        for attributes in measured:
            counter.add(1, attributes)
        points = shop.points("shop.orders")
        assert sum(point.value for point in points) == len(measured)
        assert len(points) <= 6
        for point in points:
            assert point.attributes.keys() <= {*declared, "otel.metric.overflow"}
            assert point.attributes.get("shop.order.status", "placed") in STATUS["shop.order.status"]
            assert isinstance(point.attributes.get("shop.campaign", ""), str)


def test_what_the_page_shows_works(shop: Shop) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/declared-metrics.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    card = SimpleNamespace(brand="visa")
    known = {"charge": lambda _: card, "card": card, "Order": str, "shelves": lambda: [("a", 3)]}
    with metrics.strict():
        exec("\n".join(block for block in blocks if not block.startswith("def test_")), known)  # noqa: S102  our own page
    assert len(known["catalog"].metrics) == 10  # type: ignore[attr-defined]  # the page makes it
    assert shop.values("shop.orders")["spring", "placed"] == 1
    assert shop.values("shop.revenue") == {(): 49.9}
    assert shop.values("shop.stock") == {("a",): 3}
    (charged,) = shop.points("shop.charge.duration")
    assert charged.attributes == {"shop.outcome": "success", "shop.card": "visa"}
