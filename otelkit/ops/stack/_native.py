"""The only place that brings a stack up, looks at it and takes it down as processes of this machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.stack import _ports, _processes, _programs, _state

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping

    import psutil

    from otelkit.ops.stack._programs import Kind
    from otelkit.ops.stack._progress import Progress
    from otelkit.ops.stack._state import Record, State

_LATE = ("collector", "grafana")  # they speak to the others from the first moment on
_PAUSE = 0.05  # seconds between two looks
_ANSWERS_WITHIN = 0.5  # seconds; short, so that a program that hangs delays no Ctrl-C
_LAST_LINES = 8
_OWNER_ONLY = 0o600
_STAMP = ".otelkit-stack"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What became of one program.

    Args:
        name: The program.
        state: "ready", "not ready" (it runs), "ended", or "missing" (it was not found, so never started).
        pid: Its process, None where none runs.
        version: The version that runs or ran, where it tells.
        url: Where it answers on its readiness.
        log: The file with its output.
        reason: Why it is not ready; empty where it is.
    """

    name: str
    state: str
    pid: int | None = None
    version: str | None = None
    url: str = ""
    log: str = ""
    reason: str = ""


def up(place: Path, wanted: State, *, source: Path, fresh: bool, within: float, progress: Progress) -> State:
    """Start what does not run of a stack, and wait until it is ready; the caller holds the stack's lock.

    Args:
        place: The stack's folder.
        wanted: What to start where nothing runs; else what runs stays as it is, and what is missing joins it.
        source: The folder to copy the configuration from.
        fresh: Empty the data first.
        within: Seconds until everything has to be ready.
        progress: Is told what happens; may end it all by raising.

    Raises:
        StackError: Nothing was started: ports are taken, no program is there, or the data belongs to another stack.
    """
    if sys.platform == "win32":
        raise StackError("natively a stack runs on Linux and macOS; on Windows use Docker Compose, or WSL")
    deadline = time.monotonic() + within
    noted = _state.read(place)
    before = _processes.running(place, noted.programs if noted else None)
    # A note without a process is what a restart of the machine leaves: then everything begins anew.
    state = noted if noted and before else wanted
    try:
        if not before:
            _prepare(place, state, source=source, fresh=fresh)
        state = _start(place, state, before=before, deadline=deadline, progress=progress)
    except BaseException:
        # By what they carry, not by what was noted: it may have been interrupted in between.
        started = [process for name, process in _processes.running(place).items() if name not in before]
        _processes.end(started, within=_GIVES_UP_WITHIN)
        if noted and before:
            _state.write(place, noted)
        else:
            _state.forget(place)
        raise
    return state


_GIVES_UP_WITHIN = 5.0  # seconds between SIGTERM and SIGKILL where starting was given up


def look(place: Path, state: State) -> list[Seen]:
    """Return what became of each program, in the order of starting."""
    running = _processes.running(place, state.programs)
    seen = []
    for name in _programs.KINDS:
        if name in state.missing and name not in running:
            seen.append(Seen(name=name, state="missing", reason=state.missing[name]))
        elif (record := state.programs.get(name)) is not None:
            seen.append(_look(name, record, running.get(name)))
    return seen


def down(place: Path, state: State | None, *, within: float, progress: Progress) -> list[str]:
    """End all programs of a stack, and forget it; the caller holds the stack's lock.

    The Collector goes first, while the stores still listen: it delivers what it holds, and keeps the rest on disk.

    Args:
        place: The stack's folder.
        state: What its state file says, None where that is damaged or gone.
        within: Seconds until those that still run are killed.
        progress: Is told who had to be killed.

    Returns:
        The names of the programs that ran.
    """
    deadline = time.monotonic() + within
    running = _processes.running(place, state.programs if state else None)
    names = {process.pid: name for name, process in running.items()}
    first = [process for name, process in running.items() if name == "collector"]
    rest = [process for name, process in running.items() if name != "collector"]
    killed = _processes.end(first, within=within / 2, check=progress.check)
    killed += _processes.end(rest, within=max(0.0, deadline - time.monotonic()), check=progress.check)
    for process in killed:
        progress.say(f"{names[process.pid]} did not end within {within:g} s of SIGTERM and was killed")
    _state.forget(place)
    return [name for name in _programs.KINDS if name in running]


