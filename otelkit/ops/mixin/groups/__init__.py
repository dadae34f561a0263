"""The only place that lists the groups of rules; each is declared in the file of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otelkit.errors import SettingsError
from otelkit.ops.mixin.groups import (
    business,
    cache,
    celery,
    collector,
    container,
    db,
    errors,
    host,
    http,
    logs,
    service,
    slo,
    stack,
    telemetry,
    uptime,
    watchdog,
)
from otelkit.ops.mixin.model import Group
from otelkit.ops.mixin.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelkit.metrics import Metric

# In the order of the reference. A function makes a group of what people chose, or of what their service declares.
_DECLARED: Final[tuple[Group | Callable[[Parameters, tuple[Metric, ...]], Group], ...]] = (
    service.group,
    http.GROUP,
    slo.group,
    business.group,
    db.GROUP,
    cache.GROUP,
    celery.GROUP,
    host.GROUP,
    container.GROUP,
    uptime.GROUP,
    collector.GROUP,
    telemetry.GROUP,
    stack.GROUP,
    logs.GROUP,
    errors.GROUP,
    watchdog.GROUP,
)  # fmt: skip


def groups(parameters: Parameters, catalog: tuple[Metric, ...] = ()) -> tuple[Group, ...]:
    """Return all groups, in the order of the reference.

    Args:
        parameters: What people chose.
        catalog: What the service declares, beside what any service emits.

    Raises:
        SettingsError: An alert of the catalogue has the name of one that there is for any service.
    """
    found = tuple(each if isinstance(each, Group) else each(parameters, catalog) for each in _DECLARED)
    homes: dict[str, str] = {}
    problems = [
        f"{alert.name}: otelkit has an alert of this name; give the one of the catalogue another by `name`"
        for group in found
        for alert in group.alerts
        if homes.setdefault(alert.name, group.name) != group.name
    ]
    if problems:
        raise SettingsError(problems)
    return found


GROUPS: Final = groups(Parameters())
"""Those of somebody who chose nothing and declares nothing."""
