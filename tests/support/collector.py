"""The only place where tests run the real Collector with the project's own files and a receiver of ours as its stores.

What comes out of the Collector is then decoded and compared by the test itself; no store is needed.
"""

from __future__ import annotations

import http.client
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from support import lanes
from support.processes import HOST, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otelkit.otlp.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
LANE = "collector"

_ANSWERS = 30.0  # seconds


class Running(NamedTuple):
    """A Collector that runs, and what it delivers to."""

    process: Process
    store: Receiver
    otlp_http: str
    otlp_grpc: str
    metrics: str


def program() -> str:
    """Return the Collector's path, or skip the test and say loudly that it is missing."""
    found = shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if found is None:
        lanes.skipped(LANE, "not on PATH: otelcol-contrib or otelcol")
        pytest.skip("otelcol-contrib or otelcol is not on PATH")
    lanes.ran(LANE)
    return found


@contextmanager
def running(
    folder: Path,
    store: Receiver,
    *,
    variables: Mapping[str, str] | None = None,
    tempo: str | None = None,
    overlays: Sequence[Path] = (),
) -> Iterator[Running]:
    """Run the Collector until the block is left.

    Args:
        folder: For its data, its output and what is written for it.
        store: Stands for Tempo (over gRPC), Prometheus and Loki (over HTTP).
        variables: `STACK_*` variables beside ports and folder.
        tempo: Where traces go instead, as `http://host:port`.
        overlays: Further configuration files.
    """
    ports = {
        f"STACK_{name}_PORT": str(free_port())
        for name in ("OTLP_GRPC", "OTLP_HTTP", "COLLECTOR_HEALTH", "COLLECTOR_METRICS")
    }
    here = folder / "here.yaml"
    exporters = {
        "otlp_grpc/tempo": {"endpoint": tempo or store.grpc_endpoint},
        "otlp_http/prometheus": {"endpoint": store.http_url},
        "otlp_http/loki": {"endpoint": store.http_url},
    }
    here.write_text(yaml.safe_dump({"exporters": exporters}))
    files = [*(ROOT / "collector" / name for name in ("config.yaml", "redaction.yaml")), *overlays, here]
    environment = {
        "STACK_COLLECTOR_DATA": str(folder),
        "STACK_SPAN_METRICS_INTERVAL": "200ms",
        **ports,
        **(variables or {}),
    }
    command = [program(), *(f"--config={path}" for path in files)]
    with Process(command, folder=folder, env=environment, name="collector") as process:
        process.wait_output("Everything is ready", within=60)
        yield Running(
            process,
            store,
            f"http://{HOST}:{ports['STACK_OTLP_HTTP_PORT']}",
            f"http://{HOST}:{ports['STACK_OTLP_GRPC_PORT']}",
            f"http://{HOST}:{ports['STACK_COLLECTOR_METRICS_PORT']}/metrics",
        )


def post(endpoint: str, signal: str, body: bytes) -> int:
    """Send one request of OTLP over HTTP, once, and return the status of its answer.

    Args:
        endpoint: Base URL of the receiver.
        signal: "traces", "metrics" or "logs".
        body: The request, as protobuf.
    """
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=_ANSWERS)
    try:
        connection.request("POST", f"/v1/{signal}", body, {"content-type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()
