"""The only place that knows which secret is planted where, and by which spellings it would be found.

Every place has a secret of its own, made from the place's name: a hit names the place, and the application and the
runner, which are two processes, know the same ones. A secret looks like its kind; those of the kind `OPAQUE` look like
nothing, and are planted only where the place itself says that a value is private.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Mapping

OPAQUE = "opaque"  # no shape, as most passwords: nobody knows it by itself
API_KEY = "api key"
TOKEN = "token"
JWT = "jwt"
CARD = "card"
EMAIL = "e-mail"
PRIVATE_KEY = "private key"
CONNECTION = "connection string"
CLOUD_KEY = "cloud key"

SOURCE_LINE = "exception: password in the source line of a frame"
BROKER_PASSWORD = "hunter2OfRedisAndRabbitMQ"
_WRITTEN = {
    SOURCE_LINE: "hunter2SourceLineOfAFrame",
    "redis: password of the server": BROKER_PASSWORD,
    "tasks: password of the broker": BROKER_PASSWORD,
}
"""Secrets that stand in the application's source, where careless people leave them, or that two places have; the
others are made."""
DATABASES = ("sqlite", "aiosqlite", "psycopg", "asyncpg")
POSTGRES = ("psycopg", "asyncpg")

_SQL = {
    "literal e-mail": EMAIL,
    "literal card": CARD,
    "literal password": OPAQUE,
    "literal in a list": OPAQUE,
    "literal token": TOKEN,
    "bound e-mail": EMAIL,
    "bound password": OPAQUE,
    "unique violation, e-mail": EMAIL,
    "unique violation, bound password": OPAQUE,
    "syntax error, literal": OPAQUE,
    "text of a raised error": EMAIL,
}
_POSTGRES = {
    "dollar-quoted literal": OPAQUE,
    "unique violation, opaque key": OPAQUE,
    "type error, literal": OPAQUE,
    "type error, bound value": OPAQUE,
}

REDIS_CLIENTS = ("sync", "asyncio", "cluster")
_REDIS = {
    "key": OPAQUE,
    "key with known words": OPAQUE,
    "value": OPAQUE,
    "field of a hash": OPAQUE,
    "value of a pipeline": OPAQUE,
    "value of a transaction": OPAQUE,
    "channel": OPAQUE,
    "message": OPAQUE,
    "script": OPAQUE,
    "key of a script": OPAQUE,
    "argument of a script": OPAQUE,
    "error of a script": EMAIL,
    "argument of a failing command": OPAQUE,
    "argument of a failing pipeline": OPAQUE,
    "argument of a failing transaction": OPAQUE,
    "name of an unknown command": OPAQUE,
    "argument of an unknown command": OPAQUE,
    "unknown subcommand": OPAQUE,
}

SERVICE: dict[str, str] = {
    # What a client sends.
    "header: authorization, bearer": OPAQUE,
    "header: authorization, basic": OPAQUE,
    "header: proxy-authorization": OPAQUE,
    "header: cookie": OPAQUE,
    "header: x-api-key": OPAQUE,
    "header: x-auth-token": OPAQUE,
    "header: user-agent, api key": API_KEY,
    "header: user-agent, e-mail": EMAIL,
    "header: referer, query": OPAQUE,
    "header: baggage, token": OPAQUE,
    "header: baggage, e-mail": EMAIL,
    "query: password": OPAQUE,
    "query: token": OPAQUE,
    "query: e-mail": EMAIL,
    "query: any other key": OPAQUE,
    "query: no key": JWT,
    "query: in an unknown path": OPAQUE,
    "query: in a redirect": OPAQUE,
    "query: of a websocket": OPAQUE,
    "path: jwt": JWT,
    "path: card": CARD,
    "path: e-mail": EMAIL,
    "path: jwt in an unknown path": JWT,
    "body: json password": OPAQUE,
    "body: json card": CARD,
    "body: json nested token": OPAQUE,
    "body: form password": OPAQUE,
    "body: form e-mail": EMAIL,
    "validation: json password": OPAQUE,
    "validation: json e-mail": EMAIL,
    "validation: query": OPAQUE,
    "validation: data of the event, password": OPAQUE,
    "validation: errors in a message, card": CARD,
    "response: set-cookie": OPAQUE,
    "response: x-api-key": OPAQUE,
    "response: location": OPAQUE,
    "response: body": OPAQUE,
    # What a database is told, and what it says.
    **{f"sql, {database}: {what}": kind for database in DATABASES for what, kind in _SQL.items()},
    **{f"sql, {database}: {what}": kind for database in POSTGRES for what, kind in _POSTGRES.items()},
    # What Redis is told, and what it says.
    **{f"redis, {client}: {what}": kind for client in REDIS_CLIENTS for what, kind in _REDIS.items()},
    "redis: password of the server": OPAQUE,
    "redis: wrong password": OPAQUE,
    "redis: password in the url of a server that is gone": OPAQUE,
    "redis: url that is logged": OPAQUE,
    # What is raised.
    "exception: password": OPAQUE,
    "exception: e-mail": EMAIL,
    "exception: card": CARD,
    "exception: jwt": JWT,
    "exception: bearer": OPAQUE,
    "exception: connection string": CONNECTION,
    "exception: private key": PRIVATE_KEY,
    "exception: cause": OPAQUE,
    "exception: context": API_KEY,
    "exception: member of a group": OPAQUE,
    "exception: note": CLOUD_KEY,
    "exception: arguments": EMAIL,
    "exception: text of its own making": OPAQUE,
    "exception: local variable": OPAQUE,
    SOURCE_LINE: OPAQUE,
    "exception: input of pydantic": OPAQUE,
    "exception: url of a client error": OPAQUE,
    "exception: of a background task": OPAQUE,
    "exception: of a websocket": EMAIL,
    "exception: of an abandoned asyncio task": OPAQUE,
    "exception: recorded on a span": TOKEN,
    # What is logged through stdlib logging.
    "log: message": OPAQUE,
    "log: f-string": OPAQUE,
    "log: argument": OPAQUE,
    "log: argument by name": OPAQUE,
    "log: argument that is an object": OPAQUE,
    "log: argument that is a dict": OPAQUE,
    "log: bearer": OPAQUE,
    "log: connection string": CONNECTION,
    "log: jwt": JWT,
    "log: card with spaces": CARD,
    "log: extra, password": OPAQUE,
    "log: extra, nested": OPAQUE,
    "log: extra, e-mail": EMAIL,
    "log: extra, number": CARD,
    "log: extra, headers": OPAQUE,
    "log: data of a task, args": EMAIL,
    "log: data of a task, kwargs": OPAQUE,
    "log: exception()": OPAQUE,
    "log: exception(), cause": CARD,
    "log: exc_info at level warning": CLOUD_KEY,
    "log: malformed call": OPAQUE,
    "log: warning that was captured": OPAQUE,
    "log: without any handler": OPAQUE,
    "log: of the server": OPAQUE,
    "log: of the server, exception": OPAQUE,
    "log: of opentelemetry": OPAQUE,
    "log: by the logs api, body": OPAQUE,
    "log: by the logs api, attribute": OPAQUE,
    # What is logged through structlog.
    "structlog: event": OPAQUE,
    "structlog: field": OPAQUE,
    "structlog: field, e-mail": EMAIL,
    "structlog: nested field": OPAQUE,
    "structlog: bound": API_KEY,
    "structlog: context variable": OPAQUE,
    "structlog: exception()": OPAQUE,
    "structlog: chain to stdlib logging": OPAQUE,
    "structlog: chain to stdlib logging, exception": EMAIL,
    "structlog: chain that prints": OPAQUE,
    "structlog: chain that prints, exception": OPAQUE,
    "structlog: chain that prints, local variable": OPAQUE,
    # What is measured by hand.
    "span: name": JWT,
    "span: updated name": EMAIL,
    "span: attribute by key": OPAQUE,
    "span: attribute by value": TOKEN,
    "span: attribute, list": EMAIL,
    "span: attribute at start": OPAQUE,
    "span: attribute of a number": CARD,
    "span: url.full": OPAQUE,
    "span: db.query.text": OPAQUE,
    "span: http.request.header": OPAQUE,
    "span: event name": TOKEN,
    "span: event attribute": OPAQUE,
    "span: link attribute": OPAQUE,
    "span: status description": OPAQUE,
    "baggage: set in code": OPAQUE,
    "metric: attribute by key": OPAQUE,
    "metric: attribute by value": EMAIL,
    "metric: histogram attribute": CARD,
    "metric: observed attribute": TOKEN,
    # What is sent to others.
    "outbound: query": OPAQUE,
    "outbound: password in the url": OPAQUE,
    "outbound: authorization": OPAQUE,
    "outbound: cookie": OPAQUE,
    "outbound: body": OPAQUE,
    "outbound: refused, query": OPAQUE,
    "outbound: refused, password in the url": OPAQUE,
    "outbound: logged by the client": OPAQUE,
    # What a process starts with.
    "environment: headers of the exporter": OPAQUE,
}
"""Each place where the service handles a secret, and its kind."""

PRINTED = "tasks: printed"
PREFORK_ONLY = (
    "tasks: argument of a killed task",
    "tasks: argument of a task out of time",
    "tasks: argument of a stopped task",
)
"""What only children of a pool can have: threads are not killed."""

TASKS: dict[str, str] = {
    # What tasks are given, and give.
    "tasks: positional argument": OPAQUE,
    "tasks: keyword argument": OPAQUE,
    "tasks: result": OPAQUE,
    "tasks: result that cannot be encoded": OPAQUE,
    "tasks: header": OPAQUE,
    "tasks: stamp": OPAQUE,
    "tasks: argument of a later task": OPAQUE,
    "tasks: argument of a scheduled task": OPAQUE,
    "tasks: argument of a chain": OPAQUE,
    "tasks: argument of a later link": OPAQUE,
    "tasks: argument of a group": OPAQUE,
    "tasks: argument of a chord": OPAQUE,
    "tasks: argument of a chord's body": OPAQUE,
    "tasks: failure in a chord": OPAQUE,
    "tasks: argument of an errback": OPAQUE,
    "tasks: argument of an expired task": OPAQUE,
    "tasks: argument of a revoked task": OPAQUE,
    **dict.fromkeys(PREFORK_ONLY, OPAQUE),
    # How tasks end.
    "tasks: argument of a failing task": OPAQUE,
    "tasks: local variable of a failing task": OPAQUE,
    "tasks: exception": OPAQUE,
    "tasks: exception, e-mail": EMAIL,
    "tasks: exception, cause": OPAQUE,
    "tasks: exception that is expected": EMAIL,
    "tasks: exception that cannot be pickled": OPAQUE,
    "tasks: reason of a retry": OPAQUE,
    "tasks: argument of a retry": OPAQUE,
    "tasks: argument of a task that gives up": OPAQUE,
    "tasks: reason of a rejection": OPAQUE,
    # What is in messages that are not understood.
    "tasks: name of an unknown task": EMAIL,
    "tasks: argument of an unknown task": OPAQUE,
    "tasks: keyword argument of an unknown task": OPAQUE,
    "tasks: header of an unknown task": OPAQUE,
    "tasks: body of an unknown message": OPAQUE,
    "tasks: header of an unknown message": OPAQUE,
    "tasks: body that cannot be decoded": OPAQUE,
    "tasks: body of a task that cannot be decoded": OPAQUE,
    "tasks: body of a pickled task": OPAQUE,
    "tasks: body of an invalid task": OPAQUE,
    "tasks: argument of a task with a wrong time": OPAQUE,
    # What tasks log.
    "tasks: log of the task logger": OPAQUE,
    "tasks: log of the task logger, exception": CARD,
    "tasks: log of stdlib logging": OPAQUE,
    "tasks: log of structlog, args": OPAQUE,
    "tasks: log of the request": OPAQUE,
    PRINTED: OPAQUE,
    # Where the broker is.
    "tasks: password of the broker": OPAQUE,
    "tasks: url of the broker that is logged": OPAQUE,
    "tasks: password of a broker that is gone": OPAQUE,
    "tasks: argument of a failed publish": OPAQUE,
}
"""Each place where a worker and who publishes handle a secret, and its kind."""

PLACES = SERVICE | TASKS

A7 = (
    "query: password",
    "query: token",
    *(f"sql, {database}: {what}" for database in ("sqlite", "asyncpg") for what in ("literal e-mail", "literal card")),
    *(f"sql, {database}: text of a raised error" for database in ("sqlite", "asyncpg")),
    *(f"sql, {database}: bound {what}" for database in ("sqlite", "asyncpg") for what in ("e-mail", "password")),
    "exception: e-mail",
    "exception: password",
    "exception: card",
    "header: authorization, bearer",
    "header: cookie",
    "header: x-api-key",
    "redis, sync: argument of an unknown command",
    "tasks: reason of a retry",
)
"""Where the guarantee G10 of the project's reference plants its strings."""


