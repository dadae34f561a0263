"""The only place that spoils alerts, to see whether a case notices: a number that no case holds is a number untested.

`python -m rules.mutation http HighLatency` chooses groups and alerts, by name; without a name it takes all. What is
spoilt, one thing at a time, of an alert and of the recordings that it reads: each number, doubled and halved; each
comparison, turned round; each `and`, `or` and `unless`; each matcher, left out; the probes, counted; how long it lasts;
how loud it is; and that it fires at all. A mutant that no case notices fails, unless `SURVIVORS` beside the cases says
why none can.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from otelkit.ops.mixin.model import HEALTH
from rules import found, promtool
from rules.durations import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from otelkit.ops.mixin.model import Alert
    from otelkit.ops.mixin.parameters import Parameters
    from rules.case import Case
    from rules.promtool import Rule

_MANY = 80  # evaluations: 20 minutes
_NEVER = "vector(0) > 1"
_TEXT = r'"(?:\\.|[^"\\])*"'
_TURNED = {">": "<", "<": ">", ">=": "<", "<=": ">", "==": "!=", "!=": "==", "and": "or", "or": "and", "unless": "or"}
# Texts, windows and offsets are left alone: a match of a text or a window is passed over.
_TOKEN = re.compile(
    rf'{_TEXT}|\[[^\]]*\]|\{{(?:{_TEXT}|[^}}"])*\}}|\$\{{?\w+\}}?'
    r"|(?P<word>[a-zA-Z_:][\w:]*)|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?P<unit>[a-z]\w*)?|(?P<compared>[><]=?|[=!]=)"
)
_BRACES = re.compile(rf'\{{((?:{_TEXT}|[^}}"])*)\}}')
_MATCHER = re.compile(rf"\w+\s*(?:=~|!~|!=|=)\s*{_TEXT}|\$\w+")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """An alert with one thing spoilt.

    Args:
        name: What is spoilt, as `SURVIVORS` names it.
        alert: The alert that it is made of.
        spoilt: Makes the alert of it.
        chosen: Makes the parameters that it is rendered with of a case's.
        rule: Makes a rule of one that is rendered.
    """

    name: str
    alert: Alert
    spoilt: Alert
    chosen: Callable[[Parameters], Parameters] = lambda parameters: parameters
    rule: Callable[[Rule], Rule] = lambda rule: rule

    def __str__(self) -> str:
        """Return the alert, and what is spoilt of it."""
        more = ", ".join(f"{name}={value}" for name, value in self.alert.labels.items())
        return f"{self.alert.name}{f' ({more})' if more else ''}: {self.name}"


def mutants(alert: Alert) -> Iterator[Mutant]:
    """Yield what one thing spoilt makes of an alert."""

    def spoilt(name: str, **more: str) -> Mutant:
        return Mutant(name=name, alert=alert, spoilt=replace(alert, **more))  # type: ignore[arg-type]  # of fields that are texts

    yield spoilt("never", expr=_NEVER)
    for name, expr in _expressions(alert.expr):
        yield spoilt(name, expr=expr)
    yield from _thresholds(alert)
    if "$route" in alert.expr:
        yield Mutant(name="probes counted", alert=alert, spoilt=alert, rule=_with_probes)
    if alert.lasting != "0s":
        yield spoilt("no for", lasting="0s")
        yield spoilt("for x10", lasting=f"{10 * seconds(alert.lasting)}s")
    severity = "warning" if alert.severity == "critical" else "critical"
    yield spoilt(f"severity {severity}", severity=severity)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Args:
        count: How many mutants there are.
        left: Those that no case notices.
        broken: Cases that fail although nothing is spoilt: they would notice whatever there is, and were left out.
    """

    count: int
    left: list[str]
    broken: list[str]


