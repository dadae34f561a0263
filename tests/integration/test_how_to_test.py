"""The page about testing telemetry: its own code, run as it stands there, and the failures that it shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.processes import PYTHON, clean_environment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "test-telemetry.md"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the page's files, each under the name in its first line."""
    for text in blocks("python"):
        (tmp_path / text.partition("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Run pytest there, as a reader would, and return what it printed with its exit status."""
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=clean_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


def test_the_pages_tests_pass(folder: Path) -> None:
    # The factory's tests in a run of their own: in a process that has configured telemetry before, nobody joins.
    for names, passed in (("test_orders.py test_budget.py test_plain.py", 4), ("test_factory.py", 2)):
        printed = run(folder, *names.split())
        assert f"\n{passed} passed" in printed, printed
        assert "\nexit 0" in printed


def test_it_fails_with_the_texts_that_the_page_shows(folder: Path) -> None:
    missing, budget = blocks("text")
    tests = (folder / "test_orders.py").read_text(encoding="utf-8")
    (folder / "test_orders.py").write_text(
        tests + "\n\ndef test_shipped(captel, client):\n"
        '    client.post("/orders/7?card=1")\n    captel.log("order.shipped")\n',
        encoding="utf-8",
    )
    text = (folder / "test_budget.py").read_text(encoding="utf-8")
    (folder / "test_budget.py").write_text(
        f'{text}    for _ in range(5):\n        client.post("/orders/7?card=1")\n', encoding="utf-8"
    )
    printed = run(folder, "-k", "shipped or cheap")
    assert "2 failed" in printed, printed
    assert [line for line in f"{missing}{budget}".splitlines() if line.rstrip("…") not in printed] == [], printed
