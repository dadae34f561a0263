"""`otelkit doctor`: what its answers look like in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from otelkit.ops.doctor import find, report
from otelkit.ops.doctor.hops import Hop, Proof

BROKEN = Hop(id="sent logs", state="broken", what="logs", cause="Loki: refused \x1b[2Jx", fix="start Loki")
UNSEEN = Hop(id="grafana", state="unseen", what="Grafana", cause="nobody answers", fix="name it")
OK = Hop(id="trace", state="ok", what="Tempo has it", seconds=1.25)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=40, highlight=False)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def proof(*hops: Hop) -> Proof:
    return Proof(trace_id="", instance="", hops=hops)


def test_a_hop_takes_a_line_and_its_cause_and_fix_one_each(console: Console) -> None:
    report.show_hop(console, OK)
    report.show_hop(console, BROKEN)
    lines = printed(console)
    assert [line.split()[0] for line in lines] == ["ok", "broken", "cause:", "fix:"]
    assert "1.25 s" in lines[0]


def test_what_a_terminal_would_act_upon_is_left_out(console: Console) -> None:
    report.show_hop(console, BROKEN)
    report.show_proof(console, proof(BROKEN))
    finding = find("endpoint-refuses", "it says \x1b]0;title\x07", "look")
    report.show(console, None, (finding,), ("evil\x1b[31m",))
    text = "".join(printed(console))
    assert "start Loki" in text
    assert "endpoint-refuses" in text
    assert [letter for letter in text if not letter.isprintable()] == []


@pytest.mark.parametrize(
    ("hops", "last"),
    [
        ((OK,), "Everything arrives, and every link leads to it."),
        ((OK, UNSEEN), "Nothing is broken as far as can be seen; not seen: grafana."),
        ((OK, BROKEN, UNSEEN), "Fix: start Loki"),
    ],
)
def test_the_last_line_is_what_the_hops_come_to(console: Console, hops: tuple[Hop, ...], last: str) -> None:
    report.show_proof(console, proof(*hops))
    assert printed(console)[-1] == last
    document = report.proof_document(proof(*hops))
    assert document["broken"] == ("sent logs" if BROKEN in hops else None)
    assert document["ok"] is (BROKEN not in hops)


def test_nothing_found_says_what_to_ask_next(console: Console) -> None:
    report.show(console, None, (), ())
    assert "otelkit doctor --prove" in printed(console)[-1]
