"""Cases of the alerts that the example shop declares with its metrics."""

from __future__ import annotations

from rules.case import Case
from shop.metrics import catalog

_SHOP = catalog.metrics
_API = {"service_name": "api"}
_RUNS = {'process_cpu_time_seconds_total{service_name="api", cpu_mode="user"}': "0+1x2000"}


def _counted(name: str, label: str = "", **values: str) -> dict[str, str]:
    """Return a counter by the values of one label."""
    return {f'{name}{{service_name="api", {label}="{value}"}}': each for value, each in values.items()}


def _orders(placed: str, declined: str = "0x2000") -> dict[str, str]:
    return _counted("shop_orders_total", "shop_order_status", placed=placed, declined=declined) | _RUNS


def _log_ins(success: str, failure: str) -> dict[str, str]:
    return _counted("app_auth_attempts_total", "app_auth_outcome", success=success, failure=failure)


def _webhooks(success: str, failure: str) -> dict[str, str]:
    return _counted("app_webhook_deliveries_total", "app_webhook_outcome", success=success, failure=failure)


def _sign_ups(values: str, *, process: str = "1") -> dict[str, str]:
    return {f'app_user_signups_total{{service_name="api", service_instance_id="{process}"}}': values}


def _other_alert(steps: int) -> dict[str, str]:
    return {'ALERTS{alertname="ServiceRestarting", alertstate="firing", service_name="api"}': f"1x{steps}"}


# For 80 min 15 orders in 5 min, then none.
_STOPPED = _orders("0+0.75x320 240x1000")

_ORDERS = (
    Case(
        alert="OrdersStopped",
        says="15 in five minutes before, and none for five",
        series=_STOPPED,
        at="85m30s",
        fires=(_API,),
        summary="api has counted no shop.orders (shop.order.status=placed) for 5m",
        catalog=_SHOP,
    ),
    Case(alert="OrdersStopped", says="none for four minutes", series=_STOPPED, at="84m", catalog=_SHOP),
    Case(
        alert="OrdersStopped",
        says="seven in five minutes before, and none for five",
        series=_orders("0+0.375x320 120x100"),
        at="86m",
        catalog=_SHOP,
    ),
    Case(
        alert="OrdersStopped", says="15 in five minutes, as ever", series=_orders("0+0.75x400"), at="86m", catalog=_SHOP
    ),
    Case(
        alert="OrdersStopped",
        says="all orders are declined",
        series=_orders("0+0.75x320 240x100", "0x320 0+1x100"),
        at="86m",
        fires=(_API,),
        catalog=_SHOP,
    ),
    Case(
        alert="OrdersStopped",
        says="all orders were declined before, and none come any more",
        series=_orders("0x420", "0+1x320 320x100"),
        at="86m",
        catalog=_SHOP,
    ),
    Case(
        alert="OrdersStopped",
        says="four hours later still none",
        series=_STOPPED,
        at="4h",
        every="1m",
        fires=(_API,),
        catalog=_SHOP,
    ),
    Case(
        alert="OrdersStopped",
        says="the service is gone itself",
        series=_STOPPED | dict.fromkeys(_RUNS, "0+1x320"),
        at="90m",
        catalog=_SHOP,
    ),
    Case(
        alert="OrdersStopped",
        says="nobody ever bought, and another alert fires",
        series=_orders("0x400") | _other_alert(400),
        at="86m",
        catalog=_SHOP,
    ),
)

_SIGNUPS = tuple(
    Case(
        alert="SignupsLow",
        says=says,
        series=series,
        at=at,
        fires=fires,
        summary=summary,
        catalog=_SHOP,
        step="5m",
        every="2m" if at == "72h" else "10m",
    )
    for says, series, at, fires, summary in (
        (
            "none within a day, after a day with some",
            _sign_ups("0+0.5x288 144x600"),
            "49h",
            (_API,),
            "api has counted 0 app.user.signups within 1d",
        ),
        ("none within a day, not yet for 30 min", _sign_ups("0+0.5x288 144x600"), "48h10m", (), ""),
        ("one within a day", _sign_ups("0+0.5x288 144x200 145x400"), "49h", (), ""),
        ("three quarters of one within a day", _sign_ups("0+0.5x288 144x200 144.75x400"), "49h", (_API,), ""),
        ("a process that never counts any: it only imports the declaration", _sign_ups("0x900"), "49h", (), ""),
        ("the first day of a service", _sign_ups("0x200"), "12h", (), ""),
        (
            "another alert on one that never counts any",
            _sign_ups("0x900") | _other_alert(900),
            "49h",
            (),
            "",
        ),
        (
            "two days later still none, by another process",
            _sign_ups("0+0.5x288 144x6 _x900") | _sign_ups("_x290 0x900", process="2"),
            "72h",
            (_API,),
            "",
        ),
    )
)

CASES = (
    *_ORDERS,
    *_SIGNUPS,
    Case(
        alert="AuthFailuresHigh",
        says="40 % of the log-ins fail",
        series=_log_ins("0+60x60", "0+40x60"),
        at="6m",
        fires=(_API,),
        summary="40% of app.auth.attempts of api have app.auth.outcome=failure",
        catalog=_SHOP,
    ),
    Case(
        alert="AuthFailuresHigh",
        says="40 % of the log-ins fail, not yet for 5 min",
        series=_log_ins("0+60x60", "0+40x60"),
        at="5m",
        catalog=_SHOP,
    ),
    Case(
        alert="AuthFailuresHigh",
        says="20 % of the log-ins fail",
        series=_log_ins("0+80x60", "0+20x60"),
        at="6m",
        catalog=_SHOP,
    ),
    Case(
        alert="AuthFailuresHigh",
        says="20 in five minutes, and all fail",
        series=_log_ins("0x80", "0+1x80"),
        at="12m",
        fires=(_API,),
        catalog=_SHOP,
    ),
    Case(
        alert="AuthFailuresHigh",
        says="ten of twenty in five minutes fail",
        series=_log_ins("0+0.5x80", "0+0.5x80"),
        at="12m",
        catalog=_SHOP,
    ),
    Case(
        alert="WebhookDeliveryFailing",
        says="6 % of the deliveries fail",
        series=_webhooks("0+94x60", "0+6x60"),
        at="6m",
        fires=(_API,),
        summary="6% of app.webhook.deliveries of api have app.webhook.outcome=failure",
        catalog=_SHOP,
    ),
    Case(
        alert="WebhookDeliveryFailing",
        says="6 % of the deliveries fail, not yet for 5 min",
        series=_webhooks("0+94x60", "0+6x60"),
        at="5m",
        catalog=_SHOP,
    ),
    Case(
        alert="WebhookDeliveryFailing",
        says="4 % of the deliveries fail",
        series=_webhooks("0+96x60", "0+4x60"),
        at="6m",
        catalog=_SHOP,
    ),
    Case(
        alert="WebhookDeliveryFailing",
        says="seven in five minutes, and all fail",
        series=_webhooks("0x80", "0+0.375x80"),
        at="12m",
        fires=(_API,),
        catalog=_SHOP,
    ),
    Case(
        alert="WebhookDeliveryFailing",
        says="four of forty in five minutes fail",
        series=_webhooks("0+1.75x80", "0+0.1875x80"),
        at="12m",
        catalog=_SHOP,
    ),
)

SURVIVORS = {
    'OrdersStopped: without alertstate="firing"': "it fires at once: it is never pending",
    'SignupsLow: without alertstate="firing"': "while it is pending, what was counted before is still seen",
}
