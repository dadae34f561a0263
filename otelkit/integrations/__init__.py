"""The only place for what an integration is, what its verdict means, and in which order the built-in ones are offered.

An integration wires one library: it picks the library's own telemetry, the contrib instrumentor, or ours, by installed
version, and says which and why in a `Verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otelkit.settings import Settings

Choice = Literal["native", "contrib", "ours", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was done about one library, and why.

    Args:
        integration: The integration's name, for example "fastapi".
        choice: "native" (the library's own telemetry), "contrib" (the OpenTelemetry contrib instrumentor), "ours", or
            "skipped".
        reason: One sentence for a person: which version decided, or what is in the way.
        wanted: False where a skip is nobody's problem: switched off by the user, or the library is not installed. A
            wanted but skipped library is reported as refused (`otelkit.integration.status` 0).
        version: The installed version of the library, if known.
    """

    integration: str
    choice: Choice
    reason: str
    wanted: bool = True
    version: str | None = None

    @property
    def works(self) -> bool:
        """True when the library is instrumented, in whichever way."""
        return self.choice != "skipped"


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What an integration is given to work with: providers through the public API, and the settings."""

    settings: Settings
    tracer_provider: TracerProvider
    meter_provider: MeterProvider


class Integration(Protocol):
    """One library. `_runtime` holds one instance per process."""

    @property
    def name(self) -> str:
        """The name in `configure(integrations={name: ...})`, in verdicts and in metrics."""

    @property
    def replaces(self) -> frozenset[str]:
        """Names of `opentelemetry_instrumentor` entry points that must not be loaded when this integration works."""

    def install(self, wiring: Wiring, options: Any | None) -> Verdict:
        """Instrument the library, before or after it was imported and used.

        Idempotent: a second call only applies its options. Never raises for anything but a wrong type of `options`
        (`SettingsError`).

        Args:
            wiring: Providers and settings.
            options: The integration's own options dataclass; None means its defaults.
        """

    def uninstall(self) -> None:
        """Undo `install` as far as the library allows: no hook of ours acts afterwards."""
