"""The only place that builds SDK objects: resource, sampler, providers.

Pure: nothing here is global or reads a variable. Public SDK constructors only, and each gets every value explicitly:
what the SDK would otherwise read from the environment it reads unguarded: one bad variable switches all signals off.
"""

from __future__ import annotations

import inspect
import os
import platform
import re
import socket
import sys
import uuid
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

from otelkit import _catalog, _guard, _sampling
from otelkit._stderr import say
from otelkit._values import shown
from otelkit.pipeline import Deadline, run_against

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics import ExemplarFilter
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import ResourceDetector
    from opentelemetry.sdk.trace import SpanProcessor, sampling
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from otelkit.redact import Redactor
    from otelkit.settings import Settings

SCHEMA_URL = f"https://opentelemetry.io/schemas/{_catalog.CONVENTIONS}"

_CONTAINER_ID = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_DETECTION_TIME = 2.0  # seconds, for all detectors together
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def resource(settings: Settings, extra: Mapping[str, Any] | None = None, redactor: Redactor | None = None) -> Resource:
    """Describe this process, from what can be known at once: no network call, no subprocess.

    Args:
        settings: Names the service; its `resource_attributes` win over what is detected.
        extra: Attributes given in code; they win over everything else.
        redactor: Redacts values: detectors that were asked for tell command lines, operators paste connection strings.
    """
    attributes: dict[str, Any] = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": version("opentelemetry-sdk"),
        "telemetry.distro.name": "otelkit",
        "telemetry.distro.version": version("otelkit"),
        "service.instance.id": settings.service_instance_id or str(uuid.uuid4()),
        **_host(),
        **_process(),
        **_container(),
        **_kubernetes(),
        **settings.resource_attributes,
    }
    # Specification, resource/sdk.md: without a name the fallback is unknown_service and the executable's name.
    attributes.setdefault("service.name", f"unknown_service:{Path(sys.executable or 'python').name}")
    attributes |= extra or {}
    if redactor is not None:
        attributes = {key: redactor.plain(key, value) for key, value in attributes.items()}
    return Resource(attributes, SCHEMA_URL)


def _host() -> dict[str, str]:
    return {
        "host.name": socket.gethostname(),
        "host.arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine().lower()),
        "os.type": sys.platform if sys.platform != "win32" else "windows",
    }


def _process() -> dict[str, Any]:
    """Describe the process; its arguments stay out, they may hold secrets."""
    return {
        "process.pid": os.getpid(),
        "process.executable.name": Path(sys.executable or "python").name,
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
    }


def _container() -> dict[str, str]:
    """Find the container's id where the kernel shows it: cgroup v1 paths, or v2's mounts."""
    for path in ("/proc/self/cgroup", "/proc/self/mountinfo"):
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            # mountinfo names ids of image layers too; only the container's own files carry its id.
            if path.endswith("mountinfo") and "/etc/hostname" not in line:
                continue
            found = _CONTAINER_ID.search(line.split(" - ")[0])
            if found:
                return {"container.id": found.group(1)}
    return {}


def _kubernetes() -> dict[str, str]:
    """Name the pod where there is one: its service account tells the namespace, its host name is the pod's name.

    Node, deployment and the rest come by `OTEL_RESOURCE_ATTRIBUTES` from the downward API, as the operator sets it.
    """
    try:
        namespace = _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip()
    except OSError:
        return {}
    return {"k8s.namespace.name": namespace, "k8s.pod.name": socket.gethostname()}


def detected(names: Sequence[str]) -> dict[str, Any]:
    """Run resource detectors of other packages, as `OTEL_EXPERIMENTAL_RESOURCE_DETECTORS` asks.

    They run side by side and are given two seconds together: those of clouds ask a metadata service.

    Args:
        names: Entry points of the group `opentelemetry_resource_detector`.
    """
    attributes: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}

    def detect(name: str) -> None:
        try:
            make = _entry_point("opentelemetry_resource_detector", name)
        except LookupError:  # its text repeats the name, which may be a secret in the wrong variable
            reasons[name] = "not installed"
            return
        try:
            detector: ResourceDetector = make()
            attributes[name] = dict(detector.detect().attributes)
        except Exception as error:  # noqa: BLE001  a detector that fails costs its own attributes only
            reasons[name] = f"{type(error).__name__}: {error}"

    run_against(Deadline.after(_DETECTION_TIME), [partial(detect, name) for name in names])
    for name in names:
        if name not in attributes:
            reason = reasons.get(name, f"no answer within {_DETECTION_TIME:g} s")
            say(f"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS: nothing from detector {shown(name)} ({reason})")
    return {key: value for name in names for key, value in attributes.get(name, {}).items()}


