"""The only place for `otelkit trace`: one trace from the real stores, told as a story, and where Grafana shows it.

Exit codes: 0 it was told; 1 there is none, or a store does not answer; 2 the command line is wrong.

`--json` prints one document:

    trace_id   32 hex digits
    missing    what must still be on its way, in words; empty where nothing is
    incomplete why Tempo left spans out, in its own words; empty where it left out none
    spans      by start time, with the fields of `otelkit.otlp.model.Span`
    logs       by time, with the fields of `otelkit.otlp.model.LogRecord`
    links      "trace" and "logs": addresses of Grafana's Explore

Times are nanoseconds since the epoch, identifiers hex, bytes in values hex too.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from otelkit._stderr import say
from otelkit.errors import QueryError, StackError

if TYPE_CHECKING:
    import argparse

    from otelkit.ops.endpoints import Endpoints
    from otelkit.ops.lookup import Told

HELP = "Tell one trace as a story, with its log records: otelkit trace --last"

_NONE, _WRONG = 1, 2
_WAIT = 5.0
_MILLISECOND = 1_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit trace`."""
    parser.description = (
        "Tell a trace from the stores of the stack as a story: its spans through every service, its log records, and "
        "where Grafana shows both. --last tells the newest trace that serves a request other than a health probe; else "
        "the newest of several spans; else the newest. What is still on its way is waited for."
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="the trace id, hex")
    parser.add_argument("--last", action="store_true", help="the last trace of the last hour instead of an id")
    parser.add_argument(
        "--service", default="", metavar="S", help="with --last: a trace that this service took part in"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    help_ = f"how long to wait for what is still missing (default: {_WAIT:g})"
    parser.add_argument("--wait", type=float, default=_WAIT, metavar="SECONDS", help=help_)
    parser.add_argument("--name", metavar="STACK", help="the stack that has it (default: default)")
    for address in ("tempo", "loki", "grafana"):
        parser.add_argument(f"--{address}", metavar="URL", help="where it answers, if not as the stack says")


def main(options: argparse.Namespace) -> int:
    """Fetch and tell; 1 where there is nothing to tell."""
    from otelkit.ops import lookup  # noqa: PLC0415  only this command needs it
    from otelkit.ops.query.lgtm import Lgtm  # noqa: PLC0415  the same

    if bool(options.id) == options.last or (options.service and not options.last):
        say("trace: give the id of a trace, or --last, with --service if you like")
        return _WRONG
    try:
        where = _where(options)
        query = Lgtm.at(prometheus=where.prometheus, tempo=where.tempo, loki=where.loki)
        trace_id = options.id or lookup.newest(query, service=options.service, wait=options.wait)
        if trace_id is None:
            of = f" of service {options.service!r}" if options.service else ""
            say(f"trace: Tempo at {query.tempo.backend.shown_url} has no trace{of} within the last hour")
            return _NONE
        told = lookup.tell(query, trace_id, wait=options.wait)
    except (StackError, ValueError) as error:
        say(f"trace: {error}")
        return _WRONG
    except QueryError as error:
        say(f"trace: {error}; `otelkit stack up` starts a stack, `otelkit stack status` looks at it")
        return _NONE
    if told.trace is None and not told.logs:
        say(f"trace: neither Tempo nor Loki has anything of {trace_id}")
        return _NONE
    trace_id = told.trace.trace_id if told.trace else told.logs[0].trace_id
    if options.json:
        print(json.dumps(_document(trace_id, told, where), indent=2, default=_hex))
    else:
        _tell(trace_id, told, where)
    return 0


def _where(options: argparse.Namespace) -> Endpoints:
    """Return where the stack answers; the usual ports where none was started by otelkit.

    Raises:
        StackError: The named stack does not run.
    """
    from otelkit.ops import stack  # noqa: PLC0415  only this command needs it
    from otelkit.ops.endpoints import Endpoints  # noqa: PLC0415  the same

    running = stack.reached(options.name) or Endpoints.at()
    return running.but(tempo=options.tempo, loki=options.loki, grafana=options.grafana)


def _tell(trace_id: str, told: Told, where: Endpoints) -> None:
    from rich.console import Console  # noqa: PLC0415  only this command needs it

    from otelkit.ops import story  # noqa: PLC0415  the same

    story.tell(told.trace.spans if told.trace else (), told.logs)
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print()
    for name, url in _links(trace_id, told, where).items():
        console.print(f"{name:<6}{url}")
    if told.trace is None:
        say("trace: Tempo has no span of it: it was not sampled, or is older than what Tempo keeps")
    elif told.trace.incomplete:
        say(f"trace: Tempo left spans out: {told.trace.incomplete}")
    if told.missing:
        say(f"trace: not here yet: {', '.join(told.missing)}; a caller that sends nothing never comes")


def _links(trace_id: str, told: Told, where: Endpoints) -> dict[str, str]:
    from otelkit.ops import _explore, lookup  # noqa: PLC0415  only this command needs them

    times = {}
    if told.trace and told.trace.spans:
        window = lookup.around(told.trace)
        times = {"start": str(window.start_ns // _MILLISECOND), "end": str(window.end_ns // _MILLISECOND)}
    logql = f'{{service_name=~".+"}} | trace_id="{trace_id}"'
    return {
        "trace": _explore.tempo(trace_id, base=where.grafana, **times),
        "logs": _explore.loki(logql, base=where.grafana, **times),
    }


def _document(trace_id: str, told: Told, where: Endpoints) -> dict[str, Any]:
    return {
        "trace_id": trace_id,
        "missing": told.missing,
        "incomplete": told.trace.incomplete if told.trace else "",
        "spans": [asdict(span) for span in told.trace.spans] if told.trace else [],
        "logs": [asdict(record) for record in told.logs],
        "links": _links(trace_id, told, where),
    }


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
