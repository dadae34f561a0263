"""The only place for which environment variables exist, what each means here and elsewhere, and who reads it.

`Settings` is resolved from this table, `docs/reference/settings.md` is rendered from it, and each row has its test.
The specification is version 1.60 (`specification/configuration/sdk-environment-variables.md`, `protocol/exporter.md`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from otelkit import _values as v

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = ("traces", "metrics", "logs")

Source = Literal["specification", "Python", "otelkit"]
"""Who defines a variable: the OpenTelemetry specification, OpenTelemetry for Python and its libraries, or otelkit."""

Honoured = Literal["yes", "partly", "no"]


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable.

    Args:
        name: Its name; `<LIBRARY>` stands for the name of an instrumented library.
        group: The heading it stands under in the reference.
        meaning: What it sets, for a person.
        kind: How its text is read; None where otelkit does not read it.
        specified: The default of whoever defined it, written as the variable is; "" for unset.
        fields: The `Settings` fields it feeds. Of two variables for one field, the one with fewer fields wins.
        honoured: Whether it has its defined meaning here.
        note: Why not, or what is different; for a refused variable, what to do instead.
        reader: The module that reads it, where that is not otelkit.
        source: Who defines it.
    """

    name: str
    group: str
    meaning: str
    kind: v.Kind | None = None
    specified: str = ""
    fields: tuple[str, ...] = ()
    honoured: Honoured = "yes"
    note: str = ""
    reader: str = ""
    source: Source = "specification"

    @property
    def default(self) -> str:
        """The default here, written as the variable is; "" for unset."""
        own = OWN_DEFAULTS.get(self.name)
        return own.value if own else self.specified

    @property
    def reading(self) -> v.Kind:
        """How its text is read; only for a variable that otelkit reads."""
        if self.kind is None:
            raise TypeError(self.name)
        return self.kind

    @property
    def refused(self) -> bool:
        """True when setting it does nothing but make one line on stderr."""
        return self.honoured == "no"


@dataclass(frozen=True)
class OwnDefault:
    """A default that differs from the one of whoever defined the variable, and why."""

    value: str
    reason: str


OWN_DEFAULTS = {
    "OTEL_BLRP_SCHEDULE_DELAY": OwnDefault(
        "200",
        "A log line is in the backend while its request is still on the screen, and a crash loses 0.2 s at most.",
    ),
    "OTEL_BSP_MAX_QUEUE_SIZE": OwnDefault(
        "16384",
        "2048 spans are full after 17 s of an outage at 40 requests a second; memory is bounded in bytes beside it.",
    ),
    "OTEL_BLRP_MAX_QUEUE_SIZE": OwnDefault("16384", "The same for log records."),
    "OTEL_METRIC_EXPORT_INTERVAL": OwnDefault(
        "15000", "Alerts look at windows of a minute; four points in each make a rate, one does not."
    ),
    "OTEL_SEMCONV_STABILITY_OPT_IN": OwnDefault(
        "http,database", "Dashboards and alerts know the stable names only, and durations are in seconds everywhere."
    ),
    "OTELKIT_SHUTDOWN_TIMEOUT": OwnDefault(
        "5",
        "The SDK waits up to 30 s for each signal in turn; orchestrators kill a process after 10 s to 30 s. Here one "
        "deadline covers all signals.",
    ),
}
"""Every default that differs, in one list (http/protobuf is not in it: only the Python SDK has another, grpc)."""


def _installed(group: str) -> frozenset[str]:
    """The names of an entry-point group."""
    from importlib import metadata  # noqa: PLC0415  slow to load, and only an unusual value asks

    return frozenset(entry.name.lower() for entry in metadata.entry_points(group=group))


def _property(
    suffix: str,
    field: str,
    meaning: str,
    kind: v.Kind,
    *,
    specified: str = "",
    note: str = "",
) -> Iterator[Variable]:
    """One property of the OTLP exporter: the general variable, then one for each signal."""
    for signal in ("", *SIGNALS):
        yield Variable(
            name=f"OTEL_EXPORTER_OTLP_{signal.upper()}{'_' if signal else ''}{suffix}",
            group="OTLP exporter",
            meaning=f"The same for {signal} alone" if signal else meaning,
            kind=kind,
            specified="" if signal else specified,
            fields=(f"{signal}.{field}",) if signal else tuple(f"{each}.{field}" for each in SIGNALS),
            note="" if signal else note,
        )


