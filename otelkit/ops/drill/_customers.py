"""The only place for the customers of a bench's shop, who come steadily: rates, shares and quantiles need them."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_MANY: Final = 4
_PAUSE: Final = 1.0  # seconds of each customer between two visits
_ANSWER: Final = 45.0  # seconds; a request that waits for a connection gives up after 30
_WRONG: Final = "wrong horse battery"
_FORGETS: Final = 7  # which of eight log-ins is refused


class Customers:
    """Context manager: customers who come until its end, whatever they are answered.

    Args:
        api: The shop's URL.
    """

    def __init__(self, api: str) -> None:
        self._api = api
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._left = threading.Event()
        # Daemons: one who waits for an answer holds nobody up.
        self._threads = [threading.Thread(target=self._come, args=(name,), daemon=True) for name in range(_MANY)]

    def __enter__(self) -> Self:
        """Open the doors."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._left.set()
        for thread in self._threads:
            thread.join(2 * _PAUSE)

    def _come(self, name: int) -> None:
        account = {"email": f"customer-{name}@example.org", "password": "correct horse battery"}
        for path, body, token in self._visits(account):
            if self._left.wait(_PAUSE):
                return
            answer = self._ask(path, body, token)
            if path == "/users/log-in" and "token" in answer:
                account["token"] = answer["token"]

    @staticmethod
    def _visits(account: dict[str, str]) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
        who = {name: account[name] for name in ("email", "password")}
        yield "/users", who, ""
        while True:
            for number in range(8):
                yield "/users/log-in", {**who, "password": _WRONG} if number == _FORGETS else who, ""
                yield "/users/me", None, account.get("token", "")
                yield "/orders", {"sku": ("teapot", "samovar")[number % 2]}, ""
                for sku in ("teapot", "samovar") * 3:
                    yield f"/products/{sku}", None, ""

    def _ask(self, path: str, body: dict[str, Any] | None, token: str) -> dict[str, Any]:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._api}{path}", data=data, headers=headers)  # noqa: S310  the bench's own
        try:
            with self._opener.open(request, timeout=_ANSWER) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as refused:
            refused.close()
        except (OSError, ValueError):
            pass  # the shop is away, or answers nonsense: that is what a drill is about
        return {}
