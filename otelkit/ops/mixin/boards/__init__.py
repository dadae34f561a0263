"""The only place that lists the boards; each is declared in the file of its name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from otelkit.ops.mixin.boards import (
    alerts,
    business,
    cache,
    containers,
    cost,
    database,
    follow,
    host,
    issues,
    logs,
    mongodb,
    overview,
    page,
    pipeline,
    red,
    release,
    slo,
    stack,
    status,
    worker,
)
from otelkit.ops.mixin.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otelkit.metrics import Metric
    from otelkit.ops.mixin.boards.model import Board


def boards(catalog: Iterable[Metric] = (), parameters: Parameters | None = None) -> tuple[Board, ...]:
    """Return every board, in the order of the reference.

    Args:
        catalog: What the service declares; without any there is no board of it.
        parameters: What people chose; None is nothing.
    """
    chosen = parameters or Parameters()
    of_service = business.board(catalog)
    return (
        overview.BOARD,
        red.BOARD,
        database.BOARD,
        cache.BOARD,
        worker.BOARD,
        *((of_service,) if of_service else ()),
        host.BOARD,
        logs.BOARD,
        issues.BOARD,
        follow.BOARD,
        alerts.board(chosen),
        slo.BOARD,
        status.BOARD,
        pipeline.BOARD,
        stack.BOARD,
        release.BOARD,
        cost.BOARD,
        containers.BOARD,
        mongodb.BOARD,
    )


def render_boards(every: Sequence[Board], parameters: Parameters) -> dict[str, str]:
    """Write boards as Grafana reads them, and their reference, by path; the same bytes for the same arguments."""
    with warnings.catch_warnings():
        # Grafana's SDK would rather write the second version of boards, which Grafana reads from no plain file.
        warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
        from otelkit.ops.mixin.boards._json import render_board  # noqa: PLC0415  five megabytes that only this needs

        written = {f"deploy/grafana/dashboards/{each.name}.json": render_board(each, parameters) for each in every}
        return {**written, page.PATH: page.render_page(every)}
