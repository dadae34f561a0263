"""The only place that judges what a process told of itself (`otelkit._telling.Told`); nothing here asks anybody.

Each function looks at one area and yields findings; `otelkit.ops.doctor.KINDS` lists them all.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from otelkit._variables import find as variable
from otelkit.ops._words import listed
from otelkit.ops.doctor import find, ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otelkit._telling import Answered, Told
    from otelkit.ops.doctor import Finding

    _Area = Callable[[Told, Sequence[str]], Iterator[Finding]]

_SIGNALS = ("traces", "metrics", "logs")
_PORTS = {4317: "grpc", 4318: "http/protobuf"}
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
_LOUD = frozenset({"warning", "error", "critical"})
_LONGEST_INTERVAL = 60.0  # seconds; a query over a minute or two then sees one point, which makes no rate
_SKEW = 10.0  # seconds
_BETA_OFFSET = 21  # 1.45 and 0.66 are one release, as were 1.43 and 0.64
_FORKING = frozenset({"celery", "gunicorn", "uwsgi"})
_GREEN = frozenset({"eventlet", "gevent"})
_DENIED = frozenset({"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"})
_BUSY = frozenset({"429", "502", "503", "504", "RESOURCE_EXHAUSTED"})
_NO_RECEIVER = frozenset({"301", "302", "303", "307", "308", "404", "405", "UNIMPLEMENTED"})


def judge(told: Told, command: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Return what is wrong, or surprising, the worst first.

    Args:
        told: What the process told.
        command: How it was started; empty where an interpreter of this shell was asked.
    """
    areas: tuple[_Area, ...] = (_program,)
    if told.road != "another distro":  # else what otelkit would do, it does not
        areas = (_program, _installed, _variables, _off, _levels, _stores, _way_out, _clear, _processes)
    return ordered([finding for area in areas for finding in area(told, command)])


def _value(told: Told, name: str) -> Any:
    return told.settings[name].value


def _by(told: Told, name: str) -> str:
    """Say who chose a value, so that a reader knows where to change it."""
    origin = told.settings[name].origin
    return {"argument": "an argument of configure()", "default": "the default"}.get(origin, origin)


def _exported(told: Told) -> list[str]:
    return [name for name in _SIGNALS if "otlp" in _value(told, f"{name}.exporters")]


# -- the program -------------------------------------------------------------------------------------------------------


