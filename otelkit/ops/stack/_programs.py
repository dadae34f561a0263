"""The only place that tells what the stack's programs are called, where they come from, and how each is started.

The arguments are those of the services in `deploy/compose.yaml`, with this machine's folders and ports in them: a test
holds the two together. Everything else stands in the configuration files that both engines share.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.ops.stack._state import State

_VERSION = re.compile(r"\bversion v?(\d+\.\d+\.\d+[\w.+-]*)")
_URLS = {
    "STACK_PROMETHEUS_URL": "PROMETHEUS_PORT",
    "STACK_ALERTMANAGER_URL": "ALERTMANAGER_PORT",
    "STACK_LOKI_URL": "LOKI_PORT",
    "STACK_TEMPO_URL": "TEMPO_PORT",
    "STACK_TEMPO_OTLP_URL": "TEMPO_OTLP_PORT",
}
_ANSWERS_WITHIN = 20.0  # seconds; a cold start from a slow disk is the slow part


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One program of the stack.

    Args:
        name: What it is called everywhere: its Compose service, its folder of data, its log.
        title: What a person calls it.
        executables: Names of the program file; any of them will do.
        pin: Variable of `deploy/.env` with the image, whose tag is the version wanted.
        releases: Where its publisher offers it; `{version}` stands for the version wanted.
        without: What does not work without it, as the end of a sentence.
        ports: Variables of `deploy/.env` with the ports that it listens on.
        ready: Variable of the port, and path, where it answers 200 once it is ready.
    """

    name: str
    title: str
    executables: tuple[str, ...]
    pin: str
    releases: str
    without: str
    ports: tuple[str, ...]
    ready: tuple[str, str]

    def wanted(self, pins: Mapping[str, str]) -> str:
        """Return the version that `deploy/.env` pins."""
        return pins[self.pin].partition("@")[0].rpartition(":")[2].removeprefix("v")

    def offered(self, pins: Mapping[str, str]) -> str:
        """Return the publisher's page with that version."""
        return self.releases.format(version=self.wanted(pins))


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="prometheus",
            title="Prometheus",
            executables=("prometheus",),
            pin="PROMETHEUS_IMAGE",
            releases="https://github.com/prometheus/prometheus/releases/tag/v{version}",
            without="no metrics are kept, nor exemplars or the service graph, and no alert is evaluated on metrics",
            ports=("PROMETHEUS_PORT",),
            ready=("PROMETHEUS_PORT", "/-/ready"),
        ),
        Kind(
            name="alertmanager",
            title="Alertmanager",
            executables=("alertmanager", "prometheus-alertmanager"),
            pin="ALERTMANAGER_IMAGE",
            releases="https://github.com/prometheus/alertmanager/releases/tag/v{version}",
            without="alerts are evaluated, and nobody is notified",
            ports=("ALERTMANAGER_PORT",),
            ready=("ALERTMANAGER_PORT", "/-/ready"),
        ),
        Kind(
            name="loki",
            title="Loki",
            executables=("loki",),
            pin="LOKI_IMAGE",
            releases="https://github.com/grafana/loki/releases/tag/v{version}",
            without="no logs are kept",
            ports=("LOKI_PORT", "LOKI_GRPC_PORT"),
            ready=("LOKI_PORT", "/ready"),
        ),
        Kind(
            name="tempo",
            title="Tempo",
            executables=("tempo",),
            pin="TEMPO_IMAGE",
            releases="https://github.com/grafana/tempo/releases/tag/v{version}",
            without="no traces are kept, and there is no service graph",
            ports=("TEMPO_PORT", "TEMPO_OTLP_PORT", "TEMPO_GRPC_PORT"),
            ready=("TEMPO_PORT", "/ready"),
        ),
        Kind(
            name="collector",
            title="the Collector",
            executables=("otelcol-otelkit", "otelcol-contrib", "otelcol"),
            pin="COLLECTOR_IMAGE",
            releases="https://github.com/open-telemetry/opentelemetry-collector-releases/releases/tag/v{version}",
            without="applications have nothing to send to",
            ports=("OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "COLLECTOR_HEALTH_PORT", "COLLECTOR_METRICS_PORT"),
            ready=("COLLECTOR_HEALTH_PORT", "/"),
        ),
        Kind(
            name="grafana",
            title="Grafana",
            executables=("grafana",),
            pin="GRAFANA_IMAGE",
            releases="https://grafana.com/grafana/download/{version}?edition=oss",
            without="there are no dashboards; everything is stored, and `otelkit trace` reads it back",
            ports=("GRAFANA_PORT",),
            ready=("GRAFANA_PORT", "/api/health"),
        ),
    )
}
"""All programs, stores first: the Collector starts once they listen, and Grafana last."""


def find(kind: Kind, folder: Path | None) -> str | None:
    """Return the program's file: in the folder, else on PATH, else None."""
    places = (str(folder), None) if folder else (None,)
    return next(
        (path for place in places for name in kind.executables if (path := shutil.which(name, path=place))), None
    )


