"""The only place that decides by which attributes a measurement is told from others, and how many such sets there are.

The specification bounds what one instrument may make of what strangers send (metrics/sdk.md, "Cardinality limits"): up
to the limit each attribute set has a series of its own, every measurement beyond them counts in one more, the overflow
set. Those seen first stay, for the life of the process. The SDK has no such bound. It stands in our meters, so before
views, but counts as views will see it: attributes that every view of an instrument drops tell nothing apart.

Labels pass the redactor before they become a series: two that differ by a secret only are one.

No lock: a signal handler may measure while it interrupts a measurement, and a child may be forked in the middle of one.
"""

from __future__ import annotations

import os
import weakref
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from otelkit._catalog import RENAMED
from otelkit._guard._values import PLAIN_LABELS, attributes_of, label
from otelkit._stderr import say_once

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from opentelemetry.sdk.metrics.view import View

    from otelkit.redact import Redactor

LIMIT: Final = 2000
"""The specification's default."""
OVERFLOW: Final = {"otel.metric.overflow": True}
"""The specification's attribute set for all that is beyond the limit."""

_NOTHING: Final[dict[str, Any]] = {}
_ADDRESSED: Final = frozenset(
    {"http.host", "http.server_name", "net.host.name", "net.host.port", "server.address", "server.port"}
)
_SERVED: Final = (
    "http.server.active_requests",
    "http.server.duration",
    "http.server.request.body.size",
    "http.server.request.duration",
    "http.server.request.size",
    "http.server.response.body.size",
    "http.server.response.size",
)
NEVER_LABELS: Final[Mapping[str, frozenset[str]]] = dict.fromkeys(_SERVED, _ADDRESSED)
"""Attributes by instrument that are whatever a caller writes into its Host header; instrumentations of old and new
conventions measure with them."""


class Bounds:
    """What holds for all instruments of a provider, and what they could not keep apart.

    Args:
        limit: Attribute sets of one instrument, the overflow set not counted.
        redactor: Applied to labels; None leaves them as they are.
        views: The provider's.
    """

    def __init__(self, limit: int, redactor: Redactor | None = None, views: Sequence[View] = ()) -> None:
        self.limit, self.redactor, self.views = limit, redactor, views
        self._counts: dict[str, _Count] = {}
        _renewed.add(self)

    @property
    def overflowed(self) -> dict[str, int]:
        """Measurements in the overflow series, by the name of their instrument; exact, also while others count."""
        return {name: number.read() for name, number in list(self._counts.items())}

    def overflow(self, name: str) -> None:
        """Count one measurement of an instrument; say the first time that there are any."""
        number = self._counts.get(name)
        if number is None:
            say_once(
                f"series:{name}",
                f"{name}: more than {self.limit} attribute sets; measurements of further ones are summed under"
                " otel.metric.overflow. OTELKIT_METRIC_CARDINALITY_LIMIT sets the limit. Said once.",
            )
            number = self._counts.setdefault(name, _Count())
        number.add()

    def forget_labels(self) -> None:
        """Look at all labels anew, as the redactor has other rules now; the sets that have a series keep it."""
        for part in list(_renewed):
            if isinstance(part, Series) and part.bounds is self:
                part.forget_labels()

    def renew(self) -> None:
        """Count from zero, in a forked child."""
        self._counts = {}


class _Count:
    """A number that any thread raises in one step; only those who read it wait for each other."""

    def __init__(self) -> None:
        self._steps, self._readings, self._reading = count(), 0, RLock()
        self.add = self._steps.__next__

    def read(self) -> int:
        with self._reading:
            self._readings += 1  # reading takes a step, too
            return next(self._steps) - self._readings + 1


