"""The only place for what `otelkit doctor` says: a finding, its severity, and the list of all that there are.

    asking      starts a process and has it tell of itself (otelkit._telling)
    findings    what is wrong with what it told
    report      both, for a terminal and as JSON

`otelkit doctor --prove` sends a canary and follows it:

    canary      the process that sends, as an application would
    hops        where it should have come by, one after the other, and what to do where it did not
    collector   what the Collector says of itself
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["KINDS", "Finding", "Kind", "Severity", "find"]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of finding.

    Args:
        severity: "error": telemetry is lost or missing; "warning": it will surprise; "note": good to know.
        means: What it is about, for the reference.
    """

    severity: Severity
    means: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a program's telemetry that its owner wants to know.

    Args:
        id: A key of `KINDS`.
        severity: That of its kind.
        what: One line: what was found, by name.
        fix: One line: what to do about it.
    """

    id: str
    severity: Severity
    what: str
    fix: str


def _error(means: str) -> Kind:
    return Kind(severity="error", means=means)


def _warning(means: str) -> Kind:
    return Kind(severity="warning", means=means)


def _note(means: str) -> Kind:
    return Kind(severity="note", means=means)


KINDS: dict[str, Kind] = {
    # The program
    "not-configured": _error("the program called no `configure()`, and no launcher made that call for it"),
    "command-failed": _error("the program ended before it had configured telemetry"),
    "another-distro": _error("`opentelemetry-instrument` chose another distro than otelkit"),
    "other-otelkit": _error("the program has another version of otelkit than this doctor"),
    "foreign-provider": _warning("another product's provider is in place; otelkit leaves that signal alone"),
    "adopted-provider": _note("SDK providers were there before `configure()`: their sampler and resource stay"),
    # What is installed
    "versions-mixed": _error("OpenTelemetry packages of different releases, or a requirement that is not met"),
    "two-distros": _warning("several distros are installed: which one `opentelemetry-instrument` takes is chance"),
    "library-refused": _error("a library is installed in a version that cannot be instrumented"),
    "library-unseen": _note("libraries are installed that nothing instruments"),
    "instrumented-twice": _warning("a contrib instrumentor is active beside otelkit's own: spans are doubled"),
    # Variables
    "variable-misspelt": _warning("a variable that nothing reads looks like one that is read"),
    "variable-refused": _warning("a variable is set that otelkit does not honour"),
    "variable-wrong": _warning("a variable has a value that cannot be used; a default takes its place"),
    "config-file": _warning("a declarative configuration file is named; otelkit does not read it"),
    # What is switched off
    "telemetry-disabled": _warning("all telemetry is switched off"),
    "signal-broken": _error("a signal is not exported because of a wrong variable"),
    "signal-off": _warning("a signal is not exported because a setting says so"),
    "service-unnamed": _warning("`service.name` is not set: everything is stored as `unknown_service`"),
    "sampler-drops-all": _warning("the sampler keeps no trace"),
    "sampler-ratio": _note("the sampler keeps a share of the traces"),
    "exemplars-off": _warning("no measurement becomes an exemplar: metrics do not lead to traces"),
    "log-level-hides": _warning("records below a level are not kept"),
    "root-level-hides": _warning("the root logger has a level of its own, which hides records of the logging module"),
    "reports-hidden": _note("what OpenTelemetry and otelkit say about lost telemetry is hidden"),
    "context-not-passed": _warning("the W3C trace context is not among the propagators: traces end at each service"),
    # What a store does not take, or takes twice
    "delta-to-prometheus": _warning("sums since the last export are sent; Prometheus drops them"),
    "exponential-histograms": _note("histograms have no buckets with fixed bounds; queries for `_bucket` find nothing"),
    "metrics-twice": _note("metrics are pushed and served for scraping: one store must not take both"),
    "interval-long": _warning("metrics are sent more seldom than queries over minutes need"),
    # The way out
    "port-protocol": _error("the endpoint's port is the other protocol's"),
    "package-missing": _error("the protocol needs a package that is not installed"),
    "endpoint-silent": _error("nobody listens at the endpoint, or its name is unknown"),
    "endpoint-slow": _error("the endpoint does not answer in time"),
    "endpoint-tls": _error("no TLS connection to the endpoint is made"),
    "endpoint-speaks-else": _error("the endpoint speaks another protocol than the one that is set"),
    "endpoint-not-otlp": _error("the endpoint answers, but is no receiver of OTLP for this signal"),
    "endpoint-denies": _error("the endpoint refuses the credentials"),
    "endpoint-busy": _warning("the endpoint refuses for now"),
    "endpoint-refuses": _error("the endpoint refuses for another reason"),
    "headers-in-clear": _warning("headers, which may hold secrets, go to another host without TLS"),
    "clock-skew": _warning("the clocks here and at the endpoint differ"),
    # The stack on this machine
    "nobody-paged": _warning("the stack that runs here wakes nobody when an alert is critical"),
    # Processes
    "grpc-gevent": _error("a process with gevent's or eventlet's patches sends by gRPC, which blocks every greenlet"),
    "grpc-fork": _warning("processes that are forked send by gRPC"),
}
"""Every finding by its id, in the order in which a report has those of one severity."""

_ORDER = {"error": 0, "warning": 1, "note": 2}


def find(id_: str, what: str, fix: str) -> Finding:
    """Return a finding of a kind in the list."""
    return Finding(id=id_, severity=KINDS[id_].severity, what=" ".join(what.split()), fix=" ".join(fix.split()))


def ordered(found: list[Finding]) -> tuple[Finding, ...]:
    """Return findings, the worst first, each once."""
    places = list(KINDS)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (_ORDER[each.severity], places.index(each.id))))
