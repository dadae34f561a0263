"""The only place where tests make what the Collector's overlay `secure` wants: a certificate and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trustme

from support.processes import HOST

if TYPE_CHECKING:
    from pathlib import Path


class Certificates:
    """Files of an authority and of the certificate that it gave to the loopback address.

    Args:
        folder: An empty folder of the test.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert(HOST)
        self._folder = folder
        self.authority = self._write("authority.pem", authority.cert_pem.bytes())
        self.certificate = self._write("certificate.pem", b"".join(part.bytes() for part in server.cert_chain_pems))
        self.key = self._write("key.pem", server.private_key_pem.bytes())

    def variables(self, *tokens: str) -> dict[str, str]:
        """Return what the overlay wants to know, with these tokens in a file, one a line."""
        file = self._write("tokens", "".join(f"{token} of a test\n" for token in tokens).encode())
        return {
            "STACK_OTLP_CERTIFICATE": self.certificate,
            "STACK_OTLP_KEY": self.key,
            "STACK_OTLP_TOKEN_FILE": file,
        }

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)
