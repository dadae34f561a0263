"""The only place that has the real programs judge their own configuration files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from otelkit.otlp.receiver import Receiver
from support import collector, lanes, overlays
from support.certificates import Certificates
from support.processes import http_get, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.processes import Process

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "collector": ROOT / "collector/config.yaml",
    "prometheus": ROOT / "deploy/prometheus/prometheus.yaml",
    "tempo": ROOT / "deploy/tempo/tempo.yaml",
    "loki": ROOT / "deploy/loki/loki.yaml",
}
REDACTION = ROOT / "collector/redaction.yaml"
PROGRAMS = {
    "collector": ("otelcol-contrib", "otelcol"),
    "prometheus": ("promtool",),
    "tempo": ("tempo",),
    "loki": ("loki",),
}
# A Collector reads its rules of redaction for a second or two: each alone and in pairs is for `nox -s collector`.
SETS = [(), *overlays.WIDE]
if os.environ.get("OVERLAYS") == "all":
    SETS += [*((name,) for name in overlays.OVERLAYS), *overlays.PAIRS]
WANTED = [(overlay, name) for overlay, names in overlays.WANTED.items() for name in names]
# The Collector traces itself only where it is told to; that zpages then has no spans to show, it calls a warning.
EXPECTED = "zPages span processor registration is not available"
QUIET = ("collector", "tempo")  # say nothing at all about a good file
LANE = "validators"


def _validate(name: str, config: Path, folder: Path) -> Process:
    """Run the validator, or skip and say loudly that it is missing."""
    program = next((path for each in PROGRAMS[name] if (path := shutil.which(each))), None)
    if program is None:
        missing = f"not on PATH: {' or '.join(PROGRAMS[name])}"
        lanes.skipped(LANE, missing)
        pytest.skip(f"{LANE}: {missing}")
    lanes.ran(LANE)
    arguments = {
        "collector": ("validate", f"--config={config}", f"--config={REDACTION}"),
        "prometheus": ("check", "config", str(config)),
        "tempo": (f"-config.file={config}", "-config.expand-env=true", "-config.verify=true"),
        "loki": (f"-config.file={config}", "-config.expand-env=true", "-verify-config"),
    }[name]
    return run(
        [program, *arguments],
        folder=folder,
        env={f"STACK_{each}_DATA": str(folder) for each in ("COLLECTOR", "LOKI", "TEMPO")},
    )


@pytest.mark.parametrize("name", CONFIG)
def test_the_program_accepts_its_file_without_a_warning(name: str, tmp_path: Path) -> None:
    judged = _validate(name, CONFIG[name], tmp_path)
    printed = judged.stdout + judged.stderr
    assert judged.returncode == 0, printed
    said = printed.replace("rules/errors.yaml", "")  # the name of a file
    assert "warn" not in said.lower()
    assert "error" not in said.lower()
    if name in QUIET:
        assert printed == ""


@pytest.mark.parametrize("name", CONFIG)
def test_the_program_would_refuse_a_word_it_does_not_know(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG[name].read_text() + "\nunheard_of: {}\n")
    judged = _validate(name, wrong, tmp_path)
    assert judged.returncode != 0
    assert "unheard_of" in judged.stdout + judged.stderr


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What overlays want to know, and a store for gRPC: one that does not answer is a warning from the start."""
    collector.program()
    secure = Certificates(tmp_path_factory.mktemp("secure"))
    with Receiver(grpc_port=0) as stores:
        yield {
            "STACK_TEMPO_OTLP_URL": stores.grpc_endpoint,
            "STACK_GATEWAY_URL": stores.grpc_endpoint,
            "STACK_REMOTE_OTLP_URL": stores.http_url,
            "STACK_INFRA_INTERVAL": "1h",  # nobody is there to be scraped
            **secure.variables("token"),
        }


def _doubts(printed: str) -> list[str]:
    """Return what a Collector said at start beside that it starts: deprecated names are said here, and only here."""
    start, ready, _ = printed.partition("Everything is ready")
    assert ready
    return [line for line in start.splitlines() if "\tinfo\t" not in line and EXPECTED not in line]


def _without_rules(folder: Path, *chosen: str) -> list[str]:
    """Return the options for overlays without the rules of redaction."""
    last = folder / "last.yaml"
    last.write_text(yaml.safe_dump(overlays.NO_RULES))
    return [f"--config={file}" for file in (*overlays.BASE, *map(overlays.path, chosen), last)]


@pytest.mark.parametrize("chosen", SETS[1:], ids="+".join)
def test_the_collector_accepts_overlays_without_a_word(
    chosen: tuple[str, ...], variables: Mapping[str, str], tmp_path: Path
) -> None:
    files = [f"--config={file}" for file in (*overlays.BASE, *map(overlays.path, chosen))]
    environment = {"STACK_COLLECTOR_DATA": str(tmp_path), **variables}
    judged = run([collector.program(), "validate", *files], folder=tmp_path, env=environment)
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")


@pytest.mark.parametrize("chosen", SETS, ids=lambda chosen: "+".join(chosen) or "base")
def test_the_collector_starts_with_overlays_and_has_no_doubts(
    chosen: tuple[str, ...], variables: Mapping[str, str], tmp_path: Path
) -> None:
    with overlays.collector(tmp_path, *chosen, variables=variables, rules=True) as running:
        assert http_get(running.health).status == 200
        assert _doubts(running.process.stderr) == []


def test_a_name_that_is_deprecated_would_be_found(variables: Mapping[str, str], tmp_path: Path) -> None:
    pipelines = {
        "traces/older": {"receivers": ["otlp"], "exporters": ["spanmetrics"]},
        "metrics/older": {"receivers": ["spanmetrics"], "exporters": ["otlp_http/prometheus"]},
    }
    older = {"connectors": {"spanmetrics": {}}, "service": {"pipelines": pipelines}}
    with overlays.collector(tmp_path, variables=variables, more=older) as running:
        assert any("deprecated" in line for line in _doubts(running.process.stderr))


@pytest.mark.parametrize(("overlay", "left_out"), WANTED)
def test_a_variable_without_a_default_that_is_not_set_is_refused(
    overlay: str, left_out: str, variables: Mapping[str, str], tmp_path: Path
) -> None:
    environment: dict[str, str | None] = {"STACK_COLLECTOR_DATA": str(tmp_path), **variables, left_out: None}
    files = _without_rules(tmp_path, overlay)
    judged = run([collector.program(), "validate", *files], folder=tmp_path, env=environment)
    assert judged.returncode != 0
    assert "redaction" not in judged.stderr


def test_the_collector_refuses_to_start_where_debug_takes_the_authenticator_away(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    files = _without_rules(tmp_path, "secure", "debug")
    environment = {**overlays.free_ports(), "STACK_COLLECTOR_DATA": str(tmp_path), **variables}
    started = run([collector.program(), *files], folder=tmp_path, env=environment)
    assert started.returncode != 0
    assert "bearertokenauth/otlp" in started.stderr
