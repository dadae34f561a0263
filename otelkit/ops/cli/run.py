"""The only place for `otelkit run -- CMD`: the zero-code launch without upstream's launcher in between.

Upstream's argparse takes options of the launched program for abbreviations of its own (E-53), and discovery order
decides which of several distros it loads. Here CMD's arguments are passed untouched and the distro is named.
"""

from __future__ import annotations

import argparse
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from otelkit import _environment
from otelkit._stderr import say
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HELP = "Start a program with telemetry, without changing its code: otelkit run -- uvicorn app:app"

_NOT_FOUND = 127  # what a shell answers for a command that does not exist


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit run`."""
    parser.usage = "otelkit run -- CMD [ARGUMENT ...]"
    parser.add_argument("cmd", nargs=argparse.REMAINDER, metavar="CMD", help="the program and its own arguments")


def main(options: argparse.Namespace) -> int:
    """Check the environment, then become CMD; returns only when that is impossible."""
    command: Sequence[str] = options.cmd[1:] if options.cmd[:1] == ["--"] else options.cmd
    if not command:
        say("run: name the program to start: otelkit run -- uvicorn app:app")
        return 2
    executable = shutil.which(command[0])
    if executable is None:
        say(f"run: there is no program {command[0]!r} on PATH")
        return _NOT_FOUND
    settings = Settings()
    environment = _environment.for_child(settings, _launcher_directory())
    for problem in settings.problems:
        # The program names every other problem itself; this one it no longer sees.
        if problem.startswith("OTEL_PROPAGATORS"):
            say(problem)
    return _become(executable, command, environment)


def _become(executable: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    os.execve(executable, list(command), environment)  # noqa: S606  becoming the program is what this is for


def _launcher_directory() -> str:
    """Find the folder whose `sitecustomize.py` loads distro, configurator and hooks in every Python process."""
    spec = find_spec("opentelemetry.instrumentation.auto_instrumentation")
    if spec is None or spec.origin is None:
        message = "opentelemetry-instrumentation is not installed"
        raise RuntimeError(message)
    return str(Path(spec.origin).parent)
