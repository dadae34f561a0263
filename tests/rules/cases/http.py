"""Cases of the alerts on requests."""

from __future__ import annotations

from otelkit.ops.mixin.parameters import Parameters, Service
from rules.case import Case

_API = {"service_name": "api"}


def _requests(ok: str, failed: str, *, labels: str = 'service_name="api"', route: str = "/orders") -> dict[str, str]:
    """Return the counts of requests of two statuses."""
    name = f'http_server_request_duration_seconds_count{{{labels}, http_route="{route}", http_response_status_code='
    return {f'{name}"200"}}': ok, f'{name}"500"}}': failed}


# Requests each 15 s: 94 that work and 6 that fail are 6 %.
_SIX_OF_A_HUNDRED = _requests("0+94x40", "0+6x40")
_STRICTER = Parameters(services={"api": Service(thresholds={"error_crit": 0.02})})
_ROUTES = Parameters(services={"api": Service(routes={"/report": {"error_crit": 0.5}})})
_FULL_LABELS = 'service_name="api", service_namespace="shop", deployment_environment_name="production"'

CASES = (
    Case(
        alert="HighErrorRate",
        says="6 % of the requests fail",
        series=_SIX_OF_A_HUNDRED,
        at="5m",
        fires=(_API,),
        summary="api answers 6% of its requests with 5xx",
    ),
    Case(alert="HighErrorRate", says="4 % fail", series=_requests("0+96x40", "0+4x40"), at="5m"),
    Case(
        alert="HighErrorRate",
        says="8 % of the requests failed, for less than 30 s",
        series=_requests("0+92x40", "0x19 8+8x20"),
        at="6m15s",
    ),
    Case(
        alert="HighErrorRate",
        says="8 % of the requests fail, for a minute and a half",
        series=_requests("0+92x40", "0x19 8+8x20"),
        at="6m30s",
        fires=(_API,),
    ),
    Case(
        alert="HighErrorRate",
        says="six requests in two minutes of a quiet night, and all fail",
        series=_requests("0x40", "0+0.75x40"),
        at="5m",
        fires=(_API,),
    ),
    Case(
        alert="HighErrorRate",
        says="four in two minutes, and all fail",
        series=_requests("0x40", "0+0.5x40"),
        at="5m",
    ),
    Case(
        alert="HighErrorRate",
        says="four of fifty fail, no more than that in two minutes",
        series=_requests("0+5.25x40", "0+0.5x40"),
        at="5m",
    ),
    Case(
        alert="HighErrorRate",
        says="only probes fail",
        series=_requests("0+94x40", "0x40") | _requests("0x40", "0+30x40", route="/health/ready"),
        at="5m",
    ),
    Case(
        alert="HighErrorRate",
        says="a service with namespace and environment",
        series=_requests("0+94x40", "0+6x40", labels=_FULL_LABELS),
        at="5m",
        fires=({"service_name": "api", "service_namespace": "shop", "deployment_environment_name": "production"},),
    ),
    Case(
        alert="HighErrorRate",
        says="3 % fail where the service pages at 2 %",
        series=_requests("0+97x40", "0+3x40"),
        at="5m",
        fires=(_API,),
        parameters=_STRICTER,
    ),
    Case(
        alert="HighErrorRate",
        says="3 % fail where only another service pages at 2 %",
        series=_requests("0+97x40", "0+3x40", labels='service_name="payment"'),
        at="5m",
        parameters=_STRICTER,
    ),
    Case(
        alert="HighErrorRate",
        says="a tenth of a route fails that pages at a half",
        series=_requests("0+90x40", "0+10x40", route="/report"),
        at="5m",
        parameters=_ROUTES,
    ),
    Case(
        alert="HighErrorRate",
        says="six in ten of a route fail that pages at a half",
        series=_requests("0+40x40", "0+60x40", route="/report"),
        at="5m",
        fires=({"service_name": "api", "http_route": "/report"},),
        parameters=_ROUTES,
    ),
)