def spoil(cases: Sequence[Case]) -> Outcome:
    """Spoil the alerts of the cases, and the recordings that they read, one thing at a time.

    Raises:
        CaseError: A mutant is no rule, or a case is none.
    """
    jobs = promtool.jobs(cases)
    verdicts = zip(jobs, promtool.run(jobs), strict=True)
    wrong = [case for job, said in verdicts for case, verdict in zip(job.cases, said, strict=True) if verdict]
    right = [case for case in cases if case not in wrong]
    # One file of cases after another, those of hours last, and no more to a mutant that one has noticed.
    waiting: dict[str, list[promtool.Job]] = {}
    names: dict[str, str] = {}
    for some in ([case for case in right if not _long(case)], [case for case in right if _long(case)]):
        for job in promtool.jobs(some):
            alike = _alike(promtool.chosen(job.cases[0]))
            for name, mutant in _spoilt(job):
                same = alike(name)
                waiting.setdefault(same, []).append(mutant)
                names.setdefault(same, name)
    left = dict.fromkeys(waiting)
    while made := [(name, waiting[name].pop(0)) for name in left if waiting[name]]:
        for (name, _), said in zip(made, promtool.run([mutant for _, mutant in made]), strict=True):
            if any(each.startswith(promtool.UNREADABLE) for each in said):
                raise promtool.CaseError(f"{name}: {said[0]}")
            if any(said):
                del left[name]
    return Outcome(count=len(waiting), left=[names[each] for each in left], broken=list(map(str, wrong)))


def _long(case: Case) -> bool:
    return seconds(case.at) / seconds(case.every) > _MANY


def _spoilt(job: promtool.Job) -> Iterator[tuple[str, promtool.Job]]:
    """Yield a job with each mutant of its alert, and of the recordings that it loads, by the mutant's name."""
    for mutant in (mutant for alert in promtool.alerts_of(job.cases[0]) for mutant in mutants(alert)):
        yield str(mutant), _with(mutant, job)
    for index, rule in enumerate(job.rules):
        if "record" in rule:
            more = "".join(f" ({name}={value})" for name, value in rule.get("labels", {}).items())
            for name, expr in _expressions(rule["expr"]):
                rules = [*job.rules[:index], {**rule, "expr": expr}, *job.rules[index + 1 :]]
                yield f"{rule['record']}{more}: {name}", replace(job, rules=rules, meant=job.rules)


def _alike(parameters: Parameters) -> Callable[[str], str]:
    """Return what calls mutants of recordings alike that differ in what was chosen only: an objective, a service."""
    chosen = dict.fromkeys(parameters.services, "SERVICE")
    for slo in parameters.slos:
        chosen |= {slo.name: "SLO", slo.service: "SERVICE", slo.namespace: "NAMESPACE", slo.environment: "ENVIRONMENT"}
        chosen |= {slo.route: "ROUTE", f"{slo.objective}": "OBJECTIVE"}
    words = "|".join(re.escape(word) for word in sorted(chosen, key=len, reverse=True) if word)
    if not words:
        return str
    # A number stands alone, a text as a value: `beat` is a service in `service_name="beat"`, else a threshold.
    value = re.compile(rf'(?:(?<=[="|])|(?<![\w.:-])(?=\d))(?:{words})(?![\w.:-])')
    return lambda name: value.sub(lambda found: chosen[found[0]], name)


def _with(mutant: Mutant, job: promtool.Job) -> promtool.Job:
    """Return a job with the mutant's rules in the place of the alert's."""
    parameters = promtool.chosen(job.cases[0])
    meant = promtool.rules_of(mutant.alert, parameters)
    spoilt = [mutant.rule(rule) for rule in promtool.rules_of(mutant.spoilt, mutant.chosen(parameters))]
    if not job.cases[0].summary:
        meant, spoilt = ([promtool.without_summary(rule) for rule in rules] for rules in (meant, spoilt))
    return replace(job, rules=[*(rule for rule in job.rules if rule not in meant), *spoilt], meant=job.rules)