def _program(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    if told.road == "another distro":
        first = next((name for name in told.distros if name != "otelkit"), "another one")
        yield find(
            "another-distro",
            f"opentelemetry-instrument chose the distro {first}; otelkit is installed, and does nothing",
            f"start it by `otelkit run -- {_without_launcher(command)}`, or set OTEL_PYTHON_DISTRO=otelkit and "
            "OTEL_PYTHON_CONFIGURATOR=otelkit",
        )
        return
    for kind, id_, what, fix in (
        (
            "foreign",
            "foreign-provider",
            "the provider of {} is another product's; otelkit leaves it alone",
            "let one of the two products have the signal: call configure() before the other, or remove it",
        ),
        (
            "adopted",
            "adopted-provider",
            "the provider of {} existed before configure(); its sampler and its resource stay",
            "remove the hand-wired set-up, or keep it on purpose",
        ),
    ):
        signals = [name for name, given in told.providers.items() if given == kind]
        if signals:
            yield find(id_, what.format(listed(signals)), fix)


def _without_launcher(command: Sequence[str]) -> str:
    words = [Path(word).name if number == 0 else word for number, word in enumerate(command)]
    return " ".join(words[1:] if words[:1] == ["opentelemetry-instrument"] else words) or "CMD"


# -- what is installed -------------------------------------------------------------------------------------------------


def _installed(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    for line in told.unmet:
        yield find(
            "versions-mixed", line, "install one release of all opentelemetry packages in one run of the installer"
        )
    releases: dict[int, list[str]] = {}
    for name, text in told.versions.items():
        release = _release(text)
        if release is not None:
            releases.setdefault(release, []).append(f"{name} {text}")
    if len(releases) > 1 and not told.unmet:
        newest = max(releases)
        older = [each for release, packages in sorted(releases.items()) if release != newest for each in packages]
        yield find(
            "versions-mixed",
            f"{releases[newest][0]} is installed beside packages of other releases: {', '.join(older[:4])}",
            f"install 1.{newest} and 0.{newest + _BETA_OFFSET}b of all of them in one run of the installer",
        )
    chosen = told.distros[0] if told.distros else ""
    if len(told.distros) > 1 and not told.distro_named and not command:
        yield find(
            "two-distros",
            f"{listed(told.distros)} are installed; plain opentelemetry-instrument takes {chosen}",
            "start programs by `otelkit run -- CMD`, or set OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR to otelkit",
        )
    for verdict in told.verdicts:
        if verdict.wanted and not verdict.works:
            yield find(
                "library-refused",
                f"{verdict.integration} is not instrumented: {verdict.reason}",
                f"install a version that fits, or say configure(integrations={{'{verdict.integration}': False}})",
            )
    if told.unseen:
        yield find(
            "library-unseen",
            f"nothing instruments {listed(sorted(told.unseen))}",
            f"pip install {' '.join(sorted(set(told.unseen.values())))}",
        )
    if told.doubled:
        yield find(
            "instrumented-twice",
            f"contrib's {listed(told.doubled)} is active beside otelkit's own: each call makes two spans",
            "remove the calls of `...Instrumentor().instrument()`: otelkit instruments these libraries itself",
        )


def _release(text: str) -> int | None:
    """The minor number of the stable release that a version belongs to; None for a package with numbers of its own."""
    try:
        version = Version(text)
    except InvalidVersion:
        return None
    if version.major == 1:
        return version.minor
    if version.major == 0 and version.pre is not None and version.minor > _BETA_OFFSET:
        return version.minor - _BETA_OFFSET
    return None


# -- variables ---------------------------------------------------------------------------------------------------------


def _variables(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    for line in told.problems:
        name, _, reason = line.rstrip(".").partition(": ")
        row = variable(name)
        what, _, instead = reason.partition("; ")
        if " port " in f" {reason}" and "but the protocol is" in reason:
            continue  # `_ports` tells it with what the endpoint answered
        if row is None:
            yield find("variable-misspelt", f"{name}: {what}", instead or "correct its name, or unset it")
        elif name.endswith("CONFIG_FILE"):
            yield find("config-file", f"{name} is set, and {instead}", "unset it, and say the same by OTEL_* variables")
        elif row.refused:
            yield find("variable-refused", f"{name} is set, and not honoured", f"{row.note}; unset it")
        elif "not exported" not in instead:
            yield find("variable-wrong", f"{name}: {what}; {instead}", f"correct {name}: {_wanted(row)}")


def _wanted(row: Any) -> str:
    return str(row.reading.label) if row.kind is not None else "see docs/reference/settings.md"


# -- what is switched off ----------------------------------------------------------------------------------------------


def _off(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    if _value(told, "disabled"):
        by = _by(told, "disabled")
        yield find("telemetry-disabled", f"{by} switches all telemetry off", f"unset {by}")
        return
    for name in _SIGNALS:
        exporters = _value(told, f"{name}.exporters")
        if f"{name}.degraded" in told.settings:
            why = str(_value(told, f"{name}.degraded"))
            yield find("signal-broken", f"{name} are not exported: {why}", f"correct {why.partition(':')[0]}")
        elif not {"otlp", "prometheus"} & set(exporters):
            by = _by(told, f"{name}.exporters")
            yield find(
                "signal-off",
                f"{name} are not exported: {by} is {', '.join(exporters)}",
                f"unset {by}, or set it to otlp",
            )
    if not told.service and "adopted" not in told.providers.values():
        yield find(
            "service-unnamed",
            "no service name is set: everything is stored as unknown_service",
            "set OTEL_SERVICE_NAME, or configure(service_name=...)",
        )
    yield from _sampling(told)
    if _value(told, "exemplar_filter") == "always_off":
        yield find(
            "exemplars-off",
            f"{_by(told, 'exemplar_filter')} is always_off: no metric leads to a trace",
            "set OTEL_METRICS_EXEMPLAR_FILTER=trace_based",
        )
    if "tracecontext" not in _value(told, "propagators"):
        passed = ", ".join(_value(told, "propagators")) or "none"
        yield find(
            "context-not-passed",
            f"{_by(told, 'propagators')} is {passed}, without tracecontext: each service begins traces of its own",
            "set OTEL_PROPAGATORS=tracecontext,baggage",
        )


def _levels(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    if _value(told, "log_level") in _LOUD:
        level = _value(told, "log_level")
        yield find(
            "log-level-hides",
            f"{_by(told, 'log_level')} is {level}: records below it go neither to stdout nor to the store",
            "set OTELKIT_LOG_LEVEL=info",
        )
    if told.root_level:
        yield find(
            "root-level-hides",
            f"the root logger's level is {told.root_level}: what `logging` is told below it goes nowhere",
            "logging.basicConfig(level=logging.INFO), or configure() before basicConfig()",
        )
    if (level := _value(told, "diagnostics_level")) in ("error", "critical"):
        yield find(
            "reports-hidden",
            f"{_by(told, 'diagnostics_level')} is {level}: OpenTelemetry's warnings are hidden",
            "set OTEL_LOG_LEVEL=info",
        )


def _sampling(told: Told) -> Iterator[Finding]:
    sampler, share = _value(told, "sampler"), _value(told, "sampler_arg")
    by = _by(told, "sampler")
    if sampler.endswith("always_off") or (sampler in _RATIO_SAMPLERS and share == 0):
        kept = "" if sampler.startswith("traceidratio") else ", save those that a caller sampled"
        yield find(
            "sampler-drops-all",
            f"{by} is {sampler}{'' if share is None else f' with share {share:g}'}: no trace that begins here is kept"
            + (kept if sampler.startswith("parentbased") else ""),
            "set OTEL_TRACES_SAMPLER=parentbased_always_on, or a share above 0 in OTEL_TRACES_SAMPLER_ARG",
        )
    elif sampler in _RATIO_SAMPLERS and share is not None and share < 1:
        yield find(
            "sampler-ratio",
            f"{by} is {sampler} with share {share:g}: {1 - share:.3g} of the traces that begin here are not kept",
            "nothing, if that is meant; failing requests are told all the same",
        )


# -- what a store does not take ----------------------------------------------------------------------------------------


def _stores(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    exporters = _value(told, "metrics.exporters")
    if "otlp" in exporters and _value(told, "temporality") in ("delta", "lowmemory"):
        yield find(
            "delta-to-prometheus",
            f"{_by(told, 'temporality')} is {_value(told, 'temporality')}: Prometheus drops such sums and histograms",
            "set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative, unless the store wants deltas",
        )
    if _value(told, "histogram_aggregation").startswith("base2"):
        yield find(
            "exponential-histograms",
            f"{_by(told, 'histogram_aggregation')} makes native histograms: queries for series `..._bucket` find none",
            "set OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=explicit_bucket_histogram",
        )
    if {"otlp", "prometheus"} <= set(exporters):
        port = _value(told, "prometheus_port")
        yield find(
            "metrics-twice",
            f"{_by(told, 'metrics.exporters')} pushes metrics, and serves them on port {port}",
            "let one store take one of the two, or every sum over series is double",
        )
    interval = _value(told, "metric_interval")
    if exporters != ["none"] and interval > _LONGEST_INTERVAL:
        yield find(
            "interval-long",
            f"{_by(told, 'metric_interval')} sends metrics every {interval:g} s: rates over a minute or two are empty",
            "set OTEL_METRIC_EXPORT_INTERVAL=15000",
        )


# -- the way out -------------------------------------------------------------------------------------------------------


def _way_out(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    groups: dict[tuple[str, ...], list[Answered]] = {}
    for answered in told.answers:
        id_, why, fix = refusal(answered)
        if id_:
            groups.setdefault((id_, _place(answered.endpoint), why, fix), []).append(answered)
    wrong_ports = {each.id: each for name in _exported(told) for each in _ports(told, name)}
    reached = {answered.signal for answered in told.answers if answered.outcome == "delivered"}
    if wrong_ports and not reached:
        yield from wrong_ports.values()
        return  # what it answered is what that port answers
    for (id_, place, why, fix), answers in groups.items():
        signals = listed([answered.signal for answered in answers])
        by = _by(told, f"{answers[0].signal}.endpoint")
        yield find(id_, f"{signals} to {place} ({by}): {why}", fix)
    clocks = [answered.clock for answered in told.answers if answered.clock is not None]
    if clocks and abs(clocks[0]) > _SKEW:
        ahead = "ahead of" if clocks[0] > 0 else "behind"
        yield find(
            "clock-skew",
            f"the clock at {_place(told.answers[0].endpoint)} is {abs(clocks[0]):.0f} s {ahead} the one here",
            "let both follow NTP: spans and records are found by their time",
        )


def _ports(told: Told, name: str) -> Iterator[Finding]:
    endpoint, protocol = _value(told, f"{name}.endpoint"), _value(told, f"{name}.protocol")
    port = _port(endpoint)
    speaks = _PORTS.get(port or 0, protocol)
    if speaks != protocol and told.settings[f"{name}.endpoint"].origin != "default":
        right = next(number for number, spoken in _PORTS.items() if spoken == protocol)
        yield find(
            "port-protocol",
            f"{_by(told, f'{name}.endpoint')} names port {port}, which is for {speaks}; the protocol is {protocol}",
            f"use port {right}, or set OTEL_EXPORTER_OTLP_PROTOCOL={speaks}",
        )


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None


def _place(endpoint: str) -> str:
    """The endpoint without the path that each signal adds."""
    return re.sub(r"/v1/(?:traces|metrics|logs)$", "", endpoint)


def refusal(answered: Answered) -> tuple[str, str, str]:
    """Name the finding that an answer is, why, and what to do; "" where it was taken."""
    reason = answered.reason or answered.error or ""
    if answered.outcome == "delivered":
        if answered.media_type in (None, "application/x-protobuf", "application/json"):
            return "", "", ""
        reason = f"it answers {answered.media_type}, as no receiver of OTLP does"
    for id_, applies, fix in _REFUSALS:
        if applies(answered, f"{answered.error} {reason}"):
            extra = "grpc" if answered.protocol == "grpc" else "all"
            other = "http/protobuf, port 4318" if answered.protocol == "grpc" else "grpc, port 4317"
            return id_, reason, fix.format(extra=extra, other=other)
    raise AssertionError(answered)  # the last one applies to everything


_REFUSALS: tuple[tuple[str, Callable[[Answered, str], object], str], ...] = (
    (
        "package-missing",
        lambda answered, _: answered.outcome == "impossible",
        'pip install "otelkit[{extra}]", or use the other protocol: {other}',
    ),
    (
        "endpoint-not-otlp",
        lambda answered, _: answered.outcome == "delivered",
        "name the Collector's address and port, not those of a web server before it",
    ),
    (
        "endpoint-silent",
        lambda answered, _: answered.silent,
        "start the Collector (`otelkit stack up`), or correct host and port",
    ),
    (
        "endpoint-speaks-else",
        lambda _, said: re.search(r"no (gRPC|HTTP/1\.1) is spoken", said),
        "correct the port, or set the protocol to {other}",
    ),
    (
        "endpoint-not-otlp",
        lambda answered, _: answered.error in _NO_RECEIVER,
        "give the Collector a pipeline for each of these signals, with the receiver otlp; or correct the address",
    ),
    (
        "endpoint-denies",
        lambda answered, _: answered.error in _DENIED,
        "set OTEL_EXPORTER_OTLP_HEADERS to what the receiver wants",
    ),
    (
        "endpoint-busy",
        lambda answered, _: answered.error in _BUSY,
        "look at the Collector's memory and queues: `otelkit doctor --prove`",
    ),
    (
        "endpoint-tls",
        lambda _, said: re.search(r"certificate|TLS|SSL|[Hh]andshake", said),
        "name the authority's file in OTEL_EXPORTER_OTLP_CERTIFICATE; where plain text is meant, write http://",
    ),
    (
        "endpoint-slow",
        lambda _, said: re.search(r"timed? ?out|DEADLINE_EXCEEDED", said, re.IGNORECASE),
        "look for a firewall between here and there, or a receiver that hangs",
    ),
    ("endpoint-refuses", lambda _, __: True, "look into the receiver's log"),
)
"""What an answer that is no acknowledgement means: the finding, by the answer or by what was said, and the fix."""


# -- secrets in clear --------------------------------------------------------------------------------------------------


def _clear(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    del command
    for name in _exported(told):
        endpoint = str(_value(told, f"{name}.endpoint"))
        headers = _value(told, f"{name}.headers")
        plain = endpoint.startswith("http://") or bool(_value(told, f"{name}.insecure"))
        if headers and plain and not _is_local(endpoint):
            yield find(
                "headers-in-clear",
                f"{listed(headers)} ({_by(told, f'{name}.headers')}) go to {_place(endpoint)} without TLS",
                "use https://, or a Collector on this host that adds them",
            )
            return


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or endpoint.startswith("unix")


# -- processes ---------------------------------------------------------------------------------------------------------


def _processes(told: Told, command: Sequence[str]) -> Iterator[Finding]:
    grpc = [name for name in _exported(told) if _value(told, f"{name}.protocol") == "grpc"]
    if not grpc:
        return
    words = [Path(word).name for word in command]
    green = sorted((_GREEN & set(told.neighbours)) | (_GREEN & {word.partition("=")[2] or word for word in words}))
    fix = "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, and port 4318"
    if green:
        yield find("grpc-gevent", f"{listed(grpc)} go by gRPC in a process with {listed(green)}", fix)
    forking = sorted(_FORKING & set(words))
    if forking:
        yield find("grpc-fork", f"{listed(grpc)} go by gRPC, and {listed(forking)} forks its workers", fix)
