"""The only place for the canary: a process that emits one trace, one record and one measurement, as others would.

`send` starts this module as a process of its own, with the caller's variables: `configure()` resolves them, and its
pipeline sends. Only what tells the canary from an application is fixed here: service name, instance id, and a sampler
that keeps it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelkit._telling import Answered, Setting
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit import Telemetry
    from otelkit.ops.endpoints import Endpoints

SERVICE = "otelkit-doctor"
METRIC = "otelkit_doctor_canary_seconds"
"""The histogram, as Prometheus calls it."""

_SECONDS = 0.042  # what is measured
_START = 15.0  # seconds that an interpreter may take to start, on top of what sending takes
_UNHEARD = 0.5  # seconds that sending may take where no endpoint took even an empty request
_TAIL = 4_096


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What became of one signal's items, in the process that sent them."""

    emitted: int
    delivered: int
    dropped: Mapping[str, int]
    pending: int


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What the canary tells of itself.

    Args:
        instance: Its `service.instance.id`, made for this one run.
        resource: What it told about itself, by attribute.
        trace_id: 32 hex digits.
        spans: How many make the trace.
        settings: The ones that matter on the way, as `otelkit._telling.Told` has them.
        problems: What is wrong with the variables.
        answers: How each endpoint answered an empty request, before anything was sent.
        counted: By signal that goes out by OTLP.
        said: What otelkit printed on stderr, line by line.
    """

    instance: str
    resource: Mapping[str, str]
    trace_id: str
    spans: int
    settings: Mapping[str, Setting]
    problems: tuple[str, ...]
    answers: tuple[Answered, ...]
    counted: Mapping[str, Counted]
    said: tuple[str, ...] = field(default=())


def send(*, timeout: float, stack: Endpoints | None = None) -> Sent:
    """Start the process, let it send, and return what it tells.

    Args:
        timeout: Seconds that sending may take.
        stack: Where to send if no variable says that.

    Raises:
        RuntimeError: It told nothing; the message has its last words.
    """
    with tempfile.TemporaryDirectory(prefix="otelkit-doctor-") as folder:
        report, errors = Path(folder, "report.json"), Path(folder, "stderr")
        command = [sys.executable, "-m", "otelkit.ops.doctor.canary", str(report), str(timeout)]
        with errors.open("wb") as stderr:
            try:
                subprocess.run(  # noqa: S603  this module, in this interpreter
                    command,
                    env=_environment(stack),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=timeout + _START,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"the canary did not end within {error.timeout:g} s") from error
        lines = errors.read_bytes()[-_TAIL:].decode(errors="replace").splitlines()
        if not report.is_file():
            raise RuntimeError(f"the canary told nothing: {lines[-1] if lines else 'it ended in silence'}")
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return Sent(
        instance=told["instance"],
        resource=told["resource"],
        trace_id=told["trace_id"],
        spans=told["spans"],
        settings={name: Setting(**each) for name, each in told["settings"].items()},
        problems=tuple(told["problems"]),
        answers=tuple(Answered(**each) for each in told["answers"]),
        counted={name: Counted(**each) for name, each in told["counted"].items()},
        said=tuple(line.removeprefix("otelkit: ") for line in lines if line.startswith("otelkit: ")),
    )


def _environment(stack: Endpoints | None) -> dict[str, str]:
    """The caller's variables, and the stack's address where these leave it open."""
    settings, environment = Settings(), dict(os.environ)
    if stack is not None and settings.origin("traces.endpoint") == "default":
        grpc = settings.traces.protocol == "grpc"
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = stack.otlp_grpc if grpc else stack.otlp_http
    return environment


# -- in the process ----------------------------------------------------------------------------------------------------


def _sing(report: Path, timeout: float) -> None:
    """Configure, emit, send, and tell.

    Args:
        report: Where to tell.
        timeout: Seconds that sending may take.
    """
    import otelkit  # noqa: PLC0415  in this process only: it is an application here
    from otelkit import _telling  # noqa: PLC0415  the same
    from otelkit.redact import Redactor  # noqa: PLC0415  the same

    instance = uuid.uuid4().hex
    settings = otelkit.Settings(
        service_name=SERVICE,
        service_instance_id=instance,
        sampler="always_on",
        disabled_instrumentations=frozenset(
            {"*"}
        ),  # it uses no library, and what its process measures is of no interest
    )
    answers = _telling.ask(settings)
    telemetry = otelkit.configure(settings)
    trace_id, spans = _emit(instance)
    heard = any(answer.outcome == "delivered" for answer in answers)
    telemetry.shutdown(timeout if heard else _UNHEARD)
    told = {
        "instance": instance,
        "resource": {name: str(value) for name, value in telemetry.resource.items()},
        "trace_id": trace_id,
        "spans": spans,
        "settings": {name: asdict(setting) for name, setting in _telling.shown(settings, Redactor())},
        "problems": settings.problems,
        "answers": [asdict(answer) for answer in answers],
        "counted": {name: _counted(telemetry, name) for name in telemetry.stats()},
    }
    report.write_text(json.dumps(told), encoding="utf-8")


def _emit(instance: str) -> tuple[str, int]:
    """Emit one trace of a call that is answered, a record and a measurement within it; return its id and its size."""
    from opentelemetry import trace  # noqa: PLC0415  in this process only

    import otelkit  # noqa: PLC0415  the same

    tracer = trace.get_tracer("otelkit.doctor")
    seconds = otelkit.Catalog("otelkit.doctor").histogram(
        "otelkit.doctor.canary", unit="s", description="What the canary of `otelkit doctor --prove` measures."
    )
    about = {"otelkit.doctor.run": instance}
    with tracer.start_as_current_span("canary", kind=trace.SpanKind.SERVER, attributes=about) as root:
        # A caller and who answers it, so that the service graph has an edge to draw.
        with (
            tracer.start_as_current_span("canary call", kind=trace.SpanKind.CLIENT),
            tracer.start_as_current_span("canary answer", kind=trace.SpanKind.SERVER) as answer,
        ):
            # An event alone: a failed span would count in somebody's error rate, and wake somebody.
            answer.add_event("exception", {"exception.type": "otelkit.Canary", "exception.message": instance})
        seconds.record(_SECONDS)
        logging.getLogger("otelkit.doctor").info("canary", extra=about)
        return trace.format_trace_id(root.get_span_context().trace_id), 3


def _counted(telemetry: Telemetry, name: str) -> dict[str, Any]:
    stats = telemetry.stats()[name]
    return asdict(
        Counted(emitted=stats.emitted, delivered=stats.delivered, dropped=dict(stats.dropped), pending=stats.pending)
    )


if __name__ == "__main__":
    _sing(Path(sys.argv[1]), float(sys.argv[2]))
