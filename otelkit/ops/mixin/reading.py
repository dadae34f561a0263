"""The only place that reads `parameters.toml`, and tells what is wrong with one: all of it at once, line by line."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from otelkit._catalog import STOCK
from otelkit.errors import ParametersError
from otelkit.ops._words import listed
from otelkit.ops.mixin._lines import lines
from otelkit.ops.mixin._units import SCALES, number
from otelkit.ops.mixin._variants import names
from otelkit.ops.mixin.groups import groups, slo
from otelkit.ops.mixin.parameters import Notify, Parameters, Service, Slo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otelkit.metrics import Metric
    from otelkit.ops.mixin._lines import Path
    from otelkit.ops.mixin.model import Group, Threshold, Unit

REQUESTS: Final = "http.server.request.duration"
"""What SLOs count."""

_TOP: Final = ("disable", "enable", "page_environments", "thresholds", "service", "slo", "links", "notify")
_SERVICE: Final = ("expected", "namespace", "environment", "disable", "route")
_SLO: Final = ("name", "service", "objective", "kind", "namespace", "environment", "under", "route", "period")
_LINKS: Final = ("grafana", "runbooks", "alertmanager")
_NOTIFY: Final = ("channel", "smarthost", "from", "to", "user", "tls", "pagerduty")
_KINDS: Final = ("availability", "latency")
_FEW: Final = 12
_DAY: Final = 86400.0
_HOST_PORT: Final = re.compile(r"[^\s:/]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
_MAIL: Final = re.compile(r"(?:[^<>]*<)?[^@\s<>]+@[^@\s<>]+>?")
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What there is to choose from."""

    thresholds: Mapping[str, Threshold]
    of_services: frozenset[str]
    of_routes: frozenset[str]
    alerts: frozenset[str]
    alerts_of_services: frozenset[str]
    bounds: Mapping[str, tuple[float, ...]]


