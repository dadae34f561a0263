"""The only place that holds the slim Collector against the configurations that it is made for, without Go."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from distribution.__main__ import MADE
from otelkit.ops import _assets
from support.overlays import BASE, OVERLAYS, load, path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "collector/distribution"
BUILDER: dict[str, Any] = yaml.safe_load((ROOT / "collector/builder.yaml").read_text(encoding="utf-8"))
KINDS = ("receivers", "processors", "connectors", "exporters", "extensions")
VERSION = BUILDER["dist"]["version"]
CONTRIB = FOLDER / f"contrib-{VERSION}.txt"
# Where the name in a configuration is not that of the module.
MODULES = {"otlp_grpc exporter": "otlpexporter", "file_storage extension": "filestorage"}


def module(kind: str, name: str) -> str:
    """Return the last part of the module of a component."""
    of = kind.removesuffix("s")
    word = name.partition("/")[0]
    return MODULES.get(f"{word} {of}", f"{word.replace('_', '')}{of}")


def listed(kind: str) -> set[str]:
    """Return the modules that builder.yaml lists, with their versions."""
    return {each["gomod"] for each in BUILDER[kind]}


def last(modules: set[str]) -> set[str]:
    return {each.partition(" ")[0].rpartition("/")[2] for each in modules}


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_exactly_the_components_that_are_used(kind: str) -> None:
    files = (*BASE, *map(path, OVERLAYS))
    used = {module(kind, name) for file in files for name in load(file).get(kind, {})}
    assert last(listed(kind)) == used


def test_its_sources_have_exactly_the_components_of_builder_yaml() -> None:
    sources = (FOLDER / "components.go").read_text(encoding="utf-8")
    assert set(re.findall(r': "(\S+ v[\d.]+)",$', sources, re.MULTILINE)) == set().union(*map(listed, KINDS))
    providers = (FOLDER / "main.go").read_text(encoding="utf-8")
    assert set(re.findall(r': "(\S+ v[\d.]+)",$', providers, re.MULTILINE)) == listed("providers")


def test_its_modules_are_locked_at_the_listed_versions_and_replaced_by_nothing() -> None:
    modules = (FOLDER / "go.mod").read_text(encoding="utf-8")
    required = set(re.findall(r"^\t(\S+ v\S+)", modules, re.MULTILINE))
    assert set().union(*map(listed, (*KINDS, "providers"))) <= required
    assert "replace" not in modules
    sums = set(re.findall(r"^(\S+ v\S+) h1:", (FOLDER / "go.sum").read_text(encoding="utf-8"), re.MULTILINE))
    assert set().union(*map(listed, (*KINDS, "providers"))) <= sums


def test_its_version_is_that_of_the_pinned_image() -> None:
    assert _assets.pins()["COLLECTOR_IMAGE"].endswith(f":{VERSION}")
    assert {each.rpartition(" v")[2] for kind in KINDS for each in listed(kind)} == {VERSION}


def test_every_component_is_in_the_published_contrib_distribution() -> None:
    published = [line for line in CONTRIB.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(published) > 200
    assert all(one < other for one, other in pairwise(published))
    assert set().union(*map(listed, (*KINDS, "providers"))) <= set(published)


def test_the_folder_is_what_is_made_and_names_no_machine() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {*MADE, CONTRIB.name, "README.md"}
    for file in FOLDER.iterdir():
        assert not re.search(r"file://|localhost|GOPROXY|=> ?[./]|/(home|root|tmp|work)/", file.read_text("utf-8")), (
            file
        )
