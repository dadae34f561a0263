"""The only place that runs cases of alerts: makes promtool's test files of them, and reads what promtool says.

A case is evaluated with the rules that its alert needs, and no others: the recordings that it reads, found by their
names, the rules of its name, and nothing else. That takes a fraction of a second for all cases, not minutes. Cases that
share rules share a file, and a call of promtool takes many files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from otelkit.ops.mixin import rules as written
from otelkit.ops.mixin._selected import selected
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.model import Group

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otelkit.metrics import Metric
    from otelkit.ops.mixin.model import Alert
    from otelkit.ops.mixin.parameters import Parameters
    from rules.case import Case

CORES = os.cpu_count() or 2
AT_A_TIME = 16  # files of one call: some take seconds, and no core is to wait for the other
LIMIT = 900  # seconds of one call: on a machine that does much else

UNREADABLE = "promtool cannot read this case or its rules"
"""How a verdict begins that is none."""

_WITH = re.compile(
    r"\{\{ with \$labels\.(\w+) \}\}([^{}]*)\{\{ \. \| urlquery \}\}([^{}]*)(?:\{\{ else \}\}(.*?))?\{\{ end \}\}"
)

Rule = dict[str, Any]
_RENDERED: dict[str, list[Rule]] = {}


class CaseError(Exception):
    """A case cannot be told from another, or names what does not exist."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Cases of one alert that are evaluated with the same rules.

    Args:
        rules: Recordings, in their order, and the alert's rules.
        cases: Which are looked at.
        meant: The rules that tell what is expected, where `rules` are spoilt on purpose; None: they are the same.
    """

    rules: Sequence[Rule]
    cases: Sequence[Case]
    meant: Sequence[Rule] | None = None


def alerts_of(case: Case) -> list[Alert]:
    """Return the declarations of a case's alert, as its parameters make them; alerts of one name differ in labels."""
    every = (alert for group in groups(case.parameters, case.catalog) for alert in group.alerts)
    return [alert for alert in every if alert.name == case.alert and alert.language == "promql"]


def needed(case: Case) -> list[Rule]:
    """Return the rules that a case's alert needs, as they are rendered: its own, and the recordings that they read.

    Raises:
        CaseError: No rule of Prometheus has the alert's name, with the case's parameters.
    """
    rules = _rendered(chosen(case), case.catalog)
    alerts = [rule for rule in rules if rule.get("alert") == case.alert]
    if not alerts:
        raise CaseError(f"{case}: no rule of this name")
    read = {name for rule in alerts for name in selected(rule["expr"])}
    recordings: list[Rule] = []
    while more := [rule for rule in rules if rule.get("record") in read and rule not in recordings]:
        recordings += more
        read |= {name for rule in more for name in selected(rule["expr"])}
    return [*(rule for rule in rules if rule in recordings), *alerts]


def chosen(case: Case) -> Parameters:
    """Return a case's parameters, with its alert on where that is off by default."""
    if not any(alert.off for alert in alerts_of(case)):
        return case.parameters
    return replace(case.parameters, enable=case.parameters.enable | {case.alert})


def jobs(cases: Iterable[Case]) -> list[Job]:
    """Return the cases, those together that share rules."""
    found: dict[str, Job] = {}
    for case in cases:
        rules = [rule if case.summary else without_summary(rule) for rule in needed(case)]
        key = json.dumps([rules, case.every])
        job = found.get(key, Job(rules=rules, cases=()))
        found[key] = Job(rules=rules, cases=(*job.cases, case))
    return list(found.values())


def rules_of(alert: Alert, parameters: Parameters) -> list[Rule]:
    """Return the rules of one declaration, as they are rendered."""
    return written.rules([Group(name="rules", about="", alerts=(alert,))], parameters, "promql")


def run(todo: Sequence[Job]) -> list[list[str]]:
    """Evaluate jobs, as many at a time as there are cores.

    Returns:
        For each job what promtool says of each of its cases: "" where it is as the case says.

    Raises:
        CaseError: promtool does not run, or it cannot be said what a case expects.
    """
    if shutil.which("promtool") is None:
        raise CaseError("promtool is not on PATH")
    with tempfile.TemporaryDirectory(prefix="otelkit-rules-") as folder, ThreadPoolExecutor(CORES) as pool:
        for index, job in enumerate(todo):
            _write(Path(folder), index, job)
        shares = [range(first, min(first + AT_A_TIME, len(todo))) for first in range(0, len(todo), AT_A_TIME)]
        said: dict[int, list[str]] = {}
        for found in pool.map(lambda share: _promtool(Path(folder), todo, share), shares):
            said |= found
    return [said[index] for index in range(len(todo))]


