"""An instrument has as many series as the limit allows, each measurement counts once, and labels carry no secret."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import UserDict
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource

from otelkit import _guard, _providers, _stderr
from otelkit._guard._series import NEVER_LABELS, Bounds, Series
from otelkit.redact import Redactor
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


LIMIT = 10
OVERFLOW = {"otel.metric.overflow": True}


class Metrics:
    """A guarded provider with a low limit, and what it collects."""

    def __init__(self, *, limit: int = LIMIT, views: Sequence[View] = (), redactor: Any = None) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = _guard.MeterProvider(
            metric_readers=[self.reader],
            resource=Resource({}),
            shutdown_on_exit=False,
            views=views,
            cardinality_limit=limit,
            redactor=redactor,
        )
        self.meter = self.provider.get_meter("tests")

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Collect; return the attributes of each series of a metric and its value, of a histogram its sum."""
        return points_of(self.reader, name)


def points_of(reader: InMemoryMetricReader, name: str) -> list[tuple[dict[str, Any], Any]]:
    """Collect; return the attributes of each series of a metric and its value, of a histogram its sum."""
    data = reader.get_metrics_data()
    assert data is not None
    return [
        (dict(point.attributes or {}), getattr(point, "value", None) or getattr(point, "sum", None))
        for group in data.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stderr, "_said", {})


def overflow_of(points: Sequence[tuple[dict[str, Any], Any]]) -> Any:
    (value,) = [value for labels, value in points if labels == OVERFLOW]
    return value