def _expressions(expr: str) -> Iterator[tuple[str, str]]:
    """Yield each expression with one thing spoilt, by what that is; the second of a kind is called `name #2`."""
    seen: dict[str, int] = {}

    def named(name: str) -> str:
        seen[name] = seen.get(name, 0) + 1
        return name if seen[name] == 1 else f"{name} #{seen[name]}"

    for token in _TOKEN.finditer(expr):
        before, text, after = expr[: token.start()], token[0], expr[token.end() :]
        if token["number"] and not token["unit"] and float(text):
            for name, factor in ((named(f"{text} x2"), 2), (named(f"{text} /2"), 0.5)):
                yield name, f"{before}{float(text) * factor:.15g}{after}"
        elif (turned := _TURNED.get(text)) is not None:
            yield named(f"{text} turned {turned}"), f"{before}{turned}{after}"
    for braces in _BRACES.finditer(expr):
        matchers = _MATCHER.findall(braces[1])
        for index, matcher in enumerate(matchers):
            # Every service has a name: what has none is no service's, and no alert looks at it.
            if not matcher.startswith(("$", "__name__", 'service_name!=""')):
                left = ", ".join((*matchers[:index], *matchers[index + 1 :]))
                yield named(f"without {matcher}"), f"{expr[: braces.start()]}{{{left}}}{expr[braces.end() :]}"


def _thresholds(alert: Alert) -> Iterator[Mutant]:
    for threshold in alert.thresholds:
        for name, factor in (("x2", 2.0), ("/2", 0.5)):

            def scaled(parameters: Parameters, key: str = threshold.name, by: float = factor) -> Parameters:
                return _scaled(parameters, key, by)

            others = tuple(each for each in alert.thresholds if each is not threshold)
            spoilt = replace(alert, thresholds=(*others, replace(threshold, default=threshold.default * factor)))
            yield Mutant(name=f"{threshold.name} {name}", alert=alert, spoilt=spoilt, chosen=scaled)


def _scaled(parameters: Parameters, name: str, factor: float) -> Parameters:
    """Return parameters in which a threshold is another wherever somebody chose it."""

    def of(said: Mapping[str, float]) -> dict[str, float]:
        return {key: value * factor if key == name else value for key, value in said.items()}

    services = {
        key: replace(
            service,
            thresholds=of(service.thresholds),
            routes={route: of(said) for route, said in service.routes.items()},
        )
        for key, service in parameters.services.items()
    }
    return replace(parameters, thresholds=of(parameters.thresholds), services=services)


def _with_probes(rule: Rule) -> Rule:
    return {**rule, "expr": rule["expr"].replace(HEALTH, "/none")}


def main(*names: str) -> int:
    """Print the mutants that no case notices; return how many there are without a reason, and reasons without one."""
    began = time.monotonic()
    groups = [name for name in names if name in found.names()]
    cases = [case for case in found.cases(*groups) if not names or groups or case.alert in names]
    outcome = spoil(cases)
    reasons = {name: why for name, why in found.survivors(*groups).items() if groups or not names}
    reasons |= {name: why for name, why in found.survivors().items() if re.split(r" \(|: ", name)[0] in names}
    wrong = [f"{case}: fails as it is" for case in outcome.broken]
    wrong += [f"{mutant}: no case notices" for mutant in outcome.left if mutant not in reasons]
    wrong += [f"{mutant}: explained, but noticed, or no mutant" for mutant in sorted(reasons.keys() - {*outcome.left})]
    for line in (*(f"{mutant}: {reasons[mutant]}" for mutant in outcome.left if mutant in reasons), *wrong):
        print(line)
    print(
        f"{outcome.count} mutants of {len({case.alert for case in cases})} alerts and their recordings: "
        f"{outcome.count - len(outcome.left)} noticed, {len(outcome.left)} survive; "
        f"{len(wrong)} to mend; {time.monotonic() - began:.0f} s"
    )
    return len(wrong)


if __name__ == "__main__":
    try:
        sys.exit(1 if main(*sys.argv[1:]) else 0)
    except promtool.CaseError as error:
        sys.exit(str(error))
