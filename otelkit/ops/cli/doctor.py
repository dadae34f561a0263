"""The only place for `otelkit doctor`: what is wrong with a program's telemetry, and whether it arrives.

Exit codes: 0 no error, nothing broken; 1 an error, or a broken hop; 2 the command line is wrong; 127 there is no CMD.
"""

from __future__ import annotations

import argparse
import json
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelkit._stderr import say
from otelkit.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelkit.ops.doctor import Finding
    from otelkit.ops.doctor.hops import Where
    from otelkit.ops.endpoints import Endpoints

HELP = "Find what keeps telemetry from arriving: otelkit doctor [-- CMD], otelkit doctor --prove"

_WRONG = 2
_NOT_FOUND = 127  # what a shell answers for a command that does not exist
_ASKING, _PROVING = 20.0, 60.0
_ADDRESSES = ("prometheus", "tempo", "loki", "collector_metrics", "grafana")
_NONE = "none"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit doctor`."""
    parser.usage = (
        "otelkit doctor [--json] [--timeout SECONDS] [-- CMD [ARGUMENT ...]]\n"
        "       otelkit doctor --prove [--json] [--timeout SECONDS] [--name STACK] [--tempo URL] [...]"
    )
    parser.description = (
        "Show the settings that apply, what is done about each library, whether each endpoint answers, and what is "
        "wrong, each with its fix. With CMD the service itself is asked: it is started as it is written, tells at its "
        "first configure(), and ends there, before it serves. With --prove a canary is sent as the programs of this "
        "shell would send, and followed through Collector, Prometheus, Tempo, Loki and Grafana's links. Exit code 1 "
        "where there is an error or a broken hop. All findings and hops: docs/reference/doctor.md."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    help_ = f"until CMD must have told (default: {_ASKING:g}), or the canary be everywhere (default: {_PROVING:g})"
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help=help_)
    parser.add_argument("--prove", action="store_true", help="send a canary and follow it, hop by hop")
    parser.add_argument("--name", metavar="STACK", help="follow it through this stack (default: default)")
    for address in _ADDRESSES:
        help_ = "where it is asked, if it is not of the stack; `none` leaves it out"
        parser.add_argument(f"--{address.replace('_', '-')}", metavar="URL", help=help_)
    help_ = "Grafana's data sources, if they are not of the stack"
    parser.add_argument("--datasources", type=Path, metavar="FILE", help=help_)
    parser.add_argument("cmd", nargs=argparse.REMAINDER, metavar="CMD", help="the program and its own arguments")


def main(options: argparse.Namespace) -> int:
    """Ask, judge and print; 1 where there is an error."""
    command: Sequence[str] = options.cmd[1:] if options.cmd[:1] == ["--"] else options.cmd
    if options.prove:
        if command:
            say("doctor: --prove sends with the variables of this shell, and takes no CMD")
            return _WRONG
        return _prove(options)
    if command and shutil.which(command[0]) is None:
        say(f"doctor: there is no program {command[0]!r} on PATH")
        return _NOT_FOUND
    return _examine(command, timeout=options.timeout or _ASKING, as_json=options.json)


def _examine(command: Sequence[str], *, timeout: float, as_json: bool) -> int:
    from rich.console import Console  # noqa: PLC0415  only this command needs it

    from otelkit.ops.doctor import asking, findings, ordered, report  # noqa: PLC0415  the same

    asked = asking.ask(command, timeout=timeout)
    found = asked.findings if asked.told is None else findings.judge(asked.told, command)
    found = ordered([*found, *_of_the_stack()])
    if as_json:
        print(json.dumps(report.document(asked.told, found, command), indent=2))
    else:
        report.show(Console(highlight=False), asked.told, found, command)
    return int(any(finding.severity == "error" for finding in found))


def _of_the_stack() -> list[Finding]:
    """Return what is wrong with the stack that runs on this machine; nothing where none does."""
    from otelkit.ops import stack  # noqa: PLC0415  only this command needs it
    from otelkit.ops.doctor import find  # noqa: PLC0415  the same

    with suppress(StackError):  # a damaged note is for `otelkit stack` to tell
        if said := stack.nobody_paged():
            return [find("nobody-paged", *said)]
    return []


def _prove(options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415  only this command needs it

    from otelkit.ops.doctor import hops, report  # noqa: PLC0415  the same

    try:
        where, running = _where(options)
    except (StackError, ValueError) as error:
        say(f"doctor: {error}")
        return _WRONG
    console = Console(highlight=False)

    def tell(hop: hops.Hop) -> None:
        if not options.json:
            report.show_hop(console, hop)

    waits = console.status("a canary is on its way") if console.is_terminal and not options.json else nullcontext()
    with waits:
        proof = hops.prove(where, stack=running, timeout=options.timeout or _PROVING, tell=tell)
    if options.json:
        print(json.dumps(report.proof_document(proof), indent=2))
    else:
        report.show_proof(console, proof)
    return int(proof.broken is not None)


def _where(options: argparse.Namespace) -> tuple[Where, Endpoints | None]:
    """Return where to look, as the command line or the stack says, and the stack where one runs.

    Raises:
        StackError: The named stack does not run, or no stack can have this name.
        ValueError: An address is none.
    """
    from otelkit.ops import _assets, stack  # noqa: PLC0415  only this command needs them
    from otelkit.ops.doctor.hops import Where  # noqa: PLC0415  the same
    from otelkit.ops.endpoints import Endpoints  # noqa: PLC0415  the same
    from otelkit.ops.stack import _state  # noqa: PLC0415  the same

    name = options.name or "default"
    endpoints, noted = stack.reached(options.name), stack.state(name)
    given: dict[str, Any] = {address: getattr(options, address) for address in _ADDRESSES}
    found = (endpoints or Endpoints.at()).but(**given)
    addresses = {address: _address(address, getattr(found, address)) for address in _ADDRESSES}
    log = noted.programs["collector"].log if noted and endpoints and "collector" in noted.programs else None
    files = _state.folder(name) if endpoints else _assets.root()
    return Where(
        **addresses,
        collector_log=Path(log) if log and not options.collector_metrics else None,
        datasources=options.datasources or files / "deploy/grafana/provisioning/datasources/stack.yaml",
    ), endpoints


def _address(name: str, url: str) -> str:
    if url != _NONE and not url.startswith(("http://", "https://")):
        raise ValueError(f"--{name.replace('_', '-')}: an http:// or https:// address is needed")
    return "" if url == _NONE else url
