"""What the shop counts: each metric is declared once, here, and used where it happens.

Every order, log-in and delivery ends in one value of a closed set. All of them are published from the start, as zeros:
an alert on the first failed order needs the zero before it.
"""

import otelkit

catalog = otelkit.Catalog("shop")

ORDERS = catalog.counter(
    "shop.orders",
    unit="{order}",
    description="Orders by what became of them.",
    attributes={"shop.order.status": ("placed", "declined", "sold_out", "failed")},
)
REVENUE = catalog.counter("shop.revenue", unit="EUR", description="Money from confirmed orders.")
SIGN_UPS = catalog.counter("app.user.signups", unit="{user}", description="Users who signed up.")
LOG_INS = catalog.counter(
    "app.auth.attempts",
    unit="{attempt}",
    description="Attempts to log in.",
    attributes={"app.auth.outcome": ("success", "failure")},
)
DELIVERIES = catalog.counter(
    "app.webhook.deliveries",
    unit="{delivery}",
    description="Webhooks delivered, or not: each attempt counts.",
    attributes={"app.webhook.outcome": ("success", "failure")},
)
