"""What each rule says about RE2, which the Collector runs: every pattern compiles, and "exact" finds the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import re2  # type: ignore[import-untyped]  # it comes without types

from otelkit._rules import RULES, group
from support.planted import INNOCENTS, SECRETS

if TYPE_CHECKING:
    from otelkit._rules import Rule

PATTERNS = [rule for rule in RULES if rule.pattern is not None]
# Bytes of UTF-8 count in RE2, so the texts that are compared are ASCII.
TEXTS = [text for text in (*(planted.text for planted in SECRETS), *(text for _, text in INNOCENTS)) if text.isascii()]


def label(rule: Rule) -> str:
    return f"{rule.name}: {rule.about}"


@pytest.mark.parametrize("rule", PATTERNS, ids=label)
def test_the_pattern_for_re2_compiles_there(rule: Rule) -> None:
    re2.compile(rule.in_re2)


@pytest.mark.parametrize("rule", [rule for rule in PATTERNS if rule.re2 == "exact"], ids=label)
def test_an_exact_rule_finds_the_same_in_re2(rule: Rule) -> None:
    assert rule.pattern is not None
    assert rule.check is None
    here, there = re.compile(rule.pattern, re.ASCII), re2.compile(rule.in_re2)
    found = 0
    for text in TEXTS:
        expected = [match.span(group(match)) for match in here.finditer(text)]
        found += len(expected)
        assert [match.span(match.lastindex or 0) for match in there.finditer(text)] == expected
    assert found or rule.places


@pytest.mark.parametrize("rule", [rule for rule in PATTERNS if rule.re2 == "approximate"], ids=label)
def test_an_approximate_rule_finds_something_of_what_it_finds_here(rule: Rule) -> None:
    assert rule.pattern is not None
    here, there = re.compile(rule.pattern, re.ASCII), re2.compile(rule.in_re2)
    assert any(here.search(text) and there.search(text) for text in TEXTS)
