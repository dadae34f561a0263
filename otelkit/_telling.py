"""The only place for what a process tells `otelkit doctor` of itself, in the place of being set up.

The doctor starts a program as it is started anyway, and asks it by a variable: at its first `configure()`, or where the
launcher makes that call, the process writes what would apply there, and ends. It has served, consumed and sent nothing
by then; each endpoint was given an empty request, by the very transport that telemetry would have taken.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, entry_points, version
from typing import TYPE_CHECKING, Any, NoReturn

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from otelkit import _environment
from otelkit._values import shown_url
from otelkit.integrations import Verdict
from otelkit.integrations._contrib import HARMFUL
from otelkit.pipeline._transport import open_transport
from otelkit.settings import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

    from otelkit.pipeline._transport import Transport
    from otelkit.redact import Redactor
    from otelkit.settings import Settings

__all__ = ["Answered", "Setting", "Told", "ask", "shown", "tell"]

_PATIENCE = 5.0  # seconds that an empty request may take
_SIGNALS = ("traces", "metrics", "logs")
_UNTOLD = frozenset({"problems", "_origins", "logs_exporter_requested"})
_LEVELS = frozenset({"diagnostics_level", "log_level"})
_NEIGHBOURS = ("ddtrace", "eventlet", "gevent", "sentry_sdk")
# Installed with otelkit, or parts of what is instrumented already: that they are there says nothing of the program.
_UNREMARKABLE = frozenset(
    {"asgiref", "click", "grpcio", "jinja2", "psutil", "pydantic", "requests", "starlette", "structlog", "urllib3"}
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value that applies, as it may be shown, and where it came from."""

    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How an endpoint answered an empty request.

    Args:
        signal: What goes there.
        endpoint: As it may be shown.
        protocol: "http/protobuf" or "grpc".
        outcome: "delivered", "retry", "refused" or "too_large", as for telemetry; "impossible" where the transport
            cannot be opened.
        reason: In the words of whoever refused; "" where nobody did.
        error: A status, or a class of exceptions; None where it was accepted.
        silent: Whether nobody listens there.
        seconds: How long the answer took.
        media_type: Of an answer over HTTP; None where it had none.
        clock: Seconds that the clock there is ahead of the one here; None where the answer did not tell.
    """

    signal: str
    endpoint: str
    protocol: str
    outcome: str
    reason: str = ""
    error: str | None = None
    silent: bool = False
    seconds: float = 0.0
    media_type: str | None = None
    clock: float | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a process told of itself.

    Args:
        otelkit: Version.
        python: Version.
        executable: The interpreter.
        service: `service.name`; "" where nobody gave one.
        road: "configure()", "zero-code", or "another distro" where the launcher chose not to ask otelkit.
        settings: By name, those of a signal as "traces.endpoint". No secret is in them.
        problems: What is wrong with the variables, a line each.
        providers: For each signal "ours", "adopted", "foreign" or "disabled".
        verdicts: What would be done about each library.
        doubled: Contrib instrumentors that are active although otelkit's own would tell the same calls.
        unseen: Installed libraries that nothing instruments, and the package that would.
        versions: Of every OpenTelemetry distribution.
        unmet: What these need of each other and do not find, a line each.
        distros: Packages that bring a configurator, in the order in which the launcher finds them: it takes the first.
        distro_named: Whether variables tell the launcher to take otelkit.
        root_level: Level of the root logger where the application set one that hides records; "" elsewhere.
        neighbours: Imported packages that change how a process waits, or that have tracers of their own.
        answers: One for each signal that goes out by OTLP.
    """

    otelkit: str
    python: str
    executable: str
    service: str
    road: str
    settings: Mapping[str, Setting]
    problems: tuple[str, ...] = ()
    providers: Mapping[str, str]
    verdicts: tuple[Verdict, ...] = ()
    doubled: tuple[str, ...] = ()
    unseen: Mapping[str, str]
    versions: Mapping[str, str]
    unmet: tuple[str, ...] = ()
    distros: tuple[str, ...] = ()
    distro_named: bool = False
    root_level: str = ""
    neighbours: tuple[str, ...] = ()
    answers: tuple[Answered, ...] = ()

    @classmethod
    def read(cls, text: str) -> Told:
        """Return what was told.

        Raises:
            ValueError: It was told by another version, or was cut short.
        """
        try:
            told = json.loads(text)
            told["settings"] = {name: Setting(**each) for name, each in told["settings"].items()}
            told["verdicts"] = tuple(Verdict(**each) for each in told["verdicts"])
            told["answers"] = tuple(Answered(**each) for each in told["answers"])
            for name in ("problems", "doubled", "unmet", "distros", "neighbours"):
                told[name] = tuple(told[name])
            return cls(**told)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not what this version tells: {error}") from error


