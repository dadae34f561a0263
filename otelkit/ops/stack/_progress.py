"""The only place for what a stack tells while it comes up or goes down, and where it asks whether to go on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a caller hands over to be told; the command line's shows it in the terminal."""

    def say(self, line: str) -> None:
        """Take one line for a person; it may hold line breaks."""

    def waits(self, names: tuple[str, ...]) -> None:
        """Take the programs that are waited for now; none ends a wait."""

    def check(self) -> None:
        """Return where to go on. What this raises ends everything, and what was started is ended first."""


class Silent:
    """A `Progress` that says nothing and never interrupts."""

    def say(self, line: str) -> None:
        """Say nothing."""

    def waits(self, names: tuple[str, ...]) -> None:
        """Show nothing."""

    def check(self) -> None:
        """Go on."""