def read(
    text: str, *, name: str = "parameters.toml", catalog: tuple[Metric, ...] = (), retention: float = 0.0
) -> Parameters:
    """Read what people chose.

    Args:
        text: The file's.
        name: How problems call the file.
        catalog: What the service declares, beside what any service emits.
        retention: Seconds that Prometheus keeps what it has; 0 is not known.

    Raises:
        ParametersError: Something cannot be, each with its line.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _POSITION.search(str(error))
        line = match[1] if match and match[1] else str(text.count("\n") + 1)
        raise ParametersError([f"{name}:{line}: {_POSITION.sub('', str(error))}"]) from error
    reader = _Reader(found, lines(text), catalog, retention)
    parameters = reader.parameters()
    if reader.problems:
        raise ParametersError([f"{name}:{line}: {problem}" for line, problem in sorted(reader.problems)])
    return parameters


class _Reader:
    """Walks through the tables, and goes on after a problem; what is wrong is left out meanwhile."""

    def __init__(
        self, found: dict[str, Any], at: Mapping[Path, int], catalog: tuple[Metric, ...], retention: float
    ) -> None:
        self.problems: list[tuple[int, str]] = []
        self._found = found
        self._at = at
        self._catalog = catalog
        self._retention = retention
        self._known = _known(groups(Parameters(), catalog), catalog)

    def parameters(self) -> Parameters:
        self._only((), _TOP)
        links = {key: self._url("links", key) for key in self._only(("links",), _LINKS)}
        plain = Parameters()
        chosen = replace(
            plain,
            page_environments=tuple(self._words("page_environments")),
            services={name: self._service(name) for name in self._tables("service")},
            slos=tuple(self._slos()),
            notify=self._notify(),
            grafana=links.get("grafana") or plain.grafana,
            runbooks=links.get("runbooks") or plain.runbooks,
            alertmanager=links.get("alertmanager") or plain.alertmanager,
        )
        # What was made of services and objectives can be tuned and switched off, too.
        self._known = _known(groups(chosen, self._catalog), self._catalog)
        off, on = self._alerts("disable"), self._alerts("enable")
        for name in sorted(off & on):
            self._problem(("enable",), f"{name} is switched off in `disable`: name it in one of the two")
        services = {name: self._with_thresholds(name, service) for name, service in chosen.services.items()}
        return replace(
            chosen,
            thresholds=self._thresholds(("thresholds",), self._get("thresholds")),
            disable=off,
            enable=on,
            services=services,
        )

    def _service(self, name: str) -> Service:
        path = ("service", name)
        self._check_name(path, name)
        return Service(
            expected=self._flag(*path, "expected", default=True),
            namespace=self._word(*path, "namespace"),
            environment=self._word(*path, "environment"),
        )

    def _with_thresholds(self, name: str, service: Service) -> Service:
        path = ("service", name)
        said = self._get(*path)
        routes = {}
        for route in self._tables(*path, "route"):
            place = (*path, "route", route)
            self._check_name(place, route)
            routes[route] = self._thresholds(place, self._get(*place), of="route")
        own = {key: value for key, value in said.items() if key not in _SERVICE}
        thresholds = self._thresholds(path, own, of="service", besides=_SERVICE)
        disable = self._alerts(*path, "disable")
        return replace(service, thresholds=thresholds, routes=routes, disable=disable)

    def _thresholds(
        self, path: Path, said: Mapping[str, Any], *, of: str = "", besides: tuple[str, ...] = ()
    ) -> dict[str, float]:
        """Read numbers of all services and the stack, of one service, or of one route."""
        found = {}
        for name, value in said.items():
            place = (*path, name)
            threshold = self._known.thresholds.get(name)
            if threshold is None:
                self._unknown(place, name, (*self._known.thresholds, *besides))
            elif of and name not in self._known.of_services:
                self._problem(place, f"{name} is no threshold of a service: it stands in [thresholds], for all")
            elif of == "route" and name not in self._known.of_routes:
                self._problem(place, f"{name} is no threshold of a route: it stands in [{_written(path[:2])}]")
            elif (read_ := self._number(place, value, threshold.unit)) is not None:
                self._check_quantile(place, threshold, read_)
                found[name] = read_
        return found

    def _check_quantile(self, place: Path, threshold: Threshold, value: float) -> None:
        last = max(self._known.bounds.get(threshold.quantile_of, ()), default=None)
        if last is not None and value >= last:
            self._problem(
                place,
                f"{threshold.name} can never be exceeded: the last bound of {threshold.quantile_of} is {last:g},"
                f" and no quantile is ever above it",
            )

    def _alerts(self, *path: str) -> frozenset[str]:
        found = set()
        for position, name in enumerate(self._words(*path)):
            place: Path = (*path, position)
            if name not in self._known.alerts:
                self._unknown(place, name, sorted(self._known.alerts), what="alert")
            elif len(path) > 1 and name not in self._known.alerts_of_services:
                self._problem(place, f"{name} is no alert of services: `disable` at the top switches it off")
            else:
                found.add(name)
        return frozenset(found)

    def _slos(self) -> Iterable[Slo]:
        tables = self._found.get("slo", [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            self._problem(("slo",), "objectives are written as [[slo]]")
            return
        for position, said in enumerate(tables):
            before = len(self.problems)
            made = self._slo(("slo", position), said)
            if len(self.problems) > before:
                continue
            if never := slo.problem(made):
                self._problem(("slo", position, "objective"), never)
            else:
                yield made
        counted = Counter(each["name"] for each in tables if isinstance(each.get("name"), str))
        for position, said in enumerate(tables):
            if isinstance(said.get("name"), str) and counted[said["name"]] > 1:
                self._problem(("slo", position, "name"), f"{counted[said['name']]} objectives are named {said['name']}")

    def _slo(self, path: Path, said: Mapping[str, Any]) -> Slo:
        self._only(path, _SLO)
        for key in ("name", "service", "objective"):
            if said.get(key, "") == "":
                self._problem(path, f"an objective needs `{key}`")
        service = self._word(*path, "service")
        of = self._get("service", service)
        made = Slo(
            name=self._word(*path, "name"),
            service=service,
            objective=self._objective((*path, "objective"), said.get("objective", 0.5)),
            kind=cast("Any", self._word(*path, "kind") or ("latency" if "under" in said else "availability")),
            namespace=self._word(*path, "namespace") or _text(of.get("namespace")),
            environment=self._word(*path, "environment") or _text(of.get("environment")),
            under=self._number((*path, "under"), said["under"], "seconds") or 0.0 if "under" in said else 0.0,
            route=self._word(*path, "route"),
            period=self._period((*path, "period"), said.get("period", Slo.period)),
        )
        if made.kind not in _KINDS:
            self._unknown((*path, "kind"), made.kind, _KINDS, what="kind of objective")
        elif made.kind == "availability" and "under" in said:
            self._problem((*path, "under"), "a bound of time is of objectives whose `kind` is latency")
        elif made.kind == "latency" and "under" not in said:
            self._problem(path, 'an objective of latency needs `under`, as "500ms"')
        elif made.under and made.under not in (bounds := self._known.bounds[REQUESTS]):
            shown = ", ".join(f"{bound:g}" for bound in bounds)
            self._problem(
                (*path, "under"),
                f"requests are not counted at {made.under:g} s: the bounds of {REQUESTS} are {shown}",
            )
        return made

    def _notify(self) -> Notify:
        self._only(("notify",), _NOTIFY)
        said = self._get("notify")
        many = isinstance(said.get("to"), list)
        made = Notify(
            channel=self._word("notify", "channel"),
            smarthost=self._word("notify", "smarthost"),
            sender=self._word("notify", "from"),
            to=", ".join(self._words("notify", "to")) if many else self._word("notify", "to"),
            user=self._word("notify", "user"),
            tls=self._flag("notify", "tls", default=True),
            pagerduty=self._url("notify", "pagerduty"),
        )
        if made.smarthost and not _HOST_PORT.fullmatch(made.smarthost):
            self._problem(("notify", "smarthost"), f"{_shown(made.smarthost)} is no mail server: host:port")
        for key, value in (("from", made.sender), ("to", made.to)):
            if made.smarthost and not value and key not in said:
                self._problem(("notify", "smarthost"), f"mail needs `{key}`")
            elif value and not all(_MAIL.fullmatch(each.strip()) for each in value.split(",")):
                self._problem(("notify", key), f"{_shown(value)} is no e-mail address")
        return made

    def _objective(self, place: Path, value: object) -> float:
        found = number(value, "ratio")
        if found is None or not 0 < found < 1:
            self._problem(place, f'{_shown(value)} is no objective: a share below 1, as 0.999 or "99.9%"')
            return 0.5
        return found

    def _period(self, place: Path, value: object) -> int:
        seconds = number(value, "seconds") if isinstance(value, str) else None
        days = seconds / _DAY if seconds else number(value, "number")
        if days is None or days != int(days) or days < 1:
            self._problem(place, f'{_shown(value)} is no period: whole days, as 14 or "14d"')
            return Slo.period
        return self._kept(place, int(days))

    def _kept(self, place: Path, days: int) -> int:
        if self._retention and (days + 1) * _DAY > self._retention:
            kept = f"{self._retention / _DAY:g}d"
            self._problem(
                place,
                f"a period of {days} days needs PROMETHEUS_RETENTION={days + 1}d in deploy/.env, which is {kept}:"
                " what is older is not there to be counted",
            )
        return days

    def _url(self, *path: str) -> str:
        said = self._word(*path)
        try:
            parts = urlsplit(said)
        except ValueError:  # a bracket of an IPv6 address that is not closed
            parts = urlsplit("")
        if said and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
            self._problem(path, f"{_shown(said)} is no address, as https://grafana.example.org")
            return ""
        return said.rstrip("/")

    def _number(self, place: Path, value: object, unit: Unit) -> float | None:
        found = number(value, unit)
        if found is None:
            self._problem(place, f"{place[-1]} is {_shown(value)}, not {SCALES[unit].about}")
        return found

    def _word(self, *path: str | int) -> str:
        said = self._get(*path[:-1]).get(str(path[-1]), "")
        if not isinstance(said, str) or any(ord(letter) < ord(" ") for letter in said):
            self._problem(path, f"{_shown(said)} is no text of one line")
            return ""
        if said:
            self._check_name(path, said)
        return said

    def _check_name(self, place: Path, name: str) -> None:
        # Labels of rules are templates of Prometheus.
        if not name or "{{" in name:
            self._problem(place, f"{_shown(name)} cannot be the name of anything here")

    def _flag(self, *path: str, default: bool) -> bool:
        said = self._get(*path[:-1]).get(path[-1], default)
        if not isinstance(said, bool):
            self._problem(path, f"{_shown(said)} is neither true nor false")
            return default
        return said

    def _words(self, *path: str) -> list[str]:
        said = self._get(*path[:-1]).get(path[-1], [])
        if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
            self._problem(path, f'{_shown(said)} is no list of names, as ["one", "two"]')
            return []
        for position, each in enumerate(said):
            self._check_name((*path, position), each)
        return said

    def _tables(self, *path: str) -> list[str]:
        """Return the names of the tables below a path; what is none is a problem."""
        found = []
        for name, said in self._get(*path).items():
            if isinstance(said, dict):
                found.append(name)
            else:
                self._problem((*path, name), f"[{_written((*path, name))}] is a table")
        return found

    def _only(self, path: Path, known: tuple[str, ...]) -> list[str]:
        """Return the keys of a table that are known; the others are problems."""
        found = []
        for key in self._get(*path):
            if key in known:
                found.append(key)
            else:
                self._unknown((*path, key), key, known)
        return found

    def _get(self, *path: str | int) -> dict[str, Any]:
        """Return the table at a path; an empty one where there is none. Anything else there is a problem."""
        found: Any = self._found
        for key in path:
            there = isinstance(found, list if isinstance(key, int) else dict)
            found = (found[key] if isinstance(key, int) else found.get(key)) if there else None
        if found is not None and not isinstance(found, dict):
            self._problem(path, f"[{_written(path)}] is a table")
        return found if isinstance(found, dict) else {}

    def _unknown(self, place: Path, name: object, known: Iterable[str], *, what: str = "key") -> None:
        there = list(dict.fromkeys(known))
        near = get_close_matches(str(name), there, n=1)
        table = f" in [{_written(place[:-1])}]" if what == "key" and place[:-1] else ""
        if name in self._known.thresholds:
            hint = "a threshold stands below [thresholds], or in the table of a service"
        else:
            hint = f"did you mean {near[0]}?" if near else f"known are {listed(there)}" if len(there) <= _FEW else ""
        self._problem(place, f"unknown {what} {name}{table}" + (f": {hint}" if hint else ""))

    def _problem(self, place: Path, text: str) -> None:
        where = place
        while where and where not in self._at:
            where = where[:-1]
        problem = (self._at.get(where, 1), text)
        if problem not in self.problems:
            self.problems.append(problem)


def _known(there: Iterable[Group], catalog: Iterable[Metric]) -> _Known:
    alerts = [alert for group in there for alert in group.alerts]
    metrics = [*(stock.metric for stock in STOCK), *catalog]

    def named_by(placeholder: str) -> list[Any]:
        return [alert for alert in alerts if placeholder in names(alert.expr)]

    return _Known(
        thresholds={each.name: each for alert in alerts for each in alert.thresholds},
        of_services=frozenset(each.name for alert in named_by("service") for each in alert.thresholds),
        of_routes=frozenset(each.name for alert in named_by("route") for each in alert.thresholds),
        alerts=frozenset(alert.name for alert in alerts),
        alerts_of_services=frozenset(alert.name for alert in named_by("service")),
        bounds={metric.name: metric.buckets for metric in metrics if metric.buckets},
    )


def _written(path: Path) -> str:
    """Write the name of a table as it stands in its brackets."""
    parts = [str(part) for part in path if isinstance(part, str)]
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in parts)


def _shown(value: object) -> str:
    """Write a value as TOML has it, shortened."""
    written = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    text = written or (f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004  a line's worth


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
