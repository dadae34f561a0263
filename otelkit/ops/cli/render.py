"""The only place for `otelkit render`: writes rules, boards, pages and the rest, or shows how they differ.

Exit codes: 0 done, or nothing differs; 1 `--check` found a difference, or a file in the way is somebody else's; 2 what
was asked for cannot be rendered: the command line, a catalogue or the parameters are wrong.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from difflib import unified_diff
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit._stderr import say
from otelkit.errors import ParametersError, QueryError, SettingsError, StackError
from otelkit.metrics import Catalog

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from otelkit.metrics import Metric
    from otelkit.ops.mixin import Inputs
    from otelkit.ops.mixin.parameters import Parameters
    from otelkit.ops.observed import Observed
    from otelkit.ops.render import Difference

HELP = "Write rules, boards, runbooks and pages from what the code emits, or with --check show what is out of date."

_DIFFERS = 1
_WRONG = 2
_ANSWERS_WITHIN = 60.0  # seconds for one query over a week and more
_QUANTILES = 4
_EXPLAINED = """
Of a threshold that fires below it (<) the quantiles are those from above: 95 % of the time it was higher than p95, and
max is the lowest. FIRED: it was beyond the threshold for as long as its alert asks for; what else the alert asks for, a
minimum of traffic for example, is not looked at. docs/how-to/tune-thresholds.md"""
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}  # Prometheus' units


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit render`."""
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 and a diff if a file differs")
    parser.add_argument(
        "--catalog",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a service's own otelkit.Catalog, imported from this folder; any number",
    )
    parser.add_argument(
        "--parameters", type=Path, metavar="FILE", help="what you chose (default: deploy/parameters.toml, if there)"
    )
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: this folder)")
    parser.add_argument(
        "--secrets",
        type=Path,
        metavar="DIR",
        help="secrets of those who are told of alerts (default: deploy/alertmanager/secrets, if there)",
    )
    parser.add_argument(
        "--observed", action="store_true", help="write nothing; show what was seen beside each threshold"
    )
    parser.add_argument("--prometheus", metavar="URL", help="with --observed: who is asked (default: the stack's)")
    parser.add_argument("--over", default="7d", metavar="TIME", help="with --observed: until now, as 6h (default: 7d)")


def main(options: argparse.Namespace) -> int:
    """Write or compare, and return the exit code, as told above."""
    try:
        inputs = _inputs(options)
    except (ParametersError, SettingsError) as error:
        print("\n".join(error.problems), file=sys.stderr)
        return _WRONG
    if options.observed:
        return _observe(options, inputs)
    from otelkit.ops import render  # noqa: PLC0415  `otelkit --help` needs none of it

    files = render.generated(options.out, inputs)
    if options.parameters is not None:
        files.pop(render.PARAMETERS)  # what is offered there was taken elsewhere
    try:
        changes = render.differences(options.out, files)
        if not options.check:
            render.write(options.out, changes)
    except FileExistsError as error:
        print(f"not generated, and in the way: {error}; move them, or name another folder: --out", file=sys.stderr)
        return _DIFFERS
    except OSError as error:
        print(error, file=sys.stderr)
        return _DIFFERS
    return _show(changes, check=options.check)


def _show(changes: Iterable[Difference], *, check: bool) -> int:
    """Print a diff of each, or what became of it; 1 where `check` found one."""
    differs = False
    try:
        for change in changes:
            differs = check
            if check:
                sys.stdout.writelines(_diff(change))
            else:
                print(change.path if change.generated is not None else f"{change.path} removed")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough; Python would complain once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _DIFFERS if differs else 0


def _inputs(options: argparse.Namespace) -> Inputs:
    """Return what everything is made of.

    Raises:
        ParametersError: A catalogue or the parameters cannot be used.
        SettingsError: An alert of a catalogue is called as one of otelkit's.
    """
    from otelkit.ops import mixin, render  # noqa: PLC0415  `otelkit --help` needs none of it
    from otelkit.ops.mixin import alertmanager  # noqa: PLC0415  the same

    # Two catalogues may hold the same metric, which is one.
    catalog = tuple({metric.name: metric for each in options.catalog for metric in _catalog(each).metrics}.values())
    # What is committed with otelkit tells nobody, whatever secrets lie in a checkout to run its stack.
    secrets = options.secrets or (None if render.is_checkout(options.out) else options.out / alertmanager.SECRETS)
    for doubt in alertmanager.doubts(secrets) if secrets else ():
        say(f"render: {doubt}")
    return mixin.Inputs(
        catalog=catalog,
        parameters=_parameters(options, catalog),
        receivers=alertmanager.found(secrets) if secrets else frozenset(),
    )


