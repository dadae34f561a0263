"""The only place that decides which of argument, variables and default applies, and what is said about a wrong one."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from otelkit._values import OLD_EXPORTERS, SWITCH, TEXT, Headers, Pairs, Wrong, WrongValueError, listed, shown_url
from otelkit._variables import SIGNALS, VARIABLES, feeding, find
from otelkit.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit._values import Kind, Target
    from otelkit._variables import Variable

_PROMOTED = {
    "service_name": ("service.name",),
    "service_version": ("service.version",),
    "service_namespace": ("service.namespace",),
    "service_instance_id": ("service.instance.id",),
    "environment": ("deployment.environment.name", "deployment.environment"),  # the second: its name until 2024
}
"""Resource attributes with a field of their own."""

_PARTS = ("protocol", "headers", "timeout", "compression", "insecure", "http_credentials", "grpc_credentials")
_FILES = ("certificate", "client_key", "client_certificate")
_CAPS = {"traces": "span_export_timeout", "metrics": "metric_timeout", "logs": "log_export_timeout"}
_ARGUMENTS = {"fastapi_excluded_urls": "excluded_urls"} | {
    f"{signal}.exporters": f"{signal}_exporter" for signal in SIGNALS
}
"""Fields whose argument has another name."""

_SAMPLER = "OTEL_TRACES_SAMPLER"
_RATIO_SAMPLERS = frozenset({"traceidratio", "parentbased_traceidratio"})
_CONSEQUENCES = dict.fromkeys(("sampler", "sampler_arg"), ": every new trace is kept")
"""What a fallback means, where that must not stay silent."""

_GRPC_DEFAULT = "http://localhost:4317"
_PORTS = {4317: "grpc", 4318: "http/protobuf"}
"""What the ports registered for OTLP speak."""

_SIMILAR = 0.94
"""From this likeness on, an unknown variable is taken for a known one misspelt: one or two letters in a usual name."""


@dataclass(frozen=True)
class Resolution:
    """Every value, where each came from, and a line for each wrong variable."""

    values: Mapping[str, Any]
    signals: Mapping[str, dict[str, Any]]
    origins: Mapping[str, str]
    problems: tuple[str, ...]


def resolve(arguments: Mapping[str, object], environ: Mapping[str, str]) -> Resolution:
    """Resolve all settings.

    Args:
        arguments: By name; None for one that was not given.
        environ: The environment variables.

    Raises:
        SettingsError: Arguments cannot work; it lists all of them.
    """
    resolver = _Resolver(arguments, environ)
    values = resolver.values()
    signals = {signal: resolver.signal(signal, cap=values[_CAPS[signal]]) for signal in SIGNALS}
    asked = resolver.origins["logs.exporters"] != "default"
    # Of a broken OTLP endpoint only "none" is left, which keeps stdout: the records must be somewhere.
    values["logs_exporter_requested"] = signals["logs"]["exporters"] if asked else None
    resolver.origins["logs_exporter_requested"] = resolver.origins["logs.exporters"]
    if resolver.wrong_arguments:
        raise SettingsError(list(dict.fromkeys(resolver.wrong_arguments)))
    problems = (*resolver.problems(), *_refusals(environ), *_misspelt(environ))
    return Resolution(values, signals, resolver.origins, problems)


def fed_by(argument: str) -> list[str]:
    """The fields that an argument sets."""
    fields = dict.fromkeys(field for row in VARIABLES for field in row.fields)
    return [field for field in fields if _argument_of(field) == argument]


def _argument_of(field: str) -> str:
    """The argument of a field; the parts of all signals share one."""
    return _ARGUMENTS.get(field, field.rpartition(".")[2])


class _Resolver:
    """Finds each value once, and remembers where it came from and what was wrong."""

    def __init__(self, arguments: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self._arguments = {name: value for name, value in arguments.items() if value is not None}
        self._environ = environ
        self._reasons: dict[str, str] = {}  # variable -> what is wrong with its value
        self._instead: dict[str, list[str]] = {}  # variable -> what is done about it, an entry for each field or signal
        self._off: dict[str, list[str]] = {}  # variable -> the signals that it switches off
        self._broken: dict[str, tuple[str, str]] = {}  # field -> variable that is wrong and has no substitute, and why
        self._notes: list[str] = []
        self.origins: dict[str, str] = {}
        self.wrong_arguments: list[str] = []

    def values(self) -> dict[str, Any]:
        """All values that belong to no single signal's exporter."""
        fields = dict.fromkeys(field for row in VARIABLES for field in row.fields)
        special = {"resource_attributes", "sampler_arg", *_PROMOTED}
        plain = [field for field in fields if "." not in field and field not in special]
        values = {field: self._value(field) for field in plain} | self._resource()
        values["sampler_arg"] = self._sampler_arg(values["sampler"])
        for what in ("span", "log"):
            values[f"{what}_batch_size"] = self._batch_size(
                what, values[f"{what}_queue_size"], values[f"{what}_batch_size"]
            )
        opted = values["semconv_opt_in"]
        missing = [area for area in ("http", "database") if not {area, f"{area}/dup"}.intersection(opted)]
        return values | {"semconv_opt_in": (*opted, *missing)}

    def signal(self, name: str, *, cap: float) -> dict[str, Any]:
        """The parts of one signal.

        Args:
            name: "traces", "metrics" or "logs".
            cap: Seconds that its time-out may not exceed.
        """
        asked: tuple[str, ...] = self._value(f"{name}.exporters")
        exporters = tuple(dict.fromkeys("otlp" if word in OLD_EXPORTERS else word for word in asked))
        sent = "otlp" in exporters
        parts = {part: self._value(f"{name}.{part}", report=sent) for part in _PARTS}
        implied = [OLD_EXPORTERS[word] for word in asked if word in OLD_EXPORTERS]
        if implied and self.origins[f"{name}.protocol"] == "default":
            parts["protocol"] = implied[0]
            self.origins[f"{name}.protocol"] = self.origins[f"{name}.exporters"]
        target = self._firm(f"{name}.endpoint")
        endpoint, insecure = self._endpoint(name, target, protocol=parts["protocol"], insecure=parts["insecure"])
        parts |= {part: self._firm(f"{name}.{part}") for part in _FILES}
        parts |= {"endpoint": endpoint, "insecure": insecure, "timeout": min(parts["timeout"], cap)}
        if target.authorization:
            parts["headers"] = Headers({"authorization": target.authorization} | dict(parts["headers"]))
        secure = not endpoint.startswith("http:") and not insecure
        degraded = self._degraded(name, secure=secure) if sent else None
        if sent and not degraded:
            self._half_identity(name, parts, secure=secure)
            self._port_note(name, target, parts["protocol"])
        left = tuple(word for word in exporters if word != "otlp") if degraded else exporters
        return parts | {"exporters": left or ("none",), "degraded": degraded}

    def problems(self) -> Iterator[str]:
        """A line for each variable that is wrong: what is wrong with it, and what happens instead."""
        for name, reason in self._reasons.items():
            off = [f"{listed(self._off[name], 'and')} are not exported"] if name in self._off else []
            yield f"{name}: {reason}; {', '.join([*off, *dict.fromkeys(self._instead.get(name, ()))])}."
        yield from dict.fromkeys(self._notes)

    def _value(self, field: str, *, report: bool = True) -> Any:
        """The value of one field: its argument, else what its variables say, else its default."""
        given = self._argument(field)
        return self._from_variables(field, report=report) if given is None else given

    def _from_variables(self, field: str, *, report: bool = True) -> Any:
        """What the first usable variable says, from the most specific on, else the default."""
        wrong: list[tuple[str, str]] = []
        value = None
        for row in feeding(field):
            value, reason = self._read(row)
            if reason:
                wrong.append((row.name, reason))
            if value is not None:
                self.origins[field] = row.name
                break
        if value is None:
            value = self._default(field)
        for name, reason in wrong if report else ():
            self._reject(name, reason, f"{feeding(field)[0].reading.show(value)} is used{_CONSEQUENCES.get(field, '')}")
        return value

    def _firm(self, field: str) -> Any:
        """As `_value`, but a wrong variable makes the field broken: no other value may take its place."""
        given = self._argument(field)
        if given is not None:
            return given
        for row in feeding(field):
            value, reason = self._read(row)
            if reason:
                self._broken[field] = (row.name, reason)
                break
            if value is not None:
                self.origins[field] = row.name
                return value
        return self._default(field)

    def _argument(self, field: str, kind: Kind | None = None) -> Any:
        """The checked argument, of the kind of its variables or another one; None if it was not given or is wrong."""
        name = _argument_of(field)
        if name not in self._arguments:
            return None
        self.origins[field] = "argument"
        try:
            return (kind or feeding(field)[0].reading).check(self._arguments[name])
        except WrongValueError as error:
            self.wrong_arguments.append(f"{name} {error}")
            return None

    def _read(self, row: Variable) -> tuple[Any, str]:
        """What a variable says (None for nothing usable), and what is wrong with it ("" for nothing)."""
        text = _text(self._environ, row.name)
        if not text:
            return None, ""
        try:
            value = row.reading.parse(text)
        except WrongValueError as error:
            return None, str(error)
        return (value.usable, value.reason) if isinstance(value, Wrong) else (value, "")

    def _default(self, field: str) -> Any:
        self.origins[field] = "default"
        rows = feeding(field)
        return next((row.reading.parse(row.default) for row in rows if row.default), rows[0].reading.unset)

    def _reject(self, name: str, reason: str, instead: str) -> None:
        self._reasons.setdefault(name, reason)
        self._instead.setdefault(name, []).append(instead)

    def _blame(self, field: str, reason: str, instead: str) -> None:
        """Reject a value that is wrong only beside another one, wherever it came from."""
        origin = self.origins[field]
        if origin == "argument":
            self.wrong_arguments.append(f"{_argument_of(field)} {reason}")
        elif origin != "default":
            self._reject(origin, reason, instead)

    def _resource(self) -> dict[str, Any]:
        """The resource attributes, and those of them that have a field of their own."""
        variable = self._from_variables("resource_attributes")
        given = self._argument("resource_attributes") or {}
        attributes = {**variable, **given}
        found: dict[str, Any] = {}
        for field, keys in _PROMOTED.items():
            candidates = [
                ("argument", self._argument(field, TEXT)),
                *(("argument", given.get(key)) for key in keys),
                *((row.name, self._read(row)[0]) for row in feeding(field) if row.name != "OTEL_RESOURCE_ATTRIBUTES"),
                *(("OTEL_RESOURCE_ATTRIBUTES", variable.get(key)) for key in keys),
            ]
            self.origins[field], found[field] = next((one for one in candidates if one[1]), ("default", None))
            if found[field]:
                attributes[keys[0]] = found[field]
        return found | {"resource_attributes": Pairs(attributes)}

    def _sampler_arg(self, sampler: str) -> float | None:
        """The share that the sampler keeps; None for a sampler that takes none."""
        if sampler in _RATIO_SAMPLERS:
            share: float = self._value("sampler_arg")
            return share
        self.origins["sampler_arg"] = "default"
        reason = f"means nothing to the sampler {sampler}"
        in_code = "sampler_arg" in self._arguments
        meant = "argument" if "sampler" in self._arguments else "default"
        if in_code and self.origins["sampler"] == meant:  # neither an operator's choice nor a wrong name said elsewhere
            self.wrong_arguments.append(f"sampler_arg {reason}")
        elif not in_code and _text(self._environ, "OTEL_TRACES_SAMPLER_ARG") and not self._reasons.get(_SAMPLER):
            self._reject("OTEL_TRACES_SAMPLER_ARG", reason, "it is not used")
        return None

    def _batch_size(self, what: str, queue: int, batch: int) -> int:
        """A batch no larger than its queue (specification, Batch Span Processor)."""
        if batch > queue:
            self._blame(f"{what}_batch_size", f'"{batch}" is more than the {queue} that may wait', f"{queue} is used")
        return min(batch, queue)

    def _endpoint(self, name: str, target: Target, *, protocol: str, insecure: bool) -> tuple[str, bool | None]:
        """Where one signal goes, and for gRPC whether it goes without TLS (specification, OTLP exporter)."""
        origin = self.origins[f"{name}.endpoint"]
        if protocol == "grpc":
            return target.for_grpc(insecure=insecure) if origin != "default" else (_GRPC_DEFAULT, True)
        if not target.is_url:
            reason = f"{shown_url(target.url)} does not begin with http:// or https://"
            if origin == "argument":
                self.wrong_arguments.append(f"endpoint {reason}")
            self._broken[f"{name}.endpoint"] = (origin, reason)
        own = origin == feeding(f"{name}.endpoint")[0].name
        return target.url if own else target.below(f"v1/{name}"), None

    def _degraded(self, name: str, *, secure: bool) -> str | None:
        """Why a signal cannot be exported; None if it can.

        A wrong file matters only where there is TLS, but there nothing replaces it: to fall back to the system's
        certificates would mean to trust a server that nobody meant.
        """
        fatal = [f"{name}.endpoint", *(f"{name}.{part}" for part in _FILES if secure)]
        for field in fatal:
            if field in self._broken:
                variable, reason = self._broken[field]
                self._reasons.setdefault(variable, reason)
                self._off.setdefault(variable, []).append(name)
                return f"{variable}: {reason}"
        for field in (f"{name}.{part}" for part in _FILES):
            if field in self._broken:
                self._reject(*self._broken[field], "a connection without TLS needs no file")
        return None

    def _half_identity(self, name: str, parts: dict[str, Any], *, secure: bool) -> None:
        """Drop a client key without certificate, or (for gRPC) a certificate without key: no connection can use it."""
        key, certificate = parts["client_key"], parts["client_certificate"]
        if not secure:
            return
        if key and not certificate:
            self._blame(f"{name}.client_key", "has no client certificate beside it", "it is not used")
            parts["client_key"] = None
        elif certificate and not key and parts["protocol"] == "grpc":
            self._blame(f"{name}.client_certificate", "has no client key beside it", "it is not used")
            parts["client_certificate"] = None

    def _port_note(self, name: str, target: Target, protocol: str) -> None:
        """Say so when the port is the other protocol's: the export would fail, and no error would tell a person why."""
        origin = self.origins[f"{name}.endpoint"]
        speaks = _PORTS.get(target.port or 0, protocol)
        chosen_wrongly = any(row.name in self._reasons for row in feeding(f"{name}.protocol"))
        if origin == "default" or speaks == protocol or chosen_wrongly:
            return
        port = next(port for port, spoken in _PORTS.items() if spoken == protocol)
        self._notes.append(
            f"{'The argument endpoint' if origin == 'argument' else origin}: port {target.port} is for {speaks}, "
            f"but the protocol is {protocol}; use port {port}, or set OTEL_EXPORTER_OTLP_PROTOCOL to {speaks}."
        )


def _text(environ: Mapping[str, str], name: str) -> str:
    """A variable's text; the specification makes no difference between empty and unset."""
    return environ.get(name, "").strip()


def _refusals(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that is set and cannot be honoured."""
    for row in VARIABLES:
        text = _text(environ, row.name) if row.refused else ""
        if text and not (row.kind is SWITCH and text.lower() == "false"):
            yield f"{row.name}: not supported; {row.note}."


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that nobody knows and that looks like one of the table."""
    for name in sorted(environ):
        if name.startswith(("OTEL_", "OTELKIT_")) and _text(environ, name) and not find(name):
            for match in get_close_matches(name, [row.name for row in VARIABLES], n=1, cutoff=_SIMILAR):
                yield f"{name}: nothing reads it; did you mean {match}?"
