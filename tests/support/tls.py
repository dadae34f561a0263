"""The only place for receivers with TLS, over HTTP and gRPC: their certificate can be replaced while they run."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc  # type: ignore[import-untyped]  # ships no types

from support.scripted import HOST, grpc_receiver, http_receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from support.scripted import Script


@dataclass(frozen=True, kw_only=True)
class TLSReceiver:
    """A receiver that runs.

    Args:
        endpoint: Its URL, for traces.
        script: What it heard.
        replace: Makes it show another certificate from the next connection on.
    """

    endpoint: str
    script: Script
    replace: Callable[[trustme.LeafCert], None]


@contextlib.contextmanager
def tls_receiver(
    protocol: str, certificate: trustme.LeafCert, *, clients_of: trustme.CA | None = None
) -> Iterator[TLSReceiver]:
    """Answer every export with success, over TLS only.

    Args:
        protocol: "http/protobuf" or "grpc".
        certificate: What it shows.
        clients_of: Whose certificates its clients must have; None asks for none.
    """
    if protocol == "grpc":
        shown = [certificate]
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(certificate, clients_of),
            lambda: _configuration(shown[-1], clients_of),
            require_client_authentication=clients_of is not None,
        )
        with grpc_receiver(tls=credentials) as script:
            yield TLSReceiver(endpoint=f"https://{HOST}:{script.port}", script=script, replace=shown.append)
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        clients_of.configure_trust(context)
    with http_receiver(tls=context) as script:
        endpoint = f"https://{HOST}:{script.port}/v1/traces"
        yield TLSReceiver(endpoint=endpoint, script=script, replace=lambda other: other.configure_cert(context))


def _configuration(certificate: trustme.LeafCert, clients_of: trustme.CA | None) -> grpc.ServerCertificateConfiguration:
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    roots = None if clients_of is None else clients_of.cert_pem.bytes()
    return grpc.ssl_server_certificate_configuration([(certificate.private_key_pem.bytes(), chain)], roots)
