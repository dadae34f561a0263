"""The only place for the board of issues: what is broken in the code, without a further service.

An issue is a fingerprint: the same for the same failure, in the log, on the span and in the metric.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops import _explore
from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, LINES, records, to, traces
from otelkit.ops.mixin.boards.model import Board, Column, Panel, Target, Variable

_ISSUE: Final = Variable(name="issue", label="Only the fingerprint", every=".+")
_FOUND: Final = f'{LINES} | exception_fingerprint =~ "$issue"'
_BY: Final = "service_name, exception_type, exception_fingerprint"
_NANOSECONDS: Final = 1_000_000
_FINGERPRINT: Final = "exception_fingerprint"
_CELL: Final = "${__value.raw:percentencode}"
_TIMES: Final = {"start": "${__from}", "end": "${__to}"}

_COLUMNS: Final = {
    "service_name": Column(title="Service", board="red", var="svc"),
    "exception_type": Column(title="Exception"),
    _FINGERPRINT: Column(
        title="Fingerprint",
        board="issues",
        var="issue",
        # A failure that was caught and logged is on no span: its records lead to their traces.
        links={
            "Failing traces": _explore.tempo(f'{{span.exception.fingerprint="{_CELL}"}}', **_TIMES),
            "Records, each with its trace": _explore.loki(
                f'{{service_name=~".+"}} | exception_fingerprint="{_CELL}"', **_TIMES
            ),
        },
    ),
    "service_version": Column(title="Version", board="release", var="new"),
}


def _column(title: str, query: str, unit: str = "") -> Target:
    """Make a column of a query: Loki's answer has a label that says which one it is."""
    named = f'label_replace({query}, "column", "{title}", "", "")'
    return Target(query=named, legend=title, instant=True, unit=unit)


def _seen(title: str, function: str, by: str = _BY) -> Target:
    """Make a column of a time, in milliseconds as Grafana counts."""
    query = f"{function}({_FOUND} | unwrap observed_timestamp [$__range]) by ({by}) / {_NANOSECONDS}"
    return _column(title, query, "dateTimeFromNow")


_SYMPTOMS = (
    Panel(
        title="Issues",
        about="Failures by fingerprint, the newest first: a first time after the last deployment is what it broke. A "
        "click on a fingerprint narrows this board to it, or finds its traces.",
        unit="short",
        source="loki",
        targets=(
            _column("Times", f"sum by ({_BY}) (count_over_time({_FOUND} [$__range]))"),
            _seen("First seen", "min_over_time"),
            _seen("Last seen", "max_over_time"),
        ),
        link=records("Records", ' | exception_fingerprint != ""'),
        kind="table",
        width=24,
        columns=_COLUMNS,
        sort="First seen",
    ),
    Panel(
        title="Issues over time",
        about="How often each failure happened. One that begins all at once came with a deployment, or with an outage.",
        unit="short",
        source="loki",
        targets=(
            Target(
                query=f"sum by (exception_type, {_FINGERPRINT}) (count_over_time({_FOUND} [$__auto]))",
                legend="{{exception_type}} {{exception_fingerprint}}",
            ),
        ),
        link=to("release", "Compare versions"),
        kind="bars",
        width=12,
    ),
    Panel(
        title="By version",
        about="Which versions have the failure, and since when. One on the newest version only: roll it back.",
        unit="short",
        source="loki",
        targets=(
            _column("Times", f"sum by ({_FINGERPRINT}, service_version) (count_over_time({_FOUND} [$__range]))"),
            _seen("First seen", "min_over_time", f"{_FINGERPRINT}, service_version"),
        ),
        link=to("release", "Compare versions"),
        kind="table",
        width=12,
        columns=_COLUMNS,
        sort="First seen",
    ),
)

_TRAFFIC = (
    Panel(
        title="By route",
        about="Exceptions in the time shown, by the route whose request they broke; counted once for each trace.",
        unit="short",
        targets=(
            Target(
                query="topk(10, sum by (service_name, http_route, exception_fingerprint) "
                f'(increase(otelkit_exceptions_total{{{CHOSEN}, exception_fingerprint=~"$issue"}}[$__range])) > 0)',
                legend="Times",
                instant=True,
            ),
        ),
        link=to("red", "Requests"),
        kind="table",
        width=12,
        columns={**_COLUMNS, "http_route": Column(title="Route")},
        sort="Times",
    ),
    Panel(
        title="Failing traces",
        about="The newest traces with an error in the service. A click opens one: who called whom, where it broke.",
        unit="short",
        source="tempo",
        targets=(Target(query='{resource.service.name=~"$svc" && status=error} | select(span.exception.fingerprint)'),),
        link=traces("status=error", "All of them"),
        kind="searched",
        width=12,
    ),
)

_RECORDS = (
    Panel(
        title="Latest",
        about="The records of the failures, newest first. Open one: message, stack trace, and the way to its trace.",
        unit="short",
        source="loki",
        targets=(Target(query=_FOUND),),
        link=records("Explore", ' | exception_fingerprint != ""'),
        kind="logs",
        width=24,
    ),
)

BOARD: Final = Board(
    name="issues",
    title="Issues",
    question="What is broken in the code, since when, in which version, and where is a trace of it?",
    rows={"Symptoms": _SYMPTOMS, "Traffic": _TRAFFIC, "Records": _RECORDS},
    variables=(*CHOICE, _ISSUE),
    range="now-24h",
)
