"""The only place that switches receivers of notifications on in a stack's own copy, and tells who hears of nothing."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelkit.errors import StackError
from otelkit.ops.mixin import alertmanager

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.ops.stack._state import State

PAGING = ("pager", "webhook")
"""Who wakes somebody: PagerDuty, and whatever other tool is told by a webhook."""
_HOW_TO = "docs/how-to/notifications.md"


def switch_on(place: Path, state: State, source: Path) -> list[str]:
    """Switch on those whose secret is in the configuration, in what was rendered, or in the folder that was named.

    What a receiver has in the file already stays. A file that cannot be read as Alertmanager's is left as it is:
    Alertmanager says why.

    Args:
        place: The stack's folder, with its copy.
        state: What was chosen for the stack.
        source: What the copy was made of.

    Returns:
        What is wrong with the secrets, in a line each.

    Raises:
        StackError: A secret cannot be copied.
    """
    own = place / alertmanager.SECRETS
    folders = [Path(each) / alertmanager.SECRETS for each in (source, state.rendered) if each]
    if state.secrets is not None:
        folders.append(Path(state.secrets))
        own.mkdir(parents=True, exist_ok=True)
        for channel in alertmanager.ALL.values():
            if (folders[-1] / channel.file).is_file():
                _copy(folders[-1] / channel.file, own)
    document = _read(place / alertmanager.CONFIGURATION)
    ways = _read(place / alertmanager.RECEIVERS)
    before = _receivers(document)
    after = alertmanager.switch_on(before, ways, alertmanager.found(own))
    if after != before:
        text = alertmanager.dump({**document, "receivers": after})
        (place / alertmanager.CONFIGURATION).write_text(text, encoding="utf-8")
    named = sorted(set(alertmanager.secrets(_receivers({"receivers": after}))))
    lacking = [f"{file} is named in alertmanager.yaml, and is not there" for file in named if not _is_there(own, file)]
    doubts = [doubt for folder in folders for doubt in alertmanager.doubts(folder)]
    return [*doubts, *_without_use(ways, own), *lacking]


def nobody(place: Path) -> tuple[str, str] | None:
    """Return that nobody is paged by a stack, and what to do about it; None where somebody is.

    None too where its routes are not otelkit's: who is woken by those only their owner knows.

    Args:
        place: The stack's folder, with its copy.
    """
    on = {receiver["name"]: len(receiver) > 1 for receiver in _receivers(_read(place / alertmanager.CONFIGURATION))}
    if not on.keys() >= alertmanager.ALL.keys() or any(on[name] for name in PAGING):
        return None
    what = "nobody is paged: critical alerts go where warnings go" if on["chat"] else "nobody is told of any alert"
    secrets = " or ".join(alertmanager.ALL[name].file for name in PAGING)
    return what, f"put {secrets} into a folder, and name it: otelkit stack up --secrets DIR ({_HOW_TO})"


def _without_use(ways: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield secrets of those who cannot be told for want of what is no secret."""
    for name in sorted(alertmanager.found(folder) - ways.keys() if ways else ()):
        file = alertmanager.ALL[name].file
        yield f"{file} is there, and nothing says how it is used: set [notify] in parameters.toml, and render"


def _is_there(folder: Path, file: str) -> bool:
    return (folder.parent / file).is_file()  # an absolute path stays one


def _receivers(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = document.get("receivers")
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, dict) and "name" in each]


def _copy(file: Path, folder: Path) -> None:
    try:
        # As all of the copy: containers read it as users of their own, and the stack's folder is its owner's only.
        Path(shutil.copyfile(file, folder / file.name)).chmod(0o644)
    except OSError as error:
        raise StackError(f"{file} cannot be copied: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  `status` and `down` are quicker without

    found = None
    with contextlib.suppress(OSError, yaml.YAMLError):
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
