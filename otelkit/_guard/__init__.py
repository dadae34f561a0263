"""The only place that stands between what an application hands to the API and the SDK that would raise at it.

The providers here are the SDK's own. What they hand out is the SDK's own too, except that no call on it raises into the
application, whatever it is given: a value that OTLP cannot carry is made one that it can (`otelkit._sanitise`), a call
that still fails costs what it wanted to record, and an exception that passes through a span stays the one it was. A
processor that raises costs itself; the others see the span or the record.

How: a tracer, a meter, a logger and a span become an instance of a subclass after the SDK has made them, so that no
constructor of the SDK is written a second time. Instruments keep their class, by which the SDK looks up how to
aggregate; their one method is replaced on the instance.
"""

from __future__ import annotations

from otelkit._guard._logs import LoggerProvider
from otelkit._guard._metrics import MeterProvider
from otelkit._guard._spans import TracerProvider

__all__ = ["LoggerProvider", "MeterProvider", "TracerProvider"]
