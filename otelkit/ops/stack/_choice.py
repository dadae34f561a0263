"""The only place that turns what `stack up` was told into the state that a stack begins with, and tells two apart."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.stack import _state
from otelkit.ops.stack._state import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otelkit.ops.stack._state import Engine

_LAST_PORT = 65535
_STORING = ("collector", "prometheus", "alertmanager", "loki", "tempo", "grafana")
_URLS = {
    "STACK_PROMETHEUS_URL": "PROMETHEUS_PORT",
    "STACK_ALERTMANAGER_URL": "ALERTMANAGER_PORT",
    "STACK_LOKI_URL": "LOKI_PORT",
    "STACK_TEMPO_URL": "TEMPO_PORT",
    "STACK_TEMPO_OTLP_URL": "TEMPO_OTLP_PORT",
}
_NOT_FOR_FILES = ("_IMAGE", "_PORT", "STACK_BIND", "GRAFANA_ADMIN_")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `otelkit stack up` is told.

    Args:
        name: Name of the stack; each has a folder of its own.
        engine: "native" or "compose"; None takes Compose where an engine answers.
        config: A folder with `collector/` and `deploy/`, as `eject` writes it; None means otelkit's own.
        data: Folder for the programs' data; None means the stack's own.
        programs: Folder to look for the programs in, before PATH.
        port_offset: What is added to each port of `deploy/.env`.
        overlays: Names of files in `collector/overlays`, without their ending, in the order they apply.
        fresh: Empty this stack's data first.
        timeout: Seconds until all programs have to be ready.
    """

    name: str = "default"
    engine: Engine | None = None
    config: Path | None = None
    data: Path | None = None
    programs: Path | None = None
    port_offset: int = 0
    overlays: tuple[str, ...] = ()
    fresh: bool = False
    timeout: float = 60.0


def files(wanted: Wanted) -> Path:
    """Return the folder that the configuration is copied from.

    Raises:
        StackError: It lacks a file that is needed.
    """
    source = _assets.root() if wanted.config is None else wanted.config.resolve()
    needed = ("collector/config.yaml", "deploy/.env", *(f"collector/overlays/{name}.yaml" for name in wanted.overlays))
    if lacking := [name for name in needed if not (source / name).is_file()]:
        offered = sorted(file.stem for file in (source / "collector/overlays").glob("*.yaml"))
        raise StackError(f"{source} lacks {', '.join(lacking)}; its overlays: {', '.join(offered) or 'none'}")
    return source


def choose(wanted: Wanted, engine: Engine) -> State:
    """Return the state that a stack would begin with, no program started yet.

    Raises:
        StackError: The configuration lacks a file, or a variable cannot be used.
    """
    source = files(wanted)
    place = _state.folder(wanted.name)
    pins = _assets.pins(source)
    # As Compose has it: a variable of the shell wins over the file.
    values = {name: os.environ.get(name, value) for name, value in pins.items()}
    ports = _ports(values, wanted.port_offset)
    host = values.get("STACK_BIND") or "127.0.0.1"
    data = place / "data" if wanted.data is None else wanted.data.resolve()
    return State(
        name=wanted.name,
        engine=engine,
        otelkit=version("otelkit"),
        created=time.time(),
        source=None if wanted.config is None else str(source),
        digest=_state.digest(source, _assets.FOLDERS),
        host=host,
        ports=ports,
        variables=_variables(values, host=host, ports=ports, data=data),
        overlays=wanted.overlays,
        data=str(data),
        programs_folder=None if wanted.programs is None else str(wanted.programs.resolve()),
    )


def differences(runs: State, wanted: State) -> list[str]:
    """Tell what another `up` would start differently from what runs; empty where nothing."""
    found = []
    if runs.otelkit != wanted.otelkit:
        found.append(f"it was started by otelkit {runs.otelkit}, this is {wanted.otelkit}")
    if runs.digest != wanted.digest:
        found.append(f"its configuration is another than that of {wanted.source or 'this otelkit'}")
    if runs.overlays != wanted.overlays:
        found.append(f"overlays: {', '.join(runs.overlays) or 'none'} run, not {', '.join(wanted.overlays) or 'none'}")
    if runs.data != wanted.data:
        found.append(f"its data is in {runs.data}, not in {wanted.data}")
    if moved := [name for name in wanted.ports if runs.ports.get(name) != wanted.ports[name]]:
        old, new = runs.ports.get(moved[0]), wanted.ports[moved[0]]
        found.append(f"its ports: {moved[0]} is {old}, not {new}" + (", and so on" if len(moved) > 1 else ""))
    told = {f"STACK_{port}" for port in wanted.ports} | {f"STACK_{name.upper()}_DATA" for name in _STORING} | {*_URLS}
    for name in sorted({*runs.variables, *wanted.variables} - told):
        old_value, new_value = runs.variables.get(name, ""), wanted.variables.get(name, "")
        if old_value != new_value:
            found.append(f"{name}: {old_value or 'unset'} runs, not {new_value or 'unset'}")
    return found


def _ports(values: Mapping[str, str], offset: int) -> dict[str, int]:
    problems = []
    ports: dict[str, int] = {}
    for name, value in values.items():
        if not name.endswith("_PORT"):
            continue
        if not value.isdecimal() or not 0 < int(value) + offset <= _LAST_PORT:
            added = f" plus {offset}" if offset else ""
            problems.append(f"{name} is {value!r}{added}, which is no port")
        else:
            ports[name] = int(value) + offset
    if problems:
        raise StackError(f"{'; '.join(problems)} (a variable of the shell wins over deploy/.env)")
    return ports


def _variables(values: Mapping[str, str], *, host: str, ports: Mapping[str, int], data: Path) -> dict[str, str]:
    """Return what the variables in the configuration files stand for natively.

    Any other `STACK_*` variable of the shell reaches the programs as it is, and is not noted: it may be a secret.
    """
    at = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  compared, not bound
    rest = {f"STACK_{name}": value for name, value in values.items() if not _is_other(name)}
    urls = {name: f"http://{at}:{ports[port]}" for name, port in _URLS.items()}
    return {
        **rest,
        # A store of one's own instead of the stack's is named by its URL.
        **{name: os.environ.get(name, url) for name, url in urls.items()},
        "STACK_HOST": host,
        **{f"STACK_{name}": str(port) for name, port in ports.items()},
        **{f"STACK_{name.upper()}_DATA": str(data / name) for name in _STORING},
    }


def _is_other(name: str) -> bool:
    return any(part in name for part in _NOT_FOR_FILES)