def versions(found: Mapping[str, str]) -> dict[str, str | None]:
    """Ask each program for its version.

    Args:
        found: Path of the program's file by name.

    Returns:
        Version by name; None where it does not tell.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(found))) as pool:
        return dict(zip(found, pool.map(_version, found.values()), strict=True))


def command(path: str, name: str, place: Path, state: State) -> list[str]:
    """Return what a program is started with natively.

    Args:
        path: The program's file.
        name: The program.
        place: The stack's folder, with the copies of `collector/` and `deploy/`.
        state: What was chosen for the stack.
    """
    deploy = place / "deploy"
    data = Path(state.data) / name

    def at(port: str) -> str:
        return f"{state.listens_at(port)}:{state.ports[port]}"

    match name:
        case "collector":
            return [path, *_collector_configs(place / "collector", state)]
        case "prometheus":
            return [
                path,
                f"--config.file={deploy}/prometheus/prometheus.yaml",
                f"--storage.tsdb.path={data}",
                f"--storage.tsdb.retention.time={state.settings['PROMETHEUS_RETENTION']}",
                f"--web.listen-address={at('PROMETHEUS_PORT')}",
                "--web.enable-otlp-receiver",
                "--web.enable-remote-write-receiver",
                "--enable-feature=exemplar-storage",
                *_reached_at("PROMETHEUS", state),
                *shlex.split(state.settings.get("PROMETHEUS_FLAGS", "")),
            ]
        case "alertmanager":
            return [
                path,
                f"--config.file={deploy}/alertmanager/alertmanager.yaml",
                f"--storage.path={data}",
                "--data.maintenance-interval=1m",  # a kill loses no silence that is older, instead of 15 minutes
                f"--web.listen-address={at('ALERTMANAGER_PORT')}",
                "--cluster.listen-address=",  # one alone has nobody to gossip with
                "--enable-feature=receiver-name-in-metrics",
                *_reached_at("ALERTMANAGER", state),
                *shlex.split(state.settings.get("ALERTMANAGER_FLAGS", "")),
            ]
        case "grafana":
            return [path, "server", *_grafana_home(Path(path).resolve())]
        case _:
            return [path, f"-config.file={deploy}/{name}/{name}.yaml", "-config.expand-env=true"]


def variables(place: Path, state: State, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the `STACK_*` variables in the configuration files stand for natively.

    Args:
        place: The stack's folder.
        state: What was chosen for the stack.
        environment: Where a variable of the same name wins, unless it is an address, a port or a folder.
    """
    chosen = {
        **{f"STACK_{name}": value for name, value in state.settings.items() if value},
        **{name: state.url(port) for name, port in _URLS.items()},
        "STACK_OTLP_HOST": state.listens_at("OTLP_HTTP_PORT"),
    }
    return {
        # A store of one's own instead of the stack's, for example, is named by its URL in the shell.
        **{name: environment.get(name) or value for name, value in chosen.items()},
        "STACK_HOST": state.host,
        **{f"STACK_{name}": str(port) for name, port in state.ports.items()},
        "STACK_GRAFANA_EXTERNAL_URL": state.settings.get("GRAFANA_URL")
        or f"http://localhost:{state.ports['GRAFANA_PORT']}",
        **{f"STACK_{name.upper()}_DATA": str(Path(state.data) / name) for name in KINDS},
        "STACK_LOKI_RULES": str(place / "deploy/loki/rules"),
    }


def working_directory(name: str, place: Path, state: State) -> Path:
    """Return where a program is started: beside its data, or where its configuration names files from."""
    return place / "deploy/alertmanager" if name == "alertmanager" else Path(state.data) / name


def _reached_at(name: str, state: State) -> list[str]:
    """Name the address that people reach a program at; whatever path it has, the program itself answers at none."""
    address = state.settings.get(f"{name}_EXTERNAL_URL") or f"http://localhost:{state.ports[f'{name}_PORT']}"
    return [f"--web.external-url={address}", "--web.route-prefix=/"]


def _collector_configs(folder: Path, state: State) -> list[str]:
    """Return `--config` arguments: the base, the redaction rendered beside it, then the overlays."""
    redaction = folder / "redaction.yaml"
    paths = [
        folder / "config.yaml",
        *([redaction] if redaction.is_file() else []),  # an ejected set may do without
        *(folder / "overlays" / f"{overlay}.yaml" for overlay in state.overlays),
    ]
    # What the file names for containers, where the folder is mounted.
    more = shlex.split(state.settings.get("COLLECTOR_OVERLAYS", "").replace("/etc/otelcol/", f"{folder}/"))
    return [*(f"--config={path}" for path in paths), *more]


def _grafana_home(path: Path) -> list[str]:
    """Name the folder with Grafana's pages: beside the program in a release archive, elsewhere in a package."""
    folders = (path.parents[1], path.parents[1] / "share/grafana", Path("/usr/share/grafana"))
    home = next((folder for folder in folders if (folder / "conf/defaults.ini").is_file()), None)
    return [f"--homepath={home}"] if home else []


def _version(path: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  the program that is about to be started
            [path, "--version"], capture_output=True, timeout=_ANSWERS_WITHIN, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search((done.stdout + done.stderr).decode(errors="replace"))
    return found.group(1) if found else None
