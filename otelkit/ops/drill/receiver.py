"""The only place that takes notifications as PagerDuty, Slack, a mail server and webhooks do, and writes down when.

Alertmanager is told of it by files of secrets (`Receiver.write_secrets`) and by what is no secret (`Receiver.notify`).
It listens on the loopback interface alone. What it heard of the Watchdog is what an outside dead man's switch hears.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hmac
import json
import re
import secrets
import socketserver
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Literal

from otelkit.ops.mixin import alertmanager
from otelkit.ops.mixin.parameters import Notify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOST: Final = "127.0.0.1"
_USER: Final = "otelkit"
_PATH = {"/pagerduty": "pager", "/slack": "chat", "/webhook": "webhook", "/deadman": "deadman"}
# As `otelkit.tmpl` writes them: a title, and a line for each alert where they are several.
_TITLE = re.compile(r"\[(FIRING|RESOLVED)(?: \d+)?\](?>(?: (?:critical|warning|info|none))?) (?!several alerts)(\S+)")
_LINE = re.compile(r"^(?:-|•) (\w+): ", re.MULTILINE)
_LONGEST = 1 << 20  # bytes of one notification
_POLL = 0.05  # seconds between two looks at whether to end
_OWNER_ONLY = 0o600


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One notification.

    Args:
        at: When it came: seconds of `time.monotonic()`.
        kind: By which of `otelkit.ops.mixin.alertmanager.ALL`.
        status: What it tells.
        alerts: The names of the alerts that it is about.
        title: Its title; a webhook has none.
        text: What it says: for a person of e-mail and Slack, else JSON.
        body: All that was sent.
    """

    at: float
    kind: str
    status: Literal["firing", "resolved"]
    alerts: frozenset[str]
    title: str
    text: str
    body: str