class TestTheLimit:
    @pytest.mark.parametrize(
        ("kind", "method"),
        [("counter", "add"), ("up_down_counter", "add"), ("histogram", "record"), ("gauge", "set")],
    )
    def test_a_synchronous_instrument_has_that_many_series_and_the_overflow_set(self, kind: str, method: str) -> None:
        metrics = Metrics()
        instrument = getattr(metrics.meter, f"create_{kind}")("m")
        for number in range(5 * LIMIT):
            getattr(instrument, method)(2, {"user": str(number)})
        points = metrics.points("m")
        assert [labels for labels, _ in points] == [{"user": str(number)} for number in range(LIMIT)] + [OVERFLOW]
        assert overflow_of(points) == (2 if kind == "gauge" else 2 * 4 * LIMIT)
        assert metrics.provider.overflowed == {"m": 4 * LIMIT}

    @pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
    def test_an_observable_instrument_has_them_too_and_keeps_the_first(self, kind: str) -> None:
        metrics = Metrics()
        started: list[int] = [0]

        def observe(_: object) -> Iterator[Observation]:
            yield from (Observation(1, {"user": str(started[0] + number)}) for number in range(3 * LIMIT))

        getattr(metrics.meter, f"create_observable_{kind}")("m", [observe])
        first = metrics.points("m")
        started[0] = LIMIT // 2  # some of the first are gone, others come
        second = metrics.points("m")
        kept = [{"user": str(number)} for number in range(LIMIT)]
        assert [labels for labels, _ in first] == [*kept, OVERFLOW]
        assert [labels for labels, _ in second if labels in kept] == kept[LIMIT // 2 :]
        assert all(labels in [*kept, OVERFLOW] for labels, _ in second)
        if kind != "gauge":
            assert overflow_of(first) == 2 * LIMIT
            assert sum(value for _, value in first) == 3 * LIMIT

    def test_as_many_sets_as_the_limit_do_not_overflow(self) -> None:
        # Specification, metrics/sdk.md: no overflow "if the maximum number of distinct, non-overflow attribute sets is
        # less than or equal to the limit"; so the overflow set comes on top.
        metrics = Metrics()
        counter = metrics.meter.create_counter("m")
        for _ in range(3):
            counter.add(1)
            for number in range(LIMIT - 1):
                counter.add(1, {"n": number})
        points = metrics.points("m")
        assert len(points) == LIMIT
        assert OVERFLOW not in [labels for labels, _ in points]
        assert metrics.provider.overflowed == {}

    def test_no_attributes_are_a_set_as_well(self) -> None:
        metrics = Metrics(limit=1)
        counter = metrics.meter.create_counter("m")
        counter.add(1, {"a": "b"})
        counter.add(1)
        counter.add(1, {})
        assert metrics.points("m") == [({"a": "b"}, 1), (OVERFLOW, 2)]

    def test_what_was_seen_first_keeps_its_series_after_the_overflow(self) -> None:
        metrics = Metrics(limit=2)
        counter = metrics.meter.create_counter("m")
        for user in ("ann", "bob", "cleo", "ann", "dan", "bob", "ann"):
            counter.add(1, {"user": user})
        assert metrics.points("m") == [({"user": "ann"}, 3), ({"user": "bob"}, 2), (OVERFLOW, 2)]

    def test_the_default_is_the_specifications_and_settings_change_it(self) -> None:
        for settings, limit in ((Settings(), 2000), (Settings(metric_cardinality_limit=7), 7)):
            reader = InMemoryMetricReader()
            provider = _providers.meter_provider(settings, Resource({}), [reader], [])
            counter = provider.get_meter("m").create_counter("m")
            for number in range(limit + 5):
                counter.add(1, {"n": number})
            assert provider.overflowed == {"m": 5}

    def test_an_instrument_that_is_asked_for_twice_has_one_limit(self) -> None:
        metrics = Metrics()
        for number in range(3 * LIMIT):
            metrics.provider.get_meter("tests").create_counter("m").add(1, {"n": number})
        assert len(metrics.points("m")) == LIMIT + 1

    def test_instruments_have_a_limit_each(self) -> None:
        metrics = Metrics(limit=1)
        for name in ("a", "B"):
            for number in range(3):
                metrics.meter.create_counter(name).add(1, {"n": number})
        assert metrics.provider.overflowed == {"a": 2, "b": 2}


class TestOneSet:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": "x", "b": 1}, {"b": 1, "a": "x"}),
            ({"a": ["x", "y"]}, {"a": ("x", "y")}),
            ({"a": 200}, {"a": HTTPStatus.OK}),
            ({"a": "x"}, UserDict({"a": "x"})),
            ({"a": "x"}, MappingProxyType({"a": "x"})),
            ({"a": float("nan")}, {"a": float("nan")}),
            ({"a": -0.0}, {"a": 0.0}),
            ({}, None),
        ],
    )
    def test_what_the_sdk_takes_for_the_same_takes_one_place(self, one: Any, other: Any) -> None:
        metrics = Metrics(limit=1)
        counter = metrics.meter.create_counter("m")
        for given in (one, other, one, other):
            counter.add(1, given)
        assert [value for _, value in metrics.points("m")] == [4]

    @pytest.mark.parametrize("again", [1, 3], ids=["new", "remembered"])
    def test_what_the_sdk_tells_apart_takes_several(self, again: int) -> None:
        ours, reader = Metrics(limit=LIMIT), InMemoryMetricReader()
        meters = [ours.meter, MeterProvider([reader], shutdown_on_exit=False).get_meter("tests")]
        for counter in [meter.create_counter("m") for meter in meters]:
            for _ in range(again):
                for value in (1, 1.0, True, "1", b"1", None, (1, True), (True, 1), "None"):
                    counter.add(1, {"a": value})

        def told(points: list[tuple[dict[str, Any], Any]]) -> list[tuple[type, Any, Any]]:
            return [(type(labels["a"]), labels["a"], value) for labels, value in points]

        # Before 1.45 the SDK takes 1, 1.0 and True for the same.
        assert told(ours.points("m")) == told(points_of(reader, "m"))
        assert len(ours.points("m")) > 5

    def test_attributes_that_change_after_the_call_change_nothing(self) -> None:
        metrics = Metrics()
        counter = metrics.meter.create_counter("m")
        given = {"a": "x"}
        counter.add(1, given)
        given["a"] = "y"
        counter.add(1, {"a": "x"})
        counter.add(1, given)
        assert metrics.points("m") == [({"a": "x"}, 2), ({"a": "y"}, 1)]

    def test_attributes_that_views_drop_tell_nothing_apart(self) -> None:
        # Specification, metrics/sdk.md: the limit "SHOULD occur after attribute filtering".
        views = [
            View(instrument_name="m", attribute_keys={"route"}),
            View(instrument_name="m", name="by_tier", attribute_keys={"tier"}),
        ]
        metrics = Metrics(limit=6, views=views)
        counter, other = metrics.meter.create_counter("m"), metrics.meter.create_counter("other")
        for number in range(100):
            labels: dict[str, Any] = {"route": f"/{number % 3}", "tier": number % 2, "user": str(number)}
            counter.add(1, labels)
            other.add(1, labels)
        assert [labels for labels, _ in metrics.points("m")] == [{"route": f"/{number}"} for number in range(3)]
        assert metrics.points("by_tier") == [({"tier": 0}, 50), ({"tier": 1}, 50)]
        assert metrics.provider.overflowed == {"other": 94}

    def test_a_view_that_keeps_everything_beside_one_that_does_not_counts_everything(self) -> None:
        views = [View(instrument_name="m", attribute_keys={"a"}), View(instrument_name="m", name="all")]
        metrics = Metrics(limit=2, views=views)
        counter = metrics.meter.create_counter("m")
        for number in range(5):
            counter.add(1, {"a": "x", "n": number})
        assert len(metrics.points("all")) == 3


