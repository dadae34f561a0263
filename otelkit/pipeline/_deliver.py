"""The only place that decides when something is sent, and sent again.

One `Carrier` per signal: a daemon thread takes batches out of the queue and sends each until the receiver acknowledges
it, refuses it for good, or the process leaves. It waits between attempts with back-off and jitter, or as long as
the receiver asks (`Retry-After`, `RetryInfo`). What the application feels of all this is nothing: the queue takes, and
sheds, whatever happens here.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.utils import suppress_instrumentation

from otelkit.otlp import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.pipeline._failures import Failures
    from otelkit.pipeline._queue import Batch, Queue
    from otelkit.pipeline._transport import Answer, Transport
    from otelkit.settings import Signal

__all__ = ["Carrier"]

_FIRST_PAUSE = 0.5  # seconds; doubled with each failed attempt
_LONGEST_PAUSE = 5.0  # an outage that ends is noticed within this time
_LAST_PAUSE = 0.25  # while the process leaves
_LONGEST_OBEYED = 60.0  # a receiver that asks for an hour gets a minute: what waits is shed meanwhile
_REASONS = {"refused": "rejected", "too_large": "too_large"}


class Carrier:
    """Carries one signal from its queue to its endpoint.

    Args:
        name: "traces", "metrics" or "logs".
        signal: Where it goes.
        queue: Where its items wait.
        transport: Makes one attempt.
        failures: Is told how attempts end.
        observe: Called with the name, the seconds of each attempt, and what went wrong.
    """

    def __init__(
        self,
        name: str,
        signal: Signal,
        queue: Queue,
        transport: Transport,
        *,
        failures: Failures,
        observe: Callable[[str, float, str | None], None],
    ) -> None:
        self._name, self._signal = name, signal
        self._queue, self._transport, self._failures, self._observe = queue, transport, failures, observe
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it runs; called with each item, so that a process that emits nothing has none."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                # No thread is started at exit from Python 3.12 on: `drain` does the work then, in the caller's.
                thread = threading.Thread(target=self._run, name=f"otelkit-{self._name}", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None

    def renew(self) -> None:
        """Forget the thread, which does not exist in a forked child."""
        self._starting = threading.RLock()
        self._thread = None

    @property
    def runs(self) -> bool:
        """Whether there is a thread that delivers."""
        return self._thread is not None and self._thread.is_alive()

    def drain(self) -> None:
        """Deliver what is here in the calling thread, where no other does."""
        with suppress_instrumentation():
            while not self.runs and (batch := self._queue.take(wait=False)) is not None:
                self._deliver(batch)

    def _run(self) -> None:
        # For the whole thread: neither an instrumented HTTP client nor a logger may tell of our own traffic.
        with suppress_instrumentation(), self._failures.own_traffic():
            while (batch := self._queue.take()) is not None:
                self._deliver(batch)
            self._queue.done()
            self._transport.close()

    def _deliver(self, batch: Batch) -> None:
        """Send a batch until it is settled; where the process leaves first, it stays pending."""
        try:
            body = encode.request(batch.groups())
        except Exception as error:  # noqa: BLE001  a mistake of ours must not end delivery
            self._queue.settle(batch, reason="invalid")
            self._failures.failed(self._name, self._signal, f"{type(error).__name__}: {error}")
            return
        attempts = 0
        while (answer := self._attempt(body)).outcome == "retry":
            attempts += 1
            self._failures.failed(self._name, self._signal, answer.reason, silent=answer.silent)
            if not self._pause(attempts, answer.after):
                return
            self._queue.count_resent(batch)
        if answer.outcome == "too_large" and len(batch.items) > 1:
            for half in batch.halves():
                self._deliver(half)
            return
        self._queue.settle(batch, reason=_REASONS.get(answer.outcome), rejected=answer.rejected)
        if answer.outcome == "delivered" and not answer.rejected:
            self._failures.delivered(self._name, self._signal)
        else:
            self._failures.failed(self._name, self._signal, answer.reason)

    def _attempt(self, body: bytes) -> Answer:
        started = time.monotonic()
        answer = self._transport.send(body, self._signal.timeout)
        self._observe(self._name, time.monotonic() - started, answer.error)
        return answer

    def _pause(self, attempts: int, asked: float | None) -> bool:
        if asked is not None:
            return self._queue.pause(min(asked, _LONGEST_OBEYED), obeyed=True)
        longest = _LAST_PAUSE if self._queue.closing else _LONGEST_PAUSE
        seconds = min(longest, _FIRST_PAUSE * 2.0 ** min(attempts - 1, 10))
        return self._queue.pause(seconds * random.uniform(0.8, 1.2))  # noqa: S311  jitter, no secret