class Series:
    """The attribute sets of one instrument.

    Args:
        name: The instrument's.
        bounds: Its provider's.
    """

    def __init__(self, name: str, bounds: Bounds) -> None:
        self.name, self.bounds = name, bounds
        # Attributes as given, flattened, to what is made of them, and to the types of those that are no text: 1, 1.0
        # and True are one key and three series.
        self._known: dict[Hashable, tuple[dict[str, Any] | None, tuple[tuple[str, type], ...]]] = {}
        self._sets: dict[Hashable, None] = {}
        self._full: frozenset[Hashable] | None = None
        self._never = NEVER_LABELS.get(name, frozenset())
        self._renamed = next((keys for group, keys in RENAMED.items() if name.startswith(group)), _NOTHING)
        self._seen: frozenset[str] | None = None
        _renewed.add(self)

    def look_through(self, instrument: object) -> None:
        """Find out which attributes the views of the instrument keep."""
        # The SDK asks its views in these words; where one has no such words, all attributes count.
        matching = [view for view in self.bounds.views if getattr(view, "_match", _always)(instrument)]
        kept: list[set[str] | None] = [getattr(view, "_attribute_keys", None) for view in matching]
        if kept and None not in kept:
            self._seen = frozenset(key for keys in kept for key in keys or ())

    def of(self, given: Any) -> dict[str, Any] | None:
        """Return the attributes that a measurement counts under; None for none, which the SDK handles faster than {}.

        Args:
            given: What the application gave; anything at all.
        """
        if given is None:
            given = _NOTHING
        if type(given) is dict:
            try:
                known = self._known.get((*given, *given.values()))
                if known is not None:
                    labels, checks = known
                    for key, kind in checks:
                        if type(given[key]) is not kind:
                            break
                    else:
                        return labels
            except Exception:  # noqa: BLE001, S110  cannot be hashed, or another thread is changing it: no way to know it
                pass
            given = given.copy()  # in one step, so that no thread changes what is looked at and what is remembered
        return self._new(given)

    def forget_labels(self) -> None:
        """Forget what was made of which attributes."""
        self._known = {}

    def renew(self) -> None:
        """Forget what was seen, in a forked child: its sums start from zero, and so does what it has series for."""
        self._known, self._sets, self._full = {}, {}, None

    def _new(self, given: Any) -> dict[str, Any] | None:
        labels = self._labels(given)
        if not self._admits(_identity(labels, self._seen)):
            self.bounds.overflow(self.name)
            return OVERFLOW
        if len(self._known) < self.bounds.limit and _is_plain(given):
            checks = tuple((key, type(value)) for key, value in given.items() if type(value) is not str)
            self._known[(*given, *given.values())] = (labels or None, checks)
        return labels or None

    def _labels(self, given: Any) -> dict[str, Any]:
        """Make labels of what was given: values that can be told apart, none of a stranger's choice, no secret."""
        labels = attributes_of(given, PLAIN_LABELS, label) or {}
        redactor, never, renamed = self.bounds.redactor, self._never, self._renamed
        return {
            renamed.get(key, key): value if redactor is None else _redacted(redactor, key, value)
            for key, value in labels.items()
            if key not in never
        }

    def _admits(self, identity: Hashable) -> bool:
        """Tell whether an attribute set has a series of its own; gives it one while there are any left.

        Exact without a lock: a dict keeps the order of entry and nobody leaves, so that the first ones are the same
        for every thread that looks; those that enter too late in the same moment find themselves behind them.
        """
        if self._full is None:
            sets, limit = self._sets, self.bounds.limit
            sets[identity] = None
            if len(sets) <= limit:
                return True
            self._full = frozenset(list(sets)[:limit])
        return identity in self._full


_renewed: weakref.WeakSet[Series | Bounds] = weakref.WeakSet()


def _renew() -> None:
    for part in _renewed:
        part.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _is_plain(given: Any) -> bool:
    """Tell whether attributes can be remembered as given: nothing in them has code that would run at every look-up."""
    return (
        type(given) is dict
        and PLAIN_LABELS.issuperset(map(type, given.values()))
        and all(type(key) is str for key in given)
    )


def _always(_: object) -> bool:
    return True


def _redacted(redactor: Redactor, key: str, value: Any) -> Any:
    secret = redactor.secret(key)
    if secret is not None:
        return secret
    if type(value) is str:
        return redactor.value(key, value)
    if type(value) is tuple:
        return tuple(redactor.value(key, item) if type(item) is str else item for item in value)
    return value


def _identity(labels: Mapping[str, Any], seen: frozenset[str] | None) -> Hashable:
    """Return what is equal for two attribute sets of one series; with types, as the SDK tells 1, 1.0 and True apart."""
    told: list[Any] = []
    for key in sorted(labels if seen is None else seen.intersection(labels)):
        value = labels[key]
        told += key, type(value)
        told.append(tuple((type(item), item) for item in value) if type(value) is tuple else value)
    return tuple(told)
