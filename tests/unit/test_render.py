"""The only place that tests how generated files are written and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otelkit._variables import OWN_DEFAULTS, VARIABLES
from otelkit.ops import render

if TYPE_CHECKING:
    from pathlib import Path


def test_write_makes_what_check_wants(tmp_path: Path) -> None:
    assert render.check(tmp_path) == list(render.RENDERERS)
    assert render.write(tmp_path) == list(render.RENDERERS)
    assert render.check(tmp_path) == []
    assert render.write(tmp_path) == []


def test_check_names_a_file_that_somebody_edited(tmp_path: Path) -> None:
    render.write(tmp_path)
    edited = tmp_path / "docs/reference/settings.md"
    edited.write_text(edited.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    assert render.check(tmp_path) == ["docs/reference/settings.md"]


def test_the_settings_reference_has_each_variable_once_as_a_row() -> None:
    lines = render.render_settings_reference().splitlines()
    variables = lines[lines.index("## Variables") :]
    rows = [line.split("`")[1] for line in variables if line.startswith("| `")]
    assert sorted(rows) == sorted(row.name for row in VARIABLES)


def test_the_settings_reference_explains_our_own_defaults() -> None:
    text = render.render_settings_reference()
    assert all(own.reason in text for own in OWN_DEFAULTS.values())


@pytest.mark.parametrize("page", render.RENDERERS)
def test_every_table_row_has_as_many_cells_as_its_header(page: str) -> None:
    cells = 0
    for line in render.RENDERERS[page]().splitlines():
        if line.startswith("| ---"):
            cells = line.count("|")
        if line.startswith("|") and cells:
            assert line.replace(r"\|", "").count("|") == cells
        else:
            cells = 0


def test_rendering_is_repeatable() -> None:
    assert render.render_settings_reference() == render.render_settings_reference()
