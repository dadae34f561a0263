"""Tasks that fail, added to the application of `tasks`."""

from __future__ import annotations

from opentelemetry import trace
from tasks import app  # type: ignore[import-not-found]  # found beside it


class DeclinedError(Exception):
    """Cannot be unpickled: it wants more than it hands on."""

    def __init__(self, card: str, amount: int) -> None:
        super().__init__(card)
        self.amount = amount


def pay(card: str) -> None:
    raise DeclinedError(card, 7)


def charge(card: str) -> None:
    pay(card)


def spanned(card: str) -> None:
    with trace.get_tracer("shop").start_as_current_span("inside"):
        raise LookupError(card)


def expected(card: str) -> None:
    raise KeyError(card)


app.task(name="charge")(charge)
app.task(name="spanned")(spanned)
app.task(name="expected", throws=(KeyError,))(expected)
