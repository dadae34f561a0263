"""The pages agree with the tree: every relative link leads somewhere, every decision is numbered once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
    *ROOT.glob("collector/**/*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_cited_fact_has_its_row() -> None:
    facts = (ROOT / "docs" / "explanation" / "facts.md").read_text(encoding="utf-8")
    sources = [*ROOT.glob("otelkit/**/*.py"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.py")]
    cited = {fact for path in sources for fact in re.findall(r"\b[ES]-\d{2}\b", path.read_text(encoding="utf-8"))}
    assert [fact for fact in sorted(cited) if f"| {fact} |" not in facts] == []
