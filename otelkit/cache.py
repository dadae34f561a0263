"""The only place for the small helper that counts what a cache of the application is good for.

It knows no cache: whatever is looked up within its `with` blocks is timed and counted under the cache's name, be it in
Redis, in a dictionary or behind another service.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Literal, Self

from opentelemetry import metrics

from otelkit import _catalog
from otelkit.metrics import create

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.metrics import MeterProvider

_RESULTS = {"get": ("hit", "miss", "error"), "set": ("ok", "error"), "delete": ("ok", "error")}


class Cache:
    """Counts look-ups, writes and deletions of one named cache, and how long they take.

    Emits `cache.requests` (by `cache.name`, `cache.operation`, `cache.result`) and `cache.operation.duration` in s.
    May be made before `otelkit.configure()`.

        products = otelkit.Cache("products")

        with products.lookup() as lookup:
            found = client.get(key)
            if found is not None:
                lookup.hit()

    Args:
        name: What the cache holds: one of few fixed names, never a key.
        meter_provider: Makes the instruments; None takes the global one.
    """

    def __init__(self, name: str, *, meter_provider: MeterProvider | None = None) -> None:
        self.name = name
        meter = metrics.get_meter(__name__, meter_provider=meter_provider)
        self._requests = create(meter, _catalog.metric("cache.requests"))
        self._duration = create(meter, _catalog.metric("cache.operation.duration"))
        self._begun: set[str] = set()

    def lookup(self) -> Operation:
        """Return the `with` block of one look-up: a miss, unless `hit()` is called in it or an exception leaves it."""
        return self._operation("get")

    def store(self) -> Operation:
        """Return the `with` block of one write."""
        return self._operation("set")

    def drop(self) -> Operation:
        """Return the `with` block of one deletion."""
        return self._operation("delete")

    def _operation(self, name: Literal["get", "set", "delete"]) -> Operation:
        if name not in self._begun:  # not in __init__: what is counted before configure() is lost
            self._begun.add(name)
            for result in _RESULTS[name]:
                self._requests.add(0, self._labels(name) | {"cache.result": result})
        return Operation(self, name)

    def _labels(self, operation: str) -> dict[str, str]:
        return {"cache.name": self.name, "cache.operation": operation}

    def _count(self, operation: str, result: str, seconds: float) -> None:
        labels = self._labels(operation) | {"cache.result": result}
        self._requests.add(1, labels)
        self._duration.record(seconds, labels)


class Operation:
    """One operation on a cache; also in asyncio a plain `with` block. Exceptions pass."""

    __slots__ = ("_cache", "_name", "_result", "_start")

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._name = name
        self._result = _RESULTS[name][0] if name != "get" else "miss"
        self._start = perf_counter()

    def hit(self) -> None:
        """Tell that the look-up found something."""
        if self._name == "get":
            self._result = "hit"

    def __enter__(self) -> Self:
        """Begin to measure."""
        self._start = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Count the operation."""
        result = self._result if error is None else "error"
        self._cache._count(self._name, result, perf_counter() - self._start)  # noqa: SLF001  one module
