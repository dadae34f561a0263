"""The only place for `otelkit stack`: the real stack, up, looked at, and down again.

Exit codes: 0 all that was found is ready; 1 something is broken, or nothing could be started; 2 the command line is
wrong; 3 the stack is not running; 128 plus the signal's number where Ctrl-C, SIGTERM or SIGHUP interrupted it: `up`
has then ended what it started.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from otelkit.errors import StackError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import TracebackType

    from otelkit.ops.stack import Seen, State

HELP = "Start, watch and stop Collector, Prometheus, Alertmanager, Loki, Tempo and Grafana on this machine."

_BROKEN = 1
_NOT_RUNNING = 3
_INTERRUPTED = 128
_EJECTS = "Hand the configuration over, to be changed and run with `up --config DIR`."
_COLOURS = {"ready": "green", "not ready": "yellow", "ended": "red", "missing": "yellow"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit stack`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=what, description=what)
        added.add_argument("--name", default="default", help="name of the stack (default: default)")
        return added

    up = action("up", "Start what does not run, and return once it is ready; data of the last time is still there.")
    up.add_argument(
        "--engine", choices=("native", "compose"), help="default: Docker Compose where it answers, else native"
    )
    up.add_argument("--config", type=Path, metavar="DIR", help="run an ejected configuration instead of otelkit's own")
    up.add_argument("--overlay", action="append", default=[], metavar="NAME", help="add collector/overlays/NAME.yaml")
    up.add_argument("--data", type=Path, metavar="DIR", help="keep the programs' data there")
    up.add_argument("--secrets", type=Path, metavar="DIR", help="secrets of those who are told of alerts")
    up.add_argument("--rendered", type=Path, metavar="DIR", help="take rules, boards and receivers of `otelkit render`")
    up.add_argument("--programs", type=Path, metavar="DIR", help="look for the programs there before PATH")
    up.add_argument("--port-offset", type=int, default=0, metavar="N", help="add N to every port")
    up.add_argument("--fresh", action="store_true", help="delete this stack's data first")
    up.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="until all is ready (default: 60)")
    status = action("status", "Tell what runs; exit code 0 if all is ready, 1 if something is not, 3 if nothing runs.")
    status.add_argument("--json", action="store_true", help="for programs")
    down = action("down", "End every program; the data stays.")
    down.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="until SIGKILL (default: 20)")
    logs = action("logs", "Show what the programs printed last.")
    logs.add_argument("program", nargs="?", metavar="PROGRAM", help="only this one")
    logs.add_argument("--lines", type=int, default=20, metavar="N", help="of each program (default: 20)")
    logs.add_argument("--follow", action="store_true", help="go on with what is printed from now on")
    eject = actions.add_parser("eject", help=_EJECTS, description=_EJECTS)
    eject.add_argument("target", type=Path, metavar="DIR", help="a new or an empty folder")


def main(options: argparse.Namespace) -> int:
    """Run the action and return its exit code, as told above."""
    actions = {"up": _up, "status": _status, "logs": _logs, "down": _down, "eject": _eject}
    try:
        return actions[options.action](options)
    except StackError as error:
        print(error, file=sys.stderr)
        return _BROKEN


class _Interrupted(Exception):  # noqa: N818  it is no error
    """A signal asked to stop; whoever works ends what it started, and lets this through."""


class _Terminal:
    """A `Progress` that prints lines, shows who is waited for where there is a terminal, and hears signals.

    Signals raise a flag, not an exception: it is looked at between two steps, never between a program's start and its
    note. They do nothing else again, so that a second Ctrl-C does not cut short what the first one began.
    """

    def __init__(self) -> None:
        self._asked: list[int] = []
        self._heard: list[int] = []
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Ignored by whoever started this (nohup, a shell's background job): so it stays.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, _frame: self._asked.append(number))
                self._heard.append(number)
        from rich.console import Console  # noqa: PLC0415  after the signals: it takes a while to load

        self._console = Console(highlight=False, soft_wrap=True)
        self._status = self._console.status("starting")

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the terminal's line back. What is done is done: a signal after the last look changes nothing."""
        for number in self._heard:
            # Ignored, because Python gives handlers up as it ends, and the exit code would tell of a signal.
            signal.signal(number, signal.SIG_IGN)
        self._status.stop()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return _INTERRUPTED + self._asked[0]

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False)

    def waits(self, names: tuple[str, ...]) -> None:
        """Show who is waited for; a pipe or a file gets none of it."""
        if names and self._console.is_terminal:
            self._status.update(f"waiting for {', '.join(names)}")
            self._status.start()
        else:
            self._status.stop()

    def check(self) -> None:
        """Raise where a signal came."""
        if self._asked:
            raise _Interrupted


