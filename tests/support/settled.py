"""The only place that runs a small program with a setting that may be wrong, and tells what became of it.

The program is told apart by the name of its instrumentation scope, which no setting changes: one receiver serves all.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from support.processes import PYTHON, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otelkit.otlp.receiver import Receiver
    from support.bad_settings import Case

SIGNALS = frozenset({"traces", "metrics", "logs"})
LAUNCHES = {
    "explicit": (PYTHON, "small.py", "{name}", "explicit"),
    "launcher": (str(Path(sys.executable).parent / "opentelemetry-instrument"), PYTHON, "small.py", "{name}"),
    "otelkit-run": (str(Path(sys.executable).parent / "otelkit"), "run", "--", PYTHON, "small.py", "{name}"),
}

APPS = Path(__file__).resolve().parents[1] / "integration" / "apps"
_LEFT = "otelkit: not delivered when the process left: "
_WITHIN = 60.0
_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run of the program.

    Args:
        returncode: Its exit code.
        printed: What it printed to stdout, without otelkit's JSON lines.
        stderr: What stood on stderr.
        arrived: The signals of which the receiver got the program's item.
    """

    returncode: int
    printed: str
    stderr: str
    arrived: frozenset[str]

    @property
    def said(self) -> list[str]:
        """The lines on stderr, but for the count of what was left undelivered at the end."""
        return [line for line in self.stderr.splitlines() if not line.startswith(_LEFT)]

    def assert_unharmed(self) -> None:
        """The application saw nothing of it."""
        assert (self.returncode, self.printed) == (0, "done\n"), self.stderr[-2000:]
        assert "Traceback" not in self.stderr


def run(receiver: Receiver, settings: Mapping[str, str | None], *, launch: str = "explicit") -> Outcome:
    """Run the program to its end.

    Args:
        receiver: Where its telemetry goes unless the settings say otherwise.
        settings: Variables; None removes one.
        launch: One of `LAUNCHES`.
    """
    name = f"small.{next(_numbers)}"
    environment = clean_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, **settings})
    program = [part.format(name=name) for part in LAUNCHES[launch]]
    done = subprocess.run(
        program, cwd=APPS, env=environment, capture_output=True, check=False, timeout=_WITHIN, stdin=subprocess.DEVNULL
    )
    lines = done.stdout.decode(errors="replace").splitlines(keepends=True)
    stores: dict[str, Callable[[], Sequence[Any]]] = {
        "traces": receiver.spans,
        "metrics": receiver.points,
        "logs": receiver.logs,
    }
    return Outcome(
        returncode=done.returncode,
        printed="".join(line for line in lines if not line.startswith("{")),
        stderr=done.stderr.decode(errors="surrogateescape"),
        arrived=frozenset(signal for signal, held in stores.items() if any(item.scope.name == name for item in held())),
    )


def check(case: Case, receiver: Receiver, *, launch: str) -> None:
    """Run one case and hold it against what it must be; the receiver takes gRPC too."""
    places = {"http": urlsplit(receiver.http_url).netloc, "grpc": urlsplit(receiver.grpc_endpoint).netloc}
    # What cannot be delivered is waited for at the end of the program; how long does not matter here.
    quick = {"OTELKIT_SHUTDOWN_TIMEOUT": "1.5"}
    variables = {name: value.format(**places) if "{" in value else value for name, value in case.variables.items()}
    outcome = run(receiver, {**quick, **variables}, launch=launch)
    outcome.assert_unharmed()
    said = case.said.format(**places) if "{" in case.said else case.said
    assert len(outcome.said) == bool(said), outcome.said
    assert not said or re.search(said, outcome.said[0]), (said, outcome.said)
    assert outcome.arrived == SIGNALS - case.lost


def may_be_shown(value: str) -> bool:
    """Tell whether a wrong value may be repeated: a short plain word, or a place without user and query."""
    return re.fullmatch(r"[\w.:/\[\]%+-]{1,200}", value, re.ASCII) is not None


def with_first_on_path(folder: Path) -> dict[str, str]:
    """Variables by which a folder's packages come before those that are installed."""
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([inherited] if inherited else [])])}
