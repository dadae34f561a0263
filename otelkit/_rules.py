"""The only place that lists what a secret looks like: every rule is data, and `otelkit.redact` applies them.

A pattern never goes back over what it has read: repetitions are possessive (`*+`, `++`), bounded, or end where the next
thing begins. A text of any kind costs time in proportion to its length, even one made to cost more.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = r"\[redacted:[a-z][a-z-]{0,39}\]"
"""What stands where a secret was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    r"""One sort of secret. Rules may share a name: they are counted, and switched off, together.

    A rule needs `keys`, `pattern`, `reads` or `places`. With `places` it applies there only; with nothing else than
    `places` or `keys`, the whole value goes.

    Args:
        name: What stands in `[redacted:<name>]`: lower-case letters and dashes, at most 40.
        about: What it finds, in a few words, for the reference.
        keys: Words of an attribute's key, in lower case: "api key" is found in `x-api-key`, `apiKey` and
            `stripe.api_key.value`, and not in `api_key_count`, which is about a key and holds none.
        places: Attribute keys where the rule applies, as they are written; one that ends with `*` stands for all that
            begin so. None: everywhere.
        pattern: A regular expression (ASCII classes). What its last group holds is the secret; without groups, the
            whole match.
        hints: Literals in lower case, one of which stands in any text that the pattern can match, whatever its case
            there. None: the pattern is tried on every text, which costs time.
        needs: Characters or literals, one of which stands there too.
        unbroken: Whether 20 characters of what the pattern matches follow each other without a space. Hints are then
            written as they stand in a text, capitals included.
        check: Looks at a match and says whether it is one.
        reads: A part of the text with a structure of its own, told apart by code: "url", "query", "sql", "pairs".
        re2: Whether RE2 (the Collector) finds the same with the same pattern, or with the nearest one that it has.
        re2_pattern: What RE2 takes instead, where that is not `pattern` without its possessive signs.
    """

    name: str
    about: str
    keys: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    pattern: str | None = None
    hints: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    unbroken: bool = False
    check: Callable[[re.Match[str]], bool] | None = None
    reads: Literal["url", "query", "sql", "pairs"] | None = None
    re2: Literal["exact", "approximate"] = "approximate"
    re2_pattern: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the value under a key goes as a whole."""
        return self.pattern is None and self.reads is None

    @property
    def in_re2(self) -> str:
        """The pattern as RE2 takes it; empty where there is none."""
        if self.re2_pattern is not None or self.pattern is None:
            return self.re2_pattern or ""
        return _greedy(self.pattern).replace(r"\Z", r"\z")


def _greedy(pattern: str) -> str:
    """Leave out possessive signs: RE2 never goes back, so that it does not know and does not need them."""
    return re.sub(r"(?<!\\)([*+?}])\+", r"\1", pattern)


def group(match: re.Match[str]) -> int:
    """Return which group of a match holds the secret: the last one that took part."""
    return match.lastindex or 0


# What a text must hold besides a hint. Rules share these, so that one look tells that none of them is needed.
_ASSIGNS = ("=", ":", "%3")
_QUOTES = ("'", '"', "`")
_DASHES = ("--", " -")

# --- What an assignment in a text looks like: password=..., "token": "...", --api-key ..., <secret>...</secret> ---

_SEPARATOR = r"(?:\\{0,7}[\"'])?\]?[ \t]{0,8}+(?:=>|:=|={1,3}|:|%3[Dd]|%3[Aa])[ \t]{0,8}+"
_NOTHING = (
    r"(?!(?:none|null|nil|true|false|undefined|\?|%s|%\(\w{1,64}\)s|\$\d{1,3}|:[a-z_]\w{0,63}|\{\w{0,63}\}|\[\]|\(\)"
    r"|\*{3,64})(?:[\s\"'&,;)}\]]|\Z))"
)
_QUOTED = (
    r"[burf]{0,2}\"((?:[^\"\\\n]|\\.)*+)"
    r"|[burf]{0,2}'((?:[^'\\\n]|\\.)*+)"
    r"|\\{1,7}\"((?:[^\"\\]|\\\\\\\"|\\\\|\\[^\"\\])*+)"
    r"|\\{1,7}'((?:[^'\\]|\\\\\\'|\\\\|\\[^'\\])*+)"
)
_BRACKETED = (
    r"(\[(?:[^\[\]\n]|\[[^\[\]\n]*+\]?)*+\]?"
    r"|\{(?:[^{}\n]|\{[^{}\n]*+\}?)*+\}?"
    r"|\((?:[^()\n]|\([^()\n]*+\)?)*+\)?)"
)
_STRING = r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?"


_OPENING = r"\[({"


def _nested(depth: int, opening: str = _OPENING, repeated: Literal["*", "+"] = "*") -> str:
    """Write what reads brackets within brackets, with strings in them; what lies deeper ends with its line.

    Args:
        depth: Of brackets.
        opening: The outermost ones.
        repeated: Whether these may be empty.
    """
    inner = r"[\[({][^\n]*+"
    for level in range(depth):
        opens, times = (opening, repeated) if level == depth - 1 else (_OPENING, "*")
        inner = rf"[{opens}](?:[^\[\](){{}}\n\"']|{_STRING}|{inner}){times}+[\])}}]?"
    return inner


_BARE = (
    r"((?:[^\s\"'&,;)}\]<>\\]|\\(?![\"'])|[\"')}\]](?=\w)|[<>](?=\w)|;(?![ \t]|[\w.-]{1,64}=|\Z)"
    r"|,(?![ \t]|[\"'\w.-]{1,64}[=:]|\Z)|&(?![\w.\-\[\]%]{1,64}=|\Z)|[;,&](?=[;,&]))++)"
)
_VALUE = rf"{_NOTHING}(?:{_QUOTED}|{_BRACKETED}|{_BARE})"

# fmt: off
_SAID = frozenset({
    "a", "an", "and", "are", "at", "be", "been", "cannot", "change", "changed", "correct", "could", "do", "does",
    "empty", "error", "expected", "expired", "fail", "failed", "field", "for", "from", "has", "have", "hidden",
    "incorrect", "input", "invalid", "is", "it", "least", "length", "less", "long", "longer", "may", "mismatch",
    "missing", "more", "must", "needs", "new", "no", "not", "of", "ok", "old", "only", "optional", "or", "passed",
    "please", "required", "reset", "rotated", "set", "short", "shorter", "should", "string", "the", "this", "too",
    "unchanged", "unknown", "value", "was", "weak", "will", "with", "without", "wrong", "you", "your"
})
# fmt: on
"""Words that go on a sentence after `password:`, and are no password."""


def _source_line(text: str, position: int) -> bool:
    """Tell whether this stands in a line of source that a stack trace shows: below its file, four spaces deep."""
    start = text.rfind("\n", max(0, position - 400), position) + 1
    if not text.startswith("    ", start):
        return False
    above = text.rfind("\n", max(0, start - 500), max(0, start - 1)) + 1
    return text.startswith('  File "', above)


def _assigned(match: re.Match[str], *, words_too: bool) -> bool:
    """Tell whether what stands behind `password:` is a value: no code, and not how a sentence goes on."""
    text, (start, end) = match.string, match.span(group(match))
    if start == end:
        return False
    if text[start - 1] in "\"'":
        return True
    if _source_line(text, start):
        return False
    if text[start - 1] not in " \t" or text[match.start() : start].rstrip(" \t")[-1] != ":":
        return True
    value = text[start:end].rstrip(".!?:")
    return value.lower() not in _SAID if words_too else not value.isalpha() or len(value) >= _LONG_WORD


_LONG_WORD = 20


def _is_assigned(match: re.Match[str]) -> bool:
    return _assigned(match, words_too=True)


def _is_given(match: re.Match[str]) -> bool:
    """Tell whether this is a value that was passed, and not the source that passes it."""
    return not _source_line(match.string, match.start())


def _is_token_assigned(match: re.Match[str]) -> bool:
    return _assigned(match, words_too=False)


# RE2 has no look-around: a value begins with no mark because its first characters are told one by one.
_RE2_LIST = r"\[(?:[^\[\]\nr]|r[^\[\]\ne]|re[^\[\]\nd]|\[[^\[\]\n]*\]?)(?:[^\[\]\n]|\[[^\[\]\n]*\]?)*\]?"
_RE2_QUOTED = (
    r"[burf]{0,2}\"((?:[^\"\\\n]|\\.)+)|[burf]{0,2}'((?:[^'\\\n]|\\.)+)"
    r"|\\{1,7}\"((?:[^\"\\]|\\[^\"\\])+)|\\{1,7}'((?:[^'\\]|\\[^'\\])+)"
)
_RE2_BRACKETED = rf"({_RE2_LIST}|\{{(?:[^{{}}\n]|\{{[^{{}}\n]*\}}?)+\}}?|\((?:[^()\n]|\([^()\n]*\)?)+\)?)"
_RE2_FIRST = r"(?:[^\s\"'&,;()\[\]{}<>\\?]|\?[^\s\"'&,;)}\]<>\\])"
# What follows a comma goes on if no `=` or `:` comes behind it, up to where the text ends or pauses.
_RE2_BARE = (
    rf"({_RE2_FIRST}[^\s\"'&,;)}}\]<>\\]*(?:[,;&][^\s\"'&,;=:)}}\]<>\\]+)+)(?:\z|[\s\"')}}\]<>])"
    rf"|({_RE2_FIRST}[^\s\"'&,;)}}\]<>\\]*)"
)
_RE2_VALUE = rf"(?:{_RE2_QUOTED}|{_RE2_BRACKETED}|{_RE2_BARE})"
_RE2_SEPARATOR = r"(?:\\*[\"'])?\]?[ \t]*(?:=>|:=|=+|:|%3[Dd]|%3[Aa])[ \t]*"


def _plain(words: str) -> str:
    """Say as RE2 knows it that no letter stands before a short word."""
    return words.replace("(?<![a-z])", "(?:^|[^a-z])")


def _assignment(
    name: str, about: str, words: str, hints: tuple[str, ...], *, needs: tuple[str, ...] = _ASSIGNS, strict: bool = True
) -> Rule:
    """Write the rule of `word=value` in all its spellings."""
    key = rf"(?:{words})(?:[_-]?(?:hash|value|confirm(?:ation)?|again|\d{{1,2}}))?"
    return Rule(
        name=name,
        about=about,
        pattern=rf"(?i:{key}{_SEPARATOR}{_VALUE})",
        hints=hints,
        needs=needs,
        check=_is_assigned if strict else _is_token_assigned,
        re2="approximate",
        re2_pattern=rf"(?i:{_plain(key)}){_RE2_SEPARATOR}{_RE2_VALUE}",
    )


def _flag(name: str, about: str, words: str, hints: tuple[str, ...]) -> Rule:
    """Write the rule of `--word value`."""
    return Rule(
        name=name,
        about=about,
        pattern=(
            rf"(?i:--(?:[a-z0-9]{{1,20}}[-_]){{0,4}}(?:{words})[ \t]{{1,8}}+(?!-)"
            r"(?:\"([^\"\n]*+)|'([^'\n]*+)|([^\s\"']++)))"
        ),
        hints=hints,
        needs=_DASHES,
        re2="approximate",
        re2_pattern=rf"(?i:--[a-z0-9_-]*(?:{words}))[ \t]+{_RE2_VALUE}",
    )


_PASSWORD = r"passwords?|passwort|passwd|passphrase|pass[_ -]phrase|passcode|pwd|(?<![a-z])pass|(?<![a-z])pw"  # noqa: S105  a pattern
_PASSWORD_HINTS = ("pass", "pw")
_SECRET = r"secrets?|secret[_-]?(?:access[_-]?)?key"  # noqa: S105  a pattern
_TOKEN = r"token|(?:access|refresh|auth|bearer|api|session|csrf|id)[_-]?tokens"  # noqa: S105  a pattern
_KEY = (
    r"api[_-]?keys?|(?:access|account|private|shared[_-]?access|encryption|signing|auth|master|subscription|license"
    r"|function|host|storage|service|ssh|deploy)[_-]?key|access[_-]?key[_-]?id|accesskeyid|sharedaccesskey"
    r"|shared[_-]?access[_-]?signature"
)
_SESSION = r"session[_-]?(?:id|key)|(?<![a-z])(?:sid|phpsessid|jsessionid|asp\.net_sessionid|connect\.sid)|sessid"
_CODE = r"(?<![a-z])(?:pin|otp|totp|cvv2?|cvc2?|ssn)"
_SIGNATURE = r"x-(?:amz|goog)-(?:signature|credential)|(?<![a-z])sig|(?<![a-z])signature"


def _shape(
    name: str,
    about: str,
    pattern: str,
    *hints: str,
    needs: str | None = None,
    check: Callable[[re.Match[str]], bool] | None = None,
) -> Rule:
    """Write the rule of a key that shows by its shape alone."""
    return Rule(
        name=name,
        about=about,
        pattern=pattern,
        hints=hints,
        needs=() if needs is None else (needs,),
        unbroken=True,
        check=check,
        re2="exact" if check is None else "approximate",
    )


def _has_digit(match: re.Match[str]) -> bool:
    return any(character.isdigit() for character in match.group())


def _is_credential(match: re.Match[str]) -> bool:
    """Tell whether this is what follows `Basic` or `Bearer` in a header, and not in a sentence."""
    value = match.group(group(match))
    if match.group()[:5].lower() == "basic":
        try:
            return b":" in base64.b64decode(value[: len(value) // 4 * 4])
        except ValueError:
            return False
    if value.startswith("HTTP/"):  # the end of a request line: `GET /bearer HTTP/1.1`
        return False
    return len(value) >= _LONG_WORD or any(character.isdigit() for character in value)


# fmt: off
_ISSUERS = (
    # first digits from, to (as many digits as the first has), lengths
    ("4", "4", (13, 16, 19)),                                    # Visa
    ("51", "55", (16,)), ("2221", "2720", (16,)),                # Mastercard
    ("34", "34", (15,)), ("37", "37", (15,)),                    # American Express
    ("6011", "6011", (16, 17, 18, 19)), ("644", "649", (16, 17, 18, 19)), ("65", "65", (16, 17, 18, 19)),  # Discover
    ("300", "305", (14,)), ("36", "36", (14,)), ("38", "39", (14,)),  # Diners Club
    ("3528", "3589", (16, 17, 18, 19)),                          # JCB
    ("62", "62", (16, 17, 18, 19)),                              # UnionPay
    ("5018", "5018", (16, 18, 19)), ("5020", "5020", (16, 18, 19)), ("5038", "5038", (16, 18, 19)),  # Maestro
    ("5893", "5893", (16, 18, 19)), ("6304", "6304", (16, 18, 19)), ("6759", "6763", (16, 18, 19)),
)
# fmt: on


def _is_card(match: re.Match[str]) -> bool:
    """Tell whether digits are a card's number: its issuer, the length the issuer gives out, and Luhn's check digit."""
    digits = match.group().replace(" ", "").replace("-", "")
    if not any(low <= digits[: len(low)] <= high and len(digits) in sizes for low, high, sizes in _ISSUERS):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


_NO_MAIL = frozenset({"git", "celery"})
_NO_DOMAIN = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "html", "json", "service", "socket", "timer", "target"}
)


def _is_mail(match: re.Match[str]) -> bool:
    """Tell whether this is an address, and not a repository, a worker, a unit or a picture for a fine screen."""
    local, _, domain = match.group().replace("%40", "@").rpartition("@")
    return local not in _NO_MAIL and domain.rpartition(".")[2].lower() not in _NO_DOMAIN


_LETTERS = "\u0080-\U0010ffff"  # an address may be written in any script
_MAIL = rf"\w.+'{_LETTERS}-"
_RE2_DOMAIN = rf"[A-Za-z0-9{_LETTERS}](?:[A-Za-z0-9{_LETTERS}-]{{0,62}}\.){{1,8}}[A-Za-z{_LETTERS}]{{2,24}}"
_DOMAIN = rf"{_RE2_DOMAIN}(?![A-Za-z0-9{_LETTERS}])"
_SQLALCHEMY_END = r"(?=\n\[parameters:|\n\[generated|\n\(Background|\n\[cached|\s?\Z)"

RULES: tuple[Rule, ...] = (
    # --- By place ---
    Rule(
        name="url-query",
        about="Values of a URL's query, and its fragment; keys stay, as do the values of allowed ones",
        places=(
            "url.full",
            "url.original",
            "http.url",
            "http.target",
            "http.request.header.referer",
            "http.response.header.location",
            "http.response.header.content-location",
            "http.request.header.origin",
            "http.referer",
            "referer",
            "url.path",
        ),
        reads="url",
    ),
    Rule(name="url-query", about="The same, where the query stands alone", places=("url.query",), reads="query"),
    Rule(
        name="statement",
        about="Literals and comments of a statement, as `?`; all but the first word of what is no SQL",
        places=("db.query.text", "db.statement", "db.query.summary"),
        reads="sql",
    ),
    Rule(
        name="query-parameter",
        about="Values passed to a statement",
        places=(
            "db.query.parameter.*",
            "db.operation.parameter.*",
            "db.statement.parameters",
            "db.query.parameters",
            "db.sql.parameters",
        ),
    ),
    Rule(
        name="task-arguments",
        about="Arguments and results of tasks",
        places=(
            "args",
            "kwargs",
            "task_args",
            "task_kwargs",
            "argsrepr",
            "kwargsrepr",
            "celery.args",
            "celery.kwargs",
            "celery.task_args",
            "celery.task_kwargs",
            "celery.argsrepr",
            "celery.kwargsrepr",
            "celery.result",
            "celery.task.args",
            "celery.task.kwargs",
            "celery.task.result",
        ),
    ),
    Rule(
        name="retry-reason",
        about="Why a task is tried again; the type of its exception stays",
        places=(
            "celery.retry.reason",
            "celery.retry_reason",
            "celery.task.retry_reason",
            "retry.reason",
            "retry_reason",
        ),
        pattern=(
            r"\A(?:Retry (?:in [\w.]{1,20}|at [\w:. +-]{1,40}?|now)(?:: |\Z))?+"
            r"(?:[A-Za-z_][\w.]{0,200}+(?=[(\[]))?+((?s:.+))"
        ),
        re2="approximate",
        re2_pattern=(
            r"\A(?:Retry (?:in [\w.]{1,20}|at [\w:. +-]{1,40}?|now)(?:: |\z))?"
            r"(?:[A-Za-z_][\w.]{0,200}([(\[](?s:.+))|((?s:.+)))"
        ),
    ),
    Rule(
        name="message-body",
        about="Bodies of requests, responses and messages",
        places=(
            "messaging.message.body",
            "http.request.body",
            "http.response.body",
            "http.request.body.content",
            "http.response.body.content",
            "rpc.request.body",
            "rpc.response.body",
            "request.body",
            "response.body",
            "request_body",
            "response_body",
        ),
    ),
    Rule(
        name="command-line",
        about="Arguments of the process, one by one, where a flag does not tell what the next one is",
        places=("process.command_args",),
    ),
    Rule(
        name="baggage",
        about="Values of baggage, passed on by whoever called",
        places=("baggage", "http.request.header.baggage", "http.response.header.baggage"),
        reads="pairs",
    ),
    # --- By key ---
    Rule(
        name="password",
        about="Values under keys that name a password",
        keys=(
            "password",
            "passwords",
            "passwd",
            "passwort",
            "pwd",
            "pw",
            "pass",
            "passphrase",
            "pass phrase",
            "passcode",
        ),
    ),
    Rule(
        name="secret", about="Values under keys that name a secret", keys=("secret", "secrets", "clientsecret", "salt")
    ),
    Rule(
        name="token",
        about="Values under keys that name a token",
        keys=(
            "token",
            "jwt",
            "authtoken",
            "accesstoken",
            "refreshtoken",
            "idtoken",
            "access tokens",
            "refresh tokens",
            "auth tokens",
            "api tokens",
            "bearer",
            "csrf",
            "xsrf",
        ),
    ),
    Rule(
        name="api-key",
        about="Values under keys that name a key",
        keys=(
            "api key",
            "api keys",
            "apikey",
            "apikeys",
            "access key",
            "access key id",
            "accesskey",
            "private key",
            "privatekey",
            "secretkey",
            "account key",
            "encryption key",
            "signing key",
            "auth key",
            "master key",
            "subscription key",
            "license key",
            "ssh key",
            "connection string",
            "conn str",
            "dsn",
        ),
    ),
    Rule(
        name="authorization",
        about="Authorization headers and credentials",
        keys=("authorization", "proxy authorization", "credential", "credentials", "creds"),
    ),
    Rule(name="cookie", about="Cookies", keys=("cookie", "cookies", "cookie2")),
    Rule(
        name="session",
        about="Ids of sessions",
        keys=("session", "sessionid", "sessid", "sid", "phpsessid", "jsessionid"),
    ),
    Rule(
        name="code",
        about="PINs, one-time codes, card codes and social security numbers",
        keys=("pin", "otp", "totp", "cvv", "cvv2", "cvc", "cvc2", "ssn", "security code", "mfa code", "card number"),
    ),
    # --- By pattern: what hides much comes first ---
    Rule(
        name="private-key",
        about="Private keys in PEM, also cut off or on one line",
        pattern=(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]|-(?!----END))*+(?:-----END [^-\n]{0,60}-----)?"
        ),
        hints=("private key",),
        needs=_DASHES,
        re2_pattern=r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-----END [^-\n]{0,60}-----)?",
    ),
    Rule(
        name="statement",
        about="Literals of the statement in an error of SQLAlchemy",
        pattern=rf"\[SQL: ((?s:.*?))\]?{_SQLALCHEMY_END}",
        hints=("[sql: ",),
        needs=_ASSIGNS,
        reads="sql",
        re2_pattern=r"\[SQL: ((?s:.*?))\]?(?:\n\[parameters:|\n\[generated|\n\(Background|\n\[cached|\s?\z)",
    ),
    Rule(
        name="query-parameter",
        about="Parameters in an error of SQLAlchemy",
        pattern=rf"\[parameters: (?!{MARK}\])((?s:.*?))\]?(?=\n\(Background|\n\[SQL:|\n\[cached|\s?\Z)",
        hints=("[parameters: ",),
        needs=_ASSIGNS,
        re2_pattern=r"\[parameters: ((?s:.*?))\]?(?:\n\(Background|\n\[SQL:|\n\[cached|\s?\z)",
    ),
    Rule(
        name="statement",
        about="The line of the statement that PostgreSQL points at; it may be cut anywhere, also inside of a literal",
        pattern=r"(?:\n|\\n)LINE \d{1,6}: ([^\n\\]+)",
        hints=("line ",),
        needs=_ASSIGNS,
    ),
    Rule(
        name="row-value",
        about="Values of a row in an error of PostgreSQL or MySQL",
        pattern=r"\bKey \([^\n]{1,200}?\)=\(((?:[^)\n]|\)(?! (?:already|is not|is still|conflicts)))*+)",
        hints=("key",),
        needs=_ASSIGNS,
        re2_pattern=r"\bKey \([^\n]{1,200}?\)=\(([^\n]*?)\)(?: |\z)",
    ),
    Rule(
        name="row-value",
        about="A row in an error of PostgreSQL",
        pattern=r"Failing row contains \(((?s:.*?))(?:\)\.?(?=\n|\Z)|\Z)",
        hints=("failing row contains (",),
        needs=("(",),
        re2_pattern=r"Failing row contains \(([^\n]*)\)",
    ),
    Rule(
        name="row-value",
        about="A duplicate in an error of MySQL",
        pattern=r"Duplicate entry '((?:[^'\n]|'(?! for key))*+)",
        hints=("duplicate entry '",),
        needs=_QUOTES,
        re2_pattern=r"Duplicate entry '([^\n]*?)' for key",
    ),
    Rule(
        name="query-argument",
        about="An argument in an error of a database driver, of Redis or of a validation",
        pattern=r"invalid input (?:syntax|value) for [^\n:]{1,200}: \"((?:[^\"\n]|\"(?=\w))*+)",
        hints=("invalid input ",),
        needs=_QUOTES,
        re2_pattern=r"invalid input (?:syntax|value) for [^\n:]{1,200}: \"([^\"\n]*)",
    ),
    Rule(
        name="query-argument",
        about="An argument in an error of asyncpg",
        pattern=r"invalid input for query argument \$\d{1,5}: ((?s:.*?)) ?(?=\([^()\n]{1,400}\)(?:\n|\Z)|\n|\Z)",
        hints=("input",),
        needs=_ASSIGNS,
        re2_pattern=(r"invalid input for query argument \$\d{1,5}: ((?s:.*?)) ?(?:\([^()\n]{1,400}\)(?:\n|\z)|\n|\z)"),
    ),
    Rule(
        name="query-argument",
        about="Arguments of a command that Redis does not know",
        pattern=r"with args beginning with: ([^\n]++)",
        hints=("with args beginning with: ",),
        needs=_ASSIGNS,
    ),
    Rule(
        name="query-argument",
        about="A command that Redis does not know, where more than a command may be in it",
        pattern=r"(?i:\bunknown (?:sub)?command:? [\"'`](?![a-z._|]{1,24}[\"'`])([^\"'`\n]++))",
        hints=("command",),
        needs=_QUOTES,
        re2_pattern=r"(?i:\bunknown (?:sub)?command:? [\"'`]([^\"'`\n]*[^\"'`\na-z._|][^\"'`\n]*))",
    ),
    Rule(
        name="query-argument",
        about="Arguments of the command of a pipeline, in an error of redis-py",
        pattern=r"Command # \d{1,9} \((?:[A-Za-z._]{1,24} )?+((?s:.*?))(?:\) of pipeline caused error|\Z)",
        hints=("command # ",),
        needs=("(",),
        re2_pattern=r"Command # \d{1,9} \((?:[A-Za-z._]{1,24} )?((?s:.*?))(?:\) of pipeline caused error|\z)",
    ),
    Rule(
        name="query-argument",
        about="Arguments of a command that a cluster of Redis does not know where to send",
        pattern=r"specifying target nodes\.\\{0,7}\s?n?Command: \((?:'[A-Za-z._]{1,24}', )?+([^\n]++)",
        hints=("specifying target nodes.",),
        needs=_ASSIGNS,
    ),
    Rule(
        name="task-arguments",
        about="Arguments of a call or task, as Celery and many others show them: `args=(...)`, `'kwargs': {...}`",
        pattern=rf"(?<![\w.*])(?:kw)?args(?:repr)?{_SEPARATOR}{_NOTHING}(?:{_QUOTED}|({_nested(6)}))",
        hints=("args",),
        needs=_ASSIGNS,
        check=_is_given,
        re2_pattern=(
            rf"(?:kw)?args(?:repr)?{_RE2_SEPARATOR}"
            rf"(?:{_RE2_QUOTED}|({_RE2_LIST}|{_greedy(_nested(6, '({', '+'))}))"
        ),
    ),
    Rule(
        name="message-body",
        about="What could not be decoded, as Python shows the error",
        pattern=rf"Unicode(?:De|En)codeError\(\\{{0,7}}['\"][\w.-]{{1,40}}\\{{0,7}}['\"], (?:{_QUOTED})",
        hints=("codeerror(",),
        needs=_QUOTES,
        re2_pattern=r"Unicode(?:De|En)codeError\(\\*['\"][\w.-]{1,40}\\*['\"], b?\\*['\"]([^'\"\n]+)",
    ),
    Rule(
        name="validation-input",
        about="The input in an error of pydantic",
        pattern=r"\binput_value=([^\n]*?)(?=, input_type=|\]?\n|\]?\Z)",
        hints=("input",),
        needs=_ASSIGNS,
        re2_pattern=r"\binput_value=([^\n]*?)(?:, input_type=|\]?\n|\]?\z)",
    ),
    Rule(
        name="validation-input",
        about="The input in the errors that FastAPI answers with",
        pattern=rf"[\"']input[\"']: ?(?:{_QUOTED}|{_BRACKETED}|([\w.+-]++))",
        hints=("input",),
        needs=_ASSIGNS,
    ),
    Rule(
        name="url-credentials",
        about="User and password of a URL",
        pattern=(
            r"://(?!git@)("
            r"[^\s/?#\"'<>@:]{0,256}+:(?!\d{1,5}[/?#])[^\s\"'<>@]{0,256}+(?:@[^\s/?#\"'<>@]{0,256}+(?=@)){0,4}+(?=@)"
            r"|[^\s/?#\"'<>@]{1,512}+)@"
        ),
        hints=("://",),
        needs=("@",),
        re2_pattern=(
            r"://([^\s/?#\"'<>@:]*:(?:[^\s\d\"'<>@][^\s\"'<>@]*|\d+[^\s\d/?#\"'<>@][^\s\"'<>@]*|\d*)"
            r"(?:@[^\s/?#\"'<>@]*)*|[^\s/?#\"'<>@]+)@"
        ),
    ),
    Rule(
        name="url-credentials",
        about="User and password of Oracle's JDBC URL",
        pattern=r"(?i:jdbc:oracle:\w{1,10}):([^\s/@]{1,128}+/[^\s@]{1,128}+)@",
        hints=("jdbc:oracle:",),
        needs=("@",),
        re2="exact",
    ),
    Rule(
        name="url-query",
        about="Values of a query within a text",
        pattern=r"(\?[^\s\"'<>?#=&():,\\]{1,128}+=[^\s\"'<>]*+)",
        hints=("?",),
        needs=_ASSIGNS,
        reads="url",
    ),
    Rule(
        name="authorization",
        about="Authorization headers in a text",
        pattern=(
            rf"(?i:authorization{_SEPARATOR}{_NOTHING}(?:{_QUOTED}|"
            r"((?:(?:bearer|basic|digest|token|apikey|negotiate|ntlm|key)[ \t]++)?[^\s\"',;)}\]]++)))"
        ),
        hints=("authorization",),
        needs=_ASSIGNS,
        check=_is_token_assigned,
        re2_pattern=(
            rf"(?i:authorization){_RE2_SEPARATOR}(?:{_RE2_QUOTED}"
            r"|((?:(?i:bearer|basic|digest|token|apikey|negotiate|ntlm|key)[ \t]+)?[^\s\"',;)}\]\[]+))"
        ),
    ),
    Rule(
        name="authorization",
        about="Credentials behind the name of a scheme",
        pattern=r"(?i:\b(?:bearer|basic)(?:[ \t]++|%20)([\w.~+/-]{6,}+={0,3}+(?!\w)))",
        hints=("bearer", "basic"),
        check=_is_credential,
        re2_pattern=(
            r"(?i:(?:^|[^\w/])(?:bearer|basic)(?:[ \t]+|%20)"
            r"([\w.~+/=-]{6,}\d[\w.~+/=-]*|[\w.~+/=-]*\d[\w.~+/=-]{6,}|[\w.~+/=-]{20,}))"
        ),
    ),
    Rule(
        name="authorization",
        about="What HTTP digest and AWS signatures send",
        pattern=r"(?i:\b(?:digest[ \t]++(?=\w{1,20}=)|aws4-hmac-sha256[ \t]++(?=credential))([^\r\n]++))",
        hints=("digest ", "credential"),
        needs=_ASSIGNS,
        re2_pattern=r"(?i:\b(?:digest[ \t]+(\w{1,20}=[^\r\n]+)|aws4-hmac-sha256[ \t]+(credential[^\r\n]+)))",
    ),
    Rule(
        name="cookie",
        about="Cookie headers in a text",
        pattern=rf"(?i:cookies?{_SEPARATOR}{_NOTHING}(?:{_QUOTED}|{_BRACKETED}|([^\s\"'=]{{1,256}}+=[^\r\n\"']++|[^\s\"',;&]++)))",
        hints=("cookie",),
        needs=_ASSIGNS,
        check=_is_token_assigned,
        re2_pattern=(
            rf"(?i:cookies?){_RE2_SEPARATOR}(?:{_RE2_QUOTED}|{_RE2_BRACKETED}"
            r"|([^\s\"'=\[]{1,256}=[^\r\n\"']+|[^\s\"',;&\[]+))"
        ),
    ),
    Rule(
        name="header",
        about="A pair of a secret header, as ASGI and WSGI servers hold it",
        pattern=(
            r"(?i:[(\[]b?[\"'](?:authorization|proxy-authorization|cookie|set-cookie|[\w-]{0,40}(?:password|secret|token"
            r"|api-?key))[\"'], ?(?:b?\"([^\"\n]*+)|b?'([^'\n]*+))[\"'][)\]])"
        ),
        hints=("authorization", "cookie", "password", "secret", "token", "api-key", "apikey"),
        needs=_QUOTES,
    ),
    _assignment("password", 'Passwords in a text: `password=...`, `"pwd": "..."`', _PASSWORD, _PASSWORD_HINTS),
    _assignment("secret", "Secrets in a text, in the same forms", _SECRET, ("secret",)),
    _assignment("token", "Tokens in a text, in the same forms", _TOKEN, ("token",), strict=False),
    _assignment("api-key", "Keys in a text, in the same forms", _KEY, ("key", "sig"), strict=False),
    _assignment("session", "Ids of sessions in a text, in the same forms", _SESSION, ("sess", "sid"), strict=False),
    _assignment(
        "code", "PINs and codes in a text, in the same forms", _CODE, ("pin", "otp", "cv", "ssn"), strict=False
    ),
    _assignment("signature", "Signatures of signed URLs", _SIGNATURE, ("sig", "credential"), strict=False),
    Rule(
        name="password",
        about="Passwords in quotes: `password 'hunter2'`",
        pattern=(
            r"(?i:\b(?:password|passphrase|passwd|pwd)(?:[ \t]{1,8}(?:is|was|of))?[ \t]{1,8}"
            r"(?:\"([^\"\n]+)\"|'([^'\n]+)'|`([^`\n]+)`))"
        ),
        hints=("password", "passphrase", "passwd", "pwd"),
        needs=_QUOTES,
        re2="exact",
    ),
    Rule(
        name="password",
        about="Passwords as the content of an element",
        pattern=r"(?i:<(?:\w{1,20}:)?\w{0,40}(?:password|passwd|secret|token|api-?key)(?: [^<>]{0,200})?>([^<>]++)</)",
        hints=("password", "passwd", "secret", "token", "apikey", "api-key"),
        needs=("</",),
        re2="exact",
    ),
    _flag("password", "Flags of a command line", r"password|passwd|passphrase|pass|pwd", _PASSWORD_HINTS),
    _flag(
        "token",
        "Flags of a command line",
        r"token|secret|api[-_]?key|access[-_]?key|secret[-_]?key",
        ("token", "secret", "key"),
    ),
    Rule(
        name="password",
        about="User and password of curl, password of mysql",
        pattern=(
            r"\b(?:curl\b[^\n]{0,200}? (?:-u|--user)[ =]?([^\s:]{1,128}+:\S++)"
            r"|mysql\w{0,10}\b[^\n]{0,200}? -p(\S++))"
        ),
        hints=("curl", "mysql"),
        needs=_DASHES,
    ),
    _shape("jwt", "JSON web tokens", r"\beyJ[\w-]{10,}\.[\w-]{8,}(?:\.[\w-]*){0,3}", "eyJ"),
    _shape("aws-key", "Access key ids of AWS", r"\bA(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}\b", "AKIA", "ASIA", "ABIA", "ACCA"),
    _shape(
        "github-token",
        "Tokens of GitHub",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255})",
        *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    ),
    _shape(
        "gitlab-token",
        "Tokens of GitLab",
        r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt)-[\w.-]{20,}",
        *("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glagent-", "gloas-", "glimt-"),
    ),
    _shape("slack-token", "Tokens of Slack", r"\b(?:xox[abeoprs]-|xapp-\d-)[\w-]{16,}", "xox", "xapp-", needs="-"),
    _shape(
        "webhook",
        "Webhook URLs of Slack, Discord and Teams",
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks"
        r"|webhook\.office\.com/webhookb2)/([\w/@.-]+)",
        *("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"),
        needs="/",
    ),
    _shape(
        "stripe-key",
        "Keys of Stripe",
        r"\b(?:[sr]k_(?:live|test)_[A-Za-z0-9]{12,}|whsec_[A-Za-z0-9+/=]{16,})",
        *("k_live_", "k_test_", "whsec_"),
    ),
    _shape(
        "google-key",
        "Keys and tokens of Google",
        r"\b(?:AIza[\w-]{35}|ya29\.[\w.-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{30,})",
        *("AIza", "ya29.", "GOCSPX-", "1//0"),
    ),
    _shape("ai-key", "Keys of OpenAI, Anthropic and others", r"\bsk-[\w-]{20,}", "sk-", check=_has_digit),
    _shape(
        "ai-key",
        "Tokens of Hugging Face, Groq, Replicate and Perplexity",
        r"\b(?:hf_|gsk_|r8_|pplx-)[A-Za-z0-9]{30,}",
        *("hf_", "gsk_", "r8_", "pplx-"),
    ),
    _shape(
        "registry-token",
        "Tokens of npm, PyPI, RubyGems and Docker",
        r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|rubygems_[a-f0-9]{40,}|dckr_pat_[\w-]{20,})",
        *("npm_", "pypi-", "rubygems_", "dckr_pat_"),
    ),
    _shape(
        "mail-key",
        "Keys of SendGrid, Mailgun and Brevo",
        r"\b(?:SG\.[\w-]{16,64}\.[\w-]{16,64}|key-[0-9a-f]{32}\b|xkeysib-[a-f0-9]{40,}[\w-]*)",
        *("SG.", "key-", "xkeysib-"),
    ),
    _shape("twilio-key", "Keys of Twilio", r"\bSK[0-9a-f]{32}\b", "SK"),
    _shape("telegram-token", "Tokens of Telegram's bots", r"\b\d{8,10}:AA[\w-]{32,34}", ":AA"),
    _shape("vault-token", "Tokens of HashiCorp Vault", r"\bhv[sbr]\.[\w-]{20,}", "hvs.", "hvb.", "hvr."),
    _shape("databricks-token", "Tokens of Databricks", r"\bdapi[0-9a-f]{32}(?:-\d{1,2})?\b", "dapi"),
    _shape(
        "cloud-token",
        "Tokens of DigitalOcean, Shopify, Grafana, Sentry, Atlassian, Tailscale and others",
        r"\b(?:do[opr]_v1_[a-f0-9]{40,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|gl(?:c|sa)_[\w+/=]{20,}|sntry[su]_[\w+/=-]{20,}"
        r"|lin_api_[A-Za-z0-9]{32,}|sbp_[a-f0-9]{40}|pscale_(?:pw|tkn)_[\w.-]{20,}|figd_[\w-]{20,})",
        *("_v1_", "shp", "glc_", "glsa_", "sntry", "lin_api_", "sbp_", "pscale_", "figd_"),
        needs="_",
    ),
    _shape(
        "cloud-token",
        "Tokens of Atlassian, Tailscale, New Relic and Postman",
        r"\b(?:AT[AC]TT3x[\w=-]{20,}|tskey-[a-z]+-[\w-]{16,}|NRAK-[A-Z0-9]{27}|PMAK-[\w-]{20,})",
        *("TT3x", "tskey-", "NRAK-", "PMAK-"),
    ),
    _shape("private-key", "Secret keys of age", r"\bAGE-SECRET-KEY-1[0-9A-Z]{20,80}", "AGE-SECRET-KEY-1"),
    _shape(
        "authorization",
        "Kerberos and NTLM",
        r"(?i:\b(?:negotiate|ntlm)[ \t]+([\w+/=-]{20,}))",
        *("egotiate ", "NTLM ", "EGOTIATE "),
    ),
    Rule(
        name="email",
        about="E-mail addresses",
        pattern=rf"(?<![{_MAIL}%])[{_MAIL}%]++@(?!\d+\.\d){_DOMAIN}",
        hints=("@",),
        check=_is_mail,
        re2_pattern=rf"[{_MAIL}%]+@{_RE2_DOMAIN}",
    ),
    Rule(
        name="email",
        about="E-mail addresses in a URL's encoding",
        pattern=rf"(?<![{_MAIL}])[{_MAIL}]++%40(?!\d+\.\d){_DOMAIN}",
        hints=("%40",),
        check=_is_mail,
        re2_pattern=rf"[{_MAIL}]+%40{_RE2_DOMAIN}",
    ),
    Rule(
        name="card-number",
        about="Card numbers: issuer, length and check digit are right",
        pattern=(
            r"[2-6](?<![A-Za-z0-9.].)"
            r"(?:\d{12,18}|\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}(?:[ -]\d{3})?|\d{3}[ -]\d{6}[ -]\d{4,5})"
            r"(?![A-Za-z0-9]|[.,-]\d)"
        ),
        check=_is_card,
        re2_pattern=(
            r"(?:^|[^A-Za-z0-9.])"
            r"([2-6]\d{12,18}|[2-6]\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}(?:[ -]\d{3})?|3\d{3}[ -]\d{6}[ -]\d{4,5})\b"
        ),
    ),
)
"""All rules, in the order in which they are tried."""