def credentials(place: Path) -> tuple[str, str, bool]:
    """Return user and password of Grafana, and whether the password was made just now."""
    pins = _assets.pins(place)
    user = os.environ.get("GRAFANA_ADMIN_USER") or pins.get("GRAFANA_ADMIN_USER") or "admin"
    if given := os.environ.get("GRAFANA_ADMIN_PASSWORD") or pins.get("GRAFANA_ADMIN_PASSWORD"):
        return user, given, False
    file = place / "grafana-password"
    with contextlib.suppress(FileNotFoundError):
        return user, file.read_text(encoding="utf-8"), False
    made = secrets.token_urlsafe(18)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w", encoding="utf-8") as written:
        written.write(made)
    return user, made, True


def copy(place: Path, state: State, source: Path) -> None:
    """Replace the stack's copy of the configuration; what was stamped before is gone."""
    if source.is_relative_to(place):
        raise StackError(f"{source} is where the stack keeps its own copy: name another folder")
    for name in _assets.FOLDERS:
        shutil.rmtree(place / name, ignore_errors=True)
        shutil.copytree(source / name, place / name)
    (place / "otelkit-version").write_text(f"{state.otelkit}\n", encoding="utf-8")


def _prepare(place: Path, state: State, *, source: Path, fresh: bool) -> None:
    data = Path(state.data)
    stamp = data / _STAMP
    if data.is_dir() and not stamp.is_file() and any(data.iterdir()):
        raise StackError(f"{data} is not empty and holds no stack's data: name a new or an empty folder")
    owner = Path(stamp.read_text(encoding="utf-8").strip()) if stamp.is_file() else place
    if owner != place and (runs := _processes.running(owner)):
        raise StackError(f"{data} holds the data of stack {owner.name}, whose {', '.join(sorted(runs))} runs")
    data.mkdir(parents=True, exist_ok=True)
    stamp.write_text(f"{place}\n", encoding="utf-8")
    if fresh:
        for name in _programs.KINDS:
            shutil.rmtree(data / name, ignore_errors=True)
    copy(place, state, source)


def _start(
    place: Path, state: State, *, before: Mapping[str, psutil.Process], deadline: float, progress: Progress
) -> State:
    pins = _assets.pins(place)
    folder = Path(state.programs_folder) if state.programs_folder else None
    found = {name: path for name, kind in _programs.KINDS.items() if (path := _programs.find(kind, folder))}
    there = {*found, *before}
    missing = {name: _missing(kind, pins) for name, kind in _programs.KINDS.items() if name not in there}
    if not there:
        raise StackError("\n".join(["none of the programs was found", *missing.values()]))
    wanted = {name: path for name, path in found.items() if name not in before}
    _require_ports(state, wanted)
    progress.check()
    for why in missing.values():
        progress.say(why)
    versions = _programs.versions(wanted)
    for name, version in versions.items():
        if version != (needed := _programs.KINDS[name].wanted(pins)):
            progress.say(f"{name} is {version or 'of unknown version'}, proven is {needed}: {wanted[name]}")
    state = replace(state, missing=missing)
    _state.write(place, state)
    _native_targets(place, state, there)
    children: dict[str, subprocess.Popen[bytes]] = {}
    for late in (False, True):
        for name in [name for name in wanted if (name in _LATE) is late]:
            progress.check()
            argv, env = _command(place, state, name, wanted[name])
            if name == "grafana":
                env |= _grafana(place, state, progress)
            log = place / "log" / f"{name}.log"
            child = _processes.start(argv, name=name, place=place, log=log, cwd=Path(state.data) / name, env=env)
            children[name] = child
            record = _state.Record(
                pid=child.pid,
                started=_processes.started(child.pid),
                argv=tuple(argv),
                log=str(log),
                ready=_ready(state, name),
                version=versions[name],
            )
            state = replace(state, programs={**state.programs, name: record})
            _state.write(place, state)
        expected = {name: record for name, record in state.programs.items() if (name in _LATE) is late}
        _await(expected, children, deadline=deadline, progress=progress)
    for child in children.values():
        _processes.release(child)
    return state


