"""The only place that turns what `stack up` was told into the state that a stack begins with, and tells two apart."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops._words import listed
from otelkit.ops.stack import _programs, _rendered, _state
from otelkit.ops.stack._state import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otelkit.ops.stack._state import Engine

_LAST_PORT = 65535
_SECRETS = ("PASSWORD", "DSN", "TOKEN", "SECRET")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `otelkit stack up` is told.

    Args:
        name: Name of the stack; each has a folder of its own.
        engine: "native" or "compose"; None takes Compose where an engine answers.
        config: A folder with `collector/` and `deploy/`, as `eject` writes it; None means otelkit's own.
        data: Folder for the programs' data; None means the stack's own. Containers keep theirs in volumes.
        programs: Folder to look for the programs in, before PATH.
        port_offset: What is added to each port of `deploy/.env`.
        overlays: Names of files in `collector/overlays`, without their ending, in the order they apply.
        secrets: Folder with the secrets of those who are told of alerts; None means that of the configuration.
        rendered: Folder that `otelkit render` wrote rules, boards and receivers into; None means otelkit's own.
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
    secrets: Path | None = None
    rendered: Path | None = None
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
    if wanted.secrets is not None and not wanted.secrets.is_dir():
        raise StackError(f"{wanted.secrets} is no folder of secrets")
    rendered = None if wanted.rendered is None else _rendered.folder(wanted.rendered)
    place = _state.folder(wanted.name)
    # What an ejected file of an older otelkit does not have yet is as it is shipped now.
    pins = {**_assets.pins(), **_assets.pins(source)}
    # As Compose has it: a variable of the shell wins over the file.
    settings = {name: os.environ.get(name, value) for name, value in pins.items()}
    made_of = [(source, name) for name in _assets.FOLDERS]
    made_of += [(rendered, name) for name in _rendered.FOLDERS] if rendered else []
    data = place / "data" if wanted.data is None else wanted.data.resolve()
    return State(
        name=wanted.name,
        engine=engine,
        otelkit=version("otelkit"),
        created=time.time(),
        source=None if wanted.config is None else str(source),
        digest=_state.digest(made_of),
        host=settings.get("STACK_BIND") or "127.0.0.1",
        ports=_ports(settings, wanted.port_offset, engine),
        settings={name: value for name, value in settings.items() if not any(part in name for part in _SECRETS)},
        overlays=wanted.overlays,
        data=str(data),
        programs_folder=None if wanted.programs is None else str(wanted.programs.resolve()),
        secrets=None if wanted.secrets is None else str(wanted.secrets.resolve()),
        rendered=None if rendered is None else str(rendered),
    )


def differences(runs: State, wanted: State) -> list[str]:
    """Tell what another `up` would start differently from what runs; empty where nothing."""
    found = []
    if runs.engine != wanted.engine:
        found.append(f"its engine is {runs.engine}, not {wanted.engine}")
    if runs.otelkit != wanted.otelkit:
        found.append(f"otelkit {runs.otelkit} started it, this is {wanted.otelkit}")
    if runs.digest != wanted.digest:
        made_of = listed([wanted.source or "this otelkit", *([wanted.rendered] if wanted.rendered else [])])
        found.append(f"its configuration is not what is in {made_of} now")
    if runs.overlays != wanted.overlays:
        found.append(f"its overlays: {', '.join(runs.overlays) or 'none'}, not {', '.join(wanted.overlays) or 'none'}")
    if runs.secrets != wanted.secrets:
        old, new = (each or "the configuration" for each in (runs.secrets, wanted.secrets))
        found.append(f"its secrets are those of {old}, not of {new}")
    if runs.engine == wanted.engine == "native" and runs.data != wanted.data:
        found.append(f"its data is in {runs.data}, not in {wanted.data}")
    if moved := [name for name in wanted.ports if name in runs.ports and runs.ports[name] != wanted.ports[name]]:
        old_port, new_port = runs.ports[moved[0]], wanted.ports[moved[0]]
        found.append(f"its {moved[0]} is {old_port}, not {new_port}" + (", and so on" if len(moved) > 1 else ""))
    for name in sorted({*runs.settings, *wanted.settings} - {*wanted.ports}):
        old_value, new_value = runs.settings.get(name, ""), wanted.settings.get(name, "")
        if old_value != new_value:
            found.append(f"its {name} is {old_value or 'unset'}, not {new_value or 'unset'}")
    return found


def _ports(settings: Mapping[str, str], offset: int, engine: Engine) -> dict[str, int]:
    names = [name for name in settings if name.endswith("_PORT")]
    if engine == "native":  # exporters are nobody's to start there: they are where they are
        names = [name for name in names if any(name in kind.ports for kind in _programs.KINDS.values())]
    problems = []
    ports: dict[str, int] = {}
    for name in names:
        value = settings[name]
        if not value.isdecimal() or not 0 < int(value) + offset <= _LAST_PORT:
            added = f" plus {offset}" if offset else ""
            problems.append(f"{name} is {value!r}{added}, which is no port")
        else:
            ports[name] = int(value) + offset
    if problems:
        raise StackError(f"{'; '.join(problems)} (a variable of the shell wins over deploy/.env)")
    return ports
