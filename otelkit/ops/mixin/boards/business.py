"""The only place that makes a board of what a service declares.

A counter is a rate by its closed attributes, a histogram its quantiles, a gauge a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, HTTP, RATE, SERVED, quantile, to, traces
from otelkit.ops.mixin.boards.model import MOST_QUERIES, Board, Column, Panel, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelkit.metrics import Metric

_UNITS: Final = {"s": "s", "ms": "ms", "By": "bytes", "1": "percentunit", "%": "percent"}
_QUANTILES: Final = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
_REQUESTS: Final = to("red", "Requests")
_CODE: Final = 3  # letters of a currency in ISO 4217

_BUSIEST: Final = Panel(
    title="Busiest routes",
    about="How often each route was asked for in the time shown: what people use.",
    unit="short",
    targets=(
        Target(
            query=f"topk(10, sum by (service_name, http_route) (increase({HTTP}_count{{{SERVED}}}[$__range])))",
            legend="Requests",
            instant=True,
        ),
    ),
    link=_REQUESTS,
    kind="table",
    width=24,
    columns={"service_name": Column(title="Service", board="red", var="svc"), "http_route": Column(title="Route")},
    sort="Requests",
)


def board(catalog: Iterable[Metric]) -> Board | None:
    """Return the board of a catalogue; None where it is empty.

    Of a catalogue that takes more queries than a board may have, it shows what is declared first.
    """
    declared = tuple(catalog)
    if not declared:
        return None
    shown: list[Panel] = []
    left = MOST_QUERIES - len(_BUSIEST.targets)
    for metric in declared:
        made = tuple(_panels(metric))
        left -= sum(len(panel.targets) for panel in made)
        if left < 0:
            break
        shown += made
    return Board(
        name="business",
        title="Business",
        question="What do people do with the service, and how much of it fails?",
        rows={"What the service declares": tuple(shown), "Traffic": (_BUSIEST,)},
        variables=CHOICE,
    )


def _panels(metric: Metric) -> Iterator[Panel]:
    if metric.kind == "counter":
        yield from _counter(metric)
    elif metric.kind == "histogram":
        yield _histogram(metric)
    else:
        yield _gauge(metric)


def _counter(metric: Metric) -> Iterator[Panel]:
    """Show how often, and, where that can be told apart, of what."""
    (series,) = metric.series
    by = _closed(metric)
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or _title(metric)
    yield Panel(
        title=f"{_title(metric)} each second",
        about=f"{_says(metric)} How fast, and since when it is different. A line that falls to 0 is a broken way.",
        unit=_unit(metric) if _is_money(metric) else "ops",
        targets=(Target(query=_summed(by, f"rate({series}{{{CHOSEN}}}{RATE})"), legend=legend),),
        link=traces("kind=server"),
        width=12,
    )
    yield Panel(
        title=f"{_title(metric)} in an hour",
        about=f"{_says(metric)} How many in the hour before, and how that went on.",
        unit=_unit(metric),
        targets=(Target(query=_summed(by, f"increase({series}{{{CHOSEN}}}[1h])"), legend=legend),),
        link=_REQUESTS,
        kind="stat",
        width=6 if by else 12,
    )
    if by:
        yield Panel(
            title=f"{_title(metric)}, shares",
            about=f"{_says(metric)} What they were in the time shown.",
            unit=_unit(metric),
            targets=(
                Target(query=_summed(by, f"increase({series}{{{CHOSEN}}}[$__range])"), legend=legend, instant=True),
            ),
            link=_REQUESTS,
            kind="pie",
            width=6,
        )


def _histogram(metric: Metric) -> Panel:
    name = metric.series[0].removesuffix("_bucket")
    return Panel(
        title=_title(metric),
        about=f"{_says(metric)} Half of them are below p50, all but one in a hundred below p99.",
        unit=_unit(metric),
        targets=tuple(
            Target(query=quantile(share, name), legend=legend, exemplar=True) for share, legend in _QUANTILES
        ),
        link=traces("kind=server"),
        width=12,
        may_be_empty="nothing of the kind was measured in the time shown",
    )


def _gauge(metric: Metric) -> Panel:
    (series,) = metric.series
    by = ("service_name", *_closed(metric))
    return Panel(
        title=_title(metric),
        about=f"{_says(metric)} As it stands; each process tells its own, and they are added up.",
        unit=_unit(metric),
        targets=(
            Target(query=_summed(by, f"{series}{{{CHOSEN}}}"), legend=" ".join(f"{{{{{label}}}}}" for label in by)),
        ),
        link=_REQUESTS,
        width=12,
        negative=True,
        may_be_empty="nothing of the kind was measured in the time shown",
    )


def _summed(by: tuple[str, ...], what: str) -> str:
    return f"sum by ({', '.join(by)}) ({what})" if by else f"sum({what})"


def _closed(metric: Metric) -> tuple[str, ...]:
    return tuple(key.replace(".", "_") for key, values in metric.attributes.items() if isinstance(values, tuple))


def _title(metric: Metric) -> str:
    """Make words of a name: shop.orders is Shop orders."""
    return metric.name.replace(".", " ").replace("_", " ").capitalize()


def _says(metric: Metric) -> str:
    return f"{metric.description.rstrip('.')}."


def _is_money(metric: Metric) -> bool:
    return len(metric.unit) == _CODE and metric.unit.isupper()


def _unit(metric: Metric) -> str:
    return f"currency:{metric.unit}" if _is_money(metric) else _UNITS.get(metric.unit, "short")