def _catalog(named: str) -> Catalog:
    module, _, name = named.partition(":")
    if not module or not name:
        raise ParametersError([f"--catalog {named}: a module and a name in it, as shop.telemetry:catalog"])
    # The folder that it is called in, as `python -m` does; and importing a service must not begin to send.
    here = str(Path.cwd())
    sys.path.insert(0, here)
    os.environ["OTEL_SDK_DISABLED"] = "true"
    try:
        found = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever a service's module raises
        told = " ".join(str(error).split())
        raise ParametersError([f"--catalog {named}: {type(error).__name__}: {told}"]) from error
    finally:
        with contextlib.suppress(ValueError):  # the module took it away
            sys.path.remove(here)
    if not isinstance(found, Catalog):
        raise ParametersError([f"--catalog {named}: is {type(found).__name__}, not otelkit.Catalog"])
    return found


def _parameters(options: argparse.Namespace, catalog: tuple[Metric, ...]) -> Parameters:
    from otelkit.ops import render  # noqa: PLC0415  `otelkit --help` needs none of it
    from otelkit.ops.mixin import reading  # noqa: PLC0415  the same

    file = options.parameters or options.out / render.PARAMETERS
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if options.parameters is not None:
            raise ParametersError([f"{file}: there is no such file"]) from None
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ParametersError([f"{file}: {error}"]) from error
    return reading.read(text, name=str(file), catalog=catalog, retention=_retention(options.out))


def _retention(out: Path) -> float:
    """Return the seconds that Prometheus keeps what it has; 0 where the file that says so is not understood."""
    from otelkit.ops import _assets  # noqa: PLC0415  `otelkit --help` needs none of it

    own = out / "deploy/.env"
    pins = {**_assets.pins(), **(_assets.variables(own) if own.is_file() else {})}
    said = os.environ.get("PROMETHEUS_RETENTION") or pins["PROMETHEUS_RETENTION"]  # as Compose has it: the shell wins
    parts = _DURATION.findall(said)
    if "".join(map("".join, parts)) != said:
        return 0.0
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _observe(options: argparse.Namespace, inputs: Inputs) -> int:
    """Print a line for each threshold and what it is compared with; 1 where Prometheus gives no answer."""
    from otelkit.ops import observed, stack  # noqa: PLC0415  only this needs it
    from otelkit.ops.endpoints import Endpoints  # noqa: PLC0415  the same
    from otelkit.ops.mixin._units import SCALES, number  # noqa: PLC0415  the same
    from otelkit.ops.mixin.groups import groups  # noqa: PLC0415  the same
    from otelkit.ops.query._http import Backend  # noqa: PLC0415  the same
    from otelkit.ops.query.lgtm import Prometheus  # noqa: PLC0415  the same

    over = number(options.over, "seconds")
    if over is None:
        say(f"render: --over {options.over} is not {SCALES['seconds'].about}")
        return _WRONG
    try:
        running = stack.reached(None) or Endpoints.at()
        backend = Backend(name="Prometheus", url=options.prometheus or running.prometheus, timeout=_ANSWERS_WITHIN)
        every = groups(inputs.parameters, inputs.catalog)
        found = list(observed.observe(Prometheus(backend=backend), every, inputs.parameters, over=over))
    except (StackError, ValueError) as error:
        say(f"render: {error}")
        return _WRONG
    except QueryError as error:
        say(f"render: {error}; `otelkit stack up` starts a stack, --prometheus names another one")
        return _DIFFERS
    rows = [("threshold", "of", "p50", "p95", "p99", "max", "fires", "beyond it", ""), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(_EXPLAINED)
    return 0


def _row(one: Observed) -> tuple[str, ...]:
    from otelkit.ops.observed import named, shown  # noqa: PLC0415  only this needs it

    unit = one.threshold.unit
    sign = {"above": "> ", "below": "< ", "guard": ""}[one.threshold.crossed]
    seen = [shown(value, unit) for value in one.quantiles] if one.quantiles else ["-"] * _QUANTILES
    return (
        one.threshold.name,
        named(one.labels) if one.quantiles else "nothing seen",
        *seen,
        sign + shown(one.in_force, unit),
        f"{one.beyond * 100:.3g} %" if sign and one.quantiles else "",
        "FIRED" if one.fired else "",
    )


def _diff(change: Difference) -> Iterable[str]:
    old, new = ((text or "").splitlines(keepends=True) for text in (change.found, change.generated))
    missing = "/dev/null"
    return unified_diff(
        old,
        new,
        fromfile=missing if change.found is None else f"committed/{change.path}",
        tofile=missing if change.generated is None else f"generated/{change.path}",
    )