def _credentials(protocol: str, field: str, meaning: str) -> Iterator[Variable]:
    """The variables that name a credential provider: the general one, then one for each signal."""
    for signal in ("", *SIGNALS):
        yield Variable(
            name=f"OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{signal.upper()}{'_' if signal else ''}CREDENTIAL_PROVIDER",
            group="OTLP exporter",
            meaning=f"The same for {signal} alone" if signal else meaning,
            kind=v.TEXT,
            fields=(f"{signal}.{field}",) if signal else tuple(f"{each}.{field}" for each in SIGNALS),
            source="Python",
        )


_LIMIT = v.whole("0 or more", least=0)
_SIZE = v.whole("1 or more", least=1)
_COUNT_FIELDS = (
    "span_attribute_count_limit",
    "event_attribute_count_limit",
    "link_attribute_count_limit",
    "log_attribute_count_limit",
)
_LENGTH_FIELDS = ("span_attribute_length_limit", "log_attribute_length_limit")

_GENERAL = "General"
_RESOURCE = "Resource"
_SAMPLING = "Traces"
_METRICS = "Metrics"
_LOGS = "Logs"
_LIMITS = "Attribute limits"
_TRUST = "Privacy and trust"
_INSTRUMENTATION = "Instrumentation"
_LAUNCHER = "Zero-code launcher"
_FILE = "Configuration file"
_OTHER = "Other exporters"
_INSIDE = "Inside OpenTelemetry for Python"

VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="OTEL_SDK_DISABLED",
        group=_GENERAL,
        meaning="Switch telemetry off; JSON logs stay on stdout and propagators stay in place",
        kind=v.SWITCH,
        specified="false",
        fields=("disabled",),
    ),
    Variable(
        name="OTEL_PROPAGATORS",
        group=_GENERAL,
        meaning="How trace context travels between services; any installed propagator can be named",
        kind=v.choices("tracecontext", "baggage", "none", also=lambda: _installed("opentelemetry_propagator")),
        specified="tracecontext,baggage",
        fields=("propagators",),
        honoured="partly",
        note="a wrong name ends a program that opentelemetry-instrument starts, before otelkit is loaded; "
        "`otelkit run` corrects it first",
    ),
    Variable(
        name="OTEL_LOG_LEVEL",
        group=_GENERAL,
        meaning="Least severe level of what OpenTelemetry and otelkit say about themselves",
        kind=v.LEVEL,
        specified="info",
        fields=("diagnostics_level",),
    ),
    Variable(
        name="OTELKIT_QUEUE_BYTES",
        group=_GENERAL,
        meaning="Bytes that may wait for delivery, for each signal; beyond them the oldest is dropped, and counted",
        kind=v.whole("65536 or more", least=65_536),
        specified="8388608",
        fields=("queue_bytes",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_SHUTDOWN_TIMEOUT",
        group=_GENERAL,
        meaning="How long an exit may wait for the last telemetry, all signals together",
        kind=v.SECONDS,
        specified="30",
        fields=("shutdown_timeout",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_DOCTOR_REPORT",
        group=_GENERAL,
        meaning="Set by `otelkit doctor` alone: a file in which a process tells what would apply to it, and then ends",
        reader="otelkit._environment",
        source="otelkit",
    ),
    Variable(
        name="OTEL_SERVICE_NAME",
        group=_RESOURCE,
        meaning="`service.name`; wins over OTEL_RESOURCE_ATTRIBUTES",
        kind=v.TEXT,
        fields=("service_name",),
    ),
    Variable(
        name="OTEL_RESOURCE_ATTRIBUTES",
        group=_RESOURCE,
        meaning="Attributes of everything this process sends, percent-decoded",
        kind=v.PAIRS,
        fields=(
            "resource_attributes",
            "service_name",
            "service_version",
            "service_namespace",
            "service_instance_id",
            "environment",
        ),
        honoured="partly",
        note="a wrong pair is dropped and named, the others stay; the specification drops all",
    ),
    Variable(
        name="OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        group=_RESOURCE,
        meaning="Further resource detectors, by entry point",
        kind=v.NAMES,
        fields=("resource_detectors",),
        source="Python",
    ),
    Variable(
        name="OTEL_ENTITIES",
        group=_RESOURCE,
        meaning="Entities of the resource",
        honoured="no",
        note="in development in the specification, unknown to the Python SDK; use OTEL_RESOURCE_ATTRIBUTES",
    ),
    Variable(
        name="OTEL_TRACES_EXPORTER",
        group=_SAMPLING,
        meaning="Where spans go",
        kind=v.choices("otlp", "console", "none", aliases=v.OLD_EXPORTERS),
        specified="otlp",
        fields=("traces.exporters",),
    ),
    Variable(
        name="OTEL_METRICS_EXPORTER",
        group=_METRICS,
        meaning="Where metrics go; `prometheus` serves them for scraping from this process",
        kind=v.choices("otlp", "console", "prometheus", "none", aliases=v.OLD_EXPORTERS),
        specified="otlp",
        fields=("metrics.exporters",),
    ),
    Variable(
        name="OTEL_LOGS_EXPORTER",
        group=_LOGS,
        meaning="Where log records go; unset, to OTLP and as JSON lines to stdout",
        kind=v.choices("otlp", "console", "none", aliases=v.OLD_EXPORTERS),
        specified="otlp",
        fields=("logs.exporters",),
        honoured="partly",
        note="`console` is our JSON lines on stdout, not the SDK's debug format; `none` stops OTLP only, stdout stays",
    ),
    Variable(
        name="OTEL_TRACES_SAMPLER",
        group=_SAMPLING,
        meaning="Which traces are kept",
        kind=v.choice(
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ),
        specified="parentbased_always_on",
        fields=("sampler",),
        honoured="partly",
        note="a sampler that needs code (jaeger_remote, xray) is an argument: `configure(sampler=...)`",
    ),
    Variable(
        name="OTEL_TRACES_SAMPLER_ARG",
        group=_SAMPLING,
        meaning="The share of traces that traceidratio and parentbased_traceidratio keep",
        kind=v.RATIO,
        specified="1",
        fields=("sampler_arg",),
    ),
    Variable(
        name="OTEL_PYTHON_ID_GENERATOR",
        group=_SAMPLING,
        meaning="What makes trace and span ids; any installed generator can be named",
        kind=v.choice("random", also=lambda: _installed("opentelemetry_id_generator")),
        specified="random",
        fields=("id_generator",),
        source="Python",
    ),
    Variable(
        name="OTEL_BSP_SCHEDULE_DELAY",
        group=_SAMPLING,
        meaning="Longest time that a span waits for its batch",
        kind=v.INTERVAL,
        specified="5000",
        fields=("span_delay",),
    ),
    Variable(
        name="OTEL_BSP_EXPORT_TIMEOUT",
        group=_SAMPLING,
        meaning="Upper bound for the time-out of one export of spans",
        kind=v.TIMEOUT,
        specified="30000",
        fields=("span_export_timeout",),
    ),
    Variable(
        name="OTEL_BSP_MAX_QUEUE_SIZE",
        group=_SAMPLING,
        meaning="Spans that may wait",
        kind=_SIZE,
        specified="2048",
        fields=("span_queue_size",),
    ),
    Variable(
        name="OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        group=_SAMPLING,
        meaning="Spans in one export, at most as many as may wait",
        kind=_SIZE,
        specified="512",
        fields=("span_batch_size",),
    ),
    Variable(
        name="OTEL_METRIC_EXPORT_INTERVAL",
        group=_METRICS,
        meaning="Time between two exports",
        kind=v.INTERVAL,
        specified="60000",
        fields=("metric_interval",),
    ),
    Variable(
        name="OTEL_METRIC_EXPORT_TIMEOUT",
        group=_METRICS,
        meaning="Upper bound for the time-out of one export of metrics",
        kind=v.TIMEOUT,
        specified="30000",
        fields=("metric_timeout",),
    ),
    Variable(
        name="OTEL_METRICS_EXEMPLAR_FILTER",
        group=_METRICS,
        meaning="Which measurements may become exemplars, the link from a metric to a trace",
        kind=v.choice("always_on", "always_off", "trace_based"),
        specified="trace_based",
        fields=("exemplar_filter",),
    ),
    Variable(
        name="OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        group=_METRICS,
        meaning="Whether sums grow from the start (`cumulative`) or count since the last export (`delta`, `lowmemory`)",
        kind=v.choice("cumulative", "delta", "lowmemory"),
        specified="cumulative",
        fields=("temporality",),
    ),
    Variable(
        name="OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        group=_METRICS,
        meaning="Buckets with fixed bounds, or exponential ones",
        kind=v.choice("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        specified="explicit_bucket_histogram",
        fields=("histogram_aggregation",),
    ),
    Variable(
        name="OTEL_EXPORTER_PROMETHEUS_HOST",
        group=_METRICS,
        meaning="Address that the Prometheus exporter listens on",
        kind=v.TEXT,
        specified="localhost",
        fields=("prometheus_host",),
    ),
    Variable(
        name="OTEL_EXPORTER_PROMETHEUS_PORT",
        group=_METRICS,
        meaning="Port that the Prometheus exporter listens on",
        kind=v.whole("1 to 65535", least=1, most=65535),
        specified="9464",
        fields=("prometheus_port",),
    ),
    Variable(
        name="OTEL_BLRP_SCHEDULE_DELAY",
        group=_LOGS,
        meaning="Longest time that a log record waits for its batch",
        kind=v.INTERVAL,
        specified="1000",
        fields=("log_delay",),
    ),
    Variable(
        name="OTEL_BLRP_EXPORT_TIMEOUT",
        group=_LOGS,
        meaning="Upper bound for the time-out of one export of log records",
        kind=v.TIMEOUT,
        specified="30000",
        fields=("log_export_timeout",),
    ),
    Variable(
        name="OTEL_BLRP_MAX_QUEUE_SIZE",
        group=_LOGS,
        meaning="Log records that may wait",
        kind=_SIZE,
        specified="2048",
        fields=("log_queue_size",),
    ),
    Variable(
        name="OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        group=_LOGS,
        meaning="Log records in one export, at most as many as may wait",
        kind=_SIZE,
        specified="512",
        fields=("log_batch_size",),
    ),
    Variable(
        name="OTELKIT_LOG_LEVEL",
        group=_LOGS,
        meaning="Least severe level of the application's records",
        kind=v.LEVEL,
        specified="info",
        fields=("log_level",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_LOG_FORMAT",
        group=_LOGS,
        meaning="JSON lines, lines for a person, or (`auto`) lines for a person where stdout is a terminal",
        kind=v.choice("auto", "json", "console"),
        specified="auto",
        fields=("log_format",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_URL_QUERY_ALLOW",
        group=_TRUST,
        meaning="Keys of URL queries whose values are told; those of all others are redacted",
        kind=v.NAMES,
        fields=("url_query_allow",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_BAGGAGE_KEYS",
        group=_TRUST,
        meaning="Keys of baggage that are copied to spans and log records; no other ever is",
        kind=v.NAMES,
        fields=("baggage_keys",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_HTTP_PUBLIC_ENDPOINT",
        group=_TRUST,
        meaning="Whether the HTTP server stands at an edge: traces begin here, with a link to the caller's context",
        kind=v.SWITCH,
        specified="false",
        fields=("http_public_endpoint",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_TRACES_SAMPLER_RULES",
        group=_SAMPLING,
        meaning="Which traces that begin here are kept, by kind of span and path; OTEL_TRACES_SAMPLER decides the rest",
        kind=v.SAMPLING_RULES,
        fields=("sampling_rules",),
        note="for example `drop server /health*; 0.1 server /api/*; always consumer`; the first that fits decides",
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_TRACES_FORCED_PER_SECOND",
        group=_SAMPLING,
        meaning="Server spans of failed requests exported a second although they were not sampled; 0 for none",
        kind=v.whole("0 to 10000", least=0, most=10_000),
        specified="10",
        fields=("forced_per_second",),
        source="otelkit",
    ),
    Variable(
        name="OTELKIT_METRIC_CARDINALITY_LIMIT",
        group=_METRICS,
        meaning="Attribute sets of one instrument; what is beyond them counts under `otel.metric.overflow`",
        kind=v.whole("1 or more", least=1),
        specified="2000",
        fields=("metric_cardinality_limit",),
        source="otelkit",
    ),
    *_property(
        "ENDPOINT",
        "endpoint",
        "Where OTLP is sent; for HTTP, v1/traces, v1/metrics or v1/logs is added unless the variable is a signal's own",
        v.ENDPOINT,
        specified="http://localhost:4318",
        note="http://localhost:4317 for gRPC; user and password become the header `authorization`; "
        "a wrong one switches the export off, so that nothing goes where nobody sent it",
    ),
    *_property(
        "PROTOCOL",
        "protocol",
        "How OTLP is sent",
        v.choice("http/protobuf", "grpc"),
        specified="http/protobuf",
        note="http/json is not supported (the specification leaves it open)",
    ),
    *_property(
        "HEADERS",
        "headers",
        "Headers of each request, percent-decoded; values are never shown",
        v.HEADERS,
        note="a wrong pair is dropped and named by its position",
    ),
    *_property(
        "TIMEOUT",
        "timeout",
        "How long one attempt to send may take; a failed one is repeated for as long as the queue holds out",
        v.EXPORT_TIMEOUT,
        specified="10000",
        note="the specification counts milliseconds, Python's exporters seconds: 10 and 10000 both are ten seconds",
    ),
    *_property(
        "COMPRESSION",
        "compression",
        "Compression of the requests",
        v.choice("none", "gzip", "deflate"),
        specified="none",
    ),
    *_property(
        "CERTIFICATE",
        "certificate",
        "File with the certificates that the server is checked against",
        v.FILE,
        note="a file that is missing switches the export off rather than trusting the system's certificates",
    ),
    *_property("CLIENT_KEY", "client_key", "File with the private key for mutual TLS", v.FILE),
    *_property("CLIENT_CERTIFICATE", "client_certificate", "File with the certificate for mutual TLS", v.FILE),
    *_property(
        "INSECURE",
        "insecure",
        "Whether gRPC to an endpoint without http:// or https:// goes without TLS",
        v.SWITCH,
        specified="false",
    ),
    *(
        Variable(
            name=name,
            group="OTLP exporter",
            meaning="Obsolete name",
            honoured="no",
            note=f"obsolete in the specification; use {instead}",
        )
        for name, instead in (
            ("OTEL_EXPORTER_OTLP_SPAN_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE"),
            ("OTEL_EXPORTER_OTLP_METRIC_INSECURE", "OTEL_EXPORTER_OTLP_METRICS_INSECURE"),
        )
    ),
    *_credentials(
        "HTTP", "http_credentials", "Entry point that makes the HTTP session, for log-in schemes no header has"
    ),
    *_credentials("GRPC", "grpc_credentials", "Entry point that makes the credentials of the gRPC channel"),
    Variable(
        name="OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES",
        group="OTLP exporter",
        meaning="Status codes after which gRPC tries again",
        honoured="no",
        note="those of the OTLP specification are tried again, RESOURCE_EXHAUSTED among them",
        source="Python",
    ),
    Variable(
        name="OTEL_ATTRIBUTE_COUNT_LIMIT",
        group=_LIMITS,
        meaning="Attributes of a span, event, link or log record",
        kind=_LIMIT,
        specified="128",
        fields=_COUNT_FIELDS,
    ),
    Variable(
        name="OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        group=_LIMITS,
        meaning="Characters of an attribute's text",
        kind=_LIMIT,
        fields=_LENGTH_FIELDS,
    ),
    *(
        Variable(name=name, group=_LIMITS, meaning=meaning, kind=_LIMIT, specified=specified, fields=(field,))
        for name, field, specified, meaning in (
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "span_attribute_count_limit", "128", "Attributes of a span"),
            (
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "span_attribute_length_limit",
                "",
                "Characters of a span attribute's text",
            ),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "span_event_count_limit", "128", "Events of a span"),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", "span_link_count_limit", "128", "Links of a span"),
            ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "event_attribute_count_limit", "128", "Attributes of a span's event"),
            ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "link_attribute_count_limit", "128", "Attributes of a span's link"),
            ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "log_attribute_count_limit", "128", "Attributes of a log record"),
            (
                "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "log_attribute_length_limit",
                "",
                "Characters of a log record attribute's text",
            ),
        )
    ),
    Variable(
        name="OTEL_SEMCONV_STABILITY_OPT_IN",
        group=_INSTRUMENTATION,
        meaning="Areas whose stable names the contrib instrumentors use",
        kind=v.NAMES,
        fields=("semconv_opt_in",),
        honoured="partly",
        note="the areas http and database are added: without them names and units depend on the library; "
        "otelkit writes the variable back before the first instrumentor reads it",
        source="Python",
    ),
    Variable(
        name="OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        group=_INSTRUMENTATION,
        meaning="Request methods that are reported by name, in place of the standard ones",
        kind=v.NAME_SET,
        specified="CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE",
        fields=("known_http_methods",),
        honoured="partly",
        note="for servers; the contrib instrumentors of clients have a fixed list",
    ),
    Variable(
        name="OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        group=_INSTRUMENTATION,
        meaning="Libraries that are left alone, by entry point; `*` for all",
        kind=v.NAME_SET,
        fields=("disabled_instrumentations",),
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_EXCLUDED_URLS",
        group=_INSTRUMENTATION,
        meaning="URLs whose requests leave no spans",
        kind=v.REGEXES,
        fields=("excluded_urls", "fastapi_excluded_urls"),
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_FASTAPI_EXCLUDED_URLS",
        group=_INSTRUMENTATION,
        meaning="The same for FastAPI, in place of the general list",
        kind=v.REGEXES,
        fields=("fastapi_excluded_urls",),
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_<LIBRARY>_EXCLUDED_URLS",
        group=_INSTRUMENTATION,
        meaning="The same for another library (HTTPX, REQUESTS, STARLETTE, ...)",
        reader="opentelemetry.util.http",
        source="Python",
    ),
    *(
        Variable(
            name=f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{suffix}",
            group=_INSTRUMENTATION,
            meaning=meaning,
            honoured="partly",
            note="by the contrib instrumentors; FastAPI's own telemetry records no headers",
            reader="opentelemetry.util.http",
            source="Python",
        )
        for suffix, meaning in (
            ("SERVER_REQUEST", "Request headers that a server records"),
            ("SERVER_RESPONSE", "Response headers that a server records"),
            ("CLIENT_REQUEST", "Request headers that a client records"),
            ("CLIENT_RESPONSE", "Response headers that a client records"),
            ("SANITIZE_FIELDS", "Recorded headers whose values are replaced"),
        )
    ),
    Variable(
        name="OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS",
        group=_INSTRUMENTATION,
        meaning="Report unknown request methods by name",
        honoured="partly",
        note="by the contrib instrumentors; use OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS, which strangers cannot fill",
        reader="opentelemetry.util.http",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_<LIBRARY>_TRACED_REQUEST_ATTRS",
        group=_INSTRUMENTATION,
        meaning="Attributes of a framework's request object that become span attributes (DJANGO, FALCON, TORNADO)",
        reader="opentelemetry.util.http",
        source="Python",
    ),
    *(
        Variable(
            name=name,
            group=_INSTRUMENTATION,
            meaning=meaning,
            kind=kind,
            honoured="no",
            note="logging is owned by otelkit: every record has its trace and span id and takes one road",
            source="Python",
        )
        for name, kind, meaning in (
            (
                "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
                v.SWITCH,
                "Let the SDK export the logging module's records",
            ),
            ("OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION", v.SWITCH, "Let the contrib logging instrumentor export records"),
            ("OTEL_PYTHON_LOG_CORRELATION", v.SWITCH, "Let the contrib logging instrumentor reconfigure logging"),
            ("OTEL_PYTHON_LOG_FORMAT", v.TEXT, "Format of that configuration; here OTELKIT_LOG_FORMAT"),
            ("OTEL_PYTHON_LOG_LEVEL", v.TEXT, "Level of that configuration; here OTELKIT_LOG_LEVEL"),
            ("OTEL_PYTHON_LOG_HANDLER_LEVEL", v.TEXT, "Level of the contrib logging instrumentor's handler"),
            ("OTEL_PYTHON_LOG_CODE_ATTRIBUTES", v.SWITCH, "Let the contrib logging instrumentor add source positions"),
        )
    ),
    Variable(
        name="FASTAPI_OTEL_AUTO_CONFIGURE",
        group=_INSTRUMENTATION,
        meaning="Let FastAPI add OTLP exporters of its own",
        kind=v.SWITCH,
        honoured="no",
        note="it would send everything twice; unset it, otelkit exports what FastAPI makes",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_DISTRO",
        group=_LAUNCHER,
        meaning="The distro that opentelemetry-instrument loads; `otelkit` where several are installed",
        reader="opentelemetry.instrumentation.auto_instrumentation._load",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_CONFIGURATOR",
        group=_LAUNCHER,
        meaning="The configurator that opentelemetry-instrument calls; `otelkit` where several are installed",
        reader="opentelemetry.instrumentation.auto_instrumentation._load",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH",
        group=_LAUNCHER,
        meaning="Let opentelemetry-instrument apply gevent's monkey patches first",
        reader="opentelemetry.instrumentation.auto_instrumentation",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_CONTEXT",
        group=_INSIDE,
        meaning="Implementation of the context",
        reader="opentelemetry.context",
        source="Python",
    ),
    Variable(
        name="OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED",
        group=_INSIDE,
        meaning="Let the SDK measure itself",
        reader="opentelemetry.sdk.trace",
        source="Python",
    ),
    *(
        Variable(
            name=f"OTEL_PYTHON_{signal}_PROVIDER",
            group=_INSIDE,
            meaning=f"Entry point of the {signal.lower().replace('_', ' ')} provider",
            honoured="no",
            note="the providers are made by otelkit; set your own in code before `configure()` and it attaches to them",
            source="Python",
        )
        for signal in ("TRACER", "METER", "LOGGER", "EVENT_LOGGER")
    ),
    *(
        Variable(
            name=f"OTEL_PYTHON_{signal}_CONFIGURATOR",
            group=_INSIDE,
            meaning=f"Function that switches single {signal.lower()}s off",
            honoured="no",
            note="read only by the SDK's private set-up, which otelkit does not use",
            source="Python",
        )
        for signal in ("TRACER", "METER", "LOGGER")
    ),
    *(
        Variable(
            name=name,
            group=_FILE,
            meaning=meaning,
            honoured="no",
            note="the file is not read; variables and arguments apply",
        )
        for name, meaning in (
            ("OTEL_CONFIG_FILE", "Declarative configuration file in place of all variables"),
            ("OTEL_EXPERIMENTAL_CONFIG_FILE", "The same, deprecated name"),
        )
    ),
    *(
        Variable(
            name=f"OTEL_EXPORTER_ZIPKIN_{suffix}",
            group=_OTHER,
            meaning=meaning,
            honoured="no",
            note="Zipkin export is deprecated in the specification; a Collector turns OTLP into it",
        )
        for suffix, meaning in (
            ("ENDPOINT", "Where Zipkin spans go"),
            ("TIMEOUT", "How long one Zipkin export may take"),
            ("PROTOCOL", "Reserved"),
        )
    ),
)

_BY_NAME = {variable.name: variable for variable in VARIABLES}
_FAMILIES = tuple(
    (re.compile(re.escape(variable.name).replace("<LIBRARY>", "[A-Z0-9_]+")), variable)
    for variable in VARIABLES
    if "<LIBRARY>" in variable.name
)


def find(name: str) -> Variable | None:
    """The row of a variable, or None when nothing here or in OpenTelemetry for Python is known to read it."""
    family = (variable for pattern, variable in _FAMILIES if pattern.fullmatch(name))
    return _BY_NAME.get(name) or next(family, None)


@cache
def feeding(field: str) -> tuple[Variable, ...]:
    """The variables of a field, the most specific first."""
    return tuple(sorted((row for row in VARIABLES if field in row.fields), key=lambda row: len(row.fields)))