class Liar(str):
    """Text whose comparison raises."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:  # noqa: D105  what is tested
        raise ValueError("no comparison")


class TestHostileAttributes:
    @pytest.mark.parametrize("given", [{"a": Liar("x")}, {Liar("a"): "x"}], ids=["value", "key"])
    def test_what_raises_when_compared_costs_nobody_anything(self, given: Mapping[str, str]) -> None:
        metrics = Metrics()
        counter = metrics.meter.create_counter("m")
        for _ in range(2):
            counter.add(1, given)
            counter.add(1, {"a": "x"})
        assert metrics.points("m") == [({"a": "x"}, 4)]

    def test_a_bad_amount_takes_no_place(self) -> None:
        metrics = Metrics(limit=1)
        counter = metrics.meter.create_counter("m")
        counter.add("much", {"a": "bad"})  # type: ignore[arg-type]  # what is tested
        counter.add(1, {"a": "good"})
        assert metrics.points("m") == [({"a": "good"}, 1)]

    def test_what_is_remembered_is_bounded(self) -> None:
        series = Series("m", Bounds(LIMIT))
        for number in range(100):
            for given in ({"a": number, "b": "x"}, {"b": "x", "a": number}):
                series.of(given)
        assert len(series._known) == LIMIT
        assert len(series._sets) <= LIMIT + 1


class TestWhatIsSaid:
    def test_once_per_instrument_with_the_variable_and_no_value(self, capsys: pytest.CaptureFixture[str]) -> None:
        metrics = Metrics()
        counter = metrics.meter.create_counter("orders")
        for number in range(3 * LIMIT):
            counter.add(1, {"user": f"hunter{number}"})
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert all(part in said for part in ("orders", str(LIMIT), "OTELKIT_METRIC_CARDINALITY_LIMIT"))
        assert "hunter" not in said
        assert "user" not in said

    def test_the_count_is_exact_while_it_is_read(self) -> None:
        metrics = Metrics(limit=1)
        counter = metrics.meter.create_counter("m")
        counter.add(1, {"n": -1})
        for number in range(1, 6):
            counter.add(1, {"n": number})
            assert [metrics.provider.overflowed["m"] for _ in range(3)] == [number] * 3


@pytest.fixture
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_threads_that_meet_at_the_limit_make_no_series_too_many_and_none_too_few() -> None:
    for _ in range(20):
        metrics = Metrics(limit=50)
        counter = metrics.meter.create_counter("m")
        gate = threading.Barrier(4)

        def work(counter: Any = counter, gate: threading.Barrier = gate) -> None:
            gate.wait()
            for number in range(100):
                counter.add(1, {"n": number})

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        points = metrics.points("m")
        assert len(points) == 51
        assert sum(value for _, value in points) == 400
        # Who has a series of its own has all of its measurements there.
        assert {value for labels, value in points if labels != OVERFLOW} == {4}
        assert overflow_of(points) == metrics.provider.overflowed["m"] == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_a_limit_of_its_own_and_counts_from_zero() -> None:
    metrics = Metrics(limit=2)
    counter = metrics.meter.create_counter("m")
    for number in range(5):
        counter.add(1, {"parent": number})
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before = dict(metrics.provider.overflowed)
            for number in range(5):
                counter.add(1, {"child": number})
            own = [value for labels, value in metrics.points("m") if "child" in labels]
            os.write(writing, json.dumps([before, own, dict(metrics.provider.overflowed)]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert json.load(answer) == [{}, [1, 1], {"m": 3}]
    os.waitpid(pid, 0)
    assert metrics.provider.overflowed == {"m": 3}


class Fake:
    """A redactor that counts what it is asked, with the contract's three methods."""

    def __init__(self) -> None:
        self.asked = 0

    def secret(self, key: str) -> str | None:
        self.asked += 1
        return "[redacted:password]" if key == "password" else None

    def value(self, key: str, value: str) -> str:  # noqa: ARG002  the contract
        return value.replace("hunter2", "[redacted:known]")


