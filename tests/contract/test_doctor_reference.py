"""The pages about `otelkit doctor` agree with it: findings, hops, documents and options."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from otelkit.ops._markdown import code, sentence
from otelkit.ops.cli import main
from otelkit.ops.doctor import KINDS, canary, report
from otelkit.ops.doctor.hops import HOPS, Hop, Proof

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs/reference/doctor.md").read_text(encoding="utf-8")
SYMPTOMS = (ROOT / "docs/how-to/troubleshoot.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The table below a header cell, without its two first lines."""
    lines = REFERENCE.partition(f"| {heading} |")[2].splitlines()[2:]
    table = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_every_finding_has_its_row() -> None:
    assert rows("Finding") == [[code(id_), kind.severity, sentence(kind.means)] for id_, kind in KINDS.items()]


def test_every_hop_has_its_row() -> None:
    assert rows("Hop") == [[code(id_), sentence(means)] for id_, means in HOPS.items()]


def test_every_key_of_the_documents_has_its_row() -> None:
    told = {word for row in rows("Key of `otelkit doctor --json`") for word in re.findall(r"`(\w+)`", row[0])}
    assert told == set(report.document(None, (), ()))
    hop = Hop(id="trace", state="ok", what="")
    document = report.proof_document(Proof(trace_id="", instance="", hops=(hop,)))
    table = rows("Key of `otelkit doctor --prove --json`")
    assert {word for row in table for word in re.findall(r"`(\w+)`", row[0])} == set(document)
    assert set(re.findall(r"`(\w+)`", table[-1][1])) == set(document["hops"][0])


def test_the_gateway_keeps_the_canary() -> None:
    overlay = yaml.safe_load((ROOT / "collector/overlays/gateway.yaml").read_text(encoding="utf-8"))
    policies = overlay["processors"]["tail_sampling"]["policies"]
    wanted = {"key": "service.name", "values": [canary.SERVICE]}
    assert [each["string_attribute"] for each in policies if each["type"] == "string_attribute"] == [wanted]


def test_every_option_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {option for option in options if f"`{option}" not in REFERENCE and f" {option}" not in REFERENCE} == set()


def test_every_symptom_ends_in_a_command_that_tells() -> None:
    sections = re.split(r"^## ", SYMPTOMS, flags=re.MULTILINE)[1:]
    assert len(sections) >= 12
    for section in sections:
        last = section.rstrip().rpartition("\n\n")[2]
        assert last.startswith("```console\n$ otelkit "), section.partition("\n")[0]


def test_every_finding_and_hop_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:finding|findings|hop|hops) `([a-z -]+)`", SYMPTOMS))
    named |= set(re.findall(r"^\| `([a-z -]+)` \|", SYMPTOMS, flags=re.MULTILINE))
    assert named
    assert named <= set(KINDS) | set(HOPS)
