"""The only place that writes otelkit's own lines to stderr.

Telemetry that cannot reach its backend must not report that through the same pipeline (S-01, docs/explanation/facts.md)
nor through the application's logging handlers. One line, one prefix, never an exception.
"""

from __future__ import annotations

import contextlib
import sys

_said: dict[str, object] = {}


def say(line: str) -> None:
    """Write one line to stderr, prefixed with `otelkit: `.

    Args:
        line: Text for a person, secrets already masked; line breaks are folded into spaces so that it stays one line.
    """
    text = " ".join(line.split())
    # A closed or broken stderr (daemon, pythonw) is no reason to disturb the application.
    with contextlib.suppress(Exception):
        sys.stderr.write(f"otelkit: {text}\n")
        sys.stderr.flush()


def say_once(key: str, line: str) -> bool:
    """Write `line` unless something was already said under `key` in this process; tell whether it was written."""
    mine = object()
    # One step, without a lock that a forked child could find held by a thread it does not have.
    if _said.setdefault(key, mine) is not mine:
        return False
    say(line)
    return True
