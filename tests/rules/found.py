"""The only place that finds the cases of all groups, and the mutants that are known to survive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from otelkit.ops.mixin.groups import GROUPS

if TYPE_CHECKING:
    from rules.case import Case


def cases(*groups: str) -> list[Case]:
    """Return the cases of some groups, or of all."""
    return [case for group in groups or names() for case in getattr(_module(group), "CASES", ())]


def survivors(*groups: str) -> dict[str, str]:
    """Return why each mutant survives that no case can notice, of some groups or of all: "HighErrorRate: no for"."""
    return {
        mutant: why for group in groups or names() for mutant, why in getattr(_module(group), "SURVIVORS", {}).items()
    }


def names() -> list[str]:
    """Return the groups."""
    return [group.name for group in GROUPS]


def _module(group: str) -> Any:
    name = f"rules.cases.{group}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None
