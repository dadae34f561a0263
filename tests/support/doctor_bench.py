"""The only place for a stack of which tests of `otelkit doctor --prove` break one program at a time."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops.doctor.collector import look
from otelkit.ops.doctor.hops import Where, prove
from support import lanes, stack
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from otelkit.ops.doctor.hops import Proof

LANE = "e2e"
TIMEOUT = 15.0
SOURCES = "deploy/grafana/provisioning/datasources/stack.yaml"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with one program.

    Args:
        program: Which; it is started anew with the fault.
        file: Its configuration, below the stack's folder.
        edit: Breaks that file.
        without: Flags that the program is started without.
        variables: What the program's environment has besides.
        down: Whether the program is not there at all.
    """

    program: str
    file: str = ""
    edit: Callable[[dict[str, Any]], None] | None = None
    without: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    down: bool = False


class Bench:
    """A stack of which one program at a time is broken, and mended by the next test that wants it whole."""

    def __init__(self, running: stack.Stack) -> None:
        self.stack = running
        self._whole = dict(running._programs)
        self._files: dict[Path, str] = {}
        self._broken: Fault | None = None

    @property
    def where(self) -> Where:
        """All of the stack; nobody is Grafana here."""
        place, at = self.stack.place, self.stack.endpoints
        return Where(
            collector_metrics=at.collector_metrics,
            prometheus=at.prometheus,
            tempo=at.tempo,
            loki=at.loki,
            grafana="",
            collector_log=place / "log/collector.log",
            datasources=place / SOURCES,
        )

    def prove(self, *, timeout: float = TIMEOUT, **changes: Any) -> Proof:
        return prove(replace(self.where, **changes), stack=self.stack.endpoints, timeout=timeout)

    def mend(self) -> None:
        """Start what is broken as it was."""
        for path, text in self._files.items():
            path.write_text(text, encoding="utf-8")
        self._files.clear()
        if self._broken is not None:
            self._anew(self._broken.program, self._whole[self._broken.program])
            self._broken = None

    def break_(self, fault: Fault) -> None:
        """Break one program, after mending another one that was."""
        if self._broken == fault:
            return
        if self._broken is not None and self._broken.program != fault.program:
            self.mend()
        for path, text in self._files.items():
            path.write_text(text, encoding="utf-8")
        self._broken = fault
        if fault.edit is not None:
            path = self.stack.place / fault.file
            self._files.setdefault(path, path.read_text(encoding="utf-8"))
            document = yaml.safe_load(self._files[path])
            fault.edit(document)
            path.write_text(yaml.safe_dump(document), encoding="utf-8")
        whole = self._whole[fault.program]
        argv = tuple(word for word in whole.argv if word not in fault.without)
        assert len(argv) == len(whole.argv) - len(fault.without)
        environment = {**whole.environment, **fault.variables}
        self._anew(fault.program, replace(whole, argv=argv, environment=environment), start=not fault.down)

    def _anew(self, name: str, program: stack.Program, *, start: bool = True) -> None:
        self.stack._programs[name] = program
        self.stack.stop(name, kill=True)
        if start:
            self.stack.start(name)
            self.stack.wait_ready()
            wait_until(self._nothing_waits, within=30, what="the Collector has delivered what it kept meanwhile")

    def _nothing_waits(self) -> bool:
        now = look(self.stack.endpoints.collector_metrics)
        return not any(now.total("otelcol_exporter_queue_size", data_type=signal) for signal in ("traces", "logs"))


@contextmanager
def started(folder: Path) -> Iterator[Bench]:
    """Start a stack, or skip and say what is missing.

    Args:
        folder: An empty folder for it.
    """
    if absent := stack.missing():
        lanes.skipped(LANE, absent)
        pytest.skip(f"e2e: {absent}")
    soon = {"STACK_SPAN_METRICS_INTERVAL": "1s", "STACK_SERVICE_GRAPH_WAIT": "1s"}
    with stack.Stack(folder, variables=soon) as running:
        lanes.ran(LANE)
        yield Bench(running)


def states(proof: Proof) -> dict[str, str]:
    """Return the state of each hop."""
    return {hop.id: hop.state for hop in proof.hops}


def assert_broken(proof: Proof, hop: str, cause: str, fix: str) -> None:
    """Assert which hop is the first that is broken, and what is told of it, as regular expressions."""
    broken = proof.broken
    assert broken is not None, states(proof)
    assert broken.id == hop, broken
    assert re.search(cause, broken.cause), broken
    assert re.search(fix, broken.fix), broken
