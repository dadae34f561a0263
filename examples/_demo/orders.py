"""Places orders as a customer's browser would: it knows nothing of telemetry but the trace id in the shop's answer."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of order.

    Args:
        outcome: What becomes of it.
        why: The reason, for a person.
        body: What the customer sends.
        status: What the shop must answer.
        charged: Whether the shop asks the payment service.
        times: How many are placed.
    """

    outcome: str
    why: str
    body: Mapping[str, Any]
    status: HTTPStatus
    charged: bool = True
    times: int = 1


PLACED = Kind(
    outcome="placed",
    why="in stock, and paid",
    body={"sku": "teapot", "quantity": 2},
    status=HTTPStatus.CREATED,
    times=6,
)
FAILED = Kind(
    outcome="failed",
    why="the payment service has a bug with this card",
    body={"sku": "teapot", "card": "diners"},
    status=HTTPStatus.BAD_GATEWAY,
    times=2,
)
KINDS = (
    PLACED,
    Kind(
        outcome="declined",
        why="over the card's limit",
        body={"sku": "samovar", "quantity": 2},
        status=HTTPStatus.PAYMENT_REQUIRED,
        times=3,
    ),
    Kind(outcome="declined", why="sold out", body={"sku": "grail"}, status=HTTPStatus.CONFLICT, charged=False),
    FAILED,
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order that was placed, and how the shop answered.

    Args:
        number: Counted from 1.
        kind: What was ordered, and what should become of it.
        status: The HTTP status of the answer; 0 where none came.
        trace_id: From the answer's header; "" where it had none.
        span_id: The same.
    """

    number: int
    kind: Kind
    status: int = 0
    trace_id: str = ""
    span_id: str = ""

    def __str__(self) -> str:
        """Return how a message names the order."""
        return f"order {self.number} ({self.kind.outcome})"


def place(shop_url: str) -> Iterator[Order]:
    """Place every kind of order as often as it says, one after the other over one connection.

    Args:
        shop_url: Where the shop listens.
    """
    number = 0
    with httpx.Client(base_url=shop_url, timeout=_TIMEOUT, trust_env=False) as client:
        for kind in KINDS:
            for _ in range(kind.times):
                number += 1
                try:
                    answer = client.post("/orders", json=dict(kind.body))
                except httpx.TransportError:
                    yield Order(number=number, kind=kind)
                    continue
                # version-traceid-spanid-flags, as in a traceparent header
                named = [*answer.headers.get("traceresponse", "").split("-"), "", ""]
                yield Order(number=number, kind=kind, status=answer.status_code, trace_id=named[1], span_id=named[2])
