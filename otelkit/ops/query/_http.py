"""The only place that speaks HTTP to the stores of telemetry: one bounded GET, and errors that say who, where and what.

No proxy variable is honoured and no redirect followed: a store is asked where it was configured, or not at all.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

from otelkit.errors import QueryError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_MAX_ANSWER = 256 * 1024 * 1024
_MAX_REASON = 500
_CHUNK = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One store's HTTP API.

    Args:
        name: What errors call it, for example "Tempo".
        url: Base URL, http or https. A path is kept as prefix; user and password become a basic Authorization header.
        headers: Header fields for each request, for example a tenant. Never shown.
        timeout: Seconds until the whole answer has to be in.

    Raises:
        ValueError: The URL is not an http or https URL with a host.
    """

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Refuse an URL that no request could be sent to."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.name}: an http:// or https:// URL is needed, not {self.shown_url!r}")

    @property
    def shown_url(self) -> str:
        """The base URL without user and password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")

    def ask(self, path: str, parameters: Mapping[str, str], read: Callable[[Any], T]) -> T:
        """Return what `read` makes of the JSON answer to one GET.

        Args:
            path: Appended to the base URL; starts with a slash.
            parameters: The query string's fields.
            read: Turns the parsed answer into a value; what it raises about the shape becomes a `QueryError`.

        Raises:
            QueryError: Nothing answered in time, the status is not 200, or the answer is not what was asked for.
        """
        location = path + ("?" + urlencode(parameters) if parameters else "")
        body = self._body(location)
        try:
            return read(json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"unexpected answer ({type(error).__name__}: {error}): {_reason(body)}"
            raise self._error(location, reason, http.HTTPStatus.OK.value) from error

    def text(self, path: str) -> str:
        """Return the answer to one GET as it is.

        Args:
            path: Appended to the base URL; starts with a slash.

        Raises:
            QueryError: Nothing answered in time, or the status is not 200.
        """
        return self._body(path).decode(errors="replace")

    def _body(self, location: str) -> bytes:
        status, body = self._get(location)
        if status != http.HTTPStatus.OK:
            raise self._error(location, _reason(body), status)
        return body

    def _get(self, location: str) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=self.timeout)
        deadline = time.monotonic() + self.timeout
        try:
            connection.connect()
            sock = connection.sock  # ours to set time-outs on: the connection forgets it when the server will close
            connection.request("GET", parts.path.rstrip("/") + location, headers=self._headers())
            response = connection.getresponse()
            return response.status, _read(response, sock, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise self._error(location, f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        parts = urlsplit(self.url)
        headers = {"Accept": "application/json"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return headers | dict(self.headers)

    def _error(self, location: str, reason: str, status: int | None = None) -> QueryError:
        return QueryError(backend=self.name, url=self.shown_url + location, status=status, reason=reason)


def _read(response: http.client.HTTPResponse, sock: socket.socket, deadline: float) -> bytes:
    """Return the whole body; an answer that drips or never ends is cut by the deadline or the size limit."""
    body = bytearray()
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer took too long")
        sock.settimeout(remaining)
        chunk = response.read1(_CHUNK)
        if not chunk:
            return bytes(body)
        body += chunk
        if len(body) > _MAX_ANSWER:
            raise OSError(f"the answer is larger than {_MAX_ANSWER} bytes")


def _reason(body: bytes) -> str:
    """Return the store's own words for an error, in one short line."""
    text = body.decode(errors="replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        text = document["error"]
    return " ".join(text.split())[:_MAX_REASON]
