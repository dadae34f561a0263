"""The only place that puts bytes on the wire: OTLP over HTTP and over gRPC, and what each answer means.

A transport makes one attempt and tells how it ended; whether there is another one is decided in `_deliver`. Session and
channel are made by the thread that sends, once per process: a forked child never uses a connection of its parent.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
import ssl
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, Literal, Protocol

from otelkit import _environment
from otelkit._values import shown
from otelkit.otlp.decode import rejected_items
from otelkit.pipeline._calls import calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.settings import Signal

__all__ = ["Answer", "Transport", "open_transport"]

_SERVICES = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}
_RETRYABLE_HTTP = frozenset({429, 502, 503, 504})  # OTLP specification, "Retryable Response Codes"
# The same for gRPC. RESOURCE_EXHAUSTED without RetryInfo is not in the specification's list: it may mean that retrying
# is hopeless, or that the receiver is busy. It is tried again: pressure must not become loss.
_RETRYABLE_GRPC = frozenset(
    {
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
_WORTH_COMPRESSING = 1_024  # bytes; below, the header of gzip eats the gain
_LEVEL = 1  # of gzip and deflate: a quarter of the time of level 9 for 3 % more bytes
_LONGEST_REASON = 200
_LONGEST_PATH = 4_500  # what we say ourselves names files, whose paths may be that long
_PROVIDERS = "opentelemetry_otlp_credential_provider"
_USER_AGENT = f"otelkit/{version('otelkit')}"
_GRPC_OPTIONS = (
    ("grpc.primary_user_agent", _USER_AGENT),
    # gRPC waits up to two minutes between attempts to connect; after an outage that is time in which items are shed.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

_UNVERIFIED = "certificate verify failed"
# What the libraries below say where an operator would not understand it, and what it means. A group is kept.
_MEANINGS = (
    (re.compile(r"\[SSL: CERTIFICATE_VERIFY_FAILED\] (.*?)(?: \(_ssl.*)?"), r"\1"),
    (re.compile(r".*CERTIFICATE_VERIFY_FAILED: ([^:\[]+).*"), rf"{_UNVERIFIED}: \1"),
    (re.compile(r".*Hostname Verification Check failed.*"), f"{_UNVERIFIED}: it is for another host"),
    (re.compile(r".*WRONG_VERSION_NUMBER.*"), "no TLS is spoken there, and https:// asks for it"),
    (
        re.compile(r".*(?:Failed parsing HTTP/2|http1\.x server).*"),
        "no gRPC is spoken there; a port for http/protobuf?",
    ),
)
# How a connection ends where a certificate is asked for and none is sent; whether that is why, nobody says.
_ENDED = re.compile(
    r"alert certificate required|EOF occurred in violation|Socket closed|Connection reset|Broken pipe"
    r"|closed connection without"
)
_NOBODY_GRPC = ("refused", "lookup failed", "DNS resolution failed")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How an attempt ended.

    Args:
        outcome: "delivered"; "retry": refused for now, or nobody knows; "refused": for good; "too_large": the same,
            smaller requests may pass.
        reason: In a line, for a person; "" where there is nothing to say.
        rejected: Items of an acknowledged request that the receiver did not take.
        after: Seconds to wait that the receiver asked for.
        silent: Whether nobody listens at the endpoint.
        error: `error.type` of the attempt: a status, or a class of exceptions; None where it succeeded.
    """

    outcome: Literal["delivered", "retry", "refused", "too_large"]
    reason: str = ""
    rejected: int = 0
    after: float | None = None
    silent: bool = False
    error: str | None = None


class Transport(Protocol):
    """Sends requests to one endpoint."""

    def send(self, body: bytes, timeout: float) -> Answer:
        """Make one attempt. Never raises.

        Args:
            body: An encoded Export*ServiceRequest.
            timeout: Seconds.
        """

    def close(self) -> None:
        """Give connections back."""


