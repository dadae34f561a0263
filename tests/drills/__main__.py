"""The only runner of all drills: `python -m drills [NAME ...]`, with `tests/` and `examples/` on the path.

Without names it runs every drill, and writes what came of them into the page that is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from otelkit.ops import cli
from support import live_shop

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/drills.md"


def main(names: list[str]) -> int:
    """Run them with the databases that Python packages bring."""
    chosen = names or ["--all", "--table", str(PAGE)]
    with live_shop.databases():
        return cli.main(["drill", "--shop", str(live_shop.EXAMPLES), *chosen])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
