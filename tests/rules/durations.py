"""The only place that reads and writes durations as rules have them: "30s", "1h30m"."""

from __future__ import annotations

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(duration: str) -> int:
    """Read a duration."""
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([dhms])", duration))


def words(count: int) -> str:
    """Write seconds as a duration."""
    said = ""
    for unit, size in _UNITS.items():
        many, count = divmod(count, size)
        said += f"{many}{unit}" if many else ""
    return said or "0s"
