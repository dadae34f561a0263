"""The only place for what became of one program of a stack, whichever engine runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What became of one program.

    Args:
        name: The program.
        state: "ready", "not ready" (it runs), "ended", or "missing" (it was not found, so never started).
        pid: Its process, None where none runs, or a container does.
        version: The version that runs or ran, where it tells.
        url: Where it answers on its readiness.
        log: The file with its output; empty for a container.
        reason: Why it is not ready; empty where it is.
    """

    name: str
    state: str
    pid: int | None = None
    version: str | None = None
    url: str = ""
    log: str = ""
    reason: str = ""
