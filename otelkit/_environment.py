"""The only place that writes environment variables.

Each is written because a library reads it for itself and cannot be told otherwise:

- `OTEL_SEMCONV_STABILITY_OPT_IN`: contrib reads it once, at the first instrumentor of the process (E-11).
- `OTEL_PROPAGATORS`: the API raises for an unknown name while it is imported, in every library that imports it.
- `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`: the SDK raises for a wrong number while it is imported.
- `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`: the launcher's loop prints a line for each instrumentor that does not fit the
  installed library (E-16); it reads `*` while ours decides, and gets the user's value back before any child can
  inherit it.
- `GRPC_VERBOSITY`: gRPC writes a line of its own to stderr for each failed handshake, with every attempt.
- `OTEL_PYTHON_DISTRO`, `OTEL_PYTHON_CONFIGURATOR`, `PYTHONPATH`: for the program that `otelkit run` becomes.
- `OTELKIT_DOCTOR_REPORT`: for the program that `otelkit doctor` asks.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelkit.settings import Settings

_SEMCONV = "OTEL_SEMCONV_STABILITY_OPT_IN"
_PROPAGATORS = "OTEL_PROPAGATORS"
_SPAN_ATTRIBUTES = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_REPORT = "OTELKIT_DOCTOR_REPORT"

_held: list[str | None] = []


def opt_into_stable_conventions(settings: Settings) -> None:
    """Add the stable HTTP and database conventions to what the user opted into; `/dup` choices are kept."""
    os.environ[_SEMCONV] = ",".join(settings.semconv_opt_in)


def make_packages_importable(settings: Settings) -> None:
    """Put what applies where the API and the SDK read it while they are imported: what is wrong fails the import."""
    if os.environ.get(_PROPAGATORS) and "opentelemetry.propagate" not in sys.modules:
        os.environ[_PROPAGATORS] = ",".join(settings.propagators)
    if any(problem.startswith(f"{_SPAN_ATTRIBUTES}:") for problem in settings.problems):
        os.environ[_SPAN_ATTRIBUTES] = str(settings.span_attribute_count_limit)


def hold_instrumentors_back() -> None:
    """Keep the launcher's loop from loading instrumentors: otelkit loads them, with a verdict each."""
    if not _held:
        _held.append(os.environ.get(_DISABLED))
    os.environ[_DISABLED] = "*"


def give_instrumentors_back() -> None:
    """Restore the user's own list once the launcher has read ours."""
    while _held:
        value = _held.pop()
        if value is None:
            os.environ.pop(_DISABLED, None)
        else:
            os.environ[_DISABLED] = value


def keep_grpc_quiet() -> None:
    """Let gRPC say nothing by itself below errors, unless the user wants to hear it; call before `import grpc`."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def report_asked() -> str | None:
    """The file in which `otelkit doctor` awaits what this process tells of itself; None where nobody asks.

    It exists already, in a folder of the doctor's: a variable that was left behind asks for nothing.
    """
    path = os.environ.get(_REPORT)
    return path if path and os.path.isfile(path) else None  # noqa: PTH113  Path's own raises for an odd name


def names_otelkit() -> bool:
    """Tell whether the launcher is told to take otelkit, whatever else is installed."""
    return os.environ.get("OTEL_PYTHON_CONFIGURATOR", "").strip() == "otelkit"


def asking(path: str) -> dict[str, str]:
    """Make the environment in which a program tells of itself.

    Args:
        path: An empty file.
    """
    return dict(os.environ) | {_REPORT: path}


def for_child(settings: Settings, launcher_directory: str) -> dict[str, str]:
    """Make the environment in which a Python program starts with otelkit, whatever other distro is installed.

    Args:
        settings: Resolved in this process; its propagators replace a list that would keep the program from starting.
        launcher_directory: Holds upstream's `sitecustomize.py`.
    """
    child = dict(os.environ)
    child |= {"OTEL_PYTHON_DISTRO": "otelkit", "OTEL_PYTHON_CONFIGURATOR": "otelkit"}
    if any(problem.startswith(_PROPAGATORS) for problem in settings.problems):
        child[_PROPAGATORS] = ",".join(settings.propagators) or "none"
    # As upstream's launcher: its folder first, then the current one, then what the user had.
    inherited = [path for path in child.get("PYTHONPATH", "").split(os.pathsep) if path and path != launcher_directory]
    here = [] if os.getcwd() in inherited else [os.getcwd()]  # noqa: PTH109  compared as a string, as upstream does
    child["PYTHONPATH"] = os.pathsep.join([launcher_directory, *here, *inherited])
    return child