class Receiver:
    """All receivers in one: `with Receiver.listening() as receiver:` takes free ports.

    Args:
        http_port: Where it takes PagerDuty's events, Slack's messages and webhooks.
        smtp_port: Where it takes mail.
    """

    def __init__(self, *, http_port: int, smtp_port: int) -> None:
        self._http, self._smtp = f"http://{_HOST}:{http_port}", f"{_HOST}:{smtp_port}"
        self._heard: list[Heard] = []
        # What a rendered file or a notification must never show.
        self.secrets = {name: secrets.token_urlsafe(12) for name in alertmanager.ALL}
        self.refused: list[str] = []
        """What was turned away, in a line each: a wrong secret, for example."""

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[Receiver]:
        """Listen until the block ends."""
        with (
            ThreadingHTTPServer((_HOST, 0), BaseHTTPRequestHandler) as web,
            _Mail((_HOST, 0), socketserver.StreamRequestHandler) as mail,
        ):
            receiver = cls(http_port=web.server_address[1], smtp_port=mail.server_address[1])
            web.RequestHandlerClass = _web(receiver)
            mail.RequestHandlerClass = _mail(receiver)
            threads = [threading.Thread(target=server.serve_forever, args=(_POLL,)) for server in (web, mail)]
            for thread in threads:
                thread.start()
            try:
                yield receiver
            finally:
                for server, thread in zip((web, mail), threads, strict=True):
                    server.shutdown()
                    thread.join()

    def notify(self) -> Notify:
        """Return what is no secret of it, for `Parameters`."""
        return Notify(
            smarthost=self._smtp,
            sender="alerts@example.org",
            to="team@example.org",
            user=_USER,
            tls=False,
            pagerduty=f"{self._http}/pagerduty",
        )

    def write_secrets(self, folder: Path) -> None:
        """Write the files that switch all receivers on, readable by their owner only."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, receiver in alertmanager.ALL.items():
            path = next((path for path, kind in _PATH.items() if kind == name), "")
            own = self.secrets[name]
            file = folder / receiver.file
            file.touch(_OWNER_ONLY)
            file.write_text(own if name in ("pager", "mail") else f"{self._http}{path}/{own}", encoding="utf-8")

    def heard(self, kind: str = "", alert: str = "") -> tuple[Heard, ...]:
        """Return what was heard so far, in the order in which it came.

        Args:
            kind: By this receiver only; "" means all.
            alert: About this alert only; "" means all.
        """
        return tuple(
            each for each in self._heard if (not kind or each.kind == kind) and (not alert or alert in each.alerts)
        )

    def silent_for(self, kind: str = "deadman") -> float:
        """Return the seconds since a receiver was told last, infinite where it never was.

        A dead man's switch reports once this is longer than it was told to bear.
        """
        times = [each.at for each in self.heard(kind)]
        return time.monotonic() - max(times) if times else float("inf")

    def take(self, kind: str, secret: str, body: str) -> bool:
        """Write a notification down; False where its secret is not the one that was given out."""
        if not hmac.compare_digest(secret.encode(), self.secrets[kind].encode()):
            self.refused.append(f"{kind}: a wrong secret")
            return False
        self._heard.append(_understood(kind, body))
        return True


def _understood(kind: str, body: str) -> Heard:
    """Read a notification as the one does that it is meant for."""
    title, text = "", body
    if kind == "mail":
        message = email.message_from_string(body, policy=email.policy.default)
        title, text = str(message["Subject"]), _plain(message)
    else:
        document = json.loads(body)
        if kind == "pager":
            title = document["payload"]["summary"]
            text = json.dumps(document["payload"].get("custom_details", {}), ensure_ascii=False)
        elif kind == "chat":
            (attachment,) = document["attachments"]
            title, text = attachment["title"], attachment["text"]
        else:
            names = frozenset(alert["labels"]["alertname"] for alert in document["alerts"])
            return Heard(
                at=time.monotonic(), kind=kind, status=document["status"], alerts=names, title="", text=body, body=body
            )
    found = _TITLE.match(title)
    names = frozenset({found[2]} if found else _LINE.findall(text))
    status: Literal["firing", "resolved"] = "resolved" if title.startswith("[RESOLVED") else "firing"
    return Heard(at=time.monotonic(), kind=kind, status=status, alerts=names, title=title, text=text, body=body)


def _plain(message: Any) -> str:
    part = message.get_body(("plain",))
    return "\n".join(part.get_content().splitlines()) + "\n" if part is not None else ""


def _web(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"] or 0), _LONGEST)).decode(errors="replace")
            path, _, secret = self.path.rpartition("/") if self.path != "/pagerduty" else (self.path, "", "")
            kind = _PATH.get(path, "")
            try:
                if kind == "pager":
                    secret = str(json.loads(body)["routing_key"])
                taken = bool(kind) and receiver.take(kind, secret, body)
            except (ValueError, KeyError, TypeError) as error:
                receiver.refused.append(f"{kind}: not as it is told: {type(error).__name__}")
                taken = False
            # PagerDuty says 202, and anything else is an error to who told it.
            status = (HTTPStatus.ACCEPTED if kind == "pager" else HTTPStatus.OK) if taken else HTTPStatus.FORBIDDEN
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok" if taken else b"no")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler


class _Mail(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _mail(receiver: Receiver) -> type[socketserver.StreamRequestHandler]:
    """As much of a mail server (RFC 5321, AUTH PLAIN of RFC 4954) as it takes to be told of alerts."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            secret = ""
            self._say("220 otelkit")
            while line := self.rfile.readline(_LONGEST).decode().strip():
                word, _, rest = line.partition(" ")
                match word.upper():
                    case "EHLO":
                        self._say("250-otelkit\r\n250 AUTH PLAIN")
                    case "AUTH":
                        secret = base64.b64decode(rest.rpartition(" ")[2]).decode().rpartition("\0")[2]
                        self._say("235 welcome")
                    case "DATA":
                        self._say("354 go on")
                        taken = receiver.take("mail", secret, self._message())
                        self._say("250 taken" if taken else "554 not for you")
                    case "QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 ok")

        def _message(self) -> str:
            lines = []
            while (line := self.rfile.readline(_LONGEST).decode()) not in (".\r\n", ""):
                lines.append(line.removeprefix("."))  # RFC 5321, 4.5.2
            return "".join(lines)

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    return Handler
