"""The variables that otelkit writes, and gives back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from otelkit import _environment
from otelkit.settings import Settings


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"http", "database"}),
        ("messaging", {"messaging", "http", "database"}),
        ("http/dup", {"http/dup", "database"}),
        ("http,database", {"http", "database"}),
    ],
)
def test_stable_conventions_are_added(monkeypatch: pytest.MonkeyPatch, before: str | None, after: set[str]) -> None:
    variables = {} if before is None else {"OTEL_SEMCONV_STABILITY_OPT_IN": before}
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", before or "")
    _environment.opt_into_stable_conventions(Settings(environ=variables))
    assert set(os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"].split(",")) == after


@pytest.mark.parametrize("mine", [None, "redis,httpx"])
def test_no_child_inherits_the_hold_on_instrumentors(monkeypatch: pytest.MonkeyPatch, mine: str | None) -> None:
    name = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    monkeypatch.delenv(name, raising=False)
    if mine is not None:
        monkeypatch.setenv(name, mine)
    _environment.hold_instrumentors_back()
    _environment.hold_instrumentors_back()
    assert os.environ[name] == "*"
    _environment.give_instrumentors_back()
    assert os.environ.get(name) == mine


def test_a_child_starts_with_our_distro_and_the_user_s_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/launcher", "/mine"]))
    child = _environment.for_child(Settings(environ={}), "/launcher")
    assert child["OTEL_PYTHON_DISTRO"] == child["OTEL_PYTHON_CONFIGURATOR"] == "otelkit"
    assert child["PYTHONPATH"].split(os.pathsep) == ["/launcher", os.getcwd(), "/mine"]  # noqa: PTH109  as the code does


def test_a_child_gets_propagators_it_can_be_imported_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontxt")
    child = _environment.for_child(Settings(), "/launcher")
    assert child["OTEL_PROPAGATORS"] == "tracecontext,baggage"


def test_a_wrong_propagator_does_not_keep_the_api_from_being_imported() -> None:
    program = (
        "from otelkit import _environment\n"
        "from otelkit.settings import Settings\n"
        "_environment.make_packages_importable(Settings())\n"
        "from opentelemetry.propagate import get_global_textmap\n"
        "print(sorted(get_global_textmap().fields))\n"
    )
    environment = os.environ | {"OTEL_PROPAGATORS": "tracecontxt"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['baggage', 'traceparent', 'tracestate']"
    assert ran.stderr == ""


def test_a_wrong_count_does_not_keep_the_sdk_from_being_imported() -> None:
    program = (
        "from otelkit import _environment\n"
        "from otelkit.settings import Settings\n"
        "_environment.make_packages_importable(Settings())\n"
        "from opentelemetry.sdk.trace import SPAN_ATTRIBUTE_COUNT_LIMIT\n"
        "print(SPAN_ATTRIBUTE_COUNT_LIMIT)\n"
    )
    environment = os.environ | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("128\n", "")
