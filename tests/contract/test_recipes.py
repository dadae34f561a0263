"""The recipes do what they say: code runs, configurations hold, what no program here can prove is called unproven."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import lanes, overlays
from support.processes import PYTHON, clean_environment, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/recipes.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)+)", PAGE, re.MULTILINE))
CODE = [
    (title, block) for title, text in SECTIONS.items() for block in re.findall(r"```python\n(.+?)```", text, re.DOTALL)
]
CONFIGS = {title: yaml.safe_load(found[1]) for title, text in SECTIONS.items()
           if (found := re.search(r"```yaml\n(.+?)```", text, re.DOTALL))}  # fmt: skip
BUILT = yaml.safe_load((ROOT / "collector/builder.yaml").read_text(encoding="utf-8"))
CONTRIB = (ROOT / f"collector/distribution/contrib-{BUILT['dist']['version']}.txt").read_text(encoding="utf-8")
LANE = "validators"

every_config = pytest.mark.parametrize("title", CONFIGS)


def modules(config: dict[str, Any]) -> set[str]:
    """Return the modules of a configuration's receivers."""
    return {f"{name.partition('/')[0].replace('_', '')}receiver" for name in config["receivers"]}


def built() -> set[str]:
    return {each["gomod"].partition(" ")[0].rpartition("/")[2] for each in BUILT["receivers"]}


def test_the_table_leads_to_every_recipe() -> None:
    def anchor(title: str) -> str:
        return re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-")

    assert re.findall(r"\]\(#([a-z-]+)\) \|", PAGE) == [anchor(title) for title in SECTIONS]


@pytest.mark.parametrize("block", [block for _, block in CODE], ids=[title for title, _ in CODE])
def test_the_code_runs_without_a_complaint(block: str, tmp_path: Path) -> None:
    ended = run([PYTHON, "-W", "error", "-c", block], folder=tmp_path, env=clean_environment())
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


@every_config
def test_a_component_is_in_contrib_and_called_unproven_where_it_is_not_in_the_slim_collector(title: str) -> None:
    used = modules(CONFIGS[title])
    assert all(f"/receiver/{module} v" in CONTRIB for module in used)
    assert ("**Unproven.**" in SECTIONS[title]) is not (used <= built())


@every_config
def test_a_pipeline_keeps_what_it_had(title: str) -> None:
    base = overlays.merged()["service"]["pipelines"]
    for name, pipeline in CONFIGS[title]["service"]["pipelines"].items():
        added = [each for each in pipeline["receivers"] if each not in base[name]["receivers"]]
        assert pipeline["receivers"] == [*base[name]["receivers"], *added]
        assert set(added) <= set(CONFIGS[title]["receivers"])
        assert list(pipeline) == ["receivers"]


@every_config
def test_the_collector_takes_what_it_has_the_components_of(title: str, tmp_path: Path) -> None:
    if not modules(CONFIGS[title]) <= built():
        assert "**Unproven.**" in SECTIONS[title]
        return
    program = shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if program is None:
        lanes.skipped(LANE, "not on PATH: otelcol-contrib or otelcol")
        pytest.skip("no Collector")
    lanes.ran(LANE)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(CONFIGS[title]), encoding="utf-8")
    configs = [f"--config={path}" for path in (*overlays.BASE, file)]
    judged = run([program, "validate", *configs], folder=tmp_path, env=clean_environment())
    assert judged.returncode == 0, judged.stderr
