"""The only place that writes a stack's own copy of the configuration, and keeps Grafana's password."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.stack import _receivers, _rendered

if TYPE_CHECKING:
    from otelkit.ops.stack._state import State

_OWNER_ONLY = 0o600


def copy(place: Path, state: State, source: Path) -> list[str]:
    """Replace the copy that runs, stamp it with otelkit's version, and switch on who can be told of alerts.

    Args:
        place: The stack's folder.
        state: What was chosen for the stack.
        source: A folder with `collector/` and `deploy/`.

    Returns:
        What is wrong with the secrets of notifications, in a line each.

    Raises:
        StackError: The source is the copy itself, or cannot be read.
    """
    if source.is_relative_to(place):
        raise StackError(f"{source} is where the stack keeps its own copy: name another folder")
    for name in _assets.FOLDERS:
        shutil.rmtree(place / name, ignore_errors=True)
        try:
            shutil.copytree(source / name, place / name, copy_function=shutil.copyfile)
        except OSError as error:
            raise StackError(f"{source / name} cannot be copied: {error}") from error
    if state.rendered is not None:
        _rendered.lay_over(place, Path(state.rendered))
    for name in _assets.FOLDERS:
        # Whatever the source allows: we change some, and containers read all as users of their own. The stack's folder
        # itself is its owner's only, secrets among the files included.
        for path in (place / name, *(place / name).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    (place / "otelkit-version").write_text(f"{state.otelkit}\n", encoding="utf-8")
    return _receivers.switch_on(place, state, source)


def credentials(place: Path) -> tuple[str, str, str]:
    """Return Grafana's user and password, and a line for a person where the password was made at random just now."""
    pins = _assets.pins(place)
    user = os.environ.get("GRAFANA_ADMIN_USER") or pins.get("GRAFANA_ADMIN_USER") or "admin"
    if given := os.environ.get("GRAFANA_ADMIN_PASSWORD") or pins.get("GRAFANA_ADMIN_PASSWORD"):
        return user, given, ""
    file = place / "grafana-password"
    with contextlib.suppress(FileNotFoundError):
        return user, file.read_text(encoding="utf-8"), ""
    made = secrets.token_urlsafe(18)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w", encoding="utf-8") as written:
        written.write(made)
    return user, made, f"Grafana's user is {user}, its password {made} (kept in {file})"