class TestRedaction:
    @pytest.fixture
    def redactor(self) -> Fake:
        return Fake()

    def test_labels_are_redacted_before_they_make_a_series(self, redactor: Any) -> None:
        metrics = Metrics(limit=2, redactor=redactor)
        counter = metrics.meter.create_counter("m")
        for number in range(5):
            counter.add(1, {"password": number})
            counter.add(1, {"words": ["hunter2", "b"], "text": "say hunter2", "n": 5})
        assert metrics.points("m") == [
            ({"password": "[redacted:password]"}, 5),
            ({"words": ("[redacted:known]", "b"), "text": "say [redacted:known]", "n": 5}, 5),
        ]

    def test_two_that_differ_by_a_secret_only_are_one(self) -> None:
        metrics = Metrics(redactor=Redactor())
        counter = metrics.meter.create_counter("m")
        for name in ("ann", "bob", "cleo"):
            counter.add(1, {"tier": "gold", "contact": f"{name}@shop.example", "password": f"{name}-2024"})
        ((labels, value),) = metrics.points("m")
        assert value == 3
        assert labels["tier"] == "gold"
        assert not any(name in str(labels) for name in ("ann", "bob", "cleo"))

    def test_observations_are_too(self, redactor: Any) -> None:
        metrics = Metrics(redactor=redactor)
        metrics.meter.create_observable_gauge("m", [lambda _: [Observation(1, {"a": "hunter2"})]])
        assert metrics.points("m") == [({"a": "[redacted:known]"}, 1)]

    def test_what_was_redacted_once_is_not_looked_at_again(self, redactor: Any) -> None:
        metrics = Metrics(redactor=redactor)
        counter = metrics.meter.create_counter("m")
        for _ in range(100):
            counter.add(1, {"a": "hunter2", "n": 1})
        assert redactor.asked == 2


class TestLabelsOfOtherNames:
    @pytest.mark.parametrize("name", ["db.client.operation.duration", "redis.client.errors"])
    def test_names_from_before_the_conventions_were_stable_are_those_of_today(self, name: str) -> None:
        metrics = Metrics()
        counter = metrics.meter.create_counter(name)
        for key in ("db.system", "db.system.name"):
            for _ in range(2):
                counter.add(1, {key: "redis", "server.port": 6379})
        assert metrics.points(name) == [({"db.system.name": "redis", "server.port": 6379}, 4)]

    def test_what_is_observed_is_renamed_and_an_applications_own_is_not(self) -> None:
        metrics = Metrics()
        told = [Observation(2, {"db.system": "redis"})]
        for name in ("db.client.connection.count", "shop.connections"):
            metrics.meter.create_observable_gauge(name, callbacks=[lambda _: told])
        assert metrics.points("db.client.connection.count") == [({"db.system.name": "redis"}, 2)]
        assert metrics.points("shop.connections") == [({"db.system": "redis"}, 2)]


class TestLabelsOfAStrangersChoice:
    @pytest.mark.parametrize("name", NEVER_LABELS)
    def test_the_host_is_no_label_of_a_server_metric(self, name: str) -> None:
        metrics = Metrics()
        histogram = metrics.meter.create_histogram(name)
        for number in range(50):
            host = f"h{number}.example"
            histogram.record(1, {"server.address": host, "server.port": number, "http.request.method": "GET"})
            histogram.record(1, {"http.host": host, "net.host.name": host, "http.server_name": host})
        assert metrics.points(name) == [({"http.request.method": "GET"}, 50), ({}, 50)]

    def test_it_is_one_of_a_client_metric(self) -> None:
        metrics = Metrics()
        metrics.meter.create_histogram("http.client.request.duration").record(1, {"server.address": "api.example"})
        assert metrics.points("http.client.request.duration") == [({"server.address": "api.example"}, 1)]
