"""The only place that compares what a test emitted with what it was allowed to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from otelkit.testing._story import listed, measured, moved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.testing._captel import Captel

LIMITS = ("spans", "statements", "logs", "log_bytes", "metric_points")
"""What a budget may bound."""
_SHOWN = 10


def check_limits(limits: Mapping[str, Any]) -> None:
    """Refuse a budget that bounds nothing, as a misspelt one would.

    Raises:
        ValueError: It has no limit, or one that does not exist or is no number.
    """
    unknown = sorted(set(limits) - set(LIMITS))
    if unknown or not limits:
        what = f"no limit {', '.join(map(repr, unknown))}" if unknown else "no limit in it"
        raise ValueError(f"telemetry_budget has {what}; there are {', '.join(LIMITS)}")
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ValueError(f"telemetry_budget({name}={limit!r}): needs a number that is not negative")


def exceeded(captel: Captel, limits: Mapping[str, int]) -> str:
    """Say what is above its limit, and list what it consists of; "" where nothing is.

    Args:
        captel: What was emitted.
        limits: How many spans, statements, log records, bytes of log records, and metric series may be.

    Raises:
        ValueError: A limit does not exist, or is no number.
    """
    check_limits(limits)
    spans, statements, records = captel.spans(), captel.statements(), captel.log_sizes()
    points = [measured(reading) for reading in moved(captel.metrics())]
    # In a process that serves, a statement outside of a request has no span; it is counted all the same.
    counted = sum(
        reading.count
        for reading in captel.metrics("db.client.operation.duration")
        if reading.attributes.get("db.system.name") not in ("redis", "memcached")
    )
    without = max(0, counted - len(statements))
    queries = Counter(str(_query(span.attributes) or span.name) for span in statements)
    if without:
        queries["(without a span: outside of a request)"] = without
    largest = sorted(records, key=lambda sized: -sized[0])
    found: dict[str, tuple[int, list[str]]] = {
        "spans": (len(spans), _times(Counter(span.name for span in spans))),
        "statements": (len(statements) + without, _times(queries)),
        "logs": (len(records), _times(Counter(str(record.event_name or record.body) for _, record in records))),
        "log_bytes": (
            sum(size for size, _ in records),
            [f"{size} bytes  {record.event_name or record.body}" for size, record in largest],
        ),
        "metric_points": (len(points), points),
    }
    over = [name for name in LIMITS if name in limits and found[name][0] > limits[name]]
    if not over:
        return ""
    lines = ["telemetry budget exceeded"]
    for name in over:
        number, parts = found[name]
        lines.append(f"{name}: {number}, allowed {limits[name]}")
        rest = [f"… and {len(parts) - _SHOWN} more"] if len(parts) > _SHOWN else []
        lines.append(listed([*parts[:_SHOWN], *rest], none="nothing"))
    return "\n".join(lines)


def _query(attributes: Mapping[str, Any]) -> Any:
    return attributes.get("db.query.text") or attributes.get("db.query.summary") or attributes.get("db.statement")


def _times(names: Counter[str]) -> list[str]:
    return [f"{number} x {name}" for name, number in names.most_common()]
