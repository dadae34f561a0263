"""What otelkit says it emits: each name has one row, a meaning, and the stability that the conventions give it.

That it really emits this, and nothing else, is shown by `tests/integration/test_telemetry.py`. The committed page
`docs/reference/telemetry.md` is the snapshot: `otelkit render --check` tells every renamed span, metric and attribute.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import opentelemetry.semconv
import pytest
from opentelemetry.semconv.schemas import Schemas

from otelkit import _catalog
from otelkit.ops import _emitted, _telemetry_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/reference/telemetry.md"
PARTS = ("attributes", "metrics")
STOCK = {stock.metric.name: stock for stock in _catalog.STOCK}


def _strings(folder: str) -> Iterator[str]:
    """Walk through the names in one part of the conventions."""
    package = importlib.import_module(folder)
    for module in pkgutil.walk_packages(package.__path__, f"{folder}."):
        for node in ast.parse(Path(importlib.import_module(module.name).__file__ or "").read_text("utf-8")).body:
            value = node.value if isinstance(node, ast.AnnAssign) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


@cache
def conventions() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that are stable, and the others, in the installed conventions."""
    root = opentelemetry.semconv.__name__
    stable = frozenset(name for part in PARTS for name in _strings(f"{root}.{part}"))
    return stable, frozenset(name for part in PARTS for name in _strings(f"{root}._incubating.{part}")) - stable


def newest() -> tuple[int, ...]:
    """Return the version of the installed conventions."""
    return max(tuple(map(int, schema.value.rpartition("/")[2].split("."))) for schema in Schemas)


def origins() -> Mapping[str, str]:
    """Return who named each metric and attribute, as otelkit says."""
    return {name: stock.origin for name, stock in STOCK.items()} | {
        key: attribute.origin for key, attribute in _emitted.ATTRIBUTES.items()
    }


@pytest.mark.parametrize("name", sorted(origins()))
def test_a_name_has_the_stability_that_the_conventions_give_it(name: str) -> None:
    stable, development = conventions()
    known = "stable" if name in stable else "development" if name in development else "otelkit"
    pinned = tuple(map(int, _catalog.CONVENTIONS.split(".")))
    said = origins()[name]
    if newest() < pinned:  # an older set may not know a name yet, or not as a stable one; it must not contradict
        assert (said, known) not in {("otelkit", "stable"), ("otelkit", "development"), ("development", "stable")}
    else:
        assert said == known


def test_no_instrument_is_made_but_from_its_declaration() -> None:
    by_hand = re.compile(r"\.create_(?:observable_)?(?:counter|up_down_counter|gauge|histogram)\(")
    declared = {ROOT / "otelkit/metrics/_instruments.py", ROOT / "otelkit/_guard/_metrics.py"}  # make and hand on any
    sources = sorted({*ROOT.glob("otelkit/**/*.py")} - declared)
    assert [str(path) for path in sources if by_hand.search(path.read_text(encoding="utf-8"))] == []


def test_every_metric_is_told_under_one_subject() -> None:
    told = Counter(name for subject in _emitted.SUBJECTS for name in subject.metrics)
    assert set(told.values()) == {1}
    assert set(told) == set(STOCK)


def test_every_attribute_has_a_meaning_and_every_meaning_an_attribute() -> None:
    assert set(_telemetry_page.uses()) == set(_emitted.ATTRIBUTES)


def test_a_name_of_a_span_is_made_of_attributes_that_it_has() -> None:
    spans = [span for subject in _emitted.SUBJECTS for span in subject.spans]
    for span in spans:
        keys = {key for name in span.names for key in re.findall(r"{([^}]+)}", name)}
        assert keys <= {*span.always, *span.sometimes}
        assert not {*span.always} & {*span.sometimes}


def test_every_name_stands_on_the_page() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    events = [event.name for subject in _emitted.SUBJECTS for event in subject.events]
    series = [name.removesuffix("_bucket") for stock in STOCK.values() for name in stock.metric.series[:1]]
    assert [name for name in (*origins(), *events, *series) if f"`{name}`" not in text] == []


def test_the_labels_of_every_series_are_attributes_of_the_resource() -> None:
    stable, development = conventions()
    assert [key for key in _catalog.RESOURCE_LABELS if key not in stable | development | set(_emitted.RESOURCE)] == []
