"""The only place where the programs under test differ by kit: who configures, and who can say what became of what."""

from __future__ import annotations

import json
import os
from typing import Any

KIT = os.environ["FAULTS_KIT"]


def configure() -> None:
    """Set telemetry up where that is the program's task; a launcher has done it before."""
    if KIT == "explicit":
        import otelkit

        otelkit.configure()


def configure_again() -> None:
    """Set telemetry up once more, whoever did it before."""
    if KIT == "vanilla":
        from opentelemetry.instrumentation.auto_instrumentation import initialize

        initialize()
    else:
        import otelkit

        otelkit.configure()


def flush() -> None:
    """Send everything, by the providers' own method."""
    from opentelemetry import _logs, metrics, trace

    providers: tuple[Any, ...] = (
        trace.get_tracer_provider(),
        metrics.get_meter_provider(),
        _logs.get_logger_provider(),
    )
    for provider in providers:
        provider.force_flush()


def send() -> None:
    """Send everything, in time for whoever waits."""
    if KIT == "vanilla":
        flush()
    else:
        import otelkit

        otelkit.configure().force_flush(30)


def leave() -> None:
    """Shut telemetry down and print what became of every item, where the kit can tell."""
    if KIT != "vanilla":
        import otelkit

        otelkit.configure().shutdown()
        print("accounts", accounts(), flush=True)


def accounts() -> str:
    """Return what became of every item, as JSON."""
    import otelkit

    stats = otelkit.configure().stats()
    return json.dumps(
        {
            signal: {
                "emitted": each.emitted,
                "delivered": each.delivered,
                "dropped": dict(each.dropped),
                "pending": each.pending,
                "resent": each.resent,
            }
            for signal, each in stats.items()
        }
    )