def tell(
    path: str,
    *,
    settings: Settings,
    service: str,
    road: str,
    providers: Mapping[str, str],
    verdicts: tuple[Verdict, ...],
    replaced: frozenset[str],
    redactor: Redactor,
) -> NoReturn:
    """Write what a process is, and end it at once.

    Args:
        path: An existing file of the doctor's.
        settings: What would apply.
        service: See `Told`.
        road: See `Told`.
        providers: See `Told`.
        verdicts: What would be done about each library.
        replaced: Contrib instrumentors whose calls ours tell.
        redactor: Knows what is secret.
    """
    told = Told(
        otelkit=version("otelkit"),
        python=platform.python_version(),
        executable=sys.executable,
        service=service,
        road=road,
        settings=dict(shown(settings, redactor)),
        problems=settings.problems,
        providers=providers,
        verdicts=verdicts,
        doubled=tuple(sorted(filter(_is_active, replaced))),
        unseen=dict(_unseen(replaced)),
        versions=_versions(),
        unmet=tuple(_unmet()),
        distros=tuple(dict.fromkeys(map(_package, entry_points(group="opentelemetry_configurator")))),
        distro_named=_environment.names_otelkit(),
        root_level=_root_level(settings.log_level),
        neighbours=tuple(name for name in _NEIGHBOURS if name in sys.modules),
        answers=() if settings.disabled or road == "another distro" else ask(settings),
    )
    draft = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):  # the doctor has given up, and its folder is gone
        with open(draft, "w", encoding="utf-8") as file:  # noqa: PTH123  in a folder of the doctor's own
            json.dump(asdict(told), file, default=str)
        os.replace(draft, path)  # noqa: PTH105  in one step: who waits for it never reads half of it
    # Nothing of the program may run on: no handler of its own, no thread, no server.
    os._exit(0)


# -- what applies ------------------------------------------------------------------------------------------------------


def shown(settings: Settings, redactor: Redactor) -> Iterator[tuple[str, Setting]]:
    """Tell every value and its origin, without a secret.

    Args:
        settings: The resolved settings.
        redactor: Knows what is secret in attributes.
    """
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name in _UNTOLD:
            continue
        if isinstance(value, Signal):
            for name, part in _parts(value).items():
                origin = settings.origin(f"{item.name}.{name}")
                yield f"{item.name}.{name}", Setting(value=part, origin=origin)
            if value.degraded:
                yield f"{item.name}.degraded", Setting(value=value.degraded, origin="default")
        else:
            plain = logging.getLevelName(value).lower() if item.name in _LEVELS else _plain(value)
            yield item.name, Setting(value=redactor.plain(item.name, plain), origin=settings.origin(item.name))


def _parts(signal: Signal) -> dict[str, Any]:
    """What makes a signal, without what may be secret: of headers the names."""
    told = {"endpoint": signal.shown_endpoint, "headers": sorted(signal.headers)}
    return {item.name: _plain(getattr(signal, item.name)) for item in fields(signal) if item.name != "degraded"} | told


def _plain(value: Any) -> Any:
    """Make of a value what JSON has."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "keys") else value


def _root_level(wanted: int) -> str:
    """The root logger's level where it hides what is wanted; otelkit changes only the one that nobody chose."""
    root = logging.getLogger()
    chosen = root.level != logging.WARNING or root.handlers
    return logging.getLevelName(root.level).lower() if chosen and root.level > wanted else ""


# -- what is installed -------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    found = {canonicalize_name(each.name): each.version for each in distributions() if each.name}
    return {name: found[name] for name in sorted(found) if name.startswith("opentelemetry-")}