def _command(place: Path, state: State, name: str, path: str) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment that a program is started with."""
    layout = _programs.Layout(
        files=place,
        data=Path(state.data),
        host=state.host,
        ports=state.ports,
        overlays=state.overlays,
        retention=state.variables.get("STACK_PROMETHEUS_RETENTION", "15d"),
    )
    # A service's own OTEL_* settings in this shell are not for the stores, which read the same variables.
    env = {variable: value for variable, value in os.environ.items() if not variable.startswith("OTEL_")}
    return [path, *_programs.arguments(name, path, layout)], {**env, **state.variables}


def _ready(state: State, name: str) -> str:
    port, path = _programs.KINDS[name].ready
    return f"http://{state.reached_at}:{state.ports[port]}{path}"


def _await(
    expected: Mapping[str, Record],
    children: Mapping[str, subprocess.Popen[bytes]],
    *,
    deadline: float,
    progress: Progress,
) -> None:
    """Wait until each is ready or has ended, or the time is over."""
    waiting = dict(expected)
    began = time.monotonic()
    while waiting:
        progress.waits(tuple(waiting))
        progress.check()
        for name, record in expected.items():
            child = children.get(name)
            if name not in waiting:
                continue
            if child is not None and child.poll() is not None:
                progress.say(f"{name} ended with exit code {child.returncode}")
                del waiting[name]
            elif answers(record.ready):
                if child is not None:
                    progress.say(f"{name} is ready after {time.monotonic() - began:.1f} s")
                del waiting[name]
        if waiting:
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
    progress.waits(())


def answers(url: str) -> bool:
    """Tell whether a URL answers 200 right now; no proxy is asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_ANSWERS_WITHIN)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def last_lines(log: str, lines: int = _LAST_LINES) -> str:
    """Return what a program printed last; empty where it printed nothing."""
    try:
        text = Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _look(name: str, record: Record, process: psutil.Process | None) -> Seen:
    known = Seen(name=name, state="ended", version=record.version, url=record.ready, log=record.log)
    printed = last_lines(record.log)
    if process is None:
        return replace(
            known, reason=f"it ended; its log's last lines:\n{printed}" if printed else "it ended without a word"
        )
    if answers(record.ready):
        return replace(known, state="ready", pid=process.pid)
    reason = f"{record.ready} does not answer 200; its log's last lines:\n{printed}"
    return replace(known, state="not ready", pid=process.pid, reason=reason)


def _missing(kind: Kind, pins: Mapping[str, str]) -> str:
    return (
        f"{kind.name} {kind.wanted(pins)} was not found ({' or '.join(kind.executables)}): {kind.without}."
        f" It is offered at {kind.offered(pins)}"
    )


def _require_ports(state: State, wanted: Iterable[str]) -> None:
    needed = [port for name in wanted for port in _programs.KINDS[name].ports]
    if taken := _ports.taken(state.host, {port: state.ports[port] for port in needed}):
        hint = "set those variables, or take another `--port-offset`"
        raise StackError("\n".join([*taken, f"nothing was started: end what holds them, {hint}"]))


def _native_targets(place: Path, state: State, running: set[str]) -> None:
    """Point the files by which Prometheus finds what it scrapes, and where it sends alerts, at this machine.

    They name the services and ports of Compose. A target without a program is left out: it would be down for ever.
    """
    pins = _assets.pins()  # inside of their network, containers listen on the ports that otelkit ships
    inside = {
        f"{kind.name}:{pins[port]}": (kind.name, port) for kind in _programs.KINDS.values() for port in kind.ports
    }
    for file in sorted((place / "deploy").glob("*/targets/*.yaml")):
        groups = yaml.safe_load(file.read_text(encoding="utf-8")) or []
        kept = []
        for group in groups:
            targets = []
            for target in group["targets"]:
                name, port = inside.get(target, ("", ""))
                if not name:
                    targets.append(target)
                elif name in running:
                    targets.append(f"{state.reached_at}:{state.ports[port]}")
            if targets:
                kept.append({**group, "targets": targets})
        file.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def _grafana(place: Path, state: State, progress: Progress) -> dict[str, str]:
    """Return the environment of Grafana, which is set up by variables."""
    user, password, made = credentials(place)
    if made:
        progress.say(f"Grafana's user is {user}, its password {password} (kept in {place / 'grafana-password'})")
    data = Path(state.data) / "grafana"
    return {
        "GF_PATHS_PROVISIONING": str(place / "deploy/grafana/provisioning"),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_SERVER_HTTP_ADDR": state.host,
        "GF_SERVER_HTTP_PORT": str(state.ports["GRAFANA_PORT"]),
        "GF_SECURITY_ADMIN_USER": user,
        "GF_SECURITY_ADMIN_PASSWORD": password,
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    }
