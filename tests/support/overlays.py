"""The only place where tests put the Collector's files together, as the Collector does, and start it with overlays."""

from __future__ import annotations

import functools
import itertools
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from support.collector import program
from support.processes import HOST, Process, free_port, http_get

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.otlp.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR = ROOT / "collector"
BASE = (COLLECTOR / "config.yaml", COLLECTOR / "redaction.yaml")
OVERLAYS = ("agent", "debug", "gateway", "infra", "remote", "secure")
NOT_TOGETHER = (("agent", "gateway"), ("agent", "remote"), ("debug", "secure"))
PAIRS = tuple(pair for pair in itertools.combinations(OVERLAYS, 2) if pair not in NOT_TOGETHER)
WIDE = (("gateway", "infra", "remote", "secure"), ("agent", "infra", "secure"), ("debug", "gateway", "infra", "remote"))
"""Overlays that are used together; their order means nothing. The wide ones have nearly every pair in them."""

WANTED: Mapping[str, tuple[str, ...]] = {
    "agent": ("STACK_GATEWAY_URL",),
    "secure": ("STACK_OTLP_CERTIFICATE", "STACK_OTLP_KEY", "STACK_OTLP_TOKEN_FILE"),
}
"""Variables that have no default, by overlay."""

NO_RULES: Mapping[str, Any] = {
    "processors": {"transform/redaction": {f"{kind}_statements": [] for kind in ("trace", "metric", "log")}}
}
"""Takes the rules of redaction away: a Collector reads them for seconds, and most tests are about something else."""

PORTS = (
    "STACK_OTLP_GRPC_PORT",
    "STACK_OTLP_HTTP_PORT",
    "STACK_COLLECTOR_HEALTH_PORT",
    "STACK_COLLECTOR_METRICS_PORT",
    "STACK_ZPAGES_PORT",
    "STACK_PPROF_PORT",
)

# Innermost first: the default of one variable may be another.
VARIABLE = re.compile(r"\$\{env:(?P<name>[A-Z_]+)(?::-(?P<default>[^${}]*))?\}")


def path(overlay: str) -> Path:
    """Return the file of an overlay."""
    return COLLECTOR / "overlays" / f"{overlay}.yaml"


def variables(file: Path) -> dict[str, str | None]:
    """Return the variables of a file with their defaults; None is one without.

    Raises:
        AssertionError: One of them has two defaults.
    """
    found: dict[str, str | None] = {}

    def take(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        assert found.setdefault(name, default) == default, f"{file.name}: {name} has two defaults"
        return default or ""

    _expanded(_code(file), take)
    return found


@functools.cache
def load(file: Path) -> dict[str, Any]:
    """Return a file as it is where no variable is set, to be read only; what has no default is `wanted`."""
    text = _expanded(_code(file), lambda match: "wanted" if match["default"] is None else match["default"])
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def merged(*overlays: str) -> dict[str, Any]:
    """Return what the Collector makes of the base and these overlays, in this order."""
    whole: dict[str, Any] = {}
    for file in (*BASE, *map(path, overlays)):
        whole = _merge(whole, load(file))
    return whole


def free_ports() -> dict[str, str]:
    """Return a free port for each of `PORTS`, all different."""
    ports: set[int] = set()
    while len(ports) < len(PORTS):
        ports.add(free_port())
    return {name: str(port) for name, port in zip(PORTS, ports, strict=True)}


@contextmanager
def collector(
    folder: Path,
    *overlays: str,
    variables: Mapping[str, str],
    name: str = "collector",
    more: Mapping[str, Any] | None = None,
    store: Receiver | None = None,
    rules: bool = False,
) -> Iterator[Collector]:
    """Run the Collector on free ports until the end of the block.

    Args:
        folder: A folder of the test, for its queues and output.
        overlays: Names, in the order of their `--config`.
        variables: `STACK_*` variables on top of ports and folder.
        name: Tells two of them in one folder apart.
        more: One more file's content.
        store: Stands in for Tempo, Prometheus and Loki, whose paths it does not know; it takes gRPC too.
        rules: Load the rules of redaction, which takes seconds.
    """
    environment = {**free_ports(), "STACK_COLLECTOR_DATA": str(folder / f"{name}-data"), **variables}
    last = folder / f"{name}-last.yaml"
    changes = (more or {}, {"exporters": _endpoints(store)} if store else {}, {} if rules else NO_RULES)
    last.write_text(yaml.safe_dump(functools.reduce(_merge, changes)))
    files = [*BASE, *map(path, overlays), last]
    with Process(
        [program(), *(f"--config={file}" for file in files)], folder=folder, env=environment, name=name
    ) as process:
        running = Collector(process, environment)
        running.wait_ready()
        yield running


class Collector:
    """A Collector that runs.

    Args:
        process: Its process.
        environment: Its variables.
    """

    def __init__(self, process: Process, environment: Mapping[str, str]) -> None:
        self.process = process
        self.environment = environment

    def port(self, variable: str) -> int:
        """Return a port of `PORTS`."""
        return int(self.environment[variable])

    @property
    def http(self) -> str:
        """Where it takes OTLP over HTTP, as a base URL without TLS."""
        return f"http://{HOST}:{self.port('STACK_OTLP_HTTP_PORT')}"

    @property
    def grpc(self) -> str:
        """Where it takes OTLP over gRPC, as a base URL without TLS."""
        return f"http://{HOST}:{self.port('STACK_OTLP_GRPC_PORT')}"

    @property
    def health(self) -> str:
        """Where it says that it is ready."""
        return f"http://{HOST}:{self.port('STACK_COLLECTOR_HEALTH_PORT')}/"

    @property
    def metrics(self) -> str:
        """Where its own metrics are."""
        return f"http://{HOST}:{self.port('STACK_COLLECTOR_METRICS_PORT')}/metrics"

    def total(self, metric: str) -> float:
        """Return the sum over all series of one of its own metrics; 0 where there is none yet."""
        lines = http_get(self.metrics).body.decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return sum(float(value) for series, _, value in samples if series.partition("{")[0] == metric)

    def wait_ready(self) -> None:
        """Return once all of it has started."""
        self.process.wait_output("Everything is ready", within=60)


def _endpoints(store: Receiver) -> dict[str, dict[str, str]]:
    return {
        "otlp_grpc/tempo": {"endpoint": store.grpc_endpoint},
        "otlp_http/prometheus": {"endpoint": store.http_url},
        "otlp_http/loki": {"endpoint": store.http_url},
    }


def _code(file: Path) -> str:
    return "\n".join(
        line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    )


def _expanded(text: str, value: Any) -> str:
    while (expanded := VARIABLE.sub(value, text)) != text:
        text = expanded
    return text


def _merge(below: Any, above: Any) -> Any:
    """Maps are merged, all else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merge(below[key], each) if key in below else each for key, each in above.items()}
