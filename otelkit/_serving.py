"""The only place that knows whether this process serves requests or tasks.

A database call that belongs to no request of such a process (migration at start, polling loop, pool ping) is counted in
the metrics but makes no span; in a plain script the same call is a span (docs/decisions/0009).
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "daphne", "celery"})

_marked = False


@lru_cache(maxsize=1)  # asked at each statement outside of a request; a command line does not change
def _launched_as_server() -> bool:
    """Tell whether the command line is that of a known server (`uvicorn app:app`, `python -m uvicorn app:app`)."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = (getattr(main, "name", "") or "").partition(".")[0]
    program = Path(sys.argv[0]).stem if sys.argv else ""
    return program in _SERVERS or module in _SERVERS


def mark() -> None:
    """Record that this process serves: called by integrations when a server, application or worker starts."""
    global _marked  # noqa: PLW0603  one process, one flag
    _marked = True


def is_serving() -> bool:
    """Tell whether this process serves requests or tasks."""
    return _marked or _launched_as_server()
