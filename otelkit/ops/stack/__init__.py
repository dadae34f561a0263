"""The only place for the real stack: as containers where an engine answers, else as processes of this machine.

`otelkit stack` (`otelkit.ops.cli.stack`) is this as a command. `endpoints()` tells other commands where a running stack
answers; what `state.json` holds is told in `otelkit.ops.stack._state`.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.endpoints import PORTS, Endpoints
from otelkit.ops.stack import _choice, _compose, _native, _processes, _receivers, _state
from otelkit.ops.stack._choice import Wanted
from otelkit.ops.stack._progress import Progress, Silent
from otelkit.ops.stack._seen import Seen
from otelkit.ops.stack._state import Record, State

if TYPE_CHECKING:
    from pathlib import Path

    from otelkit.ops.stack._state import Engine

__all__ = [
    "Progress",
    "Record",
    "Seen",
    "State",
    "Wanted",
    "down",
    "eject",
    "endpoints",
    "logs",
    "look",
    "nobody_paged",
    "reached",
    "state",
    "up",
]

_SILENT = Silent()
_README = """# The stack's configuration, from otelkit {version}

Yours to change from here on. `deploy/.env` holds versions, ports and retention; a variable of the shell wins over it.

    otelkit stack up --config .                 # as containers where an engine answers, else the programs on PATH
    cd deploy && docker compose up -d --wait    # without otelkit

`collector/README.md` tells why each setting is what it is.
"""


def state(name: str = "default") -> State | None:
    """Return what is noted of a stack that was brought up and not taken down; None where there is none.

    Raises:
        StackError: Its state file is damaged, or no stack can have this name.
    """
    return _state.read(_state.folder(name))


def endpoints(name: str = "default") -> Endpoints | None:
    """Return where a running stack answers, None where none runs.

    Args:
        name: As given to `otelkit stack up --name`.

    Raises:
        StackError: Its state file is damaged, or no stack can have this name.
    """
    noted = state(name)
    if noted is None or (noted.engine == "native" and not _processes.running(_state.folder(name), noted.programs)):
        return None
    return Endpoints(**{name: noted.url(port) for name, port in PORTS.items()})


def reached(name: str | None) -> Endpoints | None:
    """Return where the stack answers that a person means: a named one, which must run, else the default one if it does.

    Raises:
        StackError: The named stack does not run; or see `endpoints`.
    """
    found = endpoints(name or "default")
    if found is None and name:
        raise StackError(f"no stack {name!r} runs; `otelkit stack up --name {name}` starts it")
    return found


def up(wanted: Wanted, *, progress: Progress = _SILENT) -> State:
    """Bring a stack up, or start what is missing of one that runs; return once all is ready, has ended, or time is up.

    What runs stays as it is, whatever is wanted now: the differences are told.

    Args:
        wanted: What to start.
        progress: Is told what happens. Whatever its `check` raises ends all that was started here, and is raised again.

    Raises:
        StackError: Nothing was started; the message says why.
    """
    place = _state.folder(wanted.name)
    with _state.lock(place, within=wanted.timeout, waits=lambda: _busy(progress), check=progress.check):
        noted = _state.read(place)
        runs = noted if noted is not None and _runs(place, noted) else None
        chosen = _choice.choose(wanted, wanted.engine or (runs.engine if runs else _engine(progress)))
        if chosen.engine == "compose" and (why := _compose.unavailable()):
            raise StackError(f"Docker Compose cannot be used: {why}")
        if runs is not None:
            if wanted.fresh:
                raise StackError(f"stack {wanted.name} runs: `otelkit stack down` it first, then empty it")
            _tell(_choice.differences(runs, chosen), wanted.name, progress)
        bring_up = _native.up if (runs or chosen).engine == "native" else _compose.up
        brought = bring_up(
            place,
            chosen,
            runs=runs,
            source=_choice.files(wanted),
            fresh=wanted.fresh,
            within=wanted.timeout,
            progress=progress,
        )
    if said := _receivers.nobody(place):
        progress.say(f"ALERTS: {'; '.join(said)}")
    return brought


def nobody_paged(name: str = "default") -> tuple[str, str] | None:
    """Return that a stack runs that pages nobody, and what to do about it; None where it pages somebody, or none runs.

    Raises:
        StackError: Its state file is damaged, or no stack can have this name.
    """
    return None if endpoints(name) is None else _receivers.nobody(_state.folder(name))


def look(name: str = "default") -> list[Seen]:
    """Return what became of each program of a stack; nothing where none was brought up.

    Raises:
        StackError: Its state file is damaged, or no stack can have this name.
    """
    noted = state(name)
    if noted is None:
        return []
    look_at = _native.look if noted.engine == "native" else _compose.look
    return look_at(_state.folder(name), noted)


def logs(name: str = "default", *, program: str | None = None, lines: int = 20, follow: bool = False) -> int:
    """Print what the programs of a stack printed last, each line after the name of its program.

    Args:
        name: As given to `up`.
        program: Only this one; None means all.
        lines: How many lines of each.
        follow: Go on with what they print from now on, until the stack is down or somebody interrupts.

    Returns:
        The exit code of a command that did this.

    Raises:
        StackError: There is no such stack or program.
    """
    noted = state(name)
    if noted is None:
        raise StackError(f"stack {name} is not running: what it printed is in {_state.folder(name) / 'log'}")
    show = _native.logs if noted.engine == "native" else _compose.logs
    return show(_state.folder(name), noted, program=program, lines=lines, follow=follow)


def down(name: str = "default", *, within: float = 20.0, progress: Progress = _SILENT) -> list[str]:
    """End all programs of a stack; its data stays.

    Args:
        name: As given to `up`.
        within: Seconds until those that still run are killed. Containers have theirs in `deploy/compose.yaml`.
        progress: Is told who had to be killed.

    Returns:
        The names of the programs that ran.

    Raises:
        StackError: No stack can have this name, another command works on it, or Compose could not.
    """
    place = _state.folder(name)
    if not place.is_dir():
        return []
    with _state.lock(place, within=within, waits=lambda: _busy(progress), check=progress.check):
        try:
            noted = _state.read(place)
        except StackError as error:
            progress.say(str(error))
            noted = None
        if noted is not None and noted.engine == "compose":
            return _compose.down(place, noted)
        return _native.down(place, noted, within=within, progress=progress)


def eject(target: Path) -> None:
    """Hand the configuration over: `collector/`, `deploy/` and a few lines on how to run them.

    Args:
        target: A new or an empty folder.

    Raises:
        StackError: It holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StackError(f"{target} is not empty: name a new folder")
    for name in _assets.FOLDERS:
        shutil.copytree(_assets.root() / name, target / name)
    (target / "README.md").write_text(_README.format(version=version("otelkit")), encoding="utf-8")


def _engine(progress: Progress) -> Engine:
    why = _compose.unavailable()
    if why:
        progress.say(f"as processes of this machine: {why}")
    return "native" if why else "compose"


def _runs(place: Path, noted: State) -> bool:
    """Tell whether anything of a stack runs; a note without is what a restart of the machine leaves."""
    if noted.engine == "compose":
        return any(seen.state != "ended" for seen in _compose.look(place, noted))
    return bool(_processes.running(place, noted.programs))


def _tell(differences: list[str], name: str, progress: Progress) -> None:
    if differences:
        progress.say(f"stack {name} runs and stays as it is:")
        for difference in differences:
            progress.say(f"  {difference}")
        progress.say(f"to apply that: otelkit stack down --name {name}, then this again; data stays")


def _busy(progress: Progress) -> None:
    progress.say("another otelkit command works on this stack: waiting for it")
