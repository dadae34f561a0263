"""`otelkit doctor`: what it makes of what a process tells; each kind of finding by a case that has it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from otelkit._telling import Answered, Told, shown
from otelkit.integrations import Verdict
from otelkit.ops.doctor import KINDS
from otelkit.ops.doctor.findings import judge
from otelkit.redact import Redactor
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = {"traces": "ours", "metrics": "ours", "logs": "ours"}
ONE_RELEASE = {
    "opentelemetry-api": "1.45.2",
    "opentelemetry-sdk": "1.45.1",
    "opentelemetry-instrumentation": "0.66b1",
    "opentelemetry-instrumentation-openai-v2": "2.3b0",
}


def told(environ: Mapping[str, str] | None = None, **changes: Any) -> Told:
    """What a healthy process with these variables tells, save for the changes."""
    settings = Settings(environ={"OTEL_SERVICE_NAME": "shop"} | dict(environ or {}))
    healthy = Told(
        otelkit="0.1.0",
        python="3.11.7",
        executable="python",
        service=settings.service_name or "",
        road="configure()",
        settings=dict(shown(settings, Redactor())),
        problems=settings.problems,
        providers=OURS,
        unseen={},
        versions=ONE_RELEASE,
        distros=("otelkit",),
        answers=tuple(answered(signal) for signal in ("traces", "metrics", "logs")),
    )
    return replace(healthy, **changes)


def answered(signal: str, **changes: Any) -> Answered:
    taken = Answered(
        signal=signal,
        endpoint=f"http://localhost:4318/v1/{signal}",
        protocol="http/protobuf",
        outcome="delivered",
        media_type="application/x-protobuf",
        clock=0.4,
    )
    return replace(taken, **changes)


def refused(reason: str, error: str, **changes: Any) -> tuple[Answered, ...]:
    return (answered("traces", outcome="refused", reason=reason, error=error, media_type=None, **changes),)


@dataclass(frozen=True)
class Case:
    """Something that a process tells, and the one finding about it."""

    id: str
    what: str
    fix: str
    environ: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()


GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
REFUSED = Verdict(integration="redis", choice="skipped", reason="redis-py 4.6 is older than 5.0")
MISSING = Verdict(integration="celery", choice="skipped", reason="not installed", wanted=False)

CASES = (
    Case(
        "another-distro",
        r"chose the distro acme; otelkit is installed, and does nothing",
        r"otelkit run -- uvicorn app:app`, or set OTEL_PYTHON_DISTRO=otelkit",
        changes={"road": "another distro", "distros": ("acme", "otelkit")},
        command=("/usr/bin/opentelemetry-instrument", "uvicorn", "app:app"),
    ),
    Case(
        "foreign-provider",
        "of traces is another product's",
        "remove it",
        changes={"providers": OURS | {"traces": "foreign"}},
    ),
    Case(
        "adopted-provider",
        "of traces and logs existed before",
        "remove the hand-wired",
        changes={"providers": OURS | {"traces": "adopted", "logs": "adopted"}},
    ),
    Case(
        "versions-mixed",
        r"opentelemetry-api 1\.45\.2 is installed beside .*: opentelemetry-instrumentation-redis 0\.60b1",
        r"install 1\.45 and 0\.66b of all of them",
        changes={"versions": ONE_RELEASE | {"opentelemetry-instrumentation-redis": "0.60b1"}},
    ),
    Case(
        "versions-mixed",
        "a needs b==1, and 2 is installed",
        "one release",
        changes={"unmet": ("a needs b==1, and 2 is installed",)},
    ),
    Case(
        "two-distros",
        "acme and otelkit are installed; plain opentelemetry-instrument takes acme",
        "otelkit run -- CMD",
        changes={"distros": ("acme", "otelkit")},
    ),
    Case(
        "library-refused",
        r"redis is not instrumented: redis-py 4\.6 is older than 5\.0",
        r"configure\(integrations=\{'redis': False\}\)",
        changes={"verdicts": (REFUSED, MISSING)},
    ),
    Case(
        "library-unseen",
        r"nothing instruments flask 3\.1",
        "pip install opentelemetry-instrumentation-flask",
        changes={"unseen": {"flask 3.1": "opentelemetry-instrumentation-flask"}},
    ),
    Case(
        "instrumented-twice", "contrib's sqlalchemy is active", "remove the calls", changes={"doubled": ("sqlalchemy",)}
    ),
    Case(
        "variable-misspelt",
        "^OTEL_TRACE_SAMPLER: nothing reads it$",
        r"did you mean OTEL_TRACES_SAMPLER\?",
        environ={"OTEL_TRACE_SAMPLER": "always_on"},
    ),
    Case(
        "variable-refused",
        "^FASTAPI_OTEL_AUTO_CONFIGURE is set, and not honoured",
        "it would send everything twice",
        environ={"FASTAPI_OTEL_AUTO_CONFIGURE": "true"},
    ),
    Case(
        "variable-wrong",
        "^OTEL_BSP_MAX_QUEUE_SIZE: .*16384 is used",
        "correct OTEL_BSP_MAX_QUEUE_SIZE: whole number, 1 or more",
        environ={"OTEL_BSP_MAX_QUEUE_SIZE": "many"},
    ),
    Case("config-file", "the file is not read", "by OTEL_. variables", environ={"OTEL_CONFIG_FILE": "otel.yaml"}),
    Case(
        "telemetry-disabled",
        "OTEL_SDK_DISABLED switches all",
        "unset OTEL_SDK_DISABLED",
        environ={"OTEL_SDK_DISABLED": "true"},
    ),
    Case(
        "signal-broken",
        "^metrics are not exported: .*does not begin with http",
        "correct OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        environ={"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "garbage"},
    ),
    Case(
        "signal-off",
        "^logs are not exported: OTEL_LOGS_EXPORTER is none",
        "unset OTEL_LOGS_EXPORTER",
        environ={"OTEL_LOGS_EXPORTER": "none"},
    ),
    Case("service-unnamed", "stored as unknown_service", "OTEL_SERVICE_NAME", environ={"OTEL_SERVICE_NAME": ""}),
    Case(
        "sampler-drops-all",
        "traceidratio with share 0: no trace that begins here is kept$",
        "parentbased_always_on",
        environ={"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ),
    Case(
        "sampler-drops-all",
        "is parentbased_always_off: .* save those that a caller sampled$",
        "parentbased_always_on",
        environ={"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
    ),
    Case(
        "sampler-ratio",
        r"with share 0\.1: 0\.9 of the traces",
        "nothing, if that is meant",
        environ={"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    ),
    Case("exemplars-off", "is always_off", "trace_based", environ={"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}),
    Case(
        "log-level-hides",
        "OTELKIT_LOG_LEVEL is warning",
        "OTELKIT_LOG_LEVEL=info",
        environ={"OTELKIT_LOG_LEVEL": "warn"},
    ),
    Case("root-level-hides", "the root logger's level is warning", "basicConfig", changes={"root_level": "warning"}),
    Case("reports-hidden", "OTEL_LOG_LEVEL is critical", "OTEL_LOG_LEVEL=info", environ={"OTEL_LOG_LEVEL": "fatal"}),
    Case(
        "context-not-passed",
        "OTEL_PROPAGATORS is baggage, without",
        "tracecontext,baggage",
        environ={"OTEL_PROPAGATORS": "baggage"},
    ),
    Case(
        "delta-to-prometheus",
        "is delta: Prometheus drops",
        "=cumulative",
        environ={"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"},
    ),
    Case(
        "exponential-histograms",
        "find none",
        "=explicit_bucket_histogram",
        environ={"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"},
    ),
    Case(
        "metrics-twice",
        "serves them on port 9464",
        "one of the two",
        environ={"OTEL_METRICS_EXPORTER": "otlp,prometheus"},
    ),
    Case("interval-long", "every 300 s", "=15000", environ={"OTEL_METRIC_EXPORT_INTERVAL": "300000"}),
    Case(
        "port-protocol",
        "^OTEL_EXPORTER_OTLP_ENDPOINT names port 4317, which is for grpc; the protocol is http/protobuf",
        "use port 4318, or set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
        changes={"answers": refused("no HTTP/1.1 is spoken there; a port for gRPC?", "ConnectionError")},
    ),
    Case(
        "package-missing",
        "No module named 'grpc'",
        r'pip install "otelkit\[grpc\]"',
        changes={
            "answers": (answered("traces", protocol="grpc", outcome="impossible", reason="No module named 'grpc'"),)
        },
    ),
    Case(
        "endpoint-silent",
        r"^traces to http://localhost:4318 \(the default\): Connection refused",
        "start the Collector",
        changes={"answers": refused("Connection refused", "ConnectionError", silent=True)},
    ),
    Case(
        "endpoint-slow",
        "timed out",
        "firewall",
        changes={"answers": refused("Read timed out.", "ReadTimeout")},
    ),
    Case(
        "endpoint-tls",
        "certificate verify failed",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        changes={"answers": refused("certificate verify failed: self-signed certificate", "SSLError")},
    ),
    Case(
        "endpoint-speaks-else",
        "no gRPC is spoken there",
        "http/protobuf, port 4318",
        changes={"answers": refused("UNAVAILABLE no gRPC is spoken there", "UNAVAILABLE", protocol="grpc")},
    ),
    Case("endpoint-not-otlp", "HTTP 404", "a pipeline", changes={"answers": refused("HTTP 404 Not Found", "404")}),
    Case(
        "endpoint-not-otlp",
        "it answers text/html",
        "not those of a web server",
        changes={"answers": (answered("traces", media_type="text/html"),)},
    ),
    Case("endpoint-denies", "HTTP 401", "OTLP_HEADERS", changes={"answers": refused("HTTP 401 Unauthorized", "401")}),
    Case("endpoint-busy", "HTTP 503", "--prove", changes={"answers": refused("HTTP 503 Service Unavailable", "503")}),
    Case("endpoint-refuses", "HTTP 400", "receiver's log", changes={"answers": refused("HTTP 400 Bad Request", "400")}),
    Case(
        "headers-in-clear",
        "^api-key .* go to http://collector:4318 without TLS",
        "https://",
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hidden",
        },
    ),
    Case("clock-skew", "is 90 s ahead of", "NTP", changes={"answers": (answered("traces", clock=90.2),)}),
    Case("clock-skew", "is 3600 s behind", "NTP", changes={"answers": (answered("traces", clock=-3600.0),)}),
    Case("grpc-gevent", "a process with gevent", "=http/protobuf", environ=GRPC, changes={"neighbours": ("gevent",)}),
    Case(
        "grpc-fork", "gunicorn forks", "=http/protobuf", environ=GRPC, command=("/bin/gunicorn", "-w", "2", "app:app")
    ),
)
ASKED = {"not-configured", "command-failed", "other-otelkit"}
"""Findings about a process that tells nothing: tests/integration/test_doctor.py has them."""
STACK = {"nobody-paged"}
"""Findings about the stack beside it: tests/integration/test_stack_command.py has them."""


def test_a_healthy_process_has_no_finding() -> None:
    assert judge(told()) == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_found_alone_with_what_and_fix(case: Case) -> None:
    (found,) = judge(told(case.environ, **case.changes), case.command)
    assert found.id == case.id
    assert found.severity == KINDS[case.id].severity
    assert re.search(case.what, found.what), found.what
    assert re.search(case.fix, found.fix), found.fix
    assert "\n" not in found.what + found.fix


def test_each_kind_of_finding_has_its_case() -> None:
    assert {case.id for case in CASES} | ASKED | STACK == set(KINDS)


def test_errors_come_first_and_one_cause_is_told_once() -> None:
    silent = tuple(
        answered(signal, outcome="retry", reason="Connection refused", error="ConnectionError", silent=True)
        for signal in ("traces", "metrics", "logs")
    )
    found = judge(told({"OTEL_METRIC_EXPORT_INTERVAL": "300000"}, answers=silent))
    assert [finding.id for finding in found] == ["endpoint-silent", "interval-long"]
    assert "traces, metrics and logs to http://localhost:4318" in found[0].what


def test_an_unusual_port_that_works_is_no_finding() -> None:
    assert judge(told({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"})) == ()


@pytest.mark.parametrize("endpoint", ["http://localhost:4318", "http://127.0.0.8:4318", "http://[::1]:4318"])
def test_headers_stay_on_this_host(endpoint: str) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hidden"}
    assert judge(told(variables)) == ()


def test_what_one_process_tells_another_reads() -> None:
    import json
    from dataclasses import asdict

    original = told({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=hidden"}, verdicts=(REFUSED,), distros=("otelkit",))
    text = json.dumps(asdict(original))
    assert "hidden" not in text
    assert Told.read(text) == original
    with pytest.raises(ValueError, match="not what this version tells"):
        Told.read(json.dumps({"otelkit": "9.9"}))
