"""The only place for the list of bad settings that every launch must survive: `reliability.md` A9, one process each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
_NOWHERE = "no-such-host.invalid"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some variables, and what becomes of them.

    Args:
        name: For a person.
        variables: The settings; `{http}` and `{grpc}` stand for the receiver's `host:port`.
        said: A regular expression for the one line on stderr; "" where nothing is said.
        lost: The signals that do not arrive.
    """

    name: str
    variables: Mapping[str, str]
    said: str = ""
    lost: frozenset[str] = field(default_factory=frozenset)


def _endpoint(name: str, endpoint: str, said: str, *, protocol: str = "", **more: str) -> Case:
    """A case in which one signal cannot be sent; the others must."""
    variables = {f"{_TRACES}ENDPOINT": endpoint} | {f"{_TRACES}{key}": value for key, value in more.items()}
    if protocol:
        variables[f"{_TRACES}PROTOCOL"] = protocol
    return Case(name=name, variables=variables, said=said, lost=frozenset({"traces"}))


def _one(variable: str, value: str, said: str = "", **more: str) -> Case:
    """A case in which a default takes the place of a value."""
    label = f"{variable.removeprefix('OTEL_')}={value or 'empty'}"
    return Case(name=label, variables={variable: value, **more}, said=said and f"^otelkit: {variable}: .*{said}")


_ENDPOINT, _CERTIFICATE = f"{_TRACES}ENDPOINT", f"{_TRACES}CERTIFICATE"
_PROTOCOLS = {"http/protobuf": "{http}", "grpc": "{grpc}"}

CASES = (
    *(
        _endpoint(
            f"{protocol} endpoint {endpoint}", endpoint, f"{_ENDPOINT}: .*traces are not exported", protocol=protocol
        )
        for protocol in _PROTOCOLS
        for endpoint in ("garbage", "http://", "h:notaport", "http://[::1")
    ),
    *(
        _endpoint(
            f"{protocol} endpoint unresolvable",
            f"http://{_NOWHERE}:4319",
            rf"(nothing answers at|cannot be delivered to) http://{_NOWHERE}:4319/?:? .*(not known|lookup failed)",
            protocol=protocol,
        )
        for protocol in _PROTOCOLS
    ),
    *(
        _endpoint(
            f"{protocol} with TLS to a port without",
            f"https://{place}",
            f"traces .* https://{place}/?: .*no TLS is spoken there",
            protocol=protocol,
        )
        for protocol, place in _PROTOCOLS.items()
    ),
    *(
        _endpoint(
            f"{protocol} missing CA file",
            "https://{http}",
            f"{_CERTIFICATE}: .*/nowhere/ca.pem.* traces are not exported",
            protocol=protocol,
            CERTIFICATE="/nowhere/ca.pem",
        )
        for protocol in _PROTOCOLS
    ),
    _endpoint(
        "HTTP to the port of gRPC",
        "http://{grpc}/v1/traces",
        "traces .* http://{grpc}/v1/traces: (no HTTP/1.1 is spoken there; a port for gRPC|Connection (reset|aborted))",
        protocol="http/protobuf",
    ),
    _endpoint(
        "gRPC to the port of HTTP",
        "http://{http}",
        "traces .* http://{http}: .*no gRPC is spoken there",
        protocol="grpc",
    ),
    _one("OTEL_TRACES_SAMPLER", "foo", "every new trace is kept"),
    _one("OTEL_TRACES_SAMPLER_ARG", "7", "every new trace is kept", OTEL_TRACES_SAMPLER="traceidratio"),
    _one("OTEL_TRACES_SAMPLER_ARG", "abc", "every new trace is kept", OTEL_TRACES_SAMPLER="traceidratio"),
    _one("OTEL_EXPORTER_OTLP_PROTOCOL", "foo", "http/protobuf is used"),
    _one("OTEL_TRACES_EXPORTER", "foo", "otlp is used"),
    _one("OTEL_PYTHON_ID_GENERATOR", "foo", "random is used"),
    _one("OTEL_EXPORTER_OTLP_COMPRESSION", "foo", "none is used"),
    _one("OTEL_EXPORTER_OTLP_TIMEOUT", "abc", "10 s is used"),
    _one("OTEL_CONFIG_FILE", "/nowhere/otel.yaml", "not supported"),
    _one("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "16384 is used"),
    _one("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "100 is used", OTEL_BSP_MAX_QUEUE_SIZE="100"),
    _one("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "abc", "is used"),
    _one("OTEL_METRIC_EXPORT_INTERVAL", "0", "15 s is used"),
    _one("OTEL_EXPORTER_OTLP_HEADERS", "garbage", "pair 1"),
    _one("OTEL_EXPORTER_OTLP_HEADERS", "X-KEY=Ünïcödé", "pair 1"),
    _one("OTEL_BSP_SCHEDULE_DELAY", "abc", "5 s is used"),
    _one("OTEL_RESOURCE_ATTRIBUTES", "garbage", "pair 1"),
    _one("OTEL_LOG_LEVEL", "garbage", "info is used"),
    Case(
        name="SDK_DISABLED=true",
        variables={"OTEL_SDK_DISABLED": "true"},
        lost=frozenset({"traces", "metrics", "logs"}),
    ),
)
"""All of A9 but what tests name one by one: propagators, the context, and gRPC that cannot be imported."""
