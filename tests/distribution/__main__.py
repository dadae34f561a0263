"""The only place that makes the slim Collector of `collector/builder.yaml`: `python -m distribution FOLDER [--update]`.

The builder's own step for modules runs `go mod tidy`, which wants every module that a test of any dependency imports.
Here go.mod requires what builder.yaml lists, and `go list` locks what the program itself needs, on three systems.
Everything is made in FOLDER; `--update` copies sources and locked modules into `collector/distribution`, which they
must equal otherwise. The program is built of the committed files, as FOLDER/bin/otelcol-contrib, where tests find it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "collector/builder.yaml"
COMMITTED = ROOT / "collector/distribution"
MADE = ("components.go", "main.go", "main_others.go", "main_windows.go", "go.mod", "go.sum")
SYSTEMS = ("linux", "darwin", "windows")
PROGRAM = "otelcol-contrib"


def main() -> None:
    """Make the sources, compare or update them, and build the program.

    Raises:
        SystemExit: There is no Go, or the committed files are not what builder.yaml makes.
    """
    parser = argparse.ArgumentParser(prog="python -m distribution")
    parser.add_argument("folder", type=Path, help="where everything is made")
    parser.add_argument("--update", action="store_true", help="write collector/distribution anew")
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    if shutil.which("go") is None:
        sys.exit("not on PATH: go, which builds the Collector (https://go.dev/dl)")
    made = sources(folder)
    lock(made)
    if chosen.update:
        for name in MADE:
            shutil.copy(made / name, COMMITTED)
    elif changed := [name for name in MADE if (made / name).read_bytes() != (COMMITTED / name).read_bytes()]:
        sys.exit(
            f"collector/distribution is not what builder.yaml makes: {', '.join(changed)}; --update writes it anew"
        )
    build(folder)


def sources(folder: Path) -> Path:
    """Have the builder write the sources, and return their folder."""
    config = yaml.safe_load(BUILDER.read_text(encoding="utf-8"))
    made = folder / str(config["dist"]["output_path"])
    shutil.rmtree(made, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    builder = f"go.opentelemetry.io/collector/cmd/builder@v{config['dist']['version']}"
    go(folder, "run", builder, f"--config={BUILDER}", "--skip-compilation", "--skip-get-modules")
    return made


def lock(made: Path) -> None:
    """Write go.mod and go.sum for the sources."""
    config = yaml.safe_load(BUILDER.read_text(encoding="utf-8"))
    modules = [each["gomod"] for kind in config.values() if isinstance(kind, list) for each in kind]
    modules.append(f"go.opentelemetry.io/collector/otelcol v{config['dist']['version']}")
    required = "".join(f"\t{module}\n" for module in modules)
    (made / "go.mod").write_text(f"module {config['dist']['module']}\n\ngo 1.25\n\nrequire (\n{required})\n")
    for system in SYSTEMS:
        go(made, "list", "-deps", "-mod=mod", tags(), ".", env={"GOOS": system, "GOARCH": "amd64"})


def build(folder: Path) -> None:
    """Build the program of the committed files."""
    program = folder / "bin" / PROGRAM
    stripped = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w")
    go(COMMITTED, "build", "-mod=readonly", tags(), *stripped, "-o", str(program), ".", env={"CGO_ENABLED": "0"})


def tags() -> str:
    """Return go's option for the build tags."""
    return f"-tags={yaml.safe_load(BUILDER.read_text(encoding='utf-8'))['dist']['build_tags']}"


def go(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Run a go command to its end.

    Raises:
        subprocess.CalledProcessError: It fails; it said why.
    """
    subprocess.run(
        ["go", *arguments], cwd=folder, env={**os.environ, **(env or {})}, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
