"""The only place that tells whether what is being emitted in this thread has been redacted already."""

from __future__ import annotations

import threading


class _Passing(threading.local):
    """What is true of the record that is on its way through the processors.

    Args:
        redacted: It was redacted, on our own road of logs or before a processor of the application's saw it.
    """

    redacted = False


passing = _Passing()
