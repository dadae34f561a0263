"""The only place that counts cases for the reference of alerts: `python -m rules.counts` writes what it found.

Pages are rendered where there are no tests, so that the figures are a file of the package; a test compares.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from otelkit.ops import mixin
from rules import found

FILE = Path(mixin.__file__).with_name("cases.json")


def counted() -> dict[str, tuple[int, int]]:
    """Return in how many cases each alert fires, and in how many it is silent, by name."""
    counts = Counter((case.alert, bool(case.fires)) for case in found.cases())
    return {name: (counts[name, True], counts[name, False]) for name, _ in sorted(counts)}


def written() -> str:
    """Return what the file is to hold: an alert a line."""
    lines = (f"  {json.dumps(name)}: {json.dumps(counts)}" for name, counts in counted().items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
