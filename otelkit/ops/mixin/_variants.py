"""The only place that makes rules of an alert's template: one for all services, one for each with its own numbers.

Rendered, not joined at run time: a rule says what it compares with, and costs nothing where nobody chose anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

from otelkit.ops.mixin.model import HEALTH, SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.ops.mixin.model import Alert, Language
    from otelkit.ops.mixin.parameters import Parameters, Service


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rule of an alert.

    Args:
        expr: PromQL or LogQL, without a placeholder.
        labels: Which this rule adds.
    """

    expr: str
    labels: Mapping[str, str]


def number(value: float) -> str:
    """Write a number as people do: 0.05, 2, 1000000000."""
    return str(int(value)) if value == int(value) else repr(value)


def filled(template: str, **more: str) -> str:
    """Fill in what a template names.

    Raises:
        KeyError: It names something else.
    """
    return Template(template).substitute({"S": ", ".join(SERVICE), **more})


def names(template: str) -> set[str]:
    """Return what a template names."""
    return set(Template(template).get_identifiers())


def variants(alert: Alert, parameters: Parameters) -> Iterator[Variant]:
    """Yield the rules of an alert; none where it is switched off."""
    if alert.name in parameters.disable or (alert.off and alert.name not in parameters.enable):
        return
    for_all = {each.name: parameters.in_force(each) for each in alert.thresholds}
    if alert.named:
        yield from _of_named(alert, parameters, for_all)
        return
    apart: list[str] = []
    own: list[Variant] = []
    if "service" in names(alert.expr):
        for name, service in sorted(parameters.services.items()):
            if alert.name in service.disable:
                apart.append(name)
            elif made := list(_of_service(alert, name, service, for_all)):
                apart.append(name)
                own += made
    yield Variant(expr=_expr(alert, for_all, _all_but(apart, alert.language), _all_routes_but(())), labels=alert.labels)
    yield from own


def _of_service(alert: Alert, name: str, service: Service, for_all: Mapping[str, float]) -> Iterator[Variant]:
    """Yield the rules of a service that has numbers of its own; none where it has none."""
    chosen = {**for_all, **_known(alert, service.thresholds)}
    routes = {}
    if "route" in names(alert.expr):
        routes = {route: own for route, said in sorted(service.routes.items()) if (own := _known(alert, said))}
    if chosen == for_all and not routes:
        return
    matcher = f'service_name="{quoted(name)}"'
    labels = {**alert.labels, "service_name": name}  # as it is already; else promtool takes two rules for one
    yield Variant(expr=_expr(alert, chosen, matcher, _all_routes_but(routes)), labels=labels)
    for route, own in routes.items():
        expr = _expr(alert, {**chosen, **own}, matcher, f'http_route="{quoted(route)}"')
        yield Variant(expr=expr, labels={**labels, "http_route": route})


def _of_named(alert: Alert, parameters: Parameters, for_all: Mapping[str, float]) -> Iterator[Variant]:
    """Yield a rule for each service that is to be there at all times."""
    for name, service in sorted(parameters.services.items()):
        if service.expected and alert.name not in service.disable:
            said = zip(SERVICE, (service.namespace, name, service.environment), strict=True)
            known = {label: value for label, value in said if value}
            matchers = ", ".join(f'{label}="{quoted(value)}"' for label, value in known.items())
            expr = _expr(alert, {**for_all, **_known(alert, service.thresholds)}, matchers, _all_routes_but(()))
            yield Variant(expr=expr, labels={**alert.labels, **known})


def _known(alert: Alert, said: Mapping[str, float]) -> dict[str, float]:
    return {each.name: said[each.name] for each in alert.thresholds if each.name in said}


def _expr(alert: Alert, thresholds: Mapping[str, float], service: str, route: str) -> str:
    numbers = {name: number(value) for name, value in thresholds.items()}
    return filled(alert.expr, service=service, route=route, **numbers)


def _all_but(services: list[str], language: Language) -> str:
    # A service's name is always there, unlike its namespace and environment; series without one are not a service's.
    # Loki refuses a selector in which nothing says what has to be there.
    all_of_them = 'service_name!=""' if language == "promql" else 'service_name=~".+"'
    return f'{all_of_them}, service_name!~"{any_of(services)}"' if services else all_of_them


def _all_routes_but(routes: Mapping[str, object] | tuple[()]) -> str:
    return f'http_route!~"{"|".join((HEALTH, *([any_of(list(routes))] if routes else [])))}"'


def any_of(words: list[str]) -> str:
    """Return the regular expression that matches exactly these, as it stands between quotes."""
    return quoted("|".join(map(_literal, words)))


def _literal(word: str) -> str:
    """Return the regular expression (RE2) that matches exactly this."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", word)


def meant(text: str) -> str:
    """Write what people said so that a template takes none of it for a placeholder."""
    return text.replace("$", "$$")


def quoted(word: str) -> str:
    """Write a text as it stands between quotes in PromQL and LogQL."""
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