def _unmet() -> Iterator[str]:
    """What OpenTelemetry's distributions and otelkit need and do not find: an installer would have refused it."""
    for each in distributions():
        name = canonicalize_name(each.name or "")
        if name != "otelkit" and not name.startswith("opentelemetry-"):
            continue
        for line in each.requires or ():
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            found = _installed(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                needs = f"{requirement.name}{requirement.specifier}"
                yield f"{name} {each.version} needs {needs}, and {found or 'nothing'} is installed"


def _package(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.name


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _unseen(replaced: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Installed libraries for which upstream lists an instrumentation that is not installed."""
    try:
        from opentelemetry.instrumentation.bootstrap_gen import libraries  # noqa: PLC0415  a list, of use here only
    except ImportError:
        return
    known = {entry_point.name for entry_point in entry_points(group="opentelemetry_instrumentor")}
    known |= {*replaced, *HARMFUL}
    for row in libraries:
        library, package = Requirement(row["library"]), Requirement(row["instrumentation"])
        found = _installed(library.name)
        told = package.name.removeprefix("opentelemetry-instrumentation-").replace("-", "_")
        if found is None or canonicalize_name(library.name) in _UNREMARKABLE or {told, library.name} & known:
            continue
        if library.specifier.contains(found, prereleases=True) and _installed(package.name) is None:
            yield f"{library.name} {found}", package.name


def _is_active(instrumentor: str) -> bool:
    """Tell whether the application, or another distro, has switched a contrib instrumentor on."""
    for entry_point in entry_points(group="opentelemetry_instrumentor", name=instrumentor):
        if entry_point.module in sys.modules:
            made = entry_point.load()()  # one object for each class, by its own rule
            return bool(getattr(made, "is_instrumented_by_opentelemetry", False))
    return False


# -- who answers -------------------------------------------------------------------------------------------------------


def ask(settings: Settings) -> tuple[Answered, ...]:
    """Give each endpoint of OTLP an empty request, which a receiver acknowledges and forgets. Never raises."""
    jobs = []
    for name in _SIGNALS:
        signal: Signal = getattr(settings, name)
        if "otlp" not in signal.exporters:
            continue
        where = signal.shown_endpoint if signal.endpoint.startswith("http") else shown_url(signal.endpoint)
        to = Answered(signal=name, endpoint=where, protocol=signal.protocol, outcome="impossible")
        try:
            jobs.append(partial(_asked, to, signal, open_transport(name, signal)))
        except (ImportError, LookupError) as error:
            jobs.append(partial(replace, to, reason=str(error), error=type(error).__name__))
    with ThreadPoolExecutor(max_workers=len(_SIGNALS)) as pool:
        return tuple(pool.map(lambda job: job(), jobs))


def _asked(to: Answered, signal: Signal, transport: Transport) -> Answered:
    patience = min(signal.timeout or _PATIENCE, _PATIENCE)  # 0 means without end
    began = time.monotonic()
    answer = transport.send(b"", patience)
    transport.close()
    answered = replace(
        to,
        outcome=answer.outcome,
        reason=answer.reason,
        error=answer.error,
        silent=answer.silent,
        seconds=round(time.monotonic() - began, 3),
    )
    no_answer = answer.error is not None and not answer.error.isdigit()
    if signal.protocol == "grpc" or signal.http_credentials or no_answer:
        return answered
    return _looked_at(answered, signal, patience)


def _looked_at(answered: Answered, signal: Signal, patience: float) -> Answered:
    """Add what the transport does not keep of an answer over HTTP: what kind of server gave it, and when."""
    import requests  # noqa: PLC0415  loaded with the transport

    def as_it_is(request: Any) -> Any:
        return request  # else a ~/.netrc that knows the host replaces the user's own header

    identity: Any = (signal.client_certificate, signal.client_key) if signal.client_key else signal.client_certificate
    try:
        response = requests.post(
            signal.endpoint,
            data=b"",
            headers={"Content-Type": "application/x-protobuf", **signal.headers},
            auth=as_it_is,
            timeout=patience,
            allow_redirects=False,
            verify=signal.certificate or True,
            cert=identity,
        )
    except (requests.RequestException, OSError):
        return answered
    now = time.time()
    if response.ok is not (answered.outcome == "delivered"):
        return answered  # it changed its mind: what it says now is of another answer
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return replace(answered, media_type=media_type or None, clock=_clock(response.headers.get("Date"), now))


def _clock(date: str | None, now: float) -> float | None:
    """Compare the header `Date` (RFC 9110 §6.6.1), which counts whole seconds, with the clock here."""
    if not date:
        return None
    try:
        return round(parsedate_to_datetime(date).timestamp() + 0.5 - now, 1)
    except (ValueError, OverflowError):
        return None
