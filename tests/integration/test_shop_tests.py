"""The only place that runs the example shop's own tests, as a user does: in a process of their own."""

from __future__ import annotations

from pathlib import Path

from support.processes import PYTHON, run

ROOT = Path(__file__).resolve().parents[2]


def test_the_shops_own_tests_pass(tmp_path: Path) -> None:
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    own = str(ROOT / "examples" / "shop" / "tests")
    told = "ignore:Using `httpx` with"  # Starlette's client for tests, of its own doing
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", told, f"--rootdir={ROOT}", config, own]
    tests = run(command, folder=tmp_path, env={"TMPDIR": str(tmp_path)}, within=300)
    assert tests.returncode == 0, tests.stdout
    assert " passed in " in tests.stdout
    assert [left for left in tmp_path.iterdir() if left.is_dir() and left.name.startswith("shop-tests-")] == []
