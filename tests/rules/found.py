"""The only place that finds the cases of all groups, and the mutants that are known to survive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from otelkit.ops.mixin.groups import GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rules.case import Case


def cases(*groups: str) -> list[Case]:
    """Return the cases of some groups, or of all."""
    return [case for group in groups or _names() for case in getattr(_module(group), "CASES", ())]


def survivors(*groups: str) -> dict[str, Mapping[str, str]]:
    """Return the mutants that no case can notice, of some groups or of all: by alert, then by mutant the reason."""
    found: dict[str, Mapping[str, str]] = {}
    for group in groups or _names():
        found |= getattr(_module(group), "SURVIVORS", {})
    return found


def _names() -> list[str]:
    return [group.name for group in GROUPS]


def _module(group: str) -> Any:
    name = f"rules.cases.{group}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None
