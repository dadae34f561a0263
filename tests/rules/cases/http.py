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

_BOUNDS = ("0.5", "1", "2.5", "10", "+Inf")


def _durations(*values: str, labels: str = 'service_name="api"', route: str = "/orders") -> dict[str, str]:
    """Return how many requests took up to 0.5, 1, 2.5 and 10 s, and how many there were, each 15 s."""
    name = f'http_server_request_duration_seconds_bucket{{{labels}, http_route="{route}", le='
    counts = _requests(values[-1], "0x40", labels=labels, route=route)
    return {f'{name}"{le}"}}': each for le, each in zip(_BOUNDS, values, strict=True)} | counts


def _calls(**values: str) -> dict[str, str]:
    """Return the calls to a bank, by what became of them: "ok", or the type of the error."""
    labels = 'service_name="api", server_address="bank.example", server_port="443"'
    ends = {"ok": "", "e503": ', error_type="503"', "e404": ', error_type="404"', "gone": ', error_type="ConnectError"'}
    name = "http_client_request_duration_seconds_count"
    return {f"{name}{{{labels}{ends[end]}}}": each for end, each in values.items()}


def _call_durations(*values: str) -> dict[str, str]:
    """Return how many calls to the bank took up to 0.5, 1, 2.5 and 10 s, and how many there were, each 15 s."""
    labels = 'service_name="api", server_address="bank.example", server_port="443"'
    name = f"http_client_request_duration_seconds_bucket{{{labels}, le="
    return {f'{name}"{le}"}}': each for le, each in zip(_BOUNDS, values, strict=True)} | _calls(ok=values[-1])


_BANK = {"service_name": "api", "server_address": "bank.example", "server_port": "443"}
_RUNS = {'process_cpu_time_seconds_total{service_name="api", cpu_mode="user"}': "0+1x1200"}
_SLOW_REPORT = Parameters(services={"api": Service(routes={"/report": {"p95_crit": 9.5}})})

