"""The only place that reads the environment: arguments, `OTEL_*` variables and defaults become one frozen `Settings`.

An argument wins over a variable, a variable over a default (`otelkit._variables` has the table), and the origin of each
value is kept. A wrong argument raises `SettingsError`, all of them at once. A wrong variable never raises: one line in
`Settings.problems` names it and says what is used instead, and only the signal it belongs to degrades. Values that may
be secret (headers, user and password of a URL) are in no line, no `repr` and no error.
"""

from __future__ import annotations

import os
from dataclasses import InitVar, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from otelkit._resolution import resolve
from otelkit._values import Pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Settings", "Signal"]

_UNSET: Final[Any] = None
"""Marks an argument that was not given; typed Any so that a field keeps its own type."""

_ONLY_ARGUMENTS = (
    "endpoint",
    "protocol",
    "headers",
    "timeout",
    "compression",
    "certificate",
    "client_key",
    "client_certificate",
    "insecure",
    "traces_exporter",
    "metrics_exporter",
    "logs_exporter",
    "environ",
)
"""Arguments that are no attributes, in the order of their declaration."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """How one signal leaves the process.

    Args:
        exporters: Out of "otlp", "console", "prometheus" (metrics only); ("none",) where the signal stays inside.
        endpoint: For HTTP the full URL, for gRPC the target with http:// or https:// in front (or a resolver's name).
            Never user or password, but possibly a secret in the query: print `shown_endpoint`.
        protocol: "http/protobuf" or "grpc".
        headers: Lower-case names; the values are hidden from `repr`.
        timeout: Seconds that one attempt to send may take.
        compression: "none", "gzip" or "deflate".
        certificate: File with the certificates to check the server against; None for the system's.
        client_key: File with the private key for mutual TLS.
        client_certificate: File with the certificate for mutual TLS.
        insecure: For gRPC, whether the connection goes without TLS; None for HTTP, whose URL says it.
        http_credentials: Entry point that makes the HTTP session; None for an ordinary one.
        grpc_credentials: Entry point that makes the credentials of the gRPC channel; None for those of the files above.
        degraded: Why the signal is not exported although nobody asked for that: a wrong variable.
    """

    exporters: tuple[str, ...]
    endpoint: str
    protocol: str
    headers: Mapping[str, str]
    timeout: float
    compression: str
    certificate: str | None
    client_key: str | None
    client_certificate: str | None
    insecure: bool | None
    http_credentials: str | None = None
    grpc_credentials: str | None = None
    degraded: str | None = field(default=None, compare=False)

    @property
    def shown_endpoint(self) -> str:
        """The endpoint as it may be printed: without its query."""
        return self.endpoint.partition("?")[0]

    @property
    def credential_provider(self) -> str | None:
        """The entry point that counts for the protocol in use."""
        return self.grpc_credentials if self.protocol == "grpc" else self.http_credentials

    def __repr__(self) -> str:
        """Show everything but the query of the endpoint and the values of the headers."""
        values = {item.name: getattr(self, item.name) for item in fields(self)} | {"endpoint": self.shown_endpoint}
        return f"Signal({', '.join(f'{name}={value!r}' for name, value in values.items())})"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that is text or a number in the configuration of otelkit; objects are arguments of `configure()`.

    Every argument is optional and wins over its variable. All times are in seconds. Two settings are equal when
    all their values are, wherever those came from.

    Args:
        service_name: `service.name` (OTEL_SERVICE_NAME). None leaves `unknown_service`.
        service_version: `service.version`.
        service_namespace: `service.namespace`.
        service_instance_id: `service.instance.id`; None lets each process have its own.
        environment: `deployment.environment.name`, for example "production".
        resource_attributes: Further resource attributes; merged over OTEL_RESOURCE_ATTRIBUTES, and
            afterwards complete: the five above are in it too.
        resource_detectors: Further resource detectors, by entry point.
        disabled: No telemetry at all; JSON logs stay on stdout.
        propagators: How trace context travels; ("tracecontext", "baggage").
        diagnostics_level: Level of what OpenTelemetry and otelkit log about themselves.
        shutdown_timeout: How long an exit may wait for the last telemetry, all signals together.
        queue_bytes: Bytes that may wait for delivery, for each signal.
        endpoint: Base URL of the OTLP receiver, for example "http://collector:4318"; `v1/traces` and so on is added.
        protocol: "http/protobuf" or "grpc".
        headers: Headers of each OTLP request.
        timeout: How long one attempt to send may take; 0 for no limit.
        compression: "none", "gzip" or "deflate".
        certificate: File with the certificates to check the server against.
        client_key: File with the private key for mutual TLS.
        client_certificate: File with the certificate for mutual TLS.
        insecure: gRPC without TLS, for an endpoint that has neither http:// nor https:// in front.
        traces_exporter: "otlp", "console", "none", or a list of them.
        metrics_exporter: "otlp", "console", "prometheus", "none", or a list of them.
        logs_exporter: "otlp", "console", "none", or a list of them; not given, OTLP and stdout.
        sampler: Name of the sampler, for example "parentbased_traceidratio".
        sampler_arg: Share of traces from 0 to 1 that a traceidratio sampler keeps.
        sampling_rules: Which traces that begin here are kept, such as ("drop server /health*", "0.1 server /api/*");
            `sampler` decides about all others.
        id_generator: "random", or the entry point of an installed generator.
        forced_per_second: Server spans of failed requests exported a second although they were not sampled.
        span_delay: Longest wait of a span for its batch.
        span_export_timeout: Upper bound for `timeout` of spans.
        span_queue_size: Spans that may wait.
        span_batch_size: Spans in one export.
        span_attribute_count_limit: Attributes of a span.
        span_attribute_length_limit: Characters of a span attribute's text; None for no limit.
        span_event_count_limit: Events of a span.
        span_link_count_limit: Links of a span.
        event_attribute_count_limit: Attributes of a span's event.
        link_attribute_count_limit: Attributes of a span's link.
        metric_interval: Time between two exports of metrics.
        metric_timeout: Upper bound for `timeout` of metrics.
        metric_cardinality_limit: Attribute sets of one instrument; what is beyond them shares one series.
        exemplar_filter: "trace_based", "always_on" or "always_off".
        temporality: "cumulative", "delta" or "lowmemory".
        histogram_aggregation: "explicit_bucket_histogram" or "base2_exponential_bucket_histogram".
        prometheus_host: Address that the Prometheus exporter listens on.
        prometheus_port: Port that the Prometheus exporter listens on.
        log_delay: Longest wait of a log record for its batch.
        log_export_timeout: Upper bound for `timeout` of log records.
        log_queue_size: Log records that may wait.
        log_batch_size: Log records in one export.
        log_attribute_count_limit: Attributes of a log record.
        log_attribute_length_limit: Characters of a log record attribute's text; None for no limit.
        log_level: Level of the application's own records, for example `logging.INFO`.
        log_format: "auto", "json" or "console".
        url_query_allow: Keys of URL queries whose values are told.
        baggage_keys: Keys of baggage that are copied to spans and log records.
        http_public_endpoint: The HTTP server stands at an edge: a caller's trace is linked to, not continued.
        semconv_opt_in: Areas with stable names beside "http" and "database".
        known_http_methods: Request methods that are reported by name.
        disabled_instrumentations: Libraries that are left alone.
        excluded_urls: Regular expressions of URLs whose requests leave no spans; for FastAPI too.
        environ: The variables; `os.environ` when not given.

    Raises:
        SettingsError: Arguments cannot work; it lists all of them.
    """

    service_name: str | None = _UNSET
    service_version: str | None = _UNSET
    service_namespace: str | None = _UNSET
    service_instance_id: str | None = _UNSET
    environment: str | None = _UNSET
    resource_attributes: Mapping[str, str] = _UNSET
    resource_detectors: tuple[str, ...] = _UNSET
    disabled: bool = _UNSET
    propagators: tuple[str, ...] = _UNSET
    diagnostics_level: int = _UNSET
    shutdown_timeout: float = _UNSET
    queue_bytes: int = _UNSET

    traces: Signal = field(init=False)
    metrics: Signal = field(init=False)
    logs: Signal = field(init=False)
    logs_exporter_requested: tuple[str, ...] | None = field(init=False)
    endpoint: InitVar[str] = _UNSET
    protocol: InitVar[str] = _UNSET
    headers: InitVar[Mapping[str, str]] = _UNSET
    timeout: InitVar[float] = _UNSET
    compression: InitVar[str] = _UNSET
    certificate: InitVar[str] = _UNSET
    client_key: InitVar[str] = _UNSET
    client_certificate: InitVar[str] = _UNSET
    insecure: InitVar[bool] = _UNSET
    traces_exporter: InitVar[str | Sequence[str]] = _UNSET
    metrics_exporter: InitVar[str | Sequence[str]] = _UNSET
    logs_exporter: InitVar[str | Sequence[str]] = _UNSET

    sampler: str = _UNSET
    sampler_arg: float | None = _UNSET
    sampling_rules: tuple[str, ...] = _UNSET
    id_generator: str = _UNSET
    forced_per_second: int = _UNSET
    span_delay: float = _UNSET
    span_export_timeout: float = _UNSET
    span_queue_size: int = _UNSET
    span_batch_size: int = _UNSET
    span_attribute_count_limit: int = _UNSET
    span_attribute_length_limit: int | None = _UNSET
    span_event_count_limit: int = _UNSET
    span_link_count_limit: int = _UNSET
    event_attribute_count_limit: int = _UNSET
    link_attribute_count_limit: int = _UNSET

    metric_interval: float = _UNSET
    metric_timeout: float = _UNSET
    metric_cardinality_limit: int = _UNSET
    exemplar_filter: str = _UNSET
    temporality: str = _UNSET
    histogram_aggregation: str = _UNSET
    prometheus_host: str = _UNSET
    prometheus_port: int = _UNSET

    log_delay: float = _UNSET
    log_export_timeout: float = _UNSET
    log_queue_size: int = _UNSET
    log_batch_size: int = _UNSET
    log_attribute_count_limit: int = _UNSET
    log_attribute_length_limit: int | None = _UNSET
    log_level: int = _UNSET
    log_format: str = _UNSET

    url_query_allow: tuple[str, ...] = _UNSET
    baggage_keys: tuple[str, ...] = _UNSET
    http_public_endpoint: bool = _UNSET

    semconv_opt_in: tuple[str, ...] = _UNSET
    known_http_methods: frozenset[str] = _UNSET
    disabled_instrumentations: frozenset[str] = _UNSET
    excluded_urls: tuple[str, ...] = _UNSET
    fastapi_excluded_urls: tuple[str, ...] = field(init=False)

    problems: tuple[str, ...] = field(init=False, compare=False, repr=False)
    _origins: Mapping[str, str] = field(init=False, compare=False, repr=False)
    environ: InitVar[Mapping[str, str]] = _UNSET

    def __post_init__(self, *only_arguments: Any) -> None:
        """Replace each argument by the value that applies."""
        arguments = dict(zip(_ONLY_ARGUMENTS, only_arguments, strict=True))
        environ = arguments.pop("environ")
        arguments |= {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        resolved = resolve(arguments, os.environ if environ is None else environ)
        signals = {name: Signal(**parts) for name, parts in resolved.signals.items()}
        ours = {"problems": resolved.problems, "_origins": Pairs(resolved.origins)}
        for name, value in {**resolved.values, **signals, **ours}.items():
            object.__setattr__(self, name, value)

    def origin(self, field: str) -> str:
        """Where a value came from: "argument", "default", or the name of a variable.

        Args:
            field: A field's name; of a signal its part, for example "traces.endpoint".

        Raises:
            KeyError: There is no such field.
        """
        return self._origins[field]

    def differences(self, other: Settings) -> list[str]:
        """The fields that have another value in `other`, as `origin` names them; never a value."""
        mine, theirs = _flat(self), _flat(other)
        return [name for name in mine if mine[name] != theirs[name]]


for _name in _ONLY_ARGUMENTS:
    delattr(Settings, _name)  # dataclasses leaves their defaults on the class, where they would pass for values


def _flat(settings: Settings) -> dict[str, object]:
    """The values that make settings equal, those of a signal each for itself."""
    flat: dict[str, object] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, Signal):
            flat |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value) if part.compare}
        elif item.compare:
            flat[item.name] = value
    return flat
