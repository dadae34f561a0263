"""The only place that lists the boards; each is declared in the file of its name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin.boards import business, cache, database, host, logs, overview, red, worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otelkit.metrics import Metric
    from otelkit.ops.mixin.boards.model import Board
    from otelkit.ops.mixin.parameters import Parameters

BOARDS: Final = (
    overview.BOARD,
    red.BOARD,
    database.BOARD,
    cache.BOARD,
    worker.BOARD,
    host.BOARD,
    logs.BOARD,
)
"""Those of any service, in the order of the reference."""


def boards(catalog: Iterable[Metric] = ()) -> tuple[Board, ...]:
    """Return every board: those of any service, and the one of what a service declares, where it declares something."""
    of_service = business.board(catalog)
    return (*BOARDS, of_service) if of_service else BOARDS


def render_boards(catalog: Iterable[Metric], parameters: Parameters) -> dict[str, str]:
    """Write every board as Grafana reads it, by its path; the same bytes for the same arguments."""
    with warnings.catch_warnings():
        # Grafana's SDK would rather write the second version of boards, which Grafana reads from no plain file.
        warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
        from otelkit.ops.mixin.boards._json import render_board  # noqa: PLC0415  five megabytes that only this needs

        return {
            f"deploy/grafana/dashboards/{each.name}.json": render_board(each, parameters) for each in boards(catalog)
        }
