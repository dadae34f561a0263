"""The only place for every other installed contrib instrumentor: which are loaded, which are declined, and why.

Both launch modes take this road: under the launcher our distro keeps upstream's loop from loading any itself, so that
the verdicts are the same.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from wrapt import register_post_import_hook

from otelkit.integrations import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint

_GROUP = "opentelemetry_instrumentor"

HARMFUL: dict[str, str] = {
    "asyncio": 'wraps every coroutine and provokes "coroutine was never awaited" warnings (E-54)',
    "click": "keeps a span open around the command that runs a server, so that no request is a trace of its own (E-50)",
    "logging": "otelkit owns logs; a second road would export every record twice (E-26)",
    "structlog": "otelkit owns logs; a second road would export every event twice (E-26)",
}
"""Declined unless `configure(integrations={name: True})` asks for them. E-numbers: docs/explanation/facts.md."""


def available() -> dict[str, EntryPoint]:
    """List the contrib instrumentors that are installed, by name; of two of one name the first found counts."""
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=_GROUP):
        found.setdefault(entry_point.name, entry_point)
    return found


def load(
    asked: Mapping[str, Any],
    disabled: frozenset[str],
    replaced: Mapping[str, str],
    failed: Callable[[Verdict], None],
) -> list[Verdict]:
    """Instrument what is installed, would not double one of ours, and is not known to harm.

    An instrumentor whose library the program has not imported yet waits for that import: `configure()` loads no library
    that is only installed.

    Args:
        asked: The user's `integrations` argument: False switches a name off, True loads it all the same.
        disabled: Names from `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.
        replaced: Names that one of our integrations covers, with the name of that integration.
        failed: Told the new verdict of an instrumentor that waited, and then failed.
    """
    verdicts = []
    for name, entry_point in available().items():
        if name in replaced and replaced[name] == name:
            continue  # our integration of the same name gave the verdict already
        reason = _declined(name, asked, disabled, replaced)
        if reason is not None:
            verdicts.append(Verdict(integration=name, choice="skipped", reason=reason, wanted=False))
        else:
            verdicts.append(_arrange(name, entry_point, failed))
    return verdicts


def _declined(name: str, asked: Mapping[str, Any], disabled: Iterable[str], replaced: Mapping[str, str]) -> str | None:
    """Say why an instrumentor is not wanted; None when it is."""
    if asked.get(name) is False:
        return "switched off by configure(integrations=...)"
    if asked.get(name):
        return None
    if name in disabled or "*" in disabled:
        return "switched off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    if name in replaced:
        return f"otelkit's {replaced[name]} integration already traces these calls"
    return HARMFUL.get(name)


def _arrange(name: str, entry_point: EntryPoint, failed: Callable[[Verdict], None]) -> Verdict:
    """Instrument now, or when the program imports the library."""
    # Here and not above: `import otelkit` stays light, and the semantic-convention switch is written first (E-11).
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts  # noqa: PLC0415  as said

    try:
        conflict = get_dist_dependency_conflicts(entry_point.dist) if entry_point.dist is not None else None
    except Exception as error:  # noqa: BLE001  odd metadata must not cost the others
        return Verdict(integration=name, choice="skipped", reason=f"{type(error).__name__}: {error}")
    if conflict is not None:
        found = getattr(conflict, "found", None) or getattr(conflict, "found_any", None)
        return Verdict(integration=name, choice="skipped", reason=str(conflict), wanted=bool(found))
    try:
        module = _library(entry_point)
    except ModuleNotFoundError as error:
        return Verdict(integration=name, choice="skipped", reason=str(error), wanted=False)
    if module is None or module in sys.modules:
        return _instrument(name, entry_point)

    def imported(_: object) -> None:
        verdict = _instrument(name, entry_point)
        if not verdict.works:
            failed(verdict)

    register_post_import_hook(imported, module)
    return Verdict(integration=name, choice="contrib", reason=f"{_release(entry_point)}; acts on `import {module}`")


def _library(entry_point: EntryPoint) -> str | None:
    """Find the module whose import an instrumentor can wait for.

    Returns:
        Its name; None where the instrumentor is for the standard library.

    Raises:
        ModuleNotFoundError: The instrumentor is for one of several libraries of its package, and that one is missing.
    """
    requirements = [Requirement(line) for line in (entry_point.dist.requires if entry_point.dist else None) or ()]
    libraries = [item.name for item in requirements if "instruments" in str(item.marker)]
    if entry_point.name in libraries:  # httpx and httpx2 come in one package
        libraries = [entry_point.name]
    for library in libraries:
        try:
            listed = (distribution(library).read_text("top_level.txt") or "").split()
        except PackageNotFoundError:
            continue
        for module in (*listed, library.replace("-", "_").lower()):
            if not module.startswith("_") and find_spec(module) is not None:
                return module
    if libraries:
        raise ModuleNotFoundError(f"{libraries[0]} is not installed")
    return None


def _instrument(name: str, entry_point: EntryPoint) -> Verdict:
    try:
        instrumentor = entry_point.load()()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True)
    except ModuleNotFoundError as error:
        return Verdict(integration=name, choice="skipped", reason=str(error), wanted=False)
    except Exception as error:  # noqa: BLE001  one instrumentor that fails must not cost the others
        return Verdict(integration=name, choice="skipped", reason=f"{type(error).__name__}: {error}")
    return Verdict(integration=name, choice="contrib", reason=_release(entry_point))


def _release(entry_point: EntryPoint) -> str:
    """Name the package an instrumentor comes from, and its version."""
    return f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist is not None else entry_point.value
