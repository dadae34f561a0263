"""The only place that puts together every file that operations need: the work of `otelkit.ops.mixin.render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelkit.ops.mixin import _metrics_page
from otelkit.ops.mixin._template import render_parameters
from otelkit.ops.mixin.alertmanager import render_alertmanager
from otelkit.ops.mixin.boards import boards, render_boards
from otelkit.ops.mixin.groups import groups
from otelkit.ops.mixin.pages import render_pages
from otelkit.ops.mixin.parameters import Parameters
from otelkit.ops.mixin.rules import render_rules

if TYPE_CHECKING:
    from otelkit.ops.mixin import Inputs


def files(inputs: Inputs) -> dict[str, str]:
    """Return every file, by its path below the folder that they are written to; the same bytes for the same inputs."""
    every = groups(inputs.parameters, inputs.catalog)
    shown = boards(inputs.catalog, inputs.parameters)
    made: dict[str, str] = {}
    for group in every:
        made[f"deploy/prometheus/rules/{group.name}.yaml"] = render_rules(group, inputs.parameters, "promql")
        made[f"deploy/loki/rules/fake/{group.name}.yaml"] = render_rules(group, inputs.parameters, "logql")
    made |= render_alertmanager(inputs.parameters, every, inputs.receivers)
    made |= render_boards(shown, inputs.parameters)
    made |= render_pages(every, inputs.parameters)
    made[_metrics_page.PATH] = _metrics_page.render_metrics(every, shown, inputs.catalog)
    made["deploy/parameters.toml"] = render_parameters(groups(Parameters(), inputs.catalog))
    return {path: text for path, text in made.items() if text}
