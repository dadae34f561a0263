"""The only place for the metric reader: the SDK's periodic one, made safe to fork beside."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

_PATIENCE = 1.0  # seconds that a fork waits for an export to end; a dead receiver must not hold it up for longer


class Reader(PeriodicExportingMetricReader):
    """Keeps a fork from falling into an export.

    The SDK renews the reader's thread in a forked child, but not the locks that the parent's thread held at that
    moment: the child's first export then waits for ever, and none of its metrics arrive (gunicorn forks its workers
    right after start, in the middle of a first export).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._gate = threading.Lock()
        super().__init__(*args, **kwargs)
        if hasattr(os, "register_at_fork"):
            _guard_forks(weakref.ref(self))

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        """Export what was collected; never at the moment of a fork. The SDK's method for readers to override."""
        with self._gate:
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

    def renew_gate(self) -> None:
        """Open the gate in a forked child, where the thread that held it does not exist."""
        self._gate = threading.Lock()

    def close_gate(self) -> bool:
        """Wait for an export to end and hold off the next; False when it takes too long."""
        return self._gate.acquire(timeout=_PATIENCE)

    def open_gate(self) -> None:
        """Let exports go on in the parent."""
        self._gate.release()


def _guard_forks(reference: weakref.ref[Reader]) -> None:
    """Close the reader's gate round every fork of this process, as long as the reader exists."""
    held: list[Reader] = []

    def before() -> None:
        reader = reference()
        if reader is not None and reader.close_gate():
            held.append(reader)

    def in_parent() -> None:
        while held:
            held.pop().open_gate()

    def in_child() -> None:
        held.clear()
        reader = reference()
        if reader is not None:
            reader.renew_gate()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
