"""The only place that makes all that operations need of what is emitted: a pure function, without clock or network.

Catalogue, parameters and the receivers that are on give rules of Prometheus and Loki, Alertmanager's configuration,
Grafana's boards, the pages of alerts and runbooks, and the reference of metrics with their queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin._template import render_parameters
from otelkit.ops.mixin.alertmanager import render_alertmanager
from otelkit.ops.mixin.boards import render_boards
from otelkit.ops.mixin.groups import GROUPS, groups
from otelkit.ops.mixin.pages import render_pages
from otelkit.ops.mixin.parameters import Parameters
from otelkit.ops.mixin.rules import render_rules

if TYPE_CHECKING:
    from otelkit.metrics import Metric

FOLDERS: Final = (
    "deploy/alertmanager",
    "deploy/grafana/dashboards",
    "deploy/loki/rules/fake",
    "deploy/prometheus/rules",
    "docs/reference",
    "docs/runbooks",
)
"""Where files are written to, and those that nothing makes any more are looked for."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What everything is made of.

    Args:
        catalog: What the service declares, beside what any service emits.
        parameters: What people chose.
        receivers: Who can be told: those whose secrets were found.
    """

    catalog: tuple[Metric, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)
    receivers: frozenset[str] = frozenset()


def render(inputs: Inputs) -> dict[str, str]:
    """Return every file, by its path below the folder that they are written to; the same bytes for the same inputs."""
    every = groups(inputs.parameters, inputs.catalog)
    files: dict[str, str] = {}
    for group in every:
        files[f"deploy/prometheus/rules/{group.name}.yaml"] = render_rules(group, inputs.parameters, "promql")
        files[f"deploy/loki/rules/fake/{group.name}.yaml"] = render_rules(group, inputs.parameters, "logql")
    files |= render_alertmanager(inputs.parameters, every, inputs.receivers)
    files |= render_boards(inputs.catalog, inputs.parameters)
    files |= render_pages(every, inputs.parameters)
    files["deploy/parameters.toml"] = render_parameters(GROUPS)
    return {path: text for path, text in files.items() if text}
