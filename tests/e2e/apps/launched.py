"""A process of the example shop without its call of `otelkit.configure()`: telemetry is the launcher's doing alone.

SHOP_APP=shop.api:app opentelemetry-instrument uvicorn launched:app
"""

from __future__ import annotations

import os
from importlib import import_module

from shop import telemetry


def _leave_it_to_the_launcher(service: str) -> None:
    """Stand in for `telemetry.start`."""


telemetry.start = _leave_it_to_the_launcher

_module, _, _attribute = os.environ["SHOP_APP"].partition(":")
app = getattr(import_module(_module), _attribute)
