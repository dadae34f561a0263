"""What the Collector's redaction is written from: patterns that keep what is no secret, and words of keys, in RE2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import re2  # type: ignore[import-untyped]  # it comes without types

from otelkit._rules import RULES
from otelkit.ops._collector_redaction import about, keeping, named
from otelkit.redact import Redactor
from support.planted import INNOCENTS, SECRETS

if TYPE_CHECKING:
    from otelkit._rules import Rule

KEYED = [rule for rule in RULES if rule.keys]
PHRASES = [phrase for rule in KEYED for phrase in rule.keys]
KEYS = sorted(
    {key for key, _ in INNOCENTS}
    | {planted.key for planted in SECRETS}
    | {"apiKey", "API_KEY", "x-api-key", "MyAPIKey", "stripe.apikey.value", "monkey", "keyboard", "aws.access.key.id"}
    | {"userPassword", "PASSWORD_HASH", "passwordHash", "tokenCount", "TOKEN_COUNT", "maxTokens", "numTokens"}
    | {"SIDE", "sid", "PHPSESSID", "shoppingPin", "pinned", "session_id", "sessions", "saltLength", "dsn", "DSNs"}
)


def label(rule: Rule) -> str:
    return f"{rule.name}: {rule.about}"


def replaced(pattern: str, replacement: str, text: str) -> str:
    """Replace as the Collector does: a group that took no part is empty."""

    def fill(match: re.Match[str]) -> str:
        return re.sub(r"\$\{(\d+)\}", lambda group: match.group(int(group[1])) or "", replacement)

    return str(re2.sub(pattern, fill, text))


@pytest.mark.parametrize(
    ("pattern", "text", "told"),
    [
        ("secret", "a secret b", "a X b"),
        ("key=(\\w+);", "key=abc; key=d;", "key=X; key=X;"),
        ("key=(?:\"([^\"]+)\"|'([^']+)'|(\\w+))", "key=\"a\" key='b' key=c", "key=\"X\" key='X' key=X"),
        ("(?i:(?:bearer|basic) (\\w+))!?", "Bearer abc! basic x", "Bearer X! basic X"),
        ("a(?:b[(]c]?)(d+)(?:e|f)", "ab(cddf", "ab(cXf"),
        ("(x+)|y(z)", "xx yz", "X yX"),
        ("k(?:=(v))?;", "k=v;", "k=X;"),
    ],
)
def test_what_is_no_secret_is_kept_on_either_side(pattern: str, text: str, told: str) -> None:
    assert replaced(*keeping(pattern, "X"), text) == told


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.in_re2], ids=label)
def test_the_pattern_that_keeps_finds_where_the_rule_does(rule: Rule) -> None:
    pattern, replacement = keeping(rule.in_re2, "X")
    for text in [planted.text for planted in SECRETS if planted.text.isascii()]:
        spans = [match.span(match.lastindex or 0) for match in re2.finditer(rule.in_re2, text)]
        expected, end = "", 0
        for start, stop in spans:
            expected += text[end:start] + "X"
            end = stop
        assert replaced(pattern, replacement, text) == expected + text[end:]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_names_a_secret_there_as_it_does_here(key: str) -> None:
    redactor = Redactor()
    names = {rule.name for rule in KEYED}
    told = redactor.secret(key)
    here = told is not None and told.removeprefix("[redacted:").removesuffix("]") in names
    there = not re2.search(about(PHRASES), key) and any(re2.search(named(rule.keys), key) for rule in KEYED)
    assert there == here
