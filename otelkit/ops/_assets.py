"""The only place that knows where the configuration files of the stack are: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).parent / "assets"
_CHECKOUT = Path(__file__).resolve().parents[2]

FOLDERS = ("collector", "deploy")
"""The folders that belong together, as they are named in a checkout and by `otelkit stack eject`."""


def root() -> Path:
    """Return the folder that holds `FOLDERS`: inside of the installed package, else the checkout it is run from.

    Raises:
        FileNotFoundError: Neither has them, so the installation is broken.
    """
    for folder in (_INSTALLED, _CHECKOUT):
        if all((folder / name).is_dir() for name in FOLDERS):
            return folder
    raise FileNotFoundError(f"otelkit's configuration files are in neither {_INSTALLED} nor {_CHECKOUT}: reinstall it")


def pins(folder: Path | None = None) -> dict[str, str]:
    """Return the variables of `deploy/.env`: images, ports, retention, names of credentials.

    Args:
        folder: What `root()` returns, or an ejected copy of it.
    """
    return variables((folder or root()) / "deploy" / ".env")


def variables(file: Path) -> dict[str, str]:
    """Return the variables of a file with `NAME=value` lines and comments, as Compose reads it, without quotes."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
