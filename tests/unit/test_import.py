"""The only place that proves what `import otelkit` does not do: load what a program may not have or want."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Installed or not, none of these may come with `import otelkit` (docs/decisions/0002).
HEAVY = (
    "opentelemetry.exporter",
    "opentelemetry.sdk",
    "requests",
    "google.protobuf",
    "grpc",
    "fastapi",
    "starlette",
    "sqlalchemy",
    "redis",
    "celery",
    "rich",
    "otelkit.ops",
)


def in_fresh_interpreter(code: str) -> str:
    """Run code in an interpreter of its own, warnings being errors, and return what it printed."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def modules_after(statement: str) -> set[str]:
    """Return the names of all modules loaded once the statement was executed."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return set(json.loads(in_fresh_interpreter(code)))


@pytest.mark.parametrize("statement", ["import otelkit", "from otelkit import Settings, configure, get_logger"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    loaded = modules_after(statement)
    assert "otelkit" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_import_says_nothing_and_sets_nothing_up() -> None:
    code = """
import logging, os, signal, sys, threading
before = dict(os.environ), logging.getLogger().handlers[:], signal.getsignal(signal.SIGTERM), sys.excepthook
import otelkit
after = dict(os.environ), logging.getLogger().handlers[:], signal.getsignal(signal.SIGTERM), sys.excepthook
print(before == after, threading.active_count())
"""
    assert in_fresh_interpreter(code) == "True 1\n"


def test_import_works_where_posix_is_missing() -> None:
    # What Windows lacks: importing must work there, whatever works afterwards.
    code = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, name in ((os, "fork"), (os, "register_at_fork"), (signal, "SIGKILL"), (signal, "SIGALRM")):
    delattr(module, name)
import otelkit
print(otelkit.__version__)
"""
    assert in_fresh_interpreter(code).strip()


def test_every_public_name_exists_and_none_is_forgotten() -> None:
    code = """
import otelkit, inspect
missing = [name for name in otelkit.__all__ if not hasattr(otelkit, name)]
here = lambda value: (getattr(value, "__module__", None) or "").startswith("otelkit")
extra = [n for n, v in vars(otelkit).items() if not n.startswith("_") and here(v) and n not in otelkit.__all__]
print(missing, extra, otelkit.__all__ == sorted(otelkit.__all__))
"""
    assert in_fresh_interpreter(code) == "[] [] True\n"
