"""One attempt: what goes over the wire, and what each answer means, by HTTP and by gRPC."""

from __future__ import annotations

import gzip
import ssl
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # ships no types
import pytest
import requests
import trustme
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]  # ships no types
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otelkit.pipeline import _transport
from otelkit.pipeline._transport import Answer, open_transport
from otelkit.settings import Settings
from support.processes import free_port
from support.scripted import HOST, Reply, grpc_receiver, http_receiver

if TYPE_CHECKING:
    from pathlib import Path

    from support.scripted import Script

BODY = b"\x0a\x02hi" * 1000
PARTIAL = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
).SerializeToString()


def attempt(port: int, *, name: str = "traces", timeout: float = 5.0, scheme: str = "http", **settings: Any) -> Answer:
    """Make one attempt, as a signal with these settings would."""
    made = Settings(endpoint=f"{scheme}://{HOST}:{port}", environ={}, **settings)
    transport = open_transport(name, getattr(made, name))
    try:
        return transport.send(BODY, timeout)
    finally:
        transport.close()


def by_http(*replies: Reply, **settings: Any) -> tuple[Answer, Script]:
    with http_receiver(*replies) as script:
        return attempt(script.port, **settings), script


def by_grpc(*replies: Reply, **settings: Any) -> tuple[Answer, Script]:
    with grpc_receiver(*replies) as script:
        return attempt(script.port, protocol="grpc", **settings), script


class TestHTTP:
    def test_a_request_is_what_the_specification_says(self) -> None:
        answer, script = by_http(headers={"api-key": "x"})
        (heard,) = script.heard
        assert answer == Answer(outcome="delivered")
        assert heard.path == "/v1/traces"
        assert heard.body == BODY
        assert heard.headers["Content-Type"] == "application/x-protobuf"
        assert heard.headers["api-key"] == "x"
        assert heard.headers["User-Agent"].startswith("otelkit/")
        assert "Content-Encoding" not in heard.headers

    @pytest.mark.parametrize(("compression", "undo"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
    def test_compressed(self, compression: str, undo: Any) -> None:
        _, script = by_http(compression=compression)
        (heard,) = script.heard
        assert heard.headers["Content-Encoding"] == compression
        assert undo(heard.body) == BODY

    def test_compressed_only_where_it_pays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(globals(), "BODY", b"short")
        _, script = by_http(compression="gzip")
        assert script.heard[0].body == b"short"
        assert "Content-Encoding" not in script.heard[0].headers

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_refused_for_now(self, status: int) -> None:
        answer, _ = by_http(Reply(status=status))
        assert answer.outcome == "retry"
        assert str(status) in answer.reason
        assert answer.after is None

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 501, 301])
    def test_refused_for_good(self, status: int) -> None:
        answer, _ = by_http(Reply(status=status))
        assert (answer.outcome, answer.error) == ("refused", str(status))

    def test_too_large(self) -> None:
        assert by_http(Reply(status=413))[0].outcome == "too_large"

    def test_a_redirect_is_not_followed_with_the_credentials(self) -> None:
        with http_receiver() as elsewhere:
            where = {"Location": f"http://{HOST}:{elsewhere.port}/"}
            answer, _ = by_http(Reply(status=307, headers=where), headers={"api-key": "x"})
        assert answer.outcome == "refused"
        assert elsewhere.heard == []

    @pytest.mark.parametrize(
        ("value", "low", "high"),
        [
            ("7", 7, 7),
            (format_datetime(datetime.now(UTC) + timedelta(hours=6)), 3600, 6 * 3600),
            (format_datetime(datetime(2020, 1, 1, tzinfo=UTC)), 0, 0),
        ],
        ids=["seconds", "a date to come", "a date gone by"],
    )
    def test_retry_after(self, value: str, low: float, high: float) -> None:
        answer, _ = by_http(Reply(status=503, headers={"Retry-After": value}))
        assert answer.after is not None
        assert low <= answer.after <= high

    @pytest.mark.parametrize("value", ["soon", "-1", ""])
    def test_a_retry_after_that_nobody_can_read_asks_for_nothing(self, value: str) -> None:
        assert by_http(Reply(status=503, headers={"Retry-After": value}))[0].after is None

    def test_what_the_receiver_did_not_take(self) -> None:
        answer, _ = by_http(Reply(body=PARTIAL))
        assert (answer.outcome, answer.rejected, answer.reason) == ("delivered", 3, "too old")

    @pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"OK", b"{}"])
    def test_any_other_body_means_that_all_was_taken(self, body: bytes) -> None:
        assert by_http(Reply(body=body))[0] == Answer(outcome="delivered")

    def test_nobody_listens(self) -> None:
        answer = attempt(free_port())
        assert (answer.outcome, answer.silent, answer.reason) == ("retry", True, "Connection refused")

    def test_no_answer_in_time(self) -> None:
        with http_receiver() as script:
            script._lock.acquire()
            answer = attempt(script.port, timeout=0.05)
            script._lock.release()
        assert (answer.outcome, answer.silent) == ("retry", False)

    def test_a_netrc_does_not_replace_the_users_header(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {HOST} login someone password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        _, script = by_http(headers={"authorization": "Bearer mine"})
        assert script.heard[0].headers["authorization"] == "Bearer mine"

    def test_a_proxy_of_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with http_receiver() as proxy:
            monkeypatch.setenv("http_proxy", f"http://{HOST}:{proxy.port}")
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            made = Settings(endpoint="http://collector.invalid:4318", environ={})
            transport = open_transport("traces", made.traces)
            assert transport.send(BODY, 5).outcome == "delivered"
            transport.close()
        assert proxy.heard[0].path == "http://collector.invalid:4318/v1/traces"


class TestTLS:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def server(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(HOST).configure_cert(context)
        return context

    def test_an_authority_of_ones_own(self, authority: trustme.CA, server: ssl.SSLContext, tmp_path: Path) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with http_receiver(tls=server) as script:
            answer = attempt(script.port, scheme="https", certificate=str(tmp_path / "ca.pem"))
        assert answer.outcome == "delivered"

    def test_a_stranger_gets_nothing(self, server: ssl.SSLContext) -> None:
        with http_receiver(tls=server) as script:
            answer = attempt(script.port, scheme="https")
        assert answer.outcome == "retry"
        assert "certificate verify failed" in answer.reason.lower()
        assert script.heard == []

    def test_a_file_that_is_gone_never_means_the_systems_authorities(
        self, authority: trustme.CA, server: ssl.SSLContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        made = Settings(endpoint="https://localhost", certificate=str(path), environ={})
        path.unlink()
        with http_receiver(tls=server):
            transport = open_transport("traces", made.traces)
            answer = transport.send(BODY, 5)
        assert answer.outcome == "retry"
        assert str(path) in answer.reason

    def test_mutual(self, authority: trustme.CA, server: ssl.SSLContext, tmp_path: Path) -> None:
        server.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(server)
        files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "client_key", "client_certificate")}
        authority.cert_pem.write_to_path(str(files["certificate"]))
        client = authority.issue_cert("client")
        client.private_key_pem.write_to_path(str(files["client_key"]))
        client.cert_chain_pems[0].write_to_path(str(files["client_certificate"]))
        paths: dict[str, Any] = {name: str(path) for name, path in files.items()}
        with http_receiver(tls=server) as script:
            known = attempt(script.port, scheme="https", **paths)
            unknown = attempt(script.port, scheme="https", certificate=paths["certificate"])
        assert known.outcome == "delivered"
        assert unknown.outcome == "retry"
        assert len(script.heard) == 1


class TestGRPC:
    def test_the_same_bytes(self) -> None:
        answer, script = by_grpc(headers={"api-key": "x"})
        (heard,) = script.heard
        assert answer == Answer(outcome="delivered")
        assert heard.path == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        assert heard.body == BODY
        assert heard.headers["api-key"] == "x"
        assert heard.headers["user-agent"].startswith("otelkit/")

    @pytest.mark.parametrize("compression", ["gzip", "deflate"])
    def test_compressed(self, compression: str) -> None:
        assert by_grpc(compression=compression)[1].heard[0].body == BODY

    @pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED"])
    def test_refused_for_now(self, status: str) -> None:
        answer, _ = by_grpc(Reply(status=status, details="busy"))
        assert (answer.outcome, answer.reason, answer.after) == ("retry", f"{status} busy", None)

    @pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL"])
    def test_refused_for_good(self, status: str) -> None:
        assert by_grpc(Reply(status=status))[0].outcome == "refused"

    def test_retry_info(self) -> None:
        status = Status(code=8, message="busy")
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)))
        details = {"grpc-status-details-bin": status.SerializeToString()}
        answer, _ = by_grpc(Reply(status="RESOURCE_EXHAUSTED", headers=details))
        assert answer.after == 2.5

    def test_details_that_nobody_can_read_ask_for_nothing(self) -> None:
        answer, _ = by_grpc(Reply(status="UNAVAILABLE", headers={"grpc-status-details-bin": b"\xff\xff"}))
        assert (answer.outcome, answer.after) == ("retry", None)

    def test_too_large_in_grpcs_own_words(self) -> None:
        words = "Received message larger than max (5000000 vs. 4194304)"
        assert by_grpc(Reply(status="RESOURCE_EXHAUSTED", details=words))[0].outcome == "too_large"

    def test_what_the_receiver_did_not_take(self) -> None:
        answer, _ = by_grpc(Reply(body=PARTIAL))
        assert (answer.outcome, answer.rejected, answer.reason) == ("delivered", 3, "too old")

    def test_nobody_listens(self) -> None:
        answer = attempt(free_port(), protocol="grpc")
        assert (answer.outcome, answer.silent) == ("retry", True)