def open_transport(name: str, signal: Signal) -> Transport:
    """Prepare the way to a signal's endpoint; nothing is connected yet.

    Args:
        name: "traces", "metrics" or "logs".
        signal: Where it goes.

    Raises:
        ImportError: The protocol's package is not installed.
        LookupError: There is no such credential provider.
    """
    # Imported by the thread that configures: in a background thread a fork could catch it half-way, and the child would
    # have half of a module for ever.
    if signal.credential_provider and not entry_points(group=_PROVIDERS, name=signal.credential_provider):
        raise LookupError(f"{shown(signal.credential_provider)} is no credential provider that is installed")
    import_module("encodings.idna")  # of the standard library; needed to look a name up
    if signal.protocol == "grpc":
        _environment.keep_grpc_quiet()
        _need("grpc")
        with contextlib.suppress(ImportError):  # a private name; grpc imports it with the first channel otherwise
            import_module("grpc._channel")
            import_module("google.rpc.error_details_pb2")  # what `_retry_info` reads
        return _GRPC(name, signal)
    _need("requests")
    import_module("netrc")  # of the standard library; requests imports it late
    return _HTTP(signal)


def _need(package: str) -> None:
    """Import a package.

    Raises:
        ImportError: It is not installed, or broken in a way that raises something else.
    """
    try:
        import_module(package)
    except ImportError:
        raise
    except Exception as error:
        raise ImportError(f"{type(error).__name__}: {error}", name=package) from error


def _provided(name: str) -> Any:
    (entry_point, *_) = entry_points(group=_PROVIDERS, name=name)
    return entry_point.load()()


def _clipped(text: object, longest: int = _LONGEST_REASON) -> str:
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return words if len(words) <= longest else f"{words[:longest]}…"


def _explained(text: str, signal: Signal) -> str:
    """Say in plain words why a connection failed; what the other side said is clipped, the name of a file is not."""
    for pattern, meaning in _MEANINGS:
        if matched := pattern.fullmatch(text):
            text = matched.expand(meaning)
            break
    text = _clipped(text)
    if text.startswith(_UNVERIFIED):
        text = f"{text.rstrip('.')} (checked against {signal.certificate or 'the authorities of this system'})"
    elif _ENDED.search(text) and signal.endpoint.startswith("https:") and not signal.client_certificate:
        text = "the TLS handshake was ended there; a client certificate may be asked for"
    return text