def expected(case: Case, rules: Iterable[Rule]) -> list[dict[str, Mapping[str, str]]]:
    """Return the alerts that promtool is to find, with all that the rule adds.

    Raises:
        CaseError: Several rules could have made one of them.
    """
    found: list[dict[str, Mapping[str, str]]] = []
    for series in case.fires:
        rule = _rule_of(case, series, rules)
        labels: Mapping[str, str] = {**series, **rule["labels"], "severity": _severity(case, series, rule)}
        annotations = {name: _annotation(case, name, text, series) for name, text in rule["annotations"].items()}
        found.append({"exp_labels": labels, "exp_annotations": annotations})
    return found


def without_summary(rule: Rule) -> Rule:
    """Return the rule for cases that leave the summary open."""
    if "annotations" not in rule:
        return rule
    return {**rule, "annotations": {name: text for name, text in rule["annotations"].items() if name != "summary"}}


def _rendered(parameters: Parameters, catalog: tuple[Metric, ...]) -> list[Rule]:
    """Return every rule of Prometheus, as it is written; made once."""
    key = repr((parameters, catalog))
    if key not in _RENDERED:
        every = groups(parameters, catalog)
        _RENDERED[key] = [rule for group in every for rule in written.rules_of(group, parameters, "promql")]
    return _RENDERED[key]


def _rule_of(case: Case, series: Mapping[str, str], rules: Iterable[Rule]) -> Rule:
    """Return the rule that makes an alert of these labels: the one whose own the case names most of."""
    scored: list[tuple[int, int, Rule]] = []
    for rule in rules:
        own = {name: value for name, value in rule.get("labels", {}).items() if "{{" not in value}
        named = own.keys() & series.keys()
        if "alert" in rule and all(own[name] == series[name] for name in named):
            scored.append((len(named), -len(own), rule))
    best = [rule for named, more, rule in scored if (named, more) == max(each[:2] for each in scored)]
    if len(best) != 1:
        what = "no rule adds" if not best else "several rules add"
        raise CaseError(f"{case}: {what} these labels, name more of them: {dict(series)}")
    return best[0]


def _severity(case: Case, series: Mapping[str, str], rule: Rule) -> str:
    """Return how loud an alert is: a critical one only where somebody pages for its environment."""
    said: str = rule["labels"]["severity"]
    if "{{" not in said:
        return said
    environment = series.get("deployment_environment_name", "")
    return "critical" if environment in ("", *case.parameters.page_environments) else "warning"


def _annotation(case: Case, name: str, text: str, series: Mapping[str, str]) -> str:
    """Return what an annotation's template gives; of the summary that is what the case says."""
    if name == "summary":
        return case.summary

    def filled(found: re.Match[str]) -> str:
        value = quote_plus(series.get(found[1], ""))
        return f"{found[2]}{value}{found[3]}" if value else found[4] or ""

    text = _WITH.sub(filled, text)
    if "{{" in text:
        raise CaseError(f"{case}: nothing here knows what the template of {name} gives: {text}")
    return text


def _write(folder: Path, index: int, job: Job) -> None:
    group = {"name": "rules", "rules": job.rules}
    (folder / f"{index}.rules.json").write_text(json.dumps({"groups": [group]}), encoding="utf-8")
    tests = [
        {
            "name": f"{number}",
            "interval": case.step,
            "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
            "alert_rule_test": [
                {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected(case, job.meant or job.rules)},
            ],
        }
        for number, case in enumerate(job.cases)
    ]
    document = {
        "rule_files": [f"{index}.rules.json"],
        "evaluation_interval": job.cases[0].every,
        "tests": tests,
    }
    (folder / f"{index}.json").write_text(json.dumps(document), encoding="utf-8")


def _promtool(folder: Path, todo: Sequence[Job], share: range) -> dict[int, list[str]]:
    """Run promtool on some jobs; return what it says of their cases."""
    report = folder / f"{share.start}.xml"
    files = [f"{index}.json" for index in share]
    words = ["promtool", "test", "rules", f"--junit={report}", *files]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)
    if not report.exists():
        raise CaseError(f"promtool: {done.stdout}{done.stderr}")
    suites = {suite.get("name"): suite for suite in ET.parse(report).getroot()}  # noqa: S314  written a moment ago, by promtool
    said = {}
    for index in share:
        suite = suites[f"{index}.json"]
        failures = {case.get("name", ""): case.findtext("failure", "") for case in suite.findall("testcase")}
        other = ET.tostring(suite, encoding="unicode", method="text")
        numbers = map(str, range(len(todo[index].cases)))
        said[index] = [_verdict(failures.get(number, other)) for number in numbers]
    return said


def _verdict(failure: str) -> str:
    """Tell what promtool found from what it could not read: what it finds, it finds at a time."""
    return failure if not failure or "time: " in failure else f"{UNREADABLE}: {failure}"
