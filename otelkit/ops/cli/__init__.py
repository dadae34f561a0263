"""The only place for the `otelkit` command: reads the arguments and hands over to one module per subcommand."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, cast

from otelkit._stderr import say

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = ("run", "doctor", "stack", "trace", "render", "drill")
_EXTRA = frozenset({"grafana_foundation_sdk", "psutil", "rich", "yaml"})  # what `otelkit[ops]` brings
_USAGE_ERROR = 2  # as argparse has it


class _Command(Protocol):
    """What a module of this package offers."""

    HELP: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the subcommand's arguments."""

    def main(self, options: argparse.Namespace) -> int:
        """Run the subcommand and return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None takes the process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="otelkit", description="OpenTelemetry for Python back ends.")
    parser.add_argument("--version", action="version", version=f"otelkit {version('otelkit')}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands: dict[str, _Command] = {}
    given = sys.argv[1:] if arguments is None else arguments
    # The others' modules are needed to tell what there is, and only then.
    for name in given[:1] if given and given[0] in _COMMANDS else _COMMANDS:
        commands[name] = cast("_Command", import_module(f"otelkit.ops.cli.{name}"))
        subparser = subparsers.add_parser(name, help=commands[name].HELP, description=commands[name].HELP)
        commands[name].arguments(subparser)
    options = parser.parse_args(arguments)
    try:
        return commands[options.command].main(options)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        say(f"{options.command}: {error.name} is not installed; install the extra: pip install 'otelkit[ops]'")
        return _USAGE_ERROR
