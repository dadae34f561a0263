"""What holds of redaction whatever it is given: it ends, in time that grows with the text, and twice is once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otelkit.redact import RULES, Redactor
from support.planted import INNOCENTS, SECRETS

if TYPE_CHECKING:
    from support.planted import Secret

patient = settings(deadline=None)  # machines that run tests are busy

REDACTOR = Redactor()

PLANTED = [planted for planted in SECRETS if not planted.key]
KEYS = st.sampled_from(["", "url.full", "url.query", "db.statement", "baggage", "celery.retry.reason", "password"])
PIECES = sorted(
    {hint for rule in RULES for hint in rule.hints}
    | {planted.text for planted in SECRETS}
    | {text for _, text in INNOCENTS}
    | {
        "=",
        ":",
        "&",
        "?",
        "#",
        "@",
        "'",
        '"',
        "\\",
        "\\'",
        '\\"',
        " ",
        "\n",
        "    ",
        "://",
        "[redacted:email]",
        "[",
        "]",
    }
)
# Texts of what rules look for, put together at random: closer to their edges than random letters ever are.
TEXTS = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)


@patient
@given(text=TEXTS)
@example(text="\ud800password=\udfff")
@example(text="ghp_" + "a" * 400)
def test_text_is_redacted_once_and_for_all(text: str) -> None:
    told = REDACTOR.text(text)
    assert REDACTOR.text(told) == told


@patient
@given(key=KEYS | st.text(), text=TEXTS)
def test_a_value_is_redacted_once_and_for_all(key: str, text: str) -> None:
    told = REDACTOR.value(key, text)
    assert REDACTOR.value(key, told) == told


@patient
@given(words=st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12), min_size=1, max_size=12))
def test_plain_words_pass_as_the_same_object(words: list[str]) -> None:
    text = " ".join(words)
    assert REDACTOR.text(text) is text


@patient
@given(
    planted=st.sampled_from([planted for planted in PLANTED if "\n" not in planted.text]),
    before=st.text("abc xyz.,-", max_size=30),
    behind=st.text("abc xyz.,-", max_size=30),
)
def test_a_secret_is_found_among_other_words(planted: Secret, before: str, behind: str) -> None:
    text = f"{before} {planted.text}\n{behind}"
    assert planted.secret not in REDACTOR.text(text)


@patient
@given(
    pairs=st.lists(st.tuples(st.text("ab[]%. -_", min_size=1, max_size=8), st.text("xyz=?/:", max_size=8)), max_size=8)
)
def test_keys_of_a_query_stay_and_its_values_go(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{key}={value}" for key, value in pairs)
    told = REDACTOR.value("url.query", query)
    expected = "&".join(f"{key}={value and '[redacted:url-query]'}" for key, value in pairs)
    assert told == expected


@patient
@given(
    key=st.text(max_size=8),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ),
)
def test_any_plain_value_keeps_its_shape(key: str, value: Any) -> None:
    told = REDACTOR.plain(key, value)
    if REDACTOR.secret(key) is None and isinstance(value, list | dict):
        assert type(told) is type(value)
        assert len(told) <= len(value)


EDGES = [
    "a",
    "1",
    "4",
    " ",
    "\n",
    "\\",
    "'",
    '"',
    "(",
    "[",
    "{",
    "=",
    "@",
    "-",
    "é",
    "://a:b@",
    "a.b@c.d.",
    "a=&",
    "\\'",
]
UNITS = [
    *(hint for rule in RULES for hint in rule.hints),
    *(
        'password="',
        "password='",
        'password=\\"',
        "password=a,",
        "password=[",
        "token: ",
        "?a=&",
        "[redacted:email]",
        "%40",
    ),
    *("Key (a)=(", '  File "\n    password=a\n', "eyJaaaaaaaaaaaa.", "<password>", "4111 ", "--a-", "mysql -u a "),
]
STARTS = ["[SQL: ", "[parameters: ", "password=", "-----BEGIN PRIVATE KEY-----", "Failing row contains (", "Key (a"]
TEXTS_TO_REPEAT = [("", dict.fromkeys(EDGES + UNITS)), *((start, EDGES) for start in STARTS)]


def _cost(redactor: Redactor, text: str, times: int) -> float:
    """Return the least processor seconds that one redaction took."""
    costs = []
    for _ in range(times):
        begun = time.thread_time()
        redactor.text(text)
        costs.append(time.thread_time() - begun)
    return min(costs)


@pytest.mark.parametrize(("start", "units"), TEXTS_TO_REPEAT)
def test_no_text_costs_more_than_its_length(start: str, units: list[str]) -> None:
    redactor = Redactor()
    for unit in units:
        large = (start + unit * (80_000 // len(unit) + 1))[:80_000]
        if _cost(redactor, large, 1) < 0.1:
            continue  # too little to be told from noise, and far from what a square makes of it
        little, much = _cost(redactor, large[:10_000], 3), _cost(redactor, large, 3)
        # Eight times the text: what grows with its square takes 64 times as long.
        assert much < 30 * little, (start, unit, little, much)


def test_a_megabyte_of_each_secret_is_redacted() -> None:
    for planted in SECRETS[::32]:
        text = f"{planted.text} \n" * (1_000_000 // len(planted.text))
        assert len(REDACTOR.value(planted.key, text)) <= 3 * len(text)
