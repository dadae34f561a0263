"""The only place that sends what a client sends: every request with its secrets, and in a trace of its own."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from leaks import plants
from leaks.plants import secret
from support.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT = 20  # seconds
_FORM = "application/x-www-form-urlencoded"
_REDIS = ("known", "several", "subscribed", "script")
_REDIS_FAILING = (
    *("script-error", "failing", "failing-pipeline", "failing-transaction", "unknown-name", "unknown", "subcommand"),
)
_CAUGHT = ("password", "cause", "member of a group", "note", "local variable", "text of its own making")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Args:
        target: Path and query.
        method: The HTTP method.
        headers: Its own headers.
        body: What is sent along.
        status: What it must be answered with.
        logs: Whether the application logs something meanwhile.
    """

    target: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    status: int = 200
    logs: bool = False


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request that was answered.

    Args:
        request: It.
        status: The answer's status; 0 where none came.
        trace_id: The trace that the client began.
    """

    request: Request
    status: int
    trace_id: str


def requests(databases: tuple[str, ...], redis: tuple[str, ...]) -> Iterator[Request]:
    """Return all of them; databases and clients of Redis as far as there are."""
    yield _inbound()
    basic = base64.b64encode(f"shop:{secret('header: authorization, basic')}".encode()).decode()
    fields = {"password": secret("body: form password"), "email": secret("body: form e-mail")}
    yield Request(
        target="/form",
        method="POST",
        headers={"Authorization": f"Basic {basic}", "Content-Type": _FORM},
        body=urlencode(fields),
    )
    yield Request(target=f"/redirect?code={secret('query: in a redirect')}", status=307)
    unknown = f"/nowhere/{secret('path: jwt in an unknown path')}?password={secret('query: in an unknown path')}"
    yield Request(target=unknown, status=404)
    yield Request(
        target=f"/live?token={secret('query: of a websocket')}",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        },
        status=101,
    )
    account = {
        "password": secret("validation: json password"),
        "email": secret("validation: json e-mail"),
        "card": secret("validation: errors in a message, card"),
    }
    yield Request(
        target=f"/validation?pin={secret('validation: query')}",
        method="POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps(account),
        status=422,
        logs=True,
    )
    for database in databases:
        # 0 to 8 work; what follows fails, but for the literal in dollars and the first of two equal rows.
        failing = {9, 10, 13, 14, 15, 16} if database in plants.POSTGRES else {9, 10, 11}
        for number in range(17 if database in plants.POSTGRES else 12):
            yield Request(target=f"/sql/{database}/{number}", status=500 if number in failing else 200)
    for client in redis:
        for call in _REDIS:
            yield Request(target=f"/redis/{client}/{call}")
        for call in _REDIS_FAILING:
            yield Request(target=f"/redis/{client}/{call}", status=500, logs=True)
    if redis:
        yield Request(target="/redis-servers", status=500, logs=True)
    for place in plants.SERVICE:
        start, _, what = place.partition("exception: ")
        if not start and not what.startswith(("of a", "recorded")):
            yield Request(target=f"/raise/{quote(what)}", status=500)
    for what in _CAUGHT:
        yield Request(target=f"/caught/{quote(what)}", logs=True)
    yield Request(target="/background")
    yield Request(target="/log/stdlib", logs=True)
    yield Request(target="/log/structlog", logs=True)
    yield Request(target="/measured", logs=True)
    yield Request(target="/outbound", status=500)


def _inbound() -> Request:
    path = "/".join(quote(secret(f"path: {what}")) for what in ("jwt", "card", "e-mail"))
    query = urlencode(
        {
            "password": secret("query: password"),
            "token": secret("query: token"),
            "email": secret("query: e-mail"),
            "q": secret("query: any other key"),
        }
    )
    proxied = base64.b64encode(f"shop:{secret('header: proxy-authorization')}".encode()).decode()
    address = quote(secret("header: baggage, e-mail"))
    body = {
        "password": secret("body: json password"),
        "payment": {"card": secret("body: json card"), "token": secret("body: json nested token")},
    }
    return Request(
        target=f"/inbound/{path}?{query}&{secret('query: no key')}",
        method="POST",
        headers={
            "Authorization": f"Bearer {secret('header: authorization, bearer')}",
            "Proxy-Authorization": f"Basic {proxied}",
            "Cookie": f"theme=dark; session={secret('header: cookie')}",
            "X-Api-Key": secret("header: x-api-key"),
            "X-Auth-Token": secret("header: x-auth-token"),
            "User-Agent": f"shop-app/3.1 ({secret('header: user-agent, api key')}; "
            f"+mailto:{secret('header: user-agent, e-mail')})",
            "Referer": f"https://shop.example/reset?code={secret('header: referer, query')}",
            "Baggage": f"session.token={secret('header: baggage, token')},user.email={address}",
            "Content-Type": "application/json",
        },
        body=json.dumps(body),
    )


def send(port: int, request: Request) -> Sent:
    """Send one request over a connection of its own."""
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01", **request.headers}
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request(request.method, request.target, body=request.body, headers=headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return Sent(request=request, status=0, trace_id=trace_id)
    else:
        return Sent(request=request, status=answer.status, trace_id=trace_id)
    finally:
        connection.close()


def ask(port: int, target: str) -> Any:
    """Return the JSON that a request is answered with."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", target)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
