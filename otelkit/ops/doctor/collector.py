"""The only place that reads what a Collector says of itself: its metrics, and the errors in its log.

Its series are those of the stack's configuration, with units and `_total`; without `_total` they are read as well.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otelkit.errors import QueryError
from otelkit.ops.query._http import Backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ITEMS: Mapping[str, str] = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}
"""What each signal's items are called in the names of series."""

_SERIES = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MEMORY = re.compile(r"Refusing data|Resuming normal operation")
_MOST = 16 * 1024 * 1024
_LONGEST = 400
_HIDDEN = frozenset({"debug", "nop"})


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series at one moment."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the Collector counted until one moment."""

    series: tuple[Series, ...]

    def total(self, name: str, **labels: str) -> float:
        """Sum the series of a name, without `_total`, that have these labels."""
        return sum(
            each.value for each in self.series if each.name == name and labels.items() <= dict(each.labels).items()
        )

    def exporters(self, signal: str) -> list[str]:
        """Name those that take a signal, save those that only print or forget."""
        of_queues = {
            each.labels.get("exporter", "")
            for each in self.series
            if each.name == "otelcol_exporter_queue_size" and each.labels.get("data_type") == signal
        }
        of_counts = {
            each.labels.get("exporter", "")
            for each in self.series
            if each.name in {f"otelcol_exporter_{how}_{ITEMS[signal]}" for how in ("sent", "send_failed")}
        }
        return sorted(name for name in of_queues | of_counts if name and name.partition("/")[0] not in _HIDDEN)


def look(url: str, *, timeout: float = 5.0) -> Look:
    """Read the Collector's own metrics.

    Args:
        url: Base URL, answering at `/metrics`.
        timeout: Seconds.

    Raises:
        QueryError: Nothing answers there, or something else.
    """
    try:
        backend = Backend(name="Collector", url=url, timeout=timeout)
    except ValueError as error:
        raise QueryError(backend="Collector", url=url, status=None, reason=str(error)) from error
    found = Look(series=tuple(_series(backend.text("/metrics"))))
    if not any(each.name.startswith("otelcol_") for each in found.series):
        reason = "the metrics there are not a Collector's"
        raise QueryError(backend="Collector", url=f"{backend.shown_url}/metrics", status=200, reason=reason)
    return found


def _series(text: str) -> Iterator[Series]:
    for line in text.splitlines():
        matched = _SERIES.match(line)
        if matched and not line.startswith("#"):
            labels = dict(_LABEL.findall(matched[2] or ""))
            with suppress(ValueError):  # a line of something else that looks like one
                yield Series(name=matched[1].removesuffix("_total"), labels=labels, value=float(matched[3]))


@dataclass(frozen=True, kw_only=True)
class Log:
    """The end of a Collector's log.

    Args:
        path: The file.
        begin: Bytes that were there before.
    """

    path: Path
    begin: int

    @classmethod
    def now(cls, path: Path | None) -> Log | None:
        """Return what will be written from now on; None where there is no file to read."""
        return None if path is None or not path.is_file() else cls(path=path, begin=path.stat().st_size)

    def error(self, signal: str) -> str:
        """Return the last error about a signal's export since then, in its own words; "" for none."""
        of_signal = (fields for fields in self._lines() if fields.get("otelcol.signal") == signal)
        said = [fields["error"] for fields in of_signal if "error" in fields]
        return _clipped(said[-1]) if said else ""

    def refusal(self) -> str:
        """Return what it said when it began to refuse data for want of memory; "" where it takes data again."""
        # Said once, and perhaps long ago.
        said = [fields["message"] for fields in self._lines(0) if _MEMORY.search(fields["message"])]
        return _clipped(said[-1]) if said and "Refusing" in said[-1] else ""

    def _lines(self, begin: int | None = None) -> list[dict[str, Any]]:
        """Take the lines apart: time, level, place and message, then one JSON object."""
        with self.path.open("rb") as file:
            file.seek(self.begin if begin is None else begin)
            text = file.read(_MOST).decode(errors="replace")
        found = []
        for line in text.splitlines():
            *head, last = line.split("\t")
            try:
                fields = json.loads(last)
            except ValueError:
                continue
            if isinstance(fields, dict) and head:
                found.append({**fields, "message": head[-1]})
        return found


def _clipped(text: object) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
