"""Possessive repetitions of groups mean the same as atomic groups, which every Python gets right."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelkit import _regex
from otelkit._regex import atomic, compiled
from otelkit._rules import RULES
from support.planted import INNOCENTS, SECRETS

PATTERNS = [rule.pattern for rule in RULES if rule.pattern]
TEXTS = [*(planted.text for planted in SECRETS), *(text for innocent in INNOCENTS for text in innocent)]
PIECES = st.sampled_from(["a", "(?:a|b)", "(?:ab|a)", "[)+]", r"\(", "(b)", "(?:a(?:b|c)*+)", "."])
REPEATED = st.sampled_from(["", "*", "+", "?", "*+", "++", "?+", "{0,2}+", "{1,}", "{2}+"])


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("(?:a|b)*+", "(?>(?:a|b)*)"),
        ("(a)?+", "(?>(a)?)"),
        (r"(?:\(a|[)(*+])++b", r"(?>(?:\(a|[)(*+])+)b"),
        ("(?:(?:a)*+b){0,4}+", "(?>(?:(?>(?:a)*)b){0,4})"),
        ("a*+[bc]++(?:d)*", "a*+[bc]++(?:d)*"),
        (r"\)*+[^])]{2}+", r"\)*+[^])]{2}+"),
    ],
)
def test_only_repetitions_of_groups_are_written_otherwise(pattern: str, written: str) -> None:
    assert atomic(pattern) == written
    assert atomic(written) == written


@given(st.lists(st.tuples(PIECES, REPEATED), min_size=1, max_size=5))
def test_what_is_written_compiles_and_has_the_same_groups(pieces: list[tuple[str, str]]) -> None:
    pattern = "".join(piece + repeated for piece, repeated in pieces)
    assert re.compile(atomic(pattern)).groups == re.compile(pattern).groups


@pytest.mark.skipif(_regex._BROKEN, reason="this Python gets the one of the two wrong")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_rule_finds_the_same_either_way(pattern: str) -> None:
    plain, written = re.compile(pattern, re.ASCII), re.compile(atomic(pattern), re.ASCII)
    for text in TEXTS:
        assert [found.span() for found in plain.finditer(text)] == [found.span() for found in written.finditer(text)]


def test_a_password_in_a_url_is_found_by_whatever_python_this_is() -> None:
    (pattern,) = [rule.pattern for rule in RULES if rule.about == "User and password of a URL" and rule.pattern]
    found = compiled(pattern, re.ASCII).search("postgres://app:p@ssw0rd@db/shop")
    assert found is not None
    assert found[1] == "app:p@ssw0rd"
