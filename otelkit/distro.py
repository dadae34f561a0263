"""The only place for what `opentelemetry-instrument` finds of otelkit: distro, configurator and hook.

The launcher imports them in every process it starts, before the program's own code. All three end in the very call that
`otelkit.configure()` makes.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # upstream hides its types

from otelkit import _environment, _runtime
from otelkit._stderr import say, say_once
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAUNCHER = "opentelemetry.instrumentation.auto_instrumentation._load"

_chosen: list[str] = []  # what of ours the launcher ran in this process


class Distro(BaseDistro):  # type: ignore[misc]  # the base class is untyped
    """Chosen by the launcher among the installed distros; loads no instrumentor itself, the configurator does."""

    def _configure(self, **_: Any) -> None:
        # Another distro's configurator being installed too is no news for the program's stderr.
        logging.getLogger(_LAUNCHER).addFilter(_no_second_configurator)

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Decline: every instrumentor is loaded, or declined with a reason, by otelkit's own list."""


def _no_second_configurator(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Configuration of %s not loaded")


def _is_helper(command: Sequence[str]) -> bool:
    """Tell whether a process is the one that `multiprocessing` cleans up with: it runs nothing of the program's."""
    return any(argument.startswith("from multiprocessing.resource_tracker import") for argument in command)


class Configurator:
    """Runs `configure()` for a program that does not import otelkit."""

    def configure(self, **_: Any) -> None:
        """Configure this process. Never raises: the launcher would print a traceback into the program's stderr."""
        try:
            if not _is_helper(sys.orig_argv):
                _runtime.configure(Settings(), _runtime.Objects(), zero_code=True)
        except Exception as error:  # noqa: BLE001  the program must start whatever happens here
            say(f"telemetry is off: {type(error).__name__}: {error}")
        _chosen.append(type(self).__name__)
        _environment.hold_instrumentors_back()


def pre_instrument() -> None:
    """Hand the instrumentors back to the environment, or tell the user whom the launcher chose instead of otelkit."""
    if _chosen:
        _environment.give_instrumentors_back()
        return
    if (report := _environment.report_asked()) is not None:
        _runtime.tell_the_doctor(report, Settings(), _runtime.Objects(), road="another distro")
    say_once(
        "distro",
        "installed, but not in charge: opentelemetry-instrument chose another distro. Start the program with "
        "`otelkit run -- COMMAND`, or set OTEL_PYTHON_DISTRO=otelkit and OTEL_PYTHON_CONFIGURATOR=otelkit.",
    )