# Of a hundred requests each 15 s twenty take between 1 and 2.5 s: one in twenty takes longer than 2.125 s.
_SLOW = _durations("0+70x40", "0+80x40", "0+100x40", "0+100x40", "0+100x40")
# Ten do: 1.75 s.
_NOT_SO_SLOW = _durations("0+80x40", "0+90x40", "0+100x40", "0+100x40", "0+100x40")
# Ten take between 0.5 and 1 s: 0.75 s. Three do: 0.48 s.
_SLUGGISH = _durations("0+90x60", "0+100x60", "0+100x60", "0+100x60", "0+100x60")
_BRISK = _durations("0+97x60", "0+100x60", "0+100x60", "0+100x60", "0+100x60")

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
    Case(
        alert="ElevatedErrorRate",
        says="1.5 % of the requests fail",
        series=_requests("0+985x60", "0+15x60"),
        at="6m",
        fires=(_API,),
        summary="api answers 1.5% of its requests with 5xx",
    ),
    Case(alert="ElevatedErrorRate", says="0.8 % fail", series=_requests("0+992x60", "0+8x60"), at="6m"),
    Case(
        alert="ElevatedErrorRate",
        says="1.5 % of the requests fail, not yet for 5 min",
        series=_requests("0+985x60", "0+15x60"),
        at="5m",
    ),
    Case(
        alert="ElevatedErrorRate",
        says="six requests in five minutes, and all fail",
        series=_requests("0x60", "0+0.3x60"),
        at="11m",
        fires=(_API,),
    ),
    Case(
        alert="ElevatedErrorRate",
        says="four requests in five minutes, and all fail",
        series=_requests("0x60", "0+0.2x60"),
        at="11m",
    ),
    Case(
        alert="ElevatedErrorRate",
        says="four of forty fail, no more than that in five minutes",
        series=_requests("0+1.8x60", "0+0.2x60"),
        at="11m",
    ),
    Case(
        alert="ElevatedErrorRate",
        says="only probes fail",
        series=_requests("0+985x60", "0x60") | _requests("0x60", "0+300x60", route="/livez"),
        at="11m",
    ),
    Case(
        alert="HighLatency",
        says="one request in twenty takes longer than 2.1 s",
        series=_SLOW,
        at="2m",
        fires=(_API,),
        summary="One request in twenty to api takes longer than 2.125s",
    ),
    Case(alert="HighLatency", says="one request in twenty takes longer than 1.75 s", series=_NOT_SO_SLOW, at="2m"),
    Case(
        alert="HighLatency",
        says="one request in twenty takes longer than 2.1 s, not yet for 30 s",
        series=_SLOW,
        at="30s",
    ),
    Case(
        alert="HighLatency",
        says="one request in eight seconds, and all are slow",
        series=_durations("0x40", "0x40", "0x40", "0+1.8x40", "0+1.8x40"),
        at="4m",
        fires=(_API,),
    ),
    Case(
        alert="HighLatency",
        says="one request in twelve seconds, and all are slow",
        series=_durations("0x40", "0x40", "0x40", "0+1.2x40", "0+1.2x40"),
        at="4m",
    ),
    Case(
        alert="HighLatency",
        says="only probes are slow",
        series=_NOT_SO_SLOW | _durations(*["0x40"] * 3, "0+100x40", "0+100x40", route="/health"),
        at="4m",
    ),
    Case(
        alert="HighLatency",
        says="one report in two takes longer than 2.5 s, where reports may take 9.5",
        series=_durations(*["0x40"] * 2, "0+45x40", "0+100x40", "0+100x40", route="/report"),
        at="4m",
        parameters=_SLOW_REPORT,
    ),
    Case(
        alert="HighLatency",
        says="a report takes 10 s, where reports may take 9.5",
        series=_durations(*["0x40"] * 3, "0+100x40", "0+100x40", route="/report"),
        at="4m",
        fires=({"service_name": "api", "http_route": "/report"},),
        parameters=_SLOW_REPORT,
    ),
    Case(
        alert="HighLatency",
        says="an order takes as long as only reports may",
        series=_durations(*["0x40"] * 3, "0+100x40", "0+100x40"),
        at="4m",
        fires=(_API,),
        parameters=_SLOW_REPORT,
    ),
    Case(
        alert="ElevatedLatency",
        says="one request in twenty takes longer than 0.75 s",
        series=_SLUGGISH,
        at="6m",
        fires=(_API,),
        summary="One request in twenty to api takes longer than 750ms",
    ),
    Case(alert="ElevatedLatency", says="one request in twenty takes longer than 0.48 s", series=_BRISK, at="6m"),
    Case(
        alert="ElevatedLatency",
        says="one request in twenty takes longer than 0.75 s, not yet for 5 min",
        series=_SLUGGISH,
        at="5m",
    ),
    Case(
        alert="ElevatedLatency",
        says="one request in eight seconds, and all are slow",
        series=_durations("0x60", "0x60", "0x60", "0+1.8x60", "0+1.8x60"),
        at="11m",
        fires=(_API,),
    ),
    Case(
        alert="ElevatedLatency",
        says="one request in twelve seconds, and all are slow",
        series=_durations("0x60", "0x60", "0x60", "0+1.2x60", "0+1.2x60"),
        at="11m",
    ),
    Case(
        alert="ElevatedLatency",
        says="only probes are slow",
        series=_BRISK | _durations(*["0x60"] * 3, "0+100x60", "0+100x60", route="/readyz"),
        at="11m",
    ),
    Case(
        alert="TrafficStopped",
        says="after an hour of a request in eight seconds, none any more",
        series=_requests("0+1.875x280 525x80", "0x360") | _RUNS,
        at="78m30s",
        fires=(_API,),
        summary="api runs, and is asked nothing any more",
    ),
    Case(
        alert="TrafficStopped",
        says="none any more, not yet for 3 min",
        series=_requests("0+1.875x280 525x80", "0x360") | _RUNS,
        at="77m30s",
    ),
    Case(
        alert="TrafficStopped",
        says="after an hour of a request in twelve seconds, none any more",
        series=_requests("0+1.25x280 350x80", "0x360") | _RUNS,
        at="80m",
    ),
    Case(
        alert="TrafficStopped",
        says="it is asked as ever",
        series=_requests("0+1.8x360", "0x360") | _RUNS,
        at="80m",
    ),
    Case(
        alert="TrafficStopped",
        says="a new process, which nobody asked yet, after one that was asked",
        series=_requests("0+1.875x280 _x80", "0x280 _x80") | _RUNS,
        at="82m",
        fires=(_API,),
    ),
    Case(
        alert="TrafficStopped",
        says="only probes are asked any more",
        series=_requests("0+1.875x280 525x80", "0x360") | _requests("0+1x360", "0x360", route="/health") | _RUNS,
        at="80m",
        fires=(_API,),
    ),
    Case(
        alert="TrafficStopped",
        says="it is gone itself",
        series=_requests("0+1.875x280 525x80", "0x360")
        | {'process_cpu_time_seconds_total{service_name="api", cpu_mode="user"}': "0+1x280"},
        at="82m",
    ),
    Case(
        alert="TrafficStopped",
        says="after four hours still none",
        series=_requests("0+1.875x280 525x1000", "0x1280") | _RUNS,
        at="4h",
        every="1m",
        fires=(_API,),
    ),
    Case(
        alert="TrafficStopped",
        says="after four hours the first request",
        series=_requests("0+1.875x280 525x660 526x20", "0x1280") | _RUNS,
        at="3h57m",
        every="1m",
    ),
    Case(
        alert="TrafficStopped",
        says="much an hour ago, hardly anything since, then none: nobody expects it for 3 min",
        series=_requests("0+120x6 720+0.125x257 752.125x90", "0x353") | _RUNS,
        at="78m",
    ),
    Case(
        alert="TrafficStopped",
        says="nobody ever asked it much, and another alert on it fires",
        series=_requests("0+0.125x200 25x160", "0x360")
        | _RUNS
        | {'ALERTS{alertname="ServiceRestarting", alertstate="firing", service_name="api"}': "1x360"},
        at="80m",
    ),
    Case(
        alert="RequestsPilingUp",
        says="120 requests at a time, in two processes",
        series={
            'http_server_active_requests{service_name="api", service_instance_id="1"}': "60x60",
            'http_server_active_requests{service_name="api", service_instance_id="2"}': "60x60",
        },
        at="6m",
        fires=(_API,),
        summary="api is answering 120 requests at a time",
    ),
    Case(
        alert="RequestsPilingUp",
        says="120 requests at a time, not yet for 5 min",
        series={'http_server_active_requests{service_name="api"}': "120x60"},
        at="4m45s",
    ),
    Case(
        alert="RequestsPilingUp",
        says="80 at a time",
        series={'http_server_active_requests{service_name="api"}': "80x60"},
        at="6m",
    ),
    Case(
        alert="HighRequestRate",
        says="120 requests a second",
        series=_requests("0+1800x60", "0x60"),
        at="10m",
        fires=(_API,),
        summary="api gets 120 requests a second",
    ),
    Case(
        alert="HighRequestRate",
        says="120 requests a second, not yet for 5 min",
        series=_requests("0+1800x60", "0x60"),
        at="9m",
    ),
    Case(
        alert="HighRequestRate",
        says="80 requests a second, and as many of probes",
        series=_requests("0+1200x60", "0x60") | _requests("0+1200x60", "0x60", route="/health/ready"),
        at="10m",
    ),
    Case(
        alert="UpstreamFailing",
        says="6 % of the calls fail, by 503 and by no answer",
        series=_calls(ok="0+94x60", e503="0+3x60", gone="0+3x60"),
        at="6m",
        fires=(_BANK,),
        summary="6% of the calls of api to bank.example:443 fail",
    ),
    Case(
        alert="UpstreamFailing",
        says="6 % of the calls fail, not yet for 5 min",
        series=_calls(ok="0+94x60", e503="0+6x60"),
        at="5m",
    ),
    Case(alert="UpstreamFailing", says="4 % fail", series=_calls(ok="0+96x60", e503="0+4x60"), at="6m"),
    Case(
        alert="UpstreamFailing",
        says="half of the calls ask for what there is not",
        series=_calls(ok="0+50x60", e404="0+50x60", e503="0x60"),
        at="6m",
    ),
    Case(
        alert="UpstreamFailing",
        says="six calls in five minutes, and all fail",
        series=_calls(e503="0+0.3x60"),
        at="11m",
        fires=(_BANK,),
    ),
    Case(
        alert="UpstreamFailing",
        says="four calls in five minutes, and all fail",
        series=_calls(e503="0+0.2x60"),
        at="11m",
    ),
    Case(
        alert="UpstreamFailing",
        says="four of forty calls fail, no more than that in five minutes",
        series=_calls(ok="0+1.8x60", e503="0+0.2x60"),
        at="11m",
    ),
    Case(
        alert="UpstreamSlow",
        says="one call in twenty takes longer than 2.1 s",
        series=_call_durations("0+70x60", "0+80x60", "0+100x60", "0+100x60", "0+100x60"),
        at="6m",
        fires=(_BANK,),
        summary="One call in twenty of api to bank.example:443 takes longer than 2.125s",
    ),
    Case(
        alert="UpstreamSlow",
        says="one call in twenty takes longer than 2.1 s, not yet for 5 min",
        series=_call_durations("0+70x60", "0+80x60", "0+100x60", "0+100x60", "0+100x60"),
        at="5m",
    ),
    Case(
        alert="UpstreamSlow",
        says="one call in twenty takes longer than 1.75 s",
        series=_call_durations("0+80x60", "0+90x60", "0+100x60", "0+100x60", "0+100x60"),
        at="6m",
    ),
    Case(
        alert="UpstreamSlow",
        says="six calls in five minutes, and all are slow",
        series=_call_durations("0x60", "0x60", "0x60", "0+0.3x60", "0+0.3x60"),
        at="11m",
        fires=(_BANK,),
    ),
    Case(
        alert="UpstreamSlow",
        says="four calls in five minutes, and all are slow",
        series=_call_durations("0x60", "0x60", "0x60", "0+0.2x60", "0+0.2x60"),
        at="11m",
    ),
)
