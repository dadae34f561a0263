"""The only place that stores what the outage tests measured, and makes a section of the page of guarantees of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outages.table import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from outages.rows import Row

STORED = Path(__file__).with_name("results.json")

_HEAD = """\
## Collector and stores

The real Collector, Tempo, Loki and Prometheus with the files of `collector/` and `deploy/`, started by `otelkit stack
up`; `nox -s outages -- --full`. Three senders of 200 spans and 200 log records a second, and of a counter, know of each
item whether the Collector accepted it; each has an id of its own, by which it is looked for in its store. `a/b` is
found and accepted; "twice" is how often one was found more than once (Loki and Prometheus show what is the same once).
"Lost in Tempo" is what Tempo had acknowledged and not yet written down when it was killed; "lost in the Collector" what
a gateway had not yet decided about. The times are those of a machine that did much else.

| what is done | |
|---|---|"""


def store(rows: Iterable[Row]) -> None:
    """Keep the rows of a run, over earlier ones of the same cells."""
    kept: list[dict[str, Any]] = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else []
    merged = {row["cell"]: row for row in (*kept, *map(asdict, rows))}
    result = [merged[cell.name] for cell in CELLS if cell.name in merged]
    STORED.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def section(stored: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Return the section.

    Args:
        stored: Rows; None means those that are kept.
    """
    kept = json.loads(STORED.read_text(encoding="utf-8")) if stored is None else stored
    rows = {row["cell"]: row for row in kept}
    return "\n".join([_HEAD, *(f"| {cell.name} | {_shown(rows.get(cell.name))} |" for cell in CELLS), ""])


def _shown(row: Mapping[str, Any] | None) -> str:
    if row is None or row["outcome"] == "skipped":
        return "not run"
    figures = (
        f"{name} {figure}{' (!)' if name in row['wrong'] else ''}".replace("|", "/")
        for name, figure in row["figures"].items()
    )
    level = "" if row["level"] == "full" else " (quick)"
    return f"**{row['outcome']}**{level}, {row['date']}<br>{', '.join(figures)}"
