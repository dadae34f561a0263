"""The only place that knows which files are generated, and from what; and that writes and compares them.

A fact has one home in code, and the page made of it cannot drift. What operations need (`otelkit.ops.mixin`) is for
anybody's repository; the rest are pages of otelkit's own checkout.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otelkit.ops import _assets, mixin
from otelkit.ops._collector_redaction import render_collector_redaction
from otelkit.ops._settings_pages import render_redaction_reference, render_settings_reference
from otelkit.ops._telemetry_page import render_telemetry_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

PARAMETERS: Final = "deploy/parameters.toml"
"""Generated for as long as nothing is chosen in it; then it belongs to who chose."""

TEMPLATE: Final = "deploy/alertmanager/otelkit.tmpl"
"""How notifications are worded, which Alertmanager's file needs beside it: by hand in otelkit's checkout, and in any
other for who takes its first line away."""

RENDERERS: Mapping[str, Callable[[], str]] = {
    "docs/reference/settings.md": render_settings_reference,
    "docs/reference/redaction.md": render_redaction_reference,
    "docs/reference/telemetry.md": render_telemetry_reference,
    "collector/redaction.yaml": render_collector_redaction,
}
"""What only otelkit's own checkout has besides, and what it holds."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A file that is not what would be written.

    Args:
        path: Below the folder.
        found: What it holds; None where there is none.
        generated: What it is to hold; None where nothing makes it any more.
    """

    path: str
    found: str | None
    generated: str | None


def is_checkout(root: Path) -> bool:
    """Tell whether a folder is a checkout of otelkit, whose own pages are made, too."""
    return (root / "otelkit/ops/render.py").is_file()


def generated(root: Path, inputs: mixin.Inputs) -> dict[str, str]:
    """Return every file that belongs below a folder, by its path."""
    if is_checkout(root):
        own = {path: render() for path, render in RENDERERS.items()}
    else:
        template = (_assets.root() / TEMPLATE).read_text(encoding="utf-8")
        own = {TEMPLATE: f"{{{{/* {mixin.MARK} from otelkit's own; do not edit. */}}}}\n{template}"}
    return {**own, **mixin.render(inputs)}


def differences(root: Path, files: Mapping[str, str]) -> list[Difference]:
    """Compare a folder with what is generated: what is missing, out of date, or made by nothing any more.

    Raises:
        FileExistsError: Somebody else wrote a file that would be overwritten; the message names all.
        OSError: A file cannot be read.
    """
    found = {path: text for path in files if not _is_own(path, text := _read(root / path))}
    if foreign := [path for path, text in found.items() if text is not None and not mixin.is_generated(text)]:
        raise FileExistsError(", ".join(foreign))
    changed = [
        Difference(path=path, found=text, generated=files[path]) for path, text in found.items() if text != files[path]
    ]
    return [*changed, *_stale(root, files)]


def write(root: Path, changes: Iterable[Difference]) -> None:
    """Write, or remove, what differs.

    Raises:
        OSError: A file cannot be.
    """
    for change in changes:
        file = root / change.path
        if change.generated is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(change.generated, encoding="utf-8")


def is_chosen(parameters: str) -> bool:
    """Tell whether something is chosen in a text of parameters, so that it is somebody's own; what is wrong counts."""
    try:
        return bool(tomllib.loads(parameters)) or not mixin.is_generated(parameters)
    except tomllib.TOMLDecodeError:
        return True


def _is_own(path: str, text: str | None) -> bool:
    """Tell whether a file is one that people may make their own, and did."""
    if text is None or path not in (PARAMETERS, TEMPLATE):
        return False
    return is_chosen(text) if path == PARAMETERS else not mixin.is_generated(text)


def _stale(root: Path, files: Mapping[str, str]) -> list[Difference]:
    found = []
    for folder in mixin.FOLDERS:
        for file in sorted((root / folder).glob("*.*")):
            path = file.relative_to(root).as_posix()
            if path not in files and (text := _read(file)) is not None and mixin.is_generated(text):
                found.append(Difference(path=path, found=text, generated=None))
    return found


def _read(file: Path) -> str | None:
    """Return a file's text; None where there is none, or it holds no text."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return None
    except UnicodeDecodeError:
        return ""
