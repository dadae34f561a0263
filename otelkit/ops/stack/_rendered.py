"""The only place that lays what `otelkit render` wrote for somebody over a stack's own copy of the configuration."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from otelkit.errors import StackError
from otelkit.ops import mixin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS: Final = tuple(folder for folder in mixin.FOLDERS if folder.startswith("deploy/"))
"""What of a folder is taken: rules, boards, and who is told."""


def folder(given: Path) -> Path:
    """Return the whole path of a folder that was rendered into.

    Raises:
        StackError: There is nothing in it that was.
    """
    found = given.resolve()
    if not any(_generated(found)):
        raise StackError(f"{given} holds nothing that was rendered; this makes it: otelkit render --out {given}")
    return found


def lay_over(place: Path, rendered: Path) -> None:
    """Replace what was rendered in a stack's copy, and add what stands beside it; files of others stay.

    Args:
        place: The stack's folder, with its copy.
        rendered: What `folder` returned.

    Raises:
        StackError: It cannot be copied.
    """
    for name in FOLDERS:
        if (rendered / name).is_dir():
            # A board or an alert that is switched off there has no file there, and must have none here.
            for file in _generated(place, name):
                file.unlink()
            try:
                shutil.copytree(rendered / name, place / name, dirs_exist_ok=True, copy_function=shutil.copyfile)
            except OSError as error:
                raise StackError(f"{rendered / name} cannot be copied: {error}") from error


def _generated(root: Path, *names: str) -> Iterator[Path]:
    for name in names or FOLDERS:
        for file in sorted((root / name).glob("*.*")):
            try:
                if mixin.is_generated(file.read_text(encoding="utf-8")):
                    yield file
            except (OSError, UnicodeDecodeError):
                continue
