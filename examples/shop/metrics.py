"""What the shop counts: each metric is declared once, here, and used where it happens.

Every order, log-in and delivery ends in one value of a closed set. All of them are published from the start, as zeros:
an alert on the first failed order needs the zero before it.
"""

import otelkit
from otelkit.metrics import Below, Ratio, Stopped

catalog = otelkit.Catalog("shop")

ORDERS = catalog.counter(
    "shop.orders",
    unit="{order}",
    description="Orders by what became of them.",
    attributes={"shop.order.status": ("placed", "declined", "sold_out", "failed")},
    alert=Stopped(
        name="OrdersStopped",
        for_="5m",
        where={"shop.order.status": "placed"},
        feels="Nobody can buy.",
        runbook="Look at the other values of shop.order.status first. `failed` rises: payment is out of order, call "
        "its provider. `declined` rises: cards are refused, ask the bank. `sold_out` rises: restock. None "
        "rises: nobody gets as far as ordering, so look at TrafficStopped and at the page of the cart.",
    ),
)
REVENUE = catalog.counter("shop.revenue", unit="EUR", description="Money from confirmed orders.")
SIGN_UPS = catalog.counter(
    "app.user.signups",
    unit="{user}",
    description="Users who signed up.",
    alert=Below(
        name="SignupsLow",
        per="1d",
        value=1,
        severity="info",
        feels="Nobody new comes in.",
        runbook="Sign up yourself. It works: ask marketing whether a campaign ended. It does not: the log of the "
        "request says why; a mail that is never sent is the usual reason.",
    ),
)
LOG_INS = catalog.counter(
    "app.auth.attempts",
    unit="{attempt}",
    description="Attempts to log in.",
    attributes={"app.auth.outcome": ("success", "failure")},
    alert=Ratio(
        name="AuthFailuresHigh",
        bad={"app.auth.outcome": "failure"},
        over=0.3,
        at_least=15,
        severity="info",
        feels="Users cannot log in, or somebody tries passwords.",
        runbook="Many names from few addresses are an attack: limit those addresses in the proxy. Many users who fail "
        "once or twice: a release broke the login, roll it back.",
    ),
)
DELIVERIES = catalog.counter(
    "app.webhook.deliveries",
    unit="{delivery}",
    description="Webhooks delivered, or not: each attempt counts.",
    attributes={"app.webhook.outcome": ("success", "failure")},
    alert=Ratio(
        name="WebhookDeliveryFailing",
        bad={"app.webhook.outcome": "failure"},
        over=0.05,
        severity="info",
        feels="Partners learn of orders late, or never.",
        runbook="The failing calls, by address, stand under UpstreamFailing. One address: tell its owner. All: look "
        "at our own way out, DNS and the certificates that it trusts.",
    ),
)
