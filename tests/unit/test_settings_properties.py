"""The only place for what holds of `Settings` whatever it is given: precedence, no exception, one line, no secret."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelkit._variables import VARIABLES
from otelkit.errors import SettingsError
from otelkit.settings import Settings

patient = settings(deadline=None)  # machines that run tests are busy

NAMES = [row.name for row in VARIABLES if "<" not in row.name]

# What a variable can hold: no NUL and, from an operating system, bytes that are not UTF-8 as lone surrogates.
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=30) | st.sampled_from(
    [
        "foo",
        "-1",
        "0",
        "true",
        "none",
        "7",
        "1e3",
        "a=b,c",
        "otlp,foo",
        "http://h",
        "grpc",
        "(",
        "%ff",
        ",",
        "=",
        "@",
        "[[a]",
        "\udce9",
        "x" * 100_000,
        "9" * 400,
    ]
)
ENVIRONMENTS = st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=8)

MILLISECONDS = st.integers(1, 10**7)


@patient
@given(argument=st.none() | MILLISECONDS, variable=st.none() | MILLISECONDS)
def test_precedence(argument: int | None, variable: int | None) -> None:
    environ = {} if variable is None else {"OTEL_BLRP_SCHEDULE_DELAY": str(variable)}
    made = Settings(environ=environ) if argument is None else Settings(log_delay=argument / 1000, environ=environ)
    expected = [(argument, "argument"), (variable, "OTEL_BLRP_SCHEDULE_DELAY"), (200, "default")]
    value, origin = next((value, origin) for value, origin in expected if value is not None)
    assert made.log_delay * 1000 == pytest.approx(value)
    assert made.origin("log_delay") == origin


@patient
@given(
    argument=st.none() | st.sampled_from(["none", "gzip", "deflate"]),
    own=st.none() | st.sampled_from(["none", "gzip", "deflate", "foo"]),
    general=st.none() | st.sampled_from(["none", "gzip", "deflate", "foo"]),
)
def test_precedence_of_a_signals_own_variable(argument: str | None, own: str | None, general: str | None) -> None:
    given_variables = {
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": own,
        "OTEL_EXPORTER_OTLP_COMPRESSION": general,
    }
    environ = {name: value for name, value in given_variables.items() if value}
    made = Settings(compression=argument, environ=environ) if argument else Settings(environ=environ)
    assert made.logs.compression == next(word for word in (argument, own, general, "none") if word not in {None, "foo"})
    wrong = {name for name, value in environ.items() if value == "foo"}
    assert {line.partition(":")[0] for line in made.problems} == (set() if argument else wrong)


@patient
@given(environ=ENVIRONMENTS)
def test_no_variable_ever_raises_and_each_has_one_line_at_most(environ: dict[str, str]) -> None:
    made = Settings(environ=environ)
    named = Counter(line.partition(":")[0] for line in made.problems)
    assert set(named) <= set(environ)
    assert all(count == 1 for count in named.values())
    assert all(line.isprintable() for line in made.problems)
    assert made == Settings(environ=environ)
    assert hash(made) == hash(Settings(environ=environ))


# Long enough to be no part of anything else, with what breaks URLs and lists when it is not percent-encoded.
SECRETS = st.text(st.sampled_from("abcXYZ019_-.~!$&'()*+,;=:@/?#[]% \u00e9\ud800"), min_size=0, max_size=12).map(
    lambda tail: f"S3cr3t{tail}"
)
MARK = "S3cr3t"


def leaks(text: str) -> bool:
    return MARK.lower() in text.lower()


URLS = st.sampled_from(
    [
        "http://user:{}@collector:4318",
        "https://{}@collector",
        "https://{}:{}@collector:notaport/path",
        "http://user:{}@",
        "http://user:{}@[::1",
        "http://user:{}@collector:99999",
        "http://user:1{}@collector",
        "user:{}@collector:4317",
        "https:/user:{}@collector",
        "ftp://user:{}@collector",
        "http://us er:{}@collector",
        "dns://user:{}@collector/x",
        "https://collector:4317?key={}",
        "https://collector/v1/traces?key={}#{}",
        "https://collector#{}",
        "collector?key={}",
    ]
)
HEADERS = st.sampled_from(
    [
        "api-key={}",
        "authorization=Bearer%20{}",
        "api-key={},garbage",
        "{}",
        "={}",
        "{}=",
        "{}==",
        "api key={}",
        "api-key={}\u00e9",
        "ok=1,api-key=\r\n{}",
    ]
)
FILES = st.sampled_from(
    ["-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQ {}=="]
)
SIGNAL = st.sampled_from(["", "TRACES_", "METRICS_", "LOGS_"])


@st.composite
def planted(draw: st.DrawFn) -> dict[str, str]:
    """Variables with secrets in them, right and wrong, among others that are wrong."""
    environ = draw(ENVIRONMENTS)
    for suffix, templates in (
        ("ENDPOINT", URLS),
        ("HEADERS", HEADERS),
        ("CERTIFICATE", FILES),
        ("CLIENT_KEY", FILES),
        ("CLIENT_CERTIFICATE", FILES),
    ):
        if draw(st.booleans()):
            template, secret = draw(templates), draw(SECRETS)
            if suffix == "HEADERS" and template.startswith("{}"):
                secret = secret.replace("=", "")  # what stands before an = is a name, and names are shown
            environ[f"OTEL_EXPORTER_OTLP_{draw(SIGNAL)}{suffix}"] = template.replace("{}", secret)
    return environ


@patient
@given(environ=planted(), protocol=st.sampled_from(["http/protobuf", "grpc", "foo"]))
def test_no_secret_of_a_variable_is_ever_shown(environ: dict[str, str], protocol: str) -> None:
    made = Settings(environ=environ | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    signals = (made.traces, made.metrics, made.logs)
    said = [
        repr(made),
        str(made),
        *made.problems,
        *made.differences(Settings(environ={})),
        *(part for signal in signals for part in (repr(signal), signal.shown_endpoint, signal.degraded or "")),
    ]
    assert not [text for text in said if leaks(text)]


@patient
@given(data=st.data())
def test_no_secret_of_an_argument_is_ever_shown(data: st.DataObject) -> None:
    secret = data.draw(SECRETS)
    arguments: dict[str, Any] = {
        "endpoint": data.draw(URLS).replace("{}", secret),
        "headers": data.draw(
            st.sampled_from(
                [
                    {"api-key": secret},
                    {"api key": secret},
                    {"x": f"{secret}\n"},
                    {secret: ""},
                    {"x": [secret]},
                    secret,
                    [secret],
                ]
            )
        ),
        "client_key": f"-----BEGIN PRIVATE KEY-----\n{secret}",
        "certificate": [secret],
        "sampler": data.draw(st.sampled_from(["foo", "always_on"])),
    }
    chosen = data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1))
    try:
        made = Settings(environ={}, **{name: arguments[name] for name in chosen})
    except SettingsError as error:
        said = f"{error!r} {error} {error.problems} {error.__cause__} {error.__context__}"
    else:
        said = f"{made!r} {made.problems}"
    assert not leaks(said)
