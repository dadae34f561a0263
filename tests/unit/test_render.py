"""How generated files are written, compared and removed, and what of a folder is somebody's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otelkit._variables import OWN_DEFAULTS, VARIABLES
from otelkit.ops import mixin, render
from otelkit.ops._settings_pages import render_settings_reference

ROOT = Path(__file__).resolve().parents[2]
FILES = render.generated(ROOT, mixin.Inputs())
RULES = "deploy/prometheus/rules/http.yaml"


def differing(root: Path) -> list[str]:
    return [each.path for each in render.differences(root, FILES)]


def test_write_makes_what_is_compared(tmp_path: Path) -> None:
    changes = render.differences(tmp_path, FILES)
    assert [each.path for each in changes] == list(FILES)
    render.write(tmp_path, changes)
    assert differing(tmp_path) == []


def test_a_file_that_somebody_edited_is_named(tmp_path: Path) -> None:
    render.write(tmp_path, render.differences(tmp_path, FILES))
    (tmp_path / RULES).write_text(FILES[RULES] + "# by hand\n", encoding="utf-8")
    (tmp_path / "docs/reference/settings.md").unlink()
    assert sorted(differing(tmp_path)) == [RULES, "docs/reference/settings.md"]


def test_what_nothing_makes_any_more_is_removed_if_it_was_generated(tmp_path: Path) -> None:
    render.write(tmp_path, render.differences(tmp_path, FILES))
    boards, rules = tmp_path / "deploy/grafana/dashboards", tmp_path / "deploy/prometheus/rules"
    (boards / "gone.json").write_text('{"uid": "otelkit-gone"}', encoding="utf-8")
    (rules / "gone.yaml").write_text(f"# Of old. {mixin.MARK} from somewhere.\n", encoding="utf-8")
    (boards / "own.json").write_text('{"uid": "mine"}', encoding="utf-8")
    (rules / "own.yaml").write_text("groups: []\n", encoding="utf-8")
    (boards / "own.png").write_bytes(b"\x89PNG\xff")
    assert differing(tmp_path) == ["deploy/grafana/dashboards/gone.json", "deploy/prometheus/rules/gone.yaml"]
    render.write(tmp_path, render.differences(tmp_path, FILES))
    assert differing(tmp_path) == []
    assert {file.name for file in boards.iterdir()} >= {"own.json", "own.png"}
    assert (rules / "own.yaml").is_file()


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / RULES).parent.mkdir(parents=True)
    (tmp_path / RULES).write_text("groups: []\n", encoding="utf-8")
    with pytest.raises(FileExistsError, match=RULES):
        differing(tmp_path)


def test_parameters_belong_to_who_chooses_something(tmp_path: Path) -> None:
    file = tmp_path / render.PARAMETERS
    file.parent.mkdir(parents=True)
    file.write_text(f"# {mixin.MARK} of an older version\n", encoding="utf-8")
    assert render.PARAMETERS in differing(tmp_path)
    for own in (f"# {mixin.MARK}\npage_environments = []\n", "# a note of mine\n", "broken"):
        file.write_text(own, encoding="utf-8")
        assert render.PARAMETERS not in differing(tmp_path)


def test_otelkits_own_pages_are_made_in_its_checkout_only(tmp_path: Path) -> None:
    assert set(render.RENDERERS) <= set(FILES)
    elsewhere = set(render.generated(tmp_path, mixin.Inputs()))
    assert elsewhere == {*FILES, render.TEMPLATE} - set(render.RENDERERS)
    assert {path.partition("/")[0] for path in elsewhere} <= {"deploy", "docs"}


def test_every_generated_file_is_known_as_such_and_where_stale_ones_are_looked_for() -> None:
    unmarked = [
        path for path, text in FILES.items() if mixin.MARK not in text[:1000] and '"uid": "otelkit-' not in text
    ]
    assert unmarked == []
    made = {path.rpartition("/")[0] for path in mixin.render(mixin.Inputs()) if path != render.PARAMETERS}
    assert made <= set(mixin.FOLDERS)


def test_the_same_bytes_are_made_by_every_process() -> None:
    digest = (
        "import hashlib, pathlib; from otelkit.ops import mixin, render\n"
        f"files = render.generated(pathlib.Path({str(ROOT)!r}), mixin.Inputs())\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", digest],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


def test_the_settings_reference_has_each_variable_once_as_a_row() -> None:
    lines = render_settings_reference().splitlines()
    variables = lines[lines.index("## Variables") :]
    rows = [line.split("`")[1] for line in variables if line.startswith("| `")]
    assert sorted(rows) == sorted(row.name for row in VARIABLES)


def test_the_settings_reference_explains_our_own_defaults() -> None:
    text = render_settings_reference()
    assert all(own.reason in text for own in OWN_DEFAULTS.values())


@pytest.mark.parametrize("page", [path for path in FILES if path.endswith(".md")])
def test_every_table_row_has_as_many_cells_as_its_header(page: str) -> None:
    cells = 0
    for line in FILES[page].splitlines():
        if line.startswith("| ---"):
            cells = line.count("|")
        if line.startswith("|") and cells:
            assert line.replace(r"\|", "").count("|") == cells
        else:
            cells = 0
