"""Which contrib instrumentors are loaded, and why the others are not."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from otelkit.integrations import Verdict, _contrib


class Instrumentor:
    """Counts as upstream's do: an instance per process that knows whether it acted."""

    is_instrumented_by_opentelemetry = False
    calls: ClassVar[list[dict[str, object]]] = []

    def instrument(self, **kwargs: object) -> None:
        type(self).calls.append(kwargs)


class Broken(Instrumentor):
    """Raises when it should act."""

    def instrument(self, **kwargs: object) -> None:  # noqa: ARG002  upstream's signature
        message = "does not fit"
        raise RuntimeError(message)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, EntryPoint]:
    """Replace what is installed by entry points of this file."""
    Instrumentor.calls = []
    entry_points = {
        name: EntryPoint(name, f"{__name__}:{kind.__name__}", "opentelemetry_instrumentor")
        for name, kind in (("good", Instrumentor), ("bad", Broken), ("click", Instrumentor), ("ours", Instrumentor))
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    monkeypatch.setattr(_contrib, "available", lambda: entry_points)
    return entry_points


def _this_module() -> object:
    return type("Module", (), {"Instrumentor": Instrumentor, "Broken": Broken})


def load(
    asked: dict[str, object] | None = None,
    disabled: frozenset[str] = frozenset(),
    replaced: dict[str, str] | None = None,
) -> dict[str, Verdict]:
    def late(verdict: Verdict) -> None:
        pytest.fail(f"decided only later: {verdict}")

    verdicts = _contrib.load(asked or {}, disabled, replaced or {}, late)
    return {verdict.integration: verdict for verdict in verdicts}


@pytest.mark.usefixtures("offered")
def test_one_that_fails_costs_itself_only() -> None:
    verdicts = load()
    assert verdicts["good"].choice == "contrib"
    assert verdicts["bad"] == Verdict(integration="bad", choice="skipped", reason="RuntimeError: does not fit")
    assert Instrumentor.calls == [{"skip_dep_check": True}] * 2


@pytest.mark.usefixtures("offered")
def test_a_harmful_one_is_declined_unless_asked_for() -> None:
    assert load()["click"].choice == "skipped"
    assert "E-50" in load()["click"].reason
    assert load({"click": True})["click"].choice == "contrib"


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("disabled", ["good", "*"])
def test_the_launcher_s_variable_switches_off(disabled: str) -> None:
    verdict = load(disabled=frozenset({disabled}))["good"]
    assert (verdict.choice, verdict.wanted) == ("skipped", False)
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS" in verdict.reason


@pytest.mark.usefixtures("offered")
def test_false_switches_off() -> None:
    assert load({"good": False})["good"].choice == "skipped"


@pytest.mark.usefixtures("offered")
def test_one_that_would_double_ours_is_declined_and_says_so() -> None:
    verdicts = load(replaced={"good": "sqlalchemy", "ours": "ours"})
    assert "ours" not in verdicts  # our integration of that name has given the verdict
    assert "sqlalchemy integration already traces" in verdicts["good"].reason


def test_an_instrumentor_waits_for_the_program_s_own_import() -> None:
    program = (
        "import json, sys\n"
        "from otelkit.integrations import _contrib\n"
        "verdicts = _contrib.load({}, frozenset(), {}, print)\n"
        "before = 'httpx' in sys.modules\n"
        "import httpx\n"
        "from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor\n"
        "print(json.dumps({'before': before,\n"
        "    'after': HTTPXClientInstrumentor().is_instrumented_by_opentelemetry,\n"
        "    'httpx': [v.reason for v in verdicts if v.integration == 'httpx'][0],\n"
        "    'httpx2': [(v.choice, v.wanted) for v in verdicts if v.integration == 'httpx2']}))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(answer.stdout)
    assert told["before"] is False
    assert told["after"] is True
    assert "acts on `import httpx`" in told["httpx"]
    # Contrib's httpx package offers it since 0.65b0; httpx2 itself is not installed.
    assert told["httpx2"] in ([], [["skipped", False]])
