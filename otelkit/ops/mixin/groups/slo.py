"""The only place for the arithmetic of service level objectives: what is recorded of them, and when their budget burns.

Events are counted up once and for ever (`slo:events:total`), so that any window is the difference of two samples: a
window of 30 days costs what one of 5 minutes costs, a quiet night has no share in a ratio, and a period is a number of
the objective (docs/decisions/0032).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin._variants import any_of, meant, number, quoted
from otelkit.ops.mixin.model import EVALUATION, HEALTH, SERVICE, Alert, Cause, Group, Look, Recording, Runbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit.metrics import Metric
    from otelkit.ops.mixin.model import Severity
    from otelkit.ops.mixin.parameters import Parameters, Slo

_REQUESTS: Final = "http_server_request_duration_seconds"
_FAILED: Final = 'http_response_status_code=~"5.."'
_ANSWERED: Final = 'http_response_status_code!~"5.."'
_ASLEEP: Final = "6h"
"""How long Prometheus may be away without the counting beginning anew."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """How fast a budget burns, for whom to hear of it.

    Args:
        share: Of the budget of the whole period.
        window: Hours within which that share was spent.
        long: The same, as rules have it.
        short: A window in which it still burns as fast, so that the alert ends soon after the fault.
        lasting: For how long.
        severity: How loud that is.
        budget: Of the alert: see `Alert.budget`.
    """

    share: float
    window: int
    long: str
    short: str
    lasting: str
    severity: Severity
    budget: tuple[int, str] | None = None

    def factor(self, period: int) -> float:
        """Return how many times as fast as a period's budget allows that is.

        Args:
            period: Days.
        """
        return self.share * period * 24 / self.window


_FROM_RATES: Final = "it is judged by an hour's or more requests, so that a short fault that spends little wakes nobody"
TIERS: Final = (
    Tier(
        share=0.02,
        window=1,
        long="1h",
        short="5m",
        lasting="2m",
        severity="critical",
        budget=(600, _FROM_RATES),
    ),
    Tier(
        share=0.05,
        window=6,
        long="6h",
        short="30m",
        lasting="5m",
        severity="critical",
        budget=(3600, _FROM_RATES),
    ),
    Tier(share=0.10, window=24, long="1d", short="2h", lasting="15m", severity="warning"),
    Tier(share=0.25, window=72, long="3d", short="6h", lasting="1h", severity="warning"),
)
_WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def tiers(objective: Slo) -> list[Tier]:
    """Return the tiers that an objective has: at a factor below one, spending as planned would already be too fast."""
    return [tier for tier in TIERS if tier.factor(objective.period) >= 1]


def problem(objective: Slo) -> str:
    """Say why the alerts on an objective could never fire; nothing where they can."""
    if not tiers(objective):
        return f"a period of {objective.period} days is too short: 2 % of its budget is less than an hour's; 3 at least"
    factor = TIERS[0].factor(objective.period)
    if factor * (1 - objective.objective) < 1:
        return ""
    least = 1 - 1 / factor
    return (
        f"{objective.objective:.4g} over {objective.period} days could never page: no failure spends 2 % of that budget"
        f" within an hour; an objective above {least:.3f} can be"
    )


# -- recordings --------------------------------------------------------------------------------------------------------


def _recordings(slos: tuple[Slo, ...]) -> Iterator[Recording]:
    for slo in slos:
        yield from _of(slo)
    for name in ("slo:events", "slo:bad_events"):
        # `or` 0 at the beginning, and where nobody asked: what was counted stays. An objective that is gone, ends.
        before = f"last_over_time({name}:total[{_ASLEEP}])"
        yield Recording(
            name=f"{name}:total",
            expr=f"({before} or {name}:rate5m * 0)\n+ ({name}:rate5m * {EVALUATION} or {before} * 0)\n"
            "and on (slo) slo:objective:ratio",
        )
    for window in _WINDOWS:
        yield from _within(window)
    periods = sorted({slo.period for slo in slos})
    for period in periods:
        if f"{period}d" not in _WINDOWS:
            yield from _within(f"{period}d")

    def of_own_period(name: str) -> str:
        """Choose of each objective what is recorded over its period; all windows are recorded of all."""
        if len(periods) == 1:
            return f"{name}{periods[0]}d"
        names = {period: meant(any_of([slo.name for slo in slos if slo.period == period])) for period in periods}
        return " or ".join(f'{name}{period}d{{slo=~"{of}"}}' for period, of in names.items())

    yield Recording(
        name="slo:error_budget_remaining:ratio",
        expr=f"1 - ({of_own_period('slo:sli_error:ratio_rate')})\n/ on (slo) group_left () (1 - slo:objective:ratio)",
    )
    yield Recording(name="slo:bad_events:increase_period", expr=of_own_period("slo:bad_events:increase"))


def _within(window: str) -> Iterator[Recording]:
    """Yield what happened within a window, and the share of it that was bad.

    What is younger than the window counts from its beginning, as does what had to begin anew within it.
    """
    for name in ("slo:events", "slo:bad_events"):
        total = f"{name}:total"
        before = f"last_over_time({total}[{_ASLEEP}] offset {window})"
        yield Recording(name=f"{name}:increase{window}", expr=f"{total} - ({before} <= {total} or {total} * 0)")
    yield Recording(
        name=f"slo:sli_error:ratio_rate{window}",
        expr=f"slo:bad_events:increase{window} / (slo:events:increase{window} > 0)",
    )


def _of(slo: Slo) -> Iterator[Recording]:
    """Yield what is recorded of one: of each namespace and environment that it does not name, apart."""
    said = zip(SERVICE, (slo.namespace, slo.service, slo.environment), strict=True)
    known = {label: value for label, value in said if value}
    chosen = [f'{label}="{meant(quoted(value))}"' for label, value in known.items()]
    chosen += [f'http_route="{meant(quoted(slo.route))}"' if slo.route else f'http_route!~"{HEALTH}"']

    def rate(part: str, *more: str) -> str:
        return f"sum by ($S) (rate({_REQUESTS}_{part}{{{', '.join((*chosen, *more))}}}[5m]))"

    counted = f'slo:events:rate5m{{slo="{meant(quoted(slo.name))}"}}'
    if slo.kind == "availability":
        events = rate("count")
        bad = f"{rate('count', _FAILED)}\nor on ($S) {counted} * 0"
    else:
        events = rate("count", _ANSWERED)
        bad = f"{counted}\n- on ($S) {rate('bucket', _ANSWERED, _bound(slo.under))}"
    yield Recording(name="slo:events:rate5m", expr=events, labels={"slo": slo.name})
    yield Recording(name="slo:bad_events:rate5m", expr=bad, labels={"slo": slo.name})
    yield Recording(
        name="slo:objective:ratio", expr=f"vector({number(slo.objective)})", labels={"slo": slo.name, **known}
    )
    for tier in tiers(slo):
        threshold = round(tier.factor(slo.period) * (1 - slo.objective), 12)  # 0.00672, not 0.006720000000000006
        yield Recording(
            name="slo:burn_threshold:ratio",
            expr=f"vector({number(threshold)})",
            labels={"slo": slo.name, "window": tier.long},
        )


def _bound(seconds: float) -> str:
    """Choose a bucket as it is spelt where it was pushed, "1", and where it was scraped, "1.0"."""
    text = number(seconds)
    return f'le=~"{text}|{text}\\\\.0"' if seconds == int(seconds) else f'le="{text}"'


# -- alerts ------------------------------------------------------------------------------------------------------------

_BURNING: Final = Runbook(
    looks=(
        Look(
            says="how many times as fast as planned it burns, by window: short high, long low is a fresh fault",
            query='slo:sli_error:ratio_rate5m{slo="<slo>"} / on (slo) group_left () (1 - slo:objective:ratio)',
        ),
        Look(
            says="what is left of the budget: 1 all, 0 nothing",
            query='slo:error_budget_remaining:ratio{slo="<slo>"}',
        ),
        Look(
            says="which routes fail; none, and the objective is one of latency: which are slow",
            query="sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count"
            '{service_name="<service_name>"}[5m]))',
        ),
        Look(
            says="what fails within these requests",
            query='{resource.service.name="<service_name>" && kind=server && (status=error || duration>500ms)}',
            source="tempo",
        ),
    ),
    causes=(
        Cause(
            what="A fault that has an alert of its own.",
            sign="HighErrorRate, HighLatency, DatabaseDown or UpstreamFailing fires for the service.",
            fix="Go on with the runbook of that alert.",
        ),
        Cause(
            what="A release that fails or is slow for some.",
            sign="The board Release shows it on the new version only; the burn began with it.",
            fix="Roll back: `kubectl rollout undo deployment/<name>`, or the last image in Compose.",
        ),
        Cause(
            what="A slow leak of failures that nobody noticed.",
            sign="Only the windows of a day and of three fire; the rate of failures is even.",
            fix="The fingerprint with the most occurrences on the board Issues first; plan it into this week.",
        ),
    ),
    tell="The owners of the service; who promised the objective, when half of the budget is gone.",
    note="A budget that is young fires on all windows at once: there is no more to judge by. Windows in which spending "
    "as planned would be too fast, as those of days where the period is a week, have no rule.",
)


def _burn(tier: Tier) -> Alert:
    threshold = f'on (slo) group_left () slo:burn_threshold:ratio{{window="{tier.long}"}}'
    return Alert(
        name="SLOBudgetBurn",
        group="slo",
        severity=tier.severity,
        lasting=tier.lasting,
        # The last line leaves a service alone that is asked so seldom that one failure is a large share.
        expr=f"slo:sli_error:ratio_rate{tier.long}{{$service}} > {threshold}\n"
        f"and slo:sli_error:ratio_rate{tier.short} > {threshold}\n"
        f"and slo:bad_events:increase{tier.long} >= 5",
        feels="More requests fail, or are slow, than users were promised; at this rate the promise will be broken.",
        summary=f"{{{{ $labels.slo }}}} of {{{{ $labels.service_name }}}} burns its budget: "
        f"{{{{ $value | humanizePercentage }}}} of the requests of {tier.long} were bad",
        runbook=_BURNING,
        labels={"window": tier.long},
        budget=tier.budget,
        drill="failing-requests" if tier is TIERS[0] else "",
        undrilled="" if tier is TIERS[0] else f"its window is {tier.long}; its cases play it",
    )


BUDGET_BURN: Final = tuple(map(_burn, TIERS))

_SPENT: Final = Look(
    says="what is left: below 0 it is overdrawn",
    query='slo:error_budget_remaining:ratio{slo="<slo>"}',
)

BUDGET_EXHAUSTED: Final = Alert(
    name="SLOBudgetExhausted",
    group="slo",
    severity="warning",
    lasting="15m",
    expr="slo:error_budget_remaining:ratio{$service} < 0\nand slo:bad_events:increase_period >= 5",
    feels="The promise of this period is broken.",
    summary="{{ $labels.slo }} of {{ $labels.service_name }} has no budget left: {{ $value | humanizePercentage }}",
    runbook=Runbook(
        looks=(
            _SPENT,
            Look(
                says="whether it still burns: a share above 1 - objective does",
                query='slo:sli_error:ratio_rate1h{slo="<slo>"}',
            ),
            Look(
                says="when it was spent: one fault, or a little every day",
                query='slo:bad_events:rate5m{slo="<slo>"}',
            ),
        ),
        causes=(
            Cause(
                what="One large fault.",
                sign="One peak of bad events.",
                fix="Its review is what is left to do; until the period has passed, release only what mends.",
            ),
            Cause(
                what="Many small ones.",
                sign="Bad events on most days.",
                fix="Stop features, work on the most frequent fingerprints of the board Issues.",
            ),
            Cause(
                what="The objective is higher than the service was built for.",
                sign="It is exhausted in every period, and no user complains.",
                fix="Agree on a lower one, or on the work that it takes.",
            ),
        ),
        tell="Who promised the objective, in working hours.",
        note="It ends as the bad events leave the period, or as good ones make them a smaller share: days.",
    ),
    undrilled="a budget is that of days; its cases play them",
)

DATA_MISSING: Final = Alert(
    name="SLODataMissing",
    group="slo",
    severity="warning",
    lasting="10m",
    # A service that runs and was asked within a day is only quiet: no request, no series after a restart.
    expr="slo:objective:ratio{$service}\n"
    "unless on (slo) (slo:events:rate5m\n"
    "  or last_over_time(slo:events:rate5m[1d]) and on ($S) service:heartbeat:timestamp)",
    feels="Nothing. Nobody would notice if the promise were broken.",
    summary="{{ $labels.slo }} of {{ $labels.service_name }} is not measured: there are no requests of it",
    absence=True,
    runbook=Runbook(
        looks=(
            Look(
                says="which objectives are measured at all",
                query="slo:objective:ratio unless on (slo) slo:events:rate5m",
            ),
            Look(
                says="under which names the service really reports requests",
                query="count by (service_namespace, service_name, deployment_environment_name, http_route) "
                '(http_server_request_duration_seconds_count{service_name!=""})',
            ),
            Look(
                says="seconds since the service reported",
                query='time() - service:last_seen:timestamp{service_name="<service_name>"}',
            ),
        ),
        causes=(
            Cause(
                what="The service is away.",
                sign="ServiceDown fires.",
                fix="Go on with the runbook of that alert.",
            ),
            Cause(
                what="A name of the objective is wrong: service, namespace, environment, route.",
                sign="The second look shows another spelling.",
                fix="Mend it in the parameters, `otelkit render`, reload Prometheus.",
            ),
            Cause(
                what="The route was renamed.",
                sign="It began with a release.",
                fix="The same.",
            ),
        ),
        tell="The owners of the service.",
    ),
    undrilled="it takes ten minutes, and service-stopped shows the same lack sooner; its cases play it",
)


def group(parameters: Parameters, catalog: tuple[Metric, ...]) -> Group:  # noqa: ARG001  as all groups are made
    """Return the group: what is recorded depends on the objectives.

    Args:
        parameters: What people chose.
        catalog: What the service declares; of no concern here.
    """
    return Group(
        name="slo",
        about="Service level objectives.",
        recordings=tuple(_recordings(parameters.slos)) if parameters.slos else (),
        alerts=(*BUDGET_BURN, BUDGET_EXHAUSTED, DATA_MISSING),
        waits_for="" if parameters.slos else "an `[[slo]]` in the parameters",
    )
