"""The only place for how a doctor's answer looks: lines for a person, and a document for a program."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from otelkit._telling import Answered, Setting, Told
    from otelkit.ops.doctor import Finding, Severity
    from otelkit.ops.doctor.hops import Hop, Proof

_STATES = {"ok": "green", "broken": "bold red", "unseen": "yellow", "skipped": "dim"}
_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "blue"}
_ALWAYS = frozenset({"service_name", "environment", "sampler", "metric_interval", "log_level", "propagators"}) | {
    f"{signal}.{part}" for signal in ("traces", "metrics", "logs") for part in ("exporters", "endpoint", "protocol")
}
"""Settings that are shown even where nobody set them."""
_LONGEST = 72


def document(told: Told | None, findings: Sequence[Finding], command: Sequence[str]) -> dict[str, Any]:
    """Return the answer of `otelkit doctor --json`; its keys are described in docs/reference/doctor.md."""
    about = asdict(told) if told is not None else {}
    return {
        "ok": not any(finding.severity == "error" for finding in findings),
        "command": list(command),
        "findings": [asdict(finding) for finding in findings],
        **{name: about.get(name) for name in ("otelkit", "python", "executable", "service", "road")},
        **{name: about.get(name, {}) for name in ("settings", "providers", "versions")},
        **{name: about.get(name, ()) for name in ("verdicts", "answers", "distros")},
    }


def show(console: Console, told: Told | None, findings: Sequence[Finding], command: Sequence[str]) -> None:
    """Print the answer of `otelkit doctor`."""
    for line in _lines(told, findings, command):
        _print(console, line)


def _print(console: Console, line: Text) -> None:
    """Print a line that may quote others: what a terminal would act upon is left out."""
    line.plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line.plain)
    console.print(line, soft_wrap=True)


def show_hop(console: Console, hop: Hop) -> None:
    """Print one hop of `otelkit doctor --prove`, as soon as it is decided."""
    at = "" if hop.seconds is None else f"{hop.seconds:.2f} s"
    head = Text.assemble((f"{hop.state:<8}", _STATES[hop.state]), f"{at:>8}  ", (f"{hop.id:<33}  ", "bold"), hop.what)
    _print(console, head)
    for name, line in (("cause", hop.cause), ("fix", hop.fix)):
        if line:
            _print(console, Text.assemble(" " * 18, (f"{name}: ", "bold"), line))


def show_proof(console: Console, proof: Proof) -> None:
    """Print what the hops come to."""
    console.print()
    broken, unseen = proof.broken, [hop.id for hop in proof.hops if hop.state == "unseen"]
    if broken is not None:
        line = Text.assemble(("The first broken hop is ", "bold red"), (broken.id, "bold"), f": {broken.cause}")
    elif unseen:
        line = Text(f"Nothing is broken as far as can be seen; not seen: {', '.join(unseen)}.", "yellow")
    else:
        line = Text("Everything arrives, and every link leads to it.", "green")
    _print(console, line)
    if broken is not None:
        _print(console, Text.assemble(("Fix: ", "bold"), broken.fix))


def proof_document(proof: Proof) -> dict[str, Any]:
    """Return the answer of `otelkit doctor --prove --json`; described in docs/reference/doctor.md."""
    return {
        "ok": proof.broken is None,
        "broken": proof.broken.id if proof.broken else None,
        "trace_id": proof.trace_id,
        "instance": proof.instance,
        "hops": [asdict(hop) for hop in proof.hops],
    }


def _lines(told: Told | None, findings: Sequence[Finding], command: Sequence[str]) -> Iterator[Text]:
    asked = " ".join(command) or "this shell"
    if told is None:
        yield Text(asked, "bold")
    else:
        service = told.service or "unknown_service"
        yield Text.assemble(
            (asked, "bold"), f"  {service}, Python {told.python}, otelkit {told.otelkit}, by {told.road}"
        )
        if told.road != "another distro":  # what would apply, does not
            yield from _about(told)
    yield Text()
    yield from _findings(findings)


def _about(told: Told) -> Iterator[Text]:
    yield Text()
    yield Text("Settings that were set, and what matters most", "bold")
    yield from _columns(
        (name, _shown(setting), "" if setting.origin == "default" else setting.origin)
        for name, setting in told.settings.items()
        if name in _ALWAYS or setting.origin != "default"
    )
    yield Text()
    yield Text("Libraries", "bold")
    yield from _columns(
        (verdict.integration, verdict.choice, verdict.reason)
        for verdict in told.verdicts
        if verdict.works or verdict.wanted
    )
    yield Text()
    yield Text("Endpoints", "bold")
    yield from _columns((each.signal, each.endpoint, _how(each)) for each in told.answers)


def _columns(rows: Iterator[tuple[str, str, str]]) -> Iterator[Text]:
    table = list(rows)
    widths = [max((len(row[place]) for row in table), default=0) for place in (0, 1)]
    for first, second, third in table:
        yield Text(f"  {first:<{widths[0]}}  {second:<{widths[1]}}  {third}".rstrip())
    if not table:
        yield Text("  none", "dim")


def _shown(setting: Setting) -> str:
    value = setting.value
    if isinstance(value, dict):
        value = ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = str(value) if value not in (None, "") else "-"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _how(answered: Answered) -> str:
    if answered.outcome == "delivered" and answered.error is None:
        return f"answers in {answered.seconds * 1000:.0f} ms"
    return answered.reason or answered.error or answered.outcome


def _findings(findings: Sequence[Finding]) -> Iterator[Text]:
    if not findings:
        yield Text("Nothing found. Whether telemetry arrives, `otelkit doctor --prove` tells.", "green")
        return
    width = max(len(finding.id) for finding in findings)
    for finding in findings:
        head = (f"{finding.severity:<8}", _STYLES[finding.severity])
        yield Text.assemble(head, f"{finding.id:<{width}}  ", finding.what)
        yield Text.assemble(" " * (8 + width), ("  fix: ", "bold"), finding.fix)
    counts = Counter(finding.severity for finding in findings)
    yield Text()
    yield Text(
        ", ".join(f"{counts[each]} {each}{'' if counts[each] == 1 else 's'}" for each in _STYLES if counts[each])
    )
