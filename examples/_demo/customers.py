"""Does what customers do: it knows nothing of telemetry but the trace id in the shop's answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of visit.

    Args:
        outcome: What becomes of it.
        why: The reason, for a person.
        body: What the customer sends.
        status: What the shop must answer.
        path: Where it is sent.
        counted: The metric and the attributes of the counter that counts it; none counts it where that is None.
        charged: Whether the shop asks the payment service.
        deliveries: How often a worker calls payment's webhook until that takes it; 0 where there is no task.
        times: How many there are.
    """

    outcome: str
    why: str
    body: Mapping[str, Any]
    status: HTTPStatus
    path: str = "/orders"
    counted: tuple[str, Mapping[str, str]] | None = None
    charged: bool = False
    deliveries: int = 0
    times: int = 1

    @property
    def span(self) -> str:
        """The name of the server span."""
        return f"POST {self.path}"


def _ordered(status: str) -> tuple[str, Mapping[str, str]]:
    return "shop.orders", {"shop.order.status": status}


_ADA = {"email": "ada@example.org", "password": "correct horse"}

RETRIED = Kind(
    outcome="placed",
    why="paid; the bank books on being asked twice",
    body={"sku": "teapot", "quantity": 2, "card": "mastercard"},
    status=HTTPStatus.CREATED,
    counted=_ordered("placed"),
    charged=True,
    deliveries=2,
    times=2,
)
FAILED = Kind(
    outcome="failed",
    why="the payment service has a bug with this card",
    body={"sku": "teapot", "card": "diners"},
    status=HTTPStatus.BAD_GATEWAY,
    counted=_ordered("failed"),
    charged=True,
    times=2,
)
KINDS = (
    Kind(
        outcome="placed",
        why="in stock, and paid",
        body={"sku": "teapot", "quantity": 2},
        status=HTTPStatus.CREATED,
        counted=_ordered("placed"),
        charged=True,
        deliveries=1,
        times=4,
    ),
    RETRIED,
    Kind(
        outcome="placed",
        why="paid, by a bank that takes its time",
        body={"sku": "teapot", "card": "amex"},
        status=HTTPStatus.CREATED,
        counted=_ordered("placed"),
        charged=True,
        deliveries=1,
    ),
    Kind(
        outcome="declined",
        why="over the card's limit",
        body={"sku": "samovar", "quantity": 2},
        status=HTTPStatus.PAYMENT_REQUIRED,
        counted=_ordered("declined"),
        charged=True,
        times=3,
    ),
    Kind(
        outcome="sold out",
        why="payment is never asked",
        body={"sku": "grail"},
        status=HTTPStatus.CONFLICT,
        counted=_ordered("sold_out"),
    ),
    FAILED,
    Kind(
        outcome="signed up",
        why="a new user",
        body=_ADA,
        status=HTTPStatus.CREATED,
        path="/users",
        counted=("app.user.signups", {}),
    ),
    Kind(
        outcome="logged in",
        why="with the right password",
        body=_ADA,
        status=HTTPStatus.OK,
        path="/users/log-in",
        counted=("app.auth.attempts", {"app.auth.outcome": "success"}),
    ),
    Kind(
        outcome="refused",
        why="with a wrong password",
        body=_ADA | {"password": "incorrect horse"},
        status=HTTPStatus.UNAUTHORIZED,
        path="/users/log-in",
        counted=("app.auth.attempts", {"app.auth.outcome": "failure"}),
        times=2,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a customer, and how the shop answered.

    Args:
        number: Counted from 1.
        kind: What was wanted, and what should become of it.
        status: The HTTP status of the answer; 0 where none came.
        answer: What the answer says.
        trace_id: From the answer's header; "" where it had none.
        span_id: The same.
    """

    number: int
    kind: Kind
    status: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""

    def __str__(self) -> str:
        """Return how a message names the visit."""
        return f"visit {self.number} ({self.kind.outcome})"


def visits(api_url: str) -> Iterator[Visit]:
    """Make every kind of visit as often as it says, one after the other over one connection.

    Args:
        api_url: Where the shop listens.
    """
    number = 0
    with httpx.Client(base_url=api_url, timeout=_TIMEOUT, trust_env=False) as client:
        for kind in KINDS:
            for _ in range(kind.times):
                number += 1
                try:
                    answer = client.post(kind.path, json=dict(kind.body))
                except httpx.TransportError:
                    yield Visit(number=number, kind=kind)
                    continue
                # version-traceid-spanid-flags, as in a traceparent header
                named = [*answer.headers.get("traceresponse", "").split("-"), "", ""]
                yield Visit(
                    number=number,
                    kind=kind,
                    status=answer.status_code,
                    answer=answer.json(),
                    trace_id=named[1],
                    span_id=named[2],
                )