def _up(options: argparse.Namespace) -> int:
    terminal = _Terminal()
    from otelkit.ops import stack  # noqa: PLC0415  what it needs is loaded by the command that needs it

    wanted = stack.Wanted(
        name=options.name,
        engine=options.engine,
        config=options.config,
        data=options.data,
        programs=options.programs,
        port_offset=options.port_offset,
        overlays=tuple(options.overlay),
        secrets=options.secrets,
        rendered=options.rendered,
        fresh=options.fresh,
        timeout=options.timeout,
    )
    try:
        with terminal:
            state = stack.up(wanted, progress=terminal)
    except _Interrupted:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return terminal.exit_code
    return _show(state, stack.look(options.name), told=True)


def _status(options: argparse.Namespace) -> int:
    from otelkit.ops import stack  # noqa: PLC0415  what it needs is loaded by the command that needs it

    state, seen = stack.state(options.name), stack.look(options.name)
    if options.json:
        endpoints = stack.endpoints(options.name)
        told = {
            "name": options.name,
            "exit_code": _exit_code(seen),
            "rendered": state.rendered if state else None,
            "endpoints": endpoints.as_dict() if endpoints else None,
            "programs": {each.name: asdict(each) for each in seen},
        }
        print(json.dumps(told, indent=2))
        return _exit_code(seen)
    if state is None:
        print(f"stack {options.name} is not running: `otelkit stack up` starts it")
        return _NOT_RUNNING
    return _show(state, seen)


def _down(options: argparse.Namespace) -> int:
    terminal = _Terminal()
    from otelkit.ops import stack  # noqa: PLC0415  what it needs is loaded by the command that needs it

    try:
        with terminal:
            ended = stack.down(options.name, within=options.timeout, progress=terminal)
    except _Interrupted:
        print("interrupted; `otelkit stack status` tells what still runs", file=sys.stderr)
        return terminal.exit_code
    print(f"ended: {', '.join(ended)}" if ended else f"stack {options.name} was not running")
    return 0


def _logs(options: argparse.Namespace) -> int:
    from otelkit.ops import stack  # noqa: PLC0415  what it needs is loaded by the command that needs it

    try:
        return stack.logs(options.name, program=options.program, lines=options.lines, follow=options.follow)
    except KeyboardInterrupt:
        return _INTERRUPTED + signal.SIGINT


def _eject(options: argparse.Namespace) -> int:
    from otelkit.ops import stack  # noqa: PLC0415  what it needs is loaded by the command that needs it

    stack.eject(options.target)
    print(f"{options.target} is yours: otelkit stack up --config {options.target}")
    return 0


def _show(state: State, seen: Sequence[Seen], *, told: bool = False) -> int:
    """Print the table and what is wrong; where `told`, what is missing was named before. Return the exit code."""
    from rich.console import Console  # noqa: PLC0415  a pipe full of JSON needs none of it
    from rich.table import Table  # noqa: PLC0415  the same
    from rich.text import Text  # noqa: PLC0415  the same

    console = Console(highlight=False, soft_wrap=True)
    table = Table("program", "state", "pid", "version", "answers at", box=None, pad_edge=False)
    for each in seen:
        shown = Text(each.state, style=_COLOURS[each.state])
        table.add_row(each.name, shown, str(each.pid or ""), each.version or "", each.url)
    console.print(table)
    for each in seen:
        if each.reason and not (told and each.state == "missing"):
            console.print(f"\n{each.name}: {each.reason}", markup=False)
    if state.rendered is not None:
        console.print(f"\nRules, boards and receivers are those of {state.rendered}.", markup=False)
    address = state.url("OTLP_HTTP_PORT")
    console.print(f"\nOTEL_EXPORTER_OTLP_ENDPOINT={address} sends an application's telemetry here.")
    return _exit_code(seen)


def _exit_code(seen: Sequence[Seen]) -> int:
    if not seen:
        return _NOT_RUNNING
    return 0 if all(each.state in ("ready", "missing") for each in seen) else _BROKEN
