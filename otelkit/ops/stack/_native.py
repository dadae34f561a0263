"""The only place that brings a stack up, looks at it and takes it down as processes of this machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import sys
import time
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.stack import _files, _ports, _processes, _programs, _state
from otelkit.ops.stack._seen import Seen

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping

    from otelkit.ops.stack._programs import Kind
    from otelkit.ops.stack._progress import Progress
    from otelkit.ops.stack._state import Record, State

_LATE = ("collector", "grafana")  # they speak to the others from the first moment on
_PAUSE = 0.05  # seconds between two looks
_ANSWERS_WITHIN = 0.5  # seconds; short, so that a program that hangs delays no Ctrl-C
_GIVES_UP_WITHIN = 5.0  # seconds between SIGTERM and SIGKILL where starting was given up
_LAST_LINES = 8
_LAST_BYTES = 64 * 1024  # in which they are looked for
_FOLLOWS_EVERY = 0.2  # seconds
_STAMP = ".otelkit-stack"


def up(
    place: Path, chosen: State, *, runs: State | None, source: Path, fresh: bool, within: float, progress: Progress
) -> State:
    """Start what does not run of a stack, and wait until it is ready; the caller holds the stack's lock.

    Args:
        place: The stack's folder.
        chosen: What to start where nothing runs.
        runs: The note of a stack that runs, at least in part: what is missing joins it, nothing else changes.
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
    before = _processes.running(place, runs.programs if runs else None)
    if before and runs is None:
        raise StackError(
            f"{', '.join(before)} of this stack runs, and nothing is noted of it: `otelkit stack down` first"
        )
    try:
        if runs is None:
            _prepare(place, chosen, source=source, fresh=fresh, progress=progress)
        return _start(place, runs or chosen, before=before, deadline=deadline, progress=progress)
    except BaseException:
        # By what they carry, not by what was noted: it may have been interrupted in between.
        started = [process for name, process in _processes.running(place).items() if name not in before]
        _processes.end(started, within=_GIVES_UP_WITHIN)
        if runs is None:
            _state.forget(place)
        else:
            _state.write(place, runs)
        raise


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


def _prepare(place: Path, state: State, *, source: Path, fresh: bool, progress: Progress) -> None:
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
    for doubt in _files.copy(place, state, source):
        progress.say(doubt)


def _start(
    place: Path, state: State, *, before: Mapping[str, psutil.Process], deadline: float, progress: Progress
) -> State:
    pins = state.settings
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
    programs = dict(state.programs)
    for name, process in before.items():
        # Also what was started by a command that was killed before it could note it.
        if name not in programs or programs[name].pid != process.pid:
            programs[name] = _record(place, state, name, process.pid, argv=_processes.argv(process))
    state = replace(state, missing=missing, programs=programs)
    _state.write(place, state)
    _native_targets(place, state, there)
    env = _environment(place, state, before)
    children: dict[str, subprocess.Popen[bytes]] = {}
    for late in (False, True):
        for name in [name for name in wanted if (name in _LATE) is late]:
            progress.check()
            argv = _programs.command(wanted[name], name, place, state)
            own = {**_more(place, name), **env, **_own(place, state, name, progress)}
            children[name] = child = _launch(place, state, name, argv=argv, env=own)
            record = _record(place, state, name, child.pid, argv=argv, version=versions[name])
            state = replace(state, programs={**state.programs, name: record})
            _state.write(place, state)
        expected = {name: record for name, record in state.programs.items() if (name in _LATE) is late}
        _await(expected, children, deadline=deadline, progress=progress)
    for child in children.values():
        _processes.release(child)
    return state


