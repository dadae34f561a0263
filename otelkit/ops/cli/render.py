"""The only place for `otelkit render`: writes the generated files of a checkout, or shows how they differ."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.ops import render

if TYPE_CHECKING:
    import argparse

HELP = "Write the generated files, or with --check show what is out of date."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit render`."""
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 and a diff if a file differs")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="the checkout (default: this folder)")


def main(options: argparse.Namespace) -> int:
    """Write or compare; 1 where `--check` found a difference."""
    if not options.check:
        for path in render.write(options.out):
            print(path)
        return 0
    outdated = render.check(options.out)
    for path in outdated:
        file = options.out / path
        committed = file.read_text(encoding="utf-8") if file.is_file() else ""
        lines = (committed.splitlines(keepends=True), render.RENDERERS[path]().splitlines(keepends=True))
        sys.stdout.writelines(unified_diff(*lines, fromfile=f"committed/{path}", tofile=f"generated/{path}"))
    return 1 if outdated else 0