def _check_files(signal: Signal) -> None:
    """Make sure that the files for TLS can be used, in words that name them; the libraries' own name none.

    Read anew at each attempt that follows a failed one: a file may have been replaced.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: It holds nothing of the kind that it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if signal.certificate:
        with _naming("no certificate to check the server against in", signal.certificate):
            context.load_verify_locations(signal.certificate)
    if signal.client_certificate:
        with _naming("no client certificate with its key in", signal.client_certificate, signal.client_key):
            context.load_cert_chain(
                signal.client_certificate, signal.client_key, password=""
            )  # never asked for at the terminal


@contextlib.contextmanager
def _naming(what: str, *paths: str | None) -> Iterator[None]:
    files = " and ".join(path for path in paths if path)
    try:
        yield
    except ssl.SSLError as error:
        raise ValueError(f"{error.reason or 'not PEM'}: {what} {files}") from None
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {files}") from None


# -- HTTP --------------------------------------------------------------------------------------------------------------


class _HTTP:
    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._open: tuple[int, Any, Any, dict[str, Any]] | None = None
        self._inherited: list[object] = []

    def send(self, body: bytes, timeout: float) -> Answer:
        packed = _packed(body, self._signal.compression)
        try:
            session, request, options = self._session()
            if request is None:  # a provider's session may sign each request
                request = session.prepare_request(self._request(packed))
            else:
                request = request.copy()
                request.body = packed
                request.headers["Content-Length"] = str(len(packed))
            if packed is not body:
                request.headers["Content-Encoding"] = self._signal.compression
            # Not redirected: that would repeat it as GET, or carry the headers to a host that nobody meant.
            response = session.send(request, timeout=timeout, allow_redirects=False, **options)
            return _http_answer(response.status_code, response.headers, response.content, response.reason)
        except Exception as error:  # noqa: BLE001  whatever a client, a provider or a broken answer raises: try again
            silent = any(isinstance(inner, ConnectionRefusedError | socket.gaierror) for inner in _causes(error))
            reason = self._trouble_with_files() or _explained(_innermost(error), self._signal)
            return Answer(outcome="retry", reason=reason, silent=silent, error=type(error).__name__)

    def _trouble_with_files(self) -> str:
        if self._signal.endpoint.startswith("https:"):
            try:
                _check_files(self._signal)
            except (OSError, ValueError) as error:
                return getattr(error, "strerror", None) or str(error)
        return ""

    def _session(self) -> tuple[Any, Any, dict[str, Any]]:
        """Return this process's session, a request to copy, and what the environment and the settings say about both.

        Prepared once: anew for each request it would hold the interpreter for a millisecond (`bench`, stall).
        """
        if self._open is None or self._open[0] != os.getpid():
            import requests  # noqa: PLC0415  loaded by `open_transport`

            if self._open is not None:
                # The parent's is not let go: whoever forked may have closed its descriptors (Celery's beat does), and
                # it would close what has their numbers now.
                self._inherited.append(self._open)
            signal, prepared = self._signal, None
            if signal.credential_provider:
                session = _provided(signal.credential_provider)
            else:
                session = requests.Session()
                session.auth = _as_it_is  # else a ~/.netrc that knows the host replaces the user's own header
                prepared = session.prepare_request(self._request(b""))
            identity = (
                (signal.client_certificate, signal.client_key) if signal.client_key else signal.client_certificate
            )
            verify = signal.certificate or True
            options = session.merge_environment_settings(signal.endpoint, {}, None, verify, identity)
            self._open = (os.getpid(), session, prepared, options)
        return self._open[1:]

    def _request(self, body: bytes) -> Any:
        import requests  # noqa: PLC0415  loaded by `open_transport`

        headers = {"Content-Type": "application/x-protobuf", "User-Agent": _USER_AGENT}
        return requests.Request("POST", self._signal.endpoint, headers={**headers, **self._signal.headers}, data=body)

    def close(self) -> None:
        if self._open is not None and self._open[0] == os.getpid():
            self._open[1].close()


def _as_it_is(request: Any) -> Any:
    return request


def _packed(body: bytes, compression: str) -> bytes:
    if compression == "none" or len(body) < _WORTH_COMPRESSING:
        return body
    packed = gzip.compress(body, _LEVEL) if compression == "gzip" else zlib.compress(body, _LEVEL)
    return packed if len(packed) < len(body) else body


def _http_answer(status: int, headers: Mapping[str, str], content: bytes, phrase: str) -> Answer:
    if 200 <= status < 300:  # noqa: PLR2004  what HTTP calls success
        count, message = rejected_items(content)
        return Answer(outcome="delivered", rejected=count, reason=_clipped(message))
    reason = _clipped(f"HTTP {status} {phrase or ''}")
    if status in _RETRYABLE_HTTP:
        return Answer(outcome="retry", reason=reason, after=_retry_after(headers.get("Retry-After")), error=str(status))
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Answer(outcome="too_large", reason=reason, error=str(status))
    return Answer(outcome="refused", reason=reason, error=str(status))


def _retry_after(value: str | None) -> float | None:
    """Read `Retry-After`, a number of seconds or a date (RFC 9110 §10.2.3), as seconds from now."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _causes(error: BaseException) -> list[BaseException]:
    """The chain of exceptions below one, as clients wrap them."""
    found = [error]
    for _ in range(8):
        last = found[-1]
        inner = last.__cause__ or last.__context__ or getattr(last, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in last.args if isinstance(arg, BaseException)), None)
        if inner is None or inner in found:
            break
        found.append(inner)
    return found


def _innermost(error: BaseException) -> str:
    """Unwrap a client's exception to the operating system's own words ("Connection refused")."""
    innermost = _causes(error)[-1]
    if type(innermost) is BadStatusLine:  # not of a kind of it: RemoteDisconnected tells something else
        return "no HTTP/1.1 is spoken there; a port for gRPC?"
    return getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__


# -- gRPC --------------------------------------------------------------------------------------------------------------