class TestCredentialProviders:
    def provide(self, monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
        class EntryPoint:
            def load(self) -> Any:
                return lambda: made

        monkeypatch.setattr(
            _transport,
            "entry_points",
            lambda group, name: [EntryPoint()] if (group, name) == (_transport._PROVIDERS, "company") else [],
        )

    def test_an_http_session_with_a_log_in_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        session = requests.Session()
        session.auth = ("me", "secret")
        self.provide(monkeypatch, session)
        with http_receiver() as script:
            variable = {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "company"}
            made = Settings(endpoint=f"http://{HOST}:{script.port}", environ=variable)
            transport = open_transport("logs", made.logs)
            assert transport.send(BODY, 5).outcome == "delivered"
            transport.close()
        assert script.heard[0].headers["Authorization"].startswith("Basic ")

    def test_credentials_of_a_channel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.provide(monkeypatch, grpc.local_channel_credentials())
        with grpc_receiver() as script:
            variable = {"OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER": "company"}
            made = Settings(endpoint=f"https://{HOST}:{script.port}", protocol="grpc", environ=variable)
            transport = open_transport("traces", made.traces)
            answer = transport.send(BODY, 5)
            transport.close()
        assert answer.outcome == "delivered", "by the provider's: those of TLS are no use at a plain server"

    def test_one_that_is_not_installed_is_named(self) -> None:
        variable = {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "nobody"}
        with pytest.raises(LookupError, match='"nobody"'):
            open_transport("traces", Settings(environ=variable).traces)
