"""TLS that is wrong: named in one line, never replaced by less, and delivery goes on once it is right.

The authorities of the system are always the right ones here: whatever falls back to them is delivered, and found out.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from otelkit.otlp.receiver import Receiver
from support import settled
from support.processes import PYTHON, clean_environment, wait_until
from support.tls import tls_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.tls import TLSReceiver

PREFIX = "OTEL_EXPORTER_OTLP_TRACES_"
PROTOCOLS = ("http/protobuf", "grpc")
OTHERS = settled.SIGNALS - {"traces"}
NOW = dt.datetime.now(dt.UTC)
PAST: dict[str, Any] = {"not_before": NOW - dt.timedelta(days=9), "not_after": NOW - dt.timedelta(days=1)}

pytestmark = pytest.mark.parametrize("protocol", PROTOCOLS)


class Files:
    """Authorities and certificates, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.server = self.authority.issue_cert("127.0.0.1")
        self.ca = self.write("ca.pem", self.authority.cert_pem.bytes())
        self.other_ca = self.write("other-ca.pem", self.stranger.cert_pem.bytes())

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def client(self, name: str, authority: trustme.CA) -> dict[str, str]:
        """The settings for a client certificate."""
        made = authority.issue_cert(f"{name}.example")
        key = self.write(f"{name}.key", made.private_key_pem.bytes())
        certificate = self.write(f"{name}.pem", made.cert_chain_pems[0].bytes())
        return {"CLIENT_KEY": key, "CLIENT_CERTIFICATE": certificate}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def variables(protocol: str, endpoint: str, files: Files, settings: dict[str, str]) -> dict[str, str | None]:
    system = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    own = {"PROTOCOL": protocol, "ENDPOINT": endpoint, **settings}
    return {
        **dict.fromkeys(system, files.ca),
        **{f"{PREFIX}{name}": value for name, value in own.items()},
        "OTELKIT_SHUTDOWN_TIMEOUT": "1.5",
    }


def assert_named(
    protocol: str, server: TLSReceiver, files: Files, receiver: Receiver, settings: dict[str, str], *said: str
) -> None:
    """The program says in one line what is wrong; its traces go nowhere, the rest arrives."""
    outcome = settled.run(receiver, variables(protocol, server.endpoint, files, settings))
    outcome.assert_unharmed()
    (line,) = outcome.said
    assert all(word in line for word in said), line
    assert outcome.arrived == OTHERS
    assert server.script.heard == []


def test_what_is_right_is_delivered(protocol: str, files: Files, receiver: Receiver) -> None:
    settings = {"CERTIFICATE": files.ca, **files.client("client", files.authority)}
    with tls_receiver(protocol, files.server, clients_of=files.authority) as server:
        outcome = settled.run(receiver, variables(protocol, server.endpoint, files, settings))
        assert len(server.script.heard) == 1
    outcome.assert_unharmed()
    assert outcome.said == []
    assert outcome.arrived == OTHERS


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (None, "is not a file"),
        (b"", "no certificate to check the server against"),
        (b"no PEM", "no certificate to check the server against"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate to check the server"),
    ],
    ids=["missing", "empty", "no PEM", "broken PEM"],
)  # fmt: skip
def test_a_file_of_authorities_without_any(
    protocol: str, files: Files, receiver: Receiver, made: bytes | None, reason: str
) -> None:
    path = str(files.folder / "made.pem") if made is None else files.write("made.pem", made)
    named = f"{PREFIX}CERTIFICATE" if made is None else path
    with tls_receiver(protocol, files.server) as server:
        assert_named(protocol, server, files, receiver, {"CERTIFICATE": path}, reason, named)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_file_of_authorities_that_cannot_be_read(protocol: str, files: Files, receiver: Receiver) -> None:
    (files.folder / "ca.pem").chmod(0)
    with tls_receiver(protocol, files.server) as server:
        assert_named(
            protocol, server, files, receiver, {"CERTIFICATE": files.ca}, f"{PREFIX}CERTIFICATE", "cannot be read"
        )


def test_another_authority(protocol: str, files: Files, receiver: Receiver) -> None:
    with tls_receiver(protocol, files.server) as server:
        assert_named(
            protocol, server, files, receiver, {"CERTIFICATE": files.other_ca},
            server.endpoint, "certificate verify failed: ", f"checked against {files.other_ca}",
        )  # fmt: skip


@pytest.mark.parametrize("what", ["expired", "another host"])
def test_a_certificate_that_is_not_good(protocol: str, files: Files, receiver: Receiver, what: str) -> None:
    more: dict[str, Any] = PAST if what == "expired" else {}
    certificate = files.authority.issue_cert("127.0.0.1" if what == "expired" else "elsewhere.example", **more)
    reason = "has expired" if what == "expired" else "for"
    with tls_receiver(protocol, certificate) as server:
        assert_named(
            protocol, server, files, receiver, {"CERTIFICATE": files.ca},
            server.endpoint, "certificate verify failed: ", reason, files.ca,
        )  # fmt: skip


def test_a_client_certificate_that_is_asked_for_and_missing(protocol: str, files: Files, receiver: Receiver) -> None:
    with tls_receiver(protocol, files.server, clients_of=files.authority) as server:
        assert_named(
            protocol, server, files, receiver, {"CERTIFICATE": files.ca}, server.endpoint, "client certificate"
        )


def test_a_key_of_another_certificate(protocol: str, files: Files, receiver: Receiver) -> None:
    client = files.client("client", files.authority)
    client["CLIENT_KEY"] = files.client("other", files.authority)["CLIENT_KEY"]
    with tls_receiver(protocol, files.server, clients_of=files.authority) as server:
        assert_named(
            protocol, server, files, receiver, {"CERTIFICATE": files.ca, **client},
            server.endpoint, "KEY_VALUES_MISMATCH", client["CLIENT_CERTIFICATE"],
        )  # fmt: skip


@pytest.mark.parametrize("wrong", ["the server's certificate", "the file of authorities"])
def test_delivery_begins_once_it_is_right(protocol: str, files: Files, receiver: Receiver, wrong: str) -> None:
    servers = wrong == "the server's certificate"
    certificate = files.authority.issue_cert("127.0.0.1", **PAST) if servers else files.server
    trusted = files.write("trusted.pem", (files.authority if servers else files.stranger).cert_pem.bytes())
    with tls_receiver(protocol, certificate) as server:
        settings = variables(protocol, server.endpoint, files, {"CERTIFICATE": trusted})
        program = subprocess.Popen(
            [PYTHON, "small.py", "healed", "explicit", "stay"],
            cwd=settled.APPS,
            env=clean_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, **settings}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with program:
            assert program.stdin
            assert program.stderr
            assert "certificate verify failed" in program.stderr.readline()
            assert server.script.heard == []
            if servers:
                server.replace(files.server)
            else:
                files.write("trusted.pem", files.authority.cert_pem.bytes())
            wait_until(lambda: server.script.heard, within=30, what="the span is delivered")
            program.stdin.close()
            assert program.wait(30) == 0
            assert "not delivered" not in program.stderr.read()