class _GRPC:
    def __init__(self, name: str, signal: Signal) -> None:
        self._signal = signal
        self._method = f"/opentelemetry.proto.collector.{_SERVICES[name]}/Export"
        self._metadata = tuple(signal.headers.items())
        self._channel: tuple[int, Any, Any] | None = None
        self._inherited: list[object] = []

    def send(self, body: bytes, timeout: float) -> Answer:
        import grpc  # type: ignore[import-untyped]  # noqa: PLC0415  loaded by `open_transport`; ships no types

        small = len(body) < _WORTH_COMPRESSING
        try:
            with calls.call():
                response = self._call()(
                    body,
                    timeout=timeout,
                    metadata=self._metadata,
                    compression=grpc.Compression.NoCompression if small else None,
                )
            count, message = rejected_items(response)
            return Answer(outcome="delivered", rejected=count, reason=_clipped(message))
        except grpc.RpcError as error:
            answer = _grpc_answer(error, self._signal)
            if answer.outcome == "retry" and (self._signal.certificate or self._signal.client_certificate):
                self.close()  # the files are read with a new channel only, and may have been replaced
                self._channel = None
            return answer
        except (OSError, ValueError) as error:  # of the files
            reason = getattr(error, "strerror", None) or str(error)
            return Answer(outcome="retry", reason=_clipped(reason, _LONGEST_PATH), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001  a bad certificate file or header must cost no more than time
            return Answer(
                outcome="retry", reason=_clipped(f"{type(error).__name__}: {error}"), error=type(error).__name__
            )

    def _call(self) -> Any:
        if self._channel is None or self._channel[0] != os.getpid():
            if self._channel is not None:
                self._inherited.append(self._channel)  # of the parent: let go, it would be closed
            channel = self._open()
            self._channel = (os.getpid(), channel, channel.unary_unary(self._method))
        return self._channel[2]

    def _open(self) -> Any:
        import grpc  # noqa: PLC0415  as above

        signal = self._signal
        secure = not (signal.insecure if signal.insecure is not None else not signal.endpoint.startswith("https"))
        target = signal.endpoint.partition("://")[2] if signal.endpoint.startswith("http") else signal.endpoint
        kinds = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
        shared = {"options": _GRPC_OPTIONS, "compression": kinds.get(signal.compression)}
        if signal.credential_provider:
            return grpc.secure_channel(target, _provided(signal.credential_provider), **shared)
        if not secure:
            return grpc.insecure_channel(target, **shared)
        _check_files(signal)
        # Read here: the SDK's own loader falls back to the system's roots when the file is missing (S-02).
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(signal.certificate),
            private_key=_content(signal.client_key),
            certificate_chain=_content(signal.client_certificate),
        )
        return grpc.secure_channel(target, credentials, **shared)

    def close(self) -> None:
        if self._channel is not None and self._channel[0] == os.getpid():
            self._channel[1].close()


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:  # noqa: PTH123  one read of a path the user gave
        return file.read()


def _grpc_answer(error: Any, signal: Signal) -> Answer:
    status = error.code().name
    details = error.details() or ""
    reason = f"{status} {_explained(details, signal)}"
    if status == "RESOURCE_EXHAUSTED" and "larger than max" in details:  # gRPC's own words; it has no code for this
        return Answer(outcome="too_large", reason=reason, error=status)
    if status not in _RETRYABLE_GRPC:
        return Answer(outcome="refused", reason=reason, error=status)
    silent = status == "UNAVAILABLE" and any(said in details for said in _NOBODY_GRPC)
    return Answer(
        outcome="retry", reason=reason, after=_retry_info(error.trailing_metadata()), silent=silent, error=status
    )


def _retry_info(metadata: Any) -> float | None:
    """Read how long a receiver asks to wait (`google.rpc.RetryInfo`), in seconds."""
    packed = next((value for key, value in metadata or () if key == "grpc-status-details-bin"), None)
    if packed is None:
        return None
    try:
        from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # noqa: PLC0415  protobuf's own
            RetryInfo,
        )
        from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # noqa: PLC0415  the same

        for detail in Status.FromString(packed).details:
            info = RetryInfo()
            if detail.Unpack(info):
                return float(info.retry_delay.ToTimedelta().total_seconds())
    except Exception:  # noqa: BLE001  a broken detail is no detail
        return None
    return None
