"""The only place that says what a case of an alert is: series that are given, a moment, and who is told then.

Cases are data; `tests/rules/cases/<group>.py` holds those of a group as `CASES`. A file may also hold `SURVIVORS`: why
no case can notice a mutant of its alerts, by the name that `rules.mutation` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otelkit.ops.mixin.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelkit.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Case:
    """What an alert does, given some series.

    What the rule itself adds to labels, and every annotation but the summary, are computed: a case repeats neither.

    Args:
        alert: Its name.
        says: What is the case, in a few words: "6 % of the requests fail".
        series: The values of each series in promtool's notation: `{'up{job="x"}': "1x20 0x40"}`, from time 0 on.
        at: When it is looked at, from time 0: "3m".
        fires: For each alert that fires then, the labels of its series; of several rules of one name also as much of
            what the rule adds as it takes to tell which. Empty: silent.
        summary: The annotation of the one alert that fires. Each alert needs a case that says it; "" leaves it open.
        parameters: What people chose. An alert that is off by default is on in its cases.
        catalog: What the service declares.
        step: Between two values of a series.
        every: Between two evaluations of the rules. They are 15 s apart in production; alerts on days may look less
            often where no rule counts evaluations.
    """

    alert: str
    says: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Mapping[str, str], ...] = ()
    summary: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    catalog: tuple[Metric, ...] = ()
    step: str = "15s"
    every: str = "15s"

    def __post_init__(self) -> None:
        """Refuse a summary that is nobody's.

        Raises:
            ValueError: There is a summary, but not exactly one alert that fires.
        """
        if self.summary and len(self.fires) != 1:
            raise ValueError(f"{self}: a summary is that of one alert, and {len(self.fires)} fire")

    def __str__(self) -> str:
        """Return what tests call it."""
        return f"{self.alert}: {self.says}"
