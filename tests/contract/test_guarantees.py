"""The page of guarantees is what its generator makes of the stored results, and shows nothing that was not measured."""

from __future__ import annotations

import json

from faults import page
from faults.bench import KITS
from faults.table import CELLS
from outages import page as outages
from outages.table import CELLS as OUTAGES


def test_the_page_is_made_of_the_stored_results() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(json.loads(page.STORED.read_text(encoding="utf-8")))


def test_every_stored_result_is_one_of_a_cell_that_exists() -> None:
    known = {(cell.guarantee, cell.name, kit) for cell in CELLS for kit in KITS if kit in cell.kits}
    rows = json.loads(page.STORED.read_text(encoding="utf-8"))["rows"]
    assert [row for row in rows if (row["guarantee"], row["cell"], row["kit"]) not in known] == []


def test_every_outage_was_measured_at_its_full_size_and_nothing_was_lost() -> None:
    rows = json.loads(outages.STORED.read_text(encoding="utf-8"))
    assert [row["cell"] for row in rows] == [cell.name for cell in OUTAGES]
    assert {(row["level"], row["outcome"]) for row in rows} == {("full", "pass")}


def test_a_cell_that_was_not_run_says_so() -> None:
    lines = page.render({"versions": {}, "rows": []}).splitlines()
    (line,) = (line for line in lines if line.startswith("| uvicorn, http, 100 requests |"))
    assert line.split(" | ")[1:] == ["not run", "not run", "not run |"]


def test_every_guarantee_has_a_promise_and_a_quick_cell() -> None:
    assert {cell.guarantee for cell in CELLS} == set(page.PROMISES) == {c.guarantee for c in CELLS if c.quick}


def test_cells_are_told_apart_by_their_names() -> None:
    titles = [(cell.guarantee, cell.name) for cell in CELLS]
    assert len(titles) == len(set(titles))
