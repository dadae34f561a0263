"""The Collector's overlay `secure`: who has authority and token is let in, all others are refused and told."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support import overlays, settled
from support.certificates import Certificates
from support.processes import HOST, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TOKEN = "t0p-secret-of-this-test"
WRONG = "wr0ng-secret-of-this-test"
PORTS = {"http/protobuf": "STACK_OTLP_HTTP_PORT", "grpc": "STACK_OTLP_GRPC_PORT"}
UNAUTHENTICATED = {"http/protobuf": "HTTP 401 Unauthorized", "grpc": "UNAUTHENTICATED"}
PLAIN = {"http/protobuf": "HTTP 400 Bad Request", "grpc": "UNAVAILABLE"}


@pytest.fixture(autouse=True)
def _no_thread_left() -> None:
    """Let threads be: the Collector keeps its connections to the store between two tests."""


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A Collector with the overlay, the files that it was given, and the store behind it."""

    collector: overlays.Collector
    files: Certificates
    store: Receiver

    def url(self, protocol: str, scheme: str = "https") -> str:
        """Where it takes a protocol."""
        return f"{scheme}://{HOST}:{self.collector.port(PORTS[protocol])}"

    def run(self, protocol: str, *, token: str | None, scheme: str = "https") -> settled.Outcome:
        """Run a small program that sends to it."""
        settings: dict[str, str | None] = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url(protocol, scheme),
            "OTELKIT_SHUTDOWN_TIMEOUT": "10" if token == TOKEN and scheme == "https" else "1",
        }
        if scheme == "https":
            settings["OTEL_EXPORTER_OTLP_CERTIFICATE"] = self.files.authority
        if token is not None:
            settings["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization=Bearer%20{token}"
        return settled.run(self.store, settings)

    def status(self, token: str) -> int:
        """Send an empty request over HTTP, and return the status of the answer."""
        trusted = ssl.create_default_context(cafile=self.files.authority)
        connection = http.client.HTTPSConnection(HOST, self.collector.port(PORTS["http/protobuf"]), context=trusted)
        headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
        try:
            connection.request("POST", "/v1/logs", body=b"", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Only one Collector for all tests; each finds its two good tokens in place."""
    folder = tmp_path_factory.mktemp("secure")
    files = Certificates(folder)
    with Receiver(grpc_port=0) as store:
        variables = files.variables("another-token", TOKEN)
        with overlays.collector(folder, "secure", variables=variables, store=store) as collector:
            yield Secured(collector=collector, files=files, store=store)


def senders(store: Receiver) -> dict[str, set[str]]:
    """Return the programs whose items arrived, by signal."""
    held: dict[str, Sequence[Any]] = {"traces": store.spans(), "metrics": store.points(), "logs": store.logs()}
    return {
        signal: {item.scope.name for item in items if item.scope.name.startswith("small.")}
        for signal, items in held.items()
    }


@pytest.mark.parametrize("protocol", PORTS)
def test_only_the_right_token_over_tls_delivers(secured: Secured, protocol: str) -> None:
    secured.store.clear()
    refused = {
        "no token": (secured.run(protocol, token=None), UNAUTHENTICATED[protocol]),
        "wrong token": (secured.run(protocol, token=WRONG), UNAUTHENTICATED[protocol]),
        "plain text": (secured.run(protocol, token=TOKEN, scheme="http"), PLAIN[protocol]),
    }
    for case, (outcome, reason) in refused.items():
        outcome.assert_unharmed()
        assert any(reason in line for line in outcome.said), (case, outcome.said)
    right = secured.run(protocol, token=TOKEN)
    right.assert_unharmed()
    assert right.said == []
    wait_until(lambda: all(senders(secured.store).values()), within=30, what="all signals of the one that may")
    assert all(len(names) == 1 for names in senders(secured.store).values()), "and nothing of the others"
    printed = [each.printed + each.stderr for each in (right, *(outcome for outcome, _ in refused.values()))]
    for text in (*printed, secured.collector.process.stdout, secured.collector.process.stderr):
        assert TOKEN not in text
        assert WRONG not in text


def test_health_and_metrics_are_asked_without_tls_on_loopback(secured: Secured) -> None:
    assert http_get(secured.collector.health).status == 200
    assert http_get(secured.collector.metrics).status == 200


def test_a_token_is_replaced_while_the_collector_runs(secured: Secured) -> None:
    assert (secured.status(TOKEN), secured.status("next-token")) == (200, 401)
    secured.files.variables("next-token")
    wait_until(lambda: secured.status("next-token") == 200, within=30, what="the new token is taken")
    assert secured.status(TOKEN) == 401
    secured.files.variables("another-token", TOKEN)
    wait_until(lambda: secured.status(TOKEN) == 200, within=30, what="the first tokens are back")


def test_an_agent_reaches_a_secured_gateway_with_a_token_from_a_file(secured: Secured, tmp_path: Path) -> None:
    secured.store.clear()
    token = tmp_path / "token"
    token.write_text(TOKEN)
    variables = {
        "STACK_GATEWAY_URL": secured.url("grpc"),
        "STACK_GATEWAY_CA": secured.files.authority,
        "STACK_GATEWAY_AUTHORIZATION": f"Bearer ${{file:{token}}}",
    }
    with overlays.collector(tmp_path, "agent", variables=variables) as agent:
        outcome = settled.run(secured.store, {"OTEL_EXPORTER_OTLP_ENDPOINT": agent.http})
        outcome.assert_unharmed()
        wait_until(lambda: all(senders(secured.store).values()), within=30, what="all signals over the agent")
        assert TOKEN not in agent.process.stderr
