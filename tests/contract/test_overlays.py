"""The only place that holds the Collector's overlays against the base that they change, running none."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otelkit.ops import _assets
from support.overlays import (
    BASE,
    NOT_TOGETHER,
    OVERLAYS,
    PAIRS,
    ROOT,
    VARIABLE,
    WANTED,
    WIDE,
    load,
    merged,
    path,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STORES = {"otlp_grpc/tempo", "otlp_http/prometheus", "otlp_http/loki"}
# What a repeated list of an overlay leaves out of the base's, on purpose.
LEFT_OUT: dict[str, set[str]] = {"agent": STORES | {"filter/forced", "transform/counted"}, "remote": STORES}
GRPC_LIMIT = 4 * 1024 * 1024
RULE = "Maps are merged, lists are REPLACED by the last file that has\n# them"
SETS = [*((name,) for name in OVERLAYS), *PAIRS, *WIDE]

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
every_set = pytest.mark.parametrize("overlays", SETS, ids="+".join)


def lists(document: Any, place: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Find every list of a file, by its place."""
    if isinstance(document, list):
        yield place, document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from lists(value, f"{place}.{key}" if place else key)


def pipelines(config: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = config["service"]["pipelines"]
    return found


def from_outside(pipeline: dict[str, list[str]]) -> bool:
    """Tell whether a pipeline takes what others send."""
    return "otlp" in pipeline["receivers"]


def test_every_file_of_the_folder_is_tested() -> None:
    assert {file.stem for file in path("agent").parent.glob("*.yaml")} == set(OVERLAYS)


@every_overlay
def test_the_rule_of_lists_stands_on_top(overlay: str) -> None:
    comment = path(overlay).read_text().split("\n\n", 1)[0]
    assert RULE in comment
    assert "One more `--config`, after config.yaml and redaction.yaml." in comment


@every_overlay
def test_a_repeated_list_keeps_what_it_does_not_mean_to_change(overlay: str) -> None:
    base = dict(lists(merged()))
    repeated = {place: each for place, each in lists(load(path(overlay))) if place in base}
    left_out = {(place, one) for place, each in repeated.items() for one in base[place] if one not in each}
    assert {one for _, one in left_out} == LEFT_OUT.get(overlay, set())
    for place, each in repeated.items():
        kept = [one for one in base[place] if one in each]
        assert each[: len(kept)] == kept, f"{place}: the base's come first, in their order"


@every_set
def test_order_means_nothing_where_overlays_are_used_together(overlays: tuple[str, ...]) -> None:
    assert all(merged(*order) == merged(*overlays) for order in itertools.permutations(overlays))


def test_overlays_that_undo_each_other_say_so() -> None:
    pairs = itertools.combinations(OVERLAYS, 2)
    undoing = {pair for pair in pairs if merged(*pair) != merged(*reversed(pair))}
    assert undoing == set(NOT_TOGETHER) - {("agent", "gateway")}  # who would count what the agent samples
    for one, other in NOT_TOGETHER:
        assert f"`{other}`" in path(one).read_text()
        assert f"`{one}`" in path(other).read_text()


@every_set
def test_every_component_is_used_and_defined(overlays: tuple[str, ...]) -> None:
    config = merged(*overlays)
    used = {kind: {name for each in pipelines(config).values() for name in each.get(kind, ())} for kind in
            ("receivers", "processors", "exporters")}  # fmt: skip
    connectors = set(config["connectors"])
    assert used["receivers"] <= set(config["receivers"]) | connectors
    assert used["processors"] <= set(config["processors"])
    assert used["exporters"] <= set(config["exporters"]) | connectors
    assert used["receivers"] & connectors == used["exporters"] & connectors == connectors
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    for overlay in overlays:
        for kind, names in used.items():
            mine = set(load(path(overlay)).get(kind, {}))
            # Which of its exporters `remote` uses is a variable's choice.
            assert mine <= names or (overlay, kind) == ("remote", "exporters")


@every_set
def test_what_comes_from_outside_is_limited_and_redacted(overlays: tuple[str, ...]) -> None:
    found = {name: each for name, each in pipelines(merged(*overlays)).items() if from_outside(each)}
    assert found
    for name, pipeline in found.items():
        processors = pipeline["processors"]
        if name.endswith("/debug"):  # what one pipeline takes and another refuses would be sent again
            assert processors == ["transform/redaction"]
            assert pipeline["exporters"] == ["debug"]
        else:
            assert processors[:2] == ["memory_limiter", "transform/redaction"]


@every_set
def test_spans_are_counted_before_they_are_sampled_or_not_at_all(overlays: tuple[str, ...]) -> None:
    found = pipelines(merged(*overlays))
    sampled = {name for name, each in found.items() if "tail_sampling" in each.get("processors", ())}
    assert sampled == ({"traces/store"} if "gateway" in overlays else set())
    (counting,) = (each for each in found.values() if "span_metrics" in each["exporters"])
    assert counting["receivers"] == ["forward/spans"] == found["traces"]["exporters"]
    dropped = "filter/counted_by_the_gateway" if "agent" in overlays else "filter/forced"
    assert counting["processors"][0] == dropped


@every_set
def test_every_queue_outlives_the_collector_and_waits_for_its_receiver(overlays: tuple[str, ...]) -> None:
    for name, exporter in merged(*overlays)["exporters"].items():
        if name == "debug":
            continue
        assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s", name
        if name.startswith("prometheus_remote_write"):  # has no queue on disk: its comment says what that costs
            continue
        queue = exporter["sending_queue"]
        assert queue["storage"] == "file_storage/queue", name
        assert queue["sizer"] == queue["batch"]["sizer"] == "bytes"
        assert queue["batch"]["max_size"] < GRPC_LIMIT


@every_set
def test_nobody_listens_beyond_the_machine_unless_told(overlays: tuple[str, ...]) -> None:
    config = merged(*overlays)
    protocols = config["receivers"]["otlp"]["protocols"].values()
    listening = [each for each in (*protocols, *config["extensions"].values()) if "endpoint" in each]
    assert len(listening) >= 3
    assert all(each["endpoint"].startswith("127.0.0.1:") for each in listening)


def test_debugging_pages_stay_on_loopback_whatever_the_host() -> None:
    assert "STACK_HOST" not in variables(path("debug"))


def test_who_has_tls_asks_for_a_token_too() -> None:
    for protocol in merged("secure")["receivers"]["otlp"]["protocols"].values():
        assert protocol["auth"] == {"authenticator": "bearertokenauth/otlp"}
        assert protocol["tls"]["cert_file"]


@every_overlay
def test_variables_are_ours_explained_and_have_the_stacks_defaults(overlay: str) -> None:
    text = path(overlay).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert code.count("$") == len(re.findall(r"\$\{env:STACK_", code))
    found = variables(path(overlay))
    assert {name for name, default in found.items() if default is None} == set(WANTED.get(overlay, ()))
    pins = _assets.pins()
    elsewhere: dict[str, str | None] = {}
    for file in (*BASE, *(path(other) for other in OVERLAYS if other != overlay)):
        elsewhere |= variables(file)
    for name, default in found.items():
        assert elsewhere.get(name, default) == default, name
        assert pins.get(name.removeprefix("STACK_"), default) == default, name


def test_a_variable_inside_of_a_default_is_seen() -> None:
    """The helper of these tests reads what the Collector reads."""
    assert variables(path("secure"))["STACK_HOST"] == "127.0.0.1"
    assert merged("secure")["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "127.0.0.1:4317"
    assert VARIABLE.search("${env:STACK_A:-}")


def test_the_infra_overlay_scrapes_at_the_ports_of_the_exporters() -> None:
    jobs = {
        job["job_name"]: job for job in load(path("infra"))["receivers"]["prometheus/infra"]["config"]["scrape_configs"]
    }
    assert set(jobs) == {"node", "postgresql", "redis", "blackbox"}
    pins = _assets.pins()
    for job, exporter in (("node", "NODE"), ("postgresql", "POSTGRES"), ("redis", "REDIS")):
        (targets,) = jobs[job]["static_configs"]
        assert targets["targets"] == [f"127.0.0.1:{pins[f'{exporter}_EXPORTER_PORT']}"]
    assert jobs["blackbox"]["relabel_configs"][-1]["replacement"] == f"127.0.0.1:{pins['BLACKBOX_EXPORTER_PORT']}"


def test_the_files_are_yaml_without_the_collector() -> None:
    """Editors and linters read them too: a variable in the wrong place would end a flow mapping."""
    for overlay in OVERLAYS:
        assert yaml.safe_load(path(overlay).read_text())


def test_the_readme_says_what_goes_with_what_and_lists_every_variable() -> None:
    text = (path("agent").parent / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)\.yaml` \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE))
    assert set(rows) == set(OVERLAYS)
    for one, words in rows.items():
        named = set(re.findall(r"`(\w+)`", words))
        others = set(OVERLAYS) - {one}
        goes = others - named if "every other but" in words else named or others
        assert goes == {other for other in others if tuple(sorted((one, other))) not in NOT_TOGETHER}, one
    listed = re.findall(r"^\| `(STACK_\w+)` \| (?:`([^`]*)`|(wanted)|) \| (\w+) \|", text, re.MULTILINE)
    base: dict[str, str | None] = {}
    for file in BASE:
        base |= variables(file)
    used = {
        (name, (default or "").replace("[]", ""), "wanted" if default is None else "", overlay)
        for overlay in OVERLAYS
        for name, default in variables(path(overlay)).items()
        if name not in base
    }
    assert set(listed) == used


@pytest.mark.parametrize("page", ["another-vendor", "scale-out", "secure-the-stack"])
def test_a_variable_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"\bSTACK_[A-Z_]+\b", (ROOT / f"docs/how-to/{page}.md").read_text(encoding="utf-8")))
    known = {name for file in (*BASE, *map(path, OVERLAYS)) for name in variables(file)} | set(_assets.pins())
    assert named - known == set()