def _launch(
    place: Path, state: State, name: str, *, argv: list[str], env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    (Path(state.data) / name).mkdir(parents=True, exist_ok=True)
    cwd = _programs.working_directory(name, place, state)
    try:
        return _processes.start(argv, name=name, place=place, log=_log(place, name), cwd=cwd, env=env)
    except OSError as error:  # a program of another kind of machine, for example
        raise StackError(f"{argv[0]} cannot be started: {error}") from error


def _record(
    place: Path, state: State, name: str, pid: int, *, argv: Iterable[str], version: str | None = None
) -> Record:
    port, path = _programs.KINDS[name].ready
    return _state.Record(
        pid=pid,
        started=_processes.started(pid),
        argv=tuple(argv),
        log=str(_log(place, name)),
        ready=state.url(port) + path,
        version=version,
    )


def _log(place: Path, name: str) -> Path:
    return place / "log" / f"{name}.log"


def _environment(place: Path, state: State, before: Mapping[str, psutil.Process]) -> dict[str, str]:
    """Return the environment for the programs: that of those that run already, else this one's."""
    environment = dict(os.environ)
    for name, process in before.items():
        if name != "grafana":
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
                break
    # A service's own OTEL_* settings in this shell are not for the stores, which read the same variables.
    kept = {name: value for name, value in environment.items() if not name.startswith("OTEL_")}
    return {**kept, **_programs.variables(place, state, kept)}


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
            elif _answers(record.ready):
                if child is not None:
                    progress.say(f"{name} is ready after {time.monotonic() - began:.1f} s")
                del waiting[name]
        if waiting:
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
    progress.waits(())


def logs(place: Path, state: State, *, program: str | None, lines: int, follow: bool) -> int:
    """Print the last lines of the programs' logs, and go on with what is added to them where `follow` says so.

    Raises:
        StackError: The stack has no such program.
    """
    if program is not None and program not in state.programs:
        raise StackError(f"stack {state.name} has no {program}: {', '.join(state.programs)}")
    names = [program] if program else [name for name in _programs.KINDS if name in state.programs]
    followed = {name: _followed(Path(state.programs[name].log), lines) for name in names}
    width = max(map(len, names))
    while True:
        for name, added in followed.items():
            for line in next(added):
                print(f"{name:<{width}} | {line}", flush=True)
        if not follow or _state.read(place) is None:
            return 0
        time.sleep(_FOLLOWS_EVERY)


def _followed(log: Path, lines: int) -> Iterator[list[str]]:
    """Yield the last lines of a log, then each time what was added since; a program that starts anew begins anew."""
    with contextlib.ExitStack() as opened:
        file, inode, rest, shown = None, 0, b"", lines
        while True:
            with contextlib.suppress(FileNotFoundError):
                if file is None or log.stat().st_ino != inode:
                    file, rest = opened.enter_context(log.open("rb")), b""
                    inode = os.fstat(file.fileno()).st_ino
            *whole, rest = (rest + (file.read() if file else b"")).split(b"\n")
            yield [line.decode(errors="replace") for line in whole[max(0, len(whole) - shown) :]]
            shown = sys.maxsize


def _answers(url: str) -> bool:
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


def _last_lines(log: str) -> str:
    """Return what a program printed last; empty where it printed nothing."""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LAST_LINES:])


def _look(name: str, record: Record, process: psutil.Process | None) -> Seen:
    known = Seen(name=name, state="ended", version=record.version, url=record.ready, log=record.log)
    printed = _last_lines(record.log)
    if process is None:
        return replace(
            known, reason=f"it ended; its log's last lines:\n{printed}" if printed else "it ended without a word"
        )
    if _answers(record.ready):
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
    if taken := _ports.taken({port: (state.listens_at(port), state.ports[port]) for port in needed}):
        hint = "set those variables, or take another `--port-offset`"
        raise StackError("\n".join([*taken, f"nothing was started: end what holds them, {hint}"]))


def _native_targets(place: Path, state: State, running: set[str]) -> None:
    """Point the files by which Prometheus finds what it scrapes, and where it sends alerts, at this machine.

    They name the services and ports of Compose. A target without a program is left out: it would be down for ever.
    """
    import yaml  # noqa: PLC0415  `status` and `down` are quicker without

    pins = _assets.pins()  # inside of their network, containers listen on the ports that otelkit ships
    inside = {
        f"{kind.name}:{pins[port]}": (kind.name, port) for kind in _programs.KINDS.values() for port in kind.ports
    }
    for file in sorted((place / "deploy").glob("*/targets/*.yaml")):
        shipped = file.with_suffix(".compose")  # kept: a program may join later
        if not shipped.exists():
            file.rename(shipped)
        groups = yaml.safe_load(shipped.read_text(encoding="utf-8")) or []
        kept = []
        for group in groups:
            targets = []
            for target in group["targets"]:
                name, port = inside.get(target, ("", ""))
                if not name:
                    targets.append(target)
                elif name in running:
                    targets.append(urlsplit(state.url(port)).netloc)
            if targets:
                kept.append({**group, "targets": targets})
        file.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def _more(place: Path, name: str) -> dict[str, str]:
    """Return what a file of its own says for one program, as in `deploy/compose.yaml`; a variable of the shell wins."""
    file = place / "deploy" / f"{name}.env"
    return _assets.variables(file) if file.is_file() else {}


def _own(place: Path, state: State, name: str, progress: Progress) -> dict[str, str]:
    """Return the environment that one program has for itself, as in `deploy/compose.yaml`."""
    if name == "collector":
        return {"GOMEMLIMIT": f"{state.settings['COLLECTOR_MEMORY_MIB']}MiB"}
    if name != "grafana":
        return {}
    user, password, told = _files.credentials(place)
    if told:
        progress.say(told)
    data = Path(state.data) / "grafana"
    port = state.ports["GRAFANA_PORT"]
    return {
        "GF_PATHS_PROVISIONING": str(place / "deploy/grafana/provisioning"),
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(place / "deploy/grafana/dashboards/overview.json"),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_SERVER_HTTP_ADDR": state.listens_at("GRAFANA_PORT"),
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_SERVER_ROOT_URL": state.settings.get("GRAFANA_URL") or f"http://localhost:{port}",
        "GF_SECURITY_ADMIN_USER": user,
        "GF_SECURITY_ADMIN_PASSWORD": password,
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_USERS_ALLOW_SIGN_UP": "false",
    }
