"""The only place for `otelkit doctor`: what is wrong with a program's telemetry, and whether it arrives."""

from __future__ import annotations

import argparse
import json
import shutil
from typing import TYPE_CHECKING

from otelkit._stderr import say

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = "Find what keeps telemetry from arriving: otelkit doctor [-- CMD], otelkit doctor --prove"

_NOT_FOUND = 127  # what a shell answers for a command that does not exist
_TIMEOUT = 20.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit doctor`."""
    parser.usage = "otelkit doctor [--json] [--timeout SECONDS] [-- CMD [ARGUMENT ...]]"
    parser.description = (
        "Show the settings that apply, what is done about each library, whether each endpoint answers, and what is "
        "wrong, each with its fix. With CMD the service itself is asked: it is started as it is written, tells at its "
        "first configure(), and ends there, before it serves. Exit code 1 where there is an error. Findings are "
        "described in docs/how-to/troubleshoot.md."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    help_ = "until CMD must have told (default: %(default)g)"
    parser.add_argument("--timeout", type=float, default=_TIMEOUT, metavar="SECONDS", help=help_)
    parser.add_argument("cmd", nargs=argparse.REMAINDER, metavar="CMD", help="the program and its own arguments")


def main(options: argparse.Namespace) -> int:
    """Ask, judge and print; 1 where there is an error."""
    command: Sequence[str] = options.cmd[1:] if options.cmd[:1] == ["--"] else options.cmd
    if command and shutil.which(command[0]) is None:
        say(f"doctor: there is no program {command[0]!r} on PATH")
        return _NOT_FOUND
    return _examine(command, timeout=options.timeout, as_json=options.json)


def _examine(command: Sequence[str], *, timeout: float, as_json: bool) -> int:
    from rich.console import Console  # noqa: PLC0415  only this command needs it

    from otelkit.ops.doctor import asking, findings, report  # noqa: PLC0415  the same

    asked = asking.ask(command, timeout=timeout)
    found = asked.findings if asked.told is None else findings.judge(asked.told, command)
    if as_json:
        print(json.dumps(report.document(asked.told, found, command), indent=2))
    else:
        report.show(Console(highlight=False), asked.told, found, command)
    return int(any(finding.severity == "error" for finding in found))
