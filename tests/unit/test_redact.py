"""What is a secret and what is none: both tables, each place, each argument of `Redaction`, and the counts."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from otelkit._rules import RULES
from otelkit.errors import SettingsError
from otelkit.redact import Redaction, Redactor, Rule
from support.planted import INNOCENTS, SECRETS

if TYPE_CHECKING:
    from support.planted import Secret

REDACTOR = Redactor()

MARK = re.compile(r"\[redacted:[a-z-]+\]")


@pytest.mark.parametrize("planted", SECRETS, ids=lambda planted: f"{planted.key}:{planted.text[:50]}")
def test_a_secret_is_gone_and_counted_by_its_rule(planted: Secret) -> None:
    redactor = Redactor()
    told = redactor.value(planted.key, planted.text)
    assert planted.secret in planted.text
    assert planted.secret not in told
    assert redactor.counts[planted.rule]


@pytest.mark.parametrize("planted", SECRETS, ids=lambda planted: f"{planted.key}:{planted.text[:50]}")
def test_redacting_twice_changes_nothing(planted: Secret) -> None:
    told = REDACTOR.value(planted.key, planted.text)
    assert REDACTOR.value(planted.key, told) == told
    assert REDACTOR.text(told) == told


@pytest.mark.parametrize(("key", "text"), INNOCENTS, ids=lambda shown: shown[:50])
def test_an_innocent_value_stays_the_very_same_object(key: str, text: str) -> None:
    redactor = Redactor()
    assert redactor.value(key, text) is text
    assert redactor.value(key, text) is text  # remembered
    assert redactor.secret(key) is None
    assert redactor.counts == {}


def test_the_tables_are_as_long_as_the_issue_asks() -> None:
    assert len(SECRETS) >= 120
    assert len(INNOCENTS) >= 80


def test_every_rule_has_a_secret_in_the_table() -> None:
    assert {rule.name for rule in RULES} <= {planted.rule for planted in SECRETS}


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("", "login: password=hunter2 from 10.0.0.1", "login: password=[redacted:password] from 10.0.0.1"),
        ("", '{"password": "hunter2", "a": 1}', '{"password": "[redacted:password]", "a": 1}'),
        ("", "Cookie: a=b; c=d\nAccept: */*", "Cookie: [redacted:cookie]\nAccept: */*"),
        ("", "Authorization: Bearer abc123 x", "Authorization: [redacted:authorization] x"),
        ("", "amqp://app:hunter2@mq/shop", "amqp://[redacted:url-credentials]@mq/shop"),
        ("", "Key (email)=(bob@x.y) already exists.", "Key (email)=([redacted:row-value]) already exists."),
        ("url.full", "https://h/p?a=1&b&c=#f", "https://h/p?a=[redacted:url-query]&b&c=#[redacted:url-query]"),
        ("url.full", "https://h/p?%61%20b[]=1", "https://h/p?%61%20b[]=[redacted:url-query]"),
        ("url.query", "a=1&a=2&=3", "a=[redacted:url-query]&a=[redacted:url-query]&=[redacted:url-query]"),
        ("db.statement", "SELECT a FROM t WHERE b = 'x' AND c = 1", "SELECT a FROM t WHERE b = ? AND c = ?"),
        ("db.statement", "HSET user:1 name Ada", "HSET [redacted:statement]"),
        ("celery.retry.reason", "Retry in 3s: a.Error('x')", "Retry in 3s: a.Error[redacted:retry-reason]"),
        ("baggage", "a=1, b=2;p=3,c", "a=[redacted:baggage], b=[redacted:baggage],[redacted:baggage]"),
        ("password", "x", "[redacted:password]"),
    ],
)
def test_what_is_no_secret_stays_around_it(key: str, text: str, told: str) -> None:
    assert REDACTOR.value(key, text) == told


def test_the_parameters_of_sqlalchemy_go_even_over_several_lines() -> None:
    text = (
        "x\n[SQL: SELECT a[1] FROM t WHERE b = 'c]\n']\n[parameters: ('d\n]', 'e')]\n(Background on this error at: u)"
    )
    told = "x\n[SQL: SELECT a? FROM t WHERE b = ?]\n[parameters: [redacted:query-parameter]]\n"
    assert REDACTOR.text(text) == f"{told}(Background on this error at: u)"


def test_values_of_allowed_query_keys_stay_unless_their_shape_is_a_secret() -> None:
    redactor = Redactor(Redaction(url_query_allow=frozenset({"page", "sort by"})))
    url = "https://h/p?page=2&sort%20by=name&page=bob@example.com&q=x"
    told = "https://h/p?page=2&sort%20by=name&page=[redacted:email]&q=[redacted:url-query]"
    assert redactor.value("url.full", url) == told
    assert redactor.text(f"GET {url}") == f"GET {told}"


def test_secret_names_what_replaces_a_value_of_any_type() -> None:
    redactor = Redactor()
    assert redactor.secret("user.pin") == "[redacted:code]"
    assert redactor.secret("db.query.parameter.0") == "[redacted:query-parameter]"
    assert redactor.secret("user.name") is None
    assert redactor.counts == {"code": 1, "query-parameter": 1}


def test_plain_values_are_redacted_at_any_depth_and_stay_themselves_where_nothing_is() -> None:
    given: dict[str, Any] = {"a": [1, 2.5, None, True], "b": {"c": ("x", b"y")}}
    assert REDACTOR.plain("data", given) is given
    given = {
        "args": (1, 2),
        "list": [{"password": 1}, "bob@example.com"],
        "number": 4111111111111111,
        "bob@a.example": 1,
    }
    assert REDACTOR.plain("data", given) == {
        "args": "[redacted:task-arguments]",
        "list": [{"password": "[redacted:password]"}, "[redacted:email]"],
        "number": "[redacted:card-number]",
        "[redacted:email]": 1,
    }


def test_a_value_that_holds_itself_has_an_end() -> None:
    endless: list[Any] = ["x"]
    endless.append(endless)
    assert REDACTOR.plain("a", endless)[0] == "x"


def test_rules_can_be_added_switched_off_and_replaced() -> None:
    own = Rule(name="customer", about="Customer numbers", pattern=r"\bC-\d{6}\b", hints=("c-",))
    text = "C-123456 bob@example.com"
    assert Redactor(Redaction(extra=(own,))).text(text) == "[redacted:customer] [redacted:email]"
    assert Redactor(Redaction(without=frozenset({"email"}))).text(text) is text
    assert Redactor(Redaction(rules=(own,))).text(text) == "[redacted:customer] bob@example.com"
    assert Redactor(Redaction(rules=())).value("password", "x") == "x"


def test_a_rule_of_ones_own_may_go_by_key_and_by_place_and_needs_no_hint() -> None:
    redactor = Redactor(
        Redaction(
            extra=(
                Rule(name="tax", about="Tax numbers", keys=("tax number",)),
                Rule(name="plate", about="Number plates", pattern=r"[A-Z]{1,3}-[A-Z]{2} (\d{1,4})", places=("car.*",)),
                Rule(name="colour", about="Colours", pattern="green"),
            )
        )
    )
    assert redactor.value("person.taxNumber", "7") == "[redacted:tax]"
    assert redactor.value("car.plate", "B-AB 123") == "B-AB [redacted:plate]"
    assert redactor.value("plate", "B-AB 123, green") == "B-AB 123, [redacted:colour]"


def test_a_check_that_fails_hides_what_it_looked_at() -> None:
    def fail(_: re.Match[str]) -> bool:
        raise LookupError

    redactor = Redactor(Redaction(extra=(Rule(name="odd", about="Odd", pattern="odd", check=fail),)))
    assert redactor.text("an odd one") == "an [redacted:odd] one"


def test_allowed_keys_are_left_alone() -> None:
    redactor = Redactor(Redaction(allow_keys=frozenset({"session.id", "user.email"})))
    assert redactor.value("session.id", "x") == "x"
    assert redactor.value("user.email", "bob@example.com") == "bob@example.com"
    assert redactor.secret("session.id") is None
    assert redactor.value("session.key", "x") == "[redacted:session]"


def test_users_are_hashed_with_a_key_and_the_same_each_time() -> None:
    redactor = Redactor(Redaction(hash_key=b"key"))
    told = redactor.value("user.id", "bob@example.com")
    assert re.fullmatch(r"hash:[0-9a-f]{16}", told)
    assert redactor.value("user.id", told) == told
    assert Redactor(Redaction(hash_key=b"key")).value("user.id", "bob@example.com") == told
    assert Redactor(Redaction(hash_key=b"other")).value("user.id", "bob@example.com") != told
    assert redactor.plain("user.id", 42) == redactor.value("user.id", "42")
    assert redactor.value("user.id", "\ud800").startswith("hash:")
    assert "b'key'" not in repr(redactor.redaction)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"without": frozenset({"emial"})}, ["emial"]),
        ({"without": "email"}, ["without"]),
        ({"hash_key": b""}, ["hash_key"]),
        ({"hash_key": "text"}, ["hash_key"]),
        ({"extra": ("password",)}, ["extra"]),
        ({"extra": (Rule(name="a", about="", pattern="("),)}, ["extra", "'a'", "does not compile"]),
        ({"extra": (Rule(name="a", about="", pattern="(a+)+b"),)}, ["'a'", "repeats"]),
        ({"extra": (Rule(name="a", about="", pattern=r"(?:\w+\s*)*b"),)}, ["'a'", "repeats"]),
        ({"rules": (Rule(name="A b", about="", pattern="a"),)}, ["rules", "'A b'", "lower-case"]),
        ({"rules": (Rule(name="a", about=""),)}, ["'a'", "no pattern"]),
        ({"rules": (Rule(name="a", about="", pattern="A", hints=("A",)),)}, ["'a'", "hints"]),
        (
            {"extra": (Rule(name="a", about="", pattern="("),), "hash_key": b"", "without": {"x"}},
            ["'a'", "hash_key", "'x'"],
        ),
    ],
)
def test_wrong_arguments_are_named_all_at_once(arguments: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Redaction(**arguments)
    assert all(word in str(caught.value) for word in named)
    assert "text" not in str(caught.value)  # no key of a hash in a message


def test_our_own_rules_pass_the_checks_that_rules_of_others_get() -> None:
    assert Redaction(rules=tuple(RULES)) == Redaction()
    assert Redaction(extra=RULES).extra == RULES


def test_every_hint_and_need_is_in_what_its_rule_finds() -> None:
    # What the hints rule out is never looked at: the same rules without them find nothing more.
    unhinted = tuple(
        Rule(name=r.name, about=r.about, keys=r.keys, places=r.places, pattern=r.pattern, check=r.check, reads=r.reads)
        for r in RULES
    )
    slow = Redactor(Redaction(rules=unhinted))
    for planted in SECRETS:
        assert slow.value(planted.key, planted.text) == REDACTOR.value(planted.key, planted.text)
        assert slow.text(planted.text) == REDACTOR.text(planted.text)
    for key, text in INNOCENTS:
        assert slow.value(key, text) is text


def test_counts_are_exact_under_threads() -> None:
    redactor = Redactor()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [redactor.text("password=x") for _ in range(1_000)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert redactor.counts == {"password": 8_000}


def test_counts_are_exact_where_a_signal_handler_redacts_too() -> None:
    redactor = Redactor()
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        redactor.text("password=x")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        calls = 0
        while handled < 50:
            redactor.text("password=x")
            calls += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert redactor.counts == {"password": calls + handled}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: it forks beside threads on purpose
def test_a_child_forked_amid_redaction_redacts() -> None:
    redactor = Redactor()
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            redactor.text("password=x")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                counted = redactor.counts.get("password", 0)
                redactor.text("password=x")
                os._exit(0 if redactor.counts["password"] == counted + 1 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        thread.join()


def test_what_is_remembered_is_bounded() -> None:
    redactor = Redactor()
    for number in range(10_000):
        redactor.value(f"key.{number}", f"text {number}")
    assert max(len(redactor._clean), len(redactor._keys)) <= 2_048


@pytest.mark.parametrize(
    ("text", "kept"),
    [("[redacted:email]", True), ("[redacted:Email]", True), ("[redacted:4111111111111111]", False)],
)
def test_only_a_mark_is_taken_for_one(text: str, kept: bool) -> None:
    assert (REDACTOR.text(text) == text) is kept
    assert MARK.search(REDACTOR.text(f"password={text}"))
