"""The only place that starts workers, each of one variant, and talks to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelkit.otlp.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORKER = Path(__file__).with_name("worker.py")
VARIANTS = ("bare", "bare_native", "vanilla", "otelkit")
UNSAMPLED = ("sampled_out", "dropped")
"""Variants of whose requests log records and metrics arrive, and no span."""
WARM_UP = 150
_EACH = 2  # spans, of the server and the statement, and log records of each request
_METRICS = 4
# Nothing is sent by the clock while a count runs: a slow run would count more of that than a fast one.
NEVER_BY_THE_CLOCK = {
    "OTEL_BSP_SCHEDULE_DELAY": "900000",
    "OTEL_BLRP_SCHEDULE_DELAY": "900000",
    "OTEL_METRIC_EXPORT_INTERVAL": "900000",
    "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "100000",
}


@dataclass
class Worker:
    """A running worker; it was warmed up when `started` hands it out.

    Args:
        variant: One of VARIANTS.
        process: Its process, or that of the tool that runs it.
        receiver: What took its telemetry.
    """

    variant: str
    process: subprocess.Popen[str]
    receiver: Receiver

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command and return the answer.

        Raises:
            RuntimeError: The worker ended instead.
        """
        assert self.process.stdin is not None  # noqa: S101  a pipe, see `started`
        assert self.process.stdout is not None  # noqa: S101  the same
        if command:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.variant}: the worker ended, {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def received(self, requests: int) -> dict[str, Any]:
        """Count what arrived since the last call, which must be what so many requests tell.

        Raises:
            RuntimeError: It is less: what does not do the work must not look cheap.
        """
        receiver = self.receiver
        counts: dict[str, Any] = {
            "spans": len(receiver.spans()),
            "logs_with_trace": sum(1 for log in receiver.logs() if log.trace_id),
            "metrics": sorted({point.metric for point in receiver.points()}),
        }
        receiver.clear()
        told = min(counts["spans"], counts["logs_with_trace"]) / _EACH / requests
        if self.variant in UNSAMPLED:
            # The few spans are of the start, when there is no request.
            told = 0 if counts["spans"] >= requests else counts["logs_with_trace"] / _EACH / requests
        if not self.variant.startswith("bare") and (told < 1 or len(counts["metrics"]) < _METRICS):
            raise RuntimeError(f"{self.variant}: {requests} requests, and this is all that arrived: {counts}")
        return counts


@contextlib.contextmanager
def started(
    variant: str, vanilla: Path, *, under: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Iterator[Worker]:
    """Start a worker and warm it up.

    Args:
        variant: One of VARIANTS.
        vanilla: The interpreter of an environment that has OpenTelemetry's own distro, and no otelkit.
        under: The command line of a tool to run it under.
        environment: Variables beside those that point it to its receiver.
    """
    python = vanilla if variant == "vanilla" else Path(sys.executable)
    launcher = [str(vanilla.with_name("opentelemetry-instrument"))] if variant == "vanilla" else []
    with tempfile.TemporaryDirectory() as folder, Receiver() as receiver:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "OTELKIT_", "PYTHON"))}
        env |= NEVER_BY_THE_CLOCK | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
            "OTEL_SERVICE_NAME": "bench",
            "PYTHONHASHSEED": "1",
        }
        process = subprocess.Popen(
            [*launcher, *under, str(python), str(WORKER), variant, str(Path(folder) / "items.db")],
            env=env | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            worker = Worker(variant, process, receiver)
            worker.ask("")
            worker.ask(f"run {WARM_UP}")
            worker.ask("collect")
            worker.received(WARM_UP)
            yield worker
        finally:
            assert process.stdin is not None  # noqa: S101  a pipe
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
