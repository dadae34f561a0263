"""The only place that reads the numbers of parameters as people write them: "5%", "500ms", "1GB", "14d"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin import _variants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.ops.mixin.model import Unit

_WRITTEN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z%/]+)")

_AN_HOUR: Final = 3600  # below, seconds read well
_BEYOND: Final = 1e300  # an integer of TOML may be greater than any float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How numbers of one unit are written.

    Args:
        about: What they are, with an example, as the end of a sentence.
        shown: The same in a word.
        endings: What may follow a number in quotes, and how many base units it is.
        most: The greatest that makes sense.
        zero: Whether none of it makes sense.
    """

    about: str
    shown: str
    endings: Mapping[str, str] = field(default_factory=dict)
    most: float = math.inf
    zero: bool = True


SCALES: Final[Mapping[Unit, Scale]] = {
    "ratio": Scale(about='a share from 0 to 1, as 0.05 or "5%"', shown="share of one", endings={"%": "0.01"}, most=1.0),
    "seconds": Scale(
        about='a time above 0: seconds, or "500ms", "5m", "14d"',
        shown="seconds",
        endings={"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400", "w": "604800"},
        zero=False,
    ),
    "bytes": Scale(
        about='a size above 0: bytes, or "500MB", "1GiB"',
        shown="bytes",
        endings={
            "B": "1",
            **{f"{letter}B": str(1000**power) for power, letter in enumerate(("k", "M", "G", "T"), 1)},
            **{f"{letter}iB": str(1024**power) for power, letter in enumerate(("K", "M", "G", "T"), 1)},
        },
        zero=False,
    ),
    "per_second": Scale(about='a number each second, as 0.1 or "0.1/s"', shown="each second", endings={"/s": "1"}),
    "number": Scale(about="a number, 0 or above, without a unit", shown="number"),
}


def number(value: object, unit: Unit) -> float | None:
    """Return what is meant in base units, or None where it is nothing of this unit or out of range.

    Args:
        value: As TOML has it: a number in base units, or a text with a unit.
        unit: What it is counted in.
    """
    scale = SCALES[unit]
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value) if abs(value) < _BEYOND else None
    elif isinstance(value, str) and (match := _WRITTEN.fullmatch(value)) and match[2] in scale.endings:
        found = float(Decimal(match[1]) * Decimal(scale.endings[match[2]]))  # 7 * 0.01 is not 0.07
    if found is None or not math.isfinite(found) or not 0 <= found <= scale.most or (found == 0 and not scale.zero):
        return None
    return found


def written(value: float, unit: Unit) -> str:
    """Write a number as people read it, so that `number` returns the same: 0.05, "14d", "1GB"."""
    plain = _variants.number(value)
    if unit == "seconds" and value < _AN_HOUR:
        return plain
    whole = [
        (Decimal(base), ending)
        for ending, base in SCALES[unit].endings.items()
        if unit in ("seconds", "bytes") and Decimal(base) > 1 and not Decimal(plain) % Decimal(base)
    ]
    if not whole:
        return plain
    base, ending = max(whole)
    return f'"{Decimal(plain) / base:f}{ending}"'
