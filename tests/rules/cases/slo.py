"""Cases of the alerts on objectives."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Slo
from rules.case import Case

_NAME = "api-availability"
_AVAILABLE = Parameters(slos=(Slo(name=_NAME, service="api", objective=0.999),))
_QUICK = Parameters(slos=(Slo(name=_NAME, service="api", objective=0.999, kind="latency", under=1.0),))
_OF_A_WEEK = Slo(name="api-week", service="api", objective=0.99, period=7)
_WEEK = Parameters(slos=(_OF_A_WEEK,))
_TWO_PERIODS = Parameters(slos=(*_AVAILABLE.slos, _OF_A_WEEK))
_ROUTE = Parameters(slos=(Slo(name=_NAME, service="api", objective=0.999, route="/orders"),))
_WHERE = Parameters(slos=(Slo(name=_NAME, service="api", objective=0.999, namespace="shop", environment="production"),))
_PRODUCTION = 'service_name="api", service_namespace="shop", deployment_environment_name="production"'
_TEST = 'service_name="api", service_namespace="shop", deployment_environment_name="test"'


def _requests(ok: str, failed: str, *, labels: str = 'service_name="api"', route: str = "/orders") -> dict[str, str]:
    """Return the counts of requests of two statuses."""
    name = f'http_server_request_duration_seconds_count{{{labels}, http_route="{route}", http_response_status_code='
    return {f'{name}"200"}}': ok, f'{name}"500"}}': failed}


def _share(bad: float, steps: int = 300, **where: str) -> dict[str, str]:
    """Return requests of which a share is bad: ten thousand each 15 s."""
    return _requests(f"0+{10_000 * (1 - bad):g}x{steps}", f"0+{10_000 * bad:g}x{steps}", **where)


def _durations(quick: str, every: str, status: int = 200, route: str = "/orders") -> dict[str, str]:
    """Return how many requests of a status took up to a second, and how many there were."""
    labels = f'service_name="api", http_route="{route}", http_response_status_code="{status}"'
    name = "http_server_request_duration_seconds"
    return {
        f'{name}_bucket{{{labels}, le="1"}}': quick,
        f'{name}_bucket{{{labels}, le="+Inf"}}': every,
        f"{name}_count{{{labels}}}": every,
    }


def _burn(window: str, slo: str = _NAME, **more: str) -> dict[str, str]:
    return {"service_name": "api", "slo": slo, "window": window, **more}


# Ten requests each 15 s; some of the first fail, four or eight in all. Eighths add up exactly: no counter is reset.
_FOUR_BAD = _requests("0+10x400", "0+0.125x32 4x400")
_EIGHT_BAD = _requests("0+10x400", "0+0.125x64 8x400")


def _case(says: str, series: dict[str, str], at: str, *windows: str, parameters: Parameters = _AVAILABLE) -> Case:
    slo = parameters.slos[0].name
    fires = tuple(_burn(window, slo) for window in windows)
    # Shares are the same where the rules look less often; events are counted at each look, and few have to be few.
    every = "15s" if series in (_FOUR_BAD, _EIGHT_BAD) else "1m"
    return Case(alert="SLOBudgetBurn", says=says, series=series, at=at, fires=fires, parameters=parameters, every=every)


_LATE = _durations("0+9900x40", "0+10000x40")


def _after(hours: int, bad: float, weight: int, **where: str) -> dict[str, str]:
    """Return requests of which a share is bad; before them an hour with many times as many, 0.05 % bad."""
    first = (weight * 10_000 * 0.9995, weight * 10_000 * 0.0005)
    then = (10_000 * (1 - bad), 10_000 * bad)
    texts = [f"0+{a:g}x60 {a * 60:.10g}+{b:g}x{hours * 60}" for a, b in zip(first, then, strict=True)]
    return _requests(texts[0], texts[1], **where)


def _long(  # noqa: PLR0917  a table reads better
    says: str, hours: int, bad: float, weight: int, window: str, summary: str, every: str
) -> Case:
    return Case(
        alert="SLOBudgetBurn",
        says=says,
        series=_after(hours, bad, weight),
        at=f"{hours}h",
        fires=(_burn(window),),
        summary=f"api-availability of api burns its budget: {summary} of the requests of {window} were bad",
        parameters=_AVAILABLE,
        step="1m",
        every=every,
    )


# What was before a window, and much more of it, is no part of it.
_LONG = (
    _long("only what an hour has counts for an hour", 3, 0.008, 20, "1h", "0.8%", "1m"),
    _long("only what six hours have counts for six hours", 8, 0.0035, 100, "6h", "0.35%", "5m"),
    _long("only what a day has counts for a day", 26, 0.0018, 300, "1d", "0.18%", "15m"),
    _long("only what three days have counts for three days", 74, 0.00125, 1000, "3d", "0.125%", "1h"),
    Case(
        alert="SLOBudgetBurn",
        says="three hours were bad, and three are well: over for the windows of two hours",
        series=_requests("0+9900x180 1782000+10000x180", "0+100x180 18000x180"),
        at="5h55m",
        fires=(_burn("3d"),),
        parameters=_AVAILABLE,
        step="1m",
        every="5m",
    ),
    Case(
        alert="SLOBudgetBurn",
        says="three hours were bad, and seven are well: over for all windows",
        series=_requests("0+9900x180 1782000+10000x440", "0+100x180 18000x440"),
        at="10h",
        parameters=_AVAILABLE,
        step="1m",
        every="5m",
    ),
)

_BURNING = (
    Case(
        alert="SLOBudgetBurn",
        says="0.8 % are bad: 2 % of the budget of 14 days within an hour",
        series=_share(0.008),
        at="3m",
        fires=(_burn("1h"),),
        summary="api-availability of api burns its budget: 0.8% of the requests of 1h were bad",
        parameters=_AVAILABLE,
    ),
    _case("0.8 % are bad, not yet for 2 min", _share(0.008), "2m"),
    _case("0.5 % are bad, which is too little for an hour", _share(0.005), "4m"),
    _case("0.35 % are bad: 5 % of the budget within six hours", _share(0.0035), "8m", "6h"),
    _case("0.35 % are bad, not yet for 5 min", _share(0.0035), "5m"),
    _case("0.2 % are bad, which is too little for six hours", _share(0.002), "8m"),
    _case("0.18 % are bad: 10 % of the budget within a day", _share(0.0018), "17m", "1d"),
    _case("0.18 % are bad, not yet for 15 min", _share(0.0018), "15m"),
    _case("0.1 % are bad, which is too little for a day", _share(0.001), "17m"),
    _case("0.125 % are bad: 25 % of the budget within three days", _share(0.00125), "63m", "3d"),
    _case("0.125 % are bad, not yet for an hour", _share(0.00125), "60m"),
    _case("0.1 % are bad, as planned", _share(0.001), "63m"),
    _case("four were bad in all, 2 min ago", _FOUR_BAD, "12m"),
    _case("four were bad in all, 15 min ago", _FOUR_BAD, "25m"),
    _case("four were bad in all, an hour ago", _FOUR_BAD, "70m"),
    _case("eight have been bad", _EIGHT_BAD, "19m", "1h", "6h"),
    _case("eight were bad, 10 min ago: over for the windows of 5 min", _EIGHT_BAD, "30m", "6h", "1d"),
    _case("eight were bad, an hour ago: over for the windows of 30 min", _EIGHT_BAD, "75m", "1d", "3d"),
    _case(
        "more than an hour ago much was bad: over for the windows of an hour and of 30 min",
        _requests("0+1000x400", "0+80x20 1600x400"),
        "95m",
        "1d",
        "3d",
    ),
    _case(
        "a night without requests has no share in it",
        _requests("0+9920x20 198400x200 198400+9920x40", "0+80x20 1600x200 1600+80x40"),
        "65m",
        "1h",
        "6h",
        "1d",
        "3d",
    ),
    _case("only probes fail", _share(0) | _share(0.5, route="/health/ready"), "3m"),
    _case("another service fails", _share(0) | _share(0.5, labels='service_name="payment"'), "3m"),
    _case("0.8 % are bad, and as many probes are well", _share(0.008) | _share(0, route="/livez"), "3m", "1h"),
    _case("1 % are slow", _LATE, "3m", "1h", parameters=_QUICK),
    _case(
        "1 % are slow, where they are scraped",
        {key.replace('le="1"', 'le="1.0"'): values for key, values in _LATE.items()},
        "3m",
        "1h",
        parameters=_QUICK,
    ),
    _case("0.5 % are slow", _durations("0+9950x40", "0+10000x40"), "3m", parameters=_QUICK),
    _case(
        "1 % are slow, and as many fail at once",
        _LATE | _durations("0+5000x40", "0+5000x40", status=500),
        "3m",
        "1h",
        parameters=_QUICK,
    ),
    _case(
        "all are quick, and some fail late",
        _durations("0+10000x40", "0+10000x40") | _durations("0x40", "0+5000x40", status=500),
        "3m",
        parameters=_QUICK,
    ),
    _case(
        "1 % are slow, and as many probes are quick",
        _LATE | _durations("0+5000x40", "0+5000x40", route="/health"),
        "3m",
        "1h",
        parameters=_QUICK,
    ),
    _case(
        "all are quick, and probes are slow",
        _durations("0+10000x40", "0+10000x40") | _durations("0x40", "0+5000x40", route="/health"),
        "3m",
        parameters=_QUICK,
    ),
    _case("4 % are bad, over a week", _share(0.04), "4m", "1h", parameters=_WEEK),
    _case(
        "4 % are bad, and as many probes are well, over a week",
        _share(0.04) | _share(0, route="/livez"),
        "4m",
        "1h",
        parameters=_WEEK,
    ),
    _case("only probes fail, over a week", _share(0) | _share(0.5, route="/livez"), "4m", parameters=_WEEK),
    _case("2 % are bad, over a week", _share(0.02), "75m", "6h", parameters=_WEEK),
    _case("1 % are bad, over a week: as planned", _share(0.01), "75m", parameters=_WEEK),
    *_LONG,
    _case("the route fails", _share(0.008) | _share(0, route="/report"), "3m", "1h", parameters=_ROUTE),
    _case("another route fails", _share(0) | _share(0.5, route="/report"), "3m", parameters=_ROUTE),
    Case(
        alert="SLOBudgetBurn",
        says="one of two environments burns, and none is chosen",
        series=_share(0.01, labels=_PRODUCTION) | _share(0, labels=_TEST),
        at="3m",
        fires=(_burn("1h", service_namespace="shop", deployment_environment_name="production"),),
        parameters=_AVAILABLE,
    ),
    _case(
        "another environment burns than the one that is chosen",
        _share(0, labels=_PRODUCTION) | _share(0.5, labels=_TEST),
        "3m",
        parameters=_WHERE,
    ),
    _case(
        "another namespace burns than the one that is chosen",
        _share(0, labels=_PRODUCTION) | _share(0.5, labels=_PRODUCTION.replace("shop", "shed")),
        "3m",
        parameters=_WHERE,
    ),
)

_SPENT = {"service_name": "api", "slo": _NAME}
_HEARTBEAT = 'process_cpu_time_seconds_total{service_name="api", cpu_mode="user"}'

CASES = (
    *_BURNING,
    Case(
        alert="SLOBudgetExhausted",
        says="0.12 % are bad of 0.1 % that may be",
        series=_share(0.0012),
        at="17m",
        fires=(_SPENT,),
        summary="api-availability of api has no budget left: -20%",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="0.12 % are bad, not yet for 15 min",
        series=_share(0.0012),
        at="15m",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="0.09 % are bad",
        series=_share(0.0009),
        at="17m",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="four were bad in all",
        series=_FOUR_BAD,
        at="40m",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="eight were bad in all",
        series=_EIGHT_BAD,
        at="40m",
        fires=(_SPENT,),
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="only what 14 days have counts for 14 days",
        series=_after(16 * 24, 0.0012, 1000),
        at="15d12h",
        fires=(_SPENT,),
        summary="api-availability of api has no budget left: -20%",
        parameters=_AVAILABLE,
        step="1m",
        every="1h",
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="much was bad on the first day, a week ago: over for the period of a week only",
        series=_requests("0+9500x1440 13680000+10000x13000", "0+500x1440 720000x13000"),
        at="9d12h",
        fires=(_SPENT,),
        parameters=_TWO_PERIODS,
        step="1m",
        every="1h",
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="only what seven days have counts for seven days",
        series=_after(9 * 24, 0.012, 1000),
        at="8d12h",
        fires=({**_SPENT, "slo": "api-week"},),
        summary="api-week of api has no budget left: -20%",
        parameters=_WEEK,
        step="1m",
        every="1h",
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="1.2 % are bad of 1 % that may be in a week",
        series=_share(0.012),
        at="17m",
        fires=({**_SPENT, "slo": "api-week"},),
        summary="api-week of api has no budget left: -20%",
        parameters=_WEEK,
    ),
    Case(
        alert="SLOBudgetExhausted",
        says="0.12 % are bad where it is chosen",
        series=_share(0.0012, labels=_PRODUCTION),
        at="17m",
        fires=({**_SPENT, "service_namespace": "shop", "deployment_environment_name": "production"},),
        summary="api-availability of api has no budget left: -20%",
        parameters=_WHERE,
    ),
    Case(
        alert="SLODataMissing",
        says="only another service has requests",
        series=_share(0, labels='service_name="payment"') | {_HEARTBEAT: "0+1x100"},
        at="11m",
        fires=(_SPENT,),
        summary="api-availability of api is not measured: there are no requests of it",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLODataMissing",
        says="only another service has requests, over a week",
        series=_share(0, labels='service_name="payment"'),
        at="11m",
        fires=({**_SPENT, "slo": "api-week"},),
        parameters=_WEEK,
    ),
    *(
        Case(
            alert="SLODataMissing",
            says=f"only another {what} has requests than the one that is chosen",
            series=_share(0, labels=labels),
            at="11m",
            fires=({**_SPENT, "service_namespace": "shop", "deployment_environment_name": "production"},),
            parameters=_WHERE,
        )
        for what, labels in (("environment", _TEST), ("namespace", _PRODUCTION.replace("shop", "shed")))
    ),
    Case(
        alert="SLODataMissing",
        says="only another service has requests, not yet for 10 min",
        series=_share(0, labels='service_name="payment"'),
        at="9m45s",
        parameters=_AVAILABLE,
    ),
    Case(alert="SLODataMissing", says="there are requests", series=_share(0), at="11m", parameters=_AVAILABLE),
    Case(
        alert="SLODataMissing",
        says="after a restart nobody asked yet",
        series=_requests("0+10x40 _x200", "0x40 _x200") | {_HEARTBEAT: "0+1x240"},
        at="40m",
        parameters=_AVAILABLE,
    ),
    Case(
        alert="SLODataMissing",
        says="the service is gone",
        series=_requests("0+10x40 _x200", "0x40 _x200") | {_HEARTBEAT: "0+1x40 _x200"},
        at="40m",
        fires=(_SPENT,),
        parameters=_AVAILABLE,
    ),
)

_NO_EVENTS = "bad events of a service that has no events are divided by nothing"
_ZERO = "it makes the board say 100 % where nothing ever failed; no alert needs it"
SURVIVORS = {
    "slo:bad_events:rate5m (slo=api-availability): or turned and": _ZERO,
    'slo:bad_events:rate5m (slo=api-availability): without slo="api-availability"': _ZERO,
    'slo:bad_events:rate5m (slo=api-availability): without service_name="api"': _NO_EVENTS,
    'slo:bad_events:rate5m (slo=api-availability): without service_namespace="shop"': _NO_EVENTS,
    'slo:bad_events:rate5m (slo=api-availability): without deployment_environment_name="production"': _NO_EVENTS,
    "slo:events:total: and turned or": "it ends the counting of an objective that is gone; no case takes one away",
}