class Plant(NamedTuple):
    """A secret in its place.

    Args:
        place: Where, one of `PLACES`.
        kind: What it looks like.
        secret: As it is planted.
    """

    place: str
    kind: str
    secret: str

    @property
    def needles(self) -> tuple[str, ...]:
        """The parts of it that must not be found: all that only somebody who has seen the secret can know."""
        name = self.secret.partition("@")[0]
        parts = {
            JWT: self.secret.split(".")[1:],
            PRIVATE_KEY: self.secret.splitlines()[1:-1],
            CONNECTION: [name.rpartition(":")[2]],
            EMAIL: [name],
            CARD: [mark.join(re.findall("....", self.secret)) for mark in ("", " ", "-")],
        }
        return tuple(parts.get(self.kind, [self.secret]))


@cache
def secret(place: str) -> str:
    """Return the secret of a place.

    Raises:
        KeyError: There is no such place.
    """
    return _WRITTEN.get(place) or _made(PLACES[place], hashlib.sha512(place.encode()).digest())


def plants(places: Mapping[str, str]) -> tuple[Plant, ...]:
    """Return those of some places."""
    return tuple(Plant(place, kind, secret(place)) for place, kind in places.items())


def _made(kind: str, seed: bytes) -> str:
    word = base64.b32encode(seed).decode().lower().rstrip("=")
    mixed = base64.b64encode(seed * 4).decode().replace("+", "x").replace("/", "y")
    header, payload = (
        json.dumps(part, separators=(",", ":")).encode()
        for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": word[:12]})
    )
    segments = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload, seed[:32]))
    lines = (mixed[start : start + 64] for start in range(0, 192, 64))
    return {
        OPAQUE: f"hunter2{mixed[:12]}",
        API_KEY: f"sk_live_{mixed[:24]}",
        TOKEN: f"ghp_{mixed[:36]}",
        JWT: ".".join(segments),
        CARD: _with_check_digit("4" + str(int.from_bytes(seed, "big"))[:14]),
        EMAIL: f"{word[:10]}@mail.shop.example",
        PRIVATE_KEY: "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"]),
        CONNECTION: f"postgresql://shop:{mixed[:14]}@db.internal:5432/shop",
        CLOUD_KEY: f"AKIA{word[:16].upper()}",
    }[kind]


def _with_check_digit(digits: str) -> str:
    """Add what makes it pass Luhn's check, as a card's number does."""
    doubled = (int(digit) * (2 - number % 2) for number, digit in enumerate(digits))
    return digits + str(-sum(sum(divmod(each, 10)) for each in doubled) % 10)


def spellings(needle: str) -> frozenset[bytes]:
    """Return every way in which a text may stand in a message or in a terminal, in lower case as it is searched."""
    plain = {needle, quote(needle, safe=""), quote(needle), quote_plus(needle), json.dumps(needle)[1:-1]}
    plain |= {json.dumps(each)[1:-1] for each in plain}
    encoded = needle.encode()
    for lead in range(3):  # in base64 a text looks different at each place modulo three
        whole = base64.b64encode(b"\0" * lead + encoded)
        # The characters at either end also hold bits of the neighbours.
        inner = whole[[0, 2, 3][lead] : len(whole.rstrip(b"=")) - bool((lead + len(encoded)) % 3)].decode()
        plain |= {inner, inner.replace("+", "-").replace("/", "_")}
    return frozenset(each.lower().encode() for each in plain)