def _entry_point(group: str, name: str) -> Any:
    for entry_point in entry_points(group=group, name=name):
        return entry_point.load()
    message = f"no entry point {name!r} in {group}"
    raise LookupError(message)


def sampler(settings: Settings) -> sampling.Sampler:
    """Build the sampler that rules and `OTEL_TRACES_SAMPLER` describe; both were checked by `Settings`."""
    return _sampling.of(settings)


def _limit(value: int | None) -> int:
    """Say "no limit" in the SDK's words; its own None means "read the variable"."""
    return SpanLimits.UNSET if value is None else value


def _span_limits(settings: Settings) -> SpanLimits:
    return SpanLimits(
        max_attributes=settings.span_attribute_count_limit,
        max_attribute_length=_limit(settings.span_attribute_length_limit),
        max_span_attributes=settings.span_attribute_count_limit,
        max_span_attribute_length=_limit(settings.span_attribute_length_limit),
        max_events=settings.span_event_count_limit,
        max_links=settings.span_link_count_limit,
        max_event_attributes=settings.event_attribute_count_limit,
        max_link_attributes=settings.link_attribute_count_limit,
    )


def _id_generator(settings: Settings) -> IdGenerator | None:
    if settings.id_generator == "random":
        return None
    generator: IdGenerator = _entry_point("opentelemetry_id_generator", settings.id_generator)()
    return generator


def kind(provider: object) -> str:
    """Tell whether a global provider is absent ("ours" to set), the SDK's ("adopted") or another's ("foreign")."""
    # The API has no public question for "not set yet"; its placeholders are known by name (FastAPI does the same).
    if type(provider).__module__.startswith("opentelemetry.") and "Proxy" in type(provider).__name__:
        return "ours"
    return "adopted" if isinstance(provider, TracerProvider | MeterProvider | LoggerProvider) else "foreign"


def tracer_provider(
    settings: Settings,
    described: Resource,
    chosen: sampling.Sampler | None,
    processors: Sequence[SpanProcessor],
    redactor: Redactor | None = None,
) -> TracerProvider:
    """Build the tracer provider.

    Args:
        settings: Limits, sampler and id generator.
        described: The resource.
        chosen: A sampler given in code; None takes the one that `settings` name.
        processors: In the order in which they see a span.
        redactor: Redacts what those that are not ours see.
    """
    provider = _guard.TracerProvider(
        redactor=redactor,
        sampler=chosen or sampler(settings),
        resource=described,
        shutdown_on_exit=False,
        id_generator=_id_generator(settings),
        span_limits=_span_limits(settings),
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def meter_provider(
    settings: Settings,
    described: Resource,
    readers: Sequence[MetricReader],
    views: Sequence[View],
    *,
    redactor: Redactor | None = None,
) -> _guard.MeterProvider:
    """Build the meter provider.

    Args:
        settings: The exemplar filter and the cardinality limit.
        described: The resource.
        readers: What collects.
        views: The user's.
        redactor: Applied to attributes before they make a series.
    """
    filters: dict[str, Callable[[], ExemplarFilter]] = {
        "always_on": AlwaysOnExemplarFilter,
        "always_off": AlwaysOffExemplarFilter,
        "trace_based": TraceBasedExemplarFilter,
    }
    return _guard.MeterProvider(
        metric_readers=readers,
        resource=described,
        exemplar_filter=filters[settings.exemplar_filter](),
        shutdown_on_exit=False,
        views=views,
        cardinality_limit=settings.metric_cardinality_limit,
        redactor=redactor,
    )


def logger_provider(
    settings: Settings,
    described: Resource,
    processors: Sequence[LogRecordProcessor],
    redactor: Redactor | None = None,
) -> LoggerProvider:
    """Build the logger provider.

    Args:
        settings: Limits.
        described: The resource.
        processors: In the order in which they see a record.
        redactor: Redacts what those that are not ours see.
    """
    arguments: dict[str, Any] = {}
    # Older SDKs have the limits but no argument for them; they read the variables themselves.
    if "log_record_limits" in inspect.signature(LoggerProvider).parameters:
        arguments["log_record_limits"] = sdk_logs.LogRecordLimits(
            max_attributes=settings.log_attribute_count_limit,
            max_attribute_length=_limit(settings.log_attribute_length_limit),
            max_log_record_attributes=settings.log_attribute_count_limit,
            max_log_record_attribute_length=_limit(settings.log_attribute_length_limit),
        )
    provider = _guard.LoggerProvider(redactor=redactor, resource=described, shutdown_on_exit=False, **arguments)
    for processor in processors:
        provider.add_log_record_processor(processor)
    return provider
